r"""Cells made of factors, and what is known of them: the parts of the simulators of gene programs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.checks import some
from ..data.covariates import encode_covariates
from ..data.expression import ExpressionData
from ..likelihoods import BERNOULLI, GAUSSIAN, LIKELIHOODS, NEGATIVE_BINOMIAL

CHUNK = 8192  # cells made at a time, so that little more than the result is held
LARGEST_LOG_MEAN = 20.0  # of a count: 5e8


@dataclass(frozen=True, eq=False)
class FactorSimulation:
    r"""Cells, and the truth behind them.

    .. math:: \eta_c = \mu_{k(c)} + W^\top x_c + \beta^\top z_c

    is the mean of a Gaussian gene, the log-odds of a Bernoulli one, the log mean of a count.

    Attributes
    ----------
    data
        Cells; the covariates of ``data`` are ``z`` unless the label was kept back.
    factors
        Names: of the gene sets, then ``factor_1``, … for those that no set stands for.
    W
        ``(factor, gene)``.
    x
        ``(cell, factor)``, variance 1.
    x_scale
        ``(factor,)`` sd of x given z: :math:`\sqrt{1-\rho^2}` where a covariate takes part, else 1. A model in which
        x given z has variance 1 has the loadings ``W * x_scale[:, None]`` and the factor effects ``gamma / x_scale``;
        their product is the same.
    mu
        ``(context, gene)`` intercepts.
    z, beta
        ``(cell, covariate)``, and ``(covariate, gene)`` effects for one unit of z.
    gamma
        ``(covariate, factor)``: :math:`E[x_c \mid z_c] = \Gamma^\top (z_c - \bar z)`.
    noise
        ``(gene,)`` noise variance, NaN for genes that are not Gaussian.
    memberships
        ``(factor, gene)`` True where a gene truly belongs to the program.
    gene_sets
        Genes of each labelled factor as an analyst is given them: with genes hidden and wrong ones added.
    annotations
        One row a cell: covariates before they are coded, and ``group``; what was kept back is not there.
    covariates
        Names of the columns of z.
    """

    data: ExpressionData
    factors: tuple[str, ...]
    W: Tensor
    x: Tensor
    x_scale: Tensor
    mu: Tensor
    z: Tensor
    beta: Tensor
    gamma: Tensor
    noise: Tensor
    memberships: Tensor
    gene_sets: dict[str, tuple[str, ...]]
    annotations: pd.DataFrame
    covariates: tuple[str, ...]

    @property
    def true_sets(self) -> dict[str, tuple[str, ...]]:
        """Genes that truly belong to each labelled factor."""
        rows = dict(zip(self.factors, self.memberships.tolist(), strict=True))
        return {n: tuple(g for g, m in zip(self.data.genes, rows[n], strict=True) if m) for n in self.gene_sets}


def simulate_cells(
    *,
    factors: tuple[str, ...],
    W: Tensor,
    memberships: Tensor,
    codes: Tensor,
    context_names: tuple[str, ...],
    mu: Tensor,
    table: pd.DataFrame,
    beta: Tensor | None,
    correlation: float,
    noise_variance: float | Tensor,
    generator: torch.Generator,
    views: Mapping[str, str] | None = None,
    dispersion: float = 1.0,
    missing: float = 0.0,
    missing_cells: float = 0.0,
    tell: bool = True,
    gamma: Tensor | None = None,
    log_depth: Tensor | None = None,
    gene_sets: Mapping[str, tuple[str, ...]] | None = None,
) -> FactorSimulation:
    """Cells by their factors; ``tell``: whether ``data`` have the covariates; ``gamma`` (covariate, factor) instead of
    the one of ``correlation``; ``log_depth`` (cell, 1), added to η."""
    (m, G), C = W.shape, len(codes)
    views = {"expression": GAUSSIAN} if views is None else views
    kinds, view = _kinds(views, G)
    noise = torch.as_tensor(noise_variance, dtype=torch.float64)
    if noise.shape not in ((), (G,)) or not bool((noise > 0).all()):
        raise ValueError(
            f"noise_variance has shape {tuple(noise.shape)} or values that are not positive: expected one positive "
            f"number or one a gene, ({G},)"
        )
    noise = torch.where(kinds == LIKELIHOODS.index(GAUSSIAN), noise, math.nan)
    values, names, notes = encode_covariates(table, codes)
    z = values.double()
    beta = normal((len(names), G), generator) if beta is None else given(beta, "beta")
    if beta.shape != (len(names), G):
        raise ValueError(f"beta has shape {tuple(beta.shape)}, expected {(len(names), G)}: covariates {some(names)}")
    x, gamma, x_scale = _factors(z, m, correlation, gamma, generator)
    numbers = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))  # torch has no count sampler
    Y = torch.empty(C, G)
    for start in range(0, C, CHUNK):
        rows = slice(start, start + CHUNK)
        eta = mu[codes[rows]] + x[rows] @ W + z[rows] @ beta
        eta = eta if log_depth is None else eta + log_depth[rows]
        Y[rows] = _observe(eta, kinds, noise, dispersion, generator, numbers).float()
    if missing or missing_cells:
        _remove(Y, view, len(views), missing, missing_cells, generator)
    data = ExpressionData(
        Y,
        gene_names(G),
        context=codes if len(context_names) > 1 else None,
        context_names=context_names,
        covariates=values if tell and names else None,
        covariate_names=names if tell else (),
        view=view if len(views) > 1 else None,
        view_names=tuple(views),
        missing=bool(missing or missing_cells),
        notes=notes if tell else (),
    ).observed()
    table = table if tell else table[[]]
    if len(context_names) > 1:
        table = table.assign(group=np.asarray(context_names)[codes.numpy()])
    sets = dict(gene_sets or {})
    return FactorSimulation(data, factors, W, x, x_scale, mu, z, beta, gamma, noise, memberships, sets, table, names)


def _factors(
    z: Tensor, m: int, correlation: float, gamma: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """``x`` (cell, factor), ``gamma`` (covariate, factor), ``x_scale`` (factor,): see `simulate_muvi`."""
    if not 0 <= correlation < 1:
        raise ValueError(f"correlation is {correlation}, expected a value in [0, 1)")
    if correlation and not z.shape[1]:
        raise ValueError(f"correlation is {correlation} and there are no covariates: ask for covariates, or 0")
    if gamma is not None:
        return (z - z.mean(0)) @ gamma + normal((len(z), m), generator), gamma, torch.ones(m, dtype=torch.float64)
    both = min(m, z.shape[1])
    sd = z[:, :both].std(0, correction=0) if both else z.new_zeros(0)
    gamma = torch.zeros(z.shape[1], m, dtype=torch.float64)
    gamma[range(both), range(both)] = correlation / sd
    x_scale = torch.ones(m, dtype=torch.float64)
    x_scale[:both] = math.sqrt(1 - correlation**2)
    x = (z - z.mean(0)) @ gamma + x_scale * normal((len(z), m), generator)
    return x, gamma, x_scale


def _kinds(views: Mapping[str, str], num_genes: int) -> tuple[Tensor, Tensor]:
    """``(gene,)`` places in `LIKELIHOODS`, and in ``views``."""
    unknown = [kind for kind in views.values() if kind not in LIKELIHOODS]
    if unknown:
        raise ValueError(f"unknown likelihood {some(unknown)}: choose from {', '.join(LIKELIHOODS)}")
    if not 1 <= len(views) <= num_genes:
        raise ValueError(f"{len(views)} views for {num_genes} genes: expected a view or more, each with a gene")
    view = torch.arange(num_genes) * len(views) // num_genes
    return torch.tensor([LIKELIHOODS.index(kind) for kind in views.values()])[view], view


def _observe(
    eta: Tensor,
    kinds: Tensor,
    noise: Tensor,
    dispersion: float,
    generator: torch.Generator,
    numbers: np.random.Generator,
) -> Tensor:
    """``(cell, gene)`` values given ``eta``; one normal draw a value whatever the likelihood."""
    draw = normal(tuple(eta.shape), generator)
    Y = eta + noise.sqrt() * draw
    binary, count = kinds == LIKELIHOODS.index(BERNOULLI), kinds == LIKELIHOODS.index(NEGATIVE_BINOMIAL)
    Y[:, binary] = (torch.special.ndtr(draw[:, binary]) < torch.sigmoid(eta[:, binary])).double()
    if bool(count.any()):
        log_mean = eta[:, count]
        if float(log_mean.max()) > LARGEST_LOG_MEAN:
            raise ValueError(
                f"counts with a log mean of {float(log_mean.max()):.3g}, expected at most {LARGEST_LOG_MEAN:g}: use "
                "smaller loadings, effects or group_scale"
            )
        success = dispersion / (dispersion + log_mean.exp())
        Y[:, count] = torch.from_numpy(numbers.negative_binomial(dispersion, success.numpy()).astype(np.float64))
    return Y


def _remove(
    Y: Tensor, view: Tensor, num_views: int, missing: float, missing_cells: float, generator: torch.Generator
) -> None:
    """Put NaN in place."""
    if missing_cells and num_views < 2:
        raise ValueError("missing_cells takes a view from cells and there is one view: pass two or more, or `missing`")
    for start in range(0, len(Y), CHUNK):
        block = Y[start : start + CHUNK]
        block[torch.rand(block.shape, generator=generator) < missing] = math.nan
        without = torch.rand(len(block), 1, generator=generator) < missing_cells
        which = torch.randint(num_views, (len(block), 1), generator=generator)
        block[without & (which == view)] = math.nan


def corrupted_set(
    name: str, genes: tuple[str, ...], members: Tensor, hidden: float, false: float, generator: torch.Generator
) -> tuple[str, ...]:
    """The genes of a set in the genes' order, some left out and some wrong ones put in."""
    order = torch.randperm(len(genes), generator=generator)
    inside, outside = order[members[order]], order[~members[order]]
    leave, put = round(hidden * len(inside)), round(false * len(inside))
    if len(inside) - leave < 1:
        raise ValueError(f"{name!r} has {len(inside)} genes and {leave} of them hidden: expected one left or more")
    if put > len(outside):
        raise ValueError(f"{name!r}: {put} wrong genes asked for and {len(outside)} genes are outside the set")
    return tuple(genes[g] for g in sorted([*inside[leave:].tolist(), *outside[:put].tolist()]))


def table_of(z: Tensor | pd.DataFrame | None, num_cells: int) -> pd.DataFrame:
    """Covariates as annotations; columns of zeros and ones of a tensor are labels."""
    if isinstance(z, pd.DataFrame):
        return z.reset_index(drop=True)
    if z is None:
        return pd.DataFrame(index=range(num_cells))
    z = given(z, "z")
    columns = {f"covariate_{v + 1}": column.numpy() for v, column in enumerate(z.T)}
    labels = {name: column == 1 for name, column in columns.items() if np.isin(column, (0, 1)).all()}
    return pd.DataFrame(columns | labels, index=range(num_cells))


def given(value: Tensor, name: str) -> Tensor:
    """A matrix that the caller chose, float64."""
    value = torch.as_tensor(value, dtype=torch.float64).cpu()
    if value.dim() != 2 or not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name} has shape {tuple(value.shape)}, expected a matrix of finite numbers")
    return value


def check_sizes(**sizes: int) -> None:
    """Refuse sizes below one, by their names."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}, expected at least 1")


def gene_names(number: int) -> tuple[str, ...]:
    """G0000, G0001, ..."""
    return tuple(f"G{g:04d}" for g in range(number))


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal draws in double precision."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)
