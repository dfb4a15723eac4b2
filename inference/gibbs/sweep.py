r"""One Gibbs sweep over all edges on Gram statistics, vectorised over targets and chains."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from .streams import Source, normal, uniform

# regulators whose residuals are kept current together: 16 to 64 measured alike, smaller wastes the matrix product
BLOCK = 32
# (regulator, column) weights of a fit, columns being targets times chains, from which the inner loop is compiled: its
# calls take most of the time up to a hundred thousand, and of smaller networks less than numba takes to be loaded
FEW = 30_000


@dataclass(eq=False)
class EdgeGroup:
    """Targets that share a Gram matrix (all that are never perturbed), or have one each.

    Leading dimensions: context k, block b (fits side by side, mostly 1; or the targets with their own Gram matrix),
    regulator t, column n (chain × target, or chain).

    ``gram`` (k, b, t, t); ``residual`` (k, b, t, n) is r = b − G ŵ at the anchor; ``anchor`` likewise; ``columns``
    (target,) which targets these are, ``None`` for all of them (then nothing has to be gathered).
    """

    gram: Tensor
    anchor: Tensor
    residual: Tensor
    columns: Tensor | None
    shared: bool

    def pack(self, value: Tensor) -> Tensor:
        """``(*k, chain, tf, target)`` for all targets → ``(*k, b, tf, n)`` for this group's; the chains of a fit are
        one after the other."""
        if self.columns is not None:
            value = value[..., self.columns]
        if self.shared:  # (..., fit * chain, tf, target) -> (..., fit, tf, chain * target)
            return value.unflatten(-3, (self.gram.shape[1], -1)).movedim(-3, -2).flatten(-2)
        return value.movedim(-1, -3).movedim(-2, -1)  # (..., target, tf, chain)

    def unpack(self, value: Tensor, out: Tensor) -> None:
        """Write ``(*k, b, tf, n)`` into this group's columns of ``out`` ``(*k, chain, tf, target)``."""
        if self.shared:
            chains = out.shape[-3] // self.gram.shape[1]
            value = value.unflatten(-1, (chains, -1)).movedim(-2, -3).flatten(-4, -3)
        else:
            value = value.movedim(-1, -2).movedim(-3, -1)
        if self.columns is None:
            out.copy_(value)
        else:
            out[..., self.columns] = value


@dataclass(eq=False)
class EdgePriorState:
    """The prior of every edge given the hyperparameters, each broadcastable to ``(chain, tf, target)``.

    ``logit`` of inclusion; ``slab`` and ``spike`` variances; ``loc`` the slab's mean or ``None`` for zero; ``allowed``
    0/1.
    """

    logit: Tensor
    slab: Tensor
    spike: Tensor
    loc: Tensor | None
    allowed: Tensor


@cache
def _compiled() -> Callable[..., None]:
    """`columns.draw_block` on tensors: ``read`` are only read, ``state`` and the others written."""
    from .columns import draw_block  # here: numba takes half a second

    def on_tensors(
        start: int, current: Tensor, read: Sequence[Tensor], noise: Sequence[Tensor], state: Sequence[Tensor]
    ) -> None:
        of = lambda values: tuple(value.contiguous().numpy() for value in values)
        gram, precision, odds, slab, spike, pull, allowed = of(read)
        *written, step = (value.numpy() for value in state)
        draw_block(
            start, gram, current.numpy(), precision, odds, slab, spike, pull, of(noise), allowed, tuple(written), step
        )

    return on_tensors


def sweep(
    group: EdgeGroup,
    prior: EdgePriorState,
    W: Tensor,
    W_context: Tensor,
    inclusion: Tensor,
    probability: Tensor,
    sse: Tensor,
    noise: Tensor,
    spread: Tensor | None,
    generator: Source,
) -> None:
    r"""Update every edge of a group of targets in turn, in place.

    For regulator t, with :math:`\ell_k = (b_k - G_k w_k)_t + G_{k,tt} w_{kt}` and :math:`p_k = G_{k,tt}/\sigma_k^2`,
    the weight of context k is :math:`N(W, \omega^2)` a priori; integrating it out leaves for the common weight the
    precision :math:`q = \sum_k p_k/(1+\omega^2 p_k)` and the score :math:`m = \sum_k (\ell_k/\sigma_k^2)/(1+\omega^2
    p_k)`, so that

    .. math:: \operatorname{logit} P(\gamma = 1\mid\cdot) = \operatorname{logit}\pi
              + \tfrac12\log\frac{v_0\,(q+1/v_0)}{v_1\,(q+1/v_1)} + \tfrac12\frac{(m+\mu/v_1)^2}{q+1/v_1} -
              \tfrac12\frac{\mu^2}{v_1} - \tfrac12\frac{m^2}{q+1/v_0},

    then W given γ, then each :math:`W_k` given W. γ is drawn with W integrated out. Residuals of a block of regulators
    come from one matrix product; inside the block they are kept current by rank-one updates that stay in cache.

    Parameters
    ----------
    W, inclusion, probability
        ``(chain, tf, target)``; ``probability`` receives P(γ = 1 | the rest).
    W_context
        ``(context, chain, tf, target)`` weights that enter the likelihood (with one context, equal to W).
    sse
        ``(context, chain, target)`` residual sums of squares, kept current.
    noise
        ``(context, chain, target)`` variances σ².
    spread
        ``(chain,)`` ω, or ``None`` with a single context.
    """
    chains, num_tfs, num_targets = W.shape
    # a term that is the same for all regulators is not copied for each: its tf dimension stays 1
    expand = lambda v: group.pack(v.expand(chains, v.shape[-2], num_targets))
    take = lambda v, rows: v if v.shape[-2] == 1 else v[..., rows, :]
    precision = group.pack(1.0 / noise[..., None, :])[..., 0, :]  # (k, b, n)
    # copies: with a single regulator, packing is only a view, and these are written to
    copied = lambda value: group.pack(value).clone(memory_format=torch.contiguous_format)
    w, common = copied(W_context), copied(W)  # (k, b, t, n), (b, t, n)
    gates, logits = torch.empty_like(common), torch.empty_like(common)
    logit, v1, v0, allowed = expand(prior.logit), expand(prior.slab), expand(prior.spike), expand(prior.allowed)
    loc = None if prior.loc is None else expand(prior.loc)
    omega = (
        None if spread is None else group.pack(spread[:, None, None].expand(chains, 1, num_targets))[..., 0, :] ** 2
    )  # (b, n)
    diagonal = group.gram.diagonal(dim1=-2, dim2=-1)  # (k, b, t)
    change = torch.zeros_like(precision)
    gap = w - group.anchor
    compiled = None
    if spread is None and num_tfs * common.shape[-1] >= FEW and W.device.type == "cpu":
        compiled, allowed = _compiled(), allowed.contiguous()
    for start in range(0, num_tfs, BLOCK):
        rows = slice(start, min(start + BLOCK, num_tfs))
        size = rows.stop - rows.start
        current = group.residual[:, :, rows] - group.gram[:, :, rows] @ gap  # (k, b, row, n): b - G w
        own = diagonal[:, :, rows, None]  # (k, b, row, 1)
        p = own * precision[:, :, None]  # (k, b, row, n)
        damp = 1.0 if omega is None else 1.0 / (1.0 + omega[:, None] * p)
        q = (p * damp).sum(0)  # (b, row, n)
        score_weight = precision[:, :, None] * damp  # (k, b, row, n)
        slab, spike = take(v1, rows), take(v0, rows)
        i1, i0 = 1.0 / (q + 1.0 / slab), 1.0 / (q + 1.0 / spike)
        base = take(logit, rows) + 0.5 * (torch.log(i1 / i0) + torch.log(spike / slab))
        pull = None
        if loc is not None:
            pull = loc[:, rows] / slab
            base = base - 0.5 * loc[:, rows] * pull
        shape = (len(common), size, common.shape[-1])
        u = uniform(shape, generator, W)
        u = torch.logit(u.clamp_(1e-7, 1 - 1e-7))
        z = normal(shape, generator, W)
        e1, e0 = z * i1.sqrt(), z * i0.sqrt()
        mask = allowed[:, rows]
        step = torch.empty_like(current)
        if omega is not None:
            zk = normal(current.shape, generator, W, axis=1)
            ik = 1.0 / (p + 1.0 / omega[:, None])
            ek = zk * ik.sqrt()
        if compiled is not None:
            none = current.new_empty(len(common), size, 0)
            read = (group.gram[0], precision[0], base, i1, i0, none if pull is None else pull, allowed)
            compiled(start, current[0], read, (u, e1, e0), (w[0], gates, logits, step[0]))
        for j in range(size if compiled is None else 0):
            t = start + j
            score = current[:, :, j] + own[:, :, j] * w[:, :, t]  # (k, b, n)
            m = score[0] * precision[0] if omega is None else (score * score_weight[:, :, j]).sum(0)  # (b, n)
            m1 = m if pull is None else m + pull[:, j]
            odds = base[:, j] + 0.5 * (m1 * m1 * i1[:, j] - m * m * i0[:, j])
            gate = odds > u[:, j]
            new = torch.where(gate, m1 * i1[:, j] + e1[:, j], m * i0[:, j] + e0[:, j]) * mask[:, j]
            logits[:, t] = odds
            gates[:, t] = gate
            common[:, t] = new
            if omega is not None:
                value = ((score * precision + new / omega) * ik[:, :, j] + ek[:, :, j]) * mask[:, j]
            else:
                value = new[None]
            step[:, :, j] = value - w[:, :, t]
            w[:, :, t] = value
            if j + 1 < size:
                below = group.gram[:, :, start + j + 1 : rows.stop, t, None]  # (k, b, rest, 1)
                current[:, :, j + 1 :].addcmul_(below, step[:, :, j : j + 1], value=-1.0)
        gap[:, :, rows] += step
        change += (step * (own * step - 2 * current)).sum(-2)
    group.unpack(common if compiled is None else w[0], W)
    group.unpack(w, W_context)
    group.unpack(gates * allowed, inclusion)
    group.unpack(torch.sigmoid(logits) * allowed, probability)
    total = torch.zeros_like(sse[..., None, :])
    group.unpack(change[..., None, :], total)
    sse += total[..., 0, :]
