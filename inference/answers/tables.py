"""Levels after an intervention as a table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...models.dynamics.settle import DIVERGES, OSCILLATES, SETTLED

FEWEST_SETTLED = 0.1
"""Share of the draws that must settle for a level to be stated: what the others would say is not known, and a tenth of
the posterior is hardly the posterior."""
FEWEST_DRAWS = 20
"""Draws that must settle for a level to be stated, where not all do. Of one the interval has no width, and says that
the answer is certain; between the extremes of 20 lie 19/21 = 90% of what is drawn, the least that an interval of 89%
asks."""


def settled_table(
    genes: Sequence[str], after: np.ndarray, settled: np.ndarray, control: np.ndarray | float, level: float
) -> pd.DataFrame:
    """``gene, mean, sd, lower, upper, settled, control``: mean, sd and interval of ``after`` ``(draw, gene)`` over the
    draws that are ``settled``, NaN when not all are and fewer than `FEWEST_SETTLED` of them or `FEWEST_DRAWS`; their
    share; and the level before. Who asks for few draws, all of which settle, has what they say."""
    table = pd.DataFrame({"gene": list(genes)})
    used = after[settled]
    enough = len(used) >= max(FEWEST_SETTLED * len(after), FEWEST_DRAWS)
    if len(used) and (enough or len(used) == len(after)):
        tail = (1 - level) / 2
        table["mean"], table["sd"] = used.mean(0), used.std(0)
        table["lower"], table["upper"] = np.quantile(used, [tail, 1 - tail], axis=0)
    else:
        table[["mean", "sd", "lower", "upper"]] = np.nan
    table["settled"] = float(settled.mean())
    table["control"] = control
    return table


def unsettled_note(table: pd.DataFrame) -> str | None:
    """What is to be said of the draws of a prediction that did not settle; None where all did."""
    fewest, most = float(table["settled"].min()), float(table["settled"].max())
    if fewest == 1:
        return None
    ways = [f"{way} in {100 * share:.3g}%" for way, share in table.attrs.items() if share]
    told = f" ({', '.join(ways)})" if ways else ""
    up_to = "" if fewest == most else "up to "
    start = f"in {up_to}{_part(1 - fewest)} of the draws the network has no stable steady state{told}"
    if not table["mean"].isna().any():
        return f"{start}; they are left out"
    return f"{start}: where fewer than {FEWEST_SETTLED:.0%} or {FEWEST_DRAWS} draws are left, no level is stated"


def _part(share: float) -> str:
    """Less than the whole in as many digits as say so."""
    digits = next((n for n in range(3, 9) if f"{100 * share:.{n}g}" != "100"), None)
    return "all but a few" if digits is None and share < 1 else f"{100 * share:.{digits or 3}g}%"


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
