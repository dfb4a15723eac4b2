"""Rows of predictions are called as the cells and conditions of the data, or numbered where these have no names."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn import fit
from pyrogrn.inference import BlockDescent, MapEstimate, MeanField
from pyrogrn.inference.answers import answers_of
from pyrogrn.models import CellBox, FactorBox, LinearNetwork, NetREXCF
from pyrogrn.models.data.cell_labels import CellLabels
from pyrogrn.priors import ElasticNet, Horseshoe

POINT = MapEstimate()
NARROW = MeanField(spread=0.001, init_scale=0.003)


def levels(data):
    return replace(data, matrix=torch.exp(0.3 * data.X))


def conditions(data):
    few = replace(data.subset(np.arange(12)), tfs=data.genes)
    few = replace(few, matrix=0.3 * (few.X - few.X.mean(0)))
    inputs = np.random.default_rng(0).normal(size=(few.num_cells, 2))
    return few.with_inputs(pd.DataFrame(inputs, columns=list(data.genes[:2])))


CASES = {
    "linear": (LinearNetwork, Horseshoe, POINT, lambda data: data),
    "factorbox": (FactorBox, Horseshoe, POINT, levels),
    "cellbox": (CellBox, Horseshoe, NARROW, conditions),
    "netrex-cf": (NetREXCF, ElasticNet, BlockDescent(restarts=1, max_iterations=2), lambda data: data),
}


@pytest.mark.parametrize("name", CASES)
def test_single_values_are_named(name, tiny_data):
    model_class, prior, engine, form = CASES[name]
    plain = form(tiny_data)
    data = replace(plain, labels=CellLabels.of([f"cond-{i}" for i in range(plain.num_cells)]))
    model = model_class.from_data(data, edge_prior=prior())
    posterior = fit(model, guide=engine, num_steps=2, num_draws=2, restarts=1)
    place = -2  # the gene is last
    named, numbered = (
        [
            label.split(":")[place]
            for label in answers_of(model).cells(posterior, each, 30, np.random.default_rng(0)).labels
        ]
        for each in (data, plain)
    )
    assert len(set(numbered)) > 5
    assert all(row.isdecimal() for row in numbered)
    assert named == [f"cond-{row}" for row in numbered]


def test_conditions_are_those_of_their_context(rich):
    plain = levels(rich.data)
    data = replace(plain, labels=CellLabels.of([f"cond-{i}" for i in range(plain.num_cells)]))
    posterior = fit(
        FactorBox.from_data(data, edge_prior=Horseshoe()), guide=POINT, num_steps=2, num_draws=2, restarts=1
    )
    found = answers_of(posterior.model).cells(posterior, data, 60, np.random.default_rng(0))
    for label in found.labels:
        context, condition, _ = label.split(":")
        cell = int(condition.removeprefix("cond-"))
        assert data.context_names[int(data.context[cell])] == context
