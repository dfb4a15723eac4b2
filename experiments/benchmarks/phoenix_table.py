"""The DASH paper's Tables 1, 4, 5, 6 and 7 both ways: every sparsifier with PHOENIX's own prior loss and without,
penalties chosen on the validation set (B.9.3), post-hoc pruning with fine-tuning (B.9.2).

Trainings run in stacks (`train_many`); each is a row as soon as it ends, and rows of the file are not run again.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from torch import Tensor

from ...inference.neural_ode.stacked import Job, train_many
from ...inference.neural_ode.training import Trained
from ...inference.pruning import (
    CNODE,
    DASH,
    IMP,
    BioPruning,
    HardConcrete,
    Magnitude,
    NoPruning,
    PathReg,
    Sparsifier,
    one_standard_error,
)
from ...inference.pruning.magnitude import GRID
from ...models.dynamics.phoenix_network import PhoenixNetwork
from ...models.dynamics.prior_loss import PriorLoss
from .phoenix import FIXED, LAST, SEEDS, Courses, add_paper, record, scores, summarise
from .results import Results

POINTS = 25  # of the prior loss in a step, see `Job`
STACK = 15  # trainings at once: more lie outside the cache
# the penalties' strengths: least validation error on SIM350, 5% noise, first seed, prior loss on (the paper's baselines)
CHOSEN_ON = "SIM350, noise 5%"
STRENGTHS: dict[str, list[tuple[float, ...]]] = {
    "L0": [(1e-4,), (1e-3,), (1e-2,), (1e-1,)],
    "C-NODE": [(1e-4,), (1e-3,), (1e-2,), (1e-1,)],
    "PathReg": list(itertools.product((1e-4, 1e-3, 1e-2), (1e-4, 1e-3, 1e-2))),
}
GATED = ("L0", "PathReg")  # in stacks of their own: gates cost as much as the weights


def named(method: str, loss: bool) -> str:
    """A method, or the same with the prior loss."""
    return f"{method}, prior loss" if loss else method


def penalty(method: str, strength: Sequence[float]) -> Sparsifier:
    """L0 (λ₀), C-NODE (λ₁), PathReg (λ₀, λ₁)."""
    if method == "PathReg":
        return PathReg(strength=strength[0], weight_strength=strength[1])
    return HardConcrete(strength=strength[0]) if method == "L0" else CNODE(strength=strength[0])


@dataclass(frozen=True)
class Wanted:
    """One row: a training, with PHOENIX's prior loss or without."""

    method: str
    seed: int
    make: Callable[[], Sparsifier]
    loss: bool
    network: Callable[[], PhoenixNetwork] | None = None  # default fresh weights of the seed


Dense = dict[tuple[str, bool, int], PhoenixNetwork]


def train_rows(results: Results, courses: Courses, wanted: Sequence[Wanted], dense: Dense) -> None:
    """Train what the results lack, in stacks; networks of method ``none`` are kept in ``dense``."""
    left = [w for w in wanted if results.value(courses.task, w.method, w.seed, LAST) is None]
    groups: dict[tuple[bool, bool], list[Wanted]] = {}
    for each in left:
        groups.setdefault((each.loss, each.method.startswith(GATED)), []).append(each)
    signed = courses.prior(signed=True)
    for (loss, _), group in groups.items():
        for stack in (group[at : at + STACK] for at in range(0, len(group), STACK)):
            extra = PriorLoss(signed) if loss else None
            jobs = [
                Job(
                    w.network() if w.network else courses.network(w.seed),
                    courses.training,
                    courses.validation,
                    w.make(),
                    extra_loss=extra,
                    extra_points=POINTS if loss else None,
                    seed=w.seed,
                )
                for w in stack
            ]
            train_many(jobs, done=partial(keep, results, courses, stack, dense))


def keep(
    results: Results,
    courses: Courses,
    stack: Sequence[Wanted],
    dense: Dense,
    number: int,
    fitted: Trained[PhoenixNetwork],
) -> None:
    """A row of what has ended."""
    one, epochs = stack[number], len(fitted.history.train)
    if one.method.startswith("none"):
        dense[courses.task, one.loss, one.seed] = fitted.network
    record(results, courses.task, one.method, one.seed, scores(courses, fitted, fitted.history.seconds.sum(), epochs))


# -- penalties ----
def choose(results: Results, folder: Path) -> dict[str, tuple[float, ...]]:
    """Strengths by the paper's rule, each training a row."""
    trial = lambda method, strength: f"{method}, choice: {', '.join(f'{s:g}' for s in strength)}"
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
def makers(prior: Tensor, chosen: dict[str, tuple[float, ...]]) -> dict[str, Callable[[], Sparsifier]]:
    """Every sparsifier that trains once."""
    plain: dict[str, Callable[[], Sparsifier]] = {
        "none": NoPruning,
        "IMP": IMP,
        "BioPruning": lambda: BioPruning(prior),
        "DASH": lambda: DASH(prior, strength=FIXED),
    }
    return plain | {method: partial(penalty, method, strength) for method, strength in chosen.items()}


def table(results: Results, folder: Path, data: str, noise: str, loss: bool, dense: Dense) -> None:
    """All methods but the post-hoc one, with the prior loss or without."""
    courses, chosen = Courses.read(folder / data, noise), choose(results, folder)
    add_paper(results, courses.task)
    made = makers(courses.prior(), chosen)
    wanted = [Wanted(named(method, loss), seed, make, loss) for method, make in made.items() for seed in SEEDS]
    train_rows(results, courses, wanted, dense)
    for method in made:
        summarise(results, courses.task, named(method, loss), SEEDS)


def post_hoc(results: Results, folder: Path, data: str, noise: str, loss: bool, dense: Dense) -> None:
    """Nine sparsities from each dense network, fine-tuned; the sparsest within one standard error of the best."""
    courses, method = Courses.read(folder / data, noise), named("post-hoc", loss)
    task = courses.task
    grid = [(share, seed) for share in GRID for seed in SEEDS]
    if any(results.value(task, named(f"post-hoc {p:g}", loss), seed, LAST) is None for p, seed in grid):
        if any((task, loss, seed) not in dense for seed in SEEDS):  # again, where an earlier call had made them
            stack = [Wanted(named("none", loss), seed, NoPruning, loss) for seed in SEEDS]
            results.rows = [
                r for r in results.rows if (r["task"], r["method"]) != (task, stack[0].method) or r["seed"] == "paper"
            ]
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
            found = {str(r["score"]): float(r["value"]) for r in rows}
            for score in ("epochs", "seconds"):  # of the dense training and all nine
                parts = [value(p, seed, score) for p in GRID]
                whole = [*parts, results.value(task, named("none", loss), seed, score)]
                found[score] = sum(part for part in whole if part is not None)
            record(results, task, method, seed, found)
    summarise(results, task, method, SEEDS)


def steps(folder: Path, results: Results) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and runs of all parts, the most wanted first."""
    dense: Dense = {}
    yield "penalties", lambda: print("penalties:", choose(results, folder))
    settings = [("sim350", "5%"), ("sim350", "10%"), ("sim350", "0%"), ("sim690", "5%")]
    for data, noise in settings:
        for loss in (True, False):
            yield named(f"{data} {noise}", loss), partial(table, results, folder, data, noise, loss, dense)
    for data, noise in settings:
        for loss in (True, False):
            yield (
                named(f"post-hoc {data} {noise}", loss),
                partial(post_hoc, results, folder, data, noise, loss, dense),
            )


def run(folder: Path, results: Results, only: Sequence[str] = ()) -> None:
    """All parts, or those of `steps` whose names begin so; continues the file of the results."""
    results.resume()
    for name, step in steps(folder, results):
        if not only or any(name.startswith(start) for start in only):
            step()
