"""What ``pyrogrn infer`` does: check, read, fit, write."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ..inference import Amortised, Bagging, Posterior, Progress, default_guide, fit
from ..inference.amortised import KINDS
from ..inference.diagnostics import verdict
from ..models import MODELS, ExpressionData, FactorModel, LinearNetwork, Model, MuVI, Symphony
from ..models.data.panel import panel_notes
from ..models.relaxation import time_notes
from .annotated import check_annotate, write_annotated
from .celloracle_run import run_celloracle
from .method_options import EDGE_PRIOR_OF, TIME_COURSES, check_method_options, check_settings
from .options import (
    check_kind,
    make_edge_prior,
    make_guide,
    make_loading_prior,
    parse_columns,
    parse_likelihoods,
    parse_settings,
    pick_device,
    read_evidence,
    read_gene_sets,
    read_priors,
)
from .readers import read_expression, read_kinds, read_names
from .run import RunFolder, file_digest, versions, write_outputs
from .terminal import read_edges, say

METHODS: dict[str, Any] = {
    **{model.name: model for model in MODELS},
    **dict.fromkeys(KINDS, LinearNetwork),
    "celloracle": LinearNetwork,
}
# options that only some methods take
OF_SOME = (
    *("tfs", "prior", "edge_prior", "evidence", "evidence_list", "context_key", "perturbation_key", "truth"),
    *("time_key", "trajectory_key", "inputs", "nodes", "guide", "restarts", "steps", "resume"),
    *("factors", "loading_prior", "covariates", "missing", "annotate", "gene_sets", "likelihood", "min_overlap"),
)


@dataclass(frozen=True)
class InferOptions:
    """All options of ``pyrogrn infer`` by their Python names; `infer_command` declares them with their meaning and
    defaults."""

    expression: list[Path]
    out: Path
    method: str
    tfs: Path | None
    evidence: list[str] | None
    evidence_list: list[str] | None
    prior: list[str] | None
    edge_prior: str | None
    factors: int | None
    gene_sets: list[str] | None
    loading_prior: str | None
    covariates: str | None
    likelihood: list[str] | None
    missing: bool
    min_overlap: int | None
    annotate: Path | None
    layer: str | None
    normalize: str
    context_key: str | None
    perturbation_key: str | None
    time_key: str | None
    trajectory_key: str | None
    inputs: Path | None
    nodes: Path | None
    drop_constant: bool
    guide: str | None
    restarts: int | None
    steps: int | None
    seed: int
    device: str
    threads: int
    level: float
    top: int | None
    truth: Path | None
    settings: list[str] | None
    overwrite: bool
    resume: bool


def infer(options: InferOptions) -> None:
    """Run the command.

    Raises
    ------
    ValueError, FileNotFoundError
        Anything that a user can mend; nothing half-written is left, except a checkpoint to resume from.
    """
    check(options)
    torch.set_num_threads(options.threads)
    run = RunFolder(options.out, overwrite=options.overwrite, resume=options.resume)
    device = pick_device("cpu" if options.method == "celloracle" else options.device)
    groups = parse_settings(options.settings or [])
    check_settings(options.method, groups)
    chosen = model_options(options, groups)
    known = pd.DataFrame(read_edges(options.truth)) if options.truth is not None else None
    data = read(options)
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
        config["prior_files"] = list(options.prior or [])
        written = run_celloracle(
            run,
            data,
            chosen["networks"],
            groups["model"],
            config=config,
            level=options.level,
            top=options.top,
            truth=known,
            seed=options.seed,
            say=say,
        )
        for name, folder, checked in written:
            say(f"{name}: {checked}")
            say(f"{folder}/report.html")
        return
    model = METHODS[options.method].from_data(data, **chosen).to(device)
    data = with_evidence_notes(model, data)
    say_matching(model)
    default = Amortised(options.method) if options.method in KINDS else default_guide(model)
    engine = make_guide(options.guide, groups["guide"], default, restarts=options.restarts, steps=options.steps)
    if options.method in KINDS:
        check_kind(options.method, engine.weights)
    cells = data.to(device) if options.method in KINDS or isinstance(engine, Bagging) else None
    checkpoint = run.open()
    try:
        posterior = fit(
            model,
            cells,
            guide=engine,
            num_steps=3000 if options.steps is None else options.steps,
            restarts=4 if options.restarts is None else options.restarts,
            seed=options.seed,
            callbacks=(Progress(), checkpoint),
            resume=run.resumed,
            **groups["fit"],
        ).with_notes(data.notes)
        if posterior.history.reason.startswith("diverged"):
            raise ValueError(
                f"the fit {posterior.history.reason}: try another --seed, a smaller step "
                "(--guide mean-field), or check the data for extreme values"
            )
        config |= {"guide": repr(engine), **described(options, model, chosen)}
        checks = write(options, run.partial, posterior, data, config, known, chosen.get("gene_sets"))
        run.close()
    except KeyboardInterrupt:
        say(f"interrupted; the state is in {run.partial}, continue with --resume")
        raise
    except BaseException:
        run.discard()
        raise
    say(verdict(checks))
    say(f"{options.out}/report.html")


# -- before anything is computed ----------------------------------------
def check(options: InferOptions) -> None:
    """Refuse options of other methods, and numbers out of range."""
    if options.method not in METHODS:
        raise ValueError(f"unknown method {options.method!r}: choose one of {', '.join(METHODS)}")
    given = {"--" + name.replace("_", "-"): getattr(options, name) for name in OF_SOME}
    given["--device"] = None if options.device in ("auto", "cpu") else options.device
    check_method_options(options.method, METHODS[options.method], given)
    if not 0 < options.level < 1:
        raise ValueError(f"--level {options.level}: expected a probability strictly between 0 and 1")
    for name in ("restarts", "steps", "top", "min_overlap", "threads"):
        number = getattr(options, name)
        if number is not None and number < 1:
            raise ValueError(f"--{name.replace('_', '-')} {number}: expected at least 1")
    fewest = 0 if options.gene_sets else 1
    if options.factors is not None and options.factors < fewest:
        raise ValueError(f"--factors {options.factors}: expected at least {fewest}")
    if options.annotate is not None:
        check_annotate(options.annotate, options.expression, overwrite=options.overwrite)


def model_options(options: InferOptions, groups: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the model is made with, beside the data; files of knowledge are read."""
    if issubclass(METHODS[options.method], FactorModel):
        return _program_options(options, groups)
    networks = read_priors(options.prior or [])
    # the penalties of NetREX-CF are in its own units
    own = options.method == "netrex-cf" and options.edge_prior is None and not groups["prior"]
    prior = None if own else make_edge_prior(edge_prior_name(options), groups["prior"])
    chosen: dict[str, Any] = {"edge_prior": prior, "networks": networks, **groups["model"]}
    if options.nodes is not None:
        chosen["kinds"] = read_kinds(options.nodes)
    if options.method == "symphony":
        chosen["evidence"] = read_evidence(options.evidence or [], options.evidence_list or [])
    return chosen


def edge_prior_name(options: InferOptions) -> str:
    """As the command line names it."""
    return options.edge_prior or EDGE_PRIOR_OF.get(options.method, "spike-slab")


def _program_options(options: InferOptions, groups: dict[str, dict[str, Any]]) -> dict[str, Any]:
    chosen: dict[str, Any] = {} if options.factors is None else {"num_factors": options.factors}
    loading_prior = options.loading_prior
    if loading_prior is None and groups["prior"]:
        loading_prior = "horseshoe" if METHODS[options.method] is MuVI else "normal"
    if loading_prior is not None:
        chosen["loading_prior"] = make_loading_prior(loading_prior, groups["prior"])
    if options.gene_sets:
        chosen["gene_sets"] = read_gene_sets(options.gene_sets)
    if options.likelihood:
        chosen["likelihood"] = parse_likelihoods(options.likelihood)
    if options.min_overlap is not None:
        chosen["min_overlap"] = options.min_overlap
    return chosen


# -- data ----------------------------------------
def read(options: InferOptions) -> ExpressionData:
    """The cells, with what is worth saying about them; says how many there are."""
    data = read_expression(
        options.expression,
        tfs=read_names(options.tfs) if options.tfs is not None else None,
        layer=options.layer,
        normalize=options.normalize,
        context_key=options.context_key,
        perturbation_key=options.perturbation_key,
        drop_constant=options.drop_constant,
        covariates=parse_columns(options.covariates),
        missing=options.missing,
        inputs=options.inputs,
        time_key=options.time_key,
        trajectory_key=options.trajectory_key,
    )
    if options.method in TIME_COURSES:
        data = data.with_missing(data.missing, *time_notes(data))
    if options.method == "factorbox":
        data = data.with_missing(data.missing, *panel_notes(data))
    for note in data.notes:
        say(note)
    views, groups, columns = len(data.view_names), data.num_contexts, len(data.covariate_names)
    if issubclass(METHODS[options.method], FactorModel):
        parts = f"{views} view(s), {groups} group(s), {columns} covariate(s)"
    else:
        parts = f"{len(data.tfs)} candidate regulators, {groups} context(s)"
    say(f"{data.num_cells} cells, {data.num_genes} genes, {parts}")
    return data


def with_evidence_notes(model: Model, data: ExpressionData) -> ExpressionData:
    """What of the evidence was not used goes to the report with the notes of the data."""
    if not isinstance(model, Symphony):
        return data
    for note in model.evidence_notes:
        say(note)
    return data.with_missing(data.missing, *model.evidence_notes)


def say_matching(model: Model) -> None:
    """How much of each source of knowledge was found among the genes."""
    for report in model.knowledge.reports.values():
        say(f"{report.name}: {report.sources_matched} gene sets" if isinstance(model, FactorModel) else str(report))


# -- results ----------------------------------------
def described(options: InferOptions, model: Model, chosen: dict[str, Any]) -> dict[str, Any]:
    """What config.json says of the model."""
    if isinstance(model, FactorModel):
        return {
            "factors": model.coords["factor"],
            "gene_sets": {name: len(sets) for name, sets in chosen.get("gene_sets", {}).items()},
            "gene_set_files": list(options.gene_sets or []),
            "loading_prior": type(model.edge_prior).__name__,
            "covariates": parse_columns(options.covariates),
            "likelihood": chosen.get("likelihood", "gaussian"),
        }
    return {
        "priors": {name: len(network) for name, network in chosen["networks"].items()},
        "prior_files": list(options.prior or []),
        "edge_prior": edge_prior_name(options),
    }


def write(
    options: InferOptions,
    folder: Path,
    posterior: Posterior,
    data: ExpressionData,
    config: dict[str, Any],
    known: pd.DataFrame | None,
    libraries: Any,
) -> pd.DataFrame:
    """All files; the diagnostics table."""
    checks = write_outputs(
        folder,
        posterior,
        data,
        level=options.level,
        top=options.top,
        config=config,
        truth=known,
        gene_sets=libraries or None,
        min_overlap=5 if options.min_overlap is None else options.min_overlap,
    )
    if options.annotate is not None:
        write_annotated(posterior, data, options.expression[0], options.annotate)
    return checks
