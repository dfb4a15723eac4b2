r"""`GramStatistics`: one pass over the cells, after which no linear-Gaussian likelihood needs them again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...priors.described import Described
from .cells import Cells
from .checks import constant_genes, some
from .clamped import Clamped, clamped_cells, joined
from .description import facts_of_statistics
from .matrix import rows_at_once
from .memory import require_memory
from .moments import is_constant
from .passes import told
from .running import Running

MATRIX_BYTES = 1e9  # of matrices that perturbed targets have of their own, beyond which rows take their place
WIDER = 2.5  # times as many rows as are worth their time, where there is no memory for matrices
LEAST_LEFT = 1e-3  # share of a row that is its own: float32 knows it to a hundredth or better


@dataclass(frozen=True, eq=False, repr=False)
class GramStatistics(Described):
    r"""Counts, means and centred sums of squares: the exact sufficient statistics of a linear-Gaussian network.

    For each context k with :math:`n_k` cells,

    .. math:: \bar x_k, \qquad C_k = \sum_c (x_c - \bar x_k)_{\mathrm{tf}} (x_c - \bar x_k)^\top, \qquad
              s_{kg} = \sum_c (x_{cg} - \bar x_{kg})^2 .

    They are additive: ``a + b`` are the statistics of both sets of cells (Chan, Golub & LeVeque 1983), over chunks of a
    file, contexts or machines, accumulated in float64 around running means, so that neither the number of cells nor a
    large mean costs digits. Cells in which a target is clamped by an intervention are taken out of that target's
    statistics alone (`Clamped`).

    Attributes
    ----------
    genes, tfs, context_names
        Names of the axes.
    count
        ``(context,)`` number of cells.
    mean
        ``(context, gene)``.
    cross
        ``(context, tf, gene)`` centred cross-products :math:`C_k`.
    square
        ``(context, gene)`` centred squares.
    minimum
        ``(gene,)`` smallest value over all cells: the level of a knock-out where values can be negative.
    clamped
        Corrections for interventions, or ``None``.
    """

    genes: tuple[str, ...]
    tfs: tuple[str, ...]
    context_names: tuple[str, ...]
    count: Tensor
    mean: Tensor
    cross: Tensor
    square: Tensor
    minimum: Tensor
    clamped: Clamped | None = None

    def facts(self) -> dict[str, str]:
        """Their numbers."""
        return facts_of_statistics(self)

    @classmethod
    def from_data(cls, data: Cells, *, chunk_size: int | None = None, cells: range | None = None) -> "GramStatistics":
        """One pass over ``data`` in blocks of ``chunk_size`` cells. Default `rows_at_once`: 8,192, fewer from 2,048
        genes on, a block in float64 then being 134 MB.

        ``cells``: those of a range of step 1 (default all), without reading the others; statistics of parts add up.

        Raises
        ------
        ValueError
            A missing value: there are no such statistics then; more memory than there is.
        """
        data = data.complete()
        size = f"{len(data.tfs)} regulators x {data.num_genes} genes" + f" x {data.num_contexts} contexts"
        require_memory(
            8 * data.num_contexts * len(data.tfs) * data.num_genes,
            f"the statistics of {size}",
            "list fewer candidate regulators, `tfs=`, or keep fewer genes",
        )
        chunk_size = chunk_size or rows_at_once(data.num_columns)
        cells = range(data.num_cells) if cells is None else cells
        sums = Running(data.num_contexts, data.num_genes, data.tf_index)
        for start in range(cells.start, cells.stop, chunk_size):
            stop = min(start + chunk_size, cells.stop)
            sums.add(data.rows(slice(start, stop)), None if data.context is None else data.context[start:stop])
            told("statistics of cells", stop - cells.start, len(cells))
        names = data.genes, data.tfs, data.context_names
        total = cls(*names, sums.count, sums.mean, sums.mirrored(), sums.square, sums.minimum)
        if data.perturbed is None:
            return total
        inside = (data.perturbed[:, 0] >= cells.start) & (data.perturbed[:, 0] < cells.stop)
        if not bool(inside.any()):
            return total
        return replace(total, clamped=clamped_cells(data, data.perturbed[inside]))

    def __add__(self, other: "GramStatistics") -> "GramStatistics":
        """Statistics of the union of two disjoint sets of cells."""
        if (self.genes, self.tfs, self.context_names) != (other.genes, other.tfs, other.context_names):
            raise ValueError(
                "statistics over different genes, TFs or contexts cannot be added: select the same genes and TFs first"
            )
        count = self.count + other.count  # (context,)
        share = other.count / count.clamp_min(1)
        shift = other.mean - self.mean  # (context, gene)
        weight = (self.count * share)[:, None]
        tf = self.tf_index
        return GramStatistics(
            self.genes,
            self.tfs,
            self.context_names,
            count,
            self.mean + share[:, None] * shift,
            self.cross + other.cross + (weight * shift)[:, tf, None] * shift[:, None, :],
            self.square + other.square + weight * shift**2,
            torch.minimum(self.minimum, other.minimum),
            joined(self.clamped, other.clamped),
        )

    @property
    def tf_index(self) -> Tensor:
        position = {gene: i for i, gene in enumerate(self.genes)}
        return torch.tensor([position[t] for t in self.tfs], device=self.cross.device)

    @property
    def scale(self) -> Tensor:
        """``(gene,)`` standard deviation within contexts, pooled: the unit of standardised weights."""
        return (self.square.sum(0) / (self.count.sum() - len(self.count)).clamp_min(1)).sqrt()

    def with_genes(self, genes: Sequence[str]) -> "GramStatistics":
        """Of these genes alone, in this order; candidate regulators that are not among them are dropped.

        Raises
        ------
        ValueError
            No candidate regulator among them.
        """
        position = {gene: i for i, gene in enumerate(self.genes)}
        keep = torch.tensor([position[gene] for gene in genes], device=self.cross.device)
        chosen = set(genes)
        left = [i for i, tf in enumerate(self.tfs) if tf in chosen]
        if not left:
            raise ValueError("none of the candidate regulators is among the selected genes")
        tf = torch.tensor(left, device=self.cross.device)
        moments = (self.mean[:, keep], self.cross[:, tf][:, :, keep], self.square[:, keep], self.minimum[keep])
        names = tuple(genes), tuple(self.tfs[i] for i in left), self.context_names
        clamped = None if self.clamped is None else self.clamped.chosen(keep, tf, len(self.genes))
        return GramStatistics(*names, self.count, *moments, clamped)

    @property
    def constant_genes(self) -> list[str]:
        """Those that do not vary within any context."""
        flags = is_constant(self.count, self.mean, self.square).tolist()
        return [g for g, flag in zip(self.genes, flags, strict=True) if flag]

    def require_variance(self) -> None:
        """Refuse constant genes by name: they can neither regulate nor be explained."""
        constant = self.constant_genes
        if constant:
            raise constant_genes(constant)


@dataclass(frozen=True, eq=False)
class RegressionStatistics:
    r"""Standardised, intervention-corrected statistics of the regressions of every target on every regulator.

    With :math:`\hat w` an anchor near the least-squares solution (self-edge zero), the residual sum of squares is
    expanded around it,

    .. math:: \mathrm{SSE}(w) = \mathrm{SSE}(\hat w) - 2 (w-\hat w)^\top r + (w-\hat w)^\top G (w-\hat w), \qquad r = b
              - G\hat w,

    which is exact for any anchor and keeps all digits in float32 with a million cells, where :math:`y^\top y - 2 w^\top
    b + w^\top G w` cancels.

    ``gram`` ``(context, tf, tf)`` serves every target but those with interventions. A target that few cells are clamped
    of has :math:`G - \sum_r v_r v_r^\top`, v the rows ``left_out`` ``(row, tf)`` of ``left_out_target`` ``(row,)``; of
    the others ``own`` ``(pair,)`` lists them and ``own_gram`` ``(context, pair, tf, tf)`` theirs. ``anchor``,
    ``residual`` ``(context, tf, target)``; ``sse``, ``dof`` ``(context, target)``, where ``dof`` = cells − 1 (the flat
    intercept of each context is integrated out).
    ``tf_mean``, ``target_mean`` ``(context, ·, target)`` recover the intercept.
    """

    gram: Tensor
    own: Tensor
    own_gram: Tensor
    anchor: Tensor
    residual: Tensor
    sse: Tensor
    dof: Tensor
    tf_mean: Tensor
    target_mean: Tensor
    log_count: Tensor
    left_out: Tensor
    left_out_target: Tensor

    @classmethod
    def from_statistics(
        cls, statistics: GramStatistics, *, targets: Sequence[str] | None = None, share: float = 0.0
    ) -> "RegressionStatistics":
        """Standardise, cut clamped cells, and anchor.

        Parameters
        ----------
        statistics
            Of all cells.
        targets
            Default every gene.
        share
            Of the number of regulators: a target of which as many cells are clamped, at the most, has ``left_out``
            rows in place of a matrix, where there is one context, more than half of the cells are left, and of none of
            the rows less than `LEAST_LEFT` is its own (a small difference of large numbers has no digits; nothing is
            where fewer cells are left than there are regulators). Up to `WIDER` times as many, and whatever is their
            own, where all the matrices would take more than `MATRIX_BYTES`. Default none: every such target has a
            matrix.
        """
        statistics.require_variance()
        position = {gene: i for i, gene in enumerate(statistics.genes)}
        column = torch.tensor([position[t] for t in (targets or statistics.genes)], device=statistics.cross.device)
        tf = statistics.tf_index
        scale = statistics.scale
        unit_tf, unit = scale[tf], scale[column]
        gram = statistics.cross[:, :, tf] / (unit_tf[:, None] * unit_tf)
        cross = statistics.cross[:, :, column] / (unit_tf[:, None] * unit)
        square = statistics.square[:, column] / unit**2
        count = statistics.count[:, None].expand(-1, len(column)).clone()
        tf_mean = (statistics.mean[:, tf, None] / unit_tf[:, None]).expand(-1, -1, len(column)).clone()
        target_mean = statistics.mean[:, column] / unit
        cut, inverse = _Cut.none(gram), _ridge(gram)
        if statistics.clamped is not None:
            changed = cross, square, count, tf_mean, target_mean
            cut = _cut(statistics, column, gram, inverse, *changed, unit_tf, unit, share)
        own, own_gram = cut.own, cut.own_gram
        short = (count < 3).any(0)
        if bool(short.any()):
            names = [n for n, s in zip(targets or statistics.genes, short.tolist(), strict=True) if s]
            where = [k for k, s in zip(statistics.context_names, (count < 3).any(1).tolist(), strict=True) if s]
            several = len(statistics.context_names) > 1
            place = f" in context {', '.join(map(repr, where))}" if several else ""
            remedy = "add control cells" + (" or drop the context" if several else "")
            raise ValueError(f"fewer than 3 cells left{place} for targets {some(names)}: {remedy}")
        self_edge = tf[:, None] == column
        anchor = _anchor(inverse, cross, self_edge)
        if len(own):
            for k in range(len(gram)):
                anchor[k][:, own] = _anchor_each(own_gram[k], cross[k][:, own], self_edge[:, own])
        for target, rows in cut.by_target():
            anchor[0][:, target] = _anchor_less(inverse[0], rows, cross[0][:, target], self_edge[:, target])
        product = gram @ anchor
        if len(own):
            product[:, :, own] = torch.einsum("kpst,ktp->ksp", own_gram, anchor[:, :, own])
        for target, rows in cut.by_target():
            product[0][:, target] -= rows.T @ (rows @ anchor[0][:, target])
        residual = cross - product
        sse = (square - (anchor * (cross + residual)).sum(1)).clamp_min(1e-10)
        moments = (tf_mean, target_mean, count.log())
        return cls(gram, own, own_gram, anchor, residual, sse, count - 1, *moments, cut.rows, cut.target)


class _Cut(NamedTuple):
    """As of `RegressionStatistics`: ``own``, ``own_gram``, and ``rows`` of each ``target``."""

    own: Tensor
    own_gram: Tensor
    rows: Tensor
    target: Tensor

    @classmethod
    def none(cls, gram: Tensor) -> "_Cut":
        nowhere = torch.zeros(0, dtype=torch.long, device=gram.device)
        tfs = gram.shape[-1]
        return cls(nowhere, gram.new_zeros(len(gram), 0, tfs, tfs), gram.new_zeros(0, tfs), nowhere)

    def by_target(self) -> Iterator[tuple[int, Tensor]]:
        """Targets, and the rows of each."""
        if len(self.target):
            which, number = self.target.unique_consecutive(return_counts=True)
            yield from zip(which.tolist(), self.rows.split(number.tolist()), strict=True)


def _cut(
    statistics: GramStatistics,
    column: Tensor,
    gram: Tensor,
    inverse: Tensor,
    cross: Tensor,
    square: Tensor,
    count: Tensor,
    tf_mean: Tensor,
    target_mean: Tensor,
    unit_tf: Tensor,
    unit: Tensor,
    share: float,
) -> _Cut:
    """Take each target's clamped cells out of its own statistics, in place; return what its Gram matrix loses."""
    clamped = statistics.clamped
    assert clamped is not None, "called when there are interventions"
    place = {int(c): i for i, c in enumerate(column.tolist())}
    found: dict[int, list[tuple[int, Tensor]]] = {}
    few: dict[int, bool] = {}
    may: dict[int, bool] = {}  # where matrices of all of them take too much
    for i, (k, g) in enumerate(zip(clamped.context.tolist(), clamped.target.tolist(), strict=True)):
        if g not in place:
            continue
        j = place[g]
        n, left = clamped.count[i], count[k, j] - clamped.count[i]
        mean, own_mean = clamped.mean[i] / unit_tf, clamped.own[i] / unit[j]
        factor = n * count[k, j] / left.clamp_min(1)  # with the means of all cells: n_c n_u / n · (n / n_u)²
        dx, dy = mean - tf_mean[k, :, j], own_mean - target_mean[k, j]
        rows = torch.cat([clamped.rows_of(i) / unit_tf, factor.sqrt() * dx[None]])
        found.setdefault(j, []).append((k, rows))
        may[j] = len(gram) == 1 and len(rows) <= WIDER * share * len(unit_tf) and bool(2 * left > count[k, j])
        few[j] = may[j] and len(rows) <= share * len(unit_tf) and _least_left(rows, inverse[0]) > LEAST_LEFT
        cross[k, :, j] -= clamped.cross[i] / (unit_tf * unit[j]) + factor * dx * dy
        square[k, j] -= clamped.square[i] / unit[j] ** 2 + factor * dy**2
        tf_mean[k, :, j] -= dx * n / left.clamp_min(1)
        target_mean[k, j] -= dy * n / left.clamp_min(1)
        count[k, j] = left
    if 8 * gram.numel() * sum(not alone for alone in few.values()) > MATRIX_BYTES:
        few = may
    whole, low = sorted(j for j in found if not few[j]), sorted(j for j in found if few[j])
    own = torch.tensor(whole, dtype=torch.long, device=column.device)
    own_gram = gram[:, None].repeat(1, len(own), 1, 1)
    for p, j in enumerate(whole):
        for k, rows in found[j]:
            own_gram[k, p] -= rows.T @ rows
    parts = [found[j][0][1] for j in low]
    target = [j for j, rows in zip(low, parts, strict=True) for _ in range(len(rows))]
    rows = torch.cat([gram.new_zeros(0, len(unit_tf)), *parts])
    return _Cut(own, own_gram, rows, torch.tensor(target, dtype=torch.long, device=column.device))


def _least_left(rows: Tensor, inverse: Tensor) -> float:
    """The smallest eigenvalue of 1 − A G⁻¹ Aᵀ of ``rows`` A (row, tf): what the other cells do not know of these, of
    which all that is worked out with them, at any shrinkage, has at least as much."""
    eye = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    return float(torch.linalg.eigvalsh(eye - rows @ inverse @ rows.T)[0])


def _ridge(gram: Tensor) -> Tensor:
    """Inverse of ``gram`` with a ridge of 1e-6 of its mean diagonal: the anchor need not be exact, only near."""
    size = gram.shape[-1]
    level = 1e-6 * gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-12)
    regular = gram + level[..., None, None] * torch.eye(size, dtype=gram.dtype, device=gram.device)
    if gram.numel() == 0:
        return regular
    # one by one: of several at a time LAPACK loses the pivots where two threads are at work (torch 2.13)
    return torch.stack([torch.linalg.inv(one) for one in regular.reshape(-1, size, size)]).reshape(regular.shape)


def _anchor(inverse: Tensor, cross: Tensor, self_edge: Tensor) -> Tensor:
    """Least squares for all targets from one ``inverse`` (context, tf, tf) per context; a TF's own coefficient is
    removed by the block-inverse identity."""
    full = inverse @ cross
    row, col = torch.nonzero(self_edge, as_tuple=True)
    anchor = full.clone()
    step = full[:, row, col] / inverse[:, row, row]
    anchor[:, :, col] = full[:, :, col] - inverse[:, :, row] * step[:, None]
    anchor[:, row, col] = 0.0
    return anchor


def _anchor_each(gram: Tensor, cross: Tensor, self_edge: Tensor) -> Tensor:
    """The same for targets that have a Gram matrix each: ``gram`` (pair, tf, tf), ``cross`` (tf, pair)."""
    inverse = _ridge(gram)
    full = torch.einsum("pst,tp->sp", inverse, cross)
    row, pair = torch.nonzero(self_edge, as_tuple=True)
    step = full[row, pair] / inverse[pair, row, row]
    full[:, pair] -= inverse[pair, :, row].T * step
    full[row, pair] = 0.0
    return full


def _anchor_less(inverse: Tensor, rows: Tensor, cross: Tensor, self_edge: Tensor) -> Tensor:
    """The same ``(tf,)`` of one target, without ``rows`` (row, tf) (Woodbury); ``cross`` and ``self_edge`` (tf,)."""
    turned = rows @ inverse
    small = torch.eye(len(rows), dtype=rows.dtype, device=rows.device) - turned @ rows.T
    part = torch.linalg.solve(small, turned)
    full = inverse @ cross + turned.T @ (part @ cross)
    for t in torch.nonzero(self_edge)[:, 0].tolist():
        column = inverse[:, t] + turned.T @ part[:, t]
        full = full - column * (full[t] / column[t])
        full[t] = 0.0
    return full
