"""Rules that end a fit; objects without side effects."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class StoppingRule(Protocol):
    """``rule(elbo)`` is True when the fit may end; ``elbo`` is ``(restart, step)`` so far."""

    def __call__(self, elbo: np.ndarray) -> bool: ...


@dataclass(frozen=True)
class RelativeImprovement:
    """Stop when the mean ELBO of the last ``window`` steps is not better than the one before by ``tol``, in every
    restart.

    Parameters
    ----------
    tol
        Relative to the magnitude of the ELBO. Default 1e-4: with 15,000 edges that is far below one nat an edge.
    window
        Steps averaged; two windows are compared. Default 200, long against the ELBO's noise.
    """

    tol: float = 1e-4
    window: int = 200

    def __post_init__(self) -> None:
        if self.tol <= 0 or self.window < 2:
            raise ValueError(
                f"RelativeImprovement(tol={self.tol}, window={self.window}): expected tol > 0 and window >= 2"
            )

    def __call__(self, elbo: np.ndarray) -> bool:
        if elbo.shape[1] < 2 * self.window or elbo.shape[1] % self.window:
            return False
        last = elbo[:, -self.window :].mean(1)
        before = elbo[:, -2 * self.window : -self.window].mean(1)
        return bool(np.all(last - before < self.tol * np.abs(before)))


@dataclass(frozen=True)
class NeverStop:
    """Use the whole budget of steps."""

    def __call__(self, elbo: np.ndarray) -> bool:
        return False
