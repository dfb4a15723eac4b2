"""Rows of `diagnostics.diagnose` on what an engine has not seen the like of in its training: cells, and prior networks
that are wrong.

Of the cells the share of training worlds at least as far from the others as they are (`amortised.novelty.distance`); of
prior networks the weight of what the guide says with them, against without (`amortised.reading.read`)."""

import math
from collections.abc import Iterator

import numpy as np

from ..models import Model
from .amortised.novelty import FEATURES, LEAST_P
from .checks import Check
from .choice import engine_of
from .draws.fitted import PosteriorLike

NAME = "cells like those of the training"
KNOWLEDGE = "prior networks tell something"
LEAST_OWN = 0.5  # of a list with prior networks, that the guide lists without them too
LEAST_WEIGHT = 0.5  # of the prior networks, below which the cells contradict them


def training_world_rows(posterior: PosteriorLike[Model]) -> Iterator[Check]:
    """For engines that learned on simulations; none for others."""
    if not engine_of(posterior.guide).learns_on_simulations:
        return
    weight = posterior.attributes.get("knowledge_weight")
    if weight is not None:
        yield _of_knowledge(float(np.asarray(weight)))
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


def why_no_list(posterior: PosteriorLike[Model]) -> str | None:
    """Why no list at a rate is made of a fit by an engine that learned on simulations, in a clause; None where its
    lists were tested: on cells like those of its training, of edges that the cells themselves show.

    On cells unlike them (half of the regulators not measured) more than half of a list was wrong; and where a guide
    lists little without the prior networks that it was given, a third of it, if half of their edges are wrong
    (``docs/results/amortised.md``).
    """
    if not engine_of(posterior.guide).learns_on_simulations:
        return None
    found = posterior.attributes.get("training_worlds_p")
    if found is not None and float(np.asarray(found)) <= LEAST_P:
        return "these cells are unlike anything that the guide was trained on, and there its lists were not tested"
    listed = posterior.attributes.get("knowledge_listed")
    if listed is not None:
        given, alone = (int(number) for number in np.asarray(listed))
        if alone < LEAST_OWN * given:
            return (
                f"of the {given:,} edges that the guide lists at 10% with the prior networks it lists {alone:,} "
                "without them: most of such a list is their word, which these cells cannot check"
            )
    return None


def _of_knowledge(weight: float) -> Check:
    """The weight of the prior networks (`amortised.reading.read`)."""
    good = weight >= LEAST_WEIGHT
    meaning = f"Edges of the prior networks are right as far as the cells show it: they have the weight {weight:.2g}."
    if not good:
        meaning = (
            "The cells show no more of the edges of the prior networks than of others: what the guide says without "
            f"them has the weight {1 - weight:.2g}."
        )
    return Check(KNOWLEDGE, weight, LEAST_WEIGHT, good, meaning)
