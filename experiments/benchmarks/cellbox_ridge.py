"""What `predict --input` answers on the melanoma splits, beside the two that it is made of: the network of CellBox, as
it is fitted by default, and a ridge regression on the inputs.

That both are weighed by their variances in a condition, and not node by node, was settled on three random splits, three
of unseen pairs and three drugs of these."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ...inference import fit
from ...inference.answers.cellbox import beside_ridge
from ...models import ExpressionData
from ...models.cellbox import CellBox
from .cellbox import PATHWAYS, SEEDS, WITH, Study, pearson, splits
from .results import Results, mean_se

PAIRS, SHARE = "unseen pairs", 0.3  # of the pairs of drugs, held out
DRAWS, LEVEL = 200, 1.6449
NETWORK, RIDGE, BOTH = "CellBox, default", "ridge on u, with its variance", "both, as predicted"


def all_splits(study: Study) -> Iterator[tuple[str, str, np.ndarray]]:
    """Those of `cellbox` but the leave-one-drug-out with singles, and pairs of drugs held out at random."""
    pairs = np.flatnonzero([len(parts) == 2 for parts in study.parts])
    for seed in range(SEEDS):
        held = np.random.default_rng(seed).permutation(pairs)[: round(SHARE * len(pairs))]
        yield PAIRS, str(seed), ~np.isin(np.arange(len(study.X)), held)
    yield from (split for split in splits(study) if split[0] != WITH)


def run(folder: Path, results: Results) -> None:
    """All splits; rows of a split that are there are kept."""
    study = Study.read(folder / "cellbox_melanoma")
    results.resume()
    tasks: dict[str, list[str]] = {}
    for task, name, train in all_splits(study):
        tasks.setdefault(task, []).append(name)
        if results.value(task, BOTH, name, "width") is None:
            one_split(study, results, task, name, train)
    for task, names in tasks.items():
        for method in (NETWORK, RIDGE, BOTH):
            for score in ("Pearson", "coverage of 90% intervals", "width", "share of the network"):
                values = [results.value(task, method, name, score) for name in names]
                known = [value for value in values if value is not None]
                label = f"{len(names)} splits"
                if known and results.value(task, method, label, score) is None:
                    results.add(task, method, label, score, *mean_se(known))


def one_split(study: Study, results: Results, task: str, name: str, train: np.ndarray) -> None:
    """Fit, predict what was held out, score."""
    data = ExpressionData.from_frame(study.X[train]).with_inputs(study.u[train])
    drugs = [node for node in study.X.columns if study.kinds[node] == "drug_activity"]
    model = CellBox.from_data(data, kinds=study.kinds, classes={"drug": drugs, **PATHWAYS})
    posterior = fit(model, seed=int(name) if name.isdigit() else 0, num_draws=DRAWS)
    inputs = torch.tensor(study.u.to_numpy()[~train])
    states = model.predict(posterior.draws, inputs).x.numpy()
    noise = posterior.draws["noise"].reshape(len(states), -1)
    found, own, other = beside_ridge(model, states, noise, inputs)
    truth = study.X.to_numpy()[~train]
    answers = {
        NETWORK: (own.mean, np.sqrt(own.variance)),
        RIDGE: (other.mean, np.sqrt(other.variance)),
        BOTH: (found.mean, found.sd),
    }
    results.add(task, BOTH, name, "share of the network", float(found.share.mean()))
    for method, (mean, sd) in answers.items():
        results.add(task, method, name, "Pearson", pearson(mean, truth))
        results.add(task, method, name, "coverage of 90% intervals", float((abs(mean - truth) <= LEVEL * sd).mean()))
        results.add(task, method, name, "width", float((2 * LEVEL * sd).mean()))
