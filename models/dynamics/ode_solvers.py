r"""Solvers of PHOENIX's differential equation, all pairs in one solve, and trajectories."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from .compiled_step import solve_steps
from .fixed_step import StepPlan
from .odeint import odeint, odeint_adjoint
from .phoenix_layers import BlowUp, PhoenixParameters, derivative

DOPRI5 = "dopri5"


class Solver(Protocol):
    """Advances ``start`` (*draw, pair, gene) by ``dt`` (pair,), all pairs in one solve."""

    def __call__(
        self, parameters: PhoenixParameters, start: Tensor, dt: Tensor, free: Tensor | None = None
    ) -> Tensor: ...


class FitSolver(Solver, Protocol):
    """A solver with which a model is fitted and kept."""

    @property
    def longest_step(self) -> float:
        """Longest step where steps are fixed; NaN where they adapt."""

    @property
    def text(self) -> list[str]:
        """As files hold it, from which `solver_of` makes it again."""


@dataclass(frozen=True)
class RungeKutta:
    """Order 4 with fixed steps of at most ``step`` (in units of the data's time), each pair with as many as its Δt
    needs.

    Parameters
    ----------
    step
        Default 1, for data in which genes relax within about one unit of time (υ about 1). On the pairs of 350
        simulated genes with noise 0.025 predictions of a trained network then differ from a tight solve by 0.0014 (root
        mean square; at most 0.017); with 0.5, which takes twice as long, by 0.00005 (0.0005). Use 0.5 or `Dopri5`
        where single values must be exact, and set it in proportion where time has another unit.

    Raises
    ------
    ValueError
        ``step`` that is not positive.
    """

    step: float = 1.0

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ValueError(f"RungeKutta(step={self.step}): expected step > 0")

    @property
    def longest_step(self) -> float:
        return self.step

    @property
    def text(self) -> list[str]:
        return [str(self.step)]

    def __call__(self, parameters: PhoenixParameters, start: Tensor, dt: Tensor, free: Tensor | None = None) -> Tensor:
        plan = _plan(dt, self.step)
        sorted_free = None if free is None else free[plan.order]
        result = solve_steps(plan, start[..., plan.order, :], sorted_free, parameters)
        back = torch.argsort(plan.order)
        result = result[..., back, :]
        if not bool(torch.isfinite(result).all()):
            _locate(parameters, start, plan, sorted_free)
        return result


@dataclass(frozen=True)
class Dopri5:
    r"""Adaptive steps (Dormand and Prince), torchdiffeq; :math:`dg/ds = \Delta t\, f(g)` on :math:`s \in [0, 1]`, so
    that pairs of different Δt share one solve and its steps.

    Parameters
    ----------
    rtol, atol
        Tolerances; default 1e-5 and 1e-6, an error far below the noise of any assay. torchdiffeq's own 1e-7, 1e-9 cost
        twice as much.
    adjoint
        Gradients by solving backwards (memory that does not grow with the steps) instead of through the steps.
    """

    rtol: float = 1e-5
    atol: float = 1e-6
    adjoint: bool = False

    def __post_init__(self) -> None:
        if not (self.rtol > 0 and self.atol > 0):
            raise ValueError(f"Dopri5(rtol={self.rtol}, atol={self.atol}): expected both > 0")

    @property
    def longest_step(self) -> float:
        return math.nan

    @property
    def text(self) -> list[str]:
        return [DOPRI5, str(self.rtol), str(self.atol), str(self.adjoint)]

    def __call__(self, parameters: PhoenixParameters, start: Tensor, dt: Tensor, free: Tensor | None = None) -> Tensor:
        calls = 0

        def rescaled(s: Tensor, g: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return dt[:, None] * derivative(parameters, g, free)

        s = dt.new_tensor([0.0, 1.0])
        options: dict[str, Any] = {"rtol": self.rtol, "atol": self.atol, "method": "dopri5"}
        try:
            if self.adjoint:
                solved = odeint_adjoint(rescaled, start, s, adjoint_params=tuple(parameters), **options)
            else:
                solved = odeint(rescaled, start, s, **options)
        except AssertionError as error:  # torchdiffeq's way to say that no step is small enough
            raise BlowUp(f"the solver gave up after {calls} evaluations: {error}", calls) from error
        result: Tensor = solved[-1]
        if not bool(torch.isfinite(result).all()):
            raise BlowUp(f"the solution is not finite after {calls} evaluations of the derivative", calls)
        return result


def solver_of(text: Sequence[str]) -> FitSolver:
    """The solver whose ``text`` this is: the step of `RungeKutta`, or ``dopri5`` and what `Dopri5` takes.

    Raises
    ------
    ValueError
        Text of no solver.
    """
    if text[0] != DOPRI5:
        return RungeKutta(float(text[0]))
    if len(text) != 4 or text[3] not in ("True", "False"):
        raise ValueError(f"{' '.join(text)!r} is no solver: expected {DOPRI5}, two tolerances, and True or False")
    return Dopri5(float(text[1]), float(text[2]), adjoint=text[3] == "True")


PLANS: Any = WeakTensorKeyDictionary()
"""Of durations that are solved again and again, as those of a model are in every step of a fit: a plan is read from the
device once."""


def _plan(dt: Tensor, step: float) -> StepPlan:
    known = PLANS.get(dt)
    if known is None or known[:2] != (dt._version, step):
        known = PLANS[dt] = dt._version, step, StepPlan.of(dt.detach(), step)
    return known[2]


def _locate(parameters: PhoenixParameters, start: Tensor, plan: StepPlan, free: Tensor | None) -> None:
    """Raise `BlowUp` naming the first step of the fixed-step solve whose result is not finite."""
    with torch.no_grad():
        state = start[..., plan.order, :].clone()
        total = len(plan.active)
        for k, n in enumerate(plan.active):
            part = StepPlan(plan.order[:n], plan.size[:n], (n,))
            state[..., :n, :] = solve_steps(part, state[..., :n, :], None if free is None else free[:n], parameters)
            if not bool(torch.isfinite(state).all()):
                bad = int((~torch.isfinite(state)).any(-1).sum())
                raise BlowUp(f"the solution is not finite after step {k + 1} of {total}, in {bad} pairs", k + 1)
    raise BlowUp("the solution is not finite from the start: the starting values are not", 0)


def simulate(
    parameters: PhoenixParameters,
    start: Tensor,
    times: Tensor,
    *,
    solver: Solver,
    clamped: Mapping[int, float] | None = None,
) -> Tensor:
    """``(time, *draw, pair, gene)`` from ``start`` (*draw, pair, gene) at ``times[0]``.

    Parameters
    ----------
    times
        ``(time,)`` increasing.
    clamped
        Level by gene index: those genes start there and stay (a knock-out is 0).

    Raises
    ------
    ValueError
        Times that do not increase, a clamped gene that does not exist.
    BlowUp
        A solution that is not finite.
    """
    if times.ndim != 1 or len(times) < 2 or not bool((times.diff() > 0).all()):
        raise ValueError(f"`times` are {times.tolist()}: expected at least two, increasing")
    free = None
    if clamped:
        outside = [g for g in clamped if not 0 <= g < start.shape[-1]]
        if outside:
            raise ValueError(f"clamped genes {outside}: expected indices of the {start.shape[-1]} genes")
        start, free = start.clone(), torch.ones_like(start[(0,) * (start.ndim - 2)])
        for gene, level in clamped.items():
            start[..., gene], free[:, gene] = level, 0.0
    states = [start]
    for gap in times.diff():
        states.append(solver(parameters, states[-1], gap.expand(start.shape[-2]), free))
    return torch.stack(states)
