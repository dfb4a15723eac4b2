"""How a fit went, and the state of the generators that it draws from."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class History:
    """How a fit went.

    Parameters
    ----------
    reason
        Why it ended: ``converged``, ``budget``, or ``diverged at step …``.
    elbo
        ``(restart, record)`` what the engine watches, larger is better: of variational fits the evidence lower bound,
        one row a restart (of `Pruned`, a one-draw estimate of it for each chain); of samplers the log-likelihood of
        each chain's state; of `BlockDescent` minus the objective. Empty where an engine has no such thing (`NUTS`,
        `Bagging`).
    steps
        ``(record,)`` the step, counted from 1, at which each was taken.
    rate
        ``(record,)`` learning rate; zero where nothing is learned by gradients.
    seconds
        From the start, or the resumption, of the run to its end.
    """

    reason: str
    elbo: np.ndarray
    steps: np.ndarray
    rate: np.ndarray
    seconds: float

    @classmethod
    def every_step(cls, reason: str, elbo: np.ndarray, seconds: float) -> "History":
        """With a record ``(restart, step)`` of each step, and no learning rate."""
        number = elbo.shape[1]
        return cls(reason, elbo, np.arange(1, number + 1), np.zeros(number), seconds)


def random_state(device: torch.device) -> list[Tensor]:
    """State of the CPU generator, and of the device's where the fit draws there."""
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def set_random_state(states: list[Tensor]) -> None:
    """Continue from `random_state`."""
    torch.set_rng_state(states[0].cpu())
    if len(states) > 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state(states[1].cpu())
