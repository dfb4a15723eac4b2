"""Steady states against closed forms and long integration; implicit gradients against finite differences."""

import pytest
import torch
from pyrogrn.models.dynamics import pairs as rectangles
from pyrogrn.models.dynamics import stability
from pyrogrn.models.dynamics.dynamics import Dynamics
from pyrogrn.models.dynamics.settle import DIVERGES, OSCILLATES, SETTLED, integrate, settle
from scipy.integrate import solve_ivp

DOUBLE = {"dtype": torch.float64}


def make(n, *draw, strength=1.0, seed=0, envelope="logistic", shared=False, conditions=6):
    g = torch.Generator().manual_seed(seed)
    W = strength * torch.randn(*(() if shared else draw), n, n, generator=g, **DOUBLE) / n**0.5
    W = W * (1 - torch.eye(n))
    gain, decay = (0.5 + torch.rand(*draw, n, generator=g, **DOUBLE) for _ in range(2))
    bias, inputs = torch.randn(*draw, n, generator=g, **DOUBLE), torch.randn(conditions, n, generator=g, **DOUBLE)
    clamped = torch.arange(n) == torch.arange(conditions)[:, None]
    start = torch.rand(*draw, conditions, n, generator=g, **DOUBLE)
    return Dynamics(W, gain, decay, bias, envelope), start, inputs, clamped


def ring(strength):
    """Three genes, each repressing the next: one steady state, 0, unstable from a strength of 2 on."""
    W = -strength * torch.eye(3, **DOUBLE).roll(1, 1)
    one = torch.ones(3, **DOUBLE)
    return Dynamics(W, one, one, 0 * one, "tanh")


def toggle():
    """Two genes repressing each other: the symmetric state is a saddle, two stable states beside it."""
    W = -6 * (1 - torch.eye(2, **DOUBLE))
    one = torch.ones(2, **DOUBLE)
    return Dynamics(W, one, one, 3 * one, "logistic")


@pytest.mark.parametrize("shared", [False, True])
def test_settled_states_are_where_a_long_integration_ends(shared):
    dynamics, start, inputs, clamped = make(8, 2, 3, shared=shared)
    x, outcome = settle(dynamics, start, inputs=inputs, clamped=clamped)
    assert outcome.shape == (2, 3, 6)
    assert outcome.dtype == torch.int8
    assert (outcome == SETTLED).all()
    assert dynamics.rate(x, inputs, clamped).abs().max() < 1e-7
    assert (x[:, :, clamped] == start[:, :, clamped]).all()
    path = integrate(dynamics, start, torch.tensor([0.0, 60.0], **DOUBLE), inputs=inputs, clamped=clamped)
    torch.testing.assert_close(path[-1], x, rtol=1e-6, atol=1e-6)


def test_integrate_agrees_with_scipy_on_the_way():
    dynamics, start, inputs, clamped = make(5, conditions=2)
    times = torch.tensor([0.0, 0.4, 1.5, 3.0], **DOUBLE)
    path = integrate(dynamics, start, times, inputs=inputs, clamped=clamped)

    def rate(t, x):
        return dynamics.rate(torch.from_numpy(x).view(2, 5), inputs, clamped).flatten().numpy()

    expected = solve_ivp(rate, (0, 3), start.flatten().numpy(), t_eval=times.numpy(), rtol=1e-10, atol=1e-12).y.T
    torch.testing.assert_close(path.reshape(4, -1), torch.from_numpy(expected), rtol=1e-6, atol=1e-6)


def test_weak_network_in_closed_form():
    # gene 0 is clamped at 2, gene 1 reads it: x1 = e tanh(0.3·2 + b)/α, gene 2 reads gene 1
    W = torch.zeros(3, 3, **DOUBLE)
    W[0, 1], W[1, 2] = 0.3, -0.5
    gain, decay, bias = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 0.5]), torch.tensor([0.0, 0.1, 0.2])
    dynamics = Dynamics(W, gain.double(), decay.double(), bias.double(), "tanh")
    start = torch.tensor([[2.0, 0.0, 0.0]], **DOUBLE)
    x, outcome = settle(dynamics, start, clamped=torch.tensor([[True, False, False]]))
    first = 2 * torch.tanh(torch.tensor(0.7, **DOUBLE)) / 4
    expected = torch.stack([start[0, 0], first, 6 * torch.tanh(0.2 - 0.5 * first)])[None]
    torch.testing.assert_close(x, expected, rtol=1e-7, atol=1e-7)
    assert (outcome == SETTLED).all()


@pytest.mark.parametrize(("strength", "expected"), [(1.9, SETTLED), (2.1, OSCILLATES), (4.0, OSCILLATES)])
def test_a_ring_oscillates_beyond_its_hopf_bifurcation(strength, expected):
    x, outcome = settle(ring(strength), torch.tensor([[0.5, 0.1, -0.2], [0.0, 0.0, 0.0]], **DOUBLE))
    assert outcome[0] == expected
    assert torch.isnan(x[0]).all() == (expected != SETTLED)
    if expected != SETTLED:  # a start at the unstable root itself is no steady state either
        assert outcome[1] == OSCILLATES
        assert torch.isnan(x[1]).all()


def test_the_basin_of_the_start_is_found_and_the_saddle_left():
    start = torch.tensor([[0.9, 0.2], [0.2, 0.9], [0.5, 0.5]], **DOUBLE)
    x, outcome = settle(toggle(), start)
    assert outcome.tolist() == [SETTLED, SETTLED, SETTLED]
    assert (x[2] - 0.5).abs().min() > 0.4  # the start at the saddle goes to one of the stable states
    assert x[0, 0] > 0.9 > 0.1 > x[0, 1]
    assert x[1, 1] > 0.9
    path = integrate(toggle(), start[:2], torch.tensor([0.0, 100.0], **DOUBLE))
    torch.testing.assert_close(path[-1], x[:2], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("decay", [-0.3, 0.0])
def test_without_decay_a_gene_diverges(decay):
    one = torch.ones(2, **DOUBLE)
    W = torch.tensor([[0.0, 0.5], [0.0, 0.0]], **DOUBLE)
    dynamics = Dynamics(W, one, torch.tensor([[decay, 1.0], [1.0, 1.0]], **DOUBLE), 0 * one)
    x, outcome = settle(dynamics, torch.zeros(1, 2, **DOUBLE))
    assert outcome.tolist() == [[DIVERGES], [SETTLED]]
    assert torch.isnan(x[0]).all()
    x, outcome = settle(dynamics, torch.zeros(1, 2, **DOUBLE), clamped=torch.tensor([[True, False]]))
    assert (outcome == SETTLED).all()  # clamped, it cannot


def test_outcomes_in_one_batch_are_those_found_alone():
    # strong random networks: some settle, some do not
    dynamics, start, inputs, _ = make(12, 8, strength=3.0, envelope="tanh", conditions=4, seed=2)
    x, outcome = settle(dynamics, start, inputs=0.1 * inputs)
    assert 0 < (outcome == SETTLED).sum() < outcome.numel()
    J = dynamics.jacobian(x.nan_to_num(), 0.1 * inputs)
    rightmost = torch.linalg.eigvals(J).real.amax(-1)
    assert (rightmost[outcome == SETTLED] < 0).all()
    for d in range(8):
        alone = Dynamics(dynamics.W[d], dynamics.gain[d], dynamics.decay[d], dynamics.bias[d], "tanh")
        for c in range(4):
            found = settle(alone, start[d, c : c + 1], inputs=0.1 * inputs[c : c + 1])
            assert found.outcome[0] == outcome[d, c]
            torch.testing.assert_close(found.x[0], x[d, c], rtol=1e-5, atol=1e-5, equal_nan=True)


def test_blocks_do_not_change_the_result(monkeypatch):
    for shared in (False, True):
        dynamics, start, inputs, clamped = make(8, 5, shared=shared)
        whole = settle(dynamics, start, inputs=inputs, clamped=clamped).x
        for block in (8, 24, 100):
            monkeypatch.setattr(rectangles, "BLOCK", block)
            torch.testing.assert_close(settle(dynamics, start, inputs=inputs, clamped=clamped).x, whole)
        monkeypatch.undo()


def test_arnoldi_and_the_certificates_agree_with_eigenvalues(monkeypatch):
    # around the edge of stability, with and without clamped genes; the exact answer decides
    dynamics, x, inputs, clamped = make(40, 40, strength=1.5, envelope="tanh", conditions=2, seed=5)
    dynamics = Dynamics(
        dynamics.W,
        torch.linspace(0.2, 2.0, 40, **DOUBLE)[:, None].expand(40, 40),
        *(getattr(dynamics, name) for name in ("decay", "bias", "envelope")),
    )
    J = dynamics.jacobian(x, inputs, clamped)
    J = J * ~clamped[:, None, :] - torch.diag_embed(clamped.double())
    expected = torch.linalg.eigvals(J).real.amax(-1) < 0
    assert 10 < expected.sum() < 70
    for exact in (150, 10):
        monkeypatch.setattr(stability, "EXACT_GENES", exact)
        for place, pairs in rectangles.blocks(dynamics, x.shape, inputs, clamped):
            everywhere = torch.ones(pairs.free.shape[:2], dtype=torch.bool)
            assert (stability.is_stable(pairs, x[place], everywhere) == expected[place]).all()


@pytest.mark.parametrize("feedback", [0.05, 0.09, 0.11, 0.2])
def test_strong_cascade_with_weak_feedback(feedback):
    # J = [[-1, f], [10, -1]]: eigenvalues -1 ± sqrt(10 f); too asymmetric for the Cholesky test, not for the second
    W = torch.tensor([[0.0, 10.0], [feedback, 0.0]], **DOUBLE)
    x, one = torch.zeros(1, 1, 2, **DOUBLE), torch.ones(2, **DOUBLE)
    ((_, pairs),) = rectangles.blocks(Dynamics(W, one, one, 0 * one, "tanh"), x.shape, None, None)
    assert not stability.contracts(pairs.W, pairs.slope(x)[:, 0])
    assert bool(stability.is_stable(pairs, x, torch.ones(1, 1, dtype=torch.bool))) == (10 * feedback < 1)


@pytest.mark.parametrize("exact", [150, 2])  # LU; Anderson on the transposed map
@pytest.mark.parametrize("shared", [False, True])
def test_implicit_gradients(monkeypatch, exact, shared):
    monkeypatch.setattr(stability, "EXACT_GENES", exact)
    dynamics, start, inputs, clamped = make(4, 2, shared=shared, conditions=3)
    off = 1 - torch.eye(4, **DOUBLE)

    def steady(W, gain, decay, bias, inputs, level):
        x, outcome = settle(
            Dynamics(W * off, gain, decay, bias),
            torch.where(clamped, level, start),
            inputs=inputs,
            clamped=clamped,
            tol=1e-12,
        )
        assert (outcome == SETTLED).all()
        return x

    parts = (dynamics.W, dynamics.gain, dynamics.decay, dynamics.bias, inputs, start[0])
    parts = tuple(p.clone().requires_grad_() for p in parts)
    assert torch.autograd.gradcheck(steady, parts, eps=1e-5, atol=1e-6, rtol=1e-4)


def test_large_network_gradient_against_the_dense_solve_and_finite_differences():
    dynamics, start, inputs, clamped = make(160, strength=2.0, conditions=3)
    W = dynamics.W.clone().requires_grad_()
    weight = torch.linspace(-1, 1, 160, **DOUBLE)

    def total(W):
        moved = Dynamics(W, dynamics.gain, dynamics.decay, dynamics.bias)
        return (settle(moved, start, inputs=inputs, clamped=clamped, tol=1e-13).x * weight).sum()

    (grad,) = torch.autograd.grad(total(W), W)
    direction = torch.randn(160, 160, generator=torch.Generator().manual_seed(1), **DOUBLE) * (1 - torch.eye(160))
    with torch.no_grad():
        slope = (total(W + 1e-5 * direction) - total(W - 1e-5 * direction)) / 2e-5
    assert float((grad * direction).sum()) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.parametrize("exact", [150, 1])
def test_a_growing_gene_held_by_feedback_settles_with_gradients(monkeypatch, exact):
    # J = [[0.3, -1], [1, -1]] at 0: trace and determinant say stable, though gene 0 alone would run away
    monkeypatch.setattr(stability, "EXACT_GENES", exact)
    W, gain = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], **DOUBLE), torch.ones(2, **DOUBLE)

    def steady(decay, bias):
        x, outcome = settle(Dynamics(W, gain, decay, bias, "tanh"), torch.full((1, 2), 0.05, **DOUBLE), tol=1e-12)
        assert (outcome == SETTLED).all()
        return x

    parts = (torch.tensor([-0.3, 1.0], **DOUBLE), torch.tensor([0.02, -0.01], **DOUBLE))
    assert torch.autograd.gradcheck(steady, tuple(p.requires_grad_() for p in parts), eps=1e-6, atol=1e-6, rtol=1e-4)


def test_unsettled_pairs_give_no_gradient():
    one = torch.ones(2, 3, **DOUBLE)
    W = torch.stack([ring(1.0).W, ring(4.0).W]).requires_grad_()
    dynamics = Dynamics(W, one, one, 0.1 * one, "tanh")
    x, outcome = settle(dynamics, torch.tensor([[0.5, 0.1, -0.2]], **DOUBLE))
    assert outcome.tolist() == [[SETTLED], [OSCILLATES]]
    x.nansum().backward()
    assert torch.isfinite(W.grad).all()
    assert (W.grad[0] != 0).any()
    assert (W.grad[1] == 0).all()


def test_float32_comes_back_as_float32():
    dynamics, start, inputs, clamped = make(6)
    single = Dynamics(*(p.float() for p in (dynamics.W, dynamics.gain, dynamics.decay, dynamics.bias)))
    x = settle(single, start.float(), inputs=inputs.float(), clamped=clamped).x
    assert x.dtype == torch.float32
    torch.testing.assert_close(
        x.double(), settle(dynamics, start, inputs=inputs, clamped=clamped).x, **{"rtol": 1e-5, "atol": 1e-5}
    )


def test_bad_input_is_refused():
    dynamics, start, inputs, clamped = make(4, 2)
    times = torch.tensor([0.0, 1.0])
    for call, message in (
        (lambda: settle(dynamics, start[..., :3]), r"`start` has shape \(2, 6, 3\)"),
        (lambda: settle(dynamics, start, inputs=inputs[:2]), r"`inputs` has shape \(2, 4\): expected .* \(6, 4\)"),
        (lambda: settle(dynamics, start, clamped=clamped.double()), "expected bool"),
        (lambda: settle(dynamics, start * torch.nan), "48 values that are not finite"),
        (lambda: settle(dynamics, start, tol=0.0), "`tol` is 0.0"),
        (lambda: settle(dynamics, start.repeat(2, 1, 1)[:3]), r"`start` has draws \(3,\): expected \(2,\)"),
        (lambda: integrate(dynamics, start, times.flip(0)), "increasing"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
