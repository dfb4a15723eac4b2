r"""From what a table says about an edge (weight, score, letter, sign) to a probability in (0, 1) and a sign.

Weights :math:`w` become probabilities by one rule, monotone in :math:`|w|`:

1. every :math:`|w| = 1` (or a list without weights): ``default_probability`` for each edge;
2. every :math:`|w| \in (0, 1]`: the weight is the probability, an exact 1 becomes 0.999 (as STRING caps its scores);
3. otherwise the odds are proportional to the weight, anchored at the median :math:`m` of the :math:`|w|`,

.. math:: \frac{p}{1-p} = \frac{p_0}{1-p_0} \, \frac{|w|}{m},

so the log-odds are :math:`\log|w|` up to a constant: doubling a count or an importance adds the same evidence anywhere
on the scale, units do not matter, and a network whose weights are all equal gets the same probability :math:`p_0` as an
unweighted one. A rank would have the first two properties as well, but forgets by how much the top edges lead.
:math:`p_0` is ``default_probability`` for a list of prior edges, and 0.5 for a ``score``, the ranking of candidate
edges that an inference method puts out: most of its entries are not believed by the method itself. A weight of 0 means
that there is no edge.
"""

import logging

import numpy as np
import pandas as pd

from .files import shorten, show
from .sign_words import sign_of_word

logger = logging.getLogger(__name__)

# Prior files say at most "quite sure": log-odds of +-6.9. Probabilities computed from weights keep their order up to
# TINY.
CERTAIN = 0.999
TINY = 1e-6
# From so many edges on, a sign column of nothing but +1 is more likely an indicator of "there is an edge".
NUM_SUSPICIOUS = 100

# DoRothEA orders its levels (A: curated and supported by several kinds of evidence, ..., E: predicted only;
# Garcia-Alonso et al. 2019) but gives no numbers. These are ours: about equal steps in log-odds around the default of
# an unweighted edge.
CONFIDENCE_LEVELS = {"A": 0.95, "B": 0.9, "C": 0.8, "D": 0.6, "E": 0.4}


def odds_map(magnitude: np.ndarray, anchor: float) -> np.ndarray:
    """Probability with odds proportional to ``magnitude`` > 0, equal to ``anchor`` at the median; shapes (edge,)."""
    odds = anchor / (1.0 - anchor) * (magnitude / np.median(magnitude))
    return np.clip(odds / (1.0 + odds), TINY, 1.0 - TINY)


def probability_from_weight(magnitude: np.ndarray, anchor: float, default_probability: float) -> np.ndarray:
    """The rule of this module for positive weights, shapes (edge,)."""
    if np.all(magnitude == 1.0):
        return np.full(magnitude.shape, default_probability)
    if np.all(magnitude <= 1.0):
        return np.where(magnitude == 1.0, CERTAIN, magnitude)
    return odds_map(magnitude, anchor)


def probability_from_confidence(letters: pd.Series) -> np.ndarray:
    """DoRothEA levels A to E as probabilities (`CONFIDENCE_LEVELS`), shape (edge,)."""
    level = letters.astype(str).str.strip().str.upper()
    probability = level.map(CONFIDENCE_LEVELS).to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(np.isnan(probability))
    if wrong.size:
        raise ValueError(
            f"column 'confidence', row {wrong[0] + 1} holds {show(letters.iloc[wrong[0]])}; expected a level A to E "
            "(a column of numbers should be named 'probability' or 'weight')"
        )
    return probability


def sign_from_words(column: pd.Series, signed: bool | None) -> np.ndarray:
    """Signs -1, 0, +1 of a ``sign`` column of words or numbers, shape (edge,) int8.

    Numbers other than -1, 0, +1 are no plain signs. Motif priors in the style of PHOENIX hold +0.5 and -0.5 drawn at
    random, so by default (``signed=None``) such a column is read as unknown signs, with a line in the log;
    ``signed=True`` takes the sign of the number.
    """
    if signed is False:
        return np.zeros(len(column), dtype=np.int8)
    number = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if not np.isnan(number).any():
        plain = np.isin(number, (-1.0, 0.0, 1.0))
        if signed is None and not plain.all():
            found = shorten(sorted({f"{v:g}" for v in number[~plain][:1000]}))
            logger.warning(
                "column 'sign' holds %s, not only -1, 0, +1: read as unknown signs (signed=True takes them)", found
            )
            return np.zeros(len(column), dtype=np.int8)
        if signed is None and len(number) >= NUM_SUSPICIOUS and (number == 1.0).all():
            logger.warning(
                "column 'sign' is +1 in all %d rows: taken as activation; pass signed=False if the source has no signs",
                len(number),
            )
        return np.sign(number).astype(np.int8)
    word = column.fillna("").astype(str)
    sign = word.map({w: sign_of_word(w) for w in pd.unique(word)}).to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(np.isnan(sign))
    if wrong.size:
        raise ValueError(
            f"column 'sign', row {wrong[0] + 1} holds {show(column.iloc[wrong[0]])}; expected -1, 0, +1, '+', '-', "
            "'activation' or 'repression'"
        )
    return sign.astype(np.int8)


def sign_from_weight(weight: np.ndarray, signed: bool | None) -> np.ndarray:
    """Signs of weights, shape (edge,) int8: where no weight is negative they carry no sign, unless ``signed=True``."""
    if signed is False or (signed is None and not (weight < 0).any()):
        return np.zeros(weight.shape, dtype=np.int8)
    return np.sign(weight).astype(np.int8)
