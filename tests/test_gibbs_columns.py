"""The compiled part of the dense sweep draws what the plain one draws."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.inference import Gibbs, GibbsKernel, fit
from pyrogrn.inference.gibbs import sweep as gibbs_sweep
from pyrogrn.inference.many import fit_many
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, PriorNetwork, SpikeSlab
from test_resume_exact import MODELS

NEVER = 10**12


def cells(**options):
    return simulate_linear(num_genes=50, num_tfs=40, num_cells=90, edge_probability=0.1, seed=1, **options).data


def signed(data):
    rows = {"source": data.tfs[:9], "target": data.genes[40:49], "probability": 0.8, "sign": [1, -1, 1] * 3}
    return {"signed": PriorNetwork.from_edges(pd.DataFrame(rows), name="signed")}


NETWORKS = {
    "two blocks of regulators": lambda: LinearNetwork.from_data(cells(), edge_prior=SpikeSlab(unit="sd")),
    "slabs with means": lambda: LinearNetwork.from_data(cells(), networks=signed(cells())),
    "a mask": lambda: LinearNetwork.from_data(cells(), edge_prior=HardMask(SpikeSlab()), networks=signed(cells())),
    "perturbed targets": lambda: LinearNetwork.from_data(cells(num_perturbed=3)),
    "own levels": MODELS["course"],
    "knock-downs": MODELS["factorbox"],
}


def after(make, few, monkeypatch, sweeps):
    monkeypatch.setattr(gibbs_sweep, "FEW", few)
    kernel = GibbsKernel(make(), num_chains=3, seed=2)
    kernel.setup(10)
    state = kernel.initial_params
    for _ in range(sweeps):
        state = kernel.sample(state)
    return state, kernel


@pytest.mark.parametrize("name", NETWORKS)
def test_it_draws_the_same(name, monkeypatch):
    plain, one = after(NETWORKS[name], NEVER, monkeypatch, 1)
    found, other = after(NETWORKS[name], 0, monkeypatch, 1)
    for site in ("W", "W_context", "inclusion", "noise_variance"):
        torch.testing.assert_close(found[site], plain[site], rtol=1e-4, atol=1e-5, msg=lambda text, s=site: s + text)
    torch.testing.assert_close(other.probability, one.probability, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(other.sse, one.sse, rtol=1e-4, atol=1e-3)


def test_contexts_are_drawn_as_before(monkeypatch):
    make = MODELS["linear-contexts-interventions"]
    plain, found = (after(make, few, monkeypatch, 3)[0] for few in (NEVER, 0))
    assert all(torch.equal(found[site], plain[site]) for site in plain)


def test_small_networks_are_drawn_as_before(monkeypatch):
    monkeypatch.setattr(gibbs_sweep, "_compiled", lambda: pytest.fail("loads numba for nothing"))
    guide = Gibbs(num_chains=1, num_warmup=1, num_samples=2)
    fit(MODELS["course"](), guide=guide)
    monkeypatch.setattr(gibbs_sweep, "FEW", 0)
    with pytest.raises(pytest.fail.Exception, match="loads numba"):
        fit(MODELS["course"](), guide=guide)


def test_networks_side_by_side_are_those_alone(monkeypatch):
    monkeypatch.setattr(gibbs_sweep, "FEW", 0)
    data = cells()
    halves = [data.subset(np.arange(i, data.num_cells, 2)) for i in range(2)]
    models = [LinearNetwork.from_data(half, edge_prior=SpikeSlab(unit="sd")) for half in halves]
    guide = Gibbs(num_chains=2, num_warmup=4, num_samples=6)
    for model, found in zip(models, fit_many(models, guide=guide, seeds=[3, 4]), strict=True):
        alone = fit(model, guide=guide, seed=3 + models.index(model))
        np.testing.assert_array_equal(found.draws["inclusion"], alone.draws["inclusion"])
        np.testing.assert_allclose(found.draws["W"], alone.draws["W"], rtol=1e-3, atol=1e-4)


def test_it_goes_on_where_it_was(monkeypatch):
    state, kernel = after(NETWORKS["two blocks of regulators"], 0, monkeypatch, 4)
    middle = kernel.snapshot(state)
    again = GibbsKernel(kernel.model, num_chains=3, seed=9)
    again.setup(10)
    resumed = again.restore(middle)
    for _ in range(3):
        state, resumed = kernel.sample(state), again.sample(resumed)
    assert all(torch.equal(resumed[site], state[site]) for site in state)
