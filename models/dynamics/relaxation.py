r"""Statistics of a time course as a regression: every gene relaxes towards what regulates it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data.checks import constant_genes, some
from ..data.course_checks import check_courses, course_notes
from ..data.expression import ExpressionData
from ..data.transitions import Transitions

# of a path between two measurements; φ is taken as straight between them, which over a twentieth of a gene's range
# errs by less than a thousandth of it
NODES = 20


def straight_paths(transitions: Transitions) -> Tensor:
    """``(node, pair, gene)`` levels on the straight line between both ends of each pair, at NODES + 1 even times."""
    share = torch.linspace(0, 1, NODES + 1, dtype=torch.float64)[:, None, None]
    start, stop = transitions.start.double().cpu(), transitions.stop.double().cpu()
    return start + (stop - start) * share


@dataclass(frozen=True, eq=False)
class Activation:
    r""":math:`\phi(x) = z / (1 + |z|)`, z the level from the middle of the gene's range in units of the range:
    PHOENIX's :math:`\phi_\Sigma` for levels between 0 and 1, whatever the units of the data. ``middle``, ``width``
    (gene,)."""

    middle: Tensor
    width: Tensor

    @classmethod
    def of(cls, transitions: Transitions) -> "Activation":
        """Ranges between the 1% and 99% quantiles of both ends; of a gene that is mostly at one level, of all values.

        Raises
        ------
        ValueError
            Constant genes.
        """
        both = torch.cat([transitions.start, transitions.stop]).double().cpu()
        least, most = both.amin(0), both.amax(0)
        flat = [g for g, same in zip(transitions.genes, (most <= least).tolist(), strict=True) if same]
        if flat:
            raise constant_genes(flat)
        low, high = (both.kthvalue(max(1, round(q * len(both))), dim=0).values for q in (0.01, 0.99))
        low, high = torch.where(high > low, low, least), torch.where(high > low, high, most)
        return cls(0.5 * (low + high), high - low)

    def __call__(self, x: Tensor) -> Tensor:
        """``(..., gene)`` of levels."""
        z = (x - self.middle.to(x)) / self.width.to(x)
        return z / (1 + z.abs())


def kernel_weights(rate: float, dt: Tensor) -> Tensor:
    r"""``(node, pair)`` weights of the nodes in :math:`\int_0^1 k(s) f(s)\,ds`, :math:`k(s) \propto
    e^{-\upsilon\Delta(1-s)}` with integral 1, exact for f that is straight between nodes."""
    a = (rate * dt.double())[None, :]  # (1, pair)
    s = torch.linspace(0, 1, NODES + 1, dtype=torch.float64)[:, None]
    whole = -torch.expm1(-a)
    h = 1.0 / NODES
    # over [s, s + h]: ∫ k = (e(s+h) - e(s)) / whole, and ∫ k (u - s)/h du by parts
    e = torch.exp(-a * (1 - s)) / whole  # (node, pair)
    mass = e[1:] - e[:-1]
    right = e[1:] - mass / (a * h)
    weights = torch.zeros_like(e)
    weights[1:] += right
    weights[:-1] += mass - right
    return weights


@dataclass(frozen=True, eq=False)
class TrajectoryDesign:
    r"""The regression of all targets, rows weighted so that the noise of every pair is that of one end.

    .. math:: g_i(t+\Delta) - d\,g_i(t) = (1-d)\Big(\sum_j W_{ji}F_j + b_i + a_i F_i\Big) + \text{noise}\sqrt{1+d^2},
              \qquad F_j = \int_0^1 k(s)\,\phi(g_j(s))\,ds, \quad d = e^{-\upsilon\Delta}

    divided by :math:`\sqrt{1+d^2}`. ``X`` (pair, tf), ``Y`` (pair, target), ``column`` (pair,) of the intercept; ``MX``
    off the intercept; ``basis`` (target, pair) the target's own :math:`F_i` off the intercept, of length one.
    """

    X: Tensor
    Y: Tensor
    column: Tensor
    MX: Tensor
    basis: Tensor

    @classmethod
    def of(cls, transitions: Transitions, phi: Tensor, rate: float, tf: Tensor, target: Tensor) -> "TrajectoryDesign":
        """``phi`` (node, pair, gene) activations along the paths; ``tf``, ``target`` positions of genes."""
        dt = transitions.dt.double().cpu()
        d = torch.exp(-rate * dt)[:, None]
        width = (1 + d.square()).sqrt()
        F = torch.zeros(phi.shape[1:], dtype=torch.float64)
        for w, block in zip(kernel_weights(rate, dt), phi, strict=True):
            F += w[:, None] * block
        F = F * (1 - d) / width
        start, stop = (v.double().cpu()[:, target] for v in (transitions.start, transitions.stop))
        column = ((1 - d) / width).squeeze(1)
        unit = column / column.norm()
        MF = F - unit[:, None] * (unit @ F)
        own = MF[:, target]
        basis = (own / own.norm(dim=0).clamp_min(1e-12)).T
        return cls(F[:, tf], (stop - d * start) / width, column, MF[:, tf], basis)

    @property
    def projected(self) -> Tensor:
        """``(pair, target)`` responses off intercept and own level."""
        return self.project(self.Y)

    def project(self, y: Tensor) -> Tensor:
        """``(pair, target)`` off intercept and own level."""
        unit = self.column / self.column.norm()
        y = y - unit[:, None] * (unit @ y)
        return y - self.basis.T * (self.basis.T * y).sum(0)

    @property
    def cut(self) -> Tensor:
        """``(target, tf)`` vectors v: the Gram matrix of a target is the shared one less v vᵀ."""
        return self.basis @ self.MX

    @property
    def leverage(self) -> Tensor:
        """``(pair, target)`` share of a pair's noise that intercept and own level follow."""
        unit = self.column / self.column.norm()
        return unit.square()[:, None] + self.basis.square().T

    @property
    def free(self) -> Tensor:
        """``(pair, target)`` all True: nothing is clamped."""
        return torch.ones_like(self.Y, dtype=torch.bool)

    @property
    def drive(self) -> Tensor:
        """``(pair, target)`` responses."""
        return self.Y

    def regressors(self, row: int, target: int) -> Tensor:
        """``(tf,)`` what stands beside a target's weights in a pair."""
        basis = self.basis[target]
        return self.MX[row] - basis[row] * (basis @ self.MX)

    def fitted(self, weight: Tensor) -> Tensor:
        """``(pair, target)`` projected, of ``weight`` (tf, target)."""
        return self.project(self.MX @ weight)

    def standardised(self, scale: Tensor, unit: Tensor) -> "TrajectoryDesign":
        """X in ``scale`` (tf,), Y in ``unit`` (target,)."""
        return replace(self, X=self.X / scale, Y=self.Y / unit, MX=self.MX / scale)


@dataclass(frozen=True, eq=False)
class TrajectoryStatistics:
    """What `TrajectoryNetwork` needs of a time course; standardised as all networks.

    ``rate``; ``gram`` (tf, tf) and ``cut`` (target, tf); ``cross``, ``anchor`` (tf, target); ``square``, ``unit``
    (target,); ``scale`` (tf,); ``dof``.
    """

    genes: tuple[str, ...]
    tfs: tuple[str, ...]
    targets: tuple[str, ...]
    rate: float
    gram: Tensor
    cut: Tensor
    cross: Tensor
    square: Tensor
    anchor: Tensor
    scale: Tensor
    unit: Tensor
    dof: float
    activation: Activation

    @classmethod
    def from_data(
        cls, data: ExpressionData, *, targets: Sequence[str] | None = None, rate: float | None = None
    ) -> "TrajectoryStatistics":
        """The regression; ``rate`` as `TrajectoryNetwork.from_data`.

        Raises
        ------
        ValueError
            Data without times or with missing values, interventions or contexts; too few pairs; genes that do not
            change; a rate that is not positive, targets that are not measured.
        """
        transitions = checked_transitions(data)
        targets = tuple(targets) if targets is not None else data.genes
        position = {gene: i for i, gene in enumerate(data.genes)}
        unknown = [t for t in targets if t not in position]
        if unknown or not targets:
            raise ValueError(f"`targets`: {len(unknown)} not measured: {some(unknown)}. Expected names of genes")
        if rate is not None and not rate > 0:
            raise ValueError(
                f"rate={rate}: expected a positive number, per unit of time, or None for one lifetime in the median gap"
            )
        tf = torch.tensor([position[t] for t in data.tfs])
        target = torch.tensor([position[t] for t in targets])
        activation = Activation.of(transitions)
        phi = activation(straight_paths(transitions))
        if rate is None:
            rate = 1 / float(transitions.dt.double().median())
        design = TrajectoryDesign.of(transitions, phi, rate, tf, target)
        dof = transitions.num_pairs - 2.0
        y = design.projected
        unit = (y.square().sum(0) / dof).sqrt().clamp_min(1e-12)
        scale = (design.MX.square().sum(0) / dof).sqrt()
        design = design.standardised(scale, unit)
        y = design.projected
        gram, cross = design.MX.T @ design.MX, design.MX.T @ y
        row, column = torch.nonzero(tf[:, None] == target, as_tuple=True)
        anchor = _ridge(gram, cross, dof, (row, column))
        return cls(
            genes=data.genes,
            tfs=data.tfs,
            targets=targets,
            rate=rate,
            gram=gram,
            cut=design.cut,
            cross=cross,
            square=y.square().sum(0),
            anchor=anchor,
            scale=scale,
            unit=unit,
            dof=dof,
            activation=activation,
        )


def undisturbed_pairs(data: ExpressionData) -> Transitions:
    """The pairs of a time course of one context without interventions.

    Raises
    ------
    ValueError
        Interventions, several contexts, fewer than eight pairs, rows that are no moments of one system
        (`check_courses`), and as `Transitions.from_data`.
    """
    if data.perturbed is not None and len(data.perturbed):
        raise ValueError("time courses with interventions are not supported: leave out the perturbed trajectories")
    if data.num_contexts > 1:
        raise ValueError("time courses of several contexts: fit them one by one, or leave out the context key")
    check_courses(data)
    transitions = Transitions.from_data(data)
    if transitions.num_pairs < 8:
        raise ValueError(
            f"{transitions.num_pairs} pairs of consecutive times: expected at least 8, add times or trajectories"
        )
    return transitions


def checked_transitions(data: ExpressionData) -> Transitions:
    """`undisturbed_pairs` of a complete time course.

    Raises
    ------
    ValueError
        What `TrajectoryStatistics.from_data` says of the data.
    """
    transitions = undisturbed_pairs(data)
    if not bool(transitions.observed.all()):
        missing = int((~transitions.observed).sum())
        raise ValueError(f"{missing} ends of intervals are missing: fill them in, or drop those cells")
    return transitions


def time_notes(data: ExpressionData) -> list[str]:
    """What a user should know of a time course before it is fitted; one that is none is refused (`check_courses`)."""
    check_courses(data)
    transitions = Transitions.from_data(data)
    low, high = float(transitions.dt.min()), float(transitions.dt.max())
    gaps = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    number = len(transitions.names)
    return [
        f"{transitions.num_pairs} pairs of consecutive times in {number} trajectories, {gaps} apart",
        *course_notes(data),
    ]


def _ridge(gram: Tensor, cross: Tensor, weight: float, own: tuple[Tensor, Tensor]) -> Tensor:
    r"""``(tf, target)`` :math:`(G + \text{weight} I)^{-1} X^\top y_i` without the self-edges ``own``: an anchor need
    only be near."""
    inverse = torch.linalg.inv(gram + weight * torch.eye(len(gram), dtype=gram.dtype))
    anchor = inverse @ cross
    row, col = own
    anchor[:, col] -= inverse[:, row] * (anchor[row, col] / inverse[row, row])
    anchor[row, col] = 0.0
    return anchor
