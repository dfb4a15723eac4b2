"""`GramNormal`: linear regressions of all targets, observed through their sufficient statistics."""

import math
from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ...priors.shapes import broadcast_shapes
from .designs import Block, Design
from .observable import Observable


class RegressionMoments(NamedTuple):
    """Centred sums that a value of `GramNormal` stands for, float64: ``cross`` (*batch, tf, target) of regressors and
    targets, ``square`` (*batch, target) of targets."""

    cross: Tensor
    square: Tensor


class GramNormal(Observable):
    r"""Targets that are linear in given regressors, as a distribution of their anchored sufficient statistics.

    .. math:: y_i = X_i w_i + \epsilon_i, \quad \epsilon_i\sim N(0, \sigma_i^2 I_{\nu_i}), \qquad
              r_i = X_i^\top(y_i - X_i a_i), \quad s_i = |y_i - X_i a_i|^2

    for each target i, with the regressors given by a `Design`: Gram matrices :math:`G_i = X_i^\top X_i`, an anchor
    :math:`a_i` near the fit, so that float32 keeps its digits, and :math:`\nu_i` degrees of freedom. A value is
    :math:`(r_i, s_i)`: event shape ``(tf + 1,)``, batch shape ``(1, target)``; contexts and draws lead.

    `log_prob` is the density *of the cells* given the regressors, flat intercepts integrated out, which depends on the
    cells through these statistics alone:

    .. math:: -\tfrac{\nu_i}2\log 2\pi\sigma_i^2 - \tfrac12\log n_i
              - \tfrac{1}{2\sigma_i^2}\big[s_i + d_i^\top(G_i d_i - 2 r_i)\big], \qquad d_i = w_i - a_i.

    `sample` draws the statistics exactly, in float64 and without any cell: :math:`r_i = G_i d_i + z_i` with
    :math:`z_i = X_i^\top\epsilon_i \sim N(0, \sigma_i^2 G_i)`, and :math:`s_i = d_i^\top(r_i + z_i) + |\epsilon_i|^2`,
    where the part of :math:`\epsilon_i` in the span of the regressors is the one that made :math:`z_i`, and the rest is
    :math:`\sigma_i^2\chi^2` with the degrees of freedom left.

    Parameters
    ----------
    weight
        ``(*batch, tf, target)`` w.
    noise
        ``(*batch, 1, target)`` or ``(target,)`` σ².
    design
        The given side of the regressions.
    """

    has_rsample = True
    arg_constraints = {  # noqa: RUF012 as every distribution of torch
        "weight": constraints.independent(constraints.real, 2),
        "noise": constraints.positive,
    }

    def __init__(self, weight: Tensor, noise: Tensor, design: Design, validate_args: bool | None = None) -> None:
        self.weight, self.noise, self.design = weight, noise, design
        core = weight.shape[:-2] + (1, weight.shape[-1])
        batch = broadcast_shapes(core, noise.shape, design.dof.shape)
        super().__init__(batch, torch.Size([self._size]), validate_args=validate_args)

    @property
    def num_tfs(self) -> int:
        """Regressors of each target."""
        return self.design.num_tfs

    @property
    def _size(self) -> int:
        return self.num_tfs + 1

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Real numbers, and a positive sum of squares."""
        lengths = [self.num_tfs, 1, *([self._size - self.num_tfs - 1] if self._size > self.num_tfs + 1 else [])]
        kinds = [constraints.real, constraints.positive, constraints.real][: len(lengths)]
        return constraints.independent(constraints.cat(kinds, dim=-1, lengths=lengths), 1)

    def expanded(self, batch_shape: torch.Size) -> TorchDistribution | None:
        """Draws and contexts to the left."""
        if batch_shape[-2:] != self.batch_shape[-2:]:
            return None
        weight = self.weight.expand(*batch_shape[:-2], *self.weight.shape[-2:])
        return self._like(weight, self.noise.expand(batch_shape))

    def _like(self, weight: Tensor, noise: Tensor) -> "GramNormal":
        return type(self)(weight, noise, self.design, validate_args=False)

    # -- density ----
    def density(self, value: Tensor) -> Tensor:
        """``(*batch, 1, target)``."""
        targets = self.design.num_targets
        if value.shape[-1] != self._size or value.shape[-2] not in (1, targets):
            raise ValueError(
                f"a value of shape {tuple(value.shape)}: expected (…, {targets}, {self._size}), for each "
                f"target {self.num_tfs} products with the regressors and a sum of squares, at the anchor"
            )
        if value.dim() < 3 or value.shape[-3] == 1:
            return self._log_density(rows_of(value))
        repeated = [self._log_density(part.mT) for part in value.unbind(-3)]  # a plate across the targets
        return torch.cat(repeated, dim=-2)

    def _log_density(self, rows: Tensor) -> Tensor:
        """``(*batch, 1, target)`` of the statistics of all targets, ``(*batch, row, target)``."""
        half = 0.5 * self.design.dof
        log_prob = -half * (math.log(2 * math.pi) + self.noise.log())
        if self.design.log_count is not None:
            log_prob = log_prob - 0.5 * self.design.log_count
        return log_prob - 0.5 * self._squared_error(rows) / self.noise

    def _squared_error(self, rows: Tensor) -> Tensor:
        return squared_error(self.design, self.weight - self.design.anchor, rows)

    # -- draws ----
    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        tfs, targets = self.num_tfs, self.design.num_targets
        lead = shape[:-2]
        gap = (self.weight - self.design.anchor).double().expand(*lead, tfs, targets)
        scale = self.noise.double().sqrt().expand(shape)[..., 0, :]
        dof = self.design.dof.double().expand(shape)[..., 0, :]
        pieces, columns = [], []
        for context, blocks in _by_context(self.design):
            here = (Ellipsis, context, slice(None)) if context is not None else (Ellipsis, slice(None))
            within = gap if context is None else gap[..., context, :, :]
            parts = [
                _draw(block, within[..., block.column], scale[here][..., block.column], dof[here][..., block.column])
                for block in blocks
            ]
            order = torch.cat([block.column for block in blocks]).argsort()
            pieces.append(torch.cat(parts, dim=-1)[..., order])  # (*lead, tf + 1, target)
            columns.append(context)
        rows = pieces[0] if columns == [None] else torch.stack(pieces, dim=-3)
        rows = torch.cat([rows, rows.new_zeros(*rows.shape[:-2], self._size - tfs - 1, targets)], dim=-2)
        return rows.to(self.weight.dtype).mT.unsqueeze(-3)

    # -- what a value says ----
    def moments(self, value: Tensor) -> RegressionMoments:
        """The centred sums that a value, observed or drawn, stands for: by these, data over the same regressors are
        compared."""
        rows = rows_of(value.double())
        anchor = self.design.anchor
        fitted = self.design.product(anchor.to(self.design.gram)).double()
        residual, sse = rows[..., : self.num_tfs, :], rows[..., self.num_tfs, :]
        return RegressionMoments(residual + fitted, sse + (anchor.double() * (2 * residual + fitted)).sum(-2))


def rows_of(value: Tensor) -> Tensor:
    """``(*batch, row, target)``: a value ``(*batch, 1, target, row)``, the statistics of all targets side by side."""
    return (value.squeeze(-3) if value.dim() > 2 else value).mT


def squared_error(design: Design, step: Tensor, rows: Tensor) -> Tensor:
    """``(*batch, 1, target)`` residual sum of squares ``step`` (*batch, tf, target) away from the anchor, of the
    statistics ``rows`` (*batch, row, target)."""
    tfs = design.num_tfs
    return design.squared_error(step, rows[..., :tfs, :], rows[..., tfs : tfs + 1, :])


def _by_context(design: Design) -> list[tuple[int | None, list[Block]]]:
    found: dict[int | None, list[Block]] = {}
    for block in design.blocks():
        found.setdefault(block.context, []).append(block)
    return sorted(found.items(), key=lambda item: item[0] or 0)


def _draw(block: Block, gap: Tensor, scale: Tensor, dof: Tensor) -> Tensor:
    """``(*lead, tf + 1, column)`` statistics of the targets of a block; ``gap`` d (*lead, tf, column), ``scale`` σ and
    ``dof`` (*lead, column), float64."""
    gram = block.gram.double()
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0), vectors.flip(1)  # falling
    # of a design of rank n at most n directions carry noise: rounding in the Gram matrix makes more, which come last
    rank = int((values > 0).sum())
    root = vectors[:, :rank] * values[:rank].sqrt()  # (tf, direction)
    place = torch.arange(rank, device=gram.device)[:, None]
    carried = (place < dof.unsqueeze(-2)).to(gram)  # (*lead, direction, column)
    u = torch.randn_like(carried) * carried
    left = dof - carried.sum(-2)
    rest = 2 * torch._standard_gamma(0.5 * left.clamp_min(1e-12)) * (left > 0)
    noise = scale.unsqueeze(-2) * (root @ u)  # X'ε
    total = scale.square() * (u.square().sum(-2) + rest)  # |ε|²
    residual = gram @ gap + noise
    sse = (gap * (residual + noise)).sum(-2) + total
    return torch.cat([residual, sse.unsqueeze(-2)], dim=-2)
