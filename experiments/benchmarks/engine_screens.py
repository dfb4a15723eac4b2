"""Files in which many genes are perturbed, each in cells of its own: `pyrogrn infer --method linear` as a process,
and a block of its sweeps with a Gram matrix of each perturbed gene in place of the rows that it leaves out.

A made screen of a thousand genes, all of them perturbed in five cells each, and the knock-downs of one LINCS line, of
which half make the network (as in `responses`).
"""

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from ...inference import Posterior, SparseGibbs
from ...inference.draws.edge_table import RAW
from ...models import ExpressionData, LinearNetwork, linear
from ...priors import SpikeSlab
from ..scores import average_precision
from . import engine_command, responses
from .engine import list_of
from .results import Results

CELLS, GENES, TFS, EACH = 6000, 1000, 300, 5
MADE = f"made screen, {CELLS} x {GENES} genes x {TFS} TFs, each gene perturbed in {EACH}"
LINCS = f"lincs_rnai {responses.LINE}"
METHOD = "infer --method linear --threads 1 --perturbation-key perturbation"
BLOCKS = 10  # of sweeps that are timed, after as many


def run(folder: Path, results: Results) -> None:
    """All rows that are not there yet; ``folder`` holds ``lincs_rnai``."""
    results.resume()
    make: dict[str, Callable[[], tuple[ExpressionData, pd.DataFrame | None]]] = {
        LINCS: lambda: (responses.knock_downs(folder).material.data, None),
        MADE: made,
    }
    for task, of in make.items():
        if results.value(task, METHOD, 0, "CPU seconds") is None:
            whole(results, task, *of())
    if results.value(LINCS, "matrices", 0, "CPU seconds a block") is None:
        blocks(results, LINCS, make[LINCS]()[0])


def made(
    cells: int = CELLS, genes: int = GENES, tfs: int = TFS, each: int = EACH
) -> tuple[ExpressionData, pd.DataFrame]:
    """Cells of a network in which each gene has up to five regulators among those before it, all genes perturbed in
    ``each`` cells; and which edges there are, (tf, gene)."""
    rng = np.random.default_rng(0)
    names = [f"G{i}" for i in range(genes)]
    held = rng.permutation(cells)[: each * genes].reshape(genes, each)
    X, W = np.zeros((cells, genes)), np.zeros((tfs, genes))
    labels = np.full(cells, "control", dtype=object)
    for g in range(genes):
        before = min(g, tfs)
        sources = (
            rng.choice(before, size=min(int(rng.integers(1, 6)), before), replace=False) if before else np.zeros(0, int)
        )
        W[sources, g] = rng.choice([-1, 1], len(sources)) * rng.uniform(0.25, 0.7, len(sources))
        X[:, g] = X[:, :tfs] @ W[:, g] + rng.normal(size=cells)
        X[held[g], g] = -3 + 0.3 * rng.normal(size=each)
        labels[held[g]] = names[g]
    data = ExpressionData.from_frame(pd.DataFrame(X + 5, columns=names), tfs=names[:tfs])
    return data.annotated(perturbed=labels.tolist()), pd.DataFrame(W != 0, index=names[:tfs], columns=names)


def whole(results: Results, task: str, data: ExpressionData, truth: pd.DataFrame | None) -> None:
    """The command on a file of these cells: what it took, and what of its list is wrong where that is known."""
    add = lambda score, value: results.add(task, METHOD, 0, score, value)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_cells(data, place)
        spent = engine_command.infer(place, "--perturbation-key", "perturbation", "--threads", "1")
        add("perturbed genes", len(np.unique(data.perturbed[:, 1])) if data.perturbed is not None else 0)
        add("CPU seconds", spent.cpu)
        add("GB at the peak", spent.memory / 1e9)
        add("GB planned", planned((place / "said.txt").read_text()))
        posterior = Posterior.load(place / "run" / "model")
        add("blocks of sweeps", posterior.history.elbo.shape[1])
        if truth is None:
            return
        targets = [i for i, gene in enumerate(posterior.model.coords["target"]) if gene not in truth.index]
        present = truth.to_numpy()[:, targets].ravel()
        stated = posterior.attributes.get(RAW, posterior.moments["W"].inclusion)[:, targets].ravel().astype(float)
        listed, wrong = list_of(stated, present)
        add("model's: average precision", average_precision(stated, present))
        add("model's: listed at 10%", listed)
        add("model's: wrong of the listed", wrong / max(listed, 1))


def write_cells(data: ExpressionData, place: Path) -> None:
    """``cells.h5ad``, with what was perturbed in each cell, and ``tfs.csv``."""
    labels = np.full(data.num_cells, "control", dtype=object)
    if data.perturbed is not None:
        cell, gene = data.perturbed.numpy().T
        labels[cell] = np.asarray(data.genes, dtype=object)[gene]
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(data.num_cells)])
    var = pd.DataFrame(index=list(data.genes))
    anndata.AnnData(data.X.numpy().astype(np.float32), obs=obs, var=var).write_h5ad(place / "cells.h5ad")
    pd.Series(data.tfs, name="tf").to_csv(place / "tfs.csv", index=False)


def planned(said: str) -> float:
    """GB that the command expected at its peak, of what it said.

    Raises
    ------
    ValueError
        It said nothing of it.
    """
    found = re.search(r"memory: about ([\d.]+) (GB|MB) at its peak", said)
    if found is None:
        raise ValueError("the command said nothing of its memory")
    return float(found[1]) * (1.0 if found[2] == "GB" else 1e-3)


def blocks(results: Results, task: str, data: ExpressionData) -> None:
    """CPU seconds of a block of sweeps and the hyperparameters after it, of four chains on one thread."""
    for method, share in (("rows", linear.FEW_ROWS), ("matrices", 0.0)):
        with few_rows(share):
            model = LinearNetwork.from_data(data, edge_prior=SpikeSlab(unit="noise"))
        kernel = SparseGibbs().kernel(model, threads=1)
        kernel.start(2 * BLOCKS)
        for _ in range(BLOCKS):  # the first of them compiles
            kernel.step()
        started = time.process_time()
        for _ in range(BLOCKS):
            kernel.step()
        results.add(task, method, 0, "CPU seconds a block", (time.process_time() - started) / BLOCKS)


@contextmanager
def few_rows(share: float) -> Iterator[None]:
    """Networks that are made meanwhile have rows for targets of which so many cells are clamped
    (`models.linear.FEW_ROWS`)."""
    before = linear.FEW_ROWS
    linear.FEW_ROWS = share
    try:
        yield
    finally:
        linear.FEW_ROWS = before
