"""Steps in units of a site's own size, and the length of a fit that a model asks for."""

import numpy as np
import pytest
import torch
from pyrogrn.inference import MapEstimate, MeanField, NeverStop, default_guide, fit
from pyrogrn.inference.choice import default_length
from pyrogrn.inference.variational.sites import latent_sites, step_units
from pyrogrn.models import CellBox, ExpressionData, LinearNetwork
from pyrogrn.priors import HardMask, Laplace, Normal

pytestmark = pytest.mark.usefixtures("seeded")

KINDS = {"D0": "drug_activity", "D1": "drug_activity"}


def conditions(edge_prior=None):
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.normal(0, 0.3, (8, 6)), dtype=torch.float32)
    inputs = torch.zeros(8, 6)
    inputs[:, 4:] = torch.tensor(rng.choice([0.0, -1.0], (8, 2)), dtype=torch.float32)
    inputs[0, 4] = -1.0
    data = ExpressionData(X, ("P0", "P1", "P2", "P3", "D0", "D1"), inputs=inputs)
    return CellBox.from_data(data, kinds=KINDS, edge_prior=edge_prior)


def test_a_first_step_of_adam_has_the_size_of_the_unit():
    model = conditions()
    guide = MapEstimate(spread=0.0)(model)
    before = guide.location.detach().clone()
    algorithm = torch.optim.Adam(guide.parameters(), lr=0.1)
    guide.location.grad = torch.randn_like(guide.location) + 10  # of any size
    guide.step(algorithm)
    moved = (before - guide.location.detach())[0]
    units = step_units(model, latent_sites(model, None))
    torch.testing.assert_close(moved, 0.1 * units, rtol=1e-4, atol=1e-7)
    site = next(s for s in guide.sites if s.name == "W")
    W = moved[site.start : site.stop].view(len(model.tfs), len(model.targets)) / 0.1
    torch.testing.assert_close(W[:4], torch.full((4, 4), 0.25 / 4))  # between measured nodes
    assert (W[4:] > 10 * W[:4].max()).all()  # of drugs and their class


def test_they_follow_a_fixed_prior_that_is_no_wider_than_the_default():
    units = conditions(Laplace(scale=0.01)).step_units["W"]
    torch.testing.assert_close(units[:4], torch.full((4, 4), 0.01))
    assert conditions(HardMask(Normal(scale=0.02))).step_units["W"][0, 1] == pytest.approx(0.02)
    assert conditions(Laplace()).step_units == {}  # learned
    assert conditions(Laplace(scale=0.1)).step_units == {}  # four edges into a node: 0.4, not 0.25


def test_other_models_have_none():
    data = ExpressionData(torch.randn(20, 4), ("a", "b", "c", "d"), tfs=("a",))
    model = LinearNetwork.from_data(data)
    assert step_units(model, latent_sites(model, None)) is None
    assert default_length(model) == (3000, 4, 500)


def test_cellbox_is_fitted_as_long_as_its_row_says():
    model = conditions()
    assert default_guide(model) == MeanField(spread=0.001, init_scale=0.003)
    posterior = fit(model, num_draws=5, stop=NeverStop())
    assert posterior.history.elbo.shape == (1, default_length(model).num_steps)
    assert fit(model, num_draws=5, num_steps=3, restarts=2).history.elbo.shape == (2, 3)
