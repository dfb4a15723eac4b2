"""What else the trial could hear: factors are counted, rankings see through noise, every variant has its rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.benchmarks import trial_parts
from pyrogrn.experiments.benchmarks.ladder import Subject
from pyrogrn.experiments.benchmarks.results import Results
from pyrogrn.experiments.scores import average_precision
from pyrogrn.inference.recalibration import TrialOptions
from pyrogrn.inference.recalibration.witnesses import witnesses_of
from pyrogrn.models import ExpressionData

SHORT = TrialOptions(targets=8, worlds=2, warmup=4, samples=5, sweeps=2)


def cells(hidden=0, noise=0.0, seed=0, num_cells=400):
    """Six regulators, the first measured with noise and followed by the second; 30 genes, with hidden causes."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(size=(num_cells, 6))
    levels[:, 1] = levels[:, 0] + 0.3 * rng.normal(size=num_cells)
    truth = np.zeros((6, 30), dtype=bool)
    truth[rng.integers(0, 6, size=30), np.arange(30)] = True
    shared = rng.normal(size=(num_cells, hidden)) @ rng.normal(size=(hidden, 30))
    genes = levels @ truth + shared + 0.5 * rng.normal(size=(num_cells, 30))
    levels[:, 0] += noise * rng.normal(size=num_cells)
    names = tuple([f"T{i}" for i in range(6)] + [f"G{i:02}" for i in range(30)])
    matrix = torch.as_tensor(np.concatenate([levels, genes], axis=1), dtype=torch.float32)
    return ExpressionData(matrix, names, names[:6]), truth


@pytest.mark.parametrize("number", [0, 2])
def test_hidden_factors_are_counted(number):
    data, _ = cells(hidden=number)
    found = trial_parts.hidden_factors(data, data.genes[6:], seed=0)
    assert found.shape == (400, number)
    np.testing.assert_allclose(found.T @ found, np.eye(number), atol=1e-6)


def test_averaged_regulators_rank_best_where_one_is_measured_badly():
    data, truth = cells(noise=0.4)
    witnesses = witnesses_of(data)
    found = trial_parts.rankings(data, data.genes[6:], witnesses)
    worth = {name: average_precision(ranking, truth.ravel()) for name, ranking in found.items()}
    assert worth["ridge, averaged regulators"] > worth["ridge"] + 0.01
    assert worth["ridge, averaged regulators"] > worth["correlation"] + 0.01


def test_every_variant_has_its_rows(tmp_path):
    data, truth = cells()
    tf, target = np.nonzero(truth)
    edges = {"source": [data.tfs[t] for t in tf], "target": [data.genes[6 + g] for g in target]}
    results = Results(tmp_path / "rows.csv")
    trial_parts.add_rows(results, Subject("here", data, None, pd.DataFrame(edges)), SHORT)
    for variant in trial_parts.VARIANTS:
        assert results.value("here", variant, 0, "auprc") > 0.8
        assert results.value("here", variant, 0, "longest_0.1") >= 15
    assert results.value("here", "real genes", 0, "hidden factors") == 0


def test_where_nothing_is_explained_every_variant_is_the_prior(tmp_path):
    names = tuple([f"T{i}" for i in range(5)] + [f"G{i}" for i in range(24)])
    X = torch.as_tensor(np.random.default_rng(1).normal(size=(150, 29)), dtype=torch.float32)
    edges = pd.DataFrame({"source": ["T0"] * 6, "target": [f"G{i}" for i in range(6)]})
    results = Results(tmp_path / "rows.csv")
    trial_parts.add_rows(results, Subject("noise", ExpressionData(X, names, names[:5]), None, edges), SHORT)
    rate = 6 / 120
    expected = -(rate * np.log2(0.25) + (1 - rate) * np.log2(0.75))  # half of the genes have 2.5 of 5
    for variant in trial_parts.VARIANTS:
        assert results.value("noise", variant, 0, "bits") == pytest.approx(expected)
