r"""Training as Pyro sees it: a simulator and a guide that is told its data (inference compilation).

.. math:: \min_\phi\ E_{p(\gamma, X)}\big[-\log q_\phi(\gamma \mid X)\big]

Le, Baydin & Wood (2017) and `pyro.infer.CSIS` call it inference compilation, Papamakarios & Murray (2016) neural
posterior estimation: draw a network and its data from the simulator, replay the guide with that network, and lower
−log q. `negative_log_q` is that loss for one batch of simulations, and what `train` steps on; the same two functions go
into ``CSIS(simulated, posterior, optim)``.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pyro
import pyro.distributions as dist
from pyro import poutine
from torch import Tensor

from .batches import Batch
from .network import AmortisedNetwork

OBSERVED = ("evidence", "Z", "knowledge", "mask")
Observations = Mapping[str, Tensor]


class Simulated:
    """p(γ, X): one batch of simulations a call, from a stream of them.

    A simulator gives draws and no density, so each site is a `Delta` at what was drawn: ``inclusion`` ``(graph, source,
    gene)``, the network; and what of its cells the guide is told (``evidence``, ``Z``, ``knowledge``; ``mask`` is 0 on
    self-pairs), which is observed. Called as `pyro.infer.CSIS` calls a model.

    Parameters
    ----------
    batches
        As `make_batch` gives them, each read once.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches = batches

    def __call__(self, observations: Observations | None = None) -> None:
        batch = next(self.batches).float()
        with _plates(batch.truth):
            pyro.sample("inclusion", dist.Delta(batch.truth))
            told = {"evidence": batch.evidence, "Z": batch.z, "knowledge": batch.knowledge, "mask": batch.mask}
            for name, value in told.items():
                given = value if observations is None else observations[name]
                pyro.sample(name, dist.Delta(value, event_dim=value.dim() - 3), obs=given)


class NetworkPosterior:
    """q(γ | X) of an `AmortisedNetwork` as a Pyro guide of `Simulated`; self-pairs have no part in it."""

    def __init__(self, network: AmortisedNetwork) -> None:
        self.network = network

    def __call__(self, observations: Observations) -> None:
        pyro.module("head", self.network.head)  # the unrolled cells are trained before
        logit = self.network.from_parts(*(observations[name] for name in OBSERVED[:3]))
        others: Any = observations["mask"] > 0
        with _plates(logit), poutine.mask(mask=others):
            pyro.sample("inclusion", dist.Bernoulli(logits=logit, validate_args=False))


def negative_log_q(guide: NetworkPosterior, batch: Batch) -> Tensor:
    r""":math:`-\log q(\gamma^* \mid X)` of a batch of simulations, in nats a pair; differentiable.

    The step of `pyro.infer.CSIS`, for a batch at once: the simulator is traced, the guide replayed with its network.
    """
    with pyro.get_param_store().scope():  # numbers are the module's own: nobody else's parameters are touched
        simulation = poutine.trace(Simulated(iter([batch]))).get_trace()
        told = {name: simulation.nodes[name]["value"] for name in OBSERVED}
        replayed = poutine.trace(poutine.replay(guide, trace=simulation)).get_trace(told)
        log_q: Any = replayed.log_prob_sum()
    result: Tensor = -log_q / batch.mask.sum()
    return result


def _plates(like: Tensor) -> ExitStack:
    """Inside the plates graph, source and gene of ``like``."""
    stack = ExitStack()
    for name, size, dim in zip(("graph", "source", "gene"), like.shape, (-3, -2, -1), strict=True):
        stack.enter_context(pyro.plate(name, size, dim=dim))
    return stack
