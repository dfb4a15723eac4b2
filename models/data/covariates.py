"""Covariates of cells: tables of annotations as columns of numbers, and what may not be among them."""

from collections.abc import Hashable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .checks import some

COLLINEAR = 1e-5  # of a column's length: what float32 annotations leave of an exact combination


def encode_covariates(
    table: pd.DataFrame, context: Tensor | None = None
) -> tuple[Tensor, tuple[str, ...], tuple[str, ...]]:
    r"""Annotations of cells as a design matrix without intercept.

    .. math:: z_{cv} = (a_{cv} - \bar a_v) / s_v \quad \text{(numbers)}, \qquad
              z_{cv} = 1[a_c = \ell_v] \quad \text{(levels but the first)}

    Parameters
    ----------
    table
        One row a cell, one column a covariate. Columns of numbers are centred and divided by their sd over all cells
        (n in the denominator); those of text, categories or truth values become 0/1 columns ``name[level]`` for every
        level that occurs but the first in sorted order.
    context
        ``(cell,)`` codes of groups, each of which has an intercept; ``None``: all cells share one.

    Returns
    -------
    values
        ``(cell, covariate)`` float32.
    names
        ``(covariate,)``.
    notes
        How each was coded: means and sds, reference levels.

    Raises
    ------
    ValueError
        Missing or infinite values; columns of other kinds; a constant covariate, also one that is constant within every
        group; columns that are combinations of others; as many columns as cells.

    Examples
    --------
    >>> values, names, _ = encode_covariates(pd.DataFrame({"age": [1.0, 3.0, 5.0], "sex": ["f", "m", "f"]}))
    >>> names
    ('age', 'sex[m]')
    >>> values[:, 1].tolist()
    [0.0, 1.0, 0.0]
    """
    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names):
        raise ValueError(f"covariates {some(sorted({n for n in names if names.count(n) > 1}))} are given twice")
    columns: dict[str, np.ndarray] = {}
    notes = []
    for i, name in enumerate(names):
        series = table.iloc[:, i]
        missing = int(series.isna().sum())
        if missing:
            raise ValueError(
                f"covariate {name!r} has no value in {missing} of {len(series)} cells: fill it in, drop the cells, or "
                "leave it out"
            )
        coded, note = _numbers(name, series) if _is_number(series) else _levels(name, series)
        clash = sorted(set(coded) & set(columns))
        if clash:
            raise ValueError(f"covariates {some(clash)} have the same name as a level of another: rename the column")
        columns |= coded
        notes.append(note)
    values = np.column_stack(list(columns.values())) if columns else np.zeros((len(table), 0))
    check_design(values, tuple(columns), None if context is None else context.cpu().numpy())
    return torch.from_numpy(values.astype(np.float32)), tuple(columns), tuple(notes)


def check_design(values: np.ndarray, names: tuple[str, ...], context: np.ndarray | None) -> None:
    """Refuse columns that the intercepts of the groups and the columns before them explain.

    Parameters
    ----------
    values
        ``(cell, covariate)``.
    names
        ``(covariate,)``.
    context
        ``(cell,)`` codes of groups, or ``None``.
    """
    groups = np.zeros(len(values), dtype=int) if context is None else context
    number = len(np.unique(groups))
    if values.shape[1] + number > len(values):
        raise ValueError(
            f"{values.shape[1]} columns of covariates ({some(names, 3)}) and {number} group(s) for {len(values)} "
            "cells: leave out annotations with a level for almost every cell"
        )
    centred = values.astype(np.float64)
    for k in np.unique(groups):
        centred[groups == k] -= centred[groups == k].mean(0)
    length = np.linalg.norm(centred, axis=0)
    constant = length <= COLLINEAR * np.linalg.norm(values, axis=0)
    flat = [name for name, is_flat in zip(names, constant, strict=True) if is_flat]
    if flat:
        raise ValueError(
            f"covariates {some(flat)} are constant within every group, so that their effect cannot be told from the "
            "groups': leave them out, or the groups"
        )
    centred /= length
    basis = np.zeros((len(values), 0))  # orthonormal, of the columns kept so far
    kept: list[int] = []
    for j, name in enumerate(names):
        residual = centred[:, j]
        for _ in range(2):  # twice is enough (Kahan): the second pass removes the rounding of the first
            residual = residual - basis @ (basis.T @ residual)
        left = float(np.linalg.norm(residual))
        if left <= COLLINEAR:
            weight = np.linalg.lstsq(centred[:, kept], centred[:, j], rcond=None)[0]
            others = [names[k] for k, w in zip(kept, weight, strict=True) if abs(w) > 1e-3]
            within = " within groups" if number > 1 else ""
            raise ValueError(
                f"covariates are collinear: {name!r} is a combination of {some(others)}{within}, so that their effects "
                "cannot be told apart. Leave one of them out"
            )
        basis = np.column_stack([basis, residual / left])
        kept.append(j)


def _is_number(series: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)


def _numbers(name: str, series: pd.Series) -> tuple[dict[str, np.ndarray], str]:
    """One column, centred and scaled."""
    if pd.api.types.is_complex_dtype(series):
        raise ValueError(f"covariate {name!r} holds complex numbers: expected numbers or categories")
    values = series.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"covariate {name!r} has infinite values in {int((~np.isfinite(values)).sum())} cells")
    mean, sd = values.mean(), values.std()
    if sd <= 1e-12 * np.abs(values).max(initial=0.0):
        raise ValueError(f"covariate {name!r} is constant ({values[0]:g} in every cell): leave it out")
    return {name: (values - mean) / sd}, f"covariate {name}: mean {mean:.4g} and sd {sd:.4g} scaled to 0 and 1"


def _levels(name: str, series: pd.Series) -> tuple[dict[str, np.ndarray], str]:
    """A 0/1 column for each level but the first."""
    categorical = isinstance(series.dtype, pd.CategoricalDtype)
    values = series.astype(object) if categorical else series
    kind = pd.api.types.infer_dtype(values)
    if not categorical and kind not in ("string", "boolean"):
        raise ValueError(f"covariate {name!r} holds values of kind {kind}: expected numbers or categories")
    levels = _in_order(values.unique().tolist())
    if len(levels) == 1:
        raise ValueError(f"covariate {name!r} is constant ({levels[0]!r} in every cell): leave it out")
    coded = {f"{name}[{level}]": (values == level).to_numpy(dtype=np.float64) for level in levels[1:]}
    if len(coded) < len(levels) - 1:
        raise ValueError(
            f"covariate {name!r} has levels that read the same: {some([str(v) for v in levels])}. Rename them"
        )
    return coded, f"covariate {name}: {len(levels)} levels, effects are against {str(levels[0])!r}"


def _in_order(levels: list[Hashable]) -> list[Hashable]:
    """Sorted; by their text where they are of several kinds."""
    try:
        return sorted(levels)  # type: ignore[type-var]
    except TypeError:
        return sorted(levels, key=str)
