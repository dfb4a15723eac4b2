"""An AnnData in Python as the readers of files hold one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch

from ...models.data.checks import some
from ...models.data.containers import matrix_and_genes
from .stored import STREAMED, RowsOnDisk, Stored, also_has

if TYPE_CHECKING:
    import anndata


def stored_of(adata: "anndata.AnnData", layer: str | None) -> Stored:
    """Names, annotations and one matrix of an AnnData, as of an h5ad with the same contents.

    A dense or CSR matrix of a backed AnnData is streamed.

    Parameters
    ----------
    adata
        Cells × genes, or genes × cells.
    layer
        Layer to read instead of ``.X``; ``"raw"`` is ``.raw`` where no layer is called so.

    Raises
    ------
    ValueError
        No such layer, nothing in ``.X``, a matrix that is not of numbers, one of CSC on disk.
    """
    matrix: Any
    matrix, genes = matrix_and_genes(adata, layer)
    label = "CSR" if sp.issparse(matrix) else "dense"
    if sp.issparse(matrix):
        matrix = _checked(matrix).astype(np.float32, copy=False)
    elif isinstance(matrix, torch.Tensor):
        matrix = matrix.numpy()
    elif adata.isbacked:
        if getattr(matrix, "format", "csr") == "csc":
            raise ValueError(
                "X is CSC on disk, which cannot be streamed by rows: adata.to_memory(), or write it as CSR"
            )
        label, matrix = "backed" + STREAMED, RowsOnDisk(Path(str(adata.filename)), matrix)
    else:
        raise ValueError(f"X is a {type(matrix).__name__}: expected a NumPy array or a SciPy matrix of numbers")
    genes_of = adata.raw.var if layer == "raw" and "raw" not in adata.layers else adata.var
    notes: tuple[str, ...] = ()
    if layer is None:
        layers = [str(name) for name in adata.layers]
        notes = also_has(layers, adata.raw is not None, layers_by="layer=NAME", raw_by="use_raw=True")
    kind = f"AnnData, {label}" + (f", layer {layer}" if layer else "")
    rows = tuple(str(name) for name in adata.obs_names)
    if len(rows) != len(set(rows)):
        twice = [name for name, number in adata.obs_names.value_counts().items() if number > 1]
        notes += (f"names of cells repeat ({some(twice, 3)}): adata.obs_names_make_unique() makes them unique",)
    return Stored(matrix, rows, genes, adata.obs, genes_of, kind, notes=notes)


def _checked(matrix: Any) -> Any:
    if matrix.dtype.kind not in "fiub":
        raise ValueError(f"X holds values of type {matrix.dtype}: expected numbers")
    return matrix
