r"""Whether a root of the rate is linearly stable, for all pairs of draw and condition.

With :math:`d = \epsilon\phi'/\alpha` the tests run from cheap to dear, each on what the one before left open:

1. :math:`I - \mathrm{sym}(\sqrt{d} W \sqrt{d}) \succ 0` with the largest d of a draw's conditions, by one Cholesky
   factorisation a draw: proves all of them stable (:math:`\sum x_i^2/(\alpha_i d_i)` falls, and smaller d only helps);
2. :math:`\rho(d |W|^\top) < 1` by Collatz-Wielandt quotients, six products with W: proves it for sparse networks;
3. up to 150 genes the Cholesky test for each pair, then eigenvalues: exact. Beyond, the rightmost Ritz value of 30 and,
   near zero, of 120 Arnoldi steps: an estimate, which may miss an eigenvalue just right of zero.
"""

import torch
from torch import Tensor

from .pairs import DENSE_BLOCK, Pairs, pack

EXACT_GENES = 150  # up to here dense factorisations per pair are cheap


def dense_is_cheap(num_genes: int) -> bool:
    """Whether a dense factorisation for each pair costs less than iterations."""
    return num_genes <= EXACT_GENES


def is_stable(pairs: Pairs, x: Tensor, asked: Tensor) -> Tensor:
    """``(row, column)``: largest real part of the free genes' Jacobian below zero; false where not ``asked``."""
    stable = torch.zeros_like(asked)
    if not asked.any():
        return stable
    decays = ((pairs.decay > 0) | ~pairs.free).all(-1)
    scale = pairs.slope(x) / pairs.pace
    provable = asked & decays & (scale >= 0).all(-1)
    largest = torch.where(provable[..., None], scale, 0.0).amax(1)
    stable |= provable & contracts(pairs.W, largest)[:, None]
    if (stable == asked).all():
        return stable
    absolute, W_abs = scale.abs(), pairs.W.abs()
    v = pairs.free.to(x.dtype)
    for _ in range(6):
        image = (v @ W_abs) * absolute
        bound = torch.where(pairs.free, image / v.clamp_min(1e-300), 0.0).amax(-1)  # at least the spectral radius
        stable |= asked & decays & (bound < 1)
        if (stable == asked).all():
            return stable
        v = image + v
        v = v / v.amax(-1, keepdim=True).clamp_min(1e-300)
    rest = (asked & ~stable).nonzero()
    n = x.shape[-1]
    if not dense_is_cheap(n):
        stable |= _by_arnoldi(pairs, x, asked & ~stable)
        return stable
    for some in rest.split(max(1, DENSE_BLOCK // (4 * n * n))):
        where = (some[:, 0], some[:, 1])
        part, at = pairs.listed(some), x[where][:, None]
        verdict = provable[where] & contracts(part.W, scale[where].clamp_min(0))
        undecided = (~verdict).nonzero()[:, 0]
        J = part.free_jacobian(at)[undecided]
        verdict[undecided] = torch.linalg.eigvals(J).real.amax(-1) < 0
        stable[where] = verdict
    return stable


def contracts(W: Tensor, scale: Tensor) -> Tensor:
    """``(row,)``: whether I - sym(sqrt(d) W sqrt(d)) is positive definite, d = ``scale`` (row, gene) not negative."""
    root = scale.sqrt()
    B = root[:, :, None] * W * root[:, None, :]
    B = -(B + B.transpose(1, 2))
    torch.diagonal(B, dim1=1, dim2=2).add_(2 - 1e-9)
    return torch.linalg.cholesky_ex(B)[1] == 0


def _by_arnoldi(pairs: Pairs, x: Tensor, asked: Tensor) -> Tensor:
    stable = torch.zeros_like(asked)
    for steps in (30, 120):
        if not asked.any():
            break
        rows, columns = pack(asked)
        width = max(1, DENSE_BLOCK // (len(rows) * x.shape[-1] * (steps + 1)))
        for part in columns.split(width, dim=1):
            at = (rows[:, None], part)
            chosen = pairs.take(rows, part)
            rightmost = _rightmost_ritz_value(chosen, x[at], steps)
            # in the unit of the decay: closer to zero than this 30 steps do not tell
            margin = rightmost / chosen.pace.mean(-1)
            decided = asked[at] & ((margin.abs() > 0.1) if steps == 30 else torch.ones_like(asked[at]))
            stable[at] = torch.where(decided, margin < 0, stable[at])
            asked[at] = asked[at] & ~decided
    return stable


def _rightmost_ritz_value(pairs: Pairs, x: Tensor, steps: int) -> Tensor:
    """``(row, column)``: largest real part of the Ritz values of J on ``steps`` Krylov vectors."""
    slope, n = pairs.slope(x), x.shape[-1]
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(n, generator=generator, dtype=x.dtype).to(x.device) * pairs.free
    basis = torch.zeros(*x.shape[:2], steps + 1, n, dtype=x.dtype, device=x.device)
    H = torch.zeros(*x.shape[:2], steps, steps, dtype=x.dtype, device=x.device)
    basis[:, :, 0] = v / v.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    for k in range(steps):
        v = basis[:, :, k]
        w = torch.where(pairs.free, slope * (v @ pairs.W) - pairs.decay * v, 0.0)
        for _ in range(2):  # once more: Gram-Schmidt loses orthogonality
            projection = (basis[:, :, : k + 1] @ w[..., None])[..., 0]
            w = w - (projection[..., None, :] @ basis[:, :, : k + 1])[..., 0, :]
            H[:, :, : k + 1, k] += projection
        norm = w.norm(dim=-1)
        alive = norm > 1e-12 * H.abs().amax((-1, -2))
        basis[:, :, k + 1] = torch.where(alive[..., None], w / norm.clamp_min(1e-300)[..., None], 0.0)
        if k + 1 < steps:
            H[:, :, k + 1, k] = torch.where(alive, norm, 0.0)
    # after an invariant subspace the rest of H is empty: its zeros are no eigenvalues
    empty = basis[:, :, :steps].abs().amax(-1) == 0
    H = H - torch.diag_embed(empty * (1 + H.abs().amax((-1, -2)))[..., None])
    return torch.linalg.eigvals(H).real.amax(-1)
