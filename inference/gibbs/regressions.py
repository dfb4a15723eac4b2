"""What Gibbs sampling needs of a network: the regressions of its targets, or those of several networks side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...models import RegressionNetwork
from ...models.regression import Cuts


@dataclass(frozen=True, eq=False)
class Regressions:
    """Sufficient statistics of Gaussian regressions (see `RegressionNetwork`) with a dimension of fits: one for a
    single network, else one for each of several of equal shape.

    ``gram`` (context, fit, tf, tf); ``anchor`` and ``residual`` (context, fit, tf, target); ``sse`` and ``dof``
    (context, fit, target), ``dof`` of the data with cut conditions completed; ``own`` (index,) the targets with a Gram
    matrix of their own, ``own_gram`` (context, index, tf, tf); ``cuts`` conditions that the shared Gram matrix has and
    a target's regression has not. Several networks have neither own matrices nor cuts.
    """

    gram: Tensor
    anchor: Tensor
    residual: Tensor
    sse: Tensor
    dof: Tensor
    own: Tensor
    own_gram: Tensor
    cuts: Cuts
    contexts: tuple[str, ...]
    tfs: tuple[str, ...]
    targets: tuple[str, ...]

    @classmethod
    def of(cls, models: Sequence[RegressionNetwork]) -> "Regressions":
        """Of one network or more."""
        first = models[0]
        assert len(models) == 1 or not any(len(m.perturbed) or len(m.cuts.target) for m in models), (
            "checked by fit_many"
        )

        def beside(name: str) -> Tensor:
            values = [getattr(model, name) for model in models]
            return values[0][:, None] if len(values) == 1 else torch.stack(values, dim=1)

        cuts, dof = first.cuts, beside("dof")
        if len(cuts.target):
            place = cuts.context * len(first.targets) + cuts.target
            counts = torch.bincount(place, minlength=dof.numel()).reshape(dof.shape)
            dof = dof + counts.to(dof)
        return cls(
            gram=beside("gram"),
            anchor=beside("anchor"),
            residual=beside("residual"),
            sse=beside("sse"),
            dof=dof,
            own=first.perturbed,
            own_gram=first.perturbed_gram(),
            cuts=cuts,
            contexts=first.contexts,
            tfs=first.tfs,
            targets=first.targets,
        )

    @property
    def num_fits(self) -> int:
        return self.gram.shape[1]

    @property
    def has_contexts(self) -> bool:
        return len(self.contexts) > 1

    @property
    def share(self) -> Tensor:
        """``(context, fit, target)`` of each context in the cells of each target."""
        return self.dof / self.dof.sum(0)

    def by_chain(self, value: Tensor, num_chains: int) -> Tensor:
        """``(context, fit, ...)`` → ``(context, chain, ...)``, the chains of a fit one after the other; of one fit
        ``(context, 1, ...)``, which broadcasts."""
        return value if self.num_fits == 1 else value.repeat_interleave(num_chains // self.num_fits, 1)

    def product(self, W: Tensor, rows: Tensor | None = None) -> Tensor:
        """``(context, chain, tf, target)``: G ``W``, each target with its own Gram matrix where it has one; of all
        regulators or of ``rows``."""
        gram, own_gram = self.gram, self.own_gram
        if rows is not None:
            gram, own_gram = gram[:, :, rows], own_gram[:, :, rows]
        product = (gram[:, :, None] @ W.unflatten(1, (self.num_fits, -1))).flatten(1, 2)
        if len(self.own):
            product[..., self.own] = torch.einsum("kpst,kctp->kcsp", own_gram, W[..., self.own])
        return product

    def gram_at(self, rows: Tensor, columns: Tensor, fit: int) -> Tensor:
        """``(context, row, column, target or 1)``: part of the Gram matrix of a fit; of every target where some have
        their own."""
        gram = self.gram[:, fit][:, rows][:, :, columns][..., None]
        if len(self.own):
            gram = gram.repeat(1, 1, 1, len(self.targets))
            gram[..., self.own] = self.own_gram[:, :, rows][..., columns].movedim(1, -1)
        return gram
