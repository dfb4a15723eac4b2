"""How far can lists of edges be trusted? Methods on targets made on the regulators of each data set (rungs 3 and 4),
beside the truth or gold standard of the same cells (rung 6); ``linear`` as `infer` has it, and ``linear-raw`` without
the trial by which it corrects its probabilities (`inference.recalibration`). Of the ranking of each, and of that of
ridge regression, the longest list of which at most a tenth is wrong: what could be listed by one who knew the truth.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from ...models import ExpressionData
from ...models.simulators import RandomGRN, TechnicalNoise, simulate_linear, simulate_sergio
from ..baselines import Ridge
from ..ladder import UserPath, calibrate
from ..ladder.path import TRIED
from ..ladder.result import Calibration
from ..ladder.scoring import Pairs, longest_list, pooled, score
from ..scores import average_precision
from ..tasks import beeline_task, random_grn_tasks, sergio_task, truth_matrix
from .results import Results

NUM_TFS, NUM_GENES, NUM_CELLS = 40, 200, 1000  # at most: what is fitted is a part of the larger sets, drawn at random
TARGETS, WORLDS = 100, 2
RAW = "linear-raw"
LINEAR = ("linear", RAW)
METHODS = (*LINEAR, *(method for method in TRIED if method not in LINEAR))
SPAN = f"0-{WORLDS - 1}"
REAL = "its own truth"
RANDOM_LAYERS = ("X", "counts_dropout")  # clean, and with dropout
RIDGE = "ridge"
RATE = 0.1  # of the longest list
LAST = "seconds"  # the score that is added last: rows before it are of a run that was cut short


@dataclass(frozen=True, eq=False)
class Subject:
    """Cells as a regression takes them (``logged``) and as measured (``counts``, of single cells), and the network."""

    name: str
    logged: ExpressionData
    counts: ExpressionData | None
    truth: pd.DataFrame

    def data(self, method: str) -> ExpressionData | None:
        """What this method is given; None where the data are not for it."""
        return self.logged if method in LINEAR else self.counts


def run(folder: Path, results: Results) -> None:
    """Every method on every data set that is there, up the rungs; finished rows are kept."""
    results.resume()
    there = [name for name in SUBJECTS if name not in FOLDERS or (folder / FOLDERS[name]).is_dir()]
    for name in SUBJECTS:
        if name not in there:
            print(f"{name}: no {folder / FOLDERS[name]}, left out")
    for method in METHODS:
        for name in there:
            if name in OF_LINEAR and method not in LINEAR:
                continue
            if results.value(name, method, SPAN, LAST) is not None:
                print(f"{name}, {method}: done before")
                continue
            subject = SUBJECTS[name](folder)
            data = subject.data(method)
            if data is None:
                print(f"{name}: not single cells, so not for {method}")
                continue
            drop_unfinished(results, name, method)
            climb(results, subject, method, data)


def path_of(method: str) -> UserPath:
    """The way that a user takes, or of ``linear-raw`` would take with ``--no-calibrate``."""
    return UserPath("linear", trial=None) if method == RAW else UserPath(method)


def drop_unfinished(results: Results, name: str, method: str) -> None:
    """Rows of a run that was cut short, which is done again."""
    own = lambda row: row["method"] == method and (row["task"] == name or row["task"].startswith(f"{name}: "))
    results.rows = [row for row in results.rows if not own(row)]


def climb(results: Results, subject: Subject, method: str, data: ExpressionData) -> None:
    """Rungs 3, 4 and 6 of one method on one data set; of data sets that only `linear` is tried on, rung 6."""
    started = time.process_time()
    if subject.name not in OF_LINEAR:
        found = calibrate(data, path=path_of(method), rungs=[3, 4], targets=TARGETS, worlds=WORLDS, seed=0)
        add_worlds(results, subject.name, method, found)
    real = against_truth(data, subject.truth, method)
    values = score(real) | could_be_listed(real.probability, real.true)
    add_scores(results, f"{subject.name}: {REAL}", method, {name: (v, float("nan")) for name, v in values.items()})
    if method == RAW:
        add_ridge(results, subject)
    results.add(subject.name, method, SPAN, LAST, time.process_time() - started)


def add_worlds(results: Results, name: str, method: str, found: Calibration) -> None:
    """Pooled scores of every world."""
    for plan in found.plans():
        add_scores(results, f"{name}: {plan.name}", method, pooled(found.of(plan)))


def add_scores(results: Results, task: str, method: str, scores: dict[str, tuple[float, float]]) -> None:
    """A row for each score."""
    for name, (value, error) in scores.items():
        results.add(task, method, SPAN, name, value, error)


def could_be_listed(ranking: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Edges in the longest list of which a tenth is wrong at the most, and their share of the true ones."""
    best = longest_list(ranking, true, RATE)
    power = float(true[best].sum() / true.sum()) if true.any() else float("nan")
    return {"longest_0.1": float(len(best)), "longest_power_0.1": power}


def add_ridge(results: Results, subject: Subject) -> None:
    """What the ranking of ridge regression is worth on the same pairs; it states no probabilities."""
    data = subject.logged
    tfs = set(data.tfs)
    edges = Ridge()(data)
    edges = edges[~edges["target"].isin(tfs)]
    weight = edges.pivot_table(index="source", columns="target", values="weight").reindex(list(data.tfs))
    true = truth_matrix(data, subject.truth)[:, [data.genes.index(gene) for gene in weight.columns]].ravel()
    ranking = weight.abs().to_numpy().ravel()
    values = {"auprc": average_precision(ranking, true), **could_be_listed(ranking, true)}
    task = f"{subject.name}: {REAL}"
    results.rows = [row for row in results.rows if (row["task"], row["method"]) != (task, RIDGE)]
    add_scores(results, task, RIDGE, {name: (value, float("nan")) for name, value in values.items()})


def against_truth(data: ExpressionData, truth: pd.DataFrame, method: str) -> Pairs:
    """Pairs of regulators and genes that are none, by a fit of the real cells; what the standard lacks counts as
    wrong."""
    path = path_of(method)
    model = path.model(data)
    inclusion = path.fit(model, data, seed=0).moments["W"].inclusion
    plain = [i for i, gene in enumerate(model.targets) if gene not in set(data.tfs)]
    true = truth_matrix(data, truth)[:, [data.genes.index(model.targets[i]) for i in plain]].ravel()
    return Pairs.stated(inclusion[:, plain].ravel().astype(float), true, np.full(true.shape, "", dtype=object))


# -- data sets ----
def parts(data: ExpressionData, truth: pd.DataFrame, *, seed: int = 0) -> tuple[list[str], list[str], np.ndarray]:
    """Regulators, genes and cells of a part of the data that is quickly fitted: regulators that the truth has, other
    genes with a known regulator among them first."""
    generator = np.random.default_rng(seed)
    known = truth[truth["source"].isin(data.tfs) & truth["target"].isin(data.genes)]
    tfs = sorted(set(known["source"]))
    tfs = sorted(generator.choice(tfs, size=min(NUM_TFS, len(tfs)), replace=False).tolist())
    regulated = set(known.loc[known["source"].isin(tfs), "target"]) - set(data.tfs)
    others = generator.permutation([gene for gene in data.genes if gene not in set(data.tfs)]).tolist()
    genes = sorted(others, key=lambda gene: gene not in regulated)[:NUM_GENES]
    cells = np.sort(generator.permutation(data.num_cells)[:NUM_CELLS])
    return tfs, genes, cells


def part(data: ExpressionData, tfs: list[str], genes: list[str], cells: np.ndarray) -> ExpressionData:
    """That part, with these candidate regulators."""
    chosen = data.select_genes([*tfs, *genes]).annotated(tfs=tfs)
    return chosen.subset(cells).without_constant_genes()


def _linear(folder: Path) -> Subject:
    made = simulate_linear(num_genes=NUM_GENES, num_tfs=20, num_cells=NUM_CELLS, tf_correlation=0.3, seed=11)
    return Subject("simulate linear", made.data, None, made.network)


def _sergio(name: str, layer: str) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        task = sergio_task(folder, name, layer)
        chosen = parts(task.data, task.truths["network"])
        adata = anndata.read_h5ad(folder / name / "expression.h5ad")
        raw = ExpressionData.from_anndata(adata, layer=None if layer == "X" else layer, tfs=task.data.tfs)
        return Subject(task.name, part(task.data, *chosen), part(raw, *chosen), task.truths["network"])

    return make


def _bsubtilis(folder: Path) -> Subject:
    place = folder / "bsubtilis"
    gold = pd.read_csv(place / "gold_standard.csv.gz", dtype=str)
    levels = pd.read_csv(place / "expression.csv.gz", index_col=0)
    tfs = [tf for tf in pd.read_csv(place / "tfs.csv", dtype=str)["tf"] if tf in levels.columns]
    data = ExpressionData.from_frame(levels, tfs=tfs).without_constant_genes()
    return Subject("bsubtilis", part(data, *parts(data, gold)), None, gold)


def _mhsc(folder: Path) -> Subject:
    task = beeline_task(folder, "beeline_mhsc_gm")
    cells = part(task.data.without_constant_genes(), *parts(task.data, task.truths["string"]))
    return Subject("mHSC-GM/string", cells, cells, task.truths["string"])


def _random(split: str, place: int, layer: str) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        task = list(random_grn_tasks(folder, split, layer))[place]
        truth = task.truths["network"]
        chosen = parts(task.data, truth)
        return Subject(f"random_grns {split} {place}:{layer}", part(task.data, *chosen), None, truth)

    return make


def _unseen(dropout: float | None) -> Callable[[Path], Subject]:
    """A network of another kind than any above: with a hub, and clusters of targets that are alike."""

    def make(folder: Path) -> Subject:
        family = RandomGRN(hubs=(1.0, 1.0), copying=(0.5, 0.5))
        noise = None if dropout is None else TechnicalNoise(dropout_percentile=dropout)
        made = simulate_sergio(family, noise=noise, seed=21)
        data = made.data(0, "X" if dropout is not None else "clean").without_constant_genes()
        data = data.normalized("log1p-cpm") if dropout is not None else replace(data, matrix=data.X.log1p())
        name = "sergio unseen" + ("" if dropout is None else f", dropout {dropout:g}")
        return Subject(name, data, None, made.network(0))

    return make


def _beeline(name: str) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        task = beeline_task(folder, name)
        cells = part(task.data.without_constant_genes(), *parts(task.data, task.truths["string"]))
        return Subject(f"{name}/string", cells, None, task.truths["string"])

    return make


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "simulate linear": _linear,
    "sergio_ds1:clean": _sergio("sergio_ds1", "clean"),
    "sergio_ds1:X": _sergio("sergio_ds1", "X"),
    "sergio_ds2:clean": _sergio("sergio_ds2", "clean"),
    "sergio_ds2:counts_dropout_only": _sergio("sergio_ds2", "counts_dropout_only"),
    "bsubtilis": _bsubtilis,
    "mHSC-GM/string": _mhsc,
    **{f"random_grns train {i}:{layer}": _random("train", i, layer) for i in (0, 1) for layer in RANDOM_LAYERS},
    **{f"random_grns val {i}:{layer}": _random("val", i, layer) for i in (1, 2, 3) for layer in RANDOM_LAYERS},
    "sergio_ds3:clean": _sergio("sergio_ds3", "clean"),
    "sergio_ds3:X": _sergio("sergio_ds3", "X"),
    "sergio unseen": _unseen(None),
    "sergio unseen, dropout 60": _unseen(60),
    "beeline_mdc/string": _beeline("beeline_mdc"),
    "beeline_hhep/string": _beeline("beeline_hhep"),
}
OF_LINEAR = tuple(name for name in SUBJECTS if name.startswith(("random", "sergio_ds3", "sergio unseen", "beeline")))
"""Data sets on which only `linear` is tried, against their own truth."""
FOLDERS = {
    **{name: name.partition(":")[0] for name in SUBJECTS if name.startswith("sergio_")},
    **{name: "random_grns" for name in SUBJECTS if name.startswith("random")},
    **{name: name.partition("/")[0] for name in SUBJECTS if name.startswith("beeline")},
    "bsubtilis": "bsubtilis",
    "mHSC-GM/string": "beeline_mhsc_gm",
}
