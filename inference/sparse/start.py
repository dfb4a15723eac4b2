r"""Where the chains of the sparse sampler begin: at a draw of the ridge solution, with every edge present.

From no edges on, sweeps add one edge at a time, and what only several regulators explain together (a regulator's
children with their other parents) is not found in any number of sweeps. Sweeps that begin with all edges take away what
is not needed. The hyperparameters begin where edges are few: with as many cells as regulators many edges leave no
noise, and without noise all edges are needed; chains that begin there take hundreds of sweeps to get out (266 samples
and 239 regulators: half of all edges after 700 sweeps, where two in a hundred are probable). As all chains begin on one
side of that, R-hat does not see the other: that the posterior is on this one was seen in chains that came out, and of
the dense sampler, which begins elsewhere and does not stay there.
"""

from typing import NamedTuple

import numpy as np
import torch

from .background import AT_ONCE, Background
from .tables import Gram

GRID = np.geomspace(1e-8, 1e2, 101)  # of h, four to a factor of ten
SHARE = 0.3  # of the variance of an average edge that is background at first: sparse weights are to explain the rest
FIRST_LOGIT = -4.0  # of an edge to exist


class Ridge(NamedTuple):
    """With all effects infinitesimal: the variance ``h`` of each in units of the noise, pooled over targets, and by
    group the noise ``(index,)``."""

    h: float
    noise: list[np.ndarray]


def ridge_of(groups: list[Background], dof: np.ndarray) -> Ridge:
    r"""The largest restricted likelihood on a grid of h, each target's σ² at its own largest:

    .. math:: -\tfrac12\sum_g \big[\nu_g \log S_g(h) + \log\lvert M(h)\rvert\big], \qquad
              S_g(h) = y_g^\top M^{-1} y_g, \quad \hat\sigma_g^2 = S_g/\nu_g .
    """
    total = np.zeros(len(GRID))
    squares = []
    for group in groups:
        shrink = 1 / (1 + GRID[:, None] * group.values)  # (grid, tf)
        square = np.empty((len(group.targets), len(GRID)))
        for start in range(0, len(square), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            score = group.score[rows].astype(np.float64)
            square[rows] = group.square[rows, None] - GRID * (score**2 @ shrink.T)
        total += 0.5 * len(square) * np.log(shrink).sum(1)
        mine = np.flatnonzero(group.own >= 0)  # the background of its own level is taken back
        if group.cuts is None:
            vectors = group.vectors[group.own[mine]].astype(np.float64)
            left, level = vectors**2 @ shrink.T, (vectors * group.score[mine]) @ shrink.T
        else:
            at = group.cuts.levels(GRID, group.values, group.vectors, group.own, group.score)
            square -= GRID * at.square.T
            total -= 0.5 * at.log_det.sum(1)
            left, level = at.left.T[mine], at.level.T[mine]
        square[mine] += GRID / left * level**2
        total -= 0.5 * np.log(left).sum(0)
        square = np.maximum(square, 1e-6 * group.square[:, None] + 1e-30)  # more regulators than cells: rounding
        squares.append(square)
        total -= 0.5 * (dof[group.targets] @ np.log(square))
    best = int(np.argmax(total))
    noise = [square[:, best] / np.maximum(dof[g.targets], 1) for g, square in zip(groups, squares, strict=True)]
    return Ridge(float(GRID[best]), noise)


def draw_ridge(
    group: Background, noise: np.ndarray, h: float, generator: torch.Generator, gram: Gram | None = None
) -> np.ndarray:
    """``(index, tf)`` float32: weights of all edges, given that each is N(0, σ² h); ``gram`` G̃ there, if known."""
    residual = np.empty_like(group.score)
    group.residual(np.zeros_like(residual), group.spectrum.gram(h) if gram is None else gram, residual)
    return group.draw(residual, noise, h, generator)
