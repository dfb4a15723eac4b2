"""The methods a user can name, and what is known of the calibration of each guide; generated from the code."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..inference import GUIDES, SAMPLERS, Amortised, Gibbs, MapEstimate
from ..models import MODELS, CellBox, FactorModel, LinearNetwork, Model
from ..priors import EDGE_PRIORS, LOADING_PRIORS, EdgePrior, HardMask, SpikeSlab, SpikeSlabLoading

# why a guide is, or is not, to be trusted on the probability of an edge; the figures are in experiments/results/
CALIBRATION = {
    "gibbs": "exact posterior: calibrated on data from the model, for targets that are no regulators",
    "nuts": "exact posterior, at most 30 genes: the reference",
    "blocked": "exact for the weights given scales and noise: calibrated",
    "mean-field": "NOT calibrated: too certain where regulators are correlated",
    "low-rank": "NOT calibrated: keeps only the strongest correlations",
    "map": "NOT calibrated: a point, no uncertainty",
}
# the same for loadings and covariate effects
PROGRAM_CALIBRATION = {
    "gibbs": "exact posterior, Gaussian complete data",
    "nuts": "exact posterior, at most 30 genes: the reference",
    "blocked": "loadings and covariate effects of a gene jointly, in closed form given scales and factors",
    "mean-field": "NOT calibrated: takes programs, loadings and covariate effects as independent",
    "low-rank": "NOT calibrated: keeps only the strongest correlations",
    "map": "NOT calibrated: a point, no uncertainty",
}


@dataclass(frozen=True)
class MethodRow:
    """One line of ``pyrogrn methods``; networks have an edge prior, programs a loading prior; the other is empty."""

    method: str
    infers: str
    edge_prior: str
    loading_prior: str
    guide: str
    calibrated: bool
    note: str
    reference: str


# methods that are a linear network with a guide trained on simulations
AMORTISED = {
    "glad": "Shrivastava et al. 2020, ICLR; 2022, J Comput Biol 29:27",
    "glad-tf": "Shrivastava et al. 2022, J Comput Biol 29:27",
    "grnular": "Shrivastava et al. 2022, J Comput Biol 29:27",
}
UNDIRECTED_NOTE = "NOT calibrated for edges from regulators: it is not told which genes regulate"
AMORTISED_NOTE = "calibrated on fresh simulations of its training family; elsewhere not known"


def applies(guide: Any, prior: type[EdgePrior], model: type[Model] = LinearNetwork) -> bool:
    """Whether a guide fits a network with this edge prior (HardMask: with its default base), or programs with this
    loading prior."""
    if model is CellBox and guide.name in ("gibbs", "blocked"):
        return False  # its steady states are not linear in W
    if prior in LOADING_PRIORS:
        return guide is not MapEstimate or prior is not SpikeSlabLoading
    if guide is Gibbs:
        return prior is SpikeSlab
    if guide is MapEstimate:
        return prior is not SpikeSlab  # degenerate where its scales are learned, which is the default
    if guide.name == "blocked":
        return prior is HardMask or bool(prior.conditionally_gaussian)
    return True


def priors_of(model: type[Model]) -> tuple[type[EdgePrior], ...]:
    """Priors that a model takes: on loadings of programs, on edges of networks."""
    return LOADING_PRIORS if issubclass(model, FactorModel) else EDGE_PRIORS


def methods() -> pd.DataFrame:
    """Every method × prior × guide that works together: method, infers (network or programs), edge_prior,
    loading_prior, guide, calibrated, note, reference."""
    rows = []
    for model in MODELS:
        programs = issubclass(model, FactorModel)
        notes = PROGRAM_CALIBRATION if programs else CALIBRATION
        infers = "programs" if programs else "network"
        for prior in priors_of(model):
            for guide in (*SAMPLERS, *GUIDES):
                if applies(guide, prior, model):
                    names = ("", prior.__name__) if programs else (prior.__name__, "")
                    row = (model.name, infers, *names, guide.name, bool(guide.calibrated))
                    rows.append(MethodRow(*row, notes[guide.name], model.reference))
    for method, reference in AMORTISED.items():
        calibrated = Amortised(method).calibrated
        row = (method, "network", SpikeSlab.__name__, "", Amortised.name, calibrated)
        rows.append(MethodRow(*row, AMORTISED_NOTE if calibrated else UNDIRECTED_NOTE, reference))
    return pd.DataFrame([vars(row) for row in rows])
