"""How far a guide is from its model: importance weights of its draws, of the whole and target by target."""

from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from ...models import ExpressionData, LinearNetwork
from ..convergence import median_khat, target_khat
from .pyro_guide import AmortisedGuide

OF_TARGETS = ("X", "inclusion", "W", "noise_variance")


class Weighed(NamedTuple):
    r"""Draws of a guide against its model.

    ``log_weight`` ``(draw,)``: :math:`\log p(X, z) - \log q(z)`, whose mean is the ELBO. ``target_log_weight`` ``(draw,
    target)``: the same of one target's graph, weights and noise given the hyperparameters of that draw. ``elbo`` and
    its standard error in nats; ``log_evidence``, the importance-weighted bound :math:`\log\frac1S\sum_s e^{w_s}`;
    ``khat`` of the whole, ``target_khat`` ``(target,)``: Pareto k of the weights (Vehtari et al. 2024), above 0.7 the
    weights cannot correct the guide; NaN where too few different weights were drawn.
    """

    log_weight: np.ndarray
    target_log_weight: np.ndarray
    elbo: float
    elbo_se: float
    log_evidence: float
    khat: float
    target_khat: np.ndarray


def weigh(
    model: LinearNetwork,
    guide: AmortisedGuide,
    batch: ExpressionData | None = None,
    *,
    num_draws: int = 500,
    at_once: int = 50,
    seed: int = 0,
) -> Weighed:
    """Draw ``num_draws`` times from ``guide`` and weigh every draw by p/q, as `pyro.infer.Importance` does one by one;
    ``at_once`` of them in an outer plate. The global generators are not touched."""
    whole, parts = [], []
    devices = [model.constant.device] if model.constant.is_cuda else []
    with torch.random.fork_rng(devices=devices), torch.no_grad(), poutine.block():
        torch.manual_seed(seed)
        for first in range(0, num_draws, at_once):
            one, other = _weights(model, guide, batch, min(at_once, num_draws - first))
            whole.append(one)
            parts.append(other)
    log_weight, by_target = (torch.cat(v).double().cpu().numpy() for v in (whole, parts))
    top = log_weight.max()
    return Weighed(
        log_weight,
        by_target,
        float(log_weight.mean()),
        float(log_weight.std(ddof=1) / num_draws**0.5) if num_draws > 1 else float("nan"),
        float(top + np.log(np.exp(log_weight - top).mean())),
        median_khat(log_weight[None]),
        target_khat(by_target)[1],
    )


def _weights(
    model: LinearNetwork, guide: AmortisedGuide, batch: ExpressionData | None, count: int
) -> tuple[Tensor, Tensor]:
    plate = lambda: pyro.plate("draws of the guide", count, dim=-1 - model.max_plate_nesting)
    with plate():
        drawn = poutine.trace(guide).get_trace(batch)
    with plate():
        story = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(batch)
    whole, parts = 0.0, 0.0
    for sign, trace in ((1.0, story), (-1.0, drawn)):
        trace.compute_log_prob()
        for name, node in trace.nodes.items():
            if node["type"] != "sample" or type(node["fn"]).__name__ == "_Subsample":
                continue
            log_prob: Any = node["log_prob"]
            if log_prob.dim() <= model.max_plate_nesting:  # seen data, the same for every draw
                log_prob = log_prob.expand(count, *(1,) * (model.max_plate_nesting - log_prob.dim()), *log_prob.shape)
            whole = whole + sign * log_prob.reshape(count, -1).sum(1)
            if name in OF_TARGETS:
                parts = parts + sign * log_prob.reshape(count, -1, log_prob.shape[-1]).sum(1)
    return torch.as_tensor(whole), torch.as_tensor(parts)
