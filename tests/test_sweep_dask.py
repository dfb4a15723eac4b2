"""Sweeps on a Dask cluster of separate worker processes: the same results, also when workers are killed."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import torch
from pyrogrn.experiments.sweep import SweepError, sweep

dask = pytest.importorskip("dask", reason="Dask is the extra `cluster`")
distributed = pytest.importorskip("distributed", reason="Dask is the extra `cluster`")
# what Dask leaves to the garbage collector when a worker is killed
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
TIMEOUT = 120


@pytest.fixture(autouse=True)
def no_global_state_changed():
    """Instead of the guard of all tests: Dask's own threads draw from Python's global generator all the time."""


@pytest.fixture(autouse=True)
def by_value():
    """Worker processes cannot import this file: its functions travel whole."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def draw(configuration):
    """A number that depends on the seed, and how many threads there were."""
    if "fail" in configuration:
        raise RuntimeError(f"no answer for {configuration['fail']}\nsecond line")
    generator = torch.Generator().manual_seed(configuration["seed"])
    value = (torch.randn(300, 300, generator=generator) @ torch.randn(300, 300, generator=generator)).sum()
    return {"value": float(value), "threads": torch.get_num_threads(), "pair": (np.int64(1), np.ones(2))}


def die_once(configuration):
    """Kills its own process the first time the fatal seed is run."""
    flag = Path(configuration["flag"])
    if configuration["seed"] == 3 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return configuration["seed"]


def always_die(configuration):
    if configuration["seed"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return configuration["seed"]


def wait_for_file(configuration):
    """Notes its process, then waits until a file is there."""
    Path(configuration["folder"], f"{os.getpid()}.pid").touch()
    end = time.monotonic() + TIMEOUT
    while not Path(configuration["folder"], "go").exists():
        if time.monotonic() > end:
            raise TimeoutError("nobody said go")
        time.sleep(0.02)
    return configuration["seed"]


SEEDS = [{"seed": seed} for seed in range(6)]


@pytest.fixture(scope="module")
def client():
    """A cluster of two worker processes with one thread each."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),  # one death is bad luck, two are the task
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_dask_gives_the_same_results(client, tmp_path):
    expected = sweep(draw, SEEDS, backend="serial")
    assert sweep(draw, SEEDS, backend="dask", client=client) == expected
    assert sweep(draw, SEEDS, backend="dask", out=tmp_path) == expected  # the current client
    with pytest.raises(SweepError, match=r"1 of 7 configurations failed .*RuntimeError: no answer for me"):
        sweep(draw, [*SEEDS, {"fail": "me"}], backend="dask", client=client, out=tmp_path)


def test_dask_worker_killed_by_its_task(client, tmp_path):
    configurations = [{"seed": seed, "flag": str(tmp_path / "flag")} for seed in range(8)]
    assert sweep(die_once, configurations, backend="dask", client=client, out=tmp_path / "out") == list(range(8))


def test_dask_worker_killed_from_outside(client, tmp_path):
    """All runs wait until one of the two workers has been killed, so that it is certainly busy."""
    configurations = [{"seed": seed, "folder": str(tmp_path)} for seed in range(6)]

    def kill():
        end = time.monotonic() + TIMEOUT
        while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(int(next(tmp_path.glob("*.pid")).stem), signal.SIGKILL)
        (tmp_path / "go").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    assert sweep(wait_for_file, configurations, backend="dask", client=client) == list(range(6))
    killer.join()


def test_dask_configuration_that_kills_every_worker(client):
    configurations = [{"seed": seed, "name": f"number {seed}"} for seed in range(4)]
    with pytest.raises(SweepError, match=r"number 1: KilledWorker") as caught:
        sweep(always_die, configurations, backend="dask", client=client)
    assert caught.value.results == [0, None, 2, 3]


class Threaded:
    """A client whose workers have two threads."""

    def nthreads(self):
        return {"tcp://host:1": 2}


def test_dask_needs_a_client_with_single_threads():
    with pytest.raises(ValueError, match="use backend='dask'"):
        sweep(draw, SEEDS, client=object())
    with pytest.raises(ValueError, match="1 Dask workers have several threads"):
        sweep(draw, SEEDS, backend="dask", client=Threaded())
