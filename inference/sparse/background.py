r"""The infinitesimal background, integrated out: what it makes of the statistics, and its likelihood.

Each target is y = X w + X u + e, with w sparse, :math:`u \sim N(0, h\sigma^2 1)`, :math:`e \sim N(0, \sigma^2 1)`; so
given w, y has covariance :math:`\sigma^2 M`, :math:`M = 1 + h X X^\top`, and

.. math:: \tilde G = X^\top M^{-1} X = G (1 + hG)^{-1}, \qquad r = X^\top M^{-1}(y - Xw) = (1 + hG)^{-1} (b - Gw),

.. math:: (y - Xw)^\top M^{-1} (y - Xw) = \lVert y - Xw\rVert^2 - h \sum_k \frac{z_k^2}{1 + h\lambda_k}, \qquad
          z = V^\top (b - Gw), \quad \log\lvert M\rvert = \sum_k \log(1 + h\lambda_k)

with one eigendecomposition :math:`G = V \Lambda V^\top` for all targets and all h. A regulator has no background of its
own level: with x its level, :math:`(M - h x x^\top)^{-1} = M^{-1} + \kappa M^{-1} x x^\top M^{-1}`, :math:`\kappa = h /
(1 - h x^\top M^{-1} x)`, and the determinant is :math:`1 - h x^\top M^{-1} x` times that of M.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from .compiled import compiled
from .tables import Gram

DENSE = 0.2  # share of the weights that are not zero, beyond which a product of matrices is quicker
AT_ONCE = 1024  # targets of which rotated statistics are in memory together


@compiled
def rotate(weight: np.ndarray, vectors: np.ndarray, out: np.ndarray) -> None:
    """``out`` (target, tf) becomes w V of sparse weights ``weight`` (target, tf), ``vectors`` V (tf, tf)."""
    for target in range(len(weight)):
        row = out[target]
        row[:] = np.float32(0)
        for j in range(weight.shape[1]):
            value = weight[target, j]
            if value != np.float32(0):
                for k in range(len(row)):
                    row[k] += value * vectors[j, k]


@compiled
def left_over(score: np.ndarray, values: np.ndarray, turned: np.ndarray, square: np.ndarray) -> None:
    """``turned`` (index, tf) becomes score − Λ turned, in place, and of ``square`` (index,) is taken what the weights
    explain."""
    for target in range(len(turned)):
        explained = 0.0
        for k in range(turned.shape[1]):
            t, c = np.float64(turned[target, k]), np.float64(score[target, k])
            explained += t * (2.0 * c - values[k] * t)
            turned[target, k] = np.float32(c - values[k] * t)
        square[target] -= explained


@compiled
def weighed_squares(table: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``(index,)`` float64 Σ_k weight_k table_k² of each row; in one order whatever else the machine does."""
    found = np.empty(len(table))
    for row in range(len(table)):
        total = 0.0
        for k in range(table.shape[1]):
            total += weight[k] * np.float64(table[row, k]) * np.float64(table[row, k])
        found[row] = total
    return found


@compiled
def weighed_products(one: np.ndarray, other: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``(index,)`` float64 Σ_k weight_k one_k other_k of each row."""
    found = np.empty(len(one))
    for row in range(len(one)):
        total = 0.0
        for k in range(one.shape[1]):
            total += weight[k] * np.float64(one[row, k]) * np.float64(other[row, k])
        found[row] = total
    return found


@compiled
def sum_of_squares(table: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``(tf,)`` float64 Σ_row weight_row table_row²."""
    total = np.zeros(table.shape[1])
    for row in range(len(table)):
        for k in range(table.shape[1]):
            total[k] += weight[row] * np.float64(table[row, k]) * np.float64(table[row, k])
    return total


@dataclass(eq=False)
class Spectrum:
    """One eigendecomposition G = V Λ Vᵀ, ``values`` (tf,) float64 and ``vectors`` (tf, tf) float32, and G̃ at the last
    ``most`` values of h that were asked for."""

    values: np.ndarray
    vectors: np.ndarray
    most: int = 1
    kept: dict[float, Gram] = field(default_factory=dict)

    @classmethod
    def of(cls, gram: np.ndarray) -> "Spectrum":
        values, vectors = np.linalg.eigh(gram.astype(np.float64))
        return cls(values.clip(0, None), np.ascontiguousarray(vectors.astype(np.float32)))

    def gram(self, h: float) -> Gram:
        """G̃ and what goes with it."""
        found = self.kept.pop(h, None)
        if found is None:
            vectors = torch.from_numpy(self.vectors)
            shrunk = torch.from_numpy((self.values / (1 + h * self.values)).astype(np.float32))
            found = Gram(((vectors * shrunk) @ vectors.T).numpy(), h, (h / self.left(h)).astype(np.float32))
        while len(self.kept) >= self.most:
            del self.kept[next(iter(self.kept))]
        self.kept[h] = found
        return found

    def left(self, h: float) -> np.ndarray:
        """``(tf,)`` 1 − h G̃_tt, without cancellation."""
        return weighed_squares(self.vectors, 1 / (1 + h * self.values))

    def __getstate__(self) -> dict:
        """What G̃ is made of is all that is sent to another process."""
        return {"values": self.values, "vectors": self.vectors, "most": self.most, "kept": {}}


@dataclass(frozen=True, eq=False)
class Background:
    """Targets that share a Gram matrix.

    ``targets`` (index,) places among those that are swept together; ``own`` (index,) the regulator that each is, or −1;
    ``spectrum`` of G; ``score`` (index, tf) float32, Vᵀ b; ``square`` (index,) float64, yᵀ y.
    """

    targets: np.ndarray
    own: np.ndarray
    spectrum: Spectrum
    score: np.ndarray
    square: np.ndarray

    @classmethod
    def of(
        cls, gram: np.ndarray, anchor: np.ndarray, residual: np.ndarray, sse: np.ndarray, targets: np.ndarray,
        own: np.ndarray,
    ) -> "Background":  # fmt: skip
        """From G (tf, tf) and, of the targets, anchor ŵ and residual b − G ŵ (tf, target), and sse (target,) at ŵ."""
        spectrum = Spectrum.of(gram)
        gram, vectors = gram.astype(np.float64), spectrum.vectors.astype(np.float64)
        score = np.empty((len(targets), len(gram)), np.float32)
        square = np.empty(len(targets))
        for start in range(0, len(targets), AT_ONCE):  # in float64, some at a time
            rows = slice(start, start + AT_ONCE)
            w, r = anchor[:, rows].astype(np.float64), residual[:, rows]
            b = r + gram @ w
            score[rows] = b.T @ vectors
            square[rows] = sse[rows] + (w * (b + r)).sum(0)
        return cls(targets, own, spectrum, score, square)

    @property
    def values(self) -> np.ndarray:
        return self.spectrum.values

    @property
    def vectors(self) -> np.ndarray:
        return self.spectrum.vectors

    @property
    def place(self) -> "slice | np.ndarray":
        """``targets``, as a slice where they follow one another: what is indexed by it is then not copied."""
        first, number = int(self.targets[0]), len(self.targets)
        return slice(first, first + number) if int(self.targets[-1]) - first == number - 1 else self.targets

    def parts(self, size: int) -> "list[Background]":
        """The same targets, ``size`` at a time."""
        cuts = [slice(start, start + size) for start in range(0, len(self.targets), size)]
        return [
            replace(self, targets=self.targets[c], own=self.own[c], score=self.score[c], square=self.square[c])
            for c in cuts
        ]

    def gram(self, h: float) -> Gram:
        """G̃ and what goes with it."""
        return self.spectrum.gram(h)

    def rotated(self, weight: np.ndarray, out: np.ndarray) -> np.ndarray:
        """``out`` (index, tf) float32 becomes z; returns ‖y − Xw‖² ``(index,)`` float64. ``weight`` (index, tf)."""
        if np.count_nonzero(weight) > DENSE * weight.size:
            torch.mm(torch.from_numpy(weight), torch.from_numpy(self.vectors), out=torch.from_numpy(out))
        else:
            rotate(weight, self.vectors, out)
        square = self.square.copy()
        left_over(self.score, self.values, out, square)
        return square

    def residual(self, z: np.ndarray, square: np.ndarray, h: float) -> np.ndarray:
        """z ``(index, tf)`` becomes r in place; returns the residual sums of squares with the background integrated
        out, ``(index,)`` float64."""
        shrink = 1 / (1 + h * self.values)
        left, vectors = self.spectrum.left(h), torch.from_numpy(self.vectors)
        sse = square - h * weighed_squares(z, shrink)
        for start in range(0, len(z), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            part, own = z[rows], self.own[rows]
            found = torch.from_numpy(part * shrink.astype(np.float32)) @ vectors.T
            part[:] = found.numpy()
            mine = np.flatnonzero(own >= 0)
            if len(mine):
                at = own[mine]
                level = part[mine, at].astype(np.float64)
                correction = h / left[at]
                # column `at` of G̃, row by row
                rows_of = self.vectors[at] * (self.values * shrink).astype(np.float32)
                columns = (torch.from_numpy(rows_of) @ vectors.T).numpy()
                part[mine] += (correction * level)[:, None].astype(np.float32) * columns
                sse[rows][mine] += correction * level**2
        return sse

    def likelihood(self, z: np.ndarray, noise: np.ndarray) -> "BackgroundLikelihood":
        """Of h, at weights of which ``z`` (index, tf) are the rotated scores and ``noise`` (index,) variances."""
        total = sum_of_squares(z, 1 / noise)
        mine = np.flatnonzero(self.own >= 0)
        return BackgroundLikelihood(self.values, len(z), total, self.vectors[self.own[mine]], z[mine], noise[mine])

    def log_determinant(self, h: float) -> float:
        """−½ log|M|, of all targets together."""
        mine = self.own[self.own >= 0]
        whole = len(self.targets) * np.log1p(h * self.values).sum()
        return float(-0.5 * (whole + np.log(self.spectrum.left(h)[mine]).sum()))

    def draw(self, residual: np.ndarray, noise: np.ndarray, h: float, generator: torch.Generator) -> np.ndarray:
        """``(index, tf)`` float32: u given the weights, of which ``residual`` is r and ``noise`` (index,) σ²."""
        gaussian = torch.randn(residual.shape, generator=generator)
        vectors = torch.from_numpy(self.vectors)
        shrink = 1 / (1 + h * self.values)
        gaussian *= torch.from_numpy((h * shrink).astype(np.float32)).sqrt()
        drawn = (gaussian @ vectors.T).numpy() * np.sqrt(noise)[:, None].astype(np.float32)
        mine = np.flatnonzero(self.own >= 0)
        if len(mine):  # given that the background of the target itself is zero
            at = self.own[mine]
            column = (torch.from_numpy(self.vectors[at] * shrink.astype(np.float32)) @ vectors.T).numpy()
            drawn[mine] -= (drawn[mine, at] / self.spectrum.left(h)[at].astype(np.float32))[:, None] * column
        drawn += np.float32(h) * residual
        drawn[mine, self.own[mine]] = 0.0
        return drawn


@dataclass(frozen=True, eq=False)
class BackgroundLikelihood:
    """log p(y | w, σ², h) as a function of h: ``values`` λ (tf,); ``count`` targets; ``total`` (tf,) Σ z²/σ²; of
    targets that are regulators ``vectors`` (row, tf), the rows of V, ``z`` (row, tf), and their ``noise`` (row,)."""

    values: np.ndarray
    count: int
    total: np.ndarray
    vectors: np.ndarray
    z: np.ndarray
    noise: np.ndarray

    def __call__(self, h: float) -> float:
        """Up to what does not depend on h."""
        shrink = 1 / (1 + h * self.values)
        found = 0.5 * (self.count * np.log(shrink).sum() + h * float((self.total * shrink).sum()))
        if len(self.noise):
            left = weighed_squares(self.vectors, shrink)
            level = weighed_products(self.vectors, self.z, shrink)
            found -= 0.5 * (np.log(left) + h / left * level**2 / self.noise).sum()
        return float(found) if math.isfinite(found) else -math.inf
