"""Trainings on PHOENIX's simulated courses, in stacks (`train_many`).

Each is a row as soon as it ends, and rows that the results have are not made again.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ...inference.neural_ode.stacked import Job, train_many
from ...inference.neural_ode.training import Diverged, Trained
from ...inference.pruning import Sparsifier
from ...models.dynamics.phoenix_network import PhoenixNetwork
from ...models.dynamics.prior_loss import PriorLoss
from .phoenix_courses import Courses, scores
from .results import Results
from .training_rows import LAST, record

POINTS = 25  # of the prior loss in a step, see `Job`
STACK = 15  # trainings at once: more lie outside the cache
GATED = ("L0", "PathReg")  # in stacks of their own: gates cost as much as the weights


@dataclass(frozen=True)
class Wanted:
    """One row: a training, with PHOENIX's prior loss or without; ``task`` defaults to that of the courses. ``again``:
    for its network, though its row is there, which stays."""

    method: str
    seed: int
    make: Callable[[], Sparsifier]
    loss: bool = False
    network: Callable[[], PhoenixNetwork] | None = None  # default fresh weights of the seed
    share: float = 0.05  # of the prior loss
    patience: int = 40
    slack: float = 0.0
    task: str = ""
    again: bool = False


Dense = dict[tuple[str, bool, int], PhoenixNetwork]


def train_rows(results: Results, courses: Courses, wanted: Sequence[Wanted], dense: Dense) -> None:
    """Train what the results lack, in stacks; networks of method ``none`` are kept in ``dense``."""
    left = [w for w in wanted if w.again or results.value(w.task or courses.task, w.method, w.seed, LAST) is None]
    groups: dict[tuple[bool, bool, int, float], list[Wanted]] = {}
    for each in left:
        kind = (each.loss, each.method.startswith(GATED), each.patience, each.slack)
        groups.setdefault(kind, []).append(each)
    for (loss, _, patience, slack), group in groups.items():
        extra = PriorLoss(courses.prior(signed=True)) if loss else None
        for stack in (group[at : at + STACK] for at in range(0, len(group), STACK)):
            jobs = [
                Job(
                    w.network() if w.network else courses.network(w.seed),
                    courses.training,
                    courses.validation,
                    w.make(),
                    extra_loss=extra,
                    extra_share=w.share,
                    extra_points=POINTS if loss else None,
                    seed=w.seed,
                )
                for w in stack
            ]
            with suppress(Diverged):  # all of them at once: their rows say so
                train_many(jobs, patience=patience, slack=slack, done=partial(keep, results, courses, stack, dense))


def keep(
    results: Results,
    courses: Courses,
    stack: Sequence[Wanted],
    dense: Dense,
    number: int,
    fitted: Trained[PhoenixNetwork],
) -> None:
    """A row of what has ended; of what blew up in its first epoch, an infinite error and no other score."""
    one, epochs = stack[number], len(fitted.history.train)
    task = one.task or courses.task
    if one.method.startswith("none"):
        dense[courses.task, one.loss, one.seed] = fitted.network
    if one.again and results.value(task, one.method, one.seed, LAST) is not None:
        return
    if epochs:
        made = scores(courses, fitted, fitted.history.seconds.sum(), epochs)
    else:
        made = {"validation MSE": fitted.validation, "epochs": 0.0, "seconds": 0.0, LAST: 0.0}
    record(results, task, one.method, one.seed, made)
