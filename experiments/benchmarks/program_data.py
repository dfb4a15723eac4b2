"""Gene programs: held-out density of real cells, speed, and more cells than fit in memory."""

import importlib.util
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA, FactorAnalysis

from ...inference.answers.cells import log_density
from ...inference.factors.alignment import matching
from ...models import PPCA, ExpressionData, FactorModel, MuVI
from ...models.simulators import FactorSimulation, simulate_muvi
from ...priors import HorseshoeLoading, LoadingPrior, NormalLoading, SpikeSlabLoading, read_gmt
from ..files.readers import read_expression
from ..tasks import sergio_task
from .programs import Table, blocked
from .results import Results
from .speed import PeakMemory

HELD_OUT = 0.2
FACTORS = (5, 10, 20)
SPLITS = (0, 1, 2)
CELLS, GENES, PROGRAMS = 100_000, 2000, 20


# -- held-out cells ----
def bone_marrow(folder: Path) -> ExpressionData:
    """Cells of three lineages, log1p, each once: cells listed under a second lineage are left out of that."""
    adata = anndata.read_h5ad(folder / "bone_marrow" / "trajectories.h5ad")
    X = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    once = ~pd.DataFrame(X).duplicated().to_numpy()
    frame = pd.DataFrame(np.log1p(X[once]), columns=list(adata.var_names))
    data = ExpressionData.from_frame(frame, context=adata.obs["lineage"].astype(str)[once].tolist())
    return data.without_constant_genes()


def heldout_data(folder: Path) -> Iterator[tuple[str, ExpressionData, dict[str, dict[str, tuple[str, ...]]]]]:
    """Name, cells, and gene sets where there are any."""
    hallmark = read_gmt(folder / "priors" / "msigdb_hallmark_v7.5.1.gmt.gz")
    yield "bone_marrow", bone_marrow(folder), {"hallmark": hallmark}
    for layer in ("clean", "counts_dropout_only"):
        yield f"sergio_ds2:{layer}", sergio_task(folder, "sergio_ds2", layer).data, {}


def run_heldout(folder: Path, results: Results) -> None:
    """Log density of cells left out, per cell, in units of the data; each group has its own means for every method."""
    results.resume_parts()
    for name, data, sets in heldout_data(folder):
        results.part(name, partial(heldout, results, name, data, sets))


def heldout(results: Results, name: str, data: ExpressionData, sets: dict[str, dict[str, tuple[str, ...]]]) -> None:
    """Rows of one data set."""
    table = Table()
    for seed in SPLITS:
        order = np.random.default_rng(seed).permutation(data.num_cells)
        number = int(HELD_OUT * data.num_cells)
        train = data.subset(np.sort(order[number:])).without_constant_genes()
        test = data.subset(np.sort(order[:number])).select_genes(train.genes)
        for m in FACTORS:
            for method, scores in heldout_scores(train, test, m, sets).items():
                table.add(name, method, scores)
    table.write(results)


def heldout_scores(
    train: ExpressionData, test: ExpressionData, m: int, sets: dict[str, dict[str, tuple[str, ...]]]
) -> dict[str, dict[str, float]]:
    """Scores by method."""
    found = {}
    models: dict[str, FactorModel] = {
        "PPCA": PPCA(train, num_factors=m, standardize=True),
        "MuVI, normal": MuVI(train, num_factors=m, loading_prior=NormalLoading(scale=None)),
        "MuVI, horseshoe": MuVI(train, num_factors=m),
        "MuVI, spike-slab": MuVI(train, num_factors=m, loading_prior=SpikeSlabLoading()),
    }
    if sets and m == FACTORS[0]:  # beside the programs of the sets a few free ones are enough
        models["MuVI, horseshoe, gene sets"] = MuVI(train, num_factors=m, gene_sets=sets)
    for name, model in models.items():
        started = time.process_time()
        posterior = blocked(model, num_draws=50)
        seconds = time.process_time() - started
        density = float(log_density(posterior, test, num_draws=50).mean())
        bound = float(posterior.history.elbo[:, -1].max()) / train.num_cells
        bound -= float(model.scale.double().log().sum())  # to units of the data
        label = f"{name} + {m}" if len(model.factors) > m else f"{name}, {m}"
        found[label] = {"held-out log density": density, "ELBO per cell": bound, "seconds": seconds}
    reference = models["PPCA"]
    fitted, new = (reference.prepare(data)[0].double().numpy() for data in (train, test))
    unit = float(reference.scale.double().log().sum())
    for name, method in {"PCA": PCA(m), "FactorAnalysis": FactorAnalysis(m, svd_method="lapack")}.items():
        started = time.process_time()
        method.fit(fitted)
        seconds = time.process_time() - started
        density = float(method.score_samples(new).mean()) - unit
        found[f"{name}, {m}"] = {"held-out log density": density, "seconds": seconds}
    for scores in found.values():  # cells differ more than methods do: the difference on the same cells
        scores["gain over FactorAnalysis"] = scores["held-out log density"] - density
    return found


# -- speed ----
def loading_correlation(W: np.ndarray, truth: np.ndarray, *, free: bool) -> float:
    """Mean over programs of the correlation of estimated and true loadings; unlabelled factors are matched first."""
    order, sign = matching(W, truth, np.full(len(W), free))
    W = W[order] * sign[:, None]
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(W, truth, strict=True)]))


def run_speed(folder: Path, results: Results) -> None:
    """1,000 cells × 500 genes × 10 programs, a tenth of each set hidden; ``folder`` is not read."""
    table, task = Table(), "1,000 x 500 x 10"
    methods: dict[str, tuple[Callable[[FactorSimulation], np.ndarray], bool]] = {
        "MuVI, HorseshoeLoading": (partial(ours, prior=HorseshoeLoading()), False),
        "MuVI, SpikeSlabLoading": (partial(ours, prior=SpikeSlabLoading()), False),
        "PCA": (partial(theirs, method=PCA(10)), True),
        "FactorAnalysis, varimax": (partial(theirs, method=FactorAnalysis(10, rotation="varimax")), True),
    }
    if importlib.util.find_spec("muvi") is not None:
        methods["muvi package"] = (muvi_package, False)
    else:
        print("the muvi package is not installed: its rows are left out")
    for seed in range(6):  # the first warms up
        simulation = simulate_muvi(hidden=0.1, seed=seed)
        for name, (method, free) in methods.items():
            started = time.process_time()
            W = method(simulation)
            seconds = time.process_time() - started
            if seed:
                score = loading_correlation(W, simulation.W.numpy(), free=free)
                table.add(task, name, {"seconds": seconds, "loading correlation": score})
    table.write(results)


def ours(simulation: FactorSimulation, prior: LoadingPrior) -> np.ndarray:
    """Loadings in units of the data, from cells to draws."""
    model = MuVI(simulation.data, gene_sets={"sets": simulation.gene_sets}, num_factors=0, loading_prior=prior)
    return blocked(model).moments["W"].mean * model.scale.numpy()


def theirs(simulation: FactorSimulation, method: PCA | FactorAnalysis) -> np.ndarray:
    """Loadings of scikit-learn in units of the data; genes are standardised first, as the model does."""
    Y = simulation.data.X.numpy()
    return method.fit((Y - Y.mean(0)) / Y.std(0)).components_ * Y.std(0)


def muvi_package(simulation: FactorSimulation) -> np.ndarray:
    """Loadings by the `muvi` package, with its defaults and the same gene sets."""
    import muvi

    genes, data = list(simulation.data.genes), simulation.data.X.numpy()
    masks = np.array([[g in set(members) for g in genes] for members in simulation.gene_sets.values()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaled = (data - data.mean(0)) / data.std(0)
        model = muvi.MuVI(observations={"rna": scaled}, prior_masks={"rna": masks}, device="cpu")
        model.fit(verbose=False, seed=0)
    return np.asarray(model.get_factor_loadings()["rna"]) * data.std(0)


# -- from disk ----
def run_large(folder: Path, results: Results) -> None:
    """100,000 cells × 2,000 genes × 20 programs, streamed from disk in a process of its own; ``folder`` is not read."""
    task = f"{CELLS:,} x {GENES:,} x {PROGRAMS}, from disk"
    with tempfile.TemporaryDirectory(dir=results.path.parent) as scratch:
        path = Path(scratch) / "cells.h5ad"
        sets = write_cells(path)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            scores = pool.apply(fit_from_disk, (path, sets))
    for score, value in scores.items():
        results.add(task, "MuVI, blocked", 0, score, value)


def write_cells(path: Path) -> dict[str, tuple[str, ...]]:
    """An h5ad of cells made of programs of 200 genes each, dense float32, written in blocks; returns the gene sets."""
    generator = np.random.default_rng(0)
    genes = [f"G{g:04d}" for g in range(GENES)]
    members = np.stack([generator.permutation(GENES) < 200 for _ in range(PROGRAMS)])
    W = (generator.standard_normal((PROGRAMS, GENES)) * members).astype(np.float32)
    empty = anndata.AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(CELLS)]), var=pd.DataFrame(index=genes))
    empty.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        table = file.create_dataset("X", (CELLS, GENES), dtype="float32", chunks=(1024, GENES))
        table.attrs["encoding-type"], table.attrs["encoding-version"] = "array", "0.2.0"
        for start in range(0, CELLS, 10_000):
            x = generator.standard_normal((10_000, PROGRAMS), dtype=np.float32)
            noise = generator.standard_normal((10_000, GENES), dtype=np.float32)
            table[start : start + 10_000] = x @ W + 0.7 * noise
    np.save(path.with_suffix(".npy"), W)
    return {f"set_{k + 1}": tuple(np.asarray(genes)[row].tolist()) for k, row in enumerate(members)}


def fit_from_disk(path: Path, sets: dict[str, tuple[str, ...]]) -> dict[str, float]:
    """Times, the largest resident set, and how well the programs are found; alone in its process."""
    torch.set_num_threads(1)
    with PeakMemory() as memory:
        started = time.process_time()
        data = read_expression(path, tfs=None, backed=True)
        model = MuVI(data, gene_sets={"sets": sets}, num_factors=0)
        statistics = time.process_time() - started
        posterior = blocked(model)
        posterior.programs(top=50)
        seconds = time.process_time() - started
    W, truth = posterior.moments["W"].mean * model.scale.numpy(), np.load(path.with_suffix(".npy"))
    correlation = np.mean([abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(W, truth, strict=True)])
    return {
        "seconds, statistics": statistics,
        "seconds, fit and draws": seconds - statistics,
        "seconds, all": seconds,
        "peak resident GB": memory.peak / 1e9,
        "loading correlation": float(correlation),
    }
