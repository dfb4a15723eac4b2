"""`pyrogrn infer` in a process of its own: what all of it takes, from the files to the report."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence


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
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None, "it is a pipe"
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"pyrogrn infer failed:\n{said}")
    return {
        "CPU seconds": used.ru_utime + used.ru_stime,
        "wall seconds": time.perf_counter() - started,
        "peak resident GB": used.ru_maxrss / 1e6,
    }
