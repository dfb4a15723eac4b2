"""Measured courses as section ``phoenix_real`` takes them: breast tumours, bone marrow and yeast, each with the network
that an assay knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...inference.neural_ode.training import Trained, train
from ...inference.pruning import Schedule, Sparsifier
from ...models.data.transitions import Transitions
from ...models.dynamics.phoenix_network import PhoenixNetwork
from ...models.dynamics.prior_loss import prior_matrix
from ...priors import PriorNetwork
from ...priors.gene_sets import read_gmt

EPOCHS = 500  # at most, the paper's; training ends after 40 without a better validation error
PAIRS = 16  # pairs of consecutive points in a step, as in the authors' settings for breast cancer
LEAST_STEPS = 6  # in an epoch, where a course has few pairs
BREAST_HIDDEN = {500: 50, 2000: 100}  # the paper: 300 for 11,165
BREAST_SCHEDULE = Schedule(10, 0.9, every=20)  # the paper's
COURSE = 10.0  # length of a pseudotime from 0 to 1: rates of about one per unit are then a tenth of the course
HELD = 8  # points in the breast course's intervals for validation and for the test, as many as in the paper
VALIDATION_AT, TEST_AT = (120, 20, 160), (40, 130, 70)  # first points of those intervals, by seed
TRAIN, VALIDATE = "batch12", "batch11"  # S1D2 and S1D1, as in the paper; the others are tests
CELLS = 10  # consecutive cells whose mean is a point of a course
LIBRARIES = ("hallmark", "kegg", "reactome")


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
