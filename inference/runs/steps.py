"""The steps of a run: callbacks are told of each, and interrupts wait for its end."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .callbacks import Callback, Checkpoint, FitState, write_checkpoints
from .interrupts import Aborted, deferred_interrupts

Tell = Callable[[FitState], None]


@dataclass(frozen=True)
class Steps:
    """Numbers of the steps to do, from ``first`` to before ``total``; `tell` at the end of each."""

    callbacks: Sequence[Tell]
    first: int
    total: int
    raise_interrupt: Callable[[], None]

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.total))

    def tell(self, done: int, message: str, snapshot: Callable[[], dict[str, Any]] = dict) -> None:
        """Callbacks hear that ``done`` steps are done, and an interrupt that has come in the meantime is raised.

        ``snapshot()`` is the state for a checkpoint; without one, a checkpoint of this run is empty.
        """
        state = FitState(done, self.total, message, snapshot)
        for callback in self.callbacks:
            callback(state)
        self.raise_interrupt()


@contextmanager
def taking_steps(callbacks: Sequence[Tell], first: int, total: int) -> Iterator[Steps]:
    """Interrupts are held back between one `Steps.tell` and the next: a checkpoint is a state the run was really in."""
    with deferred_interrupts() as raise_interrupt:
        yield Steps(callbacks, first, total, raise_interrupt)


@contextmanager
def closing(callbacks: Sequence[Callback]) -> Iterator[None]:
    """Close ``callbacks`` at the end, however it comes; an interrupt between steps has checkpoints written first,
    and the end those that are to be."""
    try:
        yield
        write_checkpoints([each for each in callbacks if isinstance(each, Checkpoint) and each.at_end])
    except Aborted:
        raise  # in the middle of a step: the last checkpoint on disk stands
    except KeyboardInterrupt:
        write_checkpoints(callbacks)
        raise
    finally:
        for callback in callbacks:
            callback.close()
