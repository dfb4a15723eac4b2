"""Draws of Gram matrices of Gaussian rows."""

import torch
from torch import Tensor


def wishart(lower: Tensor, dof: int) -> Tensor:
    r"""``(*batch, n, n)`` :math:`\sum_{c=1}^\nu e_c e_c^\top`, :math:`e_c\sim N(0, LL^\top)`.

    ``lower`` L (*batch, n, n), ``dof`` ν: by Bartlett's decomposition where ν ≥ n, else row by row (the matrix is
    singular then).
    """
    n = lower.shape[-1]
    if dof < n:
        half = lower @ torch.randn(*lower.shape[:-1], dof, dtype=lower.dtype, device=lower.device)
        return half @ half.mT
    A = torch.randn_like(lower).tril(-1)
    shape = 0.5 * (dof - torch.arange(n, dtype=lower.dtype, device=lower.device))
    root = (2 * torch._standard_gamma(shape.expand(lower.shape[:-1]))).sqrt()
    half = lower @ (A + torch.diag_embed(root))
    return half @ half.mT
