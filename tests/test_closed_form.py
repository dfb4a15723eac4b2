"""Closed-form PPCA after a regression, as an engine, and the poster's models by their options."""

import numpy as np
import pytest
import torch
from command_line import call
from pyrogrn.experiments.commands.options import make_loading_prior
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.inference import ClosedForm, Posterior, fit
from pyrogrn.inference.diagnostics import diagnose
from pyrogrn.models import PPCA, LinearNetwork
from pyrogrn.models.simulators import simulate_linear, simulate_ppca
from pyrogrn.priors import HorseshoeLoading, NormalLoading
from scipy import stats


@pytest.fixture(scope="module")
def clusters():
    return simulate_ppca(num_genes=8, num_cells=60, num_factors=2, shift=2.0, seed=3)


def test_two_steps_are_least_squares_and_then_the_closed_form(clusters):
    data = clusters.data
    model = PPCA(data, num_factors=2, factor_effects=False).double()
    posterior = fit(model, guide=ClosedForm())
    Y, z = data.X.double().numpy(), data.covariates.double().numpy()
    centred = z - z.mean(0)
    design = np.column_stack([np.ones(len(z)), centred])
    coefficients, *_ = np.linalg.lstsq(design, Y, rcond=None)
    np.testing.assert_allclose(posterior.draws["beta"][0, 0], coefficients[1:], atol=1e-4)
    left = PPCA(data.__class__(torch.tensor(Y - design @ coefficients), data.genes), num_factors=2).double()
    expected = left.maximum_likelihood()
    W = posterior.draws["W"][0, 0]
    np.testing.assert_allclose(W.T @ W, expected.W.T @ expected.W, atol=1e-4)
    np.testing.assert_allclose(posterior.draws["noise_variance"][0, 0], expected.noise_variance, rtol=1e-4)
    error = model.maximum_likelihood(regress=True).beta_se.numpy()[0]
    slopes = [stats.linregress(z[:, 0], Y[:, g]) for g in range(Y.shape[1])]
    np.testing.assert_allclose(error, [slope.stderr for slope in slopes], rtol=1e-4)
    score = stats.multivariate_normal(None, W.T @ W + expected.noise_variance * np.eye(8)).logpdf(
        Y - design @ coefficients
    )
    assert posterior.history.elbo[0, 0] == pytest.approx(score.sum(), rel=1e-5)


def test_no_other_point_has_a_larger_likelihood(clusters):
    model = PPCA(clusters.data, num_factors=2, factor_effects=False).double()
    draws = fit(model, guide=ClosedForm()).draws
    W, beta, noise = (torch.tensor(draws[name][0, 0]).double() for name in ("W", "beta", "noise_variance"))
    density = lambda *moved: float(model.marginal_log_likelihood(moved[0], moved[1], None, moved[2]))
    # of the density with the intercept integrated out the noise is a little larger: W and beta are the same
    best = density(W, beta, noise)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        step = 0.05 * torch.randn(beta.shape, generator=generator, dtype=torch.float64)
        assert density(W, beta + step, noise) < best


def test_a_point_has_weights_and_no_certainty(clusters):
    posterior = fit(
        PPCA(clusters.data, num_factors=2, factor_effects=False), guide=ClosedForm(), num_draws=9, restarts=3
    )
    assert posterior.draws["W"].shape[:2] == (1, 1)
    assert not posterior.calibrated
    table = posterior.programs()
    assert table["loading"].notna().all()
    assert table[["sd", "lower", "upper", "lfsr"]].isna().all(axis=None)
    effects = posterior.covariate_effects()
    assert set(effects["kind"]) == {"gene"}
    assert diagnose(posterior).set_index("check").loc["fit ended in order", "passed"]
    mean, _ = posterior.scores(clusters.data)
    assert np.isfinite(mean.to_numpy()).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass `factor_effects=False`"),
        ({"factor_effects": False, "integrate": False}, "leave out `integrate=False`"),
        ({"factor_effects": False, "loading_prior": NormalLoading(scale=None)}, "no scale to learn"),
        ({"factor_effects": False, "loading_prior": HorseshoeLoading()}, "no scale to learn"),
    ],
)
def test_what_has_no_closed_form(options, message, clusters):
    with pytest.raises(ValueError, match=message):
        fit(PPCA(clusters.data, num_factors=2, **options), guide=ClosedForm())


def test_networks_have_no_closed_form():
    data = simulate_linear(num_genes=6, num_tfs=2, num_cells=30, seed=0).data
    with pytest.raises(ValueError, match="ClosedForm is for PPCA, not for LinearNetwork"):
        fit(LinearNetwork.from_data(data), guide=ClosedForm())


# -- from the command line ----


def test_none_is_a_value_where_a_parameter_takes_it():
    assert make_loading_prior("horseshoe", {"slab": "none"}).slab == float("inf")
    assert make_loading_prior("normal", {"scale": "None"}).learns_scale
    with pytest.raises(ValueError, match="spike_ratio=none: expected a number"):
        make_loading_prior("spike-slab", {"spike_ratio": "none"})


def test_the_poster_from_the_command_line(tmp_path):
    assert call("simulate", "ppca", "--genes", 8, "--cells", 40, "--shift", 2, "--out", tmp_path / "sim")[0] == 0
    cells = tmp_path / "sim" / "expression.h5ad"
    common = ("infer", cells, "--factors", 1, "--covariates", "cluster", "--set", "model.factor_effects=false")
    poster = ("--set", "model.integrate=false", "--set", "prior.slab=none", "--set", "model.standardize=false")
    runs = {
        "two_steps": ("--method", "ppca", "--guide", "closed-form"),
        "poster": ("--method", "muvi", "--guide", "mean-field", "--steps", 20, "--restarts", 1, *poster),
    }
    for name, options in runs.items():
        code, _, err = call(*common, *options, "--out", tmp_path / name)
        assert code == 0, err
    model = Posterior.load(tmp_path / "poster" / "model").model
    assert not model.integrated
    assert not model.factor_effects
    assert model.loading_prior.slab == float("inf")
    assert (model.scale == 1).all()
    data = read_expression(cells, tfs=None, covariates=["cluster"])
    by_hand = PPCA(data, num_factors=1, factor_effects=False).maximum_likelihood(regress=True)
    posterior = Posterior.load(tmp_path / "two_steps" / "model")
    np.testing.assert_allclose(posterior.draws["beta"][0, 0], by_hand.beta, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "model.integrate=2"), "--set model.integrate=2: expected true or false"),
        (("--guide", "closed-form", "--covariates", "cluster"), "pass --set model.factor_effects=false"),
        (("--guide", "closed-form", "--set", "model.integrate=false"), "leave out --set model.integrate=false"),
    ],
)
def test_what_the_command_line_refuses(options, message, tmp_path):
    call("simulate", "ppca", "--genes", 6, "--cells", 20, "--shift", 1, "--factors", 1, "--out", tmp_path / "sim")
    cells = tmp_path / "sim" / "expression.h5ad"
    code, _, err = call("infer", cells, "--method", "ppca", "--factors", 1, "--out", tmp_path / "run", *options)
    assert code == 2
    assert message in err.strip().splitlines()[-1]
