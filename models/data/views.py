"""Several views of the same cells: the modalities of a MuData side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .checks import check_finite, some
from .containers import matrix_of
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


class JoinedModalities(NamedTuple):
    """Fields of `ExpressionData` of the same names: ``ExpressionData(**joined._asdict())``."""

    matrix: Any
    genes: tuple[str, ...]
    view: Tensor
    view_names: tuple[str, ...]
    missing: bool
    notes: tuple[str, ...]


def join_modalities(
    mdata: "mudata.MuData", layer: str | Mapping[str, str] | None, *, missing: bool
) -> JoinedModalities:
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
    return JoinedModalities(
        torch.from_numpy(joined[:]) if in_memory else joined,
        tuple(genes),
        view=torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts])),
        view_names=tuple(str(view) for view in mdata.mod),
        missing=missing or any(bool((position < 0).any()) for position in positions),
        notes=tuple(notes),
    )


def modality_of(mdata: "mudata.MuData", name: str) -> "anndata.AnnData":
    """The AnnData of one modality; columns of ``mdata.obs`` that its ``.obs`` lacks are among its annotations.

    Raises
    ------
    ValueError
        No such modality.
    """
    if name not in mdata.mod:
        raise ValueError(f"no modality {name!r}: there are {list(mdata.mod)}")
    adata = mdata.mod[name]
    lacking = [column for column in mdata.obs if column not in adata.obs]
    if not lacking:
        return adata
    shared = adata.copy() if adata.isbacked is False else adata.to_memory()
    shared.obs = shared.obs.join(mdata.obs[lacking])
    return shared


def annotations_of(mdata: "mudata.MuData", keys: Sequence[str | None]) -> pd.DataFrame:
    """Columns of ``mdata.obs``, or else of the ``.obs`` of the modalities that have them; one row a cell. None names
    none.

    Raises
    ------
    ValueError
        A column that is nowhere, or of which modalities tell different things.
    """
    found = {}
    for key in filter(None, keys):
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


def views_of(
    view: Tensor | None, names: tuple[str, ...], keep: np.ndarray
) -> tuple[Tensor | None, tuple[str, ...], tuple[str, ...]]:
    """Views of the genes at the positions ``keep``, the names of those left, and a note of those that are not."""
    if view is None:
        return None, names, ()
    used, codes = view[torch.as_tensor(keep, device=view.device)].unique(return_inverse=True)
    left = tuple(names[k] for k in used.tolist())
    gone = [name for name in names if name not in left]
    return codes, left, (f"views without a gene left: {some(gone)}",) if gone else ()
