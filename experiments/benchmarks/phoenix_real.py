"""PHOENIX on measured courses, as sparse as each method makes it: breast tumours and bone marrow in pseudotime, yeast's
cell cycle; beside the DASH paper's numbers where it has them.

Rows that the results file has are not run again.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...inference.neural_ode.degrees import network_summary
from ...inference.neural_ode.influence import gene_influence, influence_table
from ...inference.neural_ode.pathways import pathway_influence
from ...inference.neural_ode.training import Diverged
from ...inference.pruning import DASH, IMP, BioPruning, NoPruning, Sparsifier
from ...models.data.transitions import Transitions
from ...models.dynamics.phoenix_layers import BlowUp
from ...models.dynamics.phoenix_network import PhoenixNetwork
from ..scores import average_precision, balanced_accuracy
from .phoenix_penalties import STRENGTHS, penalty, trial
from .phoenix_studies import CELLS, Study, bone_marrow, breast, yeast
from .results import Results
from .training_rows import LAST, once, summarise

SEEDS = (0, 1, 2)
GRID = (0.1, 0.3, 0.5, 0.8)  # values of DASH's λ, equal for both layers


LINEAGES = ("eryth", "mono", "B")
STARTS, TIMES = 50, (0.0, 0.3, 0.6, 0.9)  # of gene influence: a twelfth of the cost
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


def held_out_errors(study: Study, predict: Callable[[Transitions], Tensor]) -> dict[str, float]:
    """Mean squared error of each test (infinite where the solution blows up), their mean, and how it compares with no
    change at all; the same over the pairs that lie no further apart than any of training."""
    longest = study.training.dt.max()
    near = {name: test.rows(test.dt <= longest) for name, test in study.tests.items()}
    found = {name: error(test, predict) for name, test in study.tests.items()}
    still, trained, unmoved = (
        float(np.mean([error(test, of) for test in tests.values()]))
        for tests, of in ((study.tests, no_change), (near, predict), (near, no_change))
    )
    mean = float(np.mean(list(found.values())))
    return {
        "test MSE": mean,
        "test MSE / no change": mean / still,
        "test MSE, intervals of training": trained,
        "test MSE / no change, intervals of training": trained / unmoved,
        "longer intervals": float(sum(test.num_pairs - near[name].num_pairs for name, test in study.tests.items())),
        **{f"test MSE, {name}": value for name, value in found.items()},
    }


@torch.no_grad()
def error(test: Transitions, predict: Callable[[Transitions], Tensor]) -> float:
    """Mean squared error of what was seen, infinite where the solution blows up."""
    try:
        return float((predict(test) - test.stop).square()[test.observed].mean())
    except BlowUp:
        return math.inf


def no_change(batch: Transitions) -> Tensor:
    """Predicts that every pair stays as it starts."""
    return batch.start


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
    """Scores of one fit; of one that blows up in its first epoch, an infinite error and no other."""
    started = time.perf_counter()
    try:
        fitted = study.fit(sparsifier(), seed)
    except Diverged as blown:
        return {"validation MSE": blown.fitted.validation, LAST: 0.0}
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
    found = held_out_errors(study, no_change)
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


Strength = TypeVar("Strength")


@dataclass(frozen=True)
class Chosen:
    """Strengths of least validation error: λ of DASH, and by method those of the penalties."""

    strength: float
    penalties: Mapping[str, tuple[float, ...]]


def choose(results: Results, study: Study, methods: Sequence[str]) -> Chosen:
    """λ, and the strengths of those methods that have one, by the criterion of B.4 and B.9.3 with one validation set,
    seed 0; each fit is a row. None is chosen whose error is not finite (`least`)."""
    bare = replace(study, gene_sets=None)

    def validated(method: str, make: Callable[[], Sparsifier]) -> float:
        once(results, study.task, method, 0, partial(one, bare, make, 0))
        found = results.value(study.task, method, 0, "validation MSE")
        assert found is not None, "made above"
        return found if math.isfinite(found) else math.inf

    found = {s: validated(f"DASH, lambda {s:g}", partial(dash, study, s)) for s in GRID}
    strength = least(found, study.task, "DASH")
    penalties: dict[str, tuple[float, ...]] = {}
    for method in (m for m in STRENGTHS if m in methods):
        errors = {s: validated(trial(method, s), partial(penalty, method, s)) for s in STRENGTHS[method]}
        penalties[method] = least(errors, study.task, method)
    if results.value(study.task, "DASH, choice of lambda", 0, "lambda") is None:
        results.add(study.task, "DASH, choice of lambda", 0, "lambda", strength)
        for method, values in penalties.items():
            for layer, value in enumerate(values):
                results.add(study.task, f"{method}, choice", 0, f"strength {layer}", value)
    return Chosen(strength, penalties)


def least(errors: Mapping[Strength, float], task: str, method: str) -> Strength:
    """The strength of least error.

    Raises
    ------
    ValueError
        No error is finite.
    """
    if not any(map(math.isfinite, errors.values())):
        raise ValueError(f"{task}: {method} blows up with each of {list(errors)}, so none can be chosen")
    return min(errors, key=lambda s: errors[s])


def dash(study: Study, strength: float) -> Sparsifier:
    """With this study's P, C and schedule."""
    return DASH(study.prior, coregulation=study.coregulation, strength=strength, schedule=study.schedule)


def compare(
    results: Results,
    make: Callable[[int], Study],
    methods: Sequence[str],
    seeds: Sequence[int],
    chosen: Chosen,
) -> None:
    """Rows of one table; ``make`` gives the study of a seed."""
    studies = {seed: make(seed) for seed in seeds}
    first = studies[seeds[0]]
    for seed, study in studies.items():
        once(results, study.task, "no change / prior alone", seed, partial(reference, study))
    summarise(results, first.task, "no change / prior alone", seeds)
    for method in methods:
        for seed, study in studies.items():
            sparsifier = partial(STRATEGIES[method], study, chosen)
            once(results, study.task, method, seed, partial(one, study, sparsifier, seed))
        summarise(results, first.task, method, seeds)


STRATEGIES: dict[str, Callable[[Study, Chosen], Sparsifier]] = {
    "DASH": lambda study, chosen: dash(study, chosen.strength),
    "IMP": lambda study, _: IMP(schedule=study.schedule),
    "none": lambda study, _: NoPruning(),
    "L0": lambda _, chosen: penalty("L0", chosen.penalties["L0"]),
    "C-NODE": lambda _, chosen: penalty("C-NODE", chosen.penalties["C-NODE"]),
    "PathReg": lambda _, chosen: penalty("PathReg", chosen.penalties["PathReg"]),
    "BioPruning": lambda study, _: BioPruning(study.prior, coregulation=study.coregulation, schedule=study.schedule),
}
ALL = tuple(STRATEGIES)


def steps(folder: Path, results: Results) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and runs of all parts, the most wanted first. Strengths are chosen on 500 genes for breast, on the
    erythroid lineage for bone marrow."""

    def tumours(genes: int, methods: Sequence[str]) -> None:
        chosen = choose(results, breast(folder, 500, 0), methods)
        make = partial(breast, folder, genes, gene_sets=genes == 500)
        compare(results, make, methods, SEEDS, chosen)

    def courses(lineage: str, cells: int) -> None:
        methods = ("DASH", "IMP", "PathReg")
        chosen = choose(results, bone_marrow(folder, LINEAGES[0]), methods)
        study = bone_marrow(folder, lineage, cells=cells)
        compare(results, lambda seed: study, methods, SEEDS, chosen)

    def cycle() -> None:
        methods = ("DASH", "IMP", "none")
        study = yeast(folder)
        compare(results, lambda seed: study, methods, SEEDS, choose(results, study, methods))

    yield "breast 500", lambda: tumours(500, ALL)
    for lineage in LINEAGES:
        yield f"bone marrow {lineage}", partial(courses, lineage, CELLS)
    yield "yeast", cycle
    yield "breast 2000", lambda: tumours(2000, tuple(method for method in ALL if method != "BioPruning"))
    for lineage in LINEAGES:
        yield f"single cells {lineage}", partial(courses, lineage, 1)


def run(folder: Path, results: Results, only: Sequence[str] = ()) -> None:
    """All parts, or those of `steps` whose names begin so; continues the file of the results."""
    results.resume()
    add_paper(results)
    for name, step in steps(folder, results):
        if not only or any(name.startswith(start) for start in only):
            step()
