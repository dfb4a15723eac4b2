"""Two contexts that differ in no, few or many edges, with as many cells or far fewer: is what is said of them true?"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...inference import Gibbs, Posterior, fit
from ...inference.calibration import expected_calibration_error, expected_list
from ...inference.sbc import LinearDesign, simulation_based_calibration
from ...models import ExpressionData, GramStatistics, LinearNetwork
from ...priors import SpikeSlab
from .results import Results, mean_se

NUM_TFS, NUM_TARGETS = 10, 60
CELLS = {"1,500 and 80 cells": (1500, 80), "1,000 and 1,000 cells": (1000, 1000)}
NUMBERS = {"none": 0, "few": 6, "many": 60}
KINDS = {"gone, new, flipped": ("gone", "new", "flipped"), "of another size": ("resized",)}
RATES = (0.05, 0.1)
COVERED = 0.9
LISTED = 0.5  # inclusion from which an edge, and probability from which a difference, is said to be there
REPLICATES = {"none": 3, "few": 6, "many": 4}
REPLICATES_NORMAL, SIMULATIONS = 1, 100
GUIDE = Gibbs(num_warmup=200, num_samples=300)


@dataclass(frozen=True, eq=False)
class Pair:
    """``data`` of two contexts, and their true ``W`` (context, tf, target) in standard deviations of the sample."""

    data: ExpressionData
    W: np.ndarray

    @property
    def differs(self) -> np.ndarray:
        """``(tf, target)`` bool."""
        return self.W[0] != self.W[1]

    @property
    def targets(self) -> tuple[str, ...]:
        return self.data.genes[NUM_TFS:]


def pair_of_contexts(cells: tuple[int, int], number: int, kinds: tuple[str, ...], seed: int) -> Pair:
    """15% of edges exist, with weights N(0, ½²) in units of the target's noise, whose sd is 0.5 to 1.2; ``number`` of
    all pairs differ in the second context, of each kind as many. Regulators correlate by 0.2."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0.5, 1.2, NUM_TARGETS)
    draw = lambda: rng.normal(0, 0.5, (NUM_TFS, NUM_TARGETS)) * noise
    first = np.where(rng.random((NUM_TFS, NUM_TARGETS)) < 0.15, draw(), 0.0)
    second, other = first.copy(), draw()
    present, absent = (rng.permutation(np.argwhere(there)) for there in (first != 0, first == 0))
    for i in range(number):
        kind = kinds[i % len(kinds)]
        t, g = absent[i] if kind == "new" else present[i]
        second[t, g] = {"gone": 0.0, "new": other[t, g], "flipped": -first[t, g], "resized": other[t, g]}[kind]
    blocks = []
    for count, W in zip(cells, (first, second), strict=True):
        x = rng.normal(size=(count, NUM_TFS)) + 0.5 * rng.normal(size=(count, 1))
        blocks.append(np.hstack([x, x @ W + noise * rng.normal(size=(count, NUM_TARGETS))]))
    tfs, genes = [f"T{i}" for i in range(NUM_TFS)], [f"G{i}" for i in range(NUM_TARGETS)]
    bare = ExpressionData(torch.tensor(np.vstack(blocks)).float(), (*tfs, *genes), tuple(tfs))
    data = bare.annotated(context=["one"] * cells[0] + ["other"] * cells[1])
    sd = data.statistics().scale.numpy()
    return Pair(data, np.stack([first, second]) * sd[:NUM_TFS, None] / sd[NUM_TFS:])


def scores(pair: Pair, posterior: Posterior) -> dict[str, float]:
    """Of the differences: lists, calibration error, coverage of intervals of those that are probable; of each context:
    coverage of intervals of all weights and of probable edges, and calibration error of inclusion."""
    table = posterior.context_differences("one", "other")
    place = {name: i for i, name in enumerate(posterior.coords["target"])}
    source = table["source"].str.removeprefix("T").astype(int).to_numpy()
    true = pair.differs[source, table["target"].map(place)]
    chance = table["differs"].to_numpy()
    found: dict[str, float] = {}
    for rate in RATES:
        listed = true[expected_list(chance, rate)]
        found |= {f"listed at {rate:g}": len(listed), f"wrong at {rate:g}": float((~listed).sum())}
        found |= {f"found at {rate:g}": float(listed.sum())}
    found["calibration error of differences"] = expected_calibration_error(chance, true)
    for k, name in enumerate(("one", "other")):
        moments = posterior.moments["W_context"].context(k)
        present = pair.W[k] != 0
        found[f"calibration error of edges, {name}"] = expected_calibration_error(
            moments.inclusion.ravel().astype(float), present.ravel()
        )
        edges = posterior.edges(context=name, level=COVERED)
        rows = edges["source"].str.removeprefix("T").astype(int), edges["target"].map(place)
        truth = pair.W[k][rows]
        inside = (edges["lower"] <= truth) & (truth <= edges["upper"])
        found[f"coverage of weights, {name}"] = float(inside.mean())
        found[f"coverage of probable edges, {name}"] = float(inside[edges["inclusion"] > LISTED].mean())
    probable = chance > LISTED
    if probable.any():
        gap = posterior.context_differences("one", "other", level=COVERED)[probable]
        truth = (pair.W[0] - pair.W[1])[source[probable], gap["target"].map(place)]
        found["coverage of probable differences"] = float(((gap["lower"] <= truth) & (truth <= gap["upper"])).mean())
    return found


def run(folder: Path, results: Results) -> None:
    """Every size, number and kind of differences, with sparse and with normal differences; then SBC."""
    results.resume_parts()
    for cells_name, cells in CELLS.items():
        for number_name, number in NUMBERS.items():
            for kind_name, kinds in KINDS.items():
                if number_name == "many" or kind_name == "gone, new, flipped":
                    task = f"{cells_name}, {number_name}" + (f", {kind_name}" if number else "")
                    for how, replicates in (("sparse", REPLICATES[number_name]), ("normal", REPLICATES_NORMAL)):
                        made = partial(run_task, results, task, cells, number, kinds, how, replicates)
                        results.part(f"{task}, {how}", made)
    results.part("own prior", partial(calibrated, results))


def run_task(
    results: Results,
    task: str,
    cells: tuple[int, int],
    number: int,
    kinds: tuple[str, ...],
    differences: str,
    replicates: int,
) -> None:
    """Some replicates of a size, number and kind of differences."""
    rows = []
    for seed in range(replicates):
        pair = pair_of_contexts(cells, number, kinds, seed)
        prior = None if differences == "sparse" else SpikeSlab(unit="sd")
        model = LinearNetwork.from_data(pair.data, targets=pair.targets, edge_prior=prior, differences=differences)
        rows.append(scores(pair, fit(model, guide=GUIDE, seed=seed)))
    add(results, task, differences, f"0-{replicates - 1}", rows, number)


def add(results: Results, task: str, method: str, seeds: str, rows: list[dict[str, float]], number: int) -> None:
    """Means over replicates; shares of lists over all replicates together."""
    for rate in RATES:
        total = sum(row[f"listed at {rate:g}"] for row in rows)
        wrong = sum(row[f"wrong at {rate:g}"] for row in rows)
        results.add(task, method, seeds, f"listed at {rate:g}", total / len(rows))
        share = wrong / total if total else float("nan")
        error = (share * (1 - share) / total) ** 0.5 if total else float("nan")
        results.add(task, method, seeds, f"share wrong at {rate:g}", share, error)
        if number:
            power = sum(row[f"found at {rate:g}"] for row in rows) / (number * len(rows))
            results.add(task, method, seeds, f"share found at {rate:g}", power)
    names = dict.fromkeys(name for row in rows for name in row if name.startswith(("calibration", "coverage")))
    for name in names:
        results.add(task, method, seeds, name, *mean_se([row[name] for row in rows if name in row]))


def calibrated(results: Results) -> None:
    """Draws of the model's own prior, in its units and standardised as users do."""
    for name, standardised in (("units of the prior", False), ("standardised", True)):
        design = LinearDesign(num_contexts=2, num_cells=60, num_targets=4, standardised=standardised)

        def make(statistics: GramStatistics, targets: tuple[str, ...] = design.targets) -> LinearNetwork:
            return LinearNetwork(statistics, targets=targets)

        guide = Gibbs(num_chains=4, num_warmup=150, num_samples=150)
        found = simulation_based_calibration(make, guide, num_simulations=SIMULATIONS, design=design)
        edges = found.table[found.table["quantity"].str.startswith("W_context")]
        rows = found.table if not standardised else edges
        results.add(f"own prior, {name}", "sparse", f"0-{SIMULATIONS - 1}", "least p-value", rows["pvalue"].min())
        results.add(f"own prior, {name}", "sparse", f"0-{SIMULATIONS - 1}", "quantities", len(rows))
        results.add(
            f"own prior, {name}",
            "sparse",
            f"0-{SIMULATIONS - 1}",
            "coverage of weights of contexts",
            edges["coverage"].mean(),
            edges["standard_error"].mean() / len(edges) ** 0.5,
        )
