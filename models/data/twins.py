"""Regulators that the data cannot tell apart: found in what a model conditions on, before anything is fitted."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...priors.shortened import shortened

# |r| above which two regulators count as one: swapping their weights w then costs the likelihood less than
# n (1 - |r|) w² / σ² nats, a third of one for a weight of 0.3 in 300 cells
ALIKE = 0.99
SHOWN = 5  # sets of regulators that a note names


class Twins(NamedTuple):
    """Two regulators and their correlation; below zero, one goes down when the other goes up."""

    first: str
    second: str
    correlation: float


def alike(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of regulators that correlate above `ALIKE`, in either direction.

    Parameters
    ----------
    gram
        ``(tf, tf)`` centred Gram matrix of the regulators, of all contexts together.

    Returns
    -------
    Tensor, Tensor
        ``(pair, 2)`` places, the first below the second, and ``(pair,)`` correlations. A regulator that does not vary
        is in no pair. One pass over the matrix: 20 ms for 1,500 regulators.
    """
    sd = gram.diagonal().clamp_min(0).sqrt()
    unit = torch.where(sd > 0, 1 / sd.clamp_min(torch.finfo(sd.dtype).tiny), 0.0)
    correlation = gram * unit[:, None] * unit
    pairs = torch.nonzero(torch.triu(correlation.abs() > ALIKE, diagonal=1))
    return pairs, correlation[pairs[:, 0], pairs[:, 1]].clamp(-1, 1)


def twins_of(gram: Tensor, tfs: Sequence[str]) -> tuple[Twins, ...]:
    """`alike` with names: ``gram`` ``(context, tf, tf)``."""
    pairs, correlation = alike(gram.double().sum(0))
    rows = zip(pairs.tolist(), correlation.tolist(), strict=True)
    return tuple(Twins(tfs[a], tfs[b], r) for (a, b), r in rows)


def sets_of(twins: Sequence[Twins]) -> list[list[str]]:
    """Twins that share a regulator put together, in the order in which they come."""
    sets: list[list[str]] = []
    for first, second, _ in twins:
        touched = [group for group in sets if first in group or second in group]
        merged = [name for group in touched for name in group]
        merged += [name for name in (first, second) if name not in merged]
        place = sets.index(touched[0]) if touched else len(sets)
        sets = [group for group in sets if group not in touched]
        sets.insert(place, merged)
    return sets


def twin_notes(twins: Sequence[Twins]) -> tuple[str, ...]:
    """What twins mean for their edges, in one line; nothing where there are none."""
    if not twins:
        return ()
    named = []
    for names in sets_of(twins)[:SHOWN]:
        inside = [t.correlation for t in twins if t.first in names]
        values = f"{min(inside):.4g}" if min(inside) == max(inside) else f"{min(inside):.4g} to {max(inside):.4g}"
        shown = [shortened(n) for n in names[:SHOWN]]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        named.append(f"{', '.join(shown)}{more} (r = {values})")
    rest = len(sets_of(twins)) - len(named)
    more = f"; and {rest} more sets" if rest > 0 else ""
    return (
        f"regulators that these data can hardly tell apart: {'; '.join(named)}{more}. They share the probability of an "
        "edge: add up those of a set to judge a target, keep one of the set in the list of regulators, or tell them "
        "apart by perturbing one. An edge from one to the other says no more than that they are alike",
    )
