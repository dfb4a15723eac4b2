"""Other tools that answer other questions than which edges there are: `perturbvi` which genes a knock-out moves,
`mofaflex` what programs of given gene sets are, and `cell-eval`, which scores predicted responses. Part of section
``rivals``: same Python, same rules.

Knock-outs: cells of the model's own world, every regulator knocked out in turn; the truth is which genes move. A sign
is sure where its false sign rate is at most 5% (`perturbvi`), the 90% interval excludes no change (`linear`), or
Benjamini and Hochberg's rate of t tests is at most 5%; it is wrong where the gene does not move, or the other way.
Programs: cells and gene sets of section `programs`. Responses: cells of Perturb-seq that no method has seen.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_ind

from ...inference import fit
from ...models import LinearNetwork
from ...models.simulators import simulate_linear, simulate_muvi
from ...priors import HorseshoeLoading
from ..scores import auroc, average_precision
from .knockout_coverage import effects
from .other_pythons import LAST, written_by
from .program_data import loading_correlation, ours
from .responses import CELLS, halves, perturb_seq
from .results import Results

KNOCKED = "knock-outs of simulated cells"
PROGRAMS = "programs, 1,000 x 500 x 10"
SCORED = f"cell-eval, {CELLS[1]}"
SURE = 0.05

PERTURBVI = (
    "import jax, jax.numpy as jnp, perturbvi",
    """
fitted = perturbvi.infer(X, G, z_dim=G.shape[1], l_dim=20, seed=0, verbose=False)
rate = perturbvi.estimate_lfsr(fitted, seed=0).to_numpy()
kind = fitted.params
effect = np.asarray((kind.mean_beta * kind.p_hat) @ fitted.W)
score = np.stack([1 - rate + 1e-6 * np.abs(effect) / np.abs(effect).max(), np.sign(effect), rate <= 0.05])
""",
)
MOFAFLEX = (
    "import logging, torch; torch.set_num_threads(1); import anndata, mofaflex; logging.disable(logging.INFO)",
    """
cells = anndata.AnnData(X.astype("float32"))
cells.varm["sets"] = sets
model = mofaflex.MOFAFLEX(
    {"all": {"rna": cells}},
    mofaflex.DataOptions(annotations_varm_key="sets", plot_data_overview=False),
    mofaflex.ModelOptions(weight_prior="Horseshoe", likelihoods="Normal"),
    mofaflex.TrainingOptions(device="cpu", seed=0, lr=0.05),
)
score = np.asarray(model.get_weights("numpy")["rna"], dtype=float)
score = score if score.shape[1] == X.shape[1] else score.T
""",
)
CELL_EVAL = (
    "import anndata, tempfile, pandas as pd; from cell_eval import MetricsEvaluator",
    """
def cells(matrix, labels):
    names = np.arange(len(labels)).astype(str)
    return anndata.AnnData(matrix.astype("float32"), obs=pd.DataFrame({"target": labels}, index=names))
left_out = ["clustering_agreement", "pearson_edistance"]
found = []
for prediction in predicted:
    with tempfile.TemporaryDirectory() as place:
        judge = MetricsEvaluator(
            cells(prediction, told), cells(X, labels), control_pert="control", num_threads=1, outdir=place, skip_de=True
        )
        each, _ = judge.compute(profile="anndata", write_csv=False, skip_metrics=left_out)
        found.append([each[name].to_list() for name in names_of_scores])
score = np.array(found, dtype=float)
""",
)
CONTROL = "control"  # label of its cells in which nothing was perturbed
JUDGED = ("pearson_delta", "mae", "discrimination_score_l1")


def run(folder: Path, results: Results, python: str | None) -> None:
    """All three; what the file has is kept, and what the Python lacks is skipped with a word."""
    knock_outs(results, python)
    programs(results, python)
    responses(folder, results, python)


# -- which genes a knock-out moves ----
def knock_outs(results: Results, python: str | None) -> None:
    """Every regulator of 15 knocked out in 50 cells, 500 controls."""
    size = 15
    simulation = simulate_linear(num_genes=80, num_tfs=size, num_cells=500, num_perturbed=size, seed=0)
    data, W = simulation.data, simulation.W[0]
    truth = np.stack([effects(W, tf) for tf in range(size)])
    truth[np.abs(truth) < 1e-9] = 0.0
    assert data.perturbed is not None, "the simulation knocks regulators out"
    which = np.full(data.num_cells, -1)
    which[data.perturbed[:, 0].numpy()] = data.perturbed[:, 1].numpy()
    X = data.X.double().numpy()

    def of_linear() -> np.ndarray:
        table = fit(LinearNetwork.from_data(data), seed=0).knockouts(level=0.9)
        names = list(data.tfs), list(data.genes)
        of = lambda c: table.pivot(index="knockout", columns="gene", values=c).loc[*names].to_numpy()
        wide = {c: of(c) for c in ("mean", "sd", "lower", "upper")}
        still = table.drop_duplicates("gene").set_index("gene")["control"].loc[list(data.genes)].to_numpy()
        change = wide["mean"] - still
        sure = (wide["lower"] > still) | (wide["upper"] < still)
        return np.stack([np.abs(change) / np.maximum(wide["sd"], 1e-12), np.sign(change), sure])

    def of_t_tests() -> np.ndarray:
        tests = [ttest_ind(X[which == tf], X[which < 0], equal_var=False) for tf in range(size)]
        t, p = (np.stack([getattr(test, name) for test in tests]) for name in ("statistic", "pvalue"))
        others = np.eye(*p.shape) == 0
        order = np.sort(p[others])
        passed = order[order <= SURE * np.arange(1, len(order) + 1) / len(order)]
        return np.stack([np.abs(t), np.sign(t), p <= (passed.max() if len(passed) else -1.0)])

    made: dict[str, Callable[[], np.ndarray]] = {"linear": of_linear, "t tests": of_t_tests}
    for name, make in made.items():
        if results.value(KNOCKED, name, 0, LAST) is None:
            started = time.process_time()
            found = make()
            add_signs(results, name, found, truth, time.process_time() - started)
    design = (which[:, None] == np.arange(size)).astype(float)
    other(
        results,
        python,
        KNOCKED,
        "perturbvi",
        PERTURBVI,
        lambda a, s: add_signs(results, "perturbvi", a, truth, s),
        X=X,
        G=design,
    )


def add_signs(results: Results, name: str, found: np.ndarray, truth: np.ndarray, seconds: float) -> None:
    """Rows of ``(3, knock-out, gene)`` scores, signs, and which are sure, without the knocked-out genes themselves."""
    others = np.eye(*truth.shape) == 0
    score, sign, sure = (part[others] for part in found)
    moves, right = truth[others] != 0, np.sign(truth[others])
    sure = sure.astype(bool)
    add = lambda key, value: results.add(KNOCKED, name, 0, key, value)
    add("average precision", average_precision(score, moves))
    add("AUROC", auroc(score, moves))
    add("signs that are sure", float(sure.sum()))
    add("wrong of the sure", float((sign[sure] != right[sure]).mean()) if sure.any() else float("nan"))
    add("the other way of the sure", float((sign[sure] == -right[sure]).mean()) if sure.any() else float("nan"))
    add(LAST, seconds)


# -- programs ----
def programs(results: Results, python: str | None) -> None:
    """Cells of ten programs, a tenth of each set hidden."""
    simulation = simulate_muvi(hidden=0.1, seed=1)
    truth = simulation.W.numpy()

    def add(name: str, W: np.ndarray, seconds: float) -> None:
        results.add(PROGRAMS, name, 0, "loading correlation", loading_correlation(W, truth, free=False))
        results.add(PROGRAMS, name, 0, LAST, seconds)

    if results.value(PROGRAMS, "MuVI, HorseshoeLoading", 0, LAST) is None:
        started = time.process_time()
        W = ours(simulation, HorseshoeLoading())
        add("MuVI, HorseshoeLoading", W, time.process_time() - started)
    X = simulation.data.X.double().numpy()
    sets = np.array([[g in set(of) for of in simulation.gene_sets.values()] for g in simulation.data.genes])
    other(results, python, PROGRAMS, "mofaflex", MOFAFLEX, lambda W, s: add("mofaflex", W, s), X=X, sets=sets)


# -- predicted responses, scored by cell-eval ----
def responses(folder: Path, results: Results, python: str | None) -> None:
    """Means that were predicted for each perturbed gene that is measured, against cells that were left out."""
    if python is None or results.value(SCORED, "linear", 0, LAST) is not None:
        return
    case = perturb_seq(folder, CELLS[1])
    data = case.material.data
    named = [name for name in case.held_out.conditions if name in set(data.genes)]
    _, every, labels, first = halves(folder, CELLS[1])
    labels = np.where(np.isin(labels, [*named, CONTROL]), labels, "")
    kept = ~first & (labels != "")
    X = every.select_genes(data.genes).X.double().numpy()[kept]
    labels = np.where(labels[kept] == CONTROL, "control", labels[kept]).astype(str)
    train = data.X.double().numpy()
    assert data.perturbed is not None, "cells of Perturb-seq are perturbed"
    which = np.full(data.num_cells, -1)
    which[data.perturbed[:, 0].numpy()] = data.perturbed[:, 1].numpy()
    place = {gene: i for i, gene in enumerate(data.genes)}
    still = train[which < 0].mean(0)
    own = np.stack([train[which == place[name]].mean(0) for name in named])
    started = time.process_time()
    table = fit(LinearNetwork.from_data(data), seed=0).knockouts()
    seconds = time.process_time() - started
    told = table.pivot(index="knockout", columns="gene", values="mean").loc[named, list(data.genes)].to_numpy()
    methods = {
        "linear": told,
        "no change": np.tile(still, (len(named), 1)),
        "mean of all perturbed": np.tile(train[which >= 0].mean(0), (len(named), 1)),
        "the same knock-out in other cells": own,
    }
    predicted = np.stack([np.repeat(np.vstack([still, m]), 2, axis=0).clip(0) for m in methods.values()])

    def add(found: np.ndarray, _: float) -> None:
        for name, each in zip(methods, found, strict=True):
            for score, values in zip(JUDGED, each, strict=True):
                error = values.std(ddof=1) / len(values) ** 0.5
                results.add(SCORED, name, 0, score, float(values.mean()), float(error))
        results.add(SCORED, "linear", 0, LAST, seconds)

    labels_of = np.repeat(["control", *named], 2)
    arrays = {"X": X, "labels": labels, "predicted": predicted, "told": labels_of, "names_of_scores": np.array(JUDGED)}
    other(results, python, SCORED, "cell-eval", CELL_EVAL, add, **arrays)


def other(
    results: Results,
    python: str | None,
    task: str,
    name: str,
    program: tuple[str, str],
    add: Callable[[np.ndarray, float], Any],
    **arrays: np.ndarray,
) -> None:
    """Rows of a tool in its own Python, unless the file has them."""
    if python is None or results.value(task, name, 0, LAST) is not None:
        return
    load, work = program
    found = written_by(python, load, work, **arrays)
    if isinstance(found, str):
        print(f"{task}: {name} is skipped: {found}")
        return
    results.add(task, name, 0, "resident GB", float(found["memory"]))
    add(found["score"], float(found["seconds"]))
