"""``infer --scheduler``: the edges of one machine, and one line where the scheduler is not as it should be."""

import sys
from contextlib import contextmanager

import pandas as pd
import pytest
from command_line import call
from pyrogrn.experiments.commands import scheduler
from pyrogrn.inference.sparse import kernel

distributed = pytest.importorskip("distributed", reason="Dask is the extra `cluster`")
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def no_global_state_changed():
    """Instead of the guard of all tests: Dask's own threads draw from Python's global generator all the time."""


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells") / "data"
    options = ("--genes", 20, "--tfs", 5, "--cells", 80, "--seed", 1)
    assert call("simulate", "linear", *options, "--out", folder)[0] == 0
    return folder / "expression.h5ad", "--tfs", folder / "tfs.csv"


@contextmanager
def cluster_of(workers, **options):
    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1", **options
    ) as cluster:
        yield cluster.scheduler_address


def refused(words, *arguments):
    code, _, err = call(*arguments)
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith("pyrogrn: error: ")
    assert words in last


def test_a_scheduler_that_does_not_answer_is_one_line(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "PATIENCE", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense", "tcp://"):
        out = tmp_path / "run"
        refused(f"no Dask scheduler answers at {address}: ", "infer", *cells, "--scheduler", address, "--out", out)
        assert not out.exists()


def test_a_scheduler_without_workers_or_dask_is_one_line(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "WORKERS", 1)
    command = ("infer", *cells, "--out", tmp_path / "run", "--scheduler")
    with cluster_of(0) as address:
        refused(f"the Dask scheduler at {address} has no workers: start some", *command, address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    refused("--scheduler needs Dask: install pyrogrn[cluster]", *command, "local")


def test_only_the_sparse_sampler_takes_one(cells, tmp_path):
    with cluster_of(1, processes=True) as address:
        command = ("infer", *cells, "--scheduler", address, "--out", tmp_path / "run")
        refused("--scheduler is for the guide sparse, this is gibbs", *command, "--guide", "gibbs")
    words = "--scheduler does not go with --method ppca, which infers in one process"
    refused(words, "infer", cells[0], "--scheduler", "local", "--method", "ppca", "--out", tmp_path / "run")


def test_edges_are_those_of_one_machine(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "PART", 8)
    options = ("infer", *cells, "--steps", 10, "--set", "calibrate.targets=8", "--set", "calibrate.worlds=2")
    assert call(*options, "--out", tmp_path / "one")[0] == 0
    monkeypatch.setattr(scheduler, "_processors", lambda: 2)
    code, _, told = call(*options, "--scheduler", "local", "--out", tmp_path / "two")
    assert code == 0, told
    assert "targets are divided over 2 Dask worker(s)" in told
    one, two = (pd.read_csv(tmp_path / name / "edges.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert "the scheduler is not asked" in call("plan", *cells, "--scheduler", "local")[2]
