"""Does FactorBox find the network of simulated panels, and do its intervals hold the true weights?"""

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ...inference import Gibbs, fit
from ...inference.calibration import expected_calibration_error
from ...inference.draws.intervals import LEVEL
from ...models import ExpressionData, FactorBox
from ...models.simulators.panel import PanelSimulation, simulate_panel
from ..scores import average_precision
from .edge_scores import Scores, network_scores
from .factorbox_methods import ENGINE, METHODS
from .results import Results, mean_se

SHORT = Gibbs(num_chains=1, num_warmup=80, num_samples=100)  # of 1,000 genes, a million edges a sweep
NOISES, SHARES, SEEDS = (0.05, 0.1, 0.2), (0.25, 0.5, 1.0), (0, 1, 2)
# one thing changed at a time, from drive noise 0.1 and every gene knocked down
VARIANTS: dict[str, dict] = {
    "measured noise 0.05": {"drive_noise": 0.0, "measurement_noise": 0.05},
    "measured noise 0.1": {"drive_noise": 0.0, "measurement_noise": 0.1},
    "three replicates": {"replicates": 3},
    "two hidden inputs, none modelled": {"num_hidden": 2},
    "two hidden inputs, two modelled": {"num_hidden": 2, "hidden": 2},
    "two contexts": {"num_contexts": 2},
    "20 regulators of 100 genes": {"num_regulators": 20},
    "300 genes": {"num_genes": 300},
}
RAW = "factorbox, raw levels"  # what the panels are simulated from
LARGE = {name: METHODS[name] for name in ("alternating", "correlation, log levels", "knock-down response")}


def standardised_truth(simulation: PanelSimulation, model: FactorBox) -> np.ndarray:
    """``(context, source, target)`` the true weights in the units of the fit."""
    return (simulation.W * (model.scale.double().cpu()[:, None] / model.unit.double().cpu())).numpy()


def at_fitted_headroom(simulation: PanelSimulation, model: FactorBox) -> tuple[np.ndarray, float]:
    r"""``(context, target)`` how much steeper the fitted drive is in the level than the true one, :math:`(1 - \bar
    x/\varepsilon)/(1 - \bar x/\hat\varepsilon)`: weights are larger by this factor when the gain is held at
    another value than the true one; and the correlation of fitted and true log headroom."""
    log_headroom, level = model.log_headroom.double().cpu(), model.level_mean.double().cpu()
    top = model.top.double().cpu()
    true = (simulation.gain / top - 1).clamp_min(1e-3)
    factor = (1 - level / simulation.gain) / (1 - level / (top * (1 + log_headroom.exp())))
    correlated = np.corrcoef(true.log().flatten(), log_headroom.flatten())[0, 1]
    return factor.numpy(), float(correlated)


def factorbox_scores(simulation: PanelSimulation, hidden: int = 0, engine: Gibbs = ENGINE) -> Scores:
    """Ranking, coverage of the intervals over all pairs and over the true edges, calibration of inclusion."""
    model = FactorBox.from_data(simulation.data, levels="raw", hidden=hidden)
    posterior = fit(model, guide=engine, seed=0)
    table = posterior.edges(level=LEVEL)
    scores = network_scores(table, simulation.network)
    place = {g: i for i, g in enumerate(simulation.data.genes)}
    s, t = table["source"].map(place).to_numpy(), table["target"].map(place).to_numpy()
    true = simulation.present.numpy()[s, t]
    inside, rescaled, length = [], [], []
    factor, headroom = at_fitted_headroom(simulation, model)
    for k, W in enumerate(standardised_truth(simulation, model)):
        part = table
        if model.has_contexts:
            part = posterior.edges(level=LEVEL, context=model.contexts[k])
            part = part.set_index(["source", "target"]).loc[list(zip(table["source"], table["target"], strict=True))]
        lower, upper = part["lower"].to_numpy(), part["upper"].to_numpy()
        inside.append((lower <= W[s, t]) & (W[s, t] <= upper))
        scaled = W[s, t] * factor[k, t]
        rescaled.append((lower <= scaled) & (scaled <= upper))
        length.append((upper - lower)[true].mean())
    inside = np.mean(inside, 0)
    inclusion = table["inclusion"].to_numpy()
    called = inclusion >= 0.5
    return (
        scores
        | {
            "coverage89": float(inside.mean()),
            "coverage89_true_edges": float(inside[true].mean()),
            "coverage89_true_edges_at_fitted_gain": float(np.mean(rescaled, 0)[true].mean()),
            "headroom_correlation": headroom,
            "interval_length_true_edges": float(np.mean(length)),
            "ece": expected_calibration_error(inclusion, true),
            "mean_inclusion": float(inclusion.mean()),
            "base_rate": float(true.mean()),
            "called": float(called.sum()),
            "precision_called": float(true[called].mean()) if called.any() else float("nan"),
            "seconds": posterior.history.seconds,
        }
        | _without_feedback(table, simulation, inside, np.mean(rescaled, 0), true)
    )


def _without_feedback(
    table: pd.DataFrame, simulation: PanelSimulation, inside: np.ndarray, rescaled: np.ndarray, true: np.ndarray
) -> Scores:
    """The same for targets that regulate nothing, whose regressions are exact; empty where every gene may regulate."""
    leaf = ~table["target"].isin(simulation.data.tfs).to_numpy()
    if not leaf.any():
        return {}
    inclusion = table["inclusion"].to_numpy()[leaf]
    return {
        "coverage89_leaves": float(inside[leaf].mean()),
        "coverage89_true_edges_leaves": float(inside[leaf & true].mean()),
        "coverage89_true_edges_leaves_at_fitted_gain": float(rescaled[leaf & true].mean()),
        "mean_inclusion_leaves": float(inclusion.mean()),
        "base_rate_leaves": float(true[leaf].mean()),
        "ece_leaves": expected_calibration_error(inclusion, true[leaf]),
        "average_precision_leaves": average_precision(inclusion, true[leaf]),
    }


def settings() -> Iterator[tuple[str, dict]]:
    """Names and options of all simulated panels."""
    for noise, share in itertools.product(NOISES, SHARES):
        yield f"100 genes, noise {noise}, {share:.0%} down", {"drive_noise": noise, "knocked_down": share}
    yield from VARIANTS.items()


def run_recovery(folder: Path, results: Results) -> None:
    """All settings and methods, mean and standard error over seeds; then one network of 1,000 genes."""
    results.resume_parts()
    for name, options in settings():
        results.part(name, partial(recover, results, name, options))
    large = partial(recover, results, "1000 genes", {"num_genes": 1000}, seeds=(0,), methods=LARGE, engine=SHORT)
    results.part("1000 genes", large)


def recover(
    results: Results,
    name: str,
    options: dict,
    *,
    seeds: tuple[int, ...] = SEEDS,
    methods: dict[str, Callable[[ExpressionData], pd.DataFrame]] = METHODS,
    engine: Gibbs = ENGINE,
) -> None:
    """Rows of one setting."""
    options = dict(options)
    hidden = options.pop("hidden", 0)
    by_method: dict[str, list[Scores]] = {m: [] for m in (RAW, *methods)}
    for seed in seeds:
        simulation = simulate_panel(seed=seed, **options)
        by_method[RAW].append(factorbox_scores(simulation, hidden, engine))
        for method, function in methods.items():
            started = time.process_time()
            table = function(simulation.data)
            seconds = time.process_time() - started
            table = table[table["source"].isin(simulation.data.tfs)]
            by_method[method].append(network_scores(table, simulation.network) | {"seconds": seconds})
    add(results, name, by_method, f"{seeds[0]}-{seeds[-1]}")


def add(results: Results, task: str, by_method: dict[str, list[Scores]], seed: str) -> None:
    """Mean and standard error of every score over replicates."""
    for method, scores in by_method.items():
        for key in scores[0]:
            results.add(task, method, seed, key, *mean_se([s.get(key, float("nan")) for s in scores]))
