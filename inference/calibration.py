"""Is a probability of 0.8 right four times in five? Measures of calibration, and recalibration by simulations.

Brier score, log score and the table are a line or two each and not scikit-learn's: its import takes most of a second,
and its curve has neither counts nor errors. Tests hold them equal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from ..models import Model
from .draws.fitted import PosteriorLike
from .draws.intervals import interval

LOG_CLIP = 1e-6  # the log score moves probabilities this far from 0 and 1: one certain mistake costs 13.8 nats
NUM_BINS = 15  # of the calibration error, equal width, as Guo et al. (2017) and most work since
LEAST, MARGIN = 0.01, 1e-6  # of a list, below which nothing is sorted where the rate is passed before
RIDGE = 1e-3  # weight of the identity in the fit of a recalibration: keeps it finite where edges separate perfectly


def brier(probability: np.ndarray, true: np.ndarray) -> float:
    r"""Brier score :math:`\frac1n \sum_i (p_i - t_i)^2`; 0 is perfect."""
    return float(np.square(probability - true).mean())


def log_score(probability: np.ndarray, true: np.ndarray) -> float:
    r"""Mean negative log probability of the truth, nats per pair, p clipped to [1e-6, 1 − 1e-6]; 0 is perfect."""
    p = np.clip(probability, LOG_CLIP, 1 - LOG_CLIP)
    return float(-np.log(np.where(true, p, 1 - p)).mean())


def reliability_table(probability: np.ndarray, true: np.ndarray, *, num_bins: int = NUM_BINS) -> pd.DataFrame:
    r"""Return stated against observed edge frequency in equal-width bins ``(lower, upper]``, 0 in the first.

    Returns
    -------
    DataFrame
        ``lower, upper, probability`` (mean in the bin), ``observed`` (fraction of true edges), ``count`` and
        ``standard_error`` of ``observed`` were every probability right, :math:`\sqrt{\sum_i p_i (1 - p_i)} / n`, which
        stays honest where the observed fraction is 0 or 1. Bins without pairs are left out.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins is {num_bins}; expected at least 1.")
    index = np.clip(np.ceil(probability * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(index, minlength=num_bins)
    filled = np.flatnonzero(count)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, weights=values, minlength=num_bins)[filled] / count[filled]

    return pd.DataFrame(
        {
            "lower": filled / num_bins,
            "upper": (filled + 1) / num_bins,
            "probability": mean(probability),
            "observed": mean(true),
            "count": count[filled],
            "standard_error": np.sqrt(mean(probability * (1 - probability)) / count[filled]),
        }
    )


def expected_calibration_error(probability: np.ndarray, true: np.ndarray, *, num_bins: int = NUM_BINS) -> float:
    r"""Expected calibration error :math:`\sum_b \frac{n_b}{n} |\bar p_b - \bar t_b|` over equal-width bins.

    Noise makes it positive even for a calibrated table; the reliability table's standard errors say how much.
    """
    table = reliability_table(probability, true, num_bins=num_bins)
    gap = (table["probability"] - table["observed"]).abs()
    return float((gap * table["count"]).sum() / table["count"].sum())


def expected_list(probability: np.ndarray, rate: float) -> np.ndarray:
    """Positions, ascending, of the largest set whose expected false discovery rate, the mean of 1 − p, is at most
    ``rate``; of equal probabilities the first are taken first.

    Parameters
    ----------
    probability
        (pair,) that each is an edge.
    rate
        Strictly between 0 and 1.
    """
    some = np.flatnonzero(probability >= LEAST)  # the others follow these, and matter only where all of these are in
    if len(some) == 0 or not (1 - probability[some]).mean() > rate + MARGIN:
        some = np.arange(len(probability))
    best = some[np.argsort(-probability[some], kind="stable")]
    expected = np.cumsum(1 - probability[best]) / np.arange(1, len(best) + 1)  # never falls, so one cut is enough
    return np.sort(best[: int(np.searchsorted(expected, rate, side="right"))])


# -- of a posterior with known truth ----


@dataclass(frozen=True)
class EdgeCalibration:
    """How a posterior's edge probabilities compare with the edges that exist: scores, and the table behind them."""

    ece: float
    brier: float
    log_score: float
    table: pd.DataFrame


def edge_calibration(
    posterior: PosteriorLike[Model], present: np.ndarray, *, num_bins: int = NUM_BINS
) -> EdgeCalibration:
    """Calibration of ``inclusion`` over all edges that may exist (no self-edges, none outside a hard mask).

    Parameters
    ----------
    posterior
        Of data with known truth.
    present
        ``(tf, target)`` bool: the edges that exist.

    Raises
    ------
    ValueError
        A truth of another shape.
    """
    allowed = posterior.model.edge_prior.allowed.cpu().numpy()
    probability, true = _matched(posterior.moments["W"].inclusion, np.asarray(present, dtype=bool), "present")
    p, t = probability[allowed].astype(float), true[allowed]
    return EdgeCalibration(
        expected_calibration_error(p, t, num_bins=num_bins),
        brier(p, t),
        log_score(p, t),
        reliability_table(p, t, num_bins=num_bins),
    )


def coverage(
    posterior: PosteriorLike[Model], W: np.ndarray, *, levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95)
) -> pd.DataFrame:
    """Share of true weights inside the equal-tailed intervals of their edges.

    Parameters
    ----------
    posterior
        Of data with known truth.
    W
        ``(tf, target)`` true weights in the standardised units of the model.
    levels
        Probabilities of the intervals.

    Returns
    -------
    DataFrame
        ``level, coverage, standard_error, count``; the standard error takes edges for independent, which they are not
        quite within one data set: average over data sets for a sharp verdict.
    """
    allowed = posterior.model.edge_prior.allowed.cpu().numpy()
    draws = posterior.draws["W"]
    _, true = _matched(draws[0, 0], np.asarray(W, dtype=float), "W")
    source, target = np.nonzero(allowed)
    rows = []
    for level in levels:
        if not 0 < level < 1:
            raise ValueError(f"`levels` has {level}, expected probabilities strictly between 0 and 1")
        lower, upper = interval(draws, source, target, level)
        inside = (lower <= true[source, target]) & (true[source, target] <= upper)
        error = np.sqrt(level * (1 - level) / len(inside))
        rows.append({"level": level, "coverage": inside.mean(), "standard_error": error, "count": len(inside)})
    return pd.DataFrame(rows)


def _matched(found: np.ndarray, truth: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    if found.shape != truth.shape:
        raise ValueError(
            f"`{name}` has shape {truth.shape}, the posterior has (tf, target) {found.shape}: order it alike"
        )
    return found, truth


# -- recalibration ----


@dataclass(frozen=True)
class Recalibration:
    r"""A monotone map from reported inclusion to the frequency observed where the truth is known.

    Learn it on simulations that resemble the data (a misspecified model is too certain in the same way on both), and
    apply it to other data: a map learned on the edges it is then judged on proves nothing. Ranks do not change, so
    neither do AUPRC and AUROC (up to ties the isotonic map makes).

    ``logistic`` (default) is Platt scaling on the log-odds, :math:`p' = \sigma(a + b\,\mathrm{logit}\,p)` with
    :math:`b \ge 0`: two numbers, learned from a few hundred edges. ``isotonic`` is any monotone step function
    (Zadrozny & Elkan 2002): needs thousands, and says nothing outside the range it has seen.

    Attributes
    ----------
    method
        ``"logistic"`` or ``"isotonic"``.
    x, y
        logistic: ``x = (a,)``, ``y = (b,)``; isotonic: knots of the map, linear between them.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.random(4000) < 0.3
    >>> score = np.where(truth, 0.9, 0.6) * rng.random(4000)
    >>> recalibrate = Recalibration.fit(score, truth)
    >>> bool(abs(recalibrate(score).mean() - truth.mean()) < 0.01)
    True
    """

    method: Literal["logistic", "isotonic"]
    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.method not in ("logistic", "isotonic"):
            raise ValueError(f"unknown recalibration {self.method!r}: choose logistic or isotonic")
        if len(self.x) != len(self.y) or not self.x or (self.method == "logistic" and len(self.x) != 1):
            raise ValueError(
                f"{self.method} recalibration with {len(self.x)} x and {len(self.y)} y: the file is damaged"
            )

    @classmethod
    def fit(
        cls,
        probability: np.ndarray,
        truth: np.ndarray,
        *,
        method: Literal["logistic", "isotonic"] = "logistic",
    ) -> "Recalibration":
        """Learn the map from edges with known truth, pooled over simulations.

        Parameters
        ----------
        probability, truth
            ``(edge,)`` reported inclusion, and whether the edge exists.
        method
            See the class.

        Raises
        ------
        ValueError
            Shapes that differ, probabilities outside [0, 1], or a truth without edges, or with nothing else.
        """
        from scipy.optimize import isotonic_regression, minimize  # here: a seventh of a second to import

        p, t = np.asarray(probability, dtype=float).ravel(), np.asarray(truth).ravel().astype(float)
        if p.shape != t.shape:
            raise ValueError(f"{p.size} probabilities for {t.size} edges of known truth: pass one each")
        if not ((p >= 0) & (p <= 1)).all():
            raise ValueError(
                f"probabilities from {p.min():g} to {p.max():g}: expected inclusion probabilities in [0, 1]"
            )
        if t.all() or not t.any():
            raise ValueError(f"{int(t.sum())} of {t.size} edges exist: a recalibration needs some of both")
        if method == "isotonic":
            x, place, count = np.unique(p, return_inverse=True, return_counts=True)
            y = isotonic_regression(np.bincount(place, weights=t) / count, weights=count).x
            bend = np.r_[True, (y[1:-1] != y[:-2]) | (y[1:-1] != y[2:]), True] if len(x) > 2 else np.full(len(x), True)
            return cls(method, tuple(x[bend].tolist()), tuple(y[bend].tolist()))
        z = _logit(p)

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            linear = theta[0] + theta[1] * z
            gap = expit(linear) - t
            move = theta - np.array([0.0, 1.0])
            value = np.logaddexp(0, linear).sum() - (t * linear).sum() + RIDGE * (move**2).sum()
            return value, np.array([gap.sum(), (gap * z).sum()]) + 2 * RIDGE * move

        found = minimize(loss, np.array([0.0, 1.0]), jac=True, bounds=[(None, None), (0.0, None)], method="L-BFGS-B")
        return cls("logistic", (float(found.x[0]),), (float(found.x[1]),))

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Recalibrated probabilities, same shape."""
        p = np.asarray(probability, dtype=float)
        if self.method == "isotonic":
            return np.interp(p, self.x, self.y)
        return expit(self.x[0] + self.y[0] * _logit(p))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"method": self.method, "x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recalibration":
        """From `to_dict`."""
        try:
            return cls(values["method"], tuple(map(float, values["x"])), tuple(map(float, values["y"])))
        except KeyError as error:
            raise ValueError(
                f"no {error} in the recalibration: expected method, x and y, as `to_dict` writes"
            ) from None


def _logit(probability: np.ndarray) -> np.ndarray:
    return logit(np.clip(probability, LOG_CLIP, 1 - LOG_CLIP))
