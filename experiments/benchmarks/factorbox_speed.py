"""FactorBox's alternating fit beside the published algorithm written plainly, and time and memory against genes."""

import time
from functools import partial
from pathlib import Path

import anndata
import numpy as np
import psutil
import torch
from scipy.sparse import csr_matrix
from scipy.special import expit, logit
from threadpoolctl import threadpool_limits

from ...inference.alternating.penalties import Penalties
from ...inference.alternating.solution import alternate
from ...models.data.panel import Panel
from .results import Results
from .speed import PeakMemory

SIZES, PLAIN_ITERATIONS, ITERATIONS = (250, 500, 1000, 2000, 4000, 8000), 2, 6
# of the plain version and ours: none, as published (ours needs a little to factorise); about what the panel chooses
RIDGES = ((0.0, 1e-6), (300.0, 300.0))


def run(folder: Path, results: Results, sizes: tuple[int, ...] = SIZES) -> None:
    """All rows, one thread; ``folder`` holds ``lincs_rnai``."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):  # of numpy's linear algebra
            results.resume_parts()
            results.part("beside the published", partial(run_plain, folder, results))
            results.part("sizes", partial(run_sizes, results, sizes))
    finally:
        torch.set_num_threads(threads)


def plain(X: np.ndarray, ridge: float, iterations: int, margin: float = 0.05) -> tuple[list[float], list[float]]:
    """The published algorithm: gains by least squares, then least squares from scratch, self-edges and all; costs and
    seconds of each iteration. A ridge enters as extra rows, so that nothing of the arithmetic is shared with ours."""
    floor = X.max(0) * (1 + margin)
    gain = 2 * X.max(0)
    centre, scale = X.mean(0), X.std(0, ddof=1)
    Z = (X - centre) / scale
    genes = X.shape[1]
    rows, extra = np.hstack([Z, np.ones((len(X), 1))]), np.zeros((0, genes))
    if ridge:
        extra = np.zeros((genes, genes))
        rows = np.vstack([rows, np.hstack([ridge**0.5 * np.eye(genes), np.zeros((genes, 1))])])
    costs, seconds = [], []
    for _ in range(iterations):
        started = time.process_time()
        response = np.vstack([logit(np.clip(X / gain, 1e-12, 1 - 1e-12)), extra])
        W = np.linalg.lstsq(rows, response, rcond=None)[0]
        level = expit(rows[: len(X)] @ W)
        gain = np.maximum((level * X).sum(0) / (level**2).sum(0), floor)
        costs.append(float(((gain * level - X) ** 2).sum()))
        seconds.append(time.process_time() - started)
    return costs, seconds


def run_plain(folder: Path, results: Results) -> None:
    """A375: seconds of an iteration and the cost after equal iterations, side by side."""
    table = anndata.read_h5ad(folder / "lincs_rnai" / "A375.h5ad")
    X = torch.tensor(np.asarray(table.X), dtype=torch.float64)
    nothing_cut = panel(X, torch.zeros(X.shape, dtype=torch.bool))
    for published, ridge in RIDGES:
        task = f"alternating, A375 {X.shape[1]} x {X.shape[0]}, ridge {published:g}"
        costs, seconds = plain(X.numpy(), published, PLAIN_ITERATIONS)
        ours, each, _ = timed(nothing_cut, ridge, ITERATIONS, self_edges=True)
        results.add(task, "published, plainly", 0, "seconds per iteration", float(np.median(seconds)))
        results.add(task, "alternating", 0, "seconds per iteration", each)
        results.add(task, "alternating", 0, "times faster", float(np.median(seconds)) / each)
        # an interpolating network has a cost of rounding: compare on the scale of the data's own spread
        spread = float((X - X.mean(0)).square().sum())
        results.add(task, "published, plainly", 0, "cost over spread", costs[-1] / spread)
        results.add(task, "alternating", 0, "cost over spread", ours[PLAIN_ITERATIONS - 1] / spread)
    own = {g: i for i, g in enumerate(table.var_names)}
    clamped = torch.zeros(X.shape, dtype=torch.bool)
    for c, gene in enumerate(table.obs["perturbation"]):
        if gene in own:
            clamped[c, own[gene]] = True
    task = f"alternating, A375 {X.shape[1]} x {X.shape[0]}, no self-edges, clamped rows cut"
    costs, each, setup = timed(panel(X, clamped), 300.0, ITERATIONS)
    results.add(task, "alternating", 0, "seconds per iteration", each)
    results.add(task, "alternating", 0, "seconds set-up", setup)
    started = time.process_time()
    alternate([panel(X, clamped)])
    results.add(task, "alternating, ridge chosen", 0, "seconds in all", time.process_time() - started)


def panel(X: torch.Tensor, clamped: torch.Tensor) -> Panel:
    """Levels as measured."""
    return Panel(X, X, clamped, X.new_zeros(len(X), 0))


def timed(one: Panel, ridge: float, iterations: int, *, self_edges: bool = False) -> tuple[list[float], float, float]:
    """Costs, median seconds of an iteration after the first, and seconds until the first ended less one iteration."""
    started = time.process_time()
    costs, stamps = [], []

    def progress(iteration: int, cost: float) -> None:
        costs.append(cost)
        stamps.append(time.process_time())

    # a cost that rises must not end the measurement
    alternate(
        [one],
        Penalties(ridge=ridge),
        self_edges=self_edges,
        max_iterations=iterations,
        tol=0.0,
        patience=iterations,
        progress=progress,
    )
    each = float(np.median(np.diff(stamps)))
    return costs, each, stamps[0] - started - each


def simulate(genes: int, seed: int = 0) -> Panel:
    """A stable random FactorBox in which every gene is knocked down once to a tenth: steady states by damped iteration
    of all conditions together, then 5% noise."""
    generator = torch.Generator().manual_seed(seed)
    W = torch.zeros(genes, genes, dtype=torch.float64)
    source = torch.randint(genes, (5, genes), generator=generator)
    W.scatter_(0, source, torch.randn(5, genes, generator=generator, dtype=torch.float64) * 0.006)
    W.fill_diagonal_(0.0)
    bias = -100 * W.sum(0)
    sparse = csr_matrix(W.T.numpy())
    X = torch.full((genes + 1, genes), 100.0, dtype=torch.float64)
    for _ in range(30):
        X = 0.3 * X + 140 * torch.sigmoid(torch.from_numpy(sparse @ X.T.numpy()).T + bias)
        X[:genes].fill_diagonal_(10.0)
    X *= (0.05 * torch.randn(X.shape, generator=generator, dtype=torch.float64)).exp()
    clamped = torch.zeros(X.shape, dtype=torch.bool)
    clamped[:genes].fill_diagonal_(True)
    return panel(X, clamped)


def run_sizes(results: Results, sizes: tuple[int, ...]) -> None:
    """Seconds and memory against genes, and exponents over the sizes from 1,000 on (smaller ones are overhead)."""
    table = []
    for genes in sizes:
        one = simulate(genes)
        with PeakMemory() as memory:
            _, each, setup = timed(one, 0.1 * genes, ITERATIONS if genes <= 2000 else 3)
        task = f"alternating, {genes} genes x {genes + 1}"
        results.add(task, "alternating", 0, "seconds per iteration", each)
        results.add(task, "alternating", 0, "seconds set-up", setup)
        results.add(task, "alternating", 0, "resident GB", max(memory.peak, psutil.Process().memory_info().rss) / 1e9)
        table.append((genes, each, setup))
    large = np.log(np.array([row for row in table if row[0] >= 1000] if sizes[-1] > 1000 else table))
    for k, name in ((1, "per iteration"), (2, "set-up")):
        if len(large) > 1:
            results.add(
                "alternating, exponent in genes", name, 0, "exponent", np.polyfit(large[:, 0], large[:, k], 1)[0]
            )
