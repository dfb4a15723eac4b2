r"""Cells made of gene programs: the poster's PPCA and MuVI data, with known truth."""

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
LABELS = ("covariate", "context", "none")


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


def simulate_ppca(
    *,
    num_genes: int = 200,
    num_cells: int = 100,
    num_factors: int = 2,
    noise_variance: float = 0.5,
    shift: float | None = None,
    label: str = "covariate",
    W: Tensor | None = None,
    z: Tensor | pd.DataFrame | None = None,
    beta: Tensor | None = None,
    correlation: float = 0.0,
    seed: int = 0,
) -> FactorSimulation:
    r"""The poster's data: factors, noise of one variance, perhaps two clusters.

    .. math:: w_{jk} \sim N(0, 1), \qquad y_i \mid W \sim N(\mu_i, W^\top W + \sigma^2 I)

    with :math:`\mu_i = 0` for the first half of the cells and :math:`\mu_i = c` for the others. Drawn through x, which
    is the same distribution.

    Parameters
    ----------
    num_genes, num_cells, num_factors, noise_variance
        n, the number of cells, m, σ². Defaults: the poster's first data set.
    shift
        c. Default None: one cluster of mean 0.
    label
        What an analyst is told of the clusters (used with ``shift``): ``covariate``, a 0/1 covariate ``cluster[1]``;
        ``context``, two groups; ``none``, nothing (z and beta of the truth still tell).
    W, z, beta
        Of choice, see `simulate_muvi`. z and ``shift`` exclude each other.
    correlation
        Between factors and covariates, see `simulate_muvi`.
    seed
        Seed; the global generators are not touched. The same seed gives the same W, z, β, and noise at any
        ``correlation`` and ``shift``.

    Raises
    ------
    ValueError
        Sizes below 1, shapes that do not fit, options that exclude each other.

    Examples
    --------
    >>> simulation = simulate_ppca(num_genes=2, num_factors=1, shift=6.0, seed=1)
    >>> simulation.data.covariate_names, simulation.beta.tolist()
    (('cluster[1]',), [[6.0, 6.0]])
    """
    if label not in LABELS:
        raise ValueError(f"unknown label {label!r}: choose one of {', '.join(LABELS)}")
    if shift is not None and (z is not None or beta is not None):
        raise ValueError("`shift` makes the clusters' label the covariate: leave out `z` and `beta`, or `shift`")
    generator = torch.Generator().manual_seed(seed)
    W = _given(W, "W") if W is not None else _normal((num_factors, num_genes), generator)
    num_cells = num_cells if z is None else len(z)
    _check_sizes(num_genes=W.shape[1], num_factors=W.shape[0], num_cells=num_cells)
    codes, mu = torch.zeros(num_cells, dtype=torch.long), torch.zeros(1, W.shape[1], dtype=torch.float64)
    table = _table(z, num_cells)
    if shift is not None:
        if num_cells < 2:
            raise ValueError("two clusters need two cells or more")
        cluster = torch.arange(num_cells) >= (num_cells + 1) // 2
        if label == "context":
            codes, mu = cluster.long(), shift * torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, W.shape[1])
        else:
            table = pd.DataFrame({"cluster": np.where(cluster, "1", "0")})
            beta = torch.full((1, W.shape[1]), float(shift), dtype=torch.float64)
    return _simulate(
        factors=tuple(f"factor_{k + 1}" for k in range(len(W))),
        W=W,
        memberships=W != 0,
        codes=codes,
        context_names=("cluster_0", "cluster_1") if len(mu) == 2 else ("all",),
        mu=mu,
        table=table,
        beta=beta,
        correlation=correlation,
        noise_variance=noise_variance,
        tell=shift is None or label == "covariate",
        generator=generator,
    )


def simulate_muvi(
    *,
    num_genes: int = 500,
    num_cells: int = 1000,
    num_sets: int = 10,
    set_size: int = 50,
    num_unlabelled: int = 0,
    hidden: float = 0.0,
    false: float = 0.0,
    num_covariates: int = 0,
    correlation: float = 0.0,
    noise_variance: float | Tensor = 0.5,
    views: Mapping[str, str] | None = None,
    dispersion: float = 5.0,
    missing: float = 0.0,
    missing_cells: float = 0.0,
    num_groups: int = 1,
    group_scale: float = 1.0,
    W: Tensor | None = None,
    z: Tensor | pd.DataFrame | None = None,
    beta: Tensor | None = None,
    seed: int = 0,
) -> FactorSimulation:
    r"""Cells from programs with gene sets, covariates, groups and views.

    .. math:: w_{kg} \sim N(0, 1)\ \text{for members g of set k, else } 0, \qquad \beta_{vg} \sim N(0, 1), \qquad
              x_{ck} = \rho u_{ck} + \sqrt{1-\rho^2}\, e_{ck}, \quad e \sim N(0, 1)

    for factors k up to the number of covariates, where :math:`u_{\cdot k}` is covariate k with mean 0 and variance 1
    over the cells; further factors are :math:`e`. So every factor has variance 1, factor k has correlation ρ with
    covariate k and 0 with the others (as far as covariates are uncorrelated), and what the covariates do to a gene is
    :math:`\beta + \Gamma W` with :math:`\Gamma_{kk} = \rho / \mathrm{sd}(z_k)`. A fit that takes factors as independent
    of z puts :math:`\Gamma W` into β.

    Parameters
    ----------
    num_genes, num_cells
        Sizes.
    num_sets, set_size, num_unlabelled
        Programs with a gene set, genes in each program (drawn at random), programs without a set.
    hidden, false
        Shares of each set's size: members left out of ``gene_sets``, and genes from outside put in.
    num_covariates
        Standard normal covariates, unless ``z`` is given.
    correlation
        ρ in [0, 1).
    noise_variance
        Of Gaussian genes: one number, or ``(gene,)``.
    views
        Name → likelihood (gaussian, bernoulli, negative-binomial); genes are split evenly, in order. Default one
        Gaussian view, ``expression``.
    dispersion
        r of counts: variance = mean + mean² / r.
    missing, missing_cells
        Shares: of values missing at random, and of cells that lack one of the views altogether.
    num_groups, group_scale
        Groups of cells (contexts), and the sd of their means of each gene; a single group has mean 0.
    W
        ``(factor, gene)`` instead of drawn ones; its sizes count, members are the genes that are not 0, and the last
        ``num_unlabelled`` rows have no set.
    z
        ``(cell, covariate)`` instead of drawn ones: a table (see `ExpressionData.annotated` for how it is coded), or a
        tensor whose columns of zeros and ones stay as they are while others are scaled to mean 0 and sd 1.
    beta
        ``(covariate, gene)`` for one unit of z as coded.
    seed
        Seed; the global generators are not touched. The same seed gives the same W, z, β, and noise at any
        ``correlation``, ``hidden``, ``false`` and ``missing``.

    Raises
    ------
    ValueError
        Sizes below 1, shares outside [0, 1), shapes that do not fit, sets larger than the genes allow, constant or
        collinear covariates.

    Examples
    --------
    >>> simulation = simulate_muvi(num_genes=30, num_cells=60, num_sets=2, set_size=8, hidden=0.25, seed=0)
    >>> [len(genes) for genes in simulation.gene_sets.values()], simulation.W.shape
    ([6, 6], torch.Size([2, 30]))
    """
    for name, share in (("hidden", hidden), ("missing", missing), ("missing_cells", missing_cells)):
        if not 0 <= share < 1:
            raise ValueError(f"{name} is {share}, expected a share in [0, 1)")
    if not 0 <= false < math.inf:
        raise ValueError(f"false is {false}, expected 0 or more, as a share of each set's size")
    if dispersion <= 0:
        raise ValueError(f"dispersion is {dispersion}, expected a positive number")
    generator = torch.Generator().manual_seed(seed)
    if W is None:
        if not 1 <= set_size <= num_genes:
            raise ValueError(f"set_size is {set_size}, expected 1 ... {num_genes}, the number of genes")
        if min(num_sets, num_unlabelled, num_sets + num_unlabelled - 1) < 0:
            raise ValueError(f"num_sets is {num_sets} and num_unlabelled {num_unlabelled}: expected a factor or more")
        shape = (num_sets + num_unlabelled, num_genes)
        order = torch.rand(shape, generator=generator, dtype=torch.float64).argsort(1)
        memberships = order.argsort(1) < set_size
        W = _normal(shape, generator) * memberships
    else:
        W = _given(W, "W")
        memberships = W != 0
        num_sets = len(W) - num_unlabelled
        if not 0 <= num_sets <= len(W):
            raise ValueError(f"num_unlabelled is {num_unlabelled} and W has {len(W)} rows: expected at most that many")
    num_cells = num_cells if z is None else len(z)
    _check_sizes(num_genes=W.shape[1], num_factors=W.shape[0], num_cells=num_cells, num_groups=num_groups)
    if num_cells < num_groups:
        raise ValueError(f"{num_groups} groups for {num_cells} cells: expected a cell or more for each")
    if num_covariates < 0:
        raise ValueError(f"num_covariates is {num_covariates}, expected 0 or more")
    table = _table(z if z is not None else _normal((num_cells, num_covariates), generator), num_cells)
    mu = group_scale * _normal((num_groups, W.shape[1]), generator) if num_groups > 1 else 0.0 * W[:1]
    names = [f"set_{k + 1}" for k in range(num_sets)]
    corruption = torch.Generator().manual_seed(seed + 1)  # of its own: sets do not depend on how cells are made
    genes = _gene_names(W.shape[1])
    return _simulate(
        factors=(*names, *(f"factor_{k + 1}" for k in range(num_unlabelled))),
        W=W,
        memberships=memberships,
        codes=torch.arange(num_cells) * num_groups // num_cells,
        context_names=tuple(f"group_{k + 1}" for k in range(num_groups)) if num_groups > 1 else ("all",),
        mu=mu,
        table=table,
        beta=beta,
        correlation=correlation,
        noise_variance=noise_variance,
        views=dict(views) if views is not None else {"expression": GAUSSIAN},
        dispersion=dispersion,
        missing=missing,
        missing_cells=missing_cells,
        generator=generator,
        gene_sets={
            name: _corrupted_set(name, genes, row, hidden, false, corruption)
            for name, row in zip(names, memberships, strict=False)
        },
    )


# -- parts ----


def _simulate(
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
    gene_sets: Mapping[str, tuple[str, ...]] | None = None,
) -> FactorSimulation:
    """Cells by their factors; ``tell``: whether ``data`` have the covariates."""
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
    beta = _normal((len(names), G), generator) if beta is None else _given(beta, "beta")
    if beta.shape != (len(names), G):
        raise ValueError(f"beta has shape {tuple(beta.shape)}, expected {(len(names), G)}: covariates {some(names)}")
    x, gamma, x_scale = _factors(z, m, correlation, generator)
    numbers = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))  # torch has no count sampler
    Y = torch.empty(C, G)
    for start in range(0, C, CHUNK):
        rows = slice(start, start + CHUNK)
        eta = mu[codes[rows]] + x[rows] @ W + z[rows] @ beta
        Y[rows] = _observe(eta, kinds, noise, dispersion, generator, numbers).float()
    if missing or missing_cells:
        _remove(Y, view, len(views), missing, missing_cells, generator)
    data = ExpressionData(
        Y,
        _gene_names(G),
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


def _factors(z: Tensor, m: int, correlation: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """``x`` (cell, factor), ``gamma`` (covariate, factor), ``x_scale`` (factor,): see `simulate_muvi`."""
    if not 0 <= correlation < 1:
        raise ValueError(f"correlation is {correlation}, expected a value in [0, 1)")
    if correlation and not z.shape[1]:
        raise ValueError(f"correlation is {correlation} and there are no covariates: ask for covariates, or 0")
    both = min(m, z.shape[1])
    sd = z[:, :both].std(0, correction=0) if both else z.new_zeros(0)
    gamma = torch.zeros(z.shape[1], m, dtype=torch.float64)
    gamma[range(both), range(both)] = correlation / sd
    x_scale = torch.ones(m, dtype=torch.float64)
    x_scale[:both] = math.sqrt(1 - correlation**2)
    x = (z - z.mean(0)) @ gamma + x_scale * _normal((len(z), m), generator)
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
    draw = _normal(tuple(eta.shape), generator)
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


def _corrupted_set(
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


def _table(z: Tensor | pd.DataFrame | None, num_cells: int) -> pd.DataFrame:
    """Covariates as annotations; columns of zeros and ones of a tensor are labels."""
    if isinstance(z, pd.DataFrame):
        return z.reset_index(drop=True)
    if z is None:
        return pd.DataFrame(index=range(num_cells))
    z = _given(z, "z")
    columns = {f"covariate_{v + 1}": column.numpy() for v, column in enumerate(z.T)}
    labels = {name: column == 1 for name, column in columns.items() if np.isin(column, (0, 1)).all()}
    return pd.DataFrame(columns | labels, index=range(num_cells))


def _given(value: Tensor, name: str) -> Tensor:
    """A matrix that the caller chose, float64."""
    value = torch.as_tensor(value, dtype=torch.float64).cpu()
    if value.dim() != 2 or not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name} has shape {tuple(value.shape)}, expected a matrix of finite numbers")
    return value


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}, expected at least 1")


def _gene_names(number: int) -> tuple[str, ...]:
    return tuple(f"G{g:04d}" for g in range(number))


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)
