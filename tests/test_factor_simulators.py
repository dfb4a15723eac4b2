"""Simulated gene programs: what they claim of moments, sets, views and files."""

import math

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.experiments.files.simulation import write_factor_simulation
from pyrogrn.models.simulators import simulate_muvi, simulate_ppca
from pyrogrn.priors import read_gmt
from scipy import stats
from typer.testing import CliRunner

LARGE = 40_000  # cells of the moment checks


def refused(match, simulate, **options):
    with pytest.raises(ValueError, match=match) as caught:
        simulate(**options)
    assert "\n" not in str(caught.value)


# -- PPCA ----


def test_ppca_has_the_poster_s_distribution():
    W = torch.tensor([[1.0, -0.5, 2.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    simulation = simulate_ppca(W=W, num_cells=LARGE, noise_variance=0.5, seed=1)
    Y = simulation.data.X.double()
    sigma = (W.T @ W + 0.5 * torch.eye(3)).numpy()
    spread = np.sqrt((sigma**2 + np.outer(sigma.diagonal(), sigma.diagonal())) / LARGE)  # of a Wishart's entries
    assert np.abs((torch.cov(Y.T).numpy() - sigma) / spread).max() < stats.norm.isf(1e-5)
    assert np.abs(Y.mean(0).numpy() / np.sqrt(sigma.diagonal() / LARGE)).max() < stats.norm.isf(1e-5)
    assert simulation.factors == ("factor_1", "factor_2")
    assert simulation.data.covariates is None
    assert simulation.noise.tolist() == [0.5] * 3
    assert simulation.gene_sets == {}


def test_ppca_defaults_are_the_poster_s():
    simulation = simulate_ppca()
    assert (simulation.data.num_cells, simulation.data.num_genes) == (100, 200)
    assert stats.kstest(simulation.W.flatten().numpy(), "norm").pvalue > 1e-3
    residual = simulation.data.X.double() - simulation.x @ simulation.W
    assert stats.kstest((residual.flatten() / math.sqrt(0.5)).numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("label", ["covariate", "context", "none"])
def test_two_clusters_and_what_is_told_of_them(label):
    simulation = simulate_ppca(num_genes=2, num_factors=1, num_cells=11, shift=4.0, label=label, seed=2)
    plain = simulate_ppca(num_genes=2, num_factors=1, num_cells=11, seed=2)
    shift = (simulation.data.X - plain.data.X).double()
    expected = torch.tensor([0.0] * 6 + [4.0] * 5, dtype=torch.float64)[:, None].expand(-1, 2)
    torch.testing.assert_close(shift, expected, atol=1e-5, rtol=0)
    data = simulation.data
    codes = torch.zeros(11, dtype=torch.long) if data.context is None else data.context
    torch.testing.assert_close(simulation.mu[codes] + simulation.z @ simulation.beta, expected)
    assert data.covariate_names == (("cluster[1]",) if label == "covariate" else ())
    assert data.context_names == (("cluster_0", "cluster_1") if label == "context" else ("all",))
    told = {"covariate": ["cluster"], "context": ["group"], "none": []}
    assert list(simulation.annotations.columns) == told[label]
    if label == "covariate":
        torch.testing.assert_close(data.covariates.double(), simulation.z)


# -- MuVI ----


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_correlation_between_factors_and_covariates(rho):
    options = {"num_genes": 6, "num_sets": 3, "set_size": 2, "num_covariates": 2, "num_cells": LARGE}
    simulation = simulate_muvi(**options, correlation=rho, seed=3)
    joint = np.corrcoef(torch.cat([simulation.x, simulation.z], 1).T.numpy())
    expected = np.eye(5)
    expected[[0, 1, 3, 4], [3, 4, 0, 1]] = rho
    assert np.abs(joint - expected).max() < stats.norm.isf(1e-5) / math.sqrt(LARGE)
    # the variance of x_k is ρ² + 1 − ρ² as u has variance 1 exactly; its own spread is that of a variance
    assert np.abs(simulation.x.var(0).numpy() - 1).max() < stats.norm.isf(1e-5) * math.sqrt(2 / LARGE)
    torch.testing.assert_close(simulation.gamma, rho * torch.eye(2, 3, dtype=torch.float64), atol=1e-6, rtol=0)
    rest = simulation.x - (simulation.z - simulation.z.mean(0)) @ simulation.gamma
    spread = stats.norm.isf(1e-5) * simulation.x_scale * math.sqrt(0.5 / LARGE)
    assert bool(((rest.std(0) - simulation.x_scale).abs() < spread).all())
    other = simulate_muvi(**options, correlation=0.3, seed=3)  # the same but for ρ
    for name in ("W", "z", "beta"):
        torch.testing.assert_close(getattr(other, name), getattr(simulation, name))
    residual = [s.data.X.double() - s.x @ s.W - s.z @ s.beta for s in (simulation, other)]
    torch.testing.assert_close(*residual, atol=1e-4, rtol=0)


def test_sets_hide_members_and_hold_wrong_genes():
    simulation = simulate_muvi(
        num_genes=100, num_cells=5, num_sets=4, set_size=20, num_unlabelled=1, hidden=0.25, false=0.1
    )
    assert simulation.factors == ("set_1", "set_2", "set_3", "set_4", "factor_1")
    assert simulation.memberships.sum(1).tolist() == [20] * 5
    assert bool(((simulation.W != 0) == simulation.memberships).all())
    for name, given in simulation.gene_sets.items():
        true = set(simulation.true_sets[name])
        assert (len(true), len(true & set(given)), len(set(given) - true)) == (20, 15, 2)
        assert list(given) == sorted(set(given))
    clean = simulate_muvi(num_genes=100, num_cells=5, num_sets=4, set_size=20, num_unlabelled=1)
    assert clean.gene_sets == clean.true_sets == simulation.true_sets
    torch.testing.assert_close(clean.data.X, simulation.data.X)


def test_w_z_and_beta_of_choice():
    W = torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    z = torch.stack([torch.tensor([0.0, 1.0] * 10), torch.arange(20.0)], dim=1)
    beta = torch.arange(8.0).reshape(2, 4)
    simulation = simulate_muvi(W=W, z=z, beta=beta, num_unlabelled=1, noise_variance=1e-12)
    assert simulation.true_sets == {"set_1": ("G0000", "G0002"), "set_2": ("G0001",)}
    assert simulation.data.covariate_names == ("covariate_1[True]", "covariate_2")
    torch.testing.assert_close(simulation.z[:, 0], z[:, 0].double())
    torch.testing.assert_close(simulation.z[:, 1].std(correction=0), torch.tensor(1.0).double(), atol=1e-6, rtol=0)
    mean = simulation.x @ W.double() + simulation.z @ beta.double()
    torch.testing.assert_close(simulation.data.X.double(), mean, atol=1e-4, rtol=0)
    table = pd.DataFrame({"dose": np.arange(20), "drug": list("abcde") * 4})
    named = simulate_ppca(num_genes=3, z=table, correlation=0.5)
    assert named.data.covariate_names == named.covariates == ("dose", "drug[b]", "drug[c]", "drug[d]", "drug[e]")


def test_views_have_their_likelihoods():
    views = {"rna": "negative-binomial", "open": "bernoulli", "protein": "gaussian"}
    simulation = simulate_muvi(
        num_genes=12,
        num_sets=1,
        set_size=3,
        num_cells=LARGE,
        views=views,
        dispersion=2.0,
        W=torch.zeros(1, 12),
        num_unlabelled=1,
        z=torch.arange(LARGE)[:, None] >= LARGE // 2,
        beta=torch.full((1, 12), 0.7),
        seed=4,
    )
    data = simulation.data
    assert data.view_names == ("rna", "open", "protein")
    assert data.view.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert simulation.noise.isnan().tolist() == [True] * 8 + [False] * 4
    half = data.X[LARGE // 2 :].double()  # η = 0.7 there
    bound, number = stats.norm.isf(1e-5), math.sqrt(LARGE / 2)
    mean = math.exp(0.7)
    variance = mean + mean**2 / 2.0
    assert (half[:, :4].mean(0) - mean).abs().max() < bound * math.sqrt(variance) / number
    kurtosis = stats.nbinom(2.0, 2.0 / (2.0 + mean)).stats("k")
    assert (half[:, :4].var(0) - variance).abs().max() < bound * variance * math.sqrt(float(kurtosis) + 2) / number
    probability = 1 / (1 + math.exp(-0.7))
    assert (half[:, 4:8].mean(0) - probability).abs().max() < bound * math.sqrt(
        probability * (1 - probability)
    ) / number
    assert bool(((data.X[:, 4:8] == 0) | (data.X[:, 4:8] == 1)).all())
    assert (half[:, 8:].mean(0) - 0.7).abs().max() < bound * math.sqrt(0.5) / number


def test_groups_and_missing_values():
    simulation = simulate_muvi(
        num_genes=20,
        num_cells=3000,
        num_sets=2,
        set_size=5,
        num_groups=3,
        missing=0.1,
        views={"a": "gaussian", "b": "gaussian"},
        missing_cells=0.2,
        seed=5,
    )
    data = simulation.data
    assert data.context_names == ("group_1", "group_2", "group_3")
    assert data.context.bincount().tolist() == [1000] * 3
    for k in range(3):
        centre = data.X[data.context == k].nanmean(0).double()
        sd = (simulation.W.square().sum(0) + 0.5).sqrt() / math.sqrt(750)
        assert ((centre - simulation.mu[k]).abs() / sd).max() < stats.norm.isf(1e-5)
    assert data.missing
    gone = data.X.isnan()
    lacks = torch.stack([gone[:, :10].all(1), gone[:, 10:].all(1)])
    assert abs(float(lacks.any(0).float().mean()) - 0.2) < stats.norm.isf(1e-5) * math.sqrt(0.16 / 3000)
    assert not bool(lacks.all(0).any())
    rest = gone[~lacks.any(0)].float().mean()
    assert abs(float(rest) - 0.1) < stats.norm.isf(1e-5) * math.sqrt(0.09 / 20 / 2400)
    whole = simulate_muvi(
        num_genes=20,
        num_cells=3000,
        num_sets=2,
        set_size=5,
        num_groups=3,
        views={"a": "gaussian", "b": "gaussian"},
        seed=5,
    )
    torch.testing.assert_close(torch.where(gone, 0.0, data.X), torch.where(gone, 0.0, whole.data.X))


def test_same_seed_same_cells():
    one, two, other = (simulate_muvi(num_genes=20, num_cells=30, num_sets=2, set_size=5, seed=s) for s in (0, 0, 1))
    torch.testing.assert_close(one.data.X, two.data.X, atol=0, rtol=0)
    assert one.gene_sets == two.gene_sets
    assert not torch.equal(one.data.X, other.data.X)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"set_size": 21}, r"set_size is 21, expected 1 \.\.\. 20"),
        ({"num_sets": 0}, "expected a factor or more"),
        ({"num_sets": -1, "num_unlabelled": 3}, "expected a factor or more"),
        ({"hidden": 1.0}, r"hidden is 1.0, expected a share in \[0, 1\)"),
        ({"hidden": 0.95}, "'set_1' has 5 genes and 5 of them hidden"),
        ({"false": -0.1}, "false is -0.1"),
        ({"false": 4.0}, "20 wrong genes asked for and 15 genes are outside"),
        ({"correlation": 1.0, "num_covariates": 1}, r"expected a value in \[0, 1\)"),
        ({"correlation": 0.5}, "there are no covariates"),
        ({"num_covariates": 40}, "40 columns of covariates"),
        ({"num_cells": 0}, "num_cells is 0"),
        ({"num_groups": 31}, "31 groups for 30 cells"),
        ({"noise_variance": 0.0}, "noise_variance has shape"),
        ({"noise_variance": torch.ones(3)}, r"noise_variance has shape \(3,\)"),
        ({"views": {"a": "poisson"}}, "unknown likelihood"),
        ({"views": {}}, "0 views for 20 genes"),
        ({"missing_cells": 0.1}, "there is one view"),
        ({"missing": -0.1}, "missing is -0.1"),
        ({"dispersion": 0.0}, "dispersion is 0.0"),
        ({"beta": torch.ones(1, 20)}, r"beta has shape \(1, 20\), expected \(0, 20\)"),
        ({"z": torch.ones(30, 1)}, "covariate 'covariate_1' is constant"),
        ({"W": torch.ones(20)}, r"W has shape \(20,\)"),
        ({"W": torch.ones(1, 20), "num_unlabelled": 2}, "W has 1 rows"),
        ({"W": 100 * torch.ones(1, 20), "views": {"a": "negative-binomial"}}, "counts with a log mean of"),
    ],
)  # fmt: skip
def test_bad_options(options, match):
    refused(match, simulate_muvi, **({"num_genes": 20, "num_cells": 30, "num_sets": 2, "set_size": 5} | options))


def test_bad_options_of_ppca():
    refused("unknown label 'yes'", simulate_ppca, shift=1.0, label="yes")
    refused("leave out `z` and `beta`, or `shift`", simulate_ppca, shift=1.0, z=torch.arange(100.0)[:, None])
    refused("num_factors is 0", simulate_ppca, num_factors=0)
    refused("two clusters need two cells", simulate_ppca, num_cells=1, shift=1.0)


# -- files ----


def test_files_say_what_was_simulated(tmp_path):
    simulation = simulate_muvi(
        num_genes=30,
        num_cells=40,
        num_sets=2,
        set_size=6,
        num_unlabelled=1,
        hidden=0.2,
        num_covariates=2,
        correlation=0.5,
        num_groups=2,
        missing=0.05,
    )
    write_factor_simulation(simulation, tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    data = read_expression(
        folder / "expression.h5ad",
        tfs=None,
        context_key="group",
        covariates=["covariate_1", "covariate_2"],
        missing=True,
    )
    torch.testing.assert_close(data.X, simulation.data.X, equal_nan=True)
    torch.testing.assert_close(data.covariates, simulation.data.covariates, atol=1e-6, rtol=0)
    assert data.context.tolist() == simulation.data.context.tolist()
    assert read_gmt(folder / "gene_sets.gmt") == simulation.gene_sets
    assert read_gmt(folder / "true_sets.gmt") == simulation.true_sets
    loadings = pd.read_csv(folder / "loadings.csv")
    assert list(loadings.columns) == ["program", "gene", "loading"]
    wide = loadings.pivot_table(index="program", columns="gene", values="loading").reindex(
        index=simulation.factors, columns=data.genes
    )
    np.testing.assert_allclose(wide.fillna(0.0), simulation.W, rtol=1e-5)
    scores = pd.read_csv(folder / "scores.csv", index_col="cell")
    np.testing.assert_allclose(scores[list(simulation.factors)], simulation.x, rtol=1e-4)
    effects = pd.read_csv(folder / "covariate_effects.csv").pivot_table(
        index="covariate", columns="gene", values="effect"
    )
    np.testing.assert_allclose(effects.loc[list(simulation.covariates), list(data.genes)], simulation.beta, rtol=1e-5)


def call(*arguments):
    from pyrogrn.experiments.cli import app

    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_commands_write_them(tmp_path):
    assert call("simulate", "ppca", "--genes", 5, "--cells", 12, "--shift", 3, "--out", tmp_path / "p").exit_code == 0
    assert sorted(p.name for p in (tmp_path / "p").iterdir()) == [
        "covariate_effects.csv",
        "expression.h5ad",
        "loadings.csv",
        "scores.csv",
    ]
    obs = anndata.read_h5ad(tmp_path / "p" / "expression.h5ad").obs
    assert obs["cluster"].astype(str).tolist() == ["0"] * 6 + ["1"] * 6
    options = ("--genes", 30, "--cells", 20, "--sets", 2, "--set-size", 10, "--hidden", 0.2, "--false", 0.1)
    assert call("simulate", "muvi", *options, "--out", tmp_path / "m").exit_code == 0
    assert [len(genes) for genes in read_gmt(tmp_path / "m" / "gene_sets.gmt").values()] == [9, 9]
    result = call("simulate", "muvi", "--view", "rna", "--out", tmp_path / "x")
    assert isinstance(result.exception, ValueError)
    assert "unknown likelihood" in str(result.exception)
    result = call("simulate", "muvi", "--view", "a=gaussian", "--view", "a=bernoulli", "--out", tmp_path / "x")
    assert "each name once" in str(result.exception)


def test_several_views_become_modalities(tmp_path):
    pytest.importorskip("mudata", reason="the extra `multi` is not installed")
    views = {"rna": "negative-binomial", "protein": "gaussian"}
    simulation = simulate_muvi(
        num_genes=20, num_cells=50, num_sets=2, set_size=6, num_covariates=1, views=views, missing_cells=0.3
    )
    write_factor_simulation(simulation, tmp_path)
    data = read_expression(tmp_path / "expression.h5mu", tfs=None, covariates=["covariate_1"])
    assert data.view_names == ("rna", "protein")
    assert not (tmp_path / "expression.h5ad").exists()
    torch.testing.assert_close(data.X, simulation.data.X, equal_nan=True)
    torch.testing.assert_close(data.covariates, simulation.data.covariates, atol=1e-6, rtol=0)
