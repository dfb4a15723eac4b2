"""Networks of time courses by exact regression: SIM350 and SIM690 with and without prior knowledge, yeast, breast."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from ...inference import Gibbs, Posterior, fit
from ...inference.calibration import expected_calibration_error
from ...models import ExpressionData, TrajectoryNetwork
from ...priors import PriorNetwork
from ..scores import average_precision, balanced_accuracy
from .results import Results
from .whole_command import whole

SEEDS = (0, 1, 2)  # of the chains, and of further corruption of the prior
ENGINE = Gibbs(num_chains=2, num_warmup=150, num_samples=150)
LAYERS = {"0%": "clean", "2.5%": "noise_0.025", "5%": None}  # None is X
PUBLISHED = {0.0: 0.0, 0.05: 0.025, 0.1: 0.05, 0.2: 0.1}  # share of misplaced edges: "noise" in the file
CONFIDENCE = 0.9  # of every edge of a prior network


def run(folder: Path, results: Results) -> None:
    """SIM350 at 5% noise against the prior, then the other noises, SIM690, yeast; rows that are there are kept."""
    results.resume()
    for share in (None, 0.0, 0.05, 0.1, 0.2, 0.4, 1.0):
        simulated(folder, results, "sim350", "5%", share, SEEDS)
    for noise in ("0%", "2.5%"):
        for share in (None, 0.05):
            simulated(folder, results, "sim350", noise, share, SEEDS)
    for share in (None, 0.05):
        simulated(folder, results, "sim690", "5%", share, SEEDS)
    yeast(folder, results)
    breast(folder, results)
    command(folder, results)


def command(folder: Path, results: Results) -> None:
    """All of `pyrogrn infer --method trajectory` with its defaults on the training courses of SIM350, one thread."""
    task, method = "SIM350, noise 5%", "infer --method trajectory"
    if results.value(task, method, 0, "peak resident GB") is not None:
        return
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        cells = anndata.read_h5ad(folder / "sim350" / "trajectories.h5ad")
        cells[cells.obs["split"] == "train"].copy().write_h5ad(place / "courses.h5ad")
        keys = ["--time-key", "time", "--trajectory-key", "trajectory"]
        words = [str(place / "courses.h5ad"), "--method", "trajectory", *keys, "--threads", "1"]
        found = whole([*words, "--out", str(place / "run")], 1)
        found["sweeps"] = float(Posterior.load(place / "run" / "model").history.elbo.shape[1])
    for score in ("sweeps", "CPU seconds", "wall seconds", "peak resident GB"):
        results.add(task, method, 0, score, found[score])


def simulated(folder: Path, results: Results, name: str, noise: str, share: float | None, seeds: Sequence[int]) -> None:
    """One table cell: ``share`` of the prior's edges at random places, ``None`` without a prior."""
    task = f"{name.upper()}, noise {noise}"
    method = "trajectory" if share is None else f"trajectory, prior {share:.0%} misplaced"
    place = folder / name
    truth = pd.read_csv(place / "network.csv")
    found: dict[str, list[float]] = {}
    for seed in seeds:
        if results.value(task, method, seed, "seconds") is not None:
            continue
        cells = anndata.read_h5ad(place / "trajectories.h5ad")
        cells = cells[cells.obs["split"] == "train"].copy()
        data = ExpressionData.from_anndata(cells, layer=LAYERS[noise], time_key="time", trajectory_key="trajectory")
        networks = None if share is None else {"prior": prior_of(place, truth, share, seed, data.genes)}
        started = time.process_time()
        posterior = fit(TrajectoryNetwork.from_data(data, networks=networks), guide=ENGINE, seed=seed)
        seconds = time.process_time() - started
        for key, value in (scores(posterior.edges(), truth) | {"seconds": seconds}).items():
            results.add(task, method, seed, key, value)
    of = {str(seed) for seed in seeds}
    for row in results.rows:
        if (row["task"], row["method"]) == (task, method) and str(row["seed"]) in of:
            found.setdefault(row["score"], []).append(row["value"])
    label = f"{seeds[0]}-{seeds[-1]}"
    for score, values in found.items():
        if results.value(task, method, label, score) is None:
            error = float(np.std(values, ddof=1) / len(values) ** 0.5)
            results.add(task, method, label, score, float(np.mean(values)), error)


def prior_of(place: Path, truth: pd.DataFrame, share: float, seed: int, genes: Sequence[str]) -> PriorNetwork:
    """The published prior of that corruption, or the truth corrupted further; without self-edges."""
    if share in PUBLISHED:
        table = pd.read_csv(place / "priors.csv.gz")
        table = table[np.isclose(table["noise"], PUBLISHED[share])]
    else:
        whole = PriorNetwork.from_edges(truth[["source", "target"]], name="truth")
        table = whole.corrupted(share, np.random.default_rng(seed), sources=genes, targets=genes).to_frame()
    table = table.loc[table["source"] != table["target"], ["source", "target"]]
    return PriorNetwork.from_edges(table.assign(probability=CONFIDENCE), name="prior")


def scores(edges: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """Of all pairs without self-pairs. An edge is called where its inclusion is above ½, and, what balanced accuracy
    asks for, above the expected density."""
    pairs = set(zip(truth["source"], truth["target"], strict=True))
    true = np.array([pair in pairs for pair in zip(edges["source"], edges["target"], strict=True)])
    probability = edges["inclusion"].to_numpy()
    half, dense = probability > 0.5, probability > probability.mean()
    sure = probability > 0.95
    return {
        "average precision": average_precision(probability, true),
        "balanced accuracy at 1/2": balanced_accuracy(half, true),
        "sparsity at 1/2": float(1 - half.mean()),
        "balanced accuracy at the density": balanced_accuracy(dense, true),
        "sparsity at the density": float(1 - dense.mean()),
        "ece": expected_calibration_error(probability, true),
        "edges above 0.95": float(sure.sum()),
        "of them true": float(true[sure].mean()),
        "edges expected": float(probability.sum()),
        "edges true": float(true.sum()),
    }


def yeast(folder: Path, results: Results) -> None:
    """Two series of a cell cycle against the gold standard, within its regulators and targets."""
    place = folder / "yeast_pramila"
    gold, cells = pd.read_csv(place / "gold_standard.csv"), pd.read_csv(place / "expression.csv.gz")
    genes = sorted(set(cells.columns) & (set(gold["source"]) | set(gold["target"])))
    tfs = sorted(set(gold["source"]) & set(genes))
    data = ExpressionData.from_frame(cells[genes], tfs=tfs).with_times(
        cells["time_min"].tolist(), cells["replicate"].tolist()
    )
    real(results, "yeast", data, gold, pd.read_csv(place / "motif_prior.csv.gz"))


def breast(folder: Path, results: Results) -> None:
    """Breast tumours in pseudotime, 500 genes, against ChIP-seq of the regulators that have it."""
    place = folder / "breast_desmedt"
    gold, motif = (pd.read_csv(place / f"{n}.csv.gz") for n in ("chip_validation_network", "motif_prior_500"))
    cells = pd.read_csv(place / "expression_500.csv.gz")
    genes = cells.columns.drop("pseudotime")
    tfs = sorted((set(gold["source"]) | set(motif["source"])) & set(genes))
    data = ExpressionData.from_frame(cells[genes], tfs=tfs).with_times(cells["pseudotime"].tolist())
    real(results, "breast, 500 genes", data, gold, motif)


def real(results: Results, task: str, data: ExpressionData, gold: pd.DataFrame, motif: pd.DataFrame) -> None:
    """With and without the motif prior, and that prior alone; scored within the regulators of ``gold``."""
    known = motif["source"].isin(data.tfs) & motif["target"].isin(data.genes) & (motif["source"] != motif["target"])
    motif = motif.loc[known, ["source", "target"]].drop_duplicates()
    prior = PriorNetwork.from_edges(motif.assign(probability=CONFIDENCE), name="motif")
    for method, networks in (("trajectory", None), ("trajectory, motif prior", {"motif": prior})):
        if results.value(task, method, 0, "seconds") is not None:
            continue
        started = time.process_time()
        posterior = fit(TrajectoryNetwork.from_data(data, networks=networks), guide=ENGINE, seed=0)
        seconds = time.process_time() - started
        edges = posterior.edges()
        edges = edges[edges["source"].isin(set(gold["source"]))]
        for key, value in (scores(edges, gold) | {"seconds": seconds}).items():
            results.add(task, method, 0, key, value)
        if networks is not None:
            results.add(task, method, 0, "trust", posterior.trust()["mean"][0], posterior.trust()["sd"][0])
            listed = edges["prior"].to_numpy() > 0
            pairs = set(zip(gold["source"], gold["target"], strict=True))
            true = np.array([pair in pairs for pair in zip(edges["source"], edges["target"], strict=True)])
            alone = {
                "average precision": average_precision(listed.astype(float), true),
                "balanced accuracy at 1/2": balanced_accuracy(listed, true),
                "base rate": float(true.mean()),
            }
            for key, value in alone.items():
                results.add(task, "motif prior alone", 0, key, value)
