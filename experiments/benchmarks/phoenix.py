"""PHOENIX on simulated time courses with a known network: every way to make it sparse, beside the DASH paper's numbers.

Rows that the results file has are not run again, so that the whole (a night on one core) can be had in pieces.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...inference.neural_ode.training import Trained, train
from ...inference.pruning import (
    CNODE,
    DASH,
    IMP,
    BioPruning,
    HardConcrete,
    NoPruning,
    PathReg,
    Sparsifier,
    choose_strength,
    prune_post_hoc,
)
from ...models.data.transitions import Transitions
from ...models.dynamics.phoenix_network import PhoenixNetwork
from ...models.dynamics.prior_loss import PriorLoss, prior_matrix
from ...priors import PriorNetwork
from ..scores import balanced_accuracy
from .results import Results, mean_se

SEEDS = (0, 1, 2)
NUM_VALIDATION = 10  # of the 140 trajectories for training; the 10 others are the test, as many as in the paper
LAYERS = {"0%": "clean", "2.5%": "noise_0.025", "5%": None, "10%": "clean"}  # None is X
ADDED = {"10%": 1 / 20}  # sd of the noise that the file lacks, added to a layer here (B.1)
HIDDEN = {"sim350": 40, "sim690": 50}  # the paper's
PRIOR = 0.05  # share of the prior's edges that is misplaced, where nothing else is said
PUBLISHED_PRIORS = {0.0: 0.0, 0.05: 0.025, 0.1: 0.05, 0.2: 0.1}  # share of misplaced edges: "noise" in the file
PRIOR_NOISES = (0.0, 0.05, 0.1, 0.2, 0.4)

# λ of DASH by validation error alone, once, on SIM350 with noise 5% and the first seed, for all data: the prior and the
# weights are both scaled to sum one. The largest λ within one standard error of the best (over folds, of the
# difference), on a grid with equal λ for both layers: 12 fits on two thirds of the training trajectories.
GRID, FOLDS, SLACK = (0.1, 0.3, 0.5, 0.8), 3, 1.0
CHOSEN_ON = "SIM350, noise 5%"
FIXED = 0.3  # the default of `DASH`, for comparison; balanced accuracy of trial runs was known when it was set
LAST = "seconds per epoch"  # the last score of a run: it is complete if this is there

# tables 1, 4, 6 and 7 of the DASH paper: sparsity and balanced accuracy in %, test error in thousandths, epochs; with ±
Cell = tuple[float, float]
PAPER: dict[str, dict[str, tuple[Cell, Cell, Cell, Cell | None]]] = {
    "SIM350, noise 5%": {
        "none": ((9.9, 0.4), (58.6, 0.7), (2.5, 0.2), (160, 7)),
        "post-hoc": ((87.0, 0.01), (82.4, 0.2), (2.3, 0.3), (1721, 50)),
        "L0": ((33.8, 4.7), (55.0, 0.5), (8.5, 1.0), (134, 37)),
        "C-NODE": ((6.2, 0.5), (55.9, 0.1), (2.8, 0.6), (214, 4)),
        "PathReg": ((56.5, 1.5), (61.9, 1.0), (8.0, 1.8), (200, 29)),
        "IMP": ((96.0, 0.01), (70.9, 1.5), (3.6, 0.6), (220, 3)),
        "BioPruning": ((83.5, 1.9), (87.3, 0.8), (2.6, 0.9), (79, 2)),
        "DASH": ((94.6, 1.2), (90.7, 0.4), (2.4, 1.2), (192, 24)),
        "IMP, prior loss": ((95.3, 0.3), (75.8, 2.2), (3.4, 1.7), None),
        "DASH, prior loss": ((93.2, 0.7), (90.6, 0.7), (2.0, 1.0), None),
    },
    "SIM350, noise 0%": {
        "none": ((11.3, 0.3), (60.3, 0.3), (2.3, 0.4), (206, 7)),
        "post-hoc": ((90.0, 0.01), (89.8, 0.3), (2.6, 0.5), (1788, 77)),
        "L0": ((34.7, 2.4), (61.3, 0.1), (6.1, 1.8), (119, 43)),
        "C-NODE": ((10.7, 0.2), (60.5, 0.1), (1.9, 0.5), (213, 5)),
        "PathReg": ((59.7, 1.5), (64.2, 0.8), (6.1, 2.3), (213, 7)),
        "IMP": ((95.8, 0.3), (72.8, 0.7), (2.9, 0.5), (195, 16)),
        "BioPruning": ((83.5, 3.5), (88.0, 0.5), (3.6, 0.8), (94, 22)),
        "DASH": ((92.6, 1.2), (91.1, 1.2), (1.9, 0.6), (164, 22)),
        "IMP, prior loss": ((95.5, 0.5), (77.8, 1.3), (4.0, 0.8), None),
        "DASH, prior loss": ((89.1, 5.8), (86.8, 6.7), (3.1, 1.3), None),
    },
    "SIM350, noise 10%": {
        "none": ((2.9, 0.5), (51.3, 0.3), (5.5, 1.9), (211, 15)),
        "post-hoc": ((92.0, 0.01), (83.8, 0.7), (4.1, 1.8), (1813, 94)),
        "L0": ((31.9, 1.6), (50.2, 0.3), (13.3, 1.8), (156, 11)),
        "C-NODE": ((7.2, 0.3), (50.5, 0.3), (36.6, 12.5), (189, 11)),
        "PathReg": ((47.8, 1.8), (50.2, 1.2), (12.7, 1.4), (224, 8)),
        "IMP": ((89.9, 5.0), (63.8, 3.0), (5.1, 0.8), (142, 13)),
        "BioPruning": ((79.7, 1.3), (85.2, 0.3), (5.6, 0.3), (67, 18)),
        "DASH": ((90.8, 4.7), (85.4, 4.2), (5.8, 1.3), (154, 4)),
        "IMP, prior loss": ((88.4, 4.7), (65.0, 5.9), (5.8, 0.5), None),
        "DASH, prior loss": ((86.8, 5.7), (82.0, 7.8), (6.0, 2.3), None),
    },
    "SIM690, noise 5%": {
        "none": ((7.7, 0.1), (56.7, 0.03), (4.3, 0.3), (166, 29)),
        "post-hoc": ((87.0, 0.01), (75.9, 0.2), (3.7, 0.2), (1657, 106)),
        "L0": ((34.9, 1.1), (53.0, 0.3), (12.8, 3.1), (100, 26)),
        "C-NODE": ((4.3, 0.4), (54.0, 0.2), (24.4, 10.2), (210, 2)),
        "PathReg": ((57.7, 0.5), (57.4, 0.2), (35.3, 2.2), (244, 17)),
        "IMP": ((95.8, 0.3), (69.9, 1.5), (6.3, 3.1), (205, 10)),
        "BioPruning": ((80.8, 4.3), (87.7, 1.7), (5.9, 2.4), (71, 23)),
        "DASH": ((93.9, 0.01), (91.4, 0.2), (4.3, 0.5), (178, 2)),
    },
}


@dataclass(frozen=True, eq=False)
class Courses:
    """Trajectories in three parts; the test also without noise; the true network ``(source, target)``."""

    task: str
    hidden: int
    training: Transitions
    validation: Transitions
    test: Transitions
    clean: Transitions
    truth: np.ndarray
    folder: Path

    @classmethod
    def read(cls, folder: Path, noise: str) -> "Courses":
        """Of ``sim350`` or ``sim690``, at a noise of `LAYERS`; validation trajectories drawn with seed 0."""
        table = anndata.read_h5ad(folder / "trajectories.h5ad")
        genes = list(table.var_names)

        def part(split: str, layer: str | None, sd: float = 0.0) -> Transitions:
            some = table[(table.obs["split"] == split).to_numpy()]
            values = np.asarray(some.X if layer is None else some.layers[layer])
            if sd:
                values = values + sd * np.random.default_rng([10, split == "val"]).standard_normal(values.shape)
            X = torch.as_tensor(values, dtype=torch.float32)
            time, trajectory = some.obs["time"].to_numpy(), some.obs["trajectory"].to_numpy()
            return Transitions.from_arrays(X, time, trajectory, genes=genes)

        added = ADDED.get(noise, 0.0)
        known = part("train", LAYERS[noise], added)
        order = np.random.default_rng(0).permutation(np.array(known.names))
        validation, training = known.split(order[:NUM_VALIDATION].tolist())
        edges = pd.read_csv(folder / "network.csv")
        truth = np.zeros((len(genes), len(genes)), dtype=bool)
        place = {gene: i for i, gene in enumerate(genes)}
        truth[edges["source"].map(place), edges["target"].map(place)] = True
        return cls(
            f"{folder.name.upper()}, noise {noise}",
            HIDDEN[folder.name],
            training,
            validation,
            part("val", LAYERS[noise], added),
            part("val", "clean"),
            truth,
            folder,
        )

    def prior(self, noise: float = PRIOR, *, signed: bool = False) -> Tensor:
        """``(source, target)``, confidences or signs, with a share of the edges misplaced: the published one where
        there is one, otherwise edges of the true network moved, anywhere from regulators to genes."""
        published = pd.read_csv(self.folder / "priors.csv.gz")
        edges = published[np.isclose(published["noise"], PUBLISHED_PRIORS.get(noise, 0.0))]
        network = PriorNetwork.from_edges(edges[["source", "target", "sign"]], name="prior")
        if noise not in PUBLISHED_PRIORS:
            genes = self.training.genes
            network = network.corrupted(noise, np.random.default_rng(0), sources=genes, targets=genes)
        return prior_matrix(network, self.training.genes, signed=signed)

    def network(self, seed: int) -> PhoenixNetwork:
        """With fresh weights."""
        return PhoenixNetwork(self.training.genes, hidden=self.hidden, seed=seed)

    def fit(self, sparsifier: Sparsifier, seed: int, loss: PriorLoss | None = None) -> Trained[PhoenixNetwork]:
        """Defaults of `train`, which are the paper's; the model of least validation error."""
        network, extra = self.network(seed), loss
        return train(
            network, self.training, validation=self.validation, sparsifier=sparsifier, extra_loss=extra, seed=seed
        )


def scores(courses: Courses, fitted: Trained[PhoenixNetwork], seconds: float, epochs: int) -> dict[str, float]:
    """Sparsity of the four weight matrices; balanced accuracy, true positive and true negative rate of the non-zeros
    of D̃ (C.2, B.5) over all ordered pairs of different genes; errors; cost in all."""
    network = fitted.network
    others = ~np.eye(len(courses.truth), dtype=bool)
    called, true = (network.edges() != 0).numpy()[others], courses.truth[others]
    with torch.no_grad():
        noisy, clean = float(network.loss(courses.test)), float(network.loss(courses.clean))
    return {
        "sparsity": fitted.sparsity,
        "balanced accuracy": balanced_accuracy(called, true),
        "true positive rate": float(called[true].mean()),
        "true negative rate": float((~called)[~true].mean()),
        "validation MSE": fitted.validation,
        "test MSE": noisy,
        "test MSE, no noise": clean,
        "best epoch": float(fitted.history.best),
        "epochs": float(epochs),
        "seconds": seconds,
        LAST: seconds / epochs,
    }


# -- resumable rows ----
def record(results: Results, task: str, method: str, seed: int, found: dict[str, float]) -> None:
    """Add all scores of one run, in place of those of an unfinished one."""
    results.rows = [r for r in results.rows if (r["task"], r["method"], str(r["seed"])) != (task, method, str(seed))]
    for score, value in found.items():
        results.add(task, method, seed, score, value)


def once(results: Results, task: str, method: str, seed: int, run: Callable[[], dict[str, float]]) -> None:
    """Run, unless the results have it."""
    if results.value(task, method, seed, LAST) is None:
        record(results, task, method, seed, run())


def summarise(results: Results, task: str, method: str, seeds: Sequence[int]) -> None:
    """Mean, its standard error, and sd over the seeds, once all are there."""
    name = f"{seeds[0]}-{seeds[-1]}"
    if len(seeds) < 2 or results.value(task, method, name, f"{LAST}: sd") is not None:
        return
    first = [
        r["score"] for r in results.rows if (r["task"], r["method"], str(r["seed"])) == (task, method, str(seeds[0]))
    ]
    for score in first:
        found = [results.value(task, method, seed, score) for seed in seeds]
        values = [v for v in found if v is not None]
        if len(values) == len(seeds):
            results.add(task, method, name, score, *mean_se(values))
            results.add(task, method, name, f"{score}: sd", float(np.std(values, ddof=1)))


def add_paper(results: Results, task: str) -> None:
    """The paper's numbers, in our units."""
    names = (("sparsity", 1e-2), ("balanced accuracy", 1e-2), ("test MSE", 1e-3), ("epochs", 1.0))
    for method, row in PAPER.get(task, {}).items():
        if results.value(task, method, "paper", "test MSE: sd") is None:
            for (score, unit), cell in zip(names, row, strict=True):
                if cell is not None:
                    results.add(task, method, "paper", score, cell[0] * unit)
                    results.add(task, method, "paper", f"{score}: sd", cell[1] * unit)


# -- λ ----
@dataclass(frozen=True)
class Stored:
    """What `choose_strength` needs of a fit, from the results."""

    network: None
    validation: float
    sparsity: float


def chosen_strength(folder: Path, results: Results) -> float:
    """λ by the rule at the top; each fit of a fold is a row."""
    method = "DASH, choice of lambda"
    known = results.value(CHOSEN_ON, method, "all folds", "lambda")
    if known is not None:
        return known
    courses = Courses.read(folder / "sim350", "5%")
    prior = courses.prior()

    def fit(sparsifier: Any, training: Transitions, validation: Transitions, fold: int) -> Stored:
        name = f"{method}: {sparsifier.strength[0]:g}"

        def run() -> dict[str, float]:
            started = time.perf_counter()
            fitted = train(courses.network(0), training, validation=validation, sparsifier=sparsifier, seed=0)
            seconds, epochs = time.perf_counter() - started, len(fitted.history.train)
            found = {"validation MSE": fitted.validation, "sparsity": fitted.sparsity, "epochs": float(epochs)}
            return {**found, "seconds": seconds, LAST: seconds / epochs}

        once(results, CHOSEN_ON, name, fold, run)
        error, zeros = (results.value(CHOSEN_ON, name, fold, score) for score in ("validation MSE", "sparsity"))
        assert error is not None
        assert zeros is not None
        return Stored(None, error, zeros)

    choice = choose_strength(
        fit,
        lambda strength: DASH(prior, strength=strength),
        courses.training.folds(FOLDS, seed=0),
        grid=[(value, value) for value in GRID],
        slack=SLACK,
    )
    for strength in GRID:
        errors = choice.table.loc[[s[0] == strength for s in choice.table["strength"]], "validation"]
        results.add(CHOSEN_ON, f"{method}: {strength:g}", "all folds", "validation MSE", *mean_se(errors.tolist()))
    results.add(CHOSEN_ON, method, "all folds", "lambda", choice.strength[0])
    return choice.strength[0]


# -- the table ----
def strategies(prior: Tensor, strength: float) -> dict[str, Callable[[], Sparsifier]]:
    """The paper's, all but the post-hoc one, with the package's defaults, which are those of the authors' programs."""
    return {
        "DASH": lambda: DASH(prior, strength=strength),
        "IMP": IMP,
        "BioPruning": lambda: BioPruning(prior),
        "none": NoPruning,
        "L0": HardConcrete,
        "C-NODE": CNODE,
        "PathReg": PathReg,
        f"DASH, lambda {FIXED}": lambda: DASH(prior, strength=FIXED),
    }


def compare(results: Results, courses: Courses, strength: float, methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Rows of one table."""
    add_paper(results, courses.task)
    for method, make in strategies(courses.prior(), strength).items():
        if method in methods and not (method.startswith("DASH,") and strength == FIXED):
            for seed in seeds:
                once(results, courses.task, method, seed, partial(one, courses, make, seed))
            summarise(results, courses.task, method, seeds)


def one(
    courses: Courses, sparsifier: Callable[[], Sparsifier], seed: int, loss: PriorLoss | None = None
) -> dict[str, float]:
    """Scores of one fit."""
    started = time.perf_counter()
    fitted = courses.fit(sparsifier(), seed, loss)
    return scores(courses, fitted, time.perf_counter() - started, len(fitted.history.train))


def post_hoc(results: Results, courses: Courses) -> None:
    """Dense training and nine fine-tunings from each of three starts; cost is that of all ten."""
    if results.value(courses.task, "post-hoc", SEEDS[-1], LAST) is None:
        cost: dict[int, list[tuple[float, int]]] = {seed: [] for seed in SEEDS}

        def fit(network: PhoenixNetwork, sparsifier: Sparsifier, seed: int) -> Trained[PhoenixNetwork]:
            started = time.perf_counter()
            data = (courses.training, courses.validation)
            fitted = train(network, data[0], validation=data[1], sparsifier=sparsifier, seed=seed)
            cost[seed].append((time.perf_counter() - started, len(fitted.history.train)))
            return fitted

        chosen = prune_post_hoc(fit, courses.network, repeats=len(SEEDS))
        for seed, fitted in zip(SEEDS, chosen.fitted, strict=True):
            seconds, epochs = (sum(part) for part in zip(*cost[seed], strict=True))
            assert isinstance(fitted, Trained), "what `train` returned"
            record(results, courses.task, "post-hoc", seed, scores(courses, fitted, seconds, int(epochs)))
    summarise(results, courses.task, "post-hoc", SEEDS)


def prior_curve(results: Results, courses: Courses, strength: float) -> None:
    """DASH (three seeds) and BioPruning (one) against the share of the prior's edges that is misplaced; λ as it was
    chosen."""
    for noise in PRIOR_NOISES:
        prior = courses.prior(noise)
        task = f"{courses.task}, prior noise {noise:.0%}"
        right = prior.numpy()[courses.truth].astype(bool).sum() / max(1, int((prior != 0).sum()))
        made = strategies(prior, strength)
        for method, seeds in (("DASH", SEEDS), ("BioPruning", SEEDS[:1])):
            for seed in seeds:
                if noise == PRIOR:
                    copy_row(results, courses.task, task, method, seed)
                once(results, task, method, seed, partial(one, courses, made[method], seed))
            summarise(results, task, method, seeds)
        if results.value(task, "prior", 0, "share of true edges") is None:
            results.add(task, "prior", 0, "share of true edges", float(right))


def copy_row(results: Results, source: str, target: str, method: str, seed: int) -> None:
    """The run that another table has."""
    if results.value(source, method, seed, LAST) is not None and results.value(target, method, seed, LAST) is None:
        rows = [r for r in results.rows if (r["task"], r["method"], str(r["seed"])) == (source, method, str(seed))]
        record(results, target, method, seed, {r["score"]: float(r["value"]) for r in rows})


def prior_losses(results: Results, courses: Courses, strength: float) -> None:
    """Table 6: IMP and DASH with PHOENIX's prior loss (C.1) beside them, which gets 5% of the loss."""
    prior, loss = courses.prior(), PriorLoss(courses.prior(signed=True))
    add_paper(results, courses.task)
    for method in ("IMP", "DASH"):
        name = f"{method}, prior loss"
        for seed in SEEDS:
            make = strategies(prior, strength)[method]
            once(results, courses.task, name, seed, partial(one, courses, make, seed, loss))
        summarise(results, courses.task, name, SEEDS)


ALL = tuple(strategies(torch.eye(1), FIXED))


def steps(folder: Path, results: Results) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and runs of all parts, the most wanted first."""

    def table(data: str, noise: str, methods: Sequence[str] = ALL) -> Callable[[], None]:
        def run() -> None:
            compare(results, Courses.read(folder / data, noise), chosen_strength(folder, results), methods, SEEDS)

        return run

    def post(data: str, noise: str) -> Callable[[], None]:
        return lambda: post_hoc(results, Courses.read(folder / data, noise))

    yield "lambda", lambda: print("lambda of DASH:", chosen_strength(folder, results))
    yield "sim350 5%", table("sim350", "5%")
    yield (
        "prior noise",
        lambda: prior_curve(results, Courses.read(folder / "sim350", "5%"), chosen_strength(folder, results)),
    )
    yield (
        "prior loss",
        lambda: prior_losses(results, Courses.read(folder / "sim350", "5%"), chosen_strength(folder, results)),
    )
    yield "sim350 0%", table("sim350", "0%")
    yield "sim690 5%", table("sim690", "5%")
    yield "sim350 2.5%", table("sim350", "2.5%")
    for data, noise in (("sim350", "5%"), ("sim350", "0%"), ("sim690", "5%"), ("sim350", "2.5%")):
        yield f"post-hoc {data} {noise}", post(data, noise)


def run(folder: Path, results: Results, only: Sequence[str] = ()) -> None:
    """All parts, or those of `steps` whose names begin so; continues the file of the results."""
    results.resume()
    for name, step in steps(folder, results):
        if not only or any(name.startswith(start) for start in only):
            step()
