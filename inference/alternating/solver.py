r"""Ridge regression of every gene on all others, factorised once for all right-hand sides, genes and iterations."""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from ...models.data.panel import Panel

GRID = torch.logspace(-4, 2, 13, dtype=torch.float64)  # of the mean eigenvalue of the Gram matrix
SAMPLE = 256  # targets that choose the ridge: one number, so a sample of genes decides it


class StackedPanels:
    """Contexts under each other: ``X`` (row, gene) levels, ``free`` (row, gene) where a gene keeps its own equation,
    ``Z`` (row, gene) acting levels, centred per context (``centre`` (context, gene)) and in pooled standard deviations
    ``scale`` (gene,); ``usable`` X with clamped levels at the largest free one; ``rows`` the slice of each context.

    Raises
    ------
    ValueError
        Shapes that do not agree, levels that are not positive, constant genes, fewer than two free conditions of a
        gene, hidden inputs.
    """

    def __init__(self, panels: Sequence[Panel]) -> None:
        _check(panels)
        double = lambda name: torch.cat([getattr(p, name) for p in panels]).double()
        self.X, level = double("X"), double("level")
        self.free = ~torch.cat([p.clamped for p in panels])
        ends = torch.tensor([0] + [len(p.X) for p in panels]).cumsum(0).tolist()
        self.rows = [slice(a, b) for a, b in pairwise(ends)]
        self.num_genes = self.X.shape[1]
        self.centre = torch.stack([level[r].mean(0) for r in self.rows])
        self.Z = torch.cat([level[r] - c for r, c in zip(self.rows, self.centre, strict=True)])
        self.scale = (self.Z.square().sum(0) / max(len(self.Z) - len(panels), 1)).sqrt()
        constant = torch.nonzero(self.scale <= 1e-9 * level.abs().amax(0)).flatten().tolist()
        if constant:
            raise ValueError(f"{len(constant)} genes are constant, at columns {constant[:3]}: drop them")
        self.Z /= self.scale
        free = [self.free[r].sum(0).double() for r in self.rows]
        if int(torch.stack(free).min()) < 2:
            gene = int(torch.nonzero((torch.stack(free) < 2).any(0))[0])
            raise ValueError(f"gene at column {gene} is free in fewer than 2 conditions of a context: add conditions")
        self.num_free = torch.stack(free)  # (context, gene)
        self.all_free = bool(self.free.all())
        self.row_context = torch.cat([torch.full((len(p.X),), k, device=self.X.device) for k, p in enumerate(panels)])
        self.cut_gene, self.cut_row = torch.nonzero(~self.free.T, as_tuple=True)  # sorted by gene
        self.usable = self.X
        if not self.all_free:
            self.usable = torch.where(self.free, self.X, self.spread(self.top()))

    def top(self) -> Tensor:
        """``(context, gene)`` largest level among the free conditions."""
        held = torch.where(self.free, self.X, 0.0)
        return torch.stack([held[r].amax(0) for r in self.rows])

    def free_sum(self, values: Tensor) -> Tensor:
        """``(context, gene)`` sums of ``values`` (row, gene) over free conditions."""
        total = torch.stack([values[r].sum(0) for r in self.rows])
        if not self.all_free:  # few are clamped: take them off again
            place = self.row_context[self.cut_row], self.cut_gene
            total.index_put_(place, -values[self.cut_row, self.cut_gene], accumulate=True)
        return total

    def free_mean(self, values: Tensor) -> Tensor:
        """``(context, gene)`` means over free conditions."""
        return self.free_sum(values) / self.num_free

    def spread(self, values: Tensor) -> Tensor:
        """``(row, gene)`` from ``(context, gene)``."""
        return values.expand(len(self.X), -1) if len(self.rows) == 1 else values[self.row_context]

    def centred(self, y: Tensor) -> Tensor:
        """``y`` (row, gene) less its mean over free conditions, zero where clamped."""
        y = y - self.spread(self.free_mean(y))
        y[self.cut_row, self.cut_gene] = 0.0
        return y


def _check(panels: Sequence[Panel]) -> None:
    if not panels:
        raise ValueError("no panels: expected one for every context")
    width = panels[0].X.shape[-1]
    for k, p in enumerate(panels):
        shapes = {"X": tuple(p.X.shape), "level": tuple(p.level.shape), "clamped": tuple(p.clamped.shape)}
        if len(set(shapes.values())) > 1 or p.X.dim() != 2 or p.X.shape[1] != width:
            raise ValueError(f"panel {k} has shapes {shapes}: expected (condition, gene) in each, with {width} genes")
        if p.hidden.shape[1]:
            raise ValueError(f"panel {k} has {p.hidden.shape[1]} hidden inputs: the alternating fit takes none")
        if not bool(((p.X > 0) | p.clamped & (p.X == 0)).all() and torch.isfinite(p.X).all()):
            raise ValueError(f"panel {k} has levels that are zero, negative or missing: expected un-logged intensities")
        if not bool(torch.isfinite(p.level).all()):
            raise ValueError(f"panel {k} has acting levels that are infinite or missing: give levels as `panels_of`")


class PanelRidge:
    r"""Solves, for every target i at once and any number of times,

    .. math:: \min_w \|M_i (y_i - Z w)\|^2 + \lambda \|w\|^2 \quad\text{with}\quad w_i = 0,

    :math:`M_i` the projection off the intercepts and the rows D in which i is clamped. With
    :math:`A = Z^\top Z + \lambda I`, :math:`Q = Z A^{-1}`, :math:`H = Q Z^\top` and y centred over the free rows and
    zero on D, the normal equations

    .. math:: (A - Z_D^\top (M_{DD})^{-1} Z_D)\, w = Z^\top y + \mu e_i

    are those of A with D's responses filled in by q: :math:`w = A^{-1}(Z^\top (y + E_D q) + \mu e_i)`, where

    .. math:: \begin{pmatrix} M_{DD} - H_{DD} & -Q_{Di} \\ -Q_{Di}^\top & -A^{-1}_{ii} \end{pmatrix}
              \begin{pmatrix} q \\ \mu \end{pmatrix} = \begin{pmatrix} H_{D} y \\ Q_{\cdot i}^\top y \end{pmatrix}.

    So the fitted drive of all targets is one product with H and never asks for w. A is factorised in whichever of
    genes and conditions is smaller.
    """

    def __init__(self, panels: StackedPanels, ridge: float, *, self_edges: bool = False) -> None:
        self.panels, self.ridge, self.self_edges = panels, ridge, self_edges
        Z = panels.Z
        rows, genes = Z.shape
        if genes <= rows:
            self.inverse = torch.cholesky_inverse(_cholesky(Z.T @ Z, ridge))
            self.Q = Z @ self.inverse
            self.inverse_diagonal = self.inverse.diagonal().clone()
        else:
            self.Q = torch.cholesky_solve(Z, _cholesky(Z @ Z.T, ridge))
            self.inverse_diagonal = (1 - (Z * self.Q).sum(0)) / ridge
        self.H = self.Q @ Z.T if rows <= 2 * genes else None  # otherwise two thin products are cheaper
        self.pair_target, self.pair_row = panels.cut_gene, panels.cut_row
        self._small_systems()

    @cached_property
    def inverse(self) -> Tensor:
        """A⁻¹ (gene, gene) where the conditions were factorised."""
        return (torch.eye(self.panels.num_genes).to(self.Q) - self.panels.Z.T @ self.Q) / self.ridge

    def _small_systems(self) -> None:
        """Inverse (target, m, m) of the bordered matrices, m the largest number of clamped rows plus the self-edge."""
        p, target, row = self.panels, self.pair_target, self.pair_row
        count = torch.bincount(target, minlength=p.num_genes)
        most = int(count.max())
        self.slot = torch.arange(len(target), device=row.device) - (count.cumsum(0) - count)[target]
        self.width = most + (not self.self_edges)
        small = torch.eye(self.width).to(self.Q).repeat(p.num_genes, 1, 1)
        self.own_H = self.Q[row] @ p.Z.T if self.H is None else self.H[row]  # (pair, row)
        for other in range(most):
            # the row in slot `other` of the same target, where there is one
            first = (count.cumsum(0) - count)[target]
            has = count[target] > other
            mate = row[(first + other).clamp_max(max(len(row) - 1, 0))]
            same = p.row_context[mate] == p.row_context[row]
            size = torch.tensor([r.stop - r.start for r in p.rows], device=row.device)[p.row_context[row]]
            value = (mate == row).double() - same.double() / size - self.own_H.gather(1, mate[:, None]).squeeze(1)
            small[target[has], self.slot[has], other] = value[has]
        if not self.self_edges:
            border = -self.Q[row, target]
            small[target, self.slot, -1] = border
            small[target, -1, self.slot] = border
            small[:, -1, -1] = -self.inverse_diagonal
        self.small = torch.linalg.inv(small)

    def _corrections(self, at_clamped: Tensor, at_self: Tensor) -> tuple[Tensor, Tensor]:
        """q (pair,) and μ (target,) from H_D y (pair,) and the uncorrected self-edge (target,)."""
        right = at_self.new_zeros(self.panels.num_genes, self.width)
        right[self.pair_target, self.slot] = at_clamped
        if not self.self_edges:
            right[:, -1] = at_self
        solved = (self.small @ right[..., None]).squeeze(-1)
        return solved[self.pair_target, self.slot], at_self * 0 if self.self_edges else solved[:, -1]

    def _filled(self, y: Tensor) -> tuple[Tensor, Tensor]:
        at_clamped = (self.own_H * y.T[self.pair_target]).sum(1)
        q, multiplier = self._corrections(at_clamped, (self.Q * y).sum(0))
        y = y.clone()
        y[self.pair_row, self.pair_target] += q
        return y, multiplier

    def drive(self, y: Tensor) -> Tensor:
        """``(row, gene)`` Z w of every target for centred responses ``y`` (row, gene): one matrix product."""
        y, multiplier = self._filled(y)
        fitted = self.Q @ (self.panels.Z.T @ y) if self.H is None else self.H @ y
        return fitted if self.self_edges else fitted.addcmul_(self.Q, multiplier)

    def weights(self, y: Tensor) -> Tensor:
        """``(gene, gene)`` standardised w of every target, in columns."""
        y, multiplier = self._filled(y)
        W = self.Q.T @ y
        if not self.self_edges:
            W = (W + self.inverse * multiplier).fill_diagonal_(0.0)
        return W

    def solve(self, right: Tensor) -> Tensor:
        """``(gene, gene)`` w with any right-hand side ``right`` (gene, target) for Zᵀy."""
        W = self.inverse @ right
        q, multiplier = self._corrections(
            (self.panels.Z[self.pair_row] * W.T[self.pair_target]).sum(1), W.diagonal().clone()
        )
        W.index_add_(1, self.pair_target, self.Q[self.pair_row].T * q)
        if not self.self_edges:
            W = (W + self.inverse * multiplier).fill_diagonal_(0.0)
        return W


def _cholesky(gram: Tensor, ridge: float) -> Tensor:
    gram.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if int(failed):
        raise ValueError(f"ridge={ridge:g} leaves the levels collinear to rounding: give a larger one, or None")
    return factor


def choose_ridge(panels: StackedPanels, y: Tensor) -> float:
    r"""Ridge with the least leave-one-condition-out error of standardised responses, one number for all targets.

    One eigendecomposition serves all values: with the self-edge removed, :math:`H_i = H - Q_i Q_i^\top / A^{-1}_{ii}`
    and the error of a condition is its residual over :math:`1 - 1/n - (H_i)_{cc}`. A clamped condition is not scored;
    here (only) its response is left at the mean. At most 256 targets, evenly spread.
    """
    Z = panels.Z
    sample = torch.linspace(0, panels.num_genes - 1, min(SAMPLE, panels.num_genes)).long().unique().to(Z.device)
    y = y[:, sample]
    y = y / y.square().mean(0).sqrt().clamp_min(1e-300)
    if Z.shape[0] <= Z.shape[1]:
        values, left = torch.linalg.eigh(Z @ Z.T)
        values = values.clamp_min(0.0)
        keep = values > 1e-12 * values[-1]
        values, left = values[keep], left[:, keep]
        right = Z[:, sample].T @ left / values.sqrt()  # (sample, eigen)
    else:
        values, vectors = torch.linalg.eigh(Z.T @ Z)
        keep = values > 1e-12 * values[-1]
        values, vectors = values[keep], vectors[:, keep]
        left, right = Z @ vectors / values.sqrt(), vectors[sample]
    each = torch.tensor([1.0 / (r.stop - r.start) for r in panels.rows], dtype=Z.dtype, device=Z.device)
    once = each[panels.row_context][:, None]
    turned, scored = left.T @ y, panels.free[:, sample]
    best, choice = float("inf"), 0.0
    for ridge in (GRID.to(Z) * values.sum() / panels.num_genes).tolist():
        H = values / (values + ridge)
        own = (1 - (right.square() * H).sum(1)) / ridge  # A⁻¹_ii
        Q = left @ ((values.sqrt() / (values + ridge))[:, None] * right.T)  # (row, sample)
        residual = y - left @ (H[:, None] * turned) + Q * ((Q * y).sum(0) / own)
        leverage = (left.square() @ H)[:, None] - Q.square() / own
        error = residual / (1 - once - leverage).clamp_min(1e-6)
        total = float(torch.where(scored, error, 0.0).square().sum())
        if total < best:
            best, choice = total, ridge
    return choice
