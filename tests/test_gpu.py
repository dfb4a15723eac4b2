"""The same fits on a CUDA device; run with ``pytest -m gpu``."""

import numpy as np
import pytest
import torch
from pyrogrn.inference import Blocked, Gibbs, MeanField, Posterior, fit
from pyrogrn.models import LinearNetwork, MuVI
from pyrogrn.models.simulators import simulate_linear, simulate_muvi
from pyrogrn.priors import Normal, SpikeSlab

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture(scope="module")
def simulation():
    return simulate_linear(num_genes=30, num_tfs=6, num_cells=400, edge_probability=0.3, num_perturbed=2, seed=3)


def test_gibbs_agrees_with_the_cpu(simulation):
    model = LinearNetwork.from_data(simulation.data)
    guide = Gibbs(num_chains=4, num_warmup=200, num_samples=400)
    there, here = fit(model, guide=guide, device="cuda"), fit(model, guide=guide)
    assert model.constant.device.type == "cpu"  # the caller's model stays where it is
    difference = np.abs(there.moments["W"].inclusion - here.moments["W"].inclusion)
    assert difference.max() < 6 * 0.5 / np.sqrt(100)  # at least 100 effective draws of an indicator in each run
    assert difference.mean() < 0.02


@pytest.mark.parametrize(
    ("prior", "guide"), [(Normal(), Blocked()), (Normal(), MeanField()), (SpikeSlab(), MeanField())]
)
def test_variational_fits_agree_with_the_cpu(simulation, prior, guide):
    model = LinearNetwork.from_data(simulation.data, edge_prior=prior)
    there, here = (fit(model, guide=guide, device=d, restarts=1, num_steps=1500) for d in ("cuda", "cpu"))
    a, b = there.moments["W"], here.moments["W"]
    assert np.abs(a.mean - b.mean).max() < 0.5 * b.sd.max()


def test_saved_on_the_device_loads_on_the_cpu(simulation, tmp_path):
    model = LinearNetwork.from_data(simulation.data)
    posterior = fit(model, guide=Gibbs(num_chains=2, num_warmup=20, num_samples=20), device="cuda")
    posterior.save(tmp_path / "model")
    loaded = Posterior.load(tmp_path / "model")
    assert loaded.model.constant.device.type == "cpu"
    assert loaded.edges().equals(posterior.edges())


def test_statistics_on_the_device_are_those_of_the_cpu(simulation):
    here, there = simulation.data.statistics(), simulation.data.to("cuda").statistics()
    torch.testing.assert_close(there.cross.cpu(), here.cross)
    torch.testing.assert_close(there.mean.cpu(), here.mean)


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("guide", [Blocked(), Gibbs(num_chains=2, num_warmup=100, num_samples=300)])
def test_programs_agree_with_the_cpu(guide, missing):
    programs = simulate_muvi(num_genes=40, num_cells=200, num_sets=2, set_size=12, missing=missing, seed=0)
    model = MuVI(programs.data, gene_sets={"sets": programs.gene_sets}, num_factors=0)
    there, here = (fit(model, guide=guide, device=d, restarts=2, num_draws=200) for d in ("cuda", "cpu"))
    a, b = there.moments["W"], here.moments["W"]
    assert np.abs(a.mean - b.mean).max() < b.sd.max()
    assert there.scores(programs.data)[0].shape == (200, 2)
