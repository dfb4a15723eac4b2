"""Benchmark of PHOENIX on measured courses: how data are cut, and what is scored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.benchmarks import phoenix_real as R
from pyrogrn.experiments.benchmarks import phoenix_studies as S
from pyrogrn.experiments.benchmarks.results import Results
from pyrogrn.inference.neural_ode import Diverged, Trained, TrainingHistory
from pyrogrn.inference.pruning import Schedule
from pyrogrn.models.data.transitions import Transitions
from pyrogrn.models.dynamics.phoenix_network import PhoenixNetwork

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
with_data = pytest.mark.skipif(not DATA.is_dir(), reason="the benchmark data are not beside the checkout")
GENES = ("A", "B", "C", "D")


@pytest.fixture(autouse=True)
def one_look_at_the_checkout(monkeypatch):
    """Every row that is added asks git for the commit, which takes longer than these fits."""
    monkeypatch.setattr("pyrogrn.experiments.benchmarks.results.commit", lambda: "none")


def course(number: int, name: str, seed: int) -> Transitions:
    X = torch.rand(number, len(GENES), generator=torch.Generator().manual_seed(seed))
    return Transitions.from_arrays(X, np.arange(number), [name] * number, genes=GENES)


@pytest.fixture
def study():
    """Four genes, one of which regulates two others by the prior and one of these in truth."""
    prior, truth = torch.zeros(4, 4), np.zeros((4, 4), dtype=bool)
    prior[0, 1] = prior[0, 2] = 1
    truth[0, 1] = truth[0, 3] = True
    return S.Study(
        "tiny",
        2,
        course(13, "a", 0),
        course(5, "b", 1),
        {"first": course(4, "c", 2), "second": course(3, "d", 3)},
        prior,
        schedule=Schedule(1, 0.5, every=2),
        truth=truth,
        assayed=(truth.any(1), np.ones(4, dtype=bool)),
    )


def test_segments_begin_at_the_cuts():
    assert S.segments(6, 2, 5).tolist() == ["0", "0", "1", "1", "1", "2"]
    assert S.segments(4, 2, 2).tolist() == ["0", "0", "1", "1"]


def test_pairs_apart_are_the_same_pairs_in_batches_of_pairs(study):
    pairs = study.training.apart()
    assert pairs.num_pairs == 12
    assert torch.equal(pairs.start, study.training.start)
    assert [b.num_pairs for b in pairs.minibatches(5, torch.Generator().manual_seed(0))] == [5, 5, 2]


def test_edges_over_all_pairs_and_among_those_assayed(study):
    found = R.edge_scores(study, study.prior.numpy())
    assert found["true positive rate"] == found["true positive rate, assayed"] == 0.5
    assert found["true negative rate"] == pytest.approx(9 / 10)  # 12 pairs, 2 true; one of the 10 others is called
    assert found["true negative rate, assayed"] == 0.0  # of A's three pairs, the only one that is not true is called
    assert found["balanced accuracy"] == pytest.approx(0.7)


def test_no_change_is_the_reference_and_missing_values_do_not_count(study):
    still = R.held_out_errors(study, lambda batch: batch.start)
    assert still["test MSE / no change"] == 1.0
    assert still["test MSE"] == pytest.approx((still["test MSE, first"] + still["test MSE, second"]) / 2)
    part = study.tests["first"]
    part.observed[:] = False
    part.observed[0, 0] = True
    shifted = R.held_out_errors(study, lambda batch: batch.stop + 0.5)
    assert shifted["test MSE, first"] == pytest.approx(0.25)


def test_pairs_further_apart_than_any_of_training_are_told_apart(study):
    tests = {name: test.rows(torch.arange(test.num_pairs)) for name, test in study.tests.items()}
    tests["first"].dt[0] = 2 * study.training.dt.max()
    apart = replace(study, tests=tests)
    off = lambda batch: batch.stop + (batch.dt > study.training.dt.max())[:, None] * 10.0
    found = R.held_out_errors(apart, off)
    assert found["longer intervals"] == 1.0
    assert found["test MSE"] > 1.0
    assert found["test MSE, intervals of training"] == found["test MSE / no change, intervals of training"] == 0.0
    assert R.held_out_errors(study, R.no_change)["longer intervals"] == 0.0


def test_strengths_are_chosen_by_validation_and_once(study, tmp_path, monkeypatch):
    monkeypatch.setattr(S, "EPOCHS", 3)
    monkeypatch.setattr(R, "GRID", (0.2, 0.8))
    results = Results(tmp_path / "rows.csv")
    monkeypatch.setattr(results, "write", lambda: None)
    chosen = R.choose(results, study, ("DASH", "PathReg"))
    value = lambda method: results.value("tiny", method, 0, "validation MSE")
    errors = {s: value(f"DASH, lambda {s:g}") for s in R.GRID}
    assert errors[chosen.strength] == min(errors.values())
    errors = {s: value(R.trial("PathReg", s)) for s in R.STRENGTHS["PathReg"]}
    assert errors[chosen.penalties["PathReg"]] == min(errors.values())
    assert list(chosen.penalties) == ["PathReg"], "the others are not asked for"
    rows = len(results.rows)
    assert R.choose(results, study, ("DASH", "PathReg")) == chosen
    assert len(results.rows) == rows


def test_a_fit_that_blows_up_at_once_is_a_row_and_not_chosen(study, tmp_path, monkeypatch):
    made = S.Study.fit

    def fit(self, sparsifier, seed):
        if getattr(sparsifier, "strength", (0,))[0] in blown:
            history = TrainingHistory("diverged at epoch 1", *(np.zeros(0) for _ in range(5)), 0)
            raise Diverged(Trained(None, np.inf, 0.0, history))
        return made(self, sparsifier, seed)

    blown = {0.2}
    monkeypatch.setattr(S, "EPOCHS", 1)
    monkeypatch.setattr(S.Study, "fit", fit)
    monkeypatch.setattr(R, "GRID", (0.2, 0.8))
    results = Results(tmp_path / "rows.csv")
    assert R.choose(results, study, ("DASH",)).strength == 0.8
    assert results.value("tiny", "DASH, lambda 0.2", 0, "validation MSE") == np.inf
    blown.add(0.8)
    with pytest.raises(ValueError, match=r"DASH blows up with each of \[0.2, 0.8\]"):
        R.choose(Results(tmp_path / "others.csv"), study, ("DASH",))


def test_a_fit_whose_error_is_not_finite_is_not_chosen(study, tmp_path, monkeypatch):
    results = Results(tmp_path / "rows.csv")
    monkeypatch.setattr(results, "write", lambda: None)
    errors = iter([float("nan"), 0.2, 0.3, 0.4, float("nan"), 0.1])
    monkeypatch.setattr(R, "one", lambda *_: {"validation MSE": next(errors), R.LAST: 1.0})
    assert R.choose(results, study, ("DASH", "L0")) == R.Chosen(R.GRID[1], {"L0": R.STRENGTHS["L0"][1]})


def test_table_has_every_method_and_seed(study, tmp_path, monkeypatch):
    monkeypatch.setattr(S, "EPOCHS", 3)
    results = Results(tmp_path / "rows.csv")
    monkeypatch.setattr(results, "write", lambda: None)  # a few ms for each of 200 rows
    first = {method: grid[0] for method, grid in R.STRENGTHS.items()}
    R.compare(results, lambda seed: study, R.ALL, (0, 1), R.Chosen(0.3, first))
    for method in R.ALL:
        for seed in (0, 1, "0-1"):
            assert results.value("tiny", method, seed, "sparsity") is not None
    assert results.value("tiny", "none", 0, "sparsity") == 0.0
    # the paper's schedule leaves half after epoch 1 and 0.45 after epoch 2, rounded in matrices of 8
    assert results.value("tiny", "DASH", 0, "sparsity") in (0.5, 0.5625, 0.625)


def test_interactions_are_symmetric_and_of_the_genes_alone(tmp_path):
    file = tmp_path / "ppi.csv"
    pd.DataFrame({"gene1": ["A", "B", "X"], "gene2": ["C", "B", "A"], "weight": [0.5, 1.0, 0.9]}).to_csv(file)
    C = S.interactions(file, GENES)
    assert C[0, 2] == C[2, 0] == 0.5
    assert C[1, 1] == 1.0
    assert C.sum() == 2.0


def test_the_papers_rows_are_added_once(tmp_path):
    results = Results(tmp_path / "rows.csv")
    for _ in range(2):
        R.add_paper(results)
    assert results.value("breast, 11165 genes", "DASH", "paper", "balanced accuracy") == 0.9569
    assert len(results.rows) == sum(len(row) for methods in R.PAPER.values() for row in methods.values())


def test_genes_of_an_empty_network_have_no_influence(study):
    network = PhoenixNetwork(GENES, hidden=2, seed=0)
    assert (R.influences(study, network) > 0).all()
    for mask in network.masks().values():
        mask.zero_()
    assert R.influences(study, network).tolist() == [0.0] * 4


@with_data
@pytest.mark.parametrize("seed", R.SEEDS)
def test_breast_intervals_do_not_touch(seed):
    study = S.breast(DATA, 500, seed, gene_sets=False)
    parts = (study.training, study.validation, study.tests["interval"])
    assert parts[1].num_pairs == parts[2].num_pairs == S.HELD - 1
    # every point is in one part: each of the four segments of training has one pair fewer than points
    segments = len(parts[0].trajectory.unique())
    assert sum(p.num_pairs for p in parts) == 178 - (segments + 2)
    assert parts[0].dt.max() < 0.06  # no pair leaps over an interval
    assert study.truth is not None
    assert int(study.truth.sum()) == 1586
    assert int((study.prior > 0).sum()) > 7000


@with_data
def test_bone_marrow_is_scaled_by_what_it_learns_from():
    study = S.bone_marrow(DATA, "B")
    assert study.training.num_pairs == 198 // S.CELLS - 1
    assert set(study.tests) == {"batch24", "batch36"}
    largest = torch.cat([study.training.start, study.training.stop]).max()
    assert largest == pytest.approx(1.0)
    assert study.training.dt.sum() == pytest.approx(S.COURSE, rel=1e-4)
    cells = S.bone_marrow(DATA, "B", cells=1)
    assert cells.training.num_pairs == 197
    for part in (cells.training, cells.validation, *cells.tests.values()):
        assert torch.cat([part.start, part.stop]).max() == pytest.approx(1.0)


@with_data
def test_yeast_learns_from_one_series():
    study = S.yeast(DATA)
    assert (study.training.num_pairs, study.validation.num_pairs, study.tests["second hour"].num_pairs) == (23, 11, 11)
    assert study.truth is not None
    assert int(study.truth.sum()) == 573
