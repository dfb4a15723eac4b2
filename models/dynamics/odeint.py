"""torchdiffeq's solvers, imported when the first equation is solved: with them come SciPy's integrators."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

Rate = Callable[[Tensor, Tensor], Tensor]


def odeint(rate: Rate, start: Tensor, times: Tensor, **options: Any) -> Tensor:
    """``(time, *start)``: `torchdiffeq.odeint`, with its options."""
    from torchdiffeq import odeint as solve

    path: Tensor = solve(rate, start, times, **options)
    return path


def odeint_adjoint(rate: Rate, start: Tensor, times: Tensor, **options: Any) -> Tensor:
    """``(time, *start)``: `torchdiffeq.odeint_adjoint`, with its options."""
    from torchdiffeq import odeint_adjoint as solve

    path: Tensor = solve(rate, start, times, **options)
    return path
