"""What ``pyrogrn calibrate`` does: check, read, climb, write."""

import inspect
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...inference.recalibration import TrialOptions
from ..files.known_names import known_names
from ..files.scale_notes import expects_of
from ..files.whole import check_place, whole_folder
from ..fitting import METHODS, default_engine
from ..ladder import Calibration, UserPath, calibrate
from ..ladder.output import write
from ..ladder.path import check_tried
from ..ladder.run import MOVED
from .ablate_command import numbers, whole_numbers
from .infer_cells import read
from .infer_checks import check, check_fit
from .infer_command import infer_command
from .infer_kinds import INFERS
from .infer_notes import with_scale_notes
from .infer_options import InferOptions
from .method_options import check_settings
from .options import check_kind, make_guide, parse_settings, pick_device
from .partners import OF_CALIBRATE, check_partners, options_of
from .run import file_digest, versions
from .terminal import say

OWN = ("targets", "worlds", "rungs", "hidden", "moved")
"""Options that `infer` does not have."""
MADE = "rows.csv"  # in a folder that this command made


def run(given: Mapping[str, Any]) -> None:
    """Run the command with its options by their Python names.

    Raises
    ------
    ValueError, FileNotFoundError
        Anything that a user can mend; nothing half-written is left.
    """
    rungs = whole_numbers("--rungs", given["rungs"])
    moved = list(MOVED) if given["moved"] is None else numbers("--moved", given["moved"])
    options = as_of_infer(given)
    check_tried(options.method)
    check(options)
    check_partners(OF_CALIBRATE, options_of(given))
    check_numbers(given, moved)
    check_out(options.out, overwrite=options.overwrite)
    torch.set_num_threads(options.threads)
    groups = parse_settings(options.settings or [])
    check_settings(options.method, groups)
    chosen = INFERS["network"].model_options(options, METHODS[options.method], groups)
    networks = chosen.pop("networks")
    data = read(options, known_names(networks))
    data = with_scale_notes(options, data, expects_of(options.method))
    path = path_of(options, groups, chosen)
    model = path.model(data, networks)  # what does not go together is refused before anything is made
    engine: Any = path.engine(model)
    check_fit(groups["fit"], engine, model)
    if engine.learns_on_simulations:
        check_kind(options.method, engine.weights)
    result = calibrate(
        data,
        networks,
        rungs=rungs,
        hidden=given["hidden"],
        moved=moved,
        targets=given["targets"],
        worlds=given["worlds"],
        seed=options.seed,
        path=path,
        say=say,
    )
    config = {
        "method": options.method,
        "expression": {str(file): file_digest(file) for file in options.expression},
        "layer": options.layer,
        "normalize": options.normalize,
        "settings": list(options.settings or []),
        "prior_files": list(options.prior or []),
        "versions": versions(),
        "command": "pyrogrn " + " ".join(shlex.quote(a) for a in sys.argv[1:]),
    }
    write_folder(result, options.out, config)
    for note in result.notes:
        say(f"note: {note}")
    say(result.headline())
    say(f"{options.out}/report.html")


def write_folder(result: Calibration, out: Path, config: Mapping[str, Any]) -> None:
    """All files, or none."""
    with whole_folder(out) as place:
        write(result, place, config=config, title=f"Calibration: {Path(next(iter(config['expression']))).name}")


def as_of_infer(given: Mapping[str, Any]) -> InferOptions:
    """The options that `infer` has too, the others as it has them by default."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(infer_command).parameters.items()}
    shared = {name: value for name, value in given.items() if name not in OWN}
    return InferOptions(**(defaults | shared))


def path_of(options: InferOptions, groups: Mapping[str, Mapping[str, Any]], chosen: dict[str, Any]) -> UserPath:
    """The way from cells to edges that these options are."""
    return UserPath(
        options.method,
        chosen.pop("edge_prior"),
        model_options=chosen,
        make_engine=lambda model: make_guide(
            options.guide,
            groups["guide"],
            default_engine(options.method, model),
            restarts=options.restarts,
            steps=options.steps,
        ),
        restarts=options.restarts,
        steps=options.steps,
        fit_options=groups["fit"],
        trial=TrialOptions() if options.calibrate else None,
        device=pick_device(options.device),
    )


def check_numbers(given: Mapping[str, Any], moved: list[float]) -> None:
    """Refuse numbers out of range, and ``--moved`` where there is nothing to move."""
    for name in ("targets", "worlds"):
        if given[name] < 1:
            raise ValueError(f"--{name} {given[name]}: expected at least 1")
    if not 0 < given["hidden"] < 1:
        raise ValueError(f"--hidden {given['hidden']}: expected a share between 0 and 1")
    if not moved or not all(0 <= share <= 1 for share in moved):
        raise ValueError(f"--moved {given['moved']}: expected shares from 0 to 1, separated by commas")


def check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse a place where nothing can be made, or something else is."""
    check_place(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: choose another folder")
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise ValueError(
                f"--out {out} is not empty: choose another folder, or --overwrite to replace a calibration"
            )
        if not (out / MADE).is_file():
            raise ValueError(f"--out {out} holds something else than a calibration: choose another folder")
