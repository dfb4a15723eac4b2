"""What is written of networks with more edges than anyone reads: those worth it, and all where they are asked for."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from command_line import call
from pyrogrn.experiments.commands import infer_kinds
from pyrogrn.experiments.files import network_tables
from pyrogrn.experiments.files.network_tables import NetworkTables, check_parquet
from pyrogrn.inference import Gibbs, MapEstimate, SparseGibbs, datatree, fit
from pyrogrn.inference.draws import edge_table
from pyrogrn.inference.draws.edge_table import EDGE_COLUMNS, blocks_of_edges
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import Laplace

WITH_PARQUET = importlib.util.find_spec("pyarrow") is not None


@pytest.fixture(scope="module")
def data():
    return simulate_linear(num_genes=9, num_tfs=4, num_cells=80, num_contexts=2, seed=1).data


@pytest.fixture(scope="module")
def posterior(data):
    return fit(LinearNetwork.from_data(data), guide=Gibbs(num_chains=2, num_warmup=20, num_samples=30), seed=1)


@pytest.fixture
def everything_is_big(monkeypatch):
    monkeypatch.setattr(network_tables, "BIG", 7)
    monkeypatch.setattr(infer_kinds, "BIG", 7)
    monkeypatch.setattr(datatree, "MAX_TABLE", 7)
    monkeypatch.setattr(datatree, "NUM_EDGES", 5)


def test_least_keeps_the_edges_of_the_whole_table(posterior):
    whole = posterior.edges()
    for least in (0.0, 0.05, 0.5, 2.0):
        chosen = whole[whole["inclusion"] >= np.float32(least)].reset_index(drop=True)
        pd.testing.assert_frame_equal(posterior.edges(least=least), chosen, check_dtype=False)


def test_blocks_are_the_whole_table_in_another_order(posterior, monkeypatch):
    monkeypatch.setattr(edge_table, "BLOCK", 20)  # two regulators at once
    blocks = list(blocks_of_edges(posterior, level=0.5))
    assert [len(block) for block in blocks] == [16, 16]
    sort = lambda table: table.sort_values(["source", "target"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(sort(pd.concat(blocks)), sort(posterior.edges(level=0.5)))


def test_small_networks_are_written_whole(posterior, tmp_path):
    NetworkTables(posterior, 0.89).write(tmp_path)
    assert len(pd.read_csv(tmp_path / "edges.csv")) == 32


@pytest.mark.usefixtures("everything_is_big")
def test_of_a_big_network_the_edges_worth_reading_are_written(posterior, tmp_path):
    NetworkTables(posterior, 0.89).write(tmp_path)
    for context, file in ((None, "edges.csv"), *((c, f"edges_{c}.csv") for c in posterior.coords["context"])):
        found = pd.read_csv(tmp_path / file)
        assert 0 < len(found) < 32
        assert len(found) == (posterior.edges(context=context)["inclusion"] >= 0.05).sum()
    differences = next(iter(tmp_path.glob("differences_*.csv")))
    assert len(pd.read_csv(differences)) == 7
    NetworkTables(posterior, 0.89).write(tmp_path, top=20)
    assert len(pd.read_csv(tmp_path / "edges.csv")) == 20  # as many as are asked for


@pytest.mark.usefixtures("everything_is_big")
def test_a_big_point_estimate_has_its_largest_weights(data, tmp_path):
    model = LinearNetwork.from_data(data, edge_prior=Laplace(scale=0.2))
    point = fit(model, guide=MapEstimate(), num_steps=20, restarts=1)
    NetworkTables(point, 0.89).write(tmp_path)
    found = pd.read_csv(tmp_path / "edges.csv")
    assert list(found["target"]) == list(point.edges(top=7)["target"])


@pytest.mark.usefixtures("everything_is_big")
def test_the_tree_of_a_big_network_has_the_best_edges(posterior):
    tree = posterior.to_datatree()
    best = posterior.edges(top=5)
    assert list(tree["edges"].coords["edge"].values) == [
        f"{s} -> {t}" for s, t in zip(best.source, best.target, strict=True)
    ]
    np.testing.assert_allclose(tree["edges"]["mean"].values, best["weight"], rtol=1e-6)
    assert tree["edges_by_context"]["mean"].dims == ("context", "edge")


@pytest.mark.skipif(not WITH_PARQUET, reason="pyarrow is not installed: the extra `parquet`")
def test_all_edges_as_parquet(posterior, tmp_path):
    NetworkTables(posterior, 0.89, all_edges=True).write(tmp_path)
    for context, file in ((None, "edges"), *((c, f"edges_{c}") for c in posterior.coords["context"])):
        found = pd.read_parquet(tmp_path / f"{file}.parquet")
        assert tuple(found.columns) == EDGE_COLUMNS
        whole = posterior.edges(context=context)
        sort = lambda table: table.sort_values(["source", "target"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(sort(found), sort(whole), check_dtype=False, rtol=1e-6)


@pytest.mark.skipif(WITH_PARQUET, reason="pyarrow is installed")
def test_all_edges_are_refused_without_pyarrow():
    with pytest.raises(ValueError, match=r"needs pyarrow: pip install 'pyrogrn\[parquet\]'"):
        check_parquet()


def test_all_edges_need_pyarrow_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(network_tables, "find_spec", lambda name: None)
    (tmp_path / "cells.csv").write_text("cell,A,B\nc1,1,2\nc2,2,5\n")
    code, _, err = call("infer", tmp_path / "cells.csv", "--all-edges", "--out", tmp_path / "run")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "--all-edges writes edges.parquet, which needs pyarrow" in err


@pytest.mark.usefixtures("everything_is_big")
def test_the_plan_says_which_edges_are_written(tmp_path, data):
    with (tmp_path / "cells.csv").open("w") as handle:
        handle.write("," + ",".join(data.genes) + "\n")
        handle.writelines(f"c{i}," + ",".join(map(str, row)) + "\n" for i, row in enumerate(data.X.tolist()))
    code, _, err = call("plan", tmp_path / "cells.csv")
    assert code == 0, err
    assert "edges.csv (of 72 edges those of a probability of at least 0.05; --all-edges for the rest)" in err


def test_the_joint_density_of_a_large_network_is_left_out_and_said(monkeypatch):
    data = simulate_linear(num_genes=8, num_tfs=3, num_cells=40, seed=0).data
    posterior = fit(LinearNetwork.from_data(data), guide=SparseGibbs(num_chains=2, num_warmup=2, num_samples=5))
    assert {"sample_stats", "log_prior"} <= set(posterior.to_datatree().children)
    for module in ("datatree", "arviz_limits"):
        monkeypatch.setattr(f"pyrogrn.inference.{module}.MAX_DENSITY", 20)
    tree = posterior.to_datatree()
    assert not {"sample_stats", "log_prior"} & set(tree.children)
    assert "of more than 20 edges the joint density of a draw takes too much memory" in tree.attrs["limits"]
