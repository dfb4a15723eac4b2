"""What the trial on made targets says of the probabilities of a fit (`inference.recalibration`), in words."""

from collections.abc import Mapping
from typing import Any

from ...inference import Posterior
from ...inference.choice import engine_of
from ...inference.draws.edge_table import RECORD
from ...inference.misfit_checks import MISSING, WITH_SHARED, unmeasured
from ...inference.recalibration.trial import FEWEST_MOST

OF_INCLUSION = {
    "inclusion": "Probability that the edge exists: of edges of made targets of which the fit says as much, the share "
    "that exists. Between two regulators the direction cannot be told without interventions: see links.csv.",
    "inclusion_model": "The same as the linear model states it, before the correction.",
}
"""Meanings of the columns of a recalibrated posterior."""
NOTHING = "the candidate regulators explain none of the genes in cells that were not fitted"
WORLDS = (
    "targets made on these regulators: linear, saturating and step responses, the residuals of real genes as noise, "
    "regulators as measured and as other genes see them, in a third of them {hidden:.0%} of the causes hidden, "
    "{causes} regulators of a target"
)


def trial_of(posterior: Posterior) -> Mapping[str, Any] | None:
    """The record of the trial, if there was one."""
    return posterior.attributes.get(RECORD)


def is_tried(posterior: Posterior) -> bool:
    """Whether the probabilities are those of a trial."""
    return trial_of(posterior) is not None


LESS = f"{MISSING}. Edges into these are listed more cautiously, and more of them can be wrong than is stated"
"""Of genes with causes that are not among the regulators."""
UNTRIED = (
    "Such lists were tested on data from the model alone: no targets made on these cells were tried, and on cells that "
    "do not follow the model (bent responses, causes that nobody measured, dropout) a fifth to four fifths of them "
    "were wrong"
)
"""Of a list by the model's own probabilities."""


def is_tested(posterior: Posterior) -> bool:
    """Whether lists like those of this fit were tested on cells that are not from its model: by a trial on these cells,
    or as the guides were, on simulations of another kind."""
    return is_tried(posterior) or engine_of(posterior.guide).learns_on_simulations


def earned(posterior: Posterior) -> str:
    """In which world the probabilities mean what they say, as a clause."""
    found = trial_of(posterior)
    if found is not None:
        if not found["scores"]:
            return f"{NOTHING}: no edge can be told"
        wrong = found["scores"]["recalibrated"]["wrong"]
        were = "no list at 10% was possible" if wrong is None else f"lists at 10% were {wrong:.0%} wrong"
        return f"the probabilities are those of a trial on made targets, where {were}"
    like = f"the data follow {posterior.model.story}"
    if engine_of(posterior.guide).learns_on_simulations:
        like = "the cells are like the simulated ones that the guide learned on"
    return f"the probabilities mean what they say as far as {like}"


def unmeasured_causes(posterior: Posterior) -> str:
    """That genes share causes which are not among the regulators, as a sentence; empty where the trial saw none."""
    found = trial_of(posterior)
    shared = None if found is None else found["settings"].get("shared")
    return "" if shared is None or not shared["factors"] else f"{unmeasured(shared)}: {LESS}"


def trial_facts(posterior: Posterior) -> list[str]:
    """What was tried and what came out."""
    found = trial_of(posterior)
    if found is None:
        return []
    if not found["scores"]:
        return [f"{NOTHING[0].upper()}{NOTHING[1:]}: every edge has the probability that it had before the cells."]
    raw, mapped = (found["scores"][name] for name in ("raw", "recalibrated"))
    wrong = lambda score: "no list could be made" if score["wrong"] is None else f"{score['wrong']:.0%} were wrong"
    held = "" if mapped["wrong"] is None else f"; that list held {mapped['power']:.0%} of the true edges"
    settings = found["settings"]
    spans = sorted({tuple(span) for span in settings.get("causes", [FEWEST_MOST])})
    causes = " or ".join(f"{fewest} to {most}" for fewest, most in spans)
    worlds = WORLDS.format(hidden=settings["hidden"], causes=causes)
    return [
        f"Probabilities were tried on {worlds}. In a list that expects 10% of its edges "
        f"to be wrong, by the probabilities as the model states them {wrong(raw)} (calibration error "
        f"{raw['ece']:.2f}), by the corrected ones {wrong(mapped)} ({mapped['ece']:.2f}){held}. All probabilities "
        "here are the corrected ones. What holds on made targets need not hold on real ones: regulators that are not "
        "measured and feedback can make more of a list wrong.",
        *_of_shared(posterior, found["scores"].get(WITH_SHARED)),
    ]


def _of_shared(posterior: Posterior, score: Mapping[str, Any] | None) -> list[str]:
    """What the trial does where genes have causes that are not among the regulators."""
    told = unmeasured_causes(posterior)
    if score is None or not told:
        return []
    wrong = "no list could be made" if score["wrong"] is None else f"{score['wrong']:.0%} of a list at 10% were wrong"
    return [
        f"{told}. Their probabilities were learned on made targets with hidden causes alone, where {wrong}: whatever "
        "follows a cause that was not measured stands in for it."
    ]
