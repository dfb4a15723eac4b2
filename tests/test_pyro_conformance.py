"""One table: every model × every guide that applies, by Pyro's own SVI. The bound rises, every parameter moves, sites
are the model's. That means are those of an exact engine, `test_pyro_agreement.py` shows."""

from functools import partial

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta, AutoLowRankMultivariateNormal, AutoNormal, init_to_value
from pyrogrn.experiments.pages.guides import GUIDES, guides_of
from pyrogrn.inference import Blocked, LowRank, MapEstimate, MeanField
from pyrogrn.models import MODELS, CellBox, Phoenix
from test_pyro_models import ROWS, made


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
    """As a user makes one: discrete sites left to the objective, a narrow start, where CellBox settles. Its values have
    to have the shapes of their sites: of a single number Pyro would make one parameter for all edges."""
    start = {}
    if isinstance(model, CellBox):
        nodes = poutine.trace(model).get_trace().nodes
        start = {n: v.expand(nodes[n]["value"].shape) for n, v in model.initial.items() if n in nodes}
    options = {"init_loc_fn": init_to_value(values=start)} if start else {}
    if kind is not AutoDelta:
        options["init_scale"] = 0.01
    return kind(poutine.block(model, hide=discrete(model)), **options)


NUM_PARTICLES = 8


def loss_of(svi):
    """Mean of some draws, the same noise whenever it is asked: the bound of one step is mostly noise."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return np.mean([svi.evaluate_loss() for _ in range(NUM_PARTICLES)])


NARROW = {"init_scale": 0.003, "spread": 0.001}
OURS = {"svi": MeanField(**NARROW), "low-rank": LowRank(rank=2, **NARROW), "map": MapEstimate(spread=0.001),
        "blocked": Blocked(init_scale=0.02)}  # fmt: skip
AUTOMATIC = {
    "AutoNormal": AutoNormal,
    "AutoDelta": AutoDelta,
    "AutoLowRankMultivariateNormal": partial(AutoLowRankMultivariateNormal, rank=2),
}
QUICK = ("svi", "blocked", "AutoNormal")
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
            marks = [] if quick and kind in QUICK else pytest.mark.slow
            yield pytest.param(name, kind, marks=marks, id=f"{name}-{kind}")


@pytest.mark.parametrize(("name", "kind"), list(rows()))
def test_the_bound_rises_and_every_parameter_moves(name, kind):
    model, _ = made(name)
    if kind == "blocked" and (len(model.coords["context"]) > 1 or "factor" in model.dims["W"]):
        with pytest.raises(ValueError, match="use "):  # several contexts; a factor model, which has its own ascent
            OURS[kind](model)
        return
    guide = OURS[kind](model) if kind in OURS else automatic(AUTOMATIC[kind], model)
    # what a low-rank factor adds at first is noise in the directions of narrow sites
    num_steps = 80 if kind in ("low-rank", "AutoLowRankMultivariateNormal") else 40
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.01, "lrd": 0.1 ** (1 / num_steps)}), objective(model))
    start = loss_of(svi)
    store = dict(pyro.get_param_store().named_parameters())
    before = {key: value.detach().clone() for key, value in store.items()}
    assert np.isfinite([svi.step() for _ in range(num_steps)]).all()
    assert loss_of(svi) < start
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
