r"""`CompiledStep`: the fixed-step solve of `FixedStep` by compiled loops, for float32 on the CPU."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .fixed_step import FixedStep, StepPlan
from .phoenix_layers import PhoenixParameters


class CompiledStep(torch.autograd.Function):
    """As `FixedStep`, to rounding: two to four times as fast where a solve has a handful of pairs, as a step of
    training has (docs/results/phoenix_speed.md)."""

    @staticmethod
    def forward(ctx: Any, plan: StepPlan, g: Tensor, free: Tensor | None, *flat: Tensor) -> Tensor:
        from . import step_loops as loops  # here: numba takes half a second

        p = PhoenixParameters(*flat)
        draw, genes, hidden = g.shape[:-2], g.shape[-1], p.W_sigma.shape[-2]
        width = -(-genes // loops.WIDTH) * loops.WIDTH

        def flattened(value: Tensor) -> Tensor:
            return value.expand(*draw, *value.shape[-2:]).reshape(-1, *value.shape[-2:])

        def padded(value: Tensor) -> Tensor:
            """``(network, row, gene)`` with zeros behind the genes."""
            rows = flattened(value)
            made = rows.new_zeros(*rows.shape[:-1], width)
            made[..., :genes] = rows
            return made

        state, W_sigma, W_pi = padded(g), padded(p.W_sigma), padded(p.W_pi)
        gain = padded(p.upsilon.relu()[..., None, :])
        U = state.new_zeros(len(state), 2 * hidden, width)
        U[:, :hidden, :genes], U[:, hidden:, :genes] = flattened(p.U_sigma).mT, flattened(p.U_pi).mT
        b_sigma, b_pi = (flattened(b[..., None, :])[:, 0].contiguous() for b in (p.b_sigma, p.b_pi))
        clamped = state.new_ones(0, width) if free is None else padded(free)[0]
        rows = 4 * sum(plan.active)
        sigma, pi, excess = (state.new_empty(len(state), rows, width) for _ in range(3))
        z = state.new_empty(len(state), rows, 2 * hidden)
        active = np.array(plan.active)
        kept = (W_sigma, W_pi, U, gain[:, 0], clamped)
        before = [v.numpy() for v in (W_sigma, W_pi, U, b_sigma, b_pi, gain[:, 0], clamped)]
        loops.solve(active, plan.size.numpy(), state.numpy(), *before, *(t.numpy() for t in (sigma, pi, excess, z)))
        ctx.plan, ctx.active, ctx.kept, ctx.tables = plan, active, kept, (sigma, pi, excess, z)
        ctx.save_for_backward(p.upsilon)
        return state[..., :genes].reshape(g.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        from . import step_loops as loops

        (upsilon,) = ctx.saved_tensors
        W_sigma, _, U, *_ = ctx.kept
        sigma, pi, excess, z = ctx.tables
        genes, hidden, shape = upsilon.shape[-1], U.shape[-2] // 2, grads[0].shape
        draw = shape[:-2]
        by_state = W_sigma.new_zeros(len(W_sigma), shape[-2], W_sigma.shape[-1])
        by_state[..., :genes] = grads[0].reshape(-1, *shape[-2:])
        weighted, inner, plain = torch.empty_like(sigma), torch.empty_like(z), torch.zeros_like(W_sigma[:, 0])
        kept = [v.numpy() for v in (*ctx.kept, sigma, excess, z, weighted, inner, plain)]
        loops.gradient(ctx.active, ctx.plan.size.numpy(), by_state.numpy(), *kept)
        by_U = weighted[..., :genes].mT @ z
        by_W_sigma = inner[..., :hidden].mT @ sigma[..., :genes]
        by_W_pi = inner[..., hidden:].mT @ pi[..., :genes]
        bias = inner.sum(-2)
        by_upsilon = plain[:, :genes] * (upsilon.reshape(-1, genes) > 0)
        gradients = (by_W_sigma, by_W_pi, by_U[..., :hidden], by_U[..., hidden:])
        flat = (*gradients, bias[:, :hidden], bias[:, hidden:], by_upsilon)
        shaped = [v.reshape(*draw, *v.shape[1:]) for v in flat]
        return (None, by_state[..., :genes].reshape(shape), None, *shaped)


def solve_steps(plan: StepPlan, g: Tensor, free: Tensor | None, parameters: PhoenixParameters) -> Tensor:
    """``(*draw, pair, gene)`` after the steps of a plan, by loops where there are loops for it (float32 on the CPU),
    otherwise by products of matrices."""
    here = g.device.type == "cpu" and all(v.dtype == torch.float32 for v in (g, plan.size, *parameters))
    if here and all(v.shape[: g.ndim - 2] == g.shape[:-2] for v in parameters):
        return CompiledStep.apply(plan, g, free, *parameters)
    return FixedStep.apply(plan, g, free, *parameters)
