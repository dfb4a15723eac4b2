r"""PHOENIX's own loss on prior knowledge, and prior networks as matrices."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ...priors import PriorNetwork
from .phoenix_layers import PhoenixParameters, derivative
from .phoenix_network import PhoenixNetwork


class PriorLoss(nn.Module):
    r"""PHOENIX's own way to use prior knowledge (C.1), added to the data's loss:
    :math:`\tau L(\text{data}) + (1-\tau)\,\overline{(\hat f(\gamma) - (A\gamma - \gamma))^2}`.

    Both sides are compared without the decay and υ, as in the authors' program:
    :math:`U c(\gamma)` with :math:`A\gamma`, at random :math:`\gamma \sim U(-½, ½)`. The share 1 - τ of this term is
    ``extra_share`` of `train`.

    Parameters
    ----------
    prior
        ``(source, target)`` with +1, -1, 0.
    points
        Number of γ, drawn once.
    seed
        Of those.

    Raises
    ------
    ValueError
        A prior that is not square, no points.
    """

    def __init__(self, prior: Tensor, *, points: int = 500, seed: int = 0) -> None:
        super().__init__()
        if prior.ndim != 2 or prior.shape[0] != prior.shape[1]:
            raise ValueError(f"`prior` has shape {tuple(prior.shape)}, expected (gene, gene): source by target")
        if points < 1:
            raise ValueError(f"PriorLoss(points={points}): expected at least 1")
        gamma = torch.rand(points, len(prior), generator=torch.Generator().manual_seed(seed)).to(prior) - 0.5
        self.register_buffer("gamma", gamma)
        self.register_buffer("wanted", gamma @ prior)

    gamma: Tensor
    wanted: Tensor

    def forward(self, network: PhoenixNetwork, gates: Mapping[str, Tensor] | None = None) -> Tensor:
        return mismatch(network.current(gates), self.gamma, self.wanted).mean()


def mismatch(parameters: PhoenixParameters, gamma: Tensor, wanted: Tensor) -> Tensor:
    r"""``(*draw, point, gene)`` squared differences of :math:`U c(\gamma)` from what is wanted at γ."""
    unit = parameters._replace(upsilon=torch.ones_like(parameters.upsilon))
    return (derivative(unit, gamma) + gamma - wanted).square()


def prior_matrix(network: PriorNetwork, genes: Sequence[str], *, signed: bool = False) -> Tensor:
    """``(source, target)`` of a prior network over all genes: probabilities, or with ``signed`` their signs (0 where
    there is no edge or no sign).

    Raises
    ------
    ValueError
        No edge of the network lies among the genes (see `PriorNetwork.align`).
    """
    aligned, _ = network.align(tuple(genes), tuple(genes))
    probability, sign = aligned.matrix(tuple(genes), tuple(genes))
    return torch.as_tensor(sign if signed else probability, dtype=torch.float32)
