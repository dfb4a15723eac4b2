"""Levels after an intervention as a table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...models.dynamics.settle import DIVERGES, OSCILLATES, SETTLED


def settled_table(
    genes: Sequence[str], after: np.ndarray, settled: np.ndarray, control: np.ndarray | float, level: float
) -> pd.DataFrame:
    """``gene, mean, sd, lower, upper, settled, control``: mean, sd and interval of ``after`` ``(draw, gene)`` over the
    draws that are ``settled``, NaN when none is; their share; and the level before."""
    table = pd.DataFrame({"gene": list(genes)})
    used = after[settled]
    if len(used):
        tail = (1 - level) / 2
        table["mean"], table["sd"] = used.mean(0), used.std(0)
        table["lower"], table["upper"] = np.quantile(used, [tail, 1 - tail], axis=0)
    else:
        table[["mean", "sd", "lower", "upper"]] = np.nan
    table["settled"] = float(settled.mean())
    table["control"] = control
    return table


def outcome_table(
    genes: Sequence[str], after: np.ndarray, before: np.ndarray, outcome: np.ndarray, level: float
) -> pd.DataFrame:
    """The same of a dynamical system, by the ``outcome`` ``(draw,)`` of `dynamics.settle`; ``attrs`` has the shares of
    draws that oscillate and diverge. ``control`` is the mean of ``before`` over settled draws that settle undisturbed
    too."""
    settled = outcome == SETTLED
    known = before[settled]
    known = known[np.isfinite(known).all(1)]
    table = settled_table(genes, after, settled, known.mean(0) if len(known) else np.nan, level)
    table.attrs = {"oscillates": float((outcome == OSCILLATES).mean()), "diverges": float((outcome == DIVERGES).mean())}
    return table
