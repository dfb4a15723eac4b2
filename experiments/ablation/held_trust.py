"""The spike-and-slab network with the trust in every source held at a value instead of sampled."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...inference import Gibbs, GibbsKernel, Posterior
from ...inference.choice import earns_badge
from ...inference.engines.gibbs import sample_kernel
from ...inference.gibbs.hyper import HyperUpdates, State
from ...inference.runs.run import Run
from ...models import RegressionNetwork


class HeldTrustUpdates(HyperUpdates):
    """The hyperparameter moves without those of the trust, which counts as a fixed part of the log-odds, or of the
    slab's scale."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.knows = self.prior.strategy == "inclusion"
        if self.knows:  # to the moves, a prior without sources; the classes of edges keep what the sources say
            view = copy.copy(self.prior)
            assert view.knowledge is not None
            view.knowledge = replace(view.knowledge, sources=())
            self.prior = view

    def _hub_of_class(self, state: State) -> Tensor:
        offset = super()._hub_of_class(state)
        return offset + state["trust"] @ self.classes.feature.T if self.knows else offset

    def _walk_trust(self, state: State, present: Tensor) -> None:
        """Nothing moves."""

    def update_trust(self, trust: Tensor, density: Callable[[Tensor], Tensor]) -> Tensor:
        return trust


class HeldTrustKernel(GibbsKernel):
    """`GibbsKernel` given b_k = ``trust`` for every source k.

    Raises
    ------
    ValueError
        A prior other than `SpikeSlab`, with learned hubs, or a model without sources.
    """

    def __init__(self, model: RegressionNetwork, trust: float, *, num_chains: int, seed: int) -> None:
        super().__init__(model, num_chains=num_chains, seed=seed)
        if "trust" not in self.prior.dims or self.prior.has_hubs:
            raise ValueError(
                "trust can be held where sources enter a spike-and-slab prior without hubs by their trust: leave the "
                "trust sampled"
            )
        self.trust = trust
        self.hyper = HeldTrustUpdates(self.hyper.prior, self.hyper.allowed, self.generator, model.context_scale)

    @property  # type: ignore[misc]
    def initial_params(self) -> State:
        state = super().initial_params
        state["trust"] = torch.full_like(state["trust"], self.trust)
        self._refresh(state)
        return state


def fit_held(model: RegressionNetwork, trust: float, *, guide: Gibbs, seed: int) -> Posterior:
    """As ``fit(model, guide=guide, seed=seed)`` given that the trust in every source is ``trust``.

    ``ValueError`` for a negative or infinite trust, and as `HeldTrustKernel`.
    """
    if not 0 <= trust < np.inf:
        raise ValueError(f"trust is {trust}; expected a number of at least 0 (3 raises the odds of an edge 15-fold)")
    kernel = HeldTrustKernel(model, trust, num_chains=guide.num_chains, seed=seed)
    collector, history = sample_kernel(kernel, Run(seed=seed, threshold=model.threshold), guide.chains)
    calibrated = earns_badge(model, guide, None)
    posterior = Posterior.from_collector(
        model, collector, history, guide=guide.name, calibrated=calibrated, seed=seed, threshold=None
    )
    return replace(posterior, attributes=collector.extras())
