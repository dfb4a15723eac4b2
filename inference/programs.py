r"""Gene programs as tables: loadings, variance explained, refined gene sets, covariate effects, scores of cells."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..models import LIKELIHOODS, ExpressionData, FactorModel, Model
from ..models.likelihoods import BERNOULLI, GAUSSIAN, NEGATIVE_BINOMIAL
from .draws.fitted import PosteriorLike
from .draws.intervals import LEVEL, check_level, interval, thin_of
from .moments import aligned

PROGRAM_COLUMNS = ("program", "gene", "loading", "sd", "lower", "upper", "sign_probability", "lfsr", "prior")
NUM_DRAWS = 50  # of sums over cells: their Monte-Carlo error is a seventh of the posterior's sd
BLOCK = 8192  # cells at a time
MEMBER = 0.5  # a gene more probable than this belongs to a refined set
ITERATIONS = 25  # of the factors of a cell with binary or count genes


def factor_model(posterior: PosteriorLike[Model]) -> FactorModel:
    """The model, which must be of gene programs."""
    if not isinstance(posterior.model, FactorModel):
        raise ValueError(f"{type(posterior.model).__name__} has edges and no programs: use posterior.edges()")
    return posterior.model


def programs(
    posterior: PosteriorLike[Model], *, level: float = LEVEL, program: str | None = None, top: int | None = None
) -> pd.DataFrame:
    """The loadings: ``program, gene, loading, sd, lower, upper, sign_probability, lfsr, prior``.

    Programs in the order of the model, genes by falling \\|loading\\|. ``loading``: change of the gene, in its standard
    deviations (in units of the data, where the model does not standardise; on the logit or log scale for binary genes
    and
    counts), for one standard deviation of the program. ``prior``: largest confidence of any library that the gene
    belongs
    to the program's set.

    Parameters
    ----------
    level
        Probability of the interval. Default 0.89, as ArviZ.
    program
        This one only.
    top
        So many genes of each.
    """
    check_level(level)
    model = factor_model(posterior)
    names, genes = np.asarray(model.factors, dtype=object), np.asarray(model.genes, dtype=object)
    if program is not None and program not in model.factors:
        raise ValueError(f"no program {program!r}: the fit has {list(model.factors[:5])} …")
    moments = posterior.moments["W"]
    chosen = range(len(names)) if program is None else [model.factors.index(program)]
    rows = [(k, g) for k in chosen for g in np.argsort(-np.abs(moments.mean[k]), kind="stable")[:top].tolist()]
    factor, gene = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    lower, upper = interval(posterior.draws["W"], factor, gene, level)
    positive, right = _signs(posterior.draws["W"], factor, gene)
    confidence = model.knowledge.probability
    prior = confidence.amax(0).cpu().numpy() if len(confidence) else np.zeros(moments.mean.shape, dtype=np.float32)
    table = {
        "program": names[factor],
        "gene": genes[gene],
        "loading": moments.mean[factor, gene].astype(np.float64),
        "sd": moments.sd[factor, gene].astype(np.float64),
        "lower": lower,
        "upper": upper,
        "sign_probability": right,
        "lfsr": np.minimum(positive, 1 - positive),
        "prior": prior[factor, gene].astype(np.float64),
    }
    return pd.DataFrame(table)[list(PROGRAM_COLUMNS)]


def _signs(draws: np.ndarray, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(> 0), and the larger of it and P(< 0), of elements of ``(chain, draw, ., .)``."""
    positive = (draws > 0).mean((0, 1))[row, column]
    return positive, np.maximum(positive, 1 - positive)


def thinned(posterior: PosteriorLike[Model], number: int = NUM_DRAWS) -> list[dict[str, Tensor]]:
    """Evenly spaced joint draws, each by site ``(*dims)`` in float64, on the model's device."""
    draws = aligned(posterior.draws, thin_of(posterior))
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in draws.items()}
    total = len(flat["W"])
    device = posterior.model.constant.device
    return [
        {name: torch.as_tensor(value[i]).double().to(device) for name, value in flat.items()}
        for i in np.unique(np.linspace(0, total - 1, min(number, total)).astype(int))
    ]


# -- variance explained ----------------------------------------
def variance_explained(posterior: PosteriorLike[Model]) -> np.ndarray:
    r"""``(draw, factor, view, group)`` share of the variance within groups that a program alone explains.

    .. math:: R^2_{kvg} = 1 - \frac{\sum_{c \in g} \lVert y_{cv} - \hat x_{ck} w_{kv} \rVert^2}
              {\sum_{c \in g} \lVert y_{cv} \rVert^2}, \qquad \hat x_c = E[x_c \mid y_c, W, \beta, \Gamma, \Psi]

    for posterior draws of (W, β, Γ, Ψ), from the sufficient statistics. Where there are none (missing values, binary
    genes,
    counts) it is the model's own share on the scale of the linear predictor, :math:`\sum_g w_{kg}^2` over that of all
    programs and the noise, the same for all groups.
    """
    model = factor_model(posterior)
    one_hot = model.loading_prior.one_hot.double()  # (gene, view)
    G, found = len(model.genes), []
    for draw in thinned(posterior):
        W = draw["W"]
        if not model.gram.shape[1]:
            noise = draw.get("noise_variance", W.new_ones(())).expand(G)
            noise = torch.where(model.gene_likelihood() == LIKELIHOODS.index(GAUSSIAN), noise, math.pi**2 / 3)
            share = (W**2) @ one_hot / (((W**2).sum(0) + noise) @ one_hot)
            found.append(share[..., None].expand(-1, -1, len(model.contexts)))
            continue
        T = projection(model, draw)[0]
        each = []
        for gram in model.gram.double():
            xd = T @ gram
            xx = (xd * T).sum(1)
            total = torch.diagonal(gram)[:G] @ one_hot
            gain = 2 * (W * xd[:, :G]) @ one_hot - xx[:, None] * (W**2 @ one_hot)
            each.append(gain / total.clamp_min(1e-12))
        found.append(torch.stack(each, dim=-1))
    return torch.stack(found).cpu().numpy()


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


def factors(posterior: PosteriorLike[Model], *, level: float = LEVEL) -> pd.DataFrame:
    """``program, library, view, group, variance_explained, lower, upper, genes``; ``genes`` is the expected number of
    member genes of the view, by the model's inclusion probability, or P(\\|loading\\| > δ)."""
    check_level(level)
    model = factor_model(posterior)
    explained = variance_explained(posterior)
    one_hot = model.loading_prior.one_hot.cpu().numpy()
    members = posterior.moments["W"].inclusion @ one_hot  # (factor, view)
    tail = (1 - level) / 2
    lower, upper = np.quantile(explained, [tail, 1 - tail], axis=0)
    rows = [
        {
            "program": name,
            "library": library_of(model, k),
            "view": view,
            "group": group,
            "variance_explained": explained[:, k, v, g].mean(),
            "lower": lower[k, v, g],
            "upper": upper[k, v, g],
            "genes": members[k, v],
        }
        for k, name in enumerate(model.factors)
        for v, view in enumerate(model.views)
        for g, group in enumerate(model.contexts)
    ]
    return pd.DataFrame(rows)


def library_of(model: FactorModel, factor: int) -> str:
    """The libraries that have this program's set, joined by ``+``; empty for an unlabelled program."""
    listed = (model.knowledge.probability[:, factor] > 0).any(1).tolist() if model.knowledge.sources else []
    return "+".join(s for s, has in zip(model.knowledge.sources, listed, strict=True) if has) if listed else ""


def refined_sets(posterior: PosteriorLike[Model]) -> pd.DataFrame:
    """Each labelled program's set after the data: ``program, gene, status, probability, loading, prior``.

    ``kept`` and ``removed`` genes of the given set, ``added`` genes outside it; ``probability`` that the gene belongs
    (the
    inclusion probability; without an inclusion variable, P(\\|loading\\| > δ)), and more than one half counts as
    belonging.
    """
    model = factor_model(posterior)
    moments = posterior.moments["W"]
    rows = []
    listed = (model.knowledge.probability.amax(0) if model.knowledge.sources else moments.mean[:0]) > 0
    for k, name in enumerate(model.factors):
        if not model.labelled[k]:
            continue
        given = listed[k].cpu().numpy()
        member = moments.inclusion[k] > MEMBER
        for g in np.flatnonzero(given | member):
            status = ("kept" if member[g] else "removed") if given[g] else "added"
            rows.append((name, model.genes[g], status, float(moments.inclusion[k, g]), float(moments.mean[k, g]), k, g))
    columns = ["program", "gene", "status", "probability", "loading", "k", "g"]
    table = pd.DataFrame(rows, columns=columns)
    prior = model.knowledge.probability.amax(0).cpu().numpy() if model.knowledge.sources else None
    table["prior"] = [] if prior is None else [float(prior[k, g]) for k, g in zip(table["k"], table["g"], strict=True)]
    order = table.assign(rank=table["status"].map({"kept": 0, "added": 1, "removed": 2}))
    order = order.sort_values(["k", "rank", "probability"], ascending=[True, True, False], kind="stable")
    return order.drop(columns=["k", "g", "rank"]).reset_index(drop=True)


def covariate_effects(posterior: PosteriorLike[Model], *, level: float = LEVEL) -> pd.DataFrame:
    """What covariates do: ``covariate, kind, name, effect, sd, lower, upper, sign_probability, lfsr``.

    ``kind`` "program": Γ, shift of the program in its standard deviations for one unit of the covariate (numeric
    covariates: one sd). ``kind`` "gene": β, the direct effect on a gene beside what programs carry, in units of the
    loadings.
    """
    check_level(level)
    model = factor_model(posterior)
    parts = []
    for site, kind, names in (("gamma", "program", model.factors), ("beta", "gene", model.genes)):
        if site not in posterior.draws:
            continue
        draws = posterior.draws[site]
        row, column = (i.reshape(-1) for i in np.indices(draws.shape[2:]))
        flat = draws.reshape(-1, *draws.shape[2:])
        lower, upper = interval(draws, row, column, level)
        positive, right = _signs(draws, row, column)
        parts.append(
            pd.DataFrame(
                {
                    "covariate": np.asarray(model.covariates, dtype=object)[row],
                    "kind": kind,
                    "name": np.asarray(names, dtype=object)[column],
                    "effect": flat.mean(0, dtype=np.float64)[row, column],
                    "sd": flat.std(0, dtype=np.float64)[row, column],
                    "lower": lower,
                    "upper": upper,
                    "sign_probability": right,
                    "lfsr": np.minimum(positive, 1 - positive),
                }
            )
        )
    if not parts:
        columns = ["covariate", "kind", "name", "effect", "sd", "lower", "upper", "sign_probability", "lfsr"]
        return pd.DataFrame(columns=columns)
    return pd.concat(parts, ignore_index=True)


# -- cells ----------------------------------------
def scores(posterior: PosteriorLike[Model], data: ExpressionData) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean and sd of every program in every cell (two tables, cell × program), given the posterior of the loadings.

    Complete Gaussian cells in closed form for each draw; cells with missing values by their own observed genes; binary
    genes and counts by the Pólya-Gamma bound. New cells of the same genes, groups and covariates may be given.
    """
    model = factor_model(posterior)
    data = matched(model, data)
    draws = thinned(posterior, 20)
    mean = np.empty((data.num_cells, len(model.factors)))
    sd = np.empty_like(mean)
    for start, cells in blocks(data):
        first = second = spread = torch.zeros((), dtype=torch.float64)
        for draw in draws:
            x, variance = cell_factors(model, draw, cells)
            first, second, spread = first + x, second + x**2, spread + variance
        rows = slice(start, start + cells.num_cells)
        first, second, spread = first / len(draws), second / len(draws), spread / len(draws)
        mean[rows] = first.cpu().numpy()
        sd[rows] = (spread + (second - first**2).clamp_min(0)).sqrt().cpu().numpy()
    names = list(model.factors)
    return pd.DataFrame(mean, columns=names), pd.DataFrame(sd, columns=names)


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
    """First row, and cells, a block at a time."""
    for start in range(0, data.num_cells, BLOCK):
        yield start, data.subset(np.arange(start, min(start + BLOCK, data.num_cells)))


def cell_factors(model: FactorModel, draw: Mapping[str, Tensor], cells: ExpressionData) -> tuple[Tensor, Tensor]:
    """Mean and variance ``(cell, factor)`` of the factors of cells given one draw of everything else."""
    Y, Z, codes, offset = (v.double() if v.is_floating_point() else v for v in model.prepare(cells))
    W = draw["W"]
    if model.integrated and not bool(Y.isnan().any()):
        T, sigma = projection(model, draw)
        x = torch.cat([Y, Z], dim=1) @ T.T
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


def log_density(posterior: PosteriorLike[Model], data: ExpressionData, *, num_draws: int = 100) -> np.ndarray:
    r"""``(cell,)`` log predictive density of new cells, in units of the data: the yardstick of held-out comparisons.

    .. math:: \log \frac1S \sum_s N\Big(y;\ \bar y_k + (z - \bar z_k)(\beta_s + \Gamma_s W_s),\ (1 + 1/n_k)
              (W_s^\top W_s + \Psi_s)\Big)

    with 1/n_k for the flat intercept of the group, integrated out.

    Raises
    ------
    ValueError
        Data that are not Gaussian and complete, or other genes, groups or covariates.
    """
    model = factor_model(posterior)
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


def annotate(posterior: PosteriorLike[Model], adata: Any, data: ExpressionData) -> None:
    """Write scores to ``adata.obsm["X_<model>"]`` (and ``_sd``), loadings to ``varm["<model>_loadings"]`` (NaN for
    genes
    that are not of the fit), names and variance explained to ``uns["<model>"]``, in place.

    Raises
    ------
    ValueError
        ``adata`` has other cells than ``data``.
    """
    model = factor_model(posterior)
    if adata.n_obs != data.num_cells:
        raise ValueError(f"the AnnData has {adata.n_obs} cells and the data {data.num_cells}: pass those of the fit")
    mean, sd = scores(posterior, data)
    adata.obsm[f"X_{model.name}"], adata.obsm[f"X_{model.name}_sd"] = mean.to_numpy(), sd.to_numpy()
    place = {gene: i for i, gene in enumerate(model.genes)}
    loadings = np.full((adata.n_vars, len(model.factors)), np.nan)
    for i, gene in enumerate(adata.var_names):
        if gene in place:
            loadings[i] = posterior.moments["W"].mean[:, place[gene]]
    adata.varm[f"{model.name}_loadings"] = loadings
    table = factors(posterior)
    adata.uns[model.name] = {
        "programs": np.asarray(model.factors, dtype=str),
        "variance_explained": table.pivot_table(
            index="program", columns=["view", "group"], values="variance_explained", sort=False
        ).to_numpy(),
    }
