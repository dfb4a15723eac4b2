"""Knock-outs where regulators regulate each other: measured where they were made, else drawn over what cells allow."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn import Gibbs, LinearNetwork, PriorNetwork, fit
from pyrogrn.inference import SparseGibbs
from pyrogrn.inference.answers.observed_regulators import ObservedRegulators
from pyrogrn.inference.answers.regulator_response import is_open, preferences
from pyrogrn.models.dynamics import structures
from pyrogrn.models.dynamics.structures import draw_orders, draw_structures
from pyrogrn.models.simulators import simulate_linear

TFS, GENES, LEVEL = 5, 10, 0.89


def effects(W, tf):
    """Change of every gene when a regulator goes down by one."""
    A = W[:, :TFS].copy()
    A[:, tf] = 0
    start = np.zeros(TFS)
    start[tf] = -1
    change = np.linalg.solve(np.eye(TFS) - A.T, start) @ W
    change[tf] = -1
    return change


def outcome(feedback, perturbed, seeds):
    """Share of true effects inside the intervals, and signs that are sure and wrong, or sure."""
    inside, wrong, sure = [], 0, 0
    for seed in seeds:
        simulation = simulate_linear(
            num_genes=GENES,
            num_tfs=TFS,
            num_cells=600,
            edge_probability=0.4,
            scale=0.6,
            feedback=feedback,
            num_perturbed=perturbed,
            seed=seed,
        )
        guide = SparseGibbs(num_chains=2, num_warmup=100, num_samples=150)
        posterior = fit(LinearNetwork.from_data(simulation.data), guide=guide, seed=seed)
        for tf in range(TFS):
            table = posterior.predict(knockout=[simulation.data.genes[tf]], level=LEVEL, num_draws=100)
            moved = table["mean"][tf] - table["control"][tf]
            truth = -moved * effects(simulation.W[0].numpy(), tf)
            low, high = (table[side] - table["control"] for side in ("lower", "upper"))
            others = np.arange(GENES) != tf
            inside.append(((low <= truth) & (truth <= high))[others].mean())
            known = others & (truth != 0) & ((low > 0) | (high < 0))
            wrong += int((known & (np.sign(low + high) != np.sign(truth))).sum())
            sure += int(known.sum())
    return np.mean(inside), wrong, sure


@pytest.mark.parametrize(("feedback", "perturbed"), [(False, 0), (False, 2), (True, 0), (True, 2), (True, TFS)])
def test_intervals_of_knockouts_hold_the_truth(feedback, perturbed):
    """Of 45 effects of each of two networks; errors within a network go together."""
    share, wrong, sure = outcome(feedback, perturbed, range(2))
    assert share > 0.8
    assert wrong <= 0.06 * max(sure, 20)
    if perturbed == TFS:
        assert sure > 40, "what was measured is known"


def test_one_covariance_has_these_networks():
    """Disturbances of every network are independent under the covariance that it was drawn for."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    covariance = root @ root.T + torch.eye(4, dtype=torch.float64)
    dof = 1e8  # as good as known
    found = draw_structures(dof * covariance, dof, torch.zeros(4, 4, dtype=torch.float64), 200, generator)
    system = torch.eye(4, dtype=torch.float64) - found.weights.mT
    noise = system @ covariance @ system.mT
    sd = noise.diagonal(dim1=1, dim2=2).sqrt()
    correlation = noise / sd[:, :, None] / sd[:, None, :] - torch.eye(4, dtype=torch.float64)
    assert float(correlation.abs().amax((1, 2)).median()) < 1e-3
    assert float(found.settled.float().mean()) > 0.9
    assert float(found.weights.std(0).max()) > 0.1, "they are not one network"


def test_without_feedback_they_are_the_orders(monkeypatch):
    monkeypatch.setattr(structures, "FEEDBACK", 0.0)
    generator = torch.Generator().manual_seed(0)
    covariance = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    found = draw_structures(1e8 * covariance, 1e8, torch.zeros(2, 2, dtype=torch.float64), 400, generator)
    forward, backward = found.weights[:, 0, 1], found.weights[:, 1, 0]
    assert bool(((forward.abs() < 1e-6) ^ (backward.abs() < 1e-6)).all())
    assert float((forward + backward - 0.5).abs().max()) < 1e-3
    assert 0.4 < float((forward > 0.1).float().mean()) < 0.6


def test_regulators_that_are_not_linked_stay_so():
    generator = torch.Generator().manual_seed(0)
    covariance = torch.tensor([[1.0, 0.6, 0], [0.6, 1.0, 0], [0, 0, 1.0]], dtype=torch.float64)
    found = draw_structures(1e8 * covariance, 1e8, torch.zeros(3, 3, dtype=torch.float64), 100, generator)
    assert float(found.weights[:, 2, :2].abs().max()) < 1e-2
    assert float(found.weights[:, :2, 2].abs().max()) < 1e-2


def test_too_few_cells_are_refused():
    with pytest.raises(ValueError, match="do not tell the covariance"):
        draw_structures(torch.eye(5, dtype=torch.float64), 5, torch.zeros(5, 5), 2, torch.Generator())


def test_orders_follow_what_is_known():
    generator = torch.Generator().manual_seed(0)
    known = torch.zeros(4, 4)
    known[2, 0], known[0, 2] = np.log(3.0), -np.log(3.0)
    place = draw_orders(known, 6000, generator).argsort(1)
    assert float((place[:, 2] < place[:, 0]).float().mean()) == pytest.approx(0.75, abs=0.03)
    assert float((place[:, 1] < place[:, 3]).float().mean()) == pytest.approx(0.5, abs=0.03)


@pytest.fixture(scope="module")
def screened():
    return simulate_linear(
        num_genes=8, num_tfs=4, num_cells=300, edge_probability=0.5, num_perturbed=2, feedback=True, seed=4
    ).data


def test_what_the_statistics_say_of_regulators_is_what_the_cells_say(screened):
    model = LinearNetwork.from_data(screened)
    found = ObservedRegulators.of(model, None)
    X = screened.X.double().numpy()[:, :4] / model.scale.double().numpy()[:4]
    for cells, rows in (
        (found.free, slice(300)),
        (found.clamped[0], slice(300, 350)),
        (found.clamped[1], slice(350, 400)),
    ):
        part = X[rows]
        assert cells.count == len(part)
        np.testing.assert_allclose(cells.mean, part.mean(0), atol=1e-4)
        np.testing.assert_allclose(cells.scatter, (len(part) - 1) * np.cov(part.T), atol=1e-2)
    assert found.measured(0) is not None
    assert found.measured(2) is None


def test_interventions_and_sources_tell_directions(screened):
    edges = PriorNetwork.from_edges(
        pd.DataFrame({"source": ["G0002"], "target": ["G0003"], "probability": [0.9]}), name="motif"
    )
    model = LinearNetwork.from_data(screened, networks={"motif": edges})
    assert is_open(model)
    posterior = fit(model, guide=Gibbs(num_chains=2, num_warmup=20, num_samples=20))
    found = preferences(posterior, ObservedRegulators.of(model, None))
    assert torch.allclose(found, -found.T)
    assert float(found[2, 3]) == pytest.approx(0.9 * posterior.draws["trust"].mean(), rel=1e-3)
    assert float(found[0, 1:].abs().max()) > 0.5, "who answers to the first comes after it"
