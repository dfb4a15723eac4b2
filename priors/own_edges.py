"""Weights of contexts that share an edge, or have one of their own."""

from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from .shapes import broadcast_shapes

HALF_LOG_2PI = 0.9189385332046727


class EdgeComponents(NamedTuple):
    """What an edge is drawn from where its hyperparameters are known, each broadcastable to ``(*batch, tf, target)``:
    ``logit`` of the probability π that it exists, mean ``loc`` and sd ``wide`` of an edge that does, sd ``spike`` of
    one that does not."""

    logit: Tensor
    loc: Tensor
    wide: Tensor
    spike: Tensor


class OwnEdge(NamedTuple):
    """Probabilities of a context's edge given its weight and the shared one: that it is the ``shared`` edge; that the
    context has an edge of its own and it is ``absent``; and ``present``. They sum to one."""

    shared: Tensor
    absent: Tensor
    present: Tensor


class ContextEdge(NamedTuple):
    """A draw of the edges of contexts, each ``(*batch, context, tf, target)``: ``probability`` that the context has an
    edge, and whether it is ``present`` (where that was not drawn, the probability again); whether it is the ``shared``
    one, and whether it is its own and ``absent``, or their probabilities; ``None`` where all have the shared one and
    weights tell what exists."""

    probability: Tensor
    present: Tensor
    shared: Tensor | None = None
    absent: Tensor | None = None


def log_normal(value: Tensor, loc: Tensor | float, variance: Tensor) -> Tensor:
    """log N(value; loc, variance)."""
    return -0.5 * ((value - loc).square() / variance + variance.log()) - HALF_LOG_2PI


class OwnOrShared(TorchDistribution):
    r"""The weight of an edge in one context, which of the three it is summed out.

    .. math:: W_k \sim (1-\pi_d)\, N(W, \omega^2) + \pi_d \big[(1-\pi)\, N(0, s_0^2+\omega^2)
              + \pi\, N(m, s_1^2+\omega^2)\big]

    A context has the edge that all share, but for a small deviation of sd ω; or, with probability π_d, one of its own
    that is drawn anew from the prior of that edge: absent where the others have it, present where they have not, or of
    another size or sign. Whatever π_d is, a single context is a priori what it would be alone.

    Parameters
    ----------
    shared
        ``(*batch, tf, target)`` W, as it was drawn.
    spread
        ω.
    rate
        π_d.
    edge
        π, m, s_1 and s_0 of the edge.
    """

    arg_constraints = {"shared": constraints.real, "spread": constraints.positive, "rate": constraints.unit_interval}  # noqa: RUF012 as every distribution of torch
    support = constraints.real

    def __init__(
        self, shared: Tensor, spread: Tensor, rate: Tensor, edge: EdgeComponents, validate_args: bool | None = None
    ) -> None:
        self.shared, self.spread, self.rate, self.edge = shared, spread, rate, edge
        shapes = [value.shape for value in (shared, spread, rate, *edge)]
        super().__init__(broadcast_shapes(*shapes), torch.Size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "OwnOrShared":
        return OwnOrShared(self.shared.expand(batch_shape), self.spread, self.rate, self.edge, validate_args=False)

    def log_parts(self, value: Tensor) -> Tensor:
        """``(3, *batch)`` log of the three terms of the density: shared, own and absent, own and present."""
        logit, loc, wide, spike = self.edge
        variance = self.spread.square()
        own = self.rate.log()
        parts = (
            torch.log1p(-self.rate) + log_normal(value, self.shared, variance),
            own + torch.nn.functional.logsigmoid(-logit) + log_normal(value, 0.0, spike.square() + variance),
            own + torch.nn.functional.logsigmoid(logit) + log_normal(value, loc, wide.square() + variance),
        )
        return torch.stack(torch.broadcast_tensors(*parts))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_parts(value).logsumexp(0)

    def which(self, value: Tensor) -> OwnEdge:
        """Which of the three it is, given the weight ``value``."""
        return OwnEdge(*self.log_parts(value).softmax(0))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        logit, loc, wide, spike = self.edge
        with torch.no_grad():
            uniform = torch.rand((2, *shape), dtype=self.shared.dtype, device=self.shared.device)
            noise = torch.randn((2, *shape), dtype=self.shared.dtype, device=self.shared.device)
            drawn = torch.where(uniform[1] < torch.sigmoid(logit), loc + wide * noise[1], spike * noise[1])
            return torch.where(uniform[0] < self.rate, drawn, self.shared) + self.spread * noise[0]
