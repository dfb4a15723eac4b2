r"""The ordinary differential equation that FactorBox and CellBox share: its rate of change and its Jacobian."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...priors.shapes import broadcast_shapes


class Envelope(NamedTuple):
    """A saturating function: ``value``, its ``derivative`` at the same argument, and the ``inverse`` of ``value``."""

    value: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]


def _tanh_derivative(drive: Tensor) -> Tensor:
    return 1 - torch.tanh(drive) ** 2


def _logistic_derivative(drive: Tensor) -> Tensor:
    phi = torch.sigmoid(drive)
    return phi * (1 - phi)


def _log_logistic_inverse(value: Tensor) -> Tensor:
    return value - torch.log(-torch.expm1(value))


ENVELOPES = {
    "tanh": Envelope(torch.tanh, _tanh_derivative, torch.atanh),
    "logistic": Envelope(torch.sigmoid, _logistic_derivative, torch.logit),
    # in logarithms of the share of the gain: a drive that is linear in log levels (Hill) has its steady states here
    "log-logistic": Envelope(nn.functional.logsigmoid, lambda drive: torch.sigmoid(-drive), _log_logistic_inverse),
}


@dataclass(frozen=True, eq=False)
class Dynamics:
    r"""Saturating production and linear decay (CellBox: Yuan et al. 2021; FactorBox with the logistic envelope).

    .. math:: \dot x_i = \epsilon_i\,\phi\Big(\sum_j W_{ji} x_j + u_i + b_i\Big) - \alpha_i x_i

    Time is in the unit of :math:`1/\alpha`; x is in the unit of the data. The draw axes of the parameters broadcast
    against each other: W may be one network for all draws.

    Parameters
    ----------
    W
        ``(*draw, gene, gene)``, ``W[source, target]``, diagonal 0: a gene's effect on itself is its decay.
    gain, decay, bias
        :math:`\epsilon`, :math:`\alpha` and b, ``(*draw, gene)`` each. ``decay`` may be of any sign, so that a draw
        without decay can be seen to diverge.
    envelope
        ``"logistic"`` (default: expression is positive) or ``"tanh"`` (CellBox: log-ratios to the control).

    Raises
    ------
    ValueError
        Where shapes disagree, values are not finite, W has self-edges, or the envelope is unknown.

    Examples
    --------
    >>> one = torch.ones(2)
    >>> Dynamics(torch.zeros(2, 2), gain=2 * one, decay=one, bias=0 * one).rate(torch.zeros(1, 2))
    tensor([[1., 1.]])
    """

    W: Tensor
    gain: Tensor
    decay: Tensor
    bias: Tensor
    envelope: str = "logistic"

    def __post_init__(self) -> None:
        if self.envelope not in ENVELOPES:
            raise ValueError(f"`envelope` is {self.envelope!r}: expected one of {sorted(ENVELOPES)}")
        if self.W.ndim < 2 or self.W.shape[-1] != self.W.shape[-2]:
            raise ValueError(f"`W` has shape {tuple(self.W.shape)}: expected (*draw, gene, gene), rows are sources")
        for name in ("gain", "decay", "bias"):
            value = getattr(self, name)
            if value.ndim < 1 or value.shape[-1] != self.num_genes:
                raise ValueError(
                    f"`{name}` has shape {tuple(value.shape)}: expected (*draw, {self.num_genes}), one value for each "
                    f"gene of `W`"
                )
        for name in ("W", "gain", "decay", "bias"):
            value = getattr(self, name)
            if bad := int((~torch.isfinite(value)).sum()):
                raise ValueError(f"`{name}` has {bad} of {value.numel()} values that are not finite: drop those draws")
        if loops := int(torch.diagonal(self.W, dim1=-2, dim2=-1).count_nonzero()):
            raise ValueError(
                f"`W` has {loops} self-edges: expected a zero diagonal, because a gene's effect on itself is its "
                f"`decay`; set the diagonal to 0"
            )
        try:
            self.draw_shape  # noqa: B018
        except RuntimeError:
            shapes = {name: tuple(getattr(self, name).shape) for name in ("W", "gain", "decay", "bias")}
            raise ValueError(f"draws do not broadcast: found shapes {shapes}; give all the same leading axes") from None

    @property
    def num_genes(self) -> int:
        """Number of genes."""
        return self.W.shape[-1]

    @property
    def draw_shape(self) -> torch.Size:
        """The leading axes of the parameters, broadcast."""
        vectors = (self.gain, self.decay, self.bias)
        return broadcast_shapes(self.W.shape[:-2], *(v.shape[:-1] for v in vectors))

    def rate(self, x: Tensor, inputs: Tensor | None = None, clamped: Tensor | None = None) -> Tensor:
        r"""``(*draw, condition, gene)``: :math:`\dot x`, 0 where clamped.

        Parameters
        ----------
        x
            ``(*draw, condition, gene)`` state.
        inputs
            ``(condition, gene)`` u, added to the drive; ``None`` is 0.
        clamped
            ``(condition, gene)`` bool: genes held at their level; ``None`` clamps none.
        """
        drive = self._drive(x, inputs, clamped)
        phi = ENVELOPES[self.envelope].value(drive)
        rate = self.gain[..., None, :] * phi - self.decay[..., None, :] * x
        return rate if clamped is None else torch.where(clamped, 0.0, rate)

    def jacobian(self, x: Tensor, inputs: Tensor | None = None, clamped: Tensor | None = None) -> Tensor:
        r"""``(*draw, condition, gene i, gene j)``: :math:`\partial \dot x_i / \partial x_j`; rows of clamped genes 0.

        Columns of clamped genes are kept: they say how the free genes answer to a clamped level. Takes the parameters
        of :meth:`rate`.
        """
        slope = self.gain[..., None, :] * ENVELOPES[self.envelope].derivative(self._drive(x, inputs, clamped))
        J = slope[..., :, None] * self.W.transpose(-1, -2)[..., None, :, :]  # (*draw, condition, gene, gene)
        J = J - torch.diag_embed(self.decay)[..., None, :, :]
        return J if clamped is None else torch.where(clamped[..., :, None], 0.0, J)

    def _drive(self, x: Tensor, inputs: Tensor | None, clamped: Tensor | None) -> Tensor:
        if x.ndim < 2 or x.shape[-1] != self.num_genes:
            raise ValueError(f"`x` has shape {tuple(x.shape)}: expected (*draw, condition, {self.num_genes})")
        check_conditions(x.shape[-2:], inputs, clamped)
        drive = x @ self.W + self.bias[..., None, :]
        return drive if inputs is None else drive + inputs


def check_conditions(expected: torch.Size, inputs: Tensor | None, clamped: Tensor | None) -> None:
    """Raise ``ValueError`` unless ``inputs`` and ``clamped`` are ``(condition, gene)`` of the state they go with."""
    for name, value in (("inputs", inputs), ("clamped", clamped)):
        if value is not None and value.shape != expected:
            raise ValueError(
                f"`{name}` has shape {tuple(value.shape)}: expected (condition, gene) = {tuple(expected)}, as the state"
            )
    if clamped is not None and clamped.dtype != torch.bool:
        raise ValueError(f"`clamped` is {clamped.dtype}: expected bool, true where a gene is held at its level")
