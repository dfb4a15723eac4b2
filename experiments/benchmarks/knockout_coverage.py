"""Do intervals of knock-outs hold where regulators regulate each other? Networks with and without feedback, of whose
regulators none, some or all were perturbed; the answers of `predict --knockout`."""

import time
from pathlib import Path

import numpy as np
import torch

from ...inference import Posterior, SparseGibbs, fit
from ...models import LinearNetwork
from ...models.simulators import simulate_linear
from .results import Results, mean_se

TFS, GENES, CELLS, LEVEL, DRAWS = 6, 16, 600, 0.9, 200
NETWORKS = 8
PERTURBED = {"none": 0, "half": TFS // 2, "all": TFS}
SHORT = SparseGibbs(num_chains=2, num_warmup=100, num_samples=200)
SPAN = f"0-{NETWORKS - 1}"
METHODS = {"predict": None, "predict with steps, as CellOracle does": 3}


def run(folder: Path, results: Results) -> None:
    """All networks; ``folder`` is not read, and finished kinds of networks are kept."""
    results.resume()
    for feedback in (False, True):
        for name, number in PERTURBED.items():
            task = f"{'feedback' if feedback else 'no feedback'}, perturbed: {name}"
            if results.value(task, "predict", SPAN, "seconds") is not None:
                continue
            results.rows = [row for row in results.rows if row["task"] != task]  # of a run that was cut short
            found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
            started = time.process_time()
            for seed in range(NETWORKS):
                simulation = simulate_linear(
                    num_genes=GENES,
                    num_tfs=TFS,
                    num_cells=CELLS,
                    edge_probability=0.4,
                    scale=0.6,
                    feedback=feedback,
                    num_perturbed=number,
                    seed=seed,
                )
                posterior = fit(LinearNetwork.from_data(simulation.data), guide=SHORT, seed=seed)
                for method, steps in METHODS.items():
                    found[method].append(scores(posterior, simulation.W[0], steps))
            for method, each in found.items():
                for score in each[0]:
                    values = [one[score] for one in each if one[score] == one[score]]
                    results.add(task, method, SPAN, score, *(mean_se(values) if values else (float("nan"),)))
            results.add(task, "predict", SPAN, "seconds", time.process_time() - started)


def effects(W: torch.Tensor, tf: int) -> np.ndarray:
    """``(gene,)`` change of every gene when a regulator that nothing acts on any more falls by one: W (tf, gene)."""
    size = len(W)
    among = W[:, :size].double().numpy().copy()
    among[:, tf] = 0
    start = -np.eye(size)[tf]
    change = np.linalg.solve(np.eye(size) - among.T, start) @ W.double().numpy()
    change[tf] = -1
    return np.asarray(change)


def scores(posterior: Posterior, W: torch.Tensor, steps: int | None) -> dict[str, float]:
    """Of all knock-outs and all genes but the one that is knocked out: share of true effects inside the interval, of
    signs that are sure (the interval excludes 0) how many are wrong, share of effects whose sign is sure, and the width
    of intervals beside the size of the largest effects."""
    inside, sure, wrong, wide = [], [], [], []
    genes = posterior.coords["target"]
    for tf, gene in enumerate(posterior.coords["tf"]):
        table = posterior.predict(knockout=[gene], level=LEVEL, num_draws=DRAWS, steps=steps).set_index("gene")
        table = table.loc[list(genes)]
        moved = float(table["mean"].iloc[tf] - table["control"].iloc[tf])
        truth = -moved * effects(W, tf)
        low, high = (table[side].to_numpy() - table["control"].to_numpy() for side in ("lower", "upper"))
        others = np.arange(len(genes)) != tf
        inside.append(((low <= truth) & (truth <= high))[others].mean())
        real = others & (truth != 0)
        known = real & ((low > 0) | (high < 0))
        sure.append(known.sum() / max(real.sum(), 1))
        wrong.append([int((known & (np.sign(low + high) != np.sign(truth))).sum()), int(known.sum())])
        wide.append(float((high - low)[others].mean() / abs(moved)))
    number = np.sum(wrong, 0)
    return {
        f"coverage of {LEVEL:.0%}": float(np.mean(inside)),
        "signs that are sure": float(np.mean(sure)),
        "of them wrong": float(number[0] / number[1]) if number[1] else float("nan"),
        "width": float(np.mean(wide)),
    }
