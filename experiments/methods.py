"""The methods a user can name, and what is known of the calibration of each guide; generated from the code."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..inference import GUIDES, SAMPLERS
from ..models import MODELS
from ..priors import EDGE_PRIORS, EdgePrior, HardMask, SpikeSlab

# why a guide is, or is not, to be trusted on the probability of an edge; the figures are in experiments/results/
CALIBRATION = {
    "gibbs": "exact posterior: calibrated on data from the model, for targets that are no regulators",
    "nuts": "exact posterior, at most 30 genes: the reference",
    "blocked": "exact for the weights given scales and noise: calibrated",
    "mean-field": "NOT calibrated: too certain where regulators are correlated",
    "low-rank": "NOT calibrated: keeps only the strongest correlations",
    "map": "NOT calibrated: a point, no uncertainty",
}


@dataclass(frozen=True)
class MethodRow:
    """One line of ``pyrogrn methods``."""

    method: str
    edge_prior: str
    guide: str
    calibrated: bool
    note: str
    reference: str


def applies(guide: Any, prior: type[EdgePrior]) -> bool:
    """Whether a guide fits a model with this edge prior (HardMask: with its default base)."""
    name = guide.name
    if name == "gibbs":
        return prior is SpikeSlab
    if name == "map":
        return prior is not SpikeSlab  # degenerate where its scales are learned, which is the default
    if name == "blocked":
        return prior is HardMask or bool(prior.conditionally_gaussian)
    return True


def methods() -> pd.DataFrame:
    """Every method × edge prior × guide that works together: method, edge_prior, guide, calibrated, note, reference."""
    rows = [
        MethodRow(
            model.name, prior.__name__, guide.name, bool(guide.calibrated), CALIBRATION[guide.name], model.reference
        )
        for model in MODELS
        for prior in EDGE_PRIORS
        for guide in (*SAMPLERS, *GUIDES)
        if applies(guide, prior)
    ]
    return pd.DataFrame([vars(row) for row in rows])
