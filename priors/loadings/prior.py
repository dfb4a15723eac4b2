r"""`LoadingPrior`: what we expect of the loadings of gene programs before the data, and how gene sets enter."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..conjugate import Take
from ..edge_prior import TRUST_SCALE, EdgePrior
from ..host_values import kept
from ..knowledge import EdgeKnowledge

State = dict[str, Tensor]
TrustLikelihood = Callable[[int], Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]]


class LoadingPrior(EdgePrior):
    r"""Prior on the loadings ``W`` (factor, gene); Gaussian given its scales.

    A library l of gene sets gives gene g in the set of factor k a confidence :math:`P^l_{kg} \in [0, 1)`, 0 outside.
    As with edges it enters through a coefficient that is sampled, :math:`b_l \sim \mathrm{HalfNormal}(3)`: a library
    that the data contradict ends near zero.

    Beside the generative story, a `LoadingPrior` knows its full conditionals, which are conjugate: `precision` of W
    given a state, and `update` of the state given squares of W. `Take` decides whether that is a Gibbs sweep or
    coordinate ascent. A state holds ``(chain, ...)`` tensors of precisions.
    """

    axes: ClassVar[tuple[str, str]] = ("factor", "gene")
    conditionally_gaussian = True
    sparse: ClassVar[bool] = True
    """Whether it expects programs of few genes each, so that loadings have directions of their own."""
    has_local_scales: ClassVar[bool] = False
    """Whether each loading has a scale of its own, which adapts to whatever arrangement of the factors it meets."""
    constants: ClassVar[tuple[str, ...]] = ()
    """Buffers that, with the strategy, describe the prior (for storage)."""

    def bind(self, knowledge: EdgeKnowledge, *, view: Tensor | None = None, num_views: int = 1) -> Self:
        """A copy that knows the factors, genes, libraries and the view ``(gene,)`` of each gene."""
        bound = super().bind(knowledge)
        genes = len(knowledge.targets)
        bound.num_views = num_views
        bound.register_buffer("view", torch.zeros(genes, dtype=torch.long) if view is None else view)
        return bound

    view: Tensor
    num_views: int

    @property
    def has_fixed_width(self) -> bool:
        """Whether the size of loadings is given, and not learned."""
        return False

    @property
    def rotates_freely(self) -> bool:
        """Whether it cannot tell a rotation of the factors: all loadings alike."""
        return False

    @property
    def one_hot(self) -> Tensor:
        """``(gene, view)`` indicator of each gene's view."""
        return torch.nn.functional.one_hot(self.view, self.num_views).to(self.probability.dtype)

    def by_gene(self, values: Tensor) -> Tensor:
        """``(*batch, gene)`` of values by view ``(*batch, view)``; of one view ``(*batch, 1)``, which broadcasts."""
        return values if self.num_views == 1 else values[..., self.view]

    @property
    def plate_of_views(self) -> Any:
        return pyro.plate("view", self.num_views, dim=-1)

    def start(self, num_chains: int, like: Tensor) -> State:
        """The state before anything is known: all precisions one, trust one half of its prior's scale."""
        state = self.start_family(num_chains, like)
        if self.sources:
            state["trust"] = like.new_full((num_chains, len(self.sources)), 0.5 * TRUST_SCALE)
        return state

    def boost(self, state: State) -> Tensor:
        """``(chain, factor, gene)`` Σ_l b_l P^l, or a zero that broadcasts."""
        if "trust" not in state:
            return self.probability.new_zeros(())
        return torch.einsum("cl,lkg->ckg", state["trust"], self.probability)

    @abstractmethod
    def start_family(self, num_chains: int, like: Tensor) -> State:
        """The state of the family's own scales."""

    @abstractmethod
    def precision(self, state: State) -> Tensor:
        """``(chain, factor, gene)`` precision of W given the state (its expectation, in coordinate ascent)."""

    @abstractmethod
    def update(self, state: State, square: Tensor, take: Take) -> State:
        """The state after one round through its full conditionals.

        Parameters
        ----------
        square
            ``(chain, factor, gene)`` W², or its expectation.
        """

    @abstractmethod
    def sites(self, state: State) -> dict[str, Tensor]:
        """Values of the Pyro sites of this family, ``(chain, *dims)``, at a drawn state."""

    @abstractmethod
    def log_precision(self, state: State, take: Take) -> Tensor:
        """``(chain, factor, gene)`` log of the precision of W without a slab, or its expectation: what, with
        `precision`, makes E[log p(W | state)]."""

    def trust_step(self, state: State, weighted: Tensor, take: Take) -> Tensor:
        r"""b given scales: :math:`\log p(b) = -\tfrac12\sum b^\top P - \tfrac12\sum e^{-b^\top P} q - b^2/2\sigma_b^2`
        with ``weighted`` q = W² times the precision without the boost; one library after another."""

        def of_library(one: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
            at = self.members(one)  # b says nothing of the others: what they add does not depend on it
            confidence, own = self.probability.flatten(1)[:, at], weighted.flatten(1)[:, at]
            P, total = confidence[one], confidence[one].sum()

            def likelihood(trust: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
                scaled = own * (-(trust @ confidence)).exp()
                log_prob = -0.5 * (scaled.sum(1) + b * total)
                return log_prob, (0.5 * P * (scaled - 1)).sum(1), (0.5 * P * P * scaled).sum(1)

            return likelihood

        return self.climb_trust(state["trust"], of_library, take)

    def members(self, library: int) -> Tensor:
        """Places, in (factor, gene) laid out in a row, to which a library gives a confidence."""
        listed = lambda probability: [torch.nonzero(P.flatten())[:, 0] for P in probability]
        return kept(self, "members", (self.probability,), listed)[library]

    def climb_trust(self, trust: Tensor, likelihood: TrustLikelihood, take: Take) -> Tensor:
        """b of one library after another, given the others, under its half-normal prior.

        ``likelihood`` makes, of a library, a function of all coefficients ``(chain, library)`` and the one that moves
        ``(chain,)``, which gives log density, gradient and curvature in the one that moves.
        """
        for one in range(len(self.probability)):
            of_one = likelihood(one)

            def target(
                b: Tensor, one: int = one, of_one: Any = of_one, trust: Tensor = trust
            ) -> tuple[Tensor, Tensor, Tensor]:
                every = trust.clone()
                every[:, one] = b
                log_prob, gradient, curvature = of_one(every, b)
                away = b / TRUST_SCALE**2
                return log_prob - 0.5 * b * away, gradient - away, curvature + TRUST_SCALE**-2

            trust = trust.clone()
            trust[:, one] = take.climb(trust[:, one], target, positive=True)
        if not take.draws:  # log p(b) at its mode: in coordinate ascent b is a point
            take.bound = take.bound + dist.HalfNormal(trust.new_tensor(TRUST_SCALE)).log_prob(trust).sum(1)
        return trust


def half_cauchy(name: str, like: Tensor) -> Tensor:
    """A draw of the site ``name`` ~ C⁺(0, 1)."""
    return pyro.sample(name, dist.HalfCauchy(like.new_ones(())))


def half_cauchy_update(precision: Tensor, count: float | Tensor, total: Tensor, take: Take) -> Tensor:
    r"""A half-Cauchy scale s given ``count`` normals of variance s² whose squares sum to ``total``; returns 1/s².

    :math:`s^2 \mid \nu \sim \mathrm{IG}(\tfrac12, 1/\nu), \nu \sim \mathrm{IG}(\tfrac12, 1)` (Makalic & Schmidt 2016):
    the auxiliary variable u = 1/ν is refreshed from the current ``precision``, then the scale. In coordinate ascent
    E[log p(1/s², u)] and the entropies of both are added to the bound.
    """
    auxiliary = take.gamma(1.0, 1.0 + precision)
    shape, rate = 0.5 + 0.5 * count, auxiliary + 0.5 * total
    new = take.gamma(shape, rate)
    if not take.draws:
        a = torch.as_tensor(shape, dtype=rate.dtype, device=rate.device)
        log_new = torch.digamma(a) - rate.log()
        entropies = a - rate.log() + torch.lgamma(a) + (1 - a) * torch.digamma(a) + 1 + auxiliary.log()
        bound = entropies - 0.5 * log_new - auxiliary * (1 + new) - math.log(math.pi)
        take.bound = take.bound + bound.flatten(1).sum(1)
    return new


def mean_log(mean: Tensor, count: float | Tensor, take: Take) -> Tensor:
    """E[log 1/s²] of a scale that `half_cauchy_update` has given ``mean`` from ``count`` normals; of a draw, its
    log."""
    if take.draws:
        return mean.log()
    shape = torch.as_tensor(0.5 + 0.5 * count, dtype=mean.dtype, device=mean.device)
    return mean.log() + torch.digamma(shape) - shape.log()
