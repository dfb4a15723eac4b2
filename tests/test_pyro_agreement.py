"""Posterior means of every model × every guide that applies, trained by Pyro's own SVI, beside an exact engine.

Exact is one of: a sum over a grid of noise variances, given which weights are in closed form; Gibbs; NUTS; for a point
estimate of NetREX-CF, exact descent. `Phoenix` has none: its weights are those of a neural network, whose likelihood no
sampler here takes (`inference.choice` names `Pruned` alone).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro.infer import SVI, JitTrace_ELBO, JitTraceEnum_ELBO, Trace_ELBO
from pyrogrn.experiments.pages.guides import guides_of
from pyrogrn.inference import NUTS, Gibbs, Pruned, fit, posterior_from
from pyrogrn.inference.choice import row_of
from pyrogrn.inference.convergence import least_ess
from pyrogrn.inference.variational.elbo import log_joint
from pyrogrn.models import (
    MODELS,
    PMFGRN,
    PPCA,
    CellBox,
    FactorBox,
    LinearNetwork,
    Model,
    MuVI,
    NetREXCF,
    Phoenix,
    Symphony,
    TrajectoryNetwork,
)
from pyrogrn.models.simulators import simulate_courses, simulate_linear, simulate_muvi, simulate_panel
from pyrogrn.priors import Normal, NormalLoading, SpikeSlab
from test_pyro_conformance import AUTOMATIC, OURS, automatic, discrete

TOLERANCE = {
    "blocked": 0.1,  # exact but for the posterior of the noise, which moves means in the second order
    "svi": 0.5,  # loses correlations, and takes one mode of "present or absent": a mean moves by part of an sd
    "low-rank": 0.5,
    "AutoNormal": 0.5,
    "AutoLowRankMultivariateNormal": 0.5,
    "map": 1.0,  # a mode, which in a skewed posterior is within an sd of the mean
    "AutoDelta": 1.0,
}
"""Of posterior means, in exact posterior sds. On top is the noise of the two averages (`NOISE` standard errors)."""
NOISE = 4.5
NUM_DRAWS, NUM_STEPS = 400, 400
Draws = dict[str, np.ndarray]
Exact = tuple[np.ndarray, np.ndarray, float]
"""Means, sds, and of how many independent draws they are."""


# -- exact engines ----
def by_grid(model: Model) -> Exact:
    """Weights with a Normal prior of known scale: E[W] is that given the noise, in closed form, averaged over the noise
    of each target on a grid of its own."""
    grid = torch.logspace(-3, 1.5, 400, dtype=torch.float64)
    model = model.double()
    shape = (1,) * (model.max_plate_nesting - 1) + (len(model.coords["target"]),)
    noise = grid.reshape(-1, *(1,) * len(shape)).expand(-1, *shape)
    block = model.conditional("W", {"noise_variance": noise})
    values = {"noise_variance": noise, "W": block.mean.mT}
    nodes = log_joint(model, values, None, len(grid))[1].nodes
    by_target = sum(nodes[name]["log_prob"].reshape(len(grid), -1, shape[-1]).sum(1) for name in (*values, "X"))
    by_target = by_target - block.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1).reshape(len(grid), -1)  # - log q(W)
    weight = torch.softmax(by_target + grid.log()[:, None], 0)[:, None]  # (grid, 1, target), points even in the log
    W = block.mean.mT.reshape(len(grid), -1, shape[-1])
    covariance = torch.cholesky_inverse(block.factor).diagonal(dim1=-2, dim2=-1).mT.reshape(W.shape)
    mean = (weight * W).sum(0)
    sd = ((weight * (covariance + (W - mean).square())).sum(0)).sqrt()
    model.float()
    return mean.numpy(), sd.numpy(), np.inf


def sampled(engine: Any) -> Callable[[Model, Callable[[Draws], np.ndarray]], Exact]:
    def run(model: Model, quantity: Callable[[Draws], np.ndarray]) -> Exact:
        found = quantity(fit(model, guide=engine).draws)
        return found.mean((0, 1)), found.std((0, 1)), least_ess(found.reshape(*found.shape[:2], -1))

    return run


gibbs = sampled(Gibbs(num_chains=4, num_warmup=100, num_samples=400))


def nuts(num_warmup: int, num_samples: int) -> Callable[[Model, Callable[[Draws], np.ndarray]], Exact]:
    return sampled(NUTS(num_chains=2, num_warmup=num_warmup, num_samples=num_samples))


# -- models: small, with scales that are known, so that posteriors have one mode ----
SLAB = SpikeSlab(edge_probability=0.3, slab_scale=0.6, spike_ratio=0.1, hub_scale=0.0)
DENSE = SpikeSlab(edge_probability=0.8, slab_scale=0.6, spike_ratio=0.2, hub_scale=0.0)  # an edge is hardly in doubt


def cells(num_cells: int = 100, **options: Any) -> Any:
    sizes: dict[str, Any] = {"num_genes": 5, "num_tfs": 2, "edge_probability": 0.5, "scale": 0.6, "seed": 2}
    return simulate_linear(num_cells=num_cells, **sizes | options).data


def trajectory() -> Model:
    data = simulate_courses(num_genes=4, num_trajectories=8, noise=0.05, seed=3).data
    return TrajectoryNetwork.from_data(data, edge_prior=Normal(scale=0.5))


def panel() -> Model:
    data = simulate_panel(num_genes=5, in_degree=2, num_controls=6, seed=2).data
    return FactorBox.from_data(data, edge_prior=Normal(scale=0.5))


def observed_edges() -> Model:
    data, random = cells(), np.random.default_rng(0)
    tables = {name: pd.DataFrame(random.normal(size=(2, 5)), index=data.tfs, columns=data.genes) for name in "ab"}
    return Symphony.from_data(data, evidence=tables, edge_prior=SLAB)


def programs(kind: Any, **options: Any) -> Model:
    data = simulate_muvi(num_genes=6, num_cells=100, num_sets=2, set_size=3, seed=5, **options).data
    return kind.from_data(data, num_factors=2 - len(options), loading_prior=NormalLoading(scale=1.0))


def conditions() -> Model:
    random = np.random.default_rng(0)
    inputs = np.pad(random.normal(0, 0.4, (20, 2)), ((0, 0), (0, 1)))
    W = np.array([[0, 0, 0.8], [0, 0, -0.6], [0, 0, 0]])
    levels = inputs @ np.linalg.inv(np.eye(3) - W) + random.normal(0, 0.05, (20, 3))
    data = cells(20, num_genes=3)
    data = replace(data, matrix=torch.tensor(levels - levels.mean(0)).float(), tfs=data.genes)
    data = data.with_inputs(pd.DataFrame(inputs[:, :2], columns=list(data.genes[:2])))
    return CellBox.from_data(data, edge_prior=Normal(scale=0.3))


def activities() -> Model:
    return PMFGRN.from_data(cells(20, num_genes=4), edge_prior=Normal(scale=0.5), own_expression=0.9)


def filtered(prior: Any) -> Model:
    return NetREXCF.from_data(cells(30), edge_prior=prior)


def weights(draws: Draws) -> np.ndarray:
    return draws["W"]


def covariance(draws: Draws) -> np.ndarray:
    """Of genes, which does not know signs, places and rotations of factors."""
    return np.einsum("...kg,...kh->...gh", draws["W"], draws["W"])


def levels(draws: Draws) -> np.ndarray:
    """Activities times weights: the sign of either alone is arbitrary."""
    return np.einsum("...tc,...tg->...cg", draws["A"], draws["W"])


@dataclass(frozen=True)
class Row:
    """A model, its exact engine, what is compared, and ``wide``, by how much more than others guides may be off;
    ``no_mode`` where the joint mode is not near the mean."""

    make: Callable[[], Model]
    exact: Callable[..., Exact]
    quantity: Callable[[Draws], np.ndarray] = weights
    wide: float = 1.0
    slow: bool = False
    no_mode: bool = False


def grid(model: Model, quantity: Any) -> Exact:
    return by_grid(model)


ROWS = {
    "linear": Row(lambda: LinearNetwork.from_data(cells(), edge_prior=Normal(scale=0.5)), grid),
    "linear, spike and slab": Row(lambda: LinearNetwork.from_data(cells(), edge_prior=SLAB), gibbs),
    "linear, contexts": Row(lambda: LinearNetwork.from_data(cells(num_contexts=2), edge_prior=DENSE), gibbs),
    "symphony": Row(observed_edges, gibbs),
    "trajectory": Row(trajectory, grid),
    "factorbox": Row(panel, grid),
    "cellbox": Row(conditions, nuts(100, 150), slow=True),
    "ppca": Row(lambda: programs(PPCA), gibbs, covariance),
    "muvi": Row(lambda: programs(MuVI, num_covariates=1), gibbs, covariance),
    # two unknown matrices multiplied: a curved posterior, of which a normal has one part
    "netrex": Row(lambda: filtered(Normal(scale=0.5)), nuts(150, 400), levels, wide=2.0, slow=True),
    # the mode of weights and of the activities of every cell at once fits noise by activities (Neyman & Scott 1948)
    "pmf-grn": Row(activities, nuts(150, 400), wide=2.0, slow=True, no_mode=True),
}
WITHOUT = {Phoenix: Pruned}


@cache
def reference(name: str) -> tuple[Model, Exact]:
    row = ROWS[name]
    with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope():
        torch.manual_seed(0)
        model = row.make()
        return model, row.exact(model, row.quantity)


def cases() -> Any:
    """In `make test` one guide of each model whose exact engine is quick."""
    for name, row in ROWS.items():
        with torch.random.fork_rng(devices=[]):
            model = row.make()
        kinds = [kind for kind in guides_of(type(model), type(model.edge_prior.family)) if kind in OURS]
        if len(model.coords.get("context", ())) > 1 or "factor" in model.dims["W"] or isinstance(model, CellBox):
            kinds = [kind for kind in kinds if kind != "blocked"]  # refused, as `test_pyro_conformance.py` has it
        for kind in (*kinds, *AUTOMATIC):
            if row.no_mode and kind in ("map", "AutoDelta"):
                continue
            quick = not row.slow and kind in ("svi", "blocked")
            yield pytest.param(name, kind, marks=[] if quick else pytest.mark.slow, id=f"{name}-{kind}")


def trained(model: Model, kind: str) -> Any:
    """By hand, as a Pyro user does, on Pyro's compiled objectives where a model can be compiled."""
    guide = OURS[kind](model) if kind in OURS else automatic(AUTOMATIC[kind], model)
    if not model.traceable:
        loss: Any = Trace_ELBO()
    elif discrete(model):
        loss = JitTraceEnum_ELBO(max_plate_nesting=model.max_plate_nesting, ignore_jit_warnings=True)
    else:
        loss = JitTrace_ELBO(ignore_jit_warnings=True)
    optimizer = pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.02 ** (1 / NUM_STEPS)})
    svi = SVI(model, guide, optimizer, loss)
    losses = [svi.step() for _ in range(NUM_STEPS)]
    return posterior_from(model, guide, losses=losses, num_draws=NUM_DRAWS)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # which Pyro calls
@pytest.mark.parametrize(("name", "kind"), list(cases()))
def test_means_are_those_of_the_exact_engine(name, kind, seeded):
    model, (mean, sd, ess) = reference(name)
    with pyro.get_param_store().scope():
        found = ROWS[name].quantity(trained(model, kind).draws).mean((0, 1))
    varies = sd > 1e-6  # a regulator has no edge to itself
    gap = np.abs(found - mean)[varies] / sd[varies]
    assert ess > 60
    allowed = TOLERANCE[kind] * ROWS[name].wide + NOISE * np.sqrt(1 / NUM_DRAWS + 1 / ess)
    assert gap.max() < allowed, f"{gap.max():.2f} sds, {allowed:.2f} allowed"


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.slow])
def test_the_comparison_would_see_a_wrong_engine(name):
    """Means are told from no effect at all, and from effects with the wrong sign."""
    _, (mean, sd, _) = reference(name)
    varies = sd > 1e-6
    assert (np.abs(mean)[varies] / sd[varies]).max() > 3


def test_every_model_has_an_exact_engine_or_a_reason():
    assert {type(row.make()) for row in ROWS.values()} | set(WITHOUT) == set(MODELS)
    for model, engine in WITHOUT.items():
        assert row_of(model).engines == (engine,)
