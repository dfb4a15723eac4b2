"""``pyrogrn plan``: what ``pyrogrn infer`` would take, without doing it."""

import inspect
from typing import Any

from ..importing import importing
from .infer_command import infer_command


def plan_command(**given: Any) -> None:
    """What the same command with `infer` would take: cells, genes and regulators found, time from timed steps, memory,
    and what would be written.

    Takes the options of `infer`; --out may be left out. A run that does not fit is refused, with how many genes would;
    their names, the most variable first, are printed, one a line: a file for --targets.
    """
    with importing():
        import torch  # here, with all below: --help is quick

        from ..files.variable_genes import most_variable
        from .infer_cells import with_method
        from .infer_checks import check
        from .infer_options import InferOptions
        from .infer_run import prepared, read_job
        from .passes import told_passes
        from .plan_lines import Unfit, planned, say_plan
        from .targets import takes_targets
        from .terminal import result, say

    options, before = with_method(InferOptions(**given))
    check(options)
    if options.method == "celloracle":
        raise ValueError("--method celloracle chooses an engine for each context while it runs: it has no plan")
    torch.set_num_threads(options.threads)
    with told_passes():
        job = read_job(options, before)
        model, data, engine = prepared(options, job)
    if options.scheduler is not None:
        say("time and memory are those of this machine alone: the scheduler is not asked")
    cells = data.to(job.device) if engine.reads_cells else None
    try:
        run = planned(options, job, model, engine, cells, timed=True)
    except Unfit as unfit:
        if takes_targets(options.method, type(model)):
            wanted = set(model.coords["target"])
            for gene in [gene for gene in most_variable(data) if gene in wanted][: unfit.targets]:
                result(gene)
        raise
    say_plan(run, job.kind, options.out)


def _options() -> inspect.Signature:
    """Those of `infer`, of which ``--out`` is optional."""
    signature = inspect.signature(infer_command)
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in signature.parameters.values()]
    return signature.replace(
        parameters=[p.replace(default=None) if p.name == "out" else p for p in parameters], return_annotation=None
    )


plan_command.__signature__ = _options()  # type: ignore[attr-defined]  # what typer reads the options from
plan_command.__annotations__ = dict(infer_command.__annotations__)
