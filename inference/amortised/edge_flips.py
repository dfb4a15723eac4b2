r"""What the data say of each edge when the rest of the graph is held and W is integrated out."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...models import GaussianBlock


class Components(NamedTuple):
    """Prior of every weight without its edge and with it: means and sd, broadcastable to ``(*batch, tf, target)``."""

    spike_loc: Tensor
    spike: Tensor
    slab_loc: Tensor
    slab: Tensor


def log_odds_given_rest(block: GaussianBlock, graph: Tensor, parts: Components, logit: Tensor) -> Tensor:
    r"""Log-odds of every edge given all others, the data, σ² and the hyperparameters, ``(*batch, tf, target)``.

    .. math:: \Delta_{tg} = \operatorname{logit}\pi_{tg} + \log\frac{\int N(w; m, s^2)\, e^{hw - cw^2/2}\,dw}
              {\int N(w; 0, \rho^2 s^2)\, e^{hw - cw^2/2}\,dw}

    where c and h are what the data and the other weights say of :math:`W_{tg}`: the precision of its marginal in
    :math:`p(W_g \mid \gamma, X)` less that of its own prior (the cavity), and the same of mean times precision. One
    Cholesky factor gives them for every regulator of a target, so all flips cost one inverse.

    Parameters
    ----------
    block
        W given the graph, the conditional of the model.
    graph
        γ ``(*batch, tf, target)``, with which the block was made.
    parts
        Priors of W without and with the edge.
    logit
        Prior log-odds :math:`\operatorname{logit}\pi`, broadcastable.
    """
    mean, factor = (v.double() for v in block.moments)
    inverse = torch.cholesky_inverse(factor)
    variance = inverse.diagonal(dim1=-2, dim2=-1).mT  # (*batch, tf, target)
    mean = mean.mT
    spike_loc, spike, slab_loc, slab = (part.double() for part in parts)
    here = graph > 0
    loc, scale = torch.where(here, slab_loc, spike_loc), torch.where(here, slab, spike)
    precision = (1 / variance - scale**-2).clamp_min(0.0)
    shift = mean / variance - loc / scale**2
    gain = _log_integral(shift, precision, slab_loc, slab) - _log_integral(shift, precision, spike_loc, spike)
    return (logit + gain).to(graph)


def _log_integral(shift: Tensor, precision: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log ∫ N(w; loc, scale²) exp(shift·w − precision·w²/2) dw."""
    variance = scale**2
    widened = 1 + precision * variance
    exponent = (shift**2 * variance + 2 * shift * loc - precision * loc**2) / widened
    return 0.5 * (exponent - widened.log())
