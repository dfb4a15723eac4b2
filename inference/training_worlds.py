"""Row of `diagnostics.diagnose` on cells that an engine has not seen the like of in its training."""

import math
from collections.abc import Iterator

import numpy as np

from ..models import Model
from .amortised.novelty import FEATURES, LEAST_P
from .checks import Check
from .choice import engine_of
from .draws.fitted import PosteriorLike

NAME = "cells like those of the training"


def training_world_rows(posterior: PosteriorLike[Model]) -> Iterator[Check]:
    """One row for engines that learned on simulations, else none."""
    if not engine_of(posterior.guide).learns_on_simulations:
        return
    found = posterior.attributes.get("training_worlds_p")
    if found is None:
        meaning = "These weights kept nothing of what they were trained on, so it cannot be asked: train them again."
        yield Check(NAME, math.nan, LEAST_P, None, meaning)
        return
    p = float(np.asarray(found))
    good = p > LEAST_P
    meaning = "By their evidence, these cells could be some of those that the guide was trained on."
    if not good:
        outmost = np.asarray(posterior.attributes["training_worlds_outmost"])
        words = "; ".join(f"{FEATURES[int(i)]} ({sd:+.1f} sd)" for i, sd in outmost)
        meaning = (
            f"These cells are unlike anything that the guide was trained on (furthest: {words}): its probabilities "
            "are not to be believed here. Fit the linear model by sampling, or train a guide on simulations like "
            "these cells."
        )
    yield Check(NAME, p, LEAST_P, good, meaning)
