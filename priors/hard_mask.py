"""Edges outside the support of the prior networks do not exist (CellOracle's way)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from .edge_prior import EdgePrior
from .knowledge import EdgeKnowledge
from .normal import Normal


class HardMask(EdgePrior):
    """Any other prior on the edges that some source lists; all others are exactly zero (Kamimoto et al. 2023).

    The sources are used up by the mask: they have no trust coefficients, which is why a wrong mask cannot be unlearned.

    Parameters
    ----------
    base
        Prior of the listed edges. Default `Normal`, CellOracle's Bayesian ridge.
    """

    strategies = ("mask",)
    masks = True

    def __init__(self, base: EdgePrior | None = None) -> None:
        super().__init__()
        self.base = base if base is not None else Normal()
        if self.base.masks:
            raise ValueError("HardMask inside HardMask: pass the prior of the listed edges as `base`")

    @property
    def nested(self) -> dict[str, EdgePrior]:
        return {"base": self.base}

    @property
    def family(self) -> EdgePrior:
        return self.base.family

    @property
    def conditionally_gaussian(self) -> bool:  # type: ignore[override]
        return self.base.conditionally_gaussian

    @property
    def exact_zeros(self) -> bool:  # type: ignore[override]
        return self.base.exact_zeros

    def bind(self, knowledge: EdgeKnowledge) -> Self:
        if not knowledge.sources:
            raise ValueError("HardMask needs at least one prior network: it keeps the edges that some source lists")
        allowed = knowledge.allowed & knowledge.listed
        if not bool(allowed.any()):
            raise ValueError(
                "the prior networks list no edge between the TFs and targets of the data, so HardMask leaves none"
            )
        bound = super().bind(replace(knowledge, allowed=allowed))
        empty = torch.zeros(0, *knowledge.allowed.shape)
        bound.base = self.base.bind(replace(knowledge, sources=(), probability=empty, sign=empty, allowed=allowed))
        return bound

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        return self.base.dims

    def forward(self, tf: Any, target: Any, *noise_sd: Tensor) -> Tensor:
        return self.base(tf, target, *noise_sd)

    def inclusion(self, draws: Mapping[str, Tensor], *, threshold: float) -> Tensor:
        return self.base.inclusion(draws, threshold=threshold)

    def gaussian(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return self.base.gaussian(values)
