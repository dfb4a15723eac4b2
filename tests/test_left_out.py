"""Values of a fit predicted without themselves: exact for a regression, and what the checks make of wide fits."""

import numpy as np
import pytest
import torch
from pyrogrn.experiments.report.parts import checked_values
from pyrogrn.inference import Gibbs, fit
from pyrogrn.inference.answers import ANSWERS, CellPredictions
from pyrogrn.inference.answers import cells as single_values
from pyrogrn.inference.answers.cells import checked_cells, predict_cells
from pyrogrn.inference.answers.left_out import MOST_OWN, left_out
from pyrogrn.inference.diagnostics import diagnose
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.priors import SpikeSlab
from scipy import stats

CELLS, REGULATORS, SIGMA = 60, 40, 0.7


def regression(seed=0, draws=20_000):
    """Draws of the means of a regression with known noise and unit prior, and the exact answer without each value."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((CELLS, REGULATORS))
    y = X @ rng.standard_normal(REGULATORS) + SIGMA * rng.standard_normal(CELLS)

    def posterior(rows):
        covariance = np.linalg.inv(X[rows].T @ X[rows] / SIGMA**2 + np.eye(REGULATORS))
        return covariance @ X[rows].T @ y[rows] / SIGMA**2, covariance

    centre, covariance = posterior(np.arange(CELLS))
    weight = rng.multivariate_normal(centre, covariance, size=(2, draws // 2))
    mean = weight @ X.T
    labels = [str(i) for i in range(CELLS)]
    cells = CellPredictions(y, mean, np.full_like(mean, SIGMA), labels, np.arange(CELLS))
    exact = []
    for i in range(CELLS):
        centre, covariance = posterior(np.delete(np.arange(CELLS), i))
        exact.append(stats.norm(X[i] @ centre, np.sqrt(X[i] @ covariance @ X[i] + SIGMA**2)).cdf(y[i]))
    return cells, np.array(exact)


def test_a_regression_without_each_value_is_exact():
    cells, exact = regression()
    found = left_out(cells)
    index = [int(label) for label in found.labels]
    assert len(index) == CELLS
    assert np.array_equal(found.cell, index)
    assert np.array_equal(found.observed, cells.observed[index])
    # h is known to 1% from 20,000 draws, and 1 / (1 - h) of it to ten times that at h = 0.9
    np.testing.assert_allclose(found.place, exact[index], atol=0.03)
    assert np.abs(cells.place[index] - exact[index]).max() > 0.1


def test_values_that_nothing_else_predicts_are_left_out():
    rng = np.random.default_rng(0)
    mean = rng.standard_normal((2, 4000, 3)) * np.sqrt([0.1, MOST_OWN - 0.1, MOST_OWN + 0.1])
    cells = CellPredictions(np.zeros(3), mean, np.ones_like(mean), ["a", "b", "c"], np.arange(3))
    assert left_out(cells).labels == ["a", "b"]
    still = CellPredictions(np.zeros(3), mean, np.zeros_like(mean), ["a", "b", "c"], np.arange(3))
    assert left_out(still).labels == []


def test_sampled_noise_keeps_a_little_of_each_value():
    """Flat priors of weights and log noise: the exact answer without a value is Student's, and covers 90%."""
    rng = np.random.default_rng(1)
    place = []
    for _ in range(100):
        X = rng.standard_normal((CELLS, REGULATORS))
        y = X @ rng.standard_normal(REGULATORS) + SIGMA * rng.standard_normal(CELLS)
        covariance = np.linalg.inv(X.T @ X)
        centre = covariance @ X.T @ y
        noise = np.square(y - X @ centre).sum() / rng.chisquare(CELLS - REGULATORS, (2, 500))
        step = rng.standard_normal((2, 500, REGULATORS)) @ np.linalg.cholesky(covariance).T
        mean = (centre + np.sqrt(noise)[..., None] * step) @ X.T
        sd = np.broadcast_to(np.sqrt(noise)[..., None], mean.shape)
        place.append(left_out(CellPredictions(y, mean, sd, [""] * CELLS, np.arange(CELLS))).place)
    covered = np.mean(np.abs(np.concatenate(place) - 0.5) < 0.45)
    assert covered == pytest.approx(0.915, abs=0.01)


def predictions(share, draws, size=1000, seed=0):
    """Draws of means of which the value itself is ``share``; noise of one, which is right."""
    rng = np.random.default_rng(seed)
    observed = rng.standard_normal(size) / np.sqrt(1 - share)  # without itself N(0, h / (1 - h)), and the noise
    mean = share * observed + np.sqrt(share) * rng.standard_normal((2, draws // 2, size))
    return CellPredictions(observed, mean, np.ones_like(mean), [str(i) for i in range(size)], np.arange(size))


def test_values_with_a_draw_that_is_not_a_number_are_kept_as_they_are():
    cells = predictions(0.3, 50)
    whole = left_out(cells)
    cells.mean[1, 7, :2], cells.sd[0, 3, 2] = (np.nan, np.inf), np.nan
    found = left_out(cells)
    assert found.labels == whole.labels == cells.labels
    assert np.array_equal(found.mean[..., :3], cells.mean[..., :3], equal_nan=True)
    assert np.array_equal(found.sd, cells.sd, equal_nan=True)
    assert np.array_equal(found.mean[..., 3:], whole.mean[..., 3:])


def checked(monkeypatch, wide, cells):
    """The check of a fit that predicts so, and what the report draws of it."""
    monkeypatch.setattr(single_values, "predict_cells", lambda *args, **options: cells)
    return diagnose(*wide).set_index("check").loc["predictive intervals"], checked_values(*wide)


def test_draws_that_blow_up_are_not_covered(monkeypatch, wide):
    cells = predictions(0.3, 50)
    right, drawn = checked(monkeypatch, wide, cells)
    assert right["passed"]
    assert drawn is not None
    cells.mean[0, 0, ::5] = np.nan
    row, drawn = checked(monkeypatch, wide, cells)
    assert row["passed"] is False
    assert row["value"] == pytest.approx(0.8 * right["value"], abs=0.02)
    assert len(drawn[0]) == len(cells.observed)


def test_where_the_noise_of_few_draws_says_what_is_kept_nothing_is_said(monkeypatch, wide):
    cells = predictions(0.95, 50)
    kept = left_out(cells)
    assert 0.3 < len(kept.observed) / 1000 < single_values.MIN_KEPT
    assert np.mean(np.abs(kept.place - 0.5) < 0.45) > 0.95  # too well predicted, as the noise is right
    row, drawn = checked(monkeypatch, wide, cells)
    assert row["passed"] is None
    assert np.isnan(row["value"])
    assert drawn is None
    assert f"the fit follows {1000 - len(kept.observed)} of 1,000 values" in row["meaning"]
    assert f"the other {len(kept.observed)} would" in row["meaning"]


def test_how_many_are_left_out_is_said(monkeypatch, wide):
    cells = predictions(0.75, 50)
    number = 1000 - len(left_out(cells).observed)
    row, drawn = checked(monkeypatch, wide, cells)
    assert row["passed"]
    assert 0 < number < 250
    assert row["meaning"].endswith(f"Without {number} of 1,000 values, which the fit follows.")
    assert len(drawn[0]) == 1000 - number


def test_which_models_leave_values_out():
    """Not those that follow each value, nor those whose sd has the leverage in it."""
    kept = {model.__name__ for model, answers in ANSWERS.items() if not answers.leaves_values_out}
    assert kept == {"FactorBox", "TrajectoryNetwork", "PMFGRN"}


@pytest.fixture(scope="module")
def wide():
    """Nearly as many regulators as cells, all of which act: the model is right."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((CELLS, REGULATORS))
    targets = X @ rng.normal(0, 0.3, (REGULATORS, 30)) + 2.0 * rng.standard_normal((CELLS, 30))
    genes = tuple(f"G{i:02d}" for i in range(REGULATORS + 30))
    data = ExpressionData(torch.tensor(np.hstack([X, targets])), genes, genes[:REGULATORS])
    model = LinearNetwork.from_data(data, edge_prior=SpikeSlab(), targets=genes[REGULATORS:])
    return fit(model, guide=Gibbs(num_chains=2, num_warmup=40, num_samples=150), seed=0), data


def test_noise_that_is_right_is_not_objected_to_in_wide_fits(wide):
    posterior, data = wide
    place = predict_cells(posterior, data).place
    assert np.mean(np.abs(place - 0.5) < 0.45) > 0.95  # the values have been seen
    table = diagnose(posterior, data).set_index("check")
    assert bool(table.loc["predictive intervals", "passed"])
    assert table.loc["predictive intervals", "value"] == pytest.approx(0.9, abs=0.04)


def test_report_draws_what_the_check_compares(wide):
    posterior, data = wide
    observed, drawn = checked_values(posterior, data)
    expected = checked_cells(posterior, data).cells
    assert np.array_equal(observed, expected.observed)
    assert drawn.shape == (300, len(observed))
    np.testing.assert_allclose(drawn.mean(0), expected.mean.mean((0, 1)), atol=5 * expected.sd.max() / 300**0.5)
    assert checked_values(posterior, None) is None


def test_where_every_value_is_followed_nothing_is_said(wide):
    posterior, data = wide
    tiny = {**posterior.draws, "noise_variance": posterior.draws["noise_variance"] * np.float32(1e-6)}
    table = diagnose(posterior.__class__(**{**vars(posterior), "draws": tiny}), data).set_index("check")
    assert table.loc["predictive intervals", "passed"] is None
    assert "follows 1,000 of 1,000 values" in table.loc["predictive intervals", "meaning"]
