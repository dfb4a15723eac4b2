"""Amortised guides: everything given the graph against dense algebra, corrections against brute force over graphs and
Gibbs, trained weights on disk, symmetries, hard and bad input."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.inference import Amortised, Gibbs, Posterior, fit
from pyrogrn.inference.amortised import (
    FAMILIES,
    Family,
    Schedule,
    graphs,
    load_weights,
    reading,
    save_weights,
    shipped,
    train,
    weights,
)
from pyrogrn.inference.amortised.graphs import GivenGraph, sample_graphs
from pyrogrn.inference.amortised.knowledge import PRIOR_CHANNELS, knowledge_channels, log_odds_of_list
from pyrogrn.inference.amortised.network import KINDS, READS, AmortisedNetwork
from pyrogrn.inference.amortised.reading import read
from pyrogrn.inference.convergence import target_khat
from pyrogrn.inference.runs.run import Run
from pyrogrn.inference.training_worlds import KNOWLEDGE
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, Normal, PriorNetwork, SpikeSlab
from scipy import stats

EDGE, SLAB, RATIO = 0.3, 0.45, 0.15
FIXED = {"edge_probability": EDGE, "slab_scale": SLAB, "spike_ratio": RATIO, "hub_scale": 0.0}
TINY = Family(genes=(14, 14), tf_share=(0.3, 0.3), types=(2, 2), cells=(60, 60), in_degree=(1.0, 2.0))
QUICK = Schedule(
    solver_batches=1,
    solver_epochs=1,
    solver_graphs=2,
    batches=4,
    graphs=4,
    steps=60,
    check_every=20,
    validation=2,
    test=2,
)


# -- fixtures ----


@pytest.fixture(scope="module")
def trained():
    """A GLAD-TF of a few seconds and its description."""
    return train("glad-tf", family=TINY, schedule=QUICK, options={"num_iterations": 3}, seed=1)


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    """Its weights on disk."""
    path = tmp_path_factory.mktemp("weights") / "tiny.npz"
    network, about = trained
    save_weights(network, path, {**about, "command": "pyrogrn train glad-tf"})
    return path


def guide(file, **options):
    return Amortised(**{"weights": str(file), "num_chains": 2, "num_samples": 20, **options})


@pytest.fixture(scope="module")
def cells():
    """Ten genes, four of them regulators that also regulate each other; all effects moderate."""
    return simulate_linear(num_genes=10, num_tfs=4, num_cells=150, edge_probability=0.35, scale=0.3, seed=5).data


@pytest.fixture(scope="module")
def model(cells):
    return LinearNetwork.from_data(cells, edge_prior=SpikeSlab(**FIXED))


@pytest.fixture(scope="module")
def plain(model, cells, file):
    return fit(model, cells, guide=guide(file), seed=2)


# -- given the graph: dense references ----


def knowledge_of(names):
    """Two sources, one with signs; edges on targets and on regulators."""
    a = pd.DataFrame({"source": names[[0, 1, 2]], "target": names[[4, 5, 0]], "probability": [0.9, 0.6, 0.8]})
    b = a.assign(target=names[[5, 5, 1]], sign=[1, -1, 1])
    return {"a": PriorNetwork.from_edges(a, name="a"), "b": PriorNetwork.from_edges(b, name="b")}


def small(*, networks=False, perturbed=True, dtype=torch.float64):
    """Three regulators in seven genes, the cells of one target clamped now and then; the model, standardised values and
    the rows that count for each gene."""
    simulation = simulate_linear(
        num_genes=7, num_tfs=3, num_cells=60, edge_probability=0.5, tf_correlation=0.5, num_perturbed=2 * perturbed,
        cells_per_perturbation=8, seed=7,
    )  # fmt: skip
    data = simulation.data
    names = np.array(data.genes)
    model = LinearNetwork.from_data(
        data, edge_prior=SpikeSlab(**FIXED), networks=knowledge_of(names) if networks else None
    ).to(dtype)
    X, rows = model.standardize(data)
    return model, X.double().numpy(), rows.numpy()


def hyper_state(kernel, seed=0):
    """Different noise in every chain, knowledge trusted to different degrees."""
    state = kernel.initial_params
    generator = torch.Generator().manual_seed(seed)
    for name, scale in (("trust", 2.0), ("sign_trust", 0.8)):
        if name in state:
            state[name] = scale * torch.rand(state[name].shape, generator=generator, dtype=torch.float64)
    return state


def prior_of(model, state, chain, graph):
    """Means and variances of all edges a priori, and their log-odds of existing, by the formulas of `SpikeSlab`."""
    logit = np.full(graph.shape, math.log(EDGE / (1 - EDGE)))
    loc = np.zeros(graph.shape)
    if "trust" in state:
        p, s = model.knowledge.probability.double().numpy(), model.knowledge.sign.double().numpy()
        logit = logit + np.einsum("k,ktg->tg", state["trust"][chain].numpy(), p)
        if "sign_trust" in state:
            signed = [model.knowledge.sources.index(k) for k in model.edge_prior.signed_sources]
            loc = SLAB * np.einsum("k,ktg->tg", state["sign_trust"][chain].numpy(), s[signed]) * graph
    return loc, np.where(graph > 0, SLAB, SLAB * RATIO) ** 2, logit


def contrasts(count):
    """Orthonormal rows that know nothing of the intercept: the marginal likelihood under a flat one."""
    return np.linalg.svd(np.eye(count) - 1 / count)[0][:, : count - 1].T


@pytest.mark.parametrize("networks", [False, True], ids=["no-knowledge", "knowledge"])
@pytest.mark.parametrize("perturbed", [False, True], ids=["plain", "perturbed"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_evidence_of_graphs_equals_the_dense_marginal_likelihood(networks, perturbed, dtype):
    model, X, rows = small(networks=networks, perturbed=perturbed, dtype=dtype)
    assert bool(len(model.own)) == perturbed
    chains = 3
    kernel = GivenGraph(model, num_chains=chains, seed=1)
    state = hyper_state(kernel)
    rng = np.random.default_rng(0)
    allowed = model.edge_prior.allowed.numpy()
    drawn = [(rng.random((chains, 3, 7)) < 0.5) * allowed for _ in range(5)]
    state = {name: value.to(dtype) for name, value in state.items()}
    found = [kernel.log_evidence(state, torch.as_tensor(g, dtype=dtype)).double().numpy() for g in drawn]
    expected = np.zeros((5, chains, 7))
    for (i, graph), chain, gene in itertools.product(enumerate(drawn), range(chains), range(7)):
        loc, variance, _ = prior_of(model, state, chain, graph[chain])
        free = allowed[:, gene]
        kept = X[rows[:, gene]]
        Q = contrasts(len(kept))
        x, y = Q @ kept[:, :3][:, free], Q @ kept[:, gene]
        noise = float(state["noise_variance"][0, chain, gene])
        covariance = noise * np.eye(len(y)) + x @ np.diag(variance[free, gene]) @ x.T
        expected[i, chain, gene] = stats.multivariate_normal.logpdf(y, x @ loc[free, gene], covariance)
    # a constant of the data and the noise is left out
    tolerance = {torch.float64: {"rtol": 0, "atol": 1e-4}, torch.float32: {"rtol": 1e-4, "atol": 0.02}}[dtype]
    np.testing.assert_allclose(np.array(found[1:]) - found[0], expected[1:] - expected[0], **tolerance)
    assert np.ptp(expected - expected[:1]) > 5  # the graphs do differ
    if networks:
        assert "sign_trust" in state


@pytest.mark.parametrize("networks", [False, True], ids=["no-knowledge", "knowledge"])
def test_prior_of_graphs_is_bernoulli(networks):
    model, _, _ = small(networks=networks)
    kernel = GivenGraph(model, num_chains=2, seed=1)
    state = hyper_state(kernel)
    allowed = model.edge_prior.allowed.numpy()
    graph = (np.random.default_rng(0).random((2, 3, 7)) < 0.5) * allowed
    found = kernel.log_prior(state, torch.as_tensor(graph, dtype=torch.float64)).numpy()
    for chain in range(2):
        _, _, logit = prior_of(model, state, chain, graph[chain])
        expected = (stats.bernoulli.logpmf(graph[chain], 1 / (1 + np.exp(-logit))) * allowed).sum(0)
        np.testing.assert_allclose(found[chain], expected, atol=1e-5)


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "sweeps"])
def test_weights_given_the_graph_have_the_moments_of_the_closed_form(joint, monkeypatch):
    """Noise and hyperparameters held; joint draws, and coordinate sweeps as beyond `JOINT_TFS` regulators."""
    if not joint:
        monkeypatch.setattr(graphs, "JOINT_TFS", 0)
    monkeypatch.setattr(GivenGraph, "_update_noise", lambda self, state: None)
    model, X, rows = small(networks=True)
    chains = 2000
    kernel = GivenGraph(model, num_chains=chains, seed=1)
    kernel.setup(0)
    state = hyper_state(kernel)
    for name in ("trust", "sign_trust"):
        state[name] = state[name][:1].expand_as(state[name]).clone()
        monkeypatch.setattr(kernel.hyper, "update_inclusion", lambda state: None)
        monkeypatch.setattr(kernel.hyper, "update_scales", lambda state, location: None)
    state["noise_variance"] = torch.linspace(0.2, 0.8, 7, dtype=torch.float64).expand(1, chains, 7).clone()
    allowed = model.edge_prior.allowed.numpy()
    graph = (np.random.default_rng(3).random((3, 7)) < 0.5) * allowed
    # 40 sweeps: each halves at least what is left of the start
    for _ in range(1 if joint else 8):
        state = kernel.given(state, torch.as_tensor(graph, dtype=torch.float64).expand(chains, 3, 7))
    draws = state["W"].numpy()
    assert (state["inclusion"].numpy() == graph).all()
    loc, variance, _ = prior_of(model, state, 0, graph)
    for gene in range(7):
        free = allowed[:, gene]
        kept = X[rows[:, gene]]
        x, y = kept[:, :3][:, free], kept[:, gene]
        x, y = x - x.mean(0), y - y.mean()
        noise = float(state["noise_variance"][0, 0, gene])
        precision = x.T @ x / noise + np.diag(1 / variance[free, gene])
        covariance = np.linalg.inv(precision)
        mean = covariance @ (x.T @ y / noise + loc[free, gene] / variance[free, gene])
        found = draws[:, free, gene]
        sd = np.sqrt(np.diag(covariance))
        # 21 means and 42 covariances: within 4.5 standard errors, one failure in 2,000 seeds
        np.testing.assert_array_less(np.abs(found.mean(0) - mean), 4.5 * sd / math.sqrt(chains))
        error = np.sqrt((np.outer(sd, sd) ** 2 + covariance**2) / chains)
        np.testing.assert_array_less(np.abs(np.cov(found.T) - covariance), 4.5 * error)
        assert (draws[:, ~free, gene] == 0).all()


def test_weights_and_noise_given_the_graph_have_the_posterior_of_quadrature(exact):
    model, X, _ = small(perturbed=False)
    chains, warmup, scans = 100, 5, 40
    kernel = GivenGraph(model, num_chains=chains, seed=1)
    kernel.setup(0)
    state = hyper_state(kernel)
    allowed = model.edge_prior.allowed.numpy()
    graph = (np.random.default_rng(3).random((3, 7)) < 0.5) * allowed
    held = torch.as_tensor(graph, dtype=torch.float64).expand(chains, 3, 7)
    draws = []
    for scan in range(warmup + scans):
        state = kernel.given(state, held)
        if scan >= warmup:
            draws.append(state["W"].numpy())
    draws = np.array(draws)
    error = draws.mean(0).std(0) / math.sqrt(chains)  # of independent chains
    square = (draws - draws.mean((0, 1))) ** 2
    error_square = square.mean(0).std(0) / math.sqrt(chains)
    variance = np.where(graph > 0, SLAB, SLAB * RATIO) ** 2
    for gene in range(3, 7):
        _, mean, covariance = exact(X[:, :3], X[:, gene], np.zeros(3), variance[:, gene])
        np.testing.assert_array_less(np.abs(draws.mean((0, 1))[:, gene] - mean), 4.5 * error[:, gene])
        found = square.mean((0, 1))[:, gene]
        np.testing.assert_array_less(np.abs(found - np.diag(covariance)), 4.5 * error_square[:, gene] + 1e-6)


# -- corrections ----


def test_smoothed_weights_give_the_posterior_of_brute_force():
    """Noise held: the sum over all graphs of every target, against graphs drawn from independent coins."""
    model, _, _ = small(networks=True)
    kernel = GivenGraph(model, num_chains=2, seed=1)
    state = hyper_state(kernel)
    allowed = model.edge_prior.allowed.double()
    logit = 0.6 * torch.randn(3, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    drawn = sample_graphs(kernel, state, logit, 800, weigh=True, generator=torch.Generator().manual_seed(4))
    weight, _ = target_khat((drawn.log_p - drawn.log_q).numpy())
    found = np.einsum("scg,sctg->ctg", weight, drawn.graph.numpy())
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    log_p = []
    for bits in every:
        graph = bits[:, None].expand(2, 3, 7) * allowed
        log_p.append((kernel.log_evidence(state, graph) + kernel.log_prior(state, graph)).numpy())
    share = np.exp(
        log_p - np.logaddexp.reduce(log_p, axis=0)
    )  # graphs that differ in self-edges only are counted twice
    expected = np.einsum("icg,it->ctg", share, every.numpy()) * allowed.numpy()
    # delta method for self-normalised weights
    error = np.sqrt((weight[:, :, None] ** 2 * (drawn.graph.numpy() - found) ** 2).sum(0))
    np.testing.assert_array_less(np.abs(found - expected), 4.5 * error + 1e-3)
    assert error.max() < 0.1
    # q is what it says, for self-edges 0
    q = stats.bernoulli.logpmf(drawn.graph.numpy(), torch.sigmoid(logit).numpy()) * allowed.numpy()
    np.testing.assert_allclose(drawn.log_q.numpy(), q.sum(2), atol=1e-8)
    assert (drawn.graph.numpy()[:, :, ~model.edge_prior.allowed.numpy()] == 0).all()


@pytest.fixture(scope="module")
def gibbs(model):
    """Inclusion of Gibbs and its Monte-Carlo error."""
    posterior = fit(model, guide=Gibbs(num_chains=16, num_warmup=30, num_samples=80), seed=1)
    moments = posterior.moments["W"]
    return moments.inclusion


def distance(posterior, gibbs):
    return float(np.abs(posterior.moments["W"].inclusion - gibbs).mean())


def test_importance_gives_the_inclusion_of_gibbs(model, cells, file, plain, gibbs):
    options = {"num_chains": 12, "num_samples": 120}
    corrected = fit(model, cells, guide=guide(file, correction="importance", **options), seed=3)
    difference = np.abs(corrected.moments["W"].inclusion - gibbs)
    # σ² is drawn given the guide's graphs and not the corrected ones, which the 150 cells hardly tell apart: 0.03;
    # beyond, Monte-Carlo errors of 12 × 120 weighted draws with at least 150 effective
    assert difference.max() < 0.03 + 4 * 0.5 / math.sqrt(150)
    assert difference.mean() < 0.03
    assert difference.mean() < 0.25 * distance(plain, gibbs)
    khat = corrected.attributes["khat_target"]
    assert khat.shape == (12, 10)
    table = corrected.diagnose()
    assert "importance weights (k-hat)" in set(table.index) | set(table.to_numpy().ravel().astype(str))


def test_fine_tuning_raises_the_elbo_and_comes_nearer_to_gibbs(model, cells, file, plain, gibbs):
    options = {"fine_tune": 150, "rate": 0.005, "num_samples": 100}
    tuned = fit(model, cells, guide=guide(file, **options), seed=3)
    elbo = np.asarray(tuned.attributes["fine_tune_elbo"]).mean(0)
    assert len(elbo) == 150
    assert elbo[-20:].mean() > elbo[:5].mean() + 5
    assert distance(tuned, gibbs) < 0.5 * distance(plain, gibbs)
    both = fit(model, cells, guide=guide(file, **options, correction="importance"), seed=3)
    assert distance(both, gibbs) < 0.8 * distance(tuned, gibbs)


def test_z_scores_are_not_what_the_network_was_trained_on(model, cells, file):
    z = replace(cells, matrix=(cells.X - cells.X.mean(0)) / cells.X.std(0))
    for call in (lambda: fit(model, z, guide=guide(file), seed=2), lambda: guide(file)(model, z)):
        with pytest.raises(ValueError, match=r"the data look like z-scores .* Give counts or un-logged levels"):
            call()


def test_only_the_guide_as_trained_claims_calibration(file, monkeypatch):
    assert Amortised("grnular").calibrated
    assert not Amortised("glad").calibrated  # not told which genes regulate
    monkeypatch.setattr("pyrogrn.inference.amortised.guide.ECE_OF_BADGE", 0.0)
    assert not guide(file).calibrated  # no ECE on fresh simulations is zero
    monkeypatch.setattr("pyrogrn.inference.amortised.guide.ECE_OF_BADGE", 1.0)
    assert guide(file).calibrated
    assert not guide(file, correction="importance").calibrated
    assert not guide(file, fine_tune=1).calibrated


# -- the posterior ----


def test_inclusion_is_what_the_network_says(plain, model, cells, trained):
    logit = trained[0](cells.X.float(), model.tf_index, seed=2)
    expected = torch.sigmoid(logit).numpy() * model.edge_prior.allowed.numpy()
    np.testing.assert_allclose(plain.moments["W"].inclusion, expected, atol=1e-5)
    drawn = plain.draws["inclusion"].mean((0, 1))  # 40 graphs
    error = np.sqrt(expected * (1 - expected) / 40)
    np.testing.assert_array_less(np.abs(drawn - expected), 4.5 * error + 1e-6)


def test_same_seed_same_draws(plain, model, cells, file):
    again, other = (fit(model, cells, guide=guide(file), seed=seed) for seed in (2, 3))
    for name, value in plain.draws.items():
        np.testing.assert_array_equal(again.draws[name], value)
    assert (other.draws["W"] != plain.draws["W"]).any()


def test_the_posterior_serves_like_any_other(plain, cells, tmp_path):
    edges = plain.edges()
    assert len(edges) == 4 * 10 - 4
    assert np.isfinite(edges.select_dtypes("number").to_numpy()).all()
    prediction = plain.predict(knockout=[cells.tfs[0]])
    assert np.isfinite(prediction.select_dtypes("number").to_numpy()).all()
    tree = plain.to_datatree()
    assert "posterior" in tree.children
    assert plain.attributes["amortised_ece"] >= 0
    plain.save(tmp_path / "model")
    again = Posterior.load(tmp_path / "model")
    pd.testing.assert_frame_equal(again.edges(), edges)
    assert again.attributes["amortised_ece"] == plain.attributes["amortised_ece"]


def test_prior_networks_change_the_answer(cells, file, plain):
    names = np.array(cells.genes)
    informed = LinearNetwork.from_data(cells, edge_prior=SpikeSlab(**FIXED), networks=knowledge_of(names))
    there = fit(informed, cells, guide=guide(file), seed=2)
    assert np.abs(there.moments["W"].inclusion - plain.moments["W"].inclusion).max() > 0.01


def test_knowledge_channels_by_hand(cells):
    names = np.array(cells.genes)
    model = LinearNetwork.from_data(cells, networks=knowledge_of(names))
    channels = knowledge_channels(model.knowledge)
    assert channels.shape == (4, 10, len(PRIOR_CHANNELS))
    listed = {(0, 4): 0.9, (1, 5): 0.6, (2, 0): 0.8, (0, 5): 0.9, (2, 1): 0.8}
    for t, g in itertools.product(range(4), range(10)):
        p = listed.get((t, g))
        expected = [0.0, 0.0, 1.0] if p is None else [math.log(p / (1 - p)), 1.0, 1.0]
        np.testing.assert_allclose(channels[t, g].numpy(), expected, atol=1e-5)
    none = LinearNetwork.from_data(cells)
    assert (knowledge_channels(none.knowledge) == 0).all()


def test_no_knowledge_is_zero_knowledge(trained, cells):
    network, tfs = trained[0], torch.arange(4)
    none = network(cells.X.float(), tfs)
    zeros = network(cells.X.float(), tfs, torch.zeros(4, 10, len(PRIOR_CHANNELS)))
    torch.testing.assert_close(none, zeros, rtol=0, atol=0)


def test_targets_may_be_fewer_than_genes(cells, file, plain):
    some = [cells.genes[i] for i in (7, 1, 5)]
    model = LinearNetwork.from_data(cells, edge_prior=SpikeSlab(**FIXED), targets=some)
    found = fit(model, cells, guide=guide(file), seed=2).moments["W"].inclusion
    np.testing.assert_allclose(found, plain.moments["W"].inclusion[:, [7, 1, 5]], atol=1e-5)


def test_a_mask_holds(cells, file):
    edges = pd.DataFrame({"source": [cells.genes[0]] * 2, "target": [cells.genes[4], cells.genes[6]]})
    model = LinearNetwork.from_data(
        cells, edge_prior=HardMask(SpikeSlab(**FIXED)), networks={"m": PriorNetwork.from_edges(edges, name="m")}
    )
    posterior = fit(model, cells, guide=guide(file, correction="importance"), seed=2)
    inside = np.zeros((4, 10), bool)
    inside[0, [4, 6]] = True
    assert (posterior.draws["W"][..., ~inside] == 0).all()
    assert (posterior.moments["W"].inclusion[~inside] == 0).all()
    assert (posterior.moments["W"].inclusion[inside] > 0).all()


def test_more_regulators_than_one_joint_draw_takes(model, cells, file, monkeypatch):
    """The same posterior by coordinate sweeps."""
    options = {"num_chains": 8, "num_samples": 50}
    joint = fit(model, cells, guide=guide(file, **options), seed=2)
    monkeypatch.setattr(graphs, "JOINT_TFS", 3)
    sweeps = fit(model, cells, guide=guide(file, **options), seed=2)
    a, b = joint.moments["W"], sweeps.moments["W"]
    np.testing.assert_allclose(a.inclusion, b.inclusion, atol=1e-6)
    # 400 draws of each; the graphs are the same ones
    np.testing.assert_array_less(np.abs(a.mean - b.mean), 5 * (a.sd + b.sd) / 2 * math.sqrt(2 / 400) + 1e-6)
    kept = a.sd > 0
    np.testing.assert_allclose(a.sd[kept], b.sd[kept], rtol=5 * math.sqrt(1 / 400) * 1.5)


# -- hard data ----


def hard(name):
    rng = np.random.default_rng(0)
    if name == "fewer cells than genes":
        X = rng.gamma(2.0, 1.0, (8, 12))
    elif name == "duplicated gene":
        X = rng.gamma(2.0, 1.0, (40, 12))
        X[:, 1] = X[:, 0]  # two regulators
        X[:, 8] = X[:, 7]
        X[:, 9] = X[:, 2]  # a regulator and a target
    else:
        X = rng.poisson(0.1, (60, 12)).astype(float)
        X[0] = 1 + np.arange(12)
    genes = tuple(f"g{i}" for i in range(12))
    return ExpressionData(torch.as_tensor(X, dtype=torch.float32), genes, genes[:4])


@pytest.mark.parametrize("options", [{}, {"correction": "importance", "fine_tune": 3}], ids=["plain", "corrected"])
@pytest.mark.parametrize("name", ["fewer cells than genes", "duplicated gene", "sparse counts"])
def test_hard_data_give_finite_edges(name, options, file):
    data = hard(name)
    posterior = fit(LinearNetwork.from_data(data), data, guide=guide(file, **options), seed=1)
    table = posterior.edges()
    assert len(table) == 4 * 12 - 4
    assert np.isfinite(table.select_dtypes("number").to_numpy()).all()
    assert np.isfinite(np.asarray(posterior.history.elbo)).all()


def test_constant_genes(file, trained):
    """The model refuses them by name; the network itself stays finite."""
    data = hard("duplicated gene")
    data.X[:, 5] = 2.0
    with pytest.raises(ValueError, match="g5"):
        LinearNetwork.from_data(data)
    assert torch.isfinite(trained[0](data.X, torch.arange(4))).all()


# -- bad input ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"correction": "psis"}, "correction is 'psis', expected one of"),
        ({"num_chains": 0}, "at least one chain"),
        ({"num_samples": 0}, "at least one chain and sample"),
        ({"fine_tune": -1}, "fine_tune >= 0"),
        ({"rate": 0.0}, "positive rate"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Amortised(**options)


def test_bad_fits_are_refused(model, cells, file, rich):
    with pytest.raises(ValueError, match=r"read the cells themselves: call fit\(model, data"):
        fit(model, guide=guide(file))
    other = ExpressionData(cells.X, tuple(f"x{i}" for i in range(10)), ("x0", "x1", "x2", "x3"))
    with pytest.raises(ValueError, match="made from other genes"):
        fit(model, other, guide=guide(file))
    few = ExpressionData(cells.X[:3], cells.genes, cells.tfs)
    with pytest.raises(ValueError, match="fewer than 4 cells"):
        fit(model, few, guide=guide(file))
    with pytest.raises(ValueError, match="one context, this model has 2: fit them one by one"):
        fit(LinearNetwork.from_data(rich.data), rich.data, guide=guide(file))
    with pytest.raises(ValueError, match="LinearNetwork with Normal"):
        fit(LinearNetwork.from_data(cells, edge_prior=Normal()), cells, guide=guide(file))
    with pytest.raises(ValueError, match="leave out `batch_size`"):
        fit(model, cells, guide=guide(file), batch_size=10)
    with pytest.raises(ValueError, match="keeps no checkpoint: run it again"):
        guide(file).run(model, cells, Run(seed=0, threshold=0.1, resume={}))
    with pytest.raises(ValueError, match=r"no trained weights 'glod': expected one of .*'grnular'"):
        fit(model, cells, guide=Amortised("glod"))


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused(file, tmp_path):
    content = file.read_bytes()
    path = tmp_path / "damaged.npz"
    for damaged in (b"", b"PK", content[:100], content[: len(content) // 2], content[:-5], b"no zip" * 50):
        path.write_bytes(damaged)
        refused(path, "no file of trained weights|was changed")
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 40):
        changed = bytearray(content)
        changed[place] ^= 0x55
        path.write_bytes(bytes(changed))
        try:  # some bytes of a zip file are dates and padding; whatever loads is the same network
            network, about = load_weights(path)
        except ValueError as error:
            assert "no file of trained weights" in str(error) or "was changed" in str(error)  # noqa: PT017
        else:
            assert about["sha256"] == load_weights(file)[1]["sha256"]
            assert network.kind == "glad-tf"


def test_other_numpy_files_are_refused(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    refused(tmp_path / "array.npy", "no file of trained weights")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    refused(tmp_path / "other.npz", "no file of trained weights")


def test_changed_numbers_and_words_are_refused(file, tmp_path):
    with np.load(file) as stored:
        content = dict(stored)
    number = next(name for name in content if name.startswith("head."))
    wrong = dict(content)
    wrong[number] = wrong[number] + np.float32(1e-6)
    np.savez(tmp_path / "number.npz", **wrong)
    refused(tmp_path / "number.npz", "was changed after it was written")
    text = str(content["description"]).replace('"ece": 0.', '"ece": 0.0')
    assert text != str(content["description"])
    np.savez(tmp_path / "text.npz", **{**content, "description": np.array(text)})
    refused(tmp_path / "text.npz", "was changed after it was written")


def test_weights_of_another_version_are_refused(trained, tmp_path, monkeypatch):
    network, about = trained
    with monkeypatch.context() as other:
        other.setattr(weights, "FORMAT", 1)
        save_weights(network, tmp_path / "format.npz", about)
    refused(tmp_path / "format.npz", "another version .format 1.*this one reads format 2.*train them again")
    with monkeypatch.context() as other:
        other.setattr(weights, "CHANNELS", ("a", "b"))
        save_weights(network, tmp_path / "channels.npz", about)
    refused(tmp_path / "channels.npz", "another version .format 2, 5 channels.*train them again")
    # another size of the head, an option that is not known any more, no scores
    with monkeypatch.context() as other:
        other.setattr(network, "options", {**network.options, "width": 7})
        save_weights(network, tmp_path / "width.npz", about)
        other.setattr(network, "options", {**network.options, "unrolled": {"no_such_option": 1}})
        save_weights(network, tmp_path / "option.npz", about)
    save_weights(network, tmp_path / "scores.npz", {})
    for name in ("width", "option", "scores"):
        refused(tmp_path / f"{name}.npz", "another version.*train them again")


# -- weights on disk ----


def test_saved_weights_are_the_same_network(trained, file, cells):
    network, about = load_weights(file)
    for name, value in trained[0].state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=0, atol=0)
    X = cells.X.float()
    assert torch.equal(network(X, torch.arange(4)), trained[0](X, torch.arange(4)))
    assert about["kind"] == "glad-tf"
    assert about["about"]["command"] == "pyrogrn train glad-tf"
    assert about["about"]["scores"] == trained[1]["scores"]
    assert not any(p.requires_grad for p in network.parameters())


def test_every_shipped_file_is_recorded_and_every_record_shipped():
    folder = Path(weights.__file__).parent / "trained"
    assert {path.stem for path in folder.glob("*.npz")} == set(shipped())


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_weights_load_and_say_how_they_were_made(name):
    network, about = load_weights(name)
    assert about["sha256"] == json.loads((Path(weights.__file__).parent / "trained" / "sha256.json").read_text())[name]
    kind = about["kind"]
    assert kind == network.kind
    assert kind in KINDS
    part = name.removeprefix(f"{kind}-")
    assert name == kind or part in FAMILIES or part == network.reads
    assert (network.reads != "both") == (part in READS)
    told = about["about"]
    assert told["command"].startswith(f"pyrogrn train {kind}")
    assert f"--seed {told['seed']}" in told["command"] or told["seed"] == 1
    assert {"family", "schedule", "loss", "seed", "scores"} <= set(told)
    # the recorded command makes this file
    assert network.options["unrolled"]["num_iterations"] == 10
    if kind == "grnular":  # of the kind that reads no Z these are not used
        assert network.options["unrolled"] == {
            "num_iterations": 10,
            "init_epochs": 120,
            "max_cells": 300,
            "base": False,
        }
    scores = told["scores"]
    assert 0 < scores["log_loss"] < math.log(2)
    # two numbers for all data sets cannot calibrate Z on each: that one claims nothing
    assert 0 <= scores["ece"] <= (0.06 if network.reads == "unrolled" else 0.02)
    assert Amortised(name).calibrated == (network.directed and network.reads != "unrolled")
    assert 0.5 < scores["auroc"] <= 1
    assert 0 < scores["average_precision"] <= 1
    logit = network(torch.rand(30, 9, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 4]))
    assert logit.shape == (2, 9)
    assert torch.isfinite(logit).all()


def test_changed_shipped_weights_are_refused(monkeypatch):
    monkeypatch.setattr(weights, "shipped", lambda: {"grnular": "0" * 64})
    refused("grnular", "shipped weights 'grnular' were changed .*: reinstall")


# -- symmetries of the networks ----


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(2)
    shared = rng.lognormal(0.0, 0.5, (80, 1)) ** rng.normal(1.0, 0.5, 12)
    return torch.as_tensor(rng.poisson(4 * shared), dtype=torch.float32)


@pytest.fixture(scope="module")
def of_kinds(trained):
    """Trained glad-tf, and glad with numbers at random: symmetries need no training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        glad = AmortisedNetwork("glad", unrolled={"num_iterations": 3})
    return {"glad-tf": trained[0], "glad": glad.eval().requires_grad_(False)}


@pytest.mark.parametrize("kind", ["glad", "glad-tf"])
def test_permuted_genes_and_regulators_give_the_permuted_answer(kind, of_kinds, counts):
    network, tfs = of_kinds[kind], torch.tensor([0, 3, 7])
    groups = torch.arange(80) % 4  # given: finding them starts from random numbers in the order of genes
    knowledge = torch.zeros(3, 12, 3)
    knowledge[0, 5] = knowledge[2, 3] = torch.tensor([1.0, 1.0, 0.0])
    knowledge[..., 2] = 1.0
    logit = network(counts, tfs, knowledge, groups=groups)
    generator = torch.Generator().manual_seed(1)
    genes, order = torch.randperm(12, generator=generator), torch.tensor([2, 0, 1])
    place = torch.argsort(genes)  # where each gene went
    moved = network(counts[:, genes], place[tfs][order], knowledge[order][:, genes], groups=groups)
    torch.testing.assert_close(moved, logit[order][:, genes], atol=2e-3, rtol=1e-3)
    assert (moved - logit).abs().max() > 0.05


def test_without_regulators_only_the_rows_asked_for_differ(of_kinds, counts):
    """GLAD sees all genes alike: an edge has the same probability whoever counts as regulator, halved between two
    regulators, either of which may be the source."""
    network, groups = of_kinds["glad"], torch.arange(80) % 4
    everything = network(counts, torch.arange(12), groups=groups)
    torch.testing.assert_close(everything, everything.T, atol=1e-5, rtol=1e-5)
    few = torch.sigmoid(network(counts, torch.tensor([7, 2]), groups=groups))
    expected = torch.sigmoid(everything[[7, 2]])
    others = [g for g in range(12) if g not in (2, 7)]
    torch.testing.assert_close(few[:, others], 2 * expected[:, others], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(few[:, [2, 7]], expected[:, [2, 7]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["glad", "glad-tf"])
def test_the_same_numbers_serve_any_number_of_genes(kind, of_kinds):
    generator = torch.Generator().manual_seed(0)
    for genes in (5, 12, 40):
        X = torch.rand(50, genes, generator=generator).square() * 5
        logit = of_kinds[kind](X, torch.tensor([0, 3]))
        assert logit.shape == (2, genes)
        assert torch.isfinite(logit).all()


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="kind is 'glasso', expected one of"):
        AmortisedNetwork("glasso")


# -- prior networks that are wrong ----
def test_a_list_that_tells_nothing_is_told_from_one_that_does():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(20, 100, generator=generator) < 0.1
    probability = torch.where(truth, 0.7, 0.03) * torch.rand(truth.shape, generator=generator)
    every, random = torch.ones_like(truth), torch.rand(truth.shape, generator=generator) < 0.1
    half = torch.where(torch.rand(truth.shape, generator=generator) < 0.5, truth, random)
    of = lambda p, listed: log_odds_of_list(p, listed, every)
    assert of(probability, truth) > 50
    assert of(probability, half) > 10
    assert of(probability, random) < -1
    assert abs(of(torch.full_like(probability, 0.1), random)) < 1e-3  # cells that say nothing
    assert of(probability, every) == of(probability, ~every) == 0.0


def test_log_odds_of_a_list_by_hand():
    p, listed = torch.tensor([[0.8, 0.1, 0.3]]), torch.tensor([[True, False, False]])
    share, values = 0.4, []
    for k in range(1, 21):
        c = share + (1 - share) * k / 20
        r, f = min(c / 3 / share, 0.999), (1 - c) / 3 / (1 - share)
        q = [x * r + (1 - x) * f for x in (0.8, 0.1, 0.3)]
        values.append(q[0] * (1 - q[1]) * (1 - q[2]))
    expected = np.log(np.mean(values) / (1 / 3 * (2 / 3) ** 2))
    assert log_odds_of_list(p, listed, torch.ones_like(listed)) == pytest.approx(expected, abs=1e-6)


def test_prior_networks_that_the_cells_contradict_are_left_alone(trained, cells, monkeypatch):
    names = np.array(cells.genes)
    model = LinearNetwork.from_data(cells, networks=knowledge_of(names))
    none = LinearNetwork.from_data(cells)
    asked = read(trained[0], model, cells, seed=0)
    assert 0 < asked.weight < 1
    alone = read(trained[0], none, cells, seed=0)
    assert alone.weight is None
    mix = asked.weight * torch.sigmoid(asked_with(trained[0], model, cells)) + (1 - asked.weight) * torch.sigmoid(
        alone.logit
    )
    torch.testing.assert_close(torch.sigmoid(asked.logit), mix, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(reading, "log_odds_of_list", lambda *_: -50.0)
    torch.testing.assert_close(read(trained[0], model, cells, seed=0).logit, alone.logit)


def asked_with(network, model, cells):
    """Log-odds with the prior networks as they are."""
    with torch.no_grad():
        inputs = network.inputs(cells.X.to(model.constant), model.tf_index, reading.knowledge_of(model), seed=0)
        return reading.logit_of(network, inputs, model)


def test_a_check_says_that_the_cells_contradict_the_prior_networks(plain, cells):
    rows = {}
    for weight in (0.9, 0.1):
        told = replace(plain, attributes={**plain.attributes, "knowledge_weight": np.array(weight)})
        rows[weight] = told.diagnose().set_index("check").loc[KNOWLEDGE]
    assert rows[0.9]["passed"]
    assert not rows[0.1]["passed"]
    assert KNOWLEDGE not in set(plain.diagnose()["check"])
