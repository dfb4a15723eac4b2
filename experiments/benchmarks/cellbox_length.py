"""How long CellBox is fitted by default: chosen on simulated drugs, and then reported on melanoma cells.

The melanoma splits (`cellbox`) had been in sight when the constants of the model were settled; the length of a fit was
not chosen on them. Simulated studies have the size of that one: 12 drug-activity nodes, 82 measured ones of which each
has three regulators, 5 phenotypes, 67 conditions of one or two drugs, 70% of which train.
"""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ...inference import Posterior, default_guide, fit
from ...models import ExpressionData
from ...models.cellbox import CellBox
from .cellbox import RANDOM, Study, scores, splits
from .results import Results, mean_se

DRUGS, MEASURED, PHENOTYPES, CONDITIONS, NOISE = 12, 82, 5, 67, 0.15
STEPS = (50, 100, 150, 250, 400)
SIMULATED, REPORTED = 3, 5  # studies to choose on, splits to report on
TASK = "simulated drugs, random 70/30"


def simulate(seed: int) -> Study:
    """A stable random network of saturating responses, noise of a sixth of a typical response added."""
    rng = np.random.default_rng(seed)
    names = [f"P{i}" for i in range(MEASURED)] + [f"phenotype{i}" for i in range(PHENOTYPES)]
    drugs = [f"drug{i}" for i in range(DRUGS)]
    nodes, n = [*names, *drugs], len(names) + DRUGS
    W = np.zeros((n, n))
    for target in range(len(names)):
        own = rng.choice([i for i in range(MEASURED) if i != target], 3, replace=False)
        W[own, target] = rng.normal(0, 0.25, 3)
    acts = rng.random((DRUGS, len(names))) < 0.15
    W[len(names) :, : len(names)] = acts * rng.normal(0, 0.8, acts.shape)
    u = np.zeros((CONDITIONS, n))
    singles = [(d, dose) for d in range(DRUGS) for dose in (-0.5, -1.0)][: CONDITIONS // 3]
    pairs = [tuple(rng.choice(DRUGS, 2, replace=False)) for _ in range(CONDITIONS - len(singles))]
    for row, (drug, dose) in enumerate(singles):
        u[row, len(names) + drug] = dose
    for row, pair in enumerate(pairs, start=len(singles)):
        u[row, [len(names) + d for d in pair]] = -1.0
    x = np.zeros_like(u)
    for _ in range(300):
        x = 0.5 * x + 0.5 * np.tanh(x @ W + u)
    x = x + NOISE * x.std() * rng.standard_normal(x.shape)
    labels = [[f"{nodes[i]}|{-u[row, i]:g}" for i in np.flatnonzero(u[row])] for row in range(CONDITIONS)]
    index = [f"{row}:{','.join(parts)}" for row, parts in enumerate(labels)]
    frame = lambda values: pd.DataFrame(values.astype(np.float32), index=index, columns=nodes)
    kinds = dict.fromkeys(names, "protein") | {p: "phenotype" for p in names[MEASURED:]}
    kinds |= dict.fromkeys(drugs, "drug_activity")
    return Study(frame(x), frame(u), kinds, tuple(tuple(parts) for parts in labels))


def fitted(study: Study, train: np.ndarray, seed: int, options: Mapping[str, Any]) -> tuple[Posterior, float]:
    """A fit with what is given, else by default, and its CPU seconds."""
    data = ExpressionData.from_frame(study.X[train].astype("float32"))
    model = CellBox.from_data(data.with_inputs(study.u[train].astype("float32")), kinds=study.kinds)
    started = time.process_time()
    posterior = fit(model, guide=default_guide(model), seed=seed, **options)
    return posterior, time.process_time() - started


def held_out(study: Study, train: np.ndarray, posterior: Posterior, seed: int) -> dict[str, float]:
    """Scores of the conditions that did not train, as `cellbox.scores`."""
    model: Any = posterior.model
    x = model.predict(posterior.draws, torch.tensor(study.u.to_numpy())).x.numpy()
    noise = posterior.draws["noise"].reshape(-1, 1, x.shape[-1])
    observed = x + noise * np.random.default_rng(seed).standard_normal(x.shape)
    interval = np.nanquantile(observed, [0.05, 0.95], axis=0)
    return scores(study, ~train, np.nanmean(x, 0), interval)


def run(folder: Path, results: Results) -> None:
    """Choose on simulated studies, report the default on random melanoma splits; ``folder`` holds the latter."""
    results.resume_parts()
    for steps in STEPS:
        results.part(f"{steps} steps", partial(after_steps, results, steps))
    results.part("melanoma", partial(reported, folder, results))


def after_steps(results: Results, steps: int) -> None:
    """Held-out scores after this many steps, over simulated studies."""
    rows = []
    for seed in range(SIMULATED):
        study = simulate(seed)
        chosen = np.random.default_rng(seed).permutation(CONDITIONS)[: round(0.7 * CONDITIONS)]
        train = np.isin(np.arange(CONDITIONS), chosen)
        posterior, seconds = fitted(study, train, seed, {"num_steps": steps, "restarts": 1})
        rows.append(held_out(study, train, posterior, seed) | {"CPU seconds": seconds})
        rows[-1]["ELBO"] = float(posterior.history.elbo[:, -10:].mean())
    _write(results, TASK, f"{steps} steps", rows)


def reported(folder: Path, results: Results) -> None:
    """The default on random melanoma splits."""
    melanoma = Study.read(folder / "cellbox_melanoma")
    rows = []
    for _, name, train in splits(melanoma)[:REPORTED]:
        posterior, seconds = fitted(melanoma, train, int(name), {})
        rows.append(held_out(melanoma, train, posterior, int(name)) | {"CPU seconds": seconds})
    _write(results, f"melanoma, {RANDOM}", "default", rows)


def _write(results: Results, task: str, method: str, rows: list[dict[str, float]]) -> None:
    for score in rows[0]:
        results.add(task, method, f"0-{len(rows) - 1}", score, *mean_se([row[score] for row in rows]))
