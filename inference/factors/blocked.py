"""The blocked guide of factor models: coordinate ascent in closed form, and draws that walk on from it."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import ExpressionData, FactorModel
from ...priors import Take
from ..draws.layout import laid_out
from ..draws.moments import Collector, add_draw
from ..runs.history import History, random_state, set_random_state
from ..runs.run import Run
from ..runs.saving import restoring
from .alignment import Aligner
from .cells import CellRound, CellStatistics
from .restarts import BESIDE, LOOK, MASS, Restarts, best_restarts, pack, restart_agreement, select, unpack
from .start import arrange, start
from .sweep import MANY, FactorState, GramRound, Round, effects_factor

TOLERANCE = 1e-7  # nats a value (cell × gene) gained by a round, and at least a hundredth: below it a fit has settled
DRAWN = 1_000_000  # loadings drawn at once (8 MB): small models draw hundreds of times at the price of one
LEAST = 100  # draws of a chain: independent ones know a mean to a tenth of its sd
WALKERS = 100  # of each place at most: each gives five of 500 draws, so that a hundred are independent
TOGETHER = 20_000  # numbers in a round of all walkers, from which its time grows with them
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
    cells = data if data is not None else model.cells
    by_cell = not model.integrated or batch_size is not None
    if by_cell and cells is None:
        raise ValueError("this model is fitted cell by cell: pass `data`")
    cell_round = CellRound(model, cells) if by_cell and cells is not None else None
    engine: Round = cell_round if cell_round is not None else GramRound(model)
    refresh = _rounds(engine, run, refresh)
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
    collector = draw(model, engine, state, restarts, run, refresh, snapshot)
    return collector, History.every_step(reason, table, time.monotonic() - started)


def _rounds(engine: Round, run: Run, refresh: int | None) -> int:
    """Rounds before the first draw: as asked for, or by default; none where draws are of q, which are independent."""
    if engine.refreshes and run.batch_size is None:
        return engine.refresh if refresh is None else refresh
    if refresh:
        raise ValueError(
            f"refresh={refresh}: draws walk on where all cells are used and all views are gaussian; leave it out"
        )
    return 0


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


# -- draws ----
def draw(
    model: FactorModel,
    engine: Round,
    state: FactorState,
    restarts: Restarts,
    run: Run,
    refresh: int,
    snapshot: Callable[[], dict[str, Any]],
) -> Collector:
    """Draws of q that walk on by rounds of the exact conditionals where those can be drawn (Gaussian views, all cells).

    Of each place that restarts have found, `num_drawn`, walker after walker.
    """
    best, kept = best_restarts(state, max(MASS, 20 * tolerance(model)))
    align = Aligner(model, state.loadings[best, :, : len(model.factors)].mT)
    notes = {
        "restart_agreement": restarts.of_each(restart_agreement(model, state, best)),
        "restarts_kept": np.flatnonzero(np.isin(restarts.row, kept.cpu().numpy())),
    }
    state = select(state, kept)
    state = Restarts(np.arange(len(kept))).looked_at(model, state)
    planned = partial(Collector, model, len(state.loadings), has_inclusion="inclusion" in model.dims, without=("x",))
    number = num_drawn(planned(run.num_draws), given=run.draws_given)
    collector = planned(number)
    collector.notes = notes
    chains = len(state.loadings)
    walkers = min(WALKERS, TOGETHER // (chains * engine.work)) if refresh else DRAWN // state.loadings.numel()
    walkers = min(number, max(1, walkers))
    if refresh:
        notes["walkers"] = np.array(walkers)
    ahead = max(0, refresh - 1)
    with run.steps(0, ahead + number) as steps:
        for step, drawn in enumerate(walk(engine, state, walkers, refresh), 1):
            first = walkers * (step - 1 - ahead)
            if first < 0:
                steps.tell(step, "draws", snapshot)
                continue
            count = min(walkers, number - first)
            sites = laid_out(model, align(sites_of(model, engine, drawn)))
            for i in range(count):
                add_draw(model, collector, {n: v[i::walkers] for n, v in sites.items()}, run.threshold)
            steps.tell(ahead + first + count, "draws", snapshot)
            if first + count == number:
                break
    if refresh:
        collector.by_walker(walkers)
    return collector


def walk(engine: Round, state: FactorState, walkers: int, refresh: int) -> Iterator[FactorState]:
    """So many draws of q for each chain, again and again; with ``refresh`` each time a round further, from the first
    round on."""
    take = Take(draws=True)
    drawn = draw_state(engine, state, take, walkers)
    while True:
        drawn = engine(drawn, take) if refresh else drawn
        yield drawn
        drawn = drawn if refresh else draw_state(engine, state, take, walkers)


def num_drawn(planned: Collector, *, given: bool) -> int:
    """Draws of each chain: those asked for; of a model so large that not all could be kept, that many in all, at least
    `LEAST` of each chain, and none that are not kept. One thrown away costs as much as any.

    Where nobody has asked (``given`` is False), of more than `MANY` loadings half as many in all: independent
    ones would know a mean to a fifteenth of its sd, all of them to a twentieth.
    """
    many = not given and math.prod(planned.shape["W"]) > MANY
    if planned.thin == 1 and not many:
        return planned.num_draws
    in_all = planned.num_draws / 2 if many else planned.num_draws
    return min(planned.kept, max(LEAST, math.ceil(in_all / planned.num_chains)))


def draw_state(engine: Round, state: FactorState, take: Take, copies: int = 1) -> FactorState:
    """``copies`` draws of q for each chain, chain by chain: loadings, noise, effects, and scales given the loadings."""
    chains = len(state.loadings)
    if state.spread is not None and state.spread.regressions is not None:
        theta = state.spread.regressions.around(state.loadings, copies)
    else:
        assert state.covariance is not None, "the state of coordinate ascent"
        lower = torch.linalg.cholesky(state.covariance)[:, None]
        noise = torch.randn(chains, copies, *state.loadings.shape[1:]).to(lower)
        theta = (state.loadings[:, None] + (lower @ noise[..., None])[..., 0]).flatten(0, 1)
    rows = torch.arange(chains, device=theta.device).repeat_interleave(copies)
    state = select(replace(state, loadings=theta[:chains], spread=None, covariance=None, log_det=None), rows)
    rounds = engine.gram_round
    size = state.size if state.size is not None else torch.full_like(state.precision, rounds.dof)
    if engine.model.isotropic:
        shape = rounds.noise_shape + 0.5 * size.sum(1, keepdim=True)
        precision = take.gamma(shape, shape / state.precision[:, :1]).expand_as(state.precision)
    else:
        shape = rounds.noise_shape + 0.5 * size
        precision = take.gamma(shape, shape / state.precision)
    square = theta[..., : rounds.num_factors].mT ** 2
    prior = rounds.prior.update(state.prior, square, take)
    gamma = state.gamma
    if engine.model.factor_effects:
        gamma = gamma + torch.linalg.solve_triangular(effects_factor(engine.zz).mT, torch.randn_like(gamma), upper=True)
    return replace(state, loadings=theta, precision=precision, gamma=gamma, prior=prior)


def sites_of(model: FactorModel, engine: Round, state: FactorState) -> dict[str, Tensor]:
    """Pyro sites ``(chain, *dims)`` of a drawn state."""
    m, v = len(model.factors), len(model.covariates)
    sites = {"W": state.loadings[..., :m].mT, **engine.gram_round.prior.sites(state.prior)}
    if v:
        sites["beta"] = state.loadings[..., m : m + v].mT
    if model.factor_effects:
        sites["gamma"] = state.gamma
    if model.has_noise:
        variance = 1 / state.precision
        sites["noise_variance"] = variance[:, 0] if model.isotropic else variance
    if "mu" in model.dims:  # minibatches of a model that integrates μ out have no site
        sites["mu"] = state.loadings[..., m + v :].mT
        if model.has_dispersion and state.dispersion is not None:
            sites["dispersion"] = state.dispersion
    dtype = model.constant.dtype
    return {name: value.to(dtype).contiguous() for name, value in sites.items()}
