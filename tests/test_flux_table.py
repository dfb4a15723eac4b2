"""Variance flux of a fitted network: two genes by hand, the draws that settle, what is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.figures.panels import plot_flux
from pyrogrn.inference import Gibbs, MeanField, fit
from pyrogrn.inference.answers import flux
from pyrogrn.inference.answers.flux import flux_table
from pyrogrn.models import CellBox, ExpressionData, FactorBox, LinearNetwork
from pyrogrn.models.dynamics.flux import Unstable, variance_flux
from pyrogrn.models.simulators.panel import simulate_panel

NOISE = (0.3, 0.5)


def posterior_of(num_genes, W, contexts=1):
    """Draws of W and of the noise variance written by hand."""
    data = simulate_panel(num_genes=num_genes, in_degree=0.9, num_controls=12, num_contexts=contexts, seed=1).data
    posterior = fit(FactorBox.from_data(data), guide=Gibbs(num_chains=1, num_warmup=2, num_samples=2), seed=0)
    number = W.shape[0]
    draws = {name: np.repeat(value[:1, :1], number, 1) for name, value in posterior.draws.items()}
    draws["W"] = W[None].astype(np.float32)
    if contexts > 1:
        draws["W_context"] = np.stack([W * k for k in range(contexts)], 1)[None].astype(np.float32)
    noise = np.resize(NOISE, num_genes)
    draws["noise_variance"] = np.broadcast_to(noise, draws["noise_variance"].shape).astype(np.float32)
    return replace(posterior, draws=draws)


def one_edge(weight, num_genes=2):
    W = np.zeros((len(weight), num_genes, num_genes))
    W[:, 0, 1] = weight
    return W


def share_of_first(model, weight, context=0):
    """Share of the second gene's variance that comes from the first. In log levels s' = log φ(W s + b) - s + noise, so
    x' = -x + noise, y' = k x - y + noise: V_xy = D_x k²/2, V_yy = D_y, with k = (1 - φ) W and D = ((1 - φ) σ)²."""
    unit, scale = model.unit.double(), model.scale.double()
    gain = model.top[context].double() * (1 + model.log_headroom[context].double().exp())
    bias = model.target_mean[context].double()
    first = gain[0].log() + torch.nn.functional.logsigmoid(bias[0] * unit[0])
    drive = (bias[1] + weight * (first / scale[0] - model.tf_mean[context, 0, 1].double())) * unit[1]
    slope = torch.sigmoid(-torch.stack([bias[0] * unit[0], drive]))
    D = (slope * unit) ** 2 * torch.tensor(NOISE, dtype=torch.float64)
    k = slope[1] * weight * unit[1] / scale[0]
    return float(D[0] * k**2 / 2 / (D[0] * k**2 / 2 + D[1]))


def test_one_edge_in_closed_form():
    weight = np.array([3.0, 6.0, -5.0])
    posterior = posterior_of(2, one_edge(weight))
    table, shares = flux_table(posterior, num_draws=3, level=0.5)
    expected = np.array([share_of_first(posterior.model, w) for w in weight])
    assert expected.min() > 0.01
    np.testing.assert_allclose(shares, [[1, expected.mean()], [0, 1 - expected.mean()]], rtol=1e-5)
    first, second = table.iloc[0], table.iloc[1]
    assert (first["gene"], second["gene"]) == ("G0000", "G0001")
    assert first["exported"] == second["imported"] == pytest.approx(expected.mean(), rel=1e-5)
    assert first["exported_sd"] == pytest.approx(expected.std(), rel=1e-5)
    lower, upper = np.quantile(expected, [0.25, 0.75])
    assert (first["exported_lower"], first["exported_upper"]) == pytest.approx((lower, upper), rel=1e-5)
    assert first["imported"] == pytest.approx(0, abs=1e-12)
    assert second["exported"] == pytest.approx(0, abs=1e-12)
    assert (table["settled"] == 1).all()


def test_a_context_has_its_own_network():
    posterior = posterior_of(2, one_edge(np.array([0.7])), contexts=2)
    table, _ = flux_table(posterior, context="context0", num_draws=1)
    assert np.abs(table["exported"]).max() < 1e-12  # its weights are zero here
    table, _ = flux_table(posterior, context="context1", num_draws=1)
    assert table["exported"][0] == pytest.approx(share_of_first(posterior.model, 0.7, 1), rel=1e-5)
    with pytest.raises(ValueError, match="choose one"):
        flux_table(posterior)


def ring(number):
    """Repressors in a ring, too strong to rest."""
    W = np.zeros((number, 3, 3))
    for source, target in ((0, 1), (1, 2), (2, 0)):
        W[:, source, target] = -12.0
    return W


def test_only_draws_that_settle_count():
    W = np.concatenate([ring(1), one_edge(np.array([0.5, 0.5, 0.5]), 3)])
    posterior = posterior_of(3, W)
    table, shares = flux_table(posterior, num_draws=4)
    assert (table["settled"] == 0.75).all()
    assert table["exported_sd"].max() < 1e-9
    alone, expected = flux_table(posterior_of(3, W[1:]), num_draws=3)
    np.testing.assert_allclose(shares, expected, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(shares.sum(0), 1.0, rtol=1e-9)
    assert table["gene"].tolist() == alone["gene"].tolist()


def test_drugs_that_nobody_gives_do_not_vary():
    """What a drug's node is off its curve is no fluctuation, however large; what is left is that of the others."""
    nodes, rng = ("P0", "P1", "aX"), np.random.default_rng(0)
    inputs = pd.DataFrame(np.c_[np.zeros((12, 2)), np.repeat([-0.5, -1, 0], 4)], columns=list(nodes))
    levels = pd.DataFrame(0.3 * rng.standard_normal((12, 3)) + inputs.to_numpy(), columns=list(nodes))
    model = CellBox(ExpressionData.from_frame(levels).with_inputs(inputs), kinds={"aX": "drug_activity"})
    posterior = fit(model, guide=MeanField(spread=0.001), num_steps=2, num_draws=4, seed=0)
    draws = {name: value.copy() for name, value in posterior.draws.items()}
    draws["W"][:] = 0
    draws["W"][..., model.tfs.index("aX"), :] = 1.5
    draws["W"][..., model.tfs.index("P0"), model.targets.index("P1")] = 1.0
    draws["log_gain"][:], draws["log_decay"][:] = 0, 0
    draws["noise"][:] = [0.1, 0.2, 5.0]
    table, shares = flux_table(replace(posterior, draws=draws), num_draws=2)
    assert table["gene"].tolist() == ["P0", "P1"]
    # x' = -x + noise, y' = x - y + noise: V_xy = D_x / 2, V_yy = D_y
    share = 0.1**2 / 2 / (0.1**2 / 2 + 0.2**2)
    np.testing.assert_allclose(table["exported"], [share, 0], rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(shares[2], 0)


def test_a_draw_at_the_edge_of_oscillation_does_not_end_the_table(monkeypatch):
    calls = []

    def edge(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise Unstable("damped too weakly")
        return variance_flux(*arguments, **options)

    monkeypatch.setattr(flux, "variance_flux", edge)
    table, _ = flux_table(posterior_of(3, one_edge(np.array([0.5, 0.5]), 3)), num_draws=2)
    assert (table["settled"] == 0.5).all()


def test_what_has_no_variance_is_refused(tiny_data):
    with pytest.raises(ValueError, match=r"none of 2 draws has a stable steady state.*hidden") as caught:
        flux_table(posterior_of(3, ring(2)), num_draws=2)
    assert "\n" not in str(caught.value)
    guide = Gibbs(num_chains=1, num_warmup=2, num_samples=2)
    with pytest.raises(ValueError, match="LinearNetwork is no dynamical system"):
        flux_table(fit(LinearNetwork.from_data(tiny_data), guide=guide, seed=0))


@pytest.mark.parametrize("weight", [0.0, 0.6])
def test_figure_of_flows(weight):
    posterior = posterior_of(3, one_edge(np.array([weight, weight]), 3))
    table, shares = flux_table(posterior, num_draws=2)
    figure = plot_flux(table, shares, posterior.model.genes, top=2)
    left, right = figure.axes[:2]
    assert [label.get_text() for label in left.get_yticklabels()] == table["gene"].head(2).tolist()
    assert right.images[0].get_array().shape == (2, 2)
    figure.canvas.draw()


def test_shares_are_in_the_order_of_the_fit():
    """Rows and columns of the shares are the genes of the fit, whatever the order of the table."""
    W = np.zeros((1, 3, 3))
    W[0, 2, 0] = 0.6
    posterior = posterior_of(3, W)
    table, shares = flux_table(posterior, num_draws=1)
    assert table["gene"][0] == "G0002"
    assert shares[2, 0] == pytest.approx(table["exported"][0])
