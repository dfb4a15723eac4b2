r"""Steady states of :class:`Dynamics` for all draws and conditions at once, and trajectories towards them.

A state counts as settled only if it is a linearly stable root of the rate (`stability`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...priors.shapes import broadcast_shapes
from .dynamics import Dynamics, check_conditions
from .odeint import odeint
from .pairs import DENSE_BLOCK, Pairs, blocks, fold, pack
from .stability import dense_is_cheap, is_stable

SETTLED, OSCILLATES, DIVERGES = 0, 1, 2
MEMORY = 5  # of Anderson's acceleration: more gains little and costs memory traffic
RELAXATION = 8  # plain half steps first: they follow the trajectory, so that its basin is the one found
PATIENCE = 60  # steps without halving the residual: this pair is left to the integrator
NUDGE = 1e-3  # in the unit of x: small beside differences between states, large beside rounding
WINDOWS, LIFETIMES = 8, 8.0  # of integration, in mean lifetimes 1/α, for pairs that the iteration left


class Settled(NamedTuple):
    """``x`` (*draw, condition, gene), NaN where not settled, and ``outcome`` (*draw, condition) int8 codes."""

    x: Tensor
    outcome: Tensor


def settle(
    dynamics: Dynamics,
    start: Tensor,
    *,
    inputs: Tensor | None = None,
    clamped: Tensor | None = None,
    tol: float = 1e-8,
    max_steps: int = 500,
) -> Settled:
    r"""The stable steady state that each draw and condition reaches from ``start``, or why there is none.

    .. math:: x = \epsilon \odot \phi(x W + u + b) / \alpha \quad\text{on the free genes}

    Half steps of this map, then Anderson's acceleration of it (Walker and Ni 2011), for all pairs at once, going on
    only with those not yet there. What does not converge, or converges to an unstable point, is integrated
    (from ``start``, its free genes nudged by 1e-3: nothing rests at an unstable point) over 64 mean lifetimes, and
    finished by Newton's method where the trajectory comes to rest. Where several stable states
    exist the one found is usually, but not provably, the one the trajectory from ``start`` would reach. Computed in
    float64, returned in the type of ``start``.

    Gradients flow to W, gain, decay, bias, ``inputs`` and the levels of clamped genes by implicit differentiation:
    with :math:`J^\top \lambda = \partial L/\partial x` on the free genes, :math:`\partial L/\partial\theta =
    -\lambda^\top \partial\dot x/\partial\theta`; one adjoint solve, whatever the number of iterations. Pairs that did
    not settle contribute none.

    Parameters
    ----------
    dynamics
        Parameters with draws.
    start
        ``(*draw, condition, gene)`` or ``(condition, gene)``; holds the levels of clamped genes.
    inputs
        ``(condition, gene)`` u; ``None`` is 0.
    clamped
        ``(condition, gene)`` bool: genes held at the level in ``start``, whose own equation is cut.
    tol
        Largest :math:`|\dot x_i|/\alpha_i` accepted, relative to the larger of 1 and :math:`\max_i |x_i|`.
    max_steps
        Of the iteration; a contracting network takes 10-40.

    Returns
    -------
    Settled
        State and outcome: ``SETTLED`` 0; ``OSCILLATES`` 1: still moving, within bounds, after 64 mean lifetimes (a
        cycle, chaos, or very slow); ``DIVERGES`` 2: grows without bound, possible only where a decay is not positive.

    Raises
    ------
    ValueError
        Where shapes disagree or an option is out of range.

    Examples
    --------
    >>> one = torch.ones(1)
    >>> settle(Dynamics(torch.zeros(1, 1), gain=2 * one, decay=one, bias=0 * one), torch.zeros(1, 1))
    Settled(x=tensor([[1.]]), outcome=tensor([0], dtype=torch.int8))
    """
    if not tol > 0 or max_steps < 1:
        raise ValueError(f"`tol` is {tol} and `max_steps` is {max_steps}: expected a positive number, and at least 1")
    draws = _check(dynamics, start, inputs, clamped)
    begin = start.double().expand(*draws, *start.shape[-2:])
    W, gain, decay, bias = (p.double() for p in (dynamics.W, dynamics.gain, dynamics.decay, dynamics.bias))
    inputs = None if inputs is None else inputs.double()
    with torch.no_grad():
        x, outcome = torch.empty_like(begin), torch.empty(begin.shape[:-1], dtype=torch.int8, device=begin.device)
        for place, pairs in blocks(Dynamics(W, gain, decay, bias, dynamics.envelope), begin.shape, inputs, clamped):
            first = fold(begin.reshape(-1, *begin.shape[-2:])[place], pairs)
            found, codes = _settle_block(pairs, first, tol, max_steps)
            x.view(-1, *x.shape[-2:])[place] = found.reshape(x.view(-1, *x.shape[-2:])[place].shape)
            codes = codes.to(torch.int8)
            outcome.view(-1, outcome.shape[-1])[place] = codes.view(outcome.view(-1, outcome.shape[-1])[place].shape)
    settled = outcome == SETTLED
    x = _Implicit.apply(x, settled, clamped, begin, W, gain, decay, bias, inputs, dynamics.envelope)
    return Settled(torch.where(settled[..., None], x, torch.nan).to(start.dtype), outcome)


def integrate(
    dynamics: Dynamics,
    start: Tensor,
    times: Tensor,
    *,
    inputs: Tensor | None = None,
    clamped: Tensor | None = None,
    rtol: float = 1e-7,
    atol: float = 1e-9,
) -> Tensor:
    r"""``(time, *draw, condition, gene)``: the trajectory from ``start`` at ``times``, by torchdiffeq's dopri5.

    Parameters
    ----------
    dynamics, start, inputs, clamped
        As in :func:`settle`.
    times
        ``(time,)`` increasing, in the unit of :math:`1/\alpha`; ``start`` is the state at ``times[0]``.
    rtol, atol
        Errors of a step accepted; one step size serves all draws and conditions. float32 needs 1e-5 or more.

    Raises
    ------
    ValueError
        Where shapes disagree or times do not increase.

    Examples
    --------
    >>> one = torch.ones(1)
    >>> dynamics = Dynamics(torch.zeros(1, 1), gain=2 * one, decay=one, bias=0 * one)
    >>> integrate(dynamics, torch.zeros(1, 1), torch.tensor([0.0, 20.0]), rtol=1e-5, atol=1e-6)[-1].round(decimals=3)
    tensor([[1.]])
    """
    draws = _check(dynamics, start, inputs, clamped)
    if times.ndim != 1 or len(times) < 2 or not (times.diff() > 0).all():
        raise ValueError(f"`times` has shape {tuple(times.shape)}: expected (time,), two or more, increasing")
    start = start.expand(*draws, *start.shape[-2:])
    return odeint(lambda t, x: dynamics.rate(x, inputs, clamped), start, times, rtol=rtol, atol=atol, method="dopri5")


def _check(dynamics: Dynamics, start: Tensor, inputs: Tensor | None, clamped: Tensor | None) -> torch.Size:
    """The draws that dynamics and start have together; ``ValueError`` where they do not fit."""
    n = dynamics.num_genes
    if start.ndim < 2 or start.shape[-1] != n:
        raise ValueError(f"`start` has shape {tuple(start.shape)}: expected (*draw, condition, gene) with {n} genes")
    check_conditions(start.shape[-2:], inputs, clamped)
    if bad := int((~torch.isfinite(start)).sum()):
        raise ValueError(f"`start` has {bad} values that are not finite: give a starting level to every gene")
    try:
        return broadcast_shapes(dynamics.draw_shape, start.shape[:-2])
    except RuntimeError:
        raise ValueError(
            f"`start` has draws {tuple(start.shape[:-2])}: expected {tuple(dynamics.draw_shape)} as in `dynamics`, "
            f"or none"
        ) from None


class _Implicit(torch.autograd.Function):
    """Attaches to a steady state the derivatives that the implicit function theorem gives it."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        settled: Tensor,
        clamped: Tensor | None,
        start: Tensor,
        W: Tensor,
        gain: Tensor,
        decay: Tensor,
        bias: Tensor,
        inputs: Tensor | None,
        envelope: str,
    ) -> Tensor:
        ctx.save_for_backward(x, settled, clamped, W, gain, decay, bias, inputs)
        ctx.envelope = envelope
        return x.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, settled, clamped, *parameters, inputs = ctx.saved_tensors
        grad = torch.where(settled[..., None], grad, 0.0)
        x = torch.where(settled[..., None], x, 0.0)
        W, gain, decay, bias = (p.detach() for p in parameters)
        dynamics = Dynamics(W, gain, decay, bias, ctx.envelope)
        adjoint = torch.zeros_like(x)
        for place, pairs in blocks(dynamics, x.shape, inputs, clamped):
            at, rhs = (fold(v.reshape(-1, *v.shape[-2:])[place], pairs) for v in (x, grad))
            view = adjoint.view(-1, *x.shape[-2:])
            view[place] = _adjoint(pairs, at, torch.where(pairs.free, rhs, 0.0)).reshape(view[place].shape)
        # the cotangent -λ of the rate gives the gradients of all parameters, and of x the part from clamped levels
        with torch.enable_grad():
            leaves = [v.detach().requires_grad_() for v in (x, *parameters)]
            leaves += [] if inputs is None else [inputs.detach().requires_grad_()]
            W, gain, decay, bias = leaves[1:5]
            dynamics = Dynamics(W, gain, decay, bias, ctx.envelope)
            rate = dynamics.rate(leaves[0], None if inputs is None else leaves[5], clamped)
            along, *grads = torch.autograd.grad(rate, leaves, -adjoint)
        level = None if clamped is None else torch.where(clamped, grad + along, 0.0)
        return None, None, None, level, *grads, *([None] if inputs is None else []), None


def _settle_block(pairs: Pairs, start: Tensor, tol: float, max_steps: int) -> tuple[Tensor, Tensor]:
    def restrict(rows: Tensor, columns: Tensor) -> Callable[[Tensor], Tensor]:
        part = pairs.take(rows, columns)
        pace = part.pace
        return lambda x: x + part.rate(x) / pace

    x, converged = _anderson(restrict, start, tol, max_steps)
    settled = converged & is_stable(pairs, x, converged)
    outcome = torch.where(settled, SETTLED, OSCILLATES)
    if not settled.all():
        _roam(pairs, start, x, outcome, tol)
    return x, outcome


def _anderson(
    restrict: Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]],
    x: Tensor,
    tol: float,
    max_steps: int,
    relaxation: int = RELAXATION,
) -> tuple[Tensor, Tensor]:
    """Fixed points (row, column, gene) of ``restrict(rows, columns)``, and which converged (row, column)."""
    b, c, n = x.shape
    found, converged = x.clone(), torch.zeros(b, c, dtype=torch.bool, device=x.device)
    rows, columns = torch.arange(b, device=x.device), torch.arange(c, device=x.device).expand(b, c)
    step = restrict(rows, columns)
    pending = torch.ones_like(converged)
    best = torch.full((b, c), torch.inf, dtype=x.dtype, device=x.device)
    error = best
    since = torch.zeros(b, c, dtype=torch.long, device=x.device)
    dx, df = (torch.zeros(b, c, MEMORY, n, dtype=x.dtype, device=x.device) for _ in range(2))
    x_last = f_last = x
    for k in range(max_steps):
        f = step(x) - x
        error_last, error = error, f.abs().amax(-1) / x.abs().amax(-1).clamp_min(1)
        row, column = (pending & (error <= tol)).nonzero(as_tuple=True)
        found[rows[row], columns[row, column]] = x[row, column]
        converged[rows[row], columns[row, column]] = True
        better = error < 0.5 * best
        best, since = torch.where(better, error, best), torch.where(better, 0, since + 1)
        pending = pending & (error > tol) & (since < PATIENCE)  # NaN is not pending either
        if not pending.any():
            break
        if k:
            dx[:, :, k % MEMORY], df[:, :, k % MEMORY] = x - x_last, f - f_last
        kept, order = pack(pending)
        if order.numel() < 0.7 * pending.numel():
            at = (kept[:, None], order)
            x, f, dx, df, error, error_last, best, since, pending, columns = (
                v[at] for v in (x, f, dx, df, error, error_last, best, since, pending, columns)
            )
            rows = rows[kept]
            step = restrict(rows, columns)
        worse = error > 4 * error_last
        if worse.any():  # the history misled: begin it afresh from a plain step
            dx[worse], df[worse] = 0.0, 0.0
        x_last, f_last = x, f
        x = x + 0.5 * f if k < relaxation else _extrapolate(x, f, dx, df)
    return found, converged


def _extrapolate(x: Tensor, f: Tensor, dx: Tensor, df: Tensor) -> Tensor:
    """Anderson's step: the residual's part that the last differences explain is taken out of it."""
    gram = df @ df.transpose(-1, -2)  # (row, column, memory, memory)
    size = torch.diagonal(gram, dim1=-2, dim2=-1).sqrt()
    size = torch.where(size > 0, size, 1.0)
    eye = torch.eye(MEMORY, dtype=x.dtype, device=x.device)
    gram = gram / size[..., :, None] / size[..., None, :]
    gram = gram + eye * (torch.diagonal(gram, dim1=-2, dim2=-1) == 0)[..., None] + 1e-12 * eye
    rhs = (df @ f[..., None])[..., 0] / size
    weight = torch.linalg.solve_ex(gram, rhs)[0].nan_to_num(0.0, 0.0, 0.0) / size  # (row, column, memory)
    weight = weight[..., None, :]
    return x + f - (weight @ dx + weight @ df)[..., 0, :]


def _roam(pairs: Pairs, start: Tensor, x: Tensor, outcome: Tensor, tol: float) -> None:
    """Integrate what has not settled; writes states and outcomes in place."""
    # nothing rests at an unstable point, such as 0 in a network without bias: a nudge to the free genes tells
    nudge = torch.randn(start.shape[-1], generator=torch.Generator().manual_seed(0), dtype=x.dtype).to(x.device)
    state, window_peaks = start + NUDGE * nudge * pairs.free, []
    finite_decay = ((pairs.decay > 0) | ~pairs.free).all(-1)
    unit = (pairs.pace * pairs.free).sum(-1, keepdim=True) / pairs.free.sum(-1, keepdim=True).clamp_min(1)
    unit = unit.clamp_min(1e-12)
    limit = 1e6 * (1 + start.abs().amax(-1, keepdim=True) + (pairs.gain / pairs.pace).abs().amax(-1, keepdim=True))
    times = torch.linspace(0, LIFETIMES, 5, dtype=x.dtype, device=x.device)
    for _ in range(WINDOWS):
        if not (outcome == OSCILLATES).any():
            return
        rows, columns = pack(outcome == OSCILLATES)
        at = (rows[:, None], columns)
        part, speed, edge = pairs.take(rows, columns), unit[at], limit[at]

        def rate(t: Tensor, x: Tensor, part: Pairs = part, speed: Tensor = speed, edge: Tensor = edge) -> Tensor:
            # a runaway stops at the limit, so that it does not dictate the others' step size
            return part.rate(x) / speed * (x.abs().amax(-1, keepdim=True) < edge)

        path = odeint(rate, state[at], times, rtol=1e-5, atol=1e-7, method="dopri5")
        state[at] = path[-1]
        peak = torch.zeros_like(unit[..., 0])
        peak[at] = path.abs().amax((0, -1))
        window_peaks.append(peak)
        asked = torch.zeros_like(outcome, dtype=torch.bool)
        f = part.rate(path[-1]) / part.pace
        asked[at] = f.abs().amax(-1) < 0.01 * path[-1].abs().amax(-1).clamp_min(1)
        gone = (outcome == OSCILLATES) & (state.abs().amax(-1) >= limit[..., 0])
        outcome[gone] = DIVERGES
        asked &= outcome == OSCILLATES
        polished, arrived = _newton(pairs, state, asked, tol)
        arrived = arrived & is_stable(pairs, polished, arrived)
        x[arrived] = polished[arrived]
        outcome[arrived] = SETTLED
    early, late = (torch.stack(half).amax(0) for half in (window_peaks[: WINDOWS // 2], window_peaks[WINDOWS // 2 :]))
    outcome[(outcome == OSCILLATES) & ~finite_decay & (late > 1.5 * early)] = DIVERGES  # with decay x stays bounded


def _newton(pairs: Pairs, x: Tensor, asked: Tensor, tol: float) -> tuple[Tensor, Tensor]:
    """Newton's method on the pairs ``asked``; arrived means a root within a tenth of where it began."""
    x, arrived, n = x.clone(), torch.zeros_like(asked), x.shape[-1]
    for some in asked.nonzero().split(max(1, DENSE_BLOCK // (4 * n * n))):
        part, begin = pairs.listed(some), x[some[:, 0], some[:, 1]][:, None]
        at = begin
        for _ in range(8):
            move = torch.linalg.solve_ex(part.free_jacobian(at), part.rate(at)[:, 0])[0]
            at = at - move.nan_to_num(0.0, 0.0, 0.0)[:, None]
        scale = at.abs().amax(-1).clamp_min(1)
        near = (at - begin).abs().amax(-1) < 0.1 * scale
        arrived[some[:, 0], some[:, 1]] = (near & ((part.rate(at) / part.pace).abs().amax(-1) <= tol * scale))[:, 0]
        x[some[:, 0], some[:, 1]] = at[:, 0]
    return x, arrived


def _adjoint(pairs: Pairs, x: Tensor, rhs: Tensor) -> Tensor:
    r""":math:`\lambda` with :math:`J^\top \lambda` = ``rhs`` on the free genes: LU up to 150 genes, else Anderson on
    :math:`\mu = M^\top \mu - g`, :math:`\lambda = \mu/\alpha`, and LU for what that leaves."""
    size = rhs.abs().amax(-1, keepdim=True)
    left = size[..., 0] > 0
    adjoint = torch.zeros_like(rhs)
    n = x.shape[-1]
    if not dense_is_cheap(n) and left.any():
        scale, pace = pairs.slope(x), pairs.pace
        rhs_scaled = rhs / torch.where(size > 0, size, 1.0)
        W_t = pairs.W.transpose(1, 2)

        def restrict(rows: Tensor, columns: Tensor) -> Callable[[Tensor], Tensor]:
            at = (rows[:, None], columns)
            g, s, p, free = rhs_scaled[at], scale[at], pace[at], pairs.free[at]
            excess = p - pairs.decay[at]
            W = W_t if len(rows) == len(W_t) else W_t[rows]
            # J^T λ = (s λ) W^T - α λ: with μ = p λ the fixed point reads μ = ((s μ/p) W^T + (p - α) μ/p) - g
            return lambda mu: torch.where(free, (s * mu / p) @ W + excess * mu / p - g, 0.0)

        mu, done = _anderson(restrict, -rhs_scaled, 1e-11, 500, relaxation=0)
        done &= left
        adjoint[done] = (mu / pace * size)[done]
        left = left & ~done
    for some in left.nonzero().split(max(1, DENSE_BLOCK // (4 * n * n))):
        where = (some[:, 0], some[:, 1])
        J = pairs.listed(some).free_jacobian(x[where][:, None])
        adjoint[where] = torch.linalg.solve(J.transpose(1, 2), rhs[where])
    return adjoint
