"""Many small fits: as one tensor program, in processes, on a Dask cluster; and statistics of a file larger than memory.

Two workers with one thread each, against one process with one thread for the tensor program. Times are of this machine
as it was, so its load is in the table too.
"""

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import torch
import zarr

from ...inference import Gibbs, fit
from ...inference.many import fit_many
from ...models import GramStatistics, LinearNetwork
from ...models.simulators import simulate_linear
from ..files.chunked import chunked_statistics
from ..files.readers import read_expression
from ..sweep import sweep
from .memory import peak_memory
from .results import Results
from .sparse_files import run_sparse_files

FITS, GENES, TFS, CELLS = 200, 20, 5, 100
GUIDE = Gibbs(num_chains=2, num_warmup=30, num_samples=30)
TASK = f"{FITS} fits of {TFS} TFs x {GENES} genes"
FILE_CELLS, FILE_GENES, FILE_TFS, CHUNK = 2_500_000, 300, 50, 20_000
WORKER_MEMORY = 1.2e9  # bytes, a third of it for imports; two of them have less than the file's 3 GB


def simulated(seed: int) -> LinearNetwork:
    """The network of one fit."""
    return LinearNetwork.from_data(simulate_linear(num_genes=GENES, num_tfs=TFS, num_cells=CELLS, seed=seed).data)


def one_fit(configuration: dict[str, Any]) -> np.ndarray:
    """Inclusion probabilities of the fit with this seed."""
    posterior = fit(simulated(configuration["seed"]), guide=GUIDE, seed=configuration["seed"])
    return posterior.moments["W"].inclusion


def all_at_once() -> list[np.ndarray]:
    """The same fits as one tensor program."""
    models = [simulated(seed) for seed in range(FITS)]
    return [p.moments["W"].inclusion for p in fit_many(models, guide=GUIDE, seeds=range(FITS))]


def run(folder: Path, results: Results) -> None:
    """Wall time of each way, workers already started, and the largest difference between their probabilities; memory
    that files take."""
    del folder  # simulations only
    results.resume_parts()
    for name, make in {"fits": run_fits, "statistics": run_statistics, "sparse files": run_sparse_files}.items():
        results.part(name, partial(make, results))


def run_fits(results: Results) -> None:
    """The same fits in three ways."""
    from distributed import Client, LocalCluster

    seeds = f"0-{FITS - 1}"
    configurations = [{"seed": seed} for seed in range(FITS)]
    warm = [{"seed": FITS + i} for i in range(4)]  # what starts the workers and makes them import everything
    ways: dict[str, np.ndarray] = {}

    def timed(name: str, function: Callable[[], Any]) -> None:
        results.add(TASK, name, seeds, "load average before", os.getloadavg()[0])
        started = time.perf_counter()
        ways[name] = np.asarray(function())
        results.add(TASK, name, seeds, "seconds", time.perf_counter() - started)

    timed("vectorised, 1 thread", all_at_once)
    sweep(one_fit, warm, jobs=2)
    timed("processes, 2", lambda: sweep(one_fit, configurations, jobs=2))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1") as cluster,
        Client(cluster) as client,
    ):
        sweep(one_fit, warm, backend="dask", client=client)
        timed("Dask, 2 workers", lambda: sweep(one_fit, configurations, backend="dask", client=client))
    reference = ways["processes, 2"]
    for name, value in ways.items():
        results.add(TASK, name, seeds, "largest difference", float(np.abs(value - reference).max()))


def write_cells(path: Path) -> float:
    """A zarr file of correlated cells, written in pieces; its size in bytes."""
    from anndata.io import write_elem

    root = zarr.open_group(str(path), mode="w")
    root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    write_elem(root, "obs", pd.DataFrame(index=[str(i) for i in range(FILE_CELLS)]))
    write_elem(root, "var", pd.DataFrame(index=[f"g{i}" for i in range(FILE_GENES)]))
    shape, chunks = (FILE_CELLS, FILE_GENES), (CHUNK, FILE_GENES)
    X = root.create_array("X", shape=shape, chunks=chunks, dtype="float32", compressors=None)
    X.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    generator = np.random.default_rng(0)
    mixing = np.eye(FILE_GENES, dtype=np.float32) + 0.1 * generator.standard_normal((FILE_GENES,) * 2, dtype=np.float32)
    for start in range(0, FILE_CELLS, CHUNK):
        block = generator.standard_normal((CHUNK, FILE_GENES), dtype=np.float32)
        X[start : start + CHUNK] = block @ mixing + 5
    return float(X.nbytes)


def run_statistics(results: Results) -> None:
    """Sums of a file that the workers together could not hold, against the same in memory."""
    from distributed import Client, LocalCluster

    task = f"{FILE_CELLS} cells x {FILE_GENES} genes, {FILE_TFS} TFs"
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "cells.zarr"
        results.add(task, "zarr", 0, "file MB", write_cells(path) / 1e6)
        open_data = partial(read_expression, path, tfs=[f"g{i}" for i in range(FILE_TFS)], backed=True)
        with (
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                memory_limit=WORKER_MEMORY,
                dashboard_address=":0",
                host="127.0.0.1",
            ) as cluster,
            Client(cluster) as client,
        ):
            client.run(import_all)
            before = client.run(peak_memory)
            started = time.perf_counter()
            found = chunked_statistics(open_data, client=client)
            results.add(task, "Dask, 2 workers", 0, "seconds", time.perf_counter() - started)
            after = client.run(peak_memory)
            results.add(task, "Dask, 2 workers", 0, "MB a worker, imports alone", max(before.values()) / 1e6)
            results.add(task, "Dask, 2 workers", 0, "MB a worker, at most", max(after.values()) / 1e6)
        started = time.perf_counter()
        data = read_expression(path, tfs=list(found.tfs), backed=False)
        expected = GramStatistics.from_data(data)
        results.add(task, "in memory", 0, "seconds", time.perf_counter() - started)
        results.add(task, "Dask, 2 workers", 0, "largest relative difference", relative(found, expected))


def import_all() -> str:
    """What a worker needs, so that its memory is known without the data."""
    return f"{anndata.AnnData.__name__} {torch.Tensor.__name__} {GramStatistics.__name__}"


def relative(found: GramStatistics, expected: GramStatistics) -> float:
    """Largest difference of any sum, over the largest of its kind."""
    names = ("count", "mean", "cross", "square", "minimum")
    pairs = [(getattr(found, name), getattr(expected, name)) for name in names]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
