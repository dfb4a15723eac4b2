"""What is measured on every run: bits, scores of edges, predictions, and their differences from the run without
sources."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...inference.calibration import expected_calibration_error
from ...models import ExpressionData
from ..matching import named_pairs
from ..scores import auroc, average_precision
from .information import ap_difference, kl_bits, log_score_bits, mean_difference, rate_bits, total_difference
from .inputs import unpack

NAN = float("nan")
MEASURES = {
    "expected_edges": "edges expected after the data, Σ q",
    "prior_edges": "edges expected before the data, Σ π, sources included",
    "gain_bits": "information from the data, Σ KL(q‖π) over all edges, bits. What edges share, as their base rate, is "
    "learned once and counts at every edge: the sum can exceed what was learned of the whole network many times",
    "gain_bits_rate": "the part of gain_bits that one shift of all log-odds explains: how many edges, not which",
    "gain_bits_floor": "what the noise of the chains alone puts into gain_bits; not above it, gain_bits says nothing",
    "gain_bits_per_edge": "the same a possible edge",
    "moved_bits": "what the sources changed, Σ KL(q‖q without sources), bits; summed over edges as gain_bits",
    "moved_bits_floor": "what the noise of the chains alone puts into moved_bits: of each run, KL between the means of "
    "its even and its odd chains, scaled to the mean of all (half of it where they are as many), both runs added",
    "moved_bits_per_edge": "the same a possible edge",
    "average_precision": "of the pairs scored",
    "auroc": "of the pairs scored",
    "ece": "expected calibration error of the pairs scored",
    "log_score_bits": "mean log2 probability of what is true of a pair",
    "delta_average_precision": "against the same run without sources",
    "delta_log_score_bits": "against the same run without sources; above 0 the sources helped",
    "elpd": "log predictive density of the held-out values, nats",
    "delta_elpd": "against the same run without sources",
    "set_average_precision": "of programs: of the members of each set by |loading|, as the run has the sets (without "
    "sources: as they are given); by chance the share of genes in the set",
    "set_share": "of programs: share of the squared loadings of a program in its set",
    "chain_error": "mean standard error of an edge's probability, from how far chains differ",
}


@dataclass(frozen=True, eq=False)
class Measured:
    """The truth laid over the pairs.

    ``true``, ``scored`` ``(tf, target)`` bool: the edges that exist, the pairs that count; ``None`` without a truth.
    ``possible`` ``(tf, target)`` bool: all but self-pairs. ``num_outside``: edges of the truth that lie outside.
    """

    targets: tuple[str, ...]
    possible: np.ndarray
    true: np.ndarray | None
    scored: np.ndarray | None
    num_outside: int = 0

    @classmethod
    def of(cls, data: ExpressionData, truth: pd.DataFrame | None, *, within_truth: bool) -> "Measured":
        """Lay a truth over the pairs of the data.

        Raises
        ------
        ValueError
            Missing columns, or no edge of the truth among the pairs.
        """
        tf = {name: i for i, name in enumerate(data.tfs)}
        gene = {name: i for i, name in enumerate(data.genes)}
        possible = np.ones((len(tf), len(gene)), dtype=bool)
        for name, row in tf.items():
            possible[row, gene[name]] = False
        if truth is None:
            return cls(data.genes, possible, None, None)
        pairs = named_pairs(truth, "truth").drop_duplicates()
        pairs = pairs[pairs["source"] != pairs["target"]]
        inside = pairs["source"].isin(tf) & pairs["target"].isin(gene)
        if not inside.any():
            raise ValueError(
                f"none of the {len(pairs)} true edges lies among {len(tf)} regulators x {len(gene)} genes of the data, "
                f"e.g. {pairs['source'].iloc[0]} -> {pairs['target'].iloc[0]}: check the names, and --tfs"
                if len(pairs)
                else "the truth holds nothing but self-edges; expected edges between different genes"
            )
        true = np.zeros_like(possible)
        true[pairs.loc[inside, "source"].map(tf), pairs.loc[inside, "target"].map(gene)] = True
        scored = possible & true.any(1, keepdims=True) if within_truth else possible
        return cls(data.genes, possible, true, scored, int((~inside).sum()))

    @property
    def num_pairs(self) -> int:
        return 0 if self.scored is None else int(self.scored.sum())

    @property
    def num_true(self) -> int:
        return 0 if self.true is None else int(self.true.sum())


def measure(own: Mapping[str, Any], base: Mapping[str, Any], measured: Measured) -> dict[str, Any]:
    """The measures of one run, and their differences from the run without sources; NaN for what does not apply.

    Parameters
    ----------
    own, base
        Results of `run_case`.
    measured
        The truth.
    """
    q, without = (unpack(run["inclusion"]).astype(np.float64) for run in (own, base))
    possible = measured.possible
    moved = kl_bits(q[possible], without[possible])
    row: dict[str, Any] = {
        "used_edges": sum(own["used"].values()),
        "expected_edges": float(q[possible].sum()),
        "moved_bits": float(moved.sum()),
        "moved_bits_floor": 0.0 if own is base else _number(own["chain_noise"]) + _number(base["chain_noise"]),
        "moved_bits_per_edge": float(moved.mean()),
    }
    if own["prior"] is None:
        names = ("prior_edges", "gain_bits", "gain_bits_rate", "gain_bits_floor", "gain_bits_per_edge")
        row |= dict.fromkeys(names, NAN)
    else:
        before = unpack(own["prior"]).astype(np.float64)[possible]
        gain = kl_bits(q[possible], before)
        row |= {"prior_edges": float(before.sum()), "gain_bits": float(gain.sum())}
        row |= {"gain_bits_rate": rate_bits(q[possible], before), "gain_bits_floor": _number(own["chain_noise"])}
        row |= {"gain_bits_per_edge": float(gain.mean())}
    row |= _edge_scores(own, base, q, without, measured)
    row |= _predictions(own["predicted"], base["predicted"])
    row |= own.get("follows", {})  # of programs
    return row | {
        "chain_error": _number(own["chain_error"]),
        "calibrated": own["calibrated"],
        "seconds": own["seconds"],
    }


def _number(value: float | None) -> float:
    return NAN if value is None else value


def _edge_scores(
    own: Mapping[str, Any], base: Mapping[str, Any], q: np.ndarray, without: np.ndarray, measured: Measured
) -> dict[str, Any]:
    names: tuple[str, ...] = ("average_precision", "auroc", "ece", "log_score_bits", "base_rate")
    names += tuple(f"delta_{n}{s}" for n in ("average_precision", "log_score_bits") for s in ("", "_se"))
    if measured.scored is None or measured.true is None:
        return dict.fromkeys(names, NAN)
    scored = measured.scored
    if own["held_targets"]:  # what sources that say nothing of these targets still do for them
        scored = scored & np.isin(np.array(measured.targets, dtype=object), own["held_targets"])
    true, target = measured.true[scored], np.nonzero(scored)[1]
    if not true.any():
        return dict.fromkeys(names, NAN)
    mine, other = evidence(own, q, scored), evidence(base, without, scored)
    here, there = (log_score_bits(value[scored], true) for value in (q, without))
    scores: dict[str, Any] = {
        "average_precision": average_precision(mine, true),
        "auroc": auroc(mine, true),
        "ece": expected_calibration_error(q[scored], true),
        "log_score_bits": float(here.mean()),
        "base_rate": float(true.mean()),
    }
    target = np.unique(target, return_inverse=True)[1]
    precision = ap_difference(mine, other, true, target)
    bits = mean_difference(here, there, target)
    return scores | {
        "delta_average_precision": precision.value,
        "delta_average_precision_se": precision.se,
        "delta_log_score_bits": bits.value,
        "delta_log_score_bits_se": bits.se,
    }


def evidence(run: Mapping[str, Any], q: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """``(pair,)`` dense ranks by probability, then by the size of the weight."""
    keys = np.stack([q[scored], unpack(run["size"]).astype(np.float64)[scored]], axis=1)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def _predictions(own: Any, base: Any) -> dict[str, float]:
    names = ("elpd", "delta_elpd", "delta_elpd_se", "predicted_values")
    if isinstance(own, str) or isinstance(base, str):
        return dict.fromkeys(names, NAN)
    here, there = (unpack(p["density"]).astype(np.float64) for p in (own, base))
    cell = unpack(own["cell"])
    assert np.array_equal(cell, unpack(base["cell"])), "both predict the same values: same seed, genes and cells"
    gap = total_difference(here, there, cell)
    return {
        "elpd": float(here.sum()),
        "delta_elpd": gap.value,
        "delta_elpd_se": gap.se,
        "predicted_values": float(len(here)),
    }
