"""The linear network given its graph: evidence and weights against dense algebra; corrected guides against Gibbs."""

import itertools

import numpy as np
import pytest
import torch
from pyrogrn.inference.amortised import graphs as graphs_module
from pyrogrn.inference.amortised.graphs import GivenGraph, sample_graphs
from pyrogrn.inference.convergence import target_khat
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import SpikeSlab
from scipy.stats import multivariate_normal

SLAB, RATIO, EDGE = 0.4, 0.1, 0.3


@pytest.fixture(scope="module")
def network():
    data = simulate_linear(num_genes=6, num_tfs=3, num_cells=40, seed=3, edge_probability=0.4).data
    prior = SpikeSlab(edge_probability=EDGE, slab_scale=SLAB, spike_ratio=RATIO)
    return data, LinearNetwork.from_data(data, edge_prior=prior).double()


def state_of(kernel, noise):
    state = kernel.initial_params
    state["noise_variance"] = torch.full_like(state["noise_variance"], noise)
    return state


def standardised(data):
    X = data.X.double().numpy()
    return (X - X.mean(0)) / X.std(0, ddof=0)


def test_evidence_against_the_dense_marginal_likelihood(network):
    """log p(x_g | γ, σ²) with W integrated out: differences between graphs, also for regulators as targets."""
    data, model = network
    kernel = GivenGraph(model, num_chains=1, seed=0)
    noise = 0.6
    state = state_of(kernel, noise)
    X = standardised(data) * (data.X.double().numpy().std(0) / model.scale.numpy())
    # integrating out a flat intercept leaves the contrasts of the cells
    basis = np.linalg.svd(np.eye(len(X)) - 1 / len(X))[0][:, : len(X) - 1]
    Y = basis.T @ X
    tf = model.tf_index.numpy()
    graph_list = [torch.tensor(bits).double() for bits in itertools.product((0.0, 1.0), repeat=3)]
    found, expected = [], []
    for column in graph_list:
        graph = column[None, :, None].expand(1, 3, 6).clone() * kernel.allowed
        found.append(kernel.log_evidence(state, graph)[0].numpy())
        row = []
        for g in range(6):
            use = [i for i in range(3) if tf[i] != g]
            scale = np.where(column[use].numpy() > 0, SLAB, SLAB * RATIO)
            A = Y[:, tf[use]]
            covariance = noise * np.eye(len(Y)) + (A * scale**2) @ A.T
            row.append(multivariate_normal(np.zeros(len(Y)), covariance).logpdf(Y[:, g]))
        expected.append(row)
    found, expected = np.array(found), np.array(expected)
    np.testing.assert_allclose(found - found[0], expected - expected[0], atol=1e-3)


def test_prior_of_graphs(network):
    _, model = network
    kernel = GivenGraph(model, num_chains=2, seed=0)
    state = kernel.initial_params
    generator = torch.Generator().manual_seed(0)
    graph = (torch.rand(2, 3, 6, generator=generator) < 0.5).double() * kernel.allowed
    expected = ((graph * np.log(EDGE) + (1 - graph) * np.log(1 - EDGE)) * kernel.allowed).sum(1)
    torch.testing.assert_close(kernel.log_prior(state, graph), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("joint", [True, False])
def test_weights_given_the_graph(network, joint, monkeypatch):
    """Moments of W | γ, X: one joint draw, or coordinate sweeps, against a long run of the other conditional."""
    _, model = network
    monkeypatch.setattr(graphs_module, "JOINT_TFS", 128 if joint else 0)
    kernel = GivenGraph(model, num_chains=200, seed=1)
    kernel.setup(0)
    graph = torch.zeros(200, 3, 6, dtype=torch.float64)
    graph[:, 0] = 1.0
    state = kernel.initial_params
    for _ in range(15):
        state = kernel.given(state, graph)
    W, noise = state["W"], state["noise_variance"][0]
    # Rao-Blackwell: the mean of W is the mean over σ² of its exact conditional mean
    scale = torch.where(graph > 0, SLAB, SLAB * RATIO)
    exact = torch.stack(
        [
            model.weights_given(torch.zeros(3, 6, dtype=torch.float64), scale[c], noise[c][None]).mean.T
            for c in range(200)
        ]
    )
    error = W.std(0) / 200**0.5
    gap = ((W - exact).mean(0) * kernel.allowed).abs()
    assert bool((gap <= 4.5 * error + 1e-9).all())
    assert bool((W[:, ~model.edge_prior.allowed] == 0).all())
    assert bool((state["inclusion"] == graph * kernel.allowed).all())


def test_importance_weights_give_the_exact_posterior_of_graphs(network):
    """Weighted graphs of a poor guide against all graphs summed by hand, target by target."""
    _, model = network
    kernel = GivenGraph(model, num_chains=1, seed=0)
    state = state_of(kernel, 0.5)
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)
    log = []
    for column in every:
        graph = column[None, :, None].expand(1, 3, 6) * kernel.allowed
        log.append((kernel.log_evidence(state, graph) + kernel.log_prior(state, graph))[0])
    weight = torch.softmax(torch.stack(log), dim=0)  # (graph, target); a self-pair counts each graph twice, alike
    exact = torch.einsum("ng,nt->tg", weight, every) * kernel.allowed[:, :]
    logit = torch.full((3, 6), -1.0, dtype=torch.float64)
    count = 4000
    drawn = sample_graphs(kernel, state, logit, count, weigh=True, generator=torch.Generator().manual_seed(0))
    smoothed, _ = target_khat((drawn.log_p - drawn.log_q).numpy())
    found = (drawn.graph.numpy() * smoothed[:, :, None]).sum(0)[0]
    effective = 1 / np.square(smoothed[:, 0]).sum(0)
    assert np.abs(found - exact.numpy()).max() < 4.5 * 0.5 / effective.min() ** 0.5


def test_weights_with_few_distinct_graphs_are_left_alone():
    log_weight = np.log(np.array([[0.5], [0.25], [0.25]]))
    weight, khat = target_khat(log_weight)
    np.testing.assert_allclose(weight[:, 0], [0.5, 0.25, 0.25])
    assert np.isnan(khat).all()


def test_khat_sees_a_heavy_tail():
    rng = np.random.default_rng(0)
    normal, heavy = rng.standard_normal(2000), rng.pareto(0.8, 2000)
    _, khat = target_khat(np.column_stack([0.1 * normal, np.log(heavy)]))
    assert khat[0] < 0.5 < 0.9 < khat[1]


def test_evidence_asks_for_no_whole_factors(network, monkeypatch):
    _, model = network
    kernel = GivenGraph(model, num_chains=1, seed=0)
    monkeypatch.setattr(torch, "diag_embed", lambda _: pytest.fail("a whole factor"))
    assert bool(kernel.log_evidence(state_of(kernel, 0.6), kernel.allowed[None].double()).isfinite().all())
