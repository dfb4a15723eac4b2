"""FactorBox where levels are measured with noise, with gains that move, at 300 and 1,000 genes, and on DREAM4."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...inference import Gibbs, fit
from ...inference.alternating.penalties import Penalties
from ...inference.alternating.solution import alternate
from ...inference.draws.intervals import LEVEL
from ...models import FactorBox
from ...models.data.panel import panels_of
from ...models.simulators.panel import PanelSimulation, simulate_panel
from .dream4 import Dream4, knockout_evidence
from .edge_scores import Scores, network_scores, table_of
from .factorbox_dream4 import NETWORKS
from .factorbox_methods import ENGINE, response
from .factorbox_recovery import add, at_fitted_headroom, standardised_truth
from .results import Results

SEEDS = (0, 1)
NOISES: dict[str, dict[str, Any]] = {
    "noise of the cells 0.1": {"drive_noise": 0.1},
    "of the cells 0.05, of measurement 0.05": {"drive_noise": 0.05, "measurement_noise": 0.05},
    "of measurement 0.05": {"drive_noise": 0.0, "measurement_noise": 0.05},
    "of measurement 0.1": {"drive_noise": 0.0, "measurement_noise": 0.1},
}
SIZES = {300: Gibbs(num_chains=2, num_warmup=80, num_samples=100), 1000: Gibbs(1, 60, 60)}
SPARSITY = 1.0  # of the alternating fit


def fitted(simulation: PanelSimulation, engine: Gibbs = ENGINE, **options: Any) -> Scores:
    """Ranking, and what the intervals of true edges hold, in the units in which gains that are held can be right."""
    model = FactorBox.from_data(simulation.data, levels="raw", **options)
    posterior = fit(model, guide=engine, seed=0)
    table = posterior.edges(level=LEVEL)
    place = {gene: i for i, gene in enumerate(simulation.data.genes)}
    s, t = table["source"].map(place).to_numpy(), table["target"].map(place).to_numpy()
    true, inclusion = simulation.present.numpy()[s, t], table["inclusion"].to_numpy()
    W = standardised_truth(simulation, model)[0][s, t]
    inside = ((table["lower"] <= W) & (table["upper"] >= W)).to_numpy()
    called = inclusion >= 0.5
    return network_scores(table, simulation.network) | {
        "coverage89_true_edges": float(inside[true].mean()),
        "mean_inclusion": float(inclusion.mean()),
        "base_rate": float(true.mean()),
        "called": float(called.sum()),
        "precision_called": float(true[called].mean()) if called.any() else float("nan"),
        "headroom_correlation": headroom_correlation(simulation, posterior),
        "seconds": posterior.history.seconds,
    }


def headroom_correlation(simulation: PanelSimulation, posterior: Any) -> float:
    """Of fitted with true log headroom."""
    if "headroom" not in posterior.draws:
        return at_fitted_headroom(simulation, posterior.model)[1]
    found = np.log(posterior.draws["headroom"]).mean((0, 1)).ravel()
    true = (simulation.gain / posterior.model.top.double()[0] - 1).clamp_min(1e-3).log().numpy()
    return float(np.corrcoef(found, true)[0, 1])


def alternated(simulation: PanelSimulation, penalties: Penalties) -> Scores:
    """The alternating solution, and how its objective, or its cost, went."""
    found = alternate(panels_of(simulation.data, levels="raw"), penalties)
    table = table_of((found.W * found.scale[:, None]).numpy(), simulation.data.genes)
    trace = found.objective or found.cost
    return network_scores(table, simulation.network) | {
        "iterations": found.iterations,
        "end / start": trace[-1] / trace[0],
    }


def run(folder: Path, results: Results) -> None:
    """Panels of 100 genes with each kind of noise; larger ones; DREAM4."""
    results.resume_parts()
    for name in NOISES:
        results.part(name, partial(run_noise, results, name))
    for size in SIZES:
        results.part(f"{size} genes", partial(run_size, results, size))
    for network in NETWORKS:
        results.part(f"dream4 size100_{network}", partial(run_dream4, folder, results, network))


def run_noise(results: Results, name: str) -> None:
    """Panels of 100 genes with one kind of noise."""
    options = NOISES[name]
    measured = options.get("measurement_noise", 0.05)
    by_method: dict[str, list[Scores]] = {}
    for seed in SEEDS:
        simulation = simulate_panel(seed=seed, **options)
        for method, choice in {
            "levels as measured": {},
            "gains sampled": {"gain": "sampled"},
            "noise of measurement told": {"measurement": measured},
            "told, and gains sampled": {"measurement": measured, "gain": "sampled"},
        }.items():
            by_method.setdefault(method, []).append(fitted(simulation, **choice))
        for method, penalties in {
            "alternating": Penalties(),
            "alternating, sparse": Penalties(sparsity=SPARSITY),
        }.items():
            by_method.setdefault(method, []).append(alternated(simulation, penalties))
        table = response(simulation.data)
        by_method.setdefault("knock-down response", []).append(network_scores(table, simulation.network))
    add(results, name, by_method, f"{SEEDS[0]}-{SEEDS[-1]}")


def run_size(results: Results, size: int) -> None:
    """One panel of so many genes."""
    engine = SIZES[size]
    simulation = simulate_panel(num_genes=size, seed=0)
    by_method = {"levels as measured": [fitted(simulation, engine)]}
    if size == min(SIZES):
        by_method["gains sampled"] = [fitted(simulation, engine, gain="sampled")]
    by_method["alternating"] = [alternated(simulation, Penalties())]
    by_method["knock-down response"] = [network_scores(response(simulation.data), simulation.network)]
    add(results, f"{size} genes, noise of the cells 0.1", by_method, "0")


def run_dream4(folder: Path, results: Results, network: int) -> None:
    """Steady states and responses to knock-outs in one posterior, with the noise that wild-type replicates tell."""
    dream = Dream4.read(folder / "dream4" / f"size100_{network}")
    networks = {"knock-outs": knockout_evidence(dream.z_scores(), dream.genes)}
    fits: dict[str, dict[str, Any]] = {
        "noise of measurement from wild types": {"measurement": "controls"},
        "knock-outs as prior": {"networks": networks},
        "both": {"measurement": "controls", "networks": networks},
    }
    for method, options in fits.items():
        posterior = fit(FactorBox.from_data(dream.data(), **options), guide=ENGINE, seed=0)
        scores = network_scores(posterior.edges(), dream.truth)
        for key in ("average_precision", "auroc"):
            results.add(f"dream4 size100_{network}", method, 0, key, scores[key])
