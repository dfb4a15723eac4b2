r"""Rows of `diagnostics.diagnose` that see what a linear network gets wrong in cells that it describes well one by one.

Intervals of single values can be right and the noise of the right size while half of a list of edges is wrong: what is
wrong then is that residuals are not noise. Here the residuals of the posterior mean are looked at:

shared residuals
    Targets have residuals in common: causes that are not among the regulators, batch, depth. Value: root mean square of
    the correlations of two targets' residuals, what chance gives (1/n) taken off.
non-linearity
    Residuals follow the square or cube of the prediction (the RESET test, Ramsey 1969, J R Stat Soc B 31:350). Value:
    share of the targets in which these explain more than a fiftieth of the residual variance, and more than chance.
independent cells
    Cells that are like another cell in everything that the model does not explain, as copies, averages over neighbours
    and smoothed cells are, count as one. Residuals are made uncorrelated over targets first, so that what targets share
    is not mistaken for it. Value: share of cells whose most similar cell is more similar than chance allows.

Of a recalibrated posterior, what its trial has recorded:

lists on made targets
    Share of the list at 10% that was wrong there, the larger one where genes with causes that are not among the
    regulators have a map of their own.
causes not measured
    The largest factor's share of what residuals of two halves of the genes have in common
    (`recalibration.shared_causes`).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy.special import ndtri

from ..models import ExpressionData, RegressionNetwork
from .checks import Check
from .draws.fitted import PosteriorLike

MOST_CELLS, MOST_TARGETS = 1500, 150  # that are looked at
FEWEST_CELLS, FEWEST_TARGETS = 60, 10
SHARED = 0.1
BENT, EXPLAINED, CHANCE = 0.1, 0.02, 1e-3
ALIKE = 0.05
MOSTLY_ONE = 0.4
"""Of the values, the most frequent of their gene (zero, most often), above which independent cells of varying depth are
found alike for having the same ones; Poisson counts of a depth of log sd 1, as in the tests of this file."""
COPY = 0.98  # cosine of residuals that copies have, and not more than a fiftieth of sparse cells by chance
FEWEST_VALUES = 10  # other than the most frequent: cells with fewer, as almost empty ones, are alike by chance
STANDS_OUT = 0.22  # of what residuals of two halves of the genes share, a factor's share
MISSING = "depth, batch, cell cycle, or a regulator that was not measured"
SHORTER = (
    f"That is {MISSING}. Edges into these genes have the "
    "probability of made targets of which half of the causes are hidden, so that lists hold fewer of them, and more of "
    "these can be wrong than is stated: what follows a missing cause stands in for it. Take out what is technical, or "
    "measure more regulators"
)
MAX_WRONG = 0.15  # of a list for 10%, on made targets that the correction was not learned on
RESIDUALS_SHARED, NON_LINEAR, COPIES = "shared residuals", "non-linearity", "independent cells"
WITH_SHARED = "with shared causes"  # scores of a trial: those of genes that have such causes
LISTS, UNMEASURED = "lists on made targets", "causes not measured"


def misfit_checks(
    posterior: PosteriorLike[RegressionNetwork], data: ExpressionData, *, seed: int = 0
) -> Iterator[Check]:
    """The three rows, of a network of one context; else none."""
    model = posterior.model
    if model.has_contexts or data.num_contexts > 1:
        return
    residual, predicted = residuals_of(posterior, data, seed=seed)
    if len(residual) < FEWEST_CELLS or residual.shape[1] < FEWEST_TARGETS:
        for name, limit in ((RESIDUALS_SHARED, SHARED), (NON_LINEAR, BENT), (COPIES, ALIKE)):
            yield Check(name, math.nan, limit, None, "Too few cells or targets to tell.")
        return
    yield _shared(shared_residuals(residual))
    yield _bent(bent_targets(residual, predicted))
    alike = cells_alike(residual, np.random.default_rng([seed, 9]))
    values = _looked_at(posterior, data, seed=seed)[1]
    yield _copies(alike, *_in_sparse_cells(alike, residual, values))


def trial_checks(record: Mapping[str, Any] | None) -> list[Check]:
    """Rows of a recalibrated posterior, whose trial left this ``record``."""
    if record is None:
        return []
    found = unmeasured_check(record)
    return [trial_check(record), *([] if found is None else [found])]


def trial_check(record: Mapping[str, Any]) -> Check:
    """How lists were on made targets, of a recalibrated posterior whose trial left this ``record``."""
    name = LISTS
    if not record["scores"]:
        text = "The regulators explain none of the genes in cells that were not fitted: no edge can be told."
        return Check(name, math.nan, MAX_WRONG, False, text)
    scores = record["scores"]
    raw, own = (scores[name]["wrong"] for name in ("raw", "recalibrated"))
    shared = scores.get(WITH_SHARED, {}).get("wrong")
    model = "no list was possible" if raw is None else f"{raw:.0%} of a list at 10% was wrong"
    text = f"As the model states its probabilities {model} on made targets; corrected, "
    text += "there is no list at 10%" if own is None else f"{own:.0%}"
    text += "." if shared is None else f", and {shared:.0%} where half of the causes are hidden."
    found = [wrong for wrong in (own, shared) if wrong is not None]
    if not found:
        return Check(name, math.nan, MAX_WRONG, None, text)
    good = max(found) <= MAX_WRONG
    return Check(name, max(found), MAX_WRONG, good, text if good else f"{text} Do not rely on the rate of a list.")


def unmeasured_check(record: Mapping[str, Any]) -> Check | None:
    """Whether genes share causes that are not among the regulators (`recalibration.shared_causes`), by this ``record``
    of a trial; None of one that did not ask."""
    found = record["settings"].get("shared")
    if found is None:
        return None
    value, limit = found["shares"][0], found.get("limit", STANDS_OUT)  # records of earlier versions know the one limit
    if not found["factors"]:
        text = "What genes have in common beyond the regulators is of many small causes alike: none stands out."
        if value > STANDS_OUT:
            text = "What genes have in common beyond the regulators stands out no more than a hub's own targets do."
        return Check(UNMEASURED, value, limit, True, text)
    return Check(UNMEASURED, value, limit, False, f"{unmeasured(found)}. {SHORTER}")


def unmeasured(found: Mapping[str, Any]) -> str:
    """How many genes have causes that are not among the regulators, in a clause, of what the trial recorded."""
    number = found["factors"]
    causes = "A cause that is not among the regulators as measured moves"
    if number > 1:
        causes = f"{number} causes that are not among the regulators as measured move"
    return f"{causes} {found['genes']:,} of {found['of']:,} genes together"


def residuals_of(
    posterior: PosteriorLike[RegressionNetwork], data: ExpressionData, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals and predictions (cell, target) of the posterior mean, each in standard deviations of its own, of at
    most 1,500 cells without an intervention and 150 targets that are no regulators (if there are ten; else of any)."""
    x, y, chosen = _looked_at(posterior, data, seed=seed)
    predicted = x @ posterior.moments["W"].mean[:, chosen].astype(np.float64)
    return _standard(y - predicted), _standard(predicted)


def _looked_at(
    posterior: PosteriorLike[RegressionNetwork], data: ExpressionData, *, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of `residuals_of` the values of regulators (cell, tf) and targets (cell, target), and which targets these are."""
    model = posterior.model
    generator = np.random.default_rng([seed, 8])
    cells = np.arange(data.num_cells)
    if data.perturbed is not None:
        cells = np.setdiff1d(cells, data.perturbed[:, 0].cpu().numpy())
    cells = np.sort(generator.permutation(cells)[:MOST_CELLS])
    tfs = set(model.tfs)
    plain = [i for i, name in enumerate(model.targets) if name not in tfs]
    pool = plain if len(plain) >= FEWEST_TARGETS else list(range(len(model.targets)))
    chosen = np.sort(generator.permutation(pool)[:MOST_TARGETS])
    names = (*model.tfs, *(model.targets[i] for i in chosen))
    place = {name: i for i, name in enumerate(data.genes)}
    block = data.rows(cells).double().cpu().numpy()[:, [place[name] for name in names]]
    scale = model.scale.double().cpu().numpy()
    x = block[:, : len(model.tfs)] / scale[model.tf_index.cpu().numpy()]
    y = block[:, len(model.tfs) :] / scale[model.target_index.cpu().numpy()[chosen]]
    return x, y, chosen


def shared_residuals(residual: np.ndarray) -> float:
    """Root mean square correlation of two columns beyond chance."""
    number, width = residual.shape
    correlation = residual.T @ residual / number
    square = (np.square(correlation).sum() - width) / (width * (width - 1))
    return float(np.sqrt(max(0.0, square - 1 / (number - 1))))


def bent_targets(residual: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the columns whose residuals follow the square or cube of what is predicted."""
    number = len(residual)
    found = []
    for e, p in zip(residual.T, predicted.T, strict=True):
        if not p.any():
            found.append(False)
            continue
        line = np.stack([np.ones(number), p], axis=1)
        more = np.stack([p**2, p**3], axis=1)
        more = more - line @ np.linalg.lstsq(line, more, rcond=None)[0]
        rest = e - line @ np.linalg.lstsq(line, e, rcond=None)[0]
        left = rest - more @ np.linalg.lstsq(more, rest, rcond=None)[0]
        share = 1 - np.square(left).sum() / np.square(rest).sum()
        chance = max(1 - share, 0.0) ** (0.5 * (number - 4))  # of an F with two degrees of freedom above the line
        found.append(share > EXPLAINED and chance < CHANCE)
    return float(np.mean(found))


def _in_sparse_cells(alike: np.ndarray, residual: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Share of the ``values`` (cell, target) that are the most frequent of their gene, and of the cells with ten others
    the share that is `alike` and has almost the residuals of another cell."""
    frequent = np.empty(values.shape, dtype=bool)
    for column, own in zip(values.T, frequent.T, strict=True):
        found, number = np.unique(column, return_counts=True)
        own[:] = column == found[number.argmax()]
    full = (~frequent).sum(1) >= FEWEST_VALUES
    if not full.any():
        return float(frequent.mean()), 0.0
    return float(frequent.mean()), float((alike & (_closest(residual) > COPY))[full].mean())


def cells_alike(residual: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """``(row,)`` whether the most similar row is more similar than in 99 of 100 rows of shuffled columns."""
    number, width = residual.shape
    kept = residual[:, : max(FEWEST_TARGETS, min(width, number // 4))]
    rank = np.argsort(np.argsort(kept, axis=0, kind="stable"), axis=0, kind="stable")
    kept = ndtri((rank + 0.5) / number)  # heavy tails would make the few cells in them alike
    values, vectors = np.linalg.eigh(kept.T @ kept / number)
    strong = values > 1e-6 * values.max()
    white = kept @ (vectors[:, strong] / np.sqrt(values[strong]))
    shuffled = np.stack([generator.permutation(column) for column in white.T], axis=1)
    limit = np.quantile(_closest(shuffled), 0.99)
    found: np.ndarray = _closest(white) > limit
    return found


def _closest(rows: np.ndarray) -> np.ndarray:
    """``(row,)`` the largest cosine with another row."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -1)
    return alike.max(1)


def _standard(values: np.ndarray) -> np.ndarray:
    if not len(values):  # every cell has an intervention
        return values
    values = values - values.mean(0)
    spread = np.sqrt(np.square(values).mean(0))
    return np.divide(values, spread, out=np.zeros_like(values), where=spread > 1e-12)


def _shared(value: float) -> Check:
    good = value <= SHARED
    meaning = "What the regulators leave over of the genes is not shared between genes."
    if not good:
        meaning = (
            f"Genes share what the regulators leave over (correlations of {value:.2f} beyond chance): causes that are "
            "not among the candidate regulators, batch or depth. Regulators that follow them are listed in their place."
        )
    return Check(RESIDUALS_SHARED, value, SHARED, good, meaning)


def _bent(share: float) -> Check:
    good = share <= BENT
    meaning = "Genes follow their prediction along a line."
    if not good:
        meaning = (
            f"{share:.0%} of the genes do not answer along a line: other regulators are listed to make up for the "
            "bend. Logarithms may help."
        )
    return Check(NON_LINEAR, share, BENT, good, meaning)


def _copies(alike: np.ndarray, frequent: float, copies: float) -> Check:
    """``frequent``: share of the values that are the most frequent of their gene; ``copies``: of the cells that have
    others too, those with the residuals of another cell."""
    share = float(alike.mean())
    good = share <= ALIKE
    meaning = "No cell is a copy of another in what the regulators leave over: cells count one by one."
    if not good:
        if frequent > MOSTLY_ONE and copies <= ALIKE:
            meaning = (
                f"{frequent:.0%} of the values are the most frequent one of their gene, as zeros are: cells that have "
                f"the same of these are alike ({share:.0%} of them), averages or not. Hardly any is a plain copy; "
                "whether cells are averages or smoothed cannot be told."
            )
            return Check(COPIES, share, ALIKE, None, meaning)
        meaning = (
            f"{share:.0%} of the cells are like another cell in all that the regulators leave over: copies, averages "
            "or smoothed values? They are fewer independent cells than they seem, and probabilities are too certain."
        )
    return Check(COPIES, share, ALIKE, good, meaning)
