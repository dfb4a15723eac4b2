"""Covariates, views and missing values of `ExpressionData`: coding, what is carried along, one line for bad input."""

import sys
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from pyrogrn.experiments.files.readers import combined
from pyrogrn.models import ExpressionData, GramStatistics
from pyrogrn.models.data.covariates import encode_covariates

NAN = float("nan")


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.normal(40, 10, 24),
            "dose": np.arange(24),
            "treated": [True, False] * 12,
            "donor": ["d2", "d1", "d3"] * 8,
            "stage": pd.Categorical([10, 9] * 6 + [9, 10] * 6, categories=[9, 10, 11]),
        }
    )


@pytest.fixture
def frame():
    return pd.DataFrame(np.random.default_rng(1).normal(size=(24, 4)), columns=list("ABCD"))


def one_line(match, function, *arguments, **options):
    with pytest.raises(ValueError, match=match) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)


# -- coding ----


def test_numbers_are_scaled_and_levels_become_columns(table):
    values, names, notes = encode_covariates(table)
    assert names == ("age", "dose", "treated[True]", "donor[d2]", "donor[d3]", "stage[10]")
    assert values.dtype == torch.float32
    expected = (table["age"] - table["age"].mean()) / table["age"].std(ddof=0)
    np.testing.assert_allclose(values[:, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(values[:, 2], table["treated"].astype(float))
    np.testing.assert_array_equal(values[:, 3], table["donor"] == "d2")
    np.testing.assert_array_equal(values[:, 5], (table["stage"] == 10).astype(float))
    assert len(notes) == 5
    assert notes[3] == "covariate donor: 3 levels, effects are against 'd1'"


def test_constant_covariates_are_named(table):
    one_line(r"covariate 'age' is constant \(3 in every cell\)", encode_covariates, table.assign(age=3.0))
    one_line(r"covariate 'donor' is constant \('x' in every cell\)", encode_covariates, table.assign(donor="x"))
    one_line("covariate 'treated' is constant", encode_covariates, table.assign(treated=True))
    groups = torch.tensor([0, 1] * 12)
    one_line(r"covariates \['treated\[True\]'\] are constant within every group", encode_covariates, table, groups)


def test_collinear_covariates_are_named_with_those_they_depend_on(table):
    bad = table.assign(both=2 * table["age"] - 3 * table["dose"])
    one_line(r"'both' is a combination of \['age', 'dose'\], so", encode_covariates, bad)
    bad = table.assign(batch=table["donor"].map({"d1": "a", "d2": "b", "d3": "b"}))
    one_line(r"'batch\[b\]' is a combination of \['donor\[d2\]', 'donor\[d3\]'\], so", encode_covariates, bad)
    bad = table.assign(single=table["age"].astype(np.float32))  # the same but for rounding
    one_line(r"'single' is a combination of \['age'\]", encode_covariates, bad)
    encode_covariates(table.assign(near=table["age"] + np.random.default_rng(5).normal(size=24)))
    nested = pd.DataFrame({"donor": list("abcd") * 6})  # donors within groups: the groups tell one of them
    groups = torch.tensor([0, 0, 1, 1] * 6)
    encode_covariates(nested)
    one_line("collinear: 'donor.d.' is a combination of .* within groups", encode_covariates, nested, groups)


def test_bad_covariates_are_refused(table):
    one_line("covariate 'age' has no value in 1 of 24 cells", encode_covariates, table.assign(age=[NAN, *range(23)]))
    one_line("covariate 'donor' has no value in 1", encode_covariates, table.assign(donor=[None, *"ab" * 11, "a"]))
    one_line("covariate 'age' has infinite values in 1", encode_covariates, table.assign(age=[np.inf, *range(23)]))
    dates = pd.date_range("2020-01-01", periods=24)
    one_line("'when' holds values of kind datetime64", encode_covariates, pd.DataFrame({"when": dates}))
    one_line(
        "24 columns|23 columns of covariates",
        encode_covariates,
        pd.DataFrame({"cell": [f"c{i}" for i in range(24)], "x": range(24)}),
    )
    one_line(
        r"covariates \['x'\] are given twice",
        encode_covariates,
        pd.DataFrame([[0, 1], [1, 0], [2, 5]], columns=["x", "x"]),
    )
    clash = table[["donor"]].assign(**{"donor[d2]": range(24)})
    one_line("same name as a level of another", encode_covariates, clash)


# -- what is carried along ----


def test_fields_are_checked(frame):
    data = ExpressionData.from_frame(frame)
    one_line(
        r"`covariates` has shape \(24, 2\), expected \(24, 1\)",
        replace,
        data,
        covariates=torch.zeros(24, 2),
        covariate_names=("a",),
    )
    one_line("repeats a name", replace, data, covariates=torch.zeros(24, 2), covariate_names=("a", "a"))
    one_line(r"covariates \['a'\] have NaN", replace, data, covariates=torch.full((24, 1), NAN), covariate_names=("a",))
    one_line("`covariates` is None", replace, data, covariate_names=("a",))
    one_line("`view` is None", replace, data, view_names=("a", "b"))
    one_line("`view_names` is", replace, data, view_names=())
    one_line(r"`view` has shape \(3,\)", replace, data, view=torch.zeros(3, dtype=torch.long))
    one_line("codes outside", replace, data, view=torch.tensor([0, 1, 2, 0]), view_names=("a", "b"))
    one_line("23 rows of covariates for 24 cells", data.annotated, covariates=pd.DataFrame({"a": range(23)}))


def test_everything_is_carried_along(frame, table):
    data = ExpressionData.from_frame(frame, covariates=table[["age", "donor"]])
    data = replace(data, view=torch.tensor([0, 0, 1, 1]), view_names=("rna", "protein"))
    pick = np.array([5, 0, 23])
    part = data.subset(pick)
    torch.testing.assert_close(part.covariates, data.covariates[torch.as_tensor(pick)])
    assert part.covariate_names == ("age", "donor[d2]", "donor[d3]")
    assert (part.view.tolist(), part.view_names) == ([0, 0, 1, 1], ("rna", "protein"))
    order = []
    for batch in data.minibatches(10, torch.Generator().manual_seed(0)):
        rows = [int((row == data.X).all(1).nonzero()) for row in batch.X]
        torch.testing.assert_close(batch.covariates, data.covariates[rows])
        order += rows
    assert sorted(order) == list(range(24))
    chosen = data.select_genes(["D", "A"])
    assert (chosen.view.tolist(), chosen.view_names) == ([1, 0], ("rna", "protein"))
    single = data.select_genes(["D", "C"])
    assert (single.view.tolist(), single.view_names) == ([0, 0], ("protein",))
    assert single.notes[-1] == "views without a gene left: ['rna']"
    double = data.to(dtype=torch.float64)
    assert double.covariates.dtype == torch.float64
    both = combined([data, data.subset(pick)], ["one", "two"])
    torch.testing.assert_close(both.covariates, torch.cat([data.covariates, part.covariates]))
    assert both.view.tolist() == [0, 0, 1, 1]
    one_line(
        "one has covariates .* and two has",
        combined,
        [data, replace(data, covariates=None, covariate_names=())],
        ["one", "two"],
    )
    one_line("two has views", combined, [data, replace(data, view=None, view_names=("rna",))], ["one", "two"])


def test_anndata_columns(frame, table):
    adata = anndata.AnnData(
        frame.to_numpy(), obs=table.set_index(table.index.astype(str)), var=pd.DataFrame(index=frame.columns)
    )
    data = ExpressionData.from_anndata(adata, covariate_keys=["dose", "stage"], context_key="donor")
    assert data.covariate_names == ("dose", "stage[10]")
    assert data.context_names == ("d1", "d2", "d3")
    one_line("no column 'sex' in .obs", ExpressionData.from_anndata, adata, covariate_keys=["sex"])


# -- missing values ----


def test_missing_values_pass_only_when_asked_for(frame):
    frame.iloc[3, 1] = NAN
    one_line(r"1 NaN values in the expression matrix in genes \['B'\]", ExpressionData.from_frame, frame)
    data = ExpressionData.from_frame(frame, missing=True)
    assert data.missing
    assert bool(data.X[3, 1].isnan())
    assert data.notes == ("1 of 96 values are missing (1.0%)",)
    assert data.subset(np.arange(5)).missing
    for refuse in (data.statistics, lambda: GramStatistics.from_data(data)):
        one_line(r"1 NaN values in the expression matrix in genes \['B'\]", refuse)
    assert data.subset(np.arange(4, 24)).statistics().count.tolist() == [20.0]  # nothing is missing there
    assert not ExpressionData.from_frame(frame.drop(index=3), missing=True).missing
    frame.iloc[0, 0] = np.inf
    one_line(
        r"1 infinite values in the expression matrix in genes \['A'\]", ExpressionData.from_frame, frame, missing=True
    )
    one_line("infinite", ExpressionData, sp.csr_matrix(frame.to_numpy()), tuple("ABCD"), missing=True)


@pytest.mark.parametrize("contexts", [None, ["a", "b", "b"] * 8])
def test_moments_are_over_what_is_there(frame, contexts):
    rng = np.random.default_rng(2)
    frame = frame.mask(rng.random(frame.shape) < 0.3)
    data = ExpressionData.from_frame(frame, missing=True, context=contexts)
    mean, variance = data.moments()
    np.testing.assert_allclose(mean, frame.astype(np.float32).mean(), rtol=1e-6)
    np.testing.assert_allclose(variance, frame.astype(np.float32).var(ddof=0), rtol=1e-6)
    scaled = data.normalized("zscore").X.double()
    np.testing.assert_allclose(scaled.nanmean(0), np.zeros(4), atol=1e-6)
    assert bool((scaled.isnan() == torch.as_tensor(frame.isna().to_numpy())).all())


def test_depth_is_over_what_is_there():
    frame = pd.DataFrame([[1.0, NAN, 3.0], [2.0, 2.0, 4.0]], columns=list("ABC"))
    X = ExpressionData.from_frame(frame, missing=True).normalized("log1p-cpm").X
    np.testing.assert_allclose(X[0, [0, 2]], np.log1p(1e6 * np.array([0.25, 0.75])), rtol=1e-6)
    assert bool(X[0, 1].isnan())


def test_genes_and_views_without_a_value(frame):
    frame["C"] = NAN
    one_line(r"1 genes have no value in any cell: \['C'\]", ExpressionData.from_frame, frame, missing=True)
    view = {"view": torch.tensor([0, 0, 1, 1]), "view_names": ("rna", "protein")}
    values = torch.as_tensor(frame.to_numpy(), dtype=torch.float32)
    data = ExpressionData(values, tuple("ABCD"), missing=True, **view)
    assert data.observed(genes=False).without_constant_genes().genes == ("A", "B", "D")
    values[:, 3] = NAN
    one_line(r"views \['protein'\] have no value in any of 24 cells", data.observed)
    values[:20, 2:] = 1.0
    assert data.observed().notes[-1] == "4 of 24 cells have no value of view 'protein' at all"


# -- several views ----


class Modalities:
    """What `from_mudata` uses of a MuData, so that the package is not needed here."""

    def __init__(self, mod, obs, axis=0):
        self.mod, self.obs, self.obs_names, self.axis = mod, obs, obs.index, axis


def modality(values, cells, genes, **obs):
    return anndata.AnnData(values, obs=pd.DataFrame(obs, index=cells), var=pd.DataFrame(index=genes))


@pytest.fixture
def views():
    rna = modality(np.arange(12.0).reshape(4, 3), ["c1", "c2", "c3", "c4"], ["A", "B", "CD4"], age=[1.0, 2.0, 3.0, 5.0])
    protein = modality(np.arange(6.0).reshape(3, 2) + 100, ["c4", "c5", "c1"], ["CD4", "CD8"], age=[5.0, 7.0, 1.0])
    obs = pd.DataFrame({"batch": ["x", "x", "y", "y", "y"]}, index=["c1", "c2", "c3", "c4", "c5"])
    return Modalities({"rna": rna, "protein": protein}, obs)


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_modalities_become_views(views, convert):
    views.mod["rna"].X = convert(views.mod["rna"].X)
    data = ExpressionData.from_mudata(views, covariate_keys=["age"], context_key="batch")
    assert data.genes == ("A", "B", "rna:CD4", "protein:CD4", "CD8")
    assert data.view.tolist() == [0, 0, 0, 1, 1]
    assert data.view_names == ("rna", "protein")
    expected = np.full((5, 5), NAN)
    expected[:4, :3] = np.arange(12.0).reshape(4, 3)
    expected[[3, 4, 0], 3:] = np.arange(6.0).reshape(3, 2) + 100
    np.testing.assert_array_equal(data.X, expected)
    np.testing.assert_array_equal(data.rows(np.array([4, 0])), expected[[4, 0]])
    age = np.array([1.0, 2, 3, 5, 7])
    np.testing.assert_allclose(data.covariates[:, 0], (age - age.mean()) / age.std(), rtol=1e-6)
    assert data.missing
    assert data.notes[0] == "5 cells, views: rna with 3 genes, protein with 2 genes"
    assert "1 of 5 cells have no value of view 'rna' at all" in data.notes
    assert "2 of 5 cells have no value of view 'protein' at all" in data.notes
    one_line("log1p-cpm is for one view and there are 2", data.normalized, "log1p-cpm")


def test_modalities_with_all_cells_are_complete(views):
    cells = ["c1", "c4"]
    views.mod = {"rna": views.mod["rna"][cells].copy(), "protein": views.mod["protein"][cells].copy()}
    views.obs = views.obs.loc[cells]
    views.obs_names = views.obs.index
    data = ExpressionData.from_mudata(views)
    assert not data.missing
    assert data.statistics().count.tolist() == [2.0]


def test_bad_modalities(views):
    read = ExpressionData.from_mudata
    one_line("cells have no annotation 'sex': there are", read, views, covariate_keys=["sex"])
    one_line("view 'rna': no layer 'counts'", read, views, layer="counts")
    one_line(r"`layer` names modalities \['atac'\]", read, views, layer={"atac": "counts"})
    views.mod["rna"].X[1, 1] = NAN
    one_line("1 NaN values in the expression matrix", read, views)
    assert read(views, missing=True).missing
    views.mod["rna"].obs.loc["c1", "age"] = 9.0
    one_line(r"views \['rna', 'protein'\] differ in .obs\['age'\]", read, views, missing=True, covariate_keys=["age"])
    views.mod["protein"].X[:] = NAN
    one_line(r"views \['protein'\] have no value in any of 5 cells", read, views, missing=True)
    one_line("share genes instead of cells", read, Modalities(views.mod, views.obs, axis=1))
    one_line("has no modality", read, Modalities({}, views.obs))


def test_h5mu_without_mudata_says_how_to_install_it(tmp_path, monkeypatch):
    from pyrogrn.experiments.files.readers import read_expression

    monkeypatch.setitem(sys.modules, "mudata", None)
    path = tmp_path / "a.h5mu"
    path.write_bytes(b"x")
    one_line(
        r"a\.h5mu: h5mu needs the package mudata: pip install 'pyrogrn\[multi\]'",
        read_expression,
        path,
        tfs=None,
    )
