"""The most memory that a process has held, as Linux tells of it alone: ``ru_maxrss`` has that of the process which
started it in it, where that held more when it forked."""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from resource import struct_rusage

EVERY = 0.1  # seconds between looks at a running process
PEAK = """1024.0 * sum(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))"""
"""Expression for a program that has nothing of ours: `peak_memory`."""


def peak_memory() -> float:
    """Bytes of this process at its peak."""
    return peak_of("self")


def peak_of(pid: int | str) -> float:
    """Bytes of a running process at its peak; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return 1024.0 * sum(float(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def of_copies(pid: int) -> float:
    """Bytes that copies of a running process hold now and do not share with it. At its most beside the most of the
    process this is what both can have held at one time."""
    held = 0.0
    with suppress(OSError):  # it has ended, or a copy has
        for copy in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            lines = Path(f"/proc/{copy}/smaps_rollup").read_text().splitlines()
            held += 1024.0 * sum(float(line.split()[1]) for line in lines if line.startswith("Private_"))
    return held


def ended(process: subprocess.Popen) -> tuple[struct_rusage, float]:
    """Wait for a process; what it used, and bytes at its peak with those of its copies."""
    memory, apart, done = 0.0, 0.0, 0
    while not done:
        memory, apart = max(memory, peak_of(process.pid)), max(apart, of_copies(process.pid))
        time.sleep(EVERY)
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage, memory + apart
