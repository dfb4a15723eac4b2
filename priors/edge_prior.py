r"""`EdgePrior`: what we expect of the edge weights before the data, and how prior networks enter."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from .hyper import Hyper
from .knowledge import EdgeKnowledge

TRUST_SCALE = 3.0  # a source with P = 0.9 may raise the log-odds of an edge by about 3 (x 20) without strain
SIGN_TRUST_SCALE = 1.0  # and move the slab's mean by one slab standard deviation


class EdgePrior(nn.Module, ABC):
    r"""Prior on the weights ``W`` (tf, target) of a network, in standardised units (sd of target per sd of regulator).

    Source k of prior knowledge gives each edge a confidence :math:`P^k_{tg}\in[0,1)` and perhaps a sign
    :math:`S^k_{tg}`. It enters through a non-negative coefficient sampled with everything else, :math:`b_k \sim
    \mathrm{HalfNormal}(3)`: its posterior says how far the data trust source k; a useless source ends near zero. With
    the *scale* strategy

    .. math:: s_{tg} = s \exp\!\big(\tfrac12 \sum_k b_k P^k_{tg}\big),

    with the *inclusion* strategy (`SpikeSlab`) :math:`\operatorname{logit}\pi_{tg} = a + h_t + \sum_k b_k P^k_{tg}`.
    Signs shift the mean by :math:`m_{tg} = \sum_k \psi_k S^k_{tg}` scale units,
    :math:`\psi_k\sim\mathrm{HalfNormal}(1)`. Sites: ``trust`` (source), ``sign_trust`` (source, those with signs),
    ``W``, and those of the family.

    An `EdgePrior` is a value: describe it first, `bind` it to the axes of a model (the model does), then call it inside
    the model.
    """

    axes: ClassVar[tuple[str, str]] = ("tf", "target")
    strategies: ClassVar[tuple[str, ...]] = ("scale",)
    conditionally_gaussian: ClassVar[bool] = False
    """Whether W is Gaussian given the other sites (then the `Blocked` guide applies)."""
    holds_trust: ClassVar[bool] = False
    """Whether W is a spike and a slab and the sources alone shift them: then trust can be held at a value, and a source
    scaled afterwards."""
    reference: ClassVar[str] = ""
    """Whom to cite, where the prior is not everybody's."""
    independent_gates: ClassVar[bool] = False
    """Whether every edge has an inclusion variable, independent of the others given the hyperparameters."""
    exact_zeros: ClassVar[bool] = False
    """Whether its mode has weights of exactly zero, which coordinate descent finds."""
    masks: ClassVar[bool] = False
    """Whether edges that no source lists do not exist; the sources are used up by that."""
    measured_in: str | None = "sd"
    """Of its scales: ``sd`` of the target for one of the regulator, as W, or of its ``noise``; None: the model says."""
    one_scale: ClassVar[bool] = False
    """Whether an edge is normal with one sd for all, but for what knowledge makes of it."""

    def __init__(self, *, strategy: str | None = None) -> None:
        super().__init__()
        self.strategy = strategy or self.strategies[0]
        if self.strategy not in self.strategies:
            raise ValueError(
                f"{type(self).__name__} takes prior knowledge by {' or '.join(self.strategies)}, not by {strategy!r}"
            )
        self.knowledge: EdgeKnowledge | None = None
        self.trust_prior = Hyper(dist.HalfNormal, TRUST_SCALE)
        self.sign_trust_prior = Hyper(dist.HalfNormal, SIGN_TRUST_SCALE)

    # -- binding ----
    def bind(self, knowledge: EdgeKnowledge) -> Self:
        """A copy that knows the axes and the prior networks."""
        bound = copy.deepcopy(self)
        bound.knowledge = knowledge
        bound.register_buffer("probability", knowledge.probability)
        signed = knowledge.sign.abs().sum((1, 2)) > 0
        bound.signed_sources = tuple(s for s, has in zip(knowledge.sources, signed.tolist(), strict=True) if has)
        bound.register_buffer("sign", knowledge.sign[signed])
        bound.register_buffer("allowed", knowledge.allowed)
        return bound

    probability: Tensor
    sign: Tensor
    allowed: Tensor
    signed_sources: tuple[str, ...] = ()

    @property
    def family(self) -> "EdgePrior":
        """The prior of the edges that may exist: itself, or what a mask lies over."""
        return self

    @property
    def nested(self) -> "dict[str, EdgePrior]":
        """Priors that this one is made of, by the name of the attribute."""
        return {}

    def given_features(self) -> "EdgePrior | None":
        """What is left of a prior with independent gates whose edges recommend each other, their features given and
        without the term of these; ``None`` where there are no features, or no gates."""
        return None

    @property
    def ridge_penalty(self) -> float | None:
        """α of the ridge regression α ‖w‖² that its mode is at noise variance one, or ``None`` where it is none."""
        return None

    @property
    def sources(self) -> tuple[str, ...]:
        return () if self.knowledge is None else self.knowledge.sources

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        """Names of the dimensions of every site."""
        named: dict[str, tuple[str, ...]] = {"W": self.axes}
        if self.sources:
            named["trust"] = ("source",)
        if self.signed_sources:
            named["sign_trust"] = ("signed_source",)
        return {**named, **self.family_dims()}

    def family_dims(self) -> dict[str, tuple[str, ...]]:
        """Names of the dimensions of the sites of this family (without W and the trust coefficients)."""
        return {}

    # -- the knowledge as tensors ----
    def sample_trust(self) -> tuple[Tensor | None, Tensor | None]:
        """Draw the sites ``trust`` and ``sign_trust`` (``None`` where no source has the information)."""
        trust = self._sample_sources("trust", self.trust_prior, len(self.sources))
        sign_trust = self._sample_sources("sign_trust", self.sign_trust_prior, len(self.signed_sources))
        return trust, sign_trust

    def _sample_sources(self, name: str, hyper: Hyper, count: int) -> Tensor | None:
        return pyro.sample(name, hyper.distribution().expand([count]).to_event(1)) if count else None

    def evidence(self, trust: Tensor | None) -> Tensor:
        """``(*batch, tf, target)``: Σ_k b_k P^k."""
        return weighted_sum(trust, self.probability)

    def location(self, sign_trust: Tensor | None) -> Tensor:
        """``(*batch, tf, target)``: Σ_k ψ_k S^k, in units of the edge's scale."""
        return weighted_sum(sign_trust, self.sign)

    # -- the generative story ----
    @abstractmethod
    def forward(self, tf: Any, target: Any) -> Tensor:
        """Sample the hyperparameters and ``W`` inside the given plates; return W ``(*batch, tf, target)``, zero where
        not allowed."""

    def inclusion(self, draws: Mapping[str, Tensor], *, threshold: float) -> Tensor:
        """``(*batch, tf, target)`` probability that the edge exists, given each draw of the sites (average it over
        draws).

        Families without an inclusion variable return the indicator of ``|W| > threshold`` (standardised units).
        """
        return (draws["W"].abs() > threshold).to(draws["W"].dtype) * self.allowed

    @property
    def edge_size(self) -> float | None:
        """Scale of an edge of which no source says anything, where it is fixed; None where it is learned."""
        return None

    def gaussian(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and sd ``(*batch, tf, target)`` of W given the other sites; only for conditionally Gaussian families."""
        raise ValueError(
            f"W is not Gaussian given the other sites of {type(self).__name__}: use "
            "MeanField or LowRank, or the priors Normal or Horseshoe"
        )


def weighted_sum(coefficient: Tensor | None, feature: Tensor) -> Tensor:
    """Σ_k coefficient_k feature_k over ``feature`` (source, tf, target); 0 without sources.

    ``coefficient`` is ``(source,)``, or ``(*batch, 1, 1, source)`` when it was drawn under plates to the left of tf and
    target.
    """
    if coefficient is None:
        return feature.new_zeros(())
    flat = coefficient if coefficient.dim() == 1 else coefficient[..., 0, 0, :]
    return torch.einsum("...k,ktg->...tg", flat, feature)
