r"""Edges that exist to a degree: logit-normal existence times a signed strength, the prior of PMF-GRN."""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from .edge_prior import EdgePrior
from .hyper import Hyper, as_hyper

EXISTENCE_SPREAD = 3.0  # one edge in six has an existence between 0.3 and 0.7, the others are nearer to a decision
MIN_SPREAD = 0.5  # the quadrature below resolves no less
# nodes of it on each side of zero, logit A = ± 2 sinh(u), u in (0, 3): 0.3 apart at zero, reaching 20
NODES, REACH, STRETCH = 20, 3.0, 2.0
ANCHOR = 4.0


class LogitNormal(EdgePrior):
    r"""Every edge has an existence A in (0, 1) and a strength B (Skok Gibbs et al. 2024, PMF-GRN).

    .. math:: W_{tg} = A_{tg} B_{tg}, \qquad \operatorname{logit} A_{tg} \sim N(a + \textstyle\sum_k b_k P^k_{tg},
              \varsigma^2), \qquad B_{tg} \sim N(s\,m_{tg},\ s^2)

    Where PMF-GRN puts the logit of one prior matrix, between 0.01 and 0.99, this has the sources each with its trust
    coefficient. An edge exists where :math:`A > \tfrac12`, and `inclusion` is its probability given the weight. The
    sites are ``existence``, which is :math:`\operatorname{logit} A - \sum_k b_k P^k`, so that a change of trust moves
    every listed edge at once (where the data say little of each, trust would hardly move otherwise); and, in place of
    the strength, ``W`` itself, whose density given the existence is :math:`N(A s m, A^2 s^2)`: the same joint
    distribution, in the coordinate that the data speak of, and Gaussian given the other sites, so that the `Blocked`
    guide applies to a linear network. The strength is W / A.

    Mean-field takes existence and weight for independent, which they are not: counted in its draws, far too many
    absent edges would exist. That
    is why `inclusion` asks the weights and hyperparameters alone. With `MapEstimate`, whose scales are degenerate,
    trust the ranking only.

    Parameters
    ----------
    edge_probability
        P(A > ½) without knowledge: a number fixes :math:`a = \varsigma\,\Phi^{-1}(p)`; a `Hyper` is the prior of a.
        Default a ~ N(−3.5, 2²): 12% of edges, 95% between 0.6% and 56%, as `SpikeSlab`.
    existence_spread
        ς, at least 0.5. Default 3: existence is near zero or near one for five edges in six. The paper's 1 leaves most
        of them undecided.
    strength_scale
        s. Default LogNormal(log 0.3, 0.7), as the slab of `SpikeSlab`.
    strategy
        ``"inclusion"`` (knowledge raises the existence) or ``"scale"`` (it widens the strength by
        :math:`\exp(\tfrac12\sum_k b_k P^k)`).

    Raises
    ------
    ValueError
        An ``edge_probability`` outside (0, 1), a spread below 0.5.
    """

    strategies: ClassVar[tuple[str, ...]] = ("inclusion", "scale")
    conditionally_gaussian = True

    def __init__(
        self,
        *,
        edge_probability: float | Hyper | None = None,
        existence_spread: float = EXISTENCE_SPREAD,
        strength_scale: float | Hyper | None = None,
        strategy: str | None = None,
    ) -> None:
        super().__init__(strategy=strategy)
        if not existence_spread >= MIN_SPREAD:
            raise ValueError(
                f"`existence_spread` is {existence_spread}, expected at least {MIN_SPREAD}: below it no edge is decided"
            )
        self.existence_spread = Hyper(float(existence_spread))
        if isinstance(edge_probability, (int, float)):
            if not 0 < edge_probability < 1:
                raise ValueError(
                    f"`edge_probability` is {edge_probability}, expected a number strictly between 0 and 1"
                )
            edge_probability = Hyper(existence_spread * NormalDist().inv_cdf(edge_probability))
        self.edge_logit = edge_probability if edge_probability is not None else Hyper(dist.Normal, -3.5, 2.0)
        self.strength_scale = (
            as_hyper(strength_scale) if strength_scale is not None else Hyper(dist.LogNormal, math.log(0.3), 0.7)
        )

    def family_dims(self) -> dict[str, tuple[str, ...]]:
        named: dict[str, tuple[str, ...]] = {"existence": ("tf", "target")}
        scalars = (
            ("edge_logit", self.edge_logit),
            ("strength_scale", self.strength_scale),
        )
        return named | {name: () for name, hyper in scalars if not hyper.is_fixed}

    def _place(self, logit: Tensor, scale: Tensor, trust: Tensor | None) -> tuple[Tensor, Tensor]:
        """Let the knowledge act on the existence, or on the scale of the strength."""
        evidence = self.evidence(trust)
        if self.strategy == "inclusion":
            return logit + evidence, scale
        return logit, scale * (0.5 * evidence).exp()

    def _hyper(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean of logit A and scale of B, as `_place` has them."""
        logit = values.get("edge_logit", self.edge_logit.constants[0])
        strength = values.get("strength_scale", self.strength_scale.constants[0])
        return self._place(logit, strength, values.get("trust"))

    def existence(self, values: Mapping[str, Tensor]) -> Tensor:
        """``(*batch, tf, target)``: A, of one draw of the sites or many."""
        shift, _ = self._place(
            torch.zeros_like(values["existence"]), values["existence"].new_ones(()), values.get("trust")
        )
        return torch.sigmoid(values["existence"] + shift)

    def gaussian(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        scale = self.existence(values) * self._hyper(values)[1]
        return scale * self.location(values.get("sign_trust")), scale

    def forward(self, tf: Any, target: Any) -> Tensor:
        trust, sign_trust = self.sample_trust()
        logit, spread = self.edge_logit("edge_logit"), self.existence_spread.constants[0]
        shift, strength = self._place(torch.zeros_like(logit), self.strength_scale("strength_scale"), trust)
        with tf, target:
            existence = pyro.sample("existence", dist.Normal(logit, spread))  # (tf, target)
            scale = torch.sigmoid(existence + shift) * strength
            W = pyro.sample("W", dist.Normal(scale * self.location(sign_trust), scale))  # (tf, target)
        return W * self.allowed

    def inclusion(self, draws: Mapping[str, Tensor], *, threshold: float = 0.0) -> Tensor:
        r"""P(A > ½ | W, hyperparameters) for each draw: the existence averaged out (Rao–Blackwell), by quadrature.

        Sites carry the batch dimensions of the draws on the left and keep their plate dimensions. ``threshold`` is not
        used: this family has an existence.
        """
        logit, strength = self._hyper(draws)
        weight, sign = draws["W"] / strength, self.location(draws.get("sign_trust"))
        spread = self.existence_spread.constants[0]

        def log_density(existence: Tensor, log_A: Tensor) -> Tensor:  # of (logit A, W), up to a constant
            pull = (existence - logit) / spread
            return -0.5 * pull.square() - 0.5 * (weight * (-log_A).exp() - sign).square() - log_A

        # relative to an existence of nearly one: no edge is so large, or so small, that both sums vanish
        anchor = weight.new_tensor(ANCHOR)
        base = log_density(anchor, nn.functional.logsigmoid(anchor))
        half = (torch.arange(NODES, dtype=weight.dtype, device=weight.device) + 0.5) * (REACH / NODES)
        sums = []
        for side in (-1.0, 1.0):
            total = torch.zeros_like(base)
            for u in half.unbind():
                existence = side * STRETCH * u.sinh()
                log_density_here = log_density(existence, nn.functional.logsigmoid(existence)) - base
                total = total + u.cosh() * log_density_here.clamp_max(80.0).exp()
            sums.append(total)
        absent, present = sums
        return present / (present + absent).clamp_min(1e-30) * self.allowed
