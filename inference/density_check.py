"""Whether the number of edges is known: runs that agree on their order may not agree on how many there are."""

import math

import numpy as np

from .checks import Check

MAX_ERROR = 0.1  # of the number of edges expected, beside it
FEW = 1.0  # edge, below which an error means nothing
NAME = "number of edges agrees"


def density_check(inclusion: np.ndarray, runs: str) -> Check:
    r"""Monte Carlo error of the number of edges expected, :math:`\mathrm{sd}_c(N_c) / \sqrt C / \bar N` with
    :math:`N_c` the sum of the inclusion probabilities of chain c alone.

    All edges share the hyperparameters that say how many there are: where these have not settled, every probability is
    off in the same direction, which agreement of the edges' order does not show.

    Parameters
    ----------
    inclusion
        ``(chain, edge)`` of each chain alone.
    runs
        What chains are called.
    """
    number = inclusion.sum(1, dtype=np.float64)
    mean, error = float(number.mean()), float(number.std(ddof=1)) / math.sqrt(len(number))
    value = error / mean if mean > 0 else 0.0
    good = value <= MAX_ERROR or error <= FEW
    meaning = (
        f"The model's own probabilities add up to {mean:,.0f} edges, known to {error:,.1f} by {len(number)} {runs}."
    )
    if good and value > MAX_ERROR:
        meaning += f" Of so few an error below {FEW:g} means nothing."
    if not good:
        meaning = (
            f"The {len(number)} {runs} expect {number.min():,.0f} to {number.max():,.0f} edges: probabilities are too "
            "high or too low all together. Run longer"
            f"{' (num_warmup, num_samples)' if runs == 'chains' else ''}."
        )
    return Check(NAME, value, MAX_ERROR, good, meaning)
