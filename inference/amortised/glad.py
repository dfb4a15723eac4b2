r"""GLAD and GLAD-TF: the graphical lasso by alternating minimisation, unrolled, thresholds and penalties learned."""

import torch
from torch import Tensor, nn

from .cells import PenaltyNetwork, ThresholdNetwork, UnrolledState, soft_threshold
from .roots import spectral_step


class GLAD(nn.Module):
    r"""Unrolled alternating minimisation of the graphical lasso (Shrivastava et al. 2020; 2022, section 2.4).

    With λ and ρ constant the iteration minimises :math:`-\log|\Theta| + \langle\hat\Sigma, \Theta\rangle +
    \lambda\rho\|Z\|_1 + \tfrac\lambda2\|\Theta - Z\|_F^2`: the graphical lasso with Huber's penalty of slope λρ, and
    the graphical lasso itself as λ → ∞ with λρ held.

    .. math:: \lambda \leftarrow \Lambda_{nn}(\|Z - \Theta\|^2, \lambda), \qquad
              Y = \hat\Sigma/\lambda - Z, \qquad \Theta \leftarrow \tfrac12\big(-Y + \sqrt{Y^\top Y + \tfrac4\lambda
              I}\big)

    .. math:: \rho_{ij} = \rho_{nn}(\Theta_{ij}, \hat\Sigma_{ij}, Z_{ij}), \qquad Z_{ij} \leftarrow
              \eta_{\rho_{ij}}(\Theta_{ij})

    from :math:`\Theta_0 = (\hat\Sigma + tI)^{-1}`, t learned. Σ̂ is a correlation matrix, and the squared distance is
    divided by D², so the same weights mean the same at any D. With a mask (GLAD-TF) entries between two genes that are
    no regulators are set to 0 in Z at every iteration (their diagonal stays), and in Θ too where ``masks_theta``.

    Parameters
    ----------
    num_iterations
        L, 15 in the paper (30 also).
    num_extra
        Prior features of a pair, see `ThresholdNetwork`.
    root
        ``eigh`` or ``newton-schulz``, see `spectral_step`. Default: eigh on CPU, Newton-Schulz on GPU.
    masks_theta
        Whether the mask acts on Θ at every iteration as well, as the paper's algorithm has it. Default False, as the
        weights that come with the package were trained: a step of the iteration minimises over all precision matrices,
        and its minimum with entries taken away is no step of it.
    """

    def __init__(
        self, *, num_iterations: int = 15, num_extra: int = 0, root: str | None = None, masks_theta: bool = False
    ) -> None:
        super().__init__()
        if num_iterations < 1:
            raise ValueError(f"num_iterations is {num_iterations}, expected at least 1")
        self.num_iterations, self.root, self.masks_theta = num_iterations, root, masks_theta
        self.threshold, self.penalty = ThresholdNetwork(num_extra), PenaltyNetwork()
        self.log_offset = nn.Parameter(torch.zeros(()))  # t = 1: Θ0 exists for any covariance

    def forward(self, covariance: Tensor, *, mask: Tensor | None = None, extra: Tensor | None = None) -> UnrolledState:
        """Precision matrices ``(*graph, D, D)`` of correlation matrices; ``mask`` bool, ``extra`` ``(*graph, D, D,
        num_extra)``."""
        if extra is not None:  # the precision matrix is symmetric, and so must its thresholds be
            extra = 0.5 * (extra + extra.transpose(-3, -2))
        size = covariance.shape[-1]
        identity = torch.eye(size, dtype=covariance.dtype, device=covariance.device)
        theta = torch.linalg.inv(covariance + self.log_offset.exp() * identity)
        theta = 0.5 * (theta + theta.mT)
        z, penalty = theta, torch.ones_like(covariance[..., 0, 0])
        root = self.root or ("newton-schulz" if covariance.is_cuda else "eigh")
        for _ in range(self.num_iterations):
            penalty = self.penalty((z - theta).square().mean((-2, -1)), penalty)
            Y = covariance / penalty[..., None, None] - z
            theta = spectral_step(Y, 4 / penalty, root=root)
            z = soft_threshold(theta, self.threshold(theta, covariance, z, extra))
            if mask is not None:
                z = z * (mask | identity.bool())
            if mask is not None and self.masks_theta:
                theta = theta * (mask | identity.bool())
        return UnrolledState(theta, z, penalty)


def correlation_matrix(X: Tensor) -> Tensor:
    """``(*graph, gene, gene)`` correlations of ``(*graph, cell, gene)``; a constant gene correlates with nothing and
    has 1 on the diagonal."""
    centred = X - X.mean(-2, keepdim=True)
    norm = centred.square().sum(-2).sqrt()
    scaled = centred / norm.clamp_min(1e-12)[..., None, :]
    correlation = scaled.mT @ scaled
    return correlation * (1 - torch.eye(X.shape[-1], dtype=X.dtype, device=X.device)) + torch.eye(
        X.shape[-1], dtype=X.dtype, device=X.device
    )
