"""Predictions say what observations cannot tell, and genes that are not in the data are called that."""

import numpy as np
import pandas as pd
import pytest
from command_line import call
from pyrogrn import Posterior

GENES = ["A", "B", "C", "T"]


def cells(number, rng, held=None):
    """A -> B, B -> C, C -> T around 5."""
    X = np.empty((number, 4))
    for place, name in enumerate(GENES):
        X[:, place] = 5 + rng.normal(size=number) + (0.9 * (X[:, place - 1] - 5) if place else 0)
        if name == held:
            X[:, place] = 0
    return X


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("said")
    rng = np.random.default_rng(0)
    parts = {"control": cells(300, rng)} | {name: cells(40, rng, name) for name in "ABC"}
    table = pd.DataFrame(np.concatenate(list(parts.values())), columns=GENES)
    table["perturbation"] = [name for name, part in parts.items() for _ in range(len(part))]
    table.to_csv(folder / "all.csv", index_label="cell")
    table[:300].drop(columns="perturbation").to_csv(folder / "seen.csv", index_label="cell")
    (folder / "tfs.txt").write_text("A\nB\nC\n")
    fit = ["--tfs", folder / "tfs.txt", "--restarts", 1, "--steps", 40]
    for name, more in (("seen", []), ("all", ["--perturbation-key", "perturbation"])):
        code, _, err = call("infer", folder / f"{name}.csv", *fit, *more, "--out", folder / name)
        assert code == 0, err
    return folder


def test_observations_do_not_tell_directions(runs, tmp_path):
    code, _, err = call("predict", runs / "seen", "--knockout", "B", "--out", tmp_path / "ko.csv")
    assert code == 0, err
    assert "note: directions are not known" in err
    assert "do not identify what a knock-out does: intervals can then miss the truth by far" in err
    assert "--perturbation-key" in err
    table = pd.read_csv(tmp_path / "ko.csv")
    assert list(table)[:7] == ["gene", "mean", "sd", "lower", "upper", "settled", "control"]
    assert table["note"].str.contains("directions are not known").all()
    assert "Directions are not known" in (runs / "seen" / "report.html").read_text()
    code, _, err = call("predict", runs / "seen", "--all-knockouts", "--out", tmp_path / "each.csv")
    assert code == 0, err
    assert "directions are not known" in err


def test_interventions_on_every_regulator_do(runs, tmp_path):
    code, _, err = call("predict", runs / "all", "--knockout", "B", "--out", tmp_path / "ko.csv")
    assert code == 0, err
    assert "directions" not in err
    assert "note" not in pd.read_csv(tmp_path / "ko.csv")
    assert Posterior.load(runs / "all" / "model").prediction_notes() == []


@pytest.mark.parametrize(
    ("gene", "words"),
    [
        ("SOX2", "not in the data: ['SOX2']"),
        ("b", "'b' is written 'B' there"),
        ("T", "not among the 3 regulators of this fit: ['T'], in the data as targets only"),
        ("A,", "empty name"),
    ],
)
def test_a_gene_that_cannot_be_knocked_out(runs, tmp_path, gene, words):
    code, _, err = call("predict", runs / "seen", "--knockout", gene, "--out", tmp_path / "ko.csv")
    assert code == 2
    assert words in err
    assert ("regulates nothing" in err) is (gene == "T")
    assert not (tmp_path / "ko.csv").exists()
