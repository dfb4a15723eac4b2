r"""Targets of which some cells are left out: what these cells take from the statistics that all targets share.

Target t has the Gram matrix :math:`G - A^\top A` with few rows A: the cells in which it is clamped
(`RegressionStatistics.left_out`). With :math:`P = 1 + hG` and the background integrated out (Woodbury),

.. math:: (1 + hG_t)^{-1} = P^{-1} + h B^\top B, \qquad \tilde G_t = \tilde G - B^\top B, \qquad B = C^{-1} A P^{-1},
          \quad C C^\top = 1 - h A P^{-1} A^\top,

.. math:: \log\lvert 1 + hG_t\rvert = \log\lvert P\rvert + \log\lvert C C^\top\rvert, \qquad
          z^\top (1 + hG_t)^{-1} z = z^\top P^{-1} z + h \lVert C^{-1} A P^{-1} z\rVert^2 .

So such a target is swept with the shared matrix and its own B, has no (tf × tf) matrix and no eigenvectors: all is of
the size of the cells that are left out, and exact.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np

from .compiled import compiled, inlined
from .tables import MOST_FACTORS

KEPT = Lock()
DIGITS = 1e-6  # what is left of one when a row is taken out, below which float32 rows have no digits of it


class CutFactors(NamedTuple):
    """At one h, float64: ``lower`` C of each target, one after the other from ``place`` (index + 1,) on, by rows;
    ``log_det`` (index,) log|C Cᵀ|; of targets that are regulators, t, ``turned`` (row,) the column t of B and ``left``
    (index,) the diagonal of (1 + h G_t)⁻¹ there (1 of others); ``least`` (index,) the smallest square on the
    diagonal of C, before it is made no smaller than `DIGITS`."""

    place: np.ndarray
    lower: np.ndarray
    log_det: np.ndarray
    turned: np.ndarray
    left: np.ndarray
    least: np.ndarray


@inlined
def forward(lower: np.ndarray, first: int, size: int, vector: np.ndarray) -> None:
    """``vector`` (size,) becomes C⁻¹ times it."""
    for i in range(size):
        value = vector[i]
        for j in range(i):
            value -= lower[first + i * size + j] * vector[j]
        vector[i] = value / lower[first + i * size + i]


@inlined
def backward(lower: np.ndarray, first: int, size: int, vector: np.ndarray) -> None:
    """``vector`` (size,) becomes C⁻ᵀ times it."""
    for i in range(size - 1, -1, -1):
        value = vector[i]
        for j in range(i + 1, size):
            value -= lower[first + j * size + i] * vector[j]
        vector[i] = value / lower[first + i * size + i]


@inlined
def own_correction(correction: np.float32, cut: np.ndarray, begin: int, end: int, t: int) -> float:
    """κ of a target that is regulator t, whose rows of B are those from ``begin`` to ``end`` of ``cut``."""
    if begin == end:
        return float(correction)
    square = 0.0
    for r in range(begin, end):
        square += float(cut[r, t]) * float(cut[r, t])
    return 1.0 / (1.0 / float(correction) + square)


@compiled
def factor_all(
    start: np.ndarray, rows: np.ndarray, shrink: np.ndarray, h: float, vectors: np.ndarray, own: np.ndarray,
    place: np.ndarray, lower: np.ndarray, log_det: np.ndarray, turned: np.ndarray, left: np.ndarray, least: np.ndarray,
) -> None:  # fmt: skip
    """Fill what `CutFactors` has; ``rows`` (row, tf) A V, ``shrink`` (tf,) 1 / (1 + h λ), ``vectors`` V."""
    num_tfs = len(shrink)
    weighed = np.empty(num_tfs)
    for target in range(len(own)):
        begin, size, first = start[target], start[target + 1] - start[target], place[target]
        logarithm, smallest = 0.0, 1.0
        for i in range(size):
            for k in range(num_tfs):
                weighed[k] = h * shrink[k] * np.float64(rows[begin + i, k])
            for j in range(i + 1):
                value = 1.0 if i == j else 0.0
                for k in range(num_tfs):
                    value -= weighed[k] * np.float64(rows[begin + j, k])
                for k in range(j):
                    value -= lower[first + i * size + k] * lower[first + j * size + k]
                if i == j:
                    smallest = min(smallest, value)
                    value = math.sqrt(max(value, DIGITS))
                    logarithm += 2.0 * math.log(value)
                    lower[first + i * size + i] = value
                else:
                    lower[first + i * size + j] = value / lower[first + j * size + j]
        log_det[target], least[target] = logarithm, smallest
        left[target] = 1.0
        if own[target] >= 0:
            mine, level = own[target], 0.0
            for k in range(num_tfs):
                weighed[k] = shrink[k] * np.float64(vectors[mine, k])
                level += weighed[k] * np.float64(vectors[mine, k])
            for i in range(size):
                value = 0.0
                for k in range(num_tfs):
                    value += weighed[k] * np.float64(rows[begin + i, k])
                turned[begin + i] = value
            part = turned[begin : begin + size]
            forward(lower, first, size, part)
            for i in range(size):
                level += h * part[i] * part[i]
            left[target] = level


@compiled
def quadratics(
    start: np.ndarray, rows: np.ndarray, shrink: np.ndarray, h: float, vectors: np.ndarray, own: np.ndarray,
    place: np.ndarray, lower: np.ndarray, turned: np.ndarray, z: np.ndarray, square: np.ndarray, level: np.ndarray,
) -> None:  # fmt: skip
    """Of ``z`` (index, tf), rotated: ``square`` (index,) h ‖C⁻¹ A P⁻¹ z‖², and ``level`` (index,) what (1 + h G_t)⁻¹ z
    is at the regulator that the target is (0 of others)."""
    num_tfs, most = len(shrink), 0
    for target in range(len(own)):
        most = max(most, start[target + 1] - start[target])
    weighed, scratch = np.empty(num_tfs), np.empty(most)
    for target in range(len(own)):
        begin, size = start[target], start[target + 1] - start[target]
        for k in range(num_tfs):
            weighed[k] = shrink[k] * np.float64(z[target, k])
        for i in range(size):
            value = 0.0
            for k in range(num_tfs):
                value += weighed[k] * np.float64(rows[begin + i, k])
            scratch[i] = value
        forward(lower, place[target], size, scratch)
        total, at = 0.0, 0.0
        for i in range(size):
            total += scratch[i] * scratch[i]
            at += scratch[i] * turned[begin + i]
        square[target], level[target] = h * total, 0.0
        if own[target] >= 0:
            mine, value = own[target], 0.0
            for k in range(num_tfs):
                value += weighed[k] * np.float64(vectors[mine, k])
            level[target] = value + h * at


@compiled
def correct_base(
    start: np.ndarray, rows: np.ndarray, shrink: np.ndarray, h: float, place: np.ndarray, lower: np.ndarray,
    flat: np.ndarray, score: np.ndarray, base: np.ndarray, square: np.ndarray,
) -> None:  # fmt: skip
    """``base`` (index, tf), P⁻¹ b, becomes b̃ of each target; ``square`` (index,), yᵀ(1 − h X P⁻¹ Xᵀ)y, what w = 0
    leaves; ``flat`` (row, tf) is A P⁻¹, ``score`` Vᵀ b."""
    num_tfs, most = len(shrink), 0
    for target in range(len(score)):
        most = max(most, start[target + 1] - start[target])
    scratch = np.empty(most)
    for target in range(len(score)):
        begin, size, first = start[target], start[target + 1] - start[target], place[target]
        for i in range(size):
            value = 0.0
            for k in range(num_tfs):
                value += shrink[k] * np.float64(score[target, k]) * np.float64(rows[begin + i, k])
            scratch[i] = value
        forward(lower, first, size, scratch)
        for i in range(size):
            square[target] -= h * h * scratch[i] * scratch[i]
        backward(lower, first, size, scratch)
        for i in range(size):
            step = np.float32(h * scratch[i])
            for k in range(num_tfs):
                base[target, k] += step * flat[begin + i, k]


@compiled
def divide_all(start: np.ndarray, place: np.ndarray, lower: np.ndarray, table: np.ndarray) -> None:
    """``table`` (row, tf) becomes C⁻¹ times it, target by target."""
    for target in range(len(start) - 1):
        begin, size, first = start[target], start[target + 1] - start[target], place[target]
        for i in range(size):
            for j in range(i):
                value = np.float32(lower[first + i * size + j])
                for k in range(table.shape[1]):
                    table[begin + i, k] -= value * table[begin + j, k]
            over = np.float32(1.0 / lower[first + i * size + i])
            for k in range(table.shape[1]):
                table[begin + i, k] *= over


@dataclass(frozen=True, eq=False)
class Cuts:
    """The rows A of some targets: ``start`` (index + 1,) int64 where each has its own; ``rows`` (row, tf) float32,
    A V; ``most`` values of h of which `CutFactors` are kept."""

    start: np.ndarray
    rows: np.ndarray
    most: int = MOST_FACTORS
    kept: dict[float, CutFactors] = field(default_factory=dict)

    def chosen(self, cut: slice) -> "Cuts":
        """Of some targets that follow one another."""
        start = self.start[cut.start : min(cut.stop, len(self.start) - 1) + 1]
        return Cuts(start - start[0], self.rows[start[0] : start[-1]], self.most)

    def product(self, weight: np.ndarray) -> np.ndarray:
        """``(tf, index)`` float64 Aᵀ A w of ``weight`` (tf, index), of rows that are not rotated."""
        out = np.zeros(weight.shape[::-1])
        which = np.repeat(np.arange(len(out)), np.diff(self.start))
        for r, target in enumerate(which.tolist()):
            row = self.rows[r].astype(np.float64)
            out[target] += row * (row @ weight[:, target])
        return out.T

    def rotated(self, vectors: np.ndarray) -> "Cuts":
        """A V from A."""
        return Cuts(self.start, self.rows @ vectors, self.most)

    def levels_of(self, turned: np.ndarray) -> np.ndarray:
        """``(row,)`` float64 A w of ``turned`` (index, tf), Vᵀ w."""
        which = np.repeat(np.arange(len(turned)), np.diff(self.start))
        return np.einsum("rk,rk->r", self.rows, turned[which], dtype=np.float64)

    @cached_property
    def place(self) -> np.ndarray:
        """``(index + 1,)`` where C of each target is."""
        return np.concatenate([[0], np.cumsum(np.diff(self.start) ** 2)]).astype(np.int64)

    def factors(self, h: float, values: np.ndarray, vectors: np.ndarray, own: np.ndarray) -> CutFactors:
        """At h; ``values`` and ``vectors`` of the shared matrix, ``own`` (index,) the regulator that each target is."""
        with KEPT:
            found = self.kept.get(h)
        if found is None:
            number, place = len(own), self.place
            made = np.empty(place[-1]), np.empty(number), np.zeros(len(self.rows)), np.empty(number), np.empty(number)
            factor_all(self.start, self.rows, 1 / (1 + h * values), h, vectors, own, place, *made)
            found = CutFactors(place, *made)
            with KEPT:
                while len(self.kept) >= self.most:
                    del self.kept[next(iter(self.kept))]
                self.kept[h] = found
        return found

    def __getstate__(self) -> dict:
        """What is made of them is made again in another process."""
        return {"start": self.start, "rows": self.rows, "most": self.most, "kept": {}}

    def levels(
        self, h: np.ndarray, values: np.ndarray, vectors: np.ndarray, own: np.ndarray, z: np.ndarray
    ) -> "CutLevels":
        """At each of ``h`` (value,), of ``z`` (index, tf)."""
        found = CutLevels(*(np.empty((len(h), len(own))) for _ in range(5)))
        for i, value in enumerate(h.tolist()):
            at = self.factors(value, values, vectors, own)
            shrink = 1 / (1 + value * values)
            given = (self.start, self.rows, shrink, value, vectors, own, at.place, at.lower, at.turned)
            quadratics(*given, z, found.square[i], found.level[i])
            found.log_det[i], found.left[i], found.least[i] = at.log_det, at.left, at.least
        return found


class CutLevels(NamedTuple):
    """``(value, index)`` as of `CutFactors` and `quadratics`."""

    square: np.ndarray
    level: np.ndarray
    log_det: np.ndarray
    left: np.ndarray
    least: np.ndarray


@dataclass(frozen=True, eq=False)
class CutLikelihood:
    """What log p(y | w, σ², h) of some targets has more than if no cell was left out and none was a regulator: the rest
    of `background.BackgroundLikelihood`. ``values``, ``vectors`` of the shared matrix, ``own``, ``z`` and ``noise`` of
    all of them."""

    cuts: Cuts
    values: np.ndarray
    vectors: np.ndarray
    own: np.ndarray
    z: np.ndarray
    noise: np.ndarray

    def __call__(self, h: np.ndarray) -> np.ndarray:
        """``(value,)`` at h (value,); as smooth in log h as the likelihood of any Gram matrix. −∞ where so little of a
        cell is its own that float32 has no digits of it: at h far beyond one, of cells fewer than regulators."""
        at = self.cuts.levels(h, self.values, self.vectors, self.own, self.z)
        h = h[:, None]
        sound = (at.least >= DIGITS).all(1) & (at.left > 0).all(1)
        left = np.where(at.left > 0, at.left, 1.0)
        found = (h * at.square / self.noise - at.log_det).sum(1)
        found -= (np.log(left) + h / left * at.level**2 / self.noise)[:, self.own >= 0].sum(1)
        return np.where(sound & np.isfinite(found), 0.5 * found, -math.inf)


@compiled
def add_rows(start: np.ndarray, share: np.ndarray, table: np.ndarray, which: np.ndarray, out: np.ndarray) -> None:
    """``out`` (place, tf) grows by the sum of the rows of ``table`` (row, tf) of the targets ``which`` (place,), each
    times its one of ``share`` (row,)."""
    for place in range(len(which)):
        for row in range(start[which[place]], start[which[place] + 1]):
            times = np.float32(share[row])
            for k in range(table.shape[1]):
                out[place, k] += times * table[row, k]
