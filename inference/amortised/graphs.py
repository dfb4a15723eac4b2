r"""Exact quantities of the linear network given its graph: evidence, and everything but the graph."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..gibbs.hyper import State
from ..gibbs.kernel import GibbsKernel
from ..gibbs.sweep import EdgePriorState, sweep

# up to here W given the graph is one joint draw; beyond, the cubes cost too much: coordinate sweeps
JOINT_TFS = 64
WARMUP = 40  # scans that settle noise and hyperparameters; given graphs they hardly depend on where they began
SWEEPS = 5
CERTAIN = 60.0  # log-odds that hold an inclusion variable where it is


class GivenGraph(GibbsKernel):
    r"""The Gibbs sampler with the graph held: draws from :math:`p(W, \sigma^2, \theta \mid \gamma, X)`.

    W given γ, σ² and the hyperparameters θ is Gaussian, one joint draw a target (up to `JOINT_TFS` regulators; beyond,
    `SWEEPS` coordinate sweeps); σ² given W is inverse gamma; θ moves as in `GibbsKernel`, without the moves that sum
    the graph out.
    """

    def given(self, state: State, graph: Tensor) -> State:
        """One scan with γ = ``graph`` ``(chain, tf, target)`` 0/1."""
        state = {name: value.clone() for name, value in state.items()}
        state["inclusion"] = graph * self.allowed
        if len(self.model.tfs) <= JOINT_TFS:
            state["W"] = self._draw_weights(state)
            state["W_context"] = state["W"][None].clone()
            self._refresh(state)
        else:
            self._refresh(state)
            for _ in range(SWEEPS):
                self._sweep_held(state)
        self._update_noise(state)
        self.hyper.update_inclusion(state)
        self.hyper.update_scales(state, self._location(state))
        self.count += 1
        return state

    def log_prior(self, state: State, graph: Tensor) -> Tensor:
        """``(chain, target)`` log p(γ | θ) of graphs ``(chain, tf, target)``."""
        logit = (state["edge_logit"][:, None, None] + self._logit_terms(state)).expand_as(graph)
        term = torch.where(graph > 0, logit, 0.0) - torch.nn.functional.softplus(logit)
        return (term * self.allowed).sum(1)

    def log_evidence(self, state: State, graph: Tensor) -> Tensor:
        r"""``(chain, target)`` log p(x_g | γ, σ², θ) up to a constant of the data, W integrated out exactly.

        From :math:`p(x) = p(x \mid W)\,p(W)\,/\,p(W \mid x)` at the posterior mean of W.
        """
        loc, scale = self._edges_given(state, graph)
        result = torch.zeros(graph.shape[0], graph.shape[2], dtype=graph.dtype, device=graph.device)
        for chain in range(len(graph)):
            noise = state["noise_variance"][0, chain][None]  # (1, target)
            own = loc[chain] if loc.dim() == 3 and len(loc) == len(graph) else loc
            block = self.model.weights_given(own, scale[chain], noise)
            W = block.mean.T * self.allowed
            misfit = -0.5 * self.model.squared_error(W[None])[0, 0] / noise[0]
            z = (W - own) / scale[chain]
            # both densities lack the same (2π)^(−T/2)
            prior = ((-0.5 * z.square() - scale[chain].log()) * self.allowed).sum(0)
            result[chain] = misfit + prior - (block.log_root * self.allowed.T).sum(-1)
        return result

    def _edges_given(self, state: State, graph: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and sd of every weight a priori, ``(chain, tf, target)``."""
        prior = self.edge_prior_state(state)
        variance = torch.where(graph > 0, prior.slab, prior.spike).expand_as(graph)
        loc = torch.zeros_like(graph) if prior.loc is None else prior.loc * (graph > 0)
        return loc, variance.sqrt()

    def _draw_weights(self, state: State) -> Tensor:
        loc, scale = self._edges_given(state, state["inclusion"])
        draws = []
        for chain in range(self.num_chains):
            block = self.model.weights_given(loc[chain], scale[chain], state["noise_variance"][0, chain][None])
            z = torch.randn(loc[chain].T.shape, generator=self.generator, device=loc.device, dtype=loc.dtype)
            draws.append(block.draw(z)[0])
        return torch.stack(draws) * self.allowed

    def _sweep_held(self, state: State) -> None:
        prior = self.edge_prior_state(state)
        held = EdgePriorState(CERTAIN * (2 * state["inclusion"] - 1), prior.slab, prior.spike, prior.loc, prior.allowed)
        for group in self.groups:
            sweep(
                group,
                held,
                state["W"],
                state["W_context"],
                state["inclusion"],
                self.probability,
                self.sse,
                state["noise_variance"],
                None,
                self.generator,
            )


class GraphSample(NamedTuple):
    """Graphs and how well they fit: ``graph`` (sample, chain, tf, target); ``log_q``, ``log_p`` (sample, chain, target)
    of q(γ_g) and of p(γ_g | θ) p(x_g | γ_g, σ², θ)."""

    graph: Tensor
    log_q: Tensor
    log_p: Tensor


def sample_graphs(
    kernel: GivenGraph, state: State, logit: Tensor, count: int, *, weigh: bool, generator: torch.Generator
) -> GraphSample:
    """``count`` graphs for each chain from independent edges of log-odds ``logit`` ``(tf, target)``."""
    shape = (count, kernel.num_chains, *logit.shape)
    uniform = torch.rand(shape, generator=generator, device=logit.device, dtype=logit.dtype)
    graph = (uniform < torch.sigmoid(logit)).to(logit) * kernel.allowed
    log_q = (torch.where(graph > 0, logit, 0.0) - torch.nn.functional.softplus(logit)) * kernel.allowed
    log_p = torch.full((count, kernel.num_chains, logit.shape[1]), math.nan, device=logit.device)
    if weigh:
        log_p = torch.stack([kernel.log_evidence(state, g) + kernel.log_prior(state, g) for g in graph])
    return GraphSample(graph, log_q.sum(-2), log_p)


def settle(kernel: GivenGraph, logit: Tensor, generator: torch.Generator) -> State:
    """Noise and hyperparameters after `WARMUP` scans over graphs of a guide whose log-odds are ``logit`` ``(tf,
    target)``."""
    state: State = kernel.initial_params
    kernel.hyper.adapting = True
    if not kernel.prior.edge_logit.is_fixed:
        # its moves are made for places near the mode: a start far from the density of the graphs would stay there
        share = (torch.sigmoid(logit) * kernel.allowed).sum() / kernel.allowed.sum()
        state["edge_logit"] = torch.logit(share.clamp(1e-4, 1 - 1e-4)).expand(kernel.num_chains).clone()
    drawn = sample_graphs(kernel, state, logit, WARMUP, weigh=False, generator=generator)
    for graph in drawn.graph:
        state = kernel.given(state, graph)
    return state
