r"""Cells from a linear network at steady state, with interventions and several contexts."""

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ..data.expression import ExpressionData
from .networks import random_network


@dataclass(frozen=True, eq=False)
class LinearSimulation:
    """``data`` and the truth behind it: ``network`` (source, target, weight, sign), ``W`` (context, tf, gene),
    ``present`` (tf, gene)."""

    data: ExpressionData
    network: pd.DataFrame
    W: Tensor
    present: Tensor


def simulate_linear(
    *,
    num_genes: int = 100,
    num_tfs: int = 20,
    num_cells: int = 1000,
    edge_probability: float = 0.1,
    scale: float = 0.4,
    noise: float = 0.6,
    tf_correlation: float = 0.0,
    num_contexts: int = 1,
    context_scale: float = 0.1,
    num_perturbed: int = 0,
    cells_per_perturbation: int = 50,
    mean: float = 5.0,
    feedback: bool = False,
    seed: int = 0,
) -> LinearSimulation:
    r"""Draw a random network and cells from it.

    .. math:: x_c = \mu + W_k^\top (x_c - \mu)_{\mathrm{tf}} + e_c, \qquad e_{cg} \sim N(0, \sigma^2)

    solved for the steady state x, so that regulators may regulate each other. Regulators' own noise has correlation
    ``tf_correlation`` between every two of them. An intervention clamps its gene at 0 (the equation of that gene is
    cut) and the rest follows.

    Parameters
    ----------
    num_genes, num_tfs, num_cells
        Sizes; the first ``num_tfs`` genes are the regulators. ``num_cells`` unperturbed cells in all, split evenly over
        contexts.
    edge_probability, scale
        Of an edge to exist, and the sd of its weight.
    noise
        σ of targets; regulators have unit noise.
    num_contexts, context_scale
        Contexts, and the sd of each context's deviation of an existing edge's weight.
    num_perturbed, cells_per_perturbation
        That many regulators are knocked out in extra cells of the first context.
    mean
        μ of every gene (so that a knock-out is a change).
    feedback
        False (default): a regulator is regulated only by those before it, so the steady state always exists. True: any
        pair; networks whose feedback is unstable are drawn again.
    seed
        Seed; the global generators are not touched.
    """
    if not 0 < num_tfs <= num_genes:
        raise ValueError(f"num_tfs is {num_tfs} and num_genes {num_genes}: expected 1 <= num_tfs <= num_genes")
    if num_perturbed > num_tfs:
        raise ValueError(f"num_perturbed is {num_perturbed}, but only the {num_tfs} regulators can be perturbed")
    if not 0 <= tf_correlation < 1:
        raise ValueError(f"tf_correlation is {tf_correlation}, expected a value in [0, 1)")
    generator = torch.Generator().manual_seed(seed)
    for _ in range(1000):
        W, present = random_network(
            num_tfs, num_genes, edge_probability=edge_probability, scale=scale, generator=generator
        )
        if not feedback:
            order = torch.triu(torch.ones(num_tfs, num_tfs, dtype=torch.bool), diagonal=1)
            present[:, :num_tfs] &= order
            W = W * present
        spread = torch.randn(num_contexts, num_tfs, num_genes, generator=generator, dtype=torch.float64)
        Wk = W + (context_scale * spread * present if num_contexts > 1 else 0.0 * spread)
        radius = torch.linalg.eigvals(Wk[:, :, :num_tfs]).abs().amax()
        if radius < 0.95:
            break
    else:
        raise ValueError("no stable network in 1000 draws: lower edge_probability or scale, or use feedback=False")
    blocks, contexts, labels = [], [], []
    share = [num_cells // num_contexts + (k < num_cells % num_contexts) for k in range(num_contexts)]
    for k, count in enumerate(share):
        blocks.append(_cells(Wk[k], count, noise, tf_correlation, generator, None, mean))
        contexts += [f"context{k}"] * count
        labels += ["control"] * count
    for gene in range(num_perturbed):
        blocks.append(_cells(Wk[0], cells_per_perturbation, noise, tf_correlation, generator, gene, mean))
        contexts += ["context0"] * cells_per_perturbation
        labels += [f"G{gene:04d}"] * cells_per_perturbation
    names = tuple(f"G{g:04d}" for g in range(num_genes))
    data = ExpressionData(torch.cat(blocks).float(), names, names[:num_tfs]).annotated(
        context=contexts if num_contexts > 1 else None, perturbed=labels if num_perturbed else None
    )
    source, target = torch.nonzero(present, as_tuple=True)
    weight = W[source, target].numpy()
    network = pd.DataFrame(
        {
            "source": [names[s] for s in source.tolist()],
            "target": [names[t] for t in target.tolist()],
            "weight": weight,
            "sign": (2 * (weight > 0) - 1).astype(int),
        }
    )
    return LinearSimulation(data, network, Wk, present)


def _cells(
    W: Tensor, count: int, noise: float, correlation: float, generator: torch.Generator, clamp: int | None, mean: float
) -> Tensor:
    """``(cell, gene)`` steady states of ``W`` (tf, gene), one gene perhaps clamped at 0."""
    num_tfs, num_genes = W.shape
    e = noise * torch.randn(count, num_genes, generator=generator, dtype=torch.float64)
    shared = torch.randn(count, 1, generator=generator, dtype=torch.float64)
    own = torch.randn(count, num_tfs, generator=generator, dtype=torch.float64)
    e[:, :num_tfs] = correlation**0.5 * shared + (1 - correlation) ** 0.5 * own
    W = W.clone()
    if clamp is not None:
        W[:, clamp] = 0.0
        e[:, clamp] = -mean
    # tf deviations: d = d A + e  with A = W[:, tfs]
    A = W[:, :num_tfs]
    d = torch.linalg.solve(torch.eye(num_tfs, dtype=W.dtype) - A.T, e[:, :num_tfs].T).T
    x = e + d @ W
    return mean + x
