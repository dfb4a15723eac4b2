"""Every model with its default engine and by SVI on a device, against the CPU: rows for CUDA (`make test-gpu`), and the
same rows on the CPU itself, two of them in `make test`, so that the rows are known to work where there is no GPU."""

import copy
import math

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyrogrn.inference import BlockDescent, Blocked, Gibbs, MapEstimate, MeanField, Pruned, default_guide, fit
from pyrogrn.inference.variational.elbo import log_joint
from pyrogrn.models import CellBox, Phoenix
from test_pyro_models import ROWS, made

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
QUICK = ("linear, spike and slab", "ppca")  # a sampler, and coordinate ascent
ON = [pytest.param(name, "cpu", marks=[] if name in QUICK else pytest.mark.slow, id=f"{name}-cpu") for name in ROWS]
ON += [pytest.param(name, "cuda", marks=GPU, id=f"{name}-cuda") for name in ROWS]
every_row = pytest.mark.parametrize(("name", "device"), ON)
SINGLE, DOUBLE = 2e-4, 1e-9  # relative error of a sum over cells, by what a device adds up in another order


@pytest.fixture(autouse=True)
def own_parameters(seeded):
    with pyro.get_param_store().scope():
        yield


def values_of(model):
    """Of every continuous site, as `log_joint` takes them: from a narrow guide, so that solvers settle."""
    guide = MeanField(init_scale=0.003, spread=0.001)(model)
    return guide, {name: value.detach() for name, value in guide.draw()[0].items()}


def density(model, guide, values):
    """ELBO of one draw that is given: log p(X, z) − log q(z), and its gradient in the parameters of q."""
    own = {s.name: values[s.name].reshape(s.own_shape) for s in guide.sites}
    with pyro.get_param_store().scope():  # two copies of a guide have the same names
        log_q = poutine.trace(poutine.condition(guide, own)).get_trace().log_prob_sum()
    bound = log_joint(model, values, None, 1)[0].sum() - log_q
    return bound, torch.autograd.grad(bound, list(guide.parameters()))


@every_row
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
def test_the_bound_at_given_noise_is_that_of_the_cpu(name, device, dtype):
    model, _ = made(name)
    here = copy.deepcopy(model).to(dtype)
    guide, values = values_of(here)
    there, other = copy.deepcopy(here).to(device), copy.deepcopy(guide).to(device)
    moved = {site: value.to(device) for site, value in values.items()}
    assert all(buffer.device.type == device for buffer in there.buffers())
    bound, gradients = density(here, guide, values)
    found, others = density(there, other, moved)
    assert found.device.type == device
    tolerance = SINGLE if dtype is torch.float32 else DOUBLE
    if isinstance(model, CellBox | Phoenix):
        tolerance = max(tolerance, 1e-6)  # a solver stops at its own tolerance
    assert float(found.detach()) == pytest.approx(float(bound.detach()), rel=tolerance)
    for one, two in zip(gradients, others, strict=True):
        size = float(one.abs().max()) + 1e-12
        assert float((two.cpu() - one).abs().max()) < 10 * tolerance * size


@every_row
def test_svi_runs_on_the_device(name, device):
    model, _ = made(name)
    model = copy.deepcopy(model).to(device)
    nodes = poutine.trace(model).get_trace().nodes
    discrete = any(n in nodes and nodes[n]["fn"].has_enumerate_support for n in model.dims if n in nodes)
    loss = TraceEnum_ELBO(max_plate_nesting=model.max_plate_nesting) if discrete else Trace_ELBO()
    guide = MeanField(init_scale=0.003, spread=0.001)(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), loss)
    losses = [svi.step()]
    stored = dict(pyro.get_param_store().named_parameters())
    before = {key: value.detach().clone() for key, value in stored.items()}
    losses += [svi.step() for _ in range(14)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert stored
    assert all(value.device.type == device and not torch.equal(value, before[key]) for key, value in stored.items())


def short(model):
    """The default engine, as short as its answer can still be compared."""
    engine = default_guide(model)
    if isinstance(engine, Gibbs):
        return Gibbs(num_chains=4, num_warmup=100, num_samples=200), {}
    if isinstance(engine, Pruned):
        return Pruned(epochs=4, svi_steps=20), {"restarts": 1}
    if isinstance(engine, BlockDescent):
        return engine, {"restarts": 1}
    if isinstance(model, CellBox):
        return MeanField(init_scale=0.003, spread=0.001), {"restarts": 1, "num_steps": 60, "num_draws": 50}
    return engine, {"restarts": 2, "num_steps": 400, "num_draws": 200}


@every_row
def test_the_default_engine_agrees_with_the_cpu(name, device):
    """Means of what the data decide within half of the widest sd, inclusion within six standard errors of 100
    effective draws; on the CPU itself the numbers are the same."""
    model, _ = made(name)
    engine, options = short(model)
    here, there = fit(model, guide=engine, **options), fit(model, guide=engine, device=device, **options)
    assert model.constant.device.type == "cpu"  # the caller's model stays where it is
    assert there.model.constant.device.type == device
    assert not there.history.reason.startswith("diverged")
    a, b = here.moments["W"], there.moments["W"]
    assert np.isfinite(b.mean).all()
    if device == "cpu":
        np.testing.assert_array_equal(a.mean, b.mean)
        return
    if isinstance(engine, Gibbs):
        assert np.abs(a.inclusion - b.inclusion).max() < 6 * 0.5 / math.sqrt(100)
    if isinstance(engine, Pruned):
        return  # another order of sums is another training; its starts are drawn on the CPU, its end is not theirs
    width = 0.05 if isinstance(engine, BlockDescent | MapEstimate) else 0.5 * np.nanmax(a.sd) + 1e-3
    if isinstance(engine, Blocked) and "factor" in model.dims["W"]:  # signs and order of the factors are free
        product = [np.einsum("...kg,...kh->gh", m.mean, m.mean) for m in (a, b)]
        assert np.abs(product[0] - product[1]).max() < 4 * width
        return
    assert np.abs(a.mean - b.mean).max() < width
