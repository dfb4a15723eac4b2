r"""A collaborative filter in the prior: edges recommend each other by low-rank features of regulators and genes."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .edge_prior import EdgePrior
from .hyper import Hyper, as_hyper
from .spike_slab import SpikeSlab


class Collaborative(EdgePrior):
    r"""Edges whose prior has, beside the sources, a recommendation of low rank (after NetREX-CF, Wang et al. 2022).

    With features :math:`u_t` of regulators and :math:`v_g` of targets,

    .. math:: e_{tg} = \sum_k b_k P^k_{tg} + \sum_{r=1}^R u_{tr} v_{gr}, \qquad u_{tr} \sim N(0, 1), \quad
              v_{gr} \sim N(0, \tau^2), \quad \tau \sim \mathrm{HalfNormal}(1)

    raises the log-odds that the edge exists (strategy *inclusion*: :math:`\operatorname{logit}\pi_{tg} = a + e_{tg}`,
    spike and slab as `SpikeSlab`) or widens it (strategy *scale*: :math:`W_{tg} \sim N(s_{tg} m_{tg}, s_{tg}^2)`,
    :math:`s_{tg} = s\,e^{e_{tg}/2}`, as `Normal`). Genes that share regulators lend each other evidence; τ near zero
    means that they do not. Features are free up to a rotation: read their products (`recommendation`).

    Sites: ``u_1 ... u_R`` (tf), ``v_1 ... v_R`` (target), ``feature_scale``, and those of `SpikeSlab` without hubs, or
    of `Normal`. *Inclusion* is sampled exactly by `Gibbs` (`inference.gibbs.filter`); variational guides sum γ
    out and let τ collapse (0.2 where the sampler finds 1.3). With *scale* W is conditionally Gaussian: `Blocked` has
    its correlations exactly.

    Parameters
    ----------
    rank
        R. Default 2: each costs one number a regulator and a gene.
    feature_scale
        τ: fixed, or a `Hyper`. Default HalfNormal(1): 68% of recommendations change the odds by less than a factor of
        four.
    edge_probability, slab_scale, spike_ratio
        Of *inclusion*, as `SpikeSlab`.
    scale
        s of *scale*, as `Normal`.
    strategy
        ``"inclusion"`` (default) or ``"scale"``.

    Raises
    ------
    ValueError
        A rank below 1, a probability or ratio outside (0, 1).
    """

    strategies: ClassVar[tuple[str, ...]] = ("inclusion", "scale")
    constants = ("rank",)
    rank: Tensor

    def __init__(
        self,
        *,
        rank: int = 2,
        feature_scale: float | Hyper | None = None,
        edge_probability: float | Hyper | None = None,
        slab_scale: float | Hyper | None = None,
        spike_ratio: float | Hyper | None = None,
        scale: float | Hyper | None = None,
        strategy: str | None = None,
    ) -> None:
        super().__init__(strategy=strategy)
        if rank < 1 or int(rank) != rank:
            raise ValueError(f"`rank` is {rank}, expected a whole number of at least 1")
        for name, value in (("edge_probability", edge_probability), ("spike_ratio", spike_ratio)):
            if isinstance(value, (int, float)) and not 0 < value < 1:
                raise ValueError(f"`{name}` is {value}, expected a number strictly between 0 and 1")
        if isinstance(edge_probability, (int, float)):
            edge_probability = Hyper(math.log(edge_probability / (1 - edge_probability)))
        self.register_buffer("rank", torch.tensor(float(rank)))
        self.feature_scale = as_hyper(feature_scale) if feature_scale is not None else Hyper(dist.HalfNormal, 1.0)
        self.edge_logit = edge_probability if edge_probability is not None else Hyper(dist.Normal, -2.0, 1.5)
        self.slab_scale = as_hyper(slab_scale) if slab_scale is not None else Hyper(dist.LogNormal, -1.2, 0.7)
        self.spike_ratio = as_hyper(spike_ratio) if spike_ratio is not None else Hyper(dist.Beta, 1.0, 9.0)
        self.scale = as_hyper(scale) if scale is not None else Hyper(dist.LogNormal, -2.3, 1.0)

    @property
    def conditionally_gaussian(self) -> bool:  # type: ignore[override]
        return self.strategy == "scale"

    @property
    def _pairs(self) -> list[tuple[str, str]]:
        return [(f"u_{r}", f"v_{r}") for r in range(1, int(self.rank) + 1)]

    def _scalars(self) -> tuple[tuple[str, Hyper], ...]:
        own: tuple[tuple[str, Hyper], ...] = (("edge_scale", self.scale),)
        if self.strategy == "inclusion":
            own = (
                ("edge_logit", self.edge_logit),
                ("slab_scale", self.slab_scale),
                ("spike_ratio", self.spike_ratio),
            )
        return (("feature_scale", self.feature_scale), *own)

    def given_features(self) -> SpikeSlab | None:
        """With strategy *inclusion* and bound: a `SpikeSlab` to whose log-odds the `recommendation` is to be added."""
        if self.strategy != "inclusion":
            return None
        plain = SpikeSlab(edge_probability=self.edge_logit, slab_scale=self.slab_scale, spike_ratio=self.spike_ratio)
        plain.trust_prior, plain.sign_trust_prior = self.trust_prior, self.sign_trust_prior
        assert self.knowledge is not None, "models bind their prior"
        return cast(SpikeSlab, plain.bind(self.knowledge).to(self.rank))

    def family_dims(self) -> dict[str, tuple[str, ...]]:
        named: dict[str, tuple[str, ...]] = {}
        for u, v in self._pairs:
            named |= {u: ("tf",), v: ("target",)}
        if self.strategy == "inclusion":
            named["inclusion"] = ("tf", "target")
        return named | {name: () for name, hyper in self._scalars() if not hyper.is_fixed}

    def recommendation(self, values: Mapping[str, Tensor]) -> Tensor:
        """``(*batch, tf, target)`` Σ_r u_r v_r; features ``(*batch, tf, 1)`` and ``(*batch, 1, target)``, as the plates
        lay them out."""
        return sum((values[u] * values[v] for u, v in self._pairs), start=self.rank.new_zeros(()))

    def forward(self, tf: Any, target: Any) -> Tensor:
        trust, sign_trust = self.sample_trust()
        zero, spread = self.rank.new_zeros(()), self.feature_scale("feature_scale")
        own = {name: hyper(name) for name, hyper in self._scalars()[1:]}
        values = {}
        for u, v in self._pairs:
            with tf:
                values[u] = pyro.sample(u, dist.Normal(zero, zero + 1))  # (tf, 1)
            with target:
                values[v] = pyro.sample(v, dist.Normal(zero * spread, spread))  # (target,)
        evidence = self.evidence(trust) + self.recommendation(values)  # (tf, target)
        if self.strategy == "scale":
            wide = own["edge_scale"] * (0.5 * evidence).exp()
            with tf, target:
                W = pyro.sample("W", dist.Normal(wide * self.location(sign_trust), wide))  # (tf, target)
            return W * self.allowed
        slab, ratio = own["slab_scale"], own["spike_ratio"]
        with tf, target:
            # the gate acts on the prior of W, its only child in the same plates: enumeration is then exact
            present = pyro.sample(
                "inclusion", dist.Bernoulli(logits=own["edge_logit"] + evidence), infer={"enumerate": "parallel"}
            )
            width = torch.where(present > 0, slab, ratio * slab)
            W = pyro.sample("W", dist.Normal(present * slab * self.location(sign_trust), width))  # (tf, target)
        return W * self.allowed

    def gaussian(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        if self.strategy != "scale":
            return super().gaussian(values)
        evidence = self.evidence(values.get("trust")) + self.recommendation(values)
        scale = values.get("edge_scale", self.scale.constants[0]) * (0.5 * evidence).exp()
        return scale * self.location(values.get("sign_trust")), scale

    def inclusion(self, draws: Mapping[str, Tensor], *, threshold: float = 0.0) -> Tensor:
        r"""*Inclusion*: P(γ = 1 | W, features, hyperparameters) for each draw, γ averaged out exactly (``threshold`` is
        not used). *Scale*: the indicator of ``|W| > threshold``."""
        if self.strategy != "inclusion":
            return super().inclusion(draws, threshold=threshold)
        value = lambda name, hyper: draws.get(name, hyper.constants[0])
        slab, ratio = value("slab_scale", self.slab_scale), value("spike_ratio", self.spike_ratio)
        evidence = self.evidence(draws.get("trust")) + self.recommendation(draws)
        W = draws["W"]
        present = dist.Normal(slab * self.location(draws.get("sign_trust")), slab).log_prob(W)
        absent = dist.Normal(torch.zeros_like(W), ratio * slab).log_prob(W)
        logit = value("edge_logit", self.edge_logit) + evidence
        return torch.sigmoid(logit + present - absent) * self.allowed
