"""The command line and its methods: the rows of `pyrogrn methods` run, options of other methods and bad values are
refused in one line, cell types of CellOracle, screens."""

import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pyrogrn
import pytest
import torch
from command_line import call
from pyrogrn.experiments.commands.method_options import MODEL_OPTIONS, check_settings
from pyrogrn.experiments.commands.options import EDGE_PRIOR_NAMES
from pyrogrn.experiments.methods import methods
from pyrogrn.inference import (
    GUIDES,
    NUTS,
    SAMPLERS,
    Bagging,
    BlockDescent,
    Blocked,
    ClosedForm,
    Gibbs,
    LowRank,
    MapEstimate,
    MeanField,
    Pruned,
    SparseGibbs,
    fit,
)
from pyrogrn.inference.diagnostics import verdict
from pyrogrn.inference.engines import nuts as samplers
from pyrogrn.models import PMFGRN, LinearNetwork, NetREXCF, Symphony
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import EDGE_PRIORS, HardMask, Normal, PriorNetwork, SpikeSlab

QUICK = {
    "gibbs": Gibbs(num_chains=2, num_warmup=1, num_samples=2),
    "sparse": SparseGibbs(num_chains=2, num_warmup=1, num_samples=2),
    "nuts": NUTS(num_chains=1, num_warmup=1, num_samples=1),
    "block-descent": BlockDescent(restarts=2, max_iterations=3),
    "bagging": Bagging(num_bags=4),
    "map": MapEstimate(),
    "mean-field": MeanField(),
    "low-rank": LowRank(rank=2),
    "blocked": Blocked(),
    "closed-form": ClosedForm(),
}
PRIORS = {prior.__name__: prior for prior in EDGE_PRIORS}


def refused(out, *arguments) -> str:
    """The message of a command that ends in one line, with exit code 2, and leaves nothing at ``out``."""
    code, _, err = call(*arguments)
    assert code == 2, err
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("pyrogrn: error: ")
    assert not out.exists()
    assert not out.with_name(out.name + ".partial").exists()
    return last


@pytest.fixture(scope="module")
def tiny():
    return simulate_linear(num_genes=6, num_tfs=3, num_cells=30, edge_probability=0.5, seed=0)


@pytest.fixture(scope="module")
def grn():
    pairs = [("G0000", "G0003"), ("G0001", "G0004"), ("G0002", "G0005"), ("G0000", "G0004")]
    return pd.DataFrame(pairs, columns=["source", "target"]).assign(probability=0.9)


@pytest.fixture(scope="module")
def files(tiny, grn, tmp_path_factory):
    """Expression, regulators, a base GRN and scores of edges."""
    folder = tmp_path_factory.mktemp("files")
    data = tiny.data
    pd.DataFrame(data.X.numpy(), columns=data.genes).to_csv(folder / "cells.csv")
    pd.DataFrame({"tf": data.tfs}).to_csv(folder / "tfs.csv", index=False)
    grn.to_csv(folder / "grn.csv", index=False)
    score = np.random.default_rng(0).normal(size=(3, 6))
    pd.DataFrame(score, index=data.tfs, columns=data.genes).to_csv(folder / "scores.csv", index_label="tf")
    return folder


# -- the list of methods ----


@pytest.mark.parametrize("model", [LinearNetwork, PMFGRN, NetREXCF, Symphony], ids=lambda m: m.name)
def test_every_listed_row_runs_and_has_the_badge_that_is_listed(tiny, grn, model, monkeypatch):
    # two draws are not worth a compilation
    monkeypatch.setattr(torch.jit, "trace", lambda function, *arguments, **options: function)
    monkeypatch.setattr(samplers, "PyroNUTS", partial(samplers.PyroNUTS, max_tree_depth=1))
    table = methods()
    rows = table[table["method"] == model.name]
    assert len(rows) == len(rows[["edge_prior", "guide"]].drop_duplicates()) > 20
    network = {"motif": PriorNetwork.from_edges(grn, name="motif")}
    options = {}
    if model is Symphony:
        score = pd.DataFrame(np.random.default_rng(0).normal(size=(3, 6)), index=tiny.data.tfs, columns=tiny.data.genes)
        options["evidence"] = {"access": score}
    for row in rows.itertuples():
        prior = PRIORS[row.edge_prior]()
        sources = network
        if row.guide == "sparse":
            prior = SpikeSlab(unit="noise")
        if row.guide == "bagging":  # ridge regression: a fixed scale, and sources as a mask or not at all
            prior = HardMask(Normal(scale=0.3)) if row.edge_prior == "HardMask" else Normal(scale=0.3)
            sources = network if row.edge_prior == "HardMask" else None
        made = model.from_data(tiny.data, edge_prior=prior, networks=sources, **options)
        cells = tiny.data if row.guide == "bagging" else None
        posterior = fit(made, cells, guide=QUICK[row.guide], num_steps=3, num_draws=3, restarts=2, jit=False)
        label = f"{row.edge_prior}, {row.guide}"
        assert posterior.calibrated == row.calibrated, label
        assert row.calibrated == ("NOT" not in row.note), label
        if model is NetREXCF:  # sources act through the filter, and in a mask also as one
            assert row.knowledge == ("mask, " if row.edge_prior == "HardMask" else "") + "collaborative filter"
            assert "trust" not in posterior.draws, label
        elif row.edge_prior != "HardMask" and row.guide != "bagging":
            assert "trust" in posterior.draws, label


def test_badges_of_models_and_priors_that_did_not_earn_one():
    table = methods()
    for column, names in (
        ("method", ("pmf-grn", "netrex-cf", "factorbox", "trajectory")),
        ("edge_prior", ("LogitNormal",)),
    ):
        for name in names:
            rows = table[table[column] == name]
            assert len(rows)
            assert not rows["calibrated"].any(), name
            assert rows["note"].str.startswith("NOT calibrated").all(), name
    linear = table[(table["method"] == "linear") & (table["edge_prior"] == "SpikeSlab") & (table["guide"] == "gibbs")]
    assert linear["calibrated"].all()


def test_help_names_every_prior_and_guide():
    code, out, _ = call("infer", "--help")
    assert code == 0
    whole = re.sub(r"-\n\s+", "-", out)  # names with a hyphen may go over the end of a line
    for name in (*EDGE_PRIOR_NAMES, *(guide.name for guide in (*GUIDES, *SAMPLERS, Pruned))):
        assert name in whole, name


def test_models_are_found_in_the_package():
    for name in ("PMFGRN", "NetREXCF", "Symphony", "Phoenix", "TrajectoryNetwork", "LogitNormal"):
        assert getattr(pyrogrn, name).__name__ == name


# -- options ----


@pytest.mark.parametrize("option", ["--evidence", "--evidence-list"])
@pytest.mark.parametrize("method", ["linear", "pmf-grn", "netrex-cf", "ppca", "grnular", "celloracle"])
def test_evidence_is_for_symphony(files, tmp_path, method, option):
    out = tmp_path / "out"
    told = refused(out, "infer", files / "cells.csv", "--method", method, option, f"a={files}/scores.csv", "--out", out)
    assert f"{option} does not go with --method {method}" in told
    assert "is for --method symphony" in told


@pytest.mark.parametrize(
    "options",
    [
        ["--guide", "gibbs"],
        ["--edge-prior", "normal"],
        ["--restarts", "2"],
        ["--steps", "20"],
        ["--resume"],
        ["--device", "cuda"],
        ["--set", "guide.num_bags=8"],
        ["--set", "fit.num_draws=8"],
        ["--set", "prior.scale=1"],
    ],
)
def test_celloracle_refuses_what_it_does_not_use(files, tmp_path, options):
    out = tmp_path / "out"
    base = ["infer", files / "cells.csv", "--method", "celloracle", "--prior", f"grn={files}/grn.csv", "--out", out]
    told = refused(out, *base, *options)
    assert (options[1].partition("=")[0] if options[0] == "--set" else options[0]) in told


@pytest.mark.parametrize(
    ("method", "setting", "expected"),
    [
        ("celloracle", "ridge=abc", "a number"),
        ("celloracle", "ridge=nan", "a number"),
        ("celloracle", "num_bags=2.5", "a whole number"),
        ("netrex-cf", "rank=abc", "a whole number"),
        ("netrex-cf", "rank=2.5", "a whole number"),
        ("netrex-cf", "rank=true", "a whole number"),
        ("netrex-cf", "presence=3", "a word"),
        ("pmf-grn", "activity_spread=abc", "a number"),
        ("linear", "rank=2", "--method linear takes no model options"),
    ],
)
def test_values_of_model_options_have_a_kind(files, tmp_path, method, setting, expected):
    out = tmp_path / "out"
    base = ["infer", files / "cells.csv", "--method", method, "--tfs", files / "tfs.csv", "--out", out]
    base += ["--prior", f"grn={files}/grn.csv"]
    told = refused(out, *base, "--set", f"model.{setting}")
    assert f"--set model.{setting.partition('=')[0]}" in told
    assert expected in told


def test_every_model_option_takes_its_kind_and_no_other():
    good = {int: 3, float: 2, str: "word", bool: True}
    bad = {int: 2.5, float: "word", str: 4, bool: 1}
    for method, options in MODEL_OPTIONS.items():
        none = {"prior": {}, "guide": {}, "fit": {}}
        check_settings(method, none | {"model": {name: good[kind] for name, kind in options.items()}})
        for name, kind in options.items():
            with pytest.raises(ValueError, match=rf"--set model.{name}="):
                check_settings(method, none | {"model": {name: bad[kind]}})


def test_bagging_runs_from_the_command_line(files, tmp_path):
    options = ["--edge-prior", "normal", "--set", "prior.scale=0.316", "--guide", "bagging", "--steps", "8"]
    code, _, err = call(
        "infer", files / "cells.csv", "--tfs", files / "tfs.csv", "--out", tmp_path / "run", "--restarts", "2", *options
    )
    assert code == 0, err
    assert "Bagging(num_bags=8, chains=2)" in json.loads((tmp_path / "run" / "config.json").read_text())["guide"]


def test_netrex_settles_when_the_objective_stops_falling(files, tmp_path):
    base = ["infer", files / "cells.csv", "--tfs", files / "tfs.csv", "--method", "netrex-cf"]
    base += ["--prior", f"grn={files}/grn.csv", "--set", "model.rank=2"]
    code, _, err = call(*base, "--out", tmp_path / "run")
    assert code == 0, err
    told = json.loads((tmp_path / "run" / "diagnostics.json").read_text())
    (check,) = [row for row in told["checks"] if row["check"] == "ELBO settled"]
    assert told["history"]["reason"] == "converged"
    assert check["passed"] is True
    assert check["value"] <= 1e-6


def test_netrex_says_when_it_did_not_settle(tiny, grn):
    model = NetREXCF.from_data(tiny.data, networks={"grn": PriorNetwork.from_edges(grn, name="grn")})
    posterior = fit(model, guide=BlockDescent(max_iterations=2))
    assert "ELBO settled" in verdict(posterior.diagnose())


# -- cell types of CellOracle ----


def typed(files, tmp_path, names):
    """The cells with a column of their types."""
    cells = pd.read_csv(files / "cells.csv", index_col=0)
    cells = pd.concat([cells, cells + 0.01 * np.random.default_rng(1).normal(size=cells.shape)], ignore_index=True)
    cells["type"] = names
    cells.to_csv(tmp_path / "typed.csv")
    return [
        *("infer", tmp_path / "typed.csv", "--tfs", files / "tfs.csv", "--method", "celloracle"),
        *("--context-key", "type", "--prior", f"grn={files}/grn.csv", "--set", "model.num_bags=16"),
    ]


def test_a_rare_cell_type_is_left_out(files, tmp_path):
    base = typed(files, tmp_path, ["T cell"] * 28 + ["B"] * 27 + ["rare"] * 5)
    code, _, err = call(*base, "--out", tmp_path / "run")
    assert code == 0, err
    assert "left out: cell type 'rare' has 5 cells" in err
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"T_cell", "B"}
    assert "T cell: prior 'grn': 4 of 4 edges kept" in err
    assert json.loads((tmp_path / "run" / "B" / "config.json").read_text())["device"] == "cpu"
    base = typed(files, tmp_path, ["T cell"] * 55 + ["rare"] * 5)
    code, _, err = call(*base, "--out", tmp_path / "one")
    assert code == 0, err
    assert (tmp_path / "one" / "links.csv").exists()
    base = typed(files, tmp_path, list("abcdef") * 10)
    assert "no cell type can be fitted" in refused(tmp_path / "no", *base, "--out", tmp_path / "no")


def test_cell_types_with_like_names_have_folders_of_their_own(files, tmp_path):
    base = typed(files, tmp_path, ["T cell"] * 30 + ["T_cell"] * 30)
    code, _, err = call(*base, "--out", tmp_path / "run")
    assert code == 0, err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"T_cell", "T_cell-2"}


def test_a_cell_type_that_diverged_is_refused(files, tmp_path, monkeypatch):
    run = Bagging.run

    def diverges(self, *arguments, **options):
        collector, history = run(self, *arguments, **options)
        return collector, replace(history, reason="diverged at step 3")

    monkeypatch.setattr(Bagging, "run", diverges)
    base = typed(files, tmp_path, ["a"] * 30 + ["b"] * 30)
    told = refused(tmp_path / "run", *base, "--out", tmp_path / "run")
    assert "cell type 'a': the fit diverged at step 3" in told


# -- screens ----


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    """A screen of two genes, on a log scale and as counts."""
    folder, rng = tmp_path_factory.mktemp("screen"), np.random.default_rng(0)
    genes = [f"G{i}" for i in range(20)]
    labels = ["G0"] * 30 + ["G1"] * 30 + ["control"] * 60
    X = rng.normal(5, 0.3, size=(120, 20))
    X[:30, [0, 2, 3]] -= 2.0
    X[30:60, [1, 4, 5]] -= 2.0
    pd.DataFrame(X, columns=genes).assign(gene=labels).to_csv(folder / "log.csv")
    pd.DataFrame(rng.poisson(np.exp(X)), columns=genes).assign(gene=labels).to_csv(folder / "counts.csv")
    return folder


def test_screen_protects_the_file_that_is_there(screened, tmp_path):
    base = ["screen", screened / "log.csv", "--perturbation-key", "gene", "--out"]
    code, _, err = call(*base, tmp_path / "new" / "net.csv")
    assert code == 0, err
    (tmp_path / "net.csv").write_text("precious")
    code, _, err = call(*base, tmp_path / "net.csv")
    assert (code, "pass --overwrite" in err) == (2, True)
    assert (tmp_path / "net.csv").read_text() == "precious"
    code, _, err = call(*base, tmp_path / "net.csv", "--overwrite")
    assert code == 0, err
    assert len(pd.read_csv(tmp_path / "net.csv"))


def test_screen_below_a_file_and_in_a_folder(screened, tmp_path):
    base = ["screen", screened / "log.csv", "--perturbation-key", "gene", "--out"]
    (tmp_path / "file").write_text("")
    told = refused(tmp_path / "nothing", *base, tmp_path / "file" / "deep" / "net.csv")
    assert f"cannot write to {tmp_path}/file/deep/net.csv: {tmp_path}/file is a file" in told
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refused(tmp_path / "nothing", *base, tmp_path / "folder.csv")


def test_screen_of_raw_counts_asks_for_a_log_scale(screened, tmp_path):
    base = ["screen", screened / "counts.csv", "--perturbation-key", "gene", "--out", tmp_path / "net.csv"]
    told = refused(tmp_path / "net.csv", *base)
    assert "look like raw counts" in told
    assert "--normalize log1p-cpm" in told
    code, _, err = call(*base, "--normalize", "log1p-cpm")
    assert code == 0, err
