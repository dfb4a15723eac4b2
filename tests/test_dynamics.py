"""The rate against its equation gene by gene, the Jacobian against automatic differentiation."""

import math

import pytest
import torch
from pyrogrn.models.dynamics.dynamics import ENVELOPES, Dynamics

GENES, CONDITIONS = 5, 3


def make(*draw, seed=0, envelope="tanh", shared=False):
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(*(() if shared else draw), GENES, GENES, generator=generator, dtype=torch.float64)
    W = W * (1 - torch.eye(GENES, dtype=torch.float64))
    gain, decay = (0.5 + torch.rand(*draw, GENES, generator=generator, dtype=torch.float64) for _ in range(2))
    bias = torch.randn(*draw, GENES, generator=generator, dtype=torch.float64)
    x = torch.randn(*draw, CONDITIONS, GENES, generator=generator, dtype=torch.float64)
    inputs = torch.randn(CONDITIONS, GENES, generator=generator, dtype=torch.float64)
    clamped = torch.rand(CONDITIONS, GENES, generator=generator) < 0.3
    return Dynamics(W, gain, decay, bias, envelope), x, inputs, clamped


def test_rate_is_the_equation():
    dynamics, x, inputs, clamped = make(2, envelope="logistic")
    rate = dynamics.rate(x, inputs, clamped)
    for d in range(2):
        for c in range(CONDITIONS):
            for i in range(GENES):
                drive = sum(float(dynamics.W[d, j, i] * x[d, c, j]) for j in range(GENES))
                drive += float(inputs[c, i] + dynamics.bias[d, i])
                expected = float(dynamics.gain[d, i]) / (1 + math.exp(-drive)) - float(
                    dynamics.decay[d, i] * x[d, c, i]
                )
                assert float(rate[d, c, i]) == pytest.approx(0.0 if clamped[c, i] else expected, abs=1e-12)
    assert clamped.any()
    assert not clamped.all()


@pytest.mark.parametrize("envelope", sorted(ENVELOPES))
def test_jacobian_is_the_derivative_of_the_rate(envelope):
    dynamics, x, inputs, clamped = make(envelope=envelope)
    full = torch.autograd.functional.jacobian(lambda x: dynamics.rate(x, inputs, clamped), x)
    expected = torch.stack([full[c, :, c] for c in range(CONDITIONS)])
    torch.testing.assert_close(dynamics.jacobian(x, inputs, clamped), expected)


@pytest.mark.parametrize("envelope", sorted(ENVELOPES))
def test_envelope_derivative_and_inverse(envelope):
    phi = ENVELOPES[envelope]
    z = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(phi.derivative(z), torch.autograd.grad(phi.value(z).sum(), z)[0])
    torch.testing.assert_close(phi.inverse(phi.value(z)), z)


def test_draws_are_independent_and_one_network_serves_all():
    dynamics, x, inputs, clamped = make(2, 3, shared=True)
    assert dynamics.draw_shape == (2, 3)
    together, J = dynamics.rate(x, inputs, clamped), dynamics.jacobian(x, inputs, clamped)
    assert J.shape == (2, 3, CONDITIONS, GENES, GENES)
    for d in ((0, 2), (1, 1)):
        alone = Dynamics(dynamics.W, dynamics.gain[d], dynamics.decay[d], dynamics.bias[d], "tanh")
        torch.testing.assert_close(together[d], alone.rate(x[d], inputs, clamped))
        torch.testing.assert_close(J[d], alone.jacobian(x[d], inputs, clamped))


def test_bad_input_is_refused_by_name():
    dynamics, x, inputs, clamped = make()
    parts = {"W": dynamics.W, "gain": dynamics.gain, "decay": dynamics.decay, "bias": dynamics.bias}
    for change, message in (
        ({"W": dynamics.W[:3]}, r"`W` has shape \(3, 5\)"),
        ({"gain": torch.ones(4)}, r"`gain` has shape \(4,\): expected \(\*draw, 5\)"),
        ({"W": dynamics.W + torch.eye(GENES)}, "5 self-edges"),
        ({"bias": torch.full((GENES,), torch.nan)}, "`bias` has 5 of 5 values that are not finite"),
        ({"gain": torch.ones(2, GENES), "decay": torch.ones(3, GENES)}, "draws do not broadcast"),
        ({"envelope": "relu"}, r"`envelope` is 'relu': expected one of \['log-logistic', 'logistic', 'tanh'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            Dynamics(**{**parts, **change})
    with pytest.raises(ValueError, match=r"`x` has shape \(5,\)"):
        dynamics.rate(x[0])
    with pytest.raises(ValueError, match=r"`inputs` has shape \(2, 5\)"):
        dynamics.rate(x, inputs[:2])
    with pytest.raises(ValueError, match="expected bool"):
        dynamics.rate(x, inputs, clamped.long())
