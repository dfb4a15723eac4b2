"""Amortised guides on simulated and real cells, their calibration at home and under shift, and their speed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch
from sklearn.covariance import graphical_lasso

from ...inference.amortised.families import BROAD, CLEAN, COMPACT, Family
from ...inference.amortised.glad import correlation_matrix
from ...inference.amortised.network import AmortisedNetwork
from ...inference.amortised.training import simulate_example
from ...inference.amortised.weights import load_weights, shipped
from ...inference.calibration import Recalibration, expected_calibration_error, log_score
from ...models import ExpressionData
from ..baselines import GENIE3, Correlation, GraphicalLasso, GRNBoost2, Ridge
from ..scores import auroc, average_precision
from ..tasks import BEELINE, Task, beeline_task, truth_matrix
from .edges import add_scores
from .results import Results, mean_se

QUICK = (Correlation(), Ridge())
TREES = (GENIE3(num_trees=100), GRNBoost2())
LAYERS = ("clean", "counts_dropout_only", "X")
LASSO = GraphicalLasso()


def raw_task(folder: Path, name: str, layer: str, graph: str | None = None) -> Task:
    """Cells as simulated (no transformation), with the network's regulators as candidates; genes that dropout has
    silenced stay, with their edges: no method may drop the hard ones."""
    adata = anndata.read_h5ad(folder / name / "expression.h5ad")
    file = "networks.csv.gz" if graph is not None else "network.csv"
    network = pd.read_csv(folder / name / file, dtype={"source": str, "target": str})
    if graph is not None:
        adata = adata[adata.obs["graph"] == graph].copy()
        network = network[network["graph"] == graph]
    regulators = set(network["source"])
    tfs = [g for g in adata.var_names if g in regulators]
    data = ExpressionData.from_anndata(adata, layer=None if layer == "X" else layer, tfs=tfs)
    return Task(f"{name}:{layer}", data, {"network": network[["source", "target"]]})


def guides(*names: str) -> dict[str, AmortisedNetwork]:
    """Shipped weights, those of ``names`` that there are."""
    return {name: load_weights(name)[0] for name in names if name in shipped()}


def probabilities(network: AmortisedNetwork, data: ExpressionData) -> np.ndarray:
    """``(tf, gene)`` q(γ = 1)."""
    position = {gene: i for i, gene in enumerate(data.genes)}
    tf_index = torch.tensor([position[t] for t in data.tfs])
    with torch.no_grad():
        return torch.sigmoid(network(data.X, tf_index)).double().numpy()


def scored(score: np.ndarray, data: ExpressionData, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and truth of all pairs but self-pairs."""
    position = {gene: i for i, gene in enumerate(data.genes)}
    kept = np.ones(true.shape, dtype=bool)
    kept[np.arange(len(data.tfs)), [position[t] for t in data.tfs]] = False
    return score[kept], true[kept]


def parts_of(network: AmortisedNetwork, data: ExpressionData) -> dict[str, np.ndarray]:
    """What of a guide ranks the edges: |Z| of the unrolled algorithm alone, and the head with |Z| held at its mean."""
    position = {gene: i for i, gene in enumerate(data.genes)}
    tf_index = torch.tensor([position[t] for t in data.tfs])
    with torch.no_grad():
        evidence, z, knowledge = network.inputs(data.X, tf_index)
        mean = torch.full_like(z, float(network.head.z_location.exp()))
        without = torch.sigmoid(network.of_inputs((evidence, mean, knowledge), tf_index))
    size = z[0].abs() if network.directed else z[0].abs()[tf_index]
    return {"|Z| alone": size.double().numpy(), "without Z": without.double().numpy()}


def expressed(score: np.ndarray, data: ExpressionData, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`scored`, of pairs whose regulator and gene vary."""
    varies = (data.X.amax(0) > data.X.amin(0)).numpy()
    position = {gene: i for i, gene in enumerate(data.genes)}
    kept = varies[[position[t] for t in data.tfs]][:, None] & varies
    kept[np.arange(len(data.tfs)), [position[t] for t in data.tfs]] = False
    return score[kept], true[kept]


def _logged(data: ExpressionData) -> ExpressionData:
    """log(1 + x), as `sergio_task` gives clean cells to the baselines."""
    return ExpressionData(data.X.log1p(), data.genes, data.tfs)


def _weights(method: Callable[..., pd.DataFrame], data: ExpressionData) -> np.ndarray:
    """|weight| of every pair, ``(tf, gene)``."""
    table = method(data, seed=0)
    tf = {name: i for i, name in enumerate(data.tfs)}
    gene = {name: i for i, name in enumerate(data.genes)}
    result = np.zeros((len(tf), len(gene)))
    result[[tf[s] for s in table["source"]], [gene[t] for t in table["target"]]] = table["weight"].abs()
    return result


# -- given simulations ----
def run_random(folder: Path, results: Results) -> None:
    """The validation graphs of ``random_grns``, clean and with dropout."""
    networks = pd.read_csv(folder / "random_grns" / "networks.csv.gz")
    split = anndata.read_h5ad(folder / "random_grns" / "expression.h5ad", backed="r").obs
    graphs = sorted(split.loc[split["split"] == "val", "graph"].unique())
    assert set(graphs) <= set(networks["graph"])
    results.resume_parts()
    for layer in ("X", "counts_dropout"):
        results.part(f"random_grns:{layer}", partial(_random, folder, results, layer, graphs))


def _random(folder: Path, results: Results, layer: str, graphs: list[str]) -> None:
    learned = guides("grnular", "grnular-protocol", "grnular-clean", "glad-tf", "glad")
    rows: dict[str, list[dict[str, float]]] = {}
    pooled: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for graph in graphs:
        task = raw_task(folder, "random_grns", layer, graph)
        true = truth_matrix(task.data, task.truths["network"])
        found = {name: probabilities(network, task.data) for name, network in learned.items()}
        for name, p in found.items():
            pooled.setdefault(name, []).append(scored(p, task.data, true))
        found |= {m.name: _weights(m, _logged(task.data)) for m in (*QUICK, *TREES, LASSO)}
        for name in ("grnular-protocol", "glad-tf"):
            found |= {f"{name}, {part}": score for part, score in parts_of(learned[name], task.data).items()}
        for name, values in found.items():
            both = _ranking(*scored(values, task.data, true))
            both["average_precision_expressed"] = average_precision(*expressed(values, task.data, true))
            rows.setdefault(name, []).append(both)
    for name, scores in rows.items():
        for key in scores[0]:
            results.add(f"random_grns:{layer}", name, "val", key, *mean_se([s[key] for s in scores]))
    _add_calibration(results, f"random_grns:{layer}", "val", pooled)


def run_sergio(folder: Path, results: Results) -> None:
    """SERGIO DS1, DS2, DS3 in three states; trees where they take minutes (DS1)."""
    _sergio(folder, results, guides("grnular", "glad-tf", "glad"), (*QUICK, *TREES))


def run_clean_only(folder: Path, results: Results) -> None:
    """The same with weights trained on clean cells of 100 genes alone, as the paper: what noise does to them."""
    _sergio(folder, results, guides("grnular-clean"), ())


def _sergio(folder: Path, results: Results, learned: dict[str, AmortisedNetwork], baselines: tuple) -> None:
    results.resume_parts()
    for name in ("sergio_ds1", "sergio_ds2", "sergio_ds3"):
        for layer in LAYERS:
            results.part(f"{name}:{layer}", partial(_sergio_layer, folder, results, name, layer, learned, baselines))


def _sergio_layer(
    folder: Path, results: Results, name: str, layer: str, learned: dict[str, AmortisedNetwork], baselines: tuple
) -> None:
    task = raw_task(folder, name, layer)
    true = truth_matrix(task.data, task.truths["network"])
    for method, network in learned.items():
        if method == "glad" and name == "sergio_ds3":
            continue  # all pairs of 1,200 genes: channels of 1.4 million pairs
        started = time.process_time()
        p, t = scored(probabilities(network, task.data), task.data, true)
        results.add(task.name, method, 0, "seconds", time.process_time() - started)
        for key, value in _ranking(p, t).items():
            results.add(task.name, method, 0, key, value)
        results.add(task.name, method, 0, "ece", expected_calibration_error(p, t))
    for baseline in baselines:
        if baseline in TREES and name != "sergio_ds1":
            continue
        values, t = scored(_weights(baseline, _logged(task.data)), task.data, true)
        for key, value in _ranking(values, t).items():
            results.add(task.name, baseline.name, 0, key, value)


def _ranking(score: np.ndarray, true: np.ndarray) -> dict[str, float]:
    return {"average_precision": average_precision(score, true), "auroc": auroc(score, true)}


def _add_calibration(
    results: Results, task: str, seed: str, pooled: dict[str, list[tuple[np.ndarray, np.ndarray]]]
) -> None:
    for name, parts in pooled.items():
        p, t = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        results.add(task, name, seed, "ece", expected_calibration_error(p, t), _jackknife(parts))
        results.add(task, name, seed, "log_score", *mean_se([float(log_score(a, b)) for a, b in parts]))


def _jackknife(parts: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Standard error of the ECE, leaving out one graph at a time."""
    if len(parts) < 2:
        return float("nan")
    left = []
    for out in range(len(parts)):
        kept = [part for i, part in enumerate(parts) if i != out]
        p, t = (np.concatenate([part[i] for part in kept]) for i in (0, 1))
        left.append(expected_calibration_error(p, t))
    n = len(left)
    return float(np.sqrt((n - 1) / n * np.square(np.array(left) - np.mean(left)).sum()))


# -- calibration ----
def shifts() -> Iterator[tuple[str, Family]]:
    """Fresh simulations of the family of training, then worlds outside it."""
    yield "fresh simulations", BROAD
    yield "shift: gene noise 1.5-2", replace(BROAD, noise=(1.5, 2.0))
    yield "shift: 500 genes", replace(BROAD, genes=(500, 500))
    yield "shift: in-degree 5-7", replace(BROAD, in_degree=(5.0, 7.0))
    yield "shift: dropout percentile 95", replace(BROAD, noisy=1.0, dropout=(95.0, 95.0))
    yield "shift: clean protocol", CLEAN


def run_calibration(folder: Path, results: Results, *, batches: int = 12) -> None:
    """Reliability on fresh simulations and under shift, without prior knowledge; log scores."""
    results.resume_parts()
    for name, family in shifts():
        results.part(name, partial(_calibrated, results, name, family, ("grnular", "glad-tf"), batches))
    # knows no regulators: half of an edge's probability for each direction
    name = "fresh simulations, compact"
    results.part(name, partial(_calibrated, results, name, COMPACT, ("glad",), batches))


def _calibrated(results: Results, name: str, family: Family, methods: tuple[str, ...], batches: int) -> None:
    learned = guides(*methods)
    pooled: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for index in range(batches):
        example = simulate_example(True, family, 1 if family.genes[0] >= 500 else 4, 88_000_000 + index)
        for X, sources, true in zip(example.X, example.sources, example.truth.numpy() > 0, strict=True):
            data = _as_data(X, sources)
            for method, network in learned.items():
                pooled.setdefault(method, []).append(scored(probabilities(network, data), data, true))
    _add_calibration(results, name, "88000000", pooled)
    if name == "fresh simulations":
        _reliability(results, pooled)


def _as_data(X: torch.Tensor, sources: torch.Tensor) -> ExpressionData:
    names = tuple(f"G{g:04d}" for g in range(X.shape[1]))
    return ExpressionData(X, names, tuple(names[s] for s in sources.tolist()))


def _reliability(results: Results, pooled: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> None:
    for name, parts in pooled.items():
        p, t = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        code = np.minimum((p * 10).astype(int), 9)
        for b in np.unique(code):
            inside = code == b
            label = f"reliability {b / 10:.1f}-{(b + 1) / 10:.1f} (mean {p[inside].mean():.3f}, {inside.sum()} pairs)"
            share = float(t[inside].mean())
            results.add(
                "fresh simulations", name, "88000000", label, share, (share * (1 - share) / inside.sum()) ** 0.5
            )


def run_log_score(folder: Path, results: Results, *, graphs: int = 16) -> None:
    """Log score a pair on small fresh simulations; GENIE3's importances are recalibrated (logistic) on half of the
    graphs and scored on the other half, as are the guides."""
    learned = guides("grnular", "glad-tf")
    family = replace(BROAD, genes=(60, 80), cells=(300, 600))
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    genie3 = GENIE3(num_trees=100)
    for index in range(graphs):
        example = simulate_example(True, family, 1, 89_000_000 + index)
        data, true = _as_data(example.X[0], example.sources[0]), example.truth[0].numpy() > 0
        found.setdefault("genie3", []).append(scored(_weights(genie3, _logged(data)), data, true))
        for method, network in learned.items():
            found.setdefault(method, []).append(scored(probabilities(network, data), data, true))
    half = graphs // 2
    score, true = (np.concatenate([part[i] for part in found["genie3"][:half]]) for i in (0, 1))
    bounded = lambda v: v / (v + np.median(score[score > 0]))
    map_ = Recalibration.fit(np.clip(bounded(score), 1e-6, 1 - 1e-6), true)
    found["genie3, recalibrated"] = [(map_(np.clip(bounded(p), 1e-6, 1 - 1e-6)), t) for p, t in found.pop("genie3")]
    for name, parts in found.items():
        scores = [float(log_score(p, t)) for p, t in parts[half:]]
        results.add("fresh small simulations", name, "89000000", "log_score", *mean_se(scores))


# -- real cells ----
def run_real(folder: Path, results: Results) -> None:
    """The BEELINE sets; trees on the smallest, elsewhere their rows are in section ``baselines`` (same tasks, same
    scores)."""
    results.resume_parts()
    for name in BEELINE:
        results.part(name, partial(_real, folder, results, name))


def _real(folder: Path, results: Results, name: str) -> None:
    task = beeline_task(folder, name)
    for method, network in guides("grnular", "glad-tf").items():
        started = time.process_time()
        p = probabilities(network, task.data)
        results.add(task.name, method, 0, "seconds", time.process_time() - started)
        source, target = np.meshgrid(task.data.tfs, task.data.genes, indexing="ij")
        table = pd.DataFrame({"source": source.ravel(), "target": target.ravel(), "inclusion": p.ravel()})
        add_scores(results, task, method, table[table["source"] != table["target"]])
    for baseline in (*QUICK, *((GRNBoost2(),) if len(task.data.tfs) < 200 else ())):
        add_scores(results, task, baseline.name, baseline(task.data, seed=0))


# -- speed ----
def run_speed(folder: Path, results: Results) -> None:
    """1,200 genes, 127 regulators, 2,700 cells (DS3, clean): unrolled algorithm alone and whole guide, beside
    scikit-learn's graphical lasso; on a GPU as well when there is one."""
    task = raw_task(folder, "sergio_ds3", "clean")
    position = {gene: i for i, gene in enumerate(task.data.genes)}
    tf_index = torch.tensor([position[t] for t in task.data.tfs])
    covariance = correlation_matrix(task.data.X.log1p()).double().numpy()
    started = time.process_time()
    graphical_lasso(covariance, alpha=0.1, max_iter=20, tol=1e-2)
    results.add("D=1200", "graphical lasso (scikit-learn)", 0, "seconds", time.process_time() - started)
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        clock = time.perf_counter if device == "cuda" else time.process_time
        for name, network in guides("glad-tf", "grnular").items():
            network = network.to(device)
            X, index = task.data.X.to(device), tf_index.to(device)
            knowledge = X.new_zeros(len(index), X.shape[1], 3)
            for what, call in (
                ("unrolled algorithm", lambda n=network, x=X, i=index, k=knowledge: n.solve(x[None], i[None], k[None])),
                ("whole guide", lambda n=network, x=X, i=index: n(x, i)),
            ):
                for _ in range(2 if device == "cuda" else 1):  # the first call on a GPU compiles kernels
                    started = clock()
                    with torch.no_grad():
                        call()
                    if device == "cuda":
                        torch.cuda.synchronize()
                    seconds = clock() - started
                results.add("D=1200", f"{name}, {device}", 0, f"seconds, {what}", seconds)
