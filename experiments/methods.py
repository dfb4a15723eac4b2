"""The methods a user can name, and what is known of the calibration of each guide; generated from the code."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..inference import GUIDES, SAMPLERS, Amortised, Bagging, BlockDescent, Blocked, Gibbs, MapEstimate, Pruned
from ..inference.fit import earns_badge
from ..models import (
    MODELS,
    PMFGRN,
    CellBox,
    FactorBox,
    FactorModel,
    LinearNetwork,
    Model,
    NetREXCF,
    Phoenix,
    Symphony,
    TrajectoryNetwork,
)
from ..priors import (
    EDGE_PRIORS,
    LOADING_PRIORS,
    Collaborative,
    EdgePrior,
    ElasticNet,
    HardMask,
    Laplace,
    LoadingPrior,
    LogitNormal,
    Normal,
    SpikeSlab,
    SpikeSlabLoading,
)

# why a guide is, or is not, to be trusted on the probability of an edge; the figures are in experiments/results/
CALIBRATION = {
    "gibbs": "exact posterior: calibrated on data from the model, for targets that are no regulators",
    "nuts": "exact posterior, at most 30 genes: the reference",
    "blocked": "exact for the weights given scales and noise: calibrated",
    "mean-field": "NOT calibrated: too certain where regulators are correlated",
    "low-rank": "NOT calibrated: keeps only the strongest correlations",
    "map": "NOT calibrated: a point, no uncertainty",
    "block-descent": "NOT calibrated: a point, no uncertainty",
    "bagging": "NOT calibrated: bootstrap spread of a shrunken estimate; needs a fixed scale (--set prior.scale=0.316)",
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
# why an engine that can be calibrated is not, on these models and priors (`earns_badge`)
UNEARNED: dict[type, str] = {
    FactorBox: "NOT calibrated: gains are held and feedback left out; intervals of true edges cover too little",
    NetREXCF: "NOT calibrated: an energy whose weights are choices, no likelihood fitted to the noise",
    TrajectoryNetwork: "NOT calibrated: products of regulators and noise in their levels are left out",
    PMFGRN: "NOT calibrated: its probabilities were not found calibrated",
    LogitNormal: "NOT calibrated: its probabilities were not found calibrated",
}


@dataclass(frozen=True)
class MethodRow:
    """One line of ``pyrogrn methods``; networks have an edge prior, programs a loading prior; the other is empty.
    ``knowledge`` says how prior networks, or gene sets, enter."""

    method: str
    infers: str
    edge_prior: str
    loading_prior: str
    knowledge: str
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
PRUNED_NOTE = "NOT calibrated: edges by pruning; weights that survive are taken as independent"
AMORTISED_NOTE = "calibrated on fresh simulations of its training family; elsewhere not known"


def applies(guide: Any, prior: type[EdgePrior], model: type[Model] = LinearNetwork) -> bool:
    """Whether a guide fits a network with this edge prior (HardMask: with its default base), or programs with this
    loading prior."""
    if model is Phoenix:
        return False  # it has an engine of its own
    if model is Symphony and guide.name in ("blocked", "bagging"):
        return False  # the evidence is not linear in W
    if model is CellBox and guide.name in ("gibbs", "blocked"):
        return False  # its steady states are not linear in W
    if guide is BlockDescent:
        return model is NetREXCF and prior is ElasticNet
    if guide is Bagging:
        return model is LinearNetwork and prior in (Normal, HardMask)
    if model in (PMFGRN, NetREXCF) and guide.name in ("gibbs", "blocked"):
        return False  # activities are not integrated out (and the filter of NetREX-CF is not Gaussian in W)
    if prior is Collaborative and (guide is MapEstimate or guide.name == "blocked"):
        return False  # a learned spike is degenerate; in closed form only with strategy "scale"
    if prior in LOADING_PRIORS:
        return guide is not MapEstimate or prior is not SpikeSlabLoading
    if guide is Gibbs:
        return prior is SpikeSlab or (prior is Collaborative and model is not Symphony)
    if guide is MapEstimate:
        return prior is not SpikeSlab  # degenerate where its scales are learned, which is the default
    if guide.name == "blocked":
        return prior is HardMask or bool(prior.conditionally_gaussian)
    return True


def priors_of(model: type[Model]) -> tuple[type[EdgePrior], ...]:
    """Priors that a model takes: on loadings of programs, on edges of networks."""
    return LOADING_PRIORS if issubclass(model, FactorModel) else EDGE_PRIORS


def knowledge_of(prior: type[EdgePrior], model: type[Model] = LinearNetwork) -> str:
    """How prior networks enter: as mask, inclusion or scale of the prior (the first is the default), with low rank; in
    NetREX-CF through the filter of the model, whatever the prior."""
    if model is NetREXCF:
        return "mask, collaborative filter" if prior is HardMask else "collaborative filter"
    if prior is HardMask:
        return "mask"
    if issubclass(prior, LoadingPrior):
        return "gene sets"
    ways = ", ".join(prior.strategies)
    return f"collaborative filter, {ways}" if prior is Collaborative else ways


def badge(guide: Any, prior: type[EdgePrior], model: type[Model]) -> bool:
    """Whether `fit` calls the result calibrated; of programs, for complete Gaussian data."""
    stand_in: Any = model.__new__(model)  # `earns_badge` asks for the class, the prior and this flag, not for data
    Model.__init__(stand_in)
    stand_in.edge_prior = prior()
    if issubclass(model, FactorModel):
        stand_in.integrated = True
    return bool(guide.calibrated) and earns_badge(stand_in, guide(), None)


def note_of(guide: Any, prior: type[EdgePrior], model: type[Model]) -> str:
    """What is known of the calibration of a guide on a model with this prior."""
    if guide.calibrated and not badge(guide, prior, model):
        return next(note for kind, note in UNEARNED.items() if issubclass(model, kind) or issubclass(prior, kind))
    return (PROGRAM_CALIBRATION if issubclass(model, FactorModel) else CALIBRATION)[guide.name]


def methods() -> pd.DataFrame:
    """Every method × prior × guide that works together: method, infers (network or programs), edge_prior,
    loading_prior, knowledge, guide, calibrated, note, reference."""
    rows = []
    for model in MODELS:
        programs = issubclass(model, FactorModel)
        infers = "programs" if programs else "network"
        for prior in priors_of(model):
            for guide in (*SAMPLERS, *GUIDES):
                if applies(guide, prior, model):
                    names = ("", prior.__name__) if programs else (prior.__name__, "")
                    row = (
                        model.name,
                        infers,
                        *names,
                        knowledge_of(prior, model),
                        guide.name,
                        badge(guide, prior, model),
                    )
                    rows.append(MethodRow(*row, note_of(guide, prior, model), model.reference))
    row = (Phoenix.name, "network", Normal.__name__, "", "pruning score, scale", Pruned.name, Pruned.calibrated)
    rows.append(MethodRow(*row, PRUNED_NOTE, Phoenix.reference))
    for guide, inner in ((Bagging, Normal), (Blocked, Normal), (MapEstimate, Laplace)):
        row = ("celloracle", "network", f"HardMask({inner.__name__})", "", "mask", guide.name, bool(guide.calibrated))
        rows.append(MethodRow(*row, CALIBRATION[guide.name], "Kamimoto et al. 2023, Nature 614:742"))
    for method, reference in AMORTISED.items():
        calibrated = Amortised(method).calibrated
        row = (method, "network", SpikeSlab.__name__, "", "inclusion", Amortised.name, calibrated)
        rows.append(MethodRow(*row, AMORTISED_NOTE if calibrated else UNDIRECTED_NOTE, reference))
    return pd.DataFrame([vars(row) for row in rows])
