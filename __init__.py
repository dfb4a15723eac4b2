"""PyroGRN: probabilistic gene regulatory networks and gene programs, with posteriors on edges that are tested."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# public name -> module; imported on first use, so that `pyrogrn --help` does not wait for torch
_PUBLIC = {
    "ExpressionData": "models",
    "GramStatistics": "models",
    "LinearNetwork": "models",
    "FactorBox": "models",
    "CellBox": "models",
    "PPCA": "models",
    "MuVI": "models",
    "NetREXCF": "models",
    "PMFGRN": "models",
    "Phoenix": "models",
    "TrajectoryNetwork": "models",
    "Symphony": "models",
    "PriorNetwork": "priors",
    "screen_to_network": "priors",
    "screen_effects": "priors",
    "Normal": "priors",
    "Laplace": "priors",
    "Horseshoe": "priors",
    "SpikeSlab": "priors",
    "ElasticNet": "priors",
    "Collaborative": "priors",
    "LogitNormal": "priors",
    "HardMask": "priors",
    "NormalLoading": "priors",
    "HorseshoeLoading": "priors",
    "SpikeSlabLoading": "priors",
    "read_gmt": "priors",
    "fit": "inference",
    "fit_many": "inference",
    "posterior_from": "inference",
    "restarted": "inference",
    "Posterior": "inference",
    "number_of_factors": "inference",
    "Gibbs": "inference",
    "NUTS": "inference",
    "Bagging": "inference",
    "Alternate": "inference",
    "BlockDescent": "inference",
    "ClosedForm": "inference",
    "MapEstimate": "inference",
    "MeanField": "inference",
    "LowRank": "inference",
    "Blocked": "inference",
    "Amortised": "inference",
    "read_expression": "experiments.files.readers",
    "read_names": "experiments.files.readers",
    "score_edges": "experiments.scores",
    "response_scores": "experiments.response_scores",
    "PerturbedCells": "experiments.response_scores",
    "celloracle": "experiments.celloracle",
    "ablate": "experiments.ablation",
    "calibrate": "experiments.ladder",
    "sweep": "experiments.sweep",
    "chunked_statistics": "experiments.files.chunked",
    "report": "experiments.report",
    "export": "experiments.exports",
    "to_networkx": "experiments.exports",
    "regulons": "experiments.regulons",
    "activities": "experiments.regulons",
    "decoupler_scores": "experiments.decoupler_scores",
    "gene_page": "experiments.gene_page",
    "simulate_linear": "models.simulators",
    "simulate_ppca": "models.simulators",
    "simulate_muvi": "models.simulators",
    "simulate_sergio": "models.simulators",
    "simulate_panel": "models.simulators",
    "alternate": "inference",
    "flux_table": "inference",
}

# modules under a short name, as scverse has them
_MODULES = {"tl": "experiments.tools", "pl": "experiments.plots"}

__all__ = ["__version__", *_MODULES, *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
