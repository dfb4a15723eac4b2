"""Where ``pyrogrn`` begins: quick to import, so that an interrupt from the first moment ends in one line."""

import gc
import os
import sys

from .streams import catch_signals, guard_streams


def main() -> None:
    """The command line (`cli.main`)."""
    guard_streams()
    # threads of torch that wait sleep: on cores that others use, spinning takes several times the work
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        catch_signals()
        from .cli import main as command_line
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        command_line()
    finally:
        gc.freeze()  # what is left goes with the process: Python would search it once more, for most of a second
