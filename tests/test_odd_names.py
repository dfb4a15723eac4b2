"""Genes with names that tables and spreadsheets misread come through both, and genes without a name are refused."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from command_line import call
from pyrogrn import Posterior
from pyrogrn.experiments.files.network_files import NetworkFile, read_edges
from pyrogrn.experiments.files.readers import read_expression, read_names
from pyrogrn.experiments.files.result_tables import write_csv
from pyrogrn.priors.evidence import read_scores
from pyrogrn.priors.formats.spreadsheet import protect_table, protected, restore_names, restored

ODD = ["=1+1", "+A", "-B", "@SUM(A1)", "nan", "NA", "null", "a,b", 'say "x"', "\r", "new\nline", "#hash", "'=A", "'A"]
ODD += ["=A", "$x_$"]
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


@pytest.mark.parametrize("name", [*ODD, "''", "'", "''+A", "\tx"])
def test_protection_is_undone(name):
    assert restored(protected(name)) == name
    assert not protected(name).startswith(FORMULAS)


def test_different_names_stay_different():
    names = [*ODD, "''=A", "'+A"]
    assert len({protected(name) for name in names}) == len(names)


def test_numbers_are_left_alone():
    table = pd.DataFrame({"gene": ["-1", "A"], "weight": [-1.5, 2.0], "kept": [True, False]}, index=["=x", "y"])
    safe = protect_table(table)
    assert safe["weight"].tolist() == [-1.5, 2.0]
    assert safe["kept"].tolist() == [True, False]
    assert safe["gene"].tolist() == ["'-1", "A"]
    assert safe.index.tolist() == ["'=x", "y"]
    assert table["gene"].tolist() == ["-1", "A"], "the caller's table is not changed"
    assert restore_names(safe, ("gene",))["gene"].tolist() == ["-1", "A"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A fit of genes with odd names, the first of which regulates the others."""
    folder = tmp_path_factory.mktemp("odd")
    X = np.random.default_rng(0).normal(size=(200, len(ODD))).astype(np.float32)
    X[:, 1:] += 0.8 * X[:, :1]
    ad.AnnData(X, var=pd.DataFrame(index=ODD)).write_h5ad(folder / "cells.h5ad")
    out = folder / "run"
    code, _, err = call("infer", folder / "cells.h5ad", "--restarts", 1, "--steps", 20, "--out", out)
    assert code == 0, err
    return out


def test_edges_come_back_with_the_same_names(run):
    expected = {(s, t) for s in ODD for t in ODD if s != t}
    posterior = Posterior.load(run / "model").edges()
    assert set(zip(posterior["source"], posterior["target"], strict=True)) == expected
    table, _ = read_edges(run / "edges.csv")
    assert set(zip(table["source"], table["target"], strict=True)) == expected
    assert np.allclose(table["weight"], posterior["weight"], atol=1e-5)
    assert table["source"].tolist() == posterior["source"].tolist()
    network = NetworkFile.parse(run / "edges.csv").read("again")
    assert {*network.sources, *network.targets} == set(ODD)


def test_no_cell_of_a_table_is_a_formula(run):
    raw = pd.read_csv(run / "edges.csv", dtype={"source": str, "target": str}, keep_default_na=False)
    for column in ("source", "target"):
        assert not raw[column].str.startswith(FORMULAS).any()
    assert set(raw["source"].map(restored)) == set(ODD)


def test_predictions_name_them_too(run, tmp_path):
    for name in ODD:
        code, _, err = call("predict", run, "--knockout", name, "--draws", 10, "--out", tmp_path / "ko.csv")
        assert code == 0, (name, err)
        table = pd.read_csv(tmp_path / "ko.csv", dtype={"gene": str}, keep_default_na=False)
        assert table["gene"].map(restored).tolist() == ODD
    code, _, err = call("predict", run, "--knockout", '"a,b",nan', "--draws", 10, "--out", tmp_path / "two.csv")
    assert code == 0, err


def test_an_edge_table_scores_against_itself(run):
    code, _, err = call("score", run / "edges.csv", run / "edges.csv")
    assert code == 0, err
    assert f"{len(ODD) * (len(ODD) - 1)}" in err


def test_lists_and_scores_keep_names_that_pandas_takes_for_missing(tmp_path):
    (tmp_path / "tfs.csv").write_text("tf\nNA\nnan\n'=A\n")
    assert read_names(tmp_path / "tfs.csv") == ["NA", "nan", "=A"]
    (tmp_path / "wide.csv").write_text(",NA,B\nnan,1,2\nnull,,4\n")
    wide = read_scores(tmp_path / "wide.csv")
    assert list(wide.index) == ["nan", "null"]
    assert list(wide.columns) == ["NA", "B"]
    assert np.isnan(wide.loc["null", "NA"])
    write_csv(pd.DataFrame({"source": ["NA", "=A"], "target": ["B", "B"], "score": [1.0, 2.0]}), tmp_path / "long.csv")
    assert set(read_scores(tmp_path / "long.csv").index) == {"NA", "=A"}


def test_genes_without_a_name_are_refused(tmp_path):
    X = np.random.default_rng(0).normal(size=(20, 3))
    ad.AnnData(X, var=pd.DataFrame(index=["A", "", "B"])).write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match=r"cells.h5ad: 1 of 3 genes have no name, the first is gene 2"):
        read_expression(tmp_path / "cells.h5ad", tfs=None)
