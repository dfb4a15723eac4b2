"""Predictions of a FactorBox whose draws are written by hand, against integration of the equations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pyrogrn.inference import Gibbs, fit
from pyrogrn.inference.answers.tables import settled_table, unsettled_note
from pyrogrn.models import FactorBox
from pyrogrn.models.knockdown_response import predict_knockdowns
from pyrogrn.models.simulators.panel import simulate_panel
from scipy.integrate import solve_ivp

DRAWS = 3
PANEL = simulate_panel(num_genes=5, in_degree=1.5, num_controls=8, seed=4).data


def by_hand(posterior, W, contexts=0, noise=0.0):
    """The posterior with draws ``W`` (draw, source, target), standardised, in one chain, and of one noise variance."""
    draws = {name: np.repeat(value[:1, :1], len(W), 1) for name, value in posterior.draws.items()}
    draws["noise_variance"] = np.full_like(draws["noise_variance"], noise)
    draws["W"] = W[None].astype(np.float32)
    if contexts:
        draws["W_context"] = np.stack([W * (1 + 0.5 * k) for k in range(contexts)], 1)[None].astype(np.float32)
    return replace(posterior, draws=draws)


def weights(size, seed=0, scale=0.25):
    W = scale * np.random.default_rng(seed).standard_normal((DRAWS, size, size))
    W[:, np.arange(size), np.arange(size)] = 0.0
    return W


def parts(model, w, context):
    """Exponents, gains and basal inputs of one draw, in the units of the data."""
    w = w.astype(np.float32).astype(float)
    double = lambda v: v.double().numpy()
    scale, unit = double(model.scale), double(model.unit)
    gain = double(model.top[context]) * (1 + np.exp(double(model.log_headroom[context])))
    bias = (double(model.target_mean[context]) - (w * double(model.tf_mean[context])).sum(0)) * unit
    return w * unit / scale[:, None], gain, bias


def integrated(model, w, context, start, held, bias=None):
    """Levels long after genes ``held`` (position: level) are clamped: x' = ε φ(W log x + b) - x, written out."""
    raw, gain, own = parts(model, w, context)
    bias = own if bias is None else bias
    free = np.ones(len(gain))
    free[list(held)] = 0.0
    x = start.copy()
    for gene, level in held.items():
        x[gene] = level if level > 0 else 0.5 * PANEL.X[:, gene].min()  # zero counts as in the fit
    rate = lambda _, x: free * (gain / (1 + np.exp(-(np.log(x) @ raw + bias))) - x)
    found = solve_ivp(rate, (0, 400), x, method="LSODA", rtol=1e-10, atol=1e-12).y[:, -1]
    found[list(held)] = list(held.values())
    return found


@pytest.fixture(scope="module")
def fitted():
    """Five genes, few knock-downs: nothing is learned of responses."""
    return fit(FactorBox.from_data(PANEL), guide=Gibbs(num_chains=1, num_warmup=5, num_samples=DRAWS), seed=0)


@pytest.fixture(scope="module")
def learned():
    """Twelve genes in two contexts, all knocked down but two in the second."""
    data = simulate_panel(num_genes=12, in_degree=1.5, num_controls=6, num_contexts=2, seed=4).data
    drop = (data.context == 1).numpy() & np.isin(np.arange(data.num_cells), _rows(data, [3, 7]))
    model = FactorBox.from_data(data.subset(~drop))
    return fit(model, guide=Gibbs(num_chains=1, num_warmup=5, num_samples=DRAWS), seed=0)


def _rows(data, genes):
    rows, gene = data.perturbed.numpy().T
    return rows[np.isin(gene, genes)]


def by_gene(table, model):
    return table.set_index("gene").loc[list(model.genes)]


def test_clamped_steady_states_are_those_of_integration(fitted):
    model, W = fitted.model, weights(5)
    assert not model.learns_responses(0)
    posterior = by_hand(fitted, W)
    start = model.control_level(0).numpy()
    doubled = 2 * start[4]
    table = by_gene(posterior.predict(knockout=["G0001"], overexpress={"G0004": doubled}, num_draws=DRAWS), model)
    after = np.array([integrated(model, w, 0, start, {1: 0.0, 4: doubled}) for w in W])
    before = np.array([integrated(model, w, 0, start, {}) for w in W])
    np.testing.assert_allclose(table["mean"], after.mean(0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(table["sd"], after.std(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(table["lower"], np.quantile(after, 0.055, axis=0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(table["control"], before.mean(0), rtol=1e-6)
    assert (table["settled"] == 1).all()
    assert table.loc["G0001", "mean"] == 0
    assert table.loc["G0004", ["lower", "upper"]].tolist() == pytest.approx([doubled] * 2)


def test_intervals_have_the_noise_of_a_condition(fitted):
    """A gene that nothing regulates: its level is ε φ(b + σ e), and so are all moments and quantiles."""
    model, noise, number = fitted.model, 0.3, 4000
    W = np.zeros((number, 5, 5), dtype=np.float32)
    posterior = by_hand(fitted, W, noise=noise)
    table = by_gene(posterior.predict(knockout=["G0001"], num_draws=number, level=0.8), model)
    _, gain, bias = parts(model, W[0], 0)
    sd = noise**0.5 * model.unit.double().numpy()
    level = lambda z: gain / (1 + np.exp(-(bias + sd * z)))
    e = np.linspace(-6, 6, 4001)[:, None]
    weight = np.exp(-0.5 * e**2) / np.exp(-0.5 * e**2).sum()
    mean = (weight * level(e)).sum(0)
    spread = ((weight * level(e) ** 2).sum(0) - mean**2) ** 0.5
    free = np.arange(5) != 1
    np.testing.assert_allclose(table["mean"][free], mean[free], atol=5 * spread.max() / number**0.5)
    np.testing.assert_allclose(table["sd"][free], spread[free], rtol=0.08)
    for column, z in (("lower", -1.2816), ("upper", 1.2816)):
        np.testing.assert_allclose(table[column][free], level(z)[free], rtol=0.06)
    np.testing.assert_allclose(table["control"], level(0.0), rtol=1e-6)  # without noise
    model.measured = (torch.full((5,), 0.5),)
    try:
        measured = by_gene(posterior.predict(knockout=["G0001"], num_draws=number, level=0.8), model)
    finally:
        model.measured = ()
    assert (measured["sd"][free] > table["sd"][free]).all()
    assert measured.loc["G0001", "sd"] == 0


def test_a_knockdown_goes_to_the_level_of_the_panel(fitted):
    """Measured where there is one; without enough of them to learn from, the network answers alone."""
    model, W = fitted.model, weights(5)
    level = float(model.knockdown_level(2, 0))
    rows = _rows(PANEL, [2])
    assert level == pytest.approx(float(PANEL.X[rows, 2].log().mean().exp()))  # where it acts in the fit
    posterior = by_hand(fitted, W)
    found = posterior.predict(knockdown=["G0002"], num_draws=DRAWS)
    expected = posterior.predict(overexpress={"G0002": level}, num_draws=DRAWS)
    np.testing.assert_allclose(found["mean"], expected["mean"])
    acting, control = model.held[0].exp(), model.control_level(0)
    model.held[0, 2], kept = torch.nan, model.held[0, 2].clone()
    try:
        others = (acting / control)[[0, 1, 3, 4]]
        assert float(model.knockdown_level(2, 0)) == pytest.approx(float(others.median() * control[2]))
    finally:
        model.held[0, 2] = kept


def test_a_single_knockdown_is_what_the_panel_teaches(learned):
    """The learned response, log-normal, whatever the network says; the gene itself at its own level."""
    model, k, gene = learned.model, 1, 3
    assert model.learns_responses(k)
    table = by_gene(learned.predict(knockdown=["G0003"], context="context1", level=0.9), model)
    aim = predict_knockdowns(model.responses(), k, torch.tensor([gene]))
    mean, sd = aim.mean[0].numpy(), aim.sd[0].numpy()
    samples = np.exp(mean + sd * np.random.default_rng(0).standard_normal((200_000, 12)))
    others = np.arange(12) != gene
    seen = model.responses().logs[k][model.responses().seen[k]]
    np.testing.assert_allclose(table["baseline"], seen.mean(0).exp(), rtol=1e-5)
    outside = (table["baseline"] < table["lower"]) | (table["baseline"] > table["upper"])
    assert (table["beyond_baseline"] == outside).all()
    np.testing.assert_allclose(table["mean"][others], samples.mean(0)[others], rtol=0.01)
    np.testing.assert_allclose(table["sd"][others], samples.std(0)[others], rtol=0.03)
    np.testing.assert_allclose(table["lower"][others], np.quantile(samples, 0.05, axis=0)[others], rtol=0.01)
    np.testing.assert_allclose(table["upper"][others], np.quantile(samples, 0.95, axis=0)[others], rtol=0.01)
    assert table.loc["G0003", "mean"] == pytest.approx(float(model.knockdown_level(gene, k)))
    assert table.loc["G0003", "sd"] == 0
    np.testing.assert_allclose(table["control"], model.control_level(k))
    assert (table["settled"] == 1).all()


def test_several_genes_take_the_network_alone(learned):
    posterior = by_hand(learned, weights(12, scale=0.1), contexts=2)
    model, names = learned.model, ["G0001", "G0002"]
    levels = {g: float(model.knockdown_level(i, 0)) for g, i in zip(names, (1, 2), strict=True)}
    found = posterior.predict(knockdown=names, context="context0", num_draws=DRAWS)
    expected = posterior.predict(overexpress=levels, context="context0", num_draws=DRAWS)
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-6)
    other = posterior.predict(knockdown=names, context="context1", num_draws=DRAWS)
    assert np.abs(other["mean"] / found["mean"] - 1).max() > 0.01


def test_draws_without_a_steady_state_are_left_out(fitted):
    """A ring of three strong repressors oscillates; with one draw of three like that, two thirds settle."""
    W = weights(5, scale=0.05)
    for source, target in ((0, 1), (1, 2), (2, 0)):
        W[0, source, target] = -12.0
    many = np.tile(W, (10, 1, 1))  # below 20 that settle no level is stated
    table = by_hand(fitted, many).predict(overexpress={"G0004": 1.0}, num_draws=len(many))
    assert table["settled"].iloc[0] == pytest.approx(2 / 3)
    assert np.isfinite(table["mean"]).all()
    none = by_hand(fitted, W[:1]).predict(overexpress={"G0004": 1.0}, num_draws=1)
    assert (none["settled"] == 0).all()
    assert none[["mean", "sd", "lower", "upper", "control"]].isna().all(None)


def test_no_level_is_stated_where_hardly_a_draw_has_a_steady_state():
    """Of one draw the interval has no width: it would say that the level is certain."""
    after = np.random.default_rng(0).normal(size=(200, 3))
    settled = np.arange(200) < 1
    table = settled_table(["A", "B", "C"], after, settled, np.zeros(3), 0.89)
    assert table[["mean", "sd", "lower", "upper"]].isna().all(None)
    assert (table["settled"] == 0.005).all()
    told = unsettled_note(table)
    assert told.startswith(
        "in 99.5% of the draws the network has no stable steady state: where fewer than 10% or 20 draws"
    )
    few = settled_table(["A", "B", "C"], after[:10], np.arange(10) < 1, np.zeros(3), 0.89)
    assert few[["mean", "sd", "lower", "upper"]].isna().all(None)
    assert "no level is stated" in unsettled_note(few)
    many = settled_table(["A"], np.zeros((2500, 1)), np.arange(2500) < 1, 0.0, 0.89)
    assert unsettled_note(many).startswith("in 99.96% of the draws")
    enough = settled_table(["A", "B", "C"], after, np.arange(200) < 20, np.zeros(3), 0.89)
    assert (enough["upper"] - enough["lower"] > 1).all()
    assert unsettled_note(enough).endswith("90% of the draws the network has no stable steady state; they are left out")
    assert unsettled_note(settled_table(["A"], after[:, :1], after[:, 0] < np.inf, 0.0, 0.89)) is None


def test_errors_say_what_is_missing(fitted, learned):
    with pytest.raises(ValueError, match="'context0', 'context1'"):
        learned.predict(knockdown=["G0001"])
    with pytest.raises(ValueError, match="no context 'nowhere'"):
        learned.predict(knockdown=["G0001"], context="nowhere")
    with pytest.raises(ValueError, match="not among the 5 genes of this fit"):
        fitted.predict(knockdown=["X"])
    with pytest.raises(ValueError, match="levels below zero"):
        fitted.predict(overexpress={"G0001": -1.0})
    with pytest.raises(ValueError, match="0 draws"):
        fitted.predict(knockout=["G0001"], num_draws=0)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        fitted.predict(knockout=["G0001"], level=1.0)
    with pytest.raises(ValueError, match="clamped twice"):
        fitted.predict(knockdown=["G0001"], knockout=["G0001"])
