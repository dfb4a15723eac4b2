"""Rows of `diagnostics.diagnose` on regulators: without edges, regulated themselves, hardly told apart by the data."""

import math
from collections.abc import Iterator

import numpy as np

from ..models import Model
from ..models.data.twins import ALIKE, twin_notes
from .answers.registry import answers_of
from .checks import Check
from .draws.fitted import PosteriorLike
from .points import NO_PROBABILITY, UNDIRECTED, is_point

PROBABLE = 0.5  # an edge above it more likely exists than not


def twin_rows(posterior: PosteriorLike[Model]) -> Iterator[Check]:
    """One row that informs, with the largest |r| of two regulators, where any pair is above `ALIKE`; else none."""
    twins = posterior.model.twins
    if twins:
        (note,) = twin_notes(twins)
        largest = max(abs(t.correlation) for t in twins)
        yield Check("regulators alike", largest, ALIKE, None, f"{note[0].upper()}{note[1:]}.")


def has_twin(posterior: PosteriorLike[Model]) -> np.ndarray:
    """``(target,)`` whether a target is one of two regulators that are alike."""
    names = [name for twins in posterior.model.twins for name in (twins.first, twins.second)]
    return np.isin(np.asarray(posterior.coords["target"], dtype=str), np.asarray(names, dtype=str))


def regulator_rows(posterior: PosteriorLike[Model]) -> Iterator[Check]:
    """Rows on regulators; of a point estimate without probabilities."""
    if is_point(posterior):
        if not answers_of(posterior.model).directed:
            yield Check("edges between regulators", math.nan, math.nan, None, UNDIRECTED)
        yield Check("regulators without edges", math.nan, 1.0, None, NO_PROBABILITY)
        yield from twin_rows(posterior)
        return
    if not answers_of(posterior.model).directed:
        yield _between_regulators(posterior)
    yield _idle_regulators(posterior)
    yield from twin_rows(posterior)


def _idle_regulators(posterior: PosteriorLike[Model]) -> Check:
    best = posterior.moments["W"].inclusion.max(1)
    idle = [name for name, p in zip(posterior.coords["tf"], best.tolist(), strict=True) if not p > PROBABLE]
    share = len(idle) / len(best)
    meaning = "Every regulator has a probable edge."
    if share == 1:
        few = f"too few {posterior.model.rows}, too much noise, or the wrong list of regulators"
        meaning = f"No regulator has a probable edge: {few}."
    elif idle:
        meaning = f"{len(idle)} of {len(best)} regulators have no probable edge, e.g. {', '.join(idle[:3])}."
    return Check("regulators without edges", share, 1.0, share < 1, meaning)


def _between_regulators(posterior: PosteriorLike[Model]) -> Check:
    """Edges whose direction the model cannot know: regressions of regulators on regulators find A → B and B → A
    alike; where one of the two may not exist, as an edge into a drug, there is nothing to tell."""
    probable = posterior.moments["W"].inclusion > PROBABLE
    total, between = int(probable.sum()), int((probable & _may_answer(posterior)).sum())
    if not total:
        return Check("edges between regulators", math.nan, math.nan, None, "No edge is probable.")
    some = f"{between} of {total} probable edges join two regulators either of which could act on the other"
    if answers_of(posterior.model).links:
        meaning = (
            f"{some}: their direction is not known from these data, and their probabilities are not calibrated. Read "
            "them as links, unless interventions on both ends tell."
        )
    else:  # every list of such a model holds them
        meaning = (
            f"{some}: interventions on both ends tell their direction; where one end has none, read them as links, "
            "whose probabilities are not calibrated."
        )
    return Check("edges between regulators", between / total, math.nan, None, meaning)


def _may_answer(posterior: PosteriorLike[Model]) -> np.ndarray:
    """``(tf, target)`` whether the edge the other way may exist too."""
    allowed = posterior.model.edge_prior.allowed.cpu().numpy()
    row, column = ({name: i for i, name in enumerate(posterior.coords[axis])} for axis in ("tf", "target"))
    source = np.array([row.get(name, -1) for name in posterior.coords["target"]])  # of each target among regulators
    target = np.array([column.get(name, -1) for name in posterior.coords["tf"]])
    back: np.ndarray = allowed[np.ix_(source, target)].T & (source >= 0) & (target >= 0)[:, None]
    return back
