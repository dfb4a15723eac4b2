"""Is the probability of a link right? Cells of linear networks in which regulators regulate each other, with loops and
without: P(some edge between A and B) beside whether there is one, as the model states it and as corrected by the
trial of `infer`."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ...inference import Posterior
from ...inference.calibration import expected_calibration_error, expected_list, log_score
from ...inference.draws.edge_table import RAW
from ...models.simulators import LinearSimulation, simulate_linear
from ..ladder import UserPath
from ..ladder.scoring import longest_list
from .engine_calibration import clustered
from .results import Results

NUM_GENES, NUM_TFS, NUM_CELLS = 60, 12, 400
EDGES = 0.12  # probability of an edge
DATA_SETS = 20
KINDS = {"without loops": False, "with loops": True}
RATE = 0.1
MODEL, CORRECTED = "as the model states", "corrected"


def run(folder: Path, results: Results) -> None:
    """All rows; ``folder`` is not read."""
    results.resume_parts()
    for kind, feedback in KINDS.items():
        results.part(kind, partial(run_kind, results, kind, feedback))


def run_kind(results: Results, kind: str, feedback: bool) -> None:
    """Rows of one kind of networks."""
    add_rows(results, kind, [pairs(feedback, seed) for seed in range(DATA_SETS)])


def pairs(feedback: bool, seed: int) -> pd.DataFrame:
    """Of one data set, all pairs of regulators: probability that they are linked, by the model and corrected, and
    whether they are."""
    made = simulate_linear(
        num_genes=NUM_GENES,
        num_tfs=NUM_TFS,
        num_cells=NUM_CELLS,
        edge_probability=EDGES,
        feedback=feedback,
        seed=500 + seed,
    )
    path = UserPath("linear")
    return linked(path.fit(path.model(made.data), made.data, seed=seed), made)


def linked(posterior: Posterior, made: LinearSimulation) -> pd.DataFrame:
    """The pairs of `Posterior.links`, with what the model states in a column of its own, and the truth."""
    table = posterior.links()
    raw = posterior.attributes.get(RAW, posterior.moments["W"].inclusion)
    tf, target = ({name: i for i, name in enumerate(posterior.coords[axis])} for axis in ("tf", "target"))
    place = lambda column, axis: [axis[name] for name in table[column]]
    stated = lambda a, b: raw[place(a, tf), place(b, target)].astype(float)
    edges = set(zip(made.network["source"], made.network["target"], strict=True))
    either = [(a, b) in edges or (b, a) in edges for a, b in zip(table["a"], table["b"], strict=True)]
    return pd.DataFrame(
        {
            MODEL: np.fmax(stated("a", "b"), stated("b", "a")),
            CORRECTED: table["probability"].astype(float),
            "true": np.asarray(either, dtype=bool),
        }
    )


def add_rows(results: Results, kind: str, tables: list[pd.DataFrame]) -> None:
    """Scores of all pairs together; lists are made of each data set."""
    task = f"{len(tables)} networks {kind}"
    true = np.concatenate([table["true"] for table in tables])
    for name in (MODEL, CORRECTED):
        add = lambda score, value, se=float("nan"), name=name: results.add(task, name, "all", score, value, se)
        stated = np.concatenate([table[name] for table in tables])
        add("pairs", len(true))
        add("linked", true.mean())
        add("mean probability", stated.mean())
        add("ECE", expected_calibration_error(stated, true))
        add("bits a pair", log_score(stated, true) / float(np.log(2)))
        lists = [expected_list(table[name].to_numpy(), RATE) for table in tables]
        wrong = [~table["true"].to_numpy()[listed] for table, listed in zip(tables, lists, strict=True)]
        every = np.concatenate(wrong)
        add("listed at 10%", len(every))
        add("share of the links listed", float((~every).sum() / true.sum()))
        if len(every):
            add("wrong of those listed at 10%", float(every.mean()), clustered(wrong))
        longest = [longest_list(table[name].to_numpy(), table["true"].to_numpy(), RATE) for table in tables]
        add("longest list at most 10% wrong", float(sum(len(best) for best in longest)))
