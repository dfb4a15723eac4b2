"""Sections that make the papers' tables: rows are made once, summaries are right, files say who made them."""

import sys

import numpy as np
import pytest
import torch
from pyrogrn.experiments.benchmarks import amortised_paper as P
from pyrogrn.experiments.benchmarks import phoenix_table as T
from pyrogrn.experiments.benchmarks import provenance
from pyrogrn.experiments.benchmarks.__main__ import QUICK, SECTIONS
from pyrogrn.experiments.benchmarks.results import Results
from pyrogrn.experiments.scores import auroc
from pyrogrn.inference.neural_ode import Trained, TrainingHistory
from pyrogrn.inference.pruning import CNODE, HardConcrete, NoPruning, PathReg
from pyrogrn.models import ExpressionData
from pyrogrn.models.dynamics.phoenix_network import PhoenixNetwork

GENES = ("A", "B", "C")


class Courses:
    """As little of the benchmark's courses as a training that is not done needs."""

    task = "SIM350, noise 5%"
    training = validation = None

    def prior(self, noise=0.05, *, signed=False):
        return torch.eye(3).roll(1, 0)

    def network(self, seed):
        return PhoenixNetwork(GENES, hidden=2, seed=seed)


@pytest.fixture
def trained(monkeypatch):
    """Stacks that were asked for; trainings end at once, the sparser the better validated."""
    asked = []

    def train_many(jobs, *, patience, slack, done):
        asked.append([type(job.sparsifier).__name__ for job in jobs])
        for number, job in enumerate(jobs):
            one = np.array([1.0])
            history = TrainingHistory("budget", one, one, one, one, one, 1)
            share = getattr(job.sparsifier, "fraction", 0.0)
            done(number, Trained(job.network, 1.0 - share if share < 0.95 else 9.0, share, history))

    scores = lambda courses, fitted, seconds, epochs: {
        "sparsity": fitted.sparsity,
        "validation MSE": fitted.validation,
        "epochs": float(epochs),
        "seconds": float(seconds),
        T.LAST: 1.0,
    }
    monkeypatch.setattr(T, "train_many", train_many)
    monkeypatch.setattr(T, "scores", scores)
    monkeypatch.setattr(T.Courses, "read", classmethod(lambda cls, folder, noise: Courses()))
    return asked


def test_stacks_hold_what_goes_together_and_rows_are_made_once(tmp_path, trained):
    results = Results(tmp_path / "rows.csv")
    wanted = [T.Wanted(name, s, NoPruning, loss=False) for name in ("none", "L0", "IMP") for s in range(8)]
    T.train_rows(results, Courses(), wanted, dense := {})
    assert sorted(map(len, trained)) == [1, 8, 15]
    assert set(dense) == {(Courses.task, False, seed) for seed in range(8)}
    T.train_rows(results, Courses(), wanted, {})
    assert len(trained) == 3


def test_strengths_are_those_of_least_validation_error_and_their_training_is_the_first_seed(tmp_path, trained):
    results = Results(tmp_path / "rows.csv")
    for method, grid in T.STRENGTHS.items():
        for number, strength in enumerate(grid):
            row = {"sparsity": 0.1 * number, "validation MSE": 1.0 / (1 + number), T.LAST: 1.0}
            T.record(results, T.CHOSEN_ON, T.trial(method, strength), 0, row)
    assert T.choose(results, tmp_path) == {method: grid[-1] for method, grid in T.STRENGTHS.items()}
    T.penalised(results, tmp_path, "sim350", "5%", True)
    assert sum(map(len, trained)) == 2 * len(T.STRENGTHS), "two more seeds of each"
    number = len(T.STRENGTHS["PathReg"]) - 1
    assert results.value(Courses.task, "PathReg, prior loss", 0, "sparsity") == pytest.approx(0.1 * number)


def test_post_hoc_takes_the_sparsest_as_good_as_the_best_and_counts_all_trainings(tmp_path, trained):
    results = Results(tmp_path / "rows.csv")
    for _ in range(2):
        T.post_hoc(results, tmp_path, "sim350", "5%", True, {})
    share = max(p for p in T.GRID if p < 0.95)
    assert results.value(Courses.task, "post-hoc, prior loss", "0-2", "sparsity") == share
    assert results.value(Courses.task, "post-hoc, prior loss", 1, "epochs") == 1 + len(T.GRID)
    assert sum(map(len, trained)) == 3 * (1 + len(T.GRID))


def test_penalties_have_the_strengths_they_are_given():
    made = T.penalty("PathReg", (0.2, 0.3))
    assert isinstance(made, PathReg)
    assert (made.strength, made.weight_strength) == (0.2, 0.3)
    assert isinstance(T.penalty("C-NODE", (0.2,)), CNODE)
    assert isinstance(T.penalty("L0", (0.2,)), HardConcrete)


def test_replicates_are_summed_up_over_those_there_are(tmp_path):
    results = Results(tmp_path / "rows.csv")
    for index in range(8):
        results.add("DS", "grnular", index, "average_precision", 0.5 + 0.01 * index)
        if index < 7:
            results.add("DS", "ridge", index, "average_precision", 0.4)
    for _ in range(2):
        P.sum_up(results, "DS", ["grnular", "ridge"], 8)
    assert results.value("DS", "grnular", "mean", "average_precision") == pytest.approx(0.535)
    assert results.value("DS", "ridge", "mean", "average_precision: p of grnular against it") == pytest.approx(2 / 2**7)
    assert sum(row["seed"] == "mean" for row in results.rows) == 3


def test_auroc_with_every_gene_as_a_source_is_that_of_the_whole_table():
    generator = np.random.default_rng(0)
    score, true = np.zeros((P.GENES, 40)), np.zeros((P.GENES, 40), dtype=bool)
    score[:20], true[:20] = generator.random((20, 40)) + 0.01, generator.random((20, 40)) < 0.1
    among = auroc(score[:20].ravel(), true[:20].ravel())
    whole = auroc(score.ravel(), true.ravel())
    assert P.with_every_source(among, float(true[:20].mean()), 20) == pytest.approx(whole)


def test_the_most_variable_genes_keep_the_regulators_among_them():
    X = torch.randn(30, 600, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 2, 600)
    names = tuple(f"G{i}" for i in range(600))
    kept = P.variable(ExpressionData(X, names, (names[5], names[599])))
    assert len(kept.genes) == P.GENES
    assert kept.tfs == ("G599",)
    assert torch.equal(kept.X[:, kept.genes.index("G599")], X[:, 599])


def test_a_results_file_says_which_commits_made_it_and_what_it_measures(tmp_path):
    results = Results(tmp_path / "phoenix.csv")
    results.add("task", "method", 0, "score", 1.0)
    table = provenance.provenance({"phoenix": SECTIONS["phoenix"], "speed": SECTIONS["speed"]}, tmp_path)
    assert set(table["task"]) == {"phoenix"}
    assert table.loc[table["method"] == "rows", "value"].tolist() == [1.0]
    files = provenance.measured(sys.modules[SECTIONS["phoenix"].__module__])
    assert "inference/neural_ode/training.py" in files
    assert "models/dynamics/phoenix_network.py" in files
    assert not any(file.startswith("experiments") for file in files)


def test_quick_sections_exist_and_missing_ones_alone_are_run(tmp_path, monkeypatch):
    from pyrogrn.experiments.benchmarks import __main__ as command

    assert set(QUICK) <= set(SECTIONS)
    ran = []
    fake = {name: lambda folder, results, name=name: ran.append(name) for name in (*QUICK, "other")}
    monkeypatch.setattr(command, "SECTIONS", fake)
    (tmp_path / f"{QUICK[0]}.csv").write_text("")
    call = lambda *more: (
        monkeypatch.setattr(sys, "argv", ["benchmarks", *more, "--data", str(tmp_path), "--out", str(tmp_path)]),
        command.main(),
    )
    call("--missing")
    assert ran == [*QUICK[1:], "other"]
    ran.clear()
    call("--quick")
    assert ran == list(QUICK)
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    with pytest.raises(SystemExit) as refused:
        command.main()
    assert refused.value.code == 2
