"""The methods a user can name, and what is known of the calibration of each guide; generated from the code."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..inference import GUIDES, SAMPLERS, Amortised, Bagging, Blocked, MapEstimate, Pruned
from ..inference.choice import about, applies, known_models, row_of, row_of_prior, unearned
from ..models import LinearNetwork, Model, Phoenix
from ..priors import EDGE_PRIORS, LOADING_PRIORS, EdgePrior, Laplace, Normal, SpikeSlab
from .wording import in_options


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


def priors_of(model: type[Model]) -> list[type[EdgePrior]]:
    """Priors that a model takes: on loadings of programs, on edges of networks."""
    return [prior for prior in (*EDGE_PRIORS, *LOADING_PRIORS) if prior.axes == model.axes]


def knowledge_of(prior: type[EdgePrior], model: type[Model] = LinearNetwork) -> str:
    """How prior networks enter: as mask, inclusion or scale of the prior (the first is the default), with low rank; in
    NetREX-CF through the filter of the model, whatever the prior."""
    ways, own = row_of_prior(prior).knowledge or ", ".join(prior.strategies), row_of(model).knowledge
    if own is None:
        return ways
    return f"mask, {own}" if "mask" in prior.strategies else own


def trusted(engine: Any, prior: type[EdgePrior], model: type[Model]) -> tuple[bool, str]:
    """Whether `fit` calls the result calibrated (of programs, for complete Gaussian data), and what is known of it."""
    reason = unearned(model, prior, engine)
    return reason is None, in_options(reason or about(type(engine), model))


def methods() -> pd.DataFrame:
    """Every method × prior × guide that works together: method, infers (network or programs), edge_prior,
    loading_prior, knowledge, guide, calibrated, note, reference."""
    rows = []
    for model in known_models().values():
        programs = model.infers == "programs"
        for prior in priors_of(model):
            names = ("", prior.__name__) if programs else (prior.__name__, "")
            for guide in (*SAMPLERS, *GUIDES):
                if applies(guide, prior, model):
                    row = (model.name, model.infers, *names, knowledge_of(prior, model), guide.name)
                    rows.append(MethodRow(*row, *trusted(guide(), prior, model), model.reference))
    row = (Phoenix.name, Phoenix.infers, Normal.__name__, "", knowledge_of(Normal, Phoenix), Pruned.name)
    rows.append(MethodRow(*row, *trusted(Pruned(), Normal, Phoenix), Phoenix.reference))
    for guide, inner in ((Bagging, Normal), (Blocked, Normal), (MapEstimate, Laplace)):
        row = ("celloracle", "network", f"HardMask({inner.__name__})", "", "mask", guide.name)
        told = trusted(guide(), inner, LinearNetwork)
        rows.append(MethodRow(*row, *told, "Kamimoto et al. 2023, Nature 614:742"))
    for method, reference in AMORTISED.items():
        row = (method, "network", SpikeSlab.__name__, "", "inclusion", Amortised.name)
        rows.append(MethodRow(*row, *trusted(Amortised(method), SpikeSlab, LinearNetwork), reference))
    return pd.DataFrame([vars(row) for row in rows])


DATA_OF = {
    "linear": ("cells or samples, logged", "edges; begin here"),
    "celloracle": ("cells, and a base GRN", "edges inside the base GRN, a cell type each"),
    "symphony": ("cells, and scores on edges", "edges"),
    "pmf-grn": ("counts or logs, and a prior network", "edges, activities of regulators"),
    "netrex-cf": ("logs, and a prior network", "edges, a point estimate"),
    "grnular": ("single cells as measured, zeros too", "edges, in one pass"),
    "glad-tf": ("the same", "edges, in one pass"),
    "glad": ("the same, regulators unknown", "edges, in one pass"),
    "trajectory": ("time courses", "edges"),
    "phoenix": ("time courses", "dynamics"),
    "factorbox": ("levels, one knock-down a condition", "edges, unseen knock-downs"),
    "cellbox": ("log ratios after drugs", "edges, unseen combinations"),
    "ppca": ("any matrix", "programs without names"),
    "muvi": ("cells, and gene sets, covariates, views", "programs with names"),
}
"""What a method is for and what it answers, in the order in which they are listed."""


def overview(table: pd.DataFrame) -> list[str]:
    """A line for each method that fits a terminal: data, answer, and whether a guide of it was tested."""
    lines = [f"{'METHOD':<11} {'FOR':<40} {'ANSWERS':<44} TESTED"]
    for method, (data, answer) in DATA_OF.items():
        rows = table[table["method"] == method]
        guides = list(dict.fromkeys(rows.loc[rows["calibrated"].astype(bool), "guide"]))
        lines.append(f"{method:<11} {data:<40} {answer:<44} {', '.join(guides) or 'no'}")
    return [
        *lines,
        "tested: guides whose probabilities hold on data from the model; `pyrogrn methods METHOD` says more",
    ]
