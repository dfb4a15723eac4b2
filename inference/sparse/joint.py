r"""The joint density of draws of a sparse network in closed form, from sums over its edges.

Given the graph, what the prior says of the edges is a function of a few sums over each class of equal knowledge
(`classes`), and what the data say is one product with the Gram matrix:

.. math:: \log p(X, z) = \log p(X\mid W, \sigma^2) + \sum_c \big[n_c \ell_c - N_c \log(1 + e^{\ell_c})\big]
          + \sum_{tg} \log N\big(W_{tg}/\sigma_g \mid \gamma_{tg} s m_{tg},\ s_{tg}^2\big) - \log\sigma_g
          + \log p(\text{hyperparameters}),

with :math:`n_c` of the :math:`N_c` edges of class c present, :math:`\ell_c` their log-odds, and :math:`s_{tg}` the
slab's scale s or the spike's ρ s. A trace of the model works out a density for each edge and site, which takes twenty
times as long.
"""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

from ...models import RegressionNetwork
from ...models.observation.designs import Design
from ...models.observation.gram_normal import rows_of
from ..runs.threads import one_torch_thread
from .classes import SparseUpdates
from .compiled import compiled

LOG_ROOT = 0.5 * math.log(2 * math.pi)


@compiled
def edge_sums(
    weight: np.ndarray, present: np.ndarray, allowed: np.ndarray, member: np.ndarray, inverse: np.ndarray,
    number: np.ndarray, linear: np.ndarray, square: np.ndarray,
) -> float:  # fmt: skip
    """Of the edges that are ``present`` (tf, target), number, sum and sum of squares of ``weight`` (tf, target) in
    units of the noise sd, of which ``inverse`` (target,) is the reciprocal, added to the three ``(class,)`` arrays;
    returns the sum of squares of the others that are ``allowed`` (tf, target). ``member`` as in `Terms`."""
    by_class, others = member.size > 1, 0.0
    for tf in range(weight.shape[0]):
        for target in range(weight.shape[1]):
            if not allowed[tf, target]:
                continue
            value = np.float64(weight[tf, target]) * inverse[target]
            if present[tf, target]:
                place = member[target, tf] if by_class else tf
                number[place] += 1.0
                linear[place] += value
                square[place] += value * value
            else:
                others += value * value
    return others


def log_edges_and_data(model: RegressionNetwork, draws: Mapping[str, np.ndarray]) -> np.ndarray:
    """``(chain, draw)`` log p(X | W, σ²) + log p(W, γ, hubs | hyperparameters), float64.

    Parameters
    ----------
    model
        A network that the sparse sampler is for (`engines.sparse_gibbs.refusal`).
    draws
        By site, ``(chain, draw, *dims)``.
    """
    shape = draws["W"].shape[:2]
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in draws.items()}
    prior: Any = model.edge_prior.family
    allowed = model.edge_prior.allowed.cpu()
    updates = SparseUpdates(prior, allowed, torch.Generator(), model.context_scale)
    state, count = _state(prior, flat), len(flat["W"])
    logit, loc = updates.log_odds(state), updates.location(state)  # (draw, class)
    classes, may = updates.sparse, allowed.numpy()
    slab, ratio = state["slab_scale"].double().numpy(), state["spike_ratio"].double().numpy()
    noise = flat["noise_variance"].astype(np.float64)  # (draw, target)
    number, linear, square = np.zeros((3, count, len(classes.tf)))
    others, data = np.empty(count), _Likelihood.of(model)
    likelihood = np.empty(count)

    def of(i: int) -> None:
        sums = number[i], linear[i], square[i]
        others[i] = edge_sums(flat["W"][i], flat["inclusion"][i], may, classes.member, noise[i] ** -0.5, *sums)
        likelihood[i] = data(flat["W"][i], noise[i])

    with one_torch_thread() as threads, ThreadPoolExecutor(threads) as pool:
        list(pool.map(of, range(count)))
    m, ell, size = loc.numpy(), logit.numpy(), classes.size.double().numpy()
    s = slab[:, None]
    found = (number * ell - size * np.logaddexp(0.0, ell)).sum(1)
    found -= 0.5 * (square / s**2 - 2 * m * linear / s + m**2 * number).sum(1) + 0.5 * others / (slab * ratio) ** 2
    absent = may.sum() - number.sum(1)
    found -= may.sum() * (LOG_ROOT + np.log(slab)) + absent * np.log(ratio) + 0.5 * np.log(noise) @ may.sum(0)
    if "hub" in flat:
        spread = state["hub_scale"].double().numpy()[:, None]
        hub = flat["hub"].astype(np.float64)
        found -= (0.5 * (hub / spread) ** 2 + np.log(spread) + LOG_ROOT).sum(1)
    return (found + likelihood).reshape(shape)


def _state(prior: Any, flat: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The hyperparameters as `SparseUpdates` has them, each draw a chain; those that are fixed repeated."""
    count = len(flat["W"])
    scalars = {
        "edge_logit": prior.edge_logit,
        "slab_scale": prior.slab_scale,
        "spike_ratio": prior.spike_ratio,
        "hub_scale": prior.hub_scale,
    }
    state = {
        name: hyper.constants[0].cpu().expand(count) if hyper.is_fixed else torch.from_numpy(flat[name])
        for name, hyper in scalars.items()
    }
    state |= {name: torch.from_numpy(flat[name]) for name in ("trust", "sign_trust") if name in flat}
    return state | ({"hub": torch.from_numpy(flat["hub"])[..., None]} if "hub" in flat else {})


@compiled
def add_errors(
    step: np.ndarray, product: np.ndarray, residual: np.ndarray, error: np.ndarray
) -> None:  # fmt: skip
    """``error`` (target,) float64 grows by Σ_t d (G d − 2 r), of ``step`` d, ``product`` G d and ``residual`` r, (tf,
    target)."""
    for tf in range(step.shape[0]):
        for target in range(step.shape[1]):
            gap = np.float64(product[tf, target]) - 2.0 * np.float64(residual[tf, target])
            error[target] += np.float64(step[tf, target]) * gap


class _Likelihood(NamedTuple):
    """log p(X | W, σ²), intercepts integrated out, of one draw after the other.

    The product with the Gram matrix is of the model's precision: what it is of, the distance from the anchor, is as
    small as the posterior is narrow, and so is its rounding. Sums are of float64.
    """

    design: Design
    allowed: torch.Tensor
    residual: np.ndarray
    sse: np.ndarray
    dof: np.ndarray
    constant: float

    @classmethod
    def of(cls, model: RegressionNetwork) -> "_Likelihood":
        design, rows = model.design(), rows_of(model.observed())
        residual = np.ascontiguousarray(rows[: design.num_tfs].numpy(force=True))
        sse = rows[design.num_tfs].double().numpy(force=True)
        constant = 0.0 if design.log_count is None else -0.5 * float(design.log_count.double().sum())
        dof = design.dof[0].double().numpy(force=True)
        return cls(design, model.edge_prior.allowed, residual, sse, dof, constant)

    def __call__(self, weight: np.ndarray, noise: np.ndarray) -> float:
        """Of ``weight`` (tf, target) and ``noise`` (target,)."""
        with torch.no_grad():
            step = torch.from_numpy(weight).to(self.design.anchor) * self.allowed - self.design.anchor
            product = self.design.product(step)
        error = self.sse.copy()
        add_errors(step.numpy(force=True), product.numpy(force=True), self.residual, error)
        return self.constant - 0.5 * float((self.dof * np.log(2 * math.pi * noise) + error / noise).sum())
