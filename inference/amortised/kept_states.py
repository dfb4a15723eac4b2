"""What an interrupted training kept of its work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..runs.saving import load_whole
from .batches import Batch
from .evidence import CHANNELS
from .knowledge import PRIOR_CHANNELS


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
        raise ValueError(f"{error}: {_remedy(path)}") from error


def read_kept_batch(path: Path) -> Batch:
    """Simulated networks in the folder of a training.

    Raises
    ------
    ValueError
        It is damaged or was changed, or does not hold the tensors of a batch (a file without a hash may hold anything).
    """
    with fitting(path, kept := read_kept(path)):
        batch = Batch(*kept)
        pairs = batch.truth.shape
        wanted = (*pairs, len(CHANNELS)), pairs, (*pairs, len(PRIOR_CHANNELS)), pairs, pairs
        if len(pairs) != 3 or not batch.truth.numel():
            raise ValueError(f"truth of shape {tuple(pairs)}")
        for name, part, shape in zip(Batch._fields, batch, wanted, strict=True):
            if part.shape != torch.Size(shape):
                raise ValueError(f"{name} of shape {tuple(part.shape)}, expected {tuple(shape)}")
            if not bool(part.isfinite().all()):
                raise ValueError(f"{name} is not finite")
    return batch


@contextmanager
def fitting(path: Path, kept: Any) -> Iterator[None]:
    """Around the lines that take ``kept``, read from ``path``, into a training.

    Raises
    ------
    ValueError
        Something is missing, or of another type or shape.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:100]}"
        raise ValueError(
            f"{path} does not hold what this training needs ({type(kept).__name__}; {found}): {_remedy(path)}"
        ) from error


def _remedy(path: Path) -> str:
    return f"remove {path.parent} and train again from the start"
