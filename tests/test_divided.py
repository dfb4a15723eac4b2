"""The sparse sampler on a Dask cluster: the numbers of one machine, also where workers die and runs are resumed."""

import os
import signal
import threading

import numpy as np
import pandas as pd
import pytest
from pyrogrn.inference import Checkpoint, Gibbs, Posterior, SparseGibbs, fit, load_checkpoint
from pyrogrn.inference.draws.kept_edges import KeptEdges
from pyrogrn.inference.runs import cluster as cluster_module
from pyrogrn.inference.sparse import kernel
from pyrogrn.models import LinearNetwork, linear
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import PriorNetwork

distributed = pytest.importorskip("distributed", reason="Dask is the extra `cluster`")
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SHORT = SparseGibbs(num_chains=2, num_warmup=8, num_samples=8, longest=1)


@pytest.fixture(autouse=True)
def no_global_state_changed():
    """Instead of the guard of all tests: Dask's own threads draw from Python's global generator all the time."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Of networks that a test can fit."""
    monkeypatch.setattr(kernel, "PART", 7)


def network(**options):
    """Perturbed targets, which have Gram matrices of their own, and a prior network."""
    simulation = simulate_linear(
        num_genes=24, num_tfs=6, num_cells=120, edge_probability=0.3, num_perturbed=2, seed=1, **options
    )
    data = simulation.data
    frame = pd.DataFrame({"source": data.tfs[:3], "target": data.genes[8:11], "probability": [0.9, 0.5, 0.2]})
    return LinearNetwork.from_data(data, networks={"motif": PriorNetwork.from_edges(frame, name="motif")})


def same(one: Posterior, other: Posterior) -> None:
    """To the last digit."""
    assert set(one.draws) == set(other.draws)
    for site, value in one.draws.items():
        np.testing.assert_array_equal(value, other.draws[site], err_msg=site)
    for name in ("mean", "sd", "inclusion", "positive", "negative"):
        np.testing.assert_array_equal(getattr(one.moments["W"], name), getattr(other.moments["W"], name), err_msg=name)
    np.testing.assert_array_equal(one.history.elbo, other.history.elbo)
    np.testing.assert_array_equal(one.attributes["chain_inclusion"], other.attributes["chain_inclusion"])
    pd.testing.assert_frame_equal(one.edges(), other.edges(), check_exact=True)


class At:
    """Does something after a step."""

    def __init__(self, step, do):
        self.step, self.do = step, do

    def __call__(self, state):
        if state.step == self.step:
            self.do()

    def close(self):
        pass


def stop():
    raise KeyboardInterrupt


def test_two_workers_give_the_numbers_of_one_machine(client):
    model = network()
    assert len(model.own) == 2
    same(fit(model, guide=SHORT, seed=3), fit(model, guide=SHORT, seed=3, client=client))


def test_and_of_targets_that_leave_rows_out(client, monkeypatch, tmp_path):
    monkeypatch.setattr(linear, "FEW_ROWS", 10.0)
    model, path = network(), tmp_path / "fit.ckpt"
    assert not len(model.own)
    assert len(model.perturbed) == 2
    whole = fit(model, guide=SHORT, seed=3)
    same(whole, fit(model, guide=SHORT, seed=3, client=client))
    with pytest.raises(KeyboardInterrupt):
        fit(model, guide=SHORT, seed=3, callbacks=[Checkpoint(path), At(11, stop)])
    same(whole, fit(model, guide=SHORT, seed=3, client=client, resume=load_checkpoint(path)))


def test_and_where_only_edges_that_matter_are_kept(client, monkeypatch):
    monkeypatch.setattr("pyrogrn.inference.draws.moments.DRAW_BUDGET", 2000)
    model = network()
    one, other = fit(model, guide=SHORT), fit(model, guide=SHORT, client=client)
    same(one, other)
    assert KeptEdges.of(one).draws.size
    np.testing.assert_array_equal(KeptEdges.of(one).draws, KeptEdges.of(other).draws)


@pytest.mark.parametrize("step", [3, 12])
def test_a_worker_that_is_killed_costs_its_share(client, step):
    model = network()
    killed = []

    def kill():
        process = client.run(os.getpid)
        killed.append(next(iter(process.values())))
        os.kill(killed[0], signal.SIGKILL)

    found = fit(model, guide=SHORT, seed=3, client=client, callbacks=[At(step, kill)])
    assert killed
    same(fit(model, guide=SHORT, seed=3), found)


@pytest.mark.parametrize("step", [2, 8, 13])
def test_what_was_interrupted_goes_on_here_or_there(client, step, tmp_path):
    model, path = network(), tmp_path / "fit.ckpt"
    whole = fit(model, guide=SHORT)
    for first, second in ((client, client), (client, None), (None, client)):
        with pytest.raises(KeyboardInterrupt):
            fit(model, guide=SHORT, callbacks=[Checkpoint(path), At(step, stop)], client=first)
        same(whole, fit(model, guide=SHORT, resume=load_checkpoint(path), client=second))


def test_without_any_worker_the_run_ends_in_one_line(monkeypatch):
    monkeypatch.setattr(cluster_module, "ALONE", 2.0)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        retire = lambda: threading.Thread(target=cluster.scale, args=(0,)).start()
        with pytest.raises(ValueError, match=r"no Dask worker is left for 2 s.*the last checkpoint stands, resume it"):
            fit(network(), guide=SHORT, client=client, callbacks=[At(2, retire)])


def test_other_engines_and_threads_are_refused(client):
    with pytest.raises(ValueError, match="`client` is for the guide sparse, this is gibbs"):
        fit(network(), guide=Gibbs(), client=client)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as several,
        pytest.raises(ValueError, match="1 Dask workers have several threads"),
    ):
        fit(network(), guide=SHORT, client=several)


def test_runs_end_early_at_the_same_draw(client):
    data = simulate_linear(num_genes=200, num_tfs=8, num_cells=300, edge_probability=0.2, seed=0).data
    model, guide = LinearNetwork.from_data(data), SparseGibbs(num_warmup=20, shortest=50, longest=1)
    one = fit(model, guide=guide)
    assert one.history.reason == "converged"
    same(one, fit(model, guide=guide, client=client))
