"""Places and surroundings that do not do as they should: one clear line, a known exit code, nothing half-written.

Commands are forked from one process that has everything imported (`kills/server.py`); none has a terminal. What takes
longest is marked slow: `make kills` and `make test-all` run it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import call
from pyrogrn.experiments.files.scratch import remove_abandoned, scratch_of
from pyrogrn.experiments.files.simulation import write_simulation
from pyrogrn.models.simulators import simulate_linear, simulate_panel

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
QUICK = ("--steps", "4", "--restarts", "2", "--seed", "1")


@pytest.fixture(scope="module")
def inputs(server):
    """Simulated cells, a panel, and a fit of each, where every user may read."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    folder.chmod(0o755)
    cells = simulate_linear(num_genes=8, num_tfs=3, num_cells=60, edge_probability=0.5, seed=0)
    write_simulation(cells, folder / "linear", prior_noise=0.2, seed=0)
    write_simulation(simulate_panel(num_genes=5, seed=0), folder / "panel", prior_noise=0.2, seed=0)
    words = ("infer", folder / "linear" / "expression.h5ad", "--tfs", folder / "linear" / "tfs.csv", *QUICK)
    assert server.ask(here=[str(word) for word in (*words, "--out", folder / "fit")]) == 0
    words = (
        "infer",
        folder / "panel" / "expression.h5ad",
        "--method",
        "factorbox",
        "--perturbation-key",
        "perturbation",
    )
    assert (
        server.ask(
            here=[
                str(word)
                for word in (*words, "--perturbation-key", "perturbation", *QUICK, "--out", folder / "panel_fit")
            ]
        )
        == 0
    )
    values = np.random.default_rng(0).normal(size=(60, 5))
    values[:20, 1] -= 5
    frame = pd.DataFrame(values, columns=[f"G{i}" for i in range(5)], index=[f"c{i}" for i in range(60)])
    frame.insert(0, "guide", ["G0"] * 20 + ["control"] * 40)
    frame.to_csv(folder / "screen.csv", index_label="cell")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def run(server, inputs):
    """Runs one command in an empty folder ``run.work``; returns exit code and standard error."""
    work = Path(tempfile.mkdtemp(prefix="hostile-"))
    work.chmod(0o755)
    streams = Path(tempfile.mkdtemp(prefix="streams-"))

    def start(*words, **surroundings):
        places = {"stdout": str(streams / "stdout"), "stderr": str(streams / "stderr")}
        words = [str(word).replace("IN/", f"{inputs}/").replace("OUT", f"{work}/out") for word in words]
        job = places | {"words": words, "folder": str(inputs), "temporary": str(streams)} | surroundings
        return server.ask(start=job)

    def finish(number, seconds=600):
        return server.ask(wait=number, seconds=seconds)

    def once(*words, **surroundings):
        if "file size" in surroundings:  # which would hold for a file of standard error too
            (streams / "stderr").unlink(missing_ok=True)
            os.mkfifo(streams / "stderr")
            handle = os.open(streams / "stderr", os.O_RDWR | os.O_NONBLOCK)
            code = finish(start(*words, **surroundings))
            error = os.read(handle, 1 << 16).decode()
            os.close(handle)
            return code, error
        code = finish(start(*words, **surroundings))
        return code, (streams / "stderr").read_text() if (streams / "stderr").exists() else ""

    once.work, once.start, once.finish, once.streams = work, start, finish, streams
    yield once
    shutil.rmtree(work)
    shutil.rmtree(streams)


ABLATE = ("ablate", "IN/linear/expression.h5ad", "--tfs", "IN/linear/tfs.csv", "--prior", "p=IN/linear/prior.csv",
          "--seeds", "0", "--chains", "2", "--steps", "4", "--backend", "serial")  # fmt: skip
TRAIN = ("train", "glad-tf", "--family", "compact", "--batches", "2", "--graphs", "1", "--steps", "4",
         "--iterations", "2")  # fmt: skip
INFER = ("infer", "IN/linear/expression.h5ad", "--tfs", "IN/linear/tfs.csv", *QUICK)
WRITING = {
    "infer": (*INFER, "--out", "OUT"),
    "ablate": (*ABLATE, "--out", "OUT"),
    "train": (*TRAIN, "--out", "OUT.npz"),
    "sweep": ("sweep", "--out", "OUT"),
    "simulate": ("simulate", "linear", "--genes", "30", "--tfs", "5", "--cells", "200", "--out", "OUT"),
    "flux": ("flux", "IN/panel_fit", "--out", "OUT.csv"),
    "convert": ("convert", "IN/linear/network.csv", "OUT.tsv", "--to", "edges"),
    "predict": ("predict", "IN/fit", "--all-knockouts", "--out", "OUT.csv"),
    "screen": ("screen", "IN/screen.csv", "--perturbation-key", "guide", "--out", "OUT.csv"),
}


def one_line(code, error, *told):
    """A refusal: exit code 2, the last line says why, and no traceback."""
    assert "Traceback" not in error, error
    assert "Exception ignored" not in error, error
    assert code == 2, error
    last = error.strip().splitlines()[-1]
    assert "error: " in last
    assert any(text in last for text in told), last


def cases(*slow):
    """All that write; those named run in `make kills`."""
    marked = {name: [pytest.mark.slow] if name in slow else [] for name in WRITING}
    return [pytest.param(words, id=name, marks=marked[name]) for name, words in WRITING.items()]


def nothing_half_written(run, words):
    """Of a sweep, the folder stays, for results that are finished."""
    left = [path for path in run.work.rglob("*") if path.is_file()]
    assert left == []
    assert words[0] == "sweep" or list(run.work.iterdir()) == []


@pytest.mark.parametrize("words", cases("infer", "sweep"))
def test_a_file_cannot_grow(words, run):
    """As on a full disk, by a limit of the process; that of a sweep has room for the locks of its workers."""
    code, error = run(*words, **{"file size": 100 if words[0] == "sweep" else 20})
    one_line(code, error, "File too large")
    nothing_half_written(run, words)


def test_workers_that_cannot_be_started(run):
    """No room for their locks in shared memory."""
    one_line(*run(*WRITING["sweep"], **{"file size": 20}), "use backend='serial'")
    one_line(*run(*ABLATE[:-1], "loky", "--out", "OUT_2", **{"file size": 20}), "File too large", "--backend serial")
    one_line(*run(*TRAIN, "--workers", "2", "--out", "OUT.npz", **{"file size": 20}), "--workers 1", "File too large")


@pytest.mark.parametrize("words", cases("infer", "sweep", "train"))
def test_a_full_disk(words, run):
    if sys.platform != "linux" or os.getuid():
        pytest.skip("only root mounts a small disk; the limit on files is tested everywhere")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", run.work], capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        room = 0 if words[0] in ("convert", "predict", "screen") else 4_000  # which write a few rows
        (run.work / "full").write_bytes(bytes(16_384 - room))
        code, error = run(*words)
        (run.work / "full").unlink()
        one_line(code, error, "No space left on device")
        nothing_half_written(run, words)
    finally:
        subprocess.run(["umount", "--lazy", run.work], check=True)


@pytest.mark.parametrize("words", WRITING.values(), ids=WRITING)
def test_a_folder_that_may_not_be_written(words, run):
    run.work.chmod(0o555)
    one_line(*run(*words, **{"permissions hold": True}), "ermission denied", "no permission")
    assert list(run.work.iterdir()) == []


@pytest.mark.parametrize("stdout", ["closed", "pipe", "/dev/full"])
def test_results_that_nobody_takes(stdout, run):
    if stdout == "/dev/full" and not Path(stdout).exists():
        pytest.skip("no /dev/full")
    told = {"closed": "standard output is closed", "pipe": "nobody reads standard output", "/dev/full": "No space left"}
    for words in (("score", "IN/fit/edges.csv", "IN/linear/network.csv"), ("methods", "--json")):
        one_line(*run(*words, stdout=stdout), told[stdout])


@pytest.mark.parametrize("stderr", ["closed", "pipe", "/dev/full"])
def test_nobody_listens(stderr, run):
    for words in (WRITING["predict"], WRITING["simulate"]):
        code, _ = run(*(str(word).replace("OUT", f"OUT_{words[0]}") for word in words), stderr=stderr)
        assert code == 0, words[0]
    assert len(list(run.work.iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("stderr", ["closed", "pipe", "/dev/full"])
def test_nobody_listens_to_a_fit(stderr, run):
    assert run(*WRITING["infer"], stderr=stderr)[0] == 0
    assert (run.work / "out" / "report.html").exists()


def test_memory_that_is_not_there(run):
    words = ("simulate", "linear", "--genes", "3000", "--tfs", "50", "--cells", "20000", "--out", "OUT")
    one_line(*run(*words, memory=60_000_000), "memory")
    assert list(run.work.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["infer", "ablate", "train"])
def test_two_runs_at_once(name, run):
    """The second is refused, the first goes on and finishes."""
    more = {"infer": ("--steps", "400"), "ablate": ("--steps", "200"), "train": ("--steps", "200")}[name]
    first = run.start(*WRITING[name], *more, stderr=str(run.streams / "first"))
    while not list(run.work.glob("*.lock")):
        assert run.finish(first, 0.02) is None, (run.streams / "first").read_text()
    one_line(*run(*WRITING[name], *more), "another run is writing", "pass --resume to go on")
    assert run.finish(first) == 0, (run.streams / "first").read_text()
    assert len(list(run.work.iterdir())) == 1


@pytest.mark.slow
def test_a_folder_that_is_removed_while_it_is_filled(run):
    number = run.start(*WRITING["infer"])
    while not (run.work / "out.partial").exists():
        assert run.finish(number, 0.02) is None
    shutil.rmtree(run.work / "out.partial")
    code = run.finish(number)
    error = (run.streams / "stderr").read_text()
    assert "Traceback" not in error, error
    assert code == 0, error
    assert (run.work / "out" / "report.html").exists()


@pytest.mark.slow
def test_a_clock_that_goes_back(inputs, tmp_path, monkeypatch):
    import itertools
    import time

    now = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    words = [str(word).replace("IN/", f"{inputs}/").replace("OUT", str(tmp_path / "out")) for word in WRITING["infer"]]
    code, _, error = call(*words)
    assert code == 0, error
    assert (tmp_path / "out" / "edges.csv").read_bytes() == (inputs / "fit" / "edges.csv").read_bytes()


@pytest.mark.slow
def test_no_home_and_no_language(inputs, tmp_path):
    """A fresh process without HOME, whose caches cannot be written, with ``LC_ALL=C`` and names beyond ASCII."""
    data = simulate_linear(num_genes=6, num_tfs=3, num_cells=40, seed=0).data
    genes = ["Gén", "βCat", "基因", *data.genes[3:]]
    frame = pd.DataFrame(data.X.numpy(), columns=genes, index=[f"c{i}" for i in range(40)])
    frame.to_csv(tmp_path / "Zellen_ü.csv", index_label="cell", encoding="utf-8")
    (tmp_path / "tfs_β.txt").write_text("Gén\nβCat\n基因\n", encoding="utf-8")
    out = tmp_path / "Läufe"
    nowhere = tmp_path / "nowhere"
    nowhere.write_text("a file: no folder can be made in it")
    places = {name: str(nowhere / "x") for name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS") if name in os.environ}
    main = "from pyrogrn.experiments.entry import main; main()"
    words = ["infer", tmp_path / "Zellen_ü.csv", "--tfs", tmp_path / "tfs_β.txt", *QUICK, "--out", out]
    surroundings = kept | places | {"LC_ALL": "C"}
    command = [sys.executable, "-c", main, *words]
    done = subprocess.run(command, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, cwd=tmp_path)
    error = done.stderr.decode(errors="replace")
    assert done.returncode == 0, error
    assert "Traceback" not in error
    assert "基因" in (out / "report.html").read_text(encoding="utf-8")
    assert set(pd.read_csv(out / "edges.csv", encoding="utf-8")["source"]) == set(genes[:3])


def test_what_killed_processes_left_goes_with_the_next(tmp_path):
    """Scratch files of dead processes go, those of living ones stay."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / "table.csv"
    own = scratch_of(path)
    dead = own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
    other = scratch_of(tmp_path / "other.csv")
    for file in (own, dead, other):
        file.write_text("")
    remove_abandoned(path)
    assert sorted(tmp_path.iterdir()) == sorted([own, other])
    assert len(scratch_of(tmp_path / ("x" * 255)).name) < 255


def test_an_interrupt_in_a_destructor_is_not_lost():
    """Python would print it and go on."""
    program = """
import os, signal, time
from pyrogrn.experiments.streams import catch_signals
class Ends:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests themselves run in the background
catch_signals()
try:
    Ends()
    time.sleep(60)
except KeyboardInterrupt:
    raise SystemExit(130)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")
