"""Benchmark rows: a results file goes on where it was, and a run that the file has is not run again."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyrogrn.experiments.benchmarks import amortised_paper, training_rows
from pyrogrn.experiments.benchmarks.phoenix_published import add_paper
from pyrogrn.experiments.benchmarks.provenance import made_by
from pyrogrn.experiments.benchmarks.results import WHOLE, Results
from pyrogrn.experiments.pages import rows
from pyrogrn.experiments.pages.rows import Rows


def test_resumed_rows_keep_who_made_them(tmp_path):
    file = tmp_path / "rows.csv"
    Results(file).resume()  # no file: nothing to take
    first = Results(file)
    first.add("task", "method", 0, "score", 0.25)
    made = pd.read_csv(file).assign(commit="before")
    made.to_csv(file, index=False)
    second = Results(file)
    second.resume()
    second.add("task", "method", 1, "score", 0.5, 0.125)
    table = pd.read_csv(file)
    assert table["commit"].iloc[0] == "before"
    assert table["commit"].iloc[1] != "before"
    np.testing.assert_allclose(table["value"], [0.25, 0.5])
    assert second.value("task", "method", 0, "score") == 0.25
    assert second.value("task", "method", 1, "score") == 0.5
    assert second.value("task", "method", 2, "score") is None


@pytest.mark.parametrize("commit", ["7222277", "12345e6", "0012345"])
def test_a_commit_that_looks_like_a_number_stays_text(tmp_path, commit):
    file = tmp_path / "rows.csv"
    first = Results(file)
    first.add("task", "method", 0, "score", 0.25)
    pd.read_csv(file).assign(commit=commit).to_csv(file, index=False)
    for seed in (1, 2):
        again = Results(file)
        again.resume()
        again.add("task", "method", seed, "score", 0.5)
    assert pd.read_csv(file, dtype=str)["commit"].iloc[0] == commit
    assert made_by(file)[0] == commit
    assert Rows.read(file).values("commit")[0] == commit


def test_a_run_is_done_once_and_an_unfinished_one_again(tmp_path):
    results = Results(tmp_path / "rows.csv")
    calls = []

    def run():
        calls.append(1)
        return {"sparsity": 0.9, training_rows.LAST: float(len(calls))}

    results.add("task", "DASH", 0, "sparsity", 0.1)  # the last score is missing: it was cut short
    training_rows.once(results, "task", "DASH", 0, run)
    again = Results(tmp_path / "rows.csv")
    again.resume()
    training_rows.once(again, "task", "DASH", 0, run)
    assert len(calls) == 1
    assert [r["value"] for r in again.rows] == [0.9, 1.0]


def test_summary_is_the_mean_and_sd_of_all_seeds_and_added_once(tmp_path):
    results = Results(tmp_path / "rows.csv")
    for seed, value in enumerate((0.9, 0.92, 0.97)):
        training_rows.summarise(results, "task", "DASH", (0, 1, 2))
        assert results.value("task", "DASH", "0-2", "sparsity") is None
        training_rows.record(results, "task", "DASH", seed, {"sparsity": value, training_rows.LAST: 1.0})
    for _ in range(2):
        training_rows.summarise(results, "task", "DASH", (0, 1, 2))
    assert results.value("task", "DASH", "0-2", "sparsity") == pytest.approx(0.93)
    assert results.value("task", "DASH", "0-2", "sparsity: sd") == pytest.approx(np.std([0.9, 0.92, 0.97], ddof=1))
    assert len(results.rows) == 6 + 4


def test_the_papers_rows_are_in_our_units(tmp_path):
    results = Results(tmp_path / "rows.csv")
    for _ in range(2):
        add_paper(results, "SIM350, noise 5%")
    assert results.value("SIM350, noise 5%", "DASH", "paper", "balanced accuracy") == pytest.approx(0.907)
    assert results.value("SIM350, noise 5%", "DASH", "paper", "test MSE") == pytest.approx(2.4e-3)
    assert len(results.rows) == 8 * 8 + 2 * 6  # the two with the prior loss have no epochs


def test_parts_that_ended_are_kept_and_an_interrupted_one_is_made_again(tmp_path):
    def run(stop: bool = False) -> list[str]:
        results, made = Results(tmp_path / "rows.csv"), []

        def part(name: str) -> None:
            made.append(name)
            results.add("task", f"{name}, first", 0, "score", 1.0)
            if stop and name == "second":
                raise KeyboardInterrupt
            results.add("task", f"{name}, last", 0, "score", 2.0)

        results.resume_parts()
        for name in ("first", "second"):
            results.part(name, lambda name=name: part(name))
        return made

    with pytest.raises(KeyboardInterrupt):
        run(stop=True)
    assert run() == ["second"]  # what the interrupted one left is there once
    assert run() == []
    shown = Rows.read(tmp_path / "rows.csv")
    assert shown.values("method") == ["first, first", "first, last", "second, first", "second, last"]
    assert len(shown.all()) == 4
    assert shown.values("task") == ["task"]


def test_files_without_parts_are_made_again(tmp_path):
    Results(tmp_path / "rows.csv").add("task", "method", 0, "score", 0.25)
    again = Results(tmp_path / "rows.csv")
    again.resume_parts()
    assert again.rows == []


def test_pages_know_the_rows_with_which_parts_end():
    assert WHOLE[0] == rows.ENDED


def test_rows_of_another_commit_are_made_again_where_asked_for(tmp_path, monkeypatch):
    path, made = tmp_path / "some.csv", []
    for name in ("aaaaaaa", "bbbbbbb", "bbbbbbb", "bbbbbbb+", "bbbbbbb+"):
        monkeypatch.setattr("pyrogrn.experiments.benchmarks.results.commit", lambda name=name: name)
        results = Results(path, anew=True)
        results.resume_parts()
        results.part("a", lambda name=name: made.append(name))
    assert made == [
        "aaaaaaa",
        "bbbbbbb",
        "bbbbbbb+",
        "bbbbbbb+",
    ]  # which changes those were is not known
    kept = Results(path)
    kept.resume_parts()
    assert len(kept.rows) == 1


def test_published_figures_are_added_once_and_never_differ(tmp_path):
    results = Results(tmp_path / "rows.csv")
    amortised_paper.add_published(results)
    number = len(results.rows)
    amortised_paper.add_published(results)
    assert len(results.rows) == number == 12 * 5 * 2
    results.rows[0]["value"] += 0.01
    with pytest.raises(ValueError, match=r"of the paper is 0\.005, the results have"):
        amortised_paper.add_published(results)


def test_the_results_have_the_published_figures(tmp_path):
    file = Path(amortised_paper.__file__).parents[1] / "results" / "amortised_beeline.csv"
    results = Results(Path(shutil.copy(file, tmp_path)))
    results.resume()
    number = len(results.rows)
    amortised_paper.add_published(results)
    assert len(results.rows) == number
