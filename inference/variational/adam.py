"""Adam, with a rate that falls over the budget of steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Adam:
    """Adam with a cosine decay of the learning rate to ``final`` of its start over the budget of steps.

    Parameters
    ----------
    lr
        Starting rate. Default 0.03: unconstrained parameters are of order one, and a few hundred steps must reach them.
    final
        Share of ``lr`` at the end; small, so that the noise of the last steps averages out.
    betas
        As `torch.optim.Adam`; 0.95 / 0.999 suit one-sample ELBO gradients.
    """

    lr: float = 0.03
    final: float = 0.02
    betas: tuple[float, float] = (0.95, 0.999)

    def __post_init__(self) -> None:
        if self.lr <= 0 or not 0 < self.final <= 1:
            raise ValueError(f"Adam(lr={self.lr}, final={self.final}): expected lr > 0 and 0 < final <= 1")

    def build(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas, fused=True)

    def rate(self, step: int, total: int) -> float:
        """Learning rate at a step."""
        return self.lr * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0))))
