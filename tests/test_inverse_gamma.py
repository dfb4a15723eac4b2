"""The inverse gamma without torch's broadcasting of shapes: densities and draws of Pyro's, bit for bit."""

import copy
import subprocess
import sys

import pyro.distributions as dist
import pytest
import torch
from pyrogrn.priors.inverse_gamma import InverseGamma, Reciprocal

PARAMETERS = [
    (torch.tensor(2.0), torch.tensor(0.5)),
    (torch.tensor([1.0, 3.0]), torch.tensor(2.0)),
    (torch.tensor([[1.0], [3.0]], dtype=torch.float64), torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64)),
]


@pytest.mark.parametrize(("concentration", "rate"), PARAMETERS)
@pytest.mark.parametrize("draws", [(), (5, 1)])
def test_densities_and_draws_are_those_of_pyro(concentration, rate, draws):
    own, theirs = InverseGamma(concentration, rate), dist.InverseGamma(concentration, rate)
    if draws:
        shape = (*draws, *theirs.batch_shape)
        own, theirs = own.expand(shape), theirs.expand(shape)
    assert type(own) is InverseGamma
    assert own.batch_shape == theirs.batch_shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = own.sample((4,))
        torch.manual_seed(0)
        second = theirs.sample((4,))
    assert torch.equal(first, second)
    assert torch.equal(own.log_prob(first), theirs.log_prob(first))
    assert torch.equal(own.mean, theirs.mean)
    assert torch.equal(copy.deepcopy(own).log_prob(first), own.log_prob(first))


def test_the_reciprocal_keeps_its_kind_with_a_cache():
    cached = Reciprocal(torch.tensor(-1.0)).with_cache()
    assert type(cached) is Reciprocal
    assert cached.with_cache() is cached


def test_a_draw_does_not_wait_for_sympy():
    code = (
        "import sys, torch; from pyrogrn.priors.inverse_gamma import InverseGamma;"
        "InverseGamma(torch.tensor(1.0), torch.tensor(1.0)).expand((3,)).sample(); print('sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"
