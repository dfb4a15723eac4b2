"""What stands beside the weights in the regressions of all targets: Gram matrices, the anchor, degrees of freedom."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Block(NamedTuple):
    """Targets ``column`` of a ``context`` (``None`` where there is one) that have the same ``gram`` (tf, tf)."""

    context: int | None
    column: Tensor
    gram: Tensor


@dataclass(frozen=True, eq=False)
class Design(ABC):
    """The given side of the regressions :math:`y_i = X_i w_i + \\epsilon_i` of all targets i, contexts leading
    everything where there are several.

    ``num_tfs`` regressors of each of ``num_targets`` (plain numbers: a traced graph has no shapes to compute), ``gram``
    (tf, tf) that most targets share, ``anchor`` A (tf, target), ``dof`` (1, target) of the residuals, and ``log_count``
    (1, target), the logarithm of the cells where a flat intercept was integrated out and counts.
    """

    num_tfs: int
    num_targets: int
    gram: Tensor
    anchor: Tensor
    dof: Tensor
    log_count: Tensor | None

    @abstractmethod
    def product(self, step: Tensor) -> Tensor:
        """``(*batch, tf, target)`` :math:`G_i` times ``step``, each target by its own Gram matrix."""

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Every target of every context once, together with those of the same Gram matrix."""

    def squared_error(self, step: Tensor, residual: Tensor, sse: Tensor) -> Tensor:
        """``(*batch, 1, target)`` residual sum of squares at A + ``step`` (*batch, tf, target), of statistics
        ``residual`` (*batch, tf, target) and ``sse`` (*batch, 1, target) at A."""
        product = self.product(step)
        return sse + (step * (product - 2 * residual)).sum(-2, keepdim=True)

    def _shared(self, special: list[set[int]]) -> Iterator[Block]:
        """The targets of each context that are not ``special`` there."""
        for k, left_out in enumerate(special):
            kept = torch.tensor([i for i in range(self.num_targets) if i not in left_out], dtype=torch.long)
            if len(kept):
                wide = self.gram.dim() == 3
                yield Block(k if wide else None, kept.to(self.gram.device), self.gram[k] if wide else self.gram)


@dataclass(frozen=True, eq=False)
class SharedDesign(Design):
    """Regressions over cells: the targets ``own`` (pair,), which some intervention clamps, have Gram matrices
    ``own_gram`` (pair, tf, tf) of the other cells."""

    own: Tensor
    own_gram: Tensor

    def product(self, step: Tensor) -> Tensor:
        product = self.gram @ step
        if len(self.own):
            special = torch.einsum("...pst,...tp->...sp", self.own_gram, step[..., self.own])
            product = product.index_copy(-1, self.own, special)
        return product

    def blocks(self) -> Iterator[Block]:
        wide, own = self.gram.dim() == 3, self.own.tolist()
        yield from self._shared([set(own)] * (len(self.gram) if wide else 1))
        for k, table in enumerate(self.own_gram if wide else self.own_gram[None]):
            for place, gram in enumerate(table):
                yield Block(k if wide else None, self.own[place : place + 1], gram)


@dataclass(frozen=True, eq=False)
class ClampedDesign(SharedDesign):
    """The same in one context, of which more targets are clamped in a few cells each: :math:`G_i = G - \\sum_r v_r
    v_r^\\top` over the ``rows`` v (row, tf) of target i, ``row_target`` (row,)."""

    rows: Tensor
    row_target: Tensor

    def product(self, step: Tensor) -> Tensor:
        product = super().product(step)
        mine = step.transpose(-2, -1)[..., self.row_target, :]  # (*batch, row, tf)
        lost = (mine * self.rows).sum(-1, keepdim=True) * self.rows
        return product.index_add(-1, self.row_target, -lost.transpose(-2, -1))

    def blocks(self) -> Iterator[Block]:
        few = self.row_target.unique().tolist()
        yield from self._shared([{*self.own.tolist(), *few}])
        for place, gram in enumerate(self.own_gram):
            yield Block(None, self.own[place : place + 1], gram)
        for target in few:
            mine = self.rows[self.row_target == target].double()
            yield Block(None, self.own.new_tensor([target]), self.gram.double() - mine.T @ mine)


@dataclass(frozen=True, eq=False)
class CutDesign(Design):
    """Regressions over conditions or pairs of times: :math:`G_i = G - \\sum_p v_p v_p^\\top` over the pairs p of target
    i; ``cut`` v (pair, tf), ``cut_context`` and ``cut_target`` (pair,)."""

    cut: Tensor
    cut_context: Tensor
    cut_target: Tensor

    def product(self, step: Tensor) -> Tensor:
        product = self.gram @ step
        if len(self.cut):
            lost = (self._chosen(step) * self.cut).sum(-1, keepdim=True) * self.cut  # (*batch, pair, tf)
            flat = self._place(product.movedim(-2, 0), -lost.movedim(-1, 0))
            product = flat.movedim(0, -2)
        return product

    def squared_error(self, step: Tensor, residual: Tensor, sse: Tensor) -> Tensor:
        product = self.gram @ step
        error = sse + (step * (product - 2 * residual)).sum(-2, keepdim=True)
        if not len(self.cut):
            return error
        lost = (self._chosen(step) * self.cut).sum(-1).square()  # (*batch, pair)
        taken = self._place(torch.zeros_like(step[..., 0, :]), lost)
        return error - taken.unsqueeze(-2)

    def blocks(self) -> Iterator[Block]:
        wide = self.gram.dim() == 3
        grams: dict[tuple[int, int], Tensor] = {}
        for v, k, target in zip(self.cut, self.cut_context.tolist(), self.cut_target.tolist(), strict=True):
            place = (k if wide else 0, target)
            before = grams[place] if place in grams else (self.gram[k] if wide else self.gram).double()
            grams[place] = before - torch.outer(v.double(), v.double())
        contexts = len(self.gram) if wide else 1
        yield from self._shared([{target for at, target in grams if at == k} for k in range(contexts)])
        for (k, target), gram in grams.items():
            yield Block(k if wide else None, torch.tensor([target], device=gram.device), gram)

    def _chosen(self, step: Tensor) -> Tensor:
        """``(*batch, pair, tf)`` the column of ``step`` that each pair is of."""
        flat = step.movedim(-2, -1)  # (*batch, [context], target, tf)
        if self.gram.dim() == 3:
            return flat[..., self.cut_context, self.cut_target, :]
        return flat[..., self.cut_target, :]

    def _place(self, onto: Tensor, values: Tensor) -> Tensor:
        """``onto`` (*batch, [context], target) with ``values`` (*batch, pair) added to the targets of the pairs."""
        if self.gram.dim() < 3:
            return onto.index_add(-1, self.cut_target, values)
        place = self.cut_context * onto.shape[-1] + self.cut_target
        return onto.flatten(-2).index_add(-1, place, values).unflatten(-1, onto.shape[-2:])


@dataclass(frozen=True, eq=False)
class OwnLevelDesign(CutDesign):
    """Every target has one cut, in order: the product is cheaper than pair by pair."""

    def product(self, step: Tensor) -> Tensor:
        v = self.cut.T
        return self.gram @ step - v * (v * step).sum(-2, keepdim=True)

    squared_error = Design.squared_error
