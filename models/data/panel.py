r"""Statistics of a perturbation panel: all conditions of the steady state as one regression, for all gains at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .checks import counted, some
from .expression import ExpressionData
from .measured_levels import levels_behind, measured_sd

# of log headroom: 12 Chebyshev nodes on [log 0.05, log 20] interpolate the logit of any level to 1e-4
NODES, REACH = 12, 3.0
LEVELS = ("log", "raw")
RATIOS = 10.0 ** np.arange(-4.0, 1.5, 0.5)  # prior variance of a standardised weight over the noise variance


@dataclass(frozen=True, eq=False)
class Panel:
    """One context of a panel.

    ``X`` (condition, gene) measured levels; ``level`` what the drive is linear in: the same, or their logarithms, with
    knocked-down genes at the level they are clamped to; ``clamped`` (condition, gene) True where a gene's own equation
    is cut; ``hidden`` (condition, factor) orthonormal centred columns, or none.
    """

    X: Tensor
    level: Tensor
    clamped: Tensor
    hidden: Tensor
    measured: Tensor | None = None  # (gene,) sd of the log of a level between measurements; None: levels are exact

    @property
    def floor(self) -> Tensor:
        """``(gene,)`` what a level of zero counts as: half of the least positive one."""
        return 0.5 * torch.where(self.X > 0, self.X, torch.inf).amin(0)

    @property
    def held(self) -> Tensor:
        """``(gene,)`` mean of ``level`` over the conditions that clamp the gene; NaN where none does."""
        return torch.where(self.clamped, self.level, 0.0).sum(0) / self.clamped.sum(0)  # 0/0 is NaN


def panels_of(
    data: ExpressionData,
    *,
    levels: str = "log",
    knockdown: float | None = None,
    hidden: int = 0,
    measurement: float | str = 0.0,
) -> list[Panel]:
    r"""The contexts of ``data`` as panels.

    Parameters
    ----------
    data
        Positive, un-logged levels of every gene in every condition; ``perturbed`` says which genes were knocked down.
    levels
        What the drive is linear in: ``"log"`` (default) levels, so that :math:`\phi(\sum_j W_{ji}\log x_j + b)` is a
        Hill function with exponents W; or ``"raw"`` levels, as the draft has it. A knock-out is far out in logarithms
        and near the others' noise in levels: on DREAM4 the logarithm finds the network and the level does not. A
        clamped level of zero counts as half of the least positive level of its gene, in the fit and in predictions.
    knockdown
        Share of its mean level over the other conditions at which a knocked-down gene acts. Default ``None``: as
        measured. Give it where what is measured is not what acts (protein after RNA interference).
    hidden
        Number of hidden inputs K: the first K principal components of the log levels of a context (a clamped gene at
        its mean), which stand for what the panel did not intend (plates, off-target effects, growth).
    measurement
        Sd of the log of a level between two measurements of the same condition (technical replicates). The drive is
        then linear in the levels behind the measured ones (`levels_behind`). Default 0: levels are taken as exact,
        which is right where most of their noise is the cells' own, and acts. Noise of measurement that is taken for
        the cells' own hides edges; the cells' own taken for noise of measurement hides more.
        ``"controls"``: each gene's own, from the conditions without a knock-down (`measured_sd`); for replicates that
        differ by little else.

    Raises
    ------
    ValueError
        Levels that are not positive, duplicated conditions, genes that too few conditions leave free or that do not
        vary where they are, an unknown ``levels``.
    """
    if levels not in LEVELS:
        raise ValueError(f"levels={levels!r}: expected one of {', '.join(LEVELS)}")
    if knockdown is not None and not 0 <= knockdown <= 1:
        raise ValueError(f"knockdown={knockdown}: expected a share of the gene's own level, from 0 to 1")
    X, clamped = data.complete().X.double(), data.clamped
    low = (X <= 0) & ~clamped | (X < 0)  # a gene that is knocked out may be at zero
    if bool(low.any()):
        genes = [data.genes[i] for i in torch.nonzero(low.any(0)).flatten().tolist()]
        raise ValueError(
            f"{int(low.sum())} levels are zero or negative, in genes {some(genes, 3)}: FactorBox needs un-logged "
            "positive intensities; drop these genes, or undo the logarithm"
        )
    codes = torch.zeros(len(X), dtype=torch.long, device=X.device) if data.context is None else data.context
    panels = []
    for k, name in enumerate(data.context_names):
        rows = codes == k
        panel = _panel(X[rows], clamped[rows], data.genes, name, knockdown, hidden)
        panels.append(_in_levels(panel, levels, measurement))
    return panels


def _panel(X: Tensor, clamped: Tensor, genes: Sequence[str], name: str, knockdown: float | None, hidden: int) -> Panel:
    """With levels as they are measured, or as they act where a gene is knocked down."""
    if len(X) != len(torch.unique(X, dim=0)):
        raise ValueError(f"context {name!r} has conditions with equal values in every gene: drop the copies")
    free = (~clamped).sum(0)
    short = [g for g, n in zip(genes, free.tolist(), strict=True) if n < hidden + 4]
    if short:
        raise ValueError(
            f"context {name!r}: fewer than {hidden + 4} conditions leave genes {some(short, 3)} free: add conditions"
            + (", or fewer hidden inputs" if hidden else "")
        )
    mean = torch.where(clamped, 0.0, X).sum(0) / free
    low, high = torch.where(clamped, torch.inf, X).amin(0), torch.where(clamped, -torch.inf, X).amax(0)
    constant = [g for g, same in zip(genes, (high - low <= 1e-9 * mean).tolist(), strict=True) if same]
    if constant:
        where = "" if name == "all" else f"context {name!r}: "
        raise ValueError(
            f"{where}{counted(constant, 'constant gene')}: {some(constant)}, where they are not knocked down. "
            "Drop them with `data.without_constant_genes()`"
        )
    level = X if knockdown is None else torch.where(clamped, knockdown * mean, X)
    factors = X.new_zeros(len(X), 0)
    if hidden:
        logs = X.log()
        centre = torch.where(clamped, 0.0, logs).sum(0) / free
        factors = torch.linalg.svd(torch.where(clamped, 0.0, logs - centre), full_matrices=False)[0][:, :hidden]
        factors = torch.linalg.qr(factors - factors.mean(0))[0]
    return Panel(X, level, clamped, factors)


def _in_levels(panel: Panel, levels: str, measurement: float | str) -> Panel:
    """What the drive is linear in: logarithms or not, behind their measurement or not."""
    if levels == "raw" and not measurement:
        return panel
    logs = torch.where(panel.level > 0, panel.level, panel.floor).log()
    if measurement:
        measured = measured_sd(logs, panel.clamped, measurement)
        panel = replace(panel, measured=measured)
        logs = levels_behind(logs, panel.clamped, measured)
    return replace(panel, level=logs if levels == "log" else torch.where(panel.clamped, panel.level, logs.exp()))


def panel_notes(data: ExpressionData) -> list[str]:
    """What a user should know of a panel before it is fitted."""
    codes = torch.zeros(data.num_cells, dtype=torch.long) if data.context is None else data.context.cpu()
    touched = data.clamped.any(1).cpu()
    notes = []
    for k, name in enumerate(data.context_names):
        rows = codes == k
        here = "" if data.num_contexts == 1 else f"{name}: "
        number, hit = int(rows.sum()), int((touched & rows).sum())
        notes.append(f"{here}{number} conditions, {hit} with a measured gene knocked down")
        if hit == number:
            notes.append(
                f"{here}no control condition: the undisturbed state is the network's own, near the panel's mean"
            )
    return notes


def logit_of_share(X: Tensor, top: Tensor, log_headroom: Tensor) -> Tensor:
    r"""Drive that holds a gene at level x: :math:`\operatorname{logit}(x/\varepsilon)`, :math:`\varepsilon =
    x_{\max}(1+h)`."""
    rest = (top - X) + top * log_headroom.exp()
    return X.log() - rest.log()


@dataclass(frozen=True, eq=False)
class PanelStatistics:
    r"""What the linearised FactorBox needs of a panel: an exact function of the network W, and of the headroom h by
    interpolation.

    For target i the response is :math:`y_i(h_i) = \operatorname{logit}(x_i/\varepsilon_i)`, the regressors
    :math:`\tilde X` in standard deviations. Intercept, hidden inputs and the conditions in which i is clamped are
    projected out (Frisch and Waugh): with :math:`M` the projection off the columns ``[1, hidden]`` and D the clamped
    rows,

    .. math:: G_i = \tilde X^\top M \tilde X - V_i V_i^\top, \qquad V_i = (M\tilde X)_D^\top (M_{DD})^{-1/2},

    so all targets share one Gram matrix, and a target that was knocked down costs one vector (``cut``) instead of a
    matrix of its own. Shapes: ``gram`` (context, tf, tf); ``cut`` (pair, tf) with ``cut_context``, ``cut_target``
    (pair,); ``cross`` (context, tf, target); ``square``, ``dof``, ``log_headroom``, ``top`` (context, target), at the
    anchor headroom; ``curve_*`` the changes of response at the nodes of the log headroom, as Chebyshev coefficients;
    ``scale`` (gene,) of the levels and ``unit`` (target,) of the responses; means that recover intercepts.
    """

    genes: tuple[str, ...]
    tfs: tuple[str, ...]
    targets: tuple[str, ...]
    context_names: tuple[str, ...]
    gram: Tensor
    cut: Tensor
    cut_context: Tensor
    cut_target: Tensor
    cross: Tensor
    square: Tensor
    dof: Tensor
    log_headroom: Tensor
    top: Tensor
    curve: Tensor  # (context, coefficient, tf, target): X̃ᵀ d
    curve_own: Tensor  # (context, coefficient, target): dᵀ y at the anchor
    curve_square: Tensor  # (context, coefficient, coefficient, target): dᵀ d
    curve_jacobian: Tensor  # (context, coefficient, target)
    log_jacobian: Tensor  # (context, target)
    ratio: Tensor  # (target,)
    scale: Tensor
    unit: Tensor
    level_mean: Tensor  # (context, gene)
    held: Tensor  # (context, gene) mean level at which a gene is clamped, NaN where it never is
    floor: Tensor  # (context, gene) what a level of zero counts as
    tf_mean: Tensor  # (context, tf, target), standardised
    target_mean: Tensor  # (context, target), standardised
    measured: tuple[Tensor, ...] = ()  # by context (gene,), sd of a measurement; none where levels are exact

    @classmethod
    def from_data(
        cls,
        data: ExpressionData,
        *,
        targets: Sequence[str] | None = None,
        levels: str = "log",
        knockdown: float | None = None,
        hidden: int = 0,
        measurement: float | str = 0.0,
        curves: bool = False,
    ) -> "PanelStatistics":
        """One pass over the panel. ``curves``: also the changes with the headroom, NODES times the memory.

        Raises
        ------
        ValueError
            What `panels_of` refuses, constant genes, targets that are not measured.
        """
        targets = tuple(targets) if targets is not None else data.genes
        position = {gene: i for i, gene in enumerate(data.genes)}
        unknown = [t for t in targets if t not in position]
        if unknown or not targets:
            raise ValueError(f"`targets`: {len(unknown)} not measured: {some(unknown)}. Expected names of genes")
        panels = panels_of(data, levels=levels, knockdown=knockdown, hidden=hidden, measurement=measurement)
        tf = torch.tensor([position[t] for t in data.tfs], device=data.device)
        column = torch.tensor([position[t] for t in targets], device=data.device)
        spread = torch.stack([(p.level - p.level.mean(0)).square().sum(0) for p in panels]).sum(0)
        scale = (spread / max(sum(len(p.X) for p in panels) - len(panels), 1)).sqrt()
        own_row, own_column = torch.nonzero(tf[:, None] == column, as_tuple=True)
        nodes = chebyshev_nodes().to(scale)
        designs = [Design.of(p, tf, column, scale) for p in panels]
        # the headroom of every target where its evidence under a ridge is largest
        choice = [_evidence(d, nodes, (own_row, own_column)) for d in designs]
        log_headroom = torch.stack([c[0] for c in choice])
        ratio = torch.stack([c[1] for c in choice]).log().mean(0).exp()
        responses = [d.response(h) for d, h in zip(designs, log_headroom, strict=True)]
        total = torch.stack([y.square().sum(0) for y in responses]).sum(0)
        unit = (total / torch.stack([d.dof for d in designs]).sum(0)).sqrt()
        responses = [y / unit for y in responses]
        stack = lambda values: torch.stack(list(values))
        changes = [
            d.changes(h, nodes, unit) if curves else y.new_zeros(0, *y.shape)
            for d, h, y in zip(designs, log_headroom, responses, strict=True)
        ]
        jacobians = [d.log_jacobian(h, unit) for d, h in zip(designs, log_headroom, strict=True)]
        curve_jacobian = [
            to_coefficients(stack(d.log_jacobian(t.expand_as(h), unit) for t in nodes) - j)
            if curves
            else j.new_zeros(0, *j.shape)
            for d, h, j in zip(designs, log_headroom, jacobians, strict=True)
        ]
        means = [d.means(h, unit) for d, h in zip(designs, log_headroom, strict=True)]
        return cls(
            genes=data.genes,
            tfs=data.tfs,
            targets=targets,
            context_names=data.context_names,
            gram=stack(d.MX.T @ d.MX for d in designs),
            cut=torch.cat([d.cut for d in designs]),
            cut_context=torch.cat([torch.full_like(d.cut_target, k) for k, d in enumerate(designs)]),
            cut_target=torch.cat([d.cut_target for d in designs]),
            cross=stack(d.MX.T @ y for d, y in zip(designs, responses, strict=True)),
            square=stack(y.square().sum(0) for y in responses),
            dof=stack(d.dof for d in designs),
            log_headroom=log_headroom,
            top=stack(d.top for d in designs),
            curve=stack(torch.einsum("ci,kct->kit", d.MX, c) for d, c in zip(designs, changes, strict=True)),
            curve_own=stack(torch.einsum("kct,ct->kt", c, y) for c, y in zip(changes, responses, strict=True)),
            curve_square=stack(torch.einsum("kct,lct->klt", c, c) for c in changes),
            curve_jacobian=stack(curve_jacobian),
            log_jacobian=stack(jacobians),
            ratio=ratio,
            scale=scale,
            unit=unit,
            level_mean=stack(d.level_mean for d in designs),
            held=stack(p.held for p in panels),
            floor=stack(p.floor for p in panels),
            tf_mean=stack(m[0] for m in means),
            target_mean=stack(m[1] for m in means),
            measured=tuple(p.measured for p in panels if p.measured is not None),
        )


@dataclass(frozen=True, eq=False)
class Design:
    """One panel as a regression of ``Y`` (condition, target) levels on standardised ``X`` (condition, tf); ``MX`` is X
    off intercept and hidden inputs."""

    X: Tensor
    MX: Tensor
    Y: Tensor
    free: Tensor  # (condition, target)
    top: Tensor
    basis: Tensor  # orthonormal [1, hidden]
    cut: Tensor
    cut_target: Tensor
    dropped: dict[int, tuple[Tensor, Tensor]]  # by target: its clamped rows, M[:, rows] M_DD^-1
    level_mean: Tensor

    @classmethod
    def of(cls, panel: Panel, tf: Tensor, column: Tensor, scale: Tensor) -> "Design":
        X, Y = panel.level[:, tf] / scale[tf], panel.X[:, column]
        free = ~panel.clamped[:, column]
        one = torch.full((len(X), 1), len(X) ** -0.5, dtype=X.dtype, device=X.device)
        basis = torch.cat([one, panel.hidden], 1)
        MX = X - basis @ (basis.T @ X)
        cut, cut_target, dropped = [X.new_zeros(0, X.shape[1])], [], {}
        for t in torch.nonzero((~free).any(0)).flatten().tolist():
            rows = torch.nonzero(~free[:, t]).flatten()
            M = -basis @ basis[rows].T  # (condition, clamped)
            M[rows, torch.arange(len(rows))] += 1.0
            inner = M[rows]  # M_DD
            factor, failed = torch.linalg.cholesky_ex(inner)
            if int(failed) or float(factor.diagonal().min()) < 1e-6:
                raise ValueError(
                    f"the hidden inputs explain a condition that knocks a gene down (target {t}) entirely: ask for "
                    f"fewer than {basis.shape[1] - 1} hidden inputs"
                )
            cut.append(torch.linalg.solve_triangular(factor, MX[rows], upper=False))
            cut_target += [t] * len(rows)
            dropped[t] = rows, torch.linalg.solve(inner, M.T).T
        top = torch.where(free, Y, 0.0).amax(0)
        places = torch.tensor(cut_target, dtype=torch.long, device=X.device)
        return cls(X, MX, Y, free, top, basis, torch.cat(cut), places, dropped, panel.level.mean(0))

    @property
    def leverage(self) -> Tensor:
        """``(condition,)`` share of a condition's noise that intercept and hidden inputs follow."""
        return self.basis.square().sum(1)

    @property
    def free_levels(self) -> Tensor:
        """``(condition, target)``; clamped ones, which are projected out, at the largest free one."""
        return torch.where(self.free, self.Y, self.top)

    @property
    def dof(self) -> Tensor:
        return (self.free.sum(0) - self.basis.shape[1]).to(self.X)

    def project(self, y: Tensor) -> Tensor:
        """``(condition, target)`` off intercept, hidden inputs and clamped rows."""
        y = y - self.basis @ (self.basis.T @ y)
        for t, (rows, gain) in self.dropped.items():
            y[:, t] -= gain @ y[rows, t]
        return y

    def regressors(self, row: int, target: int) -> Tensor:
        """``(tf,)`` what stands beside a target's weights in a condition once intercept, hidden inputs and the target's
        clamped conditions are projected out."""
        rows, gain = self.dropped.get(target, (None, None))
        return self.MX[row] if gain is None else self.MX[row] - gain[row] @ self.MX[rows]

    def raw(self, log_headroom: Tensor) -> Tensor:
        return logit_of_share(self.free_levels, self.top, log_headroom)

    def response(self, log_headroom: Tensor) -> Tensor:
        """``(condition, target)`` projected responses at ``(target,)`` log headrooms, not yet in units."""
        return self.project(self.raw(log_headroom))

    def changes(self, anchor: Tensor, nodes: Tensor, unit: Tensor) -> Tensor:
        """``(coefficient, condition, target)`` change of the response from the anchor, as Chebyshev coefficients."""
        start = self.raw(anchor)
        return to_coefficients(
            torch.stack([self.project((self.raw(t.expand_as(anchor)) - start) / unit) for t in nodes])
        )

    def log_jacobian(self, log_headroom: Tensor, unit: Tensor) -> Tensor:
        """``(target,)`` Σ log dy/dx over the free conditions, in nats; dy/dx = 1/(x (1 − x/ε))."""
        level = self.free_levels
        epsilon = self.top * (1 + log_headroom.exp())
        each = -level.log() - torch.log1p(-level / epsilon) - unit.log()
        return torch.where(self.free, each, 0.0).sum(0)

    def means(self, log_headroom: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """Means over the free conditions of each target: regressors ``(tf, target)``, response ``(target,)``."""
        weight = self.free.to(self.X) / self.free.sum(0)
        return self.X.T @ weight, (self.raw(log_headroom) * weight).sum(0) / unit


def chebyshev_nodes() -> Tensor:
    """The NODES Chebyshev points of log headroom on [−REACH, REACH]."""
    k = torch.arange(NODES, dtype=torch.float64)
    return REACH * torch.cos(torch.pi * (k + 0.5) / NODES)


def to_coefficients(values: Tensor) -> Tensor:
    """Values at the nodes ``(node, ...)`` → Chebyshev coefficients ``(coefficient, ...)`` (discrete cosine
    transform)."""
    k = torch.arange(NODES, dtype=values.dtype, device=values.device)
    transform = (2.0 / NODES) * torch.cos(torch.pi * k[:, None] * (k + 0.5) / NODES)
    transform[0] *= 0.5
    return torch.einsum("nk,k...->n...", transform, values)


def chebyshev(log_headroom: Tensor) -> Tensor:
    """``(..., coefficient)`` values of the first NODES polynomials at ``log_headroom``, held at the ends of the
    range."""
    x = (log_headroom / REACH).clamp(-1.0, 1.0)
    terms = [torch.ones_like(x), x]
    for _ in range(NODES - 2):
        terms.append(2 * x * terms[-1] - terms[-2])
    return torch.stack(terms, -1)


def _evidence(design: Design, nodes: Tensor, self_edge: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    r"""Headroom and ratio of every target where the evidence under a ridge is largest.

    With :math:`w\sim N(0,\rho\sigma^2)`, flat intercepts and :math:`p(\sigma^2)\propto\sigma^{-2}`, up to a constant

    .. math:: \log p(x\mid h,\rho) = -\tfrac{\nu}{2}\log y^\top A^{-1} y - \tfrac12\log|A| + \sum_c\log
              \frac{dy_c}{dx_c}, \qquad A = I + \rho\tilde X\tilde X^\top,

    plus the log-normal prior of h, the self-edge taken out of A by a rank-one downdate. An approximation in one place:
    the conditions that clamp a target stay in its :math:`\tilde X\tilde X^\top` (one in hundreds; its y has them
    projected out), so that one eigendecomposition serves every target, headroom and ratio. The evidence is interpolated
    over log h.
    """
    values, vectors = torch.linalg.eigh(design.MX.T @ design.MX)
    values = values.clamp_min(0.0)
    row, col = self_edge
    dof, one = design.dof, torch.ones_like(design.top)
    table = []  # (node, ratio, target)
    for node in nodes:
        y = design.response(node * one)
        rotated = vectors.T @ (design.MX.T @ y)  # (eigen, target)
        square = y.square().sum(0)
        jacobian = design.log_jacobian(node * one, one)
        by_ratio = []
        for rho in RATIOS:
            shrink = 1.0 / (1.0 + rho * values)
            quadratic = square - rho * (shrink[:, None] * rotated.square()).sum(0)
            log_det = torch.log1p(rho * values).sum() * one
            inner = (vectors[row] * shrink * rotated[:, col].T).sum(1)
            own = (vectors[row].square() * (shrink * values)).sum(1)
            left = (1 - rho * own).clamp_min(1e-12)
            quadratic[col] += rho * inner.square() / left
            log_det[col] += left.log()
            by_ratio.append(-0.5 * dof * quadratic.clamp_min(1e-12 * square).log() - 0.5 * log_det + jacobian)
        table.append(torch.stack(by_ratio) - 0.5 * node**2)
    coefficients = to_coefficients(torch.stack(table))  # (coefficient, ratio, target)
    fine = torch.linspace(-REACH, REACH, 121, dtype=values.dtype, device=values.device)
    score = torch.einsum("fn,nrt->frt", chebyshev(fine), coefficients)
    best = score.flatten(0, 1).argmax(0)
    ratios = torch.as_tensor(RATIOS, dtype=values.dtype, device=values.device)
    return fine[best // len(RATIOS)], ratios[best % len(RATIOS)]
