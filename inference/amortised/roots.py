r"""The step :math:`\tfrac12(-Y + \sqrt{Y^\top Y + \tfrac4\lambda I})` of GLAD for symmetric Y."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROOTS = ("eigh", "newton-schulz")


class _SpectralStep(torch.autograd.Function):
    r"""f(Y) = U f(s) Uᵀ with :math:`f(s) = \tfrac12(-s + \sqrt{s^2 + 4/\lambda})`.

    The gradient of a function of a symmetric matrix is the Loewner matrix of divided differences in the eigenbasis. For
    this f they are :math:`-\tfrac12 + \tfrac12 (s_i + s_j)/(r_i + r_j)`, :math:`r = \sqrt{s^2 + 4/\lambda}`, which
    never divides by a difference of eigenvalues: repeated ones do no harm, unlike in the gradient of eigh itself.
    """

    @staticmethod
    def forward(ctx: Any, Y: Tensor, offset: Tensor) -> Tensor:
        s, U = torch.linalg.eigh(Y)
        r = (s.square() + offset[..., None]).sqrt()
        ctx.save_for_backward(s, U, r)
        # 2/λ over a sum of like signs where s > 0: −s + r would lose all digits there
        half = torch.where(s > 0, 0.5 * offset[..., None] / (s + r), 0.5 * (r - s))
        return (U * half[..., None, :]) @ U.mT

    @staticmethod
    @once_differentiable  # what is saved for it carries no graph: a second derivative would be wrong without a word
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        s, U, r = ctx.saved_tensors
        inner = U.mT @ gradient @ U
        loewner = 0.5 * ((s[..., :, None] + s[..., None, :]) / (r[..., :, None] + r[..., None, :]) - 1)
        of_Y = U @ (0.5 * (inner + inner.mT) * loewner) @ U.mT
        of_offset = (inner.diagonal(dim1=-2, dim2=-1) * 0.25 / r).sum(-1)
        return of_Y, of_offset


def spectral_step(Y: Tensor, offset: Tensor, *, root: str = "eigh", iterations: int = 30) -> Tensor:
    r""":math:`\tfrac12(-Y + \sqrt{Y^2 + c I})` for symmetric ``Y`` ``(*graph, D, D)``, c = ``offset`` ``(*graph,)`` >
    0.

    ``eigh``: one eigendecomposition of Y, exact, with a gradient that is stable at repeated eigenvalues.
    ``newton-schulz``: matrix products only (a GPU does eigh slowly), through the coupled iteration for the square root
    of :math:`A = (Y^2 + cI)/\|\cdot\|`, which converges because A is positive definite; ``iterations`` at most, each
    three products. Quadratic once close; the smallest eigenvalue of A decides how soon.

    Raises
    ------
    ValueError
        An unknown ``root``.
    """
    if root == "eigh":
        result: Tensor = _SpectralStep.apply(Y, offset)
        return result
    if root != "newton-schulz":
        raise ValueError(f"root is {root!r}, expected one of {ROOTS}")
    identity = torch.eye(Y.shape[-1], dtype=Y.dtype, device=Y.device)
    A = Y @ Y + offset[..., None, None] * identity
    # any bound on the largest eigenvalue will do; the row sums' is tighter than Frobenius' norm
    norm = A.abs().sum(-1).amax(-1)[..., None, None].detach()
    P, Q = A / norm, identity.expand_as(A)
    for _ in range(iterations):
        middle = 1.5 * identity - 0.5 * Q @ P
        P, Q = P @ middle, middle @ Q
    return 0.5 * (P * norm.sqrt() - Y)
