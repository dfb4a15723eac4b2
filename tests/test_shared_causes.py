"""Causes that genes share and that are not among the regulators: seen where they are, and not where they are not."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pyrogrn.experiments.benchmarks.trial_subjects import UNSEEN, WIDE, linear, sergio
from pyrogrn.experiments.commands.infer_tuning import in_words
from pyrogrn.experiments.report import write_report
from pyrogrn.inference import SparseGibbs, fit
from pyrogrn.inference.misfit_checks import STANDS_OUT, UNMEASURED, WITH_SHARED, trial_check, unmeasured_check
from pyrogrn.inference.recalibration import TrialOptions, Tuning, tune
from pyrogrn.inference.recalibration.shared_causes import (
    LIMIT,
    SharedCauses,
    factors_of,
    largest_share,
    shared_causes,
    weights,
)
from pyrogrn.inference.recalibration.trial import HIDDEN, KINDS, benches_like, halfway
from pyrogrn.inference.recalibration.witnesses import witnesses_of
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import donors_of, simulate_linear

QUICK = SparseGibbs(num_chains=2, num_warmup=15, num_samples=20)
SHORT = TrialOptions(targets=20, worlds=2, warmup=10, samples=10, sweeps=2)
SEED = 2005  # of which regulators that are not measured have many targets


def found_in(data, seed=0):
    return shared_causes(data, witnesses_of(data, seed=seed), seed=seed)


def with_hidden(subject):
    """Genes that one of the regulators acts on which were not measured."""
    tfs = set(subject.logged.tfs)
    edges = zip(subject.truth["source"], subject.truth["target"], strict=True)
    return {target for source, target in edges if source not in tfs}


@pytest.mark.parametrize(("tfs", "cells", "correlation"), [(20, 100, 0.3), (20, 600, 0.6), (60, 200, 0.3)])
def test_none_where_all_regulators_were_measured(tfs, cells, correlation):
    """Not of few cells either, which leave much of what the regulators explain."""
    data = simulate_linear(
        num_genes=tfs + 100, num_tfs=tfs, num_cells=cells, tf_correlation=correlation, seed=cells
    ).data
    found = found_in(data)
    assert found.number == 0
    assert found.shares[0] < STANDS_OUT / 2
    assert not found.genes(data.genes).any()


def test_regulators_of_one_network_of_sergio():
    """What a regulator was a moment ago is no cause that is missing."""
    assert found_in(sergio("all", WIDE, 2000).logged).number == 0
    assert found_in(sergio("some", WIDE, 2000, hidden=0.3).logged).number > 0


def test_what_a_hub_leaves_is_no_cause_that_is_missing():
    """One large factor, as large as the hub's part in the regulators' effects lets expect."""
    whole = found_in(sergio("all", UNSEEN, 2027).logged)
    assert whole.shares[0] > STANDS_OUT
    assert whole.limit > whole.shares[0]
    assert whole.number == 0
    assert not whole.genes(tuple(whole.touched)).any()
    check = unmeasured_check({"settings": {"shared": whole.to_dict()}})
    assert (check.passed, check.threshold) == (True, pytest.approx(whole.limit, abs=1e-3))
    assert "no more than a hub's own targets do" in check.meaning
    some = found_in(sergio("some", UNSEEN, 2027, hidden=0.3).logged)
    assert some.shares[0] > some.limit
    assert some.number > 0


def test_largest_share_of_what_regulators_do():
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(5, 30)), rng.normal(size=(5, 20))
    square = np.square(np.linalg.svd(first.T @ second)[1])
    assert largest_share(first, second) == pytest.approx(square[0] / square.sum())
    hub = np.ones((5, 1)) * (np.arange(5) == 2)[:, None]
    assert largest_share(first * (1 + 50 * hub), second * (1 + 50 * hub)) > 0.99
    assert largest_share(0 * first, second) == 0
    X = rng.normal(size=(400, 5))
    noise = rng.normal(size=(400, 30)) * 2.0
    np.testing.assert_allclose(weights(X, X @ first + noise, noise), first / noise.std(0), atol=0.2)


def test_only_the_first_factor_is_held_against_regulators():
    made = lambda shares, limit: SharedCauses(shares, {"gene": 0.5}, limit=limit).number
    assert made((0.5, 0.3, 0.1), 0.4) == 2
    assert made((0.3, 0.25, 0.1), 0.4) == 0
    assert made((0.3, 0.25, 0.1), LIMIT) == 2


def test_which_genes_have_them():
    subject = linear("hidden", SEED, hidden=0.4)
    data, own = subject.logged, with_hidden(subject)
    found = found_in(data)
    assert found.number > 0
    plain = [gene for gene in data.genes if gene not in set(data.tfs)]
    said = found.genes(plain)
    has = np.array([gene in own for gene in plain])
    assert said[has].mean() > said[~has].mean() + 0.3
    assert not found.genes(data.tfs).any()  # regulators are not asked
    again = found_in(data)
    assert again.touched == found.touched
    assert again.shares == found.shares


def test_too_few_cells_or_genes():
    few = simulate_linear(num_genes=40, num_tfs=6, num_cells=50, seed=0).data
    assert found_in(few) is None
    few = simulate_linear(num_genes=24, num_tfs=6, num_cells=200, seed=0).data
    assert found_in(few) is None


def test_genes_held_by_interventions_do_not_count_there():
    data = linear("hidden", SEED, hidden=0.4).logged
    held = torch.tensor([[c, data.num_genes - 1] for c in range(100)])
    extreme = data.X.clone()
    extreme[:100, -1] = 50.0
    found = found_in(replace(data, matrix=extreme, perturbed=held, column=None))
    assert found.number == found_in(data).number


def test_factors_against_those_that_were_put_in():
    rng = np.random.default_rng(0)
    cause = rng.normal(size=(500, 2))
    noise = lambda: rng.normal(size=(500, 40))
    load = lambda: rng.normal(size=(2, 40)) * np.array([[1.0], [0.5]])
    first, second = (cause @ load() + noise() for _ in range(2))
    standard = lambda table: (table - table.mean(0)) / table.std(0)
    alone = standard(noise()).T @ standard(noise()) / 500
    shares, scores = factors_of(standard(first), standard(second), alone)
    assert [share > STANDS_OUT for share in shares] == [True, True, False]
    assert shares[0] == pytest.approx(0.8, abs=0.15)
    for table in scores:
        np.testing.assert_allclose(table.T @ table / 500, np.eye(2), atol=1e-8)
        explained = [np.square(table.T @ column / 500).sum() / column.var() for column in cause.T]
        assert min(explained) > 0.8
    none, scores = factors_of(standard(noise()), standard(noise()), alone)
    assert len(none) == 1
    assert scores[0].shape == (500, 0)


def test_more_worlds_with_hidden_causes():
    data = linear("hidden", SEED, hidden=0.4).logged
    donors = donors_of(data, 20)
    options = replace(SHORT, worlds=3, targets=5)
    worlds = [bench.world for bench in benches_like(data, donors, {}, options, seed=0, further=True)]
    assert sorted(np.unique(np.concatenate(worlds))) == [3 * KINDS + HIDDEN, 4 * KINDS + HIDDEN]
    measured = data.X.double().numpy()[:, : len(data.tfs)]
    standard = (measured - measured.mean(0)) / measured.std(0)
    np.testing.assert_allclose(halfway(data, np.zeros_like(standard)), standard / 2, atol=1e-4)


@pytest.fixture(scope="module")
def hidden():
    """A network without two fifths of its regulators, its fit and its trial."""
    subject = linear("hidden", SEED, hidden=0.4)
    posterior = fit(LinearNetwork.from_data(subject.logged), guide=QUICK)
    return subject.logged, posterior, tune(subject.logged, options=SHORT)


def test_edges_into_such_genes_have_a_map_of_their_own(hidden):
    data, posterior, found = hidden
    assert found.shared_map is not None
    assert found.settings["shared"]["factors"] == found.shared.number > 0
    assert WITH_SHARED in found.scores
    mapped = found.apply(posterior, data).moments["W"].inclusion
    usual = replace(found, shared_map=None).apply(posterior, data).moments["W"].inclusion
    at = found.shared.genes(posterior.coords["target"])
    np.testing.assert_array_equal(mapped[:, ~at], usual[:, ~at])
    assert at.any()
    assert (mapped[:, at] > 0.9).sum() < (usual[:, at] > 0.9).sum()
    # a record of it is applied as it was itself
    again = Tuning.from_dict(json.loads(json.dumps(found.to_dict())))
    np.testing.assert_array_equal(again.apply(posterior, data).moments["W"].inclusion, mapped)


def test_nothing_is_changed_where_there_are_none():
    data = simulate_linear(num_genes=60, num_tfs=8, num_cells=300, seed=1).data
    found = tune(data, options=SHORT)
    assert found.settings["shared"]["factors"] == 0
    assert found.shared_map is None
    assert "shared_map" not in found.to_dict()
    assert unmeasured_check(found.to_dict()).passed is True
    assert "as measured" not in in_words(found)
    none_hidden = tune(linear("hidden", SEED, hidden=0.4).logged, options=replace(SHORT, hidden=0.0))
    assert none_hidden.shared_map is None  # who wants no hidden causes has none


def test_check_lead_and_line_of_the_trial_say_it(hidden, tmp_path):
    data, posterior, found = hidden
    mapped = found.apply(posterior, data)
    table = mapped.diagnose(data).set_index("check")
    assert table.loc[UNMEASURED, "passed"] is False
    assert table.loc[UNMEASURED, "value"] > STANDS_OUT
    genes = f"{found.settings['shared']['genes']} of {found.settings['shared']['of']} genes together"
    assert genes in table.loc[UNMEASURED, "meaning"]
    assert genes in in_words(found)
    page = tmp_path / "report.html"
    write_report(mapped, page, data=data, diagnostics=table.reset_index(), alignment={}, command="pyrogrn infer")
    page = page.read_text()
    lead = page[page.index('<p class="lead">') :].partition("</p>")[0]
    assert genes in lead
    assert UNMEASURED in lead  # among the checks that failed
    assert "calibrated on made targets of these cells" in page


def test_records_that_did_not_ask():
    assert unmeasured_check({"settings": {}}) is None
    assert unmeasured_check({"settings": {"shared": None}}) is None


@pytest.mark.parametrize(
    ("own", "shared", "passed"), [(0.1, 0.1, True), (0.1, 0.3, False), (0.3, 0.1, False), (None, 0.3, False)]
)
def test_lists_fail_by_either_score(own, shared, passed):
    wrong = lambda value: {"wrong": value}
    row = trial_check({"scores": {"raw": wrong(0.5), "recalibrated": wrong(own), WITH_SHARED: wrong(shared)}})
    assert row.passed is passed
    assert f"{shared:.0%} where half of the causes are hidden" in row.meaning


def test_few_cells_ask_for_more_than_chance():
    found = found_in(linear("hidden", SEED, hidden=0.4).logged)
    assert found.number == 3
    assert found.least == pytest.approx((11.345 - 3) / 600, rel=1e-3)  # χ² with three degrees of freedom, one in 100
    assert found_in(sergio("some", WIDE, 2000, hidden=0.3).logged).least == 0.01  # of a thousand cells
