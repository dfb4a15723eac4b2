r"""Graphs of an amortised guide: Bernoulli edges whose gradient is exact edge by edge."""

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.score_parts import ScoreParts
from torch import Size, Tensor
from torch.distributions import register_kl


class Edges(dist.Bernoulli):
    r"""Independent edges, :math:`\gamma_{tg} \sim \mathrm{Bernoulli}(\pi_{tg})`, with their own gradient of the ELBO.

    .. math:: \frac{\partial}{\partial \ell_{tg}} E_q[\log p - \log q] = \pi_{tg}(1 - \pi_{tg})\,
              E_{q(\gamma_{-tg})}[\Delta_{tg}(\gamma_{-tg}) - \ell_{tg}], \qquad \pi = \sigma(\ell)

    where Δ are the log-odds of the edge given the rest of the graph with W integrated out (`log_odds_given_rest`). Each
    edge is summed over exactly and only the others are drawn (local expectation gradients, Titsias & Lázaro-Gredilla
    2015): no score function, no baseline. Pyro asks a distribution for these terms (`ScoreParts`, as of its rejection
    samplers), so to `Trace_ELBO` and `TraceGraph_ELBO` the site is a reparameterised one.

    ``log_prob`` is the plain log mass, and its derivatives too. `TraceMeanField_ELBO` finds no closed form of the KL
    divergence here and takes the same terms; importance-weighted objectives (`RenyiELBO`) are not bounds that these
    gradients are of: do not train with them.

    Parameters
    ----------
    logits
        ℓ ``(*batch, tf, target)``.
    learned
        True where ℓ is the guide's; elsewhere it is the prior's own, and cancels.
    flips
        γ → Δ, called when a gradient is asked for.
    carried
        ``log_prob`` itself carries the gradient of the ELBO, for objectives that do not ask (`TraceEnum_ELBO`).
    """

    has_rsample = True
    has_enumerate_support = False  # it is sampled, whatever the model does

    def __init__(
        self,
        logits: Tensor,
        learned: Tensor,
        flips: Callable[[Tensor], Tensor],
        *,
        carried: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        self.learned, self.flips, self.carried = learned, flips, carried
        super().__init__(logits=logits, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Edges":
        return Edges(self.logits.expand(batch_shape), self.learned, self.flips, carried=self.carried)

    def rsample(self, sample_shape: Any = Size()) -> Tensor:
        result: Tensor = self.sample(sample_shape)
        return result

    def log_prob(self, value: Tensor) -> Tensor:
        log_q: Tensor = super().log_prob(value)
        if self.carried and self._learns:
            term = self._entropy_term(value, log_q)
            return log_q.detach() + (term - term.detach())
        return log_q

    def score_parts(self, x: Tensor, *args: Any, **kwargs: Any) -> ScoreParts:
        log_q = self.log_prob(x)
        nothing: Any = 0  # which Pyro knows by its type
        if self.carried or not self._learns:
            return ScoreParts(log_q, nothing, log_q)
        return ScoreParts(log_q, nothing, self._entropy_term(x, log_q))

    @property
    def _learns(self) -> bool:
        return torch.is_grad_enabled() and self.logits.requires_grad

    def _entropy_term(self, graph: Tensor, log_q: Tensor) -> Tensor:
        """What is subtracted from the surrogate objective: its derivative in ℓ is minus that of the ELBO."""
        with torch.no_grad():
            p = torch.sigmoid(self.logits)
            slope = p * (1 - p) * (self.flips(graph) - self.logits)
        return torch.where(self.learned, -slope * self.logits, log_q)


@register_kl(Edges, dist.Bernoulli)
def _no_closed_form(q: Edges, p: dist.Bernoulli) -> Tensor:
    """The divergence of `Bernoulli`, which `Edges` would inherit, has another gradient than the ELBO of a graph whose
    weights depend on it."""
    raise NotImplementedError
