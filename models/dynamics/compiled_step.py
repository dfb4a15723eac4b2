r"""`CompiledStep`: the fixed-step solve of `FixedStep` by compiled loops, for small float32 networks on the CPU."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .fixed_step import FixedStep, StepPlan
from .phoenix_layers import PhoenixParameters

MOST_PAIRS = 100  # of a network, beyond which products of matrices are as fast
MOST_WEIGHTS = 1 << 20  # of a network: more lie outside the cache of a core, and are read again for every four pairs


class CompiledStep(torch.autograd.Function):
    """As `FixedStep`, to rounding, and sooner where a solve has a handful of pairs, as a step of training has
    (docs/results/phoenix_speed.md). To compile the loops takes some ten seconds, once for an installation."""

    @staticmethod
    def forward(ctx: Any, plan: StepPlan, kept: bool, g: Tensor, free: Tensor | None, *flat: Tensor) -> Tensor:
        from . import step_loops as loops  # here: numba takes half a second

        p = PhoenixParameters(*flat)
        genes, hidden = g.shape[-1], p.W_sigma.shape[-2]
        width = -(-genes // loops.WIDTH) * loops.WIDTH

        def flattened(value: Tensor) -> Tensor:
            return value.reshape(-1, *value.shape[-2:])

        def padded(value: Tensor) -> Tensor:
            """``(network, row, gene)`` with zeros behind the genes."""
            rows = flattened(value)
            made = rows.new_zeros(*rows.shape[:-1], width)
            made[..., :genes] = rows
            return made

        state, W_sigma, W_pi = padded(g), padded(p.W_sigma), padded(p.W_pi)
        gain = padded(p.upsilon.relu()[..., None, :])[:, 0]
        U = state.new_zeros(len(state), 2 * hidden, width)
        U[:, :hidden, :genes], U[:, hidden:, :genes] = flattened(p.U_sigma).mT, flattened(p.U_pi).mT
        b_sigma, b_pi = (b.reshape(-1, hidden).contiguous() for b in (p.b_sigma, p.b_pi))
        clamped = state.new_ones(0, width) if free is None else padded(free)[0]
        rows = 4 * sum(plan.active) if kept else plan.active[0]
        sigma, pi, excess = (state.new_empty(len(state), rows, width) for _ in range(3))
        z = state.new_empty(len(state), rows, 2 * hidden)
        given = (W_sigma, W_pi, U, b_sigma, b_pi, gain, clamped, sigma, pi, excess, z)
        loops.solve(np.array(plan.active), plan.size.numpy(), state.numpy(), *(v.numpy() for v in given), kept)
        ctx.plan = plan
        ctx.save_for_backward(p.upsilon, W_sigma, W_pi, U, gain, clamped, sigma, pi, excess, z)
        return state[..., :genes].reshape(g.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        from . import step_loops as loops

        upsilon, W_sigma, W_pi, U, gain, clamped, sigma, pi, excess, z = ctx.saved_tensors
        genes, hidden, shape = upsilon.shape[-1], U.shape[-2] // 2, grads[0].shape
        by_state = W_sigma.new_zeros(len(W_sigma), shape[-2], W_sigma.shape[-1])
        by_state[..., :genes] = grads[0].reshape(-1, *shape[-2:])
        weighted, inner, plain = torch.empty_like(sigma), torch.empty_like(z), torch.zeros_like(gain)
        given = (W_sigma, W_pi, U, gain, clamped, sigma, excess, z, weighted, inner, plain)
        active, size = np.array(ctx.plan.active), ctx.plan.size.numpy()
        loops.gradient(active, size, by_state.numpy(), *(v.numpy() for v in given))
        by_U = weighted[..., :genes].mT @ z
        by_W_sigma = inner[..., :hidden].mT @ sigma[..., :genes]
        by_W_pi = inner[..., hidden:].mT @ pi[..., :genes]
        bias = inner.sum(-2)
        by_upsilon = plain[:, :genes] * (upsilon.reshape(-1, genes) > 0)
        gradients = (by_W_sigma, by_W_pi, by_U[..., :hidden], by_U[..., hidden:])
        flat = (*gradients, bias[:, :hidden], bias[:, hidden:], by_upsilon)
        shaped = [v.reshape(*shape[:-2], *v.shape[1:]) for v in flat]
        return (None, None, by_state[..., :genes].reshape(shape), None, *shaped)


def solve_steps(plan: StepPlan, g: Tensor, free: Tensor | None, parameters: PhoenixParameters) -> Tensor:
    """``(*draw, pair, gene)`` after the steps of a plan: by loops where they are for it, otherwise by products of
    matrices.

    Parameters
    ----------
    plan
        Of the pairs.
    g
        ``(*draw, pair, gene)`` where they start.
    free
        ``(pair, gene)`` 0 where a gene is clamped; ``None`` for none.
    parameters
        Of the same draws as ``g``.
    """
    given = [g, *parameters] if free is None else [g, free, *parameters]
    kept = torch.is_grad_enabled() and any(v.requires_grad for v in given)
    way = CompiledStep if _in_loops(plan, g, free, parameters) else FixedStep
    return way.apply(plan, kept, g, free, *parameters)


def _in_loops(plan: StepPlan, g: Tensor, free: Tensor | None, parameters: PhoenixParameters) -> bool:
    given = [g, plan.size, *parameters] if free is None else [g, plan.size, free, *parameters]
    if any(v.device.type != "cpu" or v.dtype != torch.float32 or v.numel() == 0 for v in given):
        return False
    vectors = {"b_sigma", "b_pi", "upsilon"}
    draws = {value.shape[: -1 if name in vectors else -2] for name, value in parameters._asdict().items()}
    if draws != {g.shape[:-2]} or (free is not None and free.ndim != 2):
        return False
    return g.shape[-2] <= MOST_PAIRS and 4 * parameters.W_sigma.shape[-2] * g.shape[-1] <= MOST_WEIGHTS
