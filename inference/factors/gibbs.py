"""The exact sampler of factor models: rounds of the full conditionals, on sufficient statistics or cell by cell."""

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import ExpressionData, FactorModel
from ...priors import Take
from ..draws.layout import laid_out
from ..draws.moments import Collector, add_draw
from ..runs.chains import Chains
from ..runs.history import History, random_state, set_random_state
from ..runs.run import Run
from ..runs.saving import restoring
from .alignment import Aligner
from .cells import CellRound
from .restarts import best_restarts, pack, restart_agreement, select, unpack
from .start import arrange, start
from .sweep import FactorState, GramRound, Round
from .walk import draw_state, sites_of

ASCENT = 200  # rounds of coordinate ascent from as many starts as chains; the best is where all chains begin


def sample(model: FactorModel, data: ExpressionData | None, run: Run, chains: Chains) -> tuple[Collector, History]:
    """Markov chains whose stationary distribution is the posterior, all chains at once.

    A round draws (β, Γ) with the factors integrated out, the factors' moments, their scales (a group move), the
    loadings
    and effects of each gene jointly, the noise, and the scales of the prior. Draws are aligned to the best optimum of
    coordinate ascent, where all
    chains begin. Cell by cell (missing values) a round is plain data augmentation, which mixes more slowly.
    """
    if chains.longest > 1:
        raise ValueError(f"longest={chains.longest} is for networks: of programs say how many samples are wanted")
    started = time.monotonic()
    engine, resume = round_of(model, data), run.resume
    has_inclusion = "inclusion" in model.dims
    collector = Collector(model, chains.number, chains.num_samples, has_inclusion=has_inclusion, without=("x",))
    take = Take(draws=True)
    record: list[np.ndarray] = []
    if resume is None:
        state, reference, agreement = _first(model, engine, chains.number, take)
        first = 0
    else:
        with restoring():
            agreement, first, reference = resume["agreement"].numpy(), resume["step"], resume["reference"]
            state = unpack(resume["state"], model.constant.device, by_cell=not model.integrated)
            collector.restore(resume["collector"], model.constant.device)
            record = list(resume["elbo"].numpy())
            set_random_state(resume["rng"])
    align = Aligner(model, reference)
    collector.notes = {"restart_agreement": agreement, "restarts_kept": np.zeros(1, dtype=np.int64)}
    reason = "budget"

    def snapshot() -> dict[str, Any]:
        return {
            "fingerprint": run.fingerprint,
            "kind": "gibbs",
            "step": len(record),
            "state": pack(state),
            "reference": reference,
            "agreement": torch.tensor(agreement),
            "collector": collector.snapshot(),
            "elbo": torch.tensor(np.array(record)),
            "rng": random_state(model.constant.device),
        }

    with run.steps(first, chains.total) as steps:
        for step in steps:
            state = engine(state, take)
            record.append(engine.log_likelihood(state).cpu().numpy())
            if chains.keeps(step):
                sites = align(sites_of(model, engine, state))
                add_draw(model, collector, laid_out(model, sites), run.threshold)
            steps.tell(step + 1, f"log-likelihood {record[-1].max():.1f}", snapshot)
            if not np.isfinite(record[-1]).all():
                reason = f"diverged at sweep {step + 1}: log-likelihood is not finite"
                break
    return collector, History.every_step(reason, np.stack(record, axis=1), time.monotonic() - started)


def round_of(model: FactorModel, data: ExpressionData | None) -> Round:
    """What can be drawn exactly: on sufficient statistics, or cell by cell where values are missing.

    Raises
    ------
    ValueError
        Views that are not Gaussian.
    """
    cells = data if data is not None else model.cells
    if model.integrated:
        return GramRound(model)
    if cells is None or any(kind != "gaussian" for kind in model.views.values()):
        raise ValueError(
            "the Gibbs sampler of factor models is for Gaussian views: Bernoulli and count views are fitted by Blocked"
        )
    return CellRound(model, cells)


def _first(model: FactorModel, engine: Round, num_chains: int, take: Take) -> tuple[FactorState, Tensor, np.ndarray]:
    """A drawn state for each chain, the loadings of the optimum they come from, and how like it the other starts'
    are."""
    state = arrange(engine, engine.start(start(engine.gram_round, num_chains)))
    for _ in range(ASCENT):
        state = engine(state, Take(draws=False))
    best, _ = best_restarts(state)
    # all chains begin at the same optimum: Gibbs does not cross from one arrangement of many programs to another, and
    # chains in different ones could not be averaged. R-hat is of mixing within it; `restart_agreement` of the others
    reference = state.loadings[best, :, : len(model.factors)].mT.cpu()
    agreement = restart_agreement(model, state, best)
    return draw_state(engine, select(state, torch.full((num_chains,), best)), take), reference, agreement
