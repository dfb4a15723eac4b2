"""`--method phoenix` as a user runs it, on simulated time courses with a known network: are its edges right, are their
probabilities, and do its bands hold the courses that were not in the fit?"""

import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from ...inference import Posterior, fit
from ...inference.answers.cells import predict_cells
from ...inference.draws.intervals import LEVEL
from ...models import ExpressionData, Phoenix
from ...priors import PriorNetwork
from ..scores import balanced_accuracy, score_edges
from .phoenix_courses import HIDDEN, LAYERS, PUBLISHED_PRIORS
from .results import Results, mean_se

SEEDS = (0, 1, 2)
SETS = (("sim350", "5%"), ("sim690", "5%"))
PRIOR = 0.05  # share of the prior's edges that is misplaced
LAST = "seconds"


def courses(folder: Path, noise: str, split: str) -> ExpressionData:
    """The trajectories of one part."""
    table = anndata.read_h5ad(folder / "trajectories.h5ad")
    part = table[(table.obs["split"] == split).to_numpy()].copy()
    return ExpressionData.from_anndata(part, layer=LAYERS[noise], time_key="time", trajectory_key="trajectory")


def known(folder: Path) -> tuple[PriorNetwork, pd.DataFrame]:
    """The published prior, and the true network."""
    table = pd.read_csv(folder / "priors.csv.gz")
    edges = table.loc[np.isclose(table["noise"], PUBLISHED_PRIORS[PRIOR]), ["source", "target", "sign"]]
    return PriorNetwork.from_edges(edges, name="prior"), pd.read_csv(folder / "network.csv")


def run(folder: Path, results: Results) -> None:
    """Three seeds of each set; rows that are there are not run again."""
    results.resume()
    for name, noise in SETS:
        task = f"{name.upper()}, noise {noise}"
        for seed in SEEDS:
            if results.value(task, "phoenix", seed, LAST) is None:
                for score, value in one(folder / name, noise, seed).items():
                    results.add(task, "phoenix", seed, score, value)
        if results.value(task, "phoenix", "0-2", LAST) is None:
            first = [r["score"] for r in results.rows if (r["task"], str(r["seed"])) == (task, "0")]
            for score in first:
                values = [results.value(task, "phoenix", seed, score) for seed in SEEDS]
                results.add(task, "phoenix", "0-2", score, *mean_se([v for v in values if v is not None]))


def one(folder: Path, noise: str, seed: int) -> dict[str, float]:
    """Scores of one fit with the package's defaults."""
    data, test = courses(folder, noise, "train"), courses(folder, noise, "val")
    prior, truth = known(folder)
    started = time.perf_counter()
    model = Phoenix.from_data(data, networks={"prior": prior}, hidden=HIDDEN[folder.name])
    posterior = fit(model, seed=seed)
    seconds = time.perf_counter() - started
    table = posterior.edges()
    pairs = set(zip(truth["source"], truth["target"], strict=True))
    true = np.array([edge in pairs for edge in zip(table["source"], table["target"], strict=True)])
    found = table["inclusion"].to_numpy()
    certain = found > 0.95
    scores = score_edges(table, truth).values
    cells = predict_cells(posterior, test, num_observations=100_000, seed=seed)
    inside = covered(cells.draw(seed), cells.observed)
    return {
        "average precision": float(scores["average_precision"]),
        "ece": float(scores["ece"]),
        "balanced accuracy, not pruned in all chains": balanced_accuracy(table["sd"].to_numpy() > 0, true),
        "balanced accuracy, probability above 0.5": balanced_accuracy(found > 0.5, true),
        "edges above 0.95": float(certain.sum()),
        "share of them true": float(true[certain].mean()) if certain.any() else float("nan"),
        "sparsity": float(np.mean(posterior.attributes["sparsity"])),
        "test MSE": float(((cells.mean.mean((0, 1)) - cells.observed) ** 2).mean()),
        "coverage of the next measurement": inside,
        "coverage of whole courses": whole_courses(posterior, test, seed),
        "trust": float(posterior.trust()["mean"].iloc[0]),
        "seconds": seconds,
    }


def covered(drawn: np.ndarray, observed: np.ndarray) -> float:
    """Share of values within their equal-tailed interval over draws ``(chain, draw, value)``."""
    tail = (1 - LEVEL) / 2
    lower, upper = np.quantile(drawn, [tail, 1 - tail], axis=(0, 1))
    return float(((lower <= observed) & (observed <= upper)).mean())


def whole_courses(posterior: Posterior, test: ExpressionData, seed: int) -> float:
    """Share of all later measurements of held-out trajectories within the band that starts at their first one, noise of
    a measurement added."""
    rng = np.random.default_rng(seed)
    assert test.time is not None, "these data have times"
    assert test.trajectory is not None, "these data have times"
    inside = []
    for code in range(len(test.trajectory_names)):
        rows = np.flatnonzero((test.trajectory == code).numpy())
        rows = rows[np.argsort(test.time.numpy()[rows])]
        values = test.X[rows].double().numpy()
        start = dict(zip(test.genes, values[0].tolist(), strict=True))
        course = posterior.course(test.time.numpy()[rows].tolist(), start=start, seed=seed)
        drawn = course.levels[:, 1:] + course.noise * rng.standard_normal(course.levels[:, 1:].shape)
        inside.append(covered(drawn[None], values[1:]))
    return float(np.mean(inside))
