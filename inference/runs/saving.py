"""States of unfinished work on disk, each replaced in one move, and read only where they are what was written."""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

MARK = b"\npyrogrn sha256 "  # after the archive, where torch does not look; then the hash in hex
DIGITS = 64


class _Hashed:
    """A file that is written with its hash. It takes what a full disk refuses without a word, and tells afterwards:
    torch's own writer ends the process (``terminate called``) where a write fails."""

    def __init__(self, handle: BinaryIO) -> None:
        self.handle, self.digest = handle, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        if self.error is None:
            try:
                self.handle.write(content)
                self.digest.update(content)
            except OSError as error:
                self.error = error
        return len(content)

    def flush(self) -> None:
        """At the end."""


def save_whole(value: Any, path: Path) -> None:
    """Write ``value`` as torch does, and a hash of that; ``path`` is the old file until it is the whole new one.

    Nothing of the size of ``value`` is held in memory.

    Raises
    ------
    ValueError
        The disk refuses; nothing half-written is left.
    """
    scratch = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as handle:
            hashed = _Hashed(handle)
            torch.save(value, hashed)  # type: ignore[arg-type]  # write and flush are all that it calls
            if hashed.error is not None:
                raise hashed.error
            handle.write(MARK + hashed.digest.hexdigest().encode())
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
        with path.open("rb") as handle:
            end = _end_of_content(handle)
            if end is None:
                source: Any = io.BytesIO(_of_earlier_version(path, path.read_bytes()))
            else:
                digest = handle.read(len(MARK) + DIGITS)[len(MARK) :]
                handle.seek(0)
                if _digest(handle, end) != digest:
                    raise ValueError(f"{path} was changed after it was written: its hash does not fit")
                handle.seek(0)
                source = handle
            return _loaded(path, source)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error


def _loaded(path: Path, source: Any) -> Any:
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # written by another program: unpickling meets it with errors of many kinds
        raise ValueError(f"{path} is not a state that this version wrote ({type(error).__name__})") from error


def _end_of_content(handle: BinaryIO) -> int | None:
    """Where the mark begins, at which the file is left; None where there is none."""
    size = handle.seek(0, os.SEEK_END)
    end = size - len(MARK) - DIGITS
    if end < 0:
        return None
    handle.seek(end)
    if handle.read(len(MARK)) != MARK:
        return None
    handle.seek(end)
    return end


def _digest(handle: BinaryIO, end: int) -> bytes:
    """Hash of the file up to ``end``."""
    digest, left = hashlib.sha256(), end
    while left:
        part = handle.read(min(left, 1 << 22))
        if not part:
            break
        digest.update(part)
        left -= len(part)
    return digest.hexdigest().encode()


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
