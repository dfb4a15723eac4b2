"""The trial of ``pyrogrn infer`` on made targets, and what it makes of probabilities (`inference.recalibration`)."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...inference import Posterior
from ...inference.draws.edge_table import RECORD
from ...inference.engines.base import Engine
from ...inference.misfit_checks import unmeasured
from ...inference.recalibration import TrialOptions, Tuning, tune
from ...inference.recalibration.cells import trial_bytes
from ...inference.recalibration.trial import MakeModel, no_trial
from ...inference.recalibration.tuning import Others
from ...inference.runs.beside import beside, can_fork
from ...models import ExpressionData, Model
from ...priors import PriorNetwork
from ..files.readers import in_memory
from ..wording import for_command_line
from .infer_job import Job
from .infer_options import InferOptions
from .terminal import say

if TYPE_CHECKING:
    from distributed import Client

REPLAY = "record"  # `--set calibrate.record=FILE`
# edges, and cells x genes, up to which the trial goes on beside the fit
MOST_EDGES, MOST_NUMBERS = 6_000_000, 100_000_000


def check_calibrate(options: InferOptions, settings: Mapping[str, Any]) -> None:
    """Refuse ``--set calibrate.NAME=VALUE`` that is unknown, of another kind, or of no use.

    Raises
    ------
    ValueError, FileNotFoundError
        Also where the method has no such trial, or ``--no-calibrate`` is given.
    """
    if not settings:
        return
    known = [field.name for field in fields(TrialOptions)]
    for name in settings:
        if name not in (*known, REPLAY):
            raise ValueError(f"--set calibrate.{name}: takes {', '.join(known)}, or {REPLAY}=FILE")
    if options.method != "linear":
        raise ValueError(
            f"--set calibrate.{next(iter(settings))}: --method {options.method} is not tried on made targets"
        )
    if not options.calibrate:
        raise ValueError(f"--set calibrate.{next(iter(settings))} does not go with --no-calibrate")
    if REPLAY in settings and len(settings) > 1:
        raise ValueError(f"--set calibrate.{REPLAY}: a recorded trial has its own settings, leave out the others")
    recorded(Path(str(settings[REPLAY]))) if REPLAY in settings else trial_options(settings)  # refuse what they would


def trial_options(settings: Mapping[str, Any]) -> TrialOptions:
    """From ``--set calibrate.NAME=VALUE``.

    Raises
    ------
    ValueError
        Values that are no numbers, or out of range.
    """
    chosen: dict[str, Any] = dict(settings)
    for name, value in chosen.items():
        whole = name not in ("cells", "heard", "hidden", "raised")
        if type(value) is not int and (whole or type(value) is not float):
            raise ValueError(f"--set calibrate.{name}={value}: expected a {'whole ' if whole else ''}number")
    if "cells" in chosen:
        chosen["cells"] = (float(chosen["cells"]),)
    if "heard" in chosen:
        chosen["heard"] = float(chosen["heard"]) or None
    return TrialOptions(**chosen)


class Tried(NamedTuple):
    """What the trial has found, None where none was possible; what it takes of real genes, where that was asked with
    it; and lines that say so."""

    found: Tuning | None
    others: Others | None
    said: tuple[str, ...]


@contextmanager
def trial(
    options: InferOptions, job: Job, model: Model, engine: Engine, data: ExpressionData
) -> Iterator[Callable[[], Tried]]:
    """The trial, or an earlier one whose record is given: beside what is done in the block where that gains time
    (`is_apart`), else before it. Yields what has to be called for what it has found (`Tried`), which is said."""
    because = why_not(options, model, engine, data)
    settings = job.groups["calibrate"]
    if because is not None or REPLAY in settings:
        if because is not None and options.method == "linear":
            say(f"note: probabilities are those of the model, not tried on made targets: {because}")
        yield lambda: Tried(None if because is not None else recorded(Path(str(settings[REPLAY]))), None, ())
        return
    say("trial on made targets: how often is what the fit says right?")
    apart = is_apart(options, model, data)
    with beside(lambda _: tried(options, job, model, data, others=apart), apart=apart) as task:
        done = None if apart else told(task.result())
        yield lambda: done or told(task.result())


def told(found: Tried) -> Tried:
    """The same, said."""
    for line in found.said:
        say(line)
    return found


def is_apart(options: InferOptions, model: Model, data: ExpressionData) -> bool:
    """Whether the trial, half of which is one thread's work whatever there is of them, goes on beside the fit: of cells
    in memory, of networks of which what both hold at the same time is not the most that a run holds."""
    edges = math.prod(len(model.coords[axis]) for axis in model.axes)
    small = edges <= MOST_EDGES and data.num_cells * data.num_genes <= MOST_NUMBERS
    on_cpu = model.constant.device.type == "cpu"
    return options.threads > 1 and options.scheduler is None and on_cpu and small and in_memory(data) and can_fork()


def trial_memory(options: InferOptions, job: Job, model: Model, engine: Engine) -> float:
    """Bytes that the trial takes beside the data and the model; 0 where there is none."""
    none = why_not(options, model, engine, job.data) is not None or REPLAY in job.groups["calibrate"]
    return 0.0 if none else trial_bytes(job.data, threads=options.threads)


def tried(options: InferOptions, job: Job, model: Any, data: ExpressionData, *, others: bool) -> Tried:
    """The trial; and, if ``others`` are wanted, what its map takes of real genes."""
    cells, networks = data.to("cpu"), job.chosen["networks"]
    asked = trial_options(job.groups["calibrate"])
    try:
        found = tune(cells, networks, make=maker(job), options=asked, seed=options.seed)
    except ValueError as error:  # the cells are fit for a network and not for a trial
        note = f"note: probabilities are those of the model, no trial was possible: {for_command_line(str(error))}"
        return Tried(None, None, (note,))
    some = found.settings["cells"] < data.num_cells
    on = f"note: the trial is on {found.settings['cells']:,} of {data.num_cells:,} cells, drawn at random"
    beside_it = found.others(model, cells, networks, make=maker(job)) if others else None
    return Tried(found, beside_it, (*([on] if some else []), in_words(found)))


def maker(job: Job) -> MakeModel:
    """Other cells and targets to the network that the options ask for."""

    def make(cells: ExpressionData, networks: Mapping[str, PriorNetwork], targets: Sequence[str]) -> Any:
        return job.model_class.from_data(cells, **{**job.chosen, "networks": networks, "targets": targets})

    return make


def why_not(options: InferOptions, model: Model, engine: Engine, data: ExpressionData) -> str | None:
    """Why there is no trial; None where there is one."""
    if not options.calibrate:
        return "--no-calibrate"
    if options.method != "linear":
        return f"--method {options.method} has none"
    return no_trial(model, engine, data.num_cells)


def in_words(found: Tuning) -> str:
    """What came out, in one line."""
    if not found.scores:
        return "the candidate regulators explain none of the genes in cells that were not fitted: no edge can be told"
    parts = []
    for name, what in (("raw", "as the model states them"), ("recalibrated", "recalibrated")):
        score = found.scores[name]
        wrong = "hold no edge" if score["wrong"] is None else f"are {score['wrong']:.0%} wrong"
        parts.append(f"{what}, lists at 10% {wrong} (calibration error {score['ece']:.2f})")
    shared = found.settings.get("shared")
    told = (
        f". {unmeasured(shared)}: edges into these are listed more cautiously" if shared and shared["factors"] else ""
    )
    return f"on made targets: {'; '.join(parts)}{told}"


def recorded(path: Path) -> Tuning:
    """The trial that the config.json of another run, or a file of `Tuning.to_dict`, has recorded.

    Raises
    ------
    ValueError, FileNotFoundError
        No such file, or no trial in it.
    """
    place = path / "config.json" if path.is_dir() else path
    if not place.is_file():
        raise FileNotFoundError(f"--set calibrate.{REPLAY}={path}: no such file")
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} cannot be read as JSON: {error}") from error
    if isinstance(values, dict) and isinstance(values.get(RECORD), dict):
        values = values[RECORD]
    if not isinstance(values, dict):
        raise ValueError(f"{place} holds no record of a trial: expected the config.json of a run of infer")
    return Tuning.from_dict(values)


def recalibrated(
    posterior: Posterior,
    tried: Tried,
    job: Job,
    data: ExpressionData,
    client: "Client | None" = None,
) -> tuple[Posterior, dict[str, Any]]:
    """The posterior as the trial corrects it, and what config.json says of it."""
    found = tried.found
    if found is None:
        return posterior, {RECORD: None}
    how: dict[str, Any] = {"make": maker(job), "client": client, "others": tried.others}
    return found.apply(posterior, data.to("cpu"), job.chosen["networks"], **how), {RECORD: found.to_dict()}
