"""Depth, mitochondrial share and batch do not become programs without a word."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn import ExpressionData, MuVI, fit
from pyrogrn.inference.answers import program_cells
from pyrogrn.inference.confounding import CLOSE, COLUMNS, confounded, confounding, confounding_checks
from pyrogrn.inference.within_groups import between, centred, correlation
from pyrogrn.models.data.raw_counts import counts_behind
from pyrogrn.models.simulators import simulate_muvi
from pyrogrn.priors import write_gmt
from scipy import stats

anndata = pytest.importorskip("anndata")

SETS = {"PROG": [f"G{i}" for i in range(10)], "RANDOM": [f"G{i}" for i in range(25, 35)]}


def counts(*, depth=0.6, program=0.6, cells=250, genes=50, seed=0):
    """Counts of cells whose depth has this log sd, with one program in the first ten genes."""
    rng = np.random.default_rng(seed)
    typical = rng.gamma(2, 2.0, genes)
    z = rng.normal(size=cells)
    effect = np.zeros(genes)
    effect[:10] = program
    rate = np.exp(depth * rng.normal(size=cells))[:, None] * typical * np.exp(z[:, None] * effect)
    frame = pd.DataFrame(rng.poisson(rate).astype(float), columns=[f"G{i}" for i in range(genes)])
    frame.index = pd.Index([f"cell-{i}" for i in range(cells)])
    return frame, z


def fitted(frame, *, normalize="none", obs=None, **options):
    adata = anndata.AnnData(frame, obs=obs)
    data = ExpressionData.from_anndata(adata).normalized(normalize).without_constant_genes()
    model = MuVI(data, num_factors=1, gene_sets={"s": SETS}, **options)
    return fit(model, data, num_steps=150, restarts=1), data


def row(posterior, data, kind):
    table = posterior.diagnose(data).set_index("check")
    return table.loc[f"programs and {kind}"]


@pytest.fixture(scope="module")
def deep():
    """A fit of log1p-cpm in which depth has become a program."""
    frame, _ = counts()
    return (*fitted(frame, normalize="log1p-cpm"), frame)


def test_depth_in_normalised_counts_is_named_with_its_share_and_what_to_do(deep):
    posterior, data, _ = deep
    found = row(posterior, data, "depth")
    assert found.passed is False
    assert found.value > 0.5
    assert re.search(
        r"'(PROG|RANDOM|factor_1)' \(scores: r -?0\.\d\d with log total, \d\d% of their variance\)", found.meaning
    )
    assert "likelihood='negative-binomial'" in found.meaning
    assert confounded(posterior.diagnose(data)) == [found.meaning]


def test_the_correlation_is_that_of_scores_and_totals_over_the_half_of_the_genes_that_load_least(deep):
    posterior, data, frame = deep
    table = confounding(posterior, data).set_index(["column", "program"])
    loading = np.abs(posterior.moments["W"].mean)
    score = posterior.scores(data)[0]
    for k, name in enumerate(posterior.coords["factor"]):
        least = np.argsort(loading[k])[: loading.shape[1] // 2]
        total = np.log(frame[list(np.array(data.genes)[least])].sum(axis=1).to_numpy() + 0.5)
        r = np.corrcoef(total, score[name])[0, 1]
        assert table.loc[("log total", name), "r"] == pytest.approx(r, abs=1e-6)
        assert table.loc[("log total", name), "share"] == pytest.approx(r**2, abs=1e-6)


def test_logarithms_of_counts_tell_the_depth_that_was_divided_away(deep):
    posterior, data, frame = deep
    logs = pd.DataFrame(data.X.numpy(), columns=list(data.genes), index=frame.index)
    given = ExpressionData.from_frame(logs)
    back, counted = counts_behind(given, np.arange(given.num_cells))
    assert counted
    once = (frame[list(data.genes)] == 1).any(axis=1).to_numpy()  # a cell's smallest count is one
    assert np.array_equal(back[once], frame[list(data.genes)].to_numpy()[once])
    assert row(posterior, given, "depth").passed is False


@pytest.mark.parametrize("depth", [0.0, 0.6])
def test_the_offset_takes_depth_out_of_counts_and_leaves_the_program(depth):
    frame, z = counts(depth=depth)
    posterior, data = fitted(frame, likelihood="negative-binomial")
    assert row(posterior, data, "depth").passed is True
    scores = posterior.scores(data)[0]
    assert abs(np.corrcoef(scores["PROG"], z)[0, 1]) > 0.85
    explained = posterior.factors().set_index("program")["variance_explained"]
    assert explained["RANDOM"] < 0.01


def test_without_the_offset_counts_of_nothing_have_a_factor_of_all_genes():
    frame, _ = counts(program=0.0)
    without, data = fitted(frame, likelihood="negative-binomial", depth="none")
    found = row(without, data, "depth")
    assert found.passed is False
    table = confounding(without, data).set_index("program")
    assert (table["r"].abs() > 0.95).any()
    assert without.factors()["genes"].max() > 40
    with_offset, data = fitted(frame, likelihood="negative-binomial")
    assert with_offset.factors()["genes"].max() < 5
    assert with_offset.factors()["variance_explained"].max() < 0.01


def test_the_offset_is_the_total_over_the_mean_total_of_the_genes_that_a_cell_has():
    frame, _ = counts(cells=30)
    data = ExpressionData.from_frame(frame)
    model = MuVI(data, num_factors=1, likelihood="negative-binomial")
    total = frame.sum(axis=1).to_numpy()
    offset = model.prepare(data)[3]
    assert np.allclose(offset[:, 0].numpy(), np.log(total / total.mean()), atol=1e-5)
    assert bool((offset == offset[:, :1]).all())
    assert len(model.evidence_notes) == 1
    assert "is the offset of its depth" in model.evidence_notes[0]
    part = frame.copy()
    part.iloc[0, :20] = np.nan
    some = model.prepare(ExpressionData.from_frame(part, missing=True))[3]
    expected = np.log(frame.iloc[0, 20:].sum() / frame.iloc[:, 20:].mean().sum())
    assert float(some[0, 0]) == pytest.approx(expected, abs=1e-5)
    given = ExpressionData(data.X, data.genes, size_factor=torch.linspace(1, 2, 30))
    assert torch.equal(model.prepare(given)[3][:, 0], given.size_factor.log())
    assert not MuVI(data, num_factors=1, likelihood="negative-binomial", depth="none").prepare(data)[3].any()
    with pytest.raises(ValueError, match="depth='sizes': expected one of totals, none"):
        MuVI(data, num_factors=1, likelihood="negative-binomial", depth="sizes")


def test_depth_and_names_are_stored(tmp_path):
    frame, _ = counts(cells=40, genes=30)
    data = ExpressionData.from_frame(frame)
    sets = {"s": {"PROG": SETS["PROG"]}}
    model = MuVI(data, gene_sets=sets, num_factors=0, likelihood="negative-binomial")
    posterior = fit(model, data, num_steps=5, restarts=1)
    posterior.save(tmp_path / "model")
    again = type(posterior).load(tmp_path / "model")
    assert again.model.depth == "totals"
    assert again.coords["cell"] == list(frame.index)
    pd.testing.assert_frame_equal(again.scores(data)[0], posterior.scores(data)[0])
    assert list(again.scores(data)[0].index) == list(frame.index)


def test_clean_simulated_cells_pass():
    simulation = simulate_muvi(num_genes=60, num_cells=200, num_sets=3, set_size=12, seed=0)
    for kind in ("muvi", "dense"):
        sets = {"s": simulation.gene_sets} if kind == "muvi" else None
        model = MuVI(simulation.data, gene_sets=sets, num_factors=1)
        posterior = fit(model, simulation.data, num_steps=200, restarts=1)
        assert row(posterior, simulation.data, "depth").passed is True


VERDICTS = [  # r, ρ, probability by chance, share of like signs, genes; the verdict
    (0.6, 0.9, 1e-9, 1.0, 30, False),
    (0.6, 0.9, 1e-9, 0.6, 30, True),  # genes that go up and down
    (0.6, 0.9, 1e-9, 0.7, 30, True),  # as random signs do now and then
    (0.6, 0.9, 1e-9, 0.7, 300, False),
    (0.99, 0.9, 1e-9, 1.0, 8, None),  # eight genes may agree by chance
    (0.99, 0.1, 1e-9, 1.0, 30, True),  # the data do not tell this program
    (0.6, 0.6, 1e-9, np.nan, np.nan, True),  # of the program itself, r is below a half
    (0.6, 0.9, 0.004, np.nan, np.nan, True),  # one of three programs, so chance gives it once in 80 times
    (0.6, 0.9, 0.003, np.nan, np.nan, False),
]


@pytest.mark.parametrize(("r", "known", "chance", "same", "genes", "passed"), VERDICTS)
def test_a_program_is_named_that_the_data_tell_and_that_is_no_accident(
    monkeypatch, r, known, chance, same, genes, passed
):
    rows = [("depth", "total", name, 0.01, 0.0, 0.9, 0.5, 0.5 if genes > 0 else np.nan, genes) for name in "bc"]
    table = pd.DataFrame([("depth", "total", "a", r, r**2, known, chance, same, genes), *rows], columns=list(COLUMNS))
    monkeypatch.setattr("pyrogrn.inference.confounding.confounding", lambda posterior, data: table)
    (check,) = confounding_checks(None, None)
    assert check.passed is passed
    assert ("'a'" in check.meaning) == (passed is False)


def test_chance_is_that_of_the_t_and_the_f_test_within_groups():
    rng = np.random.default_rng(2)
    score, values, codes = rng.normal(size=(40, 2)), rng.normal(size=40), np.repeat([0, 1], 20)
    r, chance = correlation(score - score.mean(0), values - values.mean(), 1)
    expected = stats.pearsonr(score[:, 1], values)
    assert r[1] == pytest.approx(expected.statistic)
    assert chance[1] == pytest.approx(expected.pvalue)
    one = np.zeros(40, dtype=int)
    batch = rng.integers(0, 3, 40)
    by_batch = [score[batch == b] for b in range(3)]
    assert between(score, batch, one, 1)[1] == pytest.approx(stats.f_oneway(*by_batch).pvalue)
    # in groups: every mean costs a degree of freedom
    draws = np.array([between(rng.normal(size=(40, 25)), batch, codes, 2)[1] for _ in range(20)])
    assert abs((draws < 0.1).mean() - 0.1) < 0.05
    residual = centred(rng.normal(size=(40, 500)), codes)
    chance = correlation(residual, centred(values, codes), 2)[1]
    assert abs((chance < 0.1).mean() - 0.1) < 0.05


def test_r_of_the_program_is_that_of_its_scores_times_the_root_of_what_they_tell():
    rng = np.random.default_rng(3)
    x, loading = rng.normal(size=200_000), np.array([0.3, 0.2, -0.1])
    y = x[:, None] * loading + rng.normal(size=(len(x), 3))
    variance = 1 / (1 + loading @ loading)
    score, total = variance * y @ loading, y.sum(1)
    known = score.var() / (score.var() + variance)
    assert np.corrcoef(score, total)[0, 1] * np.sqrt(known) == pytest.approx(np.corrcoef(x, total)[0, 1], abs=0.01)


def test_unrelated_annotations_and_dense_programs_of_few_cells_pass():
    rng = np.random.default_rng(4)
    z, loading = rng.normal(size=(40, 2)), rng.normal(size=(2, 60))
    names = [f"c{i}" for i in range(40)]
    frame = pd.DataFrame(z @ loading + 0.5 * rng.normal(size=(40, 60)), names, [f"G{i}" for i in range(60)])
    obs = pd.DataFrame(
        {
            "n_counts": rng.normal(size=40) + 9,
            "percent.mt": rng.normal(size=40),
            "donor": rng.choice(list("abcdef"), 40),
        },
        names,
    )
    data = ExpressionData.from_anndata(anndata.AnnData(frame, obs=obs))
    posterior = fit(MuVI(data, num_factors=3), data, num_steps=150, restarts=1)
    for kind in ("depth", "mitochondrial share", "batch"):
        found = row(posterior, data, kind)
        assert found.passed is True
        assert found.value < CLOSE
    assert set(confounding(posterior, data)["column"]) == {"total", "log n_counts", "percent.mt", "donor"}


def test_annotated_totals_shares_and_batches_are_compared():
    rng = np.random.default_rng(1)
    frame, z = counts(depth=0.0)
    obs = pd.DataFrame(
        {
            "nCount_RNA": np.exp(z + 0.3 * rng.normal(size=len(z))),
            "pct_counts_mt": z + 0.3 * rng.normal(size=len(z)),
            "batch": pd.Categorical(np.where(z > 0, "late", "early")),
            "donor": rng.choice(["a", "b", "c"], len(z)),
        },
        index=frame.index,
    )
    posterior, data = fitted(frame, likelihood="negative-binomial", obs=obs)
    for kind, column in (
        ("depth", "log nCount_RNA"),
        ("mitochondrial share", "pct_counts_mt"),
        ("batch", "batch"),
    ):
        found = row(posterior, data, kind)
        assert found.passed is False
        assert "'PROG' (scores: r " in found.meaning
        assert f"with {column}," in found.meaning
        assert "covariates=" in found.meaning
    obs = obs.assign(batch="one")
    found = row(posterior, ExpressionData.from_anndata(anndata.AnnData(frame, obs=obs)), "batch")
    assert found.passed is True  # the donors, drawn at random, are left


def test_mitochondrial_genes_are_a_share_of_the_counts():
    frame, _ = counts(depth=0.0)
    frame = frame.rename(columns={f"G{i}": f"mt-Nd{i}" for i in range(10)})
    data = ExpressionData.from_anndata(anndata.AnnData(frame))
    posterior = fit(MuVI(data, num_factors=1, likelihood="negative-binomial"), data, num_steps=150, restarts=1)
    found = row(posterior, data, "mitochondrial share")
    assert found.passed is False
    assert "share of 10 MT- genes" in found.meaning


def test_the_terminal_says_both(tmp_path):
    frame, _ = counts()
    anndata.AnnData(frame).write_h5ad(tmp_path / "cells.h5ad")
    write_gmt(SETS, tmp_path / "sets.gmt")
    shared = ("infer", tmp_path / "cells.h5ad", "--method", "muvi", "--gene-sets", f"s={tmp_path / 'sets.gmt'}")
    shared = (*shared, "--factors", 1, "--restarts", 1, "--steps", 150)
    code, _, err = call(*shared, "--normalize", "log1p-cpm", "--out", tmp_path / "cpm")
    assert code == 0, err
    assert "checks failed" in err
    assert "note: Programs follow the depth of the cells: " in err
    assert "use raw counts with --likelihood negative-binomial" in err
    report = (tmp_path / "cpm" / "report.html").read_text()
    assert "programs and depth" in report
    scores = pd.read_csv(tmp_path / "cpm" / "scores.csv.gz")
    assert list(scores["cell"].unique()) == list(frame.index)
    counted = (*shared, "--likelihood", "negative-binomial")
    code, _, err = call(*counted, "--out", tmp_path / "nb")
    assert code == 0, err
    assert "is the offset of its depth; --set model.depth=none leaves it out" in err
    assert "Programs follow" not in err
    code, _, err = call(*counted, "--set", "model.depth=none", "--out", tmp_path / "none")
    assert code == 0, err
    assert "counts: no offset for the depth of cells" in err
    code, _, err = call(*counted, "--set", "model.depth=sizes", "--out", tmp_path / "bad")
    assert code == 2
    assert "expected one of totals, none" in err


def test_scores_of_the_same_cells_are_made_once_and_are_nobodys_to_change(monkeypatch):
    frame, _ = counts(cells=60)
    posterior, data = fitted(frame)
    mean, sd = posterior.scores(data)
    expected = mean.copy()
    mean.iloc[0] = 9.0  # of the table that was given
    monkeypatch.setattr(program_cells, "cell_factors", lambda *_: pytest.fail("made again"))
    again, spread = posterior.scores(data)
    pd.testing.assert_frame_equal(again, expected)
    pd.testing.assert_frame_equal(spread, sd)
    assert len(confounding(posterior, data))
    monkeypatch.undo()
    other = data.subset(np.arange(30))  # other cells, other scores
    pd.testing.assert_frame_equal(posterior.scores(other)[0], expected.iloc[:30])
