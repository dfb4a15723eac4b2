r"""The evidence lower bound, one value a restart, with enumeration done in place and checked."""

from collections.abc import Mapping

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from ...models import ExpressionData, Model
from .base import Guide


def log_joint(
    model: Model, values: Mapping[str, Tensor], batch: ExpressionData | None, num_restarts: int
) -> tuple[Tensor, Trace]:
    """``(restart,)`` log p(X, values), discrete sites that are not given summed out, and the model's trace.

    ``values`` carry restarts at dimension ``-(max_plate_nesting + 1)``.
    """
    conditioned = poutine.condition(model, data=dict(values))
    enumerated = poutine.enum(conditioned, first_available_dim=-(model.max_plate_nesting + 2))
    trace = poutine.trace(enumerated).get_trace(batch)
    return sum_sites(trace, model.max_plate_nesting, num_restarts), trace


def sum_sites(trace: Trace, max_plate_nesting: int, num_restarts: int) -> Tensor:
    """``(restart,)`` sum of the log-probabilities of a trace whose enumerated sites have elementwise children.

    A discrete site enumerated at its own dimension is summed out element by element, together with every site that
    depends on it. That is exact when those lie in the same plates, and silently wrong otherwise, so any other use is
    refused.

    Raises
    ------
    ValueError
        A site depends on an enumerated one across a plate.
    """
    trace.compute_log_prob()
    plain = torch.zeros(())
    dependent: list[tuple[str, Tensor, frozenset[str]]] = []
    base = max_plate_nesting + 1
    for name, site in trace.nodes.items():
        if site["type"] != "sample":
            continue
        log_prob = site["log_prob"]
        if log_prob.dim() > base and log_prob.shape[: log_prob.dim() - base].numel() > 1:
            dependent.append((name, log_prob, frozenset(f.name for f in site["cond_indep_stack"] if f.vectorized)))
        else:
            plain = plain + by_restart(log_prob, base, num_restarts)
    if dependent:
        plates = dependent[0][2]  # of the enumerated site itself: it comes before its children
        for name, _, own in dependent:
            if own != plates:
                raise ValueError(
                    f"site {name!r} (plates {sorted(own)}) depends on a variable enumerated in plates "
                    f"{sorted(plates)}: "
                    "let the variable act on the prior of one site in its own plates"
                )
        if len({lp.dim() for _, lp, _ in dependent}) > 1:
            raise ValueError(
                f"sites {[n for n, _, _ in dependent]} depend on more than one "
                "enumerated variable: sum one of them out by hand"
            )
        total = dependent[0][1]
        for _, lp, _ in dependent[1:]:
            total = total + lp
        joint = torch.logsumexp(total, dim=0)
        plain = plain + by_restart(joint, base, num_restarts)
    return plain


def by_restart(log_prob: Tensor, base: int, num_restarts: int) -> Tensor:
    """Sum everything but the restart dimension; a term without it counts for each restart."""
    if log_prob.dim() < base:
        return log_prob.sum().expand(num_restarts)
    # sizes of a shape are steps of a traced graph: none where it has the right one
    flat = log_prob if log_prob.dim() == base else log_prob.reshape(*log_prob.shape[-base:])
    total = flat.flatten(1).sum(1) if base > 1 else flat
    return total.expand(num_restarts) if len(total) == 1 else total


def elbo(model: Model, guide: Guide, batch: ExpressionData | None, num_restarts: int) -> Tensor:
    """``(restart,)`` one-sample estimates of E_q[log p(X, z) − log q(z)], differentiable through the guide's draws."""
    values, log_q = guide.draw()
    return log_joint(model, values, batch, num_restarts)[0] - log_q
