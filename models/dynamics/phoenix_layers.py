r"""PHOENIX's layers: the derivative, where weights start, what a layered network is."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

ABSOLUTE, EXPONENTIAL = "absolute", "exponential"


class BlowUp(ArithmeticError):
    """The solution of a differential equation is not finite; ``step`` of the solver at which it was seen."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class Path(NamedTuple):
    """One way from inputs to outputs: names of its weights from first to last, and the scale of each, by which pruning
    compares its entries: ``"absolute"``, or ``"exponential"`` where a layer works on logarithms."""

    layers: tuple[str, ...]
    scales: tuple[str, ...]


class LayeredNetwork(Protocol):
    """What a sparsifier needs of a network: weights ``(out, in)`` by name, masks of the same shapes (buffers, 1 keeps
    and 0 prunes), and the paths they form. Any `torch.nn.Module` with these members will do."""

    paths: tuple[Path, ...]

    def weights(self) -> dict[str, nn.Parameter]:
        """Weights ``(out, in)`` by name, before masks."""

    def masks(self) -> dict[str, Tensor]:
        """Masks of the same shapes; sparsifiers write into them."""

    def output_gain(self) -> Tensor:
        """``(out,)`` what multiplies each output behind the last layer; ones where nothing does."""


class PhoenixParameters(NamedTuple):
    """Weights of PHOENIX, each with the same leading draw axes (or none): ``W`` (hidden, gene), ``U`` (gene, hidden),
    ``b`` (hidden,), ``upsilon`` (gene,)."""

    W_sigma: Tensor
    W_pi: Tensor
    U_sigma: Tensor
    U_pi: Tensor
    b_sigma: Tensor
    b_pi: Tensor
    upsilon: Tensor


def activations(g: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`\phi_\Sigma(g) = (g - ½)/(1 + |g - ½|)` and :math:`\phi_\Pi(g) = \log(1 + \phi_\Sigma(g))`."""
    shifted = g - 0.5
    sigma = shifted / (1 + shifted.abs())
    return sigma, sigma.log1p()


def derivative(parameters: PhoenixParameters, g: Tensor, free: Tensor | None = None) -> Tensor:
    r"""``(*draw, pair, gene)``: :math:`\dot g` of PHOENIX.

    .. math:: \dot g = \mathrm{ReLU}(\upsilon) \odot \big[U_\Sigma(W_\Sigma\phi_\Sigma(g) + b_\Sigma)
              + U_\Pi\exp(W_\Pi\phi_\Pi(g) + b_\Pi) - g\big]

    Parameters
    ----------
    parameters
        One network, or one for each draw.
    g
        ``(*draw, pair, gene)`` expression, about 0 to 1.
    free
        ``(pair, gene)`` 0 where a gene is clamped (knocked out) and its derivative is zero, 1 elsewhere.
    """
    p = parameters
    sigma, pi = activations(g)
    sums = sigma @ p.W_sigma.mT + p.b_sigma[..., None, :]
    products = (pi @ p.W_pi.mT + p.b_pi[..., None, :]).exp()
    combined = sums @ p.U_sigma.mT + products @ p.U_pi.mT
    rate = p.upsilon.relu()[..., None, :] * (combined - g)
    return rate if free is None else rate * free


def initial_parameters(
    genes: int, hidden: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> PhoenixParameters:
    r"""Starting weights as the authors' program has them: W sparse (two of forty entries of a column, sd 0.05), U with
    orthonormal columns, υ uniform on (0, 1), biases uniform on :math:`\pm 1/\sqrt{n}`."""

    def sparse() -> Tensor:
        weight = 0.05 * torch.randn(hidden, genes, generator=generator, dtype=dtype)
        rank = torch.rand(hidden, genes, generator=generator).argsort(0).argsort(0)
        return weight * (rank >= min(math.ceil(0.95 * hidden), hidden - 1))

    def bias() -> Tensor:
        return (2 * torch.rand(hidden, generator=generator, dtype=dtype) - 1) / math.sqrt(genes)

    upsilon = torch.rand(genes, generator=generator, dtype=dtype)
    weights = (sparse(), sparse())
    second = [orthogonal(genes, hidden, generator=generator, dtype=dtype) for _ in weights]
    return PhoenixParameters(*weights, second[0], second[1], bias(), bias(), upsilon)


def orthogonal(rows: int, columns: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """``(rows, columns)`` at random, its columns orthonormal, or its rows where there are fewer of them."""
    q, r = torch.linalg.qr(torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=dtype))
    q = q * r.diagonal().sign()
    return (q if rows >= columns else q.T).contiguous()


def sparsity(masked: Mapping[str, Tensor]) -> float:
    """Share of exact zeros among all entries of some weights."""
    zeros = sum(int((w == 0).sum()) for w in masked.values())
    return zeros / sum(w.numel() for w in masked.values())
