r"""`RegressionBlock`: weights of all targets given their scales and noise, each solved over the regulators it has."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..priors.shapes import broadcast_shapes
from .couplings import Couplings, Grams
from .gaussian_block import GaussianBlock

# of the matrices that are worked on at a time: on a CPU they stay in its cache, a GPU wants many at once
CPU_BYTES, GPU_BYTES = 2**20, 2**28


@dataclass(frozen=True, eq=False)
class RegressionBlock(GaussianBlock):
    r"""For each column i the Gaussian :math:`a_i + N(\Lambda_i^{-1}\eta_i, \Lambda_i^{-1})` with

    .. math:: \Lambda_i = M_i \circ G_i/\sigma_i^2 + \operatorname{diag}(p_i)

    where the mask :math:`M_i` couples the rows that the edges of i allow, and the others are independent of all. So
    only coupled rows are factorised, in float64: copies of a regulator, of which float32 would leave no digits, share
    its weight. G comes in the precision of the model, in float32 to 6e-8 of its diagonal: regulators that differ by
    less than about 3e-4 of their size, but are no copies, it cannot tell apart, and under a prior so wide that p is
    less than that part of G/σ² Λ may not be positive definite.

    Parameters
    ----------
    centre
        ``(tf, target)`` a.
    noise
        ``(*batch, 1, target)`` σ².
    weight
        ``(*batch, tf, target)`` p, the precisions of the prior. Batches broadcast, that of z too.
    shift
        ``(*batch, target, tf)`` η.
    grams
        G. Constants: they get no gradient.
    couplings
        `couplings` of the mask.

    Raises
    ------
    torch.linalg.LinAlgError
        Some Λ is not positive definite; asked for what is drawn or read, not when made.
    """

    centre: Tensor
    noise: Tensor
    weight: Tensor
    shift: Tensor
    grams: Grams
    couplings: Couplings

    @property
    def mean(self) -> Tensor:
        return self._mean_and_logs[0]

    @property
    def log_root(self) -> Tensor:
        return self._mean_and_logs[1]

    @cached_property
    def _mean_and_logs(self) -> tuple[Tensor, Tensor]:
        mean, _, log_root, _ = self._solved(torch.zeros_like(self.shift), factors=False)
        return self.centre.T + mean, log_root

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        mean, _, _, factor = self._solved(torch.zeros_like(self.shift), factors=True)
        return self.centre.T + mean, factor

    def draw(self, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if noise is None:
            noise = torch.randn_like(self.shift)
        mean, step, log_root, _ = self._solved(noise, factors=False)
        log_density = log_root.sum(-1) - 0.5 * noise.square().sum(-1) - 0.5 * math.log(2 * math.pi) * noise.shape[-1]
        return (self.centre.T + mean + step).transpose(-1, -2), log_density

    def _solved(self, noise: Tensor, *, factors: bool) -> list[Tensor]:
        """As `_Solution`, in the shapes and the precision of the block."""
        parts = self.noise.mT, self.weight.mT, self.shift, noise  # (*batch, column, row or 1)
        batch = broadcast_shapes(*(v.shape[:-2] for v in parts))
        # a leading axis, so that there is one to flatten
        every = [v.expand(1, *batch, *v.shape[-2:]).flatten(0, -3).transpose(0, 1).double() for v in parts]
        given = every[0][..., 0], *every[1:]  # (column, batch), (column, batch, row)
        order, rank, groups = self.couplings
        shared, _, own, cut, _ = self.grams
        cut = torch.cat([cut, cut.new_zeros(1, cut.shape[1])])  # what those with fewer than most are filled up with
        tensors = [order, rank]  # one by one: a traced graph knows tensors that it is given, not what holds them
        for row, mask, place, cuts, is_own, is_full in groups:
            masking = mask[:, :0] if is_full else mask  # of a whole one there is nothing to do
            tensors += [row, masking, place, cuts, own if is_own else shared[None], cut]
        # without gradients, inputs that are views of parameters say that they want one all the same
        found = _Solution.apply(factors, torch.is_grad_enabled(), *given, *tensors)
        return [v.transpose(0, 1).reshape(*batch, *v.shape[:1], *v.shape[2:]).to(self.centre) for v in found]


class _Solution(torch.autograd.Function):
    r"""Means, steps, logarithms of diagonals and factors of columns, ``(column, batch, ...)``, float64.

    In: whether dense factors are wanted (else they are empty), and whether gradients may be; σ² ``(column, batch)``,
    and p, η and z ``(column, batch, row)``; then the tensors of the couplings, which are constants. Out: :math:`m =
    \Lambda^{-1}\eta`, :math:`s = L^{-\top}z`, :math:`\ell = \log\operatorname{diag}L` and L.

    Written by hand for its derivative. With :math:`K = L^{-1}`, gradients :math:`\bar m, \bar s, \bar\ell, \bar L` and
    Φ, which takes the lower triangle and half of the diagonal (Murray 2016, eq. 9-10),

    .. math:: \bar\Lambda = K^\top S K - u m^\top, \quad u = K^\top K\bar m, \quad
              S = \tfrac12\operatorname{diag}\bar\ell - \Phi(z v^\top) + \Phi(L^\top\bar L), \quad v = K\bar s,

    of which only the diagonal is asked for, :math:`\bar p`: as :math:`M\circ G = \sigma^2(\Lambda -
    \operatorname{diag} p)`,

    .. math:: \overline{\sigma^2} = -\frac1{\sigma^2}\Big[\operatorname{tr} S - \bar m^\top m
              - \textstyle\sum_t p_t\bar p_t\Big].

    So the Gram matrices are not read again. Factors of all columns lie side by side only where a gradient is to come,
    until it has; what else is worked on is of a few columns at a time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        factors: bool,
        gradients: bool,
        noise: Tensor,
        weight: Tensor,
        shift: Tensor,
        normal: Tensor,
        *constants: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        order, rank, *tensors = constants
        noise, weight, shift, normal = (v[order] for v in (noise, weight, shift, normal))
        root = weight.sqrt()  # of the rows that are not coupled: there Λ is p
        mean, step, log_root = shift / weight, normal / root, root.log()
        dense = torch.diag_embed(root) if factors else root.new_empty(0, 0)
        parts, lower = _chunks(tensors, weight.shape[1]), []
        is_kept = gradients and any(ctx.needs_input_grad)
        for part in parts:
            L = torch.linalg.cholesky(part.precision(noise, weight))
            if is_kept:
                lower.append(L)
            whitened = torch.linalg.solve_triangular(L, part.take(shift)[..., None], upper=False)
            both = torch.cat([whitened, part.take(normal)[..., None]], dim=-1)
            solved = torch.linalg.solve_triangular(L.mT, both, upper=True)  # (member, batch, size, 2)
            part.put(mean, solved[..., 0])
            part.put(step, solved[..., 1])
            part.put(log_root, L.diagonal(dim1=-2, dim2=-1).log())
            if factors:
                part.put_matrix(dense, L)
        ctx.parts = parts
        ctx.save_for_backward(order, rank, noise, weight, shift, normal, mean, *lower)
        return mean[rank], step[rank], log_root[rank], dense[rank] if factors else dense

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_mean: Tensor | None, of_step: Tensor | None, of_log: Tensor | None, of_factor: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        order, rank, noise, weight, shift, normal, mean, *lower = ctx.saved_tensors
        needed = ctx.needs_input_grad
        of_mean, of_step, of_log = (
            torch.zeros_like(weight) if g is None else g[order] for g in (of_mean, of_step, of_log)
        )
        # rows that are not coupled; the others are put over them
        of_root = of_log / weight.sqrt() - of_step * normal / weight
        if of_factor is not None:
            of_factor = of_factor[order]
            of_root = of_root + of_factor.diagonal(dim1=-2, dim2=-1)
        of_weight = 0.5 * of_root / weight.sqrt() - of_mean * shift / weight**2
        of_shift, of_normal, of_noise = of_mean / weight, of_step / weight.sqrt(), torch.zeros_like(noise)
        for part, L in zip(ctx.parts, lower, strict=True):
            if not (needed[2] or needed[3]):  # neither σ² nor p: two solves, and no inverse
                g, s = (part.take(v)[..., None] for v in (of_mean, of_step))
                part.put(of_shift, torch.cholesky_solve(g, L)[..., 0])
                part.put(of_normal, torch.linalg.solve_triangular(L, s, upper=False)[..., 0])
                continue
            K = torch.linalg.solve_triangular(L, torch.eye(L.shape[-1], dtype=L.dtype, device=L.device), upper=False)
            m, z, p, g, half = (part.take(v) for v in (mean, normal, weight, of_mean, 0.5 * of_log))
            v = _times(K, part.take(of_step))
            u = _times(K.mT, _times(K, g))
            # the diagonal of KᵀSK, where Φ(z vᵀ) is z vᵀ before the diagonal and half of it there
            before = (v[..., None] * K).cumsum(-2).mul_(K)
            found = _times(K.square().mT, half + 0.5 * z * v) - _times(before.mT, z) - u * m
            trace = (half - 0.5 * z * v - g * m).sum(-1)
            if of_factor is not None:
                inner = (L.mT @ part.take_matrix(of_factor)).tril()
                diagonal = inner.diagonal(dim1=-2, dim2=-1)
                diagonal *= 0.5
                found, trace = found + (K * (inner @ K)).sum(-2), trace + diagonal.sum(-1)
            part.put(of_weight, found)
            part.put(of_shift, u)
            part.put(of_normal, v)
            of_noise[part.members] = ((p * found).sum(-1) - trace) / noise[part.members]
        given = [v[rank] for v in (of_noise, of_weight, of_shift, of_normal)]
        return (None, None, *given, *(None,) * (len(needed) - 2 - len(given)))


class _Chunk(NamedTuple):
    """A part of a `Group` of columns, its ``members`` in the order of all, and what is done to their rows; ``mask`` is
    ``(member, 0)`` where it is true."""

    members: slice
    row: Tensor
    mask: Tensor
    place: Tensor
    cut: Tensor
    gram: Tensor
    cuts: Tensor

    def precision(self, noise: Tensor, weight: Tensor) -> Tensor:
        """``(member, batch, size, size)`` Λ of the rows of these columns."""
        gram = self._gram()
        if self.mask.shape[1]:
            gram = gram * (self.mask[:, :, None] & self.mask[:, None, :])
        result = gram[:, None] / noise[self.members, :, None, None]
        diagonal = result.diagonal(dim1=-2, dim2=-1)
        diagonal += self.take(weight)
        return result

    @property
    def _whole(self) -> bool:
        """Whether these rows are all that there are."""
        return self.row.shape[1] == self.gram.shape[1]

    def _gram(self) -> Tensor:
        """``(member, size, size)`` G of the rows of these columns."""
        row, place = self.row, self.place[:, None, None]
        gram = self.gram[self.place] if self._whole else self.gram[place, row[:, :, None], row[:, None, :]]
        if not self.cut.shape[1]:
            return gram.double()
        lost = self.cuts[self.cut[:, :, None], row[:, None, :]].double()  # (member, most, size)
        return gram.double() - lost.mT @ lost

    def take(self, values: Tensor) -> Tensor:
        """``(member, batch, size)`` of ``values`` (column, batch, row)."""
        mine = values[self.members]
        return mine if self._whole else mine.gather(-1, self._rows(mine))

    def put(self, values: Tensor, part: Tensor) -> None:
        """``part`` into the place that `take` takes it from."""
        mine = values[self.members]
        if self._whole:
            mine.copy_(part)
        else:
            mine.scatter_(-1, self._rows(mine), part)

    def take_matrix(self, values: Tensor) -> Tensor:
        """``(member, batch, size, size)`` of ``values`` (column, batch, row, row)."""
        mine = values[self.members]
        return mine if self._whole else mine[self._pairs(mine)]

    def put_matrix(self, values: Tensor, part: Tensor) -> None:
        """``part`` into the place that `take_matrix` takes it from."""
        mine = values[self.members]
        if self._whole:
            mine.copy_(part)
        else:
            mine[self._pairs(mine)] = part

    def _rows(self, mine: Tensor) -> Tensor:
        return self.row[:, None].expand(-1, mine.shape[1], -1)

    def _pairs(self, mine: Tensor) -> tuple[Tensor, ...]:
        member, batch = (torch.arange(n, device=mine.device) for n in mine.shape[:2])
        row = self.row[:, None]
        return member[:, None, None, None], batch[:, None, None], row[..., :, None], row[..., None, :]


def _chunks(tensors: Sequence[Tensor], batch: int) -> list[_Chunk]:
    """Groups, given as all their tensors one after the other, in pieces of limited size for ``batch`` matrices of each
    column."""
    found, start = [], 0
    for i in range(0, len(tensors), 6):
        *split, gram, cuts = tensors[i : i + 6]
        size, most = int(split[0].shape[1]), int(split[3].shape[1])
        largest = 8 * size * max(int(batch) * size, most, 1)  # of no draws nothing
        count = max(1, (GPU_BYTES if gram.is_cuda else CPU_BYTES) // largest)
        for row, mask, place, cut in zip(*(v.split(count) for v in split), strict=True):
            members = slice(start, start + len(row))
            found.append(_Chunk(members, row, mask, place, cut, gram, cuts))
            start += len(row)
    return found


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]
