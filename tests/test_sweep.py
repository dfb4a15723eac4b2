"""Sweeps: equal results on every backend, resumable, failures and dead workers by name."""

import json
import os
import signal
import sys
import types
from functools import partial
from multiprocessing.resource_tracker import ResourceTracker
from pathlib import Path

import cloudpickle
import numpy as np
import pyrogrn.inference  # noqa: F401  now, because what it imports moves Python's global generator
import pytest
import torch
from pyrogrn.experiments.sweep import SweepError, sweep
from pyrogrn.inference.runs import workers


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


def count_runs(configuration):
    with open(configuration["log"], "a", encoding="utf-8") as handle:
        handle.write(f"{configuration['seed']}\n")
    if configuration["seed"] == configuration.get("bad"):
        raise KeyError("bad")
    return configuration["seed"] ** 2


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


SEEDS = [{"seed": seed} for seed in range(6)]


def test_backends_agree_and_results_are_plain():
    serial = sweep(draw, SEEDS, backend="serial")
    assert sweep(draw, SEEDS, backend="loky", jobs=2) == serial
    assert [r["threads"] for r in serial] == [1] * 6
    assert serial[0]["pair"] == [1, [1.0, 1.0]]
    assert len({r["value"] for r in serial}) == 6


def test_finished_runs_are_not_repeated_and_equal_ones_run_once(tmp_path):
    log = tmp_path / "log"
    configurations = [{"seed": seed, "log": str(log)} for seed in (2, 3, 2)]
    first = sweep(count_runs, configurations[:1], out=tmp_path / "out", backend="serial")
    both = sweep(count_runs, configurations, out=tmp_path / "out", backend="loky", jobs=2)
    again = sweep(count_runs, configurations, out=tmp_path / "out", backend="serial")
    assert (first, both, again) == ([4], [4, 9, 4], [4, 9, 4])
    assert log.read_text().split() == ["2", "3"]
    names = [p.name for p in (tmp_path / "out").iterdir()]
    assert len(names) == 2
    assert all(name.endswith(".json") and not name.startswith(".") for name in names)
    stored = json.loads((tmp_path / "out" / names[0]).read_text())
    assert stored["function"].endswith("test_sweep.count_runs")
    assert stored["result"] == stored["configuration"]["seed"] ** 2


@pytest.mark.parametrize("backend", ["serial", "loky"])
def test_a_failure_is_named_and_loses_nothing(tmp_path, backend):
    configurations = [{"seed": 0}, {"name": "hopeless", "fail": "this one", "seed": 1}, {"seed": 2}]
    with pytest.raises(SweepError, match=r"1 of 3 configurations failed \(hopeless: RuntimeError: no answer for this"):
        sweep(draw, configurations, out=tmp_path, backend=backend)
    with pytest.raises(ValueError, match="hopeless") as caught:
        sweep(draw, configurations, out=tmp_path, backend=backend)
    assert "\n" not in str(caught.value)
    assert [r is None for r in caught.value.results] == [False, True, False]
    assert "second line" in caught.value.failures[1]["traceback"]
    errors = list(tmp_path.glob("*.error.json"))
    assert len(errors) == 1
    assert len(list(tmp_path.glob("*.json"))) == 3


def test_what_failed_is_run_again(tmp_path):
    log = tmp_path / "log"
    bad = [{"seed": seed, "log": str(log), "bad": 1} for seed in range(3)]
    out = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(SweepError, match="KeyError"):
            sweep(count_runs, bad, out=out, backend="serial")
    assert log.read_text().split() == ["0", "1", "2", "1"]


def test_interruption_keeps_what_is_done(tmp_path):
    log = tmp_path / "log"
    configurations = [{"seed": seed, "log": str(log)} for seed in range(4)]

    with pytest.raises(KeyboardInterrupt):
        sweep(interrupt_third, configurations, out=tmp_path / "out", backend="serial")
    assert len(list((tmp_path / "out").glob("*.json"))) == 2


def interrupt_third(configuration):
    if configuration["seed"] == 2:
        raise KeyboardInterrupt
    return count_runs(configuration)


@pytest.mark.skipif(sys.platform == "win32", reason="no signal masks there")
def test_workers_never_get_an_interrupt(monkeypatch):
    """Nor those that start with Python's resource tracker, which lifts the block when it starts."""
    tracker = ResourceTracker()
    monkeypatch.setattr(workers.resource_tracker, "ensure_running", tracker.ensure_running)
    with workers.startable("use another"):
        tracker.ensure_running()  # as joblib does before its first worker
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    os.close(tracker._fd)  # which ends it
    os.waitpid(tracker._pid, 0)


def test_a_killed_process_loses_nothing(tmp_path):
    configurations = [{"seed": seed, "flag": str(tmp_path / "flag")} for seed in range(8)]
    assert sweep(die_once, configurations, out=tmp_path / "out", jobs=2) == list(range(8))


def test_a_sweep_without_a_terminal_says_how_far_it_is(capsys):
    sweep(draw, [{"seed": seed} for seed in range(20)], backend="serial", progress=True)
    told = capsys.readouterr().err.splitlines()
    assert told == [f"{done} of 20 runs" for done in range(2, 21, 2)]
    sweep(draw, [{"seed": 0}], backend="serial")
    assert not capsys.readouterr().err


def test_a_configuration_that_kills_its_process_fails_by_name():
    configurations = [{"seed": seed, "name": f"number {seed}"} for seed in range(5)]
    with pytest.raises(SweepError, match=r"1 of 5 configurations failed \(number 1: WorkerDied") as caught:
        sweep(always_die, configurations, jobs=2)
    assert caught.value.results == [0, None, 2, 3, 4]


def test_a_function_that_processes_cannot_read(monkeypatch):
    nowhere = types.ModuleType("only_in_this_process")
    exec("def one(configuration):\n    return 1", nowhere.__dict__)
    monkeypatch.setitem(sys.modules, nowhere.__name__, nowhere)
    with pytest.raises(SweepError, match=r"6 of 6 configurations failed .*ModuleNotFoundError: No module named"):
        sweep(nowhere.one, SEEDS)


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="unknown backend 'threads'"):
        sweep(draw, SEEDS, backend="threads")
    with pytest.raises(ValueError, match="only backend='loky' has jobs"):
        sweep(draw, SEEDS, backend="serial", jobs=2)
    with pytest.raises(ValueError, match="jobs=0"):
        sweep(draw, SEEDS, jobs=0)
    with pytest.raises(ValueError, match="no name of its own"):
        sweep(partial(draw), SEEDS)
    with pytest.raises(ValueError, match="no name of its own"):
        sweep(lambda c: 1, SEEDS)
    with pytest.raises(ValueError, match=r"configuration 1 cannot be stored .*PosixPath"):
        sweep(draw, [{"seed": 1}, {"seed": tmp_path}])
    with pytest.raises(ValueError, match="configuration 0 cannot be stored"):
        sweep(draw, [{"seed": float("nan")}])
    with pytest.raises(ValueError, match="keys are not all text"):
        sweep(draw, [{1: 2}])
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot write to"):
        sweep(draw, SEEDS, out=tmp_path / "file", backend="serial")
    sweep(count_runs, [{"seed": 1, "log": str(tmp_path / "log")}], out=tmp_path / "out", backend="serial")
    next((tmp_path / "out").glob("*.json")).write_text("{")
    with pytest.raises(ValueError, match="is no result of a sweep"):
        sweep(count_runs, [{"seed": 1, "log": str(tmp_path / "log")}], out=tmp_path / "out", backend="serial")
    with pytest.raises(SweepError, match="neither a plain value nor a numpy array"):
        sweep(return_object, SEEDS[:1], backend="serial")


def return_object(configuration):
    return object()


def test_nothing_to_do():
    assert sweep(draw, []) == []
