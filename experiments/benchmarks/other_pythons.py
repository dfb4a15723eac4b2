"""A few lines run by another Python, which has what this one has not: their scores, CPU seconds and memory."""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from .memory import PEAK

LAST = "CPU seconds"  # the row that is written last, of a tool that has all of its rows
LONGEST = 1800  # seconds on the wall for one tool

BEFORE = """
import sys, time
import numpy as np
globals().update(np.load(sys.argv[1]))
names = [f"G{i}" for i in range(X.shape[1])]
"""
AFTER = f"""
seconds = time.process_time() - started
np.savez(sys.argv[2], score=score, seconds=seconds, memory={PEAK} / 1e9)
"""


def written_by(python: str, load: str, work: str, **arrays: np.ndarray) -> dict[str, np.ndarray] | str:
    """What a program wrote, ``score, seconds, memory`` (CPU, gigabytes), or the last line of what it said instead;
    ``load`` runs before the clock starts, ``work`` finds the arrays by their names."""
    program = "\n".join([BEFORE, load, "started = time.process_time()", work, AFTER])
    with tempfile.TemporaryDirectory() as scratch:
        read, written = Path(scratch) / "in.npz", Path(scratch) / "out.npz"
        np.savez(read, **arrays)  # type: ignore[arg-type]
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        try:
            done = subprocess.run(
                [python, "-c", program, read, written],
                env=clean | one,
                cwd=scratch,
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error).splitlines()[0][:200]
        if done.returncode or not written.exists():
            return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]
        with np.load(written) as box:
            return dict(box)
