"""Evidence on edges: as data or as prior, knock-outs against co-expression, one cell type as prior for another.

Simulations (truth known): average precision, calibration error and log score of the edges. Real screens: how well the
genes that respond to a knock-out nobody showed the method are told from the others; *bits* are the gain of the log
score over the base rate, in bits a (knock-out, gene) pair, of a logistic regression of the responses on the logit or
the size of the score, fitted on other knock-outs (a prior network's trust, in effect).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...inference import fit
from ...inference.calibration import expected_calibration_error, log_score
from ...models import ExpressionData, LinearNetwork, Symphony
from ...models.simulators import simulate_linear, simulate_panel
from ...priors import PriorNetwork
from ...priors.screens import screen_effects, screen_to_network
from ..scores import average_precision
from ..tasks import truth_matrix
from .evidence_screens import ENGINE, SEEDS, Scores, across_lines, held_out_knockouts, repeat
from .results import Results

GENES, TFS, KNOCKED = 60, 12, 30  # of the simulations; cells of each knock-out
CONTROLS = 120  # beside the knock-outs; as many cells in all without any are its rival


def run(folder: Path, results: Results) -> None:
    """All parts; rows that are there are kept."""
    results.resume()
    across_lines(folder, results)
    for kind in ("linear", "logistic"):
        modalities(results, kind)
    for kind in SCORES:
        as_data_or_prior(results, kind)
    held_out_knockouts(folder, results)


def edge_scores(probability: np.ndarray, present: np.ndarray, allowed: np.ndarray) -> Scores:
    """Of ``(tf, gene)`` tables."""
    p, true = probability[allowed].astype(float), present[allowed]
    return {
        "average precision": average_precision(p, true),
        "ece": expected_calibration_error(p, true),
        "log score, bits": log_score(p.clip(1e-4, 1 - 1e-4), true) / np.log(2),
    }


# -- which modality, on simulated cells ----


def simulated(kind: str, seed: int, knocked: bool) -> tuple[ExpressionData, np.ndarray]:
    """Cells of a network with feedback, with knock-outs of all regulators or as many cells without any; the truth."""
    total = CONTROLS + TFS * KNOCKED
    if kind == "linear":
        simulation = simulate_linear(
            num_genes=GENES,
            num_tfs=TFS,
            num_cells=CONTROLS if knocked else total,
            num_perturbed=TFS if knocked else 0,
            cells_per_perturbation=KNOCKED,
            edge_probability=0.12,
            mean=2.0,
            tf_correlation=0.3,
            feedback=True,
            seed=seed,
        )
        return simulation.data, simulation.present.numpy()
    panel = simulate_panel(
        num_genes=GENES,
        num_regulators=TFS,
        in_degree=1.5,
        knocked_down=1.0 if knocked else 0.0,
        replicates=KNOCKED // 5,  # every gene is knocked down here, not the regulators alone: as many cells in all
        num_controls=CONTROLS if knocked else CONTROLS + GENES * (KNOCKED // 5),
        remaining=(0.2, 0.5),
        measurement_noise=0.1,
        seed=seed,
    )
    data = replace(panel.data, matrix=panel.data.X.log())
    return data, truth_matrix(data, panel.network)


def modalities(results: Results, kind: str) -> None:
    """The same number of cells spent on knock-outs or on wild type."""
    task = f"modality, {kind}"

    def network(data: ExpressionData, present: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        model = LinearNetwork.from_data(data, **options)
        posterior = fit(model, guide=ENGINE, seed=0)
        return posterior.moments["W"].inclusion, model.edge_prior.allowed.numpy()

    def once(knocked: bool, use: str) -> Callable[[int], Scores]:
        def of(seed: int) -> Scores:
            data, present = simulated(kind, seed, knocked)
            allowed = ~np.array([[t == g for g in data.genes] for t in data.tfs])
            if use == "screen":
                effects = screen_effects(data)
                rows = [effects.perturbations.index(t) for t in data.tfs]
                return edge_scores(effects.probability[rows], present, allowed)
            if use == "ignored":
                data = replace(data, perturbed=None)
            options = {}
            if use == "prior":  # wild-type cells as data, and the screen of other cells as prior
                screen, _ = simulated(kind, seed, True)
                options["networks"] = {"screen": screen_to_network(screen, name="screen", sources=screen.tfs)}
            probability, allowed = network(data, present, **options)
            return edge_scores(probability, present, allowed)

        return of

    for method, knocked, use in (
        ("wild type", False, "data"),
        ("knock-outs as data", True, "data"),
        ("knock-outs, labels ignored", True, "ignored"),
        ("screen alone", True, "screen"),
        ("wild type + screen as prior", False, "prior"),
    ):
        repeat(results, task, method, SEEDS, once(knocked, use))


# -- data or prior ----


def gaussian(present: np.ndarray, rng: np.random.Generator, shift: float = 1.5) -> np.ndarray:
    """Two normals, as the densities of `Symphony`."""
    return shift * present + rng.normal(size=present.shape)


def skewed(present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Counts of motifs, say: exponential, and another exponential more for edges; no normals at all."""
    return rng.exponential(size=present.shape) + present * rng.exponential(1.5, size=present.shape)


def half_measured(present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Normal, of every second regulator."""
    score = gaussian(present, rng)
    score[1::2] = np.nan
    return score


def humps(present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two humps that have nothing to do with edges."""
    return gaussian(rng.random(present.shape) < 0.2, rng, 4.0)


SCORES: Mapping[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "two normals": gaussian,
    "skewed": skewed,
    "half measured": half_measured,
    "no information": lambda present, rng: gaussian(present, rng, 0.0),
    "two humps, not of edges": humps,
}


def linear_prior(score: pd.DataFrame) -> PriorNetwork:
    """Confidence linear in the score, so that the trust coefficient can be what the evidence makes of it."""
    low, high = np.nanmin(score.to_numpy()), np.nanmax(score.to_numpy())
    table = (0.01 + 0.98 * (score - low) / (high - low)).rename_axis("source").reset_index()
    edges = table.melt("source", var_name="target", value_name="probability").dropna()
    return PriorNetwork.from_edges(edges[edges["source"] != edges["target"]], name="score")


def as_data_or_prior(results: Results, kind: str) -> None:
    """The same scores as a prior network, as observed evidence, and not at all."""
    task = f"data or prior, {kind}"

    def once(use: str) -> Callable[[int], Scores]:
        def of(seed: int) -> Scores:
            simulation = simulate_linear(
                num_genes=GENES, num_tfs=TFS, num_cells=100, edge_probability=0.12, tf_correlation=0.5, seed=seed
            )
            data, present = simulation.data, simulation.present.numpy()
            values = SCORES[kind](present, np.random.default_rng(seed))
            score = pd.DataFrame(values, index=list(data.tfs), columns=list(data.genes))
            model: Any
            if use == "prior":
                model = LinearNetwork.from_data(data, networks={"score": linear_prior(score)})
            else:
                model = Symphony.from_data(data, evidence={"score": score} if use == "data" else None)
            posterior = fit(model, guide=ENGINE, seed=0)
            allowed = model.edge_prior.allowed.numpy()
            found = edge_scores(posterior.moments["W"].inclusion, present, allowed)
            if use == "prior":
                span = np.nanmax(values) - np.nanmin(values)
                found["log-odds per unit of score"] = 0.98 * float(posterior.draws["trust"].mean()) / span
            if use == "data":
                b = posterior.draws["score_shift"] / posterior.draws["score_sd"] ** 2
                found["log-odds per unit of score"] = float(b.mean()) / float(model.score_scale[0])
            return found

        return of

    for method, use in (("expression alone", "none"), ("score as prior", "prior"), ("score as data", "data")):
        repeat(results, task, method, SEEDS, once(use))
