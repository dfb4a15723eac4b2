"""Draws of the blocked guide of factor models, which walk on from the fit by rounds of the exact conditionals."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import FactorModel
from ...priors import Take
from ..draws.layout import laid_out
from ..draws.moments import Collector, add_draw
from ..runs.run import Run
from .alignment import Aligner
from .restarts import MASS, Restarts, best_restarts, restart_agreement, select
from .sweep import MANY, FactorState, Round, effects_factor

DRAWN = 1_000_000  # loadings drawn at once (8 MB): small models draw hundreds of times at the price of one
LEAST = 100  # draws of a chain: independent ones know a mean to a tenth of its sd
WALKERS = 100  # of each place at most: each gives five of 500 draws, so that a hundred are independent
TOGETHER = 20_000  # numbers in a round of all walkers, from which its time grows with them
TIMED = 3  # rounds from which the time of all is told


def rounds_before(engine: Round, run: Run, refresh: int | None) -> int:
    """Rounds before the first draw: as asked for, or by default; none where draws are of q, which are independent."""
    if engine.refreshes and run.batch_size is None:
        return engine.refresh if refresh is None else refresh
    if refresh:
        raise ValueError(
            f"refresh={refresh}: draws walk on where all cells are used and all views are gaussian; leave it out"
        )
    return 0


def draw(
    model: FactorModel,
    engine: Round,
    state: FactorState,
    restarts: Restarts,
    run: Run,
    refresh: int,
    gain: float,
    snapshot: Callable[[], dict[str, Any]],
) -> Collector:
    """Draws of q that walk on by rounds of the exact conditionals where those can be drawn (Gaussian views, all cells).

    Of each place that restarts have found, `num_drawn`, walker after walker. ``gain``: that of the bound, in nats,
    which tells no round from the next.
    """
    best, kept = best_restarts(state, max(MASS, 20 * gain))
    align = Aligner(model, state.loadings[best, :, : len(model.factors)].mT)
    notes = {
        "restart_agreement": restarts.of_each(restart_agreement(model, state, best)),
        "restarts_kept": np.flatnonzero(np.isin(restarts.row, kept.cpu().numpy())),
    }
    state = select(state, kept)
    state = Restarts(np.arange(len(kept))).looked_at(model, state)
    chains = len(state.loadings)
    number = num_drawn(collector_of(model, chains, run.num_draws), given=run.draws_given)
    collector = collector_of(model, chains, number)
    collector.notes = notes
    walkers = num_walkers(engine, state, number, refresh)
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


def collector_of(model: FactorModel, num_chains: int, num_draws: int) -> Collector:
    """What takes the draws; factor scores are not among them."""
    return Collector(model, num_chains, num_draws, has_inclusion="inclusion" in model.dims, without=("x",))


def num_walkers(engine: Round, state: FactorState, number: int, refresh: int) -> int:
    """Of each chain, so many draws at once."""
    chains = len(state.loadings)
    walkers = min(WALKERS, TOGETHER // (chains * engine.work)) if refresh else DRAWN // state.loadings.numel()
    return min(number, max(1, walkers))


def timed_walk(engine: Round, state: FactorState, number: int, refresh: int) -> float:
    """Seconds of all rounds of ``number`` draws, from `TIMED` of them."""
    walkers = num_walkers(engine, state, number, refresh)
    rounds, steps = refresh - 1 + math.ceil(number / walkers), walk(engine, state, walkers, refresh)
    float(next(steps).loadings.sum())  # a device has done what is read
    started = time.perf_counter()
    for _ in range(TIMED):
        float(next(steps).loadings.sum())
    return (time.perf_counter() - started) / TIMED * rounds


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
