"""The fuzzer itself: its inputs are valid before they are changed, and its workers go when it is gone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzz.cases import run_case, valid_cases
from fuzz.sources import make_expression, make_knowledge

TESTS = Path(__file__).parent
SLOW = ("infer", "train", "ablate")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    make_expression(folder)
    make_knowledge(folder)
    return folder


def test_inputs_are_valid_before_they_are_changed(sources, monkeypatch):
    from fuzz import cases

    quick = [target for target in cases.commands() if target.name.split()[0] not in SLOW]
    monkeypatch.setattr(cases, "commands", lambda: quick)
    outcomes = [run_case(1, case, sources) for case in valid_cases(sources)]
    assert len(outcomes) > 50
    assert [(o.name, o.wrong) for o in outcomes if o.wrong] == []


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_workers_leave_when_the_fuzzer_is_killed(sources):
    script = (
        "import os, time, torch\nfrom pathlib import Path\nfrom fuzz.__main__ import Worker\n"
        f"workers = [Worker(1, Path({str(sources)!r})) for _ in range(2)]\n"
        "print(*(w.process.pid for w in workers), flush=True)\ntime.sleep(100)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=TESTS, stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, workers))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")  # nobody here reaps it
