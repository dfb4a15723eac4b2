"""What a run will take, in lines for the person at the terminal; a run that does not fit is refused before it."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...inference import plan
from ...inference.arviz_limits import MAX_DENSITY
from ...inference.engines.base import Engine
from ...inference.engines.plan import EnginePlan
from ...models import ExpressionData, Model
from ...models.data.memory import LEAST, available, resident
from ..files.network_tables import BIG
from .infer_job import Job
from .infer_kinds import InferKind
from .infer_options import InferOptions
from .infer_tuning import is_apart, trial_memory
from .targets import takes_targets
from .terminal import say

TABLE_BYTES = 300  # of memory for each row of a table of edges while it is made and written
REPORT_BYTES = 3e8  # of predictions, figures and the packages for both
DENSITY_BYTES = 200  # for each edge, of the joint density of one draw in float64
CHOICE_BYTES = 40  # for each edge of which those worth a row are chosen
# unknowns of a model from which steps are taken to tell the time of an engine that compiles them first
TIMED_FROM = 100_000


@dataclass(frozen=True)
class RunPlan:
    """What a run of ``engine`` on ``model`` takes: `EnginePlan`, rows of the table that is written, and bytes of its
    ``trial``, which goes on beside the fit or before it."""

    model: Model
    engine: Engine
    fit: EnginePlan
    num_rows: int
    trial: float = 0.0
    apart: bool = False

    @property
    def num_bytes(self) -> float:
        """Memory at its peak, beside the data and the model: of what the fit leaves, and the table or the report made
        of it (both, where they are made beside each other); or of the trial."""
        table = TABLE_BYTES * min(self.num_rows, BIG) + CHOICE_BYTES * self.num_rows
        density = DENSITY_BYTES * self.num_rows if self.num_rows <= MAX_DENSITY else 0.0
        page = REPORT_BYTES + density
        if not self.apart:
            return max(self.fit.num_bytes + max(table, page), self.trial)
        return self.fit.num_bytes + max(table + page, self.trial)  # the page is made beside the table

    def lines(self, kind: InferKind, out: Path | None) -> list[str]:
        """Time, memory, and what will be written."""
        name, steps = self.engine.name or type(self.engine).__name__, "sweeps" if self.engine.draws_chains else "steps"
        said = []
        if self.fit.num_steps and not math.isnan(self.fit.seconds):
            most = "" if self.engine.draws_chains else "at most "
            each = f"{self.fit.num_steps:,} {steps} of {duration(self.fit.seconds)}"
            draws = f", draws {duration(self.fit.draws)}" if self.fit.draws else ""
            bound = most if most and not draws else "about "  # draws of several restarts take longer than of one
            said.append(f"guide {name}: {most}{each}{draws}, {bound}{duration(self.fit.total)}")
        peak = resident() + self.num_bytes
        said.append(f"memory: about {size(peak)} at its peak, {size(available())} are free beside what is in use")
        said.append(f"writes {out or 'OUT'}: {', '.join(kind.writes(self.model, self.num_rows))}")
        return said

    def check(self, method: str) -> None:
        """Refuse what cannot fit, with what would.

        Raises
        ------
        ValueError
            It needs more memory than there is.
        """
        needed, there = self.num_bytes, available()
        if needed < LEAST or needed <= there:
            return
        fewer, targets = self.fitting_targets(there), len(self.model.coords[self.model.axes[1]])
        remedy = "use fewer genes, or --restarts 1"
        if self.trial > there:
            remedy, fewer = "use fewer cells or regulators, or --no-calibrate, which leaves out the trial", 0
        elif fewer and takes_targets(method, type(self.model)):
            remedy = f"--targets {fewer} would, the most variable of {targets} genes (`pyrogrn plan` lists them)"
        raise Unfit(
            f"this run does not fit: it needs about {size(needed)} of memory beside the data, and {size(there)} are "
            f"free: {remedy}",
            fewer,
        )

    def fitting_targets(self, there: float) -> int:
        """How many targets would fit into ``there`` bytes, with a tenth to spare: memory grows with their number."""
        number = len(self.model.coords[self.model.axes[1]])
        return min(number, math.floor(0.9 * number * there / self.num_bytes))


class Unfit(ValueError):
    """A run that needs more memory than there is; ``targets`` would fit."""

    def __init__(self, words: str, targets: int) -> None:
        super().__init__(words)
        self.targets = targets


def planned(
    options: InferOptions, job: Job, model: Model, engine: Engine, cells: ExpressionData | None, *, timed: bool
) -> RunPlan:
    """What a run takes; ``timed``: steps are taken to tell the time, after it is known that they fit.

    Raises
    ------
    ValueError
        It does not fit (`RunPlan.check`).
    """
    arguments: dict[str, Any] = {
        "guide": engine,
        "num_steps": options.steps,
        "restarts": options.restarts,
        "num_draws": job.groups["fit"].get("num_draws"),
        "seed": options.seed,
    }
    trial, apart = trial_memory(options, job, model, engine), is_apart(options, model, job.data)
    run = RunPlan(model, engine, plan(model, cells, timed=False, **arguments), job.kind.rows(model), trial, apart)
    run.check(options.method)
    return replace(run, fit=plan(model, cells, **arguments)) if timed else run


def is_quick_to_time(model: Model, engine: Engine) -> bool:
    """Whether the first steps cost nothing beside the run."""
    large = math.prod(len(model.coords[axis]) for axis in model.axes) >= TIMED_FROM
    # before the first step of a guide of programs these are arranged, which takes half as long as the fit
    return engine.quick_start or (large and (engine.draws_chains or model.infers != "programs"))


def say_plan(run: RunPlan, kind: InferKind, out: Path | None) -> None:
    """Its lines on the terminal."""
    for line in run.lines(kind, out):
        say(line)


def size(num_bytes: float) -> str:
    """``"1.2 GB"``."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{math.ceil(num_bytes / 1e6)} MB"


def duration(seconds: float) -> str:
    """``"3.1 h"``, ``"12 min"``, ``"5 s"``, ``"0.02 s"``."""
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 2 else f"{seconds:.2g} s"
