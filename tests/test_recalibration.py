"""The trial on made targets: its worlds, the coarsened likelihood, the map, and what they make of a fit."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyro import poutine
from pyrogrn.experiments.benchmarks.links import CORRECTED, MODEL, linked
from pyrogrn.experiments.scores import average_precision
from pyrogrn.inference import Posterior, SparseGibbs, fit
from pyrogrn.inference.calibration import expected_list, log_score
from pyrogrn.inference.recalibration import TrialOptions, Tuning, causes, coarsened, trial, tune
from pyrogrn.inference.recalibration.causes import causes_like, total
from pyrogrn.inference.recalibration.edge_map import EdgeMap
from pyrogrn.inference.recalibration.trial import heard_fit, short_fit, with_unseen
from pyrogrn.inference.recalibration.tuning import linear_network
from pyrogrn.inference.recalibration.witnesses import witnesses_of
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.data.out_of_fold import out_of_fold
from pyrogrn.models.simulators import WorldKind, donors_of, matched_world, seen_through, semi_synthetic, simulate_linear
from pyrogrn.priors import PriorNetwork, SpikeSlab

SHORT = TrialOptions(targets=20, worlds=2, warmup=10, samples=10, sweeps=4)
QUICK = SparseGibbs(num_chains=2, num_warmup=15, num_samples=20)


def bent(seed=0, num_cells=600, num_tfs=12, num_genes=72):
    """Correlated regulators, of which the last quarter is not offered; targets answer in proportion, up to a limit or
    by a step."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(num_cells, 3)) @ rng.normal(size=(3, num_tfs))
    levels = shared / np.sqrt(3) + 0.6 * rng.normal(size=(num_cells, num_tfs))
    truth = np.zeros((num_tfs, num_genes), dtype=bool)
    Y = np.empty((num_cells, num_genes))
    for g in range(num_genes):
        acting = rng.choice(num_tfs, size=2, replace=False)
        truth[acting, g] = True
        x = levels[:, acting] - np.quantile(levels[:, acting], [0.3, 0.7][g % 2], axis=0)
        answers = (x, np.tanh(2 * x), np.sign(x))[g % 3]
        Y[:, g] = answers @ rng.choice([-1, 1], size=2) + 0.6 * rng.normal(size=num_cells)
    offered = num_tfs * 3 // 4
    tfs = [f"T{t}" for t in range(offered)]
    genes = tfs + [f"G{g}" for g in range(num_genes)]
    X = np.concatenate([levels[:, :offered], Y], axis=1)
    return ExpressionData(torch.as_tensor(X, dtype=torch.float32), tuple(genes), tuple(tfs)), truth[:offered]


@pytest.fixture(scope="module")
def wrong_model():
    """Cells that are not linear, with hidden causes; their truth; the fit; and the trial."""
    data, truth = bent()
    return data, truth, fit(LinearNetwork.from_data(data), guide=QUICK, seed=0), tune(data, options=SHORT)


def of_plain(posterior, data):
    plain = [i for i, gene in enumerate(posterior.coords["target"]) if gene not in set(data.tfs)]
    return posterior.moments["W"].inclusion[:, plain].astype(float).ravel()


# -- the coarsened likelihood ----
def density(model, W, noise):
    plate = {"W": W, "noise_variance": noise}
    with torch.random.fork_rng():
        nodes = poutine.trace(model).get_trace().nodes
    values = {
        name: plate.get(name, site["value"])
        for name, site in nodes.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    trace = poutine.trace(poutine.condition(model, values)).get_trace()
    trace.compute_log_prob()
    return trace.nodes["X"]["log_prob"].double()


def test_coarsened_likelihood_is_the_power():
    data = simulate_linear(num_genes=8, num_tfs=3, num_cells=90, num_perturbed=1, seed=0).data
    model = LinearNetwork.from_data(data)
    generator = torch.Generator().manual_seed(0)
    W, noise = 0.3 * torch.randn(3, 8, generator=generator), torch.rand(8, generator=generator) + 0.2
    small = coarsened(model, 30)
    share = 30 / (float(model.dof.max()) + 1)
    torch.testing.assert_close(density(small, W, noise), share * density(model, W, noise), rtol=2e-4, atol=1e-3)


def test_coarsened_leaves_the_model_alone():
    model = LinearNetwork.from_data(simulate_linear(num_genes=8, num_tfs=3, num_cells=90, seed=0).data)
    gram = model.gram.clone()
    assert coarsened(model, None) is model
    assert coarsened(model, 1000) is model
    coarsened(model, 10)
    assert torch.equal(model.gram, gram)
    with pytest.raises(ValueError, match="at least 2"):
        coarsened(model, 1)


def test_fewer_cells_say_less():
    data = simulate_linear(num_genes=30, num_tfs=6, num_cells=500, edge_probability=0.4, seed=0).data
    model = LinearNetwork.from_data(data)
    few, all_cells = (fit(coarsened(model, m), guide=QUICK).moments["W"] for m in (125, None))
    # of weights far from nothing the spread goes with the root of the number of cells
    strong = np.minimum(few.inclusion, all_cells.inclusion) > 0.999
    assert strong.any()
    assert np.median(few.sd[strong] / all_cells.sd[strong]) == pytest.approx(2, rel=0.2)


# -- worlds ----
def noisy(spread, seed=0):
    """Cells whose regulators were measured with noise of this sd, and what the regulators were."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(size=(500, 5))
    genes = levels @ rng.normal(size=(5, 40)) + 0.5 * rng.normal(size=(500, 40))
    X = np.concatenate([levels + spread * rng.normal(size=levels.shape), genes], axis=1)
    names = [f"T{i}" for i in range(5)] + [f"G{i}" for i in range(40)]
    return ExpressionData(torch.as_tensor(X, dtype=torch.float32), tuple(names), tuple(names[:5])), levels


def test_a_posterior_that_says_nothing_is_not_drawn_to_its_end(monkeypatch):
    """Every edge is as probable as before, and that is what draws of it say."""
    data = simulate_linear(num_genes=30, num_tfs=10, num_cells=200, seed=0).data
    prior = SpikeSlab(unit="noise", edge_probability=0.2, slab_scale=2e-3)
    model = LinearNetwork.from_data(data, edge_prior=prior)
    found = short_fit(model, 100, SHORT, seed=0)
    allowed = model.edge_prior.allowed.numpy()
    np.testing.assert_allclose(found, 0.2 * allowed, rtol=1e-5)
    monkeypatch.setattr(trial, "says_nothing", lambda *_: False)
    np.testing.assert_allclose(short_fit(model, 100, SHORT, seed=0)[allowed], 0.2, atol=0.02)
    monkeypatch.undo()
    assert short_fit(LinearNetwork.from_data(data), 100, SHORT, seed=0)[allowed].std() > 0.1


def test_other_genes_see_through_noise():
    data, levels = noisy(1.5)
    measured = data.X[:, :5].numpy()
    seen = seen_through(data)
    alike = lambda one: np.array([np.corrcoef(one[:, t], levels[:, t])[0, 1] for t in range(5)])
    assert (alike(seen) > 0.9).all()
    assert (alike(measured) < 0.7).all()
    exact, levels = noisy(0.0)
    assert (alike(seen_through(exact)) > 0.9).all()


@pytest.mark.parametrize("hidden", [0.0, 0.5])
def test_offered_regulators_explain_made_targets_as_real_ones(hidden):
    data, _ = bent(num_tfs=16)
    donors = donors_of(data, 60)
    kind = WorldKind(hidden=hidden, noise="residual")
    world = matched_world(data, donors, kind, num_targets=60, seed=1)
    found = out_of_fold(world.data, world.targets).r2
    real = dict(zip(donors.genes, donors.r2, strict=True))
    gap = found - np.array([real[name] for name in world.donors])
    assert np.abs(gap).max() < 0.15
    assert abs(gap.mean()) < 0.03
    assert 30 < len(world.targets) <= 60
    assert len(world.data.genes) == world.data.X.shape[1] == len(world.data.tfs) + len(world.targets)


# -- what other genes say of regulators ----
def siblings(seed=0, num_cells=400):
    """T0 acts on half of the genes and on T1, is measured with noise, and T1 without: T1 is the better guess at what
    the targets of T0 saw. Others act on the rest."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(size=(num_cells, 6))
    levels[:, 1] = levels[:, 0] + 0.3 * rng.normal(size=num_cells)
    truth = np.zeros((6, 40), dtype=bool)
    for g in range(40):
        truth[0 if g % 2 else rng.integers(1, 6), g] = True
    genes = levels @ truth.astype(float) + 0.5 * rng.normal(size=(num_cells, 40))
    measured = levels.copy()
    measured[:, 0] += 0.4 * rng.normal(size=num_cells)
    names = [f"T{i}" for i in range(6)] + [f"G{i}" for i in range(40)]
    X = torch.as_tensor(np.concatenate([measured, genes], axis=1), dtype=torch.float32)
    return ExpressionData(X, tuple(names), tuple(names[:6])), truth


def test_other_genes_tell_a_cause_from_its_better_measured_sibling():
    data, truth = siblings()
    options = TrialOptions(warmup=10, samples=10, sweeps=4)
    witnesses = witnesses_of(data)
    assert sorted(witnesses.half) == sorted(data.genes[6:])
    model = LinearNetwork.from_data(data, targets=data.genes[6:])
    measured = short_fit(model, 100.0, options, seed=0)
    heard = heard_fit(model, data, {}, linear_network, witnesses, options, seed=0)
    of_cause = truth[0]  # targets of T0
    assert measured[1, of_cause].mean() > measured[0, of_cause].mean()  # its sibling is taken for it
    assert heard[1, of_cause].mean() < heard[0, of_cause].mean()
    assert average_precision(heard.ravel(), truth.ravel()) > average_precision(measured.ravel(), truth.ravel()) + 0.2


def test_witnesses_who_know_nothing_change_nothing():
    rng = np.random.default_rng(3)
    names = tuple([f"T{i}" for i in range(4)] + [f"G{i}" for i in range(30)])
    data = ExpressionData(torch.as_tensor(rng.normal(size=(500, 34)), dtype=torch.float32), names, names[:4])
    averaged = witnesses_of(data).averaged(data, 0)
    assert torch.equal(averaged.X[:, 4:], data.X[:, 4:])
    alike = [np.corrcoef(averaged.X[:, t], data.X[:, t])[0, 1] for t in range(4)]
    assert min(alike) > 0.99


def test_a_clamped_regulator_is_what_it_was_set_to():
    data, _ = siblings(num_cells=60)
    perturbed = data.annotated(perturbed=["T0"] * 10 + ["control"] * 50)
    averaged = witnesses_of(perturbed).averaged(perturbed, 1)
    assert torch.equal(averaged.X[:10, 0], data.X[:10, 0])
    assert (averaged.X[10:, 0] != data.X[10:, 0]).all()


def test_no_witnesses_where_hardly_any_gene_is_plain():
    made = simulate_linear(num_genes=14, num_tfs=8, num_cells=150, edge_probability=0.4, seed=1).data
    assert witnesses_of(made) is None
    found = tune(made, options=SHORT)
    assert found.settings["heard"] is None
    assert found.cells == (100.0,)  # as measured, then; 400 is more than there are
    posterior = fit(LinearNetwork.from_data(made), guide=QUICK)
    assert "inclusion_model" in found.apply(posterior, made).edges()
    asked = Tuning((), EdgeMap(0.0, (0.5, 0.5), (9.0, 9.0)), {}, {**found.settings, "heard": 100.0})
    with pytest.raises(ValueError, match="hardly any"):
        asked.apply(posterior, made)


def test_half_of_what_is_not_explained_has_regulators():
    data, _ = bent(num_tfs=16)
    donors = donors_of(data, 60)
    donors = replace(donors, r2=np.where(np.arange(len(donors.r2)) % 2 == 0, 0.0, donors.r2))
    world = semi_synthetic(data, donors, WorldKind(), num_targets=200, seed=0)
    silent = world.r2 == 0
    assert not world.present[:, silent].any()
    number = with_unseen(world, num_tfs=len(data.tfs), seed=0).present.sum(0)
    assert (number[~silent] == world.present.sum(0)[~silent]).all()
    assert (number[silent] > 0).mean() == pytest.approx(0.5, abs=0.15)
    assert number[silent].max() <= 4


# -- the map ----
def test_map_finds_the_frequencies():
    rng = np.random.default_rng(1)
    truth = rng.random(20_000) < 0.2
    odds = np.where(truth, 2.0, -2.0) + 2.0 * rng.normal(size=truth.size)  # whose true log-odds are odds + logit 0.2
    too_sure = 1 / (1 + np.exp(-3 * odds))
    found = EdgeMap.fit([too_sure], truth)
    assert found.slopes[0] == pytest.approx(1 / 3, rel=0.1)
    assert found.intercept == pytest.approx(np.log(0.25), abs=0.15)


def test_map_rises_and_knows_its_range():
    rng = np.random.default_rng(2)
    truth = rng.random(500) < 0.5
    stated = [np.where(truth, 0.7, 0.3) + 0.2 * rng.random(500) for _ in range(2)]
    found = EdgeMap.fit(stated, truth)
    grid = np.linspace(0, 1, 50)
    assert (np.diff(found([grid, np.full(50, 0.5)])) >= 0).all()
    assert max(found.slopes) <= 1
    assert found([np.array([0.95]), np.array([0.95])]) == found([np.array([1 - 1e-9]), np.array([1 - 1e-9])])
    assert EdgeMap.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(ValueError, match="1 posteriors for a map of 2"):
        found([grid])
    with pytest.raises(ValueError, match="not a map"):
        EdgeMap.from_dict({"intercept": 1.0})


def test_probabilities_are_hardly_larger_than_a_few_made_edges_bear_out():
    # of thousands of made edges hardly one is told from none; of real genes some edges are certain, to the model
    rng = np.random.default_rng(3)
    odds = rng.normal(-5, 1.5, size=20_000)
    truth = rng.random(odds.size) < 1 / (1 + np.exp(4.5 - 0.5 * (odds + 5)))
    odds[:3], truth[:3] = 13.0, True  # three lucky ones
    found = EdgeMap.fit([1 / (1 + np.exp(-odds))], truth)
    certain = float(found([np.array([1 - 1e-6])])[0])
    line = 1 / (1 + np.exp(-(found.intercept + found.slopes[0] * 13)))
    assert line > 0.5  # what the line alone would say
    tenth = np.sort(found([1 / (1 + np.exp(-odds))]))[-10]
    assert certain == pytest.approx(tenth, rel=0.25)
    assert certain < 0.2
    assert (np.diff(found([np.array([1 - 1e-4, 1 - 1e-5])])) > 0).all()  # edges keep their order
    assert np.isfinite(found.top)
    old = {name: value for name, value in found.to_dict().items() if name != "top"}
    assert float(EdgeMap.from_dict(old)([np.array([1 - 1e-6])])[0]) > 0.5  # a record of an earlier version


def test_map_of_nothing_is_flat():
    found = EdgeMap.fit([np.linspace(0, 1, 99)], np.zeros(99, dtype=bool))
    np.testing.assert_allclose(found([np.array([0.0, 0.5, 1.0])]), 0.005)


# -- what it makes of a fit ----
def test_wrong_model_is_found_out_and_corrected(wrong_model):
    data, truth, posterior, found = wrong_model
    true = truth.ravel()
    raw, mapped = of_plain(posterior, data), of_plain(found.apply(posterior, data), data)
    wrong = lambda p: 1 - true[expected_list(p, 0.1)].mean()
    assert wrong(raw) > 0.4  # the list is far worse than it says
    assert found.scores["raw"]["wrong"] > 0.15  # which made targets show, of a list that asks for a tenth
    listed = expected_list(mapped, 0.1)
    assert true[listed].sum() > 0.8 * true.sum()
    assert wrong(mapped) < 0.7 * wrong(raw)  # 37% and 57%: sharp bends with hidden causes, half of the regulators
    assert average_precision(mapped, true) > average_precision(raw, true) + 0.005
    assert log_score(mapped, true) < 0.3 * log_score(raw, true)


def test_right_model_keeps_its_list():
    listed = {"raw": 0, "mapped": 0}
    wrong = dict(listed)
    for seed in range(4):
        simulation = simulate_linear(num_genes=70, num_tfs=8, num_cells=500, seed=seed)
        data, true = simulation.data, simulation.present[:, 8:].numpy().ravel()
        posterior = fit(LinearNetwork.from_data(data), guide=QUICK)
        mapped = tune(data, options=SHORT).apply(posterior, data)
        for name, one in (("raw", posterior), ("mapped", mapped)):
            edges = expected_list(of_plain(one, data), 0.1)
            listed[name], wrong[name] = listed[name] + len(edges), wrong[name] + int((~true[edges]).sum())
    assert wrong["raw"] < 0.15 * listed["raw"]
    assert wrong["mapped"] < 0.15 * listed["mapped"]
    assert listed["mapped"] > 0.7 * listed["raw"]


def test_nothing_is_listed_where_regulators_explain_nothing():
    rng = np.random.default_rng(0)
    names = tuple([f"T{i}" for i in range(6)] + [f"G{i}" for i in range(30)])
    data = ExpressionData(torch.as_tensor(rng.normal(size=(200, 36)), dtype=torch.float32), names, names[:6])
    found = tune(data, options=SHORT)
    assert found.settings["explained"] == 0
    posterior = found.apply(fit(LinearNetwork.from_data(data), guide=QUICK), data)
    assert posterior.edges(fdr=0.2).empty
    assert posterior.edges()["inclusion"].to_numpy() == pytest.approx(1.25 / 6)


def test_recalibrated_posterior_is_consistent(wrong_model, tmp_path):
    data, _, posterior, found = wrong_model
    mapped = found.apply(posterior, data)
    raw, new = posterior.moments["W"], mapped.moments["W"]
    np.testing.assert_array_equal(mapped.attributes["inclusion_model"], raw.inclusion)
    share = lambda moments: (moments.positive / np.maximum(moments.positive + moments.negative, 1e-9)).ravel()
    np.testing.assert_allclose(share(new), share(raw), atol=1e-4)
    np.testing.assert_array_equal(new.mean, raw.mean)
    table = mapped.edges()
    assert {"inclusion", "inclusion_model"} <= set(table.columns)
    assert "inclusion_model" not in posterior.edges().columns
    with pytest.raises(ValueError, match="recalibrated before"):
        found.apply(mapped, data)
    mapped.save(tmp_path / "model")
    again = Posterior.load(tmp_path / "model")
    pd.testing.assert_frame_equal(again.edges(), table)
    record = Tuning.from_dict(again.attributes["calibration"])
    np.testing.assert_array_equal(record.apply(posterior, data).moments["W"].inclusion, new.inclusion)
    with pytest.raises(ValueError, match="no tuning"):
        Tuning.from_dict({"cells": [1]})


def test_same_seed_same_trial():
    data, _ = bent(num_genes=30, num_cells=200)
    before = torch.get_rng_state()
    one, other = (tune(data, options=SHORT, seed=4) for _ in range(2))
    assert one == other
    assert torch.equal(torch.get_rng_state(), before)


def test_trial_knows_that_priors_can_be_wrong():
    data, truth = bent()
    tf, target = np.nonzero(truth)
    edges = pd.DataFrame(
        {"source": [data.tfs[t] for t in tf], "target": [data.genes[len(data.tfs) + g] for g in target]}
    )
    network = PriorNetwork.from_edges(edges, name="known")
    # of the other source, one half of the genes has nothing
    single = PriorNetwork.from_edges(edges.head(1), name="one edge")
    networks = {"known": network, "single": single}
    found = tune(data, networks, options=SHORT)
    assert found.scores["recalibrated"]["power"] > 0.3
    posterior = fit(LinearNetwork.from_data(data, networks=networks), guide=QUICK)
    mapped = of_plain(found.apply(posterior, data, networks), data)
    assert average_precision(mapped, truth.ravel()) > 0.9


def test_what_is_refused():
    data, _ = bent(num_genes=20, num_cells=100)
    with pytest.raises(ValueError, match="too few"):
        tune(data.annotated(tfs=data.tfs[:2]), options=SHORT)
    with pytest.raises(ValueError, match="one context"):
        tune(data.annotated(context=["a", "b"] * 50), options=SHORT)
    with pytest.raises(ValueError, match="two worlds"):
        TrialOptions(worlds=1)


# -- lists and links ----
def test_edges_into_regulators_are_links():
    simulation = simulate_linear(num_genes=30, num_tfs=6, num_cells=400, edge_probability=0.4, seed=2)
    posterior = fit(LinearNetwork.from_data(simulation.data), guide=QUICK)
    tfs = set(posterior.coords["tf"])
    assert not set(posterior.edges(fdr=0.2)["target"]) & tfs
    links = posterior.links()
    assert len(links) == 15  # pairs of six
    assert (links["a"] != links["b"]).all()
    assert (np.diff(links["probability"].round(2)) <= 0).all()
    whole = posterior.edges().set_index(["source", "target"])
    for row in links.itertuples():
        there, back = whole.loc[(row.a, row.b)], whole.loc[(row.b, row.a)]
        assert (row.weight_ab, row.weight_ba) == (there["weight"], back["weight"])
        assert row.probability == max(there["inclusion"], back["inclusion"])
    assert (1 - posterior.links(fdr=0.1)["probability"]).mean() <= 0.1
    assert len(posterior.links(top=3)) == 3
    with pytest.raises(ValueError, match="rate strictly"):
        posterior.links(fdr=1.0)


@pytest.mark.parametrize("feedback", [False, True])
def test_links_are_as_probable_as_they_say(feedback):
    """P(some edge) against whether there is one, over networks."""
    tables = []
    for seed in range(4):
        made = simulate_linear(
            num_genes=12, num_tfs=10, num_cells=400, edge_probability=0.12, feedback=feedback, seed=seed
        )
        tables.append(linked(fit(LinearNetwork.from_data(made.data), guide=QUICK), made))
    table = pd.concat(tables)
    stated, true = table[MODEL].to_numpy(), table["true"].to_numpy()
    assert len(table) == 4 * 45
    assert (table[CORRECTED] == table[MODEL]).all()  # none was corrected
    error = np.sqrt((stated * (1 - stated)).sum()) / len(table)
    assert abs(stated.mean() - true.mean()) < 4 * error + 0.05
    assert average_precision(stated, true) > 0.6
    assert (~true[expected_list(stated, 0.1)]).mean() < 0.3


def test_perturbed_on_both_ends_is_an_edge():
    simulation = simulate_linear(num_genes=20, num_tfs=5, num_cells=600, num_perturbed=3, edge_probability=0.6, seed=2)
    posterior = fit(LinearNetwork.from_data(simulation.data), guide=QUICK)
    perturbed = {posterior.coords["target"][i] for i in posterior.model.own.tolist()}
    inward = posterior.edges(fdr=0.5)
    inward = inward[inward["target"].isin(posterior.coords["tf"])]
    assert len(inward)
    assert set(inward["source"]) | set(inward["target"]) <= perturbed
    links = posterior.links()
    assert not any({row.a, row.b} <= perturbed for row in links.itertuples())


# -- infer ----
@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    data, _ = bent(num_genes=30, num_cells=150)
    pd.DataFrame(data.X.numpy(), columns=data.genes).to_csv(folder / "expression.csv")
    pd.DataFrame({"tf": data.tfs}).to_csv(folder / "tfs.csv", index=False)
    return folder


def infer(cells, out, *more):
    words = ("--steps", "10", "--set", "guide.num_warmup=10", "--restarts", "2")
    return call("infer", cells / "expression.csv", "--tfs", cells / "tfs.csv", "--out", out, *words, *more)


TRIAL = ("--set", "calibrate.targets=20", "--set", "calibrate.worlds=2", "--set", "calibrate.samples=8")


def test_infer_records_its_trial_and_replays_it(cells, tmp_path):
    code, out, err = infer(cells, tmp_path / "one", *TRIAL)
    assert code == 0, err
    assert "on made targets" in out + err
    record = json.loads((tmp_path / "one" / "config.json").read_text())["calibration"]
    assert record["settings"]["targets"] == 20
    edges = pd.read_csv(tmp_path / "one" / "edges.csv")
    assert "inclusion_model" in edges
    assert "made targets" in (tmp_path / "one" / "report.html").read_text()
    code, _, err = infer(cells, tmp_path / "two", "--set", f"calibrate.record={tmp_path / 'one'}")
    assert code == 0, err
    assert (tmp_path / "two" / "edges.csv").read_text() == (tmp_path / "one" / "edges.csv").read_text()


def test_infer_without_a_trial(cells, tmp_path):
    code, _, err = infer(cells, tmp_path / "run", "--no-calibrate")
    assert code == 0, err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["calibration"] is None
    assert "inclusion_model" not in pd.read_csv(tmp_path / "run" / "edges.csv")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--set", "calibrate.nothing=1"), "calibrate.nothing"),
        (("--set", "calibrate.targets=0"), "at least one target"),
        (("--set", "calibrate.targets=few"), "whole number"),
        (("--set", "calibrate.targets=20", "--no-calibrate"), "--no-calibrate"),
        (("--set", "calibrate.record=nowhere.json"), "no such file"),
        (("--set", "calibrate.targets=20", "--method", "grnular"), "grnular"),
    ],
)
def test_infer_refuses(cells, tmp_path, more, words):
    code, _, err = infer(cells, tmp_path / "run", *more)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


# -- how many regulators made targets have ----
def test_more_regulators_where_all_posteriors_state_more():
    made = {0: [2.0, 1.0, 2.0], 1: [4.0, 1.5, 3.0], 2: [9.0, 9.0, 9.0]}
    assert causes_like([6.0, 6.2, 3.0, 6.0], made, 1.25)[0] == (3, 12)  # three times
    assert causes_like([6.0, 6.2, 3.0, 6.0], made, 1.25)[1] == (2, 7)  # as 6.1 / 4, 3 / 1.5 and 6 / 3 are
    assert causes_like([6.0, 6.2, 3.0, 6.0], made, 1.25)[2] == (2, 7)  # hidden causes: as the second kind
    few = dict.fromkeys(made, (1, 4))
    assert causes_like([6.0, 9.0, 3.0, 6.0], made, 1.25) == few  # two chains do not agree
    assert causes_like([6.0, 6.2, 1.0, 6.0], made, 1.25) == few  # what one posterior does not see
    assert causes_like([1.0, 1.0, 0.5, 1.0], made, 1.25) == few  # never fewer
    assert causes_like([2.0, 2.0], made, 1.25) == few


def test_a_posterior_that_says_nothing_is_not_asked_how_many_regulators_there_are():
    nothing = float("nan")
    assert causes_like([12.0, 11.0, nothing, 9.0], {0: [3.0, nothing, 3.0]}, 1.25) == {0: (4, 15)}
    assert causes_like([12.0, 11.0, 3.0, 9.0], {0: [3.0, 3.0, 3.0]}, 1.25) == {0: (1, 4)}
    assert causes_like([nothing] * 4, {0: [nothing] * 3}, 1.25) == {0: (1, 4)}
    assert causes_like([12.0, 11.0, 9.0, 9.0], {0: [nothing, 3.0, 3.0]}, 1.25) == {0: (1, 4)}
    assert np.isnan(total(np.full(5, 0.12)))
    assert total(np.array([0.5, 0.25])) == 0.75


def test_targets_of_many_regulators_keep_their_list():
    simulation = simulate_linear(num_genes=80, num_tfs=20, num_cells=500, edge_probability=0.4, seed=5)
    data = simulation.data
    posterior = fit(LinearNetwork.from_data(data), guide=QUICK)
    found = tune(data, options=SHORT)
    assert min(most for _, most in found.settings["causes"]) > 6
    mapped = found.apply(posterior, data)
    few = tune(data, options=replace(SHORT, raised=np.inf)).apply(posterior, data)
    true = set(zip(simulation.network["source"], simulation.network["target"], strict=True))
    listed = {name: one.edges(fdr=0.1) for name, one in (("many", mapped), ("few", few))}
    assert len(listed["many"]) > 1.1 * len(listed["few"])
    plain = listed["many"][~listed["many"]["target"].isin(data.tfs)]
    assert np.mean([edge not in true for edge in zip(plain["source"], plain["target"], strict=True)]) < 0.1


def test_a_trial_of_cells_with_few_regulators_is_not_lengthened(monkeypatch):
    data = simulate_linear(num_genes=60, num_tfs=8, num_cells=300, edge_probability=0.15, seed=2).data
    calls = []
    monkeypatch.setattr(causes, "benches_like", lambda *a, **k: calls.append(k) or trial.benches_like(*a, **k))
    found = tune(data, options=SHORT)
    assert found.settings["causes"] == [[1, 4]] * 3
    assert len(calls) == 1


def test_numbers_of_the_trial_do_not_depend_on_threads():
    """Halves of the genes, worlds and fits are shared out; each has its own random numbers."""
    data = simulate_linear(num_genes=40, num_tfs=8, num_cells=120, seed=0).data
    options = TrialOptions(targets=8, worlds=2, warmup=3, samples=3)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(tune(data, options=options))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0].to_dict() == found[1].to_dict()
    again = replace(found[0], witnesses=None)
    posterior = fit(LinearNetwork.from_data(data), guide=SparseGibbs(num_warmup=3, num_samples=4))
    one, other = (tuning.apply(posterior, data).moments["W"].inclusion for tuning in (found[0], again))
    np.testing.assert_array_equal(one, other)  # what the trial knows of the witnesses is what is found again
