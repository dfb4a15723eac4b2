"""DASH on PHOENIX's simulated time courses: its λ by cross-validation (B.4), and what a prior costs whose edges are
misplaced. The tables of all methods: `phoenix_table`.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...inference.pruning import DASH, BioPruning, Sparsifier, choose_strength
from ...models.data.transitions import Transitions
from .phoenix_courses import SEEDS, Courses
from .phoenix_stacks import Wanted, train_rows
from .results import Results, mean_se
from .training_rows import summarise

PRIOR_NOISES = (0.0, 0.05, 0.1, 0.2, 0.4)

# λ of DASH by validation error alone, on SIM350 with noise 5%, for the curve of misplaced priors; the tables have its
# default. The largest λ within one standard error of the best (over folds, of the difference), on a grid with
# equal λ for both layers: 12 fits on two thirds of the training trajectories; the seed is that of the fold.
GRID, FOLDS, SLACK = (0.1, 0.3, 0.5, 0.8), 3, 1.0
CHOICE = "DASH, choice of lambda"


@dataclass(frozen=True)
class Stored:
    """What `choose_strength` needs of a fit, from the results."""

    network: None
    validation: float
    sparsity: float


def chosen_strength(results: Results, courses: Courses) -> float:
    """λ by the rule at the top; each fit of a fold is a row, the fits of one fold a stack."""
    known = results.value(courses.task, CHOICE, "all folds", "lambda")
    if known is not None:
        return known
    prior, folds = courses.prior(), list(courses.training.folds(FOLDS, seed=0))
    for fold, (training, validation) in enumerate(folds):
        wanted = [Wanted(f"{CHOICE}: {value:g}", fold, partial(DASH, prior, strength=value)) for value in GRID]
        train_rows(results, replace(courses, training=training, validation=validation), wanted, {})

    def stored(sparsifier: Sparsifier, _training: Transitions, _validation: Transitions, fold: int) -> Stored:
        assert isinstance(sparsifier, DASH), "what the next lines ask for"
        name = f"{CHOICE}: {sparsifier.strength[0]:g}"
        error, zeros = (results.value(courses.task, name, fold, score) for score in ("validation MSE", "sparsity"))
        assert error is not None, "made above"
        return Stored(None, error, math.nan if zeros is None else zeros)  # of what blew up nothing else is known

    grid = [(value, value) for value in GRID]
    choice = choose_strength(stored, lambda s: DASH(prior, strength=s), folds, grid=grid, slack=SLACK)
    for strength in GRID:
        errors = choice.table.loc[[s[0] == strength for s in choice.table["strength"]], "validation"]
        results.add(courses.task, f"{CHOICE}: {strength:g}", "all folds", "validation MSE", *mean_se(errors.tolist()))
    results.add(courses.task, CHOICE, "all folds", "lambda", choice.strength[0])
    return choice.strength[0]


def prior_curve(results: Results, courses: Courses, strength: float) -> None:
    """DASH (three seeds) and BioPruning (one) against the share of the prior's edges that is misplaced; λ as it was
    chosen."""
    wanted: list[Wanted] = []
    for noise in PRIOR_NOISES:
        prior = courses.prior(noise)
        task = f"{courses.task}, prior noise {noise:.0%}"
        wanted += [Wanted("DASH", seed, partial(DASH, prior, strength=strength), task=task) for seed in SEEDS]
        wanted.append(Wanted("BioPruning", SEEDS[0], partial(BioPruning, prior), task=task))
        if results.value(task, "prior", 0, "share of true edges") is None:
            right = prior.numpy()[courses.truth].astype(bool).sum() / max(1, int((prior != 0).sum()))
            results.add(task, "prior", 0, "share of true edges", float(right))
    train_rows(results, courses, wanted, {})
    for task in dict.fromkeys(w.task for w in wanted):
        summarise(results, task, "DASH", SEEDS)


def run(folder: Path, results: Results) -> None:
    """λ, then the curve; continues the file of the results."""
    results.resume()
    courses = Courses.read(folder / "sim350", "5%")
    prior_curve(results, courses, chosen_strength(results, courses))
