"""The simulator beside the authors' program: DS1, DS2 and DS3 of SERGIO, and seconds for a set.

The authors' input files are not in the data: strengths K are those of ``network.csv``, and the production rates of
the master regulators are estimated from their means in the one set there is, as

- ``mean x decay``: b = λ · mean. Expression stays at or above 0, which lifts means (by about 0.2 at λ = 0.8, q = 1),
  so these rates are too large, most for weak regulators;
- ``unclamped``: the rate that leads to that mean in our simulator. Means of master regulators then agree by
  construction, up to noise; those of all other genes do not.

Each type is one trajectory of 45 units of time, about 18 independent states at λ = 0.8: half-responses (means of
whole trajectories) and estimated rates carry the noise of one replicate, and no simulator can come closer to the set
than that. Two controls say how close that is, both with our simulator in place of the authors': ``control: same
rates`` compares independent replicates, ``control: <rates>`` estimates the rates from each replicate and simulates
with those, as is done for the authors' set. Of each, 10 independent pairs (5 for counts). ``_z`` is (mean of the 10
values of ours - mean of the control with the same estimate of rates) / standard deviation of one value of that
control: between -2 and 2, the authors' set is within replicate noise; with 48 of them, about three are beyond by
chance. ``wrong on purpose`` shows what the scores see (DS1). Standard errors of ``ours`` are over our replicates
only; the authors' set is one, so they leave its own noise out.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from ...models.simulators import Kinetics, TechnicalNoise, simulate_sergio
from .results import Results, mean_se

REPLICATES = 10
DECAY, NOISE, HILL, CELLS = 0.8, 1.0, 2.0, 300  # of all three sets
SHAPES = {"sergio_ds1": 6.5, "sergio_ds2": 6.5, "sergio_ds3": 20.0}  # of dropout
BATCH = {"sergio_ds1": 20, "sergio_ds2": 5, "sergio_ds3": 3}  # sets at once when timed
# README of the data: two replicates of the authors' program on DS1, and seconds of that program
AUTHORS = {"corr_means": 0.959, "corr_sds": 0.828, "corr_gene_gene": 0.863}
AUTHORS_SECONDS = {"sergio_ds1": 51.0, "sergio_ds2": 253.0, "sergio_ds3": 1039.0}


@dataclass(frozen=True, eq=False)
class Reference:
    """One set: ``clean`` ``(type, cell, gene)``, counts by layer, and the network as positions."""

    clean: Tensor
    counts: dict[str, Tensor]
    source: np.ndarray
    target: np.ndarray
    k: np.ndarray

    def kinetics(self, rates: Callable[[np.ndarray], np.ndarray], clean: Tensor | None = None) -> Kinetics:
        """The network, with rates from the means of ``clean`` (default: of this set)."""
        mean = (self.clean if clean is None else clean).mean(1).double().numpy()  # (type, gene)
        types, genes = mean.shape
        regulators = np.unique(self.source)
        strength = torch.zeros(1, len(regulators), genes)
        strength[0, np.searchsorted(regulators, self.source), self.target] = torch.tensor(self.k, dtype=torch.float32)
        production = torch.zeros(1, genes, types)
        masters = np.setdiff1d(np.arange(genes), self.target)
        production[0, masters] = torch.tensor(rates(mean[:, masters]).T, dtype=torch.float32)
        each = torch.ones(1, genes)
        return Kinetics(
            torch.tensor(regulators)[None],
            strength,
            torch.full_like(strength, HILL),
            production,
            DECAY * each,
            NOISE * each,
        )


def read_reference(folder: Path, name: str) -> Reference:
    """A set of the data folder."""
    adata = anndata.read_h5ad(folder / name / "expression.h5ad")
    network = pd.read_csv(folder / name / "network.csv")
    kinds = adata.obs["cell_type"].astype(str).to_numpy().reshape(-1, CELLS)
    assert (kinds == kinds[:, :1]).all(), "cells are not in order of their types"
    position = {gene: i for i, gene in enumerate(adata.var_names)}
    shaped = lambda x: torch.tensor(np.asarray(x, dtype=np.float32)).reshape(*kinds.shape, -1)
    found = Reference(
        shaped(adata.layers["clean"]),
        {"counts_dropout_only": shaped(_dense(adata.layers["counts_dropout_only"])), "X": shaped(_dense(adata.X))},
        network["source"].map(position).to_numpy(),
        network["target"].map(position).to_numpy(),
        network["k"].to_numpy(),
    )
    masters = np.setdiff1d(np.arange(adata.n_vars), found.target)
    assert set(masters) == set(np.flatnonzero(adata.var["is_master_regulator"])), "another set of master regulators"
    return found


def _dense(x: object) -> np.ndarray:
    return x.toarray() if hasattr(x, "toarray") else np.asarray(x)


# -- rates ----
def mean_times_decay(means: np.ndarray) -> np.ndarray:
    """b = λ · mean."""
    return DECAY * means


@cache
def _curve() -> tuple[np.ndarray, np.ndarray]:
    """Means of master regulators, and the rates that lead to them: 60 rates, 300 trajectories each."""
    rates, trajectories = np.geomspace(1e-3, 10.0, 60), 300
    n = len(rates)
    each = torch.ones(1, n)
    kinetics = Kinetics(
        torch.arange(n)[None],
        torch.zeros(1, n, n),
        torch.ones(1, n, n),
        torch.tensor(rates, dtype=torch.float32)[None, :, None].repeat(1, 1, trajectories),
        DECAY * each,
        NOISE * each,
    )
    means = simulate_sergio(kinetics, num_cells=CELLS, seed=977).clean.mean((0, 1, 2)).double().numpy()
    return np.maximum.accumulate(np.r_[0.0, means]), np.r_[0.0, rates]


def unclamped(means: np.ndarray) -> np.ndarray:
    """The rate that leads to each mean."""
    curve, rates = _curve()
    if means.max() > curve[-1]:
        raise ValueError(f"a mean of {means.max():.3g} is above the curve, which ends at {curve[-1]:.3g}: add rates")
    return np.interp(means, curve, rates)


RATES = {"mean x decay": mean_times_decay, "unclamped": unclamped}


# -- fidelity ----
Summary = dict[str, np.ndarray]


def summarise(clean: Tensor, source: np.ndarray, target: np.ndarray) -> Summary:
    """Moments of each gene in each type, and correlations of genes over all cells, of ``(type, cell, gene)``."""
    x = clean.double().numpy()
    correlation = np.corrcoef(x.reshape(-1, x.shape[-1]).T)
    return {
        "means": x.mean(1).ravel(),
        "sds": x.std(1).ravel(),
        "zeros": (x == 0).mean(1).ravel(),
        "gene_gene": correlation[np.triu_indices(len(correlation), 1)],
        "tf_target": correlation[source, target],
    }


def compare(a: Summary, b: Summary) -> dict[str, float]:
    """Correlations of the summaries, and Kolmogorov-Smirnov distances of their distributions (that of variances is
    that of standard deviations)."""
    found = {f"corr_{key}": float(np.corrcoef(a[key], b[key])[0, 1]) for key in a if key != "zeros"}
    return found | {f"ks_{key}": distance(a[key], b[key]) for key in a if key != "gene_gene"}


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two empirical distribution functions."""
    return float(ks_2samp(a, b, method="asymp").statistic)


def simulated(kinetics: Kinetics, seed: int, sets: int = 1, noise_type: str = "dpd") -> Tensor:
    """Clean cells ``(set, type, cell, gene)``, independent sets of one network."""
    many = {name: value.repeat(sets, *[1] * (value.ndim - 1)) for name, value in vars(kinetics).items()}
    return simulate_sergio(replace(kinetics, **many), num_cells=CELLS, noise_type=noise_type, seed=seed).clean


def run(folder: Path, results: Results) -> None:
    """Fidelity of cells and counts, then seconds for a set."""
    results.resume_parts()
    for name in SHAPES:
        results.part(name, partial(run_set, folder, results, name))


def run_set(folder: Path, results: Results, name: str) -> None:
    """All rows of one set of the authors."""
    if name == "sergio_ds1":
        for score, value in AUTHORS.items():
            results.add("sergio_ds1", "authors' replicates (stated)", "stated", score, value)
    reference = read_reference(folder, name)
    kinetics = {method: reference.kinetics(rates) for method, rates in RATES.items()}
    cells = {method: simulated(k, 100 + i, REPLICATES) for i, (method, k) in enumerate(kinetics.items())}
    add_fidelity(results, name, reference, cells)
    add_counts(results, name, reference, cells["unclamped"])
    add_seconds(results, name, kinetics["unclamped"])


def add_fidelity(results: Results, name: str, reference: Reference, cells: dict[str, Tensor]) -> None:
    """Rows of the authors' set against ours, beside the controls."""
    of = lambda clean: summarise(clean, reference.source, reference.target)
    theirs = of(reference.clean)
    for method, rates in RATES.items():
        ours = [of(clean) for clean in cells[method]]
        again = [of(simulated(reference.kinetics(rates, clean), 200 + i)[0]) for i, clean in enumerate(cells[method])]
        found = [compare(theirs, s) for s in ours]
        control = [compare(a, b) for a, b in zip(ours, again, strict=True)]
        add_rows(results, name, f"ours ({method})", found)
        add_rows(results, name, f"control: {method}", control)
        add_z(results, name, f"ours ({method})", found, control)
        if method == "unclamped":
            second = simulated(reference.kinetics(rates), 300, REPLICATES)
            pairs = [compare(a, of(b)) for a, b in zip(ours, second, strict=True)]
            add_rows(results, name, "control: same rates", pairs)
            if name == "sergio_ds1":
                k = reference.kinetics(rates)
                wrong = {
                    "noise x 0.9": simulated(replace(k, noise=0.9 * k.noise), 500, REPLICATES),
                    "K x 0.9": simulated(replace(k, strength=0.9 * k.strength), 501, REPLICATES),
                    "Hill 1.5": simulated(replace(k, hill=0.75 * k.hill), 502, REPLICATES),
                    "no noise of decay": simulated(k, 503, REPLICATES, "sp"),
                }
                for change, sets in wrong.items():
                    add_z(results, name, f"wrong on purpose: {change}", [compare(theirs, of(x)) for x in sets], control)


def add_rows(results: Results, task: str, method: str, found: list[dict[str, float]]) -> None:
    """Mean and standard error of each score."""
    for key in found[0]:
        results.add(task, method, "0-9", key, *mean_se([f[key] for f in found]))


def add_z(
    results: Results, task: str, method: str, found: list[dict[str, float]], control: list[dict[str, float]]
) -> None:
    """Distance of the mean of each score from the control's, in standard deviations of the control."""
    for key in found[0]:
        null = [c[key] for c in control]
        z = (np.mean([f[key] for f in found]) - np.mean(null)) / np.std(null, ddof=1)
        results.add(task, method, "0-9", f"{key}_z", float(z))


def add_counts(results: Results, name: str, reference: Reference, cells: Tensor) -> None:
    """Zeros of counts: technical noise on the authors' clean cells (the noise alone) and on ours (everything)."""
    dropout = TechnicalNoise(dropout_percentile=82.0, dropout_shape=SHAPES[name])
    noises = {
        "counts_dropout_only": dropout,
        "X": replace(dropout, outlier_probability=0.01, library_mean=4.6, library_scale=0.4),
    }
    for layer, noise in noises.items():
        task = f"{name}:{layer}"
        theirs = _zeros(reference.counts[layer])
        results.add(task, "authors", 0, "zero_fraction", float(theirs.mean()))
        for method, clean in (("noise on the authors' cells", None), ("noise on our cells", cells)):
            found, pairs, before = [], [], None
            for i in range(REPLICATES):
                zeros = _zeros(_with(noise, reference.clean if clean is None else clean[i], 400 + i))
                found.append({"zero_fraction": float(zeros.mean()), "ks_zeros": distance(theirs, zeros)})
                if before is not None and i % 2:
                    pairs.append({"ks_zeros": distance(before, zeros)})
                before = zeros
            add_rows(results, task, method, found)
            add_rows(results, task, f"control: {method}", pairs)


def _zeros(counts: Tensor) -> np.ndarray:
    """Share of zeros of each gene in each type."""
    return (counts == 0).double().mean(1).flatten().numpy()


def _with(noise: TechnicalNoise, clean: Tensor, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return noise(clean[None])[0]


# -- speed ----
def add_seconds(results: Results, name: str, kinetics: Kinetics) -> None:
    """Seconds for a set of a batch, median of three: of the clock, and of the processor (which other work on the
    machine does not lengthen as much), on one thread; and on a GPU where there is one."""
    results.add(name, "authors' program (stated)", "stated", "seconds", AUTHORS_SECONDS[name])
    for sets in (1, BATCH[name]):
        wall, processor = _seconds(kinetics, sets)
        results.add(name, f"cpu, {sets} sets", 0, "seconds", wall)
        results.add(name, f"cpu, {sets} sets", 0, "processor_seconds", processor)
    if torch.cuda.is_available():
        for sets in (1, BATCH[name], 10 * BATCH[name]):
            results.add(name, f"cuda, {sets} sets", 0, "seconds", _seconds(kinetics.to("cuda"), sets)[0])


def _seconds(kinetics: Kinetics, sets: int) -> tuple[float, float]:
    times = []
    for seed in range(4):
        started, worked = time.perf_counter(), time.process_time()
        simulated(kinetics, seed, sets)
        if kinetics.strength.is_cuda:
            torch.cuda.synchronize()
        times.append((time.perf_counter() - started, time.process_time() - worked))
    wall, processor = np.median(times[1:], axis=0) / sets  # the first call warms up
    return float(wall), float(processor)
