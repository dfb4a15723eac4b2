"""FactorBox's alternation as an engine, and its objective with penalties."""

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn.inference import Alternate, Posterior, alternate, fit
from pyrogrn.inference.alternating.penalties import Penalties
from pyrogrn.models import FactorBox
from pyrogrn.models.data.panel import panels_of
from pyrogrn.models.simulators.panel import simulate_panel
from pyrogrn.priors import HardMask, Laplace, Normal, PriorNetwork

SIMULATION = simulate_panel(num_genes=20, in_degree=2, num_controls=4, seed=6)
PANELS = panels_of(SIMULATION.data, levels="raw")
PENALTIES = [
    Penalties(sparsity=1.0),
    Penalties(sparsity=4.0, ridge=0.5),
    Penalties(orthogonality=2.0),
    Penalties(sparsity=0.5, orthogonality=1.0, prior=(0.8 * SIMULATION.present).double()),
]


@pytest.mark.parametrize("penalties", PENALTIES, ids=["sparse", "sparser", "orthogonal", "all"])
def test_the_objective_falls_and_is_what_it_says(penalties):
    start = alternate(PANELS, penalties, max_iterations=1)
    found = alternate(PANELS, penalties, max_iterations=60, tol=0.0)
    objective = np.array(found.objective)
    assert len(objective) == 60
    assert (np.diff(objective) <= 0).all()
    assert objective[-1] < objective[0] - 0.01 * abs(objective[0])

    def of(solution):
        panel, unit = PANELS[0], start.gain / 4
        error = solution.gain * torch.sigmoid(panel.level @ solution.W + solution.bias) - panel.X
        squared = torch.where(panel.clamped, 0.0, error / unit).square().sum()
        return float(0.5 * squared + found.penalties.cost(solution.W * found.scale[:, None]))

    assert of(start) == pytest.approx(objective[0], rel=1e-9)
    assert of(found) == pytest.approx(objective[-1], rel=1e-9)
    assert not found.W.diagonal().any()
    top = torch.where(PANELS[0].clamped, 0.0, PANELS[0].X).amax(0)
    assert bool((found.gain >= 1.05 * top * (1 - 1e-12)).all())


def test_the_end_is_stationary():
    """A lasso with a ridge: no single weight or bias can be moved to a lower objective; of a fit cut short one can."""
    p, number = Penalties(sparsity=2.0, ridge=2.0), 8
    panels = panels_of(simulate_panel(num_genes=number, in_degree=2, num_controls=4, seed=6).data, levels="raw")
    panel, unit = panels[0], alternate(panels, p, max_iterations=1).gain / 4

    def most_gained(found):
        def value(W, bias):
            error = found.gain[0] * torch.sigmoid(panel.level @ W + bias) - panel.X
            squared = torch.where(panel.clamped, 0.0, error / unit).square().sum()
            return float(0.5 * squared + p.cost(W * found.scale[:, None]))

        best, gained = value(found.W, found.bias[0]), 0.0
        for i in range(number):
            for j in range(number):
                for size in (1e-3, -1e-3):
                    W, bias = found.W.clone(), found.bias[0].clone()
                    W[i, j] += size / float(found.scale[i]) * (i != j)
                    bias[j] += size
                    gained = max(gained, best - value(W, found.bias[0]), best - value(found.W, bias))
        return gained

    assert most_gained(alternate(panels, p, max_iterations=300, tol=0.0)) < 1e-6
    assert most_gained(alternate(panels, p, max_iterations=30, tol=0.0)) > 1e-6


# -- as an engine ----


@pytest.mark.parametrize("contexts", [1, 2])
def test_the_engine_is_the_solution_in_the_units_of_the_model(contexts):
    data = SIMULATION.data
    if contexts == 2:
        data = simulate_panel(num_genes=12, in_degree=2, num_contexts=2, seed=2).data
    model = FactorBox.from_data(data, gain="sampled", levels="raw", edge_prior=Normal())
    posterior = fit(model, data, guide=Alternate())
    found = alternate(panels_of(data, levels="raw"))
    W = posterior.draws["W"][0, 0] * model.unit.numpy() / model.scale.numpy()[:, None]
    np.testing.assert_allclose(W, found.W, rtol=1e-4, atol=1e-7)
    headroom = posterior.draws["headroom"][0, 0]
    gain = model.top.numpy() * (1 + headroom)
    np.testing.assert_allclose(gain.reshape(found.gain.shape), found.gain, rtol=1e-4)
    table = posterior.edges()
    assert table["lfsr"].isna().all()
    assert not posterior.calibrated
    context = model.contexts[0] if contexts == 2 else None
    levels = posterior.predict(knockout=["G0001"], context=context, num_draws=1)
    assert np.isfinite(levels["mean"]).all()


def test_steady_states_at_the_gains_of_the_solution():
    """Where nothing regulates, a gene rests at the level that its mean drive holds: the same at any gain, nearly."""
    data = SIMULATION.data
    model = FactorBox.from_data(data, gain="sampled", edge_prior=Normal())
    posterior = fit(model, data, guide=Alternate(sparsity=1.0))
    h = torch.as_tensor(posterior.draws["headroom"][0]).log()
    assert float((h[0] - model.log_headroom[0]).abs().max()) > 0.5

    def rest(log_headroom):
        system = model.system(torch.zeros(1, 20, 20), log_headroom, 0)
        return system.epsilon[0] * torch.sigmoid(system.dynamics.bias[0])

    np.testing.assert_allclose(rest(h), rest(None), rtol=0.08)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "gain='sampled'"),
        ({"gain": "sampled", "hidden": 1}, "no hidden inputs"),
        ({"gain": "sampled", "edge_prior": Laplace()}, "this model has Laplace"),
        ({"gain": "sampled", "targets": ["G0001", "G0002"]}, "every gene as regulator and as target"),
    ],
)
def test_what_it_refuses(options, message):
    model = FactorBox.from_data(SIMULATION.data, **({"edge_prior": Normal()} | options))
    with pytest.raises(ValueError, match=message):
        fit(model, SIMULATION.data, guide=Alternate())


def test_networks_masks_and_missing_panels_are_refused():
    truth = PriorNetwork.from_edges(SIMULATION.network, name="truth")
    options = {"gain": "sampled", "networks": {"truth": truth}}
    with pytest.raises(ValueError, match="no trust"):
        fit(FactorBox.from_data(SIMULATION.data, edge_prior=Normal(), **options), SIMULATION.data, guide=Alternate())
    masked = FactorBox.from_data(SIMULATION.data, edge_prior=HardMask(Normal()), **options)
    with pytest.raises(ValueError, match="no trust"):
        fit(masked, SIMULATION.data, guide=Alternate())
    model = FactorBox.from_data(SIMULATION.data, gain="sampled", edge_prior=Normal())
    with pytest.raises(ValueError, match="needs the panel"):
        fit(model, guide=Alternate())
    with pytest.raises(ValueError, match="refinements"):
        Alternate(refinements=-1)
    with pytest.raises(ValueError, match="sparsity"):
        Alternate(sparsity=-1.0)


def test_from_the_command_line(tmp_path):
    command = ("simulate", "panel", "--genes", 12, "--in-degree", 2, "--seed", 1, "--out", tmp_path / "panel")
    assert call(*command)[0] == 0
    infer = ("infer", tmp_path / "panel" / "expression.h5ad", "--method", "factorbox", "--guide", "alternate")
    infer = (
        *infer,
        "--perturbation-key",
        "perturbation",
        "--set",
        "guide.sparsity=0.5",
        "--set",
        "guide.refinements=3",
    )
    code, _, err = call(*infer, "--out", tmp_path / "run")
    assert code == 0, err
    table = pd.read_csv(tmp_path / "run" / "edges.csv")
    assert (table["weight"] == 0).any()
    assert table["inclusion"].isna().all()
    model = Posterior.load(tmp_path / "run" / "model").model
    assert model.samples_gain
    assert type(model.edge_prior) is Normal
    code, _, err = call(*infer, "--set", "model.gain=fixed", "--out", tmp_path / "again")
    assert code == 2
    assert "make the model with --set model.gain=sampled" in err
