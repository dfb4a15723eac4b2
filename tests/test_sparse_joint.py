"""The joint density of sparse networks in closed form is that of a trace of the model."""

import numpy as np
import pyro.distributions as dist
import pytest
from pyrogrn import LinearNetwork, SpikeSlab
from pyrogrn.inference import SparseGibbs, fit
from pyrogrn.inference.datatree import prior_draws
from pyrogrn.inference.variational import densities as D
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import Hyper, PriorNetwork


def network(perturbed: int, hubs: bool, signed: bool) -> LinearNetwork:
    """With interventions on regulators that are targets, hubs, and a source with signs."""
    made = simulate_linear(num_genes=9, num_tfs=4, num_cells=60, num_perturbed=perturbed, edge_probability=0.6, seed=0)
    spread = Hyper(dist.HalfNormal, 1.0) if hubs else 0.0
    sources = (
        {"motif": PriorNetwork.from_edges(made.network[["source", "target", "sign"]], name="motif")} if signed else {}
    )
    return LinearNetwork.from_data(made.data, edge_prior=SpikeSlab(hub_scale=spread, unit="noise"), networks=sources)


@pytest.mark.parametrize(("perturbed", "hubs", "signed"), [(0, False, False), (2, True, False), (0, False, True)])
def test_joint_density_is_that_of_a_trace(monkeypatch, perturbed, hubs, signed):
    model = network(perturbed, hubs, signed)
    posterior = fit(model, guide=SparseGibbs(num_chains=2, num_warmup=5, num_samples=4), seed=1)
    closed = D.log_joint_of(model, posterior.draws)
    monkeypatch.setattr(D, "refusal", lambda model: "none of it")
    traced = D.log_joint_of(model, posterior.draws)
    assert closed == pytest.approx(traced, rel=1e-6)
    assert np.ptp(traced) > 0.1


def test_fixed_scales(monkeypatch):
    made = simulate_linear(num_genes=9, num_tfs=4, num_cells=60, seed=0).data
    prior = SpikeSlab(edge_probability=0.2, slab_scale=0.3, spike_ratio=0.1, unit="noise")
    model = LinearNetwork.from_data(made, edge_prior=prior)
    posterior = fit(model, guide=SparseGibbs(num_chains=1, num_warmup=5, num_samples=4), seed=1)
    closed = D.log_joint_of(model, posterior.draws)
    monkeypatch.setattr(D, "refusal", lambda model: "none of it")
    assert closed == pytest.approx(D.log_joint_of(model, posterior.draws), rel=1e-6)


@pytest.mark.parametrize("unit", ["noise", "sd"])
def test_prior_draws_do_not_need_edges(monkeypatch, unit):
    """The sites without edges are drawn as in the whole story."""
    model = LinearNetwork.from_data(
        simulate_linear(num_genes=9, num_tfs=4, num_cells=60, seed=0).data,
        edge_prior=SpikeSlab(hub_scale=Hyper(dist.HalfNormal, 1.0), unit=unit),
    )
    quick = prior_draws(model, seed=3, num_draws=20)
    monkeypatch.setattr(LinearNetwork, "hyper_without_edges", False)
    whole = prior_draws(model, seed=3, num_draws=20)
    assert set(quick) == set(whole) == {"edge_logit", "slab_scale", "spike_ratio", "hub_scale", "hub", "noise_variance"}
    for name, value in whole.items():
        assert quick[name] == pytest.approx(value), name
