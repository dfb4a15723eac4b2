"""Gene programs at size: whole commands in processes of their own, and where their time goes.

Rows stay where they are made: what is there is not run again. `PYROGRN_SIZES=0` runs the first size alone; `LARGE`, of
minutes on two threads and 4 GB, only where it is asked for: `PYROGRN_SIZES=2`.
"""

import importlib.util
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import torch

from ...inference import Blocked, fit
from ...inference.datatree import prior_draws
from ...inference.factors.start import arrange, start
from ...inference.factors.sweep import GramRound
from ...models import PPCA, ExpressionData, FactorModel, MuVI
from ...models.simulators import FactorSimulation, simulate_muvi
from ...priors import Take
from .results import Results, mean_se
from .whole_command import whole

SIZES = ((1000, 500, 10), (5000, 2000, 30))  # cells, genes, sets of 50 genes, a tenth of each hidden
LARGE = ((50000, 5000, 50),)  # whole commands alone, with two threads
ROUNDS, DRAWS = 6, 24  # timed, of the ascent and of the posterior
HELDOUT = 1000  # cells beside the training ones, on which other programs are compared
PARTS = "MuVI, horseshoe"
FREE = "2,000 x 1,000 x 10, free factors"


def simulated(cells: int, genes: int, sets: int) -> FactorSimulation:
    """Cells from programs with gene sets."""
    return simulate_muvi(num_cells=cells, num_genes=genes, num_sets=sets, set_size=50, hidden=0.1, seed=0)


def named(cells: int, genes: int, sets: int) -> str:
    """Of a size."""
    return f"{cells:,} x {genes:,} x {sets}"


def run(folder: Path, results: Results) -> None:
    """Whole commands of `muvi` and `ppca`, their parts, and mofapy2 where it is installed; ``folder`` is not read."""
    del folder
    results.resume()
    some = os.environ.get("PYROGRN_SIZES")
    for i, size in enumerate((*SIZES, *LARGE)):
        if i < len(SIZES) if some is None else str(i) in some.split(","):
            run_size(results, size, threads=1 if i < len(SIZES) else 2)
    if some is None:
        beside(results)


def run_size(results: Results, size: tuple[int, int, int], *, threads: int) -> None:
    """What is not there yet of one size; on one thread also where the time goes."""
    task = named(*size)
    missing = lambda method, score: results.value(task, method, 0, score) is None
    parted = threads == 1 and missing(PARTS, "CPU seconds, prior draws of the DataTree")
    wanted = [m for m in METHODS if missing(f"infer {m}", "wall seconds, fit")]
    if not parted and not wanted:
        return
    simulation = simulated(*size)
    if parted:
        for score, value in parts(simulation).items():
            results.add(task, PARTS, 0, score, value)
    with tempfile.TemporaryDirectory(dir=results.path.parent) as scratch:
        place = Path(scratch)
        write(simulation, place)
        del simulation  # a gigabyte, at a large size
        for method in wanted:
            load = {"load average before": os.getloadavg()[0]}
            for score, value in (load | command(place, method, size[2], threads)).items():
                results.add(task, f"infer {method}", 0, score, value)


# -- parts, in this process ----
def parts(simulation: FactorSimulation) -> dict[str, float]:
    """CPU seconds of statistics, a round of four restarts, a draw, and prior draws."""
    clock = time.process_time
    started = clock()
    model = MuVI(simulation.data, gene_sets={"sets": simulation.gene_sets}, num_factors=2)
    found = {"CPU seconds, statistics": clock() - started}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        engine, take = GramRound(model), Take(draws=False)
        state, each = arrange(engine, start(engine, 4)), []
        for _ in range(ROUNDS):
            started = clock()
            state = engine(state, take)
            each.append(clock() - started)
    found["CPU seconds, round of four restarts"] = float(np.median(each))
    for number in (1, DRAWS + 1):  # the difference is the draws
        started = clock()
        fit(model, guide=Blocked(), restarts=1, num_steps=1, num_draws=number)
        found[f"{number}"] = clock() - started
    found["CPU seconds, before the first draw"] = found.pop("1")
    found["CPU seconds, draw"] = (found.pop(f"{DRAWS + 1}") - found["CPU seconds, before the first draw"]) / DRAWS
    started = clock()
    prior_draws(model)
    return found | {"CPU seconds, prior draws of the DataTree": clock() - started}


# -- whole commands ----
METHODS = ("muvi", "ppca")


def write(simulation: FactorSimulation, place: Path) -> None:
    """The cells and the gene sets as files."""
    data = simulation.data
    obs, var = (pd.DataFrame(index=names) for names in ([f"c{i}" for i in range(data.num_cells)], list(data.genes)))
    anndata.AnnData(data.X.numpy(), obs=obs, var=var).write_h5ad(place / "cells.h5ad")
    sets = "".join("\t".join([name, "", *members]) + "\n" for name, members in simulation.gene_sets.items())
    (place / "sets.gmt").write_text(sets)


def command(place: Path, method: str, factors: int, threads: int) -> dict[str, float]:
    """From a file to the report, by `infer` with its defaults."""
    own = ["--gene-sets", f"sets={place / 'sets.gmt'}"] if method == "muvi" else ["--factors", str(factors)]
    out = place / method
    words = [str(place / "cells.h5ad"), "--method", method, *own, "--threads", str(threads), "--out", str(out)]
    found = whole(words, threads)
    history = json.loads((out / "diagnostics.json").read_text())["history"]
    return found | {"wall seconds, fit": float(history["seconds"])}


# -- beside others ----
def beside(results: Results) -> None:
    """2,000 cells × 1,000 genes × 10 programs and as many free factors: CPU seconds and density of other cells, all
    from point estimates of loadings and noise, so that only these are compared."""
    methods: dict[str, Any] = {"MuVI, blocked": ours(MuVI), "PPCA, blocked": ours(PPCA)}
    if importlib.util.find_spec("mofapy2") is not None:
        methods["mofapy2"] = mofa
    else:
        print("mofapy2 is not installed: its rows are left out")
    methods = {n: m for n, m in methods.items() if results.value(FREE, n, "0-2", "held-out log density") is None}
    whole_data = simulated(2000 + HELDOUT, 1000, 10).data
    train = whole_data.subset(np.arange(2000))
    unit = train.X.double().std(0).numpy()
    Y = (whole_data.X.double().numpy() - train.X.double().mean(0).numpy()) / unit
    for name, method in methods.items():
        seconds, density = [], []
        for seed in range(3):
            started = time.process_time()
            W, noise = method(Y[:2000], train.genes, seed)
            seconds.append(time.process_time() - started)
            density.append(plain_density(Y[2000:], W, noise))
        for score, values in {"CPU seconds": seconds, "held-out log density": density}.items():
            results.add(FREE, name, "0-2", score, *mean_se(values))


def ours(kind: type[FactorModel]) -> Any:
    """Loadings and noise of a single start, and as many draws as give a mean."""

    def fitted(Y: np.ndarray, genes: tuple[str, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
        data = ExpressionData(torch.tensor(Y, dtype=torch.float32), genes)
        made: Any = kind
        model: FactorModel = made(data, num_factors=10)
        posterior = fit(model, restarts=1, num_draws=50, seed=seed)
        scale = model.scale.numpy()
        noise = np.broadcast_to(posterior.draws["noise_variance"].mean((0, 1)), len(genes))
        return posterior.moments["W"].mean * scale, noise * scale**2

    return fitted


def mofa(Y: np.ndarray, genes: tuple[str, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Loadings and noise of mofapy2 with its defaults and ten factors."""
    from mofapy2.run.entry_point import entry_point

    entry = entry_point()
    entry.set_data_options(scale_views=False)
    entry.set_data_matrix([[Y]], features_names=[list(genes)])
    entry.set_model_options(factors=10)
    entry.set_train_options(seed=seed, verbose=False, quiet=True)
    entry.build()
    entry.run()
    expected = entry.model.getExpectations()
    tau = expected["Tau"][0]
    return np.asarray(expected["W"][0]["E"]).T, 1 / np.asarray(tau["E"] if isinstance(tau, dict) else tau)[0]


def plain_density(Y: np.ndarray, W: np.ndarray, noise: np.ndarray) -> float:
    """Mean log density of cells under N(0, WᵀW + Ψ)."""
    lower = np.linalg.cholesky(W.T @ W + np.diag(noise))
    white = np.linalg.solve(lower, Y.T)
    log_det = 2 * np.log(np.diag(lower)).sum()
    return float(-0.5 * ((white**2).sum(0).mean() + log_det + len(noise) * np.log(2 * np.pi)))
