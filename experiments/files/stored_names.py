"""Names in HDF5 files, and names of genes that repeat."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...models.data.checks import some
from ...priors.formats.files import MAGIC_HDF5
from ...priors.formats.text_heaps import check_text
from .sound import check_claim, element_at
from .stored import damaged, guarded


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


@contextmanager
def open_hdf5(path: Path, what: str) -> Iterator[h5py.File]:
    """The open file; one that is no HDF5 is refused, as not being ``what``, and so is whatever is damaged in it."""
    with path.open("rb") as handle:
        if handle.read(len(MAGIC_HDF5)) != MAGIC_HDF5:
            raise ValueError(f"is not {what}: it does not begin as an HDF5 file")
    check_text(path, what)
    with guarded(what, lambda: h5py.File(path, "r")) as store:
        try:
            yield store
        except (KeyError, OSError, RuntimeError, TypeError, AttributeError, IndexError) as error:  # h5py, of damage
            raise ValueError(damaged(what, error)) from error


def dataset_at(store: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset of the file itself, that holds what it claims.

    Raises
    ------
    ValueError
        There is none, it is a link into another file or to nowhere, or it claims more memory than the machine has.
    """
    found = element_at(store, name)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"has no {name}" if found is None else f"its {name} is no array")
    if len(found.shape or ()) == 2:
        check_claim(found, name, sparse=False)
    return found
