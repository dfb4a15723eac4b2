"""The exact sampler of factor models: rounds of the full conditionals, on sufficient statistics or cell by cell."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..models import ExpressionData, FactorModel
from ..priors import Take
from .callbacks import Callback, FitState
from .factor_alignment import Aligner
from .factor_blocked import best_restarts, draw_state, pack, select, sites_of, unpack
from .factor_cells import CellRound
from .factor_start import arrange, start
from .factor_sweep import FactorState, GramRound
from .interrupts import deferred_interrupts
from .layout import laid_out
from .moments import Collector
from .samplers import add_draw
from .svi import History, random_state, set_random_state

ASCENT = 200  # rounds of coordinate ascent from as many starts as chains; the best is where all chains begin


def sample(
    model: FactorModel,
    data: ExpressionData | None,
    *,
    num_chains: int,
    num_warmup: int,
    num_samples: int,
    thin: int,
    threshold: float,
    callbacks: Sequence[Callback],
    fingerprint: dict[str, Any],
    resume: dict[str, Any] | None,
) -> tuple[Collector, History]:
    """Markov chains whose stationary distribution is the posterior, all chains at once.

    A round draws (β, Γ) with the factors integrated out, the factors' moments, their scales (a group move), the
    loadings
    and effects of each gene jointly, the noise, and the scales of the prior. Draws are aligned to the mean loadings of
    the first chain at the end of the warm-up.
    """
    started = time.monotonic()
    cells = data if data is not None else model.cells
    engine: GramRound | CellRound
    if model.integrated:
        engine = GramRound(model)
    elif cells is not None and all(kind == "gaussian" for kind in model.views.values()):
        engine = CellRound(model, cells)
    else:
        raise ValueError(
            "the Gibbs sampler of factor models is for Gaussian views: Bernoulli and count views are fitted by Blocked"
        )
    collector = Collector(model, num_chains, num_samples, has_inclusion="inclusion" in model.dims, without=("x",))
    take, total = Take(draws=True), num_warmup + num_samples * thin
    record: list[np.ndarray] = []
    if resume is None:
        state, first = _first(model, engine, num_chains, take), 0
        reference = torch.zeros(len(model.factors), len(model.genes), dtype=torch.float64)
    else:
        state, first, reference = unpack(resume["state"]), resume["step"], resume["reference"]
        collector.restore(resume["collector"], model.constant.device)
        record = list(resume["elbo"].numpy())
        set_random_state(resume["rng"])
    align = Aligner(model, reference)

    def snapshot() -> dict[str, Any]:
        return {
            "fingerprint": fingerprint,
            "kind": "gibbs",
            "step": len(record),
            "state": pack(state),
            "reference": reference,
            "collector": collector.snapshot(),
            "elbo": torch.tensor(np.array(record)),
            "rng": random_state(model.constant.device),
        }

    with deferred_interrupts() as check_interrupt:
        for step in range(first, total):
            state = engine(state, take)
            record.append(_log_likelihood(model, engine, state))
            if step == max(num_warmup - 1, 0):
                reference = state.loadings[0, :, : len(model.factors)].mT.cpu()
                align = Aligner(model, reference)
            if step >= num_warmup and (step - num_warmup) % thin == thin - 1:
                sites = align(sites_of(model, engine, state))
                add_draw(model, collector, laid_out(model, sites), threshold)
            info = FitState(step + 1, total, f"log-likelihood {record[-1].max():.1f}", snapshot)
            for callback in callbacks:
                callback(info)
            check_interrupt()
            if not np.isfinite(record[-1]).all():
                reason = f"diverged at sweep {step + 1}: log-likelihood is not finite"
                return collector, _history(reason, record, started)
    return collector, _history("budget", record, started)


def _history(reason: str, record: list[np.ndarray], started: float) -> History:
    table = np.stack(record, axis=1)
    steps = np.arange(1, table.shape[1] + 1)
    return History(reason, table, steps, np.zeros(len(steps)), time.monotonic() - started)


def _first(model: FactorModel, engine: GramRound | CellRound, num_chains: int, take: Take) -> FactorState:
    rounds = engine if isinstance(engine, GramRound) else engine.gram_round
    state = start(rounds, num_chains)
    if isinstance(engine, CellRound):
        state = engine.start(state)
    state = arrange(engine, state)
    for _ in range(ASCENT):
        state = engine(state, Take(draws=False))
    best, _ = best_restarts(state)
    # scales and factors of a chain are drawn wide of the optimum, but all chains begin at the same one: Gibbs does not
    # cross from one arrangement of many programs to another, and chains in different ones could not be averaged
    return draw_state(engine, select(state, torch.full((num_chains,), best)), take)


def _log_likelihood(model: FactorModel, engine: GramRound | CellRound, state: FactorState) -> np.ndarray:
    """``(chain,)`` log p(Y | W, β, Γ, Ψ); cell by cell, the Gaussian part given the factors that were drawn."""
    if isinstance(engine, CellRound):
        return (0.5 * state.precision.log() * model.count.sum()).sum(1).cpu().numpy()
    m, v = len(model.factors), len(model.covariates)
    theta = state.loadings
    beta = theta[..., m:].mT if v else None
    gamma: Tensor | None = state.gamma if model.factor_effects else None
    with torch.no_grad():
        found = model.marginal_log_likelihood(theta[..., :m].mT, beta, gamma, (1 / state.precision)[:, None])
    return found[:, 0, 0].cpu().numpy()
