"""Diagnostics pass good fits and object to bad ones: the detectors are tested on faults put in by hand."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pyrogrn.inference import Adam, Gibbs, History, MapEstimate, MeanField, Posterior, diagnostics, fit, run_agreement
from pyrogrn.inference import convergence as C
from pyrogrn.inference.diagnostics import COLUMNS, diagnose, inclusion_by_chain, some_edges, to_records, verdict
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, Normal, PriorNetwork, SpikeSlab
from scipy import stats

ALL = [
    *("fit ended in order", "draws are finite", "R-hat of the log-likelihood", "R-hat of the hyperparameters"),
    *("R-hat of the edges", "effective draws", "top edges agree", "inclusion agrees"),
    *("number of edges agrees", "predictive intervals"),
    *(
        "residual variance",
        "shared residuals",
        "non-linearity",
        "independent cells",
        "prior knowledge: motif",
        "edges between regulators",
        "regulators without edges",
    ),
]


@pytest.fixture(scope="module")
def simulation():
    return simulate_linear(num_genes=25, num_tfs=5, num_cells=500, edge_probability=0.4, num_perturbed=1, seed=2)


@pytest.fixture(scope="module")
def network(simulation):
    return PriorNetwork.from_edges(simulation.network[["source", "target"]], name="motif")


@pytest.fixture(scope="module")
def good(simulation, network):
    """A sampler's posterior on data from the model; few hyperparameters, so that short chains know them."""
    prior = SpikeSlab(hub_scale=0.0, spike_ratio=0.1)
    model = LinearNetwork.from_data(simulation.data, edge_prior=prior, networks={"motif": network})
    return fit(model, guide=Gibbs(num_chains=4, num_warmup=200, num_samples=250), seed=0)


@pytest.fixture(scope="module")
def variational(simulation, network):
    model = LinearNetwork.from_data(simulation.data, edge_prior=Normal(), networks={"motif": network})
    return fit(model, guide=MeanField(), num_steps=1500, num_draws=200, restarts=3, seed=0)


def row(posterior: Posterior, check: str, data: ExpressionData | None = None) -> pd.Series:
    table = diagnose(posterior, data)
    return table[table["check"] == check].iloc[0]


def with_draws(posterior: Posterior, **changed: np.ndarray) -> Posterior:
    return replace(posterior, draws={**posterior.draws, **changed})


def with_history(posterior: Posterior, **changed) -> Posterior:
    return replace(posterior, history=replace(posterior.history, **changed))


# -- good fits ----
def test_a_good_fit_passes(good, simulation):
    table = diagnose(good, simulation.data)
    assert tuple(table.columns) == COLUMNS
    assert table["check"].tolist() == ALL
    judged = table[table["check"] != "edges between regulators"]  # that one informs
    assert judged["passed"].tolist() == [True] * (len(ALL) - 1), table.to_string()
    assert verdict(table) == f"all {len(ALL) - 1} checks that apply passed"
    assert table["meaning"].str.endswith((".", "?")).all()


def test_a_good_guide_passes(variational, simulation):
    table = diagnose(variational, simulation.data)
    failed = table[[p is False for p in table["passed"]]]
    assert failed.empty, failed.to_string()
    khat = table[table["check"] == "importance weights (k-hat)"].iloc[0]
    assert khat["passed"] is None
    assert np.isfinite(khat["value"])
    assert "ELBO settled" in table["check"].tolist()
    assert "R-hat of the log-likelihood" not in table["check"].tolist()
    assert table.set_index("check").loc["R-hat of the edges", "threshold"] == 1.1


def test_without_data_the_predictive_checks_do_not_apply(good):
    for check in ("predictive intervals", "residual variance"):
        found = row(good, check)
        assert found["passed"] is None
        assert "pass the expression data" in found["meaning"]


def test_records_are_json(good):
    stuck = with_draws(good, trust=np.broadcast_to(np.arange(4.0)[:, None, None], (4, 250, 1)).copy())
    records = to_records(diagnose(stuck))
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    by_check = {r["check"]: r for r in records}
    assert by_check["R-hat of the hyperparameters"]["value"] is None  # infinite
    assert by_check["R-hat of the hyperparameters"]["passed"] is False
    assert by_check["predictive intervals"]["value"] is None  # not a number
    assert by_check["predictive intervals"]["passed"] is None


def test_the_verdict_names_what_failed(good):
    table = diagnose(with_history(good, reason="diverged at sweep 3: log-likelihood is not finite"))
    assert verdict(table) == "1 of 11 checks failed: fit ended in order"


# -- bad fits ----
def test_a_diverged_fit_is_objected_to(good):
    found = row(with_history(good, reason="diverged at step 7: ELBO is nan"), "fit ended in order")
    assert (found["value"], found["passed"]) == ("diverged at step 7: ELBO is nan", False)
    assert "do not use" in found["meaning"]


def test_a_fit_without_draws_has_one_row(good):
    empty = replace(with_history(good, reason="diverged at sweep 1: bad"), draws={}, moments={}, attributes={"thin": 1})
    table = diagnose(empty)
    assert table["check"].tolist() == ["fit ended in order"]
    assert verdict(table) == "1 of 1 checks failed: fit ended in order"


def test_draws_that_are_not_finite_are_objected_to(good, simulation):
    W = good.draws["W"].copy()
    W[2, 5:] = np.nan
    table = diagnose(with_draws(good, W=W)).set_index("check")
    assert table.loc["draws are finite", "passed"] is False
    assert table.loc["R-hat of the edges", "passed"] is False


def test_chains_around_different_weights_are_objected_to(good):
    W = good.draws["W"].copy()
    W[0] += 0.5 * good.model.edge_prior.allowed.numpy()
    found = row(with_draws(good, W=W), "R-hat of the edges")
    assert found["passed"] is False
    assert "4 chains disagree" in found["meaning"]


def test_chains_with_different_hyperparameters_are_named(good):
    trust = good.draws["trust"].copy()
    trust[1] += 10
    found = row(with_draws(good, trust=trust), "R-hat of the hyperparameters")
    assert found["passed"] is False
    assert "trust" in found["meaning"]


def test_one_odd_gene_is_not_an_objection_but_many_are(good):
    noise = good.draws["noise_variance"].copy()
    noise[0, :, :3] *= 5
    assert row(with_draws(good, noise_variance=noise), "R-hat of the hyperparameters")["passed"] is False
    # of a hundred genes the worst may stand out by chance
    wide = 1 + 0.1 * np.random.default_rng(0).standard_normal((4, 250, 200))
    assert np.quantile(C.rhats(wide), 0.99) < 1.05


def test_a_chain_at_another_likelihood_is_objected_to(good):
    elbo = good.history.elbo.copy()
    elbo[3] -= 300
    assert row(with_history(good, elbo=elbo), "R-hat of the log-likelihood")["passed"] is False
    # warm-up does not count
    elbo = good.history.elbo.copy()
    elbo[:, :150] -= 1e5
    assert row(with_history(good, elbo=elbo), "R-hat of the log-likelihood")["passed"] is True


def test_slow_chains_are_objected_to(good):
    walk = np.random.default_rng(0).standard_normal((4, 250)).cumsum(1)
    found = row(with_draws(good, slab_scale=np.exp(0.01 * walk)), "effective draws")
    assert found["passed"] is False
    assert "slab_scale" in found["meaning"]


def test_chains_that_find_different_edges_are_objected_to(good):
    inclusion = good.attributes["chain_inclusion"].copy()
    assert (inclusion.mean(0) > 0.5).sum() > 20
    inclusion[0] = inclusion[0, ::-1, ::-1]
    W = good.draws["W"].copy()
    W[0] = W[0, :, ::-1, ::-1]
    bad = with_draws(replace(good, attributes={**good.attributes, "chain_inclusion": inclusion}), W=W)
    table = diagnose(bad).set_index("check")
    assert table.loc["top edges agree", "passed"] is False
    assert table.loc["inclusion agrees", "passed"] is False


def test_two_short_chains_from_the_prior_disagree(simulation):
    """No fault put in: twelve sweeps from random starts."""
    model = LinearNetwork.from_data(simulation.data)
    table = diagnose(fit(model, guide=Gibbs(num_chains=4, num_warmup=0, num_samples=12))).set_index("check")
    assert table.loc["R-hat of the hyperparameters", "passed"] is False
    assert table.loc["effective draws", "passed"] is False


def test_a_guide_that_is_still_moving_is_objected_to(simulation):
    model = LinearNetwork.from_data(simulation.data, edge_prior=Normal())
    for optimizer in (Adam(), Adam(lr=0.003), Adam(lr=0.003, final=1.0)):
        posterior = fit(model, guide=MeanField(), optimizer=optimizer, num_steps=80, num_draws=30, restarts=2)
        found = row(posterior, "ELBO settled")
        assert found["passed"] is False
        assert "num_steps" in found["meaning"]


def test_noise_that_does_not_fit_the_cells_is_objected_to(good, simulation):
    for factor, kind in ((0.2, "too narrow"), (5.0, "too wide")):
        bad = with_draws(good, noise_variance=good.draws["noise_variance"] * np.float32(factor))
        table = diagnose(bad, simulation.data).set_index("check")
        assert table.loc["predictive intervals", "passed"] is False
        assert kind in table.loc["predictive intervals", "meaning"]
        assert table.loc["residual variance", "passed"] is False
        assert table.loc["residual variance", "value"] == 1.0


def test_other_cells_are_noticed(good, simulation):
    X = simulation.data.X.clone()
    X[:, 10:14] = X[:, 10:14].mean(0) + 2 * (X[:, 10:14] - X[:, 10:14].mean(0))
    found = row(good, "residual variance", ExpressionData(X, simulation.data.genes, simulation.data.tfs))
    assert found["passed"] is False
    assert "G0010" in found["meaning"]
    assert found["value"] == pytest.approx(4 / 25, abs=0.05)


def test_too_few_cells_say_nothing(good, simulation):
    assert row(good, "residual variance", simulation.data.subset(np.arange(5)))["passed"] is None


def test_a_source_that_the_data_do_not_support_is_named(good):
    bad = with_draws(good, trust=np.abs(0.1 * np.random.default_rng(0).standard_normal((4, 250, 1))))
    found = row(bad, "prior knowledge: motif")
    assert (found["passed"], found["value"] > 0.9) == (False, True)
    assert "do not support source 'motif'" in found["meaning"]


def test_a_mask_and_no_prior_do_not_apply(simulation, network):
    guide = {"guide": MapEstimate(), "num_steps": 30, "num_draws": 2, "restarts": 2}
    masked = LinearNetwork.from_data(simulation.data, edge_prior=HardMask(), networks={"motif": network})
    assert "hard mask" in row(fit(masked, **guide), "prior knowledge")["meaning"]
    plain = fit(LinearNetwork.from_data(simulation.data, edge_prior=Normal()), **guide)
    found = row(plain, "prior knowledge")
    assert (found["passed"], found["meaning"]) == (None, "No prior network was given.")


def test_regulators_without_edges_are_counted(good):
    moments = good.moments["W"]
    some, none = moments.inclusion.copy(), np.full_like(moments.inclusion, 0.1)
    some[1:3] = 0.2
    found = row(replace(good, moments={"W": replace(moments, inclusion=some)}), "regulators without edges")
    assert (found["value"], found["passed"]) == (0.4, True)
    assert "G0001, G0002" in found["meaning"]
    found = row(replace(good, moments={"W": replace(moments, inclusion=none)}), "regulators without edges")
    assert (found["value"], found["passed"]) == (1.0, False)


# -- what does not apply ----
def test_one_chain_cannot_disagree(simulation):
    model = LinearNetwork.from_data(simulation.data)
    table = diagnose(fit(model, guide=Gibbs(num_chains=1, num_warmup=20, num_samples=30))).set_index("check")
    for check in ("R-hat of the log-likelihood", "R-hat of the edges", "top edges agree", "inclusion agrees"):
        assert table.loc[check, "passed"] is None
        assert "at least two chains" in table.loc[check, "meaning"]


def test_a_point_estimate_has_no_r_hat(simulation):
    model = LinearNetwork.from_data(simulation.data, edge_prior=Normal(scale=0.3))
    posterior = fit(model, guide=MapEstimate(), num_steps=800, num_draws=10, restarts=2)
    table = diagnose(posterior, simulation.data).set_index("check")
    assert table.loc["R-hat of the edges", "passed"] is None
    assert "point estimate" in table.loc["R-hat of the edges", "meaning"]
    for check in ("inclusion agrees", "edges between regulators", "regulators without edges"):
        assert np.isnan(table.loc[check, "value"])
        assert table.loc[check, "passed"] is None
    others = table["meaning"].drop(["inclusion agrees", "regulators without edges", "top edges agree"])
    assert not others.str.contains("probab").any()
    assert table.loc["importance weights (k-hat)", "passed"] is None
    assert table.loc["ELBO settled", "passed"] is True  # no noise, and yet no objection
    assert table.loc["top edges agree", "passed"] is True


def test_background_edges_cannot_fail_the_top(good):
    """Three probable edges: the order of the rest is noise, and no objection."""
    inclusion = 0.05 * np.random.default_rng(0).random((4, 5, 25)).astype(np.float32)
    inclusion[:, 0, 5:8] = 1.0
    found = diagnose(replace(good, attributes={**good.attributes, "chain_inclusion": inclusion})).set_index("check")
    assert found.loc["top edges agree", "passed"] is None
    assert "Only 3 edges are probable" in found.loc["top edges agree", "meaning"]
    assert found.loc["inclusion agrees", "passed"] is True


def test_inclusion_by_chain_without_the_collector(good, variational):
    bare = replace(good, attributes={})
    assert inclusion_by_chain(bare) == pytest.approx(good.attributes["chain_inclusion"], abs=0.15)
    bare = replace(variational, attributes={})
    assert inclusion_by_chain(bare) == pytest.approx(variational.attributes["chain_inclusion"], abs=1e-6)


def test_edges_to_look_at(good, monkeypatch):
    source, target = some_edges(good, 0)
    assert len(source) == 5 * 25 - 5
    monkeypatch.setattr(run_agreement, "NUM_EDGES", 20)
    source, target = some_edges(good, 0)
    assert len(set(zip(source.tolist(), target.tolist(), strict=True))) == 20
    ranked = np.sort(good.moments["W"].inclusion.ravel())[::-1]
    assert np.sort(good.moments["W"].inclusion[source, target][:10])[::-1] == pytest.approx(ranked[:10])


# a number, or two with "to" between them, then the name of the constant
LIMIT = re.compile(r"([\d.,]*\d)(?:\s+to\s+([\d.]*\d))?\s+\(``([A-Z_]+)``\)")


def test_the_documented_limits_are_those_of_the_code():
    """Each limit is followed by its name in the text of `diagnose`, and both say the same."""
    named = {}
    for low, high, name in LIMIT.findall(diagnose.__doc__):
        value = float(low.replace(",", ""))
        named[name] = (value, float(high)) if high else value
    assert named == {name: getattr(diagnostics, name) for name in named}
    numbers = {
        name
        for name, value in vars(diagnostics).items()
        if name.isupper() and isinstance(value, int | float | tuple) and name != "COLUMNS"
    }
    assert set(named) == numbers, "name every limit in the docstring"


# -- the numbers ----
def test_rhats():
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((4, 200, 3, 2))
    assert C.rhats(draws).shape == (6,)
    assert C.rhats(draws).max() < 1.03
    draws[:, :, 0, 0] = 1.0  # never varies: left out
    draws[:, :, 1, 1] = np.arange(4)[:, None]  # stuck apart
    draws[0, 7, 2, 0] = np.nan
    found = C.rhats(draws)
    assert np.isinf(found).sum() == 1
    assert np.isnan(found).sum() == 1
    assert len(found) == 5
    assert C.rhats(np.zeros((2, 10))).size == 0


def test_least_ess():
    rng = np.random.default_rng(0)
    independent = rng.standard_normal((4, 500, 2))
    assert 1500 < C.least_ess(independent) < 2500
    walk = independent.copy()
    walk[..., 1] = walk[..., 1].cumsum(1)
    assert C.least_ess(walk) < 30
    assert np.isnan(C.least_ess(np.ones((2, 50))))


def test_elbo_drift():
    rng = np.random.default_rng(0)
    flat, even = -1000 + 10 * rng.standard_normal((200, 500)), np.ones(500)
    each = np.array([C.elbo_drift(one[None], even, 1) for one in flat])
    assert (each > 0).mean() < 0.1  # two standard errors
    assert each.max() < 10  # nats, of a noise of 10
    rising = flat[:4] + 0.5 * np.arange(500)  # 50 nats in the last fifth
    assert C.elbo_drift(rising, even, 10) == pytest.approx(5, rel=0.3)
    assert C.elbo_drift(-rising, even, 10) == pytest.approx(5, rel=0.3)  # falling is no better
    one = flat[:4].copy()
    one[2] += 0.5 * np.arange(500)
    assert C.elbo_drift(one, even, 10) > 3  # the worst restart counts
    one[2] = flat[2]
    one[1, ::50] -= 1e6  # and outliers do not
    assert C.elbo_drift(one, even, 10) < 1
    assert np.isnan(C.elbo_drift(flat[:, :29], even[:29], 10))


def test_a_decaying_rate_does_not_hide_that_the_fit_was_not_done():
    step = np.arange(1000)
    rate = 0.5 * (1 + np.cos(np.pi * step / 1000))
    rising = np.cumsum(rate)[None]  # progress as long as there is learning
    assert np.ptp(rising[0, -200:]) < 10  # what the last fifth of the steps would show, of 500
    assert C.elbo_drift(rising, rate, 1) == pytest.approx(100, rel=0.2)


def test_median_khat():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((3, 1000))
    wide = 1.5 * z  # q wider than p: weights are bounded
    assert C.median_khat(-0.5 * wide**2 + 0.5 * z**2) < 0.5
    heavy = stats.t(2).rvs((3, 4000), random_state=0)  # |t| with two degrees of freedom has k = 1/2
    assert C.median_khat(np.log(np.abs(heavy))) == pytest.approx(0.5, abs=0.15)
    narrow = 0.3 * z  # q far too narrow
    assert C.median_khat(-0.5 * narrow**2 + 0.5 * z**2) > 0.7
    assert np.isnan(C.median_khat(np.full((2, 100), np.nan)))
    assert np.isnan(C.median_khat(z[:, :10]))
    broken = np.where(np.arange(3)[:, None] == 0, np.nan, 0.1 * z)
    assert np.isfinite(C.median_khat(broken))


def test_agreement_by_hand():
    inclusion = np.array([[0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.2, 0.7]])
    found = C.agreement(inclusion, np.zeros((2, 4)), at_least=3)
    assert found.above == 2
    assert found.k == 3
    assert found.jaccard == pytest.approx(2 / 4)
    assert found.largest == pytest.approx(0.6)
    assert found.correlation == pytest.approx(np.corrcoef(inclusion)[0, 1])
    assert C.agreement(inclusion, np.zeros((2, 4)), at_least=1).jaccard == 1
    assert C.agreement(inclusion, np.zeros((2, 4)), at_least=20).k == 4
    tied = np.array([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    weight = np.array([[3.0, 2.0, 1.0, 0.0], [1.0, 2.0, 3.0, 0.0]])
    assert C.agreement(tied, weight, at_least=1, at_most=2).jaccard == pytest.approx(1 / 3)
    flat = np.array([[0.5, 0.5], [0.1, 0.9]])
    assert np.isnan(C.agreement(flat, np.zeros((2, 2))).correlation)


def test_a_history_can_be_short(variational):
    short = replace(variational, history=History("budget", np.zeros((3, 4)), np.arange(4), np.zeros(4), 0.1))
    assert row(short, "ELBO settled")["passed"] is None
