"""What ``pyrogrn infer`` does: check, read, fit, write."""

import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from ...inference import Checkpoint, Posterior, Progress, fit
from ...inference.amortised import KINDS
from ...inference.confounding import confounded
from ...inference.diagnostics import verdict
from ...inference.engines.sparse_gibbs import OUT_OF_TIME
from ...inference.runs.beside import beside
from ...inference.runs.interrupts import deferred_interrupts
from ...models import ExpressionData, LinearNetwork
from ...models.data.twins import twin_notes
from ..files.annotated import write_annotated
from ..files.known_names import check_truth, known_names, network_notes
from ..files.readers import in_memory
from ..files.scale_notes import expects_of
from ..files.varying import without_constant
from ..fitting import METHODS, default_engine, refuse_diverged
from ..remedies import REMEDIES, remedies
from ..report.kind import Tables
from ..report.run import REPORTS
from .course_edges import edges_beside, write_edges_beside
from .infer_cells import CellsRead, read, with_method
from .infer_checks import check, check_fit
from .infer_job import Job
from .infer_kinds import INFERS
from .infer_notes import (
    say_preflight,
    say_truth,
    with_evidence_notes,
    with_point_notes,
    with_scale_notes,
)
from .infer_options import InferOptions
from .infer_tuning import check_calibrate, is_apart, recalibrated, trial, why_not
from .method_options import check_settings
from .options import check_kind, make_guide, parse_settings, pick_device
from .passes import told_passes
from .plan_lines import is_quick_to_time, planned, say_plan
from .run import REPORT_FILES, file_digest, page_of, same_run, versions, write_reports, write_results
from .run_folder import RunFolder
from .scheduler import check_scheduler, say_workers, workers_of
from .targets import read_targets
from .terminal import read_edges, say, say_interrupted

if TYPE_CHECKING:
    from distributed import Client


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
