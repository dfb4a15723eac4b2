r"""Regulons of a fit, and the activities of their regulators in cells.

The activity of a regulator in a cell is what its listed targets say of it, in standard deviations of the regulator:

.. math:: y_{ct} \mid a_c \sim N\Big(\sum_{r:\, (r, t) \in L} a_{cr} W_{rt},\ \sigma_t^2\Big), \qquad
          a_{cr} \sim N(0, 1),

with the standardised levels :math:`y` of the targets, and joint draws of weights and noise of the fit, over which the
posterior of :math:`a` is averaged. The regulator's own level is not used: a regulator may be silent and its targets
tell that it acts, or be there and do nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..inference import Posterior
from ..inference.draws.networks import joint_networks
from ..models import ExpressionData
from ..models.data.accepts import takes_anndata
from ..models.data.matrix import rows_at_once

FAR = 3.0  # standard deviations from the means of the fit that half of the genes are, in other units
MIN_TARGETS = 3  # of a regulator, fewer say little of it


@dataclass(frozen=True)
class Activities:
    """``mean`` and ``sd`` of the activity of each regulator (cell × regulator), and with groups ``by_group``:
    ``group, regulator, mean, sd, cells``, of the mean over the cells of a group."""

    mean: pd.DataFrame
    sd: pd.DataFrame
    by_group: pd.DataFrame | None = None


def regulons(edges: pd.DataFrame, *, min_targets: int = MIN_TARGETS) -> dict[str, tuple[str, ...]]:
    """Sets of targets by regulator and sign, ``SPI1(+)`` and ``SPI1(-)`` as pySCENIC calls them.

    Parameters
    ----------
    edges
        A list: ``source, target, weight``.
    min_targets
        Fewest targets of a set. Default 3.

    Examples
    --------
    >>> table = pd.DataFrame({"source": ["A"] * 3, "target": ["X", "Y", "Z"], "weight": [1.0, 2.0, -1.0]})
    >>> regulons(table, min_targets=1)
    {'A(+)': ('X', 'Y'), 'A(-)': ('Z',)}
    """
    sets: dict[str, list[str]] = {}
    for source, target, weight in edges[["source", "target", "weight"]].itertuples(index=False):
        sets.setdefault(f"{source}({'+' if weight >= 0 else '-'})", []).append(str(target))
    return {name: tuple(targets) for name, targets in sets.items() if len(targets) >= min_targets}


@takes_anndata
def activities(
    posterior: Posterior,
    data: ExpressionData,
    edges: pd.DataFrame,
    *,
    groups: Sequence[str] | None = None,
    min_targets: int = MIN_TARGETS,
    num_draws: int = 100,
    seed: int = 0,
) -> Activities:
    """Posterior mean and sd of the activity of each regulator in each cell, from the levels of its listed targets.

    Parameters
    ----------
    posterior
        A fit of a linear network.
    data
        Cells in the units of the fit: those of the fit, or new ones with its genes (and contexts).
    edges
        The list that says which targets a regulator has: ``source, target`` of `Posterior.edges`.
    groups
        Label of each cell, such as its type: adds means by group.
    min_targets
        Fewest listed targets of a regulator. Default 3.
    num_draws, seed
        Joint draws of the network used. Default 100.

    Raises
    ------
    ValueError
        Another model, data without genes of the fit, no regulator with enough targets, another number of labels.
    """
    model: Any = posterior.model
    if not model.plain_regression:
        raise ValueError(f"{type(model).__name__} is no linear network: activities are of fits of `linear` and its kin")
    place = {gene: i for i, gene in enumerate(data.genes)}
    missing = [gene for gene in model.genes if gene not in place]
    if missing:
        raise ValueError(f"`data` lack {len(missing)} genes of the fit, such as {missing[:3]}: pass the same genes")
    if groups is not None and len(groups) != data.num_cells:
        raise ValueError(f"{len(groups)} labels for {data.num_cells} cells: pass one a cell")
    listed = _listed(posterior, edges)
    names = np.asarray(posterior.coords["tf"], dtype=object)
    kept = np.flatnonzero(listed.sum(1) >= min_targets)
    if not len(kept):
        raise ValueError(f"no regulator has {min_targets} listed targets: take a longer list, or lower `min_targets=`")
    W, noise = (value.reshape(-1, *value.shape[2:]) for value in joint_networks(posterior))
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(W), min(num_draws, len(W)), replace=False)
    maps = [_map(W[d][:, kept] * listed[kept], noise[d]) for d in chosen]
    codes, labels = pd.factorize(pd.Series(groups if groups is not None else ["all"] * data.num_cells).astype(str))
    total = _Totals(data.num_cells, len(kept), len(labels), len(chosen))
    columns = np.array([place[gene] for gene in model.genes])[model.target_index.cpu().numpy()]
    scale = model.scale.double().cpu().numpy()[model.target_index.cpu().numpy()]
    centre = model.context_mean.double().cpu().numpy()[:, model.target_index.cpu().numpy()]
    contexts = _contexts(posterior, data)
    _check_units(data, columns, centre[contexts], scale)
    step = rows_at_once(data.num_columns)
    for start in range(0, data.num_cells, step):
        rows = slice(start, min(start + step, data.num_cells))
        k = contexts[rows]
        Y = (data.rows(rows).double().cpu().numpy()[:, columns] - centre[k]) / scale
        total.add(rows, Y, k, codes[rows], maps)
    mean, sd, by_group = total.summary(names[kept], np.bincount(codes, minlength=len(labels)), list(labels))
    index = pd.Index(data.labels.names if data.labels is not None else [str(i) for i in range(data.num_cells)])
    frame = lambda values: pd.DataFrame(values, index=index, columns=list(names[kept]))
    return Activities(frame(mean), frame(sd), by_group if groups is not None else None)


def _listed(posterior: Posterior, edges: pd.DataFrame) -> np.ndarray:
    """``(tf, target)`` whether an edge is in the list."""
    row = {name: i for i, name in enumerate(posterior.coords["tf"])}
    column = {name: i for i, name in enumerate(posterior.coords["target"])}
    listed = np.zeros((len(row), len(column)), dtype=bool)
    for source, target in edges[["source", "target"]].itertuples(index=False):
        if source in row and target in column:
            listed[row[source], column[target]] = True
    return listed


def _check_units(data: ExpressionData, columns: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> None:
    """Refuse levels in other units than those of the fit, whose means are ``centre`` (cell, target)."""
    some = np.arange(data.num_cells)[:: -(-data.num_cells // 500)]
    levels = data.rows(some).double().cpu().numpy()[:, columns]
    off = float(np.median(np.abs((levels - centre[some]).mean(0)) / scale))
    if off > FAR:
        raise ValueError(
            f"levels of these cells are {off:.3g} standard deviations from those of the fit, half of the genes by "
            "more: read them as the fit did (`normalize=`, --normalize)"
        )


def _contexts(posterior: Posterior, data: ExpressionData) -> np.ndarray:
    """``(cell,)`` the fit's context of each cell."""
    names = list(posterior.coords["context"])
    if len(names) == 1:
        return np.zeros(data.num_cells, dtype=int)
    if data.context is None:
        raise ValueError(f"the fit has contexts {names}, and nothing says which a cell is of: pass `context_key=`")
    unknown = [name for name in data.context_names if name not in names]
    if unknown:
        raise ValueError(f"contexts {unknown} of `data` are not among those of the fit: {names}")
    return np.array([names.index(name) for name in data.context_names])[data.context.cpu().numpy()]


def _map(W: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of one draw: the matrices ``(context, target, tf)`` that take levels to mean activities, and variances
    ``(context, tf)``."""
    takes, variances = [], []
    for w, s in zip(W.astype(np.float64), noise.astype(np.float64), strict=True):
        weighted = w / s  # (tf, target)
        covariance = np.linalg.inv(weighted @ w.T + np.eye(len(w)))
        takes.append((covariance @ weighted).T)
        variances.append(np.diag(covariance))
    return np.stack(takes), np.stack(variances)


class _Totals:
    """Sums over draws of means, their squares, and variances, by cell and by group."""

    def __init__(self, cells: int, tfs: int, groups: int, draws: int) -> None:
        self.first, self.second, self.variance = (np.zeros((cells, tfs)) for _ in range(3))
        self.groups, self.group_variance = np.zeros((draws, groups, tfs)), np.zeros((groups, tfs))
        self.draws = draws

    def add(
        self, rows: slice, Y: np.ndarray, contexts: np.ndarray, codes: np.ndarray, maps: Sequence[tuple[Any, Any]]
    ) -> None:
        """The cells ``rows`` with standardised levels ``Y`` (cell, target)."""
        for d, (take, variance) in enumerate(maps):
            mean = np.empty((len(Y), take.shape[2]))
            for k in np.unique(contexts):
                mean[contexts == k] = Y[contexts == k] @ take[k]
            self.first[rows] += mean
            self.second[rows] += mean**2
            self.variance[rows] += variance[contexts]
            np.add.at(self.groups[d], codes, mean)
            np.add.at(self.group_variance, codes, variance[contexts])

    def summary(
        self, names: np.ndarray, count: np.ndarray, labels: list[str]
    ) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
        """Mean and sd by cell, and the table by group."""
        mean = self.first / self.draws
        spread = (self.second / self.draws - mean**2).clip(0)
        sd = np.sqrt(self.variance / self.draws + spread)
        groups = self.groups / count[:, None]
        within = self.group_variance / self.draws / count[:, None] ** 2  # cells are independent given the network
        table = pd.DataFrame(
            {
                "group": np.repeat(labels, len(names)),
                "regulator": np.tile(names, len(labels)),
                "mean": groups.mean(0).ravel(),
                "sd": np.sqrt(groups.var(0) + within).ravel(),
                "cells": np.repeat(count, len(names)),
            }
        )
        return mean, sd, table
