"""Yeast cell cycle against its gold standard, by prior network and method; PMF-GRN on data from its own model."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from pyro import poutine

from ...inference import Blocked, Gibbs, MeanField, Posterior, default_guide, fit
from ...inference.calibration import coverage, expected_calibration_error, log_score
from ...models import MODELS, PMFGRN, ExpressionData, LinearNetwork, Model, TrajectoryNetwork
from ...priors import HardMask, PriorNetwork
from ..scores import average_precision
from .results import Results

SEEDS = (0, 1, 2)  # of chains and restarts
STEPS, DRAWS, RESTARTS = 800, 100, 2  # of variational fits
GIBBS = Gibbs(num_chains=2, num_warmup=150, num_samples=150)
BOTH = "motif + ATAC"
SOURCES = {BOTH: ("motif", "ATAC"), "motif": ("motif",), "ATAC": ("ATAC",)}
KEPT = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # shares of the pairs that the rejection curve keeps, the most certain first
CONFIDENCE = 0.9  # of every edge of the motif network
SIMULATIONS = 4  # data sets of the model itself for each seed

Build = Callable[[ExpressionData, Mapping[str, PriorNetwork]], Posterior]


class Yeast(NamedTuple):
    """``data`` of the genes that the gold standard knows, its true pairs, and prior networks by name."""

    data: ExpressionData
    true: np.ndarray
    networks: dict[str, PriorNetwork]


def run(folder: Path, results: Results) -> None:
    """All methods; rows that are there are kept."""
    results.resume()
    yeast = read(folder / "yeast_pramila")
    if not results.rows:
        references(yeast, results)
    for prior, names in {**SOURCES, "no prior": ()}.items():
        for method, build in METHODS.items():
            if (not names and "hard mask" in method) or (method in ONLY_BOTH and prior != BOTH):
                continue
            networks = {name: yeast.networks[name] for name in names}
            label = f"{method}, {prior}"
            for seed in SEEDS:
                if results.value("yeast", label, seed, "seconds") is None:
                    for score, value in scored(yeast, build(seed), networks).items():
                        results.add("yeast", label, seed, score, value)
            summarise(results, "yeast", label)
    simulated(results)


# -- real data ----
def read(place: Path) -> Yeast:
    """Two series of a cell cycle, within the regulators and targets of the gold standard."""
    gold, cells = pd.read_csv(place / "gold_standard.csv"), pd.read_csv(place / "expression.csv.gz")
    genes = sorted(set(cells.columns) & (set(gold["source"]) | set(gold["target"])))
    tfs = sorted(set(gold["source"]) & set(genes))
    data = ExpressionData.from_frame(cells[genes], tfs=tfs).with_times(
        cells["time_min"].tolist(), cells["replicate"].tolist()
    )
    networks = {}
    for name, file in (("motif", "motif_prior"), ("ATAC", "atac_motif_prior")):
        table = pd.read_csv(place / f"{file}.csv.gz")
        table = table[table["source"].isin(tfs) & table["target"].isin(genes) & (table["source"] != table["target"])]
        # the sign of the weights of the ATAC network is that of a regression on accessibility, not of an effect
        table = table.assign(weight=table["weight"].abs()).groupby(["source", "target"])["weight"].max().reset_index()
        networks[name] = PriorNetwork.from_edges(table, name=name, default_probability=CONFIDENCE)
    return Yeast(data, matrix(gold, data) > 0, networks)


def matrix(table: pd.DataFrame, data: ExpressionData, value: str | None = None) -> np.ndarray:
    """``(tf, gene)`` values of the listed pairs, 1 without ``value``; 0 elsewhere."""
    row, column = ({name: i for i, name in enumerate(names)} for names in (data.tfs, data.genes))
    found = np.zeros((len(row), len(column)))
    for position, (source, target) in enumerate(zip(table["source"], table["target"], strict=True)):
        if source in row and target in column:
            found[row[source], column[target]] = 1.0 if value is None else table[value].iloc[position]
    return found


def pairs(data: ExpressionData) -> np.ndarray:
    """``(tf, gene)`` True but for self-pairs: the universe of every score."""
    return np.array(data.tfs)[:, None] != np.array(data.genes)[None]


def references(yeast: Yeast, results: Results) -> None:
    """What needs no fit: chance, correlation, and the prior networks alone."""
    every = pairs(yeast.data)
    true = yeast.true[every]
    X = yeast.data.X.double().numpy()
    correlation = np.abs(np.corrcoef(X.T)[yeast.data.tf_index.numpy()])
    prior = {name: matrix(network.to_frame(), yeast.data, "probability") for name, network in yeast.networks.items()}
    alone = {f"{name} alone": sum(prior[part] for part in parts) for name, parts in SOURCES.items()}
    results.add("yeast", "chance", "-", "average precision", float(true.mean()))
    for method, score in {"correlation": correlation, **alone}.items():
        results.add("yeast", method, "-", "average precision", average_precision(np.asarray(score)[every], true))


def scored(yeast: Yeast, build: Build, networks: Mapping[str, PriorNetwork]) -> dict[str, float]:
    """Average precision of edge probabilities, of those of the most certain pairs, calibration, trust in the
    sources; of a method without probabilities that of the sizes of its weights alone."""
    started = time.perf_counter()
    posterior = build(yeast.data, networks)
    seconds = time.perf_counter() - started
    edges = posterior.edges()
    every = pairs(yeast.data)
    probability, size = (matrix(edges.assign(size=edges["weight"].abs()), yeast.data, c) for c in ("inclusion", "size"))
    probability, size, true = probability[every], size[every], yeast.true[every]
    if bool(edges["inclusion"].isna().all()):
        precision = average_precision(size, true)
        return {"average precision": precision, "average precision of weights": precision, "seconds": seconds}
    values = {
        "average precision": average_precision(probability, true),
        "average precision of weights": average_precision(size, true),
        "ece": expected_calibration_error(probability, true),
        "edges expected": float(probability.sum()),
    }
    for share, (precision, base) in rejection(probability, true).items():
        values |= {f"average precision, {share:.0%} kept": precision, f"base rate, {share:.0%} kept": base}
    trust = posterior.trust()
    for source, mean in zip(trust["source"], trust["mean"].tolist(), strict=True):
        values[f"trust in {source}"] = mean
    return values | {"seconds": seconds}


def rejection(probability: np.ndarray, true: np.ndarray) -> dict[float, tuple[float, float]]:
    """The rejection curve of the PMF-GRN paper: average precision among the pairs of smallest posterior variance, here
    p (1 − p) of the edge, and the base rate there; NaN where no true edge is left."""
    order = np.argsort(probability * (1 - probability), kind="stable")
    curve = {}
    for share in KEPT:
        kept = order[: round(share * len(order))]
        curve[share] = (average_precision(probability[kept], true[kept]), float(true[kept].mean()))
    return curve


def summarise(results: Results, task: str, method: str) -> None:
    """Mean and standard error over the seeds."""
    label = f"{SEEDS[0]}-{SEEDS[-1]}"
    of = {str(seed) for seed in SEEDS}
    rows = [r for r in results.rows if (r["task"], r["method"]) == (task, method) and str(r["seed"]) in of]
    for score in dict.fromkeys(r["score"] for r in rows):
        values = [float(r["value"]) for r in rows if r["score"] == score]
        if results.value(task, method, label, score) is None:
            error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")
            results.add(task, method, label, score, float(np.mean(values)), error)


# -- methods ----
def _variational(model: Model, seed: int, guide: MeanField | Blocked) -> Posterior:
    return fit(model, guide=guide, num_steps=STEPS, num_draws=DRAWS, restarts=RESTARTS, seed=seed)


def pmf_grn(seed: int) -> Build:
    """Activities that may follow the regulator's own gene."""
    return lambda data, networks: _variational(PMFGRN.from_data(data, networks=networks), seed, MeanField())


def pmf_grn_hidden(seed: int) -> Build:
    """The paper's activities, which only the listed targets tell."""
    return lambda data, networks: _variational(
        PMFGRN.from_data(data, networks=networks, own_expression=0.0), seed, MeanField()
    )


def linear(seed: int) -> Build:
    """The exact sampler of the spike-and-slab regression."""
    return lambda data, networks: fit(LinearNetwork.from_data(data, networks=networks), guide=GIBBS, seed=seed)


def hard_mask(seed: int) -> Build:
    """CellOracle's Bayesian ridge within the listed edges."""
    return lambda data, networks: _variational(
        LinearNetwork.from_data(data, networks=networks, edge_prior=HardMask()), seed, Blocked()
    )


def trajectory(seed: int) -> Build:
    """The time course as a time course."""
    return lambda data, networks: fit(TrajectoryNetwork.from_data(data, networks=networks), guide=GIBBS, seed=seed)


def registered(name: str) -> Callable[[int], Build]:
    """A model by its name, with its default engine."""
    chosen = next(m for m in MODELS if m.name == name)

    def of_seed(seed: int) -> Build:
        def build(data: ExpressionData, networks: Mapping[str, PriorNetwork]) -> Posterior:
            model = chosen.from_data(data, networks=networks)
            return fit(model, guide=default_guide(model), num_draws=DRAWS, restarts=RESTARTS, seed=seed)

        return build

    return of_seed


METHODS: dict[str, Callable[[int], Build]] = {
    "pmf-grn": pmf_grn,
    "linear, spike-slab": linear,
    "linear, hard mask": hard_mask,
    "trajectory": trajectory,
    "pmf-grn, hidden activities": pmf_grn_hidden,
    **{name: registered(name) for name in ("netrex-cf",) if name in {m.name for m in MODELS}},
}
ONLY_BOTH = {"pmf-grn, hidden activities", "trajectory"}  # to save time


# -- data from the model ----
def own_story(
    seed: int,
    *,
    guide: MeanField | None = None,
    num_tfs: int = 6,
    num_targets: int = 30,
    num_cells: int = 120,
    num_steps: int = STEPS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A data set of `PMFGRN` with every hyperparameter from its prior, and the fit to it.

    Returns
    -------
    tuple
        ``(edge,)`` probabilities and whether each exists, and the coverage of weights at 50% and 90%.
    """
    generator = np.random.default_rng(seed)
    tfs, targets = [f"T{i}" for i in range(num_tfs)], [f"G{i}" for i in range(num_targets)]
    cells = pd.DataFrame(generator.normal(size=(num_cells, num_tfs + num_targets)), columns=[*tfs, *targets])
    listed = [(t, g, CONFIDENCE) for t in tfs for g in targets if generator.random() < 0.25]
    network = PriorNetwork.from_edges(pd.DataFrame(listed, columns=["source", "target", "probability"]), name="motif")
    model = PMFGRN.from_data(ExpressionData.from_frame(cells, tfs=tfs), networks={"motif": network}, targets=targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        nodes = poutine.trace(model).get_trace().nodes
        truth: dict[str, Any] = {name: nodes[name]["value"] for name in model.dims}
        model.X = model.simulate(truth)
    posterior = fit(
        model, guide=guide or MeanField(), num_steps=num_steps, num_draws=DRAWS, restarts=RESTARTS, seed=seed
    )
    covered = coverage(posterior, truth["W"].numpy(), levels=(0.5, 0.9))["coverage"].to_numpy()
    prior: Any = model.edge_prior
    present = prior.existence(truth) > 0.5
    return posterior.moments["W"].inclusion.ravel(), present.numpy().ravel(), covered


def simulated(results: Results) -> None:
    """Reliability of edge probabilities and coverage of weights on data from PMF-GRN itself."""
    task, method = "simulated, own model", "pmf-grn, motif"
    for seed in SEEDS:
        if results.value(task, method, seed, "seconds") is not None:
            continue
        started = time.perf_counter()
        found = [own_story(SIMULATIONS * seed + number) for number in range(SIMULATIONS)]
        for score, value in reliability(found).items():
            results.add(task, method, seed, score, value)
        results.add(task, method, seed, "seconds", (time.perf_counter() - started) / SIMULATIONS)
    summarise(results, task, method)


def reliability(found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Scores of the pooled edges of several data sets, beside those of the base rate."""
    probability, true = (np.concatenate([f[i] for f in found]).astype(float) for i in (0, 1))
    covered = np.mean([f[2] for f in found], axis=0)
    return {
        "ece": expected_calibration_error(probability, true),
        "log score": log_score(probability, true),
        "log score of the base rate": log_score(np.full_like(probability, true.mean()), true),
        "average precision": average_precision(probability, true),
        "base rate": float(true.mean()),
        "coverage at 50%": float(covered[0]),
        "coverage at 90%": float(covered[1]),
    }
