"""Sections `trial_networks`, `trial_maps` and `contexts_outside` on small data."""

import numpy as np
import pytest
from pyrogrn.experiments.benchmarks import contexts_outside, trial_maps, trial_networks, trial_subjects
from pyrogrn.experiments.benchmarks.ladder import RAW
from pyrogrn.experiments.benchmarks.results import Results
from pyrogrn.inference.calibration import expected_list
from pyrogrn.inference.recalibration.witnesses import measured_well
from pyrogrn.models.simulators import RandomGRN


def test_regulators_that_are_not_measured_are_neither_genes_nor_candidates():
    whole, part = (trial_subjects.linear("linear", 3, hidden=share) for share in (0.0, 0.4))
    assert len(part.logged.tfs) == 12
    assert len(whole.logged.tfs) == 20
    assert set(whole.logged.genes) - set(part.logged.genes) == set(whole.logged.tfs) - set(part.logged.tfs)
    assert part.logged.num_cells == whole.logged.num_cells
    again = trial_subjects.linear("linear", 3, hidden=0.4)
    assert again.logged.tfs == part.logged.tfs
    assert trial_subjects.linear("linear", 4, hidden=0.4).logged.tfs != part.logged.tfs


def test_clean_cells_of_a_family():
    made = trial_subjects.sergio("small", RandomGRN(num_genes=12, num_tfs=4, num_types=2), 1, hidden=0.5)
    assert len(made.logged.tfs) == 2
    assert float(made.logged.X.std(0).min()) > 0
    assert set(made.truth["source"]) - set(made.logged.tfs)  # the truth knows more


def test_counts_of_which_many_values_were_lost():
    made = trial_subjects.MAKE["SERGIO, wide, dropout"]("lost", 1)
    assert not measured_well(made.logged)
    assert not any(kind.endswith("dropout") for kind in trial_subjects.CHOSEN_KINDS)


def test_networks_without_a_list_count_for_no_share(tmp_path):
    one = {"listed": 10.0, "wrong": 0.2, "power": 0.5}
    none = {"listed": 0.0, "wrong": float("nan"), "power": 0.0}
    each = [{RAW: one, "linear": one}, {RAW: {**one, "wrong": 0.4}, "linear": none}]
    results = Results(tmp_path / "trial_networks.csv")
    trial_networks.add_rows(results, "kind", each, "0-1")
    of = lambda method, score: results.value("kind", method, "0-1", score)
    assert of(RAW, "wrong") == pytest.approx(0.3)
    assert of(RAW, "worst list") == 0.4
    assert of("linear", "wrong") == of("linear", "worst list") == 0.2
    assert (of(RAW, "lists"), of("linear", "lists"), of("linear", "networks")) == (2, 1, 2)
    assert of("linear", "power") == 0.25


def test_in_how_many_networks_causes_are_seen(tmp_path):
    results = Results(tmp_path / "trial_networks.csv")
    own = {}
    for kind in ("simulate linear", "simulate linear, 40% of the regulators hidden"):
        trial_networks.add_seen(results, kind, range(2003, 2006))
        of = lambda score, kind=kind: results.value(kind, trial_networks.CAUSES, "2003-2005", score)
        own[kind] = of(trial_networks.SEEN_IN)
        assert own[kind] <= of(trial_networks.ALONE)
        assert of(trial_networks.LAST) == 3
    assert list(own.values()) == [0, pytest.approx(2 / 3)]


def test_means_over_data_sets_are_of_their_kind(tmp_path):
    results = Results(tmp_path / "trial_maps.csv")
    for task, value in (("sergio_ds1:clean", 0.2), ("SERGIO, wide, 30% of the regulators hidden, 1", 0.6)):
        for name in trial_maps.MAPS:
            for what in trial_maps.SCORES:
                results.add(task, name, 0, what, value)
    for _ in range(2):  # once more leaves as many
        trial_maps.add_means(results)
        number = len(results.rows)
    assert number == len(trial_maps.MAPS) * len(trial_maps.SCORES) * (2 + 3)
    of = lambda task: results.value(f"mean: {task}", "as it is", 0, "bits")
    assert of("all (2)") == pytest.approx(0.4)
    assert of("SERGIO, clean (1)") == 0.2
    assert of("some regulators hidden (1)") == 0.6


# -- contexts ----
def test_pairs_of_contexts_outside_the_model():
    data, same = contexts_outside.pair("bent", 0.0, 0)
    assert (same[0] == same[1]).all()
    assert same[0].mean() != 0
    assert len(data.tfs) == 10
    assert data.num_contexts == 2
    hidden, W = contexts_outside.pair("in proportion, hidden causes", 0.1, 0)
    assert hidden.num_genes == data.num_genes
    assert 0.005 < (W[0] != W[1]).mean() < 0.06  # of the pairs drawn anew most have no edge, before and after
    X = hidden.X.numpy()
    g = int(np.argmax(np.abs(W[0]).max(0)))
    t = int(np.argmax(np.abs(W[0][:, g])))
    first = X[:1000]
    assert abs(np.corrcoef(first[:, t], first[:, 10 + g])[0, 1]) > 0.15


def test_lists_of_replicates_are_counted_together(tmp_path):
    sure, unsure = (
        (np.array([0.99, 0.95, 0.2]), np.array([True, False, True])),
        (np.full(3, 0.1), np.ones(3, dtype=bool)),
    )
    assert len(expected_list(sure[0], 0.1)) == 2
    results = Results(tmp_path / "contexts_outside.csv")
    contexts_outside.add_rows(results, "task", [{"of edges": sure}, {"of edges": unsure}])
    of = lambda score: results.value("task", "gibbs", "0-1", f"of edges: {score}")
    assert (of("listed"), of("wrong")) == (1.0, 0.5)
    assert of("found") == pytest.approx(1 / 5)
