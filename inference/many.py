r"""Many fits of equal shape as one tensor program: a leading dimension of fits, and a random stream for each."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..models import LinearNetwork
from ..models.data.twins import twin_notes
from .choice import earns_badge
from .draws.description import describe
from .engines.gibbs import Gibbs
from .fit import fit
from .gibbs.many import ManyCollector, ManyKernel
from .gibbs.sites import sites_of
from .lookup import along_bases
from .posterior import Posterior
from .runs.history import History

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
        numbers of regulators, targets, contexts, sources, and sources with signs. Without interventions. Those with
        several contexts are fitted one by one, unless ``differences="normal"``.
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
    if guide.chains.longest > 1:
        raise ValueError(f"longest={guide.chains.longest}: fits in one program are of one length: use fit for each")
    for place, model in enumerate(models):
        _check(model, place, models[0])
    if models and models[0].has_own_edges:  # their number changes from sweep to sweep and from fit to fit
        return [fit(model, guide=guide, seed=seed) for model, seed in zip(models, seeds, strict=True)]
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
    if len(model.perturbed):
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
        posteriors.append(replace(posterior, attributes=part.extras()).with_notes(twin_notes(model.twins)))
    return posteriors


# -- the draws ----


KERNELS: dict[type, type[ManyKernel]] = {LinearNetwork: ManyKernel}
"""Chains of several networks side by side, by their class."""
SAMPLES: dict[type, Callable[..., list[Posterior]]] = {Gibbs: _sample}
"""What fits a block of models at once, by class of engine."""
