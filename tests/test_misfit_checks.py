"""Checks of what a linear network gets wrong: each on cells where it must fail, and on cells where it must not."""

import re

import numpy as np
import pytest
import torch
from pyrogrn.inference import SparseGibbs, fit
from pyrogrn.inference.misfit_checks import COPIES, NON_LINEAR, RESIDUALS_SHARED, misfit_checks, trial_check
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.simulators import simulate_linear

QUICK = SparseGibbs(num_chains=2, num_warmup=15, num_samples=20)
ALL = (RESIDUALS_SHARED, NON_LINEAR, COPIES)


def linear(seed=1, num_cells=300):
    return simulate_linear(num_genes=60, num_tfs=10, num_cells=num_cells, tf_correlation=0.3, seed=seed).data


def changed(data, change):
    generator = torch.Generator().manual_seed(0)
    return ExpressionData(change(data.X, generator), data.genes, data.tfs)


def checks(data, posterior=None):
    posterior = posterior or fit(LinearNetwork.from_data(data), guide=QUICK)
    return {row.check: row for row in misfit_checks(posterior, data)}


@pytest.mark.parametrize("num_cells", [150, 300, 1200])
@pytest.mark.parametrize("seed", [1, 2])
def test_cells_of_the_model_pass(seed, num_cells):
    rows = checks(linear(seed, num_cells))
    assert set(rows) == set(ALL)
    assert all(row.passed is True for row in rows.values()), rows


def hidden_cause(X, generator):
    """All targets follow something that is not measured."""
    cause = torch.randn(len(X), 1, generator=generator)
    return torch.cat([X[:, :10], X[:, 10:] + 0.5 * cause * X[:, 10:].std(0)], dim=1)


def bent(X, generator):
    """Half of the targets are exponentials of what they were."""
    raised = ((X[:, 10:35] - X[:, 10:35].mean(0)) / X[:, 10:35].std(0)).exp()
    return torch.cat([X[:, :10], raised, X[:, 35:]], dim=1)


def copies(X, generator):
    """Every cell twice, measured with a little noise."""
    twice = X.repeat(2, 1)
    return twice + 0.1 * X.std(0) * torch.randn(twice.shape, generator=generator)


def smoothed(X, generator):
    """Every cell is the average of its five nearest."""
    return X[torch.cdist(X, X).argsort(1)[:, :5]].mean(1)


@pytest.mark.parametrize(
    ("change", "fails"),
    [(hidden_cause, RESIDUALS_SHARED), (bent, NON_LINEAR), (copies, COPIES), (smoothed, COPIES)],
)
def test_each_fails_where_it_must_and_the_others_do_not(change, fails):
    rows = checks(changed(linear(), change))
    assert rows[fails].passed is False
    assert all(row.passed is not False for name, row in rows.items() if name != fails), rows


def sparse_counts(rate=0.3):
    """Independent Poisson counts of cells whose depth varies (log sd 1), most of them zero."""
    generator = torch.Generator().manual_seed(0)
    depth = torch.randn(400, 1, generator=generator).exp()
    return torch.poisson(rate * depth.expand(400, 60), generator=generator)


def of_values(X):
    made = linear()
    return checks(ExpressionData(X, made.genes, made.tfs))[COPIES]


@pytest.mark.parametrize("rate", [0.05, 0.3])
@pytest.mark.parametrize("scaled", [False, True])
def test_cells_with_the_same_zeros_are_not_called_copies(rate, scaled):
    """They are alike by chance: that is no finding, also where zeros became another number by gene."""
    X = sparse_counts(rate)
    row = of_values((X - X.mean(0)) / X.std(0) if scaled else X)
    assert row.value > row.threshold
    assert row.passed is None
    assert re.match(r"(6|9)\d% of the values are the most frequent", row.meaning)


def plainly_twice(X, generator):
    return X[:200].repeat(2, 1)


def twice_with_noise(X, generator):
    """Noise on what is not zero."""
    return copies(X[:200], generator) * (plainly_twice(X, generator) > 0)


@pytest.mark.parametrize("change", [plainly_twice, twice_with_noise])
@pytest.mark.parametrize("scaled", [False, True])
def test_copies_are_found_among_zeros(change, scaled):
    """Every cell twice has the residuals of another in full, of which independent cells have none."""
    X = change(sparse_counts(), torch.Generator().manual_seed(1))
    row = of_values((X - X.mean(0)) / X.std(0) if scaled else X)
    assert row.passed is False
    assert "copies" in row.meaning


def test_of_cells_that_are_all_perturbed_nothing_is_told():
    """A panel in which every row is a knock-down has no rows to look at (and no warnings, which fail tests)."""
    made = linear(num_cells=60)
    pairs = torch.stack([torch.arange(60), torch.arange(60) % 60], 1)
    data = ExpressionData(made.X, made.genes, made.tfs, perturbed=pairs)
    rows = checks(data)
    assert [row.passed for row in rows.values()] == [None, None, None]
    assert all("Too few cells" in row.meaning for row in rows.values())


def test_two_misfits_fail_both():
    rows = checks(changed(changed(linear(), bent), copies))
    assert rows[NON_LINEAR].passed is False
    assert rows[COPIES].passed is False


def test_few_cells_or_genes_do_not_tell():
    small = simulate_linear(num_genes=9, num_tfs=3, num_cells=100, seed=0).data
    assert {row.passed for row in checks(small).values()} == {None}
    assert {row.passed for row in checks(linear(num_cells=40)).values()} == {None}


def test_cells_with_interventions_are_left_out():
    data = simulate_linear(num_genes=40, num_tfs=8, num_cells=300, num_perturbed=2, seed=0).data
    assert data.perturbed is not None
    assert all(row.passed for row in checks(data).values())


def test_rows_are_in_the_table_of_checks():
    data = changed(linear(), bent)
    posterior = fit(LinearNetwork.from_data(data), guide=QUICK)
    table = posterior.diagnose(data).set_index("check")
    assert table.loc[NON_LINEAR, "passed"] is False
    assert "not answer along a line" in table.loc[NON_LINEAR, "meaning"]
    assert NON_LINEAR not in set(posterior.diagnose()["check"])


def record(raw, corrected):
    return {"scores": {"raw": {"wrong": raw}, "recalibrated": {"wrong": corrected}}}


def test_row_of_the_trial():
    assert trial_check(record(0.5, 0.1)).passed is True
    assert trial_check(record(0.5, 0.3)).passed is False
    assert trial_check(record(0.5, None)).passed is None
    assert trial_check({"scores": {}}).passed is False
    assert "50%" in trial_check(record(0.5, 0.1)).meaning
    assert np.isnan(trial_check({"scores": {}}).value)
