r"""From what posteriors state to how often they are right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from ..calibration import LOG_CLIP

RIDGE = 1e-2  # weight of the identity in the fit: keeps it finite where edges separate perfectly

AT_ONCE = 1 << 20  # edges


@dataclass(frozen=True)
class EdgeMap:
    r"""A map from the inclusion :math:`p_1, p_2, \dots` that several posteriors state of an edge to a probability.

    .. math:: p' = \sigma\Big(a + \sum_i b_i \min(\mathrm{logit}\, p_i,\ c_i)\Big), \qquad 0 \le b_i \le 1

    It rises with each of them, and is never more sensitive than they are. Beyond the log-odds :math:`c_i` that were
    seen when it was learned nothing is known, and more certainty of the model counts for nothing.

    Attributes
    ----------
    intercept
        a.
    slopes
        b, by posterior.
    most
        c, by posterior.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.random(4000) < 0.3
    >>> stated = np.where(truth, 0.9, 0.6) * rng.random(4000)
    >>> found = EdgeMap.fit([stated], truth)
    >>> bool(abs(found([stated]).mean() - truth.mean()) < 0.01)
    True
    """

    intercept: float
    slopes: tuple[float, ...]
    most: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (self.intercept, *self.slopes, *self.most)
        if len(self.slopes) != len(self.most) or not self.slopes or not np.isfinite(numbers).all():
            raise ValueError(f"{self}: expected a finite slope and a finite largest log-odds for each posterior")
        if min(self.slopes) < 0:
            raise ValueError(f"slopes {self.slopes}: expected none below 0")

    @classmethod
    def fit(cls, stated: Sequence[np.ndarray] | np.ndarray, truth: np.ndarray) -> "EdgeMap":
        """By maximum likelihood.

        Parameters
        ----------
        stated
            Of each posterior the inclusion of all edges, ``(edge,)``.
        truth
            ``(edge,)`` whether they exist. Where all or none do, the map is the constant (k + ½) / (n + 1).

        Raises
        ------
        ValueError
            No posterior, or shapes that differ.
        """
        from scipy.optimize import minimize  # here: a seventh of a second to import

        true = np.asarray(truth, dtype=float)
        if len(stated) == 0 or any(np.shape(p) != true.shape for p in stated):
            raise ValueError(f"{[np.shape(p) for p in stated]} probabilities for {true.shape} edges: pass one each")
        odds = np.stack([_logit(p) for p in stated])  # (posterior, edge)
        most = tuple(odds.max(1).tolist())
        if true.all() or not true.any():
            share = (true.sum() + 0.5) / (len(true) + 1)
            return cls(float(logit(share)), (0.0,) * len(odds), most)
        X = np.concatenate([np.ones((1, true.size)), odds])
        start = np.concatenate([[0.0], np.full(len(odds), 1 / len(odds))])

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            linear, move = theta @ X, theta - start
            value = np.logaddexp(0, linear).sum() - (true * linear).sum() + RIDGE * (move**2).sum()
            return value, X @ (expit(linear) - true) + 2 * RIDGE * move

        bounds = [(None, None), *[(0.0, 1.0)] * len(odds)]
        found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
        return cls(float(found[0]), tuple(found[1:].tolist()), most)

    @classmethod
    def constant(cls, probability: float, number: int) -> "EdgeMap":
        """The map to one probability, of ``number`` posteriors."""
        return cls(float(logit(probability)), (0.0,) * number, (0.0,) * number)

    def __call__(self, stated: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Recalibrated probabilities, in the shape of each of ``stated``.

        Raises
        ------
        ValueError
            Not as many posteriors as the map was learned from.
        """
        if len(stated) != len(self.slopes):
            raise ValueError(f"{len(stated)} posteriors for a map of {len(self.slopes)}")
        flat = [np.asarray(p).reshape(-1) for p in stated]
        found = np.empty(flat[0].size)
        for start in range(0, found.size, AT_ONCE):  # of networks of millions of edges
            rows = slice(start, start + AT_ONCE)
            terms = zip(self.slopes, self.most, flat, strict=True)
            found[rows] = expit(self.intercept + sum(b * np.minimum(_logit(p[rows]), c) for b, c, p in terms))
        return found.reshape(np.shape(stated[0]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"intercept": self.intercept, "slopes": list(self.slopes), "most": list(self.most)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EdgeMap":
        """From `to_dict`.

        Raises
        ------
        ValueError
            Something is missing, or is no number.
        """
        try:
            numbers = lambda name: tuple(float(value) for value in values[name])
            return cls(float(values["intercept"]), numbers("slopes"), numbers("most"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a map of edges ({error}): expected intercept, slopes and most") from None


def _logit(probability: np.ndarray) -> np.ndarray:
    return logit(np.clip(np.asarray(probability, dtype=float), LOG_CLIP, 1 - LOG_CLIP))
