r"""What a source bought, from one fit: its part of the prior raised to a power, by importance weights of the draws."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from arviz_stats import psense
from arviz_stats.base import array_stats
from torch import Tensor

from ...inference import Posterior
from ...inference.datatree import to_datatree
from ...inference.draws.intervals import thin_of
from ...inference.draws.moments import aligned

GOOD_KHAT = 0.7  # above it the weights do not carry the target's answer (Vehtari et al. 2024)


@dataclass(frozen=True, eq=False)
class Scaled:
    """Inclusion probabilities under a power of one source, target by target.

    ``inclusion`` ``(tf, target)``; ``khat`` ``(target,)``, the Pareto k-hat of each target's weights: up to 0.7 they
    are reliable. Targets of which the source says nothing have weights of one and k-hat −inf.
    """

    inclusion: np.ndarray
    khat: np.ndarray

    @property
    def reliable(self) -> np.ndarray:
        """``(target,)`` bool."""
        return self.khat <= GOOD_KHAT


def scale_source(posterior: Posterior, source: str, power: float = 0.0) -> Scaled:
    r"""Edges of every target, had the source counted to a power in that target's regression.

    The source's part of the prior, :math:`\prod_t e^{\gamma_{tg} b_k P^k_{tg}}`, is raised to ``power`` in the row of
    one target g at a time: log-odds :math:`a + \sum_{j\ne k} b_j P^j_{tg} + \alpha\, b_k P^k_{tg}`, and α times its
    shift of the slab's mean where it has signs. All other targets keep it, so base rate and trust stay what the whole
    data say, and the result for g is what a fit gives that knows nothing from the source of g alone
    (`PriorNetwork.held_out`, with power 0). Given the hyperparameters targets are independent; each draw of W is
    weighted by the ratio of the two priors of that target's weights, inclusion summed out,

    .. math:: w_s \propto \prod_t \frac{(1-\pi'_{t})\,N_0(W_t) + \pi'_{t}\,N_1(W_t)}
              {(1-\pi_{t})\,N_0(W_t) + \pi_{t}\,N_1(W_t)},

    with Pareto smoothing (Vehtari et al. 2024; power-scaling: Kallioinen et al. 2024).

    Parameters
    ----------
    posterior
        Of a network with a `SpikeSlab` prior that takes knowledge by ``inclusion`` (alone or in a `HardMask`), one
        context.
    source
        Name of the source.
    power
        α: 0 (default) leaves the source out, 1 changes nothing, 2 doubles its log-odds.

    Raises
    ------
    ValueError
        Another prior or way of entering, an unknown source.
    """
    base: Any = posterior.model.edge_prior.family
    if not base.holds_trust or base.strategy != "inclusion" or "trust" not in posterior.draws:
        raise ValueError(
            "a source is scaled without refitting where it enters the log-odds of a spike-and-slab prior "
            "(strategy inclusion): refit the others"
        )
    if len(posterior.coords["context"]) > 1:
        raise ValueError("a source is scaled without refitting in fits of one context: refit those of several")
    if source not in base.sources:
        raise ValueError(f"no source {source!r}: the fit has {list(base.sources)}")
    k = base.sources.index(source)
    draws = aligned(posterior.draws, thin_of(posterior))
    flat = {name: torch.from_numpy(value.reshape(-1, *value.shape[2:])).double() for name, value in draws.items()}
    scalar = lambda name, hyper: flat[name][:, None] if name in flat else hyper.constants[0].double()
    slab, ratio = scalar("slab_scale", base.slab_scale), scalar("spike_ratio", base.spike_ratio)
    start = scalar("edge_logit", base.edge_logit)
    confidence, allowed = base.probability.double().cpu(), base.allowed.cpu()
    sign_power = torch.tensor([power if name == source else 1.0 for name in base.signed_sources], dtype=torch.float64)
    inclusion = torch.zeros(allowed.shape, dtype=torch.float64)
    khat = np.full(allowed.shape[1], -np.inf)
    for g in range(allowed.shape[1]):
        rows = allowed[:, g]
        feature = confidence[:, rows, g]  # (source, tf)
        logit = start + flat["trust"] @ feature  # (draw, tf)
        if "hub" in flat:
            logit = logit + flat["hub"][:, rows]
        scaled = logit + (power - 1) * flat["trust"][:, k : k + 1] * feature[k]
        W = flat["W"][:, rows, g]
        if base.measured_in == "noise":
            W = W / flat["noise_variance"][:, g : g + 1].sqrt()
        location = shifted = torch.zeros(1, dtype=torch.float64)
        if "sign_trust" in flat:
            sign = base.sign.double().cpu()[:, rows, g]
            location, shifted = flat["sign_trust"] @ sign, (flat["sign_trust"] * sign_power) @ sign
        odds = _log_bayes_factor(W, slab, ratio, location)
        new_odds = _log_bayes_factor(W, slab, ratio, shifted)
        log_weight = (_log_mixture(scaled, new_odds) - _log_mixture(logit, odds)).sum(1).numpy()
        if np.ptp(log_weight) > 0:
            smoothed, tail = array_stats.psislw(-log_weight)  # it takes log densities left out
            weight = np.exp(smoothed - smoothed.max())
            khat[g] = float(tail)
        else:
            weight = np.ones_like(log_weight)
        present = torch.sigmoid(scaled + new_odds)
        inclusion[rows, g] = torch.from_numpy(weight / weight.sum()) @ present
    return Scaled(inclusion.numpy(), khat)


def _log_bayes_factor(W: Tensor, slab: Tensor, ratio: Tensor, location: Tensor) -> Tensor:
    """log N(W; s m, s²) − log N(W; 0, ρ²s²)."""
    spike = slab * ratio
    return torch.log(spike / slab) - 0.5 * ((W / slab - location) ** 2 - (W / spike) ** 2)


def _log_mixture(logit: Tensor, odds: Tensor) -> Tensor:
    """log[(1 − π) + π e^odds], the density of W over that of the spike."""
    return F.softplus(logit + odds) - F.softplus(logit)


def prior_sensitivity(posterior: Posterior) -> pd.DataFrame:
    """How much the hyperparameters would move if the prior of the trust were a little stronger or weaker.

    ArviZ's power-scaling sensitivity (``psense``: distance of the posterior from its reweighted self, by unit of log2
    of the power) of every hyperparameter to the prior of ``trust``; above 0.05 the prior on trust matters for it.

    Returns
    -------
    DataFrame
        ``site, sensitivity``, one row a scalar.

    Raises
    ------
    ValueError
        A fit without sources, or without draws of their trust.
    """
    if "trust" not in posterior.draws:
        raise ValueError("this fit has no trust in a source to scale: fit with prior networks that are not a mask")
    tree = to_datatree(posterior)
    names = [name for name in tree["log_prior"].data_vars if name in tree["posterior"].data_vars]
    found = psense(tree, var_names=[str(n) for n in names], group="prior", group_var_names=["trust"])
    rows = []
    for name in names:
        value = found[name]
        for place, number in zip(np.ndindex(*value.shape), np.atleast_1d(value.to_numpy()).flatten(), strict=True):
            labels = [str(value[d].to_numpy()[i]) for d, i in zip(value.dims, place, strict=True)]
            rows.append({"site": f"{name}[{', '.join(labels)}]" if labels else str(name), "sensitivity": float(number)})
    return pd.DataFrame(rows)
