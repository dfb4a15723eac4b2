"""`fit`: one call for every model and guide."""

import copy
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyro
import torch
from torch import Tensor

from ..models import ExpressionData, FactorModel, Model
from .callbacks import Callback, Checkpoint
from .choice import check_pair, default_guide, earns_badge
from .elbo import log_joint
from .factor_alignment import Aligner
from .factor_blocked import ascend
from .guides import Blocked, Guide, GuideFactory
from .interrupts import Aborted
from .layout import laid_out
from .moments import Collector
from .posterior import Posterior
from .samplers import Sampler, add_draw
from .stopping import RelativeImprovement, StoppingRule
from .storage import describe
from .svi import Adam, History, run_svi

DENSITY_BLOCK = 100_000  # edge weights whose densities are evaluated at once: temporaries stay in the cache


def fit(
    model: Model,
    data: ExpressionData | None = None,
    *,
    guide: "Sampler | GuideFactory | None" = None,
    optimizer: Adam | None = None,
    stop: StoppingRule | None = None,
    num_steps: int = 3000,
    batch_size: int | None = None,
    num_draws: int = 500,
    restarts: int = 4,
    threshold: float | None = None,
    jit: bool = True,
    seed: int = 0,
    device: str | torch.device | None = None,
    callbacks: Sequence[Callback] = (),
    resume: dict[str, Any] | None = None,
) -> Posterior:
    """Condition ``model`` on its data.

    Parameters
    ----------
    model
        A `Model`; it holds the data it was made from (sufficient statistics), which is what a full-batch fit conditions
        on.
    data
        Only with ``batch_size``: the cells to take minibatches of.
    guide
        A sampler (`Gibbs`, `NUTS`) or a variational family (`Blocked`, `MeanField`, `LowRank`, `MapEstimate`). Default
        `default_guide`.
    optimizer, stop, num_steps
        Of variational fits: default `Adam()`, `RelativeImprovement()`, and at most 3,000 steps. Samplers have their own
        lengths.
    batch_size
        Cells in a minibatch. Default: full batch through the sufficient statistics, which is exact and costs less.
    num_draws
        Draws by restart from a variational guide.
    restarts
        Independent variational fits from random starts, in one tensor program; they become the chains of the posterior.
    threshold
        δ: families without an inclusion variable report P(|W| > δ) as inclusion. Default the model's: 0.1 standard
        deviations; for PHOENIX, whose effects on a target sum to one in size, 0.01.
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

    Returns
    -------
    Posterior
        ``history.reason`` says how the fit ended: ``converged``, ``budget``, or ``diverged at step …``.

    Raises
    ------
    ValueError
        A guide that does not fit the prior, a checkpoint of another fit.
    """
    if batch_size is not None and data is None:
        raise ValueError(
            "`batch_size` needs the cells: pass `data` as well, or leave both out to fit the sufficient statistics"
        )
    if batch_size is not None and not model.minibatches:
        raise ValueError(f"{type(model).__name__} conditions on all data at once: leave out `batch_size`")
    if restarts < 1 or num_draws < 1 or num_steps < 1:
        raise ValueError(f"restarts={restarts}, num_draws={num_draws}, num_steps={num_steps}: expected at least 1 each")
    if device is not None and torch.device(device) != model.constant.device:
        model = copy.deepcopy(model).to(device)  # the caller's model stays where it is
    guide = guide if guide is not None else default_guide(model)
    check_pair(model, guide)
    threshold = model.threshold if threshold is None else threshold
    name = getattr(guide, "name", type(guide).__name__)
    fingerprint = {
        "model": model.name,
        "edge_prior": json.dumps(describe(model.edge_prior), sort_keys=True),
        "guide": repr(guide),
        "optimizer": repr(optimizer or Adam()),
        "stop": repr(stop or RelativeImprovement()),
        "seed": seed,
        "data": _digest(model),
        "restarts": restarts,
        "num_steps": num_steps,
        "batch_size": batch_size or 0,
        "num_draws": num_draws,
        "threshold": threshold,
        "jit": jit,
    }
    if resume is not None and resume["fingerprint"] != fingerprint:
        other = {
            k: (v, resume["fingerprint"].get(k)) for k, v in fingerprint.items() if resume["fingerprint"].get(k) != v
        }
        raise ValueError(
            f"the checkpoint belongs to another fit (now, then): {other}. Use the same data and options, or start anew"
        )
    devices = [model.constant.device] if model.constant.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), pyro.get_param_store().scope():
        torch.manual_seed(seed)
        try:
            if isinstance(guide, Sampler):
                if batch_size is not None:
                    raise ValueError("samplers use all cells through the sufficient statistics: leave out `batch_size`")
                collector, history = guide.run(
                    model,
                    data,
                    seed=seed,
                    threshold=threshold,
                    callbacks=callbacks,
                    fingerprint=fingerprint,
                    resume=resume,
                )
            elif isinstance(guide, Blocked) and isinstance(model, FactorModel):
                collector, history = ascend(
                    model,
                    data,
                    restarts=restarts,
                    num_steps=num_steps,
                    num_draws=num_draws,
                    batch_size=batch_size,
                    refresh=guide.refresh,
                    threshold=threshold,
                    callbacks=callbacks,
                    fingerprint=fingerprint,
                    resume=resume,
                )
            else:
                first = (
                    next(data.minibatches(batch_size, torch.Generator().manual_seed(0)))
                    if data is not None and batch_size is not None
                    else None
                )
                fitted = guide(model, first, restarts)
                history = run_svi(
                    model,
                    data,
                    fitted,
                    optimizer=optimizer or Adam(),
                    stop=stop or RelativeImprovement(),
                    num_steps=num_steps,
                    batch_size=batch_size,
                    jit=jit and model.traceable,
                    callbacks=callbacks,
                    fingerprint=fingerprint,
                    resume=resume,
                )
                collector = draw_guide(model, fitted, num_draws, threshold)
        except Aborted:
            raise  # in the middle of a step: the last checkpoint on disk stands
        except KeyboardInterrupt:
            for callback in callbacks:
                if isinstance(callback, Checkpoint):
                    callback.write()
            raise
        finally:
            for callback in callbacks:
                callback.close()
    posterior = Posterior.from_collector(
        model,
        collector,
        history,
        guide=name,
        calibrated=earns_badge(model, guide, batch_size),
        seed=seed,
        threshold=None if collector.has_inclusion or "existence" in model.dims else threshold,
    )
    return replace(posterior, attributes=collector.extras())


def draw_guide(model: Model, guide: Guide, num_draws: int, threshold: float) -> Collector:
    """Draws from a fitted guide; a diverged guide gives draws that are not finite, and the history says so."""
    collector = Collector(model, guide.num_restarts, num_draws, has_inclusion="inclusion" in model.dims)
    size = guide.num_restarts * max(math.prod(shape) for shape in collector.shape.values())
    block = max(1, DENSITY_BLOCK // size)
    # sums over a million cells have fewer digits in float32 than importance weights need
    reference = copy.deepcopy(model).double()
    waiting: list[tuple[dict[str, Tensor], Tensor]] = []
    with torch.no_grad():
        align: Aligner | None = None
        for i in range(num_draws):
            values, log_q = guide.draw()
            if isinstance(model, FactorModel):  # signs, places and rotations of factors are arbitrary
                sites = {n: v.reshape(len(v), *collector.shape[n]) for n, v in values.items() if n in collector.shape}
                align = align if align is not None else Aligner(model, sites["W"][0])
                values = {**values, **laid_out(model, align(sites))}
            add_draw(model, collector, values, threshold)
            if i % collector.thin == 0:
                waiting.append((values, log_q))
            if waiting and (len(waiting) == block or i == num_draws - 1):
                for name, value in densities(reference, waiting).items():
                    collector.densities.setdefault(name, []).append(value)
                waiting = []
    return collector


def densities(model: Model, drawn: Sequence[tuple[dict[str, Tensor], Tensor]]) -> dict[str, Tensor]:
    """``lp`` = log p(X, z) and ``lq`` = log q(z) of draws of a guide, each ``(restart, draw)``; NaN where a draw is not
    finite.

    No ``lq`` for a point estimate, whose q has no density, nor when q covers sites of minibatches (intercepts), which
    the likelihood of all cells integrates out.
    """
    num_draws, num_restarts = len(drawn), len(drawn[0][1])
    values = {name: torch.cat([v[name] for v, _ in drawn]).double() for name in drawn[0][0]}
    with pyro.validation_enabled(False):  # a diverged guide gets NaN here, not an error
        lp = log_joint(model, values, None, num_draws * num_restarts)[0]
    result = {"lp": lp.reshape(num_draws, num_restarts).T}
    lq = torch.stack([log_q for _, log_q in drawn], dim=1)
    if set(values) <= set(model.dims) and bool((lq != 0).any()):
        result["lq"] = lq.double()
    return result


def _digest(model: Model) -> str:
    """A short hash of what the model conditions on."""
    digest = hashlib.sha256()
    for name, buffer in sorted(model.named_buffers()):
        digest.update(name.encode())
        digest.update(buffer.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


__all__ = ["History", "default_guide", "fit"]
