"""FactorBox: statistics against plain regressions, posteriors against quadrature, predictions and errors."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.inference import NUTS, Gibbs, GibbsKernel, MeanField, Posterior, fit
from pyrogrn.inference.answers.panel_cells import panel_residuals
from pyrogrn.models import ExpressionData, FactorBox
from pyrogrn.models.data.panel import PanelStatistics, chebyshev, panels_of
from pyrogrn.models.dynamics.dynamics import Dynamics
from pyrogrn.models.dynamics.settle import settle
from pyrogrn.models.observation.panel_normal import at_headroom
from pyrogrn.models.simulators.panel import simulate_panel
from pyrogrn.priors import Normal, SpikeSlab
from scipy import stats

pytestmark = pytest.mark.usefixtures("seeded")


@pytest.fixture(scope="module")
def panel():
    """Six genes in two contexts, every knock-down twice, one condition with two genes down."""
    simulation = simulate_panel(
        num_genes=6, in_degree=2, num_contexts=2, replicates=2, num_controls=6, num_hidden=1, seed=2
    )
    data = simulation.data
    extra = torch.tensor([[6, 3], [7, 5]])  # also in conditions of another gene
    pairs = torch.unique(torch.cat([data.perturbed, extra]), dim=0)
    return replace(data, perturbed=pairs)


# -- the likelihood ----


def test_residuals_are_those_of_the_free_conditions(panel):
    """Of every target, (drive - X w) off intercept and hidden inputs over the conditions that leave it free."""
    model = FactorBox.from_data(panel, hidden=1)
    posterior = fit(model, guide=Gibbs(num_chains=1, num_warmup=2, num_samples=1), seed=0)
    W, noise = posterior.draws["W_context"][0, 0].astype(float), posterior.draws["noise_variance"][0, 0]
    found = panel_residuals(posterior, model, panel, 1, np.random.default_rng(0))
    start, panels = 0, panels_of(panel, hidden=1)
    for k, (part, fitted) in enumerate(zip(panels, model.designs(panel), strict=True)):
        X = part.level.numpy() / model.scale.double().numpy()
        for t in range(6):
            free = ~part.clamped[:, t].numpy()
            y = fitted.drive[:, t].numpy()[free] - X[free] @ W[k, :, t]
            basis = np.column_stack([np.ones(free.sum()), part.hidden.numpy()[free]])
            left = y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]
            share = 1 - fitted.leverage.numpy()[free, t]
            own = found[start : start + len(X), t]
            np.testing.assert_allclose(own[free], left**2 / noise[k, t] / share, rtol=1e-4, atol=1e-6)
            assert np.isnan(own[~free]).all()
        start += len(X)


def plain(data, model, W, log_headroom, hidden, knockdown=None):
    """``(context, target)`` residual sums of squares and log Jacobians by one regression at a time."""
    error, jacobian = np.zeros(log_headroom.shape), np.zeros(log_headroom.shape)
    scale, unit = model.scale.double().numpy(), model.unit.double().numpy()
    for k, part in enumerate(panels_of(data, levels="raw", hidden=hidden, knockdown=knockdown)):
        X, level, z = part.X.numpy(), part.level.numpy(), part.hidden.numpy()
        for t, name in enumerate(model.targets):
            i = data.genes.index(name)
            rows = ~part.clamped[:, i].numpy()
            x, top = X[rows, i], X[rows, i].max()
            epsilon = top * (1 + np.exp(log_headroom[k, t]))
            y = np.log(x / epsilon) - np.log1p(-x / epsilon)
            left = y / unit[t] - (level / scale)[rows][:, model.tf_index.numpy()] @ W[k, :, t]
            basis = np.column_stack([np.ones(rows.sum()), z[rows]])
            left = left - basis @ np.linalg.lstsq(basis, left, rcond=None)[0]
            error[k, t] = left @ left
            jacobian[k, t] = -(np.log(x) + np.log1p(-x / epsilon) + np.log(unit[t])).sum()
    return error, jacobian


@pytest.mark.parametrize(
    ("hidden", "knockdown", "targets"), [(0, None, None), (2, None, ["G0003", "G0000"]), (1, 0.4, None)]
)
def test_squared_error_is_that_of_one_regression_at_a_time(panel, hidden, knockdown, targets):
    model = FactorBox.from_data(
        panel, gain="sampled", levels="raw", hidden=hidden, knockdown=knockdown, targets=targets
    )
    shape = (2, len(model.targets))
    W = torch.randn(5, 2, 6, shape[1]) * model.edge_prior.allowed
    anchor = model.log_headroom.double().numpy()
    for draw, h in enumerate([None, -2.8, -1.0, 0.5, 2.8]):
        log_headroom = anchor if h is None else np.clip(h + 0.3 * torch.randn(shape).double().numpy(), -2.99, 2.99)
        given = None if h is None else torch.as_tensor(log_headroom).float()[:, None]
        found = model.squared_error(W[draw], given)[:, 0].double().numpy()
        error, jacobian = plain(panel, model, W[draw].double().numpy(), log_headroom, hidden, knockdown)
        np.testing.assert_allclose(found, error, rtol=1e-4)
        total = model.log_jacobian
        if h is not None:
            total = total + at_headroom(chebyshev(given[:, 0]), model.curve_jacobian)[:, 0]
        np.testing.assert_allclose(total.reshape(shape).double().numpy(), jacobian, rtol=1e-4, atol=1e-3)
    batched = model.squared_error(W)
    torch.testing.assert_close(batched[3], model.squared_error(W[3]), rtol=1e-4, atol=1e-4)


def test_conditional_of_the_weights_is_the_dense_one(panel):
    data = panel.subset(panel.context.numpy() == 0).annotated()
    data = replace(data, context=None, context_names=("all",))
    for gain in ("fixed", "sampled"):
        model = FactorBox.from_data(data, edge_prior=Normal(scale=0.5), gain=gain, levels="raw").double()
        noise = torch.linspace(0.1, 0.6, 6, dtype=torch.float64)[None]
        log_headroom = model.log_headroom[0] + (0.7 if gain == "sampled" else 0.0)
        values = {"noise_variance": noise, "headroom": log_headroom.exp()[None]}
        block = model.conditional("W", values)
        X = data.X.double().numpy()
        for t in range(6):
            rows = ~panels_of(data, levels="raw")[0].clamped[:, t].numpy()
            others = [j for j in range(6) if j != t]
            x = (X / model.scale.numpy())[rows][:, others]
            epsilon = X[rows, t].max() * (1 + math.exp(log_headroom[t]))
            y = np.log(X[rows, t] / (epsilon - X[rows, t])) / float(model.unit[t])
            x, y = x - x.mean(0), y - y.mean()
            precision = x.T @ x / float(noise[0, t]) + np.eye(5) / 0.25
            mean = np.linalg.solve(precision, x.T @ y / float(noise[0, t]))
            np.testing.assert_allclose(block.mean[t][others].numpy(), mean, rtol=2e-3, atol=1e-4)
            covariance = torch.cholesky_inverse(block.factor[t])[others][:, others].numpy()
            np.testing.assert_allclose(covariance, np.linalg.inv(precision), rtol=1e-3, atol=1e-5)


def test_dynamics_are_those_of_the_regression(panel):
    """The truth's own weights, standardised, give back its raw weights; fitted biases hold the mean drive."""
    model = FactorBox.from_data(panel, levels="raw")
    W = torch.randn(3, 6, 6).double() * model.edge_prior.allowed
    for k in range(2):
        dynamics = model.system(W, None, k).dynamics
        scale, unit = model.scale.double(), model.unit.double()
        torch.testing.assert_close(dynamics.W, W * unit / scale[:, None])
        part = panels_of(panel, levels="raw")[k]
        drive = part.level @ dynamics.W + dynamics.bias[:, None]  # (draw, condition, gene)
        y = torch.logit(part.X.clamp(max=part.X.max(0).values) / dynamics.gain[0])
        for t in range(6):
            rows = ~part.clamped[:, t]
            torch.testing.assert_close(drive[:, rows, t].mean(1), y[rows, t].mean().expand(3), rtol=1e-3, atol=2e-3)


# -- posteriors ----

EDGE, SLAB, RATIO = 0.3, 0.6, 0.15


def small(seed=5, num_genes=4):
    """Four genes, each knocked down in two conditions, with a noise that leaves edges in doubt."""
    simulation = simulate_panel(
        num_genes=num_genes, in_degree=1.5, replicates=2, num_controls=16, drive_noise=0.25, seed=seed
    )
    return simulation.data


def standardised(data, model, target, log_headroom=None):
    """Regressors and response of one target over the conditions that leave it free, and the log Jacobian."""
    X = data.X.double().numpy()
    rows = ~panels_of(data, levels="raw")[0].clamped[:, target].numpy()
    others = [j for j in range(data.num_genes) if j != target]
    h = float(model.log_headroom[0, target]) if log_headroom is None else log_headroom
    x, epsilon = X[rows, target], X[rows, target].max() * (1 + math.exp(h))
    y = np.log(x / (epsilon - x)) / float(model.unit[target])
    jacobian = -(np.log(x) + np.log1p(-x / epsilon)).sum()
    return (X / model.scale.double().numpy())[rows][:, others], y, jacobian


def test_gibbs_with_cut_conditions_equals_brute_force_over_graphs(exact):
    """The sampler completes the cut conditions of a target as missing data; the reference leaves them out."""
    data = small()
    prior = SpikeSlab(edge_probability=EDGE, slab_scale=SLAB, spike_ratio=RATIO, hub_scale=0.0)
    model = FactorBox.from_data(data, edge_prior=prior, levels="raw").double()
    assert len(model.cut) == 8
    kernel = GibbsKernel(model, num_chains=64, seed=0)
    kernel.setup(30)
    state, draws, inclusion, steps = kernel.initial_params, [], 0.0, 250
    for step in range(30 + steps):
        state = kernel.sample(state)
        if step >= 30:
            draws.append(state["W"])
            inclusion = inclusion + kernel.probability / steps
    W = torch.stack(draws)  # (step, chain, tf, target)
    graphs = np.array(list(itertools.product([0, 1], repeat=3)))
    odds = graphs.sum(1) * math.log(EDGE) + (3 - graphs.sum(1)) * math.log(1 - EDGE)
    for t in range(4):
        x, y, _ = standardised(data, model, t)
        each = [exact(x, y, np.zeros(3), np.where(g, SLAB, SLAB * RATIO) ** 2) for g in graphs]
        share = np.array([e[0] for e in each]) + odds
        share = np.exp(share - np.logaddexp.reduce(share))
        mean = sum(s * e[1] for s, e in zip(share, each, strict=True))
        second = sum(s * (np.diag(e[2]) + e[1] ** 2) for s, e in zip(share, each, strict=True))
        others = [j for j in range(4) if j != t]
        by_chain = W[:, :, others, t]
        for found, expected in (
            (by_chain.mean(0), mean),
            (by_chain.square().mean(0), second),
            (inclusion[:, others, t], share @ graphs),
        ):
            error = found.std(0).numpy() / 8
            np.testing.assert_array_less(np.abs(found.mean(0).numpy() - expected), 4.5 * error + 1e-4)
            assert error.max() < 0.02


def test_cut_contexts_share_one_network():
    """Two copies of a context know what one with twice the conditions does; with the spread at zero the same."""
    data = simulate_panel(num_genes=4, in_degree=1.5, num_contexts=2, context_scale=0.0, num_controls=8, seed=3).data
    model = FactorBox.from_data(data, levels="raw")
    posterior = fit(model, guide=Gibbs(num_chains=2, num_warmup=60, num_samples=120), seed=0)
    shared, each = posterior.moments["W"].mean, posterior.moments["W_context"].mean
    assert each.shape == (2, 4, 4)
    strong = np.abs(shared) > 0.4
    assert strong.any()
    assert np.abs(each[:, strong] - shared[strong]).max() < 0.2
    with pytest.raises(ValueError, match="context"):
        posterior.predict(knockout=["G0000"])


NOISE = np.exp(np.linspace(math.log(1e-3), math.log(1e3), 800))


def evidence_of(x, y, scale):
    """log p(y) with W ~ N(0, scale²), a flat intercept and the noise integrated out, up to a constant; mean of W."""
    x, y = x - x.mean(0), y - y.mean()
    values, vectors = np.linalg.eigh(scale**2 * x @ x.T)
    spread, rotated = values.clip(0)[:, None] + NOISE, vectors.T @ y  # the intercept's direction has value 0
    log_prob = -0.5 * (np.log(spread) + rotated[:, None] ** 2 / spread).sum(0) + 0.5 * np.log(NOISE)
    log_prob += stats.invgamma.logpdf(NOISE, 2.0, scale=0.5) + np.log(NOISE)
    total = np.logaddexp.reduce(log_prob)
    weight = np.exp(log_prob - total)
    assert max(weight[0], weight[-1]) < 1e-6 * weight.max()
    return total, scale**2 * (vectors.T @ x).T @ ((rotated[:, None] / spread) @ weight)


def test_nuts_and_mean_field_with_the_headroom_sampled():
    """Against quadrature over the headroom, weights and noise integrated out."""
    data = small(num_genes=3)
    scale = 0.6
    model = FactorBox.from_data(data, edge_prior=Normal(scale=scale), gain="sampled", levels="raw")
    assert model.dims["headroom"] == ("target",)
    grid = np.linspace(-2.99, 2.99, 61)
    expected = np.zeros((3, 2))
    weights = np.zeros((2, 3))
    for t in range(3):
        log_prob, means = [], []
        for h in grid:
            x, y, jacobian = standardised(data, model, t, h)
            evidence, mean = evidence_of(x, y, scale)
            log_prob.append(evidence + jacobian + stats.norm.logpdf(h))
            means.append(mean)
        share = np.exp(log_prob - np.logaddexp.reduce(log_prob))
        expected[t] = share @ grid, math.sqrt(share @ grid**2 - (share @ grid) ** 2)
        weights[:, t] = share @ np.array(means)
    exactly = fit(model, guide=NUTS(num_chains=1, num_warmup=120, num_samples=300), seed=1)
    h = np.log(exactly.draws["headroom"]).reshape(-1, 3)
    # 300 correlated draws: half as many independent ones
    np.testing.assert_allclose(h.mean(0), expected[:, 0], atol=4 / math.sqrt(150) * expected[:, 1].max())
    np.testing.assert_allclose(h.std(0), expected[:, 1], rtol=0.25)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(exactly.moments["W"].mean.T[off], weights.T.ravel(), atol=0.06)
    quick = fit(model, guide=MeanField(), seed=0, restarts=1, num_steps=600)
    assert np.abs(quick.moments["W"].mean - exactly.moments["W"].mean).max() < 0.15
    assert np.abs(np.log(quick.draws["headroom"]).mean((0, 1)) - expected[:, 0]).max() < expected[:, 1].max()


# -- storage, predictions ----


@pytest.fixture(scope="module")
def fitted():
    """A clean panel of eight genes with its fit, and the truth."""
    with torch.random.fork_rng(devices=[]):
        simulation = simulate_panel(num_genes=8, in_degree=1.5, replicates=2, num_controls=10, drive_noise=0.03, seed=4)
        model = FactorBox.from_data(simulation.data, levels="raw")
        return simulation, fit(model, guide=Gibbs(num_chains=2, num_warmup=60, num_samples=60), seed=0)


def test_saved_posteriors_come_back_whole(fitted, tmp_path):
    _, posterior = fitted
    posterior.save(tmp_path / "fit")
    again = Posterior.load(tmp_path / "fit")
    assert isinstance(again.model, FactorBox)
    pd.testing.assert_frame_equal(again.edges(), posterior.edges())
    for name, value in posterior.model.named_buffers():
        torch.testing.assert_close(again.model.get_buffer(name), value, equal_nan=True)
    options = {"knockout": ["G0001"], "num_draws": 20}
    pd.testing.assert_frame_equal(again.predict(**options), posterior.predict(**options))


@pytest.mark.parametrize("how", ["knockout", "overexpress"])
def test_predictions_are_those_of_the_true_network(fitted, how):
    simulation, posterior = fitted
    gene = 2
    name, level = simulation.data.genes[gene], 0.5 * float(simulation.control[gene])
    if how == "knockout":
        level, table = 0.0, posterior.predict(knockout=[name], num_draws=50)
    else:
        table = posterior.predict(overexpress={name: level}, num_draws=50)
    start, clamped = simulation.control.clone()[None], torch.zeros(1, 8, dtype=torch.bool)
    start[0, gene], clamped[0, gene] = level, True
    truth = settle(simulation.dynamics(), start, clamped=clamped).x[0].numpy()
    found = table.set_index("gene")["mean"].loc[list(simulation.data.genes)].to_numpy()
    assert found[gene] == pytest.approx(level)
    assert (table["settled"] == 1).all()
    free = np.arange(8) != gene
    np.testing.assert_allclose(np.log(found[free] / truth[free]), 0, atol=0.2)
    change = np.log(truth[free] / simulation.control.numpy()[free])
    assert np.corrcoef(np.log(found[free] / table["control"].to_numpy()[free]), change)[0, 1] > 0.9


def test_predict_refuses_what_it_cannot_do(fitted):
    _, posterior = fitted
    for match, options in (
        ("not among", {"knockout": ["X"]}),
        ("clamped twice", {"knockout": ["G0001"], "overexpress": {"G0001": 2.0}}),
        ("steady state", {"knockout": ["G0001"], "steps": 2}),
        ("without inputs", {"inputs": {"G0001": 1.0}}),
        ("nothing to predict", {}),
    ):
        with pytest.raises(ValueError, match=match):
            posterior.predict(**options)


# -- what is refused ----


def refused(match, call):
    with pytest.raises(ValueError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_batches_of_conditions_are_fitted(panel):
    """By the same variational family as all conditions at once."""
    data = panel.subset(panel.context.numpy() == 0).annotated()
    data = replace(data, context=None, context_names=("all",))
    model = FactorBox.from_data(data, edge_prior=Normal(scale=0.5))
    options = {"guide": MeanField(), "restarts": 1, "num_draws": 200, "seed": 1}
    whole = fit(model, num_steps=600, **options)
    parts = fit(model, data, batch_size=16, num_steps=600, **options)
    one, other = whole.moments["W"].mean, parts.moments["W"].mean
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98
    assert not parts.calibrated


def test_bad_panels_are_refused_by_name(panel):
    X = panel.X.clone()
    zero = X.clone()
    zero[3, 1] = 0.0
    copies = X.clone()
    copies[1] = copies[0]
    constant = X.clone()
    constant[:, 4] = 2.0
    fresh = lambda values: replace(panel, matrix=values)
    refused("zero or negative.*G0001", lambda: FactorBox.from_data(fresh(zero)))
    refused("equal values", lambda: FactorBox.from_data(fresh(copies)))
    refused("constant gene.*G0004", lambda: FactorBox.from_data(fresh(constant)))
    always = torch.stack([torch.arange(len(X)), torch.full((len(X),), 2)], 1)
    held = replace(panel, perturbed=torch.unique(torch.cat([panel.perturbed, always]), dim=0))
    refused("leave genes.*G0002", lambda: FactorBox.from_data(held))
    refused("hidden", lambda: FactorBox.from_data(panel, hidden=15))
    refused("not measured", lambda: FactorBox.from_data(panel, targets=["nobody"]))
    refused("knockdown=1.5", lambda: FactorBox.from_data(panel, knockdown=1.5))
    refused("gain='free'", lambda: FactorBox.from_data(panel, gain="free"))
    refused("curves", lambda: FactorBox(PanelStatistics.from_data(panel), gain="sampled"))
    whole = FactorBox.from_data(panel, hidden=2)
    with pytest.raises(ValueError, match="hidden inputs conditions on the whole panel"):
        fit(whole, panel, batch_size=4, guide=MeanField(), num_steps=2)


@pytest.mark.parametrize("knockdown", [None, 0.0])
def test_a_knockout_predicts_from_where_it_was_fitted(knockdown):
    """Zero in a prediction is the level at which a gene measured, or taken, at zero acted in the fit."""
    data = simulate_panel(num_genes=5, in_degree=1.5, num_controls=8, seed=4).data
    X = data.X.clone()
    X[data.clamped] = 0.0
    model = FactorBox.from_data(replace(data, matrix=X), knockdown=knockdown)
    system = model.system(torch.zeros(1, 5, 5), None, 0)
    levels = panels_of(replace(data, matrix=X), knockdown=knockdown)[0]
    acting = levels.level[levels.clamped].exp()  # one knock-down of every gene, in their order
    order = torch.nonzero(levels.clamped)[:, 1]
    found = system.level(system.coordinate(torch.zeros(1, 1, 5).double()))[0, 0]
    torch.testing.assert_close(found[order], acting, rtol=1e-5, atol=0)
    for gene in range(5):
        assert float(model.knockdown_level(gene, 0)) == pytest.approx(float(acting[order == gene]), rel=1e-5)


def test_a_measured_knockdown_is_kept_where_it_is():
    """Given a share to act at, a level far below the free ones is not raised to them."""
    data = simulate_panel(num_genes=5, in_degree=1.5, num_controls=8, seed=4).data
    panel = panels_of(data, knockdown=1e-3)[0]
    free = torch.where(panel.clamped, 0.0, panel.X).sum(0) / (~panel.clamped).sum(0)
    torch.testing.assert_close(panel.level[panel.clamped].exp(), (1e-3 * free).expand_as(panel.X)[panel.clamped])


def test_a_panel_without_knockdowns_is_a_regression():
    data = ExpressionData(torch.exp(0.3 * torch.randn(30, 5)), tuple("ABCDE"))
    model = FactorBox.from_data(data, levels="raw")
    assert len(model.cut) == 0
    assert not model.learns_responses(0)
    table = fit(model, guide=Gibbs(num_chains=1, num_warmup=20, num_samples=20), seed=0).edges()
    assert len(table) == 20
    assert isinstance(model.system(torch.zeros(1, 5, 5), None, 0).dynamics, Dynamics)
