"""How long an iteration of FactorBox's alternating least squares takes here, by number of genes."""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from ..inference.alternating.penalties import Penalties
from ..inference.alternating.solution import alternate
from ..models.data.panel import Panel

SIZES = (125, 250, 500, 1000)  # seconds in all
MOST_GENES = 4000  # of a panel that is made: a quarter of a minute is spent on its factorisation
ITERATIONS = 5


class Timing(NamedTuple):
    """Seconds of an iteration, and until the first ended (the factorisation, mostly), of a panel of ``genes``."""

    genes: int
    iteration: float
    start: float


def sizes_for(genes: int) -> tuple[int, ...]:
    """Numbers of genes to time: `SIZES`, and that of a fit where it is larger.

    Examples
    --------
    >>> sizes_for(40), sizes_for(2000)
    ((125, 250, 500, 1000), (125, 250, 500, 1000, 2000))
    """
    own = min(genes, MOST_GENES)
    return (*SIZES, own) if own > SIZES[-1] else SIZES


def time_alternation(sizes: Sequence[int], *, seed: int = 0) -> list[Timing]:
    """Time panels of one knock-down of every gene, with levels at random: the work does not depend on what they are.

    An iteration is the shortest of `ITERATIONS` after the first, in seconds of the clock, with as many threads as torch
    has; the caller's generators are not touched.
    """
    return [_time(genes, seed) for genes in sizes]


def _time(genes: int, seed: int) -> Timing:
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randn(genes + 1, genes, generator=generator, dtype=torch.float64).exp()
    clamped = torch.zeros(levels.shape, dtype=torch.bool)
    clamped[:genes].fill_diagonal_(True)
    panel = Panel(levels, levels, clamped, levels.new_zeros(len(levels), 0))
    stamps: list[float] = [time.perf_counter()]
    alternate(
        [panel],
        Penalties(ridge=0.1 * genes),
        max_iterations=ITERATIONS + 1,
        tol=0.0,
        patience=ITERATIONS + 1,  # a cost that rises must not end the measurement
        progress=lambda *_: stamps.append(time.perf_counter()),
    )
    start, *rest = [after - before for before, after in pairwise(stamps)]
    return Timing(genes, min(rest), start)
