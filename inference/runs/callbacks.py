"""Progress bars and checkpoints: called by a fit, off unless asked for."""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from .saving import load_whole, save_whole

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitState:
    """What a callback sees: the step just done, of how many, a line to show, and ``snapshot()`` for a checkpoint."""

    step: int
    total: int
    message: str
    snapshot: Callable[[], dict[str, Any]]


class Callback(Protocol):
    """Called with the state after every step, and closed when the fit ends, however it ends."""

    def __call__(self, state: FitState) -> None: ...

    def close(self) -> None: ...


WRITES = 20.0  # times that a checkpoint took which go by before the next
QUIET = 5.0  # seconds: a fit that is over sooner needs no lines


class Progress:
    """A tqdm bar with the time left on the standard error stream, where that is a terminal.

    Parameters
    ----------
    every
        Steps between updates of the message.
    lines
        Elsewhere, as in the log of a batch job, a line with the time left every tenth of the way, from five seconds on.
        Default: nothing.
    label
        What the steps are of, before both. Default: nothing.
    """

    def __init__(self, every: int = 10, *, lines: bool = False, label: str = "") -> None:
        self.every, self.lines, self.label = every, lines, label
        self._bar: tqdm | None = None
        self._first = self._told = (0, 0.0)  # step and time of the first step of this run, and of the last line

    def __call__(self, state: FitState) -> None:
        if self._bar is not None and (state.total != self._bar.total or state.step <= self._bar.n):
            self.close()  # another part of the fit, with steps of its own: the draws after an ascent
        if self._bar is None:
            nobody = sys.stderr is None or sys.stderr.closed  # of a process without one, tqdm would fail
            disable = True if nobody else None
            label = self.label or None
            self._bar = tqdm(desc=label, total=state.total, initial=state.step - 1, leave=False, disable=disable)
            self._first = self._told = (state.step, time.monotonic())
            self.lines = self.lines and self._bar.disable and not nobody
        if self.lines:
            self._line(state)
        self._bar.update(state.step - self._bar.n)
        if state.step % self.every == 0:
            self._bar.set_postfix_str(state.message, refresh=False)

    def _line(self, state: FitState) -> None:
        """At every tenth of the way that is not just behind the last; at the end there is nothing to wait for."""
        now = time.monotonic()
        tenth = 10 * state.step // state.total
        if tenth >= 10 or tenth == 10 * self._told[0] // state.total or now - self._told[1] < QUIET:
            return
        self._told = (state.step, now)
        left = (now - self._first[1]) / (state.step - self._first[0]) * (state.total - state.step)
        label = f"{self.label}: " if self.label else ""
        line = f"{label}{state.step:,} of {state.total:,} ({state.step / state.total:.0%}), {left:,.0f} s left"
        with suppress(OSError, ValueError):  # nobody reads it any more
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Relay:
    """Passes what it is told on to other callbacks, and their checkpoints to disk when asked; for a fit in stages."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = callbacks

    def tell(self, state: FitState) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback(state)

    def write(self) -> None:
        """Have every checkpoint written now."""
        write_checkpoints(self.callbacks)

    def close(self) -> None:
        """Nothing: the fit closes its callbacks itself."""


@dataclass
class Checkpoint:
    """Writes the state of a fit to ``path`` every ``seconds``, and when the fit is interrupted; replaces the file in
    one move. Where the disk refuses, that is said once, the last state on disk stands, and the fit goes on.

    Parameters
    ----------
    path
        File to write; loads on any device.
    seconds
        Least time between two writes. Default 30; where a write takes long, of large networks, twenty times as long as
        the last one took.
    at_end
        Also when the fit has ended, for what comes after it may be interrupted. Default: no.
    """

    path: Path
    seconds: float = 30.0
    at_end: bool = False
    _last: float = field(default_factory=time.monotonic)
    _state: FitState | None = None
    _refused: bool = False
    _took: float = 0.0

    def __call__(self, state: FitState) -> None:
        self._state = state
        if time.monotonic() - self._last >= max(self.seconds, WRITES * self._took):
            self.write()

    def write(self) -> None:
        """Write now."""
        if self._state is None:
            return
        started = time.monotonic()
        state = self._state.snapshot()
        try:
            save_whole(state, Path(self.path))
            self._refused = False
        except ValueError as error:
            if not self._refused:
                logger.warning("no checkpoint: %s. The fit goes on", str(error).partition(". Make room")[0])
            self._refused = True
        self._last = time.monotonic()
        self._took = self._last - started

    def close(self) -> None:
        self._state = None


def write_checkpoints(callbacks: Sequence[Callback]) -> None:
    """Have every checkpoint among ``callbacks`` written now, also those that a `Relay` passes on to."""
    for callback in callbacks:
        if isinstance(callback, Checkpoint | Relay):
            callback.write()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU (tensors and plain values only, no code).

    Raises
    ------
    ValueError
        The file is not a checkpoint, is damaged, or was changed since it was written.
    """
    try:
        state = load_whole(path)
    except ValueError as error:
        raise ValueError(f"{error}: remove it and run again without resuming") from error
    if not isinstance(state, dict) or "fingerprint" not in state:
        raise ValueError(f"{path} is not a checkpoint of a fit: remove it and run again without resuming")
    return state
