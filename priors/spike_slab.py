r"""Spike and slab: edges that exist, against a background of effects that do not count as edges."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .edge_prior import EdgePrior
from .hyper import Hyper, as_hyper
from .own_edges import EdgeComponents

UNITS = ("sd", "noise")


class SpikeSlab(EdgePrior):
    r"""An inclusion variable for every edge (George & McCulloch 1993), with a learned background.

    .. math:: \gamma_{tg} \sim \mathrm{Bernoulli}(\pi_{tg}), \qquad
              \operatorname{logit}\pi_{tg} = a + h_t + \textstyle\sum_k b_k P^k_{tg}, \qquad h_t \sim N(0, \eta^2)

    .. math:: W_{tg} \mid \gamma \sim \begin{cases} N(s\,m_{tg},\ s^2) & \gamma_{tg} = 1\\ N(0,\ \rho^2 s^2) &
              \gamma_{tg} = 0\end{cases}

    The spike is not a point. Its width :math:`\rho s` is learned with the rest: on data from the model it shrinks to
    nothing, and where the linear model is wrong it widens to take up the many small effects that a misspecified
    regression needs and that are not edges (the sparse-plus-dense prior of Zhou, Carbonetto & Stephens 2013). This is
    the model-inadequacy term: with a fixed narrow spike, a few thousand cells make a wrong linear model certain of
    nearly every edge.

    Parameters
    ----------
    edge_probability
        π without hubs and knowledge: a number fixes a = logit π; a `Hyper` is the prior of a. Default a ~ N(−2, 1.5²):
        12% of edges, 95% between 0.7% and 72%.
    slab_scale
        s. Default LogNormal(log 0.3, 0.7).
    spike_ratio
        ρ in (0, 1). Default Beta(1, 9), its mode at zero. A small fixed number (0.02) gives the classical spike.
    hub_scale
        η, the spread of the regulators' out-degrees on the logit scale: a number, or a `Hyper` to learn it
        (``Hyper(dist.HalfNormal, 1.0)``). Default 0, no hubs. On simulated networks whose regulators really differ,
        hubs sharpen the result; on real data a regulator that follows a shared factor (depth, quality, cell cycle)
        passes for a hub and takes every gene, and both ranking and calibration suffer (`make bench`, section linear).
    strategy
        ``"inclusion"`` (knowledge raises π) or ``"scale"`` (knowledge widens the slab).
    unit
        Of s, and so of the spike: ``"sd"``, standard deviations of the target for one of the regulator, as W; or
        ``"noise"``, those of the target's noise, with :math:`\sigma_g s` in place of s above. A target is standardised
        by the sd of its sample, which grows with what its regulators do to it: in units of that, targets that share
        their slab a priori no longer do, and the list of edges is longer than its expected rate allows; in units of the
        noise they still do, whatever a target was divided by. Default ``"sd"``;
        the prior that `LinearNetwork` makes by itself has ``"noise"``.

    Raises
    ------
    ValueError
        A probability or ratio outside (0, 1), an unknown strategy or unit.
    """

    independent_gates = True
    strategies: ClassVar[tuple[str, ...]] = ("inclusion", "scale")
    holds_trust = True
    reference = "spike and slab: George & McCulloch 1993, J Am Stat Assoc 88:881"

    def __init__(
        self,
        *,
        edge_probability: float | Hyper | None = None,
        slab_scale: float | Hyper | None = None,
        spike_ratio: float | Hyper | None = None,
        hub_scale: float | Hyper = 0.0,
        strategy: str | None = None,
        unit: str | None = None,
    ) -> None:
        super().__init__(strategy=strategy)
        if unit not in (None, *UNITS):
            raise ValueError(f"`unit` is {unit!r}, expected one of {', '.join(UNITS)}")
        self.measured_in = unit
        if isinstance(edge_probability, (int, float)):
            if not 0 < edge_probability < 1:
                raise ValueError(
                    f"`edge_probability` is {edge_probability}, expected a number strictly between 0 and 1"
                )
            edge_probability = Hyper(math.log(edge_probability / (1 - edge_probability)))
        if isinstance(spike_ratio, (int, float)) and not 0 < spike_ratio < 1:
            raise ValueError(
                f"`spike_ratio` is {spike_ratio}, expected a number strictly between 0 and 1 (0.02 for a narrow spike)"
            )
        self.edge_logit = edge_probability if edge_probability is not None else Hyper(dist.Normal, -2.0, 1.5)
        self.slab_scale = as_hyper(slab_scale) if slab_scale is not None else Hyper(dist.LogNormal, -1.2, 0.7)
        self.spike_ratio = as_hyper(spike_ratio) if spike_ratio is not None else Hyper(dist.Beta, 1.0, 9.0)
        self.hub_scale = as_hyper(hub_scale)

    @property
    def has_hubs(self) -> bool:
        return not (self.hub_scale.is_fixed and self.hub_scale.first == 0.0)

    def family_dims(self) -> dict[str, tuple[str, ...]]:
        named: dict[str, tuple[str, ...]] = {"inclusion": ("tf", "target")}
        if self.has_hubs:
            named["hub"] = ("tf",)
        scalars = (
            ("edge_logit", self.edge_logit),
            ("slab_scale", self.slab_scale),
            ("spike_ratio", self.spike_ratio),
            ("hub_scale", self.hub_scale),
        )
        return named | {name: () for name, hyper in scalars if not hyper.is_fixed}

    def forward(self, tf: Any, target: Any, noise_sd: Tensor | float = 1.0) -> Tensor:
        return self.edges(self.components(tf, noise_sd), tf, target)

    def components(self, tf: Any, noise_sd: Tensor | float = 1.0) -> EdgeComponents:
        """Sample the hyperparameters: what edges are drawn from; ``noise_sd`` of targets where that is the unit."""
        trust, sign_trust, logit, slab, ratio = self.hyperparameters(tf)
        logit, wide = self._place(logit, slab, trust)
        wide, spike = wide * noise_sd, ratio * slab * noise_sd
        return EdgeComponents(logit, wide * self.location(sign_trust), wide, spike)

    def hyperparameters(self, tf: Any) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor, Tensor]:
        """Sample what no edge is a parent of: trust in sources and in their signs, log-odds of an edge of which no
        source says anything ``(tf, 1)``, slab scale and spike ratio."""
        trust, sign_trust = self.sample_trust()
        logit = self.edge_logit("edge_logit")
        slab, ratio = self.slab_scale("slab_scale"), self.spike_ratio("spike_ratio")
        if self.has_hubs:
            hub_scale = self.hub_scale("hub_scale")
            with tf:
                logit = logit + pyro.sample("hub", dist.Normal(0 * hub_scale, hub_scale))  # (tf, 1)
        return trust, sign_trust, logit, slab, ratio

    def edges(self, edge: EdgeComponents, tf: Any, target: Any) -> Tensor:
        """Sample the inclusion variables and W ``(tf, target)``."""
        with tf, target:
            # the gate acts on the prior of W, its only child in the same plates: enumeration is then exact
            present = pyro.sample("inclusion", dist.Bernoulli(logits=edge.logit), infer={"enumerate": "parallel"})
            scale = torch.where(present > 0, edge.wide, edge.spike)
            W = pyro.sample("W", dist.Normal(present * edge.loc, scale))  # (tf, target)
        return W * self.allowed

    def _place(self, logit: Tensor, slab: Tensor, trust: Tensor | None) -> tuple[Tensor, Tensor]:
        """Let the knowledge act on the log-odds, or on the slab's scale."""
        evidence = self.evidence(trust)
        if self.strategy == "inclusion":
            return logit + evidence, slab
        return logit, slab * (0.5 * evidence).exp()

    def inclusion(self, draws: Mapping[str, Tensor], *, threshold: float = 0.0) -> Tensor:
        r"""P(γ = 1 | W, hyperparameters) for each draw: the inclusion variable averaged out exactly (Rao–Blackwell).

        Sites carry the batch dimensions of the draws on the left and keep their plate dimensions: scalars ``(*draw, 1,
        1)``, hubs ``(*draw, tf, 1)``. ``threshold`` is not used: this family has an inclusion variable.
        """
        logit, wide, spike = self._given(draws)
        W = draws["W"]
        present = dist.Normal(wide * self.location(draws.get("sign_trust")), wide).log_prob(W)
        absent = dist.Normal(torch.zeros_like(W), spike).log_prob(W)
        return torch.sigmoid(logit + present - absent) * self.allowed

    def log_odds(self, values: Mapping[str, Tensor]) -> Tensor:
        """Log-odds of inclusion given the hyperparameters, broadcastable to ``(*batch, tf, target)``."""
        return self._place_given(values)[0]

    def gaussian(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and sd ``(*batch, tf, target)`` of W given the hyperparameters and the graph, the site ``inclusion``;
        without it W is a mixture and refused."""
        if "inclusion" not in values:
            return super().gaussian(values)
        present = values["inclusion"]
        _, wide, spike = self._given(values)
        scale = torch.where(present > 0, wide, spike)
        return present * wide * self.location(values.get("sign_trust")), scale

    def given(self, draws: Mapping[str, Tensor]) -> EdgeComponents:
        """What edges are drawn from, from draws of the hyperparameters, and of the noise where that is their unit."""
        logit, wide, spike = self._given(draws)
        return EdgeComponents(logit, wide * self.location(draws.get("sign_trust")), wide, spike)

    def _given(self, draws: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-odds of inclusion and the sd of slab and spike, from draws of the hyperparameters, and of the noise where
        that is their unit."""
        logit, wide, spike = self._place_given(draws)
        sd = draws["noise_variance"].sqrt() if self.measured_in == "noise" else 1.0
        return logit, wide * sd, spike * sd

    def _place_given(self, draws: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """`_given` with both scales in the unit of s."""
        value = lambda name, hyper: draws.get(name, hyper.constants[0])
        slab, ratio = value("slab_scale", self.slab_scale), value("spike_ratio", self.spike_ratio)
        logit = value("edge_logit", self.edge_logit)
        if self.has_hubs:
            logit = logit + draws["hub"]
        logit, wide = self._place(logit, slab, draws.get("trust"))
        return logit, wide, ratio * slab
