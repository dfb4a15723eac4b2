"""What a fit will take, from its first steps: for whoever has to wait for it."""

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from ...models import ExpressionData, Model
from ..runs.callbacks import FitState
from ..runs.run import Run
from .base import Engine

CYCLE = 3  # steps within which the moves of a sampler come round: the last so many are averaged
FEWEST, MOST = 6, 12  # steps to take: the first of a traced objective are not like the others
QUICK = CYCLE + 1  # that suffice where there is nothing to trace
ENOUGH, TOO_LONG = 0.3, 2.0  # seconds after which the fewest will do, and after which two will


class EnginePlan(NamedTuple):
    """What a fit will take.

    Attributes
    ----------
    num_steps
        Steps, or sweeps, at the most; 0 where none was timed.
    seconds
        Of one of them; NaN where none was timed.
    num_bytes
        Memory at its peak, beside the model and the data.
    draws
        Seconds of the draws that follow the steps; 0 where they are soon made, or were not timed.
    """

    num_steps: int
    seconds: float
    num_bytes: float
    draws: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of all steps and of the draws that follow them."""
        return self.num_steps * self.seconds + self.draws


def plan_of(engine: Engine, model: Model, data: ExpressionData | None, run: Run, *, timed: bool = True) -> EnginePlan:
    """Memory as the engine says (`Engine.num_bytes`), and time from its first steps, which are thrown away.

    Parameters
    ----------
    engine, model, data, run
        As for ``engine.run(model, data, run)``.
    timed
        Default. Otherwise nothing is computed.
    """
    num_bytes = engine.num_bytes(model, run)
    if not timed:
        return EnginePlan(0, math.nan, num_bytes)
    parts = engine.parts_to_time(model)
    if parts:
        timed_parts = [(part.size, _timed(part.engine, part.model, None, run)) for part in parts]
        total, seconds = _from_parts(timed_parts, len(model.coords[model.axes[1]]))
        return EnginePlan(total, seconds * parts[0].times, num_bytes)
    clock = _timed(engine, model, data, run)
    return EnginePlan(clock.total, clock.seconds, num_bytes, engine.seconds_of_draws(model, data, run))


def _timed(engine: Engine, model: Model, data: ExpressionData | None, run: Run) -> "_Clock":
    """The first steps of a run."""
    clock = _Clock(QUICK if engine.draws_chains else FEWEST)
    with suppress(_Enough):
        engine.run(model, data, run.replaced(callbacks=(clock,), resume=None))
    return clock


def _from_parts(timed: "Sequence[tuple[int, _Clock]]", number: int) -> tuple[int, float]:
    """Steps, and seconds of one with a number of targets: what all share, and as much for each target. The smaller part
    is not believed to cost more than its share of the larger: on a busy machine it may."""
    (few, first), (many, second) = timed
    slope = (second.seconds - first.seconds) / (many - few)
    slope = min(max(slope, 0.5 * second.seconds / many), second.seconds / many)
    return second.total, second.seconds + slope * (number - many)


class _Enough(Exception):
    """Ends a run whose first steps have been timed."""


class _Clock:
    """Notes when steps end, and ends the run after some of them."""

    def __init__(self, fewest: int) -> None:
        self.fewest = fewest
        self.times: list[float] = []
        self.total = 0

    def __call__(self, state: FitState) -> None:
        self.times.append(time.perf_counter())
        self.total = state.total
        number, passed = len(self.times), self.times[-1] - self.times[0]
        if number >= MOST or (number >= self.fewest and passed >= ENOUGH) or (number > 1 and passed >= TOO_LONG):
            raise _Enough

    def close(self) -> None:
        """Nothing is open."""

    @property
    def seconds(self) -> float:
        """Of a step, mean of the last; the first, with what has to be set up, does not count. NaN with fewer than
        two."""
        last = self.times[-CYCLE - 1 :]
        return (last[-1] - last[0]) / (len(last) - 1) if len(last) > 1 else math.nan
