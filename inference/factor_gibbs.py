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
from .factor_blocked import best_restarts, draw_state, pack, restart_agreement, select, sites_of, unpack
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
    and effects of each gene jointly, the noise, and the scales of the prior. Draws are aligned to the best optimum of
    coordinate ascent, where all
    chains begin. Cell by cell (missing values) a round is plain data augmentation, which mixes more slowly.
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
        state, reference, agreement = _first(model, engine, num_chains, take)
        first = 0
    else:
        agreement = resume["agreement"].numpy()
        state, first, reference = unpack(resume["state"], model.constant.device), resume["step"], resume["reference"]
        collector.restore(resume["collector"], model.constant.device)
        record = list(resume["elbo"].numpy())
        set_random_state(resume["rng"])
    align = Aligner(model, reference)
    collector.notes = {"restart_agreement": agreement, "restarts_kept": np.zeros(1, dtype=np.int64)}

    def snapshot() -> dict[str, Any]:
        return {
            "fingerprint": fingerprint,
            "kind": "gibbs",
            "step": len(record),
            "state": pack(state),
            "reference": reference,
            "agreement": torch.tensor(agreement),
            "collector": collector.snapshot(),
            "elbo": torch.tensor(np.array(record)),
            "rng": random_state(model.constant.device),
        }

    with deferred_interrupts() as check_interrupt:
        for step in range(first, total):
            state = engine(state, take)
            record.append(_log_likelihood(model, engine, state))
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


def _first(
    model: FactorModel, engine: GramRound | CellRound, num_chains: int, take: Take
) -> tuple[FactorState, Tensor, np.ndarray]:
    """A drawn state for each chain, the loadings of the optimum they come from, and how like it the other starts'
    are."""
    rounds = engine if isinstance(engine, GramRound) else engine.gram_round
    state = start(rounds, num_chains)
    if isinstance(engine, CellRound):
        state = engine.start(state)
    state = arrange(engine, state)
    for _ in range(ASCENT):
        state = engine(state, Take(draws=False))
    best, _ = best_restarts(state)
    # all chains begin at the same optimum: Gibbs does not cross from one arrangement of many programs to another, and
    # chains in different ones could not be averaged. R-hat is of mixing within it; `restart_agreement` of the others
    reference = state.loadings[best, :, : len(model.factors)].mT.cpu()
    agreement = restart_agreement(model, state, best)
    if isinstance(engine, CellRound) and engine.size is not None:
        engine.size = engine.size[best].expand(num_chains, -1)
    return draw_state(engine, select(state, torch.full((num_chains,), best)), take), reference, agreement


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
