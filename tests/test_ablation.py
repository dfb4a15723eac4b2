"""Ablations of prior knowledge: bits against arithmetic, damage, comparisons, resuming, held trust, bad input."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.ablation import (
    Change,
    Effort,
    ablate,
    describe_sources,
    kl_bits,
    log_score_bits,
    prior_inclusion,
    prior_sensitivity,
    scale_source,
    standard_changes,
    strategies_of,
)
from pyrogrn.experiments.ablation import page as ablation_page
from pyrogrn.experiments.ablation.changes import apply_change
from pyrogrn.experiments.ablation.engines import canonical, chain_noise
from pyrogrn.experiments.ablation.held_trust import fit_held
from pyrogrn.experiments.ablation.information import ap_difference, mean_difference, rate_bits, total_difference
from pyrogrn.experiments.ablation.inputs import (
    pack,
    read_inputs,
    split_cells,
    unpack,
    varying_in_training,
    write_inputs,
)
from pyrogrn.experiments.ablation.measures import MEASURES
from pyrogrn.experiments.ablation.page import _badge as page_badge
from pyrogrn.experiments.ablation.page import headline
from pyrogrn.experiments.ablation.result import AblationResult, crossing
from pyrogrn.experiments.scores import average_precision
from pyrogrn.inference import Gibbs, fit
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, Normal, PriorNetwork, SpikeSlab
from scipy.integrate import dblquad
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from scipy.stats import halfnorm, norm

FAST = Effort(num_chains=2, num_warmup=15, num_samples=15, num_steps=30)


@pytest.fixture(scope="module")
def toy():
    return simulate_linear(num_genes=12, num_tfs=4, num_cells=50, noise=1.5, edge_probability=0.3, seed=1)


@pytest.fixture(scope="module")
def known(toy):
    return PriorNetwork.from_edges(toy.network[["source", "target"]], name="known")


@pytest.fixture(scope="module")
def other(toy, known):
    return known.corrupted(1.0, np.random.default_rng(0), sources=toy.data.tfs, targets=toy.data.genes)


# -- information ----


def test_bits_are_those_of_bernoulli_variables():
    q, p = np.array([0.5, 1.0, 0.0, 0.2]), np.array([0.25, 0.5, 0.75, 0.2])
    expected = [0.5 * 1 + 0.5 * np.log2(0.5 / 0.75), 1.0, 2.0, 0.0]
    np.testing.assert_allclose(kl_bits(q, p), expected, atol=1e-12)
    assert np.isfinite(kl_bits(np.array([1.0]), np.array([0.0]))).all()
    np.testing.assert_allclose(log_score_bits(np.array([0.25, 0.25]), np.array([True, False])), [-2, np.log2(0.75)])


def test_prior_inclusion_integrates_the_hyperpriors(toy, known):
    model = LinearNetwork.from_data(toy.data, networks={"known": known})
    found = prior_inclusion(model)
    p = 0.9
    with_source, _ = dblquad(
        lambda a, b: expit(a + b * p) * norm.pdf(a, -2, 1.5) * halfnorm.pdf(b, scale=3), 0, 15, -10, 6
    )
    without, _ = dblquad(lambda a, b: expit(a) * norm.pdf(a, -2, 1.5) * halfnorm.pdf(b, scale=3), 0, 15, -10, 6)
    listed = model.knowledge.probability[0].numpy() > 0
    allowed = model.edge_prior.allowed.numpy()
    assert len(np.unique(found[allowed])) == 2
    # four standard errors of a mean of 5,000 probabilities
    assert found[listed & allowed] == pytest.approx(with_source, abs=4 * 0.36 / 5_000**0.5)
    assert found[~listed & allowed] == pytest.approx(without, abs=4 * 0.17 / 5_000**0.5)
    assert (found[~allowed] == 0).all()


def test_prior_inclusion_with_trust_held_and_under_a_mask(toy, known):
    fixed = SpikeSlab(edge_probability=0.1)
    model = LinearNetwork.from_data(toy.data, networks={"known": known}, edge_prior=fixed)
    found = prior_inclusion(model, trust=2.0, num_draws=50)
    listed = model.knowledge.probability[0].numpy() > 0
    assert found[listed] == pytest.approx(expit(np.log(1 / 9) + 2 * 0.9), rel=1e-5)
    masked = LinearNetwork.from_data(toy.data, networks={"known": known}, edge_prior=HardMask(fixed))
    found = prior_inclusion(masked, num_draws=50)
    assert found[listed] == pytest.approx(0.1, rel=1e-5)
    assert (found[~listed] == 0).all()


def test_prior_inclusion_without_an_inclusion_variable(toy):
    model = LinearNetwork.from_data(toy.data, edge_prior=Normal(scale=0.1))
    found = prior_inclusion(model, threshold=0.1)
    allowed = model.edge_prior.allowed.numpy()
    expected = 2 * norm.sf(1)
    assert found[allowed] == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 5_000) ** 0.5)


def test_differences_and_their_standard_errors():
    rng = np.random.default_rng(0)
    gap, group = rng.normal(0.3, 1, 4000), np.repeat(np.arange(400), 10)
    found = mean_difference(gap, np.zeros(4000), group)
    assert found.value == pytest.approx(gap.mean())
    assert found.se == pytest.approx(1 / 4000**0.5, rel=0.15)  # independent pairs: grouping changes little
    same = np.repeat(rng.normal(0, 1, 400), 10)
    assert mean_difference(same, np.zeros(4000), group).se == pytest.approx(1 / 400**0.5, rel=0.15)
    total = total_difference(gap, np.zeros(4000), group)
    assert total.value == pytest.approx(gap.sum())
    assert total.se == pytest.approx(400**0.5 * 10**0.5, rel=0.15)


def test_difference_of_average_precision_is_paired():
    rng = np.random.default_rng(1)
    target = np.repeat(np.arange(50), 8)
    true = rng.random(400) < 0.2
    good, bad = true + rng.normal(0, 0.7, 400), rng.normal(0, 1, 400)
    found = ap_difference(good, bad, true, target)
    assert found.value == pytest.approx(average_precision(good, true) - average_precision(bad, true))
    assert 0 < found.se < found.value
    none = ap_difference(good, good, true, target)
    assert none.value == 0
    assert none.se == 0


def test_one_shift_of_all_log_odds_is_split_off():
    rng = np.random.default_rng(0)
    prior, q = rng.uniform(0.05, 0.6, 50), rng.uniform(0.01, 0.9, 50)
    found = minimize_scalar(lambda d: kl_bits(q, expit(logit(prior) + d)).sum(), bounds=(-9, 9), method="bounded")
    assert kl_bits(q, prior).sum() - rate_bits(q, prior) == pytest.approx(found.fun, rel=1e-6)
    same = np.full(9, 0.2)
    assert rate_bits(same / 2, same) == pytest.approx(kl_bits(same / 2, same).sum())
    assert rate_bits(np.array([0.1, 0.3, 0.0]), np.array([0.2, 0.2, 0.0])) == pytest.approx(0, abs=1e-12)
    assert rate_bits(np.ones(3), np.full(3, 0.5)) == pytest.approx(3)
    assert rate_bits(np.zeros(3), np.zeros(3)) == 0


@pytest.mark.parametrize("count", [2, 3, 4])
def test_noise_of_chains_is_that_of_their_mean(count):
    rng = np.random.default_rng(count)
    chains = 0.4 + 0.03 * rng.normal(size=(count, 20, 1000))
    model = SimpleNamespace(edge_prior=SimpleNamespace(allowed=torch.ones(20, 1000, dtype=torch.bool)))
    posterior = SimpleNamespace(attributes={"chain_inclusion": chains}, model=model)
    exact = kl_bits(chains.mean(0), np.full((20, 1000), 0.4)).sum()
    assert chain_noise(posterior) == pytest.approx(exact, rel=4 * (2 * 2 / 20_000) ** 0.5)
    one = SimpleNamespace(attributes={"chain_inclusion": chains[:1]}, model=model)
    assert np.isnan(chain_noise(one))


# -- changes ----


def test_standard_changes_are_alone_left_out_all_and_damaged():
    changes = standard_changes(["a", "b", "c"], corrupt=[0, 0.2], flip=[0.5], shuffle=True, hold_out=[0.5])
    names = [c.name for c in changes]
    assert names[:8] == [
        "no source",
        "a alone",
        "b alone",
        "c alone",
        "without a",
        "without b",
        "without c",
        "all sources",
    ]
    assert names[8:] == [
        "all sources, 20% moved",
        "all sources, 50% flipped",
        "all sources, 50% of targets held out",
        "all sources, shuffled",
    ]
    assert [c.name for c in standard_changes(["a"])] == ["no source", "a"]
    close = [c.name for c in standard_changes(["a"], corrupt=[0.101, 0.104])]
    assert close == ["no source", "a", "a, 10.1% moved", "a, 10.4% moved"]
    assert len(standard_changes(["a", "b"])) == 4  # left out is the other alone
    assert standard_changes(["a", "b"], corrupt=[0.1], damage_of=["b"])[-1] == Change(
        "b alone, 10% moved", ("b",), "moved", 0.1
    )


def test_damage_is_of_matched_edges_and_repeats(toy, known):
    far = PriorNetwork.from_edges(
        pd.concat([known.to_frame()[["source", "target"]], pd.DataFrame({"source": ["x"], "target": ["y"]})]),
        name="known",
    )
    tfs, genes = toy.data.tfs, toy.data.genes
    networks = {"known": far}
    pairs = lambda n: set(zip(n.source, n.target, strict=True))
    whole = apply_change(Change("known", ("known",)), networks, tfs, genes, 0)[0]["known"]
    assert len(whole) == len(known)
    half = Change("moved", ("known",), "moved", 0.5)
    first, second = (apply_change(half, networks, tfs, genes, 3)[0]["known"] for _ in range(2))
    assert pairs(first) == pairs(second)
    kept = len(known) - round(0.5 * len(known) + 1e-9)
    assert len(pairs(first) & pairs(whole)) == pytest.approx(kept, abs=1)
    held_out = Change("held", ("known",), "held-out", 0.5)
    network, held = apply_change(held_out, networks, tfs, genes, 0)
    assert held
    assert not set(held) & set(network["known"].targets)
    assert apply_change(Change("d", ("known",), "dropped", 1.0), networks, tfs, genes, 0) == ({}, ())


def test_impossible_changes_are_refused():
    with pytest.raises(ValueError, match=r"unknown damage 'burnt'"):
        Change("x", ("a",), "burnt", 0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Change("x", ("a",), "moved", 1.5)
    with pytest.raises(ValueError, match="damages no source"):
        Change("x", (), "moved", 0.5)
    with pytest.raises(ValueError, match=r"\['q'\] are not among the sources"):
        standard_changes(["a"], corrupt=[0.1], damage_of=["q"])


# -- sources ----


def test_contradicting_sources_are_reported_by_name(toy):
    tfs, genes = toy.data.tfs, toy.data.genes
    table = pd.DataFrame({"source": tfs[0], "target": list(genes[4:7])})
    a = PriorNetwork.from_edges(table.assign(sign=[1, 1, 1]), name="a")
    b = PriorNetwork.from_edges(table.assign(sign=[1, -1, 1]), name="b")
    found, notes = describe_sources({"a": a, "b": b}, tfs, genes)
    assert found["contradicted"].tolist() == [1, 1]
    assert "'a' and 'b' contradict each other in sign on 1 of the 3" in notes[0]
    assert f"{tfs[0]} -> {genes[5]} (activates in 'a', represses in 'b')" in notes[0]
    assert "list the same edges" in notes[1]
    assert found["only_here"].tolist() == [0, 0]
    assert describe_sources({"a": a}, tfs, genes)[1] == []


def test_bad_sources_are_refused_by_name(toy, known):
    far = PriorNetwork.from_edges(pd.DataFrame({"source": ["x"], "target": ["y"]}), name="far")
    with pytest.raises(ValueError, match="prior 'far' has no edge"):
        ablate(toy.data, {"known": known, "far": far}, progress=False)
    with pytest.raises(ValueError, match=r"network 'sure': row 1 has probability 1\.5"):
        PriorNetwork.from_edges(pd.DataFrame({"source": ["x"], "target": ["y"], "probability": [1.5]}), name="sure")
    twice = pd.DataFrame({"source": ["x", "x"], "target": ["y", "y"]})
    with pytest.raises(ValueError, match="network 'twice': 1 edges are listed more than once"):
        PriorNetwork.from_edges(twice, name="twice")
    with pytest.raises(ValueError, match="no sources of knowledge"):
        ablate(toy.data, {}, progress=False)


# -- inputs ----


def test_inputs_survive_the_file(tmp_path, rich, known):
    path = write_inputs(tmp_path, rich.data, {"known": known})
    back = read_inputs(str(path))
    assert torch.equal(back.data.X, rich.data.X)
    assert back.data.tfs == rich.data.tfs
    assert torch.equal(back.data.perturbed, rich.data.perturbed)
    assert torch.equal(back.data.context, rich.data.context)
    pd.testing.assert_frame_equal(back.networks["known"].to_frame(), known.to_frame())
    assert write_inputs(tmp_path, rich.data, {"known": known}) == path
    array = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    np.testing.assert_array_equal(unpack(json.loads(json.dumps(pack(array)))), array)


def test_cells_are_split_by_context_and_whole_courses(rich):
    train, test = split_cells(rich.data, 0.25, 0)
    assert train.num_cells + test.num_cells == rich.data.num_cells
    for code in range(rich.data.num_contexts):
        share = int((test.context == code).sum()) / int((rich.data.context == code).sum())
        assert share == pytest.approx(0.25, abs=0.05)
    X = np.random.default_rng(0).normal(size=(12, 2))
    data = ExpressionData.from_frame(pd.DataFrame(X, columns=["A", "B"])).with_times(
        list(range(4)) * 3, ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    )
    train, test = split_cells(data, 0.2, 1)
    assert test.num_cells == 4
    assert len(test.trajectory.unique()) == 1
    assert len(train.trajectory.unique()) == 2
    with pytest.raises(ValueError, match="hold_out_cells=0"):
        split_cells(data.subset(np.arange(4)), 0.2, 0)


def test_no_context_is_held_out_whole_and_genes_vary_in_training():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(11, 3)), columns=["A", "B", "C"]).assign(A=range(11))
    data = ExpressionData.from_frame(X)
    single = replace(data, context=torch.tensor([0] * 10 + [1]), context_names=("a", "b"))
    train, test = split_cells(single, 0.9, 0)
    assert (train.context == 1).sum() == 1
    assert (train.context == 0).sum() == 1
    assert test.num_cells == 9
    with pytest.raises(ValueError, match="every context has one cell"):
        split_cells(single.subset(np.array([0, 10])), 0.5, 0)
    held = int(split_cells(data, 0.1, 3)[1].X[0, 0])
    X["C"] = (X["A"] == held).astype(float)  # varies only while this cell is fitted
    X["D"] = 0.0
    found = varying_in_training(ExpressionData.from_frame(X, tfs=["A", "B"]), 0.1, (0, 1, 2, 3))
    assert found.genes == ("A", "B", "D")  # a gene that never varies is for the caller to drop
    assert "1 genes dropped" in found.notes[-1]
    assert varying_in_training(found, 0.0, (0,)) is found
    with pytest.raises(ValueError, match=r"hold_out_cells=0\.9 leaves 1 of 11 cells"):
        varying_in_training(found, 0.9, (0,))
    with pytest.raises(ValueError, match="no regulator varies"):
        varying_in_training(ExpressionData.from_frame(X[["B", "C"]], tfs=["C"]), 0.1, (3,))


# -- trust held ----


@pytest.mark.parametrize("strategy", ["inclusion", "scale"])
def test_trust_held_at_nothing_is_no_source(toy, known, strategy):
    model = LinearNetwork.from_data(
        toy.data, networks={"known": known}, edge_prior=SpikeSlab(strategy=strategy, edge_probability=0.2)
    )
    guide = Gibbs(4, 60, 150)
    held = fit_held(model, 0.0, guide=guide, seed=0)
    plain = LinearNetwork.from_data(toy.data, edge_prior=SpikeSlab(edge_probability=0.2))
    reference = fit(plain, guide=guide, seed=1)
    gap = np.abs(held.moments["W"].inclusion - reference.moments["W"].inclusion)
    assert gap.max() < 0.1
    assert gap.mean() < 0.02
    assert (held.draws["trust"] == 0).all()


def test_trust_held_equals_a_base_rate_where_every_edge_is_listed(toy):
    tfs, genes = toy.data.tfs, toy.data.genes
    every = pd.DataFrame([(s, t) for s in tfs for t in genes if s != t], columns=["source", "target"])
    network = PriorNetwork.from_edges(every.assign(probability=0.9), name="every")
    guide = Gibbs(4, 60, 150)
    model = LinearNetwork.from_data(toy.data, networks={"every": network}, edge_prior=SpikeSlab(edge_probability=0.1))
    held = fit_held(model, 2.0, guide=guide, seed=0)
    rate = float(expit(np.log(1 / 9) + 1.8))
    reference = fit(LinearNetwork.from_data(toy.data, edge_prior=SpikeSlab(edge_probability=rate)), guide=guide, seed=1)
    gap = np.abs(held.moments["W"].inclusion - reference.moments["W"].inclusion)
    assert gap.max() < 0.1
    assert gap.mean() < 0.02
    assert prior_inclusion(model, trust=2.0, num_draws=10)[0, -1] == pytest.approx(rate, rel=1e-4)


def test_a_learned_base_rate_follows_held_trust(toy, known):
    model = LinearNetwork.from_data(toy.data, networks={"known": known})
    listed = model.knowledge.probability[0].numpy() > 0
    weak, strong = (fit_held(model, b, guide=Gibbs(2, 40, 40), seed=0).moments["W"].inclusion for b in (0.0, 5.0))
    assert strong[listed].mean() > weak[listed].mean()
    with pytest.raises(ValueError, match="trust is -1"):
        fit_held(model, -1.0, guide=Gibbs(), seed=0)
    plain = LinearNetwork.from_data(toy.data)
    with pytest.raises(ValueError, match="leave the trust sampled"):
        fit_held(plain, 1.0, guide=Gibbs(), seed=0)


# -- the whole ----


@pytest.fixture(scope="module")
def found(toy, known, other, tmp_path_factory):
    out = tmp_path_factory.mktemp("ablation")
    changes = [
        *standard_changes(["right", "wrong"]),
        Change("right, targets held out", ("right",), "held-out", 0.5),
    ]
    result = ablate(
        toy.data,
        {"right": known, "wrong": other},
        truth=toy.network,
        changes=changes,
        methods=("linear", "prior-only"),
        strategies=("inclusion", "mask"),
        trust=("sampled", 2.0),
        seeds=(0, 1),
        effort=Effort(2, 25, 25),
        out=out,
        backend="serial",
        progress=False,
    )
    return result, out


def test_rows_say_what_was_run(found):
    result, _ = found
    rows = result.rows
    assert set(rows["strategy"]) == {"inclusion", "mask"}
    assert set(rows["trust"]) == {"sampled", "2"}
    linear = rows[rows["method"] == "linear"]
    assert not ((linear["strategy"] == "mask") & (linear["trust"] == "2")).any()  # a mask has no trust to hold
    assert len(linear) == 3 * 5 * 2
    none = linear[linear["change"] == "no source"]
    assert none.groupby("seed")["average_precision"].nunique().eq(1).all()  # one fit serves all strategies
    assert (none["moved_bits"] == 0).all()
    assert (none["moved_bits_floor"] == 0).all()
    fitted = linear[linear["change"] != "no source"]
    assert (fitted["moved_bits_floor"] > fitted["gain_bits_floor"]).all()  # the noise of both runs, and of one
    assert (linear["gain_bits_rate"] <= linear["gain_bits"]).all()
    assert (none["delta_average_precision"] == 0).all()
    assert np.isnan(rows.loc[rows["method"] == "prior-only", "elpd"]).all()
    assert (rows.loc[rows["method"] == "prior-only", "gain_bits"] == 0).all()


def test_a_right_source_helps_and_a_wrong_one_does_not(found):
    table = found[0].summary()
    one = table[(table["method"] == "linear") & (table["strategy"] == "inclusion") & (table["trust"] == "sampled")]
    by = one.set_index("change")
    assert by.loc["right alone", "delta_log_score_bits"] > 0
    assert by.loc["right alone", "delta_average_precision"] > by.loc["wrong alone", "delta_average_precision"]
    assert by.loc["right alone", "moved_bits"] > 0
    trust = found[0].trust_summary()
    sampled = trust[(trust["strategy"] == "inclusion") & (trust["trust"] == "sampled")]
    both = sampled[sampled["change"] == "all sources"].set_index("source")["mean"]
    assert both["right"] > both["wrong"]


def test_tables_are_written(found, tmp_path):
    result, _ = found
    result.write(out := tmp_path)
    for name in ("rows", "summary", "trust", "sources", "break_even"):
        assert (out / f"{name}.csv").is_file()
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "rows.csv", dtype={"trust": str}, keep_default_na=True)[["average_precision", "gain_bits"]],
        result.rows[["average_precision", "gain_bits"]],
        rtol=1e-5,
    )
    assert json.loads((out / "settings.json").read_text())["seeds"] == [0, 1]


def test_finished_runs_are_not_run_again(found, toy, known, other, monkeypatch):
    result, out = found

    def refuse(configuration):
        raise AssertionError(f"run again: {configuration['name']}")

    refuse.__module__, refuse.__qualname__ = "pyrogrn.experiments.ablation.case", "run_case"
    monkeypatch.setattr("pyrogrn.experiments.ablation.experiment.run_case", refuse)
    again = ablate(
        toy.data,
        {"right": known, "wrong": other},
        truth=toy.network,
        changes=standard_changes(["right", "wrong"]),
        seeds=(0,),
        effort=Effort(2, 25, 25),
        out=out,
        backend="serial",
        progress=False,
    )
    same = result.rows[result.rows["seed"] == 0].merge(again.rows, on=["method", "strategy", "trust", "change", "seed"])
    assert len(same) == 4
    np.testing.assert_array_equal(same["average_precision_x"], same["average_precision_y"])


def test_results_do_not_depend_on_the_backend(toy, known):
    options = {
        "changes": [Change("known", ("known",))],
        "seeds": (0,),
        "effort": Effort(1, 5, 5),
        "hold_out_cells": 0,
        "progress": False,
    }
    serial, loky = (
        ablate(toy.data, {"known": known}, backend=backend, jobs=jobs, **options).rows.drop(columns="seconds")
        for backend, jobs in (("serial", None), ("loky", 2))
    )
    pd.testing.assert_frame_equal(serial, loky)


def test_held_out_targets_are_what_is_scored(found, toy):
    rows = found[0].rows
    held = rows[(rows["damage"] == "held-out") & (rows["method"] == "prior-only") & (rows["trust"] == "sampled")]
    # a source that says nothing of these targets leaves them all alike
    assert held["delta_average_precision"].eq(0).all()
    assert held["average_precision"].to_numpy() == pytest.approx(held["base_rate"].to_numpy())


@pytest.mark.parametrize("method", ["grnular", "linear", "netrex-cf"])
def test_amortised_and_variational_fits(toy, known, method):
    strategies = ("laplace",) if method == "linear" else None
    levels = replace(toy.data, matrix=toy.data.X.clamp_min(0))  # guides that learned on simulations take no others
    rows = ablate(
        levels,
        {"known": known},
        truth=toy.network,
        methods=(method,),
        strategies=strategies,
        seeds=(0,),
        effort=FAST,
        backend="serial",
        progress=False,
    ).rows
    assert len(rows) == 2
    assert rows["average_precision"].between(0, 1).all()
    assert rows["gain_bits"].isna().all() == (method != "linear")  # the prior is the simulator's, or no edge's own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("magic",)}, "unknown method 'magic'"),
        ({"methods": ("trajectory",)}, "needs time courses"),
        ({"strategies": ("magic",)}, "unknown strategy 'magic'"),
        ({"trust": ("maybe",)}, "trust 'maybe'"),
        ({"seeds": ()}, "expected at least one"),
        ({"seeds": (0, 0)}, "seeds has 0 more than once"),
        ({"seeds": (0.5,)}, "whole numbers"),
        ({"methods": ("linear", "linear")}, "methods has 'linear' more than once"),
        ({"methods": "linear"}, "in a list"),
        ({"strategies": ("mask", "mask")}, "strategies has 'mask' more than once"),
        ({"trust": (2, 2.0)}, "trust has '2' more than once"),
        ({"strategies": ("mask",), "trust": (2.0,)}, "no trust to hold"),
        ({"strategies": ("mask",), "methods": ("grnular",)}, r"none of the strategies \['mask'\]"),
        ({"strategies": ("inclusion",), "methods": ("symphony",)}, r"add one that it has \(evidence\)"),
        ({"methods": ("grnular",), "trust": (2.0,)}, "no trust to hold"),
        ({"backend": "threads"}, "unknown backend 'threads'"),
        ({"backend": "serial", "jobs": 2}, "only backend='loky' has jobs"),
        ({"changes": [Change("x", ("known",), "flipped", 0.5)]}, r"no edge of \['known'\] that matches .* has a sign"),
        (
            {"changes": [Change("x", ("known",), "held-out", 0.5)], "methods": ("symphony",)},
            "leave out the changes 'held-out'",
        ),
        ({"hold_out_cells": 1.0}, "below 1"),
        ({"changes": [Change("x", ("q",))]}, r"sources \['q'\]"),
        ({"truth": pd.DataFrame({"source": ["x"], "target": ["y"]})}, "none of the 1 true edges"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(toy, known, tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        ablate(toy.data, {"known": known}, progress=False, out=tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def quick(toy, networks, **options):
    base = {"seeds": (0,), "effort": FAST, "backend": "serial", "hold_out_cells": 0, "progress": False}
    return ablate(toy.data, networks, **(base | options))


def test_what_a_method_does_not_take_is_noted(toy, known):
    signed = PriorNetwork.from_edges(toy.network[["source", "target", "sign"]], name="signed")
    result = quick(
        toy,
        {"known": known, "signed": signed},
        methods=("prior-only", "linear"),
        strategies=("inclusion", "mask"),
        trust=("sampled", 2.0),
        changes=[Change("both", ("known", "signed"), "flipped", 1.0)],
    )
    assert set(result.rows["method"] + " " + result.rows["strategy"] + " " + result.rows["trust"]) == {
        "prior-only inclusion sampled",
        "prior-only inclusion 2",
        "linear inclusion sampled",
        "linear inclusion 2",
        "linear mask sampled",
    }
    text = "; ".join(result.notes)
    assert "method prior-only has no strategy 'mask'" in text
    assert "method linear with strategy 'mask' has no trust to hold at 2" in text
    assert "['known'] have no signs" in text


def test_symphony_takes_sources_as_evidence(toy, known):
    rows = quick(toy, {"known": known}, methods=("symphony",), truth=toy.network).rows.set_index("change")
    assert set(rows["strategy"]) == {"evidence"}
    assert rows.loc["known", "used_edges"] == len(known)
    assert rows.loc["known", "moved_bits"] > 0
    assert np.isnan(rows.loc["known", "gain_bits"])  # sources are data there, and in no prior
    assert rows.loc["no source", "gain_bits"] > 0
    assert rows.loc["known", "delta_log_score_bits"] > 0


def test_runs_are_known_by_content_and_version(toy, known, tmp_path, caplog, monkeypatch):
    first = quick(toy, {"known": known}, out=tmp_path / "a", effort=Effort(1, 3, 3))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    renamed = {"changes": [Change("another name", ("known",))], "effort": Effort(1, 3, 3), "out": tmp_path / "b"}
    finished = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "b" / "runs").iterdir()}
    again = quick(toy, {"known": known}, **renamed)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "b" / "runs").iterdir()} == finished
    assert again.rows["change"].tolist() == ["no source", "another name"]
    np.testing.assert_array_equal(first.rows["expected_edges"], again.rows["expected_edges"])
    monkeypatch.setattr("pyrogrn.inference.draws.description.package_version", lambda: "999")
    quick(toy, {"known": known}, **renamed)
    assert "running them again" in caplog.text
    assert all(json.loads(p.read_text())["pyrogrn"] == "999" for p in (tmp_path / "b" / "runs").iterdir())
    assert {p.name for p in (tmp_path / "b" / "runs").iterdir()} == set(finished)


def test_ways_without_sources_are_one():
    assert canonical("linear", "mask", "sampled", False) == ("inclusion", "sampled")
    assert canonical("linear", "mask:laplace", 2.0, False) == ("laplace", "sampled")
    assert canonical("linear", "scale", 2.0, True) == ("scale", 2.0)
    assert "mask:horseshoe" in strategies_of("trajectory")
    assert strategies_of("grnular") == ("own",)
    assert strategies_of("symphony") == ("evidence",)


# -- break-even ----


def test_crossing_is_where_lines_meet_zero():
    share = np.array([0.0, 0.5, 1.0])
    assert crossing(share, np.array([1.0, 0.5, -0.5])) == pytest.approx(0.75)
    assert crossing(share, np.array([-0.1, 1.0, 1.0])) == 0.0
    assert np.isnan(crossing(share, np.array([1.0, 0.2, 0.0])))


def test_break_even_has_an_interval_that_covers():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        rows = []
        for fraction in (0.0, 0.25, 0.5, 0.75, 1.0):
            for seed in range(3):
                value = 0.6 - fraction + rng.normal(0, 0.1)
                rows.append(
                    {
                        "method": "linear",
                        "strategy": "inclusion",
                        "trust": "sampled",
                        "change": f"{fraction}",
                        "sources": "a",
                        "damage": "moved" if fraction else "",
                        "fraction": fraction,
                        "seed": seed,
                        "delta_log_score_bits": value,
                    }
                )
        result = AblationResult(pd.DataFrame(rows), pd.DataFrame(), pd.DataFrame(), (), {})
        row = result.break_even().iloc[0]
        covered.append(row["lower"] <= 0.6 <= row["upper"])
    assert np.mean(covered) > 0.89 - 4 * (0.89 * 0.11 / 60) ** 0.5
    with pytest.raises(ValueError, match="no break-even of 'ece'"):
        result.break_even("ece")
    flat = replace(result, rows=result.rows.assign(delta_log_score_bits=result.rows["seed"] + 1.0))
    assert flat.break_even().empty  # damage that changes no fit says nothing of when it hurts


def test_all_numbers_are_side_by_side_a_few_at_a_time():
    names = list(MEASURES)
    way = {"method": "linear", "strategy": "inclusion", "trust": "sampled"}
    values = {name: float(i) for i, name in enumerate(names)} | {f"{name}_se": 0.1 for name in names}
    summary = pd.DataFrame([{**way, **values, "change": change} for change in ("none", "a alone")])
    tables = ablation_page._numbers(summary)
    heads = [re.findall("<th(?: [^>]*)?>(.*?)</th>", table) for table in tables]
    assert len(names) > ablation_page.SIDE_BY_SIDE
    assert all(head[:2] == ["method", "change"] and len(head) <= 2 + ablation_page.SIDE_BY_SIDE for head in heads)
    assert [name for head in heads for name in head[2:]] == [n.replace("_", " ") for n in names]
    assert all(table.count("<tr>") == 1 + len(summary) for table in tables)


def test_the_page_claims_no_more_than_was_run(found):
    result = found[0]
    moved = result.rows[(result.rows["change"] == "right alone")].assign(
        damage="moved", fraction=0.25, change="quarter"
    )
    moved["delta_log_score_bits"] *= 1.1
    rows = pd.concat([result.rows, moved], ignore_index=True)
    result = replace(result, rows=rows)
    text = " ".join(headline(result, result.summary(), ["delta_log_score_bits"]))
    assert "did not begin to hurt at any share that was run (up to 25% of the edges moved)" in text
    assert "however" not in text


@pytest.mark.parametrize(
    ("never", "words"),
    [
        (0.49, "stops helping at 100%"),
        (0.0, "begins to hurt at 100%"),
        (np.nan, "stops helping at 100%"),
    ],
)
def test_a_source_that_ends_at_zero_is_not_said_to_hurt(never, words):
    """Of random edges no more is lost than gained: the mean is below zero or above it by chance."""
    name, way = "delta_log_score_bits", {"method": "linear", "strategy": "inclusion", "trust": "sampled"}
    row = {"sources": "a", "damage": "moved", "break_even": 0.999, "lower": 0.91, "upper": np.nan, "largest": 1.0}
    result = SimpleNamespace(break_even=lambda _: pd.DataFrame([{**way, **row, "never": never}]))
    best = {"change": "a alone", "sources": "a", "damage": "", name: 0.1, f"{name}_se": 0.01, f"{name}_within": 0.02}
    text = " ".join(headline(result, pd.DataFrame([{**way, **best}]), [name]))
    assert "+0.1 ± 0.022 bits a pair against no source" in text
    assert words in text
    assert ("of plausible curves 49% never do up to 100%" in text) == (never > 0)
    assert ("one seed does not say how" in text) == (never != never)
    assert "nan" not in text


@pytest.mark.parametrize(
    ("change", "words", "passed"),
    [
        ({"chain_error": 0.01}, "calibrated on data", True),
        ({"chain_error": 0.06}, "chains too short: probabilities of edges have an error of 0.06", False),
        ({"chain_error": np.nan}, "one chain", None),
        ({"calibrated": False}, "not calibrated: linear", False),
        ({"method": "prior-only", "calibrated": False}, "no data were fitted", None),
    ],
)
def test_the_badge_is_earned(change, words, passed):
    row = {"method": "linear", "calibrated": True, "chain_error": 0.01} | change
    result = AblationResult(pd.DataFrame([row]), pd.DataFrame(), pd.DataFrame(), (), {})
    text, found = page_badge(result)
    assert words in text
    assert found is passed


# -- without refitting ----


def test_a_source_left_out_of_one_target_equals_a_refit():
    toy = simulate_linear(num_genes=9, num_tfs=3, num_cells=30, noise=2.0, edge_probability=0.5, seed=3)
    prior = SpikeSlab(edge_probability=0.2, slab_scale=0.4, spike_ratio=0.2)
    table = toy.network[["source", "target", "sign"]].assign(probability=0.5)
    network, guide = PriorNetwork.from_edges(table, name="known"), Gibbs(4, 60, 300)

    def posterior(networks, seed):
        return fit(LinearNetwork.from_data(toy.data, networks=networks, edge_prior=prior), guide=guide, seed=seed)

    whole = posterior({"known": network}, 0)
    scaled = scale_source(whole, "known")
    g = toy.data.genes.index("G0006")  # the source raises its edges from 0.11 to 0.17, 0.19 and 0.3
    refit = posterior({"known": network.held_out(["G0006"])}, 1).moments["W"].inclusion[:, g]
    assert scaled.reliable[g]
    assert np.abs(scaled.inclusion[:, g] - refit).max() < 0.04
    assert np.abs(whole.moments["W"].inclusion[:, g] - refit).max() > 0.07
    silent = [i for i, name in enumerate(toy.data.genes) if name not in network.targets]
    assert all(scaled.khat[i] == -np.inf for i in silent)
    same = scale_source(whole, "known", 1.0).inclusion
    assert np.abs(same - whole.moments["W"].inclusion).max() < 0.05  # the same average, from W alone
    sensitivity = prior_sensitivity(whole).set_index("site")["sensitivity"]
    assert "trust[known]" in sensitivity.index
    assert (sensitivity >= 0).all()


def test_only_what_can_be_scaled_is(toy, known):
    model = LinearNetwork.from_data(toy.data, networks={"known": known}, edge_prior=SpikeSlab(strategy="scale"))
    with pytest.raises(ValueError, match="refit the others"):
        scale_source(fit(model, guide=Gibbs(2, 2, 4)), "known")
    plain = fit(LinearNetwork.from_data(toy.data), guide=Gibbs(2, 2, 4))
    with pytest.raises(ValueError, match="no trust in a source"):
        prior_sensitivity(plain)
