"""What genes and edges of a drawn network say of themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..signs import sign_word

MOST_LINES = 12  # of the edges of one gene


def edge_words(row: Mapping[Any, Any]) -> str:
    """One edge, a row of `Posterior.edges`: sign, effect with its interval, probability.

    Examples
    --------
    >>> edge_words({"source": "A", "target": "B", "weight": 0.5, "lower": 0.2, "upper": 0.8, "inclusion": 0.9})
    'A activates B: effect +0.50 (+0.20 to +0.80), probability 0.90'
    """
    sign = sign_word(row["weight"])
    interval = "" if np.isnan(row["lower"]) else f" ({row['lower']:+.2f} to {row['upper']:+.2f})"
    return f"{row['source']} {sign} {row['target']}: effect {row['weight']:+.2f}{interval}{_sure(row)}"


def _sure(row: Mapping[Any, Any]) -> str:
    value = row["inclusion"]
    if np.isnan(value):  # of a point estimate
        return ""
    return f", probability {'>0.99' if value > 0.99 else f'{value:.2f}'}"


def _number(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def gene_words(name: str, edges: pd.DataFrame, *, regulator: bool, degrees: pd.DataFrame | None = None) -> str:
    """A gene: how many of the drawn edges leave and reach it, how many targets it is expected to have, and these
    edges, a line each.

    Parameters
    ----------
    name
        The gene.
    edges
        Those that are drawn, best first.
    regulator
        Whether it may regulate.
    degrees
        ``source, mean``, expected numbers of targets; None: not said.
    """
    ends = [edges[end].to_numpy() == name for end in ("source", "target")]
    out, into = (edges.iloc[np.flatnonzero(at)].to_dict("records") for at in ends)
    kind = "regulator" if regulator else "target"
    lines = [f"{name}, {kind}: drawn are {_number(len(out), 'target')} and {_number(len(into), 'regulator')}"]
    if degrees is not None and regulator:
        expected = degrees.loc[degrees["source"] == name, "mean"]
        lines[0] += f", {expected.iloc[0]:.1f} targets expected in all" if len(expected) else ""
    rows = [*out, *into]
    for row in rows[:MOST_LINES]:
        sign = "→" if row["weight"] >= 0 else "⊣"
        lines.append(f"{row['source']} {sign} {row['target']} {row['weight']:+.2f}{_sure(row)}")
    if len(rows) > MOST_LINES:
        lines.append(f"and {len(rows) - MOST_LINES} more")
    return "\n".join(lines)
