r"""One Gibbs sweep over the edges of contexts that share an edge or have one of their own (`OwnOrShared`).

For regulator t, with :math:`q_k` and :math:`m_k` of `sweep.sweep`, the data of context k see the centre :math:`C_k` of
its weight as :math:`\exp(m_k C_k - \tfrac12 q_k C_k^2)`. With the centre drawn from the edge's prior, absent or
present, and integrated out, the contexts of a set S that have it in common are worth

.. math:: E(S) = \log\big[(1-\pi)\,e^{e_0(S)} + \pi\,e^{e_1(S)}\big], \qquad
          e_\gamma(S) = \tfrac12\log\frac{1/v_\gamma}{q_S+1/v_\gamma}
          + \tfrac12\frac{(m_S+\mu_\gamma/v_\gamma)^2}{q_S+1/v_\gamma} - \tfrac12\frac{\mu_\gamma^2}{v_\gamma},

:math:`q_S = \sum_{k\in S} q_k`, :math:`m_S` likewise. Which contexts have an edge of their own, :math:`z_k`, is drawn
with every inclusion variable and weight integrated out: of two contexts jointly, of more one at a time,

.. math:: \operatorname{logit} P(z_k = 1\mid z_{-k}) = \operatorname{logit}\pi_d + E(\{k\}) + E(S\setminus k) -
          E(S\cup k),

then the inclusion variables and centres of the shared edge and of own ones, then every :math:`W_k \sim N(C_k,
\omega^2)` given the data.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .streams import Source, normal, uniform
from .sweep import BLOCK, EdgeGroup, EdgePriorState


@dataclass(eq=False)
class ContextEdges:
    """Edges of contexts, each ``(context, chain, tf, target)`` and written in place: ``weight`` W_k that enters the
    likelihood; ``own`` 1 where the context has one of its own, whose ``gate`` and centre are ``own_gate`` and
    ``own_weight`` (0 elsewhere); ``probability`` that the context has an edge, given the rest."""

    weight: Tensor
    own: Tensor
    own_gate: Tensor
    own_weight: Tensor
    probability: Tensor


@dataclass(eq=False)
class SharedEdges:
    """The edge that contexts share, each ``(chain, tf, target)`` and written in place."""

    weight: Tensor
    inclusion: Tensor
    probability: Tensor


class Slot(NamedTuple):
    """The prior of one regulator's edges, broadcastable to ``(block, column)``: log-odds, variances of slab and spike,
    mean of the slab over its variance, and half the mean squared over the variance."""

    logit: Tensor
    slab: Tensor
    spike: Tensor
    pull: Tensor | float
    cost: Tensor | float


class Worth(NamedTuple):
    """Of a set of contexts that have an edge in common: ``odds`` of its presence, log evidence ``total``, and what its
    centre is drawn with, ``mean`` and variance of an edge that is present, and of one that is absent."""

    odds: Tensor
    total: Tensor
    mean: Tensor
    variance: Tensor
    absent_mean: Tensor
    absent_variance: Tensor

    @classmethod
    def of(cls, q: Tensor, m: Tensor, prior: Slot) -> "Worth":
        """Precision ``q`` and score ``m`` of the data."""
        present, absent = 1.0 / (q + 1.0 / prior.slab), 1.0 / (q + 1.0 / prior.spike)
        score = m + prior.pull
        mean, absent_mean = score * present, m * absent
        e1 = 0.5 * (torch.log(present / prior.slab) + score * mean) - prior.cost
        e0 = 0.5 * (torch.log(absent / prior.spike) + m * absent_mean)
        odds = prior.logit + (e1 - e0)
        return cls(odds, e0 + softplus(odds) - softplus(prior.logit), mean, present, absent_mean, absent)

    def draw(self, u: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Inclusion variable and centre; ``u`` is logistic."""
        gate = self.odds > u
        mean = torch.where(gate, self.mean, self.absent_mean)
        variance = torch.where(gate, self.variance, self.absent_variance)
        return gate, mean + variance.sqrt() * noise


def draw_own(q: Tensor, m: Tensor, alone: Worth, prior: Slot, own: Tensor, rate: Tensor, u: Tensor) -> Tensor:
    """Which contexts have an edge of their own, ``(context, block, column)`` bool.

    ``q``, ``m`` (context, block, column); ``alone`` is what each context is worth by itself; ``own`` the present
    values; ``rate`` (block, column) π_d; ``u`` uniform, as ``own``.
    """
    if len(own) == 2:  # jointly: whether they share it, and if not which pattern, of which the data know nothing
        gain = alone.total.sum(0) - Worth.of(q.sum(0), m.sum(0), prior).total
        apart = torch.log(rate * (2 - rate)) - 2 * torch.log1p(-rate) + gain > torch.logit(u[0])
        # P(first | any) = 1/(2 − π_d), P(second | first) = π_d, P(second | not first, any) = 1: one number serves both
        first = u[1] * (2 - rate) < 1
        second = ~first | (u[1] * (2 - rate) < rate)
        return torch.stack([apart & first, apart & second])
    own = own.clone()
    logit = torch.logit(rate)
    for k in range(len(own)):
        shared = ~own
        shared[k] = False
        rest_q, rest_m = (q * shared).sum(0), (m * shared).sum(0)
        rest = Worth.of(rest_q, rest_m, prior).total
        with_it = Worth.of(rest_q + q[k], rest_m + m[k], prior).total
        own[k] = logit + alone.total[k] + rest - with_it > torch.logit(u[k])
    return own


def sweep_own(
    group: EdgeGroup,
    prior: EdgePriorState,
    shared: SharedEdges,
    edges: ContextEdges,
    sse: Tensor,
    noise: Tensor,
    spread: Tensor,
    rate: Tensor,
    generator: Source,
) -> None:
    """Update every edge of a group of targets in turn, in place; as `sweep.sweep`, with ``rate`` ``(chain,)`` π_d."""
    chains, num_tfs, num_targets = shared.weight.shape
    expand = lambda v: group.pack(v.expand(chains, v.shape[-2], num_targets))
    take = lambda v, t: v[..., t if v.shape[-2] > 1 else 0, :]
    flat = lambda v: expand(v[:, None, None])[..., 0, :]  # (chain,) -> (b, n)
    precision = group.pack(1.0 / noise[..., None, :])[..., 0, :]  # (k, b, n)
    w, own = group.pack(edges.weight).clone(), group.pack(edges.own).clone() > 0  # (k, b, t, n)
    own_gate, own_weight, chance = (torch.empty_like(w) for _ in range(3))
    common = torch.empty_like(w[0])
    gates, logits = torch.empty_like(common), torch.empty_like(common)
    logit, v1, v0, allowed = expand(prior.logit), expand(prior.slab), expand(prior.spike), expand(prior.allowed)
    loc = None if prior.loc is None else expand(prior.loc)
    omega, pi = flat(spread) ** 2, flat(rate)  # (b, n)
    diagonal = group.gram.diagonal(dim1=-2, dim2=-1)  # (k, b, t)
    change = torch.zeros_like(precision)
    gap = w - group.anchor
    for start in range(0, num_tfs, BLOCK):
        rows = slice(start, min(start + BLOCK, num_tfs))
        size = rows.stop - rows.start
        current = group.residual[:, :, rows] - group.gram[:, :, rows] @ gap  # (k, b, row, n): b - G w
        step = torch.empty_like(current)
        diag = diagonal[:, :, rows, None]  # (k, b, row, 1)
        shape = current.shape
        u = uniform((3, *shape), generator, w, axis=2).clamp_(1e-7, 1 - 1e-7)
        z = normal((3, *shape), generator, w, axis=2)
        for j in range(size):
            t = start + j
            pull: Tensor | float = 0.0
            cost: Tensor | float = 0.0
            slab = take(v1, t)
            if loc is not None:
                pull = loc[:, t] / slab
                cost = 0.5 * loc[:, t] * pull
            slot = Slot(take(logit, t), slab, take(v0, t), pull, cost)
            mask = allowed[:, t]
            p = diag[:, :, j] * precision
            damp = 1.0 / (1.0 + omega * p)
            score = current[:, :, j] + diag[:, :, j] * w[:, :, t]  # (k, b, n)
            q, m = p * damp, score * precision * damp
            alone = Worth.of(q, m, slot)
            own[:, :, t] = draw_own(q, m, alone, slot, own[:, :, t], pi, u[0, :, :, j]) & (mask > 0)
            apart = own[:, :, t]
            together = Worth.of((q * ~apart).sum(0), (m * ~apart).sum(0), slot)
            gate, centre = together.draw(torch.logit(u[1, 0, :, j]), z[0, 0, :, j])
            each_gate, each = alone.draw(torch.logit(u[2, :, :, j]), z[1, :, :, j])
            gates[:, t], logits[:, t], common[:, t] = gate, together.odds, centre * mask
            own_gate[:, :, t], own_weight[:, :, t] = each_gate & apart, each * apart
            chance[:, :, t] = torch.sigmoid(torch.where(apart, alone.odds, together.odds))
            variance = 1.0 / (p + 1.0 / omega)
            mean = (score * precision + torch.where(apart, each, centre) / omega) * variance
            value = (mean + variance.sqrt() * z[2, :, :, j]) * mask
            step[:, :, j] = value - w[:, :, t]
            w[:, :, t] = value
            if j + 1 < size:
                below = group.gram[:, :, start + j + 1 : rows.stop, t, None]  # (k, b, rest, 1)
                current[:, :, j + 1 :].addcmul_(below, step[:, :, j : j + 1], value=-1.0)
        gap[:, :, rows] += step
        change += (step * (diag * step - 2 * current)).sum(-2)
    group.unpack(common, shared.weight)
    group.unpack(gates * allowed, shared.inclusion)
    group.unpack(torch.sigmoid(logits) * allowed, shared.probability)
    group.unpack(w, edges.weight)
    group.unpack(own.to(w), edges.own)
    group.unpack(own_gate, edges.own_gate)
    group.unpack(own_weight, edges.own_weight)
    group.unpack(chance * allowed, edges.probability)
    total = torch.zeros_like(sse[..., None, :])
    group.unpack(change[..., None, :], total)
    sse += total[..., 0, :]
