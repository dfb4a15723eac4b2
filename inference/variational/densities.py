"""Log densities of draws: of the joint, and of the prior."""

import copy
import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from ...models import Model, RegressionNetwork
from ...models.observation.observable import densities_not_asked
from ..draws.layout import is_edge_site, padded
from ..engines.sparse_gibbs import refusal
from .elbo import by_restart, log_joint

BLOCK = 100_000  # edge weights evaluated at once: temporaries stay in the cache, which is three times faster


def log_joint_of(model: Model, draws: Mapping[str, np.ndarray]) -> np.ndarray:
    """``(chain, draw)`` log p(X, z) of joint draws; NaN where a draw is not finite.

    In float64, whatever the model was fitted in: sums over a million cells lose digits otherwise. Edges that may not
    exist do not count: their weights are free in the prior and integrate to one. Discrete sites that ``draws`` lacks
    are summed out.

    Parameters
    ----------
    draws
        By site, ``(chain, draw, *dims)``, as from `aligned`.
    """
    if refusal(model) is None and "inclusion" in draws:
        from ..sparse.joint import log_edges_and_data  # here: numba takes half a second

        prior = [value.reshape(*value.shape[:2], -1).sum(-1) for value in log_prior_of(model, draws).values()]
        return log_edges_and_data(cast(RegressionNetwork, model), draws) + sum(prior)
    model, shape = copy.deepcopy(model).double(), draws["W"].shape[:2]
    block = max(1, BLOCK // max(math.prod(value.shape[2:]) for value in draws.values()))
    parts = []
    for start in range(0, math.prod(shape), block):
        values = _values(model, draws, slice(start, start + block))
        count = len(values["W"])
        with torch.no_grad(), pyro.validation_enabled(False):  # draws of a diverged guide give NaN, not an error
            parts.append(_total(model, log_joint(model, values, None, count)[1], count).cpu().numpy())
    return np.concatenate(parts).reshape(shape)


def log_prior_of(model: Model, draws: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``(chain, draw, *dims)`` log prior density of each site without parents that is no edge; ``draws`` as above."""
    model = copy.deepcopy(model).double()
    with torch.no_grad(), pyro.validation_enabled(False), densities_not_asked():
        held = poutine.condition(model.hyper, data=_values(model, draws, slice(0, 1)))
        trace = poutine.trace(poutine.enum(held, first_available_dim=-(model.max_plate_nesting + 2))).get_trace()
        result = {}
        for name, value in draws.items():
            if is_edge_site(model, name):
                continue
            fn: Any = trace.nodes[name]["fn"]
            if len(fn.batch_shape) > model.max_plate_nesting:
                continue  # a parent has brought the dimension of the draws into its distribution
            single = fn.base_dist if fn.event_dim else fn  # by element, where the site is a vector
            density = single.log_prob(_values(model, {name: value}, slice(None))[name])
            result[name] = density.reshape(value.shape).cpu().numpy()
    return result


def _values(model: Model, draws: Mapping[str, np.ndarray], rows: slice) -> dict[str, Tensor]:
    """The chosen draws, chains pooled, laid out as the model has them."""
    flat = {name: value.reshape(-1, *value.shape[2:])[rows] for name, value in draws.items()}
    dtype, device = model.constant.dtype, model.constant.device
    return {n: padded(model, n, torch.tensor(value, dtype=dtype, device=device)) for n, value in flat.items()}


def _total(model: Model, trace: poutine.Trace, count: int) -> Tensor:
    """``(draw,)`` sum of a trace's log-probabilities without the edges that may not exist."""
    base, allowed = model.max_plate_nesting + 1, model.edge_prior.allowed
    total = allowed.new_zeros(count, dtype=torch.float64)
    enumerated = []
    for name, site in trace.nodes.items():
        if site["type"] != "sample":
            continue
        log_prob = site["log_prob"]
        if log_prob.dim() > base:
            enumerated.append(log_prob)
            continue
        if name in model.dims and is_edge_site(model, name):
            log_prob = torch.where(allowed, log_prob, 0.0)
        total = total + by_restart(log_prob, base, count)
    if enumerated:
        joint = torch.logsumexp(
            sum(enumerated, start=total.new_zeros(())), dim=0
        )  # `log_joint` has checked that these are elementwise
        total = total + by_restart(torch.where(allowed, joint, 0.0), base, count)
    return total
