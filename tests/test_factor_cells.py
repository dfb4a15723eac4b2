"""Rounds cell by cell: the same answer as sufficient statistics where both exist; missing values, binary data, counts,
minibatches."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pyrogrn.inference import Blocked, Gibbs, fit
from pyrogrn.inference.factors.alignment import Aligner
from pyrogrn.inference.factors.cells import CellRound
from pyrogrn.inference.factors.start import start
from pyrogrn.inference.factors.sweep import GramRound
from pyrogrn.inference.factors.walk import draw_state
from pyrogrn.models import PPCA, ExpressionData, MuVI
from pyrogrn.models.simulators import simulate_muvi
from pyrogrn.priors import HorseshoeLoading, NormalLoading, SpikeSlabLoading, Take
from scipy import stats

pytestmark = pytest.mark.usefixtures("seeded")

PRIORS = {
    "normal": lambda: NormalLoading(),
    "horseshoe": lambda: HorseshoeLoading(),
    "spike-slab": lambda: SpikeSlabLoading(),
}


def simulated(**options):
    sizes = {"num_genes": 12, "num_cells": 120, "num_sets": 2, "set_size": 5, "seed": 1}
    if options.get("num_covariates"):
        options = {"correlation": 0.4} | options
    return simulate_muvi(**(sizes | options))


def climbed(model, data, num_rounds, num_chains=1):
    """``(round, chain)`` bounds, the engine, the last state."""
    engine = CellRound(model, data)
    state, bounds = engine.start(start(engine.gram_round, num_chains)), []
    for _ in range(num_rounds):
        state = engine(state, Take(draws=False))
        if state.bound is not None:
            bounds.append(state.bound.numpy())
    return np.array(bounds), engine, state


def with_values(data, X, **changes):
    return replace(data, matrix=X, **changes)


# -- complete Gaussian data ----


@pytest.mark.parametrize(("kind", "prior"), [(MuVI, "horseshoe"), (MuVI, "spike-slab"), (PPCA, "normal")])
def test_complete_data_give_what_their_statistics_give(prior, kind):
    data = simulated(num_covariates=1, num_groups=2, group_scale=0.5).data
    model = kind(data, num_factors=2, loading_prior=PRIORS[prior]())
    rounds = GramRound(model)
    state = start(rounds, 1)
    for _ in range(300):
        state = rounds(state, Take(draws=False))
    _, _, by_cell = climbed(model, data, 300)
    W, other = state.loadings[..., :2].mT, by_cell.loadings[..., :2].mT
    other = Aligner(model, W[0])({"W": other})["W"]
    W = Aligner(model, W[0])({"W": W})["W"]
    # intercepts are N(0, 10²) here, flat there: a shift of 1/(10² n) of what is estimated, and of rounding
    torch.testing.assert_close(other, W, atol=0.01, rtol=0.02)
    # noise and one factor trade places along a ridge of the bound: a thousandth of a nat moves it by some percent
    torch.testing.assert_close(by_cell.precision, state.precision, atol=0, rtol=0.08)
    total = lambda s: s.loadings[..., 2:3].mT + s.gamma @ s.loadings[..., :2].mT
    torch.testing.assert_close(total(by_cell), total(state), atol=0.02, rtol=0)


def test_gibbs_cell_by_cell_agrees_with_gibbs_on_statistics():
    """Posterior moments of invariant quantities within 5 Monte-Carlo standard errors."""
    data = simulated(num_cells=40, num_genes=6, num_sets=1, set_size=4, num_covariates=1).data
    found = []
    for integrate in (True, False):
        model = MuVI(data, num_factors=1, loading_prior=NormalLoading(), integrate=integrate)
        options = {} if integrate else {"data": data}
        posterior = fit(model, **options, guide=Gibbs(num_chains=6, num_warmup=30, num_samples=200))
        W, beta, gamma = (posterior.draws[n] for n in ("W", "beta", "gamma"))
        size = np.concatenate([W**2, posterior.draws["noise_variance"][:, :, None]], axis=2)
        total = beta + np.einsum("cdvk,cdkg->cdvg", gamma, W)
        every = np.concatenate([size.reshape(*size.shape[:2], -1), total[:, :, 0], beta[:, :, 0]], axis=2)
        means = every.mean(1)
        found.append((means.mean(0), means.std(0, ddof=1) / math.sqrt(6), every.std((0, 1))))
    (a, ea, sd), (b, eb, _) = found
    # standard errors of 6 chains are noisy: not below what 100 effective draws a chain would have
    error = np.sqrt(np.maximum(ea, sd / 20) ** 2 + np.maximum(eb, sd / 20) ** 2)
    assert np.abs((a - b) / error).max() < 5


# -- missing values ----


@pytest.mark.parametrize("prior", list(PRIORS))
def test_loadings_are_recovered_with_missing_values(prior):
    whole = simulated(num_cells=300)
    gaps = simulated(num_cells=300, missing=0.2)
    found = {}
    for name, data in (("whole", whole.data), ("gaps", gaps.data)):
        model = MuVI(data, num_factors=2, loading_prior=PRIORS[prior](), standardize=False)
        posterior = fit(model, data, guide=Blocked(), num_draws=40, restarts=2, num_steps=150)
        truth = Aligner(model, whole.W)
        found[name] = truth({"W": torch.as_tensor(posterior.draws["W"].mean((0, 1)))[None]})["W"][0].double().flatten()
        found["truth"] = truth.reference.flatten()
    correlation = torch.corrcoef(torch.stack(list(found.values())))
    order = list(found)
    assert correlation[order.index("gaps"), order.index("whole")] > 0.98
    assert correlation[order.index("gaps"), order.index("truth")] > 0.95


def test_a_value_that_is_missing_says_nothing():
    """Whatever stands at a missing place, also a whole view of some cells."""
    gaps = simulated(views={"a": "gaussian", "b": "gaussian"}, missing=0.1, missing_cells=0.3)
    data = gaps.data
    model = MuVI(data, num_factors=2, loading_prior=NormalLoading())
    _, engine, state = climbed(model, data, 5)
    sums = engine.whole(state, Take(draws=False))
    assert sums.size[0].tolist() == (~data.X.isnan()).sum(0).tolist()
    lacking = data.X.isnan().any(1)
    assert bool(lacking.any())
    whole = engine.block(state, torch.nonzero(~lacking)[:, 0], Take(draws=False))
    rest = engine.block(state, torch.nonzero(lacking)[:, 0], Take(draws=False))
    torch.testing.assert_close(whole.gram + rest.gram, sums.gram)
    torch.testing.assert_close(whole.local + rest.local, sums.local)


@pytest.mark.parametrize("kind", [MuVI, PPCA])
def test_noise_is_as_uncertain_as_the_observed_values_leave_it(kind):
    """q(1/σ²) is Gamma(a + ½ observed, ·): its draws have the relative variance 1 / shape."""
    simulation = simulated(num_cells=60)
    X = simulation.data.X.clone()
    X[:40, :3] = math.nan  # 20 of 60 cells have these genes
    if kind is PPCA:
        X[:40] = torch.where(torch.rand(40, 12) < 0.9, math.nan, X[:40])
        X[0] = simulation.data.X[0]
    data = with_values(simulation.data, X, missing=True)
    model = kind(data, num_factors=1, loading_prior=NormalLoading())
    _, engine, state = climbed(model, data, 60)
    drawn = draw_state(engine, state, Take(draws=True), 4000).precision
    seen = (~X.isnan()).sum(0).double()
    size = seen.sum() if kind is PPCA else seen
    shape = engine.gram_round.noise_shape + 0.5 * size
    relative = drawn.var(0) / drawn.mean(0) ** 2
    torch.testing.assert_close(relative, (1 / shape).expand(12), rtol=0.15, atol=0)


# -- the bound ----


BOUND = {
    "missing": {"missing": 0.2, "num_covariates": 1},
    "missing, groups": {"missing": 0.2, "num_groups": 2, "num_covariates": 1},
    "bernoulli": {"views": {"open": "bernoulli"}},
    "bernoulli, covariates": {"views": {"open": "bernoulli"}, "num_covariates": 1},
    "both": {"views": {"open": "bernoulli", "rna": "gaussian"}, "missing": 0.1},
}


@pytest.mark.parametrize("prior", list(PRIORS))
@pytest.mark.parametrize("case", list(BOUND))
def test_the_bound_never_falls(case, prior):
    options = BOUND[case]
    data = simulated(num_cells=60, **options).data
    likelihood = options.get("views", "gaussian")
    model = MuVI(data, num_factors=2, likelihood=likelihood, loading_prior=PRIORS[prior]())
    bounds, _, _ = climbed(model, data, 40)
    assert np.isfinite(bounds).all()
    falls = np.diff(bounds[:, 0]) / np.abs(bounds[:-1, 0])
    assert falls.min() > -1e-6, f"fell by {falls.min():.2g} of its size in round {falls.argmin()}"


def test_a_fit_reports_a_bound_that_never_falls():
    data = simulated(missing=0.2).data
    posterior = fit(MuVI(data, num_factors=2), data, num_steps=60, num_draws=5, restarts=2)
    change = np.diff(posterior.history.elbo, axis=1)
    assert change.min() > -1e-6 * np.abs(posterior.history.elbo).max()


def test_the_bound_of_complete_data_is_near_that_of_statistics():
    """Intercepts N(0, 10²) with a factor of their own instead of flat ones: log densities differ by ½ log(2π 10²) a
    gene."""
    data = simulated(num_cells=300).data
    model = MuVI(data, num_factors=2, loading_prior=NormalLoading())
    rounds = GramRound(model)
    state = start(rounds, 1)
    for _ in range(200):
        state = rounds(state, Take(draws=False))
    bounds, _, _ = climbed(model, data, 200)
    gap = float(state.bound) - float(bounds[-1, 0]) - 12 * 0.5 * math.log(2 * math.pi * 100)
    assert abs(gap) < 0.5 * 12 * 0.5  # a product q(μ) q(x) loses a part of a nat a gene


# -- Pólya-Gamma ----


def state_with(engine, W, mu, m, x_free=True):
    """A state without uncertainty: W (gene, factor), μ (gene,), and the state's other parts as they start."""
    state = engine.start(start(engine.gram_round, 1))
    v = engine.v
    theta = torch.zeros_like(state.loadings)
    theta[0, :, :m] = W
    theta[0, :, m + v :] = mu[:, None]
    return replace(state, loadings=theta, covariance=None)


@pytest.mark.parametrize("likelihood", ["bernoulli", "negative-binomial"])
def test_the_augmented_density_touches_the_likelihood(likelihood):
    """κη − ωη²/2 + rest is the log density itself at the η where ω is taken, and below it elsewhere."""
    views = {"v": likelihood}
    simulation = simulated(num_cells=25, views=views, num_covariates=1)
    data = simulation.data
    if likelihood == "negative-binomial":
        data = replace(data, size_factor=torch.rand(25) + 0.5)
    model = MuVI(data, num_factors=1, likelihood=views, loading_prior=NormalLoading())
    engine = CellRound(model, data)
    state = state_with(engine, 0.5 * torch.randn(12, 1).double(), 0.3 * torch.randn(12).double(), 1)
    state = replace(state, dispersion=0.5 + 5 * torch.rand(1, 12).double())
    Y, Z, _, offset = (value.double() for value in model.prepare(data))
    fixed = torch.cat([Z, torch.ones(25, 1).double()], dim=1)
    seen = torch.ones_like(Y, dtype=torch.bool)
    x = torch.randn(25, 1).double()
    spread = torch.zeros(25, 1, 1).double()
    weight, kappa, rest = engine._augment(state, 0, Y, seen, offset, x, spread, fixed, x)
    used = offset if likelihood == "negative-binomial" else torch.zeros_like(offset)
    target = kappa - weight * used

    def exact(eta):
        if likelihood == "bernoulli":
            return stats.bernoulli(torch.sigmoid(eta)).logpmf(Y).sum()
        r = state.dispersion[0].numpy()
        mean = (eta + offset).exp().numpy()
        return stats.nbinom(r, r / (r + mean)).logpmf(Y.numpy()).sum()

    bound = lambda eta: float((target * eta - 0.5 * weight * eta**2).sum() + rest)
    eta = torch.cat([x, fixed], dim=1) @ state.loadings[0].T
    assert bound(eta) == pytest.approx(exact(eta), rel=1e-9)
    for scale in (0.1, 1.0, 3.0):
        other = eta + scale * torch.randn_like(eta)
        assert bound(other) < exact(other)


def test_the_weight_is_the_mean_of_a_polya_gamma():
    """Against the mean of its density: PG(1, c) is a weighted sum of exponentials, integrated numerically."""
    data = simulated(num_cells=25, views={"v": "bernoulli"}).data
    model = MuVI(data, num_factors=1, likelihood="bernoulli", loading_prior=NormalLoading())
    engine = CellRound(model, data)
    state = state_with(engine, torch.linspace(0.0, 3.0, 12)[:, None].double(), torch.zeros(12).double(), 1)
    Y, _, _, offset = (value.double() for value in model.prepare(data))
    x = torch.linspace(-3, 3, 25)[:, None].double()
    fixed = torch.ones(25, 1).double()
    spread = torch.zeros(25, 1, 1).double()
    seen = torch.ones_like(Y, dtype=torch.bool)
    weight, _, _ = engine._augment(state, 0, Y, seen, offset, x, spread, fixed, x)
    c = (x @ state.loadings[0, :, :1].T).abs().numpy()
    # density of PG(1, 0): Σ (−1)ⁿ (2n+1) / √(2πw³) exp(−(2n+1)²/8w); tilted by exp(−c²w/2)
    w = np.exp(np.linspace(np.log(1e-3), np.log(8.0), 4000))
    n = np.arange(200)[:, None]
    terms = (-1.0) ** n * (2 * n + 1) * np.exp(-((2 * n + 1) ** 2) / (8 * w))
    density = terms.sum(0) / np.sqrt(2 * np.pi * w**3)
    tilted = density * np.exp(-0.5 * c[..., None] ** 2 * w) * w  # dw = w dlog w
    np.testing.assert_allclose(weight, (tilted * w).sum(-1) / tilted.sum(-1), rtol=1e-3)


def test_depth_does_not_matter_to_binary_genes():
    data = simulated(views={"v": "bernoulli"}).data
    deep = replace(data, size_factor=torch.linspace(0.2, 5.0, data.num_cells))
    found = []
    for one in (data, deep):
        model = MuVI(one, num_factors=1, likelihood="bernoulli", loading_prior=NormalLoading())
        found.append(climbed(model, one, 5)[2].loadings)
    torch.testing.assert_close(*found)


# -- recovery, minibatches ----


def correlation(model, posterior, simulation):
    align = Aligner(model, simulation.W * simulation.x_scale[:, None])
    W = torch.as_tensor(posterior.draws["W"].mean((0, 1)))[None]
    pair = torch.stack([align({"W": W})["W"][0].double().flatten(), align.reference.flatten()])
    return float(torch.corrcoef(pair)[0, 1])


def test_counts_give_loadings_on_the_log_scale():
    simulation = simulated(num_cells=400, views={"rna": "negative-binomial"}, dispersion=5.0, seed=2)
    data = simulation.data
    model = MuVI(data, num_factors=2, likelihood="negative-binomial", depth="none")  # all cells are equally deep
    posterior = fit(model, data, num_steps=80, num_draws=20, restarts=1)
    assert correlation(model, posterior, simulation) > 0.93
    W = posterior.draws["W"].mean((0, 1))
    truth = simulation.W.numpy()
    # the Pólya-Gamma bound is loose where counts vary most, which shrinks loadings by a fifth to a quarter
    assert 0.65 < np.linalg.norm(W) / np.linalg.norm(truth) < 1.1
    dispersion = np.exp(np.log(posterior.draws["dispersion"]).mean())
    assert dispersion == pytest.approx(5.0, rel=0.5)


def test_binary_data_give_loadings_on_the_logit_scale():
    simulation = simulated(num_cells=600, views={"open": "bernoulli"})
    data = simulation.data
    model = MuVI(data, num_factors=2, likelihood="bernoulli")
    posterior = fit(model, data, num_steps=80, num_draws=20, restarts=1)
    assert correlation(model, posterior, simulation) > 0.8


def test_minibatches_end_near_all_cells():
    simulation = simulated(num_cells=600, num_covariates=1)
    data = simulation.data
    model = MuVI(data, num_factors=2, loading_prior=NormalLoading(scale=None))
    whole = fit(model, guide=Blocked(refresh=0), num_draws=60, restarts=1, num_steps=200)
    parts = fit(model, data, guide=Blocked(refresh=0), batch_size=100, num_draws=60, restarts=1, num_steps=150)
    W = [torch.as_tensor(p.draws["W"].mean((0, 1))).double() for p in (whole, parts)]
    align = Aligner(model, W[0])
    a, b = (align({"W": w[None]})["W"][0] for w in W)
    assert float((a - b).norm() / a.norm()) < 0.05
    noise = [p.draws["noise_variance"].mean((0, 1)) for p in (whole, parts)]
    np.testing.assert_allclose(noise[1], noise[0], rtol=0.1)


def test_a_batch_of_all_cells_is_all_cells():
    data = simulated(missing=0.1).data
    model = MuVI(data, num_factors=2)
    _, engine, state = climbed(model, data, 5)
    take = Take(draws=False)
    whole = engine.whole(state, take)
    halves = [engine.block(state, rows, take) for rows in torch.arange(120).split(60)]
    for a, b in zip(whole, halves[0].plus(halves[1]), strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(halves[0].times(2.0), halves[0].plus(halves[0]), strict=True):
        torch.testing.assert_close(a, b)


def test_missing_values_and_groups_are_kept_apart():
    """Cells of one group missing altogether in a gene: its intercept is that of the prior there."""
    simulation = simulated(num_groups=2, group_scale=2.0)
    X = simulation.data.X.clone()
    X[simulation.data.context == 1, 0] = math.nan
    data = with_values(simulation.data, X, missing=True)
    model = MuVI(data, num_factors=2, standardize=False)
    posterior = fit(model, data, num_steps=60, num_draws=100, restarts=1)
    mu = posterior.draws["mu"]
    assert mu.shape[2:] == (2, 12)
    sd = mu.std((0, 1))
    assert sd[1, 0] > 5
    assert np.delete(sd.ravel(), 12).max() < 1.0


def test_bernoulli_and_counts_have_no_exact_sampler():
    data = simulated(views={"v": "bernoulli"}).data
    model = MuVI(data, num_factors=1, likelihood="bernoulli")
    with pytest.raises(ValueError, match="fitted by Blocked") as caught:
        fit(model, data, guide=Gibbs(num_chains=1, num_warmup=1, num_samples=1))
    assert "\n" not in str(caught.value)


def test_cells_that_were_not_kept_must_be_passed():
    data = simulated().data
    model = MuVI(ExpressionData(data.X, data.genes), num_factors=1)
    with pytest.raises(ValueError, match="pass `data`"):
        fit(model, batch_size=50)
