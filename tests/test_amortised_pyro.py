"""Amortised guides as Pyro guides: their sites and densities against dense algebra, evidence and gradients against sums
over all graphs, SVI, Importance and CSIS, and the parts of a trained network as posteriors of their own."""

import copy
import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    CSIS,
    SVI,
    EmpiricalMarginal,
    Importance,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from pyrogrn.inference import Amortised, fit, posterior_from
from pyrogrn.inference.amortised import Family, Schedule, load_weights, pyro_guide, save_weights, train
from pyrogrn.inference.amortised.batches import make_batch
from pyrogrn.inference.amortised.compilation import NetworkPosterior, Simulated, negative_log_q
from pyrogrn.inference.amortised.edge_flips import Components, log_odds_given_rest
from pyrogrn.inference.amortised.graphs import GivenGraph, sample_graphs
from pyrogrn.inference.amortised.losses import log_loss
from pyrogrn.inference.amortised.network import READS, AmortisedNetwork
from pyrogrn.inference.amortised.weighing import weigh
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, PriorNetwork, SpikeSlab
from scipy import stats
from scipy.special import expit, logsumexp

EDGE, SLAB, RATIO = 0.3, 0.45, 0.15
FIXED = {"edge_probability": EDGE, "slab_scale": SLAB, "spike_ratio": RATIO, "hub_scale": 0.0}
TINY = Family(genes=(14, 14), tf_share=(0.3, 0.3), types=(2, 2), cells=(60, 60), in_degree=(1.0, 2.0))
QUICK = Schedule(solver_batches=1, solver_epochs=1, solver_graphs=2, batches=3, graphs=3, steps=30, check_every=15,
                 validation=2, test=2)  # fmt: skip


@pytest.fixture(autouse=True)
def own_parameters(no_global_state_changed, monkeypatch):
    """Every test has a parameter store of its own, and a seed; noise and hyperparameters begin from few sweeps."""
    monkeypatch.setattr(pyro_guide, "SCANS", 12)
    with pyro.get_param_store().scope(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        yield


@pytest.fixture(scope="module")
def cells():
    """Seven genes, three of them regulators, with moderate effects: some graphs are likely, none is certain."""
    return simulate_linear(
        num_genes=7, num_tfs=3, num_cells=60, edge_probability=0.5, tf_correlation=0.5, scale=0.3, seed=7
    ).data


@pytest.fixture(scope="module")
def fixed(cells):
    return LinearNetwork.from_data(cells, edge_prior=SpikeSlab(**FIXED)).double()


@pytest.fixture(scope="module")
def learned(cells):
    """All hyperparameters sampled, two sources, one with signs."""
    names = list(cells.genes)
    listed = pd.DataFrame({"source": names[:3], "target": names[4:7], "probability": [0.9, 0.6, 0.8]})
    networks = {
        "a": PriorNetwork.from_edges(listed, name="a"),
        "b": PriorNetwork.from_edges(listed.assign(sign=[1, -1, 1]), name="b"),
    }
    return LinearNetwork.from_data(cells, edge_prior=SpikeSlab(hub_scale=0.5), networks=networks)


KEPT = {}


def made(model, cells, **options):
    """A fresh copy of the guide as it is made; making one takes a second, so each is made once."""
    place = (id(model), *options.items())
    if place not in KEPT:
        KEPT[place] = model, Amortised("grnular")(model, cells, **options)
    return copy.deepcopy(KEPT[place][1], {id(model): model})


def dense(model, cells):
    X, _ = model.standardize(cells)
    X = X.double().numpy()
    return X[:, : len(model.tfs)], X


# -- sites and densities ----


def test_the_guide_samples_the_sites_of_the_model_in_its_plates(learned, cells):
    guide = made(learned, cells)
    drawn = poutine.trace(guide).get_trace()
    story = poutine.trace(poutine.replay(learned, trace=drawn)).get_trace()
    assert set(drawn.stochastic_nodes) - {"tf", "target"} == set(learned.dims)
    assert {"inclusion", "W", "noise_variance", "hub", "trust", "sign_trust", "slab_scale"} <= set(learned.dims)
    drawn.compute_log_prob()
    story.compute_log_prob()
    for name in learned.dims:
        assert drawn.nodes[name]["log_prob"].shape == story.nodes[name]["log_prob"].shape, name
        assert drawn.nodes[name]["value"] is story.nodes[name]["value"], name
        assert {f.name for f in drawn.nodes[name]["cond_indep_stack"]} == {
            f.name for f in story.nodes[name]["cond_indep_stack"]
        }, name
    assert set(np.unique(drawn.nodes["inclusion"]["value"].numpy())) <= {0.0, 1.0}
    parameters = set(pyro.get_param_store().keys())
    assert {"locs.noise_variance", "scales.noise_variance", "network$$$head.last.weight"} <= parameters
    assert not [name for name in parameters if "unrolled" in name]


def test_log_q_is_that_of_dense_algebra(fixed, cells):
    guide = made(fixed, cells)
    drawn = poutine.trace(guide).get_trace()
    value = {name: drawn.nodes[name]["value"].detach().numpy() for name in ("noise_variance", "inclusion", "W")}
    loc, scale = (part.noise_variance.detach().numpy() for part in (guide.locs, guide.scales))
    expected = stats.lognorm.logpdf(value["noise_variance"], s=scale, scale=np.exp(loc)).sum()
    allowed = fixed.edge_prior.allowed.numpy()
    probability = np.where(allowed, expit(guide.logits().detach().double().numpy()), EDGE)
    expected += stats.bernoulli.logpmf(value["inclusion"], probability).sum()
    x, X = dense(fixed, cells)
    x = x - x.mean(0)
    for gene in range(7):
        variance = np.where(value["inclusion"][:, gene] > 0, SLAB, SLAB * RATIO) ** 2
        free = allowed[:, gene]
        noise, y = value["noise_variance"][gene], X[:, gene] - X[:, gene].mean()
        seen = x * free
        covariance = np.linalg.inv(seen.T @ seen / noise + np.diag(1 / variance))
        mean = covariance @ (seen.T @ y / noise)
        expected += stats.multivariate_normal.logpdf(value["W"][:, gene], mean, covariance)
    assert float(drawn.log_prob_sum().detach()) == pytest.approx(expected, abs=1e-3)


def test_masses_of_all_graphs_of_a_target_sum_to_one(fixed, cells):
    guide = made(fixed, cells)
    edges = poutine.trace(guide).get_trace().nodes["inclusion"]["fn"]
    rows = [torch.tensor(g, dtype=torch.float64)[:, None].expand(3, 7) for g in itertools.product((0, 1), repeat=3)]
    mass = torch.stack([edges.log_prob(row).sum(0).exp() for row in rows]).sum(0)
    torch.testing.assert_close(mass, torch.ones_like(mass))


def test_the_weight_of_a_draw_does_not_depend_on_w(fixed, cells):
    """W is integrated out: of two draws that differ in W alone, p/q is the same."""
    guide = made(fixed, cells)
    drawn = poutine.trace(guide).get_trace()
    found, W = [], []
    for _ in range(2):
        kept = drawn.copy()
        kept.remove_node("W")
        again = poutine.trace(poutine.replay(guide, trace=kept)).get_trace()
        story = poutine.trace(poutine.replay(fixed, trace=again)).get_trace()
        found.append(float((story.log_prob_sum() - again.log_prob_sum()).detach()))
        W.append(again.nodes["W"]["value"])
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert not torch.equal(*W)


@pytest.fixture(scope="module")
def by_sum(fixed, cells, exact):
    """log p(x_g) and inclusion probabilities by the sum over all graphs, noise by quadrature."""
    x, X = dense(fixed, cells)
    evidence, inclusion = np.zeros(7), np.zeros((3, 7))
    for gene in range(7):
        free = [t for t in range(3) if fixed.edge_prior.allowed[t, gene]]
        graphs = list(itertools.product((0, 1), repeat=len(free)))
        logs = []
        for graph in graphs:
            variance = np.where(np.array(graph) > 0, SLAB, SLAB * RATIO) ** 2
            total, _, _ = exact(x[:, free], X[:, gene], np.zeros(len(free)), variance)
            logs.append(total + stats.bernoulli.logpmf(graph, EDGE).sum())
        evidence[gene] = logsumexp(logs)
        inclusion[free, gene] = np.exp(np.array(logs) - evidence[gene]) @ np.array(graphs)
    return evidence, inclusion


def test_importance_weighted_evidence_is_the_marginal_likelihood(fixed, cells, by_sum):
    found = weigh(fixed, made(fixed, cells), num_draws=3000, at_once=500, seed=1)
    weight = found.target_log_weight
    estimate = logsumexp(weight, axis=0) - math.log(len(weight))
    relative = np.exp(weight - estimate)
    error = relative.std(0) / math.sqrt(len(weight))
    assert error.max() < 0.15
    # 4.5 standard errors of the estimate, which is unbiased before its logarithm
    np.testing.assert_array_less(np.abs(np.expm1(estimate - by_sum[0])), 4.5 * error + 1e-3)
    np.testing.assert_allclose(found.log_weight, weight.sum(1), atol=1e-6)
    assert found.elbo < found.log_evidence < by_sum[0].sum() + 1


@pytest.mark.slow
def test_pyros_importance_gives_the_inclusion_of_the_sum(cells, by_sum):
    two = list(cells.genes[3:5])
    model = LinearNetwork.from_data(cells, edge_prior=SpikeSlab(**FIXED), targets=two)
    guide = Amortised("grnular", correction="importance")(model, cells)
    with torch.no_grad():
        assert float(guide.logits().abs().max()) <= 4.0
        run = Importance(model, guide, num_samples=400).run()
    size = float(run.get_ESS())
    assert size > 100
    inclusion = EmpiricalMarginal(run, sites="inclusion").mean.numpy()
    assert np.abs(inclusion - by_sum[1][:, 3:5]).max() < 4.5 * 0.5 / math.sqrt(size)


# -- gradients ----


def test_flips_are_differences_of_the_evidence(fixed):
    """Every edge of random graphs, against the evidence of both graphs."""
    kernel = GivenGraph(fixed, num_chains=1, seed=0)
    state = kernel.initial_params
    noise = state["noise_variance"][0]
    rng = np.random.default_rng(0)
    allowed = fixed.edge_prior.allowed
    of = lambda g: kernel.log_evidence(state, g[None])[0] + kernel.log_prior(state, g[None])[0]
    full = lambda value: torch.full((3, 7), value, dtype=torch.float64)
    parts = Components(full(0.0), full(SLAB * RATIO), full(0.0), full(SLAB))
    for _ in range(4):
        graph = torch.tensor(rng.random((3, 7)) < 0.5, dtype=torch.float64) * allowed
        values = {"noise_variance": noise, "inclusion": graph}
        block = fixed.conditional("W", values)
        found = log_odds_given_rest(block, graph, parts, full(math.log(EDGE / (1 - EDGE))))
        for tf in range(3):
            on, off = graph.clone(), graph.clone()
            on[tf], off[tf] = 1.0, 0.0
            expected = of(on) - of(off)
            kept = allowed[tf]
            torch.testing.assert_close(found[tf][kept], expected[kept], atol=2e-3, rtol=1e-4)


def test_gradients_are_those_of_the_sum_over_graphs_and_vary_less_than_a_score_function(fixed):
    """ELBO of the graphs at fixed noise: derivative in every logit, exactly, by flips and by leave-one-out."""
    kernel = GivenGraph(fixed, num_chains=1, seed=0)
    state = kernel.initial_params
    state["noise_variance"] = torch.full_like(state["noise_variance"], 0.6)
    allowed = fixed.edge_prior.allowed
    logit = (0.8 * torch.randn(3, 7, dtype=torch.float64)).requires_grad_()
    log_q = lambda g: (torch.where(g > 0, logit, 0.0) - torch.nn.functional.softplus(logit)) * allowed
    graphs = [torch.tensor(g, dtype=torch.float64)[:, None].expand(3, 7) for g in itertools.product((0, 1), repeat=3)]
    exact = 0.0
    for g in graphs:  # self-edges stand on both sides and cancel; allowed edges are summed over
        g = g * allowed
        copies = 2.0 ** (~allowed).sum(0)  # graphs that are alike without the self-edge
        value = kernel.log_evidence(state, g[None])[0] + kernel.log_prior(state, g[None])[0] - log_q(g).sum(0)
        exact = exact + (log_q(g).sum(0).exp() * value / copies).sum()
    (expected,) = torch.autograd.grad(exact, logit)

    full = lambda value: torch.full((3, 7), value, dtype=torch.float64)
    parts = Components(full(0.0), full(SLAB * RATIO), full(0.0), full(SLAB))
    prior = full(math.log(EDGE / (1 - EDGE)))
    p = torch.sigmoid(logit.detach())
    flips, scores = [], []
    for _ in range(400):
        graph = torch.bernoulli(p) * allowed
        block = fixed.conditional("W", {"noise_variance": state["noise_variance"][0], "inclusion": graph})
        flips.append(p * (1 - p) * (log_odds_given_rest(block, graph, parts, prior) - logit.detach()) * allowed)
    generator = torch.Generator().manual_seed(1)
    for _ in range(100):
        drawn = sample_graphs(kernel, state, logit.detach(), 8, weigh=True, generator=generator)
        value = (drawn.log_p - drawn.log_q)[:, 0]
        advantage = (value - (value.sum(0) - value) / 7)[:, None]
        scores.append(((drawn.graph[:, 0] - p) * advantage).mean(0) * allowed)
    flips, scores = torch.stack(flips), torch.stack(scores)
    error = flips.std(0) / math.sqrt(len(flips))
    assert ((flips.mean(0) - expected).abs()[allowed] < 4.5 * error[allowed] + 2e-3).all()
    # one graph by flips against eight by leave-one-out
    assert float(flips.var(0)[allowed].mean()) < 0.3 * float(scores.var(0)[allowed].mean())


def gradients(model, guide, objective):
    for parameter in guide.parameters():
        parameter.grad = None
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TraceEnum_ELBO says that nothing is enumerated
        torch.manual_seed(3)
        loss = objective(max_plate_nesting=2).loss_and_grads(model, guide)
    return loss, {name: p.grad.clone() for name, p in guide.named_parameters() if p.grad is not None}


def test_all_objectives_of_pyro_take_the_same_step(learned, cells):
    guide = made(learned, cells)
    loss, expected = gradients(learned, guide, Trace_ELBO)
    assert float(expected["network.head.last.bias"].abs().max()) > 0.01
    for objective in (TraceGraph_ELBO, TraceEnum_ELBO):
        other, found = gradients(learned, guide, objective)
        assert other == pytest.approx(loss, rel=1e-5)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
    _, found = gradients(learned, guide, TraceMeanField_ELBO)  # closed forms for the scales, none for the graph
    for name in (name for name in expected if name.startswith("network.")):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5, msg=name)


# -- SVI ----


@pytest.mark.parametrize("tune", ["head", "all", pytest.param("none", marks=pytest.mark.slow)])
def test_svi_moves_what_is_tuned(learned, cells, tune):
    guide = made(learned, cells, tune=tune)
    before = {name: value.clone() for name, value in guide.network.state_dict().items()}
    svi = SVI(learned, guide, pyro.optim.ClippedAdam({"lr": 0.01}), TraceGraph_ELBO())
    for _ in range(2):
        svi.step()
    moved = {name.split(".")[0] for name, v in guide.network.state_dict().items() if not torch.equal(v, before[name])}
    assert moved == {"head": {"head"}, "all": {"head", "unrolled"}, "none": set()}[tune]
    kept = load_weights("grnular")[0].state_dict()
    assert all(torch.equal(value, before[name]) for name, value in kept.items())


@pytest.fixture(scope="module")
def plain(cells):
    """No sources, and the hyperparameters sampled."""
    return LinearNetwork.from_data(cells)


def test_svi_raises_the_elbo_of_the_whole_posterior_and_khat_falls(plain, cells, monkeypatch):
    monkeypatch.setattr(pyro_guide, "SCANS", 50)
    model, guide = plain, Amortised("grnular")(plain, cells)
    before = weigh(model, guide, num_draws=800, seed=1)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO(num_particles=2, vectorize_particles=True))
    for _ in range(240):
        svi.step()
    after = weigh(model, guide, num_draws=800, seed=1)
    assert after.elbo > before.elbo + 5 * (before.elbo_se + after.elbo_se)
    assert after.khat < before.khat


def test_a_guide_that_svi_has_tuned_goes_back_into_a_posterior(plain, cells):
    """Its draws are the posterior's: graphs with the probabilities of q, weights given them, checks by its density."""
    guide = made(plain, cells)
    svi = SVI(plain, guide, pyro.optim.Adam({"lr": 0.03}), Trace_ELBO())
    losses = [svi.step() for _ in range(10)]
    posterior = posterior_from(plain, guide, losses=losses, num_draws=200)
    assert not posterior.calibrated
    assert posterior.history.elbo.shape == (1, 10)
    assert set(posterior.draws) == set(plain.dims)
    q = torch.sigmoid(guide.logits()).detach().numpy()
    allowed = plain.edge_prior.allowed.numpy()
    gap = np.abs(posterior.moments["W"].inclusion - q)[allowed]
    assert gap.max() < 4.5 * 0.5 / math.sqrt(200)
    edges = posterior.edges()
    assert len(edges) == allowed.sum()
    assert edges["inclusion"].between(0, 1).all()
    table = posterior.diagnose().set_index("check")
    assert math.isfinite(table.loc["importance weights (k-hat)", "value"])
    torch.testing.assert_close(
        torch.as_tensor(posterior.attributes["lp"] - posterior.attributes["lq"]).median(),
        torch.as_tensor(weigh(plain, guide, num_draws=100).log_weight).median(),
        atol=5.0,
        rtol=0.0,
    )
    with pytest.raises(ValueError, match="made for the model and trained"):
        posterior_from(plain, Amortised)


def test_fit_takes_an_amortised_guide(plain, cells):
    guide = made(plain, cells)
    posterior = fit(plain, guide=guide, num_steps=4, num_draws=5, restarts=2, optimizer=pyro.optim.Adam({"lr": 0.01}))
    assert posterior.history.elbo.shape == (2, 4)
    assert not np.array_equal(posterior.draws["W"][0], posterior.draws["W"][1])


def test_batches_of_cells_are_taken(plain, cells):
    model, guide = plain, made(plain, cells)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    batch = next(cells.minibatches(30, torch.Generator().manual_seed(0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isfinite(svi.step(batch))


def test_a_mask_and_knock_outs_are_respected():
    simulation = simulate_linear(
        num_genes=7, num_tfs=3, num_cells=60, edge_probability=0.5, num_perturbed=2, cells_per_perturbation=8, seed=7
    )
    data = simulation.data
    listed = pd.DataFrame({"source": data.genes[:3], "target": data.genes[4:7], "probability": 0.9})
    networks = {"a": PriorNetwork.from_edges(listed, name="a")}
    model = LinearNetwork.from_data(data, edge_prior=HardMask(SpikeSlab()), networks=networks)
    drawn = poutine.trace(made(model, data)).get_trace()
    story = poutine.trace(poutine.replay(model, trace=drawn)).get_trace()
    drawn.compute_log_prob()
    story.compute_log_prob()
    out = ~model.edge_prior.allowed
    part = lambda trace: (trace.nodes["inclusion"]["log_prob"] + trace.nodes["W"]["log_prob"])[out].detach()
    assert int(out.sum()) == 18
    torch.testing.assert_close(part(drawn), part(story), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tune": "body"}, "`tune` is 'body'"), ({"data": None}, "read the cells")],
)
def test_bad_guides_are_refused(learned, cells, options, message):
    data = options.get("data", cells)
    tune = options.get("tune", "head")
    with pytest.raises(ValueError, match=message):
        Amortised("grnular")(learned, data, tune=tune)


# -- training as inference compilation ----


def test_the_training_loss_is_log_q_of_a_replayed_guide():
    network = AmortisedNetwork("glad-tf", unrolled={"num_iterations": 2})
    batch = make_batch(network, TINY, 3, 5).float()
    found = negative_log_q(NetworkPosterior(network), batch)
    expected = log_loss(network.from_parts(batch.evidence, batch.z, batch.knowledge), batch.truth, batch.mask)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert float(network.head.last.bias.grad.abs().max()) > 0
    assert not list(pyro.get_param_store().keys())


def test_pyros_csis_trains_the_same_two_functions():
    network = AmortisedNetwork("glad-tf", unrolled={"num_iterations": 2})
    batches = [make_batch(network, TINY, 2, seed) for seed in range(4)]
    compiled = CSIS(
        Simulated(itertools.cycle(batches)),
        NetworkPosterior(network),
        pyro.optim.Adam({"lr": 0.01}),
        training_batch_size=2,
        validation_batch_size=4,
    )
    before = compiled.validation_loss()
    by_hand = sum(
        float(negative_log_q(NetworkPosterior(network), b.float()).detach()) * int(b.mask.sum()) for b in batches
    )
    assert before == pytest.approx(by_hand / 4, rel=1e-4)
    for _ in range(15):
        compiled.step()
    assert compiled.validation_loss() < 0.8 * before


# -- parts ----


def test_each_part_reads_what_it_says():
    batch = None
    for reads in READS:
        network = AmortisedNetwork("grnular", unrolled={"num_iterations": 2, "init_epochs": 5}, reads=reads)
        batch = batch or make_batch(network, TINY, 2, 5).float()  # of "both", the first
        logit = network.from_parts(batch.evidence, batch.z, batch.knowledge)
        shaken = network.from_parts(batch.evidence + 1, batch.z, batch.knowledge)
        swollen = network.from_parts(batch.evidence, 2 * batch.z + 0.1, batch.knowledge)
        assert torch.equal(logit, shaken) == (reads == "unrolled")
        assert torch.equal(logit, swollen) == (reads == "evidence")
        assert (network.unrolled is None) == (reads == "evidence")


@pytest.mark.parametrize("reads", ["unrolled", pytest.param("evidence", marks=pytest.mark.slow)])
def test_parts_are_trained_kept_and_fitted(reads, cells, tmp_path):
    network, about = train("glad-tf", family=TINY, schedule=QUICK, options={"num_iterations": 2}, reads=reads, seed=1)
    path = tmp_path / "part.npz"
    save_weights(network, path, {**about, "command": "pyrogrn train"})
    again, _ = load_weights(path, reads=reads)
    assert again.reads == reads
    other = next(r for r in READS if r != reads)
    with pytest.raises(
        ValueError, match=rf"read '{reads}', not '{other}': train others with pyrogrn train glad-tf, `reads=`"
    ):
        load_weights(path, reads=other)
    model = LinearNetwork.from_data(cells)
    guide = Amortised(str(path), num_chains=2, num_samples=4, reads=reads)
    assert np.isfinite(fit(model, cells, guide=guide, seed=1).draws["W"]).all()
    assert math.isfinite(float(poutine.trace(guide(model, cells)).get_trace().log_prob_sum().detach()))


def test_shipped_parts_are_found_by_name_and_what_is_not_there_is_said():
    for reads in ("unrolled", "evidence"):
        network, about = load_weights("grnular", reads=reads)
        assert network.reads == reads
        assert f"--reads {reads}" in about["about"]["command"]
        assert load_weights(f"grnular-{reads}")[1]["sha256"] == about["sha256"]
    assert load_weights("grnular", reads="both")[0].reads == "both"
    with pytest.raises(ValueError, match="that read 'evidence' are shipped, only of"):
        load_weights("glad", reads="evidence")
    with pytest.raises(ValueError, match="reads is 'all'"):
        Amortised("grnular", reads="all")
    sizes = dict(load_weights("grnular", reads="unrolled")[0].head.named_parameters())
    assert {name: v.numel() for name, v in sizes.items()} == {"line": 2}


# -- one training is not several ----


def test_agreement_of_chains_is_no_check_of_one_training(plain, cells):
    model = plain
    table = fit(model, cells, guide=Amortised("grnular", num_chains=2, num_samples=20), seed=1).diagnose()
    rows = table.set_index("check")
    for name in ("R-hat of the edges", "top edges agree", "inclusion agrees"):
        assert rows.loc[name, "passed"] is None
        assert "one training" in rows.loc[name, "meaning"]
    assert rows.loc["R-hat of the log-likelihood", "passed"] is not None
