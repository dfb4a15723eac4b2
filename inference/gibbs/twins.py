r"""Two regulators that correlate almost perfectly, drawn together.

One at a time they hold each other in place: while one explains a target the other is not needed, and giving the first
up alone would cost all that it explains. A chain then stays with the regulator it happened to find. Here the inclusion
variables of both are drawn from their four joint values with both weights, of every context, integrated out, then the
weights: a Gibbs step of two edges, which exchanges them (Brown, Vannucci & Fearn 1998 propose such swaps by Metropolis
steps; this one is never refused), turns one edge into two, and keeps the sum of the weights while their difference is
drawn anew. What is reported of such an edge is P(γ = 1) of this draw.

For a target with scores :math:`s_k` of the pair without its own part, :math:`P_k = G_k/\sigma_k^2` (2 × 2) and
:math:`W_k \sim N(W, \omega^2)`, the common weights see

.. math:: Q = \sum_k (1+\omega^2 P_k)^{-1} P_k, \qquad m = \sum_k (1+\omega^2 P_k)^{-1} s_k,

and with prior means μ and precisions :math:`D = \mathrm{diag}(1/v)` of the four values of γ

.. math:: \log p(\gamma\mid\cdot) = \log p(\gamma) + \tfrac12\log\frac{|D|}{|Q+D|}
          + \tfrac12 (m+D\mu)^\top(Q+D)^{-1}(m+D\mu) - \tfrac12 \mu^\top D\mu .
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...models.data.twins import alike
from .hyper import State
from .pair import PairPosterior, PairPrecision, PairPrior, draw_pair
from .regressions import Regressions
from .streams import Source, Streams, normal, uniform
from .sweep import EdgePriorState

AT_ONCE = 64  # pairs drawn in a sweep; where there are more, as many at random


class Chains(Protocol):
    """What of a kernel is read, and of its tensors written in place."""

    regressions: Regressions
    generator: Source
    num_chains: int
    probability: Tensor
    sse: Tensor

    def score_at(self, rows: Tensor, W: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class TwinDraws:
    """The pairs of each fit, ``(pair, 2)``, and the regulators of any pair, ``rows`` (row,), with the ``place``
    ``(tf,)`` of each among them."""

    pairs: tuple[Tensor, ...]
    rows: Tensor
    place: Tensor

    @classmethod
    def of(cls, regressions: Regressions) -> "TwinDraws":
        """Of the shared Gram matrix of each fit, contexts together."""
        gram = regressions.gram.double().sum(0)  # (fit, tf, tf)
        pairs = tuple(alike(one)[0] for one in gram)
        rows = torch.unique(torch.cat([p.flatten() for p in pairs]))
        place = torch.zeros(gram.shape[-1], dtype=torch.long, device=gram.device)
        place[rows] = torch.arange(len(rows), device=gram.device)
        return cls(pairs, rows, place)

    def update(self, kernel: Chains, prior: EdgePriorState, state: State) -> None:
        """Draw every pair once, in place. Where there is none, nothing is computed and no random number taken."""
        if not len(self.rows):
            return
        score = kernel.score_at(self.rows, state["W_context"])  # (context, chain, row, target)
        each = kernel.num_chains // len(self.pairs)
        for fit, pairs in enumerate(self.pairs):
            if not len(pairs):
                continue
            source = kernel.generator
            generator = source.generators[fit] if isinstance(source, Streams) else source
            if len(pairs) > AT_ONCE:
                order = torch.randperm(len(pairs), generator=generator, device=generator.device)
                pairs = pairs[order[:AT_ONCE].to(pairs.device)]
            chains = slice(fit * each, (fit + 1) * each)
            for pair in pairs:
                self._draw(kernel, prior, state, score[:, chains], pair, fit, chains, generator)

    def _draw(
        self,
        kernel: Chains,
        prior: EdgePriorState,
        state: State,
        score: Tensor,
        pair: Tensor,
        fit: int,
        chains: slice,
        generator: torch.Generator,
    ) -> None:
        """One pair of one fit; ``score`` (context, chain, row, target) is kept current."""
        gram = kernel.regressions.gram_at(self.rows, pair, fit).double()  # (context, row, 2, target or 1)
        at = self.place[pair]
        own = gram[:, at]  # (context, 2, 2, target or 1)
        old, common = state["W_context"][:, chains, pair].double(), state["W"][chains, pair].double()
        current = score[:, :, at].double()  # (context, chain, 2, target)
        precision = 1 / state["noise_variance"][:, chains].double()  # (context, chain, target)
        without = (current + apply(own, old)) * precision[:, :, None]
        first, second, both = (own[:, None, i, j] * precision for i, j in ((0, 0), (1, 1), (0, 1)))
        most = (first * second).sqrt()  # float32 can have copies correlate above one
        data = PairPrecision(first, second, torch.minimum(torch.maximum(both, -most), most))
        spread = state["context_scale"][chains].double()[:, None] ** 2 if "context_scale" in state else None
        belief = PairPrior.of(prior, pair, chains, common)
        # where a context has an edge of its own there is nothing common to exchange
        free = belief.both if "own" not in state else belief.both & (state["own"][:, chains, pair] == 0).all(2).all(0)
        parts, pulls = (data, without) if spread is None else data.marginal(without, spread)
        seen = PairPrecision(*(part.sum(0) for part in parts))
        if "hub" in state and "own" not in state:
            belief = exchange_hubs(state, prior, belief, seen, pulls.sum(0), pair, chains, generator)
        u = uniform(seen.first.shape, generator, common)
        gate, probability, W = draw_pair(seen, pulls.sum(0), belief, u, normal(common.shape, generator, common))
        new = W[None]
        if spread is not None:
            given = without + W / spread[:, None]
            new = data.plus(1 / spread, 1 / spread).draw(given, normal(old.shape, generator, common))
        keep = free[:, None]  # where one edge may not exist there is nothing to exchange
        step = torch.where(keep, new - old, 0.0)  # (context, chain, 2, target)
        kernel.sse[:, chains] += (step * (apply(own, step) - 2 * current)).sum(2).to(kernel.sse)
        score -= apply(gram, step).to(score)
        for tensor, value in ((state["W"], W), (state["inclusion"], gate), (kernel.probability, probability)):
            tensor[chains, pair] = torch.where(keep, value.to(tensor), tensor[chains, pair])
        weights = state["W_context"]
        weights[:, chains, pair] = torch.where(keep, new.to(weights), weights[:, chains, pair])


def exchange_hubs(
    state: State,
    prior: EdgePriorState,
    belief: PairPrior,
    seen: PairPrecision,
    pull: Tensor,
    pair: Tensor,
    chains: slice,
    generator: torch.Generator,
) -> PairPrior:
    """The hub effects of the two regulators as they are or exchanged, with their edges summed out: the one with the
    larger effect draws the edges of both, target after target, and never gives them back one at a time. In place, and
    in ``prior`` for the pairs to come; returns the prior of this one."""
    hub = state["hub"][chains, pair].to(pull)  # (chain, 2, 1)
    shift = hub.flip(1) - hub
    turned = belief.shifted(shift)
    gate = state["inclusion"][chains, pair].to(pull)
    drawn = PairPosterior.of(seen, pull, turned).evidence - PairPosterior.of(seen, pull, belief).evidence
    held = turned.log_prob(gate) - belief.log_prob(gate)  # where one edge may not exist, the other stays
    change = torch.where(belief.both, drawn, held).sum(-1)  # (chain,)
    # both hubs have the same prior, so that this is the choice between two states in proportion to their density
    kept = uniform(change.shape, generator, change) < torch.sigmoid(change)
    shift = torch.where(kept[:, None, None], shift, 0.0)
    state["hub"][chains, pair] = (hub + shift).to(state["hub"])
    prior.logit[chains, pair] += shift.to(prior.logit)
    return belief.shifted(shift)


def apply(gram: Tensor, weights: Tensor) -> Tensor:
    """``(context, chain, row, target)``: ``gram`` ``(context, row, 2, target or 1)`` times ``weights`` ``(context,
    chain, 2, target)``."""
    return (gram[:, None] * weights[:, :, None]).sum(3)
