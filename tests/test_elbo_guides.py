"""The objective against sums by hand, guides against exact posteriors, and how a variational fit ends."""

import itertools
import math

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyrogrn.inference import (
    NUTS,
    Adam,
    Blocked,
    LowRank,
    MapEstimate,
    MeanField,
    NeverStop,
    RelativeImprovement,
    fit,
)
from pyrogrn.inference.variational.elbo import elbo, log_joint, sum_sites
from pyrogrn.inference.variational.svi import compiled_elbo
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.priors import HardMask, Horseshoe, Hyper, Laplace, Normal, PriorNetwork, SpikeSlab

pytestmark = pytest.mark.usefixtures("seeded")

GUIDES = (MapEstimate(), MeanField(), LowRank(rank=3), Blocked())


def networks():
    edges = pd.DataFrame(
        {"source": ["G0000", "G0001"], "target": ["G0003", "G0004"], "probability": [0.9, 0.6], "sign": [1, -1]}
    )
    return {"motif": PriorNetwork.from_edges(edges, name="motif")}


def regression(correlation=0.9, num_cells=40, num_targets=2, seed=0):
    """Two regulators of the given sample correlation, and targets that depend on the first."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_cells, 2))
    x = np.linalg.qr(x - x.mean(0))[0] @ np.array([[1, correlation], [0, math.sqrt(1 - correlation**2)]])
    y = 4 * x[:, :1] + rng.normal(size=(num_cells, num_targets))
    X = np.column_stack([x, y])
    X = (X - X.mean(0)) / X.std(0, ddof=1)
    genes = ("T0", "T1", *(f"G{i}" for i in range(num_targets)))
    return ExpressionData(torch.as_tensor(X), genes, genes[:2], dtype=torch.float64), X


def model_of(data, prior):
    return LinearNetwork(data.statistics(), edge_prior=prior, targets=data.genes[2:]).double()


# -- enumeration ----


@pytest.mark.parametrize("strategy", ["inclusion", "scale"])
def test_the_objective_is_the_sum_over_all_graphs(tiny_data, strategy):
    model = LinearNetwork(
        tiny_data.statistics(),
        edge_prior=SpikeSlab(strategy=strategy, hub_scale=Hyper(dist.HalfNormal, 1.0)),
        networks=networks(),
        targets=["G0003", "G0004"],
    ).double()
    with pyro.plate("restarts", 2, dim=-3):
        trace = poutine.trace(model).get_trace()
    values = {n: trace.nodes[n]["value"] for n in model.dims if n != "inclusion"}
    found, _ = log_joint(model, values, None, 2)
    graphs = []
    for graph in itertools.product([0.0, 1.0], repeat=6):
        given = values | {"inclusion": torch.tensor(graph, dtype=torch.float64).reshape(1, 3, 2)}
        one = poutine.trace(poutine.condition(model, given)).get_trace()
        one.compute_log_prob()
        by_restart = torch.zeros(2, dtype=torch.float64)
        for site in one.nodes.values():
            if site["type"] == "sample":
                log_prob = site["log_prob"]
                by_restart = by_restart + (log_prob.flatten(1).sum(1) if log_prob.dim() == 3 else log_prob.sum())
        graphs.append(by_restart)
    torch.testing.assert_close(found, torch.logsumexp(torch.stack(graphs), 0), rtol=1e-10, atol=0)


def test_the_sum_over_graphs_by_hand(tiny_data):
    """The same with every density written out: three regulators, one target."""
    prior = SpikeSlab(edge_probability=0.3, slab_scale=0.5, spike_ratio=0.2, hub_scale=0.0)
    model = LinearNetwork(tiny_data.statistics(), edge_prior=prior, targets=["G0003"]).double()
    W, noise = torch.tensor([[0.4], [-0.1], [0.02]], dtype=torch.float64), torch.tensor([[0.6]], dtype=torch.float64)
    found, _ = log_joint(model, {"W": W[None], "noise_variance": noise[None]}, None, 1)
    edges = 1.0
    for w in W[:, 0].tolist():
        slab, spike = (math.exp(-0.5 * (w / s) ** 2) / (s * math.sqrt(2 * math.pi)) for s in (0.5, 0.1))
        edges *= 0.3 * slab + 0.7 * spike
    X = tiny_data.X.double().numpy()
    X = (X - X.mean(0)) / X.std(0, ddof=1)
    e = X[:, 3] - X[:, :3] @ W[:, 0].numpy()
    likelihood = -0.5 * (59 * math.log(2 * math.pi * 0.6) + math.log(60) + (e @ e) / 0.6)
    inverse_gamma = math.log(0.25) - 3 * math.log(0.6) - 0.5 / 0.6
    assert float(found) == pytest.approx(math.log(edges) + likelihood + inverse_gamma, rel=1e-6)


@pytest.mark.parametrize("num_cells", [3, 8])
def test_an_enumerated_variable_multiplied_into_a_mean_is_refused(num_cells):
    """The trap of enumeration across a plate; with as many cells as regulators even the shapes agree."""
    activity = torch.randn(num_cells, 3)

    def model():
        tf, target, cell = (
            pyro.plate("tf", 3, dim=-2),
            pyro.plate("target", 4, dim=-1),
            pyro.plate("cell", num_cells, dim=-2),
        )
        with tf, target:
            present = pyro.sample("inclusion", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
            W = pyro.sample("W", dist.Normal(0.0, 1.0))
        with cell, target:
            pyro.sample("X", dist.Normal(activity @ (present * W), 1.0), obs=torch.zeros(num_cells, 4))

    def factor_model():
        tf, target = pyro.plate("tf", 3, dim=-2), pyro.plate("target", 4, dim=-1)
        with tf, target:
            present = pyro.sample("inclusion", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
        with target:
            pyro.factor("X", present.sum(-2, keepdim=True))

    for story in (model, factor_model):
        trace = poutine.trace(poutine.enum(story, first_available_dim=-4)).get_trace()
        with pytest.raises(ValueError, match=r"'X' .* depends on a variable enumerated in plates"):
            sum_sites(trace, 2, 1)


def test_two_enumerated_variables_are_refused():
    def model():
        with pyro.plate("target", 4, dim=-1):
            a = pyro.sample("a", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
            b = pyro.sample("b", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
            pyro.sample("X", dist.Normal(a + b, 1.0), obs=torch.zeros(4))

    trace = poutine.trace(poutine.enum(model, first_available_dim=-4)).get_trace()
    with pytest.raises(ValueError, match="more than one enumerated variable"):
        sum_sites(trace, 2, 1)


# -- the density of a guide's draws ----


@pytest.mark.parametrize("guide", GUIDES, ids=lambda g: g.name)
@pytest.mark.parametrize("kind", ["gram", "cells", "contexts", "contexts-cells"])
@pytest.mark.parametrize(
    "prior", [Normal(), Laplace(), Horseshoe(), SpikeSlab(), HardMask()], ids=lambda p: type(p).__name__
)
def test_restarts_are_independent(guide, kind, prior, tiny_data, rich):
    data = rich.data if "contexts" in kind else tiny_data
    model = LinearNetwork(data.statistics(), edge_prior=prior, networks=networks())
    batch = next(data.minibatches(16, torch.Generator().manual_seed(0))) if "cells" in kind else None
    if guide.name == "blocked" and (not model.edge_prior.conditionally_gaussian or "contexts" in kind):
        with pytest.raises(ValueError, match=r"W is not Gaussian|one context"):
            guide(model, batch, 3)
        return
    family = guide(model, batch, 3)
    bound = elbo(model, family, batch, 3)
    assert bound.shape == (3,)
    assert bool(torch.isfinite(bound).all())
    for gradient in torch.autograd.grad(bound[1], list(family.parameters())):
        assert float(gradient[[0, 2]].abs().max()) == 0, "the objective of one restart moves another"
        assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("guide", [MeanField(), LowRank(rank=3), Blocked()], ids=lambda g: g.name)
def test_densities_of_draws_are_those_of_the_families(guide, tiny_data):
    model = LinearNetwork(tiny_data.statistics(), edge_prior=Normal(), networks=networks()).double()
    family = guide(model, None, 2)
    with torch.no_grad():
        family.log_scale += 0.3 * torch.randn_like(family.log_scale)
        values, log_q = family.draw()
    z, jacobian = torch.zeros_like(family.location), torch.zeros(2, dtype=torch.float64)
    for site in family.others if guide.name == "blocked" else family.sites:
        z[:, site.start : site.stop] = site.transform.inv(values[site.name]).reshape(2, -1)
        if site.name != "W":
            jacobian += values[site.name].reshape(2, -1).log().sum(1)  # value = exp z
    covariance = torch.diag_embed((2 * family.log_scale).exp())
    if guide.name == "low-rank":
        covariance = covariance + family.factor @ family.factor.mT
    expected = torch.distributions.MultivariateNormal(family.location, covariance).log_prob(z) - jacobian
    if guide.name == "blocked":
        block = model.conditional("W", values)
        given = torch.distributions.MultivariateNormal(block.mean, precision_matrix=block.factor @ block.factor.mT)
        expected = expected + given.log_prob(values["W"].mT).sum(-1)
    torch.testing.assert_close(log_q, expected, rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize("prior", [Normal(), Horseshoe(), HardMask()], ids=lambda p: type(p).__name__)
def test_given_the_scales_the_blocked_guide_is_the_posterior(prior, tiny_data):
    """log p(X, W, h) − log q(W | h) does not depend on W when q(W | h) is p(W | X, h)."""
    data = tiny_data.with_interventions(["G0004"] * 4 + ["G0001"] * 3 + ["control"] * 53)
    model = LinearNetwork(data.statistics(), edge_prior=prior, networks=networks()).double()
    family = Blocked()(model, None, 2)
    values, _ = family.draw()
    values = {n: v.detach() for n, v in values.items()}
    evidence = []
    for _ in range(20):
        block = model.conditional("W", values)
        value = torch.distributions.MultivariateNormal(block.mean, precision_matrix=block.factor @ block.factor.mT)
        W = value.sample()
        joint, _ = log_joint(model, values | {"W": W.mT}, None, 2)
        evidence.append(joint - value.log_prob(W).sum(-1))
    evidence = torch.stack(evidence)
    torch.testing.assert_close(evidence, evidence[:1].expand_as(evidence), rtol=0, atol=1e-3)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda g: g.name)
def test_a_guide_is_a_pyro_guide_over_the_sites_of_the_model(guide, tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal())
    with pyro.get_param_store().scope():
        trace = poutine.trace(guide(model)).get_trace()
    assert set(trace.stochastic_nodes) - {"tf", "target", "low_rank_latent"} == set(model.dims)


# Blocked is refused for SpikeSlab: tested above
@pytest.mark.parametrize(
    ("guide", "prior"),
    [
        pytest.param(guide, prior, id=f"{type(prior).__name__}-{guide.name}")
        for prior in (Normal(), SpikeSlab())
        for guide in GUIDES
        if prior.conditionally_gaussian or not isinstance(guide, Blocked)
    ],
)
def test_the_traced_objective_is_the_python_objective(guide, prior, tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=prior)
    family = guide(model, None, 3)
    compiled = compiled_elbo(model, family)
    for seed in range(3):  # draws are new at every call, and the same from the same seed
        torch.manual_seed(seed)
        traced = compiled()
        torch.manual_seed(seed)
        plain = elbo(model, family, None, 3)
        torch.testing.assert_close(traced, plain, rtol=1e-5, atol=1e-3)
    gradients = [torch.autograd.grad(v.sum(), list(family.parameters())) for v in (traced, plain)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


# -- fits against exact posteriors ----

STEADY = {"optimizer": Adam(lr=0.03, final=1e-3), "stop": NeverStop(), "restarts": 1}


def moments(posterior):
    """Posterior mean and sd of W over draws, each (tf, target)."""
    draws = posterior.draws["W"].reshape(-1, *posterior.draws["W"].shape[2:]).astype(float)
    return draws.mean(0), draws.std(0), len(draws)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_blocked_is_the_exact_posterior_where_the_noise_is_well_known(correlation, exact):
    """What stays approximate is q(σ²), log-normal for an inverse gamma: 2% of the sd at 40 cells are left for it."""
    data, X = regression(correlation)
    posterior = fit(model_of(data, Normal(scale=0.3)), guide=Blocked(), num_draws=4000, num_steps=1200, **STEADY)
    mean, sd, count = moments(posterior)
    for g in range(2):
        _, average, covariance = exact(X[:, :2], X[:, 2 + g], np.zeros(2), np.full(2, 0.09))
        true = np.sqrt(np.diag(covariance))
        # eight comparisons at 4.5 standard errors: fails once in 20,000 seeds
        np.testing.assert_array_less(np.abs(mean[:, g] - average), true * (0.01 + 4.5 / math.sqrt(count)))
        np.testing.assert_array_less(np.abs(sd[:, g] / true - 1), 0.02 + 4.5 / math.sqrt(2 * count))


def test_mean_field_has_the_means_but_not_the_spread_of_correlated_regulators(exact):
    """The labelled failure: at correlation 0.9 its sds are near 1/√Λ_tt, less than half of the truth."""
    data, X = regression(0.9, num_cells=200)
    posterior = fit(model_of(data, Normal(scale=1.0)), guide=MeanField(), num_draws=4000, num_steps=3000, **STEADY)
    mean, sd, _ = moments(posterior)
    low_rank = fit(model_of(data, Normal(scale=1.0)), guide=LowRank(rank=4), num_draws=4000, num_steps=3000, **STEADY)
    for g in range(2):
        _, average, covariance = exact(X[:, :2], X[:, 2 + g], np.zeros(2), np.ones(2))
        true = np.sqrt(np.diag(covariance))
        conditional = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))
        assert np.abs(mean[:, g] - average).max() < 0.25 * true.min()
        np.testing.assert_allclose(sd[:, g], conditional, rtol=0.15)
        assert (sd[:, g] < 0.55 * true).all()
        np.testing.assert_allclose(moments(low_rank)[1][:, g], true, rtol=0.15)
    assert not MeanField.calibrated
    assert not LowRank.calibrated
    assert Blocked.calibrated


def test_nuts_is_the_exact_posterior(exact):
    data, X = regression(0.9, num_targets=1)
    posterior = fit(model_of(data, Normal(scale=0.3)), guide=NUTS(num_chains=4, num_warmup=100, num_samples=250))
    draws = posterior.draws["W"][..., 0].astype(float)  # (chain, draw, tf)
    _, average, covariance = exact(X[:, :2], X[:, 2], np.zeros(2), np.full(2, 0.09))
    true = np.sqrt(np.diag(covariance))
    # at least 200 effective draws of 1,000: four comparisons at 4.5 standard errors
    np.testing.assert_array_less(np.abs(draws.mean((0, 1)) - average), true * 4.5 / math.sqrt(200))
    np.testing.assert_array_less(np.abs(draws.std((0, 1)) / true - 1), 4.5 / math.sqrt(2 * 200))


def test_nuts_sums_inclusion_out(exact):
    prior = SpikeSlab(edge_probability=0.4, slab_scale=0.5, spike_ratio=0.3, hub_scale=0.0)
    data, X = regression(0.6, num_targets=1)
    posterior = fit(model_of(data, prior), guide=NUTS(num_chains=4, num_warmup=100, num_samples=250))
    graphs, log_prob = list(itertools.product([0, 1], repeat=2)), []
    for graph in graphs:
        width = np.where(np.array(graph) > 0, 0.5, 0.15)
        weight = sum(math.log(0.4 if present else 0.6) for present in graph)
        log_prob.append(exact(X[:, :2], X[:, 2], np.zeros(2), width**2)[0] + weight)
    share = np.exp(log_prob - np.logaddexp.reduce(log_prob))
    expected = share @ np.array(graphs)
    # P(γ | W) varies by less than 0.3; 200 effective draws; two comparisons at 4.5 standard errors
    np.testing.assert_array_less(np.abs(posterior.moments["W"].inclusion[:, 0] - expected), 4.5 * 0.3 / math.sqrt(200))


# -- how a fit runs ----


@pytest.mark.parametrize("guide", GUIDES, ids=lambda g: g.name)
def test_the_same_seed_gives_the_same_draws(guide, tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal())
    options = {"guide": guide, "num_steps": 30, "num_draws": 5, "restarts": 3}
    one, again, other = (fit(model, seed=seed, **options) for seed in (1, 1, 2))
    for name in model.dims:
        np.testing.assert_array_equal(one.draws[name], again.draws[name])
    assert not np.array_equal(one.draws["W"], other.draws["W"])
    assert np.isfinite(one.history.elbo).all()
    assert one.history.elbo.shape == (3, 30)


def test_minibatches_reach_the_full_batch_posterior(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    options = {"guide": MeanField(), "num_draws": 1000, "restarts": 1, "stop": NeverStop()}
    full = fit(model, num_steps=1500, **options)
    batch = fit(model, tiny_data, batch_size=20, num_steps=1500, optimizer=Adam(lr=0.02, final=0.01), **options)
    gap = np.abs(full.moments["W"].mean - batch.moments["W"].mean) / full.moments["W"].sd.clip(1e-3)
    assert gap[model.edge_prior.allowed.numpy()].mean() < 0.3
    with pytest.raises(ValueError, match="pass `data`"):
        fit(model, batch_size=20)


def test_a_fit_stops_when_it_has_converged_and_says_when_it_has_not(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    done = fit(model, guide=Blocked(), num_steps=3000, restarts=2, stop=RelativeImprovement(tol=1e-3, window=100))
    assert done.history.reason == "converged"
    assert done.history.steps[-1] < 3000
    short = fit(model, guide=Blocked(), num_steps=20, restarts=2)
    assert short.history.reason == "budget"
    lost = fit(model, guide=MeanField(), num_steps=400, restarts=2, num_draws=3, optimizer=Adam(lr=1e4))
    assert lost.history.reason.startswith("diverged at step")


def test_the_stopping_rule_sees_the_whole_history():
    rule = RelativeImprovement(tol=1e-2, window=600)
    flat = np.full((2, 1200), -100.0)
    assert rule(flat)
    assert not rule(flat[:, :1100]), "only at multiples of the window"
    rising = np.tile(np.linspace(-200, -100, 1200), (2, 1))
    assert not rule(rising)
    mixed = np.stack([flat[0], rising[0]])
    assert not rule(mixed), "every restart must have settled"
    seen = []

    class Watch:
        def __call__(self, elbo):
            seen.append(elbo.shape[1])
            return False

    data, _ = regression()
    fit(model_of(data, Normal(scale=0.3)), guide=MapEstimate(), num_steps=1205, restarts=1, stop=Watch(), num_draws=1)
    assert seen == list(range(1, 1206))
