r"""Counts of cells of several types after treatments: the poster's cytokine-like example, with known truth."""

import pandas as pd
import torch

from ..likelihoods import NEGATIVE_BINOMIAL
from .factor_cells import FactorSimulation, check_sizes, normal, simulate_cells

CONTROL = "PBS"  # of the Dictionary of immune responses: what mice without a cytokine were given
NOISE = 0.25  # of Gaussian genes
BASE_MEAN, BASE_SD = 0.0, 1.2  # log mean of a gene's count, as of the genes that shallow droplets measure at all


def simulate_cytokines(
    *,
    num_genes: int = 500,
    num_cells: int = 1000,
    num_cytokines: int = 6,
    num_types: int = 3,
    num_programs: int = 5,
    program_size: int = 40,
    induced: float = 1.5,
    direct: float = 0.02,
    direct_size: float = 1.0,
    loading_size: float = 0.4,
    type_scale: float = 0.6,
    depth_sd: float = 0.4,
    dispersion: float = 5.0,
    likelihood: str = NEGATIVE_BINOMIAL,
    seed: int = 0,
) -> FactorSimulation:
    r"""Cells of a few types, each given a cytokine or nothing, as counts.

    What the poster asks for beyond its own simulations, many genes, sparse and not normal, in the form of its example,
    the Dictionary of immune responses to cytokines (Cui et al. 2024, Nature 625:377): every cytokine induces one or two
    programs, some of them the same programs, and acts directly on few genes besides.

    .. math:: Y_{cg} \sim \mathrm{NB}(e^{\eta_{cg}}, r), \qquad
              \eta_c = \log \ell_c + \mu_{k(c)} + W^\top x_c + \beta^\top z_c, \qquad
              x_c \sim N(\Gamma^\top (z_c - \bar z), I)

    with z the 0/1 indicators of the cytokines, :math:`\Gamma_{vk} = \pm s` for the programs that cytokine v induces or
    represses, and sparse β. Programs have members of their own, ``program_size`` genes each, whose loadings are of one
    sign. Types differ in :math:`\mu`, cells in their depth :math:`\ell`.

    Parameters
    ----------
    num_genes, num_cells, num_types
        Sizes; types and cytokines are crossed, with as many cells each as can be.
    num_cytokines
        Beside the control, `CONTROL`.
    num_programs, program_size
        Programs, and the genes of each.
    induced
        s, in standard deviations of a program within a treatment.
    direct, direct_size
        Share of the genes on which a cytokine acts directly, and the sd of these effects in log units.
    loading_size
        Mean size of a member's loading in log units.
    type_scale
        Sd between types of a gene's log mean.
    depth_sd
        Sd of the log depth of cells, which nothing tells but the totals.
    dispersion
        r: variance = mean + mean² / r.
    likelihood
        ``negative-binomial`` (default), or ``gaussian``: η itself with noise of variance `NOISE`, at equal depths, for
        questions in which the scale of counts is to play no part.
    seed
        Seed; the global generators are not touched.

    Returns
    -------
    FactorSimulation
        Counts with the covariates ``cytokine[...]`` and the types as groups; ``mu`` without the depths.

    Raises
    ------
    ValueError
        Sizes below 1, programs larger than the genes allow, fewer cells than treatments times types.

    Examples
    --------
    >>> simulation = simulate_cytokines(num_genes=60, num_cells=120, program_size=10, seed=0)
    >>> simulation.data.covariate_names[:2], simulation.data.context_names
    (('cytokine[cytokine_1]', 'cytokine[cytokine_2]'), ('type_1', 'type_2', 'type_3'))
    """
    check_sizes(
        num_genes=num_genes, num_types=num_types, num_cytokines=num_cytokines, num_programs=num_programs,
        program_size=program_size,
    )  # fmt: skip
    treatments = num_cytokines + 1
    if num_cells < treatments * num_types:
        raise ValueError(f"{num_cells} cells for {num_types} types x {treatments} treatments: expected one of each")
    if program_size > num_genes:
        raise ValueError(f"program_size is {program_size}, expected 1 ... {num_genes}, the number of genes")
    if dispersion <= 0 or not 0 <= direct <= 1:
        raise ValueError(f"dispersion is {dispersion} and direct {direct}: expected a positive number and a share")
    generator = torch.Generator().manual_seed(seed)
    uniform = lambda *shape: torch.rand(shape, generator=generator, dtype=torch.float64)
    shape = (num_programs, num_genes)
    memberships = uniform(*shape).argsort(1).argsort(1) < program_size
    W = memberships * loading_size * (0.5 + uniform(*shape))
    most = uniform(num_cytokines, num_programs).argsort(1).argsort(1)  # which program a cytokine induces first, second
    both = (most == 1) & (uniform(num_cytokines, 1) < 0.5)
    gamma = induced * ((most == 0) | both).double() * torch.where(uniform(num_cytokines, num_programs) < 0.8, 1.0, -1.0)
    beta = direct_size * normal((num_cytokines, num_genes), generator) * (uniform(num_cytokines, num_genes) < direct)
    base = BASE_MEAN + BASE_SD * normal((1, num_genes), generator)
    mu = base + (type_scale * normal((num_types, num_genes), generator) if num_types > 1 else 0.0)
    depth = depth_sd * normal((num_cells, 1), generator)
    treatment = torch.arange(num_cells) % treatments
    codes = torch.arange(num_cells) // treatments % num_types
    names = [CONTROL, *(f"cytokine_{v + 1}" for v in range(num_cytokines))]
    table = pd.DataFrame({"cytokine": [names[t] for t in treatment]})  # in sorted order the control comes first
    return simulate_cells(
        factors=tuple(f"factor_{k + 1}" for k in range(num_programs)),
        W=W,
        memberships=memberships,
        codes=codes,
        context_names=tuple(f"type_{k + 1}" for k in range(num_types)) if num_types > 1 else ("all",),
        mu=mu,
        table=table,
        beta=beta,
        gamma=gamma,
        correlation=0.0,
        noise_variance=NOISE,
        log_depth=depth - 0.5 * depth_sd**2 if likelihood == NEGATIVE_BINOMIAL else None,  # of mean 1
        views={"expression": likelihood},
        dispersion=dispersion,
        generator=generator,
    )
