"""Pairs of draw and condition in rectangles of bounded size, on which steady states are sought together."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .dynamics import ENVELOPES, Dynamics

BLOCK = 4_000_000  # numbers in one (draw, condition, gene) block, 32 MB; some twenty of them live at once
DENSE_BLOCK = 20_000_000  # numbers in one batch of (gene, gene) matrices, 160 MB


class Pairs(NamedTuple):
    """Pairs of draw and condition as a rectangle: ``W`` (row, gene, gene), everything else (row, column, gene)."""

    W: Tensor
    gain: Tensor
    decay: Tensor
    drive: Tensor
    free: Tensor
    envelope: str

    @property
    def pace(self) -> Tensor:  # of the fixed-point map: α, or 1 where there is no decay
        return torch.where(self.decay > 0, self.decay, 1.0)

    def rate(self, x: Tensor) -> Tensor:
        phi = ENVELOPES[self.envelope].value(x @ self.W + self.drive)
        return torch.where(self.free, self.gain * phi - self.decay * x, 0.0)

    def slope(self, x: Tensor) -> Tensor:
        derivative = ENVELOPES[self.envelope].derivative(x @ self.W + self.drive)
        return torch.where(self.free, self.gain * derivative, 0.0)

    def take(self, rows: Tensor, columns: Tensor) -> "Pairs":
        """The rectangle of ``rows`` (row,) and, in each, ``columns`` (row, column)."""
        gain, decay, drive, free = (v[rows[:, None], columns] for v in (self.gain, self.decay, self.drive, self.free))
        W = self.W if len(rows) == len(self.W) else self.W[rows]  # rows are never reordered
        return Pairs(W, gain, decay, drive, free, self.envelope)

    def listed(self, chosen: Tensor) -> "Pairs":
        """The pairs ``chosen`` (pair, 2), one per row: for dense algebra."""
        rows, columns = chosen.T
        gain, decay, drive, free = (v[rows, columns][:, None] for v in (self.gain, self.decay, self.drive, self.free))
        W = self.W.expand(len(rows), -1, -1) if len(self.W) == 1 else self.W[rows]
        return Pairs(W, gain, decay, drive, free, self.envelope)

    def free_jacobian(self, x: Tensor) -> Tensor:
        """``(row, gene, gene)`` for one column: clamped genes apart from the others, with -1 on the diagonal."""
        free = self.free[:, 0]
        J = self.slope(x)[:, 0, :, None] * self.W.transpose(1, 2) * free[:, None, :]
        return J - torch.diag_embed(torch.where(free, self.decay[:, 0], 1.0))


def blocks(
    dynamics: Dynamics, shape: torch.Size, inputs: Tensor | None, clamped: Tensor | None
) -> Iterator[tuple[tuple[slice, slice], Pairs]]:
    """Bounded rectangles: ``((draws, conditions) slices, pairs)``. One network for all folds draws into conditions."""
    *draws, conditions, n = shape
    count = math.prod(draws)
    shared = dynamics.W.ndim == 2
    W = dynamics.W[None] if shared else dynamics.W.expand(*draws, n, n).reshape(-1, n, n)
    gain, decay, bias = (v.expand(*draws, n).reshape(-1, n) for v in (dynamics.gain, dynamics.decay, dynamics.bias))
    width = max(1, min(conditions, BLOCK // n))
    height = max(1, BLOCK // (n * width))
    for a in range(0, count, height):
        for c in range(0, conditions, width):
            place = (slice(a, min(a + height, count)), slice(c, min(c + width, conditions)))
            size = (place[0].stop - a, place[1].stop - c, n)
            drive = bias[place[0], None] if inputs is None else bias[place[0], None] + inputs[place[1]]
            free = torch.ones(size[1:], dtype=torch.bool, device=W.device) if clamped is None else ~clamped[place[1]]
            vectors = [v.expand(size) for v in (gain[place[0], None], decay[place[0], None], drive, free)]
            epsilon, alpha, drive, free = (v.reshape(1, -1, n) if shared else v for v in vectors)
            yield place, Pairs(W if shared else W[place[0]], epsilon, alpha, drive, free, dynamics.envelope)


def fold(x: Tensor, pairs: Pairs) -> Tensor:
    """``x`` (draw, condition, gene) in the shape of the rectangle."""
    return x.reshape(pairs.free.shape)


def pack(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows with any true, and in each the columns with the true ones first, as many as the fullest row has."""
    count = mask.sum(1)
    kept = count.nonzero()[:, 0]
    order = (~mask[kept]).long().argsort(dim=1, stable=True)
    return kept, order[:, : int(count.max())]
