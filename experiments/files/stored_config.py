"""``config.json``, what a run was made with."""

import json
from pathlib import Path
from typing import Any

TEXTS = ("method", "layer", "normalize")  # what other commands take over from a run


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration in the folder of a run.

    Raises
    ------
    FileNotFoundError
        It has none.
    ValueError
        It is not JSON, not an object with names, or has numbers where text should be.
    """
    path = folder / "config.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read ({reason}): run again with --overwrite") from error
    if not isinstance(stored, dict):
        raise ValueError(f"{path} is not the configuration of a run: run again with --overwrite")
    for name in TEXTS:
        if not isinstance(stored.get(name, ""), str | None):
            raise ValueError(f"{path}: {name!r} is {str(stored[name])[:40]!r} and no text: run again with --overwrite")
    return stored
