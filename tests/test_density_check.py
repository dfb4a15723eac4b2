"""The number of edges is known, or the check says that it is not."""

import numpy as np
import pytest
from pyrogrn.inference import Gibbs, fit
from pyrogrn.inference.density_check import MAX_ERROR, NAME, density_check
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear


def test_error_is_that_of_the_mean_of_chains():
    inclusion = np.array([[0.9, 0.8, 0.2], [0.5, 0.8, 0.1], [0.9, 0.9, 0.6], [0.7, 0.3, 0.1]]).repeat(10, 1)
    number = inclusion.sum(1)
    check = density_check(inclusion, "chains")
    assert check.value == pytest.approx(number.std(ddof=1) / 2 / number.mean())


def test_chains_that_agree_on_the_order_and_not_on_the_number_fail():
    order = np.linspace(0.1, 1, 200)
    inclusion = np.stack([order * share for share in (0.2, 0.4, 0.8, 1.0)])
    assert np.corrcoef(inclusion).min() > 0.999, "the other checks see nothing"
    check = density_check(inclusion, "chains")
    assert check.passed is False
    assert check.value > MAX_ERROR
    assert "Run longer" in check.meaning


def test_few_edges_are_no_failure():
    assert density_check(np.array([[0.01, 0.2], [0.01, 0.6]]), "chains").passed
    assert density_check(np.zeros((2, 3)), "chains").value == 0


def test_fits_that_settle_pass_and_short_ones_on_hard_data_do_not():
    easy = simulate_linear(num_genes=40, num_tfs=6, num_cells=300, seed=0).data
    hard = simulate_linear(num_genes=120, num_tfs=12, num_cells=60, tf_correlation=0.8, scale=0.15, seed=0).data
    rows = [
        fit(LinearNetwork.from_data(data), guide=Gibbs(num_chains=4, num_warmup=warm, num_samples=keep), seed=0)
        .diagnose()
        .set_index("check")
        .loc[NAME]
        for data, warm, keep in ((easy, 100, 100), (hard, 0, 4))
    ]
    assert rows[0]["passed"] is True
    assert rows[1]["passed"] is False, rows[1]
