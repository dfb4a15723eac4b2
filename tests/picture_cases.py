"""What the stored pictures of `pyrogrn.pl` show: every function, from small tables without a fit."""

from collections.abc import Callable
from types import SimpleNamespace
from unittest.mock import patch

import anndata
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pyrogrn import pl
from pyrogrn.experiments.plots import dynamics
from pyrogrn.inference.answers.results import Course
from pyrogrn.inference.draws.edge_table import RECORD

GENES = [f"Gene{letter}" for letter in "ABCDEFGH"]


def edges() -> pd.DataFrame:
    weight = np.array([0.9, -0.7, 0.6, 0.45, -0.4, 0.3, 0.25, -0.2])
    table = pd.DataFrame({"source": [*"PPQQPRRQ"], "target": GENES, "weight": weight})
    table = table.assign(lower=weight - 0.15, upper=weight + 0.2, prior=[0.9, 0, 0, 0.9, 0, 0, 0, 0])
    return table.assign(inclusion=[0.99, 0.97, 0.95, 0.9, 0.8, 0.7, 0.6, 0.55], sd=0.1)


def degrees() -> pd.DataFrame:
    return pd.DataFrame({"source": [*"PQR"], "mean": [5.5, 3.0, 1.2], "lower": [4, 2, 0], "upper": [8, 4.5, 3]})


def fitted() -> SimpleNamespace:
    """What `pl.probabilities` and `pl.trust` ask of a posterior."""
    rng = np.random.default_rng(0)
    inclusion = np.concatenate([rng.beta(0.4, 6, 180), rng.beta(8, 0.6, 20)]).reshape(10, 20)
    moments = SimpleNamespace(inclusion=inclusion, mean=rng.normal(0, 0.3, (10, 20)) * inclusion)
    allowed = SimpleNamespace(cpu=lambda: SimpleNamespace(numpy=lambda: np.ones((10, 20), dtype=bool)))
    prior = SimpleNamespace(allowed=allowed, strategy="inclusion")
    model = SimpleNamespace(edge_prior=prior, infers="programs", weight_unit="sd of target per sd of regulator")
    trust = pd.DataFrame({"source": ["motif", "ChIP", "random"], "mean": [3.0, 1.2, 0.1], "lower": [2.2, 0.4, 0.0]})
    trust = trust.assign(upper=[3.9, 2.1, 0.4])
    asked = {"attributes": {RECORD: {}}, "moments": {"W": moments}, "model": model, "threshold": None, "guide": "gibbs"}
    return SimpleNamespace(**asked, trust=lambda level: trust)


def pairs() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table of probabilities, and a truth in which they are a little too high."""
    rng = np.random.default_rng(1)
    names = [(f"R{i}", f"T{j}") for i in range(12) for j in range(40)]
    inclusion = rng.beta(0.5, 1.2, len(names))
    table = pd.DataFrame(names, columns=["source", "target"]).assign(inclusion=inclusion, weight=inclusion)
    return table, table.loc[rng.random(len(names)) < inclusion**1.4, ["source", "target"]]


def knockout() -> pd.DataFrame:
    mean = np.array([1.2, 0.4, 0.9, 1.5, 1.0, 1.1, 0.7, 1.3])
    table = pd.DataFrame({"gene": GENES, "mean": mean, "sd": 0.1, "control": 1.0})
    return table.assign(lower=mean - 0.15, upper=mean + 0.15)


def programs() -> pd.DataFrame:
    loading = np.concatenate([np.linspace(1.2, -0.6, 8), np.linspace(-0.9, 0.5, 8)])
    table = pd.DataFrame({"program": ["hypoxia"] * 8 + ["factor_1"] * 8, "gene": GENES * 2, "loading": loading})
    return table.assign(lower=loading - 0.1, upper=loading + 0.2, prior=[0.9] * 4 + [0.0] * 12)


def variance() -> pd.DataFrame:
    share = np.array([0.12, 0.07, 0.03])
    table = pd.DataFrame({"program": ["hypoxia", "cell cycle", "factor_1"], "library": ["hallmark", "hallmark", ""]})
    table = table.assign(view="view", group="all", variance_explained=share)
    return table.assign(lower=share - 0.01, upper=share + 0.02)


def course() -> Course:
    times = np.linspace(0, 4, 9)
    middle = np.stack([np.exp(-times), 1 - np.exp(-2 * times), 0.5 + 0.4 * np.sin(times)], axis=1)
    levels = middle[None] + np.random.default_rng(2).normal(0, 0.05, (30, 1, 3))
    return Course(tuple("ABC"), times, levels, np.zeros_like(levels), np.ones(3), 0.0, np.arange(30), 2.0)


def flux(ax: Axes | None) -> Axes:
    exported, imported = np.array([0.9, 0.4, 0.2]), np.array([0.1, 0.5, 0.6])
    table = pd.DataFrame({"gene": GENES[:3], "exported": exported, "imported": imported})
    for name, value in (("exported", exported), ("imported", imported)):
        table = table.assign(**{f"{name}_lower": value - 0.08, f"{name}_upper": value + 0.12})
    shares = np.array([[0.5, 0.3, 0.4], [0.1, 0.4, 0.2], [0.0, 0.1, 0.3]])
    with patch.object(dynamics, "flux_table", lambda *args, **options: (table, shares)):
        return pl.flux(SimpleNamespace(model=SimpleNamespace(genes=GENES[:3])), ax=ax)


def ablation() -> pd.DataFrame:
    rows = {"method": "linear", "strategy": "inclusion", "trust": "sampled", "damage": "", "fraction": 0.0}
    table = pd.DataFrame([{**rows, "sources": s, "change": s or "no source"} for s in ("", "motif", "motif + ChIP")])
    for name in ("delta_log_score_bits", "delta_average_precision"):
        table = table.assign(**{name: [0.0, 0.05, 0.08], f"{name}_se": 0.01, f"{name}_within": 0.02})
        table = table.assign(**{f"{name}_lower": [0.0, 0.03, 0.06], f"{name}_upper": [0.0, 0.07, 0.1]})
    return table


def activities() -> pd.DataFrame:
    mean = [1.2, -0.8, 0.1, -0.5, 0.9, -0.3]
    return pd.DataFrame({"group": [*"xyzxyz"], "regulator": [*"PPPQQQ"], "mean": mean})


def cells() -> anndata.AnnData:
    rng = np.random.default_rng(3)
    place = rng.normal(size=(120, 2)) + np.repeat([[0, 0], [4, 1], [1, 5]], 40, axis=0)
    adata = anndata.AnnData(np.zeros((120, 1), dtype="float32"))
    adata.obsm["X_umap"], adata.obsm["X_muvi"] = place, place[:, :1] - 1.5
    adata.uns["muvi"] = {"programs": ["hypoxia"]}
    return adata


CASES: dict[str, Callable[[Axes | None], Axes]] = {
    "ablation": lambda ax: pl.ablation(ablation(), ax=ax),
    "activities": lambda ax: pl.activities(activities(), ax=ax),
    "course": lambda ax: pl.course(course(), ax=ax),
    "edges": lambda ax: pl.edges(edges(), ax=ax),
    "flux": flux,
    "knockout": lambda ax: pl.knockout(knockout(), "GeneB", ax=ax),
    "network": lambda ax: pl.network(edges(), ax=ax),
    "probabilities": lambda ax: pl.probabilities(fitted(), ax=ax),  # type: ignore[arg-type]
    "programs": lambda ax: pl.programs(programs(), ax=ax),
    "regulators": lambda ax: pl.regulators(degrees(), ax=ax),
    "reliability": lambda ax: pl.reliability(*pairs(), ax=ax),
    "trust": lambda ax: pl.trust(fitted(), ax=ax),  # type: ignore[arg-type]
    "umap_program": lambda ax: pl.umap_program(cells(), "hypoxia", ax=ax),
    "variance": lambda ax: pl.variance(variance(), ax=ax),
}
"""By the name of the function, how it is called; with None for a figure of its own."""
