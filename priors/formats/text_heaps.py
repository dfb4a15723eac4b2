"""Where HDF5 keeps text of varying length: looked at first, because the library turns for ever in a damaged one."""

import mmap
from collections.abc import Iterator
from pathlib import Path

SIGNATURE = b"GCOL\x01\0\0\0"  # a global heap collection, version 1; then its size, then objects of 16 bytes and more
HEAD = 16
LARGEST = 1 << 30  # bytes, half a second
WINDOW = 1 << 25  # bytes looked through at a time


def check_text(path: Path, what: str) -> None:
    """The objects of every heap follow one another to its end. Not asked of files beyond `LARGEST`: all of a file is
    looked through, and those are streamed.

    Raises
    ------
    ValueError
        One has no size, as where a block of the file was zeroed.
    """
    if not 0 < path.stat().st_size <= LARGEST:
        return
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        for at in _heaps(raw):
            stop = at + int.from_bytes(raw[at + 8 : at + HEAD], "little")
            place = at + HEAD
            while place + HEAD <= min(stop, len(raw)):
                number = int.from_bytes(raw[place : place + 2], "little")
                size = int.from_bytes(raw[place + 8 : place + HEAD], "little")
                if number == 0 and size == 0:  # free space counts its own head
                    raise ValueError(f"damaged, truncated or not {what} (its text is broken): fetch or write it again")
                place += size if number == 0 else HEAD + (size + 7) // 8 * 8


def _heaps(raw: mmap.mmap) -> Iterator[int]:
    """Where the signature is; what was looked through is let go of, so that the file does not count as memory."""
    for start in range(0, len(raw), WINDOW):
        stop = min(start + WINDOW, len(raw))
        at = raw.find(SIGNATURE, start, stop + len(SIGNATURE) - 1)
        while at >= 0:
            yield at
            at = raw.find(SIGNATURE, at + 1, stop + len(SIGNATURE) - 1)
        if hasattr(mmap, "MADV_DONTNEED"):
            raw.madvise(mmap.MADV_DONTNEED, start, stop - start)
