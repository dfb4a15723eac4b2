"""Several views of the same cells, and values that are missing."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from .data import ExpressionData, check_finite, some
from .matrix import read_rows

if TYPE_CHECKING:
    import anndata
    import mudata


class JoinedViews:
    """Matrices side by side over the union of their cells, read by rows; NaN where a view lacks the cell.

    ``positions`` ``(cell,)`` for each matrix: the cell's row in it, −1 where it has none. NaN inside a matrix are
    refused unless ``missing``.
    """

    def __init__(self, matrices: Sequence[Any], positions: Sequence[np.ndarray], *, missing: bool) -> None:
        self.matrices, self.positions, self.missing = tuple(matrices), tuple(positions), missing
        self.bounds = np.cumsum([0, *(matrix.shape[1] for matrix in matrices)])
        self.shape = (len(self.positions[0]), int(self.bounds[-1]))

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        index = np.arange(self.shape[0])[rows]
        block = np.full((len(index), self.shape[1]), np.nan, dtype=np.float32)
        for matrix, position, start, stop in zip(
            self.matrices, self.positions, self.bounds[:-1], self.bounds[1:], strict=True
        ):
            own = position[index]
            has = np.flatnonzero(own >= 0)
            if len(has):
                values = read_rows(matrix, own[has], torch.float32).cpu()
                check_finite(values, None, missing=self.missing)
                block[has, start:stop] = values.numpy()
        return block


def join_modalities(mdata: "mudata.MuData", layer: str | Mapping[str, str] | None, *, missing: bool) -> ExpressionData:
    """Modalities as views over the union of cells, in the order of ``mdata``; see `ExpressionData.from_mudata`."""
    if getattr(mdata, "axis", 0) != 0:
        raise ValueError("the modalities share genes instead of cells (axis is not 0): join their cells with anndata")
    if not mdata.mod:
        raise ValueError("the MuData has no modality: expected one AnnData for each view")
    layers = dict.fromkeys(mdata.mod, layer) if layer is None or isinstance(layer, str) else dict(layer)
    unknown = sorted(set(layers) - set(mdata.mod))
    if unknown:
        raise ValueError(f"`layer` names modalities {some(unknown)}: there are {list(mdata.mod)}")
    cells = pd.Index(mdata.obs_names)
    if not cells.is_unique:
        raise ValueError("names of cells repeat: make them unique first (mdata.obs_names_make_unique())")
    matrices, positions, parts = [], [], []
    for view, adata in mdata.mod.items():
        names = pd.Index(adata.obs_names)
        if not names.is_unique:
            raise ValueError(f"view {view!r}: names of cells repeat, make them unique first (obs_names_make_unique())")
        try:
            matrices.append(matrix_of(adata, layers.get(view)))
        except ValueError as error:
            raise ValueError(f"view {view!r}: {error}") from error
        positions.append(names.get_indexer(cells))
        parts.append([str(gene) for gene in adata.var_names])
    every = pd.Series([gene for part in parts for gene in dict.fromkeys(part)])
    shared = set(every[every.duplicated()])
    genes = [
        f"{view}:{gene}" if gene in shared else gene
        for view, part in zip(mdata.mod, parts, strict=True)
        for gene in part
    ]
    joined = JoinedViews(matrices, positions, missing=missing)
    sizes = ", ".join(f"{view} with {len(part)} genes" for view, part in zip(mdata.mod, parts, strict=True))
    notes = [f"{len(cells)} cells, views: {sizes}"]
    if shared:
        notes.append(f"{len(shared)} genes are in several views and named view:gene ({some(sorted(shared), 3)})")
    in_memory = all(isinstance(matrix, torch.Tensor) for matrix in matrices)
    return ExpressionData(
        torch.from_numpy(joined[:]) if in_memory else joined,
        tuple(genes),
        view=torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts])),
        view_names=tuple(str(view) for view in mdata.mod),
        missing=missing or any(bool((position < 0).any()) for position in positions),
        notes=tuple(notes),
    )


def matrix_of(adata: "anndata.AnnData", layer: str | None) -> Any:
    """``.X`` or a layer: CSR, a float32 tensor, or what is on disk as it is."""
    if layer is not None and layer not in adata.layers:
        raise ValueError(f"no layer {layer!r}: the file has {sorted(adata.layers) or 'no layers'}")
    matrix = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise ValueError("the AnnData has no .X: pass `layer=`")
    if sp.issparse(matrix):
        return matrix.tocsr()
    return torch.as_tensor(np.asarray(matrix, dtype=np.float32)) if isinstance(matrix, np.ndarray) else matrix


def annotations_of(mdata: "mudata.MuData", keys: Sequence[str]) -> pd.DataFrame:
    """Columns of ``mdata.obs``, or else of the ``.obs`` of the modalities that have them; one row a cell.

    Raises
    ------
    ValueError
        A column that is nowhere, or of which modalities tell different things.
    """
    found = {}
    for key in keys:
        if key in mdata.obs:
            found[key] = mdata.obs[key]
            continue
        parts = {view: adata.obs[key] for view, adata in mdata.mod.items() if key in adata.obs}
        if not parts:
            tables = (mdata.obs, *(adata.obs for adata in mdata.mod.values()))
            there = sorted({str(column) for table in tables for column in table.columns})
            raise ValueError(f"cells have no annotation {key!r}: there are {there or 'none'}")
        values = None
        for part in parts.values():
            part = part.astype(object) if isinstance(part.dtype, pd.CategoricalDtype) else part
            part = part.reindex(mdata.obs_names)
            if values is None:
                values = part
                continue
            both = values.notna() & part.notna()
            if not (values[both] == part[both]).all():
                raise ValueError(
                    f"views {list(parts)} differ in .obs[{key!r}]: keep it in one of them, or in mdata.obs"
                )
            values = values.where(values.notna(), part)
        assert values is not None, "at least one view has the annotation"
        found[key] = values.infer_objects()
    return pd.DataFrame(found, index=mdata.obs_names)


def observed(data: ExpressionData, *, genes: bool = True) -> ExpressionData:
    """``data`` with what is missing in its ``notes``; ``missing`` is False where nothing is. One pass over the cells.

    Parameters
    ----------
    data
        Cells, NaN where missing.
    genes
        Whether a gene that no cell has is refused (default), or left to be dropped as constant.

    Raises
    ------
    ValueError
        A view without any value, or a gene without any.
    """
    if not data.missing:
        return data
    view = torch.zeros(data.num_genes, dtype=torch.long) if data.view is None else data.view.cpu()
    one_hot = torch.nn.functional.one_hot(view, len(data.view_names)).float()  # (gene, view)
    by_gene = torch.zeros(data.num_genes, dtype=torch.long)
    without = torch.zeros(len(data.view_names), dtype=torch.long)  # cells that have no value of a view
    for _, block in data.chunks():
        seen = ~block.isnan().cpu()
        by_gene += seen.sum(0)
        without += ((seen.float() @ one_hot) == 0).sum(0)
    empty = [name for name, cells in zip(data.view_names, without.tolist(), strict=True) if cells == data.num_cells]
    if empty:
        raise ValueError(f"views {some(empty)} have no value in any of {data.num_cells} cells: leave them out")
    never = [g for g, number in zip(data.genes, by_gene.tolist(), strict=True) if number == 0]
    if never and genes:
        raise ValueError(f"{len(never)} genes have no value in any cell: {some(never)}. Drop them (--drop-constant)")
    total = data.num_cells * data.num_genes
    absent = total - int(by_gene.sum())
    if absent == 0:
        return data.with_missing(False)
    notes = [f"{absent} of {total} values are missing ({absent / total:.1%})"]
    notes += [
        f"{cells} of {data.num_cells} cells have no value of view {name!r} at all"
        for name, cells in zip(data.view_names, without.tolist(), strict=True)
        if cells
    ]
    return data.with_missing(True, *notes)
