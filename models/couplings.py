"""Which regulators the regression of each target couples, and targets of about as many side by side."""

from typing import NamedTuple

import torch
from torch import Tensor

FEWEST_ROWS = 8  # below, a call costs more than its cubes


class Grams(NamedTuple):
    r"""Gram matrices of the columns: ``shared`` (tf, tf) but for ``own`` (pair,), of which they are ``own_gram`` (pair,
    tf, tf), less :math:`\sum_r v_r v_r^\top` over the rows ``cut`` v (cut, tf) of column ``cut_target`` (cut,)."""

    shared: Tensor
    own: Tensor
    own_gram: Tensor
    cut: Tensor
    cut_target: Tensor


class Group(NamedTuple):
    """Columns that couple about as many rows, and have the same set of Gram matrices: the next ones in the order of
    `Couplings`.

    ``row`` (member, size) rows of each, rising, among them all that it couples; ``mask`` (member, size) whether it
    does; ``place`` (member,) of its matrix, among those of ``own_gram`` where ``is_own``; ``cut`` (member, most) its
    cuts, filled up with the number of all cuts; ``is_full`` whether ``mask`` is all true.
    """

    row: Tensor
    mask: Tensor
    place: Tensor
    cut: Tensor
    is_own: bool
    is_full: bool


class Couplings(NamedTuple):
    """``order`` (column,) of the columns by group, last those that couple nothing, and ``rank`` (column,) of each
    in it."""

    order: Tensor
    rank: Tensor
    groups: tuple[Group, ...]


def couplings(allowed: Tensor, grams: Grams) -> Couplings:
    """Columns of ``allowed`` (tf, target) by their number of rows."""
    own = torch.full((allowed.shape[1],), -1, device=allowed.device)
    own[grams.own] = torch.arange(len(grams.own), device=allowed.device)
    cut = _by_column(grams.cut_target, allowed.shape[1])
    number, least = allowed.sum(0), 0
    order, groups = [], []
    for size in _sizes(len(allowed)):
        here = (number > least) & (number <= size)
        for is_own, chosen in ((False, here & (own < 0)), (True, here & (own >= 0))):
            column = chosen.nonzero()[:, 0]
            if len(column):
                mine = allowed.T[column]
                # rows that are not coupled fill a block up: in it and out of it they come to the same
                row = mine.byte().argsort(dim=1, descending=True, stable=True)[:, :size].sort(dim=1).values
                if size == len(allowed):
                    row = torch.arange(size, device=row.device).expand(len(column), -1)  # takes no memory
                most = int((cut[column] < len(grams.cut_target)).sum(1).max())
                mask, is_full = mine.gather(1, row), bool((number[column] == size).all())
                groups.append(Group(row, mask, own[column].clamp_min(0), cut[column, :most], is_own, is_full))
                order.append(column)
        least = size
    ordered = torch.cat([*order, (number == 0).nonzero()[:, 0]])
    return Couplings(ordered, ordered.argsort(), tuple(groups))


def _by_column(target: Tensor, number: int) -> Tensor:
    """``(column, most)`` where in ``target`` (cut,) each of ``number`` columns stands, filled up with its length."""
    counts = torch.bincount(target, minlength=number)
    found = torch.full((number, int(counts.max()) if number else 0), len(target), device=target.device)
    order = target.argsort(stable=True)
    rank = torch.arange(len(target), device=target.device) - (counts.cumsum(0) - counts)[target[order]]
    found[target[order], rank] = order
    return found


def _sizes(most: int) -> list[int]:
    """Numbers of rows that blocks are filled up to, at the most ``most``: four to an octave, so that there are few and
    none is a quarter larger than it has to be."""
    found = [FEWEST_ROWS]
    while found[-1] < most:
        found.append(found[-1] + 2 ** (found[-1].bit_length() - 3))
    return [*found[:-1], most]
