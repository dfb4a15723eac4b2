r"""Gene programs as tables: loadings, variance explained, refined gene sets, covariate effects."""

import math
from typing import Any

import numpy as np
import pandas as pd
import torch

from ...models import LIKELIHOODS, ExpressionData, FactorModel
from ...models.likelihoods import GAUSSIAN
from ..checks import Check
from ..draws.fitted import PosteriorLike
from ..draws.intervals import LEVEL, check_level, interval
from .base import Answers, Scores
from .program_cells import log_density, predict_values, projection, scores, thinned
from .results import CellPredictions
from .set_standing import LARGEST, Standing, standing_checks, standings

PROGRAM_COLUMNS = ("program", "gene", "loading", "sd", "lower", "upper", "sign_probability", "lfsr", "prior")
MEMBER = 0.5  # a gene more probable than this belongs to a refined set


class ProgramAnswers(Answers[FactorModel]):
    """Loadings, variance explained, gene sets, covariates, scores."""

    def unpredictable(self, model: FactorModel, data: ExpressionData) -> str | None:
        if model.integrated and not data.missing:
            return None
        return "Not checked: there are missing values, binary genes or counts."

    def has_joint_density(self, model: FactorModel) -> bool:
        return model.integrated  # else factors were not kept

    def prior_decides_size(self, model: FactorModel) -> bool:
        """Of more genes than cells: what n cells with variance s² along a program tell of its size r is r^-n
        exp(-n s² / 2 r²), and p loadings of width 1 have r^(p-1) exp(-r² / 2) a priori."""
        return model.loading_prior.has_fixed_width and len(model.genes) > float(model.count.sum())

    def cells(
        self, posterior: PosteriorLike[FactorModel], data: ExpressionData, number: int, rng: np.random.Generator
    ) -> CellPredictions:
        return predict_values(posterior, data, number, rng)

    def programs(
        self, posterior: PosteriorLike[FactorModel], *, level: float, program: str | None, top: int | None
    ) -> pd.DataFrame:
        return programs(posterior, level=level, program=program, top=top)

    def factors(self, posterior: PosteriorLike[FactorModel], *, level: float) -> pd.DataFrame:
        return factors(posterior, level=level)

    def refined_sets(self, posterior: PosteriorLike[FactorModel]) -> pd.DataFrame:
        return refined_sets(posterior)

    def covariate_effects(self, posterior: PosteriorLike[FactorModel], *, level: float) -> pd.DataFrame:
        return covariate_effects(posterior, level=level)

    def scores(
        self, posterior: PosteriorLike[FactorModel], data: ExpressionData, *, group: str | None, least_genes: float
    ) -> Scores:
        return scores(posterior, data, group=group, least_genes=least_genes)

    def log_density(self, posterior: PosteriorLike[FactorModel], data: ExpressionData, *, num_draws: int) -> np.ndarray:
        return log_density(posterior, data, num_draws=num_draws)

    def annotate(self, posterior: PosteriorLike[FactorModel], adata: Any, data: ExpressionData) -> None:
        annotate(posterior, adata, data)


def programs(
    posterior: PosteriorLike[FactorModel], *, level: float = LEVEL, program: str | None = None, top: int | None = None
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
    model = posterior.model
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


# -- variance explained ----
def variance_explained(posterior: PosteriorLike[FactorModel]) -> np.ndarray:
    r"""``(draw, factor, view, group)`` share of the variance within groups that a program alone explains.

    .. math:: R^2_{kvg} = 1 - \frac{\sum_{c \in g} \lVert y_{cv} - \hat x_{ck} w_{kv} \rVert^2}
              {\sum_{c \in g} \lVert y_{cv} \rVert^2}, \qquad \hat x_c = E[x_c \mid y_c, W, \beta, \Gamma, \Psi]

    for posterior draws of (W, β, Γ, Ψ), from the sufficient statistics. Where there are none (missing values, binary
    genes,
    counts) it is the model's own share on the scale of the linear predictor, :math:`\sum_g w_{kg}^2` over that of all
    programs and the noise, the same for all groups.
    """
    model = posterior.model
    one_hot = model.loading_prior.one_hot.double()  # (gene, view)
    G, found = len(model.genes), []
    grams = model.gram.double()
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
        for gram in grams:
            xd = T @ gram
            xx = (xd * T).sum(1)
            total = torch.diagonal(gram)[:G] @ one_hot
            gain = 2 * (W * xd[:, :G]) @ one_hot - xx[:, None] * (W**2 @ one_hot)
            each.append(gain / total.clamp_min(1e-12))
        found.append(torch.stack(each, dim=-1))
    return torch.stack(found).cpu().numpy()


def factors(posterior: PosteriorLike[FactorModel], *, level: float = LEVEL) -> pd.DataFrame:
    """``program, library, view, group, variance_explained, lower, upper, genes, label``; ``genes`` is the expected
    number of member genes of the view, by the model's inclusion probability, or P(\\|loading\\| > δ); ``label`` the
    program's name, or that it has no gene or one, or mostly genes that are not of the set it is named after
    (`set_standing`)."""
    check_level(level)
    model = posterior.model
    explained = variance_explained(posterior)
    one_hot = model.loading_prior.one_hot.cpu().numpy()
    members = posterior.moments["W"].inclusion @ one_hot  # (factor, view)
    tail = (1 - level) / 2
    lower, upper = np.quantile(explained, [tail, 1 - tail], axis=0)
    found = standings_of(posterior)
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
            "label": found[name].label(name) if name in found else name,
        }
        for k, name in enumerate(model.factors)
        for v, view in enumerate(model.views)
        for g, group in enumerate(model.contexts)
    ]
    return pd.DataFrame(rows)


def standings_of(posterior: PosteriorLike[FactorModel]) -> dict[str, Standing]:
    """By program that has a gene set, whether it still is that set."""
    if not any(posterior.model.labelled):
        return {}
    return standings(refined_sets(posterior), programs(posterior, top=LARGEST))


def set_checks(posterior: PosteriorLike[Any]) -> list[Check]:
    """Rows of the table of checks on the sets that programs are named after."""
    model = posterior.model
    libraries = {name: library_of(model, k) for k, name in enumerate(model.factors)}
    return list(standing_checks(libraries, standings_of(posterior)))


def library_of(model: FactorModel, factor: int) -> str:
    """The libraries that have this program's set, joined by ``+``; empty for an unlabelled program."""
    listed = (model.knowledge.probability[:, factor] > 0).any(1).tolist() if model.knowledge.sources else []
    return "+".join(s for s, has in zip(model.knowledge.sources, listed, strict=True) if has) if listed else ""


def refined_sets(posterior: PosteriorLike[FactorModel]) -> pd.DataFrame:
    """Each labelled program's set after the data: ``program, gene, status, probability, loading, prior``.

    ``kept`` and ``removed`` genes of the given set, ``added`` genes outside it; ``probability`` that the gene belongs
    (the
    inclusion probability; without an inclusion variable, P(\\|loading\\| > δ)), and more than one half counts as
    belonging.
    """
    model = posterior.model
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


def covariate_effects(posterior: PosteriorLike[FactorModel], *, level: float = LEVEL) -> pd.DataFrame:
    """What covariates do: ``covariate, kind, name, effect, sd, lower, upper, sign_probability, lfsr``.

    ``kind`` "program": Γ, shift of the program in its standard deviations for one unit of the covariate (numeric
    covariates: one sd). ``kind`` "gene": β, the direct effect on a gene beside what programs carry, in units of the
    loadings.
    """
    check_level(level)
    model = posterior.model
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


# -- elsewhere ----
def annotate(posterior: PosteriorLike[FactorModel], adata: Any, data: ExpressionData) -> None:
    """Write scores to ``adata.obsm["X_<model>"]`` (and ``_sd``), loadings to ``varm["<model>_loadings"]`` (NaN for
    genes
    that are not of the fit), names and variance explained to ``uns["<model>"]``, in place.

    Raises
    ------
    ValueError
        ``adata`` has other cells than ``data``.
    """
    model = posterior.model
    if adata.n_obs != data.num_cells:
        raise ValueError(f"the AnnData has {adata.n_obs} cells and the data {data.num_cells}: pass those of the fit")
    mean, sd = posterior.scores(data)
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
