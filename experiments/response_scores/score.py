"""`Score`: one number over units (genes, perturbations, regulators), and what resampling them makes of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def mean(values: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    return values.mean(-1)


def paired_t(values: np.ndarray) -> np.ndarray:
    """Mean over standard error, over the last axis; 0 where all units are alike."""
    error = values.std(-1, ddof=1) / np.sqrt(values.shape[-1])
    return np.divide(values.mean(-1), error, out=np.zeros_like(error), where=error > 0)


def f_tenth(values: np.ndarray) -> np.ndarray:
    r"""F score with β = 0.1 over the last axis, of 1 (found), 0 (asked, not found) and NaN (not asked); 0 where nothing
    is found."""
    found = (values == 1).sum(-1)
    precision = found / np.maximum((~np.isnan(values)).sum(-1), 1)
    recall = found / values.shape[-1]
    result: np.ndarray = 1.01 * precision * recall / np.maximum(0.01 * precision + recall, 1e-12)
    return result


@dataclass(frozen=True, eq=False)
class Score:
    """What one network reaches in one score.

    Attributes
    ----------
    units
        What was averaged over: ``genes``, ``perturbations`` or ``regulators``.
    values
        ``(unit,)`` of each; the units of one score are the same for all networks.
    statistic
        Of ``(..., unit)`` values.
    """

    units: str
    values: np.ndarray
    statistic: Callable[[np.ndarray], np.ndarray] = mean

    @property
    def value(self) -> float:
        return float(self.statistic(self.values)) if len(self.values) > (self.statistic is paired_t) else float("nan")

    def resampled(self, picks: np.ndarray) -> np.ndarray:
        """``(resample,)`` value among units drawn with replacement, ``picks`` (resample, unit)."""
        return self.statistic(self.values[picks])


def picks(number: int, resamples: int, seed: int) -> np.ndarray:
    """``(resample, unit)`` units drawn with replacement, the same for all networks: differences are paired."""
    return np.random.default_rng(seed).integers(number, size=(resamples, number))
