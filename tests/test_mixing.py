"""R-hat and effective draws of all quantities at once are those of ArviZ, one by one."""

import numpy as np
import pytest
from arviz_stats import ess, rhat
from pyrogrn.inference.mixing import autocovariance, bulk_ess, rank_normalised, rank_rhat
from scipy import stats

KINDS = ("independent", "slow", "alternating", "apart", "ties", "heavy")


def chains(kind: str, number: int, num_draws: int, seed: int = 0) -> np.ndarray:
    """``(chain, draw, quantity)`` of six quantities."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(number, num_draws, 6))
    if kind in ("slow", "alternating"):
        factor = 0.95 if kind == "slow" else -0.9
        for t in range(1, num_draws):
            noise[:, t] += factor * noise[:, t - 1]
    if kind == "apart":
        noise += 3 * rng.normal(size=(number, 1, 6))
    if kind == "ties":
        noise = np.round(noise)
    return np.tan(noise) if kind == "heavy" else noise


@pytest.mark.parametrize("num_draws", [4, 5, 6, 7, 8, 25, 100, 401])
@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_arviz(kind, number, num_draws):
    draws = chains(kind, number, num_draws)
    with np.errstate(divide="ignore"):  # of few rounded draws, halves may not vary
        found, expected = rank_rhat(draws), rhat(draws, chain_axis=0, draw_axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    found, expected = bulk_ess(draws), ess(draws, chain_axis=0, draw_axis=1, method="bulk")
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_one_chain_has_effective_draws_and_no_rhat():
    draws = chains("slow", 1, 60)
    assert np.isnan(rank_rhat(draws)).all()
    np.testing.assert_allclose(bulk_ess(draws), ess(draws, chain_axis=0, draw_axis=1, method="bulk"), rtol=1e-8)


def test_too_few_draws_say_nothing():
    draws = chains("independent", 4, 3)
    assert np.isnan(rank_rhat(draws)).all()
    assert np.isnan(bulk_ess(draws)).all()


def test_ranks_are_averaged_over_ties():
    draws = chains("ties", 3, 40)
    flat = draws.reshape(-1, 6)
    expected = stats.norm.ppf((stats.rankdata(flat, axis=0) - 0.375) / (len(flat) + 0.25))
    np.testing.assert_allclose(rank_normalised(draws).reshape(-1, 6), expected, atol=1e-12)


def test_autocovariance_by_hand():
    draws = chains("slow", 2, 9)
    centred = draws - draws.mean(1, keepdims=True)
    by_hand = np.stack([(centred[:, lag:] * centred[:, : 9 - lag]).sum(1) / 9 for lag in range(9)], axis=1)
    np.testing.assert_allclose(autocovariance(draws), by_hand, atol=1e-12)


def test_chains_apart_are_seen_and_slow_ones_have_few_draws():
    assert (rank_rhat(chains("apart", 4, 200)) > 1.1).all()
    assert (rank_rhat(chains("independent", 4, 200)) < 1.05).all()
    assert (bulk_ess(chains("slow", 4, 500)) < 400).all()
    assert (bulk_ess(chains("independent", 4, 500)) > 1000).all()
