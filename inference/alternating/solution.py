r"""FactorBox by alternating least squares: gains given the network, the network given the gains, one factorisation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...models.data.panel import Panel
from .descent import descend
from .penalties import Penalties
from .solver import StackedPanels, choose_ridge
from .steps import Ridge, Split

Progress = Callable[[int, float], None]  # (iteration, cost)


@dataclass(frozen=True, eq=False)
class AlternatingSolution:
    """``W`` (source, target) per unit of level; ``gain`` ε/α and ``bias`` (context, gene); ``cost`` of every
    iteration, Σ (ε φ(X̃W + b) − X)² over free conditions in squared units of X; ``iterations``; ``reason`` it stopped;
    ``penalties`` with the ridge that was used; ``scale`` (gene,) standard deviations that standardise W;
    ``objective`` of every iteration where there are other penalties than a ridge (`descend`), which never rises."""

    W: Tensor
    gain: Tensor
    bias: Tensor
    cost: tuple[float, ...]
    iterations: int
    reason: str
    penalties: Penalties
    scale: Tensor
    objective: tuple[float, ...] = ()


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
    matrix product (`PanelRidge`). The best network seen is returned.

    Those two steps minimise two things, errors of the levels and errors of the logits, which part where a network is
    penalised by more than a ridge: the cost then rises at once. With such penalties the first iteration is the start
    of `descend`, which alternates the same two unknowns on one objective that never rises.

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
    network = (Ridge if penalties.only_ridge else Split)(data, penalties, self_edges)
    costs: list[float] = []
    best = _State(gain, gain, network.keep())
    reason, waited = "budget", 0
    for iteration in range(max_iterations if penalties.only_ridge else 1):
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
    W, gain, bias = network.weights(best.network), best.gain, best.bias
    objective: list[float] = []
    if not penalties.only_ridge and max_iterations > 1:
        W, gain, bias, objective, costs, reason = descend(
            data,
            penalties,
            (W, gain, bias),
            floor=floor,
            self_edges=self_edges,
            max_iterations=max_iterations - 1,
            tol=tol,
            progress=progress,
        )
    W = W / data.scale[:, None]
    return AlternatingSolution(
        W,
        gain,
        bias - data.centre @ W,
        tuple(costs),
        len(costs),
        reason,
        penalties,
        data.scale,
        tuple(objective),
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
