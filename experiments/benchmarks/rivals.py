"""Other tools on the same cells, each as its authors ship it, in an environment of its own.

``PYROGRN_RIVALS`` names a Python that has them (``python -m venv rivals; rivals/bin/pip install regdiffusion
millipede-regression cascade-reg``; arboreto 0.1.6 in another, with ``dask<2024.3``); what it lacks is skipped with a
word, and without it so are all, so tools that do not go together are run one Python after the other. Every tool has
its defaults, one thread, and the regulators where it takes them. `millipede` selects variables one target at a time, so
all are scored on the same few targets. Tools that answer other questions are in `rivals_others`.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ...inference.calibration import expected_calibration_error, log_score
from ...models.simulators import simulate_linear
from ..baselines import GENIE3, Correlation, GRNBoost2, Ridge
from ..ladder import UserPath
from ..scores import auroc, average_precision
from ..tasks import Task, random_grn_tasks, truth_matrix
from . import rivals_others
from .other_pythons import LAST, written_by
from .results import Results

ENVIRONMENT = "PYROGRN_RIVALS"
TARGETS = 25
RATE = 0.1  # of a list's expected share of wrong edges

SCORE = "score = np.zeros((len(tf), len(targets)))\n"
# what is loaded before the clock starts, and the run; `score` (tf, target)
PROGRAMS = {
    "regdiffusion": (
        "import torch; torch.set_num_threads(1); import regdiffusion",
        """
trainer = regdiffusion.RegDiffusionTrainer(X, device="cpu", seed=0)
trainer.train()
score = np.abs(np.asarray(trainer.get_adj(), dtype=float))[np.ix_(tf, targets)]
""",
    ),
    "arboreto, GRNBoost2": (
        "import pandas as pd; from distributed import Client; from arboreto.algo import grnboost2",
        """
with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
    found = grnboost2(pd.DataFrame(X, columns=names), tf_names=[names[i] for i in tf], client_or_address=client, seed=0)
row, column = ({names[g]: i for i, g in enumerate(part)} for part in (tf, targets))
for source, target, weight in found.itertuples(index=False):
    if target in column:
        score[row[source], column[target]] = weight
""",
    ),
    "millipede": (
        "import torch; torch.set_num_threads(1); import pandas as pd; import millipede",
        """
Z = (X - X.mean(0)) / X.std(0)
for j, target in enumerate(targets):
    own = [i for i, g in enumerate(tf) if g != target]
    table = pd.DataFrame(Z[:, tf[own]], columns=[names[g] for g in tf[own]]).assign(response=Z[:, target])
    selector = millipede.NormalLikelihoodVariableSelector(table.astype(float), "response")
    selector.run(verbosity=None, seed=0)
    score[own, j] = selector.pip.to_numpy()
""",
    ),
    "cascade": (
        "import torch; torch.set_num_threads(1); import anndata, networkx, pandas as pd\n"
        "from cascade.model import CASCADE; from cascade.data import configure_dataset, encode_regime",
        """
cells = anndata.AnnData(((X - X.mean(0)) / X.std(0)).astype("float32"), var=pd.DataFrame(index=names))
cells.obs["knocked_out"] = ""
encode_regime(cells, "regime", key="knocked_out")
configure_dataset(cells, use_regime="regime")
candidates = networkx.DiGraph([(names[a], names[b]) for a in tf for b in range(len(names)) if a != b])
model = CASCADE(names, latent_mod="NilLatent", lik_mod="Normal", scaffold_graph=candidates, random_state=0)
model.discover(cells)
row, column = ({names[g]: i for i, g in enumerate(part)} for part in (tf, targets))
for source, target, weight in model.export_causal_graph().edges(data="weight"):
    if target in column:
        score[row[source], column[target]] = np.mean(weight)
""",
    ),
}
PROBABLE = ("millipede", "cascade", "linear", "linear, not corrected")


def tasks(folder: Path) -> Iterator[Task]:
    """The model's own cells, and a random network of SERGIO."""
    own = simulate_linear(num_genes=80, num_tfs=15, num_cells=500, seed=0)
    yield Task("simulate linear", own.data, {"network": own.network[["source", "target"]]})
    yield replace(next(random_grn_tasks(folder, "val", "X")), name="random network of SERGIO")


def run(folder: Path, results: Results) -> None:
    """Ranking, and of probabilities their calibration; CPU seconds and, of other tools, resident gigabytes. What the
    file has is kept."""
    results.resume()
    python = os.environ.get(ENVIRONMENT)
    if python is None:
        print(f"other tools are skipped: {ENVIRONMENT} names no Python that has them")
    for task in tasks(folder):
        targets = some_targets(task)
        true = truth_matrix(task.data, task.truths["network"])[:, targets]
        for name in ("linear", "linear, not corrected"):
            if results.value(task.name, name, 0, LAST) is None:
                path = UserPath() if name == "linear" else UserPath(trial=None)
                started = time.process_time()
                table = path.fit(path.model(task.data), task.data, seed=0).edges()
                add(
                    results, task, name, by_pair(table, "inclusion", task, targets), true, time.process_time() - started
                )
        for method in (Correlation(), Ridge(), GENIE3(num_trees=100), GRNBoost2()):
            if results.value(task.name, method.name, 0, LAST) is None:
                started = time.process_time()
                table = method(task.data, seed=0)
                table["size"] = table["weight"].abs()
                score = by_pair(table, "size", task, targets)
                add(results, task, method.name, score, true, time.process_time() - started)
        for name in PROGRAMS if python is not None else ():
            if results.value(task.name, name, 0, LAST) is None:
                found = elsewhere(str(python), name, task, targets)
                if isinstance(found, str):
                    print(f"{task.name}: {name} is skipped: {found}")
                    continue
                results.add(task.name, name, 0, "resident GB", float(found["memory"]))
                add(results, task, name, found["score"], true, float(found["seconds"]))
    rivals_others.run(folder, results, python)


def some_targets(task: Task) -> np.ndarray:
    """Positions of genes that are no regulators, spread evenly."""
    others = [i for i, gene in enumerate(task.data.genes) if gene not in set(task.data.tfs)]
    return np.array(others)[np.unique(np.linspace(0, len(others) - 1, TARGETS).round().astype(int))]


def by_pair(table: pd.DataFrame, column: str, task: Task, targets: np.ndarray) -> np.ndarray:
    """``(tf, target)`` a column of an edge table; 0 for pairs that it lacks."""
    row = {gene: i for i, gene in enumerate(task.data.tfs)}
    place = {task.data.genes[t]: i for i, t in enumerate(targets)}
    score = np.zeros((len(row), len(place)))
    kept = table[table["target"].isin(place)]
    score[kept["source"].map(row), kept["target"].map(place)] = kept[column]
    return score


def elsewhere(python: str, name: str, task: Task, targets: np.ndarray) -> dict[str, np.ndarray] | str:
    """What a tool's program says of the pairs of a task, `written_by`."""
    place = {gene: i for i, gene in enumerate(task.data.genes)}
    tf = np.array([place[t] for t in task.data.tfs])
    load, work = PROGRAMS[name]
    return written_by(python, load, SCORE + work, X=task.data.X.double().numpy(), tf=tf, targets=targets)


def add(results: Results, task: Task, name: str, score: np.ndarray, true: np.ndarray, seconds: float) -> None:
    """Rows of one tool; CPU seconds last."""
    flat, present = score.ravel(), true.ravel().astype(bool)
    results.add(task.name, name, 0, "average precision", average_precision(flat, present))
    results.add(task.name, name, 0, "AUROC", auroc(flat, present))
    if name in PROBABLE:
        results.add(task.name, name, 0, "ECE", expected_calibration_error(flat, present))
        results.add(task.name, name, 0, "log score", float(log_score(flat, present)))
        order = np.sort(1 - flat)
        listed = int((np.cumsum(order) / np.arange(1, len(order) + 1) <= RATE).sum())
        chosen = np.argsort(-flat, kind="stable")[:listed]
        results.add(task.name, name, 0, "listed at 10%", float(listed))
        results.add(task.name, name, 0, "wrong of the listed", float((~present[chosen]).mean()) if listed else np.nan)
    results.add(task.name, name, 0, LAST, seconds)
