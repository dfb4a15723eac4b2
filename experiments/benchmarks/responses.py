"""Networks of every method by perturbed cells that they have not seen: the scores of geneRNIB, no known network.

Half of the cells of each condition (Perturb-seq), half of the knocked-down genes (LINCS), or the knock-outs and time
courses (DREAM4, scored on the knock-downs) make the networks; the rest scores them. Every network gives its best two
edges a gene. GENIE3 and GRNBoost2 are run where cells and genes are few. ``linear`` knows the interventions,
``linear, interventions not told`` does not; which methods take which data, `response_networks` says.
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from ...models import ExpressionData
from ...priors import PriorNetwork
from ..files.readers import read_names
from ..response_scores import PerturbedCells, response_scores
from .dream4 import Dream4
from .response_networks import Material, levels, means, methods
from .results import Results

EDGES_A_GENE = 2
SEED = 0
CELLS = "perturbseq_dixit_bmdc", "perturbseq_papalexi_thp1"
LINE = "A375"
DREAM4 = (1, 2, 3, 4)
WHOLE = "whole case"  # a task whose rows say which cases are done
LISTS = {"perturbseq_papalexi_thp1": "collectri_human", "perturbseq_dixit_bmdc": "dorothea_abc_mouse"}  # prior networks


@dataclass(frozen=True, eq=False)
class Case:
    """What to fit; perturbed cells to score on; and networks that are known (DREAM4)."""

    name: str
    material: Material
    held_out: PerturbedCells
    known: dict[str, pd.DataFrame]


def run(folder: Path, results: Results) -> None:
    """All networks of a case in one call; ``se`` is the half width of the 95% interval over 1.96. Cases that are done
    are kept."""
    results.resume()
    for name, make in cases(folder).items():
        if results.value(WHOLE, name, SEED, "CPU s") is not None:
            continue
        results.rows = [row for row in results.rows if row["task"] != name]
        began, case, networks = time.process_time(), make(), {}
        for method, network in methods(case.material).items():
            started = time.process_time()
            networks[method] = network()
            results.add(case.name, method, SEED, "CPU s", time.process_time() - started)
        top = EDGES_A_GENE * len(case.held_out.genes)
        found = response_scores(
            {**networks, **case.known}, case.held_out, tfs=case.material.data.tfs, top=top, seed=SEED
        )
        for row in found.table().to_dict("records"):
            results.add(case.name, row["network"], SEED, row["score"], row["value"], _error(row))
        for row in found.differences("correlation").to_dict("records"):
            score = f"{row['score']}, minus correlation"
            results.add(case.name, row["network"], SEED, score, row["difference"], _error(row))
        results.add(WHOLE, case.name, SEED, "CPU s", time.process_time() - began)


def _error(row: dict[Hashable, Any]) -> float:
    return (row["upper"] - row["lower"]) / 2 / 1.96


def cases(folder: Path) -> dict[str, Callable[[], Case]]:
    """By name: Perturb-seq of two kinds of cells, one LINCS line, four networks of DREAM4."""
    made: dict[str, Callable[[], Case]] = {name: partial(perturb_seq, folder, name) for name in CELLS}
    made |= {f"lincs_rnai {LINE}": partial(knock_downs, folder)}
    return made | {f"dream4 size100_{n}": partial(dream4, folder, n) for n in DREAM4}


def halves(folder: Path, name: str) -> tuple[anndata.AnnData, ExpressionData, np.ndarray, np.ndarray]:
    """A file of Perturb-seq, its log counts per million, labels of its cells, and which half makes the networks."""
    adata = anndata.read_h5ad(folder / name / "expression.h5ad")
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    first = _half(labels, np.random.default_rng(SEED))
    return adata, ExpressionData.from_anndata(adata).normalized("log1p-cpm"), labels, first


def perturb_seq(folder: Path, name: str) -> Case:
    """Log counts per million; regulators are the file's TFs and the perturbed genes that are measured, or all."""
    adata, data, labels, first = halves(folder, name)
    measured = set(labels) & set(adata.var_names)
    tfs = sorted({*adata.var_names[adata.var["is_tf"]], *measured}) if "is_tf" in adata.var else None
    groups = adata.obs["bio_rep"].astype(str).to_numpy() if "bio_rep" in adata.obs else None
    held = PerturbedCells.of(
        data.subset(~first), labels[~first].tolist(), groups=None if groups is None else groups[~first].tolist()
    )
    made = data.subset(first).annotated(tfs=tfs).without_constant_genes()
    counts = ExpressionData.from_anndata(adata).subset(first).annotated(tfs=tfs).select_genes(made.genes)
    known = PriorNetwork.read(folder / "priors" / f"{LISTS[name]}.csv.gz", name=LISTS[name])
    material = Material(
        _perturbed(made, labels[first]), tuple(labels[first]), counts, means(made, labels[first]), None, {"list": known}
    )
    return Case(name, material, held, {})


def knock_downs(folder: Path) -> Case:
    """Log levels of one cell line; half of the knocked-down genes make the networks, half score them."""
    adata = anndata.read_h5ad(folder / "lincs_rnai" / f"{LINE}.h5ad")
    control = adata.obs["is_control"].to_numpy(dtype=bool)
    labels = np.where(control, "control", adata.obs["perturbation"].astype(str))
    listed = set(read_names(folder / "priors" / "tfs_human.csv"))
    tfs = [gene for gene in adata.var_names if gene in listed]
    drawn = np.random.default_rng(SEED).random(len(labels)) < 0.5
    data = ExpressionData.from_anndata(adata)
    data = ExpressionData(data.X.log1p(), data.genes)
    held = PerturbedCells.of(data.subset(~drawn | control), labels[~drawn | control].tolist())
    made = data.subset(drawn | control).annotated(tfs=tfs).without_constant_genes()
    made = _perturbed(made, labels[drawn | control])
    known = PriorNetwork.read(folder / "priors" / "collectri_human.csv.gz", name="CollecTRI")
    material = Material(made, tuple(labels[drawn | control]), None, levels(made, 0.0), None, {"list": known})
    return Case(f"lincs_rnai {LINE}", material, held, {})


def dream4(folder: Path, number: int) -> Case:
    """Knock-outs and time courses make the networks, knock-downs score them; the true network is scored beside."""
    place = folder / "dream4" / f"size100_{number}"
    outs, downs = (pd.read_csv(place / f"{kind}.csv.gz", index_col=0) for kind in ("knockouts", "knockdowns"))
    courses = pd.read_csv(place / "timeseries.csv.gz")
    points = courses[list(outs.columns)]
    still = points[courses["time"] == 0]
    frame = pd.concat([outs, points], ignore_index=True)
    labels = [*map(str, outs.index), *(["control"] * len(points))]
    made = ExpressionData.from_frame(frame, tfs=list(outs.columns), perturbed=labels)
    scored = ExpressionData.from_frame(pd.concat([downs, still], ignore_index=True))
    held = PerturbedCells.of(scored, [*map(str, downs.index), *(["control"] * len(still))])
    truth = pd.read_csv(place / "network.csv", dtype={"source": str, "target": str})
    dream = Dream4.read(place)
    timed = ExpressionData.from_frame(points, tfs=list(outs.columns))
    timed = timed.with_times(courses["time"].tolist(), courses["series"].astype(str).tolist())
    material = Material(made, tuple(labels), None, dream.data(knockdowns=False, ends=True), timed)
    return Case(f"dream4 size100_{number}", material, held, {"true network": truth.rename(columns={"sign": "weight"})})


def _half(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """``(cell,)`` half of the cells of every label."""
    first = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        cells = generator.permutation(np.flatnonzero(labels == label))
        first[cells[: len(cells) // 2]] = True
    return first


def _perturbed(data: ExpressionData, labels: np.ndarray) -> ExpressionData:
    """With interventions on the perturbed genes that are measured; none where none is."""
    there = [label if label in set(data.genes) else "control" for label in labels.tolist()]
    return data.annotated(perturbed=there)
