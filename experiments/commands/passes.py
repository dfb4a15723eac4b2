"""How far a pass over the cells is, for the person at the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from ...inference import Progress
from ...inference.runs.callbacks import FitState
from ...models.data.passes import listening

FEWEST = 20_000  # cells, or entries, of a pass that is worth telling


@contextmanager
def told_passes() -> Iterator[None]:
    """A bar with the time left on a terminal, elsewhere a line every tenth of the way, of each pass over many cells."""
    progress, current = Progress(lines=True), ""

    def tell(what: str, done: int, total: int) -> None:
        nonlocal current, progress
        if total < FEWEST:
            return
        if what != current:
            progress.close()
            progress, current = Progress(lines=True, label=what), what
        progress(FitState(done, total, "", dict))
        if done >= total:
            progress.close()
            current = ""

    try:
        with listening(tell):
            yield
    finally:
        progress.close()
