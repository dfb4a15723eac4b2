"""The trial with hundreds of regulators: there is a list, and it is right."""

import numpy as np
import pytest
from pyrogrn.inference import SparseGibbs, fit
from pyrogrn.inference.calibration import expected_list
from pyrogrn.inference.recalibration import tune
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear

pytestmark = pytest.mark.usefixtures("seeded")


def test_hundreds_of_regulators_leave_edges_to_list():
    """Of a posterior of a hundred cells, which says nothing, alone beside that of all cells, nothing was listed."""
    simulation = simulate_linear(num_genes=400, num_tfs=200, num_cells=1500, edge_probability=0.03, seed=1)
    data = simulation.data
    others = [gene for gene in data.genes if gene not in set(data.tfs)]
    model = LinearNetwork.from_data(data, targets=others)
    posterior = fit(model, guide=SparseGibbs(num_chains=2, num_warmup=20, num_samples=30, longest=1))
    found = tune(data)
    assert found.scores["recalibrated"]["power"] > 0.5  # on made targets
    probability = applied(found, posterior, data).moments["W"].inclusion.ravel()
    present = np.asarray(simulation.W)[0][:, [data.genes.index(g) for g in others]].ravel() != 0
    listed = expected_list(probability, 0.1)
    assert len(listed) > 0.3 * present.sum()
    assert present[listed].mean() > 0.85


def applied(found, posterior, data):
    """As the command does it."""
    return found.apply(posterior, data)
