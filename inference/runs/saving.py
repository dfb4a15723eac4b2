"""States of unfinished work on disk, each replaced in one move, and read only where they are what was written."""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

MARK = b"\npyrogrn sha256 "  # after the archive, where torch does not look; then the hash in hex


def save_whole(value: Any, path: Path) -> None:
    """Write ``value`` as torch does, and a hash of that; ``path`` is the old file until it is the whole new one.

    It is written in memory first: torch's own writer ends the process (``terminate called``) on a disk that becomes
    full.

    Raises
    ------
    ValueError
        The disk refuses; nothing half-written is left.
    """
    content = io.BytesIO()
    torch.save(value, content)
    content.write(MARK + hashlib.sha256(content.getbuffer()).hexdigest().encode())
    scratch = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(content.getbuffer())
        os.replace(scratch, path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise ValueError(f"cannot write to {path}: {error.strerror or error}. Make room, and go on") from error


def load_whole(path: Path) -> Any:
    """What `save_whole` wrote, on the CPU (tensors and plain values only, no code).

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It cannot be read, is cut short or was changed since, or is another file. The message says what the file is not,
        and leaves it to the caller to say what to do.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    content, mark, digest = raw.rpartition(MARK)
    if not mark:
        content = _of_earlier_version(path, raw)
    elif hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError(f"{path} was changed after it was written: its hash does not fit")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # written by another program: unpickling meets it with errors of many kinds
        raise ValueError(f"{path} is not a state that this version wrote ({type(error).__name__})") from error


@contextmanager
def restoring() -> Iterator[None]:
    """Around the lines that read a checkpoint into a fit: what earlier versions wrote has no hash, and may hold
    anything.

    Raises
    ------
    ValueError
        Something is missing, of another type or shape.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:100]}"
        raise ValueError(
            f"the checkpoint does not hold what this fit needs ({found}): remove it and run again without resuming"
        ) from error


def _of_earlier_version(path: Path, raw: bytes) -> bytes:
    """An archive without a hash, as versions before this wrote it, which ends where the archive does; its parts have
    check sums of their own."""
    if raw[-22:-18] != b"PK\x05\x06" or not zipfile.is_zipfile(io.BytesIO(raw)):
        how = (
            "its hash is damaged" if raw[:4] == b"PK\x03\x04" and len(raw) > 100 else "it is cut short, or another file"
        )
        raise ValueError(f"{path} is not a state that this version wrote: {how}")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as parts:
            damaged = parts.testzip()
    except Exception as error:  # bits of its directory: a bad number, an encryption or a compression that is not there
        raise ValueError(f"{path} was changed after it was written ({type(error).__name__})") from error
    if damaged is not None:
        raise ValueError(f"{path} was changed after it was written: its part {damaged} is damaged")
    return raw
