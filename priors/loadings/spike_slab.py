r"""Spike-and-slab loadings: each gene is in a program, or it is not."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..conjugate import Take
from .prior import LoadingPrior, State, half_cauchy, half_cauchy_update, mean_log

LOGIT_MEAN, LOGIT_SD = -2.0, 1.5  # as for edges: 12% of the genes, 95% between 0.7% and 72%


class SpikeSlabLoading(LoadingPrior):
    r"""A membership variable for every gene and program.

    .. math:: \gamma_{kg} \sim \mathrm{Bernoulli}(\pi_{kg}), \quad \operatorname{logit}\pi_{kg} = a_k + \textstyle\sum_l
              b_l P^l_{kg}, \quad W_{kg} \mid \gamma \sim N\big(0,\ \delta_{kv}^2\,(\gamma + (1 - \gamma)\rho^2)\big),
              \quad \delta_{kv} \sim C^+(1),\ a_k \sim N(-2, 1.5^2)

    ``inclusion`` is then the probability that a gene belongs to the program: a refined gene set.

    Parameters
    ----------
    spike_ratio
        ρ, width of the spike relative to the slab. Default 0.05: a loading that small explains 1/400 of what a member
        of the program has explained.
    """

    constants = ("spike_ratio",)
    reference = "spike and slab: George & McCulloch 1993, J Am Stat Assoc 88:881"

    def __init__(self, *, spike_ratio: float = 0.05) -> None:
        super().__init__()
        if not 0 < spike_ratio < 1:
            raise ValueError(f"`spike_ratio` is {spike_ratio}, expected a number strictly between 0 and 1")
        self.register_buffer("spike_ratio", torch.tensor(float(spike_ratio)))

    spike_ratio: Tensor

    def family_dims(self) -> dict[str, tuple[str, ...]]:
        return {"inclusion": ("factor", "gene"), "member_logit": ("factor",), "delta": ("factor", "view")}

    def forward(self, factor: Any, gene: Any) -> Tensor:
        trust, _ = self.sample_trust()
        like = self.probability
        with factor:
            logit = pyro.sample("member_logit", dist.Normal(like.new_tensor(LOGIT_MEAN), like.new_tensor(LOGIT_SD)))
        with factor, self.plate_of_views:
            wide = half_cauchy("delta", like)[..., self.view]  # (factor, gene)
        with factor, gene:
            present = pyro.sample(
                "inclusion", dist.Bernoulli(logits=logit + self.evidence(trust)), infer={"enumerate": "parallel"}
            )
            scale = torch.where(present > 0, wide, self.spike_ratio * wide)
            return pyro.sample("W", dist.Normal(torch.zeros_like(scale), scale))

    def inclusion(self, draws: Mapping[str, Tensor], *, threshold: float = 0.0) -> Tensor:
        """P(γ = 1 | W, a, b, δ) for each draw, γ averaged out; ``threshold`` is not used."""
        logit = draws["member_logit"] + self.evidence(draws.get("trust"))
        return torch.sigmoid(logit + self._odds(draws["W"] ** 2, draws["delta"][..., self.view] ** -2))

    def _odds(self, square: Tensor, precision: Tensor) -> Tensor:
        """Log Bayes factor of slab over spike at W² (or its expectation)."""
        return self.spike_ratio.log() + 0.5 * square * precision * (self.spike_ratio**-2 - 1)

    # -- conjugacy ----
    def start_family(self, num_chains: int, like: Tensor) -> State:
        _, factors, genes = self.probability.shape
        listed = (self.probability > 0).any(0)
        labelled = listed.any(1, keepdim=True)
        first = torch.where(labelled, torch.where(listed, 0.9, 0.1), 0.5)
        return {
            "delta": like.new_ones(num_chains, factors, self.num_views),
            "inclusion": first.to(like).expand(num_chains, factors, genes),
            "member_logit": like.new_full((num_chains, factors), LOGIT_MEAN),
        }

    def _gate(self, state: State) -> Tensor:
        return state["inclusion"] + (1 - state["inclusion"]) * self.spike_ratio**-2

    def precision(self, state: State) -> Tensor:
        return state["delta"][..., self.view] * self._gate(state)

    def update(self, state: State, square: Tensor, take: Take) -> State:
        new = dict(state)
        logit = new["member_logit"][..., None] + self.boost(new)
        new["inclusion"] = take.bernoulli(logit + self._odds(square, new["delta"][..., self.view]))
        total = (square * self._gate(new)) @ self.one_hot
        new["delta"] = half_cauchy_update(new["delta"], self.one_hot.sum(0), total, take)
        present, boost = new["inclusion"], self.boost(new)

        def of_logit(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            p = torch.sigmoid(a[..., None] + boost)
            fit = (present * (a[..., None] + boost) + torch.log1p(-p.clamp_max(1 - 1e-7))).sum(-1)
            away = (a - LOGIT_MEAN) / LOGIT_SD**2
            return (
                fit - 0.5 * away * (a - LOGIT_MEAN),
                (present - p).sum(-1) - away,
                (p * (1 - p)).sum(-1) + LOGIT_SD**-2,
            )

        new["member_logit"] = take.climb(new["member_logit"], of_logit)
        if self.sources:
            new["trust"] = self._trust(new, take)
        if not take.draws:
            logit = new["member_logit"][..., None] + self.boost(new)
            entropy = -torch.xlogy(present, present) - torch.xlogy(1 - present, 1 - present)
            fit = (present * logit - torch.nn.functional.softplus(logit) + entropy).sum((1, 2))
            like = new["member_logit"]
            prior = dist.Normal(like.new_tensor(LOGIT_MEAN), like.new_tensor(LOGIT_SD)).log_prob(like).sum(1)
            take.bound = take.bound + fit + prior
        return new

    def _trust(self, state: State, take: Take) -> Tensor:
        present, base = state["inclusion"], state["member_logit"][..., None]

        def of_library(one: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
            at = self.members(one)  # b says nothing of the others
            confidence, own = self.probability.flatten(1)[:, at], present.flatten(1)[:, at]
            start = base.expand_as(present).flatten(1)[:, at]
            P = confidence[one]

            def likelihood(trust: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
                logit = start + trust @ confidence
                p = torch.sigmoid(logit)
                fit = (own * logit - torch.nn.functional.softplus(logit)).sum(1)
                return fit, (P * (own - p)).sum(1), (P * P * p * (1 - p)).sum(1)

            return likelihood

        return self.climb_trust(state["trust"], of_library, take)

    def sites(self, state: State) -> dict[str, Tensor]:
        return {n: v.rsqrt() if n == "delta" else v for n, v in state.items()}

    def log_precision(self, state: State, take: Take) -> Tensor:
        log = mean_log(state["delta"], self.one_hot.sum(0), take)[..., self.view]
        return log - 2 * (1 - state["inclusion"]) * self.spike_ratio.log()
