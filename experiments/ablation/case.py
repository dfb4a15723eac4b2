"""One run of an ablation, as a pure function of plain values."""

import time
from typing import Any

import numpy as np
from scipy.special import logsumexp

from ...inference import Posterior
from ...inference.answers.cells import predict_cells
from ...inference.answers.registry import answers_of
from ...inference.choice import engine_of
from ...inference.draws.intervals import LEVEL
from ...models import ExpressionData, Model
from .changes import Change, apply_change
from .engines import PRIOR_ONLY, SAMPLED, Effort, chain_error, chain_noise, fit_method, make_model
from .information import prior_inclusion
from .inputs import pack, read_inputs, split_cells
from .program_case import run_programs
from .program_models import PROGRAMS
from .settings import Settings

NUM_PREDICTED = 4000  # held-out values scored: 1,600 draws of each take 50 MB


def run_case(configuration: dict[str, Any]) -> dict[str, Any]:
    """Fit one method with one change of the knowledge and one seed.

    Parameters
    ----------
    configuration
        ``inputs`` (path of `write_inputs`), ``name``, ``method``, ``strategy``, ``trust`` (``"sampled"`` or a number),
        ``change`` (`Change.to_dict` without its name), ``seed``, ``hold_out_cells``, ``effort`` (fields of `Effort`).

    Returns
    -------
    dict
        ``inclusion``, ``size`` (|mean weight|), ``prior`` each ``(tf, target)`` and packed, ``prior`` None where the
        model has no prior probability of the edges it reports; ``trust``, rows of `Posterior.trust`; ``used``, edges of
        each source that were in; ``held_targets``; ``chain_error``; ``chain_noise``; ``calibrated``; ``predicted``, log
        densities of held-out values with their ``cell``, or why there are none; ``seconds`` of the fit.
    """
    if configuration["method"] in PROGRAMS:
        return run_programs(configuration)
    inputs = read_inputs(configuration["inputs"])
    settings = Settings.of(configuration.get("settings"))
    seed, change = int(configuration["seed"]), Change(configuration["name"], **configuration["change"])
    method, trust = configuration["method"], configuration["trust"]
    train, test = split_cells(inputs.data, configuration["hold_out_cells"], seed)
    networks, held = apply_change(change, inputs.networks, train.tfs, train.genes, seed)
    started = time.perf_counter()
    model = make_model(method, configuration["strategy"], train, networks, settings)
    result: dict[str, Any] = {
        "used": {name: len(network) for name, network in networks.items()},  # matched to the data already
        "held_targets": list(held),
    }
    held_trust = None if trust == SAMPLED else float(trust)
    if method == PRIOR_ONLY:
        before = on_pairs(prior_inclusion(model, trust=held_trust), model, train)
        blank: dict[str, Any] = {
            "trust": [],
            "chain_error": None,
            "chain_noise": None,
            "calibrated": False,
            "predicted": "no data were used",
        }
        return (
            result
            | blank
            | {"inclusion": pack(before), "size": pack(0 * before, np.float16), "prior": pack(before)}
            | {"seconds": time.perf_counter() - started}
        )
    effort = Effort(**configuration["effort"])
    posterior = fit_method(method, model, train, trust=trust, effort=effort, seed=seed, settings=settings)
    result["seconds"] = time.perf_counter() - started
    moments = posterior.moments["W"]
    if _without_prior(posterior):
        result["prior"] = None
    else:
        before = prior_inclusion(model, threshold=posterior.threshold or 0.1, trust=held_trust)
        result["prior"] = pack(on_pairs(before, model, train))
    error, noise = chain_error(posterior), chain_noise(posterior)
    return result | {
        "inclusion": pack(on_pairs(moments.inclusion, model, train)),
        "size": pack(on_pairs(np.abs(moments.mean), model, train), np.float16),
        "trust": posterior.trust(level=LEVEL).to_dict("records"),
        "chain_error": None if np.isnan(error) else error,
        "chain_noise": None if np.isnan(noise) else noise,
        "calibrated": posterior.calibrated,
        "predicted": _predicted(posterior, test),
    }


def on_pairs(values: np.ndarray, model: Model, data: ExpressionData) -> np.ndarray:
    """``(tf, target)`` of a model on the regulators and genes of the data; 0 where the model has no edge, as of nodes
    that it lets regulate nothing."""
    rows, columns = (model.coords[axis] for axis in model.axes)
    if tuple(rows) == data.tfs and tuple(columns) == data.genes:
        return values
    tf, gene = ({name: i for i, name in enumerate(names)} for names in (data.tfs, data.genes))
    kept = [i for i, name in enumerate(rows) if name in tf]
    table = np.zeros((len(tf), len(gene)), dtype=values.dtype)
    table[np.ix_([tf[rows[i]] for i in kept], [gene[name] for name in columns])] = values[kept]
    return table


def _without_prior(posterior: Posterior) -> bool:
    """Whether the edges reported have no prior probability that the sources are in."""
    if engine_of(posterior.guide).learns_on_simulations:  # its probabilities are not from the model's prior
        return True
    return not answers_of(posterior.model).has_edge_prior(posterior.model)


def _predicted(posterior: Posterior, test: ExpressionData | None) -> dict[str, Any] | str:
    """Log predictive density of values of the cells that were held out, or why there is none."""
    if test is None:
        return "no cells were held out"
    if not answers_of(posterior.model).predicts_held_out:
        return f"{type(posterior.model).__name__} does not predict single values"
    cells = predict_cells(posterior, test, num_observations=NUM_PREDICTED)
    density = cells.log_likelihood().reshape(-1, len(cells.observed))  # (draw, observation)
    density = np.nan_to_num(density, nan=-np.inf)  # a draw without a steady state, or that blows up, predicts nothing
    pointwise = logsumexp(density, axis=0) - np.log(len(density))
    return {"density": pack(pointwise), "cell": pack(cells.cell.astype(np.int32), np.int32)}
