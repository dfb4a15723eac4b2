"""What is said before a fit, which method fits the data, and genes that are left out of it."""

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn.experiments.commands import infer_cells
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.experiments.files.variable_genes import with_top_genes
from pyrogrn.experiments.fitting import METHODS
from pyrogrn.experiments.preflight import MANY_GENES, is_panel, normalization_for, preflight, suggested
from pyrogrn.models import ExpressionData
from pyrogrn.models.simulators import simulate_panel

RNG = np.random.default_rng(0)


def cells(values: np.ndarray, **known: object) -> ExpressionData:
    names = [f"G{i}" for i in range(values.shape[1])]
    return ExpressionData.from_frame(pd.DataFrame(values.astype("float32"), columns=names), **known)


@pytest.fixture
def counts() -> ExpressionData:
    return cells(RNG.poisson(RNG.gamma(0.5, 1.0, (200, 12))), tfs=["G0", "G1"])


@pytest.fixture
def panel() -> ExpressionData:
    return simulate_panel(num_genes=10, seed=0).data


# -- which method ----
@pytest.mark.parametrize(
    ("known", "method"),
    [
        ({}, "linear"),
        ({"inputs": True}, "cellbox"),
        ({"times": True}, "trajectory"),
        ({"programs": True}, "muvi"),
        ({"evidence": True}, "symphony"),
        ({"perturbed": True}, "linear"),
    ],
    ids=str,
)
def test_the_method_follows_from_what_is_known(known, method, counts):
    found = suggested(counts, **known)
    assert found.method == method
    assert found.method in METHODS
    assert str(found).startswith(f"{method}: ")


def test_a_panel_is_one_knock_down_a_row_in_levels(panel):
    assert is_panel(panel)
    assert suggested(panel, perturbed=True).method == "factorbox"
    logged = ExpressionData(panel.X.log1p(), panel.genes, perturbed=panel.perturbed)
    many = ExpressionData(panel.X.repeat(9, 1), panel.genes, perturbed=_repeated(panel, 9))
    assert not is_panel(many)  # knock-downs of single cells
    assert not is_panel(cells(np.eye(4) + 1))
    assert suggested(many, perturbed=True).method == "linear"
    assert logged.perturbed is not None


def _repeated(panel: ExpressionData, times: int) -> torch.Tensor:
    shift = torch.tensor([panel.num_cells, 0])
    return torch.cat([panel.perturbed + k * shift for k in range(times)])


def test_normalisation_by_what_the_method_wants():
    assert normalization_for("linear", "auto") == "auto"
    assert normalization_for("grnular", "auto") == "none"
    assert normalization_for("factorbox", "auto") == "none"
    assert normalization_for("muvi", "auto", counted=True) == "none"
    assert normalization_for("factorbox", "zscore") == "zscore"


# -- what is said ----
def test_numbers_zeros_and_variable_genes_are_said(counts):
    lines = preflight(counts, "linear")
    assert "raw counts" in lines[0]
    assert "% of them zero" in lines[0]
    assert not any("can take them" in line for line in lines)  # the scale note says what is wrong
    assert any("grnular" in line for line in lines)
    lines = preflight(counts.normalized("log1p-cpm"), "linear", normalize="log1p-cpm")
    assert "linear can take them after log1p-cpm" in lines
    wide = cells(RNG.normal(size=(6, MANY_GENES + 1)))
    assert any("--top-genes 2000" in line for line in preflight(wide, "linear"))
    assert any("top_genes=2000" in line for line in preflight(wide, "linear", in_python=True))


def test_another_method_and_columns_that_nobody_named_are_said(panel, tmp_path):
    lines = preflight(panel, "linear", suggestion=suggested(panel, perturbed=True))
    assert any(line.startswith("for such data there is --method factorbox: ") for line in lines)
    frame = pd.DataFrame(RNG.normal(size=(8, 3)), columns=["A", "B", "C"], index=[f"c{i}" for i in range(8)])

    obs = pd.DataFrame({"guide": ["A", "B"] * 4, "day": [0, 1] * 4, "phase": "G1"}, index=frame.index)
    data = read_expression(anndata.AnnData(frame.to_numpy("float32"), obs, frame.T[[]]), tfs=None)
    lines = preflight(data, "linear")
    assert any("'guide'" in line and "--perturbation-key guide" in line for line in lines)
    assert any("'day'" in line and "--time-key day" in line for line in lines)
    assert not any("'guide'" in line for line in preflight(data, "linear", used=["guide"]))


def test_regulators_that_nobody_named_are_said(counts):
    every = [line for line in preflight(counts, "linear") if line.startswith("every gene is a candidate regulator")]
    assert bool(every) == (set(counts.genes) <= set(counts.tfs))
    alone = cells(RNG.normal(size=(20, 5)))
    (line,) = [line for line in preflight(alone, "linear") if line.startswith("every gene is a candidate regulator")]
    assert "no list of edges; --tfs" in line
    assert not any("every gene" in line for line in preflight(alone, "muvi"))
    assert not any("muvi" in line for line in preflight(alone, "ppca", suggestion=suggested(alone, programs=True)))


def test_what_is_kept_beside_variable_genes_is_what_there_is(panel):
    values = cells(RNG.normal(size=(20, 6)) * np.arange(1, 7), tfs=["G0"])
    assert "the most variable, and 1 regulators beside them" in with_top_genes(values, 2).notes[-1]
    assert with_top_genes(cells(RNG.normal(size=(20, 6))), 2).notes[-1].endswith("the most variable")


def test_dropped_regulators_are_said_where_they_matter(counts):
    values = counts.X.numpy().copy()
    values[:, 1] = 0
    dropped = cells(values, tfs=["G0", "G1"]).without_constant_genes()
    assert "candidate regulators among them: ['G1']" in dropped.notes[-1]
    assert "1 of them zero in every cell" in dropped.notes[-1]
    assert any("were measured" in line for line in preflight(dropped, "grnular"))
    assert not any("were measured" in line for line in preflight(dropped, "linear"))


# -- genes ----
def test_the_most_variable_genes_and_the_regulators_are_kept():
    values = np.random.default_rng(2).normal(size=(200, 8)) * np.arange(1, 9)
    kept = with_top_genes(cells(values, tfs=["G0"]), 3)
    assert kept.genes == ("G0", "G5", "G6", "G7")
    assert "3 of 8 genes were kept, the most variable, and 1 regulators" in kept.notes[-1]
    assert with_top_genes(cells(values), 3).genes == ("G5", "G6", "G7")
    assert with_top_genes(cells(values), 8).num_genes == 8
    with pytest.raises(ValueError, match="at least 1"):
        with_top_genes(kept, 0)


def test_auto_normalises_counts_and_leaves_logarithms(tmp_path):
    values = RNG.poisson(5, (60, 6))
    for name, matrix in (("counts", values), ("logs", np.log1p(values / values.sum(1, keepdims=True) * 1e4))):
        pd.DataFrame(matrix, columns=list("ABCDEF"), index=[f"c{i}" for i in range(60)]).to_csv(
            tmp_path / f"{name}.csv"
        )
    counts, logs = (read_expression(tmp_path / f"{n}.csv", tfs=None, normalize="auto") for n in ("counts", "logs"))
    assert "normalisation: log1p-cpm (chosen for raw counts" in counts.notes[-1]
    assert counts.X.max() > 11
    assert "normalisation: none (chosen for logarithms" in logs.notes[-1]


# -- on the command line ----
@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("preflight")
    values = np.random.default_rng(1).poisson(4, (60, 6))
    values[:, 3] = 0
    frame = pd.DataFrame(values, columns=list("ABCDEF"), index=[f"c{i}" for i in range(60)])
    frame.to_csv(path / "cells.csv")
    (path / "tfs.csv").write_text("A\nB\n")
    return path


SHORT = ("--guide", "gibbs", "--steps", 8, "--restarts", 2, "--set", "guide.num_warmup=5")


def test_a_silent_gene_refuses_no_file(folder, tmp_path):
    options = ("--tfs", folder / "tfs.csv", "--method", "auto", "--normalize", "auto", "--top-genes", 4)
    code, _, err = call("infer", folder / "cells.csv", *options, *SHORT, "--out", tmp_path / "run")
    assert code == 0, err
    assert "method linear: cells without times" in err
    assert "1 constant gene dropped (1 of them zero in every cell): ['D']" in err
    assert "the numbers as measured: raw counts" in err
    edges = pd.read_csv(tmp_path / "run" / "edges.csv")
    assert "D" not in {*edges["source"], *edges["target"]}
    assert len({*edges["source"], *edges["target"]}) <= 6
    assert "1 constant gene" in (tmp_path / "run" / "report.html").read_text()


def test_auto_reads_the_data_where_labels_leave_two_methods(tmp_path):
    code, _, err = call("simulate", "panel", "--genes", 10, "--out", tmp_path / "panel")
    assert code == 0, err
    file = tmp_path / "panel" / "expression.h5ad"
    code, _, err = call("plan", file, "--perturbation-key", "perturbation", "--method", "auto")
    assert code == 0, err
    assert "method factorbox: most rows are one knock-down" in err


def test_auto_reads_a_file_once_where_the_method_reads_it_so(folder, tmp_path, monkeypatch):
    read = []
    keep = lambda *a, **options: read.append(options["normalize"]) or read_expression(*a, **options)
    monkeypatch.setattr(infer_cells, "read_expression", keep)
    for normalize, times in (("none", ["none"]), ("log1p-cpm", ["none", "log1p-cpm"])):
        options = ("--tfs", folder / "tfs.csv", "--method", "auto", "--normalize", normalize)
        code, _, err = call("plan", folder / "cells.csv", *options)
        assert code == 0, err
        assert read == times
        read.clear()


def test_auto_takes_columns_by_their_names(tmp_path):
    code, _, err = call("simulate", "panel", "--genes", 10, "--out", tmp_path / "panel")
    assert code == 0, err
    panel = anndata.read_h5ad(tmp_path / "panel" / "expression.h5ad")
    code, _, err = call("plan", tmp_path / "panel" / "expression.h5ad", "--method", "auto")
    assert code == 0, err
    assert "columns are taken as what they are called: --perturbation-key perturbation" in err
    assert "method factorbox: most rows are one knock-down" in err
    levels = pd.DataFrame(np.asarray(panel.X), columns=panel.var_names)
    named = levels.assign(knockdown=panel.obs["perturbation"].astype(str).to_numpy()).set_index("knockdown")
    named[~named.index.duplicated()].to_csv(tmp_path / "named.csv")  # rows that are called after what was perturbed
    code, _, err = call("plan", tmp_path / "named.csv", "--method", "auto")
    assert code == 0, err
    assert "--perturbation-key knockdown" in err
    code, _, err = call("plan", tmp_path / "named.csv")
    assert "column 'knockdown' looks like what was perturbed: --perturbation-key knockdown reads it" in err


def test_auto_takes_times_of_courses_and_not_of_cells(tmp_path):
    rng = np.random.default_rng(0)
    levels = pd.DataFrame(rng.normal(size=(40, 5)), columns=list("ABCDE"))
    levels.insert(0, "time", np.tile([0, 10, 20, 30], 10))
    courses = levels.copy()
    courses.insert(0, "series", np.repeat(range(10), 4))
    courses.to_csv(tmp_path / "courses.csv", index=False)
    courses.rename(columns={"series": "replicate"}).replace({"replicate": {i: f"r{i}" for i in range(10)}}).to_csv(
        tmp_path / "named.csv", index=False
    )
    code, _, err = call("plan", tmp_path / "named.csv", "--method", "auto")  # a first column that repeats its entries
    assert code == 0, err
    assert "--time-key time --trajectory-key replicate" in err
    levels.insert(0, "cell", [f"c{i}" for i in range(40)])
    levels.to_csv(tmp_path / "cells.csv", index=False)
    code, _, err = call("plan", tmp_path / "courses.csv", "--method", "auto")
    assert code == 0, err
    assert "--time-key time --trajectory-key series" in err
    assert "method trajectory: cells have times" in err
    code, _, err = call("plan", tmp_path / "cells.csv", "--method", "auto")
    assert code == 0, err
    assert "method linear: cells without times" in err
    assert "column 'time' looks like a time: --time-key time reads it" in err


def test_mistakes_are_one_line(folder, tmp_path):
    for options, words in ((("--top-genes", 0), "--top-genes 0"), (("--method", "best"), "choose one of auto")):
        code, _, err = call("infer", folder / "cells.csv", *options, "--out", tmp_path / "run")
        assert code == 2
        assert words in err.splitlines()[-1]
