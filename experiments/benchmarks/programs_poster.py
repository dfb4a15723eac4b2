"""The poster's example at last: treatments that act through programs, by its own models, in two steps, and blocked."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score

from ...inference import Blocked, ClosedForm, MeanField, Posterior, fit
from ...inference.factors.alignment import matching
from ...models import PPCA, ExpressionData, FactorModel, MuVI
from ...models.likelihoods import GAUSSIAN, NEGATIVE_BINOMIAL
from ...models.simulators import FactorSimulation, simulate_cytokines
from ...priors import HorseshoeLoading
from .programs import LEVEL, Table
from .results import Results

SEEDS = 4
SIZES: dict[str, Any] = {"num_genes": 300, "num_cells": 630, "program_size": 30}
PROGRAMS = 5
STEPS = 1500  # of the poster's mean-field fit
NORMAL_QUANTILE = 1.6449  # of LEVEL, for classical intervals


class Found(NamedTuple):
    """What a method says: ``W`` (factor, gene), effects of the treatments on a gene ``direct`` and in ``total``
    (covariate, gene), which size of ``direct`` is worth, ``certainty``, the interval of ``total``, and ``induced``
    (covariate, factor) where it has such effects."""

    W: np.ndarray
    certainty: np.ndarray
    total: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    induced: np.ndarray | None = None


def of_posterior(posterior: Posterior) -> Found:
    """From the draws."""
    model: Any = posterior.model
    scale = model.scale.numpy()
    flat = lambda name: posterior.draws[name].reshape(-1, *posterior.draws[name].shape[2:])
    beta, W = flat("beta"), flat("W")
    total, induced = beta, None
    if model.factor_effects:
        total = beta + flat("gamma") @ W
        induced = flat("gamma").mean(0)
    lower, upper = np.quantile(total * scale, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    certainty = np.abs(beta.mean(0)) / beta.std(0)
    return Found(posterior.moments["W"].mean * scale, certainty, total.mean(0) * scale, lower, upper, induced)


def two_steps(data: ExpressionData) -> Found:
    """Least squares on the treatments, then PPCA of what is left; intervals as least squares has them."""
    model = PPCA(data, num_factors=PROGRAMS, factor_effects=False)
    solution = model.maximum_likelihood(regress=True)
    assert solution.beta is not None, "there are treatments"
    assert solution.beta_se is not None, "and with them"
    beta, half = solution.beta.numpy(), NORMAL_QUANTILE * solution.beta_se.numpy()
    W = fit(model, guide=ClosedForm()).moments["W"].mean
    return Found(W, np.abs(beta / solution.beta_se.numpy()), beta, beta - half, beta + half)


def poster(data: ExpressionData) -> FactorModel:
    """MuVI as the poster writes it: factors and horseshoe without a slab, treatments on genes alone."""
    bare = HorseshoeLoading(slab=None)
    return MuVI(data, num_factors=PROGRAMS, loading_prior=bare, factor_effects=False, integrate=False)


def methods_of(likelihood: str) -> dict[str, Callable[[ExpressionData], Found]]:
    """What is compared on counts after log1p-cpm, or on Gaussian cells."""
    blocked = lambda model: of_posterior(fit(model, guide=Blocked(), restarts=1, num_draws=200))
    found: dict[str, Callable[[ExpressionData], Found]] = {
        "two steps": lambda data: two_steps(scaled(data, likelihood)),
        "MuVI of the poster, mean-field": lambda data: of_posterior(
            fit(poster(scaled(data, likelihood)), guide=MeanField(), restarts=1, num_steps=STEPS, num_draws=200)
        ),
        "MuVI of the poster, blocked": lambda data: blocked(
            MuVI(
                scaled(data, likelihood),
                num_factors=PROGRAMS,
                loading_prior=HorseshoeLoading(slab=None),
                factor_effects=False,
            )
        ),
        "MuVI, blocked": lambda data: blocked(MuVI(scaled(data, likelihood), num_factors=PROGRAMS)),
    }
    if likelihood == NEGATIVE_BINOMIAL:
        found["MuVI of counts, blocked"] = lambda data: blocked(
            MuVI(data, num_factors=PROGRAMS, likelihood=NEGATIVE_BINOMIAL)
        )
    return found


def scaled(data: ExpressionData, likelihood: str) -> ExpressionData:
    """Counts as the log of their share in the cell, as an analyst would have them."""
    return data.normalized("log1p-cpm") if likelihood == NEGATIVE_BINOMIAL else data


def scores(found: Found, truth: FactorSimulation, *, in_units: bool) -> dict[str, float]:
    """``in_units``: whether effects are those of the truth, and not of a logarithm of counts."""
    direct, total = (truth.beta != 0).numpy(), (truth.beta + truth.gamma @ truth.W).numpy()
    order, sign = matching(found.W, truth.W.numpy())
    W = found.W[order] * sign[:, None]
    result = {
        "loading correlation": float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(W, truth.W, strict=True)])),
        "AUPRC of direct effects": float(average_precision_score(direct.ravel(), found.certainty.ravel())),
        "base rate of direct effects": float(direct.mean()),
    }
    if found.induced is not None:
        size = np.abs(found.induced[:, order])
        result["AUPRC of induced programs"] = float(
            average_precision_score((truth.gamma != 0).numpy().ravel(), size.ravel())
        )
    if in_units:
        result["error of total effects, RMSE"] = float(np.sqrt(np.mean((found.total - total) ** 2)))
        result[f"coverage of {LEVEL:.0%}, total effects"] = float(
            ((found.lower <= total) & (total <= found.upper)).mean()
        )
        result["width of the interval"] = float((found.upper - found.lower).mean())
    return result


def run(folder: Path, results: Results) -> None:
    """Cells of three types after six cytokines, Gaussian and as counts; ``folder`` is not read."""
    results.resume_parts()
    for likelihood in (GAUSSIAN, NEGATIVE_BINOMIAL):
        results.part(f"cytokines, {likelihood}", partial(run_likelihood, results, likelihood))


def run_likelihood(results: Results, likelihood: str) -> None:
    """Rows of one likelihood."""
    table = Table()
    for seed in range(SEEDS):
        simulation = simulate_cytokines(**SIZES, likelihood=likelihood, seed=seed)
        for name, method in methods_of(likelihood).items():
            found = method(replace(simulation.data))
            table.add(f"cytokines, {likelihood}", name, scores(found, simulation, in_units=likelihood == GAUSSIAN))
    table.write(results)
