"""The command line: the main job, and every bad input in one line with exit code 2 and nothing half-written."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields

import anndata
import numpy as np
import pandas as pd
import pyrogrn
import pytest
import torch
from command_line import call
from pyrogrn.experiments.commands.grouped import GROUPS
from pyrogrn.experiments.commands.infer_options import InferOptions
from pyrogrn.experiments.fitting import METHODS
from pyrogrn.inference import EDGE_COLUMNS

QUICK = ["--set", "guide.num_warmup=30", "--steps", "30", "--restarts", "2"]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Files of a small simulation."""
    folder = tmp_path_factory.mktemp("simulated")
    from pyrogrn.experiments.files.simulation import write_simulation
    from pyrogrn.models.simulators import simulate_linear

    simulation = simulate_linear(num_genes=20, num_tfs=5, num_cells=200, num_perturbed=2, edge_probability=0.25, seed=1)
    write_simulation(simulation, folder, prior_noise=0.2, seed=1)
    return folder


@pytest.fixture(scope="module")
def run(simulated, tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("finished") / "run"
    code, _, err = call(
        "infer",
        simulated / "expression.h5ad",
        "--tfs",
        simulated / "tfs.csv",
        "--prior",
        f"motif={simulated / 'prior.csv'}",
        "--perturbation-key",
        "perturbation",
        "--truth",
        simulated / "network.csv",
        "--out",
        out,
        *QUICK,
    )
    assert code == 0, err
    said = re.search(r"against the known network: average precision (\S+) \(chance", err)
    assert said, err
    (out / "report.html").read_text().index(f"<strong>{said[1]}</strong><span>average precision</span>")
    return out


def test_infer_writes_everything(run):
    assert {p.name for p in run.iterdir()} == {
        "edges.csv",
        "links.csv",
        "posterior.nc",
        "diagnostics.json",
        "report.html",
        "config.json",
        "model",
    }
    edges = pd.read_csv(run / "edges.csv")
    assert tuple(edges.columns.drop("inclusion_model")) == EDGE_COLUMNS
    assert len(edges) == 5 * 20 - 5
    assert edges["prior"].max() > 0
    checks = json.loads((run / "diagnostics.json").read_text())
    assert {"verdict", "checks", "history"} <= set(checks)
    config = json.loads((run / "config.json").read_text())
    assert config["seed"] == 0
    assert "Gibbs" in config["guide"]
    assert not run.with_name("run.partial").exists()


def test_predict_one_and_all(run, tmp_path):
    code, _, err = call("predict", run, "--knockout", "G0001", "--out", tmp_path / "one.csv")
    assert code == 0, err
    table = pd.read_csv(tmp_path / "one.csv")
    assert list(table.columns) == ["gene", "mean", "sd", "lower", "upper", "settled", "control"]
    code, _, err = call("predict", run, "--all-knockouts", "--out", tmp_path / "all.csv", "--draws", "20")
    assert code == 0, err
    assert pd.read_csv(tmp_path / "all.csv")["knockout"].nunique() == 5
    for wrong in (["--knockout", "NOPE"], ["--overexpress", "G0001"], [], ["--knockout", "G0001", "--all-knockouts"]):
        code, _, err = call("predict", run, *wrong, "--out", tmp_path / "bad.csv")
        assert code == 2
        assert err.count("\n") == 1
        assert not (tmp_path / "bad.csv").exists()


def test_score_and_convert(run, simulated, tmp_path):
    code, out, err = call("score", run / "edges.csv", simulated / "network.csv", "--json")
    assert code == 0, err
    assert 0 <= json.loads(out)["average_precision"] <= 1
    code, out, _ = call("score", run / "edges.csv", simulated / "network.csv")
    assert code == 0
    assert "average_precision" in out
    code, _, err = call("convert", simulated / "network.csv", tmp_path / "network.tsv", "--to", "arboreto")
    assert code == 0, err
    assert pd.read_csv(tmp_path / "network.tsv", sep="\t").columns.tolist() == ["TF", "target", "importance"]


def test_methods_says_what_is_calibrated():
    code, out, _ = call("methods", "linear")
    assert code == 0
    assert "NOT calibrated" in out
    code, _, err = call("methods", "best")
    assert code == 2
    assert "choose one of linear" in err
    code, out, _ = call("methods", "--json")
    rows = {(r["edge_prior"], r["guide"]): r["calibrated"] for r in json.loads(out)}
    assert rows["SpikeSlab", "gibbs"]
    assert not rows["SpikeSlab", "mean-field"]
    assert ("SpikeSlab", "blocked") not in rows


def test_methods_fit_on_one_screen():
    code, out, _ = call("methods")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 130
    assert {line.split()[0] for line in lines[1:-1]} == set(METHODS)


def test_version_help_and_module():
    code, out, _ = call("--version")
    assert (code, out.strip()) == (0, f"pyrogrn {pyrogrn.__version__}")
    assert call("-h")[1] == call("--help")[1]
    told = subprocess.run([sys.executable, "-m", "pyrogrn", "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == f"pyrogrn {pyrogrn.__version__}"


def test_options_of_infer_are_in_groups_and_none_is_left_over():
    code, out, _ = call("infer", "--help")
    assert code == 0
    titles = [line[:-1] for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Arguments", *GROUPS, "Other"]
    assert out.partition("Other:")[2].split()[:2] == ["-h,", "--help"]
    assert "pyrogrn infer cells.h5ad --tfs tfs.csv --normalize auto --out run" in out
    names = [f.name for f in fields(InferOptions)]
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(set(names) - {"expression"})


def test_simulate_then_contexts(tmp_path):
    code, _, err = call(
        "simulate", "linear", "--genes", 12, "--tfs", 4, "--cells", 200, "--contexts", 2, "--out", tmp_path / "sim"
    )
    assert code == 0, err
    code, _, err = call(
        "infer",
        tmp_path / "sim/expression.h5ad",
        "--tfs",
        tmp_path / "sim/tfs.csv",
        "--context-key",
        "context",
        "--out",
        tmp_path / "run",
        *QUICK,
    )
    assert code == 0, err
    assert {"edges_context0.csv", "edges_context1.csv"} <= {p.name for p in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize(
    "options",
    [
        ["--edge-prior", "normal"],
        ["--edge-prior", "horseshoe", "--guide", "map", "--steps", "40"],
        ["--edge-prior", "hard-mask:spike-slab", *QUICK],
        ["--edge-prior", "laplace", "--steps", "60"],
    ],
)
def test_other_priors_and_guides(simulated, tmp_path, options):
    steps = [] if "--steps" in options else ["--steps", "60"]
    code, _, err = call(
        "infer",
        simulated / "expression.csv.gz",
        "--tfs",
        simulated / "tfs.csv",
        "--prior",
        f"motif={simulated / 'prior.csv'}",
        "--out",
        tmp_path / "run",
        *options,
        *steps,
    )
    assert code == 0, err


# -- bad input ----


def broken_files(folder, simulated):
    """One file for each way in which expression can be bad, by name."""
    frame = pd.read_csv(simulated / "expression.csv.gz", index_col=0)
    values = {"nan": np.nan, "infinite": np.inf}
    for name, value in values.items():
        bad = frame.copy()
        bad.iloc[3, 2] = value
        bad.to_csv(folder / f"{name}.csv")
    constant = frame.copy()
    constant["G0007"] = 1.0
    constant.to_csv(folder / "constant.csv")
    twice = frame.copy()
    twice.columns = ["G0001", *twice.columns[1:]]
    twice.to_csv(folder / "duplicate.csv")
    frame.iloc[:0].to_csv(folder / "empty.csv")
    (folder / "nothing.csv").write_text("")
    (folder / "garbage.h5ad").write_bytes(b"not an hdf5 file")
    whole = gzip.compress(frame.to_csv().encode())
    (folder / "truncated.csv.gz").write_bytes(whole[: len(whole) // 2])
    negative = frame - 10
    negative.to_csv(folder / "negative.csv")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("missing.h5ad", [], "missing.h5ad"),
        ("garbage.h5ad", [], "garbage.h5ad"),
        ("truncated.csv.gz", [], "truncated"),
        ("nan.csv", [], "G0002"),
        ("infinite.csv", [], "inf"),
        ("constant.csv", ["--keep-constant"], "constant"),
        ("duplicate.csv", [], "uplicate"),
        ("empty.csv", [], ""),
        ("nothing.csv", [], ""),
        ("negative.csv", ["--normalize", "log1p-cpm"], "negative"),
        ("good", ["--normalize", "log2"], "unknown normalisation"),
        ("good", ["--layer", "counts"], "layer"),
        ("good", ["--context-key", "donor"], "donor"),
        ("good", ["--method", "magic"], "unknown method"),
        ("good", ["--edge-prior", "flat"], "unknown edge prior"),
        ("good", ["--edge-prior", "hard-mask"], "prior network"),
        ("good", ["--guide", "oracle"], "unknown guide"),
        ("good", ["--guide", "blocked"], "SpikeSlab"),
        ("good", ["--edge-prior", "laplace", "--guide", "gibbs"], "Laplace"),
        ("good", ["--set", "prior.width=2"], "SpikeSlab takes"),
        ("good", ["--set", "nonsense"], "expected model.NAME"),
        ("good", ["--set", "prior.spike_ratio=3"], "spike_ratio"),
        ("good", ["--prior", "prior.csv"], "NAME=FILE"),
        ("good", ["--prior", "m=absent.csv"], "absent.csv"),
        ("good", ["--prior", "m={other}"], "overlap|none|no "),
        ("good", ["--prior", "m={swapped}"], "swapped|orientation"),
        ("good", ["--tfs", "{other_tfs}"], "none of|TFs"),
        ("good", ["--level", "1.5"], "level"),
        ("good", ["--resume"], "resume"),
        ("good", ["--device", "tpu"], "device"),
        pytest.param(
            "good",
            ["--device", "cuda"],
            "cuda",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU"),
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(simulated, tmp_path, name, options, message):
    files = tmp_path / "files"
    files.mkdir()
    broken_files(files, simulated)
    pd.DataFrame({"source": ["X1"], "target": ["X2"]}).to_csv(files / "other.csv", index=False)
    truth = pd.read_csv(simulated / "network.csv")
    truth = truth[~truth["target"].isin(pd.read_csv(simulated / "tfs.csv")["tf"])]
    truth.rename(columns={"source": "target", "target": "source"})[["source", "target"]].to_csv(
        files / "swapped.csv", index=False
    )
    (files / "other_tfs.csv").write_text("tf\nSOX2\n")
    places = {"other": files / "other.csv", "swapped": files / "swapped.csv", "other_tfs": files / "other_tfs.csv"}
    expression = simulated / "expression.h5ad" if name == "good" else files / name
    out = tmp_path / "out"
    options = [o.format(**places) if "{" in o else o for o in options]
    tfs = [] if "--tfs" in options else ["--tfs", simulated / "tfs.csv"]
    code, _, err = call("infer", expression, "--out", out, *tfs, *options)
    assert code == 2, err
    last = err.strip().splitlines()[-1]
    assert last.startswith("pyrogrn: error: ")
    assert "Traceback" not in err
    assert re.search(message, last), last
    assert not out.exists()
    assert not out.with_name("out.partial").exists()


def test_usage_errors_are_one_line():
    code, _, err = call("infer")
    assert code == 2
    assert err.count("\n") == 1
    code, _, err = call("nonsense")
    assert code == 2


def test_genes_by_cells_are_recognised(simulated, tmp_path):
    pd.read_csv(simulated / "expression.csv.gz", index_col=0).T.to_csv(tmp_path / "beeline.csv")
    code, _, err = call(
        "infer", tmp_path / "beeline.csv", "--tfs", simulated / "tfs.csv", "--out", tmp_path / "run", *QUICK
    )
    assert code == 0, err
    assert "transposed" in err


def test_output_folder_is_protected(run, simulated, tmp_path):
    run = shutil.copytree(run, tmp_path / "run")
    base = ["infer", simulated / "expression.h5ad", "--tfs", simulated / "tfs.csv", *QUICK]
    code, _, err = call(*base, "--out", run)
    assert code == 2
    assert "--overwrite" in err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    code, _, err = call(*base, "--out", tmp_path / "mine", "--overwrite")
    assert code == 2
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    code, _, err = call(*base, "--out", run, "--overwrite")
    assert code == 0, err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(simulated, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    code, _, err = call("infer", simulated / "expression.h5ad", "--out", locked / "run", *QUICK)
    assert code == 2
    assert "permission" in err


def test_output_below_a_file_is_refused(simulated, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call("infer", simulated / "expression.h5ad", "--out", tmp_path / "file" / "run", *QUICK)
    assert code == 2
    assert err.strip().splitlines()[-1].startswith("pyrogrn: error: cannot write")


INTERRUPTED = """
import os, signal, sys
from pyrogrn.experiments.cli import main
from pyrogrn.inference import Progress

told = Progress.__call__

def interrupt(self, state):
    told(self, state)
    if state.step == 70:  # of a sampler's chain, in the middle of what is kept
        os.kill(os.getpid(), signal.SIGINT)

Progress.__call__ = interrupt
sys.argv[0] = "pyrogrn"
main()
"""


def test_interrupted_run_resumes_to_the_same_numbers(simulated, tmp_path):
    base = [
        "infer",
        str(simulated / "expression.h5ad"),
        "--tfs",
        str(simulated / "tfs.csv"),
        "--restarts",
        "2",
        "--steps",
        "40",
        "--seed",
        "4",
    ]
    out = tmp_path / "run"
    partial = out.with_name("run.partial")
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *base, "--out", str(out)], stderr=subprocess.PIPE, text=True, timeout=300
    )
    err = process.stderr
    assert process.returncode == 130, err
    assert not out.exists()
    assert (partial / "checkpoint.pt").exists()
    code, _, err = call(*base, "--out", out, "--resume")
    assert code == 0, err
    code, _, err = call(*base, "--out", tmp_path / "straight")
    assert code == 0, err
    assert (out / "edges.csv").read_text() == (tmp_path / "straight" / "edges.csv").read_text()
    assert not partial.exists()


def test_h5ad_values_survive(simulated):
    stored = anndata.read_h5ad(simulated / "expression.h5ad")
    table = pd.read_csv(simulated / "expression.csv.gz", index_col=0)
    np.testing.assert_allclose(stored.X, table.to_numpy(), rtol=1e-4)


def test_a_time_course_from_files(tmp_path):
    """Simulate, infer from h5ad and from a table, and every bad option in one line."""
    code, _, err = call("simulate", "ode", "--out", tmp_path / "courses", "--genes", 12, "--trajectories", 30)
    assert code == 0, err
    h5ad = tmp_path / "courses" / "expression.h5ad"
    common = ["--method", "trajectory", "--time-key", "time", "--trajectory-key", "trajectory", *QUICK]
    code, _, err = call("infer", h5ad, "--out", tmp_path / "net", "--prior", f"p={tmp_path}/courses/prior.csv", *common)
    assert code == 0, err
    assert "120 pairs of consecutive times in 30 trajectories, 1 to 3 apart" in err
    for name in ("edges.csv", "report.html", "posterior.nc", "diagnostics.json"):
        assert (tmp_path / "net" / name).exists()
    code, out, err = call("score", tmp_path / "net" / "edges.csv", tmp_path / "courses" / "network.csv", "--json")
    assert json.loads(out)["average_precision"] > 0.8
    adata = anndata.read_h5ad(h5ad)
    table = adata.to_df().join(adata.obs)
    table.to_csv(tmp_path / "cells.csv")
    code, _, err = call("infer", tmp_path / "cells.csv", "--out", tmp_path / "again", *common)
    assert code == 0, err
    table.assign(time="late").to_csv(tmp_path / "late.csv")
    table.iloc[::5].to_csv(tmp_path / "once.csv")
    for file, options, message in (
        (h5ad, ["--method", "trajectory"], "needs --time-key"),
        (h5ad, ["--method", "linear", "--time-key", "time"], "--time-key does not go with"),
        (h5ad, ["--method", "trajectory", "--time-key", "day"], "'day'"),
        (h5ad, [*common, "--set", "model.rate=0"], "rate=0"),
        (tmp_path / "late.csv", common, "no time"),
        (tmp_path / "once.csv", common, "time"),
    ):
        code, _, err = call("infer", file, "--out", tmp_path / "bad", *options)
        assert code == 2, err
        assert re.search(message, err)
        assert "Traceback" not in err
        assert not (tmp_path / "bad").exists()
    code, _, err = call("simulate", "ode", "--out", tmp_path / "bad", "--times", "0,now")
    assert (code, "--times 0,now" in err) == (2, True)


def test_the_list_of_commands_fits_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call("--help")
    assert code == 0
    commands = out.partition("Commands:")[2].splitlines()
    assert len(commands) > 15
    assert not [line for line in commands if line.rstrip().endswith("...")]
