"""The HDF5 of 10x Genomics' Cell Ranger, read with h5py."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from ...models.data.checks import some
from .stored import Stored, guarded
from .stored_names import dataset_at, open_hdf5, strings, unique_names


def read_10x(path: Path) -> Stored:
    """The HDF5 of Cell Ranger, of version 3 (``matrix/features``) or 2 (one group a genome)."""
    what = "an HDF5 of 10x"
    with open_hdf5(path, what) as store:
        if "obs" in store and "var" in store:
            raise ValueError("is an AnnData: give it a name that ends in .h5ad")
        groups = [g for g in store.values() if isinstance(g, h5py.Group) and {"barcodes", "indptr", "shape"} <= set(g)]
        if not groups:
            raise ValueError(f"is not {what}: it has no matrix with barcodes (found {sorted(store) or 'nothing'})")
        if len(groups) > 1:
            names = [str(g.name).strip("/") for g in groups]
            raise ValueError(
                f"holds several genomes, {some(names)}: write the one to read as h5ad (scanpy.read_10x_h5)"
            )
        group = groups[0]

        def read() -> tuple[sp.csr_matrix, list[str], pd.DataFrame]:
            shape = tuple(int(n) for n in dataset_at(group, "shape")[()])
            data, indices, pointers = (dataset_at(group, name)[()] for name in ("data", "indices", "indptr"))
            if indices.dtype.kind not in "iu" or pointers.dtype.kind not in "iu":
                raise ValueError("its indices are no whole numbers")
            # SciPy looks at none of it where the last pointer is below zero, and its compiled code ends the interpreter
            starts = pointers.astype(np.int64)
            if not len(starts) or starts[0] != 0 or starts[-1] != len(indices) or (np.diff(starts) < 0).any():
                raise ValueError(f"its column pointers do not fit its {len(indices)} entries")
            parts = (data.astype(np.float32), indices, pointers)
            counts = sp.csc_matrix(parts, shape=shape)
            counts.check_format(full_check=True)
            features = group.get("features", group)
            ids = strings(features["id" if "id" in features else "genes"][()])
            names = strings(features["name" if "name" in features else "gene_names"][()])
            kinds = strings(features["feature_type"][()]) if "feature_type" in features else [""] * len(ids)
            table = pd.DataFrame({"gene_ids": ids, "name": names, "feature_type": kinds})
            return counts.T.tocsr(), strings(group["barcodes"][()]), table

        matrix, cells, features = guarded(what, read)
    return of_genes(matrix, cells, features, "10x HDF5")


def of_genes(matrix: sp.csr_matrix, cells: list[str], features: pd.DataFrame, kind: str) -> Stored:
    """Only gene expression, where other features (antibodies, guides) were counted too."""
    if matrix.shape != (len(cells), len(features)):
        raise ValueError(f"has a matrix of {matrix.shape} with {len(cells)} barcodes and {len(features)} features")
    notes: tuple[str, ...] = ()
    genes = (features["feature_type"] == "Gene Expression").to_numpy()
    if genes.any() and not genes.all():
        others = features["feature_type"][~genes].value_counts()
        notes = (f"features that are not genes were left out: {some([f'{k} ({n})' for k, n in others.items()])}",)
        matrix, features = matrix[:, np.flatnonzero(genes)], features[genes].reset_index(drop=True)
    names, said = unique_names(features["name"].tolist())
    cell_table = pd.DataFrame(index=range(len(cells)))
    return Stored(matrix, tuple(cells), tuple(names), cell_table, features, kind, notes=(*notes, *said))
