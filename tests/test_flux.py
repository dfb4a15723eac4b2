"""Variance flux against Lyapunov solves source by source, against closed forms, and against a Langevin run."""

import numpy as np
import pytest
import torch
from pyrogrn.models.dynamics.dynamics import Dynamics
from pyrogrn.models.dynamics.flux import exported, imported, variance_flux
from scipy.linalg import solve_continuous_lyapunov
from scipy.stats import norm


def network(n, *draw, strength=0.7, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    W = strength * normal(*draw, n, n) / n**0.5 * (1 - torch.eye(n, dtype=torch.float64))
    gain, decay = 0.8 + 0.4 * normal(*draw, n).sigmoid(), 0.7 + normal(*draw, n).sigmoid()
    return Dynamics(W, gain, decay, 0.3 * normal(*draw, n), "tanh"), 0.3 * normal(*draw, n), normal(*draw, n).exp()


def linear(J):
    """Dynamics whose Jacobian at 0 is ``J`` (diagonal negative)."""
    J = torch.as_tensor(J, dtype=torch.float64)
    one = torch.ones(len(J), dtype=torch.float64)
    return Dynamics((J - torch.diag(J.diagonal())).T, one, -J.diagonal(), 0 * one, "tanh")


def by_lyapunov(J, diffusion):
    V = np.zeros_like(J)
    for j in range(len(J)):
        source = np.zeros_like(J)
        source[j, j] = diffusion[j]
        V[j] = np.diag(solve_continuous_lyapunov(J, -2 * source))
    return V


def test_every_source_is_its_own_lyapunov_solution():
    dynamics, x, diffusion = network(30, 2)
    V = variance_flux(dynamics, x, diffusion)
    J = dynamics.jacobian(x[:, None])[:, 0].numpy()
    for d in range(2):
        expected = by_lyapunov(J[d], diffusion[d].numpy())
        np.testing.assert_allclose(V[d].numpy(), expected, rtol=1e-6, atol=1e-12)
        total = np.diag(solve_continuous_lyapunov(J[d], -2 * np.diag(diffusion[d].numpy())))
        np.testing.assert_allclose(V[d].sum(0).numpy(), total, rtol=1e-8)
    own = torch.diagonal(V, dim1=1, dim2=2)
    torch.testing.assert_close(exported(V), (V * (1 - torch.eye(30))).sum(2))
    torch.testing.assert_close(imported(V) + own, V.sum(1))


@pytest.mark.parametrize(
    "J",
    [
        [[-1.0, 0, 0], [1, -1, 0], [0, 1, -1]],  # defective: no eigenbasis
        [[-0.05, 3.0, 0], [-3, -0.05, 0], [0.5, 0, -40]],  # weakly damped oscillation beside a fast gene
        [[-1.0, 50, 0], [0, -1.1, 50], [0, 0, -1.2]],  # far from normal: responses grow before they decay
        [[-1e-3, 0, 0], [1, -1, 0], [0, 1, -1e3]],  # six orders of magnitude in time
    ],
)
def test_hard_jacobians(J):
    dynamics, diffusion = linear(J), torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    V = variance_flux(dynamics, torch.zeros(3, dtype=torch.float64), diffusion)
    expected = by_lyapunov(np.array(J), diffusion.numpy())
    np.testing.assert_allclose(V.numpy(), expected, rtol=1e-6, atol=1e-9 * expected.max())


def test_cascade_in_closed_form():
    # x' = −x + sqrt(2D) dw, y' = w x − y: V_xx = D, V_xy = D w²/2, nothing flows back
    V = variance_flux(linear([[-1.0, 0], [3, -1]]), torch.zeros(2), torch.tensor([0.5, 0.2]))
    torch.testing.assert_close(V, torch.tensor([[0.5, 0.5 * 9 / 2], [0.0, 0.2]], dtype=torch.float64))


def test_a_long_langevin_run_has_this_variance():
    # non-linear dynamics with small noise; many cells in parallel, sampled 8 lifetimes apart
    dynamics, _, _ = network(4, strength=1.2, seed=3)
    generator = torch.Generator().manual_seed(1)
    x = torch.zeros(1, 4, dtype=torch.float64)
    for _ in range(5000):
        x = x + 0.05 * dynamics.rate(x)
    noisy, dt, cells, samples = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64) * 1e-4, 0.02, 10000, 3
    V = variance_flux(dynamics, x[0], noisy)
    state, found = x.expand(cells, 4), []
    for step in range(400 * (samples + 1)):
        noise = torch.randn(cells, 4, generator=generator, dtype=torch.float64)
        state = state + dt * dynamics.rate(state) + (2 * noisy * dt).sqrt() * noise
        if step >= 400 and step % 400 == 399:
            found.append((state - x) ** 2)
    squares = torch.cat(found)
    error = squares.std(0) / len(squares) ** 0.5
    # Euler's steps inflate the variance by a share of about dt/2 max|J|
    assert ((squares.mean(0) - V[0]).abs() < norm.isf(1e-6) * error + 0.02 * V[0]).all()
    assert (V[1:] == 0).all()
    assert (V[0] > 0).all()


def test_clamped_genes_neither_vary_nor_send():
    dynamics, x, diffusion = network(6)
    clamped = torch.tensor([False, True, False, False, True, False])
    V = variance_flux(dynamics, x, diffusion, clamped=clamped)
    free = (~clamped).nonzero()[:, 0]
    assert (V[clamped] == 0).all()
    assert (V[:, clamped] == 0).all()
    J = dynamics.jacobian(x[None])[0][free][:, free].numpy()
    np.testing.assert_allclose(V[free][:, free].numpy(), by_lyapunov(J, diffusion[free].numpy()), rtol=1e-6)


def test_inputs_move_the_point_of_linearisation():
    dynamics, x, diffusion = network(5)
    inputs = torch.linspace(-1, 1, 5, dtype=torch.float64)
    moved = Dynamics(dynamics.W, dynamics.gain, dynamics.decay, dynamics.bias + inputs, "tanh")
    V = variance_flux(dynamics, x, diffusion, inputs=inputs)
    torch.testing.assert_close(V, variance_flux(moved, x, diffusion))
    assert not torch.allclose(V, variance_flux(dynamics, x, diffusion))


def test_bad_input_is_refused():
    dynamics, x, diffusion = network(3, 2)
    unstable = Dynamics(dynamics.W, dynamics.gain, dynamics.decay * torch.tensor([[1.0], [-1.0]]), dynamics.bias)
    with pytest.raises(ValueError, match="1 of 2 draws are unstable"):
        variance_flux(unstable, x, diffusion)
    with pytest.raises(ValueError, match=r"`x` has shape \(2, 2\)"):
        variance_flux(dynamics, x[:, :2], diffusion)
    with pytest.raises(ValueError, match="`diffusion` has 6 negative values"):
        variance_flux(dynamics, x, -diffusion)
    with pytest.raises(ValueError, match="3 values that are not finite: pass settled draws"):
        variance_flux(dynamics, x * torch.tensor([[1.0], [torch.nan]]), diffusion)
    with pytest.raises(ValueError, match="edge of instability"):
        variance_flux(linear([[-1e-5, 1.0], [-1, -1e-5]]), torch.zeros(2), torch.ones(2))
