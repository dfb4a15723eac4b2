"""What ``pyrogrn infer`` does: check, read, fit, write."""

import math
import shlex
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import torch

from ...inference import Checkpoint, Posterior, Progress, fit
from ...inference.amortised import KINDS
from ...inference.confounding import confounded
from ...inference.diagnostics import verdict
from ...inference.engines.sparse_gibbs import OUT_OF_TIME
from ...inference.runs.beside import beside
from ...inference.runs.interrupts import deferred_interrupts
from ...models import ExpressionData, LinearNetwork, Model
from ...models.data.twins import twin_notes
from ..files.annotated import check_annotate, write_annotated
from ..files.known_names import check_truth, known_names, network_notes
from ..files.likely_keys import likely_keys
from ..files.needed_notes import needed_notes
from ..files.network_tables import check_parquet
from ..files.readers import in_memory, read_expression
from ..files.scale_notes import expects_of
from ..files.varying import without_constant
from ..fitting import METHODS, default_engine, refuse_diverged
from ..preflight import AUTO, normalization_for
from ..remedies import REMEDIES, remedies
from ..report.kind import Tables
from ..report.run import REPORTS
from ..wording import in_options
from .course_edges import edges_beside, write_edges_beside
from .infer_job import Job
from .infer_kinds import INFERS
from .infer_notes import (
    say_preflight,
    say_truth,
    suggestion_of,
    with_evidence_notes,
    with_point_notes,
    with_scale_notes,
)
from .infer_options import OF_SOME, InferOptions
from .infer_tuning import check_calibrate, is_apart, recalibrated, trial, why_not
from .method_options import check_method_options, check_settings
from .options import check_kind, make_guide, parse_columns, parse_settings, pick_device
from .partners import OF_INFER, check_partners, options_of
from .passes import told_passes
from .plan_lines import is_quick_to_time, planned, say_plan
from .run import REPORT_FILES, file_digest, page_of, same_run, versions, write_reports, write_results
from .run_folder import RunFolder
from .scheduler import check_scheduler, say_workers, workers_of
from .targets import read_targets
from .terminal import read_edges, say, say_interrupted

if TYPE_CHECKING:
    from distributed import Client

MOST_THREADS = 1024  # systems refuse to start many more, in the middle of a run


class CellsRead(NamedTuple):
    """Cells, and the arguments with which `read_expression` read them."""

    data: ExpressionData
    how: dict[str, Any]


def infer(options: InferOptions) -> None:
    """Run the command, its targets divided over workers where a scheduler is given.

    Raises
    ------
    ValueError, FileNotFoundError
        Anything that a user can mend; nothing half-written is left, except a checkpoint to resume from.
    """
    options, before = with_method(options)
    check(options)
    with told_passes(), workers_of(options.scheduler, threads=options.threads) as client:
        infer_with(options, client, before)


def infer_with(options: InferOptions, client: "Client | None", before: CellsRead | None = None) -> None:
    """Read, but what was read ``before`` in the same way, fit, write.

    Raises
    ------
    ValueError, FileNotFoundError
        Anything that a user can mend; nothing half-written is left, except a checkpoint to resume from.
    """
    torch.set_num_threads(options.threads)
    run = RunFolder(options.out, overwrite=options.overwrite, resume=options.resume)
    job = read_job(options, before)
    data, groups, known, device = job.data, job.groups, job.known, job.device
    config: dict[str, Any] = {
        "method": options.method,
        "expression": {str(path): file_digest(path) for path in options.expression},
        "layer": options.layer,
        "normalize": options.normalize,
        "seed": options.seed,
        "settings": list(options.settings or []),
        "device": str(device),
        "versions": versions(),
        "command": "pyrogrn " + " ".join(shlex.quote(a) for a in sys.argv[1:]),
    }
    if options.method == "celloracle":
        infer_by_bags(run, data, job.chosen, groups, options=options, known=known, config=config)
        return
    model, data, engine = prepared(options, job)
    chosen, kind = job.chosen, job.kind
    cells = data.to(device) if engine.reads_cells else None
    if not run.finished:
        if client is not None:
            say_workers(client)
        in_short = client is not None or run.resumed is not None or not is_quick_to_time(model, engine)
        say_plan(planned(options, job, model, engine, cells, timed=not in_short), kind, options.out)
    checkpoint = run.open()
    try:
        with ExitStack() as stack:
            drawn = lambda posterior, tables: stack.enter_context(
                beside(
                    page_of(posterior, data, tables, config=config, truth=known, told=told_by(options, engine, data)),
                    apart=engine.takes_client and is_apart(options, model, data),
                )
            )
            if run.finished:
                config, posterior = same_run(run.place, config), Posterior.load(run.place / "model")
                page = drawn(posterior, tables_of(options, posterior, data, chosen))
            else:
                posterior, said = fitted(options, job, (model, data, engine), cells, run, checkpoint, client)
                config |= said
                with deferred_interrupts() as check_interrupt:  # the fit is done: it is not lost for a moment's haste
                    tables = tables_of(options, posterior, data, chosen)
                    page = drawn(posterior, tables)
                    other_edges = edges_beside(posterior, data, chosen, seed=options.seed, level=options.level)
                    write_results(run.partial, posterior, tables, top=options.top, config=config)
                    written = write_edges_beside(other_edges, run.partial)
                    if written is not None:
                        say(written)
                    run.publish(missing=REPORT_FILES)
                    check_interrupt()
            checks = write_reports(run.place, posterior, data, page)
        if options.annotate is not None:
            write_annotated(posterior, data, options.expression[0], options.annotate)
        run.close()
    except KeyboardInterrupt:
        say_interrupted(run.after_interrupt)
        run.discard()
        raise
    except BaseException:
        run.discard()
        raise
    say_truth(posterior, known)
    say(verdict(checks))
    for line in checks.attrs[REMEDIES]:
        say(line)
    if posterior.history.reason.startswith(OUT_OF_TIME):
        say(f"note: {posterior.history.reason}")
    for warning in confounded(checks):
        say(f"note: {warning}")
    say(f"{options.out}/report.html")


def fitted(
    options: InferOptions,
    job: Job,
    what: tuple[Any, ExpressionData, Any],
    cells: ExpressionData | None,
    run: RunFolder,
    checkpoint: Checkpoint,
    client: "Client | None",
) -> tuple[Posterior, dict[str, Any]]:
    """The posterior, as the trial corrects it, and what config.json says of it; ``what`` are model, data and engine of
    `prepared`."""
    model, data, engine = what
    # the trial may still go on when the fit has ended: an interrupt then is to cost neither
    checkpoint.at_end = is_apart(options, model, data) and why_not(options, model, engine, data) is None
    with trial(options, job, model, engine, data) as tried:
        posterior = fit(
            model,
            cells,
            guide=engine,
            num_steps=options.steps,
            restarts=options.restarts,
            seed=options.seed,
            callbacks=(Progress(lines=True), checkpoint),
            resume=run.resumed,
            client=client,
            **job.groups["fit"],
        )
        if checkpoint.at_end and posterior.history.reason.startswith("diverged"):
            checkpoint.path.unlink(missing_ok=True)  # nothing to go on from
        posterior = refuse_diverged(posterior).with_notes(data.notes)
        posterior, said = recalibrated(posterior, tried(), job, data, client)
    return posterior, {"guide": repr(engine), **job.kind.described(options, model, job.chosen), **said}


def told_by(options: InferOptions, engine: Any, data: ExpressionData) -> Callable[[pd.DataFrame, Posterior], list[str]]:
    """`remedies` of a run with these options."""
    return partial(
        remedies,
        engine=engine,
        steps=options.steps,
        restarts=options.restarts,
        budget=options.budget,
        as_measured=data if options.normalize == "none" else None,
    )


def read_job(options: InferOptions, before: CellsRead | None = None) -> Job:
    """Read the cells, unless they were read ``before`` in the same way, and all files of knowledge; says what was
    found."""
    device = pick_device("cpu" if options.method == "celloracle" else options.device)
    groups = parse_settings(options.settings or [], trial=True)
    check_settings(options.method, groups)
    check_calibrate(options, groups["calibrate"])
    model_class = METHODS[options.method]
    kind = INFERS[model_class.infers]
    chosen = kind.model_options(options, model_class, groups)
    known = pd.DataFrame(read_edges(options.truth)) if options.truth is not None else None
    networks = chosen.get("networks", {})
    data = read(options, known_names(networks | chosen.get("evidence", {}), known, chosen.get("gene_sets")), before)
    data = data.with_missing(data.missing, *network_notes(networks))
    if known is not None:
        check_truth(known, data, str(options.truth))
    targets = read_targets(options.targets, data)
    if targets is not None:
        chosen["targets"] = targets
        say(f"{len(targets)} of {data.num_genes} genes are targets")
    return Job(data, model_class, kind, chosen, groups, known, device)


def prepared(options: InferOptions, job: Job) -> tuple[Any, ExpressionData, Any]:
    """The model, the data with what there is to say of them, and the engine, checked against each other."""
    model, data = _model_of(options, job.model_class, job.data, job.chosen, job.kind, job.device)
    default = default_engine(options.method, model)
    lengths: dict[str, Any] = {"restarts": options.restarts, "steps": options.steps, "budget": options.budget}
    engine = make_guide(options.guide, job.groups["guide"], default, **lengths)
    check_fit(job.groups["fit"], engine, model)
    check_scheduler(engine, options.scheduler)
    data = with_point_notes(model, engine, data)
    if engine.learns_on_simulations:
        check_kind(options.method, engine.weights)
    return model, data, engine


def infer_by_bags(
    run: RunFolder,
    data: ExpressionData,
    chosen: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, Any]],
    *,
    options: InferOptions,
    known: pd.DataFrame | None,
    config: dict[str, Any],
) -> None:
    """The part of CellOracle, which fits each context alone and chooses its engine by itself."""
    from .celloracle_run import run_celloracle  # here: it tests its bags with SciPy's distributions

    written = run_celloracle(
        run,
        with_scale_notes(options, data, expects_of(options.method)),
        chosen["networks"],
        groups["model"],
        config=config | {"prior_files": list(options.prior or [])},
        level=options.level,
        top=options.top,
        truth=known,
        seed=options.seed,
        say=say,
    )
    for name, folder, checked, told in written:
        for line in (checked, *told):
            say(f"{name}: {line}")
        say(f"{folder}/report.html")


# -- before anything is computed ----
def check(options: InferOptions) -> None:
    """Refuse options of other methods, and numbers out of range."""
    if options.method not in METHODS:
        raise ValueError(f"unknown method {options.method!r}: choose one of {', '.join((AUTO, *METHODS))}")
    given = {"--" + name.replace("_", "-"): getattr(options, name) for name in OF_SOME}
    given["--device"] = None if options.device in ("auto", "cpu") else options.device
    check_method_options(options.method, METHODS[options.method], given)
    check_partners(OF_INFER, options_of(vars(options)))
    if not 0 < options.level < 1:
        raise ValueError(f"--level {options.level}: expected a probability strictly between 0 and 1")
    for name in ("restarts", "steps", "top", "top_genes", "min_overlap", "threads"):
        number = getattr(options, name)
        if number is not None and number < 1:
            raise ValueError(f"--{name.replace('_', '-')} {number}: expected at least 1")
    if options.threads > MOST_THREADS:
        raise ValueError(f"--threads {options.threads}: expected at most {MOST_THREADS}")
    fewest = 0 if options.gene_sets else 1
    if options.factors is not None and options.factors < fewest:
        raise ValueError(f"--factors {options.factors}: expected at least {fewest}")
    if options.all_edges:
        check_parquet()
    if options.annotate is not None:
        check_annotate(options.annotate, options.expression, overwrite=options.overwrite)


def _model_of(
    options: InferOptions,
    model_class: Any,
    data: ExpressionData,
    chosen: Mapping[str, Any],
    kind: Any,
    device: torch.device | str,
) -> tuple[Any, ExpressionData]:
    """The model, and the data with what was found when it was made; the person at the terminal is told."""
    if options.drop_constant is None and model_class is LinearNetwork and not in_memory(data):
        statistics = data.statistics()  # the one pass over a file that is streamed
        before = len(data.notes)
        data, statistics = without_constant(data, statistics)
        for note in data.notes[before:]:
            say(note)
        model = model_class(statistics, **chosen).to(device)
    else:
        model = model_class.from_data(data, **chosen).to(device)
    data = with_evidence_notes(model, data)
    for note in twin_notes(model.twins):  # `fit` keeps them with the posterior
        say(f"note: {note}")
    expects = expects_of(options.method) if options.method in KINDS else model.expects
    data = with_scale_notes(options, data, expects)
    say_preflight(options, data, expects)
    for report in model.given_reports.values():
        say(kind.matched(report))
    return model, data


def check_fit(settings: Mapping[str, Any], engine: Any, model: Model) -> None:
    """Refuse draws by another name than that of the engine, and a threshold where nothing is compared with it."""
    if "num_draws" in settings and engine.length_options is not None:
        raise ValueError("--set fit.num_draws is for variational fits: of a sampler, --steps are the kept draws")
    number = settings.get("num_draws", 1)
    if type(number) is not int or number < 1:
        raise ValueError(f"--set fit.num_draws={number}: expected a whole number of at least 1")
    if "threshold" in settings:
        check_threshold(settings["threshold"], learned=engine.learns_on_simulations, dims=model.dims)


def check_threshold(threshold: Any, *, learned: bool, dims: Collection[str]) -> None:
    """Refuse a threshold that is no size, or that the fit would not use: an edge or a loading with a variable of its
    own that says whether it exists needs none."""
    if type(threshold) not in (int, float) or not 0 <= threshold < math.inf:
        raise ValueError(f"--set fit.threshold={threshold}: expected a finite number of at least 0")
    own = {"inclusion", "existence"} & set(dims)
    if learned or own:
        raise ValueError(
            "--set fit.threshold does nothing here: the inclusion of this fit is the probability that an edge or a "
            "member exists, not that its weight exceeds a size. Leave it out (a size is asked where the prior has no "
            "such variable, as --edge-prior horseshoe or --loading-prior normal)"
        )


# -- data ----
def with_method(options: InferOptions) -> tuple[InferOptions, CellsRead | None]:
    """The options with a method in place of ``auto``, which is said; the cells are read for it where nothing or labels
    of perturbations alone say what they are, and columns that say it by their names are taken. What was read is handed
    on: a large file is not read a second time for its fit."""
    if options.method != AUTO:
        return options, None
    found, before = suggestion_of(options, None), None
    if found.method == "linear":
        before = read_cells(replace(options, method=found.method, normalize="none"))
        options = _with_keys(options, before.data)
        if options.perturbation_key is not None and before.data.perturbed is None:
            before = read_cells(replace(options, method=found.method, normalize="none"))
        found = suggestion_of(options, before.data)
    say(f"method {found}")
    return replace(options, method=found.method), before


def _with_keys(options: InferOptions, data: ExpressionData) -> InferOptions:
    """With the options of the columns that nobody had to name; said, in the words that another method takes."""
    if len(options.expression) > 1 or options.perturbation_key is not None or options.context_key is not None:
        return options
    keys = likely_keys(data)
    taken = {f"{name}_key": column for name, column in keys._asdict().items() if column is not None}
    if taken:
        words = " ".join(f"--{name.replace('_', '-')} {column}" for name, column in taken.items())
        say(f"columns are taken as what they are called: {words}")
    return replace(options, **taken)


def read(
    options: InferOptions, known: Mapping[str, Collection[str]] | None = None, before: CellsRead | None = None
) -> ExpressionData:
    """The cells, with what is worth saying about them; says how many there are. ``known`` as in `read_expression`."""
    data = read_cells(options, known, before).data
    model = METHODS[options.method]
    data = data.with_missing(data.missing, *map(in_options, needed_notes(model, data)))
    for note in data.notes:
        say(note)
    rows = "conditions" if {"perturbed", "inputs"} & set(model.needs) else "cells"
    say(f"{data.num_cells} {rows}, {data.num_genes} genes, {INFERS[model.infers].parts(data)}")
    return data


def read_cells(
    options: InferOptions, known: Mapping[str, Collection[str]] | None = None, before: CellsRead | None = None
) -> CellsRead:
    """The cells as the options have them, and how they were read; nothing is said. Those of ``before`` where they were
    read so."""
    how: dict[str, Any] = {
        "paths": options.expression,
        "tfs": options.tfs,
        "layer": options.layer,
        "normalize": normalization_for(options.method, options.normalize, counted=bool(options.likelihood)),
        "context_key": options.context_key,
        "perturbation_key": options.perturbation_key,
        "control": options.control or (),
        "unmeasured": options.unmeasured,
        "drop_constant": drop_constant_of(options),
        "top_genes": options.top_genes,
        "covariates": parse_columns(options.covariates),
        "missing": options.missing,
        "inputs": options.inputs,
        "time_key": options.time_key,
        "trajectory_key": options.trajectory_key,
        "metacells": options.metacells,
        "genes_in": options.genes_in,
        "min_cells": options.min_cells,
        "known": known or None,
    }
    return before if before is not None and before.how == how else CellsRead(read_expression(**how), how)


def drop_constant_of(options: InferOptions) -> bool | None:
    """Whether genes without variance are left out: by default where finding them costs no pass over a file beside that
    which the method takes, but no node of CellBox, on which inputs may act."""
    if options.drop_constant is None and "inputs" in METHODS[options.method].needs:
        return False
    return options.drop_constant


# -- results ----
def tables_of(options: InferOptions, posterior: Posterior, data: ExpressionData, chosen: Mapping[str, Any]) -> Tables:
    """The tables of networks, or of programs."""
    return REPORTS[posterior.model.infers].tables(
        posterior,
        data,
        level=options.level,
        gene_sets=chosen.get("gene_sets") or None,
        min_overlap=5 if options.min_overlap is None else options.min_overlap,
        all_edges=options.all_edges,
    )
