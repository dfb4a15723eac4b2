"""One table: every model × every guide that applies, by Pyro's own SVI. The bound rises, every parameter moves, sites
are the model's; where there is an exact engine, posterior means are its own within `TOLERANCE`."""

from functools import partial

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta, AutoLowRankMultivariateNormal, AutoNormal, init_to_value
from pyrogrn.experiments.pages.guides import GUIDES, guides_of
from pyrogrn.inference import Blocked, Gibbs, LowRank, MapEstimate, MeanField, fit, posterior_from
from pyrogrn.models import MODELS, CellBox, LinearNetwork, Phoenix
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import Normal, SpikeSlab
from test_pyro_models import ROWS, made

TOLERANCE = {"blocked": 0.15, "mean-field": 0.5, "low-rank": 0.5, "map": 0.5, "AutoNormal": 0.5}
"""Of posterior means of W, in sds of the exact engine: `Blocked` is exact for the weights; the others lose
correlations, which moves means where regulators are correlated, and noise of the last steps is on top."""


@pytest.fixture(autouse=True)
def own_parameters(seeded):
    with pyro.get_param_store().scope(), pyro.validation_enabled(True):
        yield


def discrete(model):
    nodes = poutine.trace(model).get_trace().nodes
    return [name for name in model.dims if name in nodes and nodes[name]["fn"].has_enumerate_support]


def objective(model):
    hidden = discrete(model)
    return TraceEnum_ELBO(max_plate_nesting=model.max_plate_nesting) if hidden else Trace_ELBO()


def automatic(kind, model):
    """As a user makes one: discrete sites left to the objective, a narrow start, where CellBox settles."""
    start = {n: v for n, v in model.initial.items() if n in model.dims} if isinstance(model, CellBox) else {}
    options = {"init_loc_fn": init_to_value(values=start)} if start else {}
    if kind is not AutoDelta:
        options["init_scale"] = 0.01
    return kind(poutine.block(model, hide=discrete(model)), **options)


NARROW = {"init_scale": 0.003, "spread": 0.001}
OURS = {"svi": MeanField(**NARROW), "low-rank": LowRank(rank=2, **NARROW), "map": MapEstimate(spread=0.001),
        "blocked": Blocked(init_scale=0.02)}  # fmt: skip
AUTOMATIC = {
    "AutoNormal": AutoNormal,
    "AutoDelta": AutoDelta,
    "AutoLowRankMultivariateNormal": partial(AutoLowRankMultivariateNormal, rank=2),
}
FIRST = {type(made(name)[0]): name for name in reversed(ROWS)}  # one row of each model in `make test`


def rows():
    """Every variant of every model × every guide that the choice tables name for it, and the automatic ones."""
    for name in ROWS:
        model, _ = made(name)
        kinds = [guide for guide in guides_of(type(model), type(model.edge_prior.family)) if guide in OURS]
        if isinstance(model, Phoenix):
            kinds = ["svi", "low-rank", "map"]  # by hand alone; its engine is its own
        quick = name == FIRST[type(model)]
        for kind in (*kinds, *AUTOMATIC):
            marks = [] if quick and kind != "AutoLowRankMultivariateNormal" else pytest.mark.slow
            yield pytest.param(name, kind, marks=marks, id=f"{name}-{kind}")


@pytest.mark.parametrize(("name", "kind"), list(rows()))
def test_the_bound_rises_and_every_parameter_moves(name, kind):
    model, _ = made(name)
    if kind == "blocked" and (len(model.coords["context"]) > 1 or "factor" in model.dims["W"]):
        with pytest.raises(ValueError, match="use "):  # several contexts; a factor model, which has its own ascent
            OURS[kind](model)
        return
    guide = OURS[kind](model) if kind in OURS else automatic(AUTOMATIC[kind], model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), objective(model))
    losses = [svi.step()]
    store = dict(pyro.get_param_store().named_parameters())
    before = {key: value.detach().clone() for key, value in store.items()}
    losses += [svi.step() for _ in range(20)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert before
    assert all(not torch.equal(store[key], value) for key, value in before.items())
    sampled = set(poutine.trace(guide).get_trace().stochastic_nodes)
    latent = set(poutine.trace(model).get_trace().stochastic_nodes) - set(discrete(model))
    plates = {name for name in latent if name not in model.dims and name not in getattr(model, "weight_shapes", {})}
    assert latent - plates <= sampled


def test_every_model_is_in_the_table():
    assert set(FIRST) == set(MODELS)
    listed = {(row.values[0], row.values[1]) for row in rows()}
    assert len(listed) == len(list(rows()))
    for model in MODELS:
        assert (FIRST[model], "AutoNormal") in listed
        assert (FIRST[model], "svi") in listed
    assert set(OURS) < set(GUIDES)


# -- against exact engines ----


def network(prior):
    data = simulate_linear(num_genes=6, num_tfs=3, num_cells=150, edge_probability=0.5, scale=0.6, seed=2).data
    return LinearNetwork.from_data(data, edge_prior=prior)


@pytest.fixture(scope="module")
def exact():
    """The networks, and posteriors by samplers and closed forms."""
    found = {}
    with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope():
        model = network(Normal(scale=0.5))
        found["normal"] = model, fit(model, guide=Blocked(), num_steps=600, num_draws=800, restarts=1)
        model = network(SpikeSlab(edge_probability=0.3, slab_scale=0.6, spike_ratio=0.1, hub_scale=0.0))
        found["spike and slab"] = model, fit(model, guide=Gibbs(num_chains=4, num_warmup=100, num_samples=300))
    return found


@pytest.mark.parametrize(
    ("which", "kind"),
    [
        ("normal", "svi"),
        pytest.param("normal", "low-rank", marks=pytest.mark.slow),
        ("normal", "blocked"),
        pytest.param("normal", "map", marks=pytest.mark.slow),
        pytest.param("normal", "AutoNormal", marks=pytest.mark.slow),
        pytest.param("spike and slab", "svi", marks=pytest.mark.slow),
        pytest.param("spike and slab", "AutoNormal", marks=pytest.mark.slow),
    ],
)
def test_means_are_those_of_the_exact_engine(exact, which, kind):
    model, reference = exact[which]
    guide = OURS[kind](model) if kind in OURS else automatic(AUTOMATIC[kind], model)
    optimizer = pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.99})
    svi = SVI(model, guide, optimizer, objective(model))
    losses = [svi.step() for _ in range(300)]
    found = posterior_from(model, guide, losses=losses, num_draws=400)
    allowed = model.edge_prior.allowed.numpy()
    true = reference.moments["W"]
    gap = np.abs(found.moments["W"].mean - true.mean)[allowed] / true.sd[allowed]
    name = {"svi": "mean-field"}.get(kind, kind)
    assert gap.max() < TOLERANCE[name] + 4.5 / np.sqrt(400)  # and the noise of 400 draws
