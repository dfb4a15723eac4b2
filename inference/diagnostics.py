"""Can this fit be trusted? A verdict table in plain words."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ..models import ExpressionData, Model
from .answers.base import COVERAGE_RANGE
from .answers.cells import MIN_KEPT as MIN_KEPT  # named among the limits
from .answers.cells import checked_cells, squared_residuals
from .answers.programs import set_checks
from .answers.registry import answers_of
from .answers.set_standing import MOST_OTHER as MOST_OTHER  # named among the limits
from .check_tables import COLUMNS
from .check_tables import to_records as to_records
from .check_tables import verdict as verdict
from .checks import Check
from .choice import engine_of
from .confounding import confounding_checks
from .convergence import elbo_drift, median_khat
from .density_check import MAX_ERROR as MAX_ERROR  # named among the limits
from .draws.edge_table import RECORD
from .draws.fitted import PosteriorLike
from .draws.layout import has_edges
from .engines.sparse_gibbs import OUT_OF_TIME
from .factors.blocked import tolerance
from .loading_words import of_loadings
from .misfit_checks import MAX_WRONG as MAX_WRONG  # named among the limits
from .misfit_checks import STANDS_OUT as STANDS_OUT
from .misfit_checks import trial_checks
from .one_training import without_agreement
from .regulator_checks import PROBABLE as PROBABLE  # named among the limits
from .regulator_checks import has_twin, regulator_rows
from .run_agreement import FEWEST as FEWEST  # named among the limits
from .run_agreement import MIN_CORRELATION as MIN_CORRELATION
from .run_agreement import MIN_ESS as MIN_ESS
from .run_agreement import MIN_JACCARD as MIN_JACCARD
from .run_agreement import NUM_EDGES as NUM_EDGES
from .run_agreement import RHAT_GUIDE as RHAT_GUIDE
from .run_agreement import RHAT_HYPER as RHAT_HYPER
from .run_agreement import RHAT_SAMPLER as RHAT_SAMPLER
from .run_agreement import SMALL_DIFFERENCE as SMALL_DIFFERENCE
from .run_agreement import effective_draws, rhats_of, same_edges, trace_rhat
from .run_agreement import inclusion_by_chain as inclusion_by_chain
from .run_agreement import some_edges as some_edges
from .training_worlds import LEAST_P as LEAST_P  # named among the limits
from .training_worlds import LEAST_WEIGHT as LEAST_WEIGHT
from .training_worlds import training_world_rows

JITTER = 10.0  # nats an edge for a learning rate of one; see `diagnose`
MIN_RESTART = 0.9  # of loadings of two restarts: programs have the same members
KHAT = 0.7  # beyond it importance sampling from the guide fails (Yao et al. 2018)
COVERAGE = 0.9
INTERVALS, RESIDUALS = "predictive intervals", "residual variance"
VARIANCE_RATIO, MAX_SHARE_OFF = 0.2, 0.05
TRUST_FLOOR = 0.3  # b below it changes the odds of an edge by less than a third
MAX_UNSUPPORTED = 0.5  # more probable than not that the trust in a source is below the floor
MAX_SHARE_ROUGH = 0.1  # of targets whose graphs were corrected from too few good draws


def diagnose(posterior: PosteriorLike[Model], data: ExpressionData | None = None, *, seed: int = 0) -> pd.DataFrame:
    """What can be said against this fit, and what it means for its user. Limits are followed by their names here.

    fit ended in order
        Why it ended; fails when it diverged.
    draws are finite
        Share of the draws of W that are not finite; 0.
    ELBO settled (guides)
        Change over the last fifth of the learning in nats an edge (`elbo_drift`), worst restart; 10 (``JITTER``) times
        the largest learning rate. Steps of that size alone cost a fit that has settled four to eight times the rate. Of
        `BlockDescent`: share by which the objective fell in the last round; passes where the descent stopped by it.
    R-hat of the log-likelihood (samplers)
        Over chains, without warm-up; 1.05 (``RHAT_SAMPLER``).
    R-hat of the hyperparameters
        Largest of all; of hubs and noise variances, which are many, the 99th percentile; 1.1 (``RHAT_HYPER``).
    R-hat of the edges
        99th percentile over at most 1,000 (``NUM_EDGES``) edges, half of them the most probable; 1.05
        (``RHAT_SAMPLER``) for chains of a sampler, 1.1 (``RHAT_GUIDE``) for restarts of a guide. Not of amortised fits,
        nor the next two on edges: their chains share one training; and not of large networks of which fewer than 50
        (``FEWEST``) draws by chain were kept. Of networks that keep every draw of some edges, of those.
    effective draws (samplers)
        Smallest bulk effective sample size of a hyperparameter; 40 (``MIN_ESS``).
    top edges agree
        Jaccard index of the k most probable edges of two chains, mean over pairs; k is the number of edges above 0.5,
        at least 20, at most 500; 0.8 (``MIN_JACCARD``). Where fewer than 20 are above 0.5 it can pass but not fail: the
        rest of the 20 is background.
    inclusion agrees
        Pearson correlation of two chains' inclusion probabilities, mean over pairs; 0.95 (``MIN_CORRELATION``), or no
        difference above 0.1 (``SMALL_DIFFERENCE``).
    number of edges agrees
        Standard error over chains of the number of edges expected, beside it; 0.1 (``MAX_ERROR``), or one edge.
    restarts find the same optimum (coordinate ascent of factor models)
        Correlation of the loadings of the restart that is most like the best one with it; 0.9 (``MIN_RESTART``).
        Restarts with a lower bound are left out of the posterior.
    importance weights (other guides)
        Pareto k-hat of p/q over all sites, median over restarts; informs only: in many dimensions it is always large.
        Of graphs that importance corrects, target by target: fails where more than 0.1 (``MAX_SHARE_ROUGH``) of the
        targets are above 0.7 (``KHAT``).
    cells like those of the training, prior networks tell something (amortised guides)
        See `training_worlds`; 0.05 (``LEAST_P``), 0.5 (``LEAST_WEIGHT``).
    predictive intervals (with ``data``)
        Share of 1,000 (cell, target) pairs inside their interval of 0.9 (``COVERAGE``), each predicted by the others
        alone (`answers.left_out`); 0.85 to 0.95 (``COVERAGE_RANGE``). Values that the fit follows are left out; not
        checked where fewer than 0.75 (``MIN_KEPT``) are kept. Where the model follows each value, with it, and up to 1
        (`Answers.coverage_range`); of time courses of `TrajectoryNetwork` with it, too.
    residual variance (with ``data``)
        Share of targets whose residual variance is more than 0.2 (``VARIANCE_RATIO``) of the fitted one away from it,
        by more than three standard errors; 0.05 (``MAX_SHARE_OFF``). Without targets that a regulator is like.
    shared residuals, non-linearity, independent cells (of linear networks of one context, with ``data``)
        See `misfit_checks`; 0.1, 0.1, 0.05.
    lists on made targets, causes not measured (of recalibrated fits)
        See `misfit_checks`; 0.15 (``MAX_WRONG``), 0.22 (``STANDS_OUT``) or more where a regulator has most of the genes
        (`recalibration.shared_causes`).
    prior knowledge, by source
        P(b < 0.3 (``TRUST_FLOOR``)), b the trust in that source; 0.5 (``MAX_UNSUPPORTED``).
    gene sets hold, by library (of gene programs)
        Share of its programs that hold mostly genes from outside their set (`answers.set_standing`); 0.5
        (``MOST_OTHER``).
    programs and depth, programs and mitochondrial share, programs and batch (of gene programs, with ``data``)
        How closely the scores of a program follow them; see `confounding.confounding`.
    regulators without edges
        Share of regulators with no edge above 0.5 (``PROBABLE``); fails when it is all of them.
    regulators alike (where there are such)
        Largest correlation of two regulators, in size, where it is above 0.99 (`Model.twins`), with their names;
        informs only.

    Parameters
    ----------
    posterior
        Any posterior of `fit`.
    data
        The cells of the fit, for the predictive checks: new ones have not been seen, and leaving each value out would
        be wrong of them.
    seed
        Of the pairs, cells and edges that are looked at.

    Returns
    -------
    DataFrame
        ``check, value, threshold, passed, meaning``; ``passed`` is True, False, or None where a check does not apply or
        only informs.
    """
    rows = [_ended(posterior)]
    if "W" in posterior.draws:
        rows.append(_finite(posterior))
        fitted = _sampler_checks if engine_of(posterior.guide).draws_chains else _guide_checks
        rows += fitted(posterior, seed)
        rows = without_agreement([*rows, *same_edges(posterior)], posterior.guide)
        rows += training_world_rows(posterior)
        rows += _predictive(posterior, data, seed)
        rows += trial_checks(posterior.attributes.get(RECORD))
        rows += _prior_support(posterior)
        if has_edges(posterior.model):
            rows += regulator_rows(posterior)
        else:
            rows += set_checks(posterior)
            rows += confounding_checks(posterior, data) if data is not None else []
    table = pd.DataFrame([[getattr(row, c) for c in COLUMNS] for row in rows], columns=list(COLUMNS), dtype=object)
    return table if has_edges(posterior.model) else of_loadings(table)


# -- how the fit went ----
def _ended(posterior: PosteriorLike[Model]) -> Check:
    reason = posterior.history.reason
    good = not reason.startswith("diverged")
    meaning = "The computation ran to its end."
    if reason.startswith(OUT_OF_TIME):
        meaning = "It ended when its time was up, with what it had: give it more for what was not reached."
    if not good:
        meaning = "The computation broke down: do not use the result. Look for extreme values in the data, or "
        meaning += "normalise them; for a guide, lower the learning rate."
    return Check("fit ended in order", reason, "not diverged", good, meaning)


def _finite(posterior: PosteriorLike[Model]) -> Check:
    share = float(1 - np.isfinite(posterior.draws["W"]).mean())
    meaning = (
        "All edge weights are numbers." if share == 0 else "Edge weights are not all numbers: do not use the result."
    )
    return Check("draws are finite", share, 0.0, share == 0, meaning)


def _sampler_checks(posterior: PosteriorLike[Model], seed: int) -> Iterator[Check]:
    yield from (trace_rhat(posterior), *rhats_of(posterior, seed))
    if "restart_agreement" in posterior.attributes:
        yield _same_optimum(posterior)
    if "khat_target" in posterior.attributes:
        yield _khat(posterior)
    yield effective_draws(posterior)


def _guide_checks(posterior: PosteriorLike[Model], seed: int) -> Iterator[Check]:
    yield from (_settled(posterior), *rhats_of(posterior, seed))
    yield _same_optimum(posterior) if "restart_agreement" in posterior.attributes else _khat(posterior)
    if "walkers" in posterior.attributes:  # draws that go on from one another, as a sampler's do
        yield effective_draws(posterior)


def _same_optimum(posterior: PosteriorLike[Model]) -> Check:
    """Of coordinate ascent, whose bound is compared over restarts: those that ended lower were left out."""
    agreement = np.asarray(posterior.attributes["restart_agreement"])
    kept = len(posterior.attributes["restarts_kept"])
    name = "restarts find the same optimum"
    if len(agreement) < 2:
        return Check(name, math.nan, MIN_RESTART, None, "Needs at least two restarts, and there was one.")
    second = float(np.sort(agreement)[-2])  # the best agrees with itself
    good = second >= MIN_RESTART
    meaning = f"{kept} of {len(agreement)} restarts reached the best bound and are reported; "
    meaning += f"the next closest has loadings that correlate {second:.2f} with the best."
    if not good:
        meaning += " Programs depend on where the fit starts: use fewer factors, or more restarts."
    return Check(name, second, MIN_RESTART, good, meaning)


def _settled(posterior: PosteriorLike[Model]) -> Check:
    history = posterior.history
    if "restart_agreement" in posterior.attributes:  # coordinate ascent
        model: Any = posterior.model  # of programs, by their bound
        good = history.reason == "converged"
        moved = float(np.abs(np.diff(history.elbo[:, -2:], axis=1)).max()) if history.elbo.shape[1] > 1 else math.nan
        meaning = "The bound had stopped rising." if good else "The bound was still rising: raise `num_steps=`."
        return Check("ELBO settled", moved, tolerance(model), good, meaning)
    if "restart_objective" in posterior.attributes:  # the exact objective, until no restart falls by more than tol
        good = history.reason == "converged"
        last = history.elbo[:, -2:]
        share = np.abs(np.diff(last, axis=1)) / np.abs(last[:, -1:])
        moved = float(share.max()) if share.size else math.nan
        meaning = "The objective had stopped falling."
        meaning = meaning if good else "The objective was still falling when rounds ran out: raise `max_iterations=`."
        return Check("ELBO settled", moved, "stopped by tol", good, meaning)
    if not history.elbo.size:
        return Check("ELBO settled", math.nan, "not rising", None, "This engine keeps no record of its course.")
    size, longer = answers_of(posterior.model).num_learned(posterior)
    moved = elbo_drift(history.elbo, history.rate, size)
    limit = JITTER * float(history.rate.max(initial=0.0))
    if not math.isfinite(moved):
        return Check("ELBO settled", moved, limit, None, "Too few steps were recorded to tell: raise num_steps.")
    good = moved <= limit
    meaning = "The fit had stopped improving."
    if not good:
        meaning = f"The fit was still moving when it ended: raise {longer}, or lower the learning rate if it jumps."
    return Check("ELBO settled", moved, limit, good, meaning)


def _khat(posterior: PosteriorLike[Model]) -> Check:
    name = "importance weights (k-hat)"
    if "khat_target" in posterior.attributes:
        return _target_khat(name, posterior.attributes["khat_target"])
    if not {"lp", "lq"} <= set(posterior.attributes):
        return Check(name, math.nan, KHAT, None, "Not known: this guide has no density to compare with the model's.")
    value = median_khat(posterior.attributes["lp"] - posterior.attributes["lq"])
    if not math.isfinite(value):
        return Check(name, value, KHAT, None, "Too few finite draws to tell.")
    size = sum(math.prod(v.shape[2:]) for v in posterior.draws.values())
    meaning = f"Compares the guide with the exact posterior in all {size:,} numbers at once. "
    if value <= KHAT:
        meaning += "They are close."
    else:
        meaning += (
            f"In so many dimensions it is nearly always above {KHAT}: this alone is no objection to single edges."
        )
    return Check(name, value, KHAT, None, meaning)


def _target_khat(name: str, khat: np.ndarray) -> Check:
    """Of importance-corrected graphs, target by target."""
    known = khat[np.isfinite(khat)]
    if not known.size:
        return Check(name, math.nan, KHAT, None, "Too few different graphs were drawn to tell.")
    share = float((known > KHAT).mean())
    meaning = f"The graphs of {share:.0%} of the targets were corrected from too few good draws"
    meaning += ": fine-tune (guide.fine_tune) or draw more." if share > MAX_SHARE_ROUGH else "."
    return Check(name, float(np.median(known)), KHAT, share <= MAX_SHARE_ROUGH, meaning)


# -- against the data and the prior ----
def _predictive(posterior: PosteriorLike[Model], data: ExpressionData | None, seed: int) -> Iterator[Check]:
    model, answers = posterior.model, answers_of(posterior.model)
    if data is None:
        yield from _unchecked(COVERAGE_RANGE, "Not checked: pass the expression data.")
        return
    because = answers.unpredictable(model, data)
    if because is not None:
        rows = _unchecked(COVERAGE_RANGE, because)
        yield from rows if answers.checks_residuals(model) else rows[:1]
        return
    yield _coverage(posterior, data, seed, answers.coverage_range)
    if answers.checks_residuals(model):
        yield _residual_variance(posterior, data, seed)
        if not engine_of(posterior.guide).learns_on_simulations:
            yield from answers.misfits(posterior, data, seed=seed)


def _unchecked(allowed: tuple[float, float], because: str) -> list[Check]:
    """The rows of both predictive checks."""
    limits: dict[str, str | float] = {INTERVALS: _from_to(allowed), RESIDUALS: MAX_SHARE_OFF}
    return [Check(name, math.nan, limit, None, because) for name, limit in limits.items()]


def _from_to(allowed: tuple[float, float]) -> str:
    low, high = allowed
    return f"{low} to {high}"


def _coverage(posterior: PosteriorLike[Model], data: ExpressionData, seed: int, allowed: tuple[float, float]) -> Check:
    checked = checked_cells(posterior, data, seed=seed)
    cells, followed = checked.cells, checked.followed
    tail, rows = (1 - COVERAGE) / 2, posterior.model.rows
    if not checked.enough:
        because = f"Not checked: the fit follows {followed:,} of {checked.total:,} values, as with nearly as many "
        because += f"regulators as {rows}; the other {len(cells.observed):,} would not tell."
        return Check(INTERVALS, math.nan, _from_to(allowed), None, because)
    # of the mixture over all draws: where few of a large network are kept, quantiles of replicates are too narrow
    place = cells.place
    covered = float(((tail <= place) & (place <= 1 - tail)).mean())
    meaning = f"{covered:.0%} of the values lie in their 90% interval: the noise of the model fits these {rows}."
    low, high = allowed
    if not low <= covered <= high:
        kind = "too narrow" if covered < low else "too wide"
        meaning = (
            f"{covered:.0%} of the values lie in their 90% interval: it is {kind}, the noise does not fit these {rows}."
        )
    if followed:
        meaning += f" Without {followed:,} of {checked.total:,} values, which the fit follows."
    return Check(INTERVALS, covered, _from_to(allowed), low <= covered <= high, meaning)


def _residual_variance(posterior: PosteriorLike[Model], data: ExpressionData, seed: int) -> Check:
    rows = posterior.model.rows
    # a gene that has a copy among the regulators has no residual that could spread
    off = np.where(has_twin(posterior), np.nan, variance_off(squared_residuals(posterior, data, seed=seed)))
    if not np.isfinite(off).any():
        return Check(RESIDUALS, math.nan, MAX_SHARE_OFF, None, f"Too few {rows} to tell.")
    share = float(np.nanmean(off))
    meaning = f"The spread of {rows} around their prediction is as fitted for nearly all genes."
    if share > MAX_SHARE_OFF:
        some = ", ".join(np.asarray(posterior.coords["target"])[off == 1][:3])
        meaning = f"{rows.capitalize()} spread otherwise than fitted for {share:.0%} of the genes, e.g. {some}: "
        meaning += f"other {rows}, or outliers?"
    return Check(RESIDUALS, share, MAX_SHARE_OFF, share <= MAX_SHARE_OFF, meaning)


def variance_off(ratio: np.ndarray) -> np.ndarray:
    """``(target,)`` 1 where the mean of `squared_residuals` ``(cell, target)`` is over 20% from one by more than three
    standard errors, 0 where not; NaN for targets with fewer than ten cells.
    """
    count = np.isfinite(ratio).sum(0)
    enough = count >= 10
    off = np.full(ratio.shape[1], np.nan)
    if enough.any():
        mean, sd = np.nanmean(ratio[:, enough], axis=0), np.nanstd(ratio[:, enough], axis=0, ddof=1)
        off[enough] = np.abs(mean - 1) > VARIANCE_RATIO + 3 * sd / np.sqrt(count[enough])
    return off


def _prior_support(posterior: PosteriorLike[Model]) -> Iterator[Check]:
    if "trust" not in posterior.draws or not posterior.model.given_sources:
        meaning = "No prior network was given."
        if posterior.model.edge_prior.strategy == "mask":
            meaning = "The prior networks are a hard mask, which the data cannot overrule."
        yield Check("prior knowledge", math.nan, MAX_UNSUPPORTED, None, meaning)
        return
    spent = answers_of(posterior.model).spent_knowledge
    if spent is not None:
        yield Check("prior knowledge", math.nan, MAX_UNSUPPORTED, None, spent)
        return
    below = (posterior.draws["trust"] < TRUST_FLOOR).mean((0, 1))
    for source, value in zip(posterior.coords["source"], below.tolist(), strict=True):
        if source in posterior.model.own_sources:
            continue
        meaning = f"The data do not contradict source {source!r}."
        if value > MAX_UNSUPPORTED:
            meaning = f"The data do not support source {source!r}, so it had little influence: wrong tissue?"
        yield Check(f"prior knowledge: {source}", value, MAX_UNSUPPORTED, value <= MAX_UNSUPPORTED, meaning)
