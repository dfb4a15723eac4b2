r"""FactorBox's non-linear least squares by L-BFGS, from the alternating solution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...models.data.panel import Panel
from .penalties import orthogonality_gradient
from .solution import AlternatingSolution, Progress
from .solver import StackedPanels

SMOOTH = 1e-6  # |w| as sqrt(w² + SMOOTH²): far below any standardised weight that matters


@dataclass(frozen=True, eq=False)
class Refined:
    """``solution`` after the refinement (``cost`` its start and end in squared units of X); ``objective`` (start, end)
    of what was minimised, the end never above the start."""

    solution: AlternatingSolution
    objective: tuple[float, float]


def refine(
    panels: Sequence[Panel],
    solution: AlternatingSolution,
    *,
    max_iterations: int = 50,
    progress: Progress | None = None,
) -> Refined:
    r"""Minimise :math:`\tfrac12\sum_{ci}\big((\varepsilon_i\phi(\tilde x_c W_i + b_i) - x_{ci})/u_i\big)^2` plus the
    solution's penalties over W, b and log ε.

    :math:`u_i` is the root mean square of :math:`x(1 - x/\varepsilon)`, the slope of level on drive, at the start:
    errors are in logits, so that the penalties weigh what they did in the alternating fit. Edges that are zero there
    stay zero. Works on the device of the panels in float64.

    Parameters
    ----------
    panels, solution
        As given to, and returned by, `alternate`.
    max_iterations
        Of L-BFGS. Default 50: most of what there is to gain.
    progress
        Called with (iteration, objective).

    Raises
    ------
    ValueError
        What `StackedPanels` refuses; a solution of other genes or contexts; fewer than 1 iteration.
    """
    data = StackedPanels(panels)
    if solution.gain.shape != (len(data.rows), data.num_genes):
        expected = (len(data.rows), data.num_genes)
        raise ValueError(f"solution has gains {tuple(solution.gain.shape)}: expected {expected} of the panels")
    if max_iterations < 1:
        raise ValueError(f"max_iterations={max_iterations}: expected at least 1")
    p = solution.penalties
    start = solution.W * data.scale[:, None]
    present, factor = (start != 0).double(), p.factor(start)
    slope = data.X * (1 - data.X / data.spread(solution.gain))
    unit = data.free_mean(slope.square()).sqrt()
    weight = data.free / data.spread(unit)
    W = start.clone().requires_grad_()
    bias = (solution.bias + data.centre @ solution.W).requires_grad_()
    log_gain = solution.gain.log().requires_grad_()

    def error(W: Tensor, bias: Tensor, log_gain: Tensor) -> Tensor:
        return data.spread(log_gain.exp()) * torch.sigmoid(data.Z @ W + data.spread(bias)) - data.X

    def objective() -> Tensor:
        kept = W * present
        value = (
            0.5 * (error(kept, bias, log_gain) * weight).square().sum()
            + 0.5 * p.chosen * (factor * kept.square()).sum()
        )
        if p.sparsity:
            value = value + p.sparsity * (factor * ((kept.square() + SMOOTH**2).sqrt() - SMOOTH)).sum()
        if p.orthogonality:
            # ¼‖off-diagonal WᵀW‖² is a quarter of W · its gradient
            value = value + 0.25 * p.orthogonality * (kept * orthogonality_gradient(kept)).sum()
        return value

    optimizer = torch.optim.LBFGS(
        [W, bias, log_gain], max_iter=1, history_size=10, line_search_fn="strong_wolfe", tolerance_change=0.0
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective()
        value.backward()
        return value

    with torch.no_grad():
        first = float(objective())
        best, parameters = first, [v.clone() for v in (W, bias, log_gain)]
    reason = "budget"
    done = 0
    for iteration in range(max_iterations):
        optimizer.step(closure)
        with torch.no_grad():
            value = float(objective())
        done = iteration + 1
        if progress is not None:
            progress(iteration, value)
        if not value < best:
            reason = "converged" if value == best else f"objective rose at iteration {iteration}"
            break
        small = best - value <= 1e-9 * abs(best)
        best, parameters = value, [v.detach().clone() for v in (W, bias, log_gain)]
        if small:
            reason = "converged"
            break
    with torch.no_grad():
        kept, bias, log_gain = parameters[0] * present, parameters[1], parameters[2]
        squared = error(kept, bias, log_gain).square()
        cost = (min(solution.cost), float(data.free_sum(squared).sum()))
        raw = kept / data.scale[:, None]
    refined = replace(
        solution, W=raw, gain=log_gain.exp(), bias=bias - data.centre @ raw, cost=cost, iterations=done, reason=reason
    )
    return Refined(refined, (first, best))
