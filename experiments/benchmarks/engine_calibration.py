"""Simulation-based calibration of the default of ``pyrogrn infer --method linear`` along the path that users take:
files of raw numbers, read and standardised as the command does it.

Hyperparameters, networks and noise are drawn from the priors of the defaults, each gene is then put on a scale and a
level of its own and written to a csv file with a list of regulators, and what `infer` would fit is fitted to it. Edges
are scored twice: by the probability of the model, and by that which leaves `infer`, corrected by its trial.
"""

import contextlib
import inspect
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from ...inference import Posterior, fit
from ...inference.calibration import expected_calibration_error, expected_list, log_score
from ...inference.draws.edge_table import RAW
from ...inference.sbc import LinearDesign, pit_of, thinned, verdict_of
from ...models import GramStatistics, LinearNetwork
from ...priors import SpikeSlab
from ..commands.infer_command import infer_command
from ..commands.infer_options import InferOptions
from ..commands.infer_run import prepared, read_job
from ..commands.infer_tuning import recalibrated, trial
from .results import Results, commit

DESIGN = LinearDesign(num_tfs=20, num_targets=30, num_cells=150)
METHOD = "linear, defaults"
CORRECTED = "linear, defaults, corrected"
RATES = (0.05, 0.1, 0.2)
RANKS = 63
STEPS = 60  # draws by chain, four chains
WEIGHTS = 6  # edges, and targets, of which ranks are taken

RANK = "rank of "  # names of ranks in the files of data sets that are done


def run(folder: Path, results: Results, data_sets: int = 200, design: LinearDesign = DESIGN) -> None:
    """All rows; ``folder`` is not read. Data sets that were fitted on this commit are kept beside the results until the
    rows are there: an interrupted run goes on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    done = results.path.parent / f"{results.path.stem}-{commit()}"
    done.mkdir(parents=True, exist_ok=True)
    try:
        with threadpool_limits(1), tempfile.TemporaryDirectory() as place:
            add_rows(results, [kept(done, Path(place), design, seed) for seed in range(data_sets)])
        shutil.rmtree(done)
    finally:
        torch.set_num_threads(threads)


def kept(done: Path, place: Path, design: LinearDesign, seed: int) -> dict[str, Any]:
    """`case`, or what an earlier call has written."""
    file = done / f"{seed}.npz"
    if not file.exists():
        found = case(place, design, seed)
        ranks = {f"{RANK}{name}": value for name, value in found.pop("ranks").items()}
        part = file.with_suffix(".part.npz")
        np.savez(part, **found, **ranks)
        part.rename(file)
    with np.load(file) as box:
        flat = dict(box)
    ranks = {name.removeprefix(RANK): float(value) for name, value in flat.items() if name.startswith(RANK)}
    return {name: value for name, value in flat.items() if not name.startswith(RANK)} | {"ranks": ranks}


def case(place: Path, design: LinearDesign, seed: int) -> dict[str, Any]:
    """One data set: ranks by quantity, probabilities of edges, those corrected, and whether they are there, weights
    inside intervals."""
    truth = write_files(place, design, seed)
    posterior = fitted(place, seed)
    rng = np.random.default_rng(seed)
    ranks = {}
    for name in ("edge_logit", "slab_scale", "spike_ratio"):
        ranks[name] = pit_of(thinned(posterior.draws[name], RANKS), float(truth[name]), rng)
    W, noise = posterior.draws["W"], posterior.draws["noise_variance"]
    for i in range(WEIGHTS):
        tf, target = (7 * i) % design.num_tfs, (11 * i) % design.num_targets
        ranks[f"W {i}"] = pit_of(thinned(W[:, :, tf, target], RANKS), truth["W"][tf, target], rng)
        ranks[f"noise {i}"] = pit_of(thinned(noise[:, :, target], RANKS), truth["noise_variance"][target], rng)
    number = posterior.draws["inclusion"].sum((2, 3))
    ranks["number of edges"] = pit_of(thinned(number, RANKS), truth["inclusion"].sum(), rng)
    lower, upper = np.quantile(W.reshape(-1, *truth["W"].shape), [0.05, 0.95], axis=0)
    present = truth["inclusion"] > 0
    corrected = posterior.moments["W"].inclusion
    inside = (lower <= truth["W"]) & (truth["W"] <= upper)
    return {
        "ranks": ranks,
        "probability": posterior.attributes.get(RAW, corrected).ravel().astype(np.float64),
        "corrected": corrected.ravel().astype(np.float64),
        "present": present.ravel(),
        "inside": inside.ravel(),
    }


def write_files(place: Path, design: LinearDesign, seed: int) -> dict[str, np.ndarray]:
    """``cells.csv`` and ``tfs.txt`` of a network drawn from the default prior; the sites that made it, for genes
    divided by the sd of their sample."""
    make = lambda statistics: LinearNetwork(statistics, edge_prior=SpikeSlab(unit="noise"), targets=design.targets)
    design = Sampled(**vars(design))
    y, truth = design.draw(make, seed)
    data = design.data(y)
    scale: GramStatistics = data.statistics()
    truth = design.converted(truth, scale.scale)
    rng = np.random.default_rng(10_000 + seed)
    X = data.X.numpy() * rng.lognormal(0.0, 1.5, len(data.genes)) + rng.normal(5.0, 3.0, len(data.genes))
    pd.DataFrame(X, columns=list(data.genes)).to_csv(place / "cells.csv", index_label="cell")
    (place / "tfs.txt").write_text("\n".join(design.tfs) + "\n")
    (place / "targets.txt").write_text("\n".join(design.targets) + "\n")
    return {name: value.numpy() for name, value in truth.items()}


class Sampled(LinearDesign):
    """Regulators whose sample has unit variance: what the file becomes when it is standardised."""

    def regulators(self) -> torch.Tensor:
        x = super().regulators()
        return (x - x.mean(0)) / x.std(0)


def fitted(place: Path, seed: int) -> Posterior:
    """What ``pyrogrn infer cells.csv --tfs tfs.txt --targets targets.txt`` makes of it with ``--steps`` `STEPS`, the
    trial on made targets included."""
    given: dict[str, Any] = {"expression": [place / "cells.csv"], "tfs": place / "tfs.txt", "out": place / "run"}
    given |= {"targets": str(place / "targets.txt"), "seed": seed, "steps": STEPS}
    options = InferOptions(**(defaults() | given))
    job = read_job(options)
    model, data, engine = prepared(options, job)
    # it says a line a data set
    with contextlib.redirect_stderr(io.StringIO()), trial(options, job, model, engine, data) as tried:
        return recalibrated(fit(model, guide=engine, seed=seed), tried(), job, data)[0]


def defaults() -> dict[str, Any]:
    """Of the command's options."""
    parameters = inspect.signature(infer_command).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def add_rows(results: Results, cases: list[dict[str, Any]]) -> None:
    """Ranks, coverage, calibration of edges, and lists, with standard errors over data sets."""
    count = len(cases)
    task = f"{count} files from the prior of the defaults"
    add = lambda score, value, se=float("nan"): results.add(task, METHOD, "all", score, value, se)
    pvalues = []
    for name in cases[0]["ranks"]:
        row = verdict_of(np.array([one["ranks"][name] for one in cases]))
        pvalues.append(row["pvalue"])
        if not name[-1].isdigit():
            add(f"rank of {name}: mean", 0.5 + row["bias"] * 0.2820948, 0.2886751 / count**0.5)
            add(f"rank of {name}: dispersion", row["dispersion"], (2 / count) ** 0.5)
            add(f"rank of {name}: p", row["pvalue"])
    add("smallest p of all ranks, Bonferroni", min(1.0, min(pvalues) * len(pvalues)))
    inside = np.array([one["inside"].mean() for one in cases])
    add("coverage of 90% intervals", inside.mean(), inside.std(ddof=1) / count**0.5)
    for method, name in ((METHOD, "probability"), (CORRECTED, "corrected")):
        add_edges(results, cases, task, method, name)


def add_edges(results: Results, cases: list[dict[str, Any]], task: str, method: str, name: str) -> None:
    """Calibration of edges and lists, by the probabilities of this ``name``; lists are made of each data set."""
    add = lambda score, value, se=float("nan"): results.add(task, method, "all", score, value, se)
    probability, present = (np.concatenate([one[key] for one in cases]) for key in (name, "present"))
    add("ECE", expected_calibration_error(probability, present))
    add("bits a pair", log_score(probability, present) / float(np.log(2)))
    add("edges expected over true", probability.sum() / present.sum())
    for rate in RATES:
        lists = [expected_list(one[name], rate) for one in cases]
        wrong = [~one["present"][listed] for one, listed in zip(cases, lists, strict=True)]
        every = np.concatenate(wrong)
        add(f"listed at {rate:.0%}", len(every))
        if not len(every):
            continue
        add(f"wrong of those listed at {rate:.0%}", every.mean(), clustered(wrong))
        promised = [1 - one[name][listed] for one, listed in zip(cases, lists, strict=True)]
        add(f"expected wrong of those listed at {rate:.0%}", float(np.concatenate(promised).mean()))


def clustered(parts: list[np.ndarray]) -> float:
    """Standard error of the pooled share, data sets drawn again as a whole."""
    total, number = (np.array([f(part) for part in parts], dtype=float) for f in (np.sum, len))
    share = total.sum() / number.sum()
    return float(np.sqrt(((total - share * number) ** 2).sum()) / number.sum())
