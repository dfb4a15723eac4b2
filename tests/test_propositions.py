"""Propositions 1 and 2 of the unified view on prior knowledge: the MAP objective of the model is the stated loss.

Both are checked as densities: −log p(data, parameters) of the Pyro model, less the loss written out in plain numpy, is
the same number at any parameters. The loss is computed from the cells, the model from what it keeps of them.
"""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.inference import BlockDescent, MapEstimate, NeverStop, fit
from pyrogrn.inference.variational.elbo import log_joint
from pyrogrn.inference.variational.svi import Adam
from pyrogrn.models import ExpressionData, LinearNetwork, NetREXCF
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import ElasticNet, HardMask, Laplace, PriorNetwork
from pyrogrn.priors.elastic_net import ElasticNetDistribution
from sklearn.linear_model import ElasticNet as Reference
from sklearn.linear_model import Lasso

POINTS = 20


def centred(data):
    X = data.X.double().numpy()
    return X - X.mean(0)


def network(pairs, name="motif", probability=0.9):
    frame = pd.DataFrame(pairs, columns=["source", "target"]).assign(probability=probability)
    return PriorNetwork.from_edges(frame, name=name)


def some_pairs(data, share, seed):
    rng = np.random.default_rng(seed)
    every = [(s, t) for s in data.tfs for t in data.genes if s != t]
    return [pair for pair in every if rng.random() < share]


def joint(model, values):
    """``(point,)`` log p of the model, sites given as ``(point, *dims)`` arrays."""
    tensors = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in values.items()}
    return log_joint(model, tensors, None, len(next(iter(values.values()))))[0].numpy()


# -- Proposition 1: CellOracle ----


def celloracle(data, kappa, pairs):
    prior = HardMask(Laplace(scale=1 / kappa))
    return LinearNetwork.from_data(data, edge_prior=prior, networks={"base GRN": network(pairs)}).double()


def lasso_loss(data, W, noise, kappa, mask):
    """Σ_j ||X_j − Σ_{i≠j} Θ_ij X_i||² / 2σ_j² + κ Σ |Θ_ij|, infinite off the mask; standardised cells."""
    X = centred(data)
    X = X / X.std(0, ddof=1)
    Y, Z = X, X[:, : len(data.tfs)]
    if np.abs(W[~mask]).max(initial=0) > 0:
        return math.inf
    return (((Y - Z @ W) ** 2).sum(0) / (2 * noise)).sum() + kappa * np.abs(W).sum()


@pytest.fixture(scope="module")
def regulated():
    return simulate_linear(num_genes=9, num_tfs=4, num_cells=60, edge_probability=0.5, seed=1).data


@pytest.mark.parametrize("kappa", [0.3, 8.0])
def test_proposition_1_the_lasso_on_a_mask_is_the_map_of_the_linear_network(regulated, kappa):
    pairs = some_pairs(regulated, 0.5, seed=0)
    model = celloracle(regulated, kappa, pairs)
    mask = np.array([[(s, t) in set(pairs) for t in regulated.genes] for s in regulated.tfs])
    np.testing.assert_array_equal(model.edge_prior.allowed.numpy(), mask)
    rng = np.random.default_rng(1)
    W = rng.normal(size=(POINTS, *mask.shape)) * mask
    noise = np.exp(rng.normal(size=len(regulated.genes)))  # σ² is given: the proposition's loss is in Θ
    values = {"W": W, "noise_variance": np.tile(noise, (POINTS, 1, 1))}
    loss = np.array([lasso_loss(regulated, w, noise, kappa, mask) for w in W])
    difference = -joint(model, values) - loss
    assert np.ptp(loss) > 10  # the points are apart
    np.testing.assert_allclose(difference, difference[0], rtol=0, atol=1e-4 * np.abs(loss).max())


def test_proposition_1_the_mask_is_hard(regulated):
    """Whatever a weight off the mask is set to, the likelihood does not see it: its edge is zero."""
    pairs = some_pairs(regulated, 0.5, seed=0)
    model = celloracle(regulated, 1.0, pairs)
    off = ~model.edge_prior.allowed
    W = torch.zeros(2, 1, *off.shape, dtype=torch.float64)[:, 0]
    W[1][off] = 5.0
    noise = torch.ones(2, 1, off.shape[1], dtype=torch.float64)
    prior = -off.sum() * 5.0  # the free weights pay for themselves alone
    a, b = joint(model, {"W": W, "noise_variance": noise})
    assert b - a == pytest.approx(float(prior), rel=1e-9)
    posterior = fit(model, guide=MapEstimate(), num_steps=20, num_draws=1, restarts=1)
    assert np.abs(posterior.draws["W"][..., off.numpy()]).max() == 0


def test_proposition_1_the_map_is_scikit_learns_lasso(regulated):
    """scikit-learn minimises ||y − Xw||²/2n + α|w|₁: α = κσ²/n, one LASSO a gene on its candidates."""
    pairs, kappa = some_pairs(regulated, 0.6, seed=2), 15.0
    model = celloracle(regulated, kappa, pairs)
    posterior = fit(
        model,
        guide=MapEstimate(),
        optimizer=Adam(lr=0.05, final=1e-4),
        stop=NeverStop(),
        num_steps=1200,
        num_draws=1,
        restarts=1,
    )
    W, noise = posterior.moments["W"].mean, posterior.draws["noise_variance"][0, 0]
    X = centred(regulated)
    X = X / X.std(0, ddof=1)
    mask = model.edge_prior.allowed.numpy()
    for g in range(len(regulated.genes)):
        if not mask[:, g].any():
            continue
        lasso = Lasso(alpha=kappa * noise[g] / len(X), tol=1e-12, max_iter=100_000, random_state=0)
        lasso.fit(X[:, : len(regulated.tfs)][:, mask[:, g]], X[:, g])
        np.testing.assert_allclose(W[mask[:, g], g], lasso.coef_, atol=2e-3)


# -- Proposition 2: NetREX-CF ----


def stated_loss(X, theta, A, U, V, P, *, kappa, ridge, lasso, a, alpha1, alpha2, indicator, exists):
    """The loss as on the page: Θ (gene, tf), A (tf, cell), P (source, gene, tf), u_i of genes and v_j of TFs."""
    C = 1 + a * P.sum(0)
    B = (P.sum(0) > 0).astype(float)
    size = (theta != 0).astype(float) if indicator else np.abs(theta)
    omega = alpha1 * C * size * B + alpha2 * size * (1 - B) + C
    M = size + (1 - size) * B
    data = ((X - theta @ A) ** 2).sum() + kappa * (A**2).sum() + ridge * (theta**2).sum() + lasso * np.abs(theta).sum()
    return data + (omega * (M - V @ U.T) ** 2 * exists).sum()


WEIGHTS = {"activity_penalty": 0.7, "confidence": 4.0, "listed_cost": 0.3, "unlisted_cost": 1.4, "latent_penalty": 0.6}


@pytest.mark.parametrize("presence", ["indicator", "absolute"])
@pytest.mark.parametrize("num_cells", [60, 7])
def test_proposition_2_the_loss_is_the_map_objective_of_netrex_cf(presence, num_cells):
    data = simulate_linear(num_genes=9, num_tfs=4, num_cells=num_cells, edge_probability=0.5, seed=2).data
    data = data.to(dtype=torch.float64)
    sources = {"motif": network(some_pairs(data, 0.3, 0)), "chip": network(some_pairs(data, 0.3, 1), "chip", 0.4)}
    ridge, lasso, rho, e = 0.2, 0.5, WEIGHTS["latent_penalty"], 6.0
    model = NetREXCF.from_data(
        data,
        edge_prior=ElasticNet(ridge=ridge, lasso=lasso),
        networks=sources,
        presence=presence,
        expression_weight=e,
        rank=2,
        **WEIGHTS,
    ).double()
    exists = model.edge_prior.allowed.double().numpy()
    rng = np.random.default_rng(3)
    components = model.X.shape[1]
    shape = (POINTS, *exists.shape)
    W = rng.normal(size=shape) * (rng.random(shape) < 0.6) * exists
    A, U = rng.normal(size=(POINTS, 4, components)), rng.normal(size=(POINTS, 4, 2))
    V = rng.normal(size=(POINTS, 9, 2))
    values = {"W": W, "A": A[:, :, None], "U": U[:, :, None], "V": V[:, None]}
    # activities of cells: the model's components are the cells rotated, X_cells = X Q with QQᵀ = I
    cells = centred(data)
    cells = (cells / cells.std(0, ddof=1)).T * np.sqrt(e / data.num_cells)
    Q = np.linalg.lstsq(model.X.numpy(), cells, rcond=None)[0]
    np.testing.assert_allclose(Q @ Q.T, np.eye(components), atol=1e-4)
    constants = {
        "kappa": WEIGHTS["activity_penalty"],
        "ridge": ridge,
        "lasso": lasso,
        "a": WEIGHTS["confidence"],
        "alpha1": WEIGHTS["listed_cost"],
        "alpha2": WEIGHTS["unlisted_cost"],
    }
    P = model.knowledge.probability.double().numpy().transpose(0, 2, 1)
    gate = {"indicator": presence == "indicator", "exists": exists.T}
    loss = np.array([stated_loss(cells, W[i].T, A[i] @ Q, U[i], V[i], P, **constants, **gate) for i in range(POINTS)])
    loss += rho * (
        (U**2).sum((1, 2)) + (V**2).sum((1, 2))
    )  # fixes the scale of u against v, which the page leaves free
    difference = -joint(model, values) - loss
    assert np.ptp(loss) > 10
    np.testing.assert_allclose(difference, difference[0], rtol=0, atol=1e-5 * np.abs(loss).max())


@pytest.mark.parametrize("presence", ["indicator", "absolute"])
def test_proposition_2_the_engine_ends_at_a_minimum_of_the_stated_loss(presence):
    """No block, and no single weight, moved from the solution lowers −log p; the engine never let it rise."""
    data = simulate_linear(num_genes=12, num_tfs=4, num_cells=80, edge_probability=0.4, seed=5).data
    model = NetREXCF.from_data(data, networks={"motif": network(some_pairs(data, 0.4, 0))}, presence=presence, rank=2)
    posterior = fit(model, guide=BlockDescent(tol=1e-12, max_iterations=5000))
    assert posterior.history.reason == "converged"
    assert np.diff(posterior.history.elbo, axis=1).min() > -1e-4
    model = model.double()
    at = {name: posterior.draws[name][0].astype(np.float64) for name in ("W", "A", "U", "V")}
    padded = lambda v: {"W": v["W"], "A": v["A"][:, :, None], "U": v["U"][:, :, None], "V": v["V"][:, None]}
    best = joint(model, padded(at))[0]
    rng = np.random.default_rng(0)
    for name in ("A", "U", "V"):
        for size in (1e-2, 0.3):
            for _ in range(10):
                moved = at | {name: at[name] + size * rng.normal(size=at[name].shape)}
                assert joint(model, padded(moved))[0] < best + 1e-4
    for s, t in np.argwhere(model.edge_prior.allowed.numpy()):
        grid = np.concatenate([at["W"][0, s, t] + np.linspace(-0.5, 0.5, 41), [0.0]])
        W = np.repeat(at["W"], len(grid), axis=0)
        W[:, s, t] = grid
        rest = {name: np.repeat(at[name], len(grid), axis=0) for name in ("A", "U", "V")}
        assert joint(model, padded({"W": W, **rest})).max() < best + 1e-4


def test_the_elastic_net_is_a_density():
    grid = torch.linspace(-60, 60, 2_400_001, dtype=torch.float64)
    for ridge, lasso in ((1.0, 10.0), (0.3, 0.0), (0.0, 2.0), (5.0, 0.1), (1e-4, 3.0)):
        law = ElasticNetDistribution(*(torch.tensor(v, dtype=torch.float64) for v in (0.5, ridge, lasso)))
        assert float(torch.trapezoid(law.log_prob(grid).exp(), grid)) == pytest.approx(1, abs=1e-4)
        variance = float(torch.trapezoid(law.log_prob(grid).exp() * (grid - 0.5) ** 2, grid))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            draws = law.sample((100_000,)) - 0.5
        square = draws.square()
        assert abs(float(square.mean()) - variance) < 5 * float(square.std()) / 100_000**0.5
        assert abs(float(draws.mean())) < 5 * float(draws.std()) / 100_000**0.5


@pytest.mark.parametrize("penalties", [{"ridge": -1.0}, {"ridge": 0.0, "lasso": 0.0}, {"lasso": math.inf}])
def test_impossible_penalties_are_refused(penalties):
    with pytest.raises(ValueError, match="ElasticNet"):
        ElasticNet(**penalties)


def test_a_linear_network_takes_the_elastic_net():
    """Its MAP is scikit-learn's elastic net, at the noise variance that was found."""
    X = torch.randn(80, 5, generator=torch.Generator().manual_seed(0))
    X[:, 4] += 0.8 * X[:, 0]
    data = ExpressionData(X, tuple("ABCDE"), tuple("ABC"))
    ridge, lasso = 20.0, 10.0
    model = LinearNetwork.from_data(data, edge_prior=ElasticNet(ridge=ridge, lasso=lasso))
    options = {"optimizer": Adam(lr=0.05, final=1e-4), "stop": NeverStop(), "num_steps": 1200, "restarts": 1}
    found = fit(model, guide=MapEstimate(), num_draws=1, **options)
    noise = float(found.draws["noise_variance"][0, 0, 4])
    Z = centred(data)
    Z = Z / Z.std(0, ddof=1)
    # sklearn: ||y − Xw||²/2n + α l |w|₁ + α (1 − l)|w|²/2, ours times σ²/n
    l1, l2 = lasso * noise / 80, 2 * ridge * noise / 80
    reference = Reference(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), tol=1e-12, random_state=0).fit(Z[:, :3], Z[:, 4])
    np.testing.assert_allclose(found.moments["W"].mean[:, 4], reference.coef_, atol=2e-3)
