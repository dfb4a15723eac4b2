r"""The paper's training loss, and the one that makes an unrolled network a posterior."""

import torch
from torch import Tensor

BETA = 2.0  # the paper chooses among 0.5, 1, 2, 5


def f_beta_loss(score: Tensor, truth: Tensor, mask: Tensor, *, beta: float = BETA) -> Tensor:
    r""":math:`1 - F_\beta` with :math:`\mathrm{TP} = \langle\tanh|\Theta|, \Theta^*\rangle` and so on
    (Shrivastava et al. 2022, Eqs. 14-15); mean over graphs.

    ``score`` Θ and ``truth`` 0/1 ``(*graph, i, j)``; ``mask`` 0 where a pair does not count (self-edges); ``beta`` > 1
    weighs recall.
    """
    p = torch.tanh(score.abs()) * mask
    t = truth * mask
    positive = (p * t).sum((-2, -1))
    missed, false = t.sum((-2, -1)) - positive, p.sum((-2, -1)) - positive
    weight = 1 + beta**2
    return (1 - weight * positive / (weight * positive + beta**2 * missed + false).clamp_min(1e-12)).mean()


def balanced_loss(score: Tensor, truth: Tensor, mask: Tensor, *, beta: float = BETA) -> Tensor:
    r""":math:`L_{F_\beta} + r\,\|\Theta - \Theta^*\|_F^2` (Eq. 16), the ratio r of the two losses held constant, so
    that both pull alike."""
    f = f_beta_loss(score, truth, mask, beta=beta)
    squared = ((score.abs() - truth).square() * mask).mean()
    ratio = (f / squared.clamp_min(1e-12)).detach()
    return f + ratio * squared


def log_loss(logit: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    r""":math:`-\log q(\gamma^* \mid X)` a pair, in nats: neural posterior estimation (Papamakarios & Murray 2016),
    whose minimum over all q is the posterior under the simulator."""
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, truth, reduction="none")
    return (loss * mask).sum() / mask.expand_as(loss).sum()
