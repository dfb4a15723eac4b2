r"""`Clamped`: moments of the cells in which a target is clamped, which its regression leaves out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .cells import Cells

OWN_GRAM_BYTES = 16e9  # of what perturbed targets need for themselves


@dataclass(frozen=True, eq=False)
class Clamped:
    r"""Moments of the cells in which one target is clamped by an intervention, by (context, target) pair.

    ``context, target``: ``(pair,)`` indices; ``count`` ``(pair,)``; ``mean`` ``(pair, tf)`` of the regulators and
    ``own`` ``(pair,)`` of the target; centred sums ``cross`` ``(pair, tf)`` and ``square`` ``(pair,)``. The centred
    Gram matrix of a pair is :math:`\sum_r v_r v_r^\top` of its ``rows`` (row, tf), those from ``start`` (pair + 1,) on:
    one less than it has cells, and no more than there are regulators. Of many genes perturbed in few cells each that is
    the size of these cells, and not of as many (tf × tf) matrices.
    """

    context: Tensor
    target: Tensor
    count: Tensor
    mean: Tensor
    own: Tensor
    start: Tensor
    rows: Tensor
    cross: Tensor
    square: Tensor

    @classmethod
    def of(cls, pairs: "Sequence[Pair]", device: torch.device) -> "Clamped":
        """Of pairs that occur once each."""
        start = np.concatenate([[0], np.cumsum([len(pair.rows) for pair in pairs])])
        stack = lambda name: torch.stack([getattr(pair, name) for pair in pairs])
        return cls(
            torch.tensor([pair.context for pair in pairs], device=device),
            torch.tensor([pair.target for pair in pairs], device=device),
            torch.tensor([pair.count for pair in pairs], dtype=torch.float64, device=device),
            stack("mean"),
            stack("own"),
            torch.from_numpy(start).to(device),
            torch.cat([pair.rows for pair in pairs]),
            stack("cross"),
            stack("square"),
        )

    def rows_of(self, pair: int) -> Tensor:
        """``(row, tf)`` those of one pair."""
        return self.rows[int(self.start[pair]) : int(self.start[pair + 1])]

    @property
    def gram(self) -> Tensor:
        """``(pair, tf, tf)``, made for the asking."""
        parts = [self.rows_of(i) for i in range(len(self.count))]
        return torch.stack([part.T @ part for part in parts])

    def pair(self, i: int) -> "Pair":
        """One of them."""
        parts = self.mean[i], self.own[i], self.rows_of(i), self.cross[i], self.square[i]
        return Pair(int(self.context[i]), int(self.target[i]), float(self.count[i]), *parts)

    def chosen(self, keep: Tensor, tf: Tensor, num_genes: int) -> "Clamped | None":
        """Of the targets at ``keep`` (gene,) and the regulators at ``tf`` (tf,)."""
        place = torch.full((num_genes,), -1, dtype=torch.long, device=keep.device)
        place[keep] = torch.arange(len(keep), device=keep.device)
        pairs = []
        for i in torch.nonzero(place[self.target] >= 0)[:, 0].tolist():
            one = self.pair(i)
            rows = few_rows(one.rows[:, tf])
            target = int(place[one.target])
            pairs.append(Pair(one.context, target, one.count, one.mean[tf], one.own, rows, one.cross[tf], one.square))
        return Clamped.of(pairs, keep.device) if pairs else None


@dataclass(frozen=True, eq=False)
class Pair:
    """One (context, target) of `Clamped`."""

    context: int
    target: int
    count: float
    mean: Tensor
    own: Tensor
    rows: Tensor
    cross: Tensor
    square: Tensor

    def plus(self, other: "Pair") -> "Pair":
        """Of both sets of cells (Chan, Golub & LeVeque 1983)."""
        count = self.count + other.count
        weight, dm, do = self.count * other.count / count, other.mean - self.mean, other.own - self.own
        share = other.count / count
        return Pair(
            self.context,
            self.target,
            count,
            self.mean + share * dm,
            self.own + share * do,
            few_rows(torch.cat([self.rows, other.rows, weight**0.5 * dm[None]])),
            self.cross + other.cross + weight * dm * do,
            self.square + other.square + weight * do**2,
        )


def few_rows(rows: Tensor) -> Tensor:
    """``(row, tf)`` of the same Gram matrix, no more of them than regulators."""
    return rows if rows.shape[0] <= rows.shape[1] else torch.linalg.qr(rows, mode="r")[1]


def contrasts(centred: Tensor) -> Tensor:
    r"""``(cell − 1, tf)`` rows of the Gram matrix of ``centred`` (cell, tf), whose columns sum to zero: each cell
    against those before it, :math:`(\sum_{j \le i} x_j - i\,x_{i+1}) / \sqrt{i(i+1)}` (Helmert)."""
    number = torch.arange(1, len(centred), dtype=centred.dtype, device=centred.device)[:, None]
    return (centred.cumsum(0)[:-1] - number * centred[1:]) / (number * (number + 1)).sqrt()


def clamped_cells(data: Cells, perturbed: Tensor) -> Clamped:
    """Moments over the clamped cells of each target of the interventions ``(intervention, 2)``; these cells are read
    once more, target by target.

    Raises
    ------
    ValueError
        More memory than `OWN_GRAM_BYTES`.
    """
    tfs = len(data.tfs)
    pairs = np.unique(perturbed.cpu().numpy(), axis=0)
    codes = np.zeros(data.num_cells, dtype=np.int64) if data.context is None else data.context.cpu().numpy()
    key = codes[pairs[:, 0]] * data.num_genes + pairs[:, 1]
    values, first, count = np.unique(np.sort(key, kind="stable"), return_index=True, return_counts=True)
    need = 8 * tfs * int(np.minimum(count, tfs).sum())
    if need > OWN_GRAM_BYTES:
        raise ValueError(
            f"{len(np.unique(pairs[:, 1]))} perturbed genes each need statistics of their own of {tfs} regulators, "
            f"{1e-9 * need:.0f} GB: list fewer candidate regulators, `tfs=`"
        )
    cells = pairs[np.argsort(key, kind="stable"), 0]
    tf, found = data.tf_index, []
    for value, start, number in zip(values.tolist(), first.tolist(), count.tolist(), strict=True):
        k, g = divmod(value, data.num_genes)
        block = data.rows(cells[start : start + number]).double()
        x, y = block[:, tf], block[:, g]
        xc, yc = x - x.mean(0), y - y.mean()
        rows = few_rows(contrasts(xc))
        found.append(Pair(k, g, float(number), x.mean(0), y.mean(), rows, xc.T @ yc, yc @ yc))
    return Clamped.of(found, tf.device)


def joined(a: Clamped | None, b: Clamped | None) -> Clamped | None:
    """Corrections of two sets of cells: pairs that occur in both are merged like any other moments."""
    if a is None or b is None:
        return a or b
    both: dict[tuple[int, int], Pair] = {}
    for part in (a, b):
        for i in range(len(part.count)):
            one = part.pair(i)
            before = both.get((one.context, one.target))
            both[one.context, one.target] = one if before is None else before.plus(one)
    return Clamped.of([both[key] for key in sorted(both)], a.mean.device)
