r"""Many fits of equal shape as one tensor program: a leading dimension of fits, and a random stream for each."""

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..models import LinearNetwork
from .choice import earns_badge
from .draws.moments import Collector
from .engines.gibbs import Gibbs, sites_of
from .gibbs.hyper import EdgeClasses, HyperUpdates, State, slab_scale, truncated_normal
from .gibbs.kernel import RegressionKernel
from .gibbs.regressions import Regressions
from .gibbs.streams import Streams
from .posterior import Posterior
from .runs.history import History
from .runs.machinery import along_bases
from .storage import describe

WEIGHTS_AT_ONCE = 400_000  # weights of all chains of the fits that run together: beyond it the state leaves the cache


def fit_many(
    models: Sequence[LinearNetwork], *, guide: Gibbs | None = None, seeds: int | Sequence[int] = 0
) -> list[Posterior]:
    """``[fit(model, guide=Gibbs(...), seed=seed) for ...]`` in one tensor program, for many small networks.

    A small fit spends its time starting operations of a few thousand numbers; here each operation serves all fits:
    other prior networks on the same data, bootstraps, simulations. Every fit draws from its own generator in the order
    of `fit`, so it does not depend on what it is fitted with: its draws are those of `fit` with the same seed up to the
    rounding of sums (bit for bit where the linear algebra rounds alike; to 1e-8 in float64). In float32 a difference in
    the last digit can turn one of some millions of comparisons, after which a chain takes another, equally valid way.

    Parameters
    ----------
    models
        `LinearNetwork`s with a `SpikeSlab` prior of the same hyperparameters (alone or in `HardMask`), and equal
        numbers of regulators, targets, contexts, sources, and sources with signs. Without interventions.
    guide
        `Gibbs`. Default ``Gibbs()``.
    seeds
        One for each model, or one for all. Default 0, as `fit`.

    Returns
    -------
    list of Posterior
        In the order of ``models``. Moments use every draw; draws of edge weights are kept as far as those of all fits
        together stay within the memory that `fit` allows one.

    Raises
    ------
    ValueError
        Models that cannot share a tensor program: which one, and what differs.
    """
    models, guide = list(models), guide if guide is not None else Gibbs()
    seeds = [seeds] * len(models) if isinstance(seeds, int) else list(seeds)
    if len(seeds) != len(models):
        raise ValueError(f"{len(seeds)} seeds for {len(models)} models: pass one for each, or a single number")
    sample = along_bases(SAMPLES, type(guide))
    if sample is None:
        raise ValueError(f"fit_many samples by Gibbs(), not by {type(guide).__name__}: use fit for each model")
    for place, model in enumerate(models):
        _check(model, place, models[0])
    posteriors: list[Posterior] = []
    for block in _blocks(models, guide.num_chains):
        posteriors += sample(models[block], guide, seeds[block], len(models))
    return posteriors


def _shape(model: LinearNetwork) -> dict[str, Any]:
    prior = model.edge_prior.family
    return {
        "regulators": len(model.tfs),
        "targets": len(model.targets),
        "contexts": len(model.contexts),
        "sources": len(prior.sources),
        "sources with signs": len(prior.signed_sources),
        "edge prior": json.dumps(describe(prior), sort_keys=True),
        "type": (model.constant.dtype, str(model.constant.device)),
    }


def _check(model: LinearNetwork, place: int, first: LinearNetwork) -> None:
    if along_bases(KERNELS, type(model)) is None:
        raise ValueError(f"model {place} is a {type(model).__name__}, fit_many takes LinearNetwork: use fit")
    prior = model.edge_prior.family
    if not prior.independent_gates:
        raise ValueError(f"model {place} has the prior {type(prior).__name__}, fit_many takes SpikeSlab: use fit")
    if len(model.own):
        raise ValueError(f"model {place} has perturbed targets, with statistics of their own: use fit, or sweep")
    own, other = _shape(model), _shape(first)
    for name, value in own.items():
        if value != other[name]:
            raise ValueError(f"model {place} has {name} {value}, the first has {other[name]}: fit them separately")


def _blocks(models: Sequence[LinearNetwork], num_chains: int) -> Iterator[slice]:
    if models:
        size = num_chains * models[0].residual.numel()
        step = max(1, WEIGHTS_AT_ONCE // size)
        for start in range(0, len(models), step):
            yield slice(start, start + step)


def _sample(models: Sequence[LinearNetwork], guide: Gibbs, seeds: Sequence[int], total: int) -> list[Posterior]:
    started = time.monotonic()
    kernel_class = along_bases(KERNELS, type(models[0]))
    assert kernel_class is not None, "checked"
    kernel = kernel_class(models, num_chains=guide.num_chains, seeds=seeds)
    kernel.setup(guide.num_warmup)
    collector = ManyCollector(models, guide.num_chains, guide.num_samples, total)
    state, record = kernel.initial_params, []
    chains = guide.chains
    for step in range(chains.total):
        state = kernel.sample(state)
        record.append(kernel.log_likelihood(state).cpu().numpy().astype(np.float64))
        if chains.keeps(step):
            collector.add(sites_of(models[0], state), kernel.probability)
    seconds = (time.monotonic() - started) / len(models)
    table = np.stack(record, axis=1).reshape(len(models), guide.num_chains, -1)
    steps = np.arange(1, table.shape[2] + 1)
    posteriors = []
    for model, seed, trace, part in zip(models, seeds, table, collector.split(), strict=True):
        bad = np.flatnonzero(~np.isfinite(trace).all(0))
        reason = f"diverged at sweep {bad[0] + 1}: log-likelihood is not finite" if len(bad) else "budget"
        history = History(reason, trace, steps, np.zeros(len(trace)), seconds)
        badge = earns_badge(model, guide, None)
        posterior = Posterior.from_collector(
            model, part, history, guide=guide.name, calibrated=badge, seed=seed, threshold=None
        )
        posteriors.append(replace(posterior, attributes=part.extras()))
    return posteriors


# -- the kernel ----------------------------------------
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


# -- the draws ----------------------------------------
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
        by_fit = lambda term: term.unflatten(0, (len(self.models), self.each)).sum(1)  # noqa: E731
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


KERNELS: dict[type, type[ManyKernel]] = {LinearNetwork: ManyKernel}
"""Chains of several networks side by side, by their class."""
SAMPLES: dict[type, Callable[..., list[Posterior]]] = {Gibbs: _sample}
"""What fits a block of models at once, by class of engine."""
