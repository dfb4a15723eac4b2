"""No step of SVI waits for the device: nothing is read from it, and no size depends on values (`host_reads`)."""

import pyro
import pytest
import torch
from host_reads import host_reads
from pyro import poutine
from pyrogrn.inference import Adam, Amortised, Blocked, LowRank, MapEstimate, MeanField
from pyrogrn.inference.neural_ode.surviving import SurvivingWeights
from pyrogrn.inference.variational.elbo import elbo, log_joint
from pyrogrn.models import LinearNetwork
from pyrogrn.models.dynamics import compiled_step
from pyrogrn.models.dynamics.phoenix_network import PhoenixNetwork
from pyrogrn.models.simulators import simulate_linear
from test_pyro_models import ROWS, made

pytestmark = pytest.mark.usefixtures("seeded")
# whether a solve has blown up, once, and iterations that end when the states have settled
NEEDED = {"phoenix": ("models/dynamics/ode_solvers.py:__call__", 1), "cellbox": ("models/dynamics/", 200)}


@pytest.fixture(autouse=True)
def as_on_a_device(monkeypatch):
    """Compiled loops read their arrays where they are: on the CPU alone, where that costs nothing."""
    monkeypatch.setattr(compiled_step, "_in_loops", lambda *_: False)


def unexpected(name, found):
    place, most = NEEDED.get(name, ("nowhere", 0))
    other = {what: n for what, n in found.items() if place not in what}
    return other if other or sum(found.values()) <= most else dict(found)


def test_reads_are_seen():
    """The counter sees every way in which a value can be read."""
    x = torch.tensor([1.0, 0.0])
    ways = {
        "_local_scalar_dense": lambda: (float(x[0]), bool(x[0] > 0), x[1].item()),
        "nonzero": lambda: x.nonzero(),
        "index": lambda: x[x > 0],
        "tolist": lambda: x.tolist(),
        "numpy": lambda: x.numpy(),
        "cpu": lambda: x.cpu(),
    }
    for name, way in ways.items():
        with host_reads() as found:
            way()
        assert any(what.startswith(name) for what in found), name
    with host_reads() as found:
        (x * 2 + x.exp()).sum()
    assert not found


@pytest.mark.parametrize("name", ROWS)
def test_a_step_reads_nothing(name):
    model, _ = made(name)
    for family in (MeanField(), LowRank(), MapEstimate(), Blocked()):
        with pyro.validation_enabled(False):
            try:
                guide = family(model, None, 2)
            except ValueError:
                continue  # has no closed form here
            optimizer = Adam().build(list(guide.parameters()))

            def step(guide=guide, optimizer=optimizer):
                (-elbo(model, guide, None, 2).sum()).backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=False)

            step()  # what Python has to know is read in the first
            with host_reads() as found:
                step()
        assert not unexpected(name, found), family.name


def test_a_step_of_the_posterior_of_phoenix_reads_nothing_more():
    model, _ = made("phoenix")
    guide = SurvivingWeights(model, PhoenixNetwork(model.genes, hidden=2, seed=0).masked(), 0.01)
    with pyro.validation_enabled(False):
        for _ in range(2):
            with host_reads() as found:
                values, log_q = guide.draw()
                (log_q - log_joint(model, values, None, 1)[0]).sum().backward()
    assert not unexpected("phoenix", found)


def test_a_step_of_an_amortised_guide_reads_nothing():
    data = simulate_linear(num_genes=7, num_tfs=3, num_cells=60, edge_probability=0.5, seed=7).data
    model = LinearNetwork.from_data(data)
    guide = Amortised("grnular")(model, data)
    with pyro.get_param_store().scope(), pyro.validation_enabled(False):
        for _ in range(2):
            with host_reads() as found:
                drawn = poutine.trace(guide).get_trace()
                story = poutine.trace(poutine.replay(model, trace=drawn)).get_trace()
                (drawn.log_prob_sum() - story.log_prob_sum()).backward()
    assert not found, found
