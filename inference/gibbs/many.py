"""Gibbs kernels of many networks side by side."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ...models import LinearNetwork
from ..draws.moments import Collector
from .hyper import EdgeClasses, HyperUpdates, State, slab_scale, truncated_normal
from .kernel import RegressionKernel
from .regressions import Regressions
from .streams import Streams


class ManyKernel(RegressionKernel):
    """`GibbsKernel` of several networks of equal shape: their chains one after the other, each with its own data,
    knowledge and generator.

    Parameters
    ----------
    models
        As `fit_many` takes them, checked.
    num_chains
        Chains of each.
    seeds
        One for each.
    """

    def __init__(self, models: Sequence[LinearNetwork], *, num_chains: int, seeds: Sequence[int]) -> None:
        priors = [m.edge_prior.family for m in models]
        prior: Any = copy.deepcopy(priors[0])
        for name in ("probability", "sign"):
            prior.register_buffer(name, torch.stack([getattr(p, name) for p in priors]))  # (fit, source, tf, target)
        allowed = torch.stack([p.allowed for p in priors])  # (fit, tf, target)
        generator = Streams.from_seeds(seeds, models[0].constant.device)
        hyper = ManyUpdates(prior, allowed, generator, models[0].context_scale)
        hyper.set_chains(num_chains)
        super().__init__(Regressions.of(models), hyper, num_chains=len(models) * num_chains)


class ManyClasses(EdgeClasses):
    """Classes of edges of all fits together: ``member`` ``(fit, edge)``, ``count`` ``(fit * chain, class)``, zero where
    a fit has no such edges."""

    def sums(self, value: Tensor) -> Tensor:
        fits, width = len(self.member), len(self.tf) + 1
        by_fit = value.flatten(1).unflatten(0, (fits, -1))  # (fit, chain, edge)
        place = self.member[:, None].expand_as(by_fit)
        out = value.new_zeros(*by_fit.shape[:2], width).scatter_add_(2, place, by_fit)
        return out.flatten(0, 1)[:, :-1]


class ManyUpdates(HyperUpdates):
    """`HyperUpdates` with the edges of each fit: ``allowed`` ``(fit, tf, target)``, prior networks ``(fit, source, tf,
    target)``."""

    def _set_edges(self) -> None:
        fits, num_tfs, num_targets = self.allowed.shape
        self.num_tfs = num_tfs
        feature = self.prior.probability
        tf = torch.arange(num_tfs, device=feature.device)[:, None].expand(-1, num_targets).to(feature.dtype)
        table = torch.cat([tf.expand(fits, 1, -1, -1), feature], dim=1)  # (fit, 1 + source, tf, target)
        rows = table.flatten(2).transpose(1, 2).flatten(0, 1)  # (fit * edge, 1 + source)
        keep = self.allowed.flatten()
        classes, member = torch.unique(rows[keep], dim=0, return_inverse=True)
        full = torch.full((len(rows),), len(classes), device=feature.device)
        full[keep] = member
        full = full.unflatten(0, (fits, -1))
        count = torch.stack([torch.bincount(m, minlength=len(classes) + 1)[:-1] for m in full]).to(feature.dtype)
        self.classes = ManyClasses(full, classes[:, 0].long(), classes[:, 1:], count)
        self.num_edges = self.allowed.sum((1, 2)).to(feature.dtype)
        listed = (self.prior.sign != 0).any(1) & self.allowed  # (fit, tf, target)
        self.signed_edges = torch.nonzero(listed.any(0).flatten()).flatten()  # of any fit; a sign of 0 adds nothing
        self.signs = (self.prior.sign * listed[:, None]).flatten(2)[:, :, self.signed_edges]  # (fit, source, edge)

    def set_chains(self, num_chains: int) -> None:
        """Repeat what is counted by fit for its chains."""
        self.classes.count = self.classes.count.repeat_interleave(num_chains, 0)
        self.num_edges = torch.as_tensor(self.num_edges).repeat_interleave(num_chains, 0)
        self.signs = self.signs.repeat_interleave(num_chains, 0)  # (fit * chain, source, edge)
        self.allowed = self.allowed.repeat_interleave(num_chains, 0)

    def _update_sign_trust(self, state: State) -> None:
        scale = slab_scale(self.prior, state).expand_as(state["W"]).flatten(1)[:, self.signed_edges]
        gate = state["inclusion"].flatten(1)[:, self.signed_edges]
        value = state["W"].flatten(1)[:, self.signed_edges] / scale
        psi = state["sign_trust"].clone()
        for k in range(psi.shape[1]):
            sign = self.signs[:, k]  # (fit * chain, edge)
            rest = value - torch.einsum("ck,cke->ce", psi, self.signs) + psi[:, k : k + 1] * sign
            precision = (gate * sign**2).sum(1) + self.prior.sign_trust_prior.constants[0] ** -2
            mean = (gate * sign * rest).sum(1) / precision
            psi[:, k] = truncated_normal(mean, precision.rsqrt(), self.generator)
        state["sign_trust"] = psi


class ManyCollector(Collector):
    """Draws of all fits at once, cut into one `Collector` each at the end.

    Parameters
    ----------
    models
        The fits, in the order of the chains.
    each, num_draws
        Chains of each, and draws to come by chain.
    total
        Number of fits that share the memory for draws.
    """

    def __init__(self, models: Sequence[LinearNetwork], each: int, num_draws: int, total: int) -> None:
        super().__init__(models[0], each * total, num_draws, has_inclusion=True)  # for the stride of the kept draws
        self.models, self.each, self.num_chains = models, each, each * len(models)

    def _accumulate(self, name: str, W: Tensor, inclusion: Tensor, present: Tensor) -> None:
        gate, present = ((v if v.dim() == W.dim() else v[:, None]).expand_as(W) for v in (inclusion, present))
        by_fit = lambda term: term.unflatten(0, (len(self.models), self.each)).sum(1)
        terms = [by_fit(term) for term in (W, W * W, gate, present * (W > 0), present * (W < 0))]
        if name not in self.sums:
            kind = torch.float64 if W.device.type == "cpu" else torch.float32
            self.sums[name] = [torch.zeros(term.shape, dtype=kind, device=W.device) for term in terms]
        for sums, term in zip(self.sums[name], terms, strict=True):
            sums += term

    def split(self) -> Iterator[Collector]:
        """The draws of each fit."""
        stacked = {name: torch.stack(values) for name, values in self.draws.items()}  # (draw, fit * chain, ...)
        assert self.chain_inclusion is not None, "there is at least one draw"
        for i, model in enumerate(self.models):
            rows = slice(i * self.each, (i + 1) * self.each)
            part = Collector(model, self.each, self.num_draws, has_inclusion=True)
            part.thin, part.count = self.thin, self.count
            part.draws = {name: list(value[:, rows]) for name, value in stacked.items()}
            part.sums = {name: [total[i] for total in totals] for name, totals in self.sums.items()}
            part.chain_inclusion = self.chain_inclusion[rows]
            yield part
