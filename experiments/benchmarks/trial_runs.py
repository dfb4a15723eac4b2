"""The trial on made targets itself: lists of networks whose genes have many regulators, with as many regulators of made
targets as the data ask for and with one to four; how far its seed moves what it says; and what it costs."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...inference import Posterior
from ...inference.calibration import expected_calibration_error, expected_list, log_score
from ...inference.recalibration import TrialOptions, tune
from ...models import ExpressionData
from ...models.simulators import simulate_linear
from ..ladder import UserPath
from ..tasks import truth_matrix
from . import ladder
from .results import Results, mean_se


class Size(NamedTuple):
    """Regulators, genes in all, cells, probability of an edge; mean number of regulators of a gene is their product
    with the first."""

    tfs: int
    genes: int
    cells: int
    edge: float

    @property
    def task(self) -> str:
        return f"{self.cells} cells x {self.genes} genes x {self.tfs} TFs, {self.tfs * self.edge:g} regulators a gene"


CHOSEN_SEED, SEEDS = 11, (21, 22)  # of networks on which the rule was chosen, and of those that are reported
SIZES = {Size(40, 200, 600, 0.2): SEEDS, Size(100, 300, 1000, 0.1): SEEDS, Size(400, 600, 2000, 0.025): SEEDS[:1]}
SIZES |= {Size(800, 1000, 4000, 0.0125): SEEDS[:1], Size(100, 300, 1000, 0.02): SEEDS}
WAYS = {"as many as the data ask for": TrialOptions(), "one to four": TrialOptions(raised=np.inf)}
MODEL = "the model's own"
AGAIN: dict[str, Callable[[Path], ladder.Subject]] = {
    name: ladder.SUBJECTS[name]
    for name in ("simulate linear", "sergio_ds1:clean", "random_grns train 0:X", "random_grns train 1:X")
}
OTHER_SEEDS, WORLDS = 5, (3, 6)
COSTS = (Size(100, 1000, 1000, 0.025), Size(100, 1000, 1000, 0.1))
RATE = 0.1


def run(folder: Path, results: Results) -> None:
    """All rows; finished ones are kept."""
    results.resume()
    for size, seeds in SIZES.items():
        if results.value(size.task, MODEL, f"{seeds[0]}-{seeds[-1]}", "bits") is None:
            many_regulators(results, size, seeds)
    for name, make in AGAIN.items():
        if name in ladder.FOLDERS and not (folder / ladder.FOLDERS[name]).is_dir():
            print(f"{name}: no {folder / ladder.FOLDERS[name]}, left out")
        elif results.value(name, f"{WORLDS[-1]} worlds of a kind", f"0-{OTHER_SEEDS - 1}", "bits") is None:
            again(results, make(folder))
    for size in COSTS:
        if results.value(size.task, "infer --method linear", CHOSEN_SEED, "of fit and trial") is None:
            cost(results, size)


def many_regulators(results: Results, size: Size, seeds: tuple[int, ...]) -> None:
    """Scores of the model's probabilities, and of those that trials of both kinds correct."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in (*WAYS, MODEL)}
    for seed in seeds:
        data, true = cells_of(size, seed)
        posterior = fitted(data)
        for way, options in WAYS.items():
            trial = tune(data, options=options, seed=seed)
            mapped = trial.apply(posterior, data)
            most = max(number for _, number in trial.settings["causes"])
            found[way].append({"most regulators": most, **scores(of_plain(mapped, data), true)})
        found[MODEL].append(scores(of_plain(posterior, data), true))
    add_means(results, size.task, found, f"{seeds[0]}-{seeds[-1]}")


def again(results: Results, subject: ladder.Subject) -> None:
    """One fit, corrected by trials with other seeds: mean and standard deviation over them."""
    data = subject.logged
    plain = [gene for gene in data.genes if gene not in set(data.tfs)]
    true = truth_matrix(data, subject.truth)[:, [data.genes.index(gene) for gene in plain]].ravel()
    posterior = fitted(data)
    for worlds in WORLDS:
        options = replace(TrialOptions(), worlds=worlds)
        each = []
        for seed in range(OTHER_SEEDS):
            each.append(scores(of_plain(tune(data, options=options, seed=seed).apply(posterior, data), data), true))
        for score in each[0]:
            values = np.array([one[score] for one in each])
            values = values[~np.isnan(values)]
            if len(values):
                method, span = f"{worlds} worlds of a kind", f"0-{OTHER_SEEDS - 1}"
                results.add(subject.name, method, span, score, float(values.mean()))
                results.add(subject.name, method, span, f"{score}: sd over seeds", float(values.std(ddof=1)))


def cost(results: Results, size: Size) -> None:
    """CPU seconds of the fit, and of the trial with what it takes to apply it, on one thread in one process."""
    tune(cells_of(Size(10, 60, 200, 0.2), 0)[0], seed=0)  # what is compiled and imported once
    data, _ = cells_of(size, CHOSEN_SEED)
    posterior, fit_seconds = timed(lambda: fitted(data))
    trial, made = timed(lambda: tune(data, seed=0))
    _, applied = timed(lambda: trial.apply(posterior, data))
    add = lambda score, value: results.add(size.task, "infer --method linear", CHOSEN_SEED, score, value)
    add("fit, CPU seconds", fit_seconds)
    add("trial, CPU seconds", made)
    add("its map applied, CPU seconds", applied)
    add("of fit and trial", (made + applied) / (fit_seconds + made + applied))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and its CPU seconds."""
    started = time.process_time()
    found = work()
    return found, time.process_time() - started


def cells_of(size: Size, seed: int) -> tuple[ExpressionData, np.ndarray]:
    """The cells, and ``(edge,)`` truth of edges into genes that are no regulators."""
    tfs, genes, cells, edge = size
    made = simulate_linear(
        num_genes=genes, num_tfs=tfs, num_cells=cells, edge_probability=edge, tf_correlation=0.3, seed=seed
    )
    return made.data, made.present[:, tfs:].numpy().ravel()


def fitted(data: ExpressionData) -> Posterior:
    """As `infer --no-calibrate` does it."""
    path = UserPath("linear", trial=None)
    return path.fit(path.model(data), data, seed=0)


def of_plain(posterior: Posterior, data: ExpressionData) -> np.ndarray:
    """``(edge,)`` inclusion of edges into genes that are no regulators, in the order of the data."""
    targets = list(posterior.coords["target"])
    plain = [targets.index(gene) for gene in data.genes if gene not in set(data.tfs)]
    values: np.ndarray = posterior.moments["W"].inclusion[:, plain].ravel().astype(float)
    return values


def scores(probability: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Of the list at 10%, and of all probabilities."""
    listed = expected_list(probability, RATE)
    return {
        "listed": float(len(listed)),
        "wrong": float(1 - true[listed].mean()) if len(listed) else float("nan"),
        "power": float(true[listed].sum() / true.sum()),
        "ece": expected_calibration_error(probability, true),
        "bits": log_score(probability, true) / float(np.log(2)),
    }


def add_means(results: Results, task: str, found: dict[str, list[dict[str, float]]], span: str) -> None:
    """Means over seeds with their standard errors."""
    for method, each in found.items():
        for score in each[0]:
            values = [one[score] for one in each if one[score] == one[score]]
            if values:
                results.add(task, method, span, score, *mean_se(values))
