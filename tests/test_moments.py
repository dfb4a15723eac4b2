"""Running moments of draws, and where noise is drawn."""

import numpy as np
import pyro
import pytest
import torch
from pyrogrn.inference.draws.moments import Collector
from pyrogrn.inference.neural_ode.surviving import SurvivingWeights, seeded
from pyrogrn.models import LinearNetwork, Phoenix
from pyrogrn.models.dynamics.phoenix_network import PhoenixNetwork
from pyrogrn.models.simulators import simulate_courses, simulate_linear
from pyrogrn.priors import Normal

pytestmark = pytest.mark.usefixtures("seeded")


def collected(draws):
    """Moments of ``draws`` (draw, chain, tf, target)."""
    model = LinearNetwork.from_data(simulate_linear(num_genes=6, num_tfs=3, num_cells=30).data, edge_prior=Normal())
    collector = Collector(model, draws.shape[1], len(draws), has_inclusion=False)
    for W in draws:
        collector.add({"W": W}, torch.ones_like(W))
    return collector.moments()["W"]


def test_an_edge_that_does_not_move_has_no_sd():
    W = 0.1 + torch.rand(3, 6)
    found = collected(W.expand(200, 2, 3, 6))
    np.testing.assert_array_equal(found.mean, W.numpy())
    assert found.sd.max() < 1e-6


@pytest.mark.parametrize("spread", [1e-5, 1e-2, 1.0])
def test_sd_is_that_of_the_draws(spread):
    draws = 0.7 + spread * torch.randn(100, 3, 3, 6)
    found, exact = collected(draws), draws.double().flatten(0, 1).numpy()
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.sd, exact.std(0), rtol=1e-4 if spread < 1e-4 else 1e-6)


class Asked:
    """`torch.randn`, and the devices it was asked to draw on."""

    def __init__(self):
        self.devices, self.draw = [], torch.randn

    def __call__(self, *shape, **options):
        self.devices.append(torch.device(options["device"]))
        return self.draw(*shape, **options)


def test_noise_of_training_is_drawn_where_the_weights_are(monkeypatch):
    """On ``meta``, which stands for a device other than the CPU; the streams of stored draws are the CPU's."""
    data = simulate_courses(num_genes=4, num_trajectories=3, seed=3).data
    model = Phoenix.from_data(data, hidden=2)
    guide = SurvivingWeights(model, PhoenixNetwork(model.genes, hidden=2, seed=0).masked(), 0.01)
    asked = Asked()
    monkeypatch.setattr(torch, "randn", asked)
    with torch.no_grad(), pyro.validation_enabled(False):
        before, _ = guide.draw(seeded(0, 0, 0))
        again, _ = guide.draw(seeded(0, 0, 0))
        there = guide.to("meta")
        there.draw()
        apart = len(asked.devices)
        there.draw(seeded(0, 0, 0))
    assert all(torch.equal(before[name], again[name]) for name in before)
    sites = len(before)
    assert {d.type for d in asked.devices[2 * sites : apart]} == {"meta"}
    assert {d.type for d in asked.devices[: 2 * sites] + asked.devices[apart:]} == {"cpu"}
