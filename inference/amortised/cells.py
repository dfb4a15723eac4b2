r"""The pieces that GLAD and GRNULar share: tiny networks for thresholds and penalties (Shrivastava et al. 2022, Fig.
3)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class UnrolledState(NamedTuple):
    """After the last cell: ``theta`` and its thresholded copy ``z`` ``(*graph, i, j)``, and the penalty λ
    ``(*graph,)``."""

    theta: Tensor
    z: Tensor
    penalty: Tensor


class ThresholdNetwork(nn.Module):
    r"""ρ_nn: the threshold of every entry, from Θ, Σ̂, Z and what is known of the pair beforehand.

    Two hidden layers of three tanh units and a sigmoid, as the paper's figure 3: thresholds lie in (0, 1).

    Parameters
    ----------
    num_extra
        Extra input features of a pair (prior knowledge; all 0 = none given).
    hidden
        Units of a hidden layer.
    """

    def __init__(self, num_extra: int = 0, hidden: int = 3) -> None:
        super().__init__()
        self.num_extra = num_extra
        self.layers = nn.Sequential(
            nn.Linear(3 + num_extra, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1)
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias, -4.0)  # thresholds of about 0.02 to begin with: little is lost at the start

    def forward(self, theta: Tensor, covariance: Tensor, z: Tensor, extra: Tensor | None = None) -> Tensor:
        """ρ ``(*graph, i, j)``; ``extra`` ``(*graph, i, j, num_extra)``."""
        features = torch.stack(torch.broadcast_tensors(theta, covariance, z), dim=-1)
        if self.num_extra:
            if extra is None:
                extra = features.new_zeros(*features.shape[:-1], self.num_extra)
            features = torch.cat([features, extra], dim=-1)
        return torch.sigmoid(self.layers(features)[..., 0])


class PenaltyNetwork(nn.Module):
    r"""Λ_nn: the next penalty λ from the mean squared distance of Z and Θ and the last λ; in (`LOWEST`, 1)."""

    LOWEST = 1e-3  # Σ̂/λ must stay finite

    def __init__(self, hidden: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, squared_distance: Tensor, penalty: Tensor) -> Tensor:
        """λ ``(*graph,)``."""
        output = torch.sigmoid(self.layers(torch.stack([squared_distance, penalty], dim=-1))[..., 0])
        return self.LOWEST + (1 - self.LOWEST) * output


def soft_threshold(theta: Tensor, rho: Tensor) -> Tensor:
    r"""η_ρ(θ) = sign(θ) max(|θ| − ρ, 0), the proximal operator of ρ‖·‖₁ (Eq. 10)."""
    return theta.sign() * (theta.abs() - rho).clamp_min(0.0)
