"""Amortised guides from the command line: train a tiny one, infer with it, and every bad input in one line with exit
code 2."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn.experiments.files.simulation import write_simulation
from pyrogrn.experiments.methods import AMORTISED, methods
from pyrogrn.inference import EDGE_COLUMNS, amortised
from pyrogrn.inference.amortised import FAMILIES, KINDS, Family, load_weights, training
from pyrogrn.models.simulators import simulate_linear

TINY = Family(genes=(14, 14), tf_share=(0.3, 0.3), types=(2, 2), cells=(60, 60), in_degree=(1.0, 2.0))
LENGTH = ["--batches", 2, "--graphs", 2, "--steps", 20, "--iterations", 2]


@pytest.fixture(scope="module")
def short():
    """Small simulations under the name of a family, and few batches for validation and test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "clean", TINY)
        original = training.Schedule
        least = {"solver_batches": 1, "solver_epochs": 1, "solver_graphs": 1, "validation": 1, "test": 2}
        patch.setattr(amortised, "Schedule", lambda **given: original(**{**least, **given}))
        yield


@pytest.fixture(scope="module")
def weights(short, tmp_path_factory):
    """What ``pyrogrn train`` wrote, and what it said."""
    out = tmp_path_factory.mktemp("train") / "tiny.npz"
    code, _, err = call("train", "glad-tf", "--out", out, "--family", "clean", *LENGTH)
    assert code == 0, err
    return out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Simulated cells."""
    path = tmp_path_factory.mktemp("cells")
    simulation = simulate_linear(num_genes=12, num_tfs=3, num_cells=60, edge_probability=0.4, seed=1)
    write_simulation(simulation, path, prior_noise=0.2, seed=1)
    return path


def infer(folder, out, *options, method="glad-tf"):
    names = ("--tfs", folder / "tfs.csv", "--out", out)
    return call("infer", folder / "expression.h5ad", "--method", method, *names, *options)


# -- train ----


def test_train_writes_weights_that_say_how_they_were_made(weights):
    path, said = weights
    network, about = load_weights(path)
    assert network.kind == "glad-tf"
    assert network.unrolled.num_iterations == 2
    told = about["about"]
    assert told["command"].startswith("pyrogrn train glad-tf --out")
    assert told["schedule"]["batches"] == 2
    assert told["schedule"]["steps"] == 20
    assert told["seed"] == 1
    assert told["scores"]["graphs"] == 4
    assert not path.with_name("tiny.npz.work").exists()
    assert about["sha256"] in said
    assert "fresh simulations: log_loss" in said


def test_an_interrupted_training_keeps_its_state_and_resumes_to_the_same_weights(short, weights, tmp_path, monkeypatch):
    out = tmp_path / "again.npz"
    command = ("train", "glad-tf", "--out", out, "--family", "clean", *LENGTH)

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_train_head", stop)
        code, _, err = call(*command)
    assert code == 130
    assert "give the same command again to resume" in err
    assert not out.exists()
    work = out.with_name("again.npz.work")
    assert (work / "solver.pt").is_file()
    code, _, err = call(*command, "--seed", 2)
    assert code == 2
    assert "belongs to a training with other settings" in err
    code, _, err = call(*command)
    assert code == 0, err
    assert not work.exists()
    for name, value in load_weights(weights[0])[0].state_dict().items():
        assert torch.equal(load_weights(out)[0].state_dict()[name], value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["glasso"], "unknown kind 'glasso': choose one of glad, glad-tf, grnular"),
        (["glad", "--family", "wide"], "unknown --family 'wide': choose one of"),
        (["glad", "--batches", 0], "--batches 0: expected at least 1"),
        (["glad", "--graphs", 0], "--graphs 0: expected at least 1"),
        (["glad", "--steps", 0], "--steps 0: expected at least 1"),
        (["glad", "--workers", 0], "--workers 0: expected at least 1"),
        (["glad", "--iterations", 0], "--iterations 0: expected at least 1"),
        (["glad-tf", "--inner", 2], "--inner does not go with glad-tf: it is for grnular"),
        (["glad", "--layers", 2], "--layers does not go with glad"),
        (["glad", "--epochs", 2], "--epochs does not go with glad"),
        (["glad", "--max-cells", 2], "--max-cells does not go with glad"),
        (["glad", "--base"], "--base does not go with glad"),
        (["glad", "--mask-theta"], "--mask-theta does not go with glad"),
        (["glad", "--init-penalty", "0"], "--init-penalty does not go with glad"),
        (["grnular", "--init-penalty", "-1"], "--init-penalty -1.0: expected a number of at least 0"),
        (["grnular", "--layers", 4], "--layers 4: expected 2 or 3"),
        (["grnular", "--epochs", 0], "--epochs 0: expected at least 1"),
        (["grnular", "--max-cells", 0], "--max-cells 0: expected at least 1"),
        (["glad", "--loss", "focal"], "unknown --loss 'focal': choose one of posterior, paper"),
    ],
)
def test_bad_trainings_are_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setattr(amortised, "train", None)  # what is not refused must not run for an hour
    code, _, err = call("train", *arguments, "--out", tmp_path / "w.npz")
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())  # nothing half-written


def test_weights_are_not_overwritten_unasked(weights):
    path, _ = weights
    before = path.read_bytes()
    code, _, err = call("train", "glad-tf", "--out", path)
    assert code == 2
    assert "exists: choose another --out, or pass --overwrite" in err
    assert err.count("\n") == 1
    assert path.read_bytes() == before


# -- infer ----


def test_infer_with_trained_weights(weights, folder, tmp_path):
    out = tmp_path / "run"
    options = ("--set", f"guide.weights={weights[0]}", "--steps", 30, "--restarts", 2)
    prior = ("--prior", f"motif={folder / 'prior.csv'}", "--truth", folder / "network.csv")
    code, _, err = infer(folder, out, *options, *prior)
    assert code == 0, err
    table = pd.read_csv(out / "edges.csv")
    assert tuple(table.columns) == EDGE_COLUMNS
    assert len(table) == 3 * 12 - 3
    assert np.isfinite(table.select_dtypes("number").to_numpy()).all()
    assert table["inclusion"].between(0, 1).all()
    config = json.loads((out / "config.json").read_text())
    assert config["method"] == "glad-tf"
    assert "Amortised(weights=" in config["guide"]
    assert "num_chains=2, num_samples=30" in config["guide"]
    assert (out / "report.html").stat().st_size > 1000
    code, _, err = call("predict", out, "--knockout", table["source"][0], "--out", tmp_path / "one.csv")
    assert code == 0, err


def test_corrections_from_the_command_line(weights, folder, tmp_path):
    out = tmp_path / "run"
    chosen = {"weights": weights[0], "correction": "importance", "fine_tune": 3, "num_chains": 2, "num_samples": 40}
    settings = [word for name, value in chosen.items() for word in ("--set", f"guide.{name}={value}")]
    code, _, err = infer(folder, out, *settings)
    assert code == 0, err
    checks = json.loads((out / "diagnostics.json").read_text())
    assert "importance weights (k-hat)" in json.dumps(checks)


def test_the_shipped_grnular_needs_no_training(folder, tmp_path):
    code, _, err = infer(folder, tmp_path / "run", "--steps", 10, "--restarts", 2, method="grnular")
    assert code == 0, err
    assert len(pd.read_csv(tmp_path / "run" / "edges.csv")) == 3 * 12 - 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--guide", "gibbs"], "--guide does not go with --method glad-tf"),
        (["--edge-prior", "normal"], "--edge-prior does not go with --method glad-tf"),
        (["--context-key", "batch"], "--context-key does not go with --method glad-tf"),
        (["--factors", 3], "--factors does not go with --method glad-tf"),
        (["--set", "guide.weights=absent"], "no trained weights 'absent': expected one of"),
        (["--set", "guide.num_warmup=3"], "Amortised takes weights, num_chains"),
        (["--set", "guide.correction=psis"], "correction is 'psis', expected one of"),
        (["--set", "guide.fine_tune=-1"], "fine_tune >= 0"),
    ],
)
def test_bad_inference_is_one_line(options, message, folder, tmp_path):
    out = tmp_path / "run"
    code, _, err = infer(folder, out, *options)
    assert code == 2
    assert message in err.splitlines()[-1]
    assert err.count("error") == 1
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_damaged_weights_are_one_line(weights, folder, tmp_path):
    path = tmp_path / "half.npz"
    path.write_bytes(weights[0].read_bytes()[:3000])
    code, _, err = infer(folder, tmp_path / "run", "--set", f"guide.weights={path}")
    assert code == 2
    assert "is no file of trained weights" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_constant_genes_are_refused_by_name(folder, tmp_path):
    adata = anndata.read_h5ad(folder / "expression.h5ad")
    adata.X[:, 5] = 1.0
    adata.write_h5ad(tmp_path / "expression.h5ad")
    (tmp_path / "tfs.csv").write_bytes((folder / "tfs.csv").read_bytes())
    code, _, err = infer(tmp_path, tmp_path / "run", "--keep-constant")
    assert code == 2
    assert adata.var_names[5] in err.splitlines()[-1]


# -- methods ----


def test_methods_lists_all_three():
    assert set(AMORTISED) == set(KINDS)
    table = methods().set_index("method")
    for kind in KINDS:
        row = table.loc[kind]
        assert row["guide"] == "amortised"
        assert row["edge_prior"] == "SpikeSlab"
        assert row["infers"] == "network"
        assert row["reference"].startswith("Shrivastava")
    code, out, err = call("methods")
    assert code == 0, err
    for kind in KINDS:
        assert kind in out
