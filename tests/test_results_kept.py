"""What is finished is kept: folders of runs, files written whole, links, locks, interrupts, full disks."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from command_line import call
from pyrogrn.experiments.commands import infer_run
from pyrogrn.experiments.commands.run_folder import UNFINISHED, RunFolder
from pyrogrn.experiments.files.file_names import file_names
from pyrogrn.experiments.files.whole import whole_file, whole_folder
from pyrogrn.models.simulators import simulate_linear

QUICK = ("--steps", "4", "--restarts", "2", "--seed", "1")


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """A small h5ad."""
    data = simulate_linear(num_genes=6, num_tfs=3, num_cells=40, seed=0).data
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    AnnData(data.X.numpy(), var=pd.DataFrame(index=list(data.genes))).write_h5ad(path)
    return path


def infer(cells, out, *more):
    return call("infer", cells, "--out", out, *QUICK, *more)


# -- folders of runs ----


def test_a_link_is_followed_and_stays(cells, tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "run"
    link.symlink_to(tmp_path / "disk" / "run")
    code, _, err = infer(cells, link)
    assert code == 0, err
    assert link.is_symlink()
    assert (tmp_path / "disk" / "run" / "edges.csv").exists()


def test_the_working_folder_is_filled(cells, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code, _, err = infer(cells, ".")
    assert code == 0, err
    assert (tmp_path / "here" / "report.html").exists()


def test_an_earlier_run_stays_until_the_new_one_is_there(cells, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert infer(cells, out)[0] == 0
    before = (out / "edges.csv").read_text()

    def fails(*_, **__):
        assert (out / "edges.csv").read_text() == before
        raise ValueError("no room")

    monkeypatch.setattr(infer_run, "write_results", fails)
    code, _, err = infer(cells, out, "--overwrite", "--seed", "2")
    assert (code, "no room" in err) == (2, True)
    assert (out / "edges.csv").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_an_interrupted_report_costs_no_fit(cells, tmp_path, monkeypatch):
    out, whole = tmp_path / "run", tmp_path / "whole"
    assert infer(cells, whole)[0] == 0

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(infer_run, "write_reports", interrupted)
        code, _, err = infer(cells, out)
    assert code == 130
    assert "the results are in" in err
    assert "--resume writes the report" in err
    assert (out / UNFINISHED).exists()
    assert (out / "edges.csv").read_bytes() == (whole / "edges.csv").read_bytes()

    code, _, err = infer(cells, out)
    assert (code, "pass --resume to finish it" in err) == (2, True)
    code, _, err = infer(cells, out, "--resume", "--normalize", "zscore")
    assert (code, "normalize differ" in err) == (2, True)
    monkeypatch.setattr(infer_run, "fit", interrupted)  # nothing is fitted again
    code, _, err = infer(cells, out, "--resume")
    assert code == 0, err
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}
    assert (out / "diagnostics.json").read_text().split("history")[0] == (whole / "diagnostics.json").read_text().split(
        "history"
    )[0]


def test_an_interrupt_before_the_first_step_promises_nothing(cells, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(infer_run, "fit", interrupted)
    code, _, err = infer(cells, tmp_path / "run")
    assert code == 130
    assert "run again" in err
    assert "--resume" not in err


def test_two_runs_do_not_share_a_folder(cells, tmp_path):
    first = RunFolder(tmp_path / "run")
    first.open()
    code, _, err = infer(cells, tmp_path / "run")
    assert (code, "another run is writing" in err) == (2, True)
    first.discard()
    assert infer(cells, tmp_path / "run")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_names_of_contexts_become_names_of_files():
    names = ["a/b", "a_b", "A_B", "x" * 300, "x" * 301, "", "ü" * 100]
    found = file_names(names)
    assert list(found) == names
    assert len({file.lower() for file in found.values()}) == len(names)
    assert max(len(file.encode()) for file in found.values()) < 140


def test_config_and_report_say_which_file_holds_which_context(tmp_path):
    values = np.random.default_rng(0).normal(size=(60, 4)).round(3)
    table = pd.DataFrame(values, columns=["TF1", "A", "B", "C"], index=[f"cell{i}" for i in range(60)])
    table["kind"] = ["a/b", "a_b", "A_B"] * 20
    table.to_csv(tmp_path / "x.csv")
    (tmp_path / "tfs.txt").write_text("TF1\n")
    quick = ("--steps", 20, "--restarts", 2, "--set", "guide.num_warmup=20")
    options = ("--tfs", tmp_path / "tfs.txt", "--context-key", "kind", "--out", tmp_path / "run")
    code, _, err = call("infer", tmp_path / "x.csv", *options, *quick)
    assert code == 0, err
    tables = json.loads((tmp_path / "run" / "config.json").read_text())["tables"]
    edges = {what["context"]: file for file, what in tables.items() if "other" not in what}
    assert set(edges) == {"a/b", "a_b", "A_B"}
    assert len({what["context"] + "|" + what["other"] for what in tables.values() if "other" in what}) == 3
    assert all((tmp_path / "run" / file).exists() for file in tables)
    page = (tmp_path / "run" / "report.html").read_text()
    for context, file in edges.items():
        assert file == f"edges_{context}.csv" or f"{context} is in {file}" in page


# -- files ----


def test_a_file_is_whole_or_absent(tmp_path):

    def fails(writing, place, message):
        with writing(place) as scratch:
            (scratch if writing is whole_file else scratch / "half").write_text("half")
            raise OSError(28, message)

    with pytest.raises(ValueError, match=r"cannot write to .*a\.csv: No space left"):
        fails(whole_file, tmp_path / "a.csv", "No space left on device")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "kept").write_text("")
    with whole_folder(tmp_path / "old") as folder:
        (folder / "new").write_text("")
    assert sorted(path.name for path in (tmp_path / "old").iterdir()) == ["kept", "new"]
    with pytest.raises(ValueError, match="full"):
        fails(whole_folder, tmp_path / "other", "full")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["pyrogrn", *sys.argv[2:]]
from pyrogrn.experiments.cli import main
main()
"""


@pytest.mark.parametrize(
    "command",
    [
        ("simulate", "linear", "--genes", "30", "--tfs", "5", "--cells", "200", "--out", "OUT"),
        ("infer", "CELLS", "--out", "OUT", *QUICK),
        ("screen", "SCREEN", "--perturbation-key", "guide", "--out", "OUT.csv"),
    ],
    ids=lambda command: command[0],
)
def test_a_file_that_grows_too_large_ends_in_one_line(command, cells, tmp_path):
    screen = tmp_path / "in"
    screen.mkdir()
    values = np.random.default_rng(0).normal(size=(60, 5))
    values[:20, 1] -= 5
    frame = pd.DataFrame(values, columns=[f"G{i}" for i in range(5)])
    frame.insert(0, "guide", ["G0"] * 20 + ["control"] * 40)
    frame.insert(0, "cell", [f"c{i}" for i in range(60)])
    frame.to_csv(screen / "screen.csv", index=False)
    work = tmp_path / "work"
    work.mkdir()
    places = {"CELLS": str(cells), "OUT": str(work / "out"), "OUT.csv": str(work / "out.csv")}
    places["SCREEN"] = str(screen / "screen.csv")
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, "20", *(places.get(word, word) for word in command)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    told = run.stderr.strip().splitlines()[-1]
    assert told.startswith("pyrogrn: error: ")
    assert "File too large" in told
    assert list(work.iterdir()) == []


# -- streams ----


def test_nobody_listens(cells, tmp_path):
    """Standard error closed, or on a full disk: the run goes on."""
    main = "import sys; from pyrogrn.experiments.cli import main; main()"
    words = [sys.executable, "-c", main, "infer", str(cells), *QUICK, "--out"]
    closed = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *words, str(tmp_path / "closed")])
    assert closed.returncode == 0
    assert (tmp_path / "closed" / "report.html").exists()
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            assert subprocess.run([*words, str(tmp_path / "full")], stderr=full).returncode == 0
            table = [sys.executable, "-c", main, "methods"]
            run = subprocess.run(table, stdout=full, stderr=subprocess.PIPE, text=True)
        assert run.returncode == 2
        assert "Traceback" not in run.stderr


# -- matrices that are not what they say ----


def damaged(path, change):
    AnnData(sp.csr_matrix(np.eye(6, dtype=np.float32))).write_h5ad(path)
    with h5py.File(path, "r+") as store:
        change(store)
    return path


def put(name, value):
    def change(store):
        del store[name]
        store[name] = np.asarray(value)

    return change


def external(store):
    attributes = dict(store["X"].attrs)
    del store["X"]
    store["X"] = h5py.ExternalLink("elsewhere.h5", "/X")
    assert attributes


def dangling(store):
    del store["X"]
    store["X"] = h5py.SoftLink("/nowhere")


def enormous(store):
    del store["X"]
    store.create_dataset("X", shape=(10_000_000, 6_000_000), chunks=(1000, 1000), dtype="f4")


DAMAGE = {
    "below zero": (put("X/indices", [-1_000_000, 1, 2, 3, 4, 5]), "an entry at -1000000"),
    "just out": (put("X/indices", [0, 1, 2, 3, 4, 6]), "indices run from 0 to 5"),
    "far out": (put("X/indices", [0, 1, 2, 3, 4, 2**30]), "indices run from 0 to 5"),
    "pointers": (put("X/indptr", [0, 1, 2, 3, 4, 5, 60]), "row pointers do not fit"),
    "pointers fall": (put("X/indptr", [0, 5, 2, 3, 4, 5, 6]), "row pointers do not fit"),
    "link out": (external, "a link into another file"),
    "link to nowhere": (dangling, "leads nowhere"),
    "claims memory": (enormous, "damaged"),
}


@pytest.mark.parametrize(("change", "told"), DAMAGE.values(), ids=DAMAGE)
def test_a_matrix_that_is_not_what_it_says(change, told, tmp_path):
    path = damaged(tmp_path / "x.h5ad", change)
    code, _, err = infer(path, tmp_path / "run")
    assert code == 2
    assert "Traceback" not in err
    assert told in err
    assert not (tmp_path / "run").exists()


# -- options and small files ----

NUMBERS = {
    "negative seed": ("simulate", "linear", "--out", "o", "--seed", "-1"),
    "no cells": ("simulate", "linear", "--out", "o", "--cells", "-1"),
    "hexadecimal": ("simulate", "linear", "--out", "o", "--genes", "0x10"),
}


@pytest.mark.parametrize("command", NUMBERS.values(), ids=NUMBERS)
def test_numbers_out_of_range_are_refused_before_anything_is_made(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(*command)
    assert code == 2
    assert err.startswith("pyrogrn: error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_word_where_a_number_belongs(cells, tmp_path):
    code, _, err = infer(cells, tmp_path / "run", "--set", "prior.edge_probability=0x10")
    assert (code, "expected a number" in err) == (2, True)


def test_a_name_too_long_to_read_is_cut(cells, tmp_path):
    names = tmp_path / "tfs.txt"
    names.write_text("x" * 10_000 + "\n")
    code, _, err = infer(cells, tmp_path / "run", "--tfs", names)
    assert code == 2
    assert len(err.splitlines()[-1]) < 1000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("node,kind\nG0000,protein,,more\n", "has 4 cells under a header of 2"),
        ("node,kind\n,protein\n", "has no node"),
        ("\x00\x01", "expected node and kind"),
        ("", "expected node and kind"),
    ],
)
def test_tables_of_nodes_that_are_none(text, told, cells, tmp_path):
    nodes, inputs = tmp_path / "nodes.csv", tmp_path / "inputs.csv"
    nodes.write_text(text)
    data = pd.DataFrame(np.eye(3), columns=["G0000", "d1", "d2"], index=["c0", "c1", "c2"])
    data.to_csv(inputs)
    expression = tmp_path / "x.csv"
    pd.DataFrame(np.eye(3) + 0.1, columns=["G0000", "G0001", "G0002"], index=["c0", "c1", "c2"]).to_csv(expression)
    words = ("infer", expression, "--method", "cellbox", "--inputs", inputs, "--nodes", nodes, "--out", tmp_path / "o")
    code, _, err = call(*words)
    assert code == 2
    assert "Traceback" not in err
    assert told in err


def test_the_lock_goes_with_its_process(tmp_path):
    """A run that was killed does not bar the next one."""
    hold = (
        "import os, sys; from pathlib import Path; from pyrogrn.experiments.commands.run_folder import RunFolder\n"
        "RunFolder(Path(sys.argv[1])).open(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", hold, str(tmp_path / "run")])
    again = RunFolder(tmp_path / "run")
    again.open()
    again.discard()
    assert list(tmp_path.iterdir()) == []
