"""Trials where much of what was measured of the regulators is zero: how many regulators a made target has is then not
learned from the cells, and more of them are rarer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pyrogrn.inference.recalibration import TrialOptions, causes, trial, tune
from pyrogrn.inference.recalibration.trial import FALLING, KINDS, benches_like
from pyrogrn.inference.recalibration.witnesses import measured_well
from pyrogrn.models.simulators import donors_of, matched_world, simulate_linear
from pyrogrn.models.simulators.semi_synthetic import number_acting

SHORT = TrialOptions(targets=40, worlds=2, warmup=4, samples=4, sweeps=1)


@pytest.fixture(scope="module")
def cells():
    """As measured, and with half of the regulators' values lost."""
    data = simulate_linear(num_genes=60, num_tfs=10, num_cells=300, seed=4).data
    values = data.X - data.X.min() + 1.0
    lost = torch.rand(values.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    lost[:, len(data.tfs) :] = False
    return replace(data, matrix=values), replace(data, matrix=torch.where(lost, 0.0, values))


@pytest.mark.parametrize("falling", [0.0, 0.45, 2.0])
def test_numbers_of_regulators_fall(falling):
    rng = np.random.default_rng(0)
    found = np.array([number_acting(1, 4, falling, rng) for _ in range(6000)])
    share = np.exp(-falling * np.arange(4))
    np.testing.assert_allclose(np.bincount(found, minlength=5)[1:] / 6000, share / share.sum(), atol=0.02)


def test_numbers_that_do_not_fall_are_drawn_as_ever():
    one, other = (np.random.default_rng(7) for _ in range(2))
    assert [number_acting(2, 6, 0.0, one) for _ in range(20)] == other.integers(2, 7, size=20).tolist()
    assert number_acting(3, 3, FALLING, one) == 3


def test_worlds_of_badly_measured_regulators_have_fewer_of_them(cells, monkeypatch):
    monkeypatch.setattr(trial, "UNSEEN", 0.0)  # of genes of which something is explained
    falls, number = [], []
    for data in cells:
        kinds = []
        make = lambda *a, kinds=kinds, **k: kinds.append(a[2]) or matched_world(*a, **k)
        monkeypatch.setattr(trial, "matched_world", make)
        benches = benches_like(data, donors_of(data, 60), {}, SHORT, seed=0)
        offered = [bench for bench in benches if (bench.world % KINDS == 1).all()]  # none hidden
        regulators = np.concatenate([bench.present.sum(0) for bench in offered])
        number.append(regulators[regulators > 0].mean())
        falls.append({kind.falling for kind in kinds})
    assert [measured_well(data) for data in cells] == [True, False]
    assert falls == [{0.0}, {FALLING}]
    assert number[1] < number[0]


def test_of_badly_measured_regulators_no_more_are_asked_for(cells, monkeypatch):
    asked = []
    monkeypatch.setattr(causes, "real_edges", lambda *a, **k: asked.append(1) or [9.0, 9.0, 9.0, 9.0])
    well, badly = (tune(data, options=SHORT).settings["causes"] for data in cells)
    assert len(asked) == 1
    assert max(most for _, most in well) > 4
    assert badly == [[1, 4]] * len(badly)
