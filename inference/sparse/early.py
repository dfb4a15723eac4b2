r"""Whether a run can end before it has all draws that it was to have.

A draw of a large network costs a second, and half of them say all there is to say where chains are alike and draws
nearly independent: the Monte Carlo error of an inclusion p is then at most :math:`\sqrt{p(1-p)/200} = .035` of 4 x 50
draws, and half of that on the whole, because what is summed up is a probability and not a draw. A run of
`FEWEST_EDGES` edges or more in `FEWEST_CHAINS` chains or more is looked at every `LOOK_EVERY` draws from
`settling.FEWEST` on, and ends where `settling.not_reached` finds nothing, or single targets alone, whose chains stay
apart in twice as many draws too, and

- hyperparameters have an R-hat of at most `settling.WHOLE_RHAT`, and `LEAST_ESS` effective draws, twice what is asked
  of a run at its end;
- the errors of the inclusions, from what chains say apart,

  .. math:: e^2 = \frac{1}{C}\operatorname{var}_c\,\hat p_c,

  are no more than `MOST_ERROR` in the root mean square over edges of at least `MATTERS`, and that of the number of
  edges no more than `NUMBER_ERROR` of it.

Of smaller networks all draws are taken: they take no time.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from .settling import FEWEST, WHOLE_RHAT, Traces, is_of_targets, mixing_of, not_reached, varied

FEWEST_EDGES = 5e4  # of a network whose draws take time
FEWEST_CHAINS = 3  # the sd of two numbers is small by chance
LOOK_EVERY = 10  # draws
LEAST_ESS = 80.0
MATTERS, MOST_ERROR, NUMBER_ERROR = 0.05, 0.03, 0.01


def is_looked_at(drawn: int, shortest: int) -> bool:
    """Whether to look after so many draws; ``shortest`` before which the run must not end."""
    return drawn >= max(shortest, FEWEST) and drawn % LOOK_EVERY == 0


def spread_of(inclusion: Sequence[np.ndarray], draws: int) -> np.ndarray:
    """``(2 + chain,)`` float64 of some targets, from ``inclusion`` summed up over ``draws``, of each chain (index, tf):
    how many edges matter, the sum of their squared errors, and the number of edges that each chain expects."""
    table = np.stack(inclusion).astype(np.float32) / np.float32(draws)
    matters = table.mean(0) >= MATTERS
    error = table[:, matters].astype(np.float64).var(0, ddof=1).sum() / len(table)
    return np.array([matters.sum(), error, *table.sum((1, 2), dtype=np.float64)])


def is_precise(spread: np.ndarray) -> bool:
    """Whether errors of inclusions are small; ``spread`` of all targets, a sum of `spread_of`."""
    number, square, expected = spread[0], spread[1], spread[2:]
    error = expected.std(ddof=1) / np.sqrt(len(expected))
    return bool(square <= number * MOST_ERROR**2 and error <= NUMBER_ERROR * expected.mean())


def left_of(hypers: Mapping[str, np.ndarray], likelihood: np.ndarray, traces: Traces) -> list[str] | None:
    """What `settling.not_reached` says, of the same arguments, where that is of single targets alone and
    hyperparameters have settled; None where a run is not done."""
    if len(likelihood) < FEWEST_CHAINS:
        return None
    left = not_reached(hypers, likelihood, traces)
    if not all(is_of_targets(text) for text in left):
        return None
    if names := varied(hypers):
        rhat, size = mixing_of([hypers[name] for name in names])
        if not (rhat.max() <= WHOLE_RHAT and size.min() >= LEAST_ESS):
            return None
    return left
