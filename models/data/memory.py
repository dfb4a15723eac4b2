"""Memory that an operation needs, against what there is: said before it starts, instead of after an hour."""

import os
from pathlib import Path

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

LEAST = 1 << 28  # bytes below which nobody asks
GROUP = Path("/sys/fs/cgroup")  # of a container or a batch job


def available() -> int:
    """Bytes that this process can still have: of the machine, of its control group, of its address space (ulimit -v).

    2⁶² where the system does not say.
    """
    found = [1 << 62]
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    limit, used = ("".join(_lines(GROUP / name)).strip() for name in ("memory.max", "memory.current"))
    if limit.isdigit() and used.isdigit():
        cached = sum(
            int(line.split()[1]) for line in _lines(GROUP / "memory.stat") if line.startswith("inactive_file ")
        )
        found.append(max(int(limit) - int(used) + cached, 0))
    most = -1 if resource is None else resource.getrlimit(resource.RLIMIT_AS)[0]  # -1: no limit
    mapped = "".join(_lines(Path("/proc/self/statm"))).split()
    if most >= 0 and mapped:
        found.append(max(most - int(mapped[0]) * os.sysconf("SC_PAGE_SIZE"), 0))
    return min(found)


def resident() -> int:
    """Bytes that this process has in memory; 0 where the system does not say."""
    mapped = "".join(_lines(Path("/proc/self/statm"))).split()
    return int(mapped[1]) * os.sysconf("SC_PAGE_SIZE") if mapped else 0


def require_memory(needed: float, what: str, remedy: str) -> None:
    """Refuse what cannot fit.

    Parameters
    ----------
    needed
        Bytes at the least; an estimate from below, so that nothing is refused that would have worked.
    what, remedy
        What needs them, and what to do instead.

    Raises
    ------
    ValueError
        More than there is.
    """
    if needed < LEAST:
        return
    there = available()
    if needed > there:
        raise ValueError(
            f"{what} needs at least {needed / 1e9:.3g} GB of memory and {there / 1e9:.3g} GB are left: {remedy}"
        )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # not on Linux, or not in a group
        return []
