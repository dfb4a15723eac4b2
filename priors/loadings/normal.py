r"""Normal loadings: the prior of probabilistic PCA."""

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..conjugate import Take
from ..host_values import kept
from .prior import LoadingPrior, State, half_cauchy, half_cauchy_update, mean_log


class NormalLoading(LoadingPrior):
    r"""Every loading alike.

    .. math:: W_{kg} \sim N\big(0,\ s_k^2 \exp(\textstyle\sum_l b_l P^l_{kg})\big)

    Parameters
    ----------
    scale
        s, one number for all factors, in units of the data (of standard deviations, where the model standardises).
        Default 1, as the poster. ``None`` learns :math:`s_k = \delta_{kv} \sim C^+(1)` for each factor and view, so
        that a factor the data do not need shrinks away (automatic relevance determination).
    """

    sparse = False
    constants = ("fixed_scale",)

    def __init__(self, *, scale: float | None = 1.0) -> None:
        super().__init__()
        if scale is not None and not scale > 0:
            raise ValueError(f"`scale` is {scale}, expected a positive number, or None to learn one for each factor")
        self.register_buffer("fixed_scale", torch.tensor(float("nan") if scale is None else float(scale)))

    fixed_scale: Tensor

    @property
    def learns_scale(self) -> bool:
        return kept(self, "learns_scale", (self.fixed_scale,), lambda scale: bool(scale.isnan()))

    @property
    def has_fixed_width(self) -> bool:
        return not self.learns_scale

    @property
    def rotates_freely(self) -> bool:
        return not self.learns_scale and not self.sources

    def family_dims(self) -> dict[str, tuple[str, ...]]:
        return {"delta": ("factor", "view")} if self.learns_scale else {}

    def forward(self, factor: Any, gene: Any) -> Tensor:
        trust, _ = self.sample_trust()
        scale = self.fixed_scale
        if self.learns_scale:
            with factor, self.plate_of_views:
                scale = half_cauchy("delta", self.probability)[..., self.view]  # (factor, gene)
        with factor, gene:
            scale = scale * (0.5 * self.evidence(trust)).exp()
            return pyro.sample("W", dist.Normal(torch.zeros_like(scale), scale))  # (factor, gene)

    def start_family(self, num_chains: int, like: Tensor) -> State:
        shape = (num_chains, len(self.knowledge.tfs), self.num_views) if self.knowledge else (0, 0, 0)
        return {"delta": like.new_ones(shape)} if self.learns_scale else {}

    def _base(self, state: State) -> Tensor:
        """``(chain, factor, gene)`` precision without the boost, or a scalar."""
        return state["delta"][..., self.view] if self.learns_scale else self.fixed_scale**-2

    def precision(self, state: State) -> Tensor:
        base = self._base(state) * (-self.boost(state)).exp()
        chains = next(iter(state.values())).shape[0] if state else 1
        return base.expand(chains, *self.probability.shape[1:]) if base.dim() < 3 else base

    def update(self, state: State, square: Tensor, take: Take) -> State:
        new = dict(state)
        if self.learns_scale:
            total = (square * (-self.boost(new)).exp()) @ self.one_hot  # (chain, factor, view)
            new["delta"] = half_cauchy_update(new["delta"], self.one_hot.sum(0), total, take)
        if self.sources:
            new["trust"] = self.trust_step(new, square * self._base(new), take)
        return new

    def sites(self, state: State) -> dict[str, Tensor]:
        return {n: v.rsqrt() if n == "delta" else v for n, v in state.items()}

    def log_precision(self, state: State, take: Take) -> Tensor:
        if self.learns_scale:
            return mean_log(state["delta"], self.one_hot.sum(0), take)[..., self.view] - self.boost(state)
        log = -2 * self.fixed_scale.log() - self.boost(state)
        return log if log.dim() == 3 else log.expand(self.probability.shape[1:])
