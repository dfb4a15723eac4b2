"""Matrices of cells × genes out of tables and AnnData."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from .checks import some
from .orientation import genes_axis

if TYPE_CHECKING:
    import anndata


def orient(frame: pd.DataFrame, tfs: Sequence[str] | None) -> tuple[pd.DataFrame, bool]:
    """Return the table as cells × genes, and whether it had to be transposed (decided by where the TF names are)."""
    if tfs is None:
        return frame, False
    rows, columns = [str(r) for r in frame.index], [str(c) for c in frame.columns]
    return (frame.T, True) if genes_axis(rows, columns, tfs) == "rows" else (frame, False)


def cells_of(frame: pd.DataFrame, tfs: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """``(cell, gene)`` float32 values of a table in either orientation (`orient`), the genes, and a note if turned.

    Raises
    ------
    ValueError
        Columns that are not numbers.
    """
    frame, transposed = orient(frame, tfs)
    notes: tuple[str, ...] = ()
    if transposed:
        notes = (
            "genes x cells recognised from the TF names and transposed: "
            f"{frame.shape[0]} cells x {frame.shape[1]} genes",
        )
    other = [str(c) for c, kind in frame.dtypes.items() if kind.kind not in "fiub"]
    if other:
        raise ValueError(
            f"columns that are not numbers: {some(other)}. Expected one column a gene; drop or move annotations"
        )
    return frame.to_numpy(dtype=np.float32), tuple(str(c) for c in frame.columns), notes


def is_anndata(data: object) -> bool:
    """Whether it is an AnnData; whoever has one has imported the package, which is not imported for the question."""
    module = sys.modules.get("anndata")
    return module is not None and isinstance(data, module.AnnData)


def is_mudata(data: object) -> bool:
    """Whether it is a MuData, asked as `is_anndata`."""
    module = sys.modules.get("mudata")
    return module is not None and isinstance(data, module.MuData)


def layer_of(layer: str | None, use_raw: bool) -> str | None:
    """The layer to read: ``.raw``, which counts as the layer ``"raw"``, where that is asked for.

    Raises
    ------
    ValueError
        Both are asked for.
    """
    if use_raw and layer not in (None, "raw"):
        raise ValueError(f"layer {layer!r} and use_raw=True: choose one of them")
    return "raw" if use_raw else layer


def matrix_and_genes(adata: "anndata.AnnData", layer: str | None) -> tuple[Any, tuple[str, ...]]:
    """``.X`` or a layer (`matrix_of`), and the genes; ``"raw"`` is ``.raw``, with its own genes, where no layer is
    called so."""
    if layer == "raw" and "raw" not in adata.layers and adata.raw is not None:
        adata, layer = adata.raw.to_adata(), None
    return matrix_of(adata, layer), tuple(str(gene) for gene in adata.var_names)


def matrix_of(adata: "anndata.AnnData", layer: str | None) -> Any:
    """``.X`` or a layer: CSR, a float32 tensor, or what is on disk as it is."""
    if layer is not None and layer not in adata.layers:
        named = sorted(name for name in adata.layers if name is not None)  # anndata 0.13 counts .X as one
        raise ValueError(f"no layer {layer!r}: the file has {named or 'no layers'}")
    matrix = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise ValueError("the AnnData has no .X: pass `layer=`")
    if sp.issparse(matrix):
        return matrix.tocsr()
    return torch.as_tensor(np.asarray(matrix, dtype=np.float32)) if isinstance(matrix, np.ndarray) else matrix
