"""The most memory that a process has held, as Linux tells of it alone: ``ru_maxrss`` has that of the process which
started it in it, where that held more when it forked."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from resource import struct_rusage
from select import select

EVERY = 0.02  # seconds between looks at a running process
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
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):  # it has ended, or a copy has
            for copy in (thread / "children").read_text().split():
                lines = Path(f"/proc/{copy}/smaps_rollup").read_text().splitlines()
                held += 1024.0 * sum(float(line.split()[1]) for line in lines if line.startswith("Private_"))
    return held


def ended(process: subprocess.Popen) -> tuple[struct_rusage, float]:
    """Wait for a process, which an interrupt ends; what it used, and bytes at its peak with those of its copies, of
    which growth within the last look before its end is not seen."""
    memory, apart = 0.0, 0.0
    handle = os.pidfd_open(process.pid)
    try:
        while not select([handle], [], [], EVERY)[0]:  # nothing is lost by waiting: it wakes at the end
            memory, apart = max(memory, peak_of(process.pid)), max(apart, of_copies(process.pid))
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        os.close(handle)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage, memory + apart
