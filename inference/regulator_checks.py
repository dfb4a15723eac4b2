"""Rows of `diagnostics.diagnose` on regulators that the data can hardly tell apart."""

from collections.abc import Iterator

import numpy as np

from ..models import Model
from ..models.data.twins import ALIKE, twin_notes
from .checks import Check
from .draws.fitted import PosteriorLike


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
