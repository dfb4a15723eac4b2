"""PHOENIX on measured courses, as sparse as each method makes it: breast tumours and bone marrow in pseudotime, yeast's
cell cycle; beside the DASH paper's numbers where it has them.

Rows that the results file has are not run again.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...inference.neural_ode.degrees import network_summary
from ...inference.neural_ode.influence import gene_influence, influence_table
from ...inference.neural_ode.pathways import pathway_influence
from ...inference.neural_ode.training import Trained, train
from ...inference.pruning import DASH, IMP, BioPruning, NoPruning, PathReg, Schedule, Sparsifier
from ...models.data.transitions import Transitions
from ...models.dynamics.phoenix_layers import BlowUp
from ...models.dynamics.phoenix_network import PhoenixNetwork
from ...models.dynamics.prior_loss import prior_matrix
from ...priors import PriorNetwork
from ...priors.gene_sets import read_gmt
from ..scores import average_precision, balanced_accuracy
from .phoenix import LAST, once, summarise
from .results import Results

SEEDS = (0, 1, 2)
EPOCHS = 500  # at most, the paper's; training ends after 40 without a better validation error
PAIRS = 16  # pairs of consecutive points in a step, as in the authors' settings for breast cancer
LEAST_STEPS = 6  # in an epoch, where a course has few pairs
COURSE = 10.0  # length of a pseudotime from 0 to 1: rates of about one per unit are then a tenth of the course
GRID = (0.1, 0.3, 0.5, 0.8)  # values of DASH's λ, equal for both layers

HELD = 8  # points in the breast course's intervals for validation and for the test, as many as in the paper
VALIDATION_AT, TEST_AT = (120, 20, 160), (40, 130, 70)  # first points of those intervals, by seed
BREAST_HIDDEN = {500: 50, 2000: 100}  # the paper: 300 for 11,165
BREAST_SCHEDULE = Schedule(10, 0.9, every=20)  # the paper's

TRAIN, VALIDATE = "batch12", "batch11"  # S1D2 and S1D1, as in the paper; the others are tests
LINEAGES = ("eryth", "mono", "B")
CELLS = 10  # consecutive cells whose mean is a point of a course
STARTS, TIMES = 50, (0.0, 0.3, 0.6, 0.9)  # of gene influence: a twelfth of the cost
LIBRARIES = ("hallmark", "kegg", "reactome")
SIGNIFICANT = 0.05
SHOWN = 20  # significant gene sets listed, as in the paper's figures

# tables 2, 3, 8 and 9 of the DASH paper, each of a single run
PAPER: dict[str, dict[str, dict[str, float]]] = {
    "breast, 11165 genes": {
        "none": {"sparsity": 0.0003, "balanced accuracy": 0.4999, "test MSE": 7.78e-5},
        "L0": {"sparsity": 0.1038, "balanced accuracy": 0.5015, "test MSE": 7.90e-5},
        "C-NODE": {"sparsity": 0.0001, "balanced accuracy": 0.5001, "test MSE": 8.06e-5},
        "PathReg": {"sparsity": 0.1492, "balanced accuracy": 0.5024, "test MSE": 7.92e-5},
        "IMP": {"sparsity": 0.9570, "balanced accuracy": 0.4970, "test MSE": 7.76e-5},
        "DASH": {"sparsity": 0.9271, "balanced accuracy": 0.9569, "test MSE": 7.76e-5},
    },
    "bone marrow, eryth, single cells": {
        "PathReg": {"sparsity": 0.1394, "out-degree": 522, "test MSE": 2.12e-4},
        "IMP": {"sparsity": 0.9444, "out-degree": 123, "test MSE": 2.12e-4},
        "DASH": {"sparsity": 0.9595, "out-degree": 54, "test MSE": 2.12e-4},
    },
    "bone marrow, mono, single cells": {
        "PathReg": {"sparsity": 0.1500, "out-degree": 519, "test MSE": 1.10e-4},
        "IMP": {"sparsity": 0.9858, "out-degree": 10, "test MSE": 1.10e-4},
        "DASH": {"sparsity": 0.9671, "out-degree": 39, "test MSE": 1.10e-4},
    },
    "bone marrow, B, single cells": {
        "PathReg": {"sparsity": 0.1472, "out-degree": 508, "test MSE": 6.52e-5},
        "IMP": {"sparsity": 0.9734, "out-degree": 34, "test MSE": 6.45e-5},
        "DASH": {"sparsity": 0.9735, "out-degree": 29, "test MSE": 6.47e-5},
    },
}


@dataclass(frozen=True, eq=False)
class Study:
    """Courses in parts (``tests`` by name), prior knowledge ``(source, target)``, and where there is one the network to
    score against, with the regulators and targets that it speaks of."""

    task: str
    hidden: int
    training: Transitions
    validation: Transitions
    tests: Mapping[str, Transitions]
    prior: Tensor
    coregulation: Tensor | None = None
    schedule: Schedule = field(default_factory=Schedule)
    truth: np.ndarray | None = None
    assayed: tuple[np.ndarray, np.ndarray] | None = None
    gene_sets: Mapping[str, Mapping[str, Sequence[str]]] | None = None

    @property
    def genes(self) -> tuple[str, ...]:
        return self.training.genes

    def fit(self, sparsifier: Sparsifier, seed: int) -> Trained[PhoenixNetwork]:
        """From fresh weights; every pair of the training course counts as a trajectory of its own."""
        pairs = self.training.apart()
        network = PhoenixNetwork(self.genes, hidden=self.hidden, seed=seed)
        return train(
            network,
            pairs,
            validation=self.validation,
            sparsifier=sparsifier,
            num_epochs=EPOCHS,
            batch_size=min(PAIRS, max(1, pairs.num_pairs // LEAST_STEPS)),
            seed=seed,
        )


# -- data ----
def segments(number: int, *cuts: int) -> np.ndarray:
    """``(number,)`` a label for each point, another one from every cut on."""
    return np.searchsorted(np.unique(cuts), np.arange(number), side="right").astype(str)


def breast(folder: Path, genes: int, seed: int, *, gene_sets: bool = True) -> Study:
    """Breast tumours in pseudotime: 178 of the paper's 186 points, those without its test interval. Points of two other
    intervals validate and test, which ones depends on the seed. P is the motif prior of 500 genes; with 2,000 genes, to
    which it does not extend, also CollecTRI. C is the published protein interactions."""
    place = folder / "breast_desmedt"
    table = pd.read_csv(place / f"expression_{genes}.csv.gz")
    names, when = table.columns.drop("pseudotime").tolist(), table["pseudotime"].to_numpy()
    gap = int(np.diff(when).argmax()) + 1  # where the paper's test interval was
    first = (VALIDATION_AT[seed], TEST_AT[seed])
    labels = segments(len(table), gap, *first, *(at + HELD for at in first))
    X = torch.as_tensor(table[names].to_numpy(), dtype=torch.float32)
    whole = Transitions.from_arrays(X, when * COURSE, labels, genes=names)
    validation, rest = whole.split([labels[first[0]]])
    test, training = rest.split([labels[first[1]]])
    edges = [pd.read_csv(place / "motif_prior_500.csv.gz")]
    if genes > 500:
        edges.append(pd.read_csv(folder / "priors" / "collectri_human.csv.gz"))
    chip = pd.read_csv(place / "chip_validation_network.csv.gz")
    truth = matrix_of(chip, names)
    return Study(
        f"breast, {genes} genes",
        BREAST_HIDDEN[genes],
        training,
        validation,
        {"interval": test},
        prior_of(edges, names),
        interactions(place / "ppi.csv.gz", names),
        BREAST_SCHEDULE,
        truth,
        (np.asarray(truth.any(1)), np.ones(len(names), dtype=bool)),
        libraries(folder) if gene_sets else None,
    )


def bone_marrow(folder: Path, lineage: str, *, cells: int = CELLS) -> Study:
    """One lineage, a course for each batch. Means of ``cells`` cells that follow each other in pseudotime, as
    logarithms of 1 + x, by the largest value of the training batch; with ``cells=1`` as the authors: single cells, not
    in logarithms, each batch scaled to (0, 1). Each batch's pseudotime is scaled to (0, 1) too. P is the motif prior, C
    the published protein interactions among these genes."""
    place = folder / "bone_marrow"
    table = anndata.read_h5ad(place / "trajectories.h5ad")
    names = table.var_names.tolist()
    table = table[(table.obs["lineage"] == lineage).to_numpy()]
    courses: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for batch in table.obs["batch"].unique():
        some = table[(table.obs["batch"] == batch).to_numpy()]
        values = some.X if isinstance(some.X, np.ndarray) else some.X.toarray()
        when = some.obs["pseudotime"].to_numpy(dtype=float)
        order = np.argsort(when, kind="stable")
        bins = np.array_split(order, max(1, len(order) // cells))
        X, middle = (np.stack([part[b].mean(0) for b in bins]) for part in (values, when))
        courses[batch] = (X / X.max() if cells == 1 else np.log1p(X), (middle - middle[0]) / np.ptp(middle) * COURSE)
    scale = 1.0 if cells == 1 else courses[TRAIN][0].max()
    labels = np.concatenate([[batch] * len(when) for batch, (_, when) in courses.items()])
    whole = Transitions.from_arrays(
        torch.as_tensor(np.concatenate([X / scale for X, _ in courses.values()]), dtype=torch.float32),
        np.concatenate([when for _, when in courses.values()]),
        labels,
        genes=names,
    )
    tests = {batch: whole.split([batch])[0] for batch in sorted(courses) if batch not in (TRAIN, VALIDATE)}
    return Study(
        f"bone marrow, {lineage}" + (", single cells" if cells == 1 else ""),
        50,
        whole.split([TRAIN])[0],
        whole.split([VALIDATE])[0],
        tests,
        prior_of([pd.read_csv(place / "motif_prior_529.csv.gz")], names),
        interactions(folder / "breast_desmedt" / "ppi.csv.gz", names),
        gene_sets=libraries(folder),
    )


def yeast(folder: Path) -> Study:
    """Two series of the cell cycle: one to learn from; of the other, the first hour validates and the second tests. Log
    ratios as ½ + x/2, which puts 0 where PHOENIX's activation is centred, and time in tens of minutes. P is the motif
    prior; the gold standard is scored over all genes, and among its regulators and targets."""
    place = folder / "yeast_pramila"
    table, gold = pd.read_csv(place / "expression.csv.gz"), pd.read_csv(place / "gold_standard.csv")
    names = table.columns.drop(["replicate", "time_min"]).tolist()
    when, series = table["time_min"].to_numpy(), table["replicate"].to_numpy().astype(object)
    labels = np.where((series == "val") & (when > 55), "second hour", series)
    X = torch.as_tensor(table[names].to_numpy(), dtype=torch.float32) / 2 + 0.5
    whole = Transitions.from_arrays(X, when / 10, labels, genes=names)
    truth = matrix_of(gold, names)
    return Study(
        "yeast",
        120,  # the authors' for these data
        whole.split(["train"])[0],
        whole.split(["val"])[0],
        {"second hour": whole.split(["second hour"])[0]},
        prior_of([pd.read_csv(place / "motif_prior.csv.gz")], names),
        truth=truth,
        assayed=(np.asarray(truth.any(1)), np.asarray(truth.any(0))),
    )


def prior_of(tables: Sequence[pd.DataFrame], genes: Sequence[str]) -> Tensor:
    """``(source, target)`` of the edges of all tables among the genes, all of one size."""
    edges = pd.concat([t[["source", "target"]] for t in tables]).drop_duplicates()
    return prior_matrix(PriorNetwork.from_edges(edges, name="prior"), genes)


def interactions(file: Path, genes: Sequence[str]) -> Tensor:
    """``(gene, gene)`` symmetric weights of protein interactions."""
    table, place = pd.read_csv(file), {gene: i for i, gene in enumerate(genes)}
    table = table[table["gene1"].isin(place) & table["gene2"].isin(place)]
    first, second = (torch.as_tensor(table[c].map(place).to_numpy(dtype=int)) for c in ("gene1", "gene2"))
    C = torch.zeros(len(genes), len(genes))
    C[first, second] = C[second, first] = torch.as_tensor(table["weight"].to_numpy(), dtype=torch.float32)
    return C


def matrix_of(edges: pd.DataFrame, genes: Sequence[str]) -> np.ndarray:
    """``(source, target)`` bool of the edges among the genes."""
    place = {gene: i for i, gene in enumerate(genes)}
    known = edges[edges["source"].isin(place) & edges["target"].isin(place)]
    result = np.zeros((len(genes), len(genes)), dtype=bool)
    result[known["source"].map(place), known["target"].map(place)] = True
    return result


def libraries(folder: Path) -> dict[str, Mapping[str, Sequence[str]]]:
    """Gene sets by library."""
    return {name: read_gmt(folder / "priors" / f"msigdb_{name}_v7.5.1.gmt.gz") for name in LIBRARIES}


# -- scores ----
def edge_scores(study: Study, strength: np.ndarray) -> dict[str, float]:
    """Non-zeros against the network over all ordered pairs of different genes (the paper's B.5), and among the pairs
    that the network speaks of, where also the ranking by strength is scored."""
    assert study.truth is not None
    assert study.assayed is not None
    others = ~np.eye(len(study.truth), dtype=bool)
    known = others & study.assayed[0][:, None] & study.assayed[1]
    found: dict[str, float] = {}
    for where, pairs in (("", others), (", assayed", known)):
        called, true = strength[pairs] != 0, study.truth[pairs]
        found[f"balanced accuracy{where}"] = balanced_accuracy(called, true)
        found[f"true positive rate{where}"] = float(called[true].mean())
        found[f"true negative rate{where}"] = float((~called)[~true].mean())
    found["average precision, assayed"] = average_precision(strength[known], study.truth[known])
    return found


@torch.no_grad()
def held_out_errors(study: Study, predict: Callable[[Transitions], Tensor]) -> dict[str, float]:
    """Mean squared error of each test (infinite where the solution blows up), their mean, and how it compares with no
    change at all."""
    found, still = {}, {}
    for name, test in study.tests.items():
        seen = test.observed
        try:
            found[name] = float((predict(test) - test.stop).square()[seen].mean())
        except BlowUp:
            found[name] = float("inf")
        still[name] = float((test.start - test.stop).square()[seen].mean())
    error = float(np.mean(list(found.values())))
    return {
        "test MSE": error,
        "test MSE / no change": error / float(np.mean(list(still.values()))),
        **{f"test MSE, {name}": value for name, value in found.items()},
    }


def influences(study: Study, network: PhoenixNetwork) -> pd.Series:
    """By gene, from fewer starts and times than the paper's 200 and 9 (`STARTS`, `TIMES`)."""
    found = gene_influence(network.current(), torch.tensor(TIMES), starts=STARTS)
    return influence_table(found, study.genes).set_index("gene")["influence"]


def pathways(study: Study, scores: pd.Series) -> dict[str, float]:
    """How many gene sets have higher scores than chance, and z of the first of those that pass Bonferroni."""
    assert study.gene_sets is not None
    table = pathway_influence(scores, study.gene_sets)
    passed = table[table["bonferroni"] <= SIGNIFICANT]
    return {
        "pathways tested": float(len(table)),
        "pathways, Bonferroni": float(len(passed)),
        "pathways, BH": float((table["fdr"] <= SIGNIFICANT).sum()),
        "genes with influence": float((scores > 0).sum()),
        **{f"z of {name}": z for name, z in zip(passed["set"].head(SHOWN), passed["z"].head(SHOWN), strict=True)},
    }


def one(study: Study, sparsifier: Callable[[], Sparsifier], seed: int) -> dict[str, float]:
    """Scores of one fit."""
    started = time.perf_counter()
    fitted = study.fit(sparsifier(), seed)
    seconds, epochs = time.perf_counter() - started, len(fitted.history.train)
    effects = fitted.network.edges().numpy()
    summary = network_summary(effects)
    found = {
        "sparsity": fitted.sparsity,
        "out-degree": summary.mean_out_degree,
        "regulators": summary.regulators,
        "validation MSE": fitted.validation,
        **held_out_errors(study, fitted.network.predict),
    }
    if study.truth is not None:
        found |= edge_scores(study, np.abs(effects))
    if study.gene_sets is not None:
        try:
            found |= pathways(study, influences(study, fitted.network))
        except BlowUp:  # from starts unlike any course, which the paper prescribes
            found["influence blew up"] = 1.0
    best = float(fitted.history.best)
    return found | {"best epoch": best, "epochs": float(epochs), "seconds": seconds, LAST: seconds / epochs}


def reference(study: Study) -> dict[str, float]:
    """Of no change at all, and of the prior's edges alone; gene sets by the prior's out-degrees: what any network would
    show whose regulators are the prior's."""
    found = held_out_errors(study, lambda batch: batch.start)
    if study.truth is not None:
        assert study.assayed is not None
        found |= edge_scores(study, study.prior.numpy())
        found["share of true pairs, assayed"] = float(study.truth[np.ix_(*study.assayed)].mean())
    if study.gene_sets is not None:
        found |= pathways(study, pd.Series((study.prior != 0).sum(1).double().numpy(), index=list(study.genes)))
    return found | {"sparsity of the prior": float((study.prior == 0).float().mean()), LAST: 0.0}


# -- tables ----
def add_paper(results: Results) -> None:
    """The paper's numbers, in our units."""
    for task, methods in PAPER.items():
        for method, row in methods.items():
            for score, value in row.items():
                if results.value(task, method, "paper", score) is None:
                    results.add(task, method, "paper", score, value)


def chosen_strength(results: Results, study: Study) -> float:
    """λ of least validation error (B.4's criterion, with one validation set), seed 0; each value's fit is a row."""
    for strength in GRID:
        make = partial(dash, study, strength)
        once(results, study.task, tried(strength), 0, partial(one, replace(study, gene_sets=None), make, 0))
    errors = {s: results.value(study.task, tried(s), 0, "validation MSE") for s in GRID}
    best = min((error, s) for s, error in errors.items() if error is not None)[1]
    if results.value(study.task, "DASH, choice of lambda", 0, "lambda") is None:
        results.add(study.task, "DASH, choice of lambda", 0, "lambda", best)
    return best


def tried(strength: float) -> str:
    """The method of a row of the choice."""
    return f"DASH, lambda {strength:g}"


def dash(study: Study, strength: float) -> Sparsifier:
    """With this study's P, C and schedule."""
    return DASH(study.prior, coregulation=study.coregulation, strength=strength, schedule=study.schedule)


def compare(
    results: Results,
    make: Callable[[int], Study],
    methods: Sequence[str],
    seeds: Sequence[int],
    strength: float,
) -> None:
    """Rows of one table; ``make`` gives the study of a seed."""
    studies = {seed: make(seed) for seed in seeds}
    first = studies[seeds[0]]
    for seed, study in studies.items():
        once(results, study.task, "no change / prior alone", seed, partial(reference, study))
    summarise(results, first.task, "no change / prior alone", seeds)
    for method in methods:
        for seed, study in studies.items():
            sparsifier = partial(STRATEGIES[method], study, strength)
            once(results, study.task, method, seed, partial(one, study, sparsifier, seed))
        summarise(results, first.task, method, seeds)


STRATEGIES: dict[str, Callable[[Study, float], Sparsifier]] = {
    "DASH": dash,
    "IMP": lambda study, _: IMP(schedule=study.schedule),
    "none": lambda study, _: NoPruning(),
    "PathReg": lambda study, _: PathReg(),
    "BioPruning": lambda study, _: BioPruning(study.prior, coregulation=study.coregulation, schedule=study.schedule),
}
ALL = tuple(STRATEGIES)


def steps(folder: Path, results: Results) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and runs of all parts, the most wanted first. λ is chosen on 500 genes for breast, on the erythroid lineage
    for bone marrow."""

    def tumours(genes: int, methods: Sequence[str]) -> None:
        strength = chosen_strength(results, breast(folder, 500, 0))
        make = partial(breast, folder, genes, gene_sets=genes == 500)
        compare(results, make, methods, SEEDS, strength)

    def courses(lineage: str, cells: int, seeds: Sequence[int]) -> None:
        strength = chosen_strength(results, bone_marrow(folder, LINEAGES[0]))
        study = bone_marrow(folder, lineage, cells=cells)
        compare(results, lambda seed: study, ("DASH", "IMP", "PathReg"), seeds, strength)

    def cycle() -> None:
        study = yeast(folder)
        compare(results, lambda seed: study, ("DASH", "IMP", "none"), SEEDS, chosen_strength(results, study))

    yield "breast 500", lambda: tumours(500, ALL)
    for lineage in LINEAGES:
        yield f"bone marrow {lineage}", partial(courses, lineage, CELLS, SEEDS)
    yield "yeast", cycle
    yield "breast 2000", lambda: tumours(2000, ("DASH", "none", "IMP", "PathReg"))
    for lineage in LINEAGES:
        yield f"single cells {lineage}", partial(courses, lineage, 1, SEEDS[:1])


def run(folder: Path, results: Results, only: Sequence[str] = ()) -> None:
    """All parts, or those of `steps` whose names begin so; continues the file of the results."""
    results.resume()
    add_paper(results)
    for name, step in steps(folder, results):
        if not only or any(name.startswith(start) for start in only):
            step()
