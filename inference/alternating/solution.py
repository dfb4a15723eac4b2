r"""FactorBox by alternating least squares: gains given the network, the network given the gains, one factorisation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...models.data.panel import Panel
from .solver import PanelRidge, StackedPanels, choose_ridge

Progress = Callable[[int, float], None]  # (iteration, cost)
SWEEPS, SETTLED = 300, 3e-4  # of the alternating direction method per iteration, which goes on where the last one ended


@dataclass(frozen=True, eq=False)
class Penalties:
    r"""What a network costs, per standardised weight (source levels in standard deviations, drive in logits):

    .. math:: \tfrac\lambda2\sum k_{ji} W_{ji}^2 + s\sum k_{ji}|W_{ji}| + \tfrac o4\|W^\top W - I\circ W^\top W\|_F^2,
              \qquad k_{ji} = r^{1 - C_{ji}}

    beside half the squared error of the drive.

    Parameters
    ----------
    ridge
        λ. Default ``None``: least leave-one-condition-out error at the starting gains. A panel has about as many
        conditions as genes, so that no ridge at all reproduces it, noise included.
    sparsity
        s, in the units of :math:`X̃^\top y`. Default 0.
    orthogonality
        o, which pulls the columns of W (inputs of different targets) apart. Default 0.
    prior
        ``(gene, gene)`` confidence C in [0, 1] that source regulates target; ``None`` for no preference.
    prior_strength
        r: how many times dearer an edge with confidence 0 is than one with confidence 1. Default 10.

    Raises
    ------
    ValueError
        Negative or non-finite values, a ridge of 0, confidences outside [0, 1], a strength below 1.
    """

    ridge: float | None = None
    sparsity: float = 0.0
    orthogonality: float = 0.0
    prior: Tensor | None = None
    prior_strength: float = 10.0

    def __post_init__(self) -> None:
        if self.ridge is not None and not 0 < self.ridge < float("inf"):
            raise ValueError(f"ridge={self.ridge}: expected a positive number, or None to choose it from the data")
        for name in ("sparsity", "orthogonality"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)}: expected a number of 0 or more")
        if not 1 <= self.prior_strength < float("inf"):
            raise ValueError(f"prior_strength={self.prior_strength}: expected 1 or more")
        if self.prior is not None and not bool(((self.prior >= 0) & (self.prior <= 1)).all()):
            raise ValueError("`prior` has confidences outside [0, 1] or missing: expected (gene, gene) in [0, 1]")

    @property
    def only_ridge(self) -> bool:
        """Whether the network has a closed form."""
        return self.sparsity == 0 and self.orthogonality == 0 and self.prior is None

    @property
    def chosen(self) -> float:
        """The ridge, where it is given or `alternate` has chosen it; ``ValueError`` before."""
        if self.ridge is None:
            raise ValueError("`ridge` is None: expected the number that `alternate` has chosen, `solution.penalties`")
        return self.ridge

    def factor(self, like: Tensor) -> Tensor:
        """k, ``(gene, gene)``, or a one."""
        if self.prior is None:
            return like.new_ones(())
        if self.prior.shape != like.shape:
            raise ValueError(f"`prior` is {tuple(self.prior.shape)}: expected {tuple(like.shape)}, (source, target)")
        return self.prior_strength ** (1 - self.prior.to(like))


@dataclass(frozen=True, eq=False)
class AlternatingSolution:
    """``W`` (source, target) per unit of level; ``gain`` ε/α and ``bias`` (context, gene); ``cost`` of every
    iteration, Σ (ε φ(X̃W + b) − X)² over free conditions in squared units of X; ``iterations``; ``reason`` it stopped;
    ``penalties`` with the ridge that was used; ``scale`` (gene,) standard deviations that standardise W."""

    W: Tensor
    gain: Tensor
    bias: Tensor
    cost: tuple[float, ...]
    iterations: int
    reason: str
    penalties: Penalties
    scale: Tensor


def alternate(
    panels: Sequence[Panel],
    penalties: Penalties = Penalties(),  # frozen
    *,
    self_edges: bool = False,
    margin: float = 0.05,
    max_iterations: int = 100,
    tol: float = 1e-4,
    patience: int = 1,
    progress: Progress | None = None,
) -> AlternatingSolution:
    r"""Fit :math:`\varepsilon_i\,\phi(\sum_j W_{ji}\tilde x_{cj} + b_i) = x_{ci}`, φ logistic, decay 1.

    Alternates :math:`\varepsilon_i \leftarrow \sum_c \phi x / \sum_c \phi^2` and W, b ← penalised least squares of
    :math:`\operatorname{logit}(x/\varepsilon)`. X̃ does not change, so it is factorised once and an iteration is one
    matrix product (`PanelRidge`); penalties other than a ridge take sweeps of the alternating direction method, one
    product each with the same kind of factorisation, as many as settle it (at most 300). The best network seen is
    returned.

    Parameters
    ----------
    panels
        One for every context, sharing W; gain and bias are each context's own. A gene's clamped conditions do not
        enter its equation.
    penalties
        See `Penalties`.
    self_edges
        Let genes regulate themselves, as the published algorithm does. Default False: a gene's own dynamics is its
        decay, and its own level would explain it perfectly.
    margin
        ε stays above the largest free level times (1 + margin), where a logit is finite. The cost is quadratic in ε,
        so the floor is the constrained optimum, and no response is clipped. Default 0.05: no logit above 3, so that
        the largest level of a gene does not decide its equation.
    max_iterations, tol
        Budget, and relative fall of the cost below which it stops. Default 1e-4: the gains still drift at their third
        digit then.
    patience
        Iterations without such a fall before it stops. Default 1: the closed form leaves no noise to wait out.
    progress
        Called with (iteration, cost).

    Raises
    ------
    ValueError
        What `StackedPanels` and `Penalties` refuse; a margin, budget or tolerance out of range.
    """
    if not margin > 0 or max_iterations < 1 or not tol >= 0 or patience < 1:
        raise ValueError(
            f"margin={margin}, max_iterations={max_iterations}, tol={tol}, patience={patience}: expected margin > 0, "
            "tol >= 0, the others at least 1"
        )
    data = StackedPanels(panels)
    floor = data.top() * (1 + margin)
    gain = 2 * data.top()  # the largest level at half the range, until there is a network
    if penalties.ridge is None:
        penalties = replace(penalties, ridge=choose_ridge(data, data.centred(_logit(data, gain))))
    network = (_Ridge if penalties.only_ridge else _Split)(data, penalties, self_edges)
    costs: list[float] = []
    best = _State(gain, gain, network.keep())
    reason, waited = "budget", 0
    for iteration in range(max_iterations):
        response = _logit(data, gain)
        drive = network.update(data.centred(response))
        bias = data.free_mean(response.sub_(drive))
        level = drive.add_(data.spread(bias)).sigmoid_()
        overlap, square = data.free_sum(level * data.X), data.free_sum(level.square())
        updated = torch.maximum(overlap / square, floor)
        error = level.mul_(data.spread(updated)).sub_(data.X)
        cost = float(data.free_sum(error.square_()).sum())
        if cost != cost:
            raise ValueError(
                f"the cost is nan at iteration {iteration}: give a larger ridge or a smaller orthogonality"
            )
        lowest = min(costs, default=float("inf"))
        if cost < lowest:
            best = _State(updated, bias, network.keep())
        waited = 0 if not costs or lowest - cost > tol * lowest else waited + 1
        costs.append(cost)
        if progress is not None:
            progress(iteration, cost)
        if waited == patience:
            reason = "converged" if cost <= lowest else f"cost rose at iteration {iteration}"
            break
        gain = updated
    W = network.weights(best.network)
    W = W / data.scale[:, None]
    return AlternatingSolution(
        W, best.gain, best.bias - data.centre @ W, tuple(costs), len(costs), reason, penalties, data.scale
    )


@dataclass(frozen=True, eq=False)
class _State:
    gain: Tensor
    bias: Tensor  # of centred levels
    network: Tensor  # from which the weights follow


def _logit(data: StackedPanels, gain: Tensor) -> Tensor:
    """``(row, gene)`` logit(x/ε); clamped levels are not used, any finite value does."""
    gain = data.spread(gain)
    return data.usable.div(gain - data.usable).log_()


class _Ridge:
    """Closed form: the network is its response, and weights are computed once, at the end."""

    def __init__(self, data: StackedPanels, penalties: Penalties, self_edges: bool) -> None:
        self.solver = PanelRidge(data, penalties.chosen, self_edges=self_edges)
        self.y = data.X.new_zeros(0)

    def update(self, y: Tensor) -> Tensor:
        self.y = y
        return self.solver.drive(y)

    def keep(self) -> Tensor:
        return self.y  # every iteration has its own

    def weights(self, kept: Tensor) -> Tensor:
        return self.solver.weights(kept)


class _Split:
    r"""Alternating direction method: W from the factorised least squares plus :math:`\tfrac\rho2\|W - V + U\|^2`, V
    from the penalties edge by edge (soft threshold and shrinkage), U their disagreement.

    Orthogonality is smooth but not separable: its gradient at V joins the right-hand side, which holds still at a
    stationary point of the whole; ρ is at least its curvature there.
    """

    def __init__(self, data: StackedPanels, penalties: Penalties, self_edges: bool) -> None:
        self.data, self.penalties, self.self_edges = data, penalties, self_edges
        self.V = self.U = data.X.new_zeros(0)
        self.factor = penalties.factor(data.X.new_empty(data.num_genes, data.num_genes))
        self.solver: PanelRidge | None = None
        self.rho = 0.0

    def update(self, y: Tensor) -> Tensor:
        p = self.penalties
        solver = self.solver if self.solver is not None else self._start(y)
        right = self.data.Z.T @ y
        threshold, shrink = p.sparsity * self.factor, self.rho + p.chosen * self.factor
        for _ in range(SWEEPS):
            pulled = right + self.rho * (self.V - self.U)
            if p.orthogonality:
                pulled -= p.orthogonality * orthogonality_gradient(self.V)
            W = solver.solve(pulled)
            joint = self.rho * (W + self.U)
            V = joint.sign() * (joint.abs() - threshold).clamp_min_(0.0) / shrink
            gap, step, size = float((W - V).norm()), float((V - self.V).norm()), float(V.norm())
            self.U = self.U + W - V
            self.V = V
            # costs of two iterations compare only where each has its own solution, not one on the way
            if max(gap, step) <= SETTLED * size:
                break
        return self.data.Z @ self.V

    def _start(self, y: Tensor) -> PanelRidge:
        first = PanelRidge(self.data, self.penalties.chosen, self_edges=self.self_edges)
        self.V = first.weights(y)
        # between the ridge and the eigenvalues: on a real panel of 300 genes 0.3, 1, 3, 10 times the geometric mean
        # took over 300, 295, 95, 82 sweeps
        mean = self.data.Z.square().sum() / self.data.num_genes
        self.rho = 5 * float((self.penalties.chosen * mean).sqrt())
        if self.penalties.orthogonality:
            largest = float(torch.linalg.matrix_norm(self.V, 2))
            self.rho = max(self.rho, 3 * self.penalties.orthogonality * largest**2)
        self.U = torch.zeros_like(self.V)
        self.solver = PanelRidge(self.data, self.rho, self_edges=self.self_edges)
        return self.solver

    def keep(self) -> Tensor:
        return self.V

    def weights(self, kept: Tensor) -> Tensor:
        return kept


def orthogonality_gradient(W: Tensor) -> Tensor:
    r"""Gradient of :math:`\tfrac14\|W^\top W - I\circ W^\top W\|_F^2`, ``(gene, gene)``."""
    overlap = W.T @ W
    overlap.fill_diagonal_(0.0)
    return W @ overlap
