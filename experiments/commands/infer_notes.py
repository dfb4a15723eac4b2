"""What ``pyrogrn infer`` says of the data before it fits, at the terminal and in the report."""

import pandas as pd

from ...inference import Posterior
from ...inference.choice import applies
from ...inference.engines.base import Engine
from ...models import ExpressionData, Model
from ..files.network_tables import BIG
from ..files.scale_notes import scale_notes
from ..preflight import Suggestion, preflight, suggested
from ..report.found import Results
from ..scores import score_edges
from ..wording import for_command_line
from .infer_options import InferOptions
from .options import parse_columns
from .terminal import say


def suggestion_of(options: InferOptions, data: ExpressionData | None) -> Suggestion:
    """The method to begin with, by the options and the cells."""
    programs = ("gene_sets", "factors", "covariates", "likelihood", "missing", "annotate", "loading_prior")
    return suggested(
        data,
        inputs=options.inputs is not None,
        times=options.time_key is not None,
        perturbed=options.perturbation_key is not None,
        programs=any(getattr(options, name) for name in programs),
        evidence=bool(options.evidence or options.evidence_list),
    )


def say_preflight(options: InferOptions, data: ExpressionData, expects: str) -> None:
    """What the numbers look like, and what else there is for them."""
    keys = (options.context_key, options.perturbation_key, options.time_key, options.trajectory_key)
    lines = preflight(
        data,
        options.method,
        expects=expects,
        normalize=options.normalize,
        suggestion=suggestion_of(options, data),
        used=(*keys, *parse_columns(options.covariates)),
    )
    for line in lines:
        say(line)


def with_evidence_notes(model: Model, data: ExpressionData) -> ExpressionData:
    """What of the evidence was not used, and what was made of the data, goes to the report with their notes."""
    notes = [for_command_line(note) for note in model.evidence_notes]
    for note in notes:
        say(note)
    return data.with_missing(data.missing, *notes)


def with_scale_notes(options: InferOptions, data: ExpressionData, expects: str) -> ExpressionData:
    """What the scale of the data does to the results goes to the report too.

    Raises
    ------
    ValueError
        Data that the method must not be given.
    """
    notes = scale_notes(data, expects, method=options.method, normalize=options.normalize)
    for note in notes:
        say(f"note: {note}")
    return data.with_missing(data.missing, *notes)


def with_point_notes(model: Model, engine: Engine, data: ExpressionData) -> ExpressionData:
    """That a fit is a point estimate, and where its prior has no mode worth having, goes to terminal and report."""
    if not engine.point:
        return data
    prior = type(model.edge_prior.family)
    notes = [f"--guide {engine.name} is a point estimate: no probabilities, intervals or false sign rates"]
    if not applies(type(engine), prior, type(model)):
        notes.append(
            f"{prior.__name__} has no mode to find where its scales are learned (they shrink to nothing): take another "
            "--guide, or the prior normal or laplace"
        )
    for note in notes:
        say(f"note: {note}")
    return data.with_missing(data.missing, *notes)


def say_truth(posterior: Posterior, known: pd.DataFrame | None) -> None:
    """How the edges compare with the network of ``--truth``; of more than `BIG` edges the report alone says it."""
    if known is None or posterior.moments["W"].mean.size > BIG:
        return
    try:
        scores = score_edges(Results(posterior).table(), known, restrict_to_truth_regulators=True)
    except ValueError as error:
        say(f"the known network could not be compared: {for_command_line(str(error))}")
        return
    say(
        f"against the known network: average precision {scores['average_precision']:.3f} (chance "
        f"{scores['base_rate']:.3f}), {scores.matching}; regulators without any known edge are left out"
    )
