"""Work in a copy of the process: what it returns and raises, and that none is left."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call
from pyrogrn.experiments.commands import infer_run, infer_tuning
from pyrogrn.inference.runs import beside as runs_beside
from pyrogrn.inference.runs.beside import Beside, beside, can_fork
from pyrogrn.models.simulators import simulate_linear

pytestmark = pytest.mark.skipif(not can_fork(), reason="only on Linux is there such a copy")


LARGE = 3_000_000  # bytes, more than a pipe holds


class Odd(Exception):
    """An error that cannot be sent."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.held = threading.Lock()


def children() -> list[int]:
    return [int(pid) for pid in Path("/proc/self/task", str(os.getpid()), "children").read_text().split()]


@pytest.fixture(autouse=True)
def others():
    """Children that other tests have left, to which no copy is added."""
    before, threads = set(children()), torch.get_num_threads()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # workers of a test run ignore interrupts
    yield before
    signal.signal(signal.SIGINT, handler)
    torch.set_num_threads(threads)  # which --threads has set
    assert set(children()) <= before


@pytest.mark.parametrize("apart", [True, False])
def test_it_returns_what_the_work_does_with_what_it_is_sent(apart):
    own = os.getpid()

    def work(receive):
        return os.getpid() != own, torch.get_num_threads(), receive() + receive()

    with beside(work, apart=apart) as task:
        task.send(np.arange(3))
        task.send(10)
        elsewhere, threads, total = task.result()
    assert (elsewhere, threads) == (apart, 1 if apart else torch.get_num_threads())
    np.testing.assert_array_equal(total, [10, 11, 12])


@pytest.mark.parametrize("apart", [True, False])
def test_errors_come_back_as_they_are(apart):
    def work(_):
        raise ValueError("no such gene")

    with beside(work, apart=apart) as task, pytest.raises(ValueError, match="no such gene") as found:
        task.result()
    assert str(found.value) == "no such gene"
    if apart:
        assert "in work" in found.value.__notes__[0]  # where it happened


def test_an_error_that_cannot_be_sent_comes_in_words():
    def work(_):
        raise Odd("held fast")

    with beside(work, apart=True) as task, pytest.raises(RuntimeError, match="held fast"):
        task.result()


def test_the_work_of_a_copy_that_is_killed_is_done_here(caplog):
    own = os.getpid()

    def work(receive):
        found = receive()
        if os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    with beside(work, apart=True) as task:
        task.send(3)
        assert task.result() == 3
    assert "was killed" in caplog.text


@pytest.mark.parametrize("asks", [True, False])
def test_both_sides_may_say_more_than_a_pipe_holds(asks):
    work = lambda receive: receive() + b"more" if asks else bytes(LARGE)
    with beside(work, apart=True) as task:
        task.send(bytes(LARGE))
        assert task.result() == bytes(LARGE) + b"more" * asks


def test_the_copy_ends_with_the_block_and_cleans_up(tmp_path):
    begun, kept = tmp_path / "begun", tmp_path / "kept"

    def work(_):
        try:
            begun.touch()
            time.sleep(60)
        finally:
            kept.touch()

    with suppress(KeyboardInterrupt), beside(work, apart=True):
        while not begun.exists():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert kept.exists()


@pytest.mark.parametrize("when", ["before it asks", "before it answers"])
def test_the_work_of_a_copy_that_stands_still_is_done_here(when, others, monkeypatch, caplog):
    monkeypatch.setattr(runs_beside, "STILL", 0.1)
    monkeypatch.setattr(runs_beside, "LOOK", 0.05)
    own = os.getpid()

    def work(receive):
        if os.getpid() != own and when == "before it asks":
            time.sleep(60)
        found = receive()
        if os.getpid() != own:
            time.sleep(60)
        return len(found)

    with beside(work, apart=True) as task:
        task.send(bytes(LARGE))
        assert task.result() == LARGE
        assert set(children()) <= others
    assert "stands still" in caplog.text


def test_a_copy_that_works_is_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(runs_beside, "STILL", 0.4)
    monkeypatch.setattr(runs_beside, "LOOK", 0.05)

    def work(_):
        end = time.process_time() + 1.0
        while time.process_time() < end:
            pass
        return os.getpid()

    with beside(work, apart=True) as task:
        assert task.result() != os.getpid()
    assert not caplog.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_the_moment_of_the_fork_is_for_this_process(number, monkeypatch):
    """The copy never goes on into what called it."""
    fork, came = os.fork, []

    def interrupted():
        os.kill(os.getpid(), number)  # it is held back
        return fork()

    monkeypatch.setattr(os, "fork", interrupted)
    before = signal.signal(number, lambda *_: came.append(os.getpid()))
    try:
        with beside(lambda _: os.getpid(), apart=True) as task:
            assert task.result() != os.getpid()
    finally:
        signal.signal(number, before)
    assert came == [os.getpid()]


@pytest.mark.parametrize("to", ["this thread", "another"])
def test_an_interrupt_at_the_moment_of_the_fork_leaves_no_copy(to, others, monkeypatch):
    fork, end = os.fork, threading.Event()

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        return fork()

    monkeypatch.setattr(os, "fork", interrupted)
    if to == "another":  # which does not hold it back
        threading.Thread(target=end.wait).start()
    try:
        with pytest.raises(KeyboardInterrupt), beside(lambda _: time.sleep(60), apart=True):
            raise AssertionError("the block has begun")
    finally:
        end.set()
    assert set(children()) <= others


def test_an_interrupt_while_the_copy_ends_leaves_none(others, monkeypatch):
    wait = os.waitpid

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return wait(*arguments)

    monkeypatch.setattr(os, "waitpid", interrupted)
    with pytest.raises(KeyboardInterrupt), beside(lambda _: time.sleep(60), apart=True):
        pass
    assert set(children()) <= others


def test_nobody_may_wait_for_copies():
    """As some managers of services start their programs."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with beside(lambda _: 3, apart=True) as task:
            assert task.result() == 3
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_an_interrupt_of_the_terminal_is_for_the_other_process():
    def work(receive):
        os.kill(os.getpid(), signal.SIGINT)
        return receive()

    with beside(work, apart=True) as task:
        task.send("done")
        assert task.result() == "done"


def test_the_copy_does_not_outlive_its_process():
    code = (
        "import os, time\n"
        "from pyrogrn.inference.runs.beside import Beside\n"
        "task = Beside(lambda _: time.sleep(60))\n"
        "task.start()\n"
        "print(task._pid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    place = Path("/proc", done.stdout.strip())
    for _ in range(500):
        if not place.exists() or "\nState:\tZ" in (place / "status").read_text():
            return
        time.sleep(0.01)
    raise AssertionError("it goes on")


# -- infer ----


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    place = tmp_path_factory.mktemp("cells")
    data = simulate_linear(num_genes=24, num_tfs=6, num_cells=60, seed=0).data
    table = [["cell", *data.genes]] + [[f"c{i}", *map(str, row)] for i, row in enumerate(data.X.tolist())]
    (place / "cells.csv").write_text("\n".join(",".join(row) for row in table))
    (place / "tfs.txt").write_text("\n".join(data.tfs))
    return place


def infer(cells, out, *words):
    return call(
        *("infer", cells / "cells.csv", "--method", "linear", "--tfs", cells / "tfs.txt", "--out", out),
        *("--steps", "20", "--set", "calibrate.targets=12", "--set", "calibrate.worlds=2"),
        *("--set", "calibrate.warmup=5", "--set", "calibrate.samples=5", *words),
    )


def test_a_run_beside_its_trial_writes_the_same(cells, tmp_path, monkeypatch):
    made = []
    begin = Beside.__init__

    def counted(self, work):
        made.append(work)
        begin(self, work)

    monkeypatch.setattr(Beside, "__init__", counted)
    for threads, copies in ((1, 0), (2, 2)):  # trial and report
        code, _, err = infer(cells, tmp_path / str(threads), "--threads", threads)
        assert code == 0, err
        assert "on made targets: as the model states them" in err
        assert len(made) == copies
    one, two = tmp_path / "1", tmp_path / "2"
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    assert (one / "edges.csv").read_bytes() == (two / "edges.csv").read_bytes()
    trial = [(place / "config.json").read_text().split('"calibration"')[1] for place in (one, two)]
    assert trial[0] == trial[1]


def test_an_interrupted_fit_leaves_no_trial_behind(cells, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(infer_run, "fit", interrupted)
    code, _, err = infer(cells, tmp_path / "run", "--threads", "2")
    assert (code, "interrupted" in err) == (130, True)
    assert not list(tmp_path.iterdir())


def test_a_fit_that_waits_for_its_trial_is_kept(cells, tmp_path, monkeypatch):
    own, look, fit, resumed = os.getpid(), infer_tuning.tried, infer_run.fit, []

    def slow(*arguments, **settings):
        if os.getpid() != own:
            time.sleep(60)
        return look(*arguments, **settings)

    def interrupted(_):
        os.kill(own, signal.SIGINT)
        return 0

    def fitted(*arguments, **settings):
        resumed.append(settings["resume"])
        return fit(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(infer_tuning, "tried", slow)
        patch.setattr(runs_beside, "_ticks", interrupted)  # the first look at a copy that is waited for
        patch.setattr(runs_beside, "LOOK", 0.05)
        code, _, err = infer(cells, tmp_path / "run", "--threads", "2")
    assert (code, "continue with --resume" in err) == (130, True), err
    monkeypatch.setattr(infer_run, "fit", fitted)
    for name, *words in (("run", "--resume"), ("whole",)):
        code, _, err = infer(cells, tmp_path / name, "--threads", "2", *words)
        assert code == 0, err
    assert resumed[0]["step"] == resumed[0]["total"]
    assert (tmp_path / "run" / "edges.csv").read_bytes() == (tmp_path / "whole" / "edges.csv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"run", "whole"}


def test_a_fit_that_diverges_beside_its_trial_leaves_nothing(cells, tmp_path, monkeypatch):
    fit = infer_run.fit

    def diverges(*arguments, **settings):
        posterior = fit(*arguments, **settings)
        assert settings["callbacks"][1].path.exists()
        return replace(posterior, history=replace(posterior.history, reason="diverged at block 3"))

    monkeypatch.setattr(infer_run, "fit", diverges)
    code, _, err = infer(cells, tmp_path / "run", "--threads", "2")
    assert (code, "diverged at block 3" in err) == (2, True)
    assert not list(tmp_path.iterdir())


def test_what_the_report_refuses_costs_no_fit(cells, tmp_path, monkeypatch):
    def refuses(*_, **__):
        raise ValueError("no page")

    with monkeypatch.context() as patch:
        patch.setattr("pyrogrn.inference.posterior.Posterior.diagnose", refuses)
        code, _, err = infer(cells, tmp_path / "run", "--threads", "2")
    assert (code, err.splitlines()[-1]) == (2, "pyrogrn: error: no page")
    assert (tmp_path / "run" / "unfinished.txt").exists()
    code, _, err = infer(cells, tmp_path / "run", "--threads", "2", "--resume")
    assert code == 0, err
    assert not (tmp_path / "run" / "unfinished.txt").exists()
