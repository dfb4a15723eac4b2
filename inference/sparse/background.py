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
from dataclasses import dataclass

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


@dataclass(frozen=True, eq=False)
class Background:
    """Targets that share a Gram matrix.

    ``targets`` (index,) places in the model; ``own`` (index,) the regulator that each is, or −1; ``values`` (tf,)
    float64 and ``vectors`` (tf, tf) float32, the eigendecomposition of G; ``score`` (index, tf) float32, Vᵀ b;
    ``square`` (index,) float64, yᵀ y.
    """

    targets: np.ndarray
    own: np.ndarray
    values: np.ndarray
    vectors: np.ndarray
    score: np.ndarray
    square: np.ndarray

    @classmethod
    def of(
        cls, gram: np.ndarray, anchor: np.ndarray, residual: np.ndarray, sse: np.ndarray, targets: np.ndarray,
        own: np.ndarray,
    ) -> "Background":  # fmt: skip
        """From G (tf, tf) and, of the targets, anchor ŵ and residual b − G ŵ (tf, target), and sse (target,) at ŵ."""
        gram, anchor = gram.astype(np.float64), anchor.astype(np.float64)
        values, vectors = np.linalg.eigh(gram)
        values = values.clip(0, None)
        score = residual + gram @ anchor  # b
        square = sse + (anchor * (score + residual)).sum(0)
        small = np.ascontiguousarray(vectors.astype(np.float32))
        return cls(targets, own, values, small, np.ascontiguousarray((score.T @ vectors).astype(np.float32)), square)

    def gram(self, h: float) -> Gram:
        """G̃ and what goes with it."""
        vectors = torch.from_numpy(self.vectors)
        shrunk = torch.from_numpy((self.values / (1 + h * self.values)).astype(np.float32))
        matrix = ((vectors * shrunk) @ vectors.T).numpy()
        left = self._left(h)
        return Gram(matrix, h, (h / left).astype(np.float32))

    def _left(self, h: float) -> np.ndarray:
        """``(tf,)`` 1 − h G̃_tt, without cancellation."""
        return self.vectors.astype(np.float64) ** 2 @ (1 / (1 + h * self.values))

    def rotated(self, weight: np.ndarray, out: np.ndarray) -> np.ndarray:
        """``out`` (index, tf) float32 becomes z; returns ‖y − Xw‖² ``(index,)`` float64. ``weight`` (index, tf)."""
        if np.count_nonzero(weight) > DENSE * weight.size:
            torch.mm(torch.from_numpy(weight), torch.from_numpy(self.vectors), out=torch.from_numpy(out))
        else:
            rotate(weight, self.vectors, out)
        square = np.empty(len(weight))
        for start in range(0, len(weight), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            turned, score = out[rows].astype(np.float64), self.score[rows].astype(np.float64)
            square[rows] = self.square[rows] - (turned * (2 * score - self.values * turned)).sum(1)
            out[rows] = score - self.values * turned
        return square

    def residual(self, z: np.ndarray, square: np.ndarray, h: float) -> np.ndarray:
        """z ``(index, tf)`` becomes r in place; returns the residual sums of squares with the background integrated
        out, ``(index,)`` float64."""
        shrink = 1 / (1 + h * self.values)
        left, vectors = self._left(h), torch.from_numpy(self.vectors)
        sse = np.empty(len(z))
        for start in range(0, len(z), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            part, own = z[rows], self.own[rows]
            sse[rows] = square[rows] - h * (part.astype(np.float64) ** 2 @ shrink)
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
        total = np.zeros(len(self.values))
        for start in range(0, len(z), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            total += (1 / noise[rows]) @ z[rows].astype(np.float64) ** 2
        mine = np.flatnonzero(self.own >= 0)
        rows_of = self.vectors[self.own[mine]].astype(np.float64)
        return BackgroundLikelihood(self.values, len(z), total, rows_of**2, rows_of * z[mine], noise[mine])

    def log_determinant(self, h: float) -> float:
        """−½ log|M|, of all targets together."""
        mine = self.own[self.own >= 0]
        whole = len(self.targets) * np.log1p(h * self.values).sum()
        return float(-0.5 * (whole + np.log(self._left(h)[mine]).sum()))

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
            drawn[mine] -= (drawn[mine, at] / self._left(h)[at].astype(np.float32))[:, None] * column
        drawn += np.float32(h) * residual
        drawn[mine, self.own[mine]] = 0.0
        return drawn


@dataclass(frozen=True, eq=False)
class BackgroundLikelihood:
    """log p(y | w, σ², h) as a function of h: ``values`` λ (tf,); ``count`` targets; ``total`` (tf,) Σ z²/σ²; of
    targets that are regulators ``share`` (row, tf) V², ``cross`` (row, tf) V z, and their ``noise`` (row,)."""

    values: np.ndarray
    count: int
    total: np.ndarray
    share: np.ndarray
    cross: np.ndarray
    noise: np.ndarray

    def __call__(self, h: float) -> float:
        """Up to what does not depend on h."""
        shrink = 1 / (1 + h * self.values)
        found = 0.5 * (self.count * np.log(shrink).sum() + h * self.total @ shrink)
        if len(self.noise):
            left = self.share @ shrink
            level = self.cross @ shrink
            found -= 0.5 * (np.log(left) + h / left * level**2 / self.noise).sum()
        return float(found) if math.isfinite(found) else -math.inf
