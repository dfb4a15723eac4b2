"""Gains that move with the network in the exact sampler, and levels behind their measurement."""

import math

import numpy as np
import pytest
import torch
from pyrogrn.inference import Gibbs, MeanField, Posterior, default_guide, fit
from pyrogrn.inference.gibbs.gains import GainKernel
from pyrogrn.models import FactorBox
from pyrogrn.models.data.measured_levels import levels_behind
from pyrogrn.models.data.panel import panels_of
from pyrogrn.models.regression import NOISE_RATE, NOISE_SHAPE
from pyrogrn.models.simulators.panel import simulate_panel
from pyrogrn.priors import Collaborative, SpikeSlab

PANEL = simulate_panel(num_genes=8, in_degree=2, replicates=2, num_controls=6, seed=3).data


def kernel_at(model, sweeps=3):
    """A kernel after a few sweeps, and its state."""
    kernel = GainKernel(model, num_chains=2, seed=1)
    kernel.setup(2)
    state = kernel.initial_params
    for _ in range(sweeps):
        state = kernel.sample(state)
    return kernel, state


@pytest.mark.parametrize("contexts", [1, 2])
@pytest.mark.parametrize("levels", ["raw", "log"])
def test_residuals_follow_the_gains(contexts, levels):
    data = PANEL if contexts == 1 else simulate_panel(num_genes=6, in_degree=2, num_contexts=2, seed=2).data
    model = FactorBox.from_data(data, gain="sampled", levels=levels).double()
    kernel, state = kernel_at(model, sweeps=7)
    assert float((kernel.place - kernel.place.float().mean()).abs().max()) > 1  # gains have moved
    W = state["W_context"]
    for chain in range(2):
        values = W[:, chain] if contexts > 1 else W[0, chain]
        log_headroom = state["headroom"][:, chain].log()[..., None, :]
        expected = model.squared_error(values, log_headroom if contexts > 1 else log_headroom[0])
        cut = torch.zeros_like(kernel.sse[:, chain])
        away = (kernel.missing - kernel._of_cuts(W))[:, chain].square()  # conditions that the chain completes
        cut.index_put_((kernel.cuts.context, kernel.cuts.target), away, accumulate=True)
        np.testing.assert_allclose(kernel.sse[:, chain] - cut, expected.reshape(cut.shape), rtol=1e-6, atol=1e-6)


def log_posterior(model, prior, W, place, target):
    """Of one target, up to a constant, by the model's own functions: σ² integrated out."""
    log_headroom = torch.full((1, len(model.targets)), float(prior.grid[place]), dtype=torch.float64)
    error = float(model.squared_error(W, log_headroom)[..., target].squeeze())
    shape = NOISE_SHAPE + 0.5 * float(model.dof[0, target])
    return -shape * math.log(NOISE_RATE + 0.5 * error) + float(prior.base[0, place, target])


def test_a_gain_is_drawn_from_its_conditional():
    """The weights held, one target's headroom many times, against the density that the model gives."""
    data = simulate_panel(num_genes=6, in_degree=2, knocked_down=0.0, num_controls=40, seed=3).data
    data = data.annotated(perturbed=["G0005"] + ["control"] * 39)
    model = FactorBox.from_data(data, gain="sampled", levels="raw", targets=list(data.genes[:5])).double()
    kernel = GainKernel(model, num_chains=4000, seed=0)
    kernel.setup(0)
    state = {name: value.clone() for name, value in kernel.initial_params.items()}
    W = 0.3 * torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * kernel.allowed
    state["W"] = W.expand(4000, 6, 5).clone()
    state["W_context"] = state["W"][None]
    kernel._refresh(state)
    kernel._move(state, along=False)
    for target in (0, 3):
        density = np.array([log_posterior(model, kernel, W[0], place, target) for place in range(len(kernel.grid))])
        density = np.exp(density - density.max())
        density /= density.sum()
        drawn = np.bincount(kernel.place[0, :, target].numpy(), minlength=len(density)) / 4000
        distance = np.abs(np.cumsum(density) - np.cumsum(drawn)).max()
        assert distance < 1.95 / 4000**0.5  # Kolmogorov and Smirnov, 1 in 1,000
    before = kernel.place.clone()
    kernel._move(state, along=True)
    moved = (kernel.place != before).double().mean()
    assert moved > 0.3
    factor = state["W"] / W
    slope = kernel.log_slope[0].gather(0, kernel.place[0]) - kernel.log_slope[0].gather(0, before[0])
    inside = W[0] != 0
    np.testing.assert_allclose(factor[:, inside], slope.exp()[:, None].expand_as(factor)[:, inside], rtol=1e-8)


def test_weights_that_go_along_leave_the_posterior_alone():
    """Draws that alternate both moves have the moments of draws by the first alone, weights by Gibbs steps between."""
    data = simulate_panel(num_genes=5, in_degree=1.5, num_controls=12, seed=5).data
    model = FactorBox.from_data(data, gain="sampled", levels="raw", edge_prior=SpikeSlab(slab_scale=0.5))
    means = []
    for along in (True, False):
        kernel = GainKernel(model, num_chains=400, seed=2)
        if not along:
            first = kernel._move
            kernel._move = lambda state, along, first=first: None if along else first(state, along=False)
        kernel.setup(60)
        state = kernel.initial_params
        rows = []
        for sweep in range(160):
            state = kernel.sample(state)
            if sweep >= 60:
                rows.append(torch.cat([state["headroom"][0].log(), state["W"].flatten(1)], 1))
        by_chain = torch.stack(rows).mean(0)  # (chain, value): independent of one another
        means.append((by_chain.mean(0), by_chain.var(0) / len(by_chain)))
    (a, u), (b, v) = means
    apart = (a - b).abs() / (u + v).sqrt().clamp_min(1e-6)
    assert float(apart.max()) < 4.5


def test_checkpoints_and_storage(tmp_path):
    model = FactorBox.from_data(PANEL, gain="sampled", measurement=0.05)
    kernel, state = kernel_at(model)
    saved = {name: value for name, value in kernel.snapshot(state).items()}
    expected = kernel.sample(state)
    other = GainKernel(model, num_chains=2, seed=9)
    other.setup(2)
    again = other.sample(other.restore(saved))
    for name, value in expected.items():
        assert torch.equal(value, again[name]), name
    posterior = fit(model, guide=Gibbs(2, 4, 6), seed=0)
    assert posterior.draws["headroom"].shape == (2, 6, 8)
    posterior.save(tmp_path / "run")
    back = Posterior.load(tmp_path / "run")
    assert back.model.measurement == 0.05
    table = back.predict(knockdown=["G0001", "G0002"], num_draws=6)
    assert len(table) == 8


def test_which_engine_moves_gains():
    assert default_guide(FactorBox.from_data(PANEL, gain="sampled")).name == "gibbs"
    model = FactorBox.from_data(PANEL, gain="sampled", edge_prior=Collaborative(rank=1))
    with pytest.raises(ValueError, match="exact for SpikeSlab"):
        fit(model, guide=Gibbs(1, 1, 1))


# -- levels behind their measurement ----


def noisy(measurement, small, seed=0, shape=(400, 30)):
    """Logs of which one in twenty moved by far, and all by ``small``."""
    rng = np.random.default_rng(seed)
    moved = rng.random(shape) < 0.05
    true = 3.0 + small * rng.standard_normal(shape) + moved * 0.8 * rng.standard_normal(shape)
    measured = true + measurement * rng.standard_normal(shape)
    return torch.tensor(true), torch.tensor(measured)


@pytest.mark.parametrize("small", [0.0, 0.2])
def test_levels_behind_are_nearer_and_without_attenuation(small):
    true, measured = noisy(0.2, small)
    clamped = torch.zeros_like(true, dtype=torch.bool)
    found = levels_behind(measured, clamped, torch.full((30,), 0.2, dtype=torch.float64))
    assert float((found - true).square().mean()) < 0.6 * float((measured - true).square().mean())
    slope = lambda x: float(((x - x.mean()) * (true - true.mean())).sum() / (x - x.mean()).square().sum())
    assert slope(measured) < 0.8  # of what depends on the true level
    assert slope(found) == pytest.approx(1.0, abs=0.05)


def test_what_is_clamped_or_exact_stays():
    _, measured = noisy(0.1, 0.3, shape=(40, 6))
    clamped = torch.zeros(40, 6, dtype=torch.bool)
    clamped[3, 2] = True
    sd = torch.ones(6, dtype=torch.float64)
    assert levels_behind(measured, clamped, 0.3 * sd)[3, 2] == measured[3, 2]
    torch.testing.assert_close(levels_behind(measured, clamped, 1e-9 * sd), measured, atol=1e-6, rtol=0)


def test_the_noise_of_a_measurement_is_found_in_controls(tmp_path):
    options = {"in_degree": 2, "num_controls": 200, "drive_noise": 0.0, "measurement_noise": 0.2}
    model = FactorBox.from_data(simulate_panel(num_genes=10, seed=1, **options).data, measurement="controls")
    np.testing.assert_allclose(model.measured[0], 0.2, rtol=0.15)
    posterior = fit(model, guide=Gibbs(1, 2, 3), seed=0)
    posterior.save(tmp_path / "run")
    back = Posterior.load(tmp_path / "run").model
    assert back.measurement == "controls"
    assert torch.equal(back.measured[0], model.measured[0])
    few = simulate_panel(num_genes=6, in_degree=1.5, num_controls=2, seed=1).data
    with pytest.raises(ValueError, match="2 conditions without a knock-down"):
        FactorBox.from_data(few, measurement="controls")
    with pytest.raises(ValueError, match="measurement=often"):
        FactorBox.from_data(few, measurement="often")


def test_a_panel_with_noise_of_measurement():
    exact, told = panels_of(PANEL, levels="log"), panels_of(PANEL, levels="log", measurement=0.1)
    free = ~exact[0].clamped
    assert torch.equal(exact[0].X, told[0].X)
    assert torch.equal(exact[0].level[~free], told[0].level[~free])
    spread = lambda panel: float(torch.where(free, panel.level, torch.nan).nanmean(0).sub(panel.level)[free].std())
    assert spread(told[0]) < spread(exact[0])
    raw = panels_of(PANEL, levels="raw", measurement=0.1)
    torch.testing.assert_close(raw[0].level[free].log(), told[0].level[free])
    with pytest.raises(ValueError, match="measurement=-1"):
        panels_of(PANEL, measurement=-1.0)
    with pytest.raises(ValueError, match="noise of measurement conditions on the whole panel"):
        fit(FactorBox.from_data(PANEL, measurement=0.1), PANEL, guide=MeanField(), batch_size=4, num_steps=2)


def test_edges_that_noise_of_measurement_hides_are_found():
    simulation = simulate_panel(num_genes=40, drive_noise=0.0, measurement_noise=0.1, seed=1)
    present = simulation.present.numpy()

    def found(measurement):
        model = FactorBox.from_data(simulation.data, levels="raw", measurement=measurement)
        posterior = fit(model, guide=Gibbs(2, 60, 80), seed=0)
        inclusion = posterior.moments["W"].inclusion
        k = present.sum()
        return present.ravel()[np.argsort(-inclusion.ravel())[:k]].mean()

    assert found(0.1) > found(0.0) + 0.08
