"""Likelihoods of the views of a factor model."""

import torch
from torch import Tensor

from .data.checks import some
from .data.expression import ExpressionData

GAUSSIAN, BERNOULLI, NEGATIVE_BINOMIAL = "gaussian", "bernoulli", "negative-binomial"
LIKELIHOODS = (GAUSSIAN, BERNOULLI, NEGATIVE_BINOMIAL)


def cell_moments(data: ExpressionData, kinds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``(context, gene + covariate)`` of what is observed, sd ``(gene,)`` within groups, cells ``(context,)``.

    Parameters
    ----------
    data
        Cells, NaN where missing.
    kinds
        ``(gene,)`` likelihood of each gene, whose values are checked here.

    Raises
    ------
    ValueError
        Values that are not 0 or 1 (bernoulli), not counts (negative-binomial); genes without variance, or never seen.
    """
    X = data.X.double()
    kinds = kinds.to(X.device)
    seen = ~X.isnan()
    filled = torch.where(seen, X, 0.0)
    for kind, good, expected in (
        (BERNOULLI, (filled == 0) | (filled == 1), "0 or 1"),
        (NEGATIVE_BINOMIAL, (filled >= 0) & (filled == filled.round()), "counts"),
    ):
        wrong = (~good & (kinds == LIKELIHOODS.index(kind))).any(0)
        if bool(wrong.any()):
            names = [g for g, w in zip(data.genes, wrong.tolist(), strict=True) if w]
            raise ValueError(f"the {kind} likelihood expects {expected}, and {some(names, 3)} have other values")
    codes = torch.zeros(len(X), dtype=torch.long) if data.context is None else data.context.cpu()
    groups = torch.nn.functional.one_hot(codes, data.num_contexts).to(X)  # (cell, context)
    number = groups.T @ seen.to(X)
    mean = groups.T @ filled / number.clamp_min(1)
    residual = torch.where(seen, X - mean[codes], 0.0)
    variance = residual.square().sum(0) / (number - 1).clamp_min(0).sum(0).clamp_min(1)
    flat = [g for g, v in zip(data.genes, variance.tolist(), strict=True) if not v > 0]
    if flat:
        raise ValueError(f"{len(flat)} genes do not vary, or are never observed: {some(flat)}. Drop them first")
    if data.covariates is not None:
        Z = data.covariates.double()
        centred = Z - (groups.T @ Z / groups.sum(0)[:, None].clamp_min(1))[codes.to(Z.device)]
        constant = (centred.square().sum(0) <= 1e-12 * Z.square().sum(0)).tolist()
        flat = [name for name, c in zip(data.covariate_names, constant, strict=True) if c]
        if flat:
            raise ValueError(f"covariates {some(flat)} are constant within every group: leave them out, or the groups")
        mean = torch.cat([mean, groups.T @ Z / groups.sum(0)[:, None].clamp_min(1)], dim=1)
    return mean, variance.sqrt(), groups.sum(0)
