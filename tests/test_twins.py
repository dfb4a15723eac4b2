"""Regulators that the data cannot tell apart: found, named, and drawn together by a step that leaves the posterior."""

import itertools
import math
import time
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from command_line import call
from pyrogrn.inference import Gibbs, GibbsKernel, MeanField, fit, fit_many
from pyrogrn.inference.diagnostics import diagnose
from pyrogrn.inference.engines.gibbs import kernel_of
from pyrogrn.inference.gibbs import pair as pair_module
from pyrogrn.inference.gibbs.twins import TwinDraws
from pyrogrn.inference.sbc import UnitStatistics
from pyrogrn.models import ExpressionData, FactorBox, LinearNetwork, Symphony, TrajectoryNetwork
from pyrogrn.models.data import twins as twins_module
from pyrogrn.models.data.twins import Twins, alike, sets_of, twin_notes
from pyrogrn.models.simulators import simulate_courses, simulate_panel
from pyrogrn.priors import Collaborative, HardMask, Hyper, PriorNetwork, SpikeSlab
from scipy import stats
from test_gibbs import LIMIT, JointKernel, agree, draw_data, estimate, functions, prior_state, pvalues_of

pytestmark = pytest.mark.usefixtures("seeded")
SHORT = Gibbs(num_chains=8, num_warmup=15, num_samples=30)
FIXED = {"edge_probability": 0.3, "slab_scale": 0.45, "spike_ratio": 0.15, "hub_scale": 0.0}
GRAPHS = np.array(list(itertools.product([0, 1], repeat=3)))


def cells(correlation=1.0, copies=1, num_cells=200, targets=3, seed=0, contexts=1):
    """A regulator and its copies, one more regulator, and targets of which two are regulated by the first."""
    rng = np.random.default_rng(seed)
    x, other = rng.normal(size=(2, num_cells))
    own = np.sqrt(1 - correlation**2) * rng.normal(size=(num_cells, copies))
    y = rng.normal(size=(num_cells, targets))
    y[:, 0] += 0.8 * x
    y[:, 1] -= 0.6 * x
    names = ["A", *(f"A{i + 2}" for i in range(copies)), "C"]
    X = np.column_stack([x, correlation * x[:, None] + own, other, y])
    genes = [*names, *(f"G{i}" for i in range(targets))]
    data = ExpressionData(torch.as_tensor(X), genes, names, dtype=torch.float64)
    return data.annotated(context=[f"k{i % contexts}" for i in range(num_cells)]) if contexts > 1 else data


# -- finding and naming ----


def test_pairs_are_found_in_either_direction_and_nothing_below_the_threshold():
    gram = torch.eye(5, dtype=torch.float64)
    gram[0, 1] = gram[1, 0] = 0.991
    gram[2, 3] = gram[3, 2] = -0.995
    gram[1, 2] = gram[2, 1] = 0.989
    scale = torch.tensor([1.0, 30.0, 1e-3, 5.0, 0.0], dtype=torch.float64)  # the last never varies
    pairs, correlation = alike(scale[:, None] * gram * scale)
    assert pairs.tolist() == [[0, 1], [2, 3]]
    np.testing.assert_allclose(correlation, [0.991, -0.995], rtol=1e-9)


def test_finding_takes_no_time_with_1500_regulators():
    x = torch.randn(400, 1500, generator=torch.Generator().manual_seed(0))
    x[:, 1400] = x[:, 7]
    started = time.process_time()
    assert alike(x.T @ x)[0].tolist() == [[7, 1400]]
    assert time.process_time() - started < 2


def test_one_line_names_the_sets():
    twins = (Twins("A", "B", 1.0), Twins("C", "D", -0.9951), Twins("B", "E", 0.992))
    assert sets_of(twins) == [["A", "B", "E"], ["C", "D"]]
    (note,) = twin_notes(twins)
    assert "A, B, E (r = 0.992 to 1); C, D (r = -0.9951). They share the probability" in note
    assert "\n" not in note
    assert twin_notes(()) == ()
    many = [Twins(f"T{i}", f"U{i}", 1.0) for i in range(40)]
    assert "and 35 more sets" in twin_notes(many)[0]
    whole = [Twins(f"T{i}", f"T{j}", 1.0) for i, j in itertools.combinations(range(9), 2)]
    assert "T0, T1, T2, T3, T4 and 4 more (r = 1)" in twin_notes(whole)[0]


def test_a_fit_says_who_is_alike_whatever_its_engine():
    data = cells()
    model = LinearNetwork.from_data(data)
    assert [(t.first, t.second) for t in model.twins] == [("A", "A2")]
    for guide in (Gibbs(2, 20, 40), MeanField()):
        posterior = fit(model, guide=guide, num_steps=5, num_draws=10, restarts=2)
        assert sum("A, A2 (r = 1)" in note for note in posterior.notes) == 1
        table = diagnose(posterior, data).set_index("check")
        row = table.loc["regulators alike"]
        assert row["passed"] is None
        assert "A, A2" in row["meaning"]
        # the residual of a gene given its copy is nothing at all, which no noise fits: no failure
        assert table.loc["residual variance", "passed"] is not False
    apart = LinearNetwork.from_data(cells(0.9))
    assert apart.twins == ()
    posterior = fit(apart, guide=Gibbs(2, 5, 10))
    assert posterior.notes == ()
    assert "regulators alike" not in set(diagnose(posterior)["check"])


def test_the_command_line_names_them_and_the_table_has_them_equal(tmp_path):
    data = cells(num_cells=100, targets=2)
    names = [f"c{i}" for i in range(100)]
    pd.DataFrame(data.X.numpy(), index=names, columns=list(data.genes)).to_csv(tmp_path / "expression.csv")
    (tmp_path / "tfs.txt").write_text("A\nA2\nC\n")
    out = tmp_path / "run"
    quick = ("--set", "guide.num_warmup=10", "--set", "guide.num_samples=20", "--set", "guide.num_chains=2")
    code, _, err = call("infer", tmp_path / "expression.csv", "--tfs", tmp_path / "tfs.txt", "--out", out, *quick)
    assert code == 0, err
    assert len([line for line in err.splitlines() if "A, A2 (r = 1)" in line]) == 1
    assert "A, A2 (r = 1)" in (out / "report.html").read_text()
    table = pd.read_csv(out / "edges.csv").set_index(["target", "source"])["inclusion"]
    assert table["G0", "A"] == pytest.approx(table["G0", "A2"], abs=2e-3)


# -- what the chains find ----


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_copies_get_the_same_inclusion_in_every_chain(sign, monkeypatch):
    model = LinearNetwork.from_data(cells(sign), targets=["G0", "G1", "G2"])
    posterior = fit(model, guide=Gibbs(num_chains=4, num_warmup=40, num_samples=100))
    chains = posterior.attributes["chain_inclusion"]  # (chain, tf, target)
    np.testing.assert_allclose(chains[:, 0], chains[:, 1], atol=2e-3)  # the priors of both are equal
    assert np.ptp(chains[:, :2], axis=0).max() < 0.2
    assert (chains[:, 0, :2] > 0.45).all()
    mean = posterior.moments["W"].mean
    np.testing.assert_allclose(mean[0, :2] + sign * mean[1, :2], [0.62, -0.51], atol=0.12)
    assert (np.sign(mean[1, :2]) == sign * np.sign(mean[0, :2])).all()
    table = diagnose(posterior).set_index("check")
    assert table.loc["R-hat of the edges", "passed"] is True
    if sign < 0:
        return
    monkeypatch.setattr(twins_module, "ALIKE", 2.0)  # without the step every chain keeps what it found
    stuck = fit(model, guide=SHORT).attributes["chain_inclusion"]
    assert np.abs(stuck[:, 0, :2] - stuck[:, 1, :2]).max() > 0.5


def test_three_copies_share():
    posterior = fit(LinearNetwork.from_data(cells(copies=2), targets=["G0", "G1"]), guide=Gibbs(24, 15, 20))
    chains = posterior.attributes["chain_inclusion"][:, :3]
    error = chains.std(0).max() / math.sqrt(24)  # of the mean over chains
    assert error < 0.03
    assert np.ptp(chains.mean(0), axis=0).max() < 6 * error
    assert chains.mean(0).min() > 0.33


def test_the_edges_of_many_targets_change_sides_with_the_hub():
    """A hub effect holds all edges of the regulator that has it."""
    data = cells(num_cells=120, targets=14)
    X = data.X.clone()
    X[:, 3:] += 0.6 * X[:, :1]
    prior = SpikeSlab(hub_scale=1.0)
    model = LinearNetwork.from_data(replace(data, matrix=X), targets=data.genes[3:], edge_prior=prior)
    chains = fit(model, guide=SHORT).attributes["chain_inclusion"][:, :2].mean(2)  # (chain, tf)
    assert np.abs(chains[:, 0] - chains[:, 1]).max() < 0.25


def test_many_pairs_are_drawn_a_part_at_a_time(monkeypatch):
    monkeypatch.setattr("pyrogrn.inference.gibbs.twins.AT_ONCE", 2)
    model = LinearNetwork.from_data(cells(copies=3), targets=["G0", "G1"])
    assert len(model.twins) == 6
    chains = fit(model, guide=Gibbs(24, 15, 20)).attributes["chain_inclusion"][:, :4]
    error = chains.std(0).max() / math.sqrt(24)
    assert error < 0.04
    assert np.ptp(chains.mean(0), axis=0).max() < 6 * error


def knowledge(strength=0.8):
    edges = pd.DataFrame({"source": ["A", "C"], "target": ["G0", "G1"], "probability": strength})
    return {"known": PriorNetwork.from_edges(edges, name="known")}


def every_network():
    """A network of each kernel, with a copy of a regulator."""
    data = cells(0.9999)
    panel = simulate_panel(num_genes=6, in_degree=2, replicates=2, num_controls=30, seed=2).data
    levels = panel.X.clone()
    free = [c for c in range(len(levels)) if c not in set(panel.perturbed[:, 0].tolist())]
    levels[:, 1] = levels[:, 0]
    levels[free, 1] *= 1 + 1e-3 * torch.randn(len(free), generator=torch.Generator().manual_seed(0)).to(levels)
    courses = simulate_courses(num_genes=5, num_trajectories=12, noise=0.05, seed=3).data
    X = courses.X.clone()
    X[:, 1] = X[:, 0]
    scores = pd.DataFrame(np.random.default_rng(0).normal(size=(3, 6)), index=["A", "A2", "C"], columns=data.genes)
    return {
        "linear": LinearNetwork.from_data(data, networks=knowledge()),
        "contexts": LinearNetwork.from_data(cells(contexts=2), networks=knowledge()),
        "mask": LinearNetwork.from_data(data, networks=knowledge(), edge_prior=HardMask(SpikeSlab())),
        "interventions": LinearNetwork.from_data(data.annotated(perturbed=["G0"] * 20 + ["control"] * 180)),
        "filter": LinearNetwork.from_data(data, networks=knowledge(), edge_prior=Collaborative()),
        "observed": Symphony.from_data(data, evidence={"access": scores}),
        "panel": FactorBox.from_data(replace(panel, matrix=levels)),
        "course": TrajectoryNetwork.from_data(replace(courses, matrix=X)),
    }


@pytest.mark.parametrize(
    "name", ["linear", "contexts", "mask", "interventions", "filter", "observed", "panel", "course"]
)
def test_every_sampler_of_networks_has_the_step(name):
    """The pairs are there, are drawn, and leave the residual sums of squares current and absent edges absent."""
    model = every_network()[name].double()
    assert model.twins
    kernel = kernel_of(model)(model, num_chains=2, seed=0)
    kernel.setup(5)
    state = kernel.initial_params
    for _ in range(20):
        state = kernel.sample(state)
    current = kernel.sse.clone()
    kernel._refresh(state)
    torch.testing.assert_close(current, kernel.sse, rtol=1e-6, atol=1e-8)
    allowed = model.edge_prior.allowed
    for value in (state["W"], state["W_context"], state["inclusion"], kernel.probability):
        assert float((value * ~allowed).abs().max()) == 0
        assert bool(torch.isfinite(value).all())
    if not model.has_contexts:
        assert torch.equal(state["W"], state["W_context"][0])


def test_fits_side_by_side_draw_their_own_pairs():
    with_twins, without = cells(seed=1), cells(0.3, seed=2)
    models = [LinearNetwork.from_data(d, targets=["G0", "G1"]).double() for d in (without, with_twins, without)]
    guide = Gibbs(num_chains=2, num_warmup=5, num_samples=10)
    together = fit_many(models, guide=guide, seeds=[1, 2, 3])
    for model, seed, found in zip(models, (1, 2, 3), together, strict=True):
        alone = fit(model, guide=guide, seed=seed)
        np.testing.assert_allclose(found.draws["W"], alone.draws["W"], rtol=1e-6, atol=1e-8)
        assert found.notes == alone.notes
    assert [len(p.notes) for p in together] == [0, 1, 0]


def test_data_without_twins_take_no_random_number():
    model = LinearNetwork.from_data(cells(0.95))
    kernel = GibbsKernel(model, num_chains=2)
    kernel.setup(1)
    state = kernel.initial_params
    before = kernel.generator.get_state()
    kernel.twins.update(kernel, kernel.edge_prior_state(state), state)
    assert torch.equal(before, kernel.generator.get_state())


# -- exactness ----


@pytest.mark.parametrize("correlation", [1.0, -0.995])
def test_inclusion_equals_brute_force_with_unequal_prior_odds(correlation, exact):
    """Knowledge of one of the two, its trust integrated out on a grid; one target is weakly regulated."""
    data = cells(correlation, num_cells=60, targets=2, seed=3)
    found = data.statistics()
    X = (data.X / found.scale).numpy()
    model = LinearNetwork(found, edge_prior=SpikeSlab(**FIXED), networks=knowledge(0.6), targets=["G0", "G1"]).double()
    assert model.twins
    b = (np.arange(200) + 0.5) * 15 / 200
    weight = stats.halfnorm.pdf(b, scale=3.0)
    base = math.log(0.3 / 0.7)
    share = np.empty((len(b), 8, 2))  # the same trust for both targets: graphs given it
    for i, graph in enumerate(GRAPHS):
        variance = np.where(graph, 0.45, 0.45 * 0.15) ** 2
        for g in range(2):
            log_prob = exact(X[:, :3], X[:, 3 + g], np.zeros(3), variance)[0]
            known = np.array([1, 0, 0]) if g == 0 else np.array([0, 0, 1])
            pi = stats.logistic.cdf(base + 0.6 * b[:, None] * known)
            share[:, i, g] = log_prob + np.log(np.where(graph, pi, 1 - pi)).sum(1)
    total = np.logaddexp.reduce(share, axis=1)  # (trust, target)
    of_trust = np.exp(total.sum(1) - total.sum(1).max()) * weight
    given = np.einsum("big,it->btg", np.exp(share - total[:, None]), GRAPHS)
    expected = np.einsum("b,btg->tg", of_trust / of_trust.sum(), given)
    assert abs(expected[0, 0] - expected[1, 0]) > 0.15, "the prior tells them apart where the data do not"
    estimated, error = estimate(model, num_chains=96, num_samples=50)
    agree(estimated, error, expected)


class TwinKernel(JointKernel):
    """Data of its own for every chain; the rows of the score from those."""

    def score_at(self, rows, W):
        return self.cross[:, :, rows] - self.regressions.product(W, rows)


def joint_twins(prior, known, num_contexts, clamped, correlation, num_cells=30):
    """Three regulators, two of them nearly the same, in the units of the prior; data that are replaced."""
    generator = torch.Generator().manual_seed(0)
    count = num_cells * num_contexts
    x, noise = torch.randn(2, count, 3, generator=generator, dtype=torch.float64)
    x[:, 1] = correlation * x[:, 0] + math.sqrt(1 - correlation**2) * noise[:, 1]
    y = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    genes = ("T0", "T1", "T2", "G0", "G1", "G2")
    labels = ["control"] * count
    for cell, gene in ((0, "G0"), (1, "G0"), (5, "G2")) if clamped else ():
        labels[cell] = gene
    data = ExpressionData(torch.cat([x, y], 1), genes, genes[:3], dtype=torch.float64).annotated(
        context=[f"k{i % num_contexts}" for i in range(count)] if num_contexts > 1 else None, perturbed=labels
    )
    found = data.statistics()
    statistics = UnitStatistics(*(getattr(found, f.name) for f in fields(found)))
    return LinearNetwork(statistics, edge_prior=prior, networks=known, targets=genes[3:]).double(), data


def signed_network():
    rows = [("T0", "G0", 0.9, 1), ("T1", "G1", 0.8, -1), ("T2", "G1", 0.5, 1), ("T0", "G2", 0.6, 0)]
    frame = pd.DataFrame(rows, columns=["source", "target", "probability", "sign"])
    return {"a": PriorNetwork.from_edges(frame, name="a")}


def after_pairs(prior, known, num_contexts, clamped, correlation, *, num_chains=3000, repeats=12, seed=1):
    """P-values of functions of parameters and data after many draws of the pairs alone, from a joint draw."""
    model, data = joint_twins(prior, known, num_contexts, clamped, correlation)
    kernel, generator = TwinKernel(model, num_chains=num_chains, seed=seed), torch.Generator().manual_seed(seed + 1)
    kernel.setup(0)
    assert len(kernel.twins.rows) >= 2

    def draw():
        state = prior_state(model, num_chains)
        kernel.set_data(*draw_data(model, data, state, generator))
        kernel._refresh(state)
        return state

    def all_functions(state):
        W, gate, sign = state["W"], state["inclusion"], math.copysign(1, correlation)
        both = {
            "misfit": (kernel.sse / state["noise_variance"]).sum((0, 2)),
            "score": (kernel._score(state["W_context"]) * state["W_context"]).sum((0, 2, 3)),
            "sum": W[:, 0, 0] + sign * W[:, 1, 0],
            "difference": W[:, 0, 1] - sign * W[:, 1, 1],
            "first": (gate * W)[:, 0].sum(1),
            "second": (gate * W)[:, 1].sum(1),
            "two": (gate[:, 0] * gate[:, 1]).sum(1),
            "one": (gate[:, 0] - gate[:, 1]).sum(1),
        }
        return functions(state) | {name: value.numpy() for name, value in both.items()}

    reference = all_functions(draw())
    state = draw()
    for _ in range(repeats):
        kernel.twins.update(kernel, kernel.edge_prior_state(state), state)
    current = kernel.sse.clone()
    kernel._refresh(state)
    torch.testing.assert_close(current, kernel.sse, rtol=1e-7, atol=0)
    return pvalues_of(all_functions(state), reference)


SETUPS = [
    pytest.param(SpikeSlab(), None, 1, False, 1.0, id="copies"),
    pytest.param(SpikeSlab(strategy="scale"), signed_network(), 1, True, 0.995, id="scale-signs-interventions"),
    pytest.param(SpikeSlab(), signed_network(), 2, True, -0.997, id="contexts-signs-interventions"),
    pytest.param(HardMask(SpikeSlab()), signed_network(), 2, False, -1.0, id="mask-contexts"),
    pytest.param(SpikeSlab(hub_scale=Hyper(dist.HalfNormal, 1.0)), None, 1, True, 0.995, id="hubs-interventions"),
    pytest.param(HardMask(SpikeSlab(hub_scale=1.0)), signed_network(), 1, False, 1.0, id="hubs-mask"),
]


@pytest.mark.parametrize(("prior", "known", "num_contexts", "clamped", "correlation"), SETUPS)
def test_drawing_pairs_alone_leaves_the_joint_distribution(prior, known, num_contexts, clamped, correlation):
    """80 to 150 Kolmogorov-Smirnov tests at 1e-7 each: one failure in 60,000 seeds."""
    pvalues = after_pairs(prior, known, num_contexts, clamped, correlation)
    assert not {name: p for name, p in pvalues.items() if p < LIMIT}


@pytest.mark.parametrize("fault", ["prior odds", "contexts"])
def test_the_check_sees_a_wrong_draw(fault, monkeypatch):
    right = pair_module.draw_pair
    wrong = {
        "prior odds": lambda seen, pull, prior, u, z: right(
            seen, pull, prior._replace(logit=prior.logit.flip(1)), u, z
        ),
        "contexts": right,
    }[fault]
    monkeypatch.setattr("pyrogrn.inference.gibbs.twins.draw_pair", wrong)
    if fault == "contexts":
        monkeypatch.setattr(
            pair_module.PairPrecision, "marginal", lambda self, score, variance: (self, score), raising=True
        )
    pvalues = after_pairs(SpikeSlab(), signed_network(), 2, False, 0.995, num_chains=10_000)
    assert min(pvalues.values()) < LIMIT


def test_twin_draws_are_of_each_fit():
    gram = torch.eye(3).repeat(1, 2, 1, 1)
    gram[0, 1, 0, 2] = gram[0, 1, 2, 0] = -1.0
    regressions = type("Fits", (), {"gram": gram})()
    found = TwinDraws.of(regressions)
    assert [p.tolist() for p in found.pairs] == [[], [[0, 2]]]
    assert found.rows.tolist() == [0, 2]
