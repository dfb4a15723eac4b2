"""`pyrogrn infer` in a process of its own: what all of it takes, from the files to the report."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from .memory import ended


def whole(words: Sequence[str], threads: int) -> dict[str, float]:
    """CPU seconds, seconds by the clock and memory at its peak of `pyrogrn infer` with these ``words``.

    Raises
    ------
    RuntimeError
        It failed: what it said.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", "from pyrogrn.experiments.entry import main; main()", "infer", *words]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        used, memory = ended(process)
        wall = time.perf_counter() - started
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"pyrogrn infer failed:\n{said.read().decode()}")
    return {
        "CPU seconds": used.ru_utime + used.ru_stime,
        "wall seconds": wall,
        "peak resident GB": memory / 1e9,
    }
