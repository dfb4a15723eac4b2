"""The rungs of the ladder, and the worlds that stand on each."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...models.simulators import WorldKind

RUNGS = {
    1: "targets that the model's own prior makes",
    2: "the exact posterior, by enumeration of all graphs of a few regulators",
    3: "targets made on your regulators, every cause offered, Gaussian noise",
    4: "targets made on your regulators, causes hidden or the residuals of your genes as noise",
}
"""What each rung asks."""
OWN, EXACT = "own model", "enumeration"
CORRECTED = "own model, corrected"
"""The same worlds of rung 1, with the probabilities that the trial of `infer` makes of the model's."""


@dataclass(frozen=True)
class Plan:
    """A world to make, by its ``name``: on which ``rung`` it stands; of rungs 3 and 4 its ``kind``, and the share of
    the edges of prior networks that is ``moved`` (None: there are no prior networks)."""

    name: str
    rung: int
    kind: WorldKind | None = None
    moved: float | None = None


def plans(
    rungs: Sequence[int], *, hidden: float, moved: Sequence[float], priors: bool, as_measured: bool
) -> list[Plan]:
    """All worlds of these rungs.

    Parameters
    ----------
    rungs
        Of `RUNGS`.
    hidden
        Share of the regulators that is not offered on rung 4.
    moved
        Shares of the edges of prior networks, used if there are any (``priors``).
    as_measured
        As of `WorldKind`.

    Raises
    ------
    ValueError
        An unknown rung, no rung, or no share.
    """
    if not rungs or any(rung not in RUNGS for rung in rungs):
        raise ValueError(f"rungs {', '.join(map(str, rungs)) or 'none'}: choose of {', '.join(map(str, RUNGS))}")
    if priors and not moved:
        raise ValueError("shares of prior edges that are moved: expected at least one")
    found = [Plan(name, rung) for rung, name in ((1, OWN), (2, EXACT)) if rung in rungs]
    kinds = [
        (3, WorldKind(as_measured=as_measured)),
        (4, WorldKind(noise="residual", as_measured=as_measured)),
        (4, WorldKind(hidden=hidden, as_measured=as_measured)),
        (4, WorldKind(hidden=hidden, noise="residual", as_measured=as_measured)),
    ]
    if not hidden:  # then these are the first two
        kinds = kinds[:2]
    for share in moved if priors else (None,):
        found += [Plan(_name(kind, share), rung, kind, share) for rung, kind in kinds if rung in rungs]
    return found


def _name(kind: WorldKind, moved: float | None) -> str:
    causes = f"{kind.hidden:.0%} of causes hidden" if kind.hidden else "all causes offered"
    told = "" if moved is None else f", {moved:.0%} of the prior moved"
    return f"{causes}, {kind.noise} noise{told}"
