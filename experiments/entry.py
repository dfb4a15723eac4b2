"""Where ``pyrogrn`` begins: quick to import, so that an interrupt from the first moment ends in one line."""

import gc
import sys

from .streams import catch_signals, guard_streams

# objects made between two searches for unreachable ones: imports make half a million that stay, and at Python's 700 a
# fifth of their time goes into searching them
COLLECT_EVERY = 50_000


def main() -> None:
    """The command line (`cli.main`)."""
    guard_streams()
    gc.set_threshold(COLLECT_EVERY, 10, 10)
    try:
        catch_signals()
        from .cli import main as command_line
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        command_line()
    finally:
        gc.freeze()  # what is left goes with the process: Python would search it once more, for most of a second
