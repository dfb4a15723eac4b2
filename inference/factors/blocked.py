"""The blocked guide of factor models: coordinate ascent in closed form, and draws that are refreshed once."""

import time
from collections.abc import Iterator
from dataclasses import fields, replace
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
from .start import arrange, start
from .sweep import FactorState, GramRound, Round, effects_factor

TOLERANCE = 1e-7  # nats a value (cell × gene) gained by a round, and at least a hundredth: below it a fit has settled
MASS = 7.0  # nats: e^-7 is a thousandth
STEP_POWER, STEP_DELAY = 0.7, 1.0  # of minibatches: the t-th counts (t + delay)^-power (Hoffman et al. 2013)


def ascend(model: FactorModel, data: ExpressionData | None, run: Run, refresh: int) -> tuple[Collector, History]:
    """Fit by coordinate ascent, then draw.

    Every factor of q is optimal given the others, in closed form: of each gene the joint Gaussian q(w_j, β_j), of each
    cell q(x), of each scale and noise variance an inverse gamma. Then each draw goes through ``refresh`` rounds of the
    exact conditionals, which bring back what a product of factors loses, the dependence of (W, β, Γ) on where all the
    factors stand: every round brings the draws closer to the posterior in Kullback–Leibler divergence.
    """
    started = time.monotonic()
    resume, batch_size, place = run.resume, run.batch_size, model.constant.device
    cells = data if data is not None else model.cells
    by_cell = not model.integrated or batch_size is not None
    if by_cell and cells is None:
        raise ValueError("this model is fitted cell by cell: pass `data`")
    cell_round = CellRound(model, cells) if by_cell and cells is not None else None
    engine: Round = cell_round if cell_round is not None else GramRound(model)
    record: list[np.ndarray] = []
    first, reason, sums = 0, "budget", None
    if resume is None:
        state = engine.start(start(engine.gram_round, run.restarts))
        state = arrange(engine, state) if batch_size is None else state
    else:
        with restoring():
            state = unpack(resume["state"] | {name: resume[name] for name in BESIDE}, place)
            record, first, reason = list(resume["elbo"].numpy()), resume["step"], resume["reason"]
            if resume["sums"] is not None:
                sums = CellStatistics(*(value.to(place) for value in resume["sums"]))
            set_random_state(resume["rng"])
        if batch_size is None and _settled(record, state, state, None, tolerance(model)):
            reason = "converged"  # the last round was the last: what was interrupted is the drawing
    if cell_round is None or batch_size is None:
        rounds = _rounds(engine, state)
    else:
        rounds = _minibatches(cell_round, state, batch_size, sums, first)
    before_draws: list[Tensor] | None = None  # the generator's state when the draws began, for a resume from there

    def snapshot() -> dict[str, Any]:
        return {
            "fingerprint": run.fingerprint,
            "kind": "blocked",
            "step": len(record),
            "state": pack(state),
            "sums": None if sums is None else tuple(sums),
            **{name: getattr(state, name) for name in BESIDE},
            "reason": reason,
            "elbo": torch.tensor(np.array(record)),
            "rng": before_draws if before_draws is not None else random_state(place),
        }

    with run.steps(first, first if reason == "converged" else run.num_steps) as steps:
        for step in steps:
            before = state
            state, sums = next(rounds)
            bound = state.bound if state.bound is not None else state.loadings.new_full((run.restarts,), torch.nan)
            record.append(bound.cpu().numpy())
            if not bool(state.loadings.isfinite().all()):
                reason = f"diverged at step {step + 1}: loadings are not finite"
                break
            steps.tell(step + 1, f"ELBO {record[-1].max():.1f}", snapshot)
            if _settled(record, before, state, batch_size, tolerance(model)):
                reason = "converged"
                break
    table = np.stack(record, axis=1)
    if table.shape[1] > 1 and np.isnan(table[:, 0]).all():
        table = table[:, 1:]  # the first round cell by cell comes before there is a bound
    before_draws = random_state(place)
    collector = draw(model, engine, state, run.num_draws, refresh, run.threshold)
    return collector, History.every_step(reason, table, time.monotonic() - started)


Progress = Iterator[tuple[FactorState, CellStatistics | None]]


def _rounds(engine: Round, state: FactorState) -> Progress:
    """Rounds over all cells without end."""
    take = Take(draws=False)
    while True:
        state = engine(state, take)
        yield state, None


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
    num_draws: int,
    refresh: int,
    threshold: float,
) -> Collector:
    """Draws of q, refreshed by rounds of the exact conditionals where those can be drawn (Gaussian, complete data)."""
    best, kept = best_restarts(state, max(MASS, 20 * tolerance(model)))
    align = Aligner(model, state.loadings[best, :, : len(model.factors)].mT)
    agreement = restart_agreement(model, state, best)
    state = select(state, kept)
    has_inclusion = "inclusion" in model.dims
    collector = Collector(model, len(kept), num_draws, has_inclusion=has_inclusion, without=("x",))
    collector.notes = {"restart_agreement": agreement, "restarts_kept": kept.cpu().numpy()}
    take = Take(draws=True)
    for _ in range(num_draws):
        drawn = draw_state(engine, state, take)
        for _ in range(refresh if engine.refreshes else 0):
            drawn = engine(drawn, take)
        add_draw(model, collector, laid_out(model, align(sites_of(model, engine, drawn))), threshold)
    return collector


def best_restarts(state: FactorState, within: float = MASS) -> tuple[int, Tensor]:
    """The restart with the highest bound, and all that come within so many nats of it (and of where they would settle).

    A restart that ended at a worse optimum has, as far as the bound tells, less than a thousandth of the posterior's
    mass:
    to average its loadings with those of the best would describe neither.
    """
    if state.bound is None or not bool(state.bound.isfinite().any()):
        return 0, torch.arange(len(state.loadings))
    bound = torch.nan_to_num(state.bound, nan=-torch.inf)
    return int(torch.argmax(bound)), torch.nonzero(bound > bound.max() - within)[:, 0]


def restart_agreement(model: FactorModel, state: FactorState, best: int) -> np.ndarray:
    """``(restart,)`` correlation of each restart's loadings, aligned, with those of the best."""
    W = state.loadings[..., : len(model.factors)].mT
    found = Aligner(model, W[best])({"W": W})["W"].flatten(1)
    return torch.corrcoef(torch.cat([found[best][None], found]))[0, 1:].cpu().numpy()


def select(state: FactorState, chains: Tensor) -> FactorState:
    """Some chains of a state."""
    take = lambda v: v[chains] if isinstance(v, Tensor) else v
    prior = {name: value[chains] for name, value in state.prior.items()}
    parts: dict[str, Any] = {f.name: take(getattr(state, f.name)) for f in fields(state) if f.name != "prior"}
    return FactorState(prior=prior, **parts)


def draw_state(engine: Round, state: FactorState, take: Take) -> FactorState:
    """A draw of q: loadings, noise, effects, and scales given the loadings."""
    assert state.covariance is not None, "the state of coordinate ascent"
    lower = torch.linalg.cholesky(state.covariance)
    noise = (lower @ torch.randn_like(state.loadings)[..., None])[..., 0]
    theta = state.loadings + noise
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
    return replace(state, loadings=theta, covariance=None, log_det=None, precision=precision, gamma=gamma, prior=prior)


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


BESIDE = ("dispersion", "size", "scales_bound")
"""Parts of a state that checkpoints of coordinate ascent have beside it, as the first ones had; Gibbs sampling needs
none of them to go on."""


def pack(state: FactorState) -> dict[str, Any]:
    """As plain tensors, for a checkpoint; without what goes beside."""
    return {f.name: getattr(state, f.name) for f in fields(state) if f.name not in BESIDE}


def unpack(state: dict[str, Any], device: torch.device) -> FactorState:
    """Back from `pack`, on a device."""
    parts: dict[str, Any] = {name: v.to(device) if isinstance(v, Tensor) else v for name, v in state.items()}
    parts["prior"] = {name: v.to(device) for name, v in state["prior"].items()}
    return FactorState(**parts)
