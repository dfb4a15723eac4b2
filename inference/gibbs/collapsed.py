r"""Moves of the spike-and-slab hyperparameters with every inclusion variable summed out.

Given inclusion variables the intercept and the scales can hardly move, and given those the variables can hardly flip:
where regulators are strongly correlated the sampler would crawl. Given the weights alone,

.. math:: p(W \mid a, s, \rho) = \prod_{tg} \pi_{tg} N(W_{tg}; s_{tg} m_{tg}, s_{tg}^2) + (1 - \pi_{tg}) N(W_{tg}; 0,
          \rho^2 s^2),

the hyperparameters move freely, and γ given them and W is an exact draw (a partially collapsed Gibbs step, van Dyk &
Park 2008).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .hyper import HyperUpdates, State
from .streams import uniform


@dataclass(eq=False)
class MixtureDensity:
    """Log density of each weight, its inclusion variable summed out.

    ``W`` ``(chain, tf, target)``; ``offset`` the log-odds of inclusion without the intercept; ``widening`` the slab's
    scale over s; ``location`` the slab's mean in units of its scale or ``None``; ``allowed`` 0/1.
    """

    W: Tensor
    offset: Tensor
    widening: Tensor
    location: Tensor | None
    allowed: Tensor

    def __call__(self, edge_logit: Tensor, slab: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
        """``(chain, tf, target)`` log density and log-odds of inclusion given W; hyperparameters are ``(chain,)``."""
        eta = edge_logit[:, None, None] + self.offset
        wide, spike = slab[:, None, None] * self.widening, (slab * ratio)[:, None, None]
        absent = 0.5 * (self.W / spike) ** 2
        z = self.W / wide if self.location is None else self.W / wide - self.location
        present = eta + torch.log(spike / wide) - 0.5 * z**2
        # not softplus(present + absent) − absent: where a weight is millions of spikes wide nothing would be left of it
        terms = torch.logaddexp(present, -absent) - torch.nn.functional.softplus(eta) - spike.log()
        return terms, present + absent


Triple = tuple[Tensor, Tensor, Tensor]


def keep_where(accepted: Tensor, new: Triple, old: Triple) -> Triple:
    """Chain by chain the new values where accepted, the old elsewhere."""
    return (
        torch.where(accepted, new[0], old[0]),
        torch.where(accepted, new[1], old[1]),
        torch.where(accepted, new[2], old[2]),
    )


def update_collapsed(hyper: HyperUpdates, density: MixtureDensity, state: State) -> None:
    """Random-walk steps of a, of s with the spike's width held, and of ρ; then the inclusion variables; in place."""
    prior = hyper.prior
    names = ("edge_logit", "slab_scale", "spike_ratio")
    current: Triple = (state["edge_logit"], state["slab_scale"], state["spike_ratio"])
    terms, odds = density(*current)
    for name in names:
        if getattr(prior, name).is_fixed:
            continue
        step = hyper.step(f"{name} collapsed", current[0]) * hyper.normal(current[0])
        logit, slab, ratio = current
        if name == "edge_logit":
            proposed = (logit + step, slab, ratio)
            change = prior.edge_logit.log_prob(proposed[0]) - prior.edge_logit.log_prob(logit)
        elif name == "slab_scale" and not prior.spike_ratio.is_fixed:
            proposed = (logit, slab * step.exp(), ratio * (-step).exp())
        elif name == "slab_scale":
            proposed = (logit, slab * step.exp(), ratio)
        else:
            proposed = (logit, slab, ratio * step.exp())
        inside = proposed[2] < 1
        proposed = keep_where(inside, proposed, current)
        if name != "edge_logit":
            change = torch.zeros_like(logit)
            for key, new, old in zip(names[1:], proposed[1:], current[1:], strict=True):
                change = change + hyper.log_hyperprior(key, new) - hyper.log_hyperprior(key, old)
        new_terms, new_odds = density(*proposed)
        # differences edge by edge before the sum: the sums themselves are too large for float32 to compare
        change = change + ((new_terms - terms) * density.allowed).sum((1, 2))
        accepted = hyper.accept(f"{name} collapsed", torch.where(inside, change, -math.inf), 0.44)
        current = keep_where(accepted, proposed, current)
        keep = accepted[:, None, None]
        terms, odds = torch.where(keep, new_terms, terms), torch.where(keep, new_odds, odds)
    for name, value in zip(names, current, strict=True):
        state[name] = value
    u = uniform(odds.shape, hyper.generator, odds)
    state["inclusion"] = (u < torch.sigmoid(odds)).to(odds.dtype) * density.allowed
