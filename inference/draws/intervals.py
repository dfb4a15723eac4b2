"""Intervals of draws: their usual level, what is refused, and those of many edges in bounded memory."""

import numpy as np

from ...models import Model
from .fitted import PosteriorLike

LEVEL = 0.89  # probability of an interval unless another is asked for, as ArviZ


def check_level(level: float) -> None:
    """Refuse the probability of an interval that is not strictly between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"`level` is {level}, expected a probability strictly between 0 and 1")


def check_rate(rate: float) -> None:
    """Refuse a false discovery rate that is not strictly between 0 and 1."""
    if not 0 < rate < 1:
        raise ValueError(f"`fdr` is {rate}, expected a rate strictly between 0 and 1")


def check_draws(number: int) -> None:
    """Refuse fewer than one draw."""
    if number < 1:
        raise ValueError(f"{number} draws asked for: expected at least 1")


def thin_of(posterior: PosteriorLike[Model]) -> int:
    """Draws between two kept draws of large sites."""
    return int(posterior.attributes.get("thin", 1))


def interval(
    draws: np.ndarray, source: np.ndarray, target: np.ndarray, level: float, block: int = 20000
) -> tuple[np.ndarray, np.ndarray]:
    """Equal-tailed interval of the chosen edges from ``draws`` (chain, draw, tf, target), in blocks of edges to bound
    memory."""
    flat = draws.reshape(-1, *draws.shape[2:])
    lower, upper = np.empty(len(source)), np.empty(len(source))
    tail = (1 - level) / 2
    for start in range(0, len(source), block):
        rows = slice(start, start + block)
        chosen = np.sort(flat[:, source[rows], target[rows]], axis=0)
        place = tail * (len(chosen) - 1)
        low, high = int(np.floor(place)), min(int(np.floor(place)) + 1, len(chosen) - 1)
        part = place - low
        lower[rows] = (1 - part) * chosen[low] + part * chosen[high]
        upper[rows] = (1 - part) * chosen[-1 - low] + part * chosen[-1 - high]
    return lower, upper
