"""Sections that make the papers' tables: rows are made once, summaries are right, files say who made them."""

import sys
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.benchmarks import amortised_paper as P
from pyrogrn.experiments.benchmarks import phoenix as D
from pyrogrn.experiments.benchmarks import phoenix_stacks as K
from pyrogrn.experiments.benchmarks import phoenix_table as T
from pyrogrn.experiments.benchmarks import provenance
from pyrogrn.experiments.benchmarks.__main__ import QUICK, SECTIONS
from pyrogrn.experiments.benchmarks.results import Results
from pyrogrn.experiments.scores import auroc
from pyrogrn.inference.neural_ode import Diverged, Trained, TrainingHistory
from pyrogrn.inference.pruning import CNODE, HardConcrete, NoPruning, PathReg
from pyrogrn.models import ExpressionData
from pyrogrn.models.data.transitions import Transitions
from pyrogrn.models.dynamics.phoenix_network import PhoenixNetwork

GENES = ("A", "B", "C")
TRUTH = np.roll(np.eye(3, dtype=bool), 1, axis=0)
PAIRS = Transitions.from_arrays(torch.rand(12, 3), np.tile([0.0, 1.0], 6), np.repeat(list("abcdef"), 2), genes=GENES)


@dataclass(frozen=True)
class Courses:
    """As little of the benchmark's courses as a training that is not done needs."""

    task: str = "SIM350, noise 5%"
    training: Transitions = PAIRS
    validation: Transitions = PAIRS
    truth: np.ndarray = field(default_factory=TRUTH.copy)

    def prior(self, misplaced=None, *, signed=False):
        return torch.eye(3).roll(1, 0) if not misplaced else torch.eye(3).roll(2, 0)

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
    monkeypatch.setattr(K, "train_many", train_many)
    monkeypatch.setattr(K, "scores", scores)
    monkeypatch.setattr(T.Courses, "read", classmethod(lambda cls, folder, noise: Courses()))
    return asked


def test_stacks_hold_what_goes_together_and_rows_are_made_once(tmp_path, trained):
    results = Results(tmp_path / "rows.csv")
    wanted = [K.Wanted(name, s, NoPruning) for name in ("none", "L0", "IMP") for s in range(8)]
    K.train_rows(results, Courses(), wanted, dense := {})
    assert sorted(map(len, trained)) == [1, 8, 15]
    assert set(dense) == {(Courses.task, False, seed) for seed in range(8)}
    K.train_rows(results, Courses(), wanted, {})
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


NOTHING = TrainingHistory("diverged at epoch 1", *(np.zeros(0) for _ in range(5)), 0)


def test_networks_are_made_again_without_touching_their_rows(tmp_path, trained):
    results = Results(tmp_path / "rows.csv")
    wanted = [K.Wanted("none", s, NoPruning) for s in range(2)]
    K.train_rows(results, Courses(), wanted, {})
    rows = [dict(row) for row in results.rows]
    dense = {}
    K.train_rows(results, Courses(), [K.Wanted("none", s, NoPruning, again=True) for s in range(2)], dense)
    assert len(trained) == 2
    assert len(dense) == 2
    assert results.rows == rows


def test_folds_that_blow_up_are_not_chosen_and_end_nothing(tmp_path, trained, monkeypatch):
    made = K.train_many

    def some(jobs, *, patience, slack, done):
        blown = lambda number: jobs[number].sparsifier.strength[0] == 0.1
        keep = lambda n, fitted: done(n, Trained(fitted.network, np.inf, 0, NOTHING) if blown(n) else fitted)
        made(jobs, patience=patience, slack=slack, done=keep)

    monkeypatch.setattr(K, "train_many", some)
    results = Results(tmp_path / "rows.csv")
    assert D.chosen_strength(results, Courses()) > 0.1


def test_a_share_that_blows_up_at_once_is_never_chosen(tmp_path, trained, monkeypatch):
    made = K.train_many
    fraction = lambda job: getattr(job.sparsifier, "fraction", 0)

    def some(jobs, *, patience, slack, done):
        def keep(number, fitted):
            if fraction(jobs[number]) == 0.97 or (fraction(jobs[number]) == 0.92 and jobs[number].seed == 1):
                fitted = Trained(fitted.network, np.inf, fraction(jobs[number]), NOTHING)
            done(number, fitted)

        made(jobs, patience=patience, slack=slack, done=keep)
        if all(fraction(job) == 0.97 for job in jobs):
            raise Diverged(Trained(jobs[0].network, np.inf, 0.97, NOTHING))

    monkeypatch.setattr(K, "train_many", some)
    monkeypatch.setattr(K, "STACK", 3)  # all three seeds of one share, which may all blow up
    results = Results(tmp_path / "rows.csv")
    T.post_hoc(results, tmp_path, "sim350", "5%", False, {})
    number = len(trained)
    again = Results(tmp_path / "rows.csv")
    again.resume()
    T.post_hoc(again, tmp_path, "sim350", "5%", False, {})
    assert len(trained) == number, "what blew up is not trained again"
    assert again.value(Courses.task, "post-hoc", "0-2", "sparsity") == 0.9


def test_lambda_is_chosen_over_the_folds_and_the_curve_made_with_it_once(tmp_path, trained, monkeypatch):
    results = Results(tmp_path / "rows.csv")
    errors = {0.1: 1.0, 0.3: 1.01, 0.5: 2.0, 0.8: 3.0}  # folds agree: only the best lies within its own error

    def scored(courses, fitted, seconds, epochs):
        return {"sparsity": 0.5, "validation MSE": errors.get(strengths.pop(0), 1.0), T.LAST: 1.0}

    strengths = [value for _ in range(D.FOLDS) for value in D.GRID] + [9.0] * 20
    monkeypatch.setattr(K, "scores", scored)
    for _ in range(2):
        D.run(tmp_path, results)
    assert results.value(Courses.task, D.CHOICE, "all folds", "lambda") == 0.1
    assert trained == [["DASH"] * 4] * 3 + [
        (["DASH"] * 3 + ["BioPruning"]) * 3 + ["DASH"] * 3,
        ["BioPruning", *["DASH"] * 3, "BioPruning"],
    ]
    right = [
        results.value(f"{Courses.task}, prior noise {x:.0%}", "prior", 0, "share of true edges") for x in D.PRIOR_NOISES
    ]
    assert right == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert results.value(f"{Courses.task}, prior noise 40%", "DASH", "0-2", "sparsity") == 0.5


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


# -- sections that keep what they have ----
def refused(*_, **__):
    raise AssertionError("made again")


def test_a_calibration_that_is_there_is_not_made_again(tmp_path, monkeypatch):
    from pyrogrn.experiments.benchmarks import calibration as C
    from pyrogrn.inference import Gibbs
    from pyrogrn.inference.sbc import LinearDesign
    from pyrogrn.priors import SpikeSlab

    design = LinearDesign(num_tfs=3, num_targets=4, num_cells=40, correlation=0.0)
    monkeypatch.setattr(C, "REPLICATES", 2)
    arguments = ("model", "any", design, SpikeSlab(), Gibbs(num_chains=2, num_warmup=5, num_samples=10))
    results = Results(tmp_path / "calibration.csv")
    C.run_model(results, *arguments)
    assert {row["score"] for row in results.rows} == {"coverage90", "ece", "average_precision", "seconds"}
    before = list(results.rows)
    monkeypatch.setattr(C, "fit", refused)
    C.run_model(results, *arguments)
    assert results.rows == before


def test_cases_of_responses_are_kept_one_by_one(tmp_path, monkeypatch):
    from pyrogrn.experiments.benchmarks import responses as R

    made = []
    monkeypatch.setattr(R, "cases", lambda _: {name: (lambda n=name: made.append(n) or 1 / 0) for name in ("a", "b")})
    results = Results(tmp_path / "responses.csv")
    results.add("a", "linear", 0, "regression", 0.5)
    results.add("b", "linear", 0, "regression", 0.5)
    results.add(R.WHOLE, "a", 0, "CPU s", 1.0)
    with pytest.raises(ZeroDivisionError):
        R.run(tmp_path, Results(tmp_path / "responses.csv"))
    assert made == ["b"]


def test_knock_downs_of_a_line_are_kept_case_by_case(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from pyrogrn.experiments.benchmarks import knockdowns as K

    lines = SimpleNamespace(data=SimpleNamespace(num_genes=5, context_names=("A", "B")), logs=(1, 2))
    split = SimpleNamespace(variance=np.ones(60))
    monkeypatch.setattr(K.Split, "of", classmethod(lambda cls, *_: split))
    scored = {("response", "residual"): np.array([0.1, 0.3])}
    monkeypatch.setattr(K, "CASES", {"one": lambda *_: scored, "two": refused})
    results = Results(tmp_path / "knockdowns.csv")
    results.add("A of 2 lines, 5 genes, two", "response", 0, "residual", 0.5)
    K.run_line(results, lines, 0)
    assert results.value("A of 2 lines, 5 genes, one", "response", "0-4", "residual") == pytest.approx(0.2)
    monkeypatch.setattr(K, "CASES", {"one": refused, "two": refused})
    K.run_line(results, lines, 0)


def test_baselines_that_are_there_are_not_grown_again(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from pyrogrn.experiments.benchmarks import edges as E

    monkeypatch.setattr(E, "tasks", lambda _: [SimpleNamespace(name="task", data=None, truths={})])
    grown = []
    method = lambda name: type("Method", (), {"name": name, "__call__": lambda self, data, seed: grown.append(name)})()
    monkeypatch.setattr(E, "BASELINES", (method("ridge"), method("genie3")))
    results = Results(tmp_path / "baselines.csv")
    results.add("task", "ridge", 0, "seconds", 1.0)
    E.run_baselines(tmp_path, results)
    assert grown == ["genie3"]
    assert results.value("task", "genie3", 0, "seconds") is not None


def test_rows_that_were_written_are_no_change_of_the_code(tmp_path, monkeypatch):
    import subprocess

    from pyrogrn.experiments.benchmarks import results as M

    here = tmp_path / "experiments" / "benchmarks"
    for folder in (here, tmp_path / "experiments" / "results"):
        folder.mkdir(parents=True)
    (here / "results.py").write_text("code")
    row = tmp_path / "experiments" / "results" / "speed.csv"
    row.write_text("1")
    git = lambda *words: subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)
    git("init")
    git("add", "-A")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "one")
    monkeypatch.setattr(M, "__file__", str(here / "results.py"))
    row.write_text("2")
    assert not M.commit.__wrapped__().endswith("+")
    (here / "results.py").write_text("other code")
    assert M.commit.__wrapped__().endswith("+")


# -- other tools, in environments of their own ----
def small_task():
    from pyrogrn.experiments.tasks import Task
    from pyrogrn.models.simulators import simulate_linear

    own = simulate_linear(num_genes=12, num_tfs=3, num_cells=40, edge_probability=0.5, seed=0)
    return Task("small", own.data, {"network": own.network[["source", "target"]]})


def test_a_tool_is_run_by_its_own_python_and_what_it_lacks_is_said(monkeypatch):
    from pyrogrn.experiments.benchmarks import rivals as R

    task = small_task()
    targets = R.some_targets(task)
    monkeypatch.setitem(R.PROGRAMS, "size", ("", "score = np.abs(X).mean() + np.zeros((len(tf), len(targets)))"))
    monkeypatch.setitem(R.PROGRAMS, "absent", ("import a_tool_that_is_not_there", ""))
    found = R.elsewhere(sys.executable, "size", task, targets)
    assert found["score"].shape == (3, 9)
    assert found["score"][0, 0] == pytest.approx(float(task.data.X.double().abs().mean()))
    assert "a_tool_that_is_not_there" in R.elsewhere(sys.executable, "absent", task, targets)
    assert "no such python" in R.elsewhere("no such python", "size", task, targets)


def test_tools_are_scored_on_the_same_pairs_and_skipped_without_their_python(tmp_path, monkeypatch, capsys):
    from types import SimpleNamespace

    from pyrogrn.experiments.benchmarks import rivals as R

    task = small_task()
    monkeypatch.delenv(R.ENVIRONMENT, raising=False)
    monkeypatch.setattr(R, "tasks", lambda _: [task])
    monkeypatch.setattr(R.rivals_others, "run", lambda *_: None)
    pairs = [(s, t) for s in task.data.tfs for t in task.data.genes if s != t]
    true = {tuple(edge) for edge in task.truths["network"].to_numpy()}
    table = pd.DataFrame(pairs, columns=["source", "target"])
    table["inclusion"] = [0.99 if pair in true else 0.01 for pair in pairs]
    monkeypatch.setattr(
        R, "UserPath", lambda trial=1: SimpleNamespace(model=lambda _: 0, fit=lambda *_, **__: posterior)
    )
    posterior = SimpleNamespace(edges=lambda: table)
    R.run(tmp_path, Results(tmp_path / "rivals.csv"))
    results = Results(tmp_path / "rivals.csv")
    results.resume()
    assert results.value("small", "linear", 0, "average precision") == 1.0
    assert 0 < results.value("small", "linear", 0, "wrong of the listed") <= R.RATE
    assert results.value("small", "ridge", 0, "ECE") is None
    assert "are skipped" in capsys.readouterr().out


def test_signs_of_knock_outs_are_judged_without_the_knocked_out_gene(tmp_path):
    from pyrogrn.experiments.benchmarks import rivals_others as O

    truth = np.array([[-1.0, 0.5, 0.0], [0.0, -1.0, -0.4]])
    found = np.array([[[9, 3, 1], [1, 9, 2]], [[1, 1, 1], [1, 1, 1]], [[1, 1, 1], [0, 1, 1]]], dtype=float)
    results = Results(tmp_path / "rivals.csv")
    O.add_signs(results, "one", found, truth, 2.0)
    value = lambda score: results.value(O.KNOCKED, "one", 0, score)
    assert value("average precision") == 1.0
    assert value("signs that are sure") == 3
    assert value("wrong of the sure") == pytest.approx(2 / 3)  # one does not move, one the other way
    assert value("the other way of the sure") == pytest.approx(1 / 3)
    seen = []
    keep = lambda score, seconds: seen.append(float(score))
    O.other(results, sys.executable, O.KNOCKED, "absent", ("import a_tool_that_is_not_there", ""), keep, X=truth)
    O.other(results, sys.executable, O.KNOCKED, "present", ("", "score = X.sum()"), keep, X=truth)
    assert seen == [pytest.approx(truth.sum())]
    assert results.value(O.KNOCKED, "absent", 0, "resident GB") is None
    assert results.value(O.KNOCKED, "present", 0, "resident GB") > 0


def test_distances_of_called_structures_are_those_of_score():
    from pyrogrn.experiments.benchmarks import amortised_protocol as P
    from pyrogrn.experiments.scores import score_edges
    from pyrogrn.experiments.tasks import truth_matrix
    from pyrogrn.models.simulators import simulate_linear

    simulation = simulate_linear(num_genes=12, num_tfs=5, num_cells=20, edge_probability=0.4, seed=0)
    data, known = simulation.data, simulation.network[["source", "target"]]
    called = np.random.default_rng(0).random((5, 12)) < 0.5
    found = P.distances(called, data, truth_matrix(data, known))
    source, target = np.meshgrid(data.tfs, data.genes, indexing="ij")
    table = pd.DataFrame(
        {"source": source.ravel(), "target": target.ravel(), "inclusion": called.ravel().astype(float)}
    )
    scores = score_edges(table[table["source"] != table["target"]], known)
    assert found == {"shd": scores["shd"], "shd_cpdag": scores["shd_cpdag"]}
    assert found["shd_cpdag"] < found["shd"]


def test_methods_of_perturbed_cells_are_those_that_the_material_allows():
    from pyrogrn.experiments.benchmarks import response_networks as N
    from pyrogrn.models.simulators import simulate_linear
    from pyrogrn.priors import PriorNetwork

    data = simulate_linear(num_genes=12, num_tfs=4, num_cells=40, num_perturbed=2, seed=0).data
    labels = tuple(["control"] * data.num_cells)
    bare = N.methods(N.Material(data, labels))
    assert {"correlation", "genie3", "linear", "linear, interventions not told", "screen"} <= set(bare)
    known = PriorNetwork.from_edges(pd.DataFrame({"source": ["G0000"], "target": ["G0005"]}), name="list")
    full = N.methods(N.Material(data, labels, data, data, data, {"list": known}))
    added = {"grnular", "glad-tf", "factorbox", "trajectory", "celloracle", "pmf-grn", "netrex-cf"}
    assert set(full) - set(bare) == added
    listed = full["celloracle"]()
    assert list(zip(listed["source"], listed["target"], strict=True)) == [("G0000", "G0005")]


def test_responses_to_perturbations_are_edges_of_the_other_sign():
    from pyrogrn.experiments.benchmarks import response_networks as N

    rng = np.random.default_rng(0)
    labels = np.repeat(["control", "A"], 60)
    X = rng.normal(5, 0.3, (120, 6))
    X[labels == "A", 0] -= 3
    X[labels == "A", 1] -= 2  # falls with A, so A activates it
    data = ExpressionData.from_frame(pd.DataFrame(X, columns=list("ABCDEF")), perturbed=labels.tolist())
    table = N.screened(data, tuple(labels)).set_index(["source", "target"])
    assert table.loc[("A", "B"), "weight"] > 1
    assert table.loc[("A", "B"), "inclusion"] > 0.9
    assert ("A", "A") not in table.index


def test_a_row_a_condition_has_the_mean_of_its_cells():
    from pyrogrn.experiments.benchmarks import response_networks as N

    frame = pd.DataFrame({"A": [1.0, 3.0, 0.0], "B": [2.0, 2.0, 8.0]})
    data = ExpressionData.from_frame(np.log1p(frame))
    panel = N.means(data, np.array(["control", "control", "A"]))
    np.testing.assert_allclose(panel.X.numpy(), [[3.0, 3.0], [1.0, 9.0]], rtol=1e-5)  # and one more
    assert panel.perturbed.tolist() == [[1, 0]]
    np.testing.assert_allclose(N.levels(data, 0.5).X.numpy(), frame.to_numpy() + 0.5, rtol=1e-5)
