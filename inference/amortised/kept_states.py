"""What an interrupted training kept of its work."""

from pathlib import Path
from typing import Any

from ..runs.saving import load_whole


def read_kept(path: Path) -> Any:
    """A state in the folder of a training.

    Raises
    ------
    ValueError
        It is damaged or was changed.
    """
    try:
        return load_whole(path)
    except ValueError as error:
        raise ValueError(f"{error}: remove {path.parent} and train again from the start") from error
