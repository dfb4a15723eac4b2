"""Cells that the fit has not seen, with genes missing, by name, from Python and from the command line."""

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn import PPCA, ExpressionData, MuVI, Posterior, fit
from pyrogrn.inference.answers.program_cells import thinned


def cells(number=60, seed=0, groups=1):
    rng = np.random.default_rng(7)
    W = rng.normal(size=(2, 20))
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(number, 2)) @ W + 0.5 * rng.normal(size=(number, 20))
    X = X + 3 * (np.arange(number) % groups)[:, None]
    obs = pd.DataFrame({"group": [f"g{i % groups}" for i in range(number)]}, index=[f"cell-{i}" for i in range(number)])
    return anndata.AnnData(X.astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(20)]))


@pytest.fixture(scope="module")
def fitted():
    data = ExpressionData.from_anndata(cells())
    return fit(PPCA(data, num_factors=2), data, num_steps=50, restarts=1), data


def test_missing_genes_give_the_conditional_on_the_others(fitted):
    posterior, data = fitted
    kept = [g for i, g in enumerate(data.genes) if i % 3]
    columns = [data.genes.index(g) for g in kept]
    mean, sd = posterior.scores(data.select_genes(kept))
    model = posterior.model
    X = ((data.X - model.mean[0, :20]) / model.scale).double().numpy()[:, columns]
    each = []
    for draw in thinned(posterior, 20):
        W = draw["W"].numpy()[:, columns]
        noise = np.broadcast_to(draw["noise_variance"].numpy(), 20)[columns]
        joint = W.T @ W + np.diag(noise)  # covariance of the genes that are there
        each.append((X @ np.linalg.solve(joint, W.T), np.diag(np.eye(2) - W @ np.linalg.solve(joint, W.T))))
    means, variances = (np.array(part) for part in zip(*each, strict=True))
    assert np.allclose(mean.to_numpy(), means.mean(0), atol=1e-6)
    assert np.allclose(sd.to_numpy(), np.sqrt(variances.mean(0) + means.var(0)), atol=1e-6)
    assert (sd.to_numpy() > posterior.scores(data)[1].to_numpy()).all()


def test_missing_columns_and_a_shorter_list_are_the_same_and_order_does_not_matter(fitted):
    posterior, data = fitted
    frame = pd.DataFrame(data.X.numpy().copy(), index=data.labels.names, columns=list(data.genes))
    short = posterior.scores(ExpressionData.from_frame(frame.iloc[:, 5:]))
    frame.iloc[:, :5] = np.nan
    values = torch.as_tensor(frame.to_numpy())
    empty = posterior.scores(ExpressionData(values, data.genes, missing=True, labels=data.labels))
    for one, other in zip(short, empty, strict=True):
        pd.testing.assert_frame_equal(one, other, check_names=False)
    turned = posterior.scores(data.select_genes(data.genes[:4:-1]))
    assert np.allclose(turned[0], short[0])


def test_rows_are_called_as_the_cells_and_numbered_where_they_have_no_names(fitted):
    posterior, data = fitted
    assert list(posterior.scores(data)[0].index) == [f"cell-{i}" for i in range(60)]
    picked = posterior.scores(data.subset(np.array([7, 3])))[0]
    assert list(picked.index) == ["cell-7", "cell-3"]
    bare = ExpressionData(data.X, data.genes)
    assert list(posterior.scores(bare)[0].index) == list(range(60))
    joined = posterior.to_datatree(data)["observed_data"]["observation"].to_numpy()
    assert all(str(label).startswith("cell-") for label in joined)


def test_too_few_genes_are_refused(fitted):
    posterior, data = fitted
    few = data.select_genes(data.genes[:4])
    with pytest.raises(ValueError, match=r"lack 16 of the 20 genes of the fit.*at least 50% of them are needed"):
        posterior.scores(few)
    assert posterior.scores(few, least_genes=0.2)[0].shape == (60, 2)
    with pytest.raises(ValueError, match="`least_genes` is 0"):
        posterior.scores(few, least_genes=0)


def test_cells_belong_to_a_group_of_the_fit():
    both = ExpressionData.from_anndata(cells(groups=2), context_key="group")
    posterior = fit(PPCA(both, num_factors=2), both, num_steps=50, restarts=1)
    whole = posterior.scores(both)[0]
    second = ExpressionData.from_anndata(cells(groups=2)[1::2])
    told = posterior.scores(second, group="g1")[0]
    assert np.allclose(told, whole.iloc[1::2])
    by_column = posterior.scores(ExpressionData.from_anndata(cells(groups=2)[1::2], context_key="group"))[0]
    assert np.allclose(by_column, told)
    with pytest.raises(ValueError, match="the fit has 2 groups"):
        posterior.scores(second)
    with pytest.raises(ValueError, match=r"groups .'elsewhere'. are not among those of the fit"):
        posterior.scores(second, group="elsewhere")


def test_counts_with_genes_missing_keep_their_depth():
    rng = np.random.default_rng(0)
    z, depth = rng.normal(size=120), np.exp(0.5 * rng.normal(size=120))
    effect = np.where(np.arange(24) < 8, 0.8, 0.0)
    frame = pd.DataFrame(rng.poisson(6 * depth[:, None] * np.exp(z[:, None] * effect)).astype(float))
    frame.columns = [f"G{i}" for i in range(24)]
    data = ExpressionData.from_frame(frame)
    model = MuVI(data, num_factors=1, likelihood="negative-binomial")
    posterior = fit(model, data, num_steps=80, restarts=1)
    mean, sd = posterior.scores(data)
    part, wider = posterior.scores(data.select_genes([g for i, g in enumerate(data.genes) if i % 2]))
    assert abs(np.corrcoef(mean.iloc[:, 0], part.iloc[:, 0])[0, 1]) > 0.85
    assert wider.to_numpy().mean() > sd.to_numpy().mean()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    cells().write_h5ad(folder / "fit.h5ad")
    new = cells(30, seed=1)
    new.obs_names = [f"new-{i}" for i in range(30)]
    new.write_h5ad(folder / "new.h5ad")
    new[:, :14].copy().write_h5ad(folder / "some.h5ad")
    new[:, :5].copy().write_h5ad(folder / "few.h5ad")
    options = ("--method", "ppca", "--factors", 2, "--restarts", 1, "--steps", 50)
    code, _, err = call("infer", folder / "fit.h5ad", *options, "--out", folder / "run")
    assert code == 0, err
    return folder


def test_the_command_scores_the_cells_of_the_fit_as_the_fit_did(run):
    code, _, err = call("score-cells", run / "run", run / "fit.h5ad", "--out", run / "again.csv.gz")
    assert code == 0, err
    again = pd.read_csv(run / "again.csv.gz")
    pd.testing.assert_frame_equal(again, pd.read_csv(run / "run" / "scores.csv.gz"))
    assert list(again["cell"].unique()) == [f"cell-{i}" for i in range(60)]


def test_the_command_counts_missing_genes_and_widens_the_sd(run):
    code, _, err = call("score-cells", run / "run", run / "new.h5ad", "--out", run / "new.csv")
    assert code == 0, err
    assert "missing" not in err
    code, _, err = call("score-cells", run / "run", run / "some.h5ad", "--out", run / "some.csv")
    assert code == 0, err
    assert "6 of the 20 genes of the fit are missing (G14, G15, G16, ...): sds are larger" in err
    whole, part = pd.read_csv(run / "new.csv"), pd.read_csv(run / "some.csv")
    assert list(part["cell"]) == list(whole["cell"])
    assert part["cell"].iloc[0] == "new-0"
    assert (part["sd"] > whole["sd"]).all()
    posterior = Posterior.load(run / "run" / "model")
    expected = posterior.scores(ExpressionData.from_anndata(anndata.read_h5ad(run / "some.h5ad")))[0]
    assert np.allclose(part["mean"], expected.to_numpy().ravel(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("few.h5ad", (), "lack 15 of the 20 genes of the fit"),
        ("new.h5ad", ("--group", "x"), "groups ['x'] are not among those of the fit"),
        ("new.h5ad", ("--normalize", "zscore"), "z-scores of new cells are not in the units of the fit"),
        ("new.h5ad", ("--group", "x", "--context-key", "group"), "give one of them"),
        ("new.h5ad", ("--least-genes", "2"), "--least-genes 2.0: expected a share"),
    ],
)
def test_what_cannot_be_scored_is_one_line(run, file, options, message):
    code, _, err = call("score-cells", run / "run", run / file, "--out", run / "bad.csv", *options)
    assert code == 2
    assert message in err.strip().splitlines()[-1]
    assert not (run / "bad.csv").exists()
