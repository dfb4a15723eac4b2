"""Loom files, read with h5py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from ...models.data.checks import some
from .stored import Stored, guarded
from .stored_names import dataset_at, open_hdf5, strings, unique_names

GENES = ("Gene", "var_names", "gene_names", "GeneName", "gene_name", "gene", "Symbol", "Accession", "gene_id")
CELLS = ("CellID", "obs_names", "cell_names", "Barcode", "barcode", "cell_id", "cell")
DENSE = 0.5  # share of values that are not zero from which a loom is kept dense
BLOCK = 512  # genes read at a time


def read_loom(path: Path, layer: str | None) -> Stored:
    """A loom file: genes × cells, names and annotations in ``row_attrs`` and ``col_attrs``."""
    with open_hdf5(path, "a loom") as store:
        lacking = [name for name in ("matrix", "row_attrs", "col_attrs") if name not in store]
        if lacking:
            raise ValueError(f"is no loom: it has no {' and no '.join(lacking)} (found {sorted(store) or 'nothing'})")
        layers = sorted(store["layers"]) if "layers" in store else []
        if layer is not None and layer not in layers:
            raise ValueError(f"no layer {layer!r}: the file has {layers or 'no layers'}")
        dataset = dataset_at(store, "matrix" if layer is None else f"layers/{layer}")
        if len(dataset.shape) != 2:
            raise ValueError(f"its {dataset.name} has the shape {dataset.shape}: expected genes x cells")
        genes = guarded("a loom", lambda: _attributes(store["row_attrs"], dataset.shape[0]))
        cells = guarded("a loom", lambda: _attributes(store["col_attrs"], dataset.shape[1]))
        names, notes = unique_names(_named(genes, GENES, "row_attrs", "genes"))
        labels = _named(cells, CELLS, "col_attrs", "cells")
        matrix = guarded("a loom", lambda: _by_blocks(dataset))
    label = f"loom, layer {layer}" if layer else "loom"
    return Stored(matrix, tuple(labels), tuple(names), cells, genes, label, notes=notes)


def _attributes(group: h5py.Group, size: int) -> pd.DataFrame:
    """Attributes with one value a gene or cell."""
    found = {}
    for name, values in group.items():
        if isinstance(values, h5py.Dataset) and values.shape == (size,):
            found[name] = values[()] if values.dtype.kind in "fiub" else strings(values[()])
    return pd.DataFrame(found, index=range(size))


def _named(table: pd.DataFrame, names: Sequence[str], where: str, what: str) -> list[str]:
    column = next((name for name in names if name in table), None)
    if column is None:
        raise ValueError(
            f"names no {what}: {where} has {some([str(c) for c in table], 8)}, expected one of {', '.join(names)}"
        )
    return strings(table[column].to_numpy())


def _by_blocks(dataset: h5py.Dataset) -> Any:
    """(cell, gene) of a dataset (gene, cell): CSR, dense where few values are zero."""
    blocks = [
        sp.csr_matrix(np.asarray(dataset[i : i + BLOCK], dtype=np.float32)) for i in range(0, dataset.shape[0], BLOCK)
    ]
    matrix = sp.vstack(blocks).T.tocsr()
    return matrix.toarray() if matrix.nnz > DENSE * matrix.shape[0] * matrix.shape[1] else matrix
