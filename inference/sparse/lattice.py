r"""A draw from the density of one number, given one that is drawn from it already: a lattice at random through it.

Points :math:`x + (j - J)\,d`, :math:`j = 0 \dots K - 1`, with the place J of the number uniform and the spacing d drawn
without regard to where it is: each of the K points would have led to this lattice with the same density, so one of
them, drawn in proportion to the density, leaves the density as it is (as of the intervals of Neal 2003, Ann Stat
31:705). All K densities are worked out at once, and nothing is to be adapted.
"""

from collections.abc import Callable

import numpy as np
import torch

from ..gibbs.streams import Source, uniform

POINTS = 48
WIDEST, NARROWEST = 0.5, 0.004  # spacing, log-uniform: a parameter found to a hundredth, or wrong by a factor of 100
LIKE = torch.zeros((), dtype=torch.float64)


def lattice_draws(
    x: np.ndarray,
    density: Callable[[np.ndarray], np.ndarray],
    generator: Source,
    rounds: int,
    widest: float = WIDEST,
) -> np.ndarray:
    """``(chain,)`` float64 after ``rounds`` lattices of spacings up to ``widest``; ``density`` takes ``(chain, point)``
    and gives the log density there, −∞ outside the support."""
    places, rows = np.arange(POINTS), np.arange(len(x))
    numbers = uniform((rounds, 3, len(x)), generator, LIKE).numpy()
    for turn, (where, width, chosen) in enumerate(numbers):  # each of another part of the widths
        spacing = widest * (NARROWEST / widest) ** ((turn + width) / rounds)
        own = np.floor(where * POINTS)
        points = x[:, None] + (places - own[:, None]) * spacing[:, None]
        log = density(points)
        share = np.exp(log - log.max(1, keepdims=True)).cumsum(1)
        place = np.minimum((share < chosen[:, None] * share[:, -1:]).sum(1), POINTS - 1)
        x = np.where(np.isfinite(log[rows, place]), points[rows, place], x)
    return x
