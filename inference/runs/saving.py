"""States of unfinished work on disk, each replaced in one move."""

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch


def save_whole(value: Any, path: Path) -> None:
    """Write ``value`` as torch does; ``path`` is the old file until it is the whole new one.

    It is written in memory first: torch's own writer ends the process (``terminate called``) on a disk that becomes
    full.

    Raises
    ------
    ValueError
        The disk refuses; nothing half-written is left.
    """
    content = io.BytesIO()
    torch.save(value, content)
    scratch = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(content.getbuffer())
        os.replace(scratch, path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise ValueError(f"cannot write to {path}: {error.strerror or error}. Make room, and go on") from error
