"""Names in HDF5 files, and names of genes that repeat."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...models.data.checks import some
from ...priors.formats.files import MAGIC_HDF5
from .stored import guarded


def unique_names(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Names of which later ones that repeat get ``-1``, ``-2``, ..., as scanpy does it, and what is said of that."""
    taken, counts, unique = set(names), dict[str, int](), list[str]()
    for name in names:
        if name not in counts:
            counts[name] = 0
            unique.append(name)
            continue
        while True:
            counts[name] += 1
            if (other := f"{name}-{counts[name]}") not in taken:
                break
        taken.add(other)
        unique.append(other)
    repeated = [name for name, count in counts.items() if count]
    if not repeated:
        return unique, ()
    said = f"{len(repeated)} names of genes repeat ({some(repeated, 3)}): later ones are called NAME-1, NAME-2, ..."
    return unique, (said,)


def strings(values: Any) -> list[str]:
    """Text of an HDF5 dataset, stored as bytes or not."""
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in np.asarray(values).tolist()]


def open_hdf5(path: Path, what: str) -> h5py.File:
    """The open file; one that is no HDF5 is refused, as not being ``what``."""
    with path.open("rb") as handle:
        if handle.read(len(MAGIC_HDF5)) != MAGIC_HDF5:
            raise ValueError(f"is not {what}: it does not begin as an HDF5 file")
    return guarded(what, lambda: h5py.File(path, "r"))
