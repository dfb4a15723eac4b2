r"""Statistics at any background of a range, from those at a few nodes.

All that h does to the statistics is :math:`1/(1 + h\lambda)` along each eigenvector of G. As a function of
:math:`x = \log(h + h_0)` that is analytic for :math:`\lvert\operatorname{Im} x\rvert < \pi`, so the polynomial
through n Chebyshev points of a range of half width L is wrong by :math:`\rho^{-n}`, :math:`\rho = (\pi +
\sqrt{\pi^2 + L^2})/L`: scores at another h, a (tf × tf) by (tf × target) product, become a sum of a few stored ones.
With :math:`h_0 = 0.1/\lambda_\max` a range may begin at zero.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np

ERROR, ROUGH = 1e-6, 1e-3  # of the interpolated statistics, in proportion; while chains are not yet where they belong
LEAST_HALF, WIDER = 0.3, 1.4  # of a range, in log h; and how much wider than what it is to hold
MOST_NODES = 6  # beyond, a range takes more memory and time than it is worth
FEW_TFS = 128  # regulators, up to which the products cost less than the sweeps
OFFSET = 0.1  # h₀ λ_max


@dataclass(frozen=True)
class Window:
    """From ``low`` to ``high`` of x = log(h + ``offset``), with ``number`` nodes; ``rough`` as in `around`."""

    low: float
    high: float
    offset: float
    number: int
    rough: bool = False

    @classmethod
    def around(cls, h: np.ndarray, top: float, *, rough: bool = False) -> "Window | None":
        """That holds all of ``h`` (any,) and some more; ``top`` is the largest eigenvalue. None where it would need too
        many nodes. One that is ``rough`` is wrong by `ROUGH`, and as wide as as many nodes allow."""
        offset = OFFSET / max(top, 1e-30)
        x = np.log(h + offset)
        middle = 0.5 * float(x.max() + x.min())
        half = max(LEAST_HALF, 0.5 * WIDER * float(x.max() - x.min()))
        error = ERROR
        if rough:
            error, best = ROUGH, ROUGH ** (-1 / MOST_NODES)
            half = max(half, 2 * math.pi * best / (best**2 - 1))  # where the rate is the least that will do
        rate = (math.pi + math.hypot(math.pi, half)) / half
        number = max(4, math.ceil(-math.log(error) / math.log(rate) - 1e-9))
        return None if number > MOST_NODES else cls(middle - half, middle + half, offset, number, rough)

    def holds(self, h: np.ndarray) -> np.ndarray:
        """Which of ``h`` (any,) are inside."""
        x = np.log(h + self.offset)
        return (x >= self.low) & (x <= self.high)

    def covers(self, h: np.ndarray) -> bool:
        """Whether all of ``h`` (any,) are inside."""
        return bool(self.holds(h).all())

    @property
    def _unit(self) -> np.ndarray:
        return np.cos(np.pi * (np.arange(self.number) + 0.5) / self.number)

    @property
    def nodes(self) -> np.ndarray:
        """``(node,)`` h; what is below zero is above −h₀, where the statistics are as smooth."""
        x = 0.5 * (self.low + self.high) + 0.5 * (self.high - self.low) * self._unit
        return np.exp(x) - self.offset

    def coefficients(self, h: "float | np.ndarray") -> np.ndarray:
        """``(*h, node)`` what the values at the nodes are multiplied by (barycentric, Berrut & Trefethen 2004)."""
        step = np.log(np.asarray(h) + self.offset)[..., None] - np.log(self.nodes + self.offset)
        turn = np.pi * (np.arange(self.number) + 0.5) / self.number
        weight = (-1.0) ** np.arange(self.number) * np.sin(turn) / np.where(step == 0, 1e-200, step)
        return weight / weight.sum(-1, keepdims=True)

    # -- checkpoints ----
    def snapshot(self) -> dict[str, float | int]:
        """As plain numbers."""
        return asdict(self)
