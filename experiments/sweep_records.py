"""Results of finished runs on disk, each with a hash: one that was changed is not taken for what was computed."""

import hashlib
import json
from pathlib import Path
from typing import Any

HASH = "sha256"


def digest_of_result(result: Any) -> str:
    """SHA-256 of a result as JSON, in hex."""
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def read_record(path: Path, key: str) -> tuple[dict[str, Any], str]:
    """The record of a finished run, and the version that wrote it. A result without a hash, which earlier versions
    wrote, is taken as it is.

    Raises
    ------
    ValueError
        The file cannot be read, is no result, or was changed.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        result, version = stored["result"], stored["pyrogrn"]
        if not isinstance(version, str):
            raise TypeError(f"version {version!r}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is no result of a sweep ({type(error).__name__}: {error}): remove it to run it again"
        ) from error
    if stored.get(HASH, digest_of_result(result)) != digest_of_result(result):
        raise ValueError(f"{path} was changed after it was written: remove it to run it again")
    return {"key": key, "result": result}, version
