"""What of an amortised guide does the work, and what SVI makes of one outside its family."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import SVI, Trace_ELBO

from ...inference import Amortised, Gibbs, fit
from ...inference.amortised.batches import simulate_example
from ...inference.amortised.families import BROAD, CLEAN
from ...inference.amortised.weighing import Weighed, weigh
from ...inference.amortised.weights import load_weights
from ...inference.calibration import expected_calibration_error, log_score
from ...inference.convergence import rhats
from ...models import ExpressionData, LinearNetwork
from ...models.simulators import simulate_linear
from ..scores import auroc, average_precision
from .amortised import _as_data, _jackknife, probabilities, scored
from .results import Results, mean_se

PARTS = {"both": "grnular", "Z alone": "grnular-unrolled", "head alone": "grnular-evidence"}
FRESH, OUTSIDE = 91_000_000, 93_000_000  # seeds of simulations that no training and no other section has seen
# of rates .005 to .02, held or falling, over 400 or 800 steps: the highest ELBO on four other data sets (linear seeds
# 100 and 101, OUTSIDE + 100 and 101), where k-hat was .8 to .9 for all
STEPS, RATE, FINAL, DRAWS = 800, 0.02, 0.02, 1000


def run_parts(folder: Path, results: Results, *, batches: int = 10, graphs: int = 4) -> None:
    """Fresh simulations of the family of training: the guide, its unrolled solution alone (two numbers calibrate it)
    and its head alone; the data are simulated, ``folder`` is not read."""
    learned = {name: load_weights(weights)[0] for name, weights in PARTS.items()}
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in PARTS}
    for index in range(batches):
        example = simulate_example(True, BROAD, graphs, FRESH + index)
        for X, sources, true in zip(example.X, example.sources, example.truth.numpy() > 0, strict=True):
            data = _as_data(X, sources)
            for name, network in learned.items():
                found[name].append(scored(probabilities(network, data), data, true))
    seed = f"{FRESH} ({batches * graphs} data sets)"
    for name, parts in found.items():
        add = lambda score, *value, name=name: results.add("fresh simulations", name, seed, score, *value)
        add("average_precision", *mean_se([average_precision(p, t) for p, t in parts]))
        add("auroc", *mean_se([auroc(p, t) for p, t in parts]))
        add("log_score", *mean_se([float(log_score(p, t)) for p, t in parts]))
        p, t = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        add("ece", expected_calibration_error(p, t), _jackknife(parts))
        for other in PARTS:
            if other != name:
                pairs = zip(parts, found[other], strict=True)
                gaps = [average_precision(*one) - average_precision(*two) for one, two in pairs]
                add(f"average_precision less that of {other}", *mean_se(gaps))


def outside() -> Iterator[tuple[str, list[ExpressionData]]]:
    """Data that no guide was trained on: of the linear model itself, and of dense SERGIO networks after log(1 + x)."""
    linear = [
        simulate_linear(num_genes=40, num_tfs=8, num_cells=300, edge_probability=0.25, scale=0.3, seed=seed).data
        for seed in range(3)
    ]
    yield "linear model", linear
    dense = replace(CLEAN, genes=(50, 50), tf_share=(0.16, 0.16), cells=(400, 400), in_degree=(5.0, 6.0))
    logged = []
    for seed in range(3):
        example = simulate_example(True, dense, 1, OUTSIDE + seed)
        data = _as_data(example.X[0].log1p(), example.sources[0])
        varies = [g for g, v in zip(data.genes, data.X.std(0) > 1e-6, strict=True) if v]
        logged.append(_of_genes(data, varies))
    yield "dense SERGIO, log(1 + x)", logged


def _of_genes(data: ExpressionData, genes: list[str]) -> ExpressionData:
    position = {gene: i for i, gene in enumerate(data.genes)}
    kept = set(genes)
    return ExpressionData(
        data.X[:, [position[g] for g in genes]], tuple(genes), tuple(t for t in data.tfs if t in kept)
    )


def run_svi(folder: Path, results: Results) -> None:
    """The shipped guide as it is and after SVI on the data at hand: ELBO, k-hat, and the distance of its edge
    probabilities from Gibbs, the exact posterior of the linear model. Simulated data; ``folder`` is not read."""
    results.resume_parts()
    for task, sets in outside():
        results.part(task, partial(_svi, results, task, sets))


def _svi(results: Results, task: str, sets: list[ExpressionData]) -> None:
    rows: dict[tuple[str, str], list[float]] = {}
    for seed, data in enumerate(sets):
        model = LinearNetwork.from_data(data)
        exact = fit(model, guide=Gibbs(num_chains=4, num_warmup=300, num_samples=400), seed=seed)
        reference = exact.moments["W"].inclusion
        settled = float(rhats(exact.draws["edge_logit"]).max())  # whether there is one answer to be near to
        rows.setdefault(("gibbs", "rhat_edge_logit"), []).append(settled)
        with pyro.get_param_store().scope(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            guide = Amortised("grnular")(model, data, seed=seed)
            optim: Any = pyro.optim  # made from torch's when it is imported
            falling = optim.ClippedAdam({"lr": RATE, "lrd": FINAL ** (1 / STEPS)})
            svi = SVI(model, guide, falling, Trace_ELBO())
            for when in ("as trained", f"after {STEPS} steps of SVI"):
                if when != "as trained":
                    for _ in range(STEPS):
                        svi.step()
                with torch.no_grad():
                    q = torch.sigmoid(guide.logits()).numpy()
                weighed = weigh(model, guide, num_draws=DRAWS, seed=seed)
                for score, value in _scores(weighed, q, reference, model).items():
                    rows.setdefault((when, score), []).append(value)
    for (when, score), values in rows.items():
        results.add(task, when, f"0-{len(sets) - 1}", score, *mean_se(values))
    before, after = (rows[when, "elbo"] for when in dict.fromkeys(w for w, score in rows if score == "elbo"))
    gains = [b - a for a, b in zip(before, after, strict=True)]
    results.add(task, "SVI", f"0-{len(sets) - 1}", "elbo gained", *mean_se(gains))


def _scores(weighed: Weighed, q: np.ndarray, reference: np.ndarray, model: LinearNetwork) -> dict[str, float]:
    allowed = model.edge_prior.allowed.numpy()
    known = weighed.target_khat[np.isfinite(weighed.target_khat)]
    return {
        "elbo": weighed.elbo,
        "khat": weighed.khat,
        "khat_target_median": float(np.median(known)),
        "khat_target_above_0.7": float((known > 0.7).mean()),
        "distance_from_gibbs": float(np.abs(q - reference)[allowed].mean()),
    }
