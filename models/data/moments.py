"""Means and sums of squares of genes within contexts, in one pass over the cells."""

from typing import NamedTuple

import torch
from torch import Tensor

from .cells import Cells
from .passes import told


class ContextMoments(NamedTuple):
    """Numbers of values, means and centred sums of squares, each ``(context, gene)`` float64."""

    number: Tensor
    mean: Tensor
    square: Tensor


def context_moments(data: Cells) -> ContextMoments:
    """Moments of what is there (NaN are left out where values may be missing), accumulated around running means."""
    shape = (data.num_contexts, data.num_genes)
    count, mean, square = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
    for start, block in data.chunks():
        told("means and variances of genes", min(start + len(block), data.num_cells), data.num_cells)
        block = block.double().cpu()
        codes = None if data.context is None else data.context[start : start + len(block)].cpu()
        for k in range(data.num_contexts):
            rows = block if codes is None else block[codes == k]
            if not len(rows):
                continue
            number = (~rows.isnan()).sum(0) if data.missing else torch.full(shape[1:], len(rows))
            centre = rows.nansum(0) / number.clamp_min(1)
            total = (count[k] + number).clamp_min(1)
            shift = centre - mean[k]
            square[k] += (rows - centre).square_().nansum(0) + shift**2 * (count[k] * number / total)
            mean[k] += shift * (number / total)
            count[k] += number
    return ContextMoments(count, mean, square)


def overall(moments: ContextMoments) -> tuple[Tensor, Tensor]:
    """``(gene,)`` mean and variance over all contexts together."""
    count, mean, square = moments
    share = count / count.sum(0).clamp_min(1)
    centre = (share * mean).sum(0)
    return centre, square.sum(0) / count.sum(0).clamp_min(1) + (share * (mean - centre) ** 2).sum(0)


def is_constant(count: Tensor, mean: Tensor, square: Tensor) -> Tensor:
    """``(gene,)`` True where the variation within contexts is rounding error: below 1e-24 of the raw sum of squares.

    ``count`` ``(context,)`` or ``(context, gene)``, ``mean`` and centred sums of squares ``square`` ``(context,
    gene)``.
    """
    within = square.sum(0)
    count = count if count.dim() == 2 else count[:, None]
    return within <= 1e-24 * (within + (count * mean**2).sum(0))
