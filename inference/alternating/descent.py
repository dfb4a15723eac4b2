r"""FactorBox's alternation on one objective, errors of the levels plus penalties, which never rises."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .penalties import Penalties
from .solver import StackedPanels
from .steps import Ridge, Split

STEEPEST = 4.0  # of drive per share of the gain, at half saturation: there errors are in logits
BOUND = STEEPEST**2 * 0.0771  # no second derivative of half a squared error in the drive is larger
FIRST_CURVATURE, GROWTH, TRIES = 1.0, 1.3, 12  # that of a gene at half saturation; when the objective rises; how often
SETTLED = 1e-6  # of the alternating direction method: what it leaves undone is not to hide a fall of the objective


class Descent(NamedTuple):
    """``W`` (gene, gene) standardised, ``gain`` and ``bias`` (context, gene) of centred levels; ``objective`` and
    ``cost`` (squared error of the levels) of the start and every iteration; ``reason`` it stopped."""

    W: Tensor
    gain: Tensor
    bias: Tensor
    objective: list[float]
    cost: list[float]
    reason: str


def descend(
    data: StackedPanels,
    penalties: Penalties,
    start: tuple[Tensor, Tensor, Tensor],
    *,
    floor: Tensor,
    self_edges: bool,
    max_iterations: int,
    tol: float,
    progress: Callable[[int, float], None] | None = None,
) -> Descent:
    r"""Alternate ε and (W, b) on

    .. math:: F = \tfrac12 \sum_{ci} \Big(\frac{\varepsilon_i\,\phi(\tilde x_c W_i + b_i) - x_{ci}}{u_i}\Big)^2
              + \text{penalties}(W), \qquad u_i = \varepsilon_i^{(0)} / 4,

    so that errors are in logits where a gene is half saturated, and penalties weigh what they do in `alternate`.

    - ε given W is its least squares again, in closed form.
    - W given ε is majorised (Hunter & Lange 2004): half the squared error of a level is no more curved in the drive η
      than L = `BOUND` times :math:`(\varepsilon/\varepsilon^{(0)})^2`, so that F lies below the penalised least squares
      of the responses :math:`\eta - \nabla_\eta F / L`, which touches it at η, and whose minimum the same
      factorisation gives for all targets. L begins at 1 and grows where F would rise: F never does.

    Parameters
    ----------
    data, penalties
        Of the fit; the ridge a number.
    start
        W, ε, b.
    floor
        ``(context, gene)`` least ε.
    self_edges
        As in `alternate`.
    max_iterations, tol
        Budget; relative fall of F below which it has converged.
    progress
        Called with (iteration, F).
    """
    W, gain, bias = start
    walk = _Walk(data, penalties, gain / STEEPEST, floor, self_edges)
    state = walk.at(W, gain, bias)
    objective, cost, reason = [state.objective], [state.cost], "budget"
    for iteration in range(max_iterations):
        level = torch.sigmoid(state.drive)
        best = torch.maximum(data.free_sum(level * data.X) / data.free_sum(level.square()), floor)
        below = walk.step(walk.at(state.W, best, state.bias))
        fall = objective[-1] - below.objective
        state = below
        objective.append(state.objective)
        cost.append(state.cost)
        if progress is not None:
            progress(iteration, state.objective)
        if not math.isfinite(state.objective):
            raise ValueError(f"the objective is {state.objective} at iteration {iteration}: give a larger ridge")
        if fall <= tol * abs(objective[-2]):
            reason = "converged"
            break
    return Descent(state.W, state.gain, state.bias, objective, cost, reason)


class _State(NamedTuple):
    W: Tensor
    gain: Tensor
    bias: Tensor
    drive: Tensor  # (row, gene)
    objective: float
    cost: float


class _Walk:
    """Steps of W and b given ε, at curvatures whose factorisations it keeps."""

    def __init__(
        self, data: StackedPanels, penalties: Penalties, unit: Tensor, floor: Tensor, self_edges: bool
    ) -> None:
        self.data, self.penalties, self.unit, self.floor, self.self_edges = data, penalties, unit, floor, self_edges
        self.curvature = FIRST_CURVATURE
        self.networks: dict[float, Ridge | Split] = {}
        self.before: tuple[Tensor, Tensor, Tensor] | None = None  # W, ε and b at the last step, for momentum
        self.steps = 0

    def at(self, W: Tensor, gain: Tensor, bias: Tensor) -> _State:
        """A state, with its objective."""
        data = self.data
        drive = data.Z @ W + data.spread(bias)
        squared = (data.spread(gain) * torch.sigmoid(drive) - data.X).square()
        total = data.free_sum(squared)
        objective = 0.5 * float((total / self.unit.square()).sum()) + float(self.penalties.cost(W))
        return _State(W, gain, bias, drive, objective, float(total.sum()))

    def step(self, state: _State) -> _State:
        """A state of a lower objective; itself where none is found. From beyond the state, in the direction of the last
        step (Nesterov), and from the state itself where that does not lower the objective."""
        before, self.before = self.before, (state.W, state.gain, state.bias)
        if before is not None:
            self.steps += 1
            share = self.steps / (self.steps + 3)
            on = lambda now, last: now + share * (now - last)
            gain = torch.maximum(on(state.gain, before[1]), self.floor)
            found = self._minimum(self.at(on(state.W, before[0]), gain, on(state.bias, before[2])))
            if found.objective < state.objective:
                return found
            self.steps = 0
        for _ in range(TRIES):
            found = self._minimum(state)
            if found.objective < state.objective:
                return found
            self.curvature *= GROWTH
        return state

    def _minimum(self, state: _State) -> _State:
        """The minimum of the majorising least squares at a state."""
        data, level, L = self.data, torch.sigmoid(state.drive), self.curvature
        network = self.networks.get(L)
        if network is None:
            penalties = self.penalties.over(L)
            ridge = penalties.only_ridge
            make = Ridge if ridge else partial(Split, settled=SETTLED)
            network = self.networks[L] = make(data, penalties, self.self_edges)
        gain = data.spread(state.gain)
        slope = gain * level * (1 - level) * (gain * level - data.X) / data.spread(self.unit).square()
        response = state.drive - slope / L
        network.update(data.centred(response))
        W = network.weights(network.keep())
        return self.at(W, state.gain, data.free_mean(response - data.Z @ W))
