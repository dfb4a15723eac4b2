"""The blocked guide of factor models: coordinate ascent in closed form, and draws that walk on from it."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import ExpressionData, FactorModel
from ...priors import Take
from ..draws.moments import Collector
from ..runs.history import History, random_state, set_random_state
from ..runs.run import Run
from ..runs.saving import restoring
from .cells import CellRound, CellStatistics
from .restarts import BESIDE, LOOK, Restarts, pack, unpack
from .start import arrange, start
from .sweep import FactorState, GramRound, Round
from .walk import collector_of, draw, num_drawn, rounds_before, timed_walk

TOLERANCE = 1e-7  # nats a value (cell × gene) gained by a round, and at least a hundredth: below it a fit has settled
STEP_POWER, STEP_DELAY = 0.7, 1.0  # of minibatches: the t-th counts (t + delay)^-power (Hoffman et al. 2013)


def ascend(model: FactorModel, data: ExpressionData | None, run: Run, refresh: int | None) -> tuple[Collector, History]:
    """Fit by coordinate ascent, then draw.

    Every factor of q is optimal given the others, in closed form: of each gene the joint Gaussian q(w_j, β_j), of each
    cell q(x), of each scale and noise variance an inverse gamma. Then draws of q walk on by rounds of the exact
    conditionals, ``refresh`` of them before the first is kept, which bring back what a product of factors loses, the
    dependence of (W, β, Γ) on where all the factors stand: every round brings the draws closer to the posterior in
    Kullback–Leibler divergence.
    """
    started = time.monotonic()
    resume, batch_size, place = run.resume, run.batch_size, model.constant.device
    engine = _engine(model, data, run)
    cell_round = engine if isinstance(engine, CellRound) else None
    refresh = rounds_before(engine, run, refresh)
    record: list[np.ndarray] = []
    first, reason, sums = 0, "budget", None
    restarts = Restarts(np.arange(run.restarts))
    if resume is None:
        state = engine.start(start(engine.gram_round, run.restarts))
        state = arrange(engine, state) if batch_size is None else state
    else:
        with restoring():
            stored = resume["state"] | {name: resume[name] for name in BESIDE}
            state = unpack(stored, place, by_cell=cell_round is not None)
            restarts = Restarts(np.asarray(resume["rows"])) if "rows" in resume else restarts
            record, first, reason = list(resume["elbo"].numpy()), resume["step"], resume["reason"]
            if resume["sums"] is not None:
                sums = CellStatistics(*(value.to(place) for value in resume["sums"]))
            set_random_state(resume["rng"])
        if batch_size is None and _settled(record, state, state, None, tolerance(model)):
            reason = "converged"  # the last round was the last: what was interrupted is the drawing
    batches = None
    if cell_round is not None and batch_size is not None:
        batches = _minibatches(cell_round, state, batch_size, sums, first)
    take = Take(draws=False)
    before_draws: list[Tensor] | None = None  # the generator's state when the draws began, for a resume from there

    def snapshot() -> dict[str, Any]:
        return {
            "fingerprint": run.fingerprint,
            "kind": "blocked",
            "step": len(record),
            "state": pack(state),
            "sums": None if sums is None else tuple(sums),
            **{name: getattr(state, name) for name in BESIDE},
            "rows": restarts.row.tolist(),
            "reason": reason,
            "elbo": torch.tensor(np.array(record)),
            "rng": before_draws if before_draws is not None else random_state(place),
        }

    with run.steps(first, first if reason == "converged" else run.num_steps) as steps:
        for step in steps:
            before = state
            state, sums = (engine(state, take), None) if batches is None else next(batches)
            bound = state.bound if state.bound is not None else torch.full_like(state.loadings[:, 0, 0], torch.nan)
            record.append(restarts.of_each(bound.cpu().numpy()))
            if not bool(state.loadings.isfinite().all()):
                reason = f"diverged at step {step + 1}: loadings are not finite"
                break
            if batches is None and (step + 1) % LOOK == 0:
                state = restarts.looked_at(model, state)
            steps.tell(step + 1, f"ELBO {record[-1].max():.1f}", snapshot)
            if _settled(record, before, state, batch_size, tolerance(model)):
                reason = "converged"
                break
    table = np.stack(record, axis=1)
    if table.shape[1] > 1 and np.isnan(table[:, 0]).all():
        table = table[:, 1:]  # the first round cell by cell comes before there is a bound
    before_draws = random_state(place)
    collector = draw(model, engine, state, restarts, run, refresh, tolerance(model), snapshot)
    return collector, History.every_step(reason, table, time.monotonic() - started)


def _engine(model: FactorModel, data: ExpressionData | None, run: Run) -> Round:
    """Rounds from sums over all cells, or cell by cell."""
    if model.integrated and run.batch_size is None:
        return GramRound(model)
    cells = data if data is not None else model.cells
    if cells is None:
        raise ValueError("this model is fitted cell by cell: pass `data`")
    return CellRound(model, cells)


def seconds_of_draws(model: FactorModel, data: ExpressionData | None, run: Run, refresh: int | None) -> float:
    """Of the draws that follow the steps, one restart kept, from their first rounds; 0 where draws are of q: each is
    less than a step."""
    engine = _engine(model, data, run)
    refresh = rounds_before(engine, run, refresh)
    if not refresh:
        return 0.0
    state = engine(engine.start(start(engine.gram_round, 1)), Take(draws=False))
    number = num_drawn(collector_of(model, 1, run.num_draws), given=run.draws_given)
    return timed_walk(engine, state, number, refresh)


Progress = Iterator[tuple[FactorState, CellStatistics | None]]


def _minibatches(
    engine: CellRound, state: FactorState, batch_size: int, total: CellStatistics | None, done: int
) -> Progress:
    """Rounds without end over a minibatch at a time, whose statistics are averaged with those so far, ``total``."""
    take = Take(draws=False)
    number, step, epoch = engine.data.num_cells, 0, 0
    while True:
        order = torch.randperm(number, generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(batch_size):
            step += 1
            if step <= done:
                continue  # batches of the run that is resumed
            part = engine.block(state, rows, take).times(number / len(rows))
            share = (step + STEP_DELAY - 1) ** -STEP_POWER
            total = part if total is None else total.times(1 - share).plus(part, share)
            bound = None if state.log_det is None else engine.evidence(state, total, take)
            state = replace(engine.update(state, total, take), bound=bound)
            yield state, total
        epoch += 1


def tolerance(model: FactorModel) -> float:
    """Gain of the bound by a round, in nats, below which a fit has settled."""
    return max(0.01, TOLERANCE * float(model.count.sum()) * len(model.genes))


def _settled(
    record: list[np.ndarray], before: FactorState, state: FactorState, batch_size: int | None, gain: float
) -> bool:
    """Whether the bound has stopped rising in every restart; of minibatches, whether the loadings stand still."""
    if batch_size is not None:
        change = (state.loadings - before.loadings).norm() / state.loadings.norm()
        return len(record) > 20 and float(change) < 1e-4
    if len(record) < 10 or not np.isfinite(record[-4:]).all():
        return False
    return bool((np.abs(np.diff(np.array(record[-4:]), axis=0)) < gain).all())
