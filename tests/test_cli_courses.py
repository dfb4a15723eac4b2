"""PHOENIX through the command line: infer, predict, course, influence; bad input ends in one line."""

import json

import anndata
import pandas as pd
import pytest
from command_line import call
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.experiments.scores import score_edges
from pyrogrn.inference import Gibbs, fit
from pyrogrn.models import TrajectoryNetwork
from pyrogrn.priors import PriorNetwork

COMMON = ["--method", "phoenix", "--time-key", "time", "--trajectory-key", "trajectory", "--restarts", 1, "--steps", 6]
QUICK = ["--set", "guide.epochs=4", "--set", "guide.svi_steps=5", "--set", "guide.batch_size=6"]
QUICK += ["--set", "model.hidden=3"]


@pytest.fixture(scope="module")
def courses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("courses")
    code, _, err = call("simulate", "ode", "--genes", 8, "--trajectories", 12, "--seed", 1, "--out", folder / "sim")
    assert code == 0, err
    return folder / "sim"


@pytest.fixture(scope="module")
def fitted(courses):
    out = courses.parent / "run"
    prior = f"motif={courses / 'prior.csv'}"
    code, _, err = call("infer", courses / "expression.h5ad", *COMMON, *QUICK, "--prior", prior, "--out", out)
    assert code == 0, err
    return out


def test_infer_writes_everything(fitted):
    names = {p.name for p in fitted.iterdir()}
    assert {"edges.csv", "posterior.nc", "diagnostics.json", "report.html", "config.json", "model"} <= names
    assert len(pd.read_csv(fitted / "edges.csv")) == 56
    assert json.loads((fitted / "config.json").read_text())["method"] == "phoenix"
    assert "share of all effects on the target" in (fitted / "report.html").read_text()


def test_edges_are_those_of_the_method_for_edges(courses, fitted):
    """As by hand, with the same prior; and a network is found that six epochs of training do not know."""
    data = read_expression(courses / "expression.h5ad", tfs=None, time_key="time", trajectory_key="trajectory")
    prior = PriorNetwork.read(courses / "prior.csv", name="motif")
    by_hand = fit(TrajectoryNetwork.from_data(data, networks={"motif": prior}), guide=Gibbs(), seed=0).edges()
    table = pd.read_csv(fitted / "trajectory_edges.csv")
    page = (fitted / "report.html").read_text()
    assert "For a network do not use these edges" in page
    assert page.index("For a network do not use") < page.index("An edge is a direct effect")
    assert list(table.columns) == list(by_hand.columns)
    pd.testing.assert_frame_equal(table, by_hand.reset_index(drop=True), check_dtype=False, rtol=1e-4, atol=1e-5)
    truth = pd.read_csv(courses / "network.csv")
    found = {name: score_edges(pd.read_csv(fitted / name), truth) for name in ("edges.csv", "trajectory_edges.csv")}
    ranked = {name: score["average_precision"] for name, score in found.items()}
    assert ranked["trajectory_edges.csv"] > ranked["edges.csv"] + 0.3


def test_predictions(fitted, tmp_path):
    out = tmp_path / "course.csv"
    options = ["--times", "0,1,4", "--knockout", "G0002", "--genes", "G0001,G0002"]
    code, _, err = call("course", fitted, *options, "--out", out)
    assert code == 0, err
    assert "1 of 3 times lie further from the start than any two measurements of the fit" in " ".join(err.split())
    table = pd.read_csv(out)
    assert len(table) == 3 * 8
    assert table.loc[table["gene"] == "G0002", "mean"].abs().max() < 1e-6
    assert out.with_suffix(".png").exists()
    code, _, err = call("predict", fitted, "--knockout", "G0002", "--out", tmp_path / "ko.csv")
    assert code == 0, err
    assert list(pd.read_csv(tmp_path / "ko.csv"))[:5] == ["gene", "mean", "sd", "lower", "upper"]
    code, _, err = call("influence", fitted, "--starts", 4, "--draws", 2, "--out", tmp_path / "who")
    assert code == 0, err
    written = {p.name for p in (tmp_path / "who").iterdir()}
    assert {"influence.csv", "degrees.csv", "influence.png", "effects.png"} <= written


def test_influence_writes_all_or_nothing(fitted, tmp_path, monkeypatch):
    from pyrogrn.experiments.figures import effect_maps as figures

    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, "coregulation_heat_maps", fail)
    code, _, _ = call("influence", fitted, "--starts", 2, "--draws", 2, "--out", tmp_path / "who")
    assert code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def without_pruning(courses):
    out = courses.parent / "none" / "run"  # a folder of the same name
    quick = [*QUICK, "--set", "guide.sparsifier=none"]
    code, _, err = call("infer", courses / "expression.h5ad", *COMMON, *quick, "--out", out)
    assert code == 0, err
    return out


def test_influence_of_runs_side_by_side(fitted, without_pruning, tmp_path):
    """The rows of each run are those of the run alone."""
    genes = [f"G{i:04d}" for i in range(8)]
    (tmp_path / "sets.gmt").write_text("".join(f"s{i}\t\t" + "\t".join(genes[i : i + 5]) + "\n" for i in range(3)))
    options = ["--starts", 4, "--draws", 2, "--gene-sets", f"mine={tmp_path / 'sets.gmt'}"]
    for name, runs in {
        "both": [fitted, without_pruning / "model"],
        "one": [fitted],
        "other": [without_pruning],
    }.items():
        code, _, err = call("influence", *runs, *options, "--out", tmp_path / name)
        assert code == 0, err
    labels = [f"{fitted.parent.name}/run", "none/run"]
    for name in ("influence", "degrees", "pathways"):
        together = pd.read_csv(tmp_path / "both" / f"{name}.csv")
        assert list(together["run"].unique()) == labels
        for label, folder in zip(labels, ("one", "other"), strict=True):
            alone = pd.read_csv(tmp_path / folder / f"{name}.csv")
            rows = together[together["run"] == label].drop(columns="run").reset_index(drop=True)
            pd.testing.assert_frame_equal(rows, alone, check_dtype=False)
    pictures = {p.name for p in (tmp_path / "one").glob("*.png")}
    assert {p.name for p in (tmp_path / "both").glob("*.png")} == pictures
    assert "pathways.png" in pictures


def refused(*arguments):
    code, _, err = call("influence", *arguments)
    assert code == 2
    assert err.strip().count("\n") == 0
    return err


def test_influence_of_runs_that_are_of_other_data(courses, fitted, tmp_path):
    cells = anndata.read_h5ad(courses / "expression.h5ad")
    moved = cells.copy()
    moved.X[0] *= 1.1
    for name, other, words in (
        ("fewer", cells[:, :-1], "has other genes than run (7 and 8; 'G0007' is in one of them alone)"),
        ("moved", moved, "moved was fitted to other measurements than run"),
    ):
        other.copy().write_h5ad(tmp_path / f"{name}.h5ad")
        code, _, err = call("infer", tmp_path / f"{name}.h5ad", *COMMON, *QUICK, "--out", tmp_path / name)
        assert code == 0, err
        assert words in refused(fitted, tmp_path / name, "--out", tmp_path / "who")
    assert "given twice" in refused(fitted, fitted / "model", "--out", tmp_path / "who")
    assert not (tmp_path / "who").exists()


def test_a_start_from_a_file(fitted, tmp_path):
    for text, words in (
        ("gene,level\nG0001,x\n", "is no number"),
        ("gene,level\nG0001,1\nG0001,2\n", "twice"),
        ("gene,level\nNA,1\n", "not in the data: ['NA']"),
    ):
        (tmp_path / "start.csv").write_text(text)
        code, _, err = call(
            "course", fitted, "--times", "0,1", "--start", tmp_path / "start.csv", "--out", tmp_path / "c.csv"
        )
        assert code == 2
        assert words in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--times", "0,x"], "--times 0,x"),
        (["--times", "3,1"], "increasing"),
        (["--times", "0,1", "--genes", "QQ"], "QQ"),
        (["--times", "0,1", "--start", "nowhere"], "no trajectory"),
        (["--times", "0,1", "--knockout", "G0001", "--overexpress", "G0001=2"], "clamped twice"),
        (["--times", "0,1", "--level", 2], "--level"),
    ],
)
def test_bad_courses(fitted, tmp_path, options, words):
    code, _, err = call("course", fitted, *options, "--out", tmp_path / "c.csv")
    assert code == 2
    assert words in err
    assert err.strip().count("\n") == 0
    assert not (tmp_path / "c.csv").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "phoenix"], "needs --time-key"),
        ([*COMMON, "--edge-prior", "horseshoe"], "does not go with PHOENIX"),
        ([*COMMON, "--set", "prior.scale=0.1"], "not used by PHOENIX"),
        ([*COMMON, "--set", "guide.sparsifier=dash"], "needs prior knowledge"),
        ([*COMMON, "--set", "model.coregulation=ppi"], "'ppi'"),
        ([*COMMON, "--guide", "gibbs"], "do not go together"),
        (["--method", "linear", "--time-key", "time"], "--time-key does not go with"),
    ],
)
def test_bad_fits(courses, tmp_path, options, words):
    code, _, err = call("infer", courses / "expression.h5ad", *options, "--out", tmp_path / "run")
    assert code == 2
    assert words in err
    assert not (tmp_path / "run").exists()
