"""How the probabilities of one world, or of several pooled, compare with its truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...inference.calibration import brier, expected_calibration_error, expected_list, log_score
from ...models.simulators import World
from ..scores import average_precision

RATES = (0.05, 0.1, 0.2)
"""Expected shares of wrong edges at which lists are made."""
BITS = float(np.log(2))
ALL = "all"


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of offered regulators and made targets: ``probability`` (pair,) as stated, ``true``, the ``response`` of
    the target, and of each rate whether the pair is ``listed`` (rate, pair)."""

    probability: np.ndarray
    true: np.ndarray
    response: np.ndarray
    listed: np.ndarray

    @classmethod
    def stated(cls, probability: np.ndarray, true: np.ndarray, response: np.ndarray) -> "Pairs":
        """With the lists that are made of them (`expected_list`)."""
        listed = np.zeros((len(RATES), len(probability)), dtype=bool)
        for i, rate in enumerate(RATES):
            listed[i, expected_list(probability, rate)] = True
        return cls(probability, true, response, listed)

    def of(self, response: str) -> "Pairs":
        """Those of targets with this response; what is listed stays what was listed of all."""
        kept = self.response == response if response != ALL else np.ones(len(self.true), dtype=bool)
        return Pairs(self.probability[kept], self.true[kept], self.response[kept], self.listed[:, kept])


def pairs_of(edges: pd.DataFrame, world: World) -> Pairs:
    """The pairs of a world with the ``inclusion`` of an edge table; a pair that the table does not have has
    probability 0.

    Edges into regulators are left out: they have no known truth.
    """
    tf = {name: i for i, name in enumerate(world.data.tfs)}
    target = {name: i for i, name in enumerate(world.targets)}
    kept = edges[edges["target"].isin(target.keys()) & edges["source"].isin(tf.keys())]
    probability = np.zeros(world.sign.shape)
    probability[kept["source"].map(tf), kept["target"].map(target)] = kept["inclusion"]
    response = np.broadcast_to(np.asarray(world.responses, dtype=object), world.sign.shape)
    return Pairs.stated(probability.ravel(), world.present.ravel(), response.ravel())


def joined(parts: Sequence[Pairs]) -> Pairs:
    """All pairs of several worlds, each with the lists of its own."""
    joint = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("probability", "true", "response")
    }
    return Pairs(listed=np.concatenate([part.listed for part in parts], axis=1), **joint)


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part[whole].mean()) if whole.any() else float("nan")


def _bits_of_base_rate(pairs: Pairs) -> float:
    return log_score(np.full(len(pairs.true), pairs.true.mean()), pairs.true) / BITS


SCORES: dict[str, Callable[[Pairs], float]] = {
    "pairs": lambda p: float(len(p.true)),
    "base_rate": lambda p: float(p.true.mean()),
    "mean_inclusion": lambda p: float(p.probability.mean()),
    "ece": lambda p: expected_calibration_error(p.probability, p.true),
    "brier": lambda p: brier(p.probability, p.true),
    "bits": lambda p: log_score(p.probability, p.true) / BITS,
    "bits_of_base_rate": _bits_of_base_rate,
    "auprc": lambda p: average_precision(p.probability, p.true),
}
"""Of pairs: their number; share of true edges; mean probability stated; expected calibration error; Brier score; log
score in bits a pair, and that of one who knows the base rate and nothing else; average precision."""


def score(pairs: Pairs) -> dict[str, float]:
    """`SCORES` by name, and of each rate ``listed_RATE`` edges, ``wrong_RATE`` the share of them that is wrong (NaN
    where none is listed) and ``power_RATE`` the share of true edges that is listed."""
    values = {name: function(pairs) for name, function in SCORES.items()}
    for rate, listed in zip(RATES, pairs.listed, strict=True):
        values[f"listed_{rate:g}"] = float(listed.sum())
        values[f"wrong_{rate:g}"] = _share(~pairs.true, listed)
        values[f"power_{rate:g}"] = _share(listed, pairs.true)
    return values


def longest_list(ranking: np.ndarray, true: np.ndarray, rate: float) -> np.ndarray:
    """Positions of the longest list, from the best of a ``ranking`` (pair,) down, of which at most ``rate`` is wrong:
    what one who knew the truth would cut from it. Pairs of equal rank are listed together.

    Examples
    --------
    >>> longest_list(np.array([0.9, 0.8, 0.5, 0.5]), np.array([True, True, True, False]), 0.1)
    array([0, 1])
    """
    order = np.argsort(-ranking, kind="stable")
    whole = np.append(np.diff(ranking[order]) != 0, True)  # ends a group of equal rank
    wrong = np.cumsum(~true[order]) / np.arange(1, len(order) + 1)
    ends = np.flatnonzero(whole & (wrong <= rate))
    return np.sort(order[: ends[-1] + 1]) if len(ends) else order[:0]


def pooled(parts: Sequence[Pairs]) -> dict[str, tuple[float, float]]:
    r"""Scores of all worlds' pairs together, numbers of pairs and edges as means over worlds, each with its jackknife
    standard error over worlds, :math:`\sqrt{\frac{R-1}{R} \sum_r (\theta_{-r} - \bar\theta)^2}`; NaN of one world."""
    count = len(parts)
    whole = score(joined(parts))
    out = [score(joined([*parts[:i], *parts[i + 1 :]])) for i in range(count)] if count > 1 else []
    found = {}
    for name, value in whole.items():
        per = name == "pairs" or name.startswith("listed_")
        left = np.array([values[name] / ((count - 1) if per else 1) for values in out])
        error = float(np.sqrt((count - 1) * left.var())) if count > 1 else float("nan")
        found[name] = (value / count if per else value, error)
    return found
