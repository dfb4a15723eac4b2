"""Gene programs in cells: scores, densities, predictions of single values."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...models import LIKELIHOODS, ExpressionData, FactorModel
from ...models.data.cell_labels import name_of
from ...models.data.matrix import rows_at_once
from ...models.likelihoods import BERNOULLI, NEGATIVE_BINOMIAL
from ..draws.fitted import PosteriorLike
from ..draws.intervals import thin_of
from ..draws.moments import aligned
from .last_asked import LastAsked
from .new_cells import LEAST_GENES, new_cells
from .results import CellPredictions

NUM_DRAWS = 50  # of sums over cells: their Monte-Carlo error is a seventh of the posterior's sd
ITERATIONS = 25  # of the factors of a cell with binary or count genes
SITES = ("W", "beta", "gamma", "noise_variance")  # what predictions of single values read
SCORED: LastAsked[tuple[pd.DataFrame, pd.DataFrame]] = LastAsked()


def thinned(posterior: PosteriorLike[FactorModel], number: int = NUM_DRAWS) -> list[dict[str, Tensor]]:
    """Evenly spaced joint draws, each by site ``(*dims)`` in float64, on the model's device."""
    draws = aligned(posterior.draws, thin_of(posterior))
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in draws.items()}
    total = len(flat["W"])
    device = posterior.model.constant.device
    return [
        {name: torch.as_tensor(value[i]).double().to(device) for name, value in flat.items()}
        for i in np.unique(np.linspace(0, total - 1, min(number, total)).astype(int))
    ]


def projection(model: FactorModel, draw: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """T ``(factor, gene + covariate)`` with E[x | y, z] = T [y, z], and the covariance of x; complete Gaussian
    cells."""
    W = draw["W"]
    scaled = W / draw["noise_variance"]
    sigma = torch.linalg.inv(torch.eye(len(W), dtype=W.dtype, device=W.device) + scaled @ W.T)
    parts = [sigma @ scaled]
    if model.covariates:
        gamma = draw["gamma"].T if model.factor_effects else W.new_zeros(len(W), len(model.covariates))
        parts.append(sigma @ (gamma - scaled @ draw["beta"].T))
    return torch.cat(parts, dim=1), sigma


def scores(
    posterior: PosteriorLike[FactorModel],
    data: ExpressionData,
    *,
    group: str | None = None,
    least_genes: float = LEAST_GENES,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean and sd of every program in every cell (two tables, cell × program), given the posterior of the loadings.

    Complete Gaussian cells in closed form for each draw; cells with missing values by their own observed genes; binary
    genes and counts by the Pólya-Gamma bound. The rows are called as the cells, or numbered where these have no names.

    New cells of the same covariates may be given, in the same units. Genes of the fit that they lack are missing
    values: the score is then given the others, with a larger sd (1 where nothing is known of a program).

    Parameters
    ----------
    posterior, data
        The fit, and cells.
    group
        The group of the fit that all cells belong to. Default: those of ``data``, of which the fit must know each.
    least_genes
        Fewest genes, as a share of those of the fit. Default 0.5: with fewer, scores are mostly the prior.

    Raises
    ------
    ValueError
        Too few genes, groups that the fit does not know or that are not said, other covariates.
    """
    as_always = group is None and least_genes == LEAST_GENES
    made = known_scores(posterior, data) if as_always else None
    if made is not None:
        return made
    model = posterior.model
    found = new_cells(model, data, group=group, least_genes=least_genes)
    draws = thinned(posterior, 20)
    mean = np.empty((data.num_cells, len(model.factors)))
    sd = np.empty_like(mean)
    for start, cells in blocks(found.data):
        prepared = Prepared.of(model, found.padded(model, cells))
        first = second = spread = torch.zeros((), dtype=torch.float64)
        for draw in draws:
            x, variance = cell_factors(model, draw, prepared)
            first, second, spread = first + x, second + x**2, spread + variance
        rows = slice(start, start + len(prepared.Y))
        first, second, spread = first / len(draws), second / len(draws), spread / len(draws)
        mean[rows] = first.cpu().numpy()
        sd[rows] = (spread + (second - first**2).clamp_min(0)).sqrt().cpu().numpy()
    names = list(model.factors)
    index = None if data.labels is None else pd.Index(data.labels.names, name="cell")
    tables = pd.DataFrame(mean, index, names), pd.DataFrame(sd, index, names)
    if as_always:
        mean_table, sd_table = tables
        SCORED.keep(posterior, data, answer=(mean_table.copy(), sd_table.copy()))
    return tables


def known_scores(posterior: PosteriorLike[Any], data: ExpressionData) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """`scores` of these cells, if they were the last that this posterior was asked for."""
    made = SCORED.known(posterior, data)
    return None if made is None else (made[0].copy(), made[1].copy())


def matched(model: FactorModel, data: ExpressionData) -> ExpressionData:
    """The data's genes, groups and covariates in the order of the model."""
    missing = [g for g in model.genes if g not in set(data.genes)]
    if missing:
        raise ValueError(
            f"`data` lack {len(missing)} of the {len(model.genes)} genes of the fit, e.g. {missing[:3]}: pass the "
            "expression data that were fitted, or new cells with the same genes"
        )
    if data.context_names != model.contexts or data.covariate_names != model.covariates:
        raise ValueError(
            f"`data` have groups {list(data.context_names)} and covariates {list(data.covariate_names)}, the fit "
            f"{list(model.contexts)} and {list(model.covariates)}: read and annotate all cells together, then subset"
        )
    return data if data.genes == model.genes else data.select_genes(model.genes)


def blocks(data: ExpressionData) -> Iterator[tuple[int, ExpressionData]]:
    """First row, and cells, a block at a time (`rows_at_once`)."""
    size = rows_at_once(data.num_genes)
    for start in range(0, data.num_cells, size):
        yield start, data.subset(np.arange(start, min(start + size, data.num_cells)))


class Prepared(NamedTuple):
    """Cells as `FactorModel.prepare` gives them, in float64; of complete Gaussian cells as they are, and ``joined``,
    their values and covariates in one table: products with it are as exact as what was measured, in half the time."""

    Y: Tensor
    Z: Tensor
    codes: Tensor
    offset: Tensor
    joined: Tensor | None

    @classmethod
    def of(cls, model: FactorModel, cells: ExpressionData) -> "Prepared":
        Y, Z, codes, offset = model.prepare(cells)
        if model.integrated and not bool(Y.isnan().any()):
            return cls(Y, Z, codes, offset, torch.cat([Y, Z], dim=1) if Z.shape[1] else Y)
        return cls(Y.double(), Z.double(), codes, offset.double(), None)


def cell_factors(model: FactorModel, draw: Mapping[str, Tensor], cells: Prepared) -> tuple[Tensor, Tensor]:
    """Mean and variance ``(cell, factor)`` of the factors of cells given one draw of everything else."""
    Y, Z, codes, offset, joined = cells
    W = draw["W"]
    if joined is not None:
        T, sigma = projection(model, draw)
        x = (joined @ T.T.to(joined)).double()
        return x, torch.diagonal(sigma).expand_as(x)
    m = len(W)
    seen, filled = ~Y.isnan(), torch.nan_to_num(Y)
    level = draw["mu"][codes] if "mu" in draw else torch.zeros_like(filled)
    if model.covariates:
        level = level + Z @ draw["beta"]
    centre = Z @ draw["gamma"] if model.factor_effects else Y.new_zeros(len(Y), m)
    kinds = model.gene_likelihood()
    binary, count = (kinds == LIKELIHOODS.index(kind) for kind in (BERNOULLI, NEGATIVE_BINOMIAL))
    plain = ~(binary | count)
    noise = draw["noise_variance"].expand(len(model.genes)) if "noise_variance" in draw else torch.ones_like(W[0])
    r = draw["dispersion"] if "dispersion" in draw else torch.ones_like(W[0])
    shift = torch.where(count, offset - r.log(), 0.0)
    x, sigma = centre, torch.eye(m, dtype=W.dtype).to(W).expand(len(Y), m, m)
    pairs = (W.T[:, :, None] * W.T[:, None]).flatten(1)  # (gene, factor²)
    for _ in range(1 if bool(plain.all()) else ITERATIONS):
        eta = level + x @ W + shift
        c = (eta**2 + sigma.flatten(1) @ pairs.T).clamp_min(1e-12).sqrt()
        size = torch.where(count, filled + r, torch.ones_like(filled))
        weight = torch.where(plain, 1 / noise, size * torch.tanh(0.5 * c) / (2 * c)) * seen
        target = torch.where(count, 0.5 * (filled - r), filled - 0.5) - weight * (level + shift)
        target = torch.where(plain, (filled - level) / noise, target) * seen
        precision = (weight @ pairs).reshape(-1, m, m) + torch.eye(m, dtype=W.dtype, device=W.device)
        sigma = torch.linalg.inv(precision)
        x = (sigma @ (target @ W.T + centre)[..., None])[..., 0]
    return x, torch.diagonal(sigma, dim1=1, dim2=2)


def log_density(posterior: PosteriorLike[FactorModel], data: ExpressionData, *, num_draws: int = 100) -> np.ndarray:
    r"""``(cell,)`` log predictive density of new cells, in units of the data: the yardstick of held-out comparisons.

    .. math:: \log \frac1S \sum_s N\Big(y;\ \bar y_k + (z - \bar z_k)(\beta_s + \Gamma_s W_s),\ (1 + 1/n_k)
              (W_s^\top W_s + \Psi_s)\Big)

    with 1/n_k for the flat intercept of the group, integrated out.

    Raises
    ------
    ValueError
        Data that are not Gaussian and complete, or other genes, groups or covariates.
    """
    model = posterior.model
    data = matched(model, data)
    if not model.integrated or data.missing:
        raise ValueError("the predictive density is for complete Gaussian data: others have no closed form")
    draws, parts = thinned(posterior, num_draws), []
    G = len(model.genes)
    unit = float(model.scale.double().log().sum())
    for _, cells in blocks(data):
        Y, Z, codes, _ = model.prepare(cells)
        Y, Z = Y.double(), Z.double()
        wider = 1 + 1 / model.count.double()[codes]
        each = []
        for draw in draws:
            W, noise = draw["W"], draw["noise_variance"].expand(G)
            e = Y
            if model.covariates:
                effect = draw["beta"] + (draw["gamma"] @ W if model.factor_effects else 0.0)
                e = Y - Z @ effect
            scaled = W / noise
            lower = torch.linalg.cholesky(torch.eye(len(W), dtype=W.dtype, device=W.device) + scaled @ W.T)
            white = torch.linalg.solve_triangular(lower, scaled @ e.T, upper=False)
            quadratic = ((e**2 / noise).sum(1) - (white**2).sum(0)) / wider
            log_det = noise.log().sum() + 2 * torch.diagonal(lower).log().sum()
            each.append(-0.5 * (G * (math.log(2 * math.pi) + wider.log()) + log_det + quadratic))
        parts.append(torch.logsumexp(torch.stack(each), dim=0) - math.log(len(draws)) - unit)
    return torch.cat(parts).cpu().numpy()


def predict_values(
    posterior: PosteriorLike[FactorModel], data: ExpressionData, number: int, rng: np.random.Generator
) -> CellPredictions:
    """One gene of each of many cells: N(ȳ + z(β + ΓW), (1 + 1/n)(W'W + Ψ)) for each draw."""
    model = posterior.model
    if not model.integrated or data.missing:
        raise ValueError(
            "predictions of single values are for complete Gaussian data: there are missing values or counts"
        )
    data = matched(model, data)
    cell = np.sort(rng.choice(data.num_cells, min(number, data.num_cells), replace=False))
    gene = rng.integers(len(model.genes), size=len(cell))
    Y, Z, codes, _ = (value.cpu().double().numpy() for value in model.prepare(data.subset(cell)))
    draws = {n: v for n, v in aligned(posterior.draws, thin_of(posterior)).items() if n in SITES}
    # of the genes asked for alone: all of them in float64 would be a table twice as large as that of the draws
    W, noise = draws["W"][..., gene].astype(np.float64), draws["noise_variance"].astype(np.float64)
    noise = noise[..., None] if noise.ndim == 2 else noise[..., gene]
    wider = 1 + 1 / model.count.cpu().double().numpy()[codes.astype(int)]
    mean = np.zeros((*W.shape[:2], len(cell)))
    if model.covariates:
        effect = draws["beta"][..., gene].astype(np.float64)
        effect = effect + (draws["gamma"].astype(np.float64) @ W if model.factor_effects else 0.0)
        mean = np.einsum("cdvo,ov->cdo", effect, Z)
    sd = np.sqrt(((W**2).sum(2) + noise) * wider)
    scale = model.scale.cpu().double().numpy()[gene]
    level = model.mean.cpu().double().numpy()[codes.astype(int), gene]
    observed = level + scale * Y[np.arange(len(cell)), gene]
    labels = [f"{name_of(data.labels, c)}:{model.genes[g]}" for c, g in zip(cell.tolist(), gene.tolist(), strict=True)]
    return CellPredictions(observed, level + scale * mean, scale * sd, labels, cell)
