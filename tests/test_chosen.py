"""Edges are chosen without sorting all of them, and are those that sorting all of them gives."""

import numpy as np
import pytest
from pyrogrn.inference import Gibbs, fit
from pyrogrn.inference.answers import chosen
from pyrogrn.inference.answers.chosen import best_first, chosen_edges
from pyrogrn.inference.calibration import expected_list
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear


@pytest.mark.parametrize("number", [0, 1, 7, 60, 199, 200, 300])
@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_the_first_of_all_are_those_of_a_sort_of_all(number, decimals):
    rng = np.random.default_rng(decimals)
    first, second = rng.random(200).round(decimals), rng.random(200).round(1)  # many ties, of one key and of both
    expected = np.lexsort((-second, -first))[:number]
    assert best_first(first, second, number).tolist() == expected.tolist()


def test_numbers_that_are_none_come_where_a_sort_puts_them():
    first, second = np.array([0.3, np.nan, 0.3, 0.1]), np.array([1.0, 2.0, np.nan, 4.0])
    assert best_first(first, second, 2).tolist() == np.lexsort((-second, -first))[:2].tolist()


@pytest.mark.parametrize("certain", [0, 40, 400])  # with many certain edges a list goes on among the least probable
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_lists_are_those_of_a_sort_of_all(certain, rate):
    rng = np.random.default_rng(certain)
    probability = np.concatenate([np.ones(certain), rng.beta(0.1, 2.0, 500).round(3)])
    rng.shuffle(probability)
    best = np.argsort(-probability, kind="stable")
    expected = np.cumsum(1 - probability[best]) / np.arange(1, len(best) + 1)
    assert expected_list(probability, rate).tolist() == sorted(best[: int((expected <= rate).sum())].tolist())


def test_a_list_of_no_edges_is_empty():
    assert expected_list(np.zeros(0), 0.1).tolist() == []


@pytest.mark.parametrize("asked", [{"top": 40}, {"top": 5000}, {"fdr": 0.1}, {"fdr": 0.9}, {"least": 0.3, "top": 10}])
def test_edges_left_out_beforehand_are_none_of_those_asked_for(asked, monkeypatch):
    posterior = fit(
        LinearNetwork.from_data(simulate_linear(num_genes=60, num_tfs=20, num_cells=150, seed=3).data),
        guide=Gibbs(num_chains=2, num_warmup=20, num_samples=20),
    )
    found = chosen_edges(posterior, **asked)
    monkeypatch.setattr(chosen, "_narrowed", lambda allowed, *_: allowed)
    for one, other in zip(found, chosen_edges(posterior, **asked), strict=True):
        assert one.tolist() == other.tolist()
