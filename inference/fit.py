"""`fit`: one call for every model and guide."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro.optim import PyroOptim

from ..models import ExpressionData, Model
from ..models.data.accepts import takes_anndata
from ..models.data.twins import twin_notes
from .choice import check_pair, default_guide, default_length, earns_badge, engine_for
from .engines.base import Engine
from .posterior import Posterior
from .runs.callbacks import Callback
from .runs.fingerprint import check_same, fingerprint_of
from .runs.history import History
from .runs.run import Run
from .runs.steps import closing
from .variational.adam import Adam
from .variational.pyro_optim import check_optimizer
from .variational.stopping import RelativeImprovement, StoppingRule

if TYPE_CHECKING:
    from distributed import Client


@takes_anndata
def fit(
    model: Model,
    data: ExpressionData | None = None,
    *,
    guide: "Engine | Callable[..., Any] | None" = None,
    optimizer: Adam | PyroOptim | None = None,
    stop: StoppingRule | None = None,
    num_steps: int | None = None,
    batch_size: int | None = None,
    num_draws: int | None = None,
    restarts: int | None = None,
    threshold: float | None = None,
    jit: bool = True,
    seed: int = 0,
    device: str | torch.device | None = None,
    callbacks: Sequence[Callback] = (),
    resume: dict[str, Any] | None = None,
    client: "Client | None" = None,
) -> Posterior:
    """Condition ``model`` on its data.

    Parameters
    ----------
    model
        A `Model`; it holds the data it was made from (sufficient statistics), which is what a full-batch fit conditions
        on.
    data
        Only with ``batch_size``: the cells to take minibatches of. An AnnData too, with the options of
        `models.data.accepts.expression_of`.
    guide
        A sampler (`Gibbs`, `NUTS`), a variational family (`Blocked`, `MeanField`, `LowRank`, `MapEstimate`), or any
        guide of Pyro: a class or an instance of `pyro.infer.autoguide`, or a function ``guide(batch=None)``, which
        `pyro.infer.SVI` then fits (`PyroGuide`). Default `default_guide`.
    optimizer, stop, num_steps
        Of variational fits: default `Adam()`, `RelativeImprovement()`, and at most 3,000 steps (CellBox: 250). Samplers
        have their own lengths. Guides of Pyro take an optimiser of `pyro.optim` too, each restart one of its own.
    batch_size
        Cells in a minibatch. Default: full batch through the sufficient statistics, which is exact and costs less.
    num_draws
        Draws by restart from a variational guide; default 500 (CellBox: 200). Of factor models (`Blocked`) by place
        that restarts have found, by default of more than 30,000 loadings 250 in all, and no more than are kept
        (`factors.walk.num_drawn`), which go on from one another (``Blocked.refresh``).
    restarts
        Independent variational fits from random starts, in one tensor program; they become the chains of the posterior.
        Default 4 (CellBox 1; `Blocked` of more than 30,000 loadings 2). Of factor models those that come to the
        same place are one chain.
    threshold
        δ: families without an inclusion variable report P(|W| > δ) as inclusion. Default the model's: 0.1 standard
        deviations; for PHOENIX, whose effects on a target sum to one in size, 0.01. Not used by
        the others, whose posteriors have ``threshold`` None.
    jit
        Trace the full-batch objective once (two to three times faster on CPU).
    seed
        The caller's random generators are not touched. Same seed, same draws.
    device
        Where to fit; default where the model is.
    callbacks
        `Progress`, `Checkpoint`. They are closed at the end, also when the fit is interrupted; a checkpoint is written
        then.
    resume
        A state from `load_checkpoint`; the run continues to the numbers it would have had.
    client
        Of `SparseGibbs`: a ``distributed.Client`` whose workers, of one thread each, take a part of the targets each.
        Same numbers; a worker that dies costs its part, which is done again elsewhere. Default: this process.

    Returns
    -------
    Posterior
        ``history.reason`` says how the fit ended: ``converged``, ``budget``, or ``diverged at step …``; ``notes`` name
        regulators that the data can hardly tell apart (``model.twins``).

    Raises
    ------
    TypeError
        ``data`` that are no cells.
    ValueError
        A guide that does not fit the prior, a checkpoint of another fit.
    """
    if data is not None and not isinstance(data, ExpressionData):
        raise TypeError(
            f"`data` is {type(data).__name__}: expected ExpressionData or AnnData, the cells of `batch_size=`; a guide "
            "is given by name, `guide=`"
        )
    if batch_size is not None and data is None:
        raise ValueError(
            "`batch_size` needs the cells: pass `data` as well, or leave both out to fit the sufficient statistics"
        )
    if batch_size is not None and not model.minibatches:
        raise ValueError(f"{type(model).__name__} conditions on all data at once: leave out `batch_size`")
    engine = engine_for(guide) if guide is not None else default_guide(model)
    length, draws_given = default_length(model, engine), num_draws is not None
    num_steps = length.num_steps if num_steps is None else num_steps
    restarts = length.restarts if restarts is None else restarts
    num_draws = length.num_draws if num_draws is None else num_draws
    if restarts < 1 or num_draws < 1 or num_steps < 1:
        raise ValueError(f"restarts={restarts}, num_draws={num_draws}, num_steps={num_steps}: expected at least 1 each")
    if device is not None and torch.device(device) != model.constant.device:
        model = copy.deepcopy(model).to(device)  # the caller's model stays where it is
    check_pair(model, engine)
    check_optimizer(optimizer, engine)
    if batch_size is not None and not engine.minibatches:
        raise ValueError("samplers use all cells through the sufficient statistics: leave out `batch_size`")
    if client is not None and not engine.takes_client:
        raise ValueError(f"`client` is for the guide sparse, this is {engine.name or type(engine).__name__}")
    threshold = model.threshold if threshold is None else threshold
    run = Run(
        seed=seed,
        threshold=threshold,
        callbacks=callbacks,
        resume=resume,
        client=client,
        optimizer=optimizer if optimizer is not None else Adam(),
        stop=stop if stop is not None else RelativeImprovement(),
        num_steps=num_steps,
        batch_size=batch_size,
        num_draws=num_draws,
        draws_given=draws_given,
        restarts=restarts,
        jit=jit,
    )
    run = replace(run, fingerprint=fingerprint_of(model, engine, run))
    if resume is not None:
        check_same(resume, run.fingerprint)
    devices = [model.constant.device] if model.constant.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), pyro.get_param_store().scope(), closing(callbacks):
        torch.manual_seed(seed)
        collector, history = engine.run(model, data, run)
    posterior = Posterior.from_collector(
        model,
        collector,
        history,
        guide=engine.name or type(engine).__name__,
        calibrated=earns_badge(model, engine, batch_size),
        seed=seed,
        threshold=None if collector.has_inclusion or "existence" in model.dims else threshold,
    )
    return replace(posterior, attributes=collector.extras()).with_notes(twin_notes(model.twins))


__all__ = ["History", "default_guide", "fit"]
