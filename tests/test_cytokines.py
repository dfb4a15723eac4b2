"""The cytokine-like simulator: its story, its truth, its files."""

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn.models.likelihoods import GAUSSIAN
from pyrogrn.models.simulators import simulate_cytokines
from pyrogrn.models.simulators.cytokines import CONTROL, NOISE


def test_means_follow_the_story():
    simulation = simulate_cytokines(
        num_genes=40, num_cells=6000, num_cytokines=2, program_size=8, likelihood=GAUSSIAN, seed=2
    )
    Y, z = simulation.data.X.double(), simulation.z
    codes = simulation.data.context
    eta = simulation.mu[codes] + simulation.x @ simulation.W + z @ simulation.beta
    left = Y - eta
    assert float(left.var()) == pytest.approx(NOISE, rel=0.02)
    for v in range(2):
        given = z[:, v] == 1
        others = (z == 0).all(1)
        shift = simulation.x[given].mean(0) - simulation.x[others].mean(0)
        np.testing.assert_allclose(shift, simulation.gamma[v], atol=5 * (2 / 2000) ** 0.5)
    assert simulation.data.size_factor is None


def test_counts_with_depths_that_nothing_tells():
    options = {"num_genes": 200, "num_cells": 2000, "program_size": 20, "seed": 1}
    deep, flat = simulate_cytokines(**options), simulate_cytokines(**options, depth_sd=0.0)
    assert torch.equal(deep.data.X, deep.data.X.round())
    spread = lambda simulation: simulation.data.X.sum(1).log().std()
    assert spread(deep) > spread(flat) + 0.1
    assert deep.data.covariate_names == tuple(f"cytokine[cytokine_{v + 1}]" for v in range(6))
    assert torch.equal(deep.gamma, flat.gamma)


def test_every_cytokine_induces_one_program_or_two():
    gamma = simulate_cytokines(num_genes=50, num_cells=300, num_cytokines=20, program_size=5, induced=2.0, seed=0).gamma
    number = (gamma != 0).sum(1)
    assert set(number.tolist()) == {1, 2}
    assert set(gamma.abs().unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_cells": 10}, "10 cells for 3 types x 7 treatments"),
        ({"num_genes": 20}, "program_size is 40"),
        ({"num_programs": 0}, "num_programs is 0"),
        ({"direct": 2.0}, "direct 2.0"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        simulate_cytokines(**options)


def test_files(tmp_path):
    out = tmp_path / "cells"
    command = ("simulate", "cytokines", "--genes", 30, "--cells", 42, "--programs", 2, "--program-size", 6)
    code, _, err = call(*command, "--out", out)
    assert code == 0, err
    cells = anndata.read_h5ad(out / "expression.h5ad")
    assert set(cells.obs["cytokine"]) == {CONTROL, *(f"cytokine_{v + 1}" for v in range(6))}
    assert (cells.obs.groupby(["cytokine", "group"], observed=True).size() == 2).all()
    induced = pd.read_csv(out / "program_effects.csv")
    assert list(induced.columns) == ["covariate", "program", "effect"]
    assert len(induced) == 12
    assert (out / "covariate_effects.csv").exists()
