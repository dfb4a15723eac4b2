r"""What scale expression is measured on, as far as the numbers tell, and what a method makes of it.

Counts are whole numbers, and vary as much as counts do; others are rounded logarithms. Logarithms of counts (or inverse
hyperbolic sines) have rows that become multiples of one number when that is undone, or that add up to the same total.
On a logarithmic scale the spread of a gene no longer grows with its mean, as it does for counts and intensities.
Z-scores have mean 0 and sd 1 in every gene; clipped at zero, they are known by their first two moments. Ranks of the
genes of a cell have a known sum.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .checks import some
from .expression import ExpressionData

COUNTS, LOG_COUNTS, LOG_LEVELS = "counts", "log counts", "log levels"
LEVELS, ZSCORES, SCALED, NEGATIVE, UNCLEAR = "levels", "z-scores", "scaled", "negative", "unclear"
RANKS, BELOW_ZERO = "ranks", "counts below zero"
LOGARITHMS = (LOG_COUNTS, LOG_LEVELS)

ROWS = 500  # of a context that are looked at
FEWEST = 8  # genes from which the spread is compared with the mean
SLOPE = 0.33  # of log sd on log mean, in the half of the genes with larger means: 0.5 of counts, 1 of intensities
LARGEST_LOG = 30.0  # log2 of a billion: nothing beyond is a logarithm
NARROW = 12.0  # largest over smallest of log2 intensities (5 to 16) and of hardly anything un-logged
LARGEST_LEVEL = 100.0  # beyond which levels that are not whole numbers are taken for intensities
MULTIPLE = 2e-3  # from a whole number, of what should be one


class Scale(NamedTuple):
    """``kind``, one of the words above, and the smallest and largest value that was seen; in how many ``cells``, where
    that is not all of them."""

    kind: str
    low: float
    high: float
    cells: int | None = None

    def __str__(self) -> str:
        words = {
            COUNTS: "raw counts (whole numbers",
            LOG_COUNTS: "logarithms of counts (values",
            LOG_LEVELS: "logarithms (values",
            LEVELS: "un-logged levels (values",
            ZSCORES: "z-scores (every gene with mean 0 and sd 1, values",
            SCALED: "scaled genes (all with the same spread or range, values",
            NEGATIVE: "differences or logarithms of ratios (values",
            RANKS: "ranks of the genes of each cell (values",
            BELOW_ZERO: "whole numbers of which some are below zero (values",
            UNCLEAR: "levels (values",
        }
        said = words[self.kind]
        if self.kind == LEVELS and not self.far_from_logarithms:
            said = "levels, un-logged or not (values"
        seen = "" if self.cells is None else f" in the {self.cells:,} cells that were looked at"
        return f"{said} from {self.low:.3g} to {self.high:.3g}{seen})"

    @property
    def far_from_logarithms(self) -> bool:
        """Whether logarithms are still to be taken for sure: of values below a hundred the spread of some genes says
        little, and those that were chosen for it even less."""
        return self.kind == COUNTS or (self.kind == LEVELS and self.high >= LARGEST_LEVEL)


def scale_of(X: np.ndarray) -> Scale:
    """The scale of ``(cell, gene)`` values; NaN are missing."""
    X = np.asarray(X, dtype=np.float64)
    known = X[np.isfinite(X)]
    if known.size == 0:
        return Scale(UNCLEAR, 0.0, 0.0)
    low, high = float(known.min()), float(known.max())
    return Scale(_kind(X, known, low, high), low, high)


def _kind(X: np.ndarray, known: np.ndarray, low: float, high: float) -> str:
    filled = np.where(np.isfinite(X), X, 0.0)
    number = np.isfinite(X).sum(0)
    varied = (number > 1) & (np.nanmax(np.where(number > 0, X, 0.0), 0) > np.nanmin(np.where(number > 0, X, 0.0), 0))
    if not varied.any():
        return UNCLEAR
    mean, sd = np.nanmean(X[:, varied], 0), np.nanstd(X[:, varied], 0)
    if low < 0:
        centred = np.median(np.abs(mean)) < 0.1 and np.median(np.abs(sd - 1)) < 0.15
        if np.array_equal(known, known.round()) and high > LARGEST_LOG:
            return BELOW_ZERO
        return ZSCORES if centred else NEGATIVE
    if _ranked(X):
        return RANKS
    if np.array_equal(known, known.round()):
        rounded = high < LARGEST_LOG and _underdispersed(mean, sd)
        return LOG_LEVELS if rounded else COUNTS if high > 2 else UNCLEAR
    top, bottom = np.nanmax(X[:, varied], 0), np.nanmin(X[:, varied], 0)
    alike = np.ptp(top) + np.ptp(bottom) < 1e-6 * max(high, 1e-12)
    off = np.sort(np.abs(sd - 1))  # clipping after scaling takes a little of the sd
    if len(sd) >= 5 and (alike or (np.median(off) < 0.02 and off[int(0.8 * len(off))] < 0.1)):
        return SCALED
    if _clipped_scores(X[:, varied]):
        return SCALED
    if high < LARGEST_LOG:
        undo: Callable[[np.ndarray], np.ndarray]
        for undo in (np.expm1, lambda x: np.exp2(x) - 1, lambda x: 10.0**x - 1, np.sinh):
            counts = undo(filled)
            if _multiples(counts) or _same_total(counts):
                return LOG_COUNTS
    if low >= 1 and high < min(LARGEST_LOG, NARROW * low):
        return LOG_LEVELS
    if len(sd) < FEWEST:
        return LEVELS if high > LARGEST_LEVEL else UNCLEAR
    upper = mean > np.median(mean)
    slope = np.polyfit(np.log(mean[upper]), np.log(sd[upper]), 1)[0] if np.ptp(mean[upper]) > 0 else 1.0
    return LOG_LEVELS if slope < SLOPE and high < LARGEST_LOG else LEVELS


def _ranked(X: np.ndarray) -> bool:
    """Whether the genes of most cells hold 1 to their number, or 0 to one less, each once or with ties averaged."""
    genes = X.shape[1]
    if genes < FEWEST or not np.isfinite(X).all() or not np.array_equal(2 * X, np.round(2 * X)):
        return False
    total, first = X.sum(1), X.min(1)
    alike = [(np.abs(total - genes * (genes - 1 + 2 * start) / 2) < 0.01) & (first >= start) for start in (0, 1)]
    most = X.max(1) <= genes
    return bool(max((one & most).mean() for one in alike) > 0.9 and np.ptp(X, axis=1).min() > 1)


def _underdispersed(mean: np.ndarray, sd: np.ndarray) -> bool:
    """Whether whole numbers vary less than counts can: counts of a gene have at least about their mean as variance."""
    seen = mean >= 1
    return bool(seen.sum() >= 3 and np.median(sd[seen] ** 2 / mean[seen]) < 0.5)


def _clipped_scores(X: np.ndarray) -> bool:
    """Whether genes are z-scores of which all below zero was set to zero.

    Of a gene :math:`z` with mean 0 and variance 1, of which a share :math:`p` is clipped, the rest has the mean of what
    is gone, so :math:`u = E[z_+^2] + E[z_+]^2 / p` is at most 1 (Jensen); it is 0.8 of a normal, more of genes with a
    tail to the right, and no fixed number on any other scale.
    """
    if X.shape[1] < 5 or len(X) < 20:
        return False
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.nanmean(X**2, 0) + np.nanmean(X, 0) ** 2 / np.nanmean(X == 0, 0)
    return bool((u < 1.02).mean() >= 0.95 and np.median(u) > 0.6 and np.quantile(u, 0.1) > 0.25)


def _multiples(counts: np.ndarray) -> bool:
    """Whether most rows are whole multiples of their least positive value, or of its half or third."""
    good, looked = 0, 0
    for row in counts[:200]:
        values = row[row > 0]
        if len(np.unique(values)) < 3:
            continue
        ratio = values / values.min()
        ratio = ratio[ratio < 200]  # of large ones rounding leaves nothing to see
        if len(np.unique(ratio.round(6))) < 3:
            continue
        looked += 1
        good += any(bool((np.abs(k * ratio - (k * ratio).round()) < MULTIPLE * k * ratio).all()) for k in (1, 2, 3))
    return looked >= 3 and good > 0.8 * looked


def _same_total(counts: np.ndarray) -> bool:
    total = counts.sum(1)
    return len(total) > 3 and total.mean() > 0 and total.std() < 1e-3 * total.mean()


# -- what a method wants ----------------------------------------
class Finding(NamedTuple):
    """What is wrong with the scale of the data: ``found``, what it does to the results (``cost``), what to give
    instead (``remedy``: ``"log"``, ``"unlogged"``, ``"raw"`` or ``"ratios"``), and whether the method must not run."""

    found: str
    cost: str
    remedy: str
    fatal: bool


def finding(scale: Scale, expects: str) -> Finding | None:
    """What to say of data of this scale to one who gives them to a method; ``None`` where they suit it.

    Parameters
    ----------
    scale
        Of the data.
    expects
        `Model.expects`, or that of an engine.

    Raises
    ------
    ValueError
        An unknown ``expects``.
    """
    if expects not in EXPECTATIONS:
        raise ValueError(f"expects={expects!r}: expected one of {', '.join(EXPECTATIONS)}")
    for kinds, cost, remedy, fatal in EXPECTATIONS[expects]:
        if scale.kind in kinds and (remedy != "log" or scale.far_from_logarithms):
            return Finding(str(scale), cost, remedy, fatal)
    return None


Row = tuple[tuple[str, ...], str, str, bool]
_DEPTH: Row = (
    (COUNTS,),
    "how many counts a cell has in all moves every gene and is taken for regulation",
    "log",
    False,
)
_INTENSITIES: Row = (
    (LEVELS,),
    "few cells and genes with large values decide, and effects are not linear",
    "log",
    False,
)
_SUBTRACTED: Row = (
    (BELOW_ZERO,),
    "counts never are: something was subtracted from them, or the file is damaged",
    "raw",
    False,
)
_LOGGED: Row = (
    LOGARITHMS,
    "the model takes logarithms itself, and a logarithm of a logarithm is no level",
    "unlogged",
    False,
)
_RESPONSES: Row = (
    (COUNTS, *LOGARITHMS, LEVELS),
    "a response is a difference from the undisturbed state, and here no value is below zero",
    "ratios",
    False,
)
_UNTRAINED: Row = (
    (ZSCORES, SCALED, NEGATIVE, RANKS, BELOW_ZERO),
    "the network was trained on counts and un-logged levels, of which means, variances and zeros say something; here "
    "its edges and probabilities would be wrong without any check seeing it",
    "unlogged",
    True,
)
_RARELY_TRAINED: Row = (
    LOGARITHMS,
    "the network was trained mostly on counts and un-logged levels, so its probabilities of edges are less calibrated "
    "than on those",
    "unlogged",
    False,
)
# by the word that a model or an engine says: kinds of data, what they cost, what to do, whether it is refused
EXPECTATIONS: dict[str, tuple[Row, ...]] = {
    "any": (),
    "log": (_DEPTH, _INTENSITIES, _SUBTRACTED),
    "course": (_DEPTH, _SUBTRACTED),
    "levels": (_LOGGED,),
    "ratios": (_RESPONSES,),
    "trained on counts": (_UNTRAINED, _RARELY_TRAINED),
}


def scale_before(data: ExpressionData) -> Scale:
    """The scale of the data before they were normalised (`ExpressionData.normalized`)."""
    rows = np.arange(data.num_cells)[:: -(-data.num_cells // ROWS)]
    scale = scale_of(replace(data, transform=None).rows(rows).cpu().numpy())
    return scale if len(rows) == data.num_cells else scale._replace(cells=len(rows))


def scale_findings(data: ExpressionData, expects: str) -> list[tuple[str, Finding]]:
    """What is to say of the data, and the contexts and views that it is true of where it is not of all.

    Parameters
    ----------
    data
        Cells; at most 500 of each context are looked at.
    expects
        As in `finding`.
    """
    if expects == "any":
        return []
    codes = np.zeros(data.num_cells, dtype=int) if data.context is None else data.context.cpu().numpy()
    views = np.zeros(data.num_genes, dtype=int) if data.view is None else data.view.cpu().numpy()
    seen: dict[tuple[str, str], tuple[Finding, list[str]]] = {}  # one line for what differs in its range only
    for context, name in enumerate(data.context_names):
        rows = np.flatnonzero(codes == context)
        if len(rows) == 0:
            continue
        looked = rows[:: -(-len(rows) // ROWS)]
        X = data.rows(looked).cpu().numpy()
        for view, label in enumerate(data.view_names):
            scale = scale_of(X[:, views == view])
            scale = scale if len(looked) == len(rows) else scale._replace(cells=len(looked))
            what = finding(scale, expects)
            if what is not None:
                several = [name] * (data.num_contexts > 1) + [label] * (len(data.view_names) > 1)
                seen.setdefault((scale.kind, what.cost), (what, []))[1].append(" ".join(several))
    everywhere = data.num_contexts * len(data.view_names)
    return [("" if len(names) == everywhere else some(names, 3), what) for what, names in seen.values()]
