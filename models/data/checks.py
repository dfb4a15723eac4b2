"""What may not be in expression data: names, shapes and values are refused here, in words that name them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...priors.shortened import shortened


def some(names: Sequence[str], limit: int = 5) -> str:
    """The first names of a list, for an error message: ``['A', 'B'] and 7 more``."""
    shown = [shortened(str(n)) for n in names[:limit]]
    return f"{shown}" + (f" and {len(names) - limit} more" if len(names) > limit else "")


AT_ONCE = 1 << 20  # values looked at together: of all of them at once there would be another table of the same size
FOUND_FINITE = "_pyrogrn_found_finite"
"""Attribute of a tensor that was looked through: its version then, and whether NaN passed."""


def check_finite(values: Tensor, genes: Sequence[str] | None, *, missing: bool = False) -> None:
    """Refuse infinite values, and NaN unless they stand for missing ones, naming the genes when they are known."""
    state = (values._version, missing)
    if getattr(values, FOUND_FINITE, None) in (state, (values._version, False)):
        return  # data that are derived from others often share their matrix
    passes = (lambda part: ~torch.isinf(part)) if missing else torch.isfinite
    if all(bool(passes(part).all()) for part in values.split(max(1, AT_ONCE // max(1, values[:1].numel())))):
        setattr(values, FOUND_FINITE, state)
        return
    finite = passes(values)
    count = int((~finite).sum())
    kind = "infinite" if missing or not bool(torch.isnan(values).any()) else "NaN"
    where = ""
    if genes is not None and values.ndim == 2:
        bad = torch.nonzero(~finite.all(dim=0)).flatten().tolist()
        where = f" in genes {some([genes[i] for i in bad], 3)}"
    raise ValueError(f"{count} {kind} values in the expression matrix{where}: remove or impute them first")


def check_genes(genes: Sequence[str], width: int) -> None:
    """Refuse another number of names than the matrix has columns, ``width``, and names that repeat."""
    if len(genes) != width:
        raise ValueError(f"{len(genes)} gene names for {width} columns: pass one name for each column")
    unnamed = [place for place, gene in enumerate(genes, start=1) if gene == ""]
    if unnamed:
        raise ValueError(
            f"{len(unnamed)} of {width} genes have no name, the first is gene {unnamed[0]} of the data: name them, or "
            "drop them"
        )
    repeated = pd.Index(genes)
    if not repeated.is_unique:
        raise ValueError(
            f"duplicate gene names: {some(sorted(set(repeated[repeated.duplicated()])))}. "
            "Make them unique first (adata.var_names_make_unique())"
        )


def positions_of(wanted: Sequence[str], genes: Sequence[str]) -> np.ndarray:
    """``(wanted,)`` place of each wanted gene among ``genes``; unknown ones are refused by name."""
    position = {gene: i for i, gene in enumerate(genes)}
    unknown = [g for g in wanted if g not in position]
    if unknown:
        raise ValueError(f"{len(unknown)} genes are not in the data: {some(unknown)}")
    return np.array([position[g] for g in wanted], dtype=np.int64)


def check_columns(table: pd.DataFrame, keys: Sequence[str | None]) -> None:
    """Refuse a name, beside None, that is no column of ``.obs``."""
    for key in keys:
        if key is not None and key not in table:
            raise ValueError(f"no column {key!r} in .obs: it has {list(table.columns)}")


def check_tfs(tfs: Sequence[str], genes: Sequence[str]) -> None:
    """Refuse candidate regulators that are no genes, or that repeat."""
    unknown = sorted(set(tfs) - set(genes))
    if unknown:
        raise ValueError(
            f"{len(unknown)} of {len(tfs)} `tfs` are not in `genes`: {some(unknown)}. "
            "Pass names from the expression file, or use match_tfs()"
        )
    if len(set(tfs)) != len(tfs):
        raise ValueError("`tfs` has repeated names: list each candidate regulator once")


def check_shape(shape: Sequence[int]) -> None:
    """Refuse a matrix that is not ``(cell, gene)`` with at least one of each."""
    if len(shape) != 2 or min(shape) == 0:
        raise ValueError(f"expression has shape {tuple(shape)}, expected (cells, genes) with at least one of each")


def check_fields(data: Any) -> None:
    """Refuse fields of `ExpressionData` that do not fit its cells and genes: those with one row a cell, covariates,
    views and inputs."""
    check_by_cell(data.num_cells, data.context, data.size_factor, data.time, data.trajectory)
    check_covariates(data.covariates, data.covariate_names, data.num_cells)
    check_views(data.view, data.view_names, data.num_genes)
    check_inputs(data.inputs, data.num_cells, data.num_genes)
    if data.labels is not None and (len(data.labels), len(data.labels.table)) != (data.num_cells,) * 2:
        raise ValueError(f"`labels` has {len(data.labels)} rows, expected {data.num_cells}: one a cell")


def check_by_cell(
    num_cells: int,
    context: Tensor | None,
    size_factor: Tensor | None,
    time: Tensor | None,
    trajectory: Tensor | None,
) -> None:
    """Refuse what is not ``(cell,)``, depths that are not positive, and times without trajectories."""
    values = {"context": context, "size_factor": size_factor, "time": time, "trajectory": trajectory}
    for name, value in values.items():
        if value is not None and tuple(value.shape) != (num_cells,):
            raise ValueError(f"`{name}` has shape {tuple(value.shape)}, expected ({num_cells},): one value a cell")
    if size_factor is not None and not bool((size_factor > 0).all()):
        raise ValueError("`size_factor` has values that are not positive: drop cells without counts first")
    if (time is None) is not (trajectory is None):
        raise ValueError("`time` and `trajectory` go together: pass both or neither (`with_times`)")


def check_covariates(covariates: Tensor | None, names: Sequence[str], num_cells: int) -> None:
    """Refuse covariates ``(cell, covariate)`` that do not fit their names or the cells, or are not finite."""
    number = len(names)
    if covariates is None:
        if number:
            raise ValueError(f"`covariate_names` has {number} names and `covariates` is None: pass both or neither")
        return
    if tuple(covariates.shape) != (num_cells, number):
        raise ValueError(
            f"`covariates` has shape {tuple(covariates.shape)}, expected ({num_cells}, {number}): one "
            "row a cell and one column a name"
        )
    if len(set(names)) < number:
        raise ValueError(f"`covariate_names` repeats a name: {some(names)}")
    if not bool(torch.isfinite(covariates).all()):
        bad = (~torch.isfinite(covariates)).any(0).tolist()
        wrong = [name for name, b in zip(names, bad, strict=True) if b]
        raise ValueError(f"covariates {some(wrong)} have NaN or infinite values: fill them in, or drop the cells")


def check_views(view: Tensor | None, names: Sequence[str], num_genes: int) -> None:
    """Refuse views ``(gene,)`` that are no codes into ``names``, and names that repeat."""
    number = len(names)
    if number == 0 or len(set(names)) < number:
        raise ValueError(f"`view_names` is {list(names)}: expected one or more different names")
    if view is None:
        if number > 1:
            raise ValueError(f"{number} views are named and `view` is None: pass the view of each gene")
        return
    if tuple(view.shape) != (num_genes,) or view.dtype != torch.long:
        raise ValueError(
            f"`view` has shape {tuple(view.shape)} and type {view.dtype}, expected ({num_genes},) "
            "of torch.long: the place of each gene's view in `view_names`"
        )
    if int(view.min()) < 0 or int(view.max()) >= number:
        raise ValueError(f"`view` has codes outside 0 ... {number - 1}, the places in `view_names`")


def check_inputs(inputs: Tensor | None, num_cells: int, num_genes: int) -> None:
    """Refuse inputs that are not ``(cell, gene)`` finite numbers."""
    shape = (num_cells, num_genes)
    if inputs is not None and (tuple(inputs.shape) != shape or not bool(torch.isfinite(inputs).all())):
        raise ValueError(f"`inputs` has shape {tuple(inputs.shape)}, expected {shape} finite numbers")


def counted(things: Sequence[object], one: str) -> str:
    """Their number with the word for one of them, in the plural for several.

    Examples
    --------
    >>> counted(["A"], "constant gene")
    '1 constant gene'
    """
    return f"{len(things)} {one}{'s' * (len(things) != 1)}"


def constant_genes(genes: Sequence[str]) -> ValueError:
    """What to raise where genes do not vary: they can neither regulate nor be explained."""
    return ValueError(
        f"{counted(genes, 'constant gene')}: {some(genes)}. Drop them with `data.without_constant_genes()`"
    )
