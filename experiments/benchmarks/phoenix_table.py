"""The DASH paper's Tables 1, 4, 5, 6 and 7 both ways: every sparsifier with PHOENIX's own prior loss and without,
penalties chosen on the validation set (B.9.3), post-hoc pruning with fine-tuning (B.9.2).

Trainings run in stacks (`train_many`); each is a row as soon as it ends, and rows of the file are not run again.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ...inference.pruning import (
    DASH,
    IMP,
    BioPruning,
    Magnitude,
    NoPruning,
    Sparsifier,
    one_standard_error,
)
from ...inference.pruning.magnitude import GRID
from .phoenix_courses import SEEDS, Courses
from .phoenix_penalties import STRENGTHS, penalty, trial
from .phoenix_published import PAPER, add_paper
from .phoenix_stacks import Dense, Wanted, train_rows
from .results import Results
from .training_rows import LAST, record, summarise

LAMBDA = 0.3  # of DASH, its default; balanced accuracy of trial runs was known when it was set
# the penalties: least validation error on SIM350, 5% noise, first seed, prior loss on, as in the baselines of the paper
CHOSEN_ON = "SIM350, noise 5%"


def named(method: str, loss: bool) -> str:
    """A method, or the same with the prior loss."""
    return f"{method}, prior loss" if loss else method


# -- penalties ----
def found(results: Results, method: str) -> dict[str, float]:
    """Scores of a training that chose."""
    rows = [r for r in results.rows if (r["task"], r["method"], str(r["seed"])) == (CHOSEN_ON, method, "0")]
    return {str(row["score"]): float(row["value"]) for row in rows}


def choose(results: Results, folder: Path) -> dict[str, tuple[float, ...]]:
    """Strengths by the paper's rule, each training a row."""
    all_of = [(method, strength) for method, grid in STRENGTHS.items() for strength in grid]
    if any(results.value(CHOSEN_ON, trial(*each), 0, LAST) is None for each in all_of):
        wanted = [Wanted(trial(m, s), 0, partial(penalty, m, s), loss=True) for m, s in all_of]
        train_rows(results, Courses.read(folder / "sim350", "5%"), wanted, {})
    chosen = {}
    for method, grid in STRENGTHS.items():
        errors = {s: results.value(CHOSEN_ON, trial(method, s), 0, "validation MSE") for s in grid}
        chosen[method] = min((e, s) for s, e in errors.items() if e is not None)[1]
        if results.value(CHOSEN_ON, f"{method}, choice", "all", "strength 0") is None:
            for layer, value in enumerate(chosen[method]):
                results.add(CHOSEN_ON, f"{method}, choice", "all", f"strength {layer}", value)
    return chosen


# -- tables ----
def plain(results: Results, folder: Path, data: str, noise: str, loss: bool, dense: Dense) -> None:
    """What has no strength to choose, with the prior loss or without."""
    courses = Courses.read(folder / data, noise)
    prior = courses.prior()
    made: dict[str, Callable[[], Sparsifier]] = {
        "none": NoPruning,
        "IMP": IMP,
        "BioPruning": lambda: BioPruning(prior),
        "DASH": lambda: DASH(prior, strength=LAMBDA),
    }
    wanted = [Wanted(named(method, loss), seed, make, loss) for method, make in made.items() for seed in SEEDS]
    train_rows(results, courses, wanted, dense)
    for method in made:
        summarise(results, courses.task, named(method, loss), SEEDS)


def penalised(results: Results, folder: Path, data: str, noise: str, loss: bool) -> None:
    """L0, C-NODE and PathReg at the strengths chosen."""
    courses, chosen = Courses.read(folder / data, noise), choose(results, folder)
    if courses.task == CHOSEN_ON and loss:  # the trainings that chose are those of the first seed
        for method, strength in chosen.items():
            if results.value(courses.task, named(method, loss), SEEDS[0], LAST) is None:
                record(results, courses.task, named(method, loss), SEEDS[0], found(results, trial(method, strength)))
    wanted = [
        Wanted(named(method, loss), seed, partial(penalty, method, strength), loss)
        for method, strength in chosen.items()
        for seed in SEEDS
    ]
    train_rows(results, courses, wanted, {})
    for method in chosen:
        summarise(results, courses.task, named(method, loss), SEEDS)


def factors(results: Results, folder: Path) -> None:
    """DASH with the prior loss, one thing changed at a time: why it loses balanced accuracy (Table 6)."""
    courses = Courses.read(folder / "sim350", "5%")
    prior = courses.prior()
    dash = lambda **options: lambda: DASH(prior, **{"strength": LAMBDA, **options})
    changed: dict[str, dict[str, Any]] = {
        "share 0.01": {"make": dash(), "share": 0.01},
        "share 0.001": {"make": dash(), "share": 0.001},
        "lambda 0.1": {"make": dash(strength=0.1)},
        "P as given, lambda 0.3 and 0.01": {"make": dash(prior_scale="given", strength=(0.3, 0.01))},
        "scores from ones": {"make": dash(initial_scores="ones")},
        "patience 100": {"make": dash(), "patience": 100},
        "sparsest within one standard error": {"make": dash(), "slack": 1.0},
    }
    wanted = [
        Wanted(f"DASH, prior loss, {name}", seed, loss=True, **options)
        for name, options in changed.items()
        for seed in SEEDS[:2]
    ]
    train_rows(results, courses, wanted, {})
    for name in changed:
        summarise(results, courses.task, f"DASH, prior loss, {name}", SEEDS[:2])


def post_hoc(results: Results, folder: Path, data: str, noise: str, loss: bool, dense: Dense) -> None:
    """Nine sparsities from each dense network, fine-tuned; the sparsest within one standard error of the best."""
    courses, method = Courses.read(folder / data, noise), named("post-hoc", loss)
    task = courses.task
    grid = [(share, seed) for share in GRID for seed in SEEDS]
    if any(results.value(task, named(f"post-hoc {p:g}", loss), seed, LAST) is None for p, seed in grid):
        if any((task, loss, seed) not in dense for seed in SEEDS):  # again, where an earlier call had made them
            stack = [Wanted(named("none", loss), seed, NoPruning, loss, again=True) for seed in SEEDS]
            train_rows(results, courses, stack, dense)
            summarise(results, task, stack[0].method, SEEDS)
        network = lambda seed: dense[task, loss, seed]
        wanted = [
            Wanted(named(f"post-hoc {p:g}", loss), seed, partial(Magnitude, p), loss, partial(network, seed))
            for p, seed in grid
        ]
        train_rows(results, courses, wanted, dense)
    value = lambda p, seed, score: results.value(task, named(f"post-hoc {p:g}", loss), seed, score)
    errors = pd.DataFrame(
        [{"fraction": p, "validation": value(p, seed, "validation MSE")} for p, seed in grid], dtype=float
    )
    share = one_standard_error(errors, by="fraction", prefer="largest")
    for seed in SEEDS:
        if results.value(task, method, seed, LAST) is None:
            rows = [
                r
                for r in results.rows
                if (r["task"], r["method"], str(r["seed"])) == (task, named(f"post-hoc {share:g}", loss), str(seed))
            ]
            whole_run = {str(r["score"]): float(r["value"]) for r in rows}
            for score in ("epochs", "seconds"):  # of the dense training and all nine
                parts = [value(p, seed, score) for p in GRID]
                whole = [*parts, results.value(task, named("none", loss), seed, score)]
                whole_run[score] = sum(part for part in whole if part is not None)
            record(results, task, method, seed, whole_run)
    summarise(results, task, method, SEEDS)


def steps(folder: Path, results: Results) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and runs of all parts, the most wanted first."""
    dense: Dense = {}
    settings = [("sim350", noise, loss) for noise in ("5%", "10%", "0%") for loss in (True, False)]
    settings += [("sim690", "5%", loss) for loss in (True, False)]
    first = settings[0]
    yield "plain sim350 5%, prior loss", partial(plain, results, folder, *first, dense)
    yield "penalties", lambda: print("penalties:", choose(results, folder))
    yield "penalised sim350 5%, prior loss", partial(penalised, results, folder, *first)
    yield "factors", partial(factors, results, folder)
    for data, noise, loss in settings:
        yield named(f"plain {data} {noise}", loss), partial(plain, results, folder, data, noise, loss, dense)
    for data, noise, loss in settings:
        yield named(f"penalised {data} {noise}", loss), partial(penalised, results, folder, data, noise, loss)
    for data, noise, loss in settings:
        yield named(f"post-hoc {data} {noise}", loss), partial(post_hoc, results, folder, data, noise, loss, dense)


def run(folder: Path, results: Results, only: Sequence[str] = ()) -> None:
    """All parts, or those of `steps` whose names begin so; continues the file of the results."""
    results.resume()
    for task in PAPER:
        add_paper(results, task)
    for name, step in steps(folder, results):
        if not only or any(name.startswith(start) for start in only):
            step()
