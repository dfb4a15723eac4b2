r"""From what posteriors state to how often they are right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from ..calibration import LOG_CLIP

RIDGE = 1e-2  # weight of the identity in the fit: keeps it finite where edges separate perfectly

# made edges that log-odds, or higher ones, must have been said of: lists are held to a tenth, which fewer cannot show
TOP = 10
BEYOND = 0.02  # slope beyond: order alone, as far as float32 tells probabilities near one apart
AT_ONCE = 1 << 20  # edges


@dataclass(frozen=True)
class EdgeMap:
    r"""A map from the inclusion :math:`p_1, p_2, \dots` that several posteriors state of an edge to a probability.

    .. math:: p' = \sigma\big(\min(\ell, e) + 0.02\, (\ell - e)_+\big), \qquad
              \ell = a + \sum_i b_i \min(\mathrm{logit}\, p_i,\ c_i) + \sum_j d_j x_j, \qquad
              0 \le b_i \le 1,\ 0 \le d_j

    with other evidence :math:`x_j` of the edge (`evidence.evidence_of`), if there is any. It rises with each of them,
    and is never more sensitive than the posteriors are. Beyond the log-odds :math:`c_i` that were seen when it was
    learned nothing is known, and more certainty of the model counts for nothing; evidence counts within what was seen.
    A posterior that says the same of all edges has the slope 0. A line through the log-odds of many edges that are
    likely absent says nothing of a few that the model is certain of: beyond the log-odds e that it gives to ``TOP``
    edges of those that it was learned from, or more, it rises so little that edges keep their order, and no more.

    Attributes
    ----------
    intercept
        a.
    slopes
        b, by posterior.
    most
        c, by posterior.
    weights
        d, by evidence; empty without it.
    span
        The least and the largest of each evidence that were seen.
    top
        e; infinite in records of earlier versions.

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
    weights: tuple[float, ...] = ()
    span: tuple[tuple[float, float], ...] = ()
    top: float = np.inf

    def __post_init__(self) -> None:
        numbers = (
            self.intercept,
            *self.slopes,
            *self.most,
            *self.weights,
            *(end for ends in self.span for end in ends),
        )
        if len(self.slopes) != len(self.most) or not self.slopes or not np.isfinite(numbers).all():
            raise ValueError(f"{self}: expected a finite slope and a finite largest log-odds for each posterior")
        if len(self.weights) != len(self.span):
            raise ValueError(f"{self}: expected what was seen of each evidence that has a weight")
        if min((*self.slopes, *self.weights)) < 0:
            raise ValueError(f"slopes {self.slopes}, weights {self.weights}: expected none below 0")

    @classmethod
    def fit(
        cls, stated: Sequence[np.ndarray] | np.ndarray, truth: np.ndarray, evidence: np.ndarray | None = None
    ) -> "EdgeMap":
        """By maximum likelihood.

        Parameters
        ----------
        stated
            Of each posterior the inclusion of all edges, ``(edge,)``.
        truth
            ``(edge,)`` whether they exist. Where all or none do, the map is the constant (k + ½) / (n + 1).
        evidence
            ``(number, edge)`` what else is known of them, if anything is.

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
        more = np.zeros((0, true.size)) if evidence is None else np.asarray(evidence, dtype=float)
        if more.shape[1:] != true.shape:
            raise ValueError(f"evidence of shape {more.shape} for {true.shape} edges: pass one row for each kind of it")
        span = tuple((float(row.min()), float(row.max())) for row in more)
        if true.all() or not true.any():
            share = (true.sum() + 0.5) / (len(true) + 1)
            return cls(float(logit(share)), (0.0,) * len(odds), most, (0.0,) * len(more), span)
        X = np.concatenate([np.ones((1, true.size)), odds, more])
        # a posterior that says the same of all edges says nothing, on other edges either
        says = odds.max(1) > odds.min(1)
        start = np.concatenate([[0.0], says / len(odds), np.zeros(len(more))])

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            linear, move = theta @ X, theta - start
            value = np.logaddexp(0, linear).sum() - (true * linear).sum() + RIDGE * (move**2).sum()
            return value, X @ (expit(linear) - true) + 2 * RIDGE * move

        bounds = [(None, None), *((0.0, 1.0 if one else 0.0) for one in says), *[(0.0, None)] * len(more)]
        found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
        slopes, weights = found[1 : 1 + len(odds)].tolist(), found[1 + len(odds) :].tolist()
        place = min(TOP, true.size)
        top = float(np.partition(found @ X, -place)[-place])
        return cls(float(found[0]), tuple(slopes), most, tuple(weights), span, top)

    @classmethod
    def constant(cls, probability: float, number: int) -> "EdgeMap":
        """The map to one probability, of ``number`` posteriors."""
        return cls(float(logit(probability)), (0.0,) * number, (0.0,) * number)

    def __call__(self, stated: Sequence[np.ndarray] | np.ndarray, evidence: np.ndarray | None = None) -> np.ndarray:
        """Recalibrated probabilities, in the shape of each of ``stated``; ``evidence`` ``(number, …)`` as of `fit`.

        Raises
        ------
        ValueError
            Not as many posteriors, or not as much evidence, as the map was learned from.
        """
        if len(stated) != len(self.slopes):
            raise ValueError(f"{len(stated)} posteriors for a map of {len(self.slopes)}")
        known = 0 if evidence is None else len(evidence)
        if known != len(self.weights):
            raise ValueError(f"{known} kinds of evidence for a map of {len(self.weights)}")
        flat = [np.asarray(p).reshape(-1) for p in stated]
        more = [] if evidence is None else [np.asarray(row).reshape(-1) for row in evidence]
        found = np.empty(flat[0].size)
        for start in range(0, found.size, AT_ONCE):  # of networks of millions of edges
            rows = slice(start, start + AT_ONCE)
            linear = np.full(found[rows].shape, self.intercept)
            for slope, most, p in zip(self.slopes, self.most, flat, strict=True):
                linear += slope * np.minimum(_logit(p[rows]), most)
            for weight, (low, high), x in zip(self.weights, self.span, more, strict=True):
                linear += weight * x[rows].clip(low, high)
            below = np.minimum(linear, self.top)
            found[rows] = expit(below + BEYOND * (linear - below))
        return found.reshape(np.shape(stated[0]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, which has no infinity."""
        known = {"top": self.top} if np.isfinite(self.top) else {}
        return {
            "intercept": self.intercept,
            "slopes": list(self.slopes),
            "most": list(self.most),
            "weights": list(self.weights),
            "span": [list(ends) for ends in self.span],
            **known,
        }

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
            weights = numbers("weights") if "weights" in values else ()  # records of earlier versions know no evidence
            span = tuple((float(low), float(high)) for low, high in values.get("span", ()))
            top = float(values.get("top", np.inf))
            return cls(float(values["intercept"]), numbers("slopes"), numbers("most"), weights, span, top)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a map of edges ({error}): expected intercept, slopes and most") from None


def _logit(probability: np.ndarray) -> np.ndarray:
    return logit(np.clip(np.asarray(probability, dtype=float), LOG_CLIP, 1 - LOG_CLIP))
