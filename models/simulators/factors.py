r"""Cells made of gene programs: the poster's PPCA and MuVI data, with known truth."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..likelihoods import GAUSSIAN
from .factor_cells import (
    FactorSimulation,
    check_sizes,
    corrupted_set,
    gene_names,
    given,
    normal,
    simulate_cells,
    table_of,
)

LABELS = ("covariate", "context", "none")


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
    W = given(W, "W") if W is not None else normal((num_factors, num_genes), generator)
    num_cells = num_cells if z is None else len(z)
    check_sizes(num_genes=W.shape[1], num_factors=W.shape[0], num_cells=num_cells)
    codes, mu = torch.zeros(num_cells, dtype=torch.long), torch.zeros(1, W.shape[1], dtype=torch.float64)
    table = table_of(z, num_cells)
    if shift is not None:
        if num_cells < 2:
            raise ValueError("two clusters need two cells or more")
        cluster = torch.arange(num_cells) >= (num_cells + 1) // 2
        if label == "context":
            codes, mu = cluster.long(), shift * torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, W.shape[1])
        else:
            table = pd.DataFrame({"cluster": np.where(cluster, "1", "0")})
            beta = torch.full((1, W.shape[1]), float(shift), dtype=torch.float64)
    return simulate_cells(
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
        W = normal(shape, generator) * memberships
    else:
        W = given(W, "W")
        memberships = W != 0
        num_sets = len(W) - num_unlabelled
        if not 0 <= num_sets <= len(W):
            raise ValueError(f"num_unlabelled is {num_unlabelled} and W has {len(W)} rows: expected at most that many")
    num_cells = num_cells if z is None else len(z)
    check_sizes(num_genes=W.shape[1], num_factors=W.shape[0], num_cells=num_cells, num_groups=num_groups)
    if num_cells < num_groups:
        raise ValueError(f"{num_groups} groups for {num_cells} cells: expected a cell or more for each")
    if num_covariates < 0:
        raise ValueError(f"num_covariates is {num_covariates}, expected 0 or more")
    table = table_of(z if z is not None else normal((num_cells, num_covariates), generator), num_cells)
    mu = group_scale * normal((num_groups, W.shape[1]), generator) if num_groups > 1 else 0.0 * W[:1]
    names = [f"set_{k + 1}" for k in range(num_sets)]
    corruption = torch.Generator().manual_seed(seed + 1)  # of its own: sets do not depend on how cells are made
    genes = gene_names(W.shape[1])
    return simulate_cells(
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
            name: corrupted_set(name, genes, row, hidden, false, corruption)
            for name, row in zip(names, memberships, strict=False)
        },
    )
