"""`plan`: what a fit will take, before it is begun."""

from collections.abc import Callable
from typing import Any

import pyro
import torch

from ..models import ExpressionData, Model
from .choice import check_pair, default_guide, default_length, engine_for
from .engines.base import Engine
from .engines.plan import EnginePlan, plan_of
from .runs.run import Run


def plan(
    model: Model,
    data: ExpressionData | None = None,
    *,
    guide: "Engine | Callable[..., Any] | None" = None,
    num_steps: int | None = None,
    num_draws: int | None = None,
    restarts: int | None = None,
    seed: int = 0,
    timed: bool = True,
) -> EnginePlan:
    """Steps, seconds of each, and memory of `fit` with the same arguments.

    Its first steps are taken, two to twelve of them, and thrown away; so are the first rounds of draws that walk on
    from the fit (programs). The time of variational steps is the most that they may take: they stop when they have
    converged. That of draws is for one restart kept: where restarts end apart and several are kept, as many times more.

    Parameters
    ----------
    model, data, guide, num_steps, num_draws, restarts, seed
        As of `fit`.
    timed
        Whether to take steps. Default; without them only the memory is told, and nothing computed.

    Raises
    ------
    ValueError
        A guide that does not fit the prior.

    Examples
    --------
    >>> from pyrogrn import Gibbs, LinearNetwork, simulate_linear
    >>> model = LinearNetwork.from_data(simulate_linear(num_genes=10, num_tfs=3, num_cells=50, seed=0).data)
    >>> found = plan(model, guide=Gibbs(num_chains=2, num_warmup=100, num_samples=100))
    >>> found.num_steps, found.seconds > 0, found.num_bytes > 0
    (200, True, True)
    """
    engine = engine_for(guide) if guide is not None else default_guide(model)
    check_pair(model, engine)
    length = default_length(model, engine)
    run = Run(
        seed=seed,
        threshold=model.threshold,
        num_steps=length.num_steps if num_steps is None else num_steps,
        num_draws=length.num_draws if num_draws is None else num_draws,
        draws_given=num_draws is not None,
        restarts=length.restarts if restarts is None else restarts,
    )
    devices = [model.constant.device] if model.constant.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), pyro.get_param_store().scope():
        torch.manual_seed(seed)
        return plan_of(engine, model, data, run, timed=timed)
