"""`pyrogrn infer --method linear` with its defaults, the trial on made targets included, as a process of its own: wall
and CPU seconds, memory at its peak, and what it lists, on data of the sizes that people have. Two threads.

Rows stay where they are made: a size that has its rows is not run again. `PYROGRN_SIZES=0,1` runs the first two alone;
those of `LARGE`, of a quarter of an hour each, are run only where they are asked for: `PYROGRN_SIZES=4,5`.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import anndata
import numpy as np
import pandas as pd

from ...inference import Posterior
from ...inference.calibration import expected_calibration_error
from ...inference.draws.edge_table import RAW
from ...models.simulators import simulate_linear
from ..scores import average_precision
from .engine import Case, list_of
from .memory import ended
from .results import Results

CASES = (
    Case(2000, 1000, 100, 0.1, False),
    Case(5000, 3000, 400, 0.03, False),
    Case(10000, 5000, 800, 0.02, False),
    Case(10000, 10000, 1500, 0.01, False),
)
TINY = Case(200, 40, 8, 0.2, False)
LARGE = (
    Case(20000, 20000, 1800, 0.01, False),
    Case(50000, 10000, 1500, 0.01, False),
)
BASE = Case(2000, 1500, 200, 0.05, False)
GROWN = {"genes": BASE._replace(genes=3000), "regulators": BASE._replace(tfs=400, edge=0.025)}
"""Twice as many of one thing, as many edges to a gene."""
THREADS = 2
METHOD = f"infer --method linear --threads {THREADS}"


class Spent(NamedTuple):
    """What a process took: seconds by the clock and of all its threads, and bytes at its peak."""

    wall: float
    cpu: float
    memory: float


def run(folder: Path, results: Results, cases: tuple[Case, ...] = CASES, grown: bool = True) -> None:
    """All rows that are not there yet; ``folder`` is not read."""
    del folder
    results.resume()
    some = os.environ.get("PYROGRN_SIZES")
    run_tiny(results)
    for i, case in enumerate((*cases, *LARGE)):
        wanted = i < len(cases) if some is None else str(i) in some.split(",")
        if wanted and results.value(case.task, METHOD, 0, "CPU seconds") is None:
            run_case(results, case)
    if grown and (some is None or "grown" in some):
        run_grown(results)


def run_tiny(results: Results) -> None:
    """What a run costs that samples next to nothing: the first one on a machine, which compiles the sampler and keeps
    it, and any later one. It comes before the others, which are none of the first."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_cells(TINY, place)
        kept = {"NUMBA_CACHE_DIR": str(place / "compiled")}
        first, later = infer(place, **kept), infer(place, **kept)
        infer(place)  # compiles where the other sizes find it
    if results.value(TINY.task, METHOD, 0, "CPU seconds") is None:
        results.add(TINY.task, METHOD, 0, "CPU seconds, first run", first.cpu)
        results.add(TINY.task, METHOD, 0, "CPU seconds", later.cpu)
        results.add(TINY.task, METHOD, 0, "wall seconds", later.wall)


def run_case(results: Results, case: Case) -> None:
    """One size: what it took, and what is right of what it says."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        truth = write_cells(case, place)
        add = lambda score, value: results.add(case.task, METHOD, 0, score, value)
        add("load average before", os.getloadavg()[0])
        spent = infer(place)
        add("wall seconds", spent.wall)
        add("CPU seconds", spent.cpu)
        add("GB at the peak", spent.memory / 1e9)
        posterior = Posterior.load(place / "run" / "model")
        add("blocks of sweeps", posterior.history.elbo.shape[1])
        plain = [i for i, gene in enumerate(posterior.model.coords["target"]) if gene in truth.columns]
        present = truth[[posterior.model.coords["target"][i] for i in plain]].to_numpy().ravel()
        for what, table in (
            ("model's", posterior.attributes.get(RAW, posterior.moments["W"].inclusion)),
            ("recalibrated", posterior.moments["W"].inclusion),
        ):
            probability = table[:, plain].ravel().astype(np.float64)
            listed, wrong = list_of(probability, present)
            add(f"{what}: average precision", average_precision(probability, present))
            add(f"{what}: ECE", expected_calibration_error(probability, present))
            add(f"{what}: edges expected over true", probability.sum() / present.sum())
            add(f"{what}: listed at 10%", listed)
            add(f"{what}: wrong of the listed", wrong / max(listed, 1))


def run_grown(results: Results) -> None:
    """How much more CPU time is taken for twice as many genes, and regulators."""
    for name, case in {"": BASE, **GROWN}.items():
        if results.value(case.task, METHOD, 0, "CPU seconds") is None:
            with tempfile.TemporaryDirectory() as place:
                write_cells(case, Path(place))
                results.add(case.task, METHOD, 0, "CPU seconds", infer(Path(place)).cpu)
        if name:
            before, after = (results.value(c.task, METHOD, 0, "CPU seconds") for c in (BASE, case))
            assert before is not None
            assert after is not None
            results.add(BASE.task, METHOD, 0, f"exponent in {name}", float(np.log2(after / before)))


def write_cells(case: Case, place: Path) -> pd.DataFrame:
    """``cells.h5ad`` and ``tfs.csv``; returns whether each edge into a gene that is no regulator exists."""
    simulation: Any = simulate_linear(
        num_genes=case.genes, num_tfs=case.tfs, num_cells=case.cells, edge_probability=case.edge, seed=0
    )
    data = simulation.data
    cells = anndata.AnnData(data.X.numpy().astype(np.float32), var=pd.DataFrame(index=list(data.genes)))
    cells.write_h5ad(place / "cells.h5ad")
    pd.Series(data.tfs, name="tf").to_csv(place / "tfs.csv", index=False)
    present = pd.DataFrame(np.asarray(simulation.W)[0] != 0, index=data.tfs, columns=data.genes)
    return present.drop(columns=list(data.tfs))


def infer(place: Path, *options: str, **variables: str) -> Spent:
    """Run the command on what `write_cells` has written, into ``run``, with more ``options``, and with ``variables`` in
    its environment.

    Raises
    ------
    RuntimeError
        It failed.
    """
    words = ["infer", "cells.h5ad", "--method", "linear", "--tfs", "tfs.csv", "--threads", str(THREADS)]
    words += ["--out", "run", "--overwrite", *options]
    parent = Path(__file__).parents[3]
    # as users have it: threads as the command says, and files of a package compiled once
    others = ("OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    before = {name: value for name, value in os.environ.items() if name not in others}
    environment = before | variables | {"PYTHONPATH": os.pathsep.join([str(parent), os.environ.get("PYTHONPATH", "")])}
    started = time.perf_counter()
    with (place / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "pyrogrn", *words], cwd=place, env=environment, stdout=said, stderr=said
        )
        usage, memory = ended(process)
    wall = time.perf_counter() - started
    if process.returncode != 0:
        raise RuntimeError(f"infer ended with {process.returncode}: {(place / 'said.txt').read_text()[-500:]}")
    return Spent(wall, usage.ru_utime + usage.ru_stime, memory)
