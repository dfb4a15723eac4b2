"""Time and memory: a step, a million cells, a file larger than memory, a sweep. CPU seconds of one thread; NumPyro,
which has threads of its own, and GPUs by the clock on the wall."""

import importlib.util
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import psutil
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.optim.pytorch_optimizers import Adam as PyroAdam  # type: ignore[attr-defined]

from ...inference import Adam, Gibbs, GibbsKernel, MeanField, NeverStop, fit
from ...inference.variational.svi import compiled_elbo
from ...models import ExpressionData, LinearNetwork
from ...models.simulators import simulate_linear
from ...priors import Normal
from .results import Results

CELLS, TFS, GENES = 2700, 37, 400
GIBBS = Gibbs()


def median_ms(step: Callable[[], object], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    """Median milliseconds of a call after a few to warm up."""
    for _ in range(5):
        step()
    times = []
    for _ in range(repeats):
        started = clock()
        step()
        times.append(clock() - started)
    return 1e3 * float(np.median(times))


def svi_step(model: LinearNetwork) -> Callable[[], object]:
    """One optimiser step of the full-batch mean-field fit, as `fit` runs it."""
    torch.manual_seed(0)
    guide = MeanField()(model, None, 1)
    compute, algorithm = compiled_elbo(model, guide), Adam().build(list(guide.parameters()))

    def step() -> None:
        (-compute().sum()).backward()
        algorithm.step()
        algorithm.zero_grad(set_to_none=False)

    return step


def plain_pyro_step(data: ExpressionData) -> Callable[[], object]:
    """The same model written as one would first write it: a plate over cells, AutoNormal, Trace_ELBO."""
    X = (data.X - data.X.mean(0)) / data.X.std(0)
    tf = data.tf_index
    self_edge = torch.zeros(len(tf), X.shape[1])
    self_edge[torch.arange(len(tf)), tf] = 1.0

    def model() -> None:
        scale = pyro.sample("edge_scale", dist.LogNormal(-2.3, 1.0))
        with pyro.plate("tf", len(tf), dim=-2), pyro.plate("target", X.shape[1], dim=-1):
            W = pyro.sample("W", dist.Normal(0.0, scale))
        with pyro.plate("genes", X.shape[1], dim=-1):
            noise = pyro.sample("noise_variance", dist.InverseGamma(2.0, 0.5))
            intercept = pyro.sample("intercept", dist.Normal(0.0, 10.0))
            with pyro.plate("cell", len(X), dim=-2):
                pyro.sample("X", dist.Normal(intercept + X[:, tf] @ (W * (1 - self_edge)), noise.sqrt()), obs=X)

    svi = SVI(model, AutoNormal(model), PyroAdam({"lr": 0.03}), Trace_ELBO())
    return svi.step


def numpyro_step(data: ExpressionData) -> Callable[[], object]:
    """The same in NumPyro, compiled."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as nd
    from numpyro.infer import SVI as NumPyroSVI
    from numpyro.infer import Trace_ELBO as NumPyroELBO
    from numpyro.infer.autoguide import AutoNormal as NumPyroAutoNormal

    X = jnp.asarray(((data.X - data.X.mean(0)) / data.X.std(0)).numpy())
    tf = jnp.asarray(data.tf_index.numpy())
    other = jnp.ones((len(tf), X.shape[1])).at[jnp.arange(len(tf)), tf].set(0.0)

    def model() -> None:
        scale = numpyro.sample("edge_scale", nd.LogNormal(-2.3, 1.0))
        with numpyro.plate("tf", len(tf), dim=-2), numpyro.plate("target", X.shape[1], dim=-1):
            W = numpyro.sample("W", nd.Normal(0.0, scale))
        with numpyro.plate("genes", X.shape[1], dim=-1):
            noise = numpyro.sample("noise_variance", nd.InverseGamma(2.0, 0.5))
            intercept = numpyro.sample("intercept", nd.Normal(0.0, 10.0))
            with numpyro.plate("cell", len(X), dim=-2):
                numpyro.sample("X", nd.Normal(intercept + X[:, tf] @ (W * other), jnp.sqrt(noise)), obs=X)

    svi = NumPyroSVI(model, NumPyroAutoNormal(model), numpyro.optim.Adam(0.03), NumPyroELBO())
    state = svi.init(jax.random.PRNGKey(0))
    update = jax.jit(svi.update)

    def step() -> None:
        nonlocal state
        state, loss = update(state)
        loss.block_until_ready()

    return step


def run(folder: Path, results: Results) -> None:
    """All rows; ``folder`` is not read."""
    results.resume_parts()
    for name, make in {"steps": run_steps, "stream": run_stream, "fit": run_fit, "sweeps": run_sweeps}.items():
        results.part(name, partial(make, results))


def run_steps(results: Results) -> None:
    """An SVI step beside plain Pyro and NumPyro, and the same on a million cells."""
    task = f"step, {CELLS} x {TFS} TFs x {GENES} genes"
    small = simulate_linear(num_genes=GENES, num_tfs=TFS, num_cells=CELLS, seed=0).data
    with pyro.get_param_store().scope():
        plain = median_ms(plain_pyro_step(small), 30)
    ours = median_ms(svi_step(LinearNetwork.from_data(small, edge_prior=Normal())), 300)
    results.add(task, "plain Pyro, per cell", 0, "ms", plain)
    if importlib.util.find_spec("numpyro") is not None:
        results.add(task, "NumPyro, per cell", 0, "ms", median_ms(numpyro_step(small), 100, time.perf_counter))
    results.add(task, "linear, mean-field", 0, "ms", ours)
    results.add(task, "linear, mean-field", 0, "times faster than plain", plain / ours)
    large = simulate_linear(num_genes=GENES, num_tfs=TFS, num_cells=1_000_000, seed=0).data
    started = time.process_time()
    model = LinearNetwork.from_data(large, edge_prior=Normal())
    results.add(f"statistics, 1e6 x {GENES} genes in memory", "linear", 0, "seconds", time.process_time() - started)
    # side by side and in turns, so that a busy machine slows both
    steps = svi_step(LinearNetwork.from_data(small, edge_prior=Normal())), svi_step(model)
    times = [[median_ms(step, 60) for step in steps] for _ in range(5)]
    few, many = np.median(np.array(times), axis=0)
    results.add("step, 1,000,000 cells", "linear, mean-field", 0, "ms", many)
    results.add("step, 1,000,000 cells", "linear, mean-field", 0, "ratio to 2,700 cells", many / few)


def run_stream(results: Results, num_cells: int = 1_000_000, num_genes: int = 1000, num_tfs: int = 100) -> None:
    """One pass over a float32 matrix on disk, with the resident memory watched by a thread."""
    with tempfile.TemporaryDirectory(dir=results.path.parent) as scratch:
        path = Path(scratch) / "cells.h5"
        generator = np.random.default_rng(0)
        with h5py.File(path, "w") as file:
            table = file.create_dataset("X", (num_cells, num_genes), dtype="float32", chunks=(4096, num_genes))
            for start in range(0, num_cells, 50_000):
                table[start : start + 50_000] = generator.standard_normal((50_000, num_genes), dtype=np.float32)
        with h5py.File(path, "r") as file:
            names = tuple(f"G{i:04d}" for i in range(num_genes))
            data = ExpressionData(file["X"], names, names[:num_tfs])
            with PeakMemory() as memory:
                started = time.process_time()
                data.statistics()
                seconds = time.process_time() - started
    task = f"stream, 1e6 x {num_genes} float32 on disk, {num_tfs} TFs"
    results.add(task, "GramStatistics", 0, "seconds", seconds)
    results.add(task, "GramStatistics", 0, "resident GB", memory.peak / 1e9)


class PeakMemory:
    """Largest resident set of this process while the block runs, in bytes, sampled 20 times a second."""

    def __enter__(self) -> "PeakMemory":
        self.peak, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(0.05):
            self.peak = max(self.peak, process.memory_info().rss)

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def run_fit(results: Results) -> None:
    """A whole fit with the exact sampler, from cells to edge table."""
    data = simulate_linear(num_genes=1000, num_tfs=100, num_cells=2700, edge_probability=0.05, seed=0).data
    started = time.process_time()
    fit(LinearNetwork.from_data(data), guide=GIBBS, seed=0).edges()
    results.add(
        "fit, 2700 x 100 TFs x 1000 genes",
        f"linear, gibbs ({GIBBS.num_chains} chains, {GIBBS.num_warmup + GIBBS.num_samples} sweeps)",
        0,
        "seconds",
        time.process_time() - started,
    )
    started = time.process_time()
    posterior = fit(
        LinearNetwork.from_data(data),
        guide=MeanField(),
        restarts=1,
        num_steps=1000,
        stop=NeverStop(),
        num_draws=200,
        seed=0,
    )
    posterior.edges()
    results.add(
        "fit, 2700 x 100 TFs x 1000 genes",
        "linear, mean-field (1000 steps)",
        0,
        "seconds",
        time.process_time() - started,
    )


def run_sweeps(results: Results) -> None:
    """Milliseconds of a Gibbs sweep (one chain) against sizes, the exponents, and what they say of 2,000 × 20,000;
    there itself on a GPU."""
    sizes = [(50, 1000), (100, 1000), (200, 1000), (400, 1000), (100, 2000), (100, 4000)]
    times = {}
    for num_tfs, num_genes in sizes:
        data = simulate_linear(
            num_genes=num_genes, num_tfs=num_tfs, num_cells=1000, edge_probability=min(0.1, 5 / num_tfs), seed=0
        ).data
        times[num_tfs, num_genes] = sweep_ms(LinearNetwork.from_data(data), 10)
        results.add(
            f"sweep, {num_tfs} TFs x {num_genes} genes, 1 chain", "linear, gibbs", 0, "ms", times[num_tfs, num_genes]
        )
    by_tf = np.polyfit(np.log([100, 200, 400]), np.log([times[t, 1000] for t in (100, 200, 400)]), 1)[0]
    by_gene = np.polyfit(np.log([1000, 2000, 4000]), np.log([times[100, g] for g in (1000, 2000, 4000)]), 1)[0]
    results.add("sweep, exponent in TFs", "linear, gibbs", 0, "exponent", by_tf)
    results.add("sweep, exponent in genes", "linear, gibbs", 0, "exponent", by_gene)
    # the matrix product is quadratic in TFs and takes over: extrapolate with 2 from the largest measured, not with the
    # fitted exponent
    bound = times[400, 1000] * (2000 / 400) ** 2 * 20 / 1e3
    results.add("sweep, 2000 TFs x 20000 genes, extrapolated", "linear, gibbs", 0, "seconds", bound)
    if torch.cuda.is_available():
        data = simulate_linear(
            num_genes=20_000, num_tfs=2000, num_cells=3000, edge_probability=0.002, scale=0.2, seed=0
        ).data
        results.add(
            "sweep, 2000 TFs x 20000 genes, 1 chain",
            "linear, gibbs, GPU",
            0,
            "ms",
            sweep_ms(LinearNetwork.from_data(data).to("cuda"), 5),
        )


def sweep_ms(model: LinearNetwork, repeats: int) -> float:
    """Median milliseconds of a sweep of one chain."""
    kernel = GibbsKernel(model, num_chains=1, seed=0)
    kernel.setup(1000)
    state = kernel.initial_params

    def step() -> None:
        nonlocal state
        state = kernel.sample(state)
        if model.constant.is_cuda:
            torch.cuda.synchronize()

    return median_ms(step, repeats, time.perf_counter if model.constant.is_cuda else time.process_time)
