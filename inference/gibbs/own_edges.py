"""What the Gibbs sampler needs beside the sweep where contexts share an edge or have one of their own."""

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from ...priors import Hyper, SpikeSlab
from ...priors.own_edges import ContextEdge, log_normal
from .hyper import HyperUpdates, State, weighted
from .own_sweep import ContextEdges, SharedEdges, sweep_own
from .streams import Source, uniform
from .sweep import EdgeGroup, EdgePriorState

RATE_STEPS = 3  # Metropolis steps of the rate at a time: a pass over the edges of all contexts each


def stacked_prior(prior: SpikeSlab, copies: int) -> SpikeSlab:
    """The prior of the shared edges and those of every context, one after the other along the targets."""
    wide = copy.deepcopy(prior)
    for name in ("probability", "sign", "allowed"):
        value = getattr(prior, name)
        wide.register_buffer(name, value.repeat(*(1,) * (value.dim() - 1), copies))
    return wide


def centre_of(state: State) -> Tensor:
    """``(context, chain, tf, target)`` what each context's weight is drawn around."""
    return torch.where(state["own"] > 0, state["own_weight"], state["W"])


def gate_of(state: State) -> Tensor:
    """``(context, chain, tf, target)`` 1 where the context has the edge, shared or of its own."""
    return torch.where(state["own"] > 0, state["own_gate"], state["inclusion"])


@dataclass(eq=False)
class OwnEdges:
    """Contexts with edges of their own, whose prior is that of the shared ones: to the moves of the hyperparameters
    they are more edges of the same network, whose number changes.

    ``prior`` of the shared edges; ``allowed`` (tf, target) 0/1; ``rate_prior`` of π_d; ``probability`` (context, chain,
    tf, target) of a context's edge, of the last sweep.
    """

    prior: SpikeSlab
    allowed: Tensor
    num_contexts: int
    rate_prior: Hyper
    probability: Tensor = field(init=False)

    def start(self, chains: int, like: Tensor) -> None:
        """Room for ``chains``."""
        self.probability = like.new_zeros(self.num_contexts, chains, *self.allowed.shape)

    @property
    def copies(self) -> int:
        return self.num_contexts + 1

    def wide(self, value: Tensor) -> Tensor:
        """What is the same for the edges of all, ``(..., target or 1)``, for each of them."""
        return value if value.shape[-1] == 1 else value.repeat(*(1,) * (value.dim() - 1), self.copies)

    def mask(self, state: State) -> Tensor:
        """``(chain, tf, all targets)`` 1 where there is an edge to count."""
        every = [self.allowed.expand_as(state["W"]), *(state["own"] * self.allowed)]
        return torch.cat(every, -1)

    def stacked(self, state: State, hyper: HyperUpdates) -> State:
        """The state with all edges side by side; ``hyper`` counts them."""
        mask = self.mask(state)
        hyper.classes.count = hyper.classes.sums(mask)
        hyper.num_edges = mask.sum((1, 2))
        beside = {
            "W": torch.cat([state["W"], *state["own_weight"]], -1),
            "inclusion": torch.cat([state["inclusion"], *state["own_gate"]], -1),
        }
        return {**state, **beside}

    def put_back(self, stacked: State, state: State) -> None:
        """Inclusion variables and hyperparameters of `stacked` into the state."""
        gates = stacked["inclusion"].unflatten(-1, (self.copies, -1)).movedim(-2, 0)
        rest = {name: value for name, value in stacked.items() if name not in ("W", "inclusion")}
        state.update(rest, inclusion=gates[0].contiguous(), own_gate=gates[1:].contiguous())

    def sweep(
        self, group: EdgeGroup, prior: EdgePriorState, state: State, probability: Tensor, sse: Tensor, generator: Source
    ) -> None:
        """`sweep_own` of the state; ``probability`` receives that of the shared edges."""
        sweep_own(
            group,
            prior,
            SharedEdges(state["W"], state["inclusion"], probability),
            ContextEdges(state["W_context"], state["own"], state["own_gate"], state["own_weight"], self.probability),
            sse,
            state["noise_variance"],
            state["context_scale"],
            state["difference_rate"],
            generator,
        )

    def drawn(self, state: State) -> ContextEdge:
        """The edges of contexts, ``(chain, context, tf, target)``."""
        by_chain = lambda value: value.movedim(0, 1)
        absent = state["own"] * (1 - state["own_gate"])
        return ContextEdge(*(by_chain(v) for v in (self.probability, gate_of(state), 1 - state["own"], absent)))

    # -- the rate, and which edges are own, given all weights ----
    def update_rate(self, state: State, prior: EdgePriorState, hyper: HyperUpdates) -> None:
        r"""π_d with every :math:`z_k`, own inclusion variable and own centre summed out, then these given it; in place.

        Most edges are absent whoever they belong to, so that the data do not know whose they are: given those, the rate
        could hardly move.
        """
        omega = state["context_scale"][:, None, None].square()
        weight, shared = state["W_context"], state["W"]
        loc = torch.zeros_like(shared) if prior.loc is None else prior.loc
        present = logsigmoid(prior.logit) + log_normal(weight, loc, prior.slab + omega)
        absent = logsigmoid(-prior.logit) + log_normal(weight, 0.0, prior.spike + omega)
        gain = torch.logaddexp(present, absent) - log_normal(weight, shared, omega)  # (context, chain, tf, target)
        logit = torch.logit(state["difference_rate"])
        density = self.rate_prior.distribution(False)

        def terms(value: Tensor) -> Tensor:  # log[(1 − π_d) + π_d e^gain]
            value = value[:, None, None]
            return softplus(value + gain) - softplus(value)

        def belief(value: Tensor) -> Tensor:  # of the log-odds
            rate = torch.sigmoid(value)
            return density.log_prob(rate) + rate.log() + torch.log1p(-rate)

        current = terms(logit)
        for _ in range(RATE_STEPS):
            new = logit + hyper.step("difference_rate", logit) * hyper.normal(logit)
            found = terms(new)
            change = ((found - current) * self.allowed).sum((0, 2, 3)) + belief(new) - belief(logit)
            inside = (new > -14) & (new < 14)  # float32 has no more digits of a probability
            accepted = hyper.accept("difference_rate", torch.where(inside, change, -math.inf), 0.44)
            logit = torch.where(accepted, new, logit)
            current = torch.where(accepted[:, None, None], found, current)
        state["difference_rate"] = torch.sigmoid(logit)
        draw = lambda: uniform(gain.shape, hyper.generator, gain)
        own = (torch.logit(draw().clamp(1e-7, 1 - 1e-7)) < logit[:, None, None] + gain) * self.allowed
        gate = torch.logit(draw().clamp(1e-7, 1 - 1e-7)) < present - absent
        variance = torch.where(gate, prior.slab, prior.spike)
        mean = torch.where(gate, loc, 0.0)
        precision = 1 / variance + 1 / omega
        centre = (mean / variance + weight / omega) / precision + hyper.normal(gain) * precision.rsqrt()
        state["own"], state["own_gate"], state["own_weight"] = own.to(weight), gate * own, centre * own


def stretched(state: State, name: str, whole: bool) -> tuple[Tensor, Tensor]:
    """The shared edges ``(chain, tf, target)`` that are scaled with the width ``name``, the spike's or the slab's (with
    ``whole``, both's), and those that they are in the weights of contexts ``(context, chain, tf, target)``."""
    part = lambda gate: torch.ones_like(gate) if whole else gate if name == "slab_scale" else 1 - gate
    shared = part(state["inclusion"]) * state["W"]
    if "own" not in state:
        return shared, shared.expand_as(state["W_context"])
    return shared, torch.where(state["own"] > 0, part(state["own_gate"]) * state["own_weight"], shared)


def location(prior: SpikeSlab, state: State) -> Tensor | None:
    """Mean of the slab of every edge in units of its scale, where sources have signs."""
    return weighted(state["sign_trust"], prior.sign) if "sign_trust" in state else None
