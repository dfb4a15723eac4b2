"""GLAD: its spectral step, soft threshold and tiny networks, what it converges to, symmetries and hard inputs."""

import numpy as np
import pytest
import torch
from pyrogrn.inference.amortised.cells import PenaltyNetwork, ThresholdNetwork, soft_threshold
from pyrogrn.inference.amortised.glad import GLAD, correlation_matrix
from pyrogrn.inference.amortised.roots import spectral_step
from scipy import linalg
from sklearn.covariance import graphical_lasso
from torch import nn


def symmetric(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(*shape, shape[-1], generator=generator, dtype=dtype)
    return 0.5 * (y + y.mT)


def rotated(eigenvalues, seed=0):
    """A symmetric matrix with given eigenvalues."""
    eigenvalues = torch.tensor(eigenvalues, dtype=torch.float64)
    Q = torch.linalg.qr(symmetric(len(eigenvalues), seed=seed))[0]
    y = (Q * eigenvalues) @ Q.mT
    return 0.5 * (y + y.mT)


def correlations(genes, cells=200, seed=0, graphs=()):
    """Correlations of genes that follow three common factors, float64."""
    generator = torch.Generator().manual_seed(seed)
    kwargs = {"generator": generator, "dtype": torch.float64}
    factors, loading = torch.randn(*graphs, cells, 3, **kwargs), torch.randn(*graphs, 3, genes, **kwargs)
    return correlation_matrix(factors @ loading + torch.randn(*graphs, cells, genes, **kwargs))


def make(seed=0, **options):
    """A float64 GLAD with reproducible numbers of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GLAD(**options).double()


class Constant(nn.Module):
    """Stands in for ρ_nn or Λ_nn."""

    def __init__(self, value):
        super().__init__()
        self.value = torch.as_tensor(value, dtype=torch.float64)

    def forward(self, *inputs):
        return self.value


def classical(penalty, threshold, iterations):
    """GLAD with constants: the alternating minimisation that it unrolls."""
    model = make(num_iterations=iterations)
    model.penalty, model.threshold = Constant(penalty), Constant(threshold)
    return model.requires_grad_(False)


# -- spectral step ----


@pytest.mark.parametrize("offset", [0.04, 1.0, 400.0])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_spectral_step_matches_the_matrix_square_root_of_scipy(size, offset):
    y = 3 * symmetric(size, seed=size)
    expected = 0.5 * (-y.numpy() + linalg.sqrtm(y.numpy().T @ y.numpy() + offset * np.eye(size)).real)
    actual = spectral_step(y, torch.tensor(offset, dtype=torch.float64))
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-10)


def test_spectral_step_solves_the_quadratic_equation_it_stands_for():
    y, offset = symmetric(3, 6, seed=1), torch.tensor([0.3, 1.0, 5.0], dtype=torch.float64)
    theta = spectral_step(y, offset)
    # Θ² + YΘ = c/4 I, with Θ positive definite
    expected = 0.25 * offset[:, None, None] * torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(theta @ theta + y @ theta, expected.expand_as(theta))
    assert (torch.linalg.eigvalsh(theta) > 0).all()


def test_spectral_step_keeps_its_digits_for_large_eigenvalues():
    # ½(−s + √(s² + c)) ≈ c/4s: the plain difference in float32 is 0 at s = 1e5
    y = torch.diag(torch.tensor([1e5, 1.0, -1e5]))
    theta = spectral_step(y, torch.tensor(1.0))
    expected = [0.25e-5, 0.5 * (-1 + 2**0.5), 1e5]
    torch.testing.assert_close(theta.diagonal(), torch.tensor(expected), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("root", ["eigh", "newton-schulz"])
@pytest.mark.parametrize("graphs", [(), (2,)])
def test_gradcheck(root, graphs):
    y = symmetric(*graphs, 4, seed=2).requires_grad_()
    offset = torch.full(graphs, 0.7, dtype=torch.float64).requires_grad_()
    function = lambda y, offset: spectral_step(0.5 * (y + y.mT), offset, root=root)
    assert torch.autograd.gradcheck(function, (y, offset))


@pytest.mark.parametrize(
    "eigenvalues", [[1.0] * 4, [2.0, 2.0, -1.0, -1.0], [0.0] * 4, [1.0, -1.0, 1.0, 3.0], [1e4, 1e4, 1.0, -1e4]]
)
def test_gradient_at_repeated_eigenvalues(eigenvalues):
    y, direction = rotated(eigenvalues, seed=3), symmetric(4, seed=4)
    probe, offset = symmetric(4, seed=5), torch.tensor(0.7, dtype=torch.float64)
    value = lambda y, c: (probe * spectral_step(y, c)).sum()
    y_, c_ = y.clone().requires_grad_(), offset.clone().requires_grad_()
    of_y, of_c = torch.autograd.grad(value(y_, c_), (y_, c_))
    assert of_y.isfinite().all()
    step = 1e-5 * max(1.0, abs(max(eigenvalues)) * 1e-2)
    in_y = (value(y + step * direction, offset) - value(y - step * direction, offset)) / (2 * step)
    in_c = (value(y, offset + 1e-5) - value(y, offset - 1e-5)) / 2e-5
    torch.testing.assert_close((of_y * direction).sum(), in_y, rtol=1e-5, atol=1e-6)
    if max(eigenvalues) < 100:  # the difference quotient itself loses its digits beyond
        torch.testing.assert_close(of_c, in_c, rtol=1e-5, atol=1e-6)


def test_second_derivatives_are_refused_rather_than_wrong():
    y = symmetric(3).requires_grad_()
    (gradient,) = torch.autograd.grad(
        spectral_step(y, torch.tensor(1.0, dtype=torch.float64)).square().sum(), y, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_newton_schulz_equals_eigh(condition):
    # eigenvalues of both signs from 1 to `condition`: that of Y² + cI is condition² at c = 1
    size = np.geomspace(1.0, condition, 8) * np.array([1, -1] * 4)
    y, offset = rotated(list(size), seed=6), torch.tensor(1.0, dtype=torch.float64)
    exact, iterated = spectral_step(y, offset), spectral_step(y, offset, root="newton-schulz")
    torch.testing.assert_close(iterated, exact, rtol=0.0, atol=1e-11 * condition)


def test_newton_schulz_on_singular_matrices_is_limited_by_the_offset():
    # c / ‖Y² + c‖ = 4e-6: sqrt of it takes 16 of the iterations, quadratic convergence the rest
    y, offset = rotated([1e3, 0.0, 0.0, -1e2, 1e-3]), torch.tensor(4.0, dtype=torch.float64)
    torch.testing.assert_close(
        spectral_step(y, offset, root="newton-schulz"), spectral_step(y, offset), rtol=0.0, atol=1e-8
    )
    single = spectral_step(y.float(), offset.float(), root="newton-schulz").double()
    # single precision: ε times the largest eigenvalue, and some
    torch.testing.assert_close(single, spectral_step(y, offset), rtol=0.0, atol=2e-2)


def test_an_unknown_root_is_refused():
    with pytest.raises(ValueError, match="root is 'cholesky', expected one of"):
        spectral_step(torch.eye(2), torch.tensor(1.0), root="cholesky")


# -- tiny networks ----


def test_soft_threshold_by_hand():
    theta = torch.tensor([-2.0, -0.5, 0.0, 0.3, 0.7], requires_grad=True)
    rho = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.2], requires_grad=True)
    z = soft_threshold(theta, rho)
    torch.testing.assert_close(z, torch.tensor([-1.5, 0.0, 0.0, 0.0, 0.5]))
    z.sum().backward()
    torch.testing.assert_close(theta.grad[[0, 3, 4]], torch.tensor([1.0, 0.0, 1.0]))
    torch.testing.assert_close(rho.grad[[0, 3, 4]], torch.tensor([1.0, 0.0, -1.0]))


def test_soft_threshold_is_the_proximal_operator_of_the_l1_norm():
    theta, grid = torch.linspace(-2, 2, 9, dtype=torch.float64), torch.linspace(-3, 3, 60001, dtype=torch.float64)
    cost = 0.5 * (grid - theta[:, None]).square() + 0.6 * grid.abs()
    z = soft_threshold(theta, torch.tensor(0.6, dtype=torch.float64))
    torch.testing.assert_close(grid[cost.argmin(1)], z, rtol=0.0, atol=1e-4)


def test_thresholds_and_penalties_stay_in_their_ranges(seeded):
    threshold, penalty = ThresholdNetwork(2), PenaltyNetwork()
    for p in (*threshold.parameters(), *penalty.parameters()):
        nn.init.normal_(p, std=10.0)
    x = 100 * torch.randn(5, 5)
    rho = threshold(x, x, x, torch.randn(5, 5, 2))
    assert ((rho >= 0) & (rho <= 1)).all()
    lam = penalty(x.square().flatten(), torch.rand(25))
    assert ((lam >= PenaltyNetwork.LOWEST) & (lam <= 1)).all()


def test_no_prior_knowledge_is_zero_prior_knowledge():
    covariance, model = correlations(6), make(num_extra=3)
    zeros = covariance.new_zeros(6, 6, 3)
    for a, b in zip(model(covariance), model(covariance, extra=zeros), strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=0.0)
    assert not torch.allclose(model(covariance).z, model(covariance, extra=zeros + 1).z)


# -- what it converges to ----


@pytest.mark.parametrize(("penalty", "threshold"), [(0.5, 0.4), (1.0, 0.1), (4.0, 0.05)])
def test_fixed_point_is_the_graphical_lasso_with_hubers_penalty(penalty, threshold):
    r"""With λ and ρ constant GLAD minimises :math:`-\log|\Theta| + \langle\hat\Sigma, \Theta\rangle + \lambda\rho
    \|Z\|_1 + \tfrac\lambda2\|\Theta - Z\|^2` in turns: there is no dual variable, so Θ = Z is not enforced.

    The objective is jointly convex. Its minimum over Z is Huber's function of Θ with slope α = λρ, so that the optimum
    is where :math:`\Theta^{-1} - \hat\Sigma = \lambda\,\mathrm{clip}(\Theta, -\rho, \rho)`, diagonal included.
    """
    covariance = correlations(6, seed=1)
    theta, z, _ = classical(penalty, threshold, 400)(covariance)
    slope = penalty * theta.clamp(-threshold, threshold)
    torch.testing.assert_close(torch.linalg.inv(theta), covariance + slope, rtol=0.0, atol=1e-9)
    torch.testing.assert_close(z, theta - slope / penalty)
    off = ~torch.eye(6, dtype=torch.bool)
    assert 0 < int((z[off] == 0).sum()) < int(off.sum()), "a test of both branches"


def objective(covariance, theta, z, penalty, threshold):
    fit = -torch.linalg.slogdet(theta)[1] + (covariance * theta).sum()
    return float(fit + penalty * threshold * z.abs().sum() + 0.5 * penalty * (theta - z).square().sum())


def test_every_iteration_lowers_the_objective():
    covariance = correlations(8, seed=2)
    with torch.no_grad():
        states = [classical(2.0, 0.1, count)(covariance) for count in range(1, 25)]
    values = [objective(covariance, s.theta, s.z, 2.0, 0.1) for s in states]
    assert (np.diff(values) <= 1e-12).all()
    assert values[0] - values[-1] > 1e-3


def lasso(covariance, alpha):
    """sklearn's solution; its solver draws a seed from numpy's global generator, which is put back."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        return graphical_lasso(covariance, alpha, tol=1e-7, enet_tol=1e-11, max_iter=500)[1]
    finally:
        np.random.set_state(state)  # noqa: NPY002


@pytest.mark.parametrize("diagonal", [True, False])
def test_a_large_penalty_gives_the_graphical_lasso_of_sklearn(diagonal):
    """λ → ∞ with α = λρ held: Huber's function becomes α|·|, with an error of the order of 1/λ.

    sklearn leaves the diagonal unpenalised; penalising it too adds α to the diagonal of the covariance.
    """
    alpha, covariance = 0.15, correlations(6, seed=3)
    eye = torch.eye(6, dtype=torch.float64)
    penalised = covariance + alpha * eye if diagonal else covariance
    expected = torch.from_numpy(lasso(penalised.numpy(), alpha))
    gaps = []
    for penalty in (25.0, 50.0):
        threshold = alpha / penalty * (torch.ones_like(eye) if diagonal else 1 - eye)
        z = classical(penalty, threshold, 1500)(covariance).z
        gaps.append(float((z - expected).abs().max()))
    assert gaps[1] < 0.02 * float(expected.abs().max())
    assert 0.4 < gaps[1] / gaps[0] < 0.6, "halves when λ doubles"
    off = (eye == 0) & (expected.abs() > 0.02)
    torch.testing.assert_close(z[off].sign(), expected[off].sign())


def test_the_start_does_not_matter_in_the_end():
    covariance, model = correlations(5, seed=4), classical(1.0, 0.1, 300)
    first = model(covariance).theta
    with torch.no_grad():
        model.log_offset.fill_(3.0)
    torch.testing.assert_close(model(covariance).theta, first, rtol=1e-9, atol=1e-10)


# -- symmetries ----


@pytest.mark.parametrize("root", ["eigh", "newton-schulz"])
def test_permuted_genes_give_the_permuted_answer(root):
    covariance, model = correlations(9, seed=5), make(num_extra=2, root=root)
    extra = symmetric(2, 9, seed=6).permute(1, 2, 0)
    mask = torch.zeros(9, dtype=torch.bool).index_fill_(0, torch.tensor([0, 4, 7]), True)
    mask = mask[:, None] | mask[None]
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    at = lambda v: v[order][:, order]
    state = model(covariance, mask=mask, extra=extra)
    permuted = model(at(covariance), mask=at(mask), extra=at(extra))
    torch.testing.assert_close(permuted.theta, at(state.theta))
    torch.testing.assert_close(permuted.z, at(state.z))
    torch.testing.assert_close(permuted.penalty, state.penalty)


def test_the_answer_is_symmetric_and_positive_definite():
    theta, z, _ = make()(correlations(12, seed=7, graphs=(3,)))
    torch.testing.assert_close(theta, theta.mT)
    torch.testing.assert_close(z, z.mT)
    assert (torch.linalg.eigvalsh(theta) > 0).all()


@pytest.mark.parametrize("root", ["eigh", "newton-schulz"])
def test_a_batch_equals_one_by_one(root):
    covariance, model = correlations(7, seed=8, graphs=(2, 2)), make(num_iterations=5, num_extra=1, root=root)
    extra = symmetric(2, 2, 7, seed=9)[..., None]
    mask = symmetric(2, 2, 7, seed=10) > 0
    batch = model(covariance, mask=mask, extra=extra)
    assert batch.theta.shape == (2, 2, 7, 7)
    assert batch.penalty.shape == (2, 2)
    for i in np.ndindex(2, 2):
        alone = model(covariance[i], mask=mask[i], extra=extra[i])
        for a, b in zip(batch, alone, strict=True):
            torch.testing.assert_close(a[i], b)


def test_mask_keeps_pairs_without_regulators_at_exactly_zero():
    covariance, model = correlations(8, seed=11), make()
    is_tf = torch.tensor([True, False, False, True] + 4 * [False])
    mask = is_tf[:, None] | is_tf[None]
    z, eye = model(covariance, mask=mask).z, torch.eye(8, dtype=torch.bool)
    assert (z[~mask & ~eye] == 0).all()
    assert (z.diagonal() > 0).all()
    assert (z[mask] != 0).any()
    assert (model(covariance).z[~mask & ~eye] != 0).any()


def test_the_mask_may_act_on_theta_at_every_iteration():
    """As the paper's algorithm: Θ itself has no edge between genes that are no regulators, and Z is another."""
    is_tf = torch.zeros(8, dtype=torch.bool).index_fill_(0, torch.tensor([0, 3]), True)
    mask, eye = is_tf[:, None] | is_tf[None], torch.eye(8, dtype=torch.bool)
    covariance = correlations(8, seed=11)
    models = [make(num_iterations=4), make(num_iterations=4)]
    models[1].masks_theta = True
    plain, masked = (model(covariance, mask=mask) for model in models)
    assert (masked.theta[..., ~(mask | eye)] == 0).all()
    assert (plain.theta[..., ~(mask | eye)] != 0).any()
    assert not torch.allclose(plain.z, masked.z)
    first = [make(num_iterations=1), make(num_iterations=1)]
    first[1].masks_theta = True
    a, b = (model(covariance, mask=mask) for model in first)
    torch.testing.assert_close(a.z, b.z)  # of one iteration Z is the same
    torch.testing.assert_close(a.theta * (mask | eye), b.theta)


def test_weights_of_twenty_genes_serve_sixty():
    small, large = make(seed=1), make(seed=2)
    optimizer = torch.optim.Adam(small.parameters(), 0.01)
    for _ in range(2):
        loss = small(correlations(20, seed=12)).z.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    large.load_state_dict(small.state_dict())
    state = large(correlations(60, seed=13))
    assert state.z.shape == (60, 60)
    assert all(part.isfinite().all() for part in state)


# -- hard inputs ----


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("root", ["eigh", "newton-schulz"])
def test_fewer_cells_than_genes_and_constant_genes(root, dtype):
    X = torch.randn(5, 20, generator=torch.Generator().manual_seed(0), dtype=dtype)
    X[:, 3], X[:, 7], X[:, 9] = 0.0, 2.5, X[:, 10]
    model = make(root=root).to(dtype)
    covariance = correlation_matrix(X)
    assert torch.linalg.matrix_rank(covariance) < 20
    state = model(covariance)
    (state.z.square().mean() + state.theta.square().mean() + state.penalty).backward()
    assert all(part.isfinite().all() for part in state)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_gradients_of_all_numbers_match_finite_differences():
    covariance, model = correlations(5, seed=14), make(num_iterations=3)
    probe = symmetric(5, seed=15)
    value = lambda: (probe * model(covariance).z).sum()
    value().backward()
    for name, parameter in model.named_parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(min(3, len(flat))):
            with torch.no_grad():
                kept = flat[i].clone()
                flat[i] = kept + 1e-5
                high = value()
                flat[i] = kept - 1e-5
                low = value()
                flat[i] = kept
            torch.testing.assert_close(gradient[i], (high - low) / 2e-5, rtol=1e-5, atol=1e-8, msg=f"{name}[{i}]")


def test_correlation_matrix_against_numpy():
    X = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for graph, found in zip(X, correlation_matrix(X), strict=True):
        np.testing.assert_allclose(found, np.corrcoef(graph.numpy().T), atol=1e-12)
    X[..., 2] = 3.0
    found = correlation_matrix(X)
    expected = torch.eye(4, dtype=torch.float64)[2].expand(2, 4)
    torch.testing.assert_close(found[:, 2], expected, rtol=0.0, atol=0.0)


def test_no_iterations_are_refused():
    with pytest.raises(ValueError, match="num_iterations is 0, expected at least 1"):
        GLAD(num_iterations=0)
