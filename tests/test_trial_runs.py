"""Sections `trial_runs`, `amortised_damage` and the ranks of `program_intervals` on small data."""

import numpy as np
import pandas as pd
import pytest
from pyrogrn.experiments.benchmarks import amortised_damage, program_intervals, trial_maps, trial_runs
from pyrogrn.experiments.benchmarks.results import Results
from pyrogrn.experiments.benchmarks.trial_runs import Size
from pyrogrn.inference.recalibration import TrialOptions
from pyrogrn.inference.recalibration.trial import Stated
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import PriorNetwork

SHORT = TrialOptions(targets=15, worlds=2, warmup=8, samples=8)


def test_both_trials_and_the_model_have_rows(tmp_path, monkeypatch):
    ways = {"many": SHORT, "few": TrialOptions(targets=15, worlds=2, warmup=8, samples=8, raised=np.inf)}
    monkeypatch.setattr(trial_runs, "WAYS", ways)
    results, size = Results(tmp_path / "trial_runs.csv"), Size(8, 40, 200, 0.4)
    trial_runs.many_regulators(results, size, (1,))
    value = lambda method, score: results.value(size.task, method, "1-1", score)
    assert size.task == "200 cells x 40 genes x 8 TFs, 3.2 regulators a gene"
    assert value("few", "most regulators") == 4
    for method in (*ways, trial_runs.MODEL):
        assert 0 <= value(method, "ece") < 0.5
        assert value(method, "bits") > 0


def test_scores_by_hand():
    found = trial_runs.scores(np.array([0.95, 0.9, 0.2, 0.1]), np.array([True, False, True, False]))
    assert found["listed"] == 2
    assert found["wrong"] == found["power"] == 0.5
    assert np.isnan(trial_runs.scores(np.array([0.5, 0.4]), np.array([True, False]))["wrong"])


def test_edges_of_a_prior_network_are_moved():
    data = simulate_linear(num_genes=30, num_tfs=5, num_cells=30, seed=0).data
    true = pd.DataFrame({"source": data.tfs, "target": data.genes[10:15], "probability": 0.8})
    network = PriorNetwork.from_edges(true, name="prior")
    rng = np.random.default_rng(0)
    pairs = lambda one: set(zip(one.to_frame()["source"], one.to_frame()["target"], strict=True))
    assert amortised_damage.moved(network, data, 0.0, rng) is network
    assert not pairs(amortised_damage.moved(network, data, 1.0, rng)) & pairs(network)
    assert len(pairs(amortised_damage.moved(network, data, 1.0, rng))) == 5


def test_loadings_are_drawn_from_the_prior_with_its_slab():
    """Drawn often, W given the slab is no larger than it; without it the tails of a horseshoe reach far beyond."""
    W = np.concatenate([program_intervals.from_prior(6, 5, 1, seed)[1].ravel() for seed in range(60)])
    assert np.abs(W).max() < 5 * 3
    assert np.median(np.abs(W)) > 0.05


def test_intervals_of_standardised_ppca_know_no_unit(monkeypatch):
    monkeypatch.setattr(program_intervals, "SBC_SIZE", (12, 60, 2))
    small, large = (program_intervals.ppca_scores(unit, {"standardize": True}, 0) for unit in (0.125, 8.0))
    assert small == pytest.approx(large, abs=0.1)
    assert program_intervals.inside(np.array([[0.0], [1.0], [2.0]]), np.array([1.0])) == 1.0
    assert program_intervals.inside(np.array([[0.0], [1.0], [2.0]]), np.array([3.0])) == 0.0


def test_other_maps_are_what_they_say():
    rng = np.random.default_rng(0)
    world = np.arange(3000) % 9
    true = rng.random(3000) < 0.3
    stated = np.where(true, 0.8, 0.3) * rng.random((2, 3000))
    told = (true + rng.normal(size=3000))[None]
    made = Stated(stated, told, true, world)
    grid = np.tile(np.linspace(0.01, 0.99, 50), (2, 1))
    found = {name: learn(made)(grid, np.zeros((1, 50))) for name, learn in trial_maps.MAPS.items()}
    assert all((np.diff(values) >= -1e-9).all() for values in found.values())  # none takes back what more is stated of
    assert (found["less its error"] <= found["as it is"]).all()
    assert (found["least of kinds"] <= found["as it is"] + 0.05).all()
    assert abs(trial_maps.isotonic(made)(stated, told).mean() - true.mean()) < 0.01
