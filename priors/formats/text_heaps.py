"""Where HDF5 keeps text of varying length: looked at first, because the library turns for ever in a damaged one."""

import mmap
from pathlib import Path

SIGNATURE = b"GCOL\x01\0\0\0"  # a global heap collection, version 1; then its size, then objects of 16 bytes and more
HEAD = 16
LARGEST = 1 << 30  # bytes, half a second


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
        at = raw.find(SIGNATURE)
        while at >= 0:
            stop = at + int.from_bytes(raw[at + 8 : at + HEAD], "little")
            place = at + HEAD
            while place + HEAD <= min(stop, len(raw)):
                number = int.from_bytes(raw[place : place + 2], "little")
                size = int.from_bytes(raw[place + 8 : place + HEAD], "little")
                if number == 0 and size == 0:  # free space counts its own head
                    raise ValueError(f"damaged, truncated or not {what} (its text is broken): fetch or write it again")
                place += size if number == 0 else HEAD + (size + 7) // 8 * 8
            at = raw.find(SIGNATURE, at + 1)
