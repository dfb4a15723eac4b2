"""Lists of fits with contexts on cells that are not from the model: there is no trial that corrects them. Two contexts
of 1,000 cells whose targets answer in proportion, or up to a limit or by a step, or to regulators of which some are not
measured."""

from pathlib import Path

import numpy as np
import torch

from ...inference import Posterior, fit
from ...inference.calibration import expected_calibration_error, expected_list
from ...models import ExpressionData, LinearNetwork
from ...models.simulators.responses import RESPONSES, response
from .contexts import GUIDE, NUM_TARGETS, NUM_TFS
from .results import Results

CELLS = 1000  # of each context
EDGES, DIFFERENT = 0.15, 0.1  # shares of all pairs, the second of those that differ
HIDDEN = 3  # regulators that are not measured
RATE = 0.1
REPLICATES = 4
KINDS = {
    "in proportion": (("linear",), 0),
    "bent": (tuple(RESPONSES), 0),
    "in proportion, hidden causes": (("linear",), HIDDEN),
}
DIFFER = {"no differences": 0.0, "a tenth of the pairs differs": DIFFERENT}


def run(folder: Path, results: Results) -> None:
    """All rows; finished ones are kept; ``folder`` is not read."""
    results.resume()
    for kind in KINDS:
        for number, share in DIFFER.items():
            task = f"{kind}, {number}"
            if results.value(task, "gibbs", f"0-{REPLICATES - 1}", "of edges: wrong") is None:
                add_rows(results, task, [of_pair(kind, share, seed) for seed in range(REPLICATES)])


def pair(kind: str, share: float, seed: int) -> tuple[ExpressionData, np.ndarray]:
    """Cells of two contexts, and (context, tf, target) whether an edge exists; pairs of a ``share`` have other weights
    in the second, of which half are none where there was one."""
    responses, hidden = KINDS[kind]
    rng = np.random.default_rng([seed, 15])
    size = (NUM_TFS + hidden, NUM_TARGETS)
    draw = lambda: np.where(rng.random(size) < EDGES, rng.choice([-1, 1], size) * rng.uniform(0.3, 1.0, size), 0.0)
    first = draw()
    second = np.where(rng.random(size) < share, draw(), first)
    answers = rng.integers(len(responses), size=NUM_TARGETS)
    blocks = []
    for W in (first, second):
        x = rng.normal(size=(CELLS, size[0])) + 0.5 * rng.normal(size=(CELLS, 1))
        Y = rng.normal(size=(CELLS, NUM_TARGETS))
        for g in range(NUM_TARGETS):
            for t in np.flatnonzero(W[:, g]):
                Y[:, g] += W[t, g] * response(x[:, t], responses[answers[g]], rng)
        blocks.append(np.hstack([x[:, :NUM_TFS], Y]))
    names = tuple([f"T{i}" for i in range(NUM_TFS)] + [f"G{i}" for i in range(NUM_TARGETS)])
    bare = ExpressionData(torch.tensor(np.vstack(blocks)).float(), names, names[:NUM_TFS])
    return bare.annotated(context=["one"] * CELLS + ["other"] * CELLS), np.stack([first, second])[:, :NUM_TFS]


def of_pair(kind: str, share: float, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Probabilities and truth of the edges of both contexts, and of the differences."""
    data, W = pair(kind, share, seed)
    model = LinearNetwork.from_data(data, targets=data.genes[NUM_TFS:])
    return stated(fit(model, guide=GUIDE, seed=seed), W)


def stated(posterior: Posterior, W: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a fit says of them, with the truth by (context, tf, target) weights."""
    table = posterior.context_differences("one", "other")
    tf, target = ({name: i for i, name in enumerate(posterior.coords[axis])} for axis in ("tf", "target"))
    differs = (W[0] != W[1])[table["source"].map(tf), table["target"].map(target)]
    inclusion = [posterior.moments["W_context"].context(k).inclusion.astype(float).ravel() for k in range(2)]
    return {
        "of edges": (np.concatenate(inclusion), (W != 0).reshape(2, -1).ravel()),
        "of differences": (table["differs"].to_numpy(dtype=float), differs),
    }


def add_rows(results: Results, task: str, each: list[dict[str, tuple[np.ndarray, np.ndarray]]]) -> None:
    """Lists at 10% of all replicates together, and the calibration error."""
    add = lambda score, value: results.add(task, "gibbs", f"0-{len(each) - 1}", score, value)
    for what in each[0]:
        lists = [true[expected_list(probability, RATE)] for probability, true in (one[what] for one in each)]
        listed, true = np.concatenate(lists), np.concatenate([one[what][1] for one in each])
        add(f"{what}: listed", len(listed) / len(each))
        add(f"{what}: found", listed.sum() / true.sum() if true.any() else float("nan"))
        add(f"{what}: ECE", float(np.mean([expected_calibration_error(*one[what]) for one in each])))
        add(f"{what}: wrong", float(1 - listed.mean()) if len(listed) else float("nan"))
