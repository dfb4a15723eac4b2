"""Log densities of hyperpriors without distribution objects: torch's own, bit for bit, and −∞ outside the support."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyrogrn.inference.gibbs.log_densities import FAMILIES, log_density_of_logarithm
from pyrogrn.inference.sparse.hyperpriors import density_of_logarithm
from pyrogrn.priors import Hyper

HYPERS = [
    Hyper(dist.LogNormal, -1.2, 0.7),
    Hyper(dist.Beta, 1.0, 9.0),
    Hyper(dist.Beta, 2.5, 0.5),
    Hyper(dist.HalfNormal, 1.0),
    Hyper(dist.Gamma, 2.0, 3.0),
]


@pytest.mark.parametrize("hyper", HYPERS, ids=lambda h: h.family.__name__)
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("chains", [1, 4, 33])
def test_equal_to_the_distribution_to_the_last_bit(hyper, double, chains):
    hyper = Hyper(hyper.family, *hyper.constants.tolist()).to(torch.float64 if double else torch.float32)
    log_density, reference = log_density_of_logarithm(hyper), hyper.distribution(False)
    generator = torch.Generator().manual_seed(chains)
    for _ in range(20):
        x = torch.rand(chains, generator=generator, dtype=hyper.constants.dtype).clamp(1e-6, 1 - 1e-6)
        assert torch.equal(log_density(x), reference.log_prob(x) + x.log())


@pytest.mark.parametrize("hyper", HYPERS, ids=lambda h: h.family.__name__)
def test_nothing_outside_the_support(hyper):
    outside = [-0.5, -math.inf] + ([1.5, math.inf] if hyper.family is dist.Beta else [])
    assert (log_density_of_logarithm(hyper)(torch.tensor(outside)) == -math.inf).all()


def test_integrates_to_one_over_the_logarithm():
    grid = torch.linspace(-30, 0, 200_001, dtype=torch.float64)  # of log x: all of a beta
    for hyper in (Hyper(dist.Beta, 1.0, 9.0), Hyper(dist.LogNormal, -6.0, 0.7)):
        density = log_density_of_logarithm(hyper.double())(grid.exp()).exp()
        assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-6)


def test_the_default_hyperpriors_need_no_objects():
    assert set(FAMILIES) == {dist.LogNormal, dist.Beta}


@pytest.mark.parametrize("hyper", HYPERS, ids=lambda h: h.family.__name__)
def test_those_of_the_sparse_sampler_are_the_distributions(hyper):
    hyper = Hyper(hyper.family, *hyper.constants.tolist()).to(torch.float64)
    x = np.random.default_rng(0).uniform(1e-6, 1 - 1e-6, (4, 33))
    expected = hyper.distribution(False).log_prob(torch.from_numpy(x)).numpy() + np.log(x)
    np.testing.assert_allclose(density_of_logarithm(hyper)(x), expected, rtol=1e-12)
    if hyper.family is dist.Beta:
        assert density_of_logarithm(hyper)(np.array([1.5])) == -np.inf
