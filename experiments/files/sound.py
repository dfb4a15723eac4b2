"""Whether a matrix in a file is what its header says, asked before compiled code trusts it.

Sparse matrices are read by code that follows their indices without looking: one below zero or far out ends the
interpreter, one just out is added to another row.
"""

import os
from typing import Any

import h5py
import numpy as np

FLOAT32 = 4  # bytes
STEP = 1 << 22  # row pointers looked at together


def element_at(store: Any, name: str) -> Any:
    """The element of an HDF5 or zarr group, ``None`` where there is none.

    Raises
    ------
    ValueError
        A link that leads nowhere, or into another file.
    """
    if isinstance(store, h5py.Group):
        group, _, last = name.rpartition("/")
        if group and group not in store:
            return None
        link = (store[group] if group else store).get(last, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(f"{name} is a link into another file, {link.filename}: copy the matrix into this one")
        if link is not None and store.get(name) is None:
            raise ValueError(f"{name} is a link that leads nowhere")
    return store.get(name)


def check_claim(element: Any, name: str, *, sparse: bool) -> None:
    """Refuse a dense matrix that claims more memory than the machine has, or a shape that no matrix has.

    Raises
    ------
    ValueError
        How large it says it is.
    """
    shape = tuple(element.attrs["shape"]) if sparse and "shape" in element.attrs else getattr(element, "shape", ())
    if len(shape) != 2 or any(int(n) < 0 for n in shape):
        raise ValueError(f"{name} has the shape {tuple(int(n) for n in shape)}: expected two numbers of 0 or more")
    if sparse:
        return
    rows, columns = (int(n) for n in shape)
    claimed, there = rows * columns * FLOAT32, memory()
    stored = element.id.get_storage_size() if isinstance(element, h5py.Dataset) else claimed
    if claimed > there and stored < claimed / 100:  # a large honest matrix is streamed
        raise ValueError(
            f"{name} says it has {rows} x {columns} numbers, {claimed / 1e9:.0f} GB, and holds {stored / 1e6:.1f} MB: "
            "the file is damaged, fetch or write it again"
        )


def check_pointers(element: Any, name: str, encoding: str) -> None:
    """The row (column) pointers of a stored CSR (CSC) matrix rise from 0 to the number of its entries.

    Raises
    ------
    ValueError
        They do not.
    """
    rows, columns = (int(n) for n in element.attrs["shape"])
    major = rows if encoding == "csr_matrix" else columns
    pointers, entries = element["indptr"], int(element["indices"].shape[0])
    good = pointers.shape == (major + 1,) and int(element["data"].shape[0]) == entries
    last = 0
    for start in range(0, major + 1, STEP) if good else ():
        part = np.asarray(pointers[start : start + STEP]).astype(np.int64)
        good = good and (start > 0 or part[0] == 0) and part[0] >= last and bool((np.diff(part) >= 0).all())
        last = int(part[-1])
    if not good or last != entries:
        raise ValueError(f"{name} is no sparse matrix: its row pointers do not fit its {entries} entries")


def check_indices(matrix: Any, name: str) -> None:
    """The indices of a sparse matrix in memory lie within it.

    Raises
    ------
    ValueError
        Which do not.
    """
    indices = getattr(matrix, "indices", None)
    if indices is None or not len(indices):
        return
    minor = matrix.shape[1] if matrix.format == "csr" else matrix.shape[0]
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= minor:
        wrong = low if low < 0 else high
        raise ValueError(
            f"{name} is no sparse matrix: it has an entry at {wrong}, and indices run from 0 to {minor - 1}"
        )


def memory() -> int:
    """Bytes of memory of the machine; without a limit where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 62
