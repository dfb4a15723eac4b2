"""One run of an ablation of gene sets: the programs of a fit under the names of the sets."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from ...inference import Posterior
from ...inference.answers.cells import log_density
from ...inference.draws.intervals import LEVEL
from ...models import ExpressionData, FactorModel
from ..scores import average_precision
from .changes import Change
from .engines import Effort, chain_error, chain_noise, fit_method
from .inputs import pack, read_inputs, split_cells
from .program_models import program_model
from .program_sources import apply_to_sets, members, set_names
from .settings import Settings


def run_programs(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """As `run_case`, of a method that infers programs: its ``inclusion`` and ``size`` are ``(set, gene)``.

    A program of a set that is in has the set's name. Others are named afterwards, as a user without the library would:
    programs and sets are paired to make the correlations of \\|loading\\| with membership largest in sum; first with
    the sets of the run (of ppca, whose prior takes none), then with those left out, as they are given. Every set so has
    one program in every run. ``follows``: how far the loadings follow the sets that are in (without any: all of them).
    """
    inputs = read_inputs(configuration["inputs"])
    seed, change = int(configuration["seed"]), Change(configuration["name"], **configuration["change"])
    settings = Settings.of(configuration.get("settings"))
    train, test = split_cells(inputs.data, configuration["hold_out_cells"], seed)
    libraries, held = apply_to_sets(change, inputs.networks, train.genes, seed)
    names = set_names(inputs.networks)
    started = time.perf_counter()
    method = configuration["method"]
    model: Any = program_model(method, configuration["strategy"], train, libraries, len(names), settings)
    effort = Effort(**configuration["effort"])
    posterior = fit_method(method, model, train, trust="sampled", effort=effort, seed=seed, settings=settings)
    seconds = time.perf_counter() - started
    inside = members(libraries, names, model.genes)
    row = named(posterior, names, inside, members(inputs.networks, names, model.genes))
    moments = posterior.moments["W"]
    size = np.abs(moments.mean[row])
    error, noise = chain_error(posterior), chain_noise(posterior)
    return {
        "used": {name: len(library) for name, library in libraries.items()},
        "held_targets": list(held),
        "prior": None,  # bits are counted from the run without sources: a free program has no names before the data
        "inclusion": pack(moments.inclusion[row]),
        "size": pack(size, np.float16),
        "follows": follows(size, inside if libraries else members(inputs.networks, names, model.genes)),
        "trust": posterior.trust(level=LEVEL).to_dict("records"),
        "chain_error": None if np.isnan(error) else error,
        "chain_noise": None if np.isnan(noise) else noise,
        "calibrated": posterior.calibrated,
        "predicted": _predicted(posterior, test),
        "seconds": seconds,
    }


def named(posterior: Posterior, names: tuple[str, ...], inside: np.ndarray, given: np.ndarray) -> np.ndarray:
    """``(set,)`` the program of each set.

    Parameters
    ----------
    posterior
        Of a factor model with at least as many programs as there are sets.
    names
        Of the sets.
    inside, given
        ``(set, gene)`` members in this run, and as the libraries have them.
    """
    model: FactorModel = posterior.model  # type: ignore[assignment]
    place = {name: k for k, name in enumerate(model.factors) if model.labelled[k]}
    row = np.array([place.get(name, -1) for name in names])
    size = np.abs(posterior.moments["W"].mean)
    for table, wanted in ((inside, inside.any(1)), (given, np.ones(len(names), dtype=bool))):
        sets = np.flatnonzero(wanted & (row < 0))
        free = np.setdiff1d(np.arange(len(size)), row[row >= 0])
        if len(sets):
            chosen, factor = linear_sum_assignment(-_correlation(table[sets], size[free]))
            row[sets[chosen]] = free[factor]
    return row


def _correlation(member: np.ndarray, size: np.ndarray) -> np.ndarray:
    """``(set, factor)``; 0 where either is the same for all genes."""
    a, b = (v - v.mean(1, keepdims=True) for v in (member.astype(np.float64), size.astype(np.float64)))
    norm = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    return np.divide(a @ b.T, norm, out=np.zeros_like(norm), where=norm > 0)


def follows(size: np.ndarray, member: np.ndarray) -> dict[str, float]:
    """How far loadings follow sets, means over the sets that have members and others.

    ``set_average_precision`` of the members by \\|loading\\|, which by chance is the share of genes in the set;
    ``set_share``, the share of a program's squared loadings that lies in its set.
    """
    sets = np.flatnonzero(member.any(1) & ~member.all(1))
    if not len(sets):
        return {"set_average_precision": float("nan"), "set_share": float("nan")}
    precision = [average_precision(size[k].astype(np.float64), member[k]) for k in sets]
    square = size[sets].astype(np.float64) ** 2
    share = (square * member[sets]).sum(1) / np.maximum(square.sum(1), 1e-300)
    return {"set_average_precision": float(np.mean(precision)), "set_share": float(share.mean())}


def _predicted(posterior: Posterior, test: ExpressionData | None) -> dict[str, Any] | str:
    """Log density of the cells that were held out, all genes together, or why there is none."""
    if test is None:
        return "no cells were held out"
    model: Any = posterior.model
    if not model.integrated or test.missing:
        return "cells with missing values, binary genes or counts have no density in closed form"
    density = log_density(posterior, test)
    return {"density": pack(density), "cell": pack(np.arange(len(density), dtype=np.int32), np.int32)}
