"""The two ways of going through conjugate conditionals: their draws (Gibbs), or their expectations (variational)."""

from collections.abc import Callable

import torch
from torch import Tensor

Target = Callable[[Tensor], tuple[Tensor, ...]]  # value -> log density, and for Newton steps gradient and curvature


class Take:
    """What a conjugate update hands on: of each full conditional a draw, or the expectations that coordinate ascent
    needs.

    The updates of a model are the same for Gibbs sampling and for variational coordinate ascent; only what is passed
    from one block to the next differs. Writing them once means that what the sampler's tests prove holds for both.

    Parameters
    ----------
    draws
        True: every block is drawn from its full conditional. False: every block becomes the optimal factor q, and its
        expectation is handed on; `bound` then collects the scales' part of the evidence lower bound.
    """

    def __init__(self, *, draws: bool) -> None:
        self.draws = draws
        self.bound: Tensor | float = 0.0  # (chain,) of the scales, collected over one round; see `half_cauchy_update`

    def gamma(self, shape: float | Tensor, rate: Tensor) -> Tensor:
        """Of Gamma(shape, rate): a draw, or the mean shape / rate; floored away from zero, where precisions die."""
        if not self.draws:
            return shape / rate
        if isinstance(shape, float) and shape == 1.0:  # exponential: five times as quick, and the local scales are it
            return (torch.empty_like(rate).exponential_() / rate).clamp_min(1e-30)
        shape = torch.as_tensor(shape, dtype=rate.dtype, device=rate.device).expand(rate.shape)
        return (torch._standard_gamma(shape) / rate).clamp_min(1e-30)

    def bernoulli(self, logit: Tensor) -> Tensor:
        """Of Bernoulli(logit): 0 or 1, or the probability."""
        probability = torch.sigmoid(logit)
        return torch.bernoulli(probability) if self.draws else probability

    def climb(self, value: Tensor, target: "Target", *, positive: bool = False, moves: int = 4) -> Tensor:
        """A scalar block that is not conjugate: Metropolis moves, or Newton steps to its mode.

        Parameters
        ----------
        value
            Where it stands, ``(chain, ...)``; its elements are independent given the rest.
        target
            From a value to its log density, gradient and curvature (minus the second derivative), each like ``value``;
            for a block that is only ever drawn, the log density alone.
        positive
            Whether the support is [0, ∞): moves are reflected at zero, Newton steps stop there.
        moves
            Metropolis moves; their sizes are drawn anew over two and a half decades, so none needs tuning.
        """
        if not self.draws:
            for _ in range(2):
                _, gradient, curvature = target(value)
                value = value + (gradient / curvature.clamp_min(1e-6)).clamp(-1.0, 1.0)
                value = value.clamp_min(1e-3) if positive else value
            return value
        log_prob = target(value)[0]
        for _ in range(moves):
            size = 10 ** (torch.rand_like(value) * 2.5 - 2.0)
            proposed = value + size * torch.randn_like(value)
            proposed = proposed.abs() if positive else proposed
            other = target(proposed)[0]
            accepted = torch.rand_like(value).log() < other - log_prob
            value, log_prob = torch.where(accepted, proposed, value), torch.where(accepted, other, log_prob)
        return value
