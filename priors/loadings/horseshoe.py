r"""Horseshoe loadings: programs of a few genes each."""

import math
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..conjugate import Take
from ..edge_prior import TRUST_SCALE
from .prior import LoadingPrior, State, half_cauchy, half_cauchy_update, mean_log


class HorseshoeLoading(LoadingPrior):
    r"""Global, factor and local scales, regularised by a slab (Qoku & Buettner 2023, MuVI; Carvalho et al. 2010).

    .. math:: W_{kg} \sim N\big(0, (\tau_v \delta_{kv} \lambda_{kg})^2 e^{\sum_l b_l P^l_{kg}}\big) \cdot
              e^{-W_{kg}^2 / 2 c_{kg}^2}, \qquad \tau_v, \delta_{kv}, \lambda_{kg} \sim C^+(1)

    for gene g of view v. The slab is a second, fictitious observation of W (Nishimura & Suchard 2023): it caps the
    scale at c like the regularised horseshoe of Piironen & Vehtari (2017), and leaves every scale conjugate.

    Parameters
    ----------
    slab
        c, the largest scale of a loading. Default 3: three times what a standardised gene can have, so it only stops
        runaway scales; being a fictitious observation, a slab of 1 shrinks dense programs. ``None``: no slab, the
        horseshoe of the poster.
    strategy
        How gene sets enter. ``"scale"``: through the learned trust b. ``"slab"`` (as MuVI): through the slab, which is
        ``outside`` × c for genes outside the set of a labelled factor, with confidence as given by the set.
    outside
        Of the slab strategy: the width left to a gene that the set does not list (its confidence is 1 − ``outside``).
        Default 0.02.
    """

    strategies: ClassVar[tuple[str, ...]] = ("scale", "slab")
    has_local_scales = True
    constants = ("slab", "outside")
    reference = "horseshoe: Carvalho, Polson & Scott 2010, Biometrika 97:465"

    def __init__(self, *, slab: float | None = 3.0, strategy: str | None = None, outside: float = 0.02) -> None:
        super().__init__(strategy=strategy)
        if slab is not None and not slab > 0:
            raise ValueError(f"`slab` is {slab}, expected a positive width, or None for no slab")
        if self.strategy == "slab" and (slab is None or not 0 < outside <= 1):
            raise ValueError(f"the slab strategy needs a slab and `outside` in (0, 1], found {slab} and {outside}")
        width = math.inf if slab is None else float(slab)
        self.register_buffer("slab", torch.tensor(width))
        self.register_buffer("outside", torch.tensor(float(outside)))

    slab: Tensor
    outside: Tensor

    @property
    def has_trust(self) -> bool:
        return bool(self.sources) and self.strategy == "scale"

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        named = super().dims
        return named if self.has_trust else {name: d for name, d in named.items() if name != "trust"}

    def family_dims(self) -> dict[str, tuple[str, ...]]:
        return {"tau": ("view",), "delta": ("factor", "view"), "local_scale": ("factor", "gene")}

    def slab_precision(self) -> Tensor:
        """``(factor, gene)`` 1/c²; a gene outside the set of a labelled factor has the narrow slab."""
        width = self.slab.expand(self.probability.shape[1:])
        if self.strategy == "slab" and self.sources:
            confidence = self.probability.amax(0)
            labelled = (confidence > 0).any(1, keepdim=True)
            width = torch.where(labelled & (confidence == 0), width * self.outside, width)
        return width**-2

    def forward(self, factor: Any, gene: Any) -> Tensor:
        trust = self.sample_trust()[0] if self.has_trust else None
        view = self.plate_of_views
        with view:
            tau = half_cauchy("tau", self.probability)  # (1, view)
        with factor, view:
            scale = tau * half_cauchy("delta", self.probability)  # (factor, view)
        with factor, gene:
            local = half_cauchy("local_scale", self.probability)  # (factor, gene)
            scale = scale[..., self.view] * local * (0.5 * self.evidence(trust)).exp()
            W = pyro.sample("W", dist.Normal(torch.zeros_like(scale), scale))
            pyro.factor("slab_factor", -0.5 * W**2 * self.slab_precision())
        return W

    # -- conjugacy ----
    def start(self, num_chains: int, like: Tensor) -> State:
        state = super().start(num_chains, like)
        return state if self.has_trust else {name: v for name, v in state.items() if name != "trust"}

    def start_family(self, num_chains: int, like: Tensor) -> State:
        _, factors, genes = self.probability.shape
        return {
            "tau": like.new_ones(num_chains, self.num_views),
            "delta": like.new_ones(num_chains, factors, self.num_views),
            "local_scale": like.new_ones(num_chains, factors, genes),
        }

    def _wide(self, state: State) -> Tensor:
        """``(chain, factor, view)`` 1/(τδ)²."""
        return state["tau"][:, None] * state["delta"]

    def precision(self, state: State) -> Tensor:
        horseshoe = self.by_gene(self._wide(state)) * state["local_scale"] * (-self.boost(state)).exp()
        return horseshoe + self.slab_precision()

    def update(self, state: State, square: Tensor, take: Take) -> State:
        new = dict(state)
        scaled = square * (-self.boost(new)).exp()
        new["local_scale"] = half_cauchy_update(new["local_scale"], 1.0, scaled * self.by_gene(self._wide(new)), take)
        total = (scaled * new["local_scale"]) @ self.one_hot  # (chain, factor, view)
        count = self.one_hot.sum(0)
        new["delta"] = half_cauchy_update(new["delta"], count, total * new["tau"][:, None], take)
        total = (total * new["delta"]).sum(1)
        new["tau"] = half_cauchy_update(new["tau"], count * square.shape[1], total, take)
        if self.has_trust:
            weighted = square * self.by_gene(self._wide(new)) * new["local_scale"]
            new["trust"] = self.trust_step(new, weighted, take)
        return self._exchange(new, take) if take.draws else new

    def _exchange(self, state: State, take: Take) -> State:
        """Metropolis moves that pass a factor from one scale to the next and leave τ δ λ e^{bP/2}, and so W, alone.

        Only the product is known from W: without these moves each scale drifts by itself, a little at every sweep.
        """
        new = dict(state)
        unit = lambda scale: -torch.log1p(scale)
        tau, delta = 1 / new["tau"], 1 / new["delta"]  # squared scales: (chain, view), (chain, factor, view)

        def between_tau_and_delta(log: Tensor) -> tuple[Tensor]:
            other = unit(delta * (-2 * log).exp()[:, None]) - log[:, None]
            return (unit(tau * (2 * log).exp()) + log + other.sum(1),)

        moved = (2 * take.climb(torch.zeros_like(tau), between_tau_and_delta)).exp()
        tau, delta = tau * moved, delta / moved[:, None]
        local = 1 / new["local_scale"]  # (chain, factor, gene)
        one_hot = self.one_hot
        genes = one_hot.sum(0)

        def between_delta_and_local(log: Tensor) -> tuple[Tensor]:
            other = unit(local * self.by_gene((-2 * log).exp())) @ one_hot - genes * log
            return (unit(delta * (2 * log).exp()) + log + other,)

        moved = (2 * take.climb(torch.zeros_like(delta), between_delta_and_local)).exp()
        delta, local = delta * moved, local / self.by_gene(moved)
        for one in range(new["trust"].shape[1] if self.has_trust else 0):
            at = self.members(one)  # the scales of genes that the library does not list stay
            P, own = self.probability[one].flatten()[at], local.flatten(1)[:, at]

            def between_trust_and_local(b: Tensor, one: int = one, P: Tensor = P, own: Tensor = own) -> tuple[Tensor]:
                change = (b - new["trust"][:, one])[:, None] * P
                other = unit(own * (-change).exp()) - 0.5 * change
                return (other.sum(1) - 0.5 * b**2 / TRUST_SCALE**2,)

            b = take.climb(new["trust"][:, one], between_trust_and_local, positive=True)
            flat = local.flatten(1).clone()
            flat[:, at] = own * (-(b - new["trust"][:, one])[:, None] * P).exp()
            local = flat.view_as(local)
            trust = new["trust"].clone()
            trust[:, one] = b
            new["trust"] = trust
        return new | {"tau": 1 / tau, "delta": 1 / delta, "local_scale": 1 / local}

    def sites(self, state: State) -> dict[str, Tensor]:
        return {n: v if n == "trust" else v.rsqrt() for n, v in state.items()}

    def log_precision(self, state: State, take: Take) -> Tensor:
        count = self.one_hot.sum(0)
        tau = mean_log(state["tau"], count * self.probability.shape[1], take)
        wide = self.by_gene(tau[:, None] + mean_log(state["delta"], count, take))
        return wide + mean_log(state["local_scale"], 1.0, take) - self.boost(state)
