"""Amortised guides given prior networks that are wrong, and cells whose regulators are not all measured: validation
networks of `random_grns`, clean and with dropout, the edges of a prior network moved to random places."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...inference import Amortised, fit
from ...inference.amortised.novelty import LEAST_P
from ...inference.answers.promise import why_no_list
from ...inference.calibration import expected_calibration_error, expected_list, log_score
from ...models import ExpressionData, LinearNetwork
from ...priors import PriorNetwork
from ..scores import average_precision
from ..tasks import Task, truth_matrix
from .amortised import raw_task, scored
from .results import Results, mean_se

GUIDES = ("grnular", "glad-tf")
LAYERS = {"clean": "X", "dropout": "counts_dropout"}
GRAPHS = tuple(f"r{i}" for i in range(20, 25))  # the way of weighing was chosen on r00 to r03
MOVED = {"right": 0.0, "half of its edges moved": 0.5, "nine tenths moved": 0.9, "all moved": 1.0}
NONE, HIDDEN = "none", "none, half of the regulators not measured"
CONFIDENCE, RATE = 0.8, 0.1
SPAN = f"{GRAPHS[0]}-{GRAPHS[-1]}"


def run(folder: Path, results: Results) -> None:
    """All rows; finished ones are kept."""
    results.resume()
    if not (folder / "random_grns").is_dir():
        print(f"no {folder / 'random_grns'}, left out")
        return
    for layer, name in LAYERS.items():
        for guide in GUIDES:
            for case in (NONE, *MOVED, HIDDEN):
                task = f"{layer}, prior network: {case}"
                if results.value(task, guide, SPAN, "wrong pooled") is None:
                    add_rows(results, task, guide, [case_of(folder, name, graph, case) for graph in GRAPHS])


def case_of(folder: Path, layer: str, graph: str, case: str) -> tuple[Task, PriorNetwork | None]:
    """Cells and truth, and the prior network that is given."""
    task = raw_task(folder, "random_grns", layer, graph)
    rng = np.random.default_rng([int(graph[1:]), 3])
    if case == HIDDEN:
        kept = sorted(rng.permutation(len(task.data.tfs))[: len(task.data.tfs) // 2].tolist())
        tfs = [task.data.tfs[i] for i in kept]
        gone = set(task.data.tfs) - set(tfs)
        genes = [gene for gene in task.data.genes if gene not in gone]
        return Task(task.name, task.data.select_genes(genes).annotated(tfs=tfs), task.truths), None
    if case == NONE:
        return task, None
    edges = task.truths["network"].assign(probability=CONFIDENCE)
    known = edges[edges["source"] != edges["target"]]
    return task, moved(PriorNetwork.from_edges(known, name="prior"), task.data, MOVED[case], rng)


def moved(network: PriorNetwork, data: ExpressionData, share: float, rng: np.random.Generator) -> PriorNetwork:
    """The network with this share of its edges at random places."""
    return network if share == 0 else network.corrupted(share, rng, sources=data.tfs, targets=data.genes)


def add_rows(results: Results, task: str, guide: str, cases: list[tuple[Task, PriorNetwork | None]]) -> None:
    """Means over networks, and the lists together."""
    each, listed, wrong, made, made_wrong = [], 0, 0, 0, 0
    for cells, network in cases:
        probability, true, weight, far, refused = answers(cells.data, cells.truths["network"], network, guide)
        chosen = expected_list(probability, RATE)
        listed, wrong = listed + len(chosen), wrong + int((~true[chosen]).sum())
        if not refused:
            made, made_wrong = made + len(chosen), made_wrong + int((~true[chosen]).sum())
        each.append(
            {
                "average precision": average_precision(probability, true),
                "ece": expected_calibration_error(probability, true),
                "bits": log_score(probability, true) / float(np.log(2)),
                "weight": weight,
                "unlike the training": far,
                "no list": float(refused),
            }
        )
    for score in each[0]:
        results.add(task, guide, SPAN, score, *mean_se([one[score] for one in each]))
    results.add(task, guide, SPAN, "listed pooled", listed)
    results.add(task, guide, SPAN, "listed where lists are made", made)
    results.add(task, guide, SPAN, "wrong where lists are made", made_wrong / made if made else float("nan"))
    results.add(task, guide, SPAN, "wrong pooled", wrong / listed if listed else float("nan"))


def answers(
    data: ExpressionData, truth: pd.DataFrame, network: PriorNetwork | None, guide: str
) -> tuple[np.ndarray, np.ndarray, float, float, bool]:
    """Probabilities and truth of all pairs, the weight of the prior network, whether the check of the cells fails, and
    whether no list is made of the fit; of genes that vary, as `infer` has it."""
    data = data.without_constant_genes()
    model: Any = LinearNetwork.from_data(data, networks={} if network is None else {"prior": network})
    posterior = fit(model, data, guide=Amortised(guide, num_chains=1, num_samples=2), seed=0)
    inclusion = posterior.moments["W"].inclusion.astype(float)
    weight = float(np.asarray(posterior.attributes.get("knowledge_weight", np.nan)))
    far = float(float(np.asarray(posterior.attributes["training_worlds_p"])) <= LEAST_P)
    refused = why_no_list(posterior) is not None
    return (*scored(inclusion, data, truth_matrix(data, truth)), weight, far, refused)
