r"""Linear-Gaussian factor models: gene programs, with covariates and groups."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ..priors import EdgeKnowledge, EdgePrior, LoadingPrior
from ..priors.host_values import kept
from ..priors.inverse_gamma import InverseGamma
from .base import Model
from .data.expression import ExpressionData
from .data.factor_statistics import FactorStatistics
from .depth import TOTALS, cell_names, check_depth, depth_notes, log_size_factors, stored_cell_names, stored_depth
from .likelihoods import GAUSSIAN, LIKELIHOODS, NEGATIVE_BINOMIAL, cell_moments
from .observation.cells import MixedViews
from .observation.gram_factors import GramFactors
from .observation.joined import joined
from .state import State

BETA_SCALE = GAMMA_SCALE = 1.0  # of covariate effects on genes (the poster's β ~ N(0, 1)) and on factors
INTERCEPT_SCALE = 10.0  # of the intercepts where cells are used one by one; flat where they are integrated out
DISPERSION_MEAN, DISPERSION_SD = 1.5, 1.0  # log r of the negative binomial: r between 0.6 and 33


class FactorModel(Model):
    r"""Cells as combinations of a few programs, the base of `PPCA` and `MuVI`.

    .. math:: y_c \mid x_c \sim N(\mu_k + W^\top x_c + \beta^\top z_c,\ \Psi), \qquad
              x_c \sim N(\Gamma^\top z_c, I_m), \qquad \beta_{vg}, \Gamma_{vf} \sim N(0, 1)

    for cell c of group k with covariates z. A covariate acts through programs (Γ) and on genes directly (β): without Γ
    the factors are taken to be uncorrelated with the covariates, and what they share goes to β. Factors and intercepts
    are integrated out where the data are Gaussian and complete: the likelihood is then

    .. math:: Y \sim N\big(Z(\beta + \Gamma W),\ W^\top W + \Psi\big),

    a function of `FactorStatistics` by Woodbury's identity, :math:`O(m G^2)` for any number of cells.
    """

    infers = "programs"
    axes = ("factor", "gene")
    isotropic: ClassVar[bool] = False
    edge_prior: LoadingPrior
    gram: Tensor
    count: Tensor
    mean: Tensor
    scale: Tensor
    noise_prior: Tensor
    view_of_gene: Tensor

    def __init__(
        self,
        data: ExpressionData | FactorStatistics,
        *,
        knowledge: EdgeKnowledge,
        loading_prior: LoadingPrior,
        likelihood: Mapping[str, str] | None = None,
        standardize: bool,
        factor_effects: bool,
        integrate: bool,
        noise_prior: tuple[float, float],
        depth: str = TOTALS,
    ) -> None:
        super().__init__()
        check_depth(depth)
        names = data.view_names
        likelihoods = {view: (likelihood or {}).get(view, GAUSSIAN) for view in names}
        gaussian = all(kind == GAUSSIAN for kind in likelihoods.values())
        self.cells, statistics = _sources(data, gaussian=gaussian, integrate=integrate)
        view = data.view if data.view is not None else torch.zeros(len(data.genes), dtype=torch.long)
        self._describe(
            genes=data.genes,
            covariates=data.covariate_names,
            contexts=data.context_names,
            views=likelihoods,
            knowledge=knowledge,
            loading_prior=loading_prior.bind(knowledge, view=view.cpu(), num_views=len(names)),
            factor_effects=factor_effects and bool(data.covariate_names),
            integrated=statistics is not None and integrate,
            cell_names=() if self.cells is None else cell_names(self.cells),
            depth=depth,
        )
        self.register_buffer("noise_prior", torch.tensor(noise_prior))
        self.register_buffer("view_of_gene", view.cpu())
        if statistics is not None:
            scale, mean, count, gram = statistics.scale, statistics.mean, statistics.count, statistics.gram
        else:
            assert self.cells is not None, "statistics were made otherwise"
            mean, scale, count = cell_moments(self.cells, self.gene_likelihood())
            gram = mean.new_zeros(len(self.contexts), 0, 0)
        gaussian_genes = self.gene_likelihood() == LIKELIHOODS.index(GAUSSIAN)
        scale = torch.where(gaussian_genes.to(scale.device) & standardize, scale, torch.ones_like(scale))
        unit = torch.cat([scale, scale.new_ones(len(self.covariates))])
        if gram.shape[1]:
            gram = gram / unit[:, None] / unit
        self.register_buffer("gram", gram.float())
        self.register_buffer("count", count.float())
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", scale.float())
        self._check_size(int(count.sum()), len(self.genes))
        if self.has_dispersion and self.cells is not None:
            self.evidence_notes = depth_notes(self.cells, self.prepare(self.cells)[3], self.gene_likelihood(), depth)

    def _check_size(self, num_cells: int, num_genes: int) -> None:
        most = min(num_cells - len(self.contexts), num_genes)
        if len(self.factors) >= most:
            raise ValueError(
                f"{len(self.factors)} factors for {num_cells} cells x {num_genes} genes: expected fewer than {most}. "
                "Ask for fewer factors, or raise the smallest overlap of gene sets"
            )

    def _describe(
        self,
        *,
        genes: Sequence[str],
        covariates: Sequence[str],
        contexts: Sequence[str],
        views: Mapping[str, str],
        knowledge: EdgeKnowledge,
        loading_prior: LoadingPrior,
        factor_effects: bool,
        integrated: bool,
        cell_names: Sequence[str],
        depth: str,
    ) -> None:
        """All but the data."""
        self.cell_names, self.depth = tuple(cell_names), depth
        self.genes, self.covariates, self.contexts = tuple(genes), tuple(covariates), tuple(contexts)
        self.views = dict(views)
        self.knowledge, self.factors = knowledge, knowledge.tfs
        self.edge_prior = loading_prior
        self.factor_effects, self.integrated = factor_effects, integrated

    @property
    def dof(self) -> float:
        """Cells, less one for the intercept of every group that has any."""
        return kept(self, "dof", (self.count,), lambda count: float(count.sum() - (count > 0).sum()))

    @property
    def loading_prior(self) -> LoadingPrior:
        """The prior on W."""
        return self.edge_prior

    @property
    def labelled(self) -> tuple[bool, ...]:
        """For each factor, whether a gene set stands behind it."""
        if not self.knowledge.sources:
            return (False,) * len(self.factors)
        return tuple((self.knowledge.probability > 0).any(0).any(1).tolist())

    def gene_likelihood(self) -> Tensor:
        """``(gene,)`` place of each gene's likelihood in `LIKELIHOODS`."""
        kinds = torch.tensor([LIKELIHOODS.index(kind) for kind in self.views.values()])
        return kinds.to(self.loading_prior.view.device)[self.loading_prior.view]

    @property
    def num_cells(self) -> int:
        """Cells that the model has factors of; 0 where these are integrated out."""
        return len(self.cell_names)

    @property
    def has_noise(self) -> bool:
        return GAUSSIAN in self.views.values()

    @property
    def has_dispersion(self) -> bool:
        return NEGATIVE_BINOMIAL in self.views.values()

    # -- storage ----
    def to_state(self) -> dict[str, list[str]]:
        return {
            "genes": list(self.genes),
            "covariates": list(self.covariates),
            "contexts": list(self.contexts),
            "views": list(self.views),
            "likelihoods": list(self.views.values()),
            "flags": [n for n in ("factor_effects", "integrated") if getattr(self, n)],
            "cells": list(self.cell_names),
            "depth": [self.depth],
        }

    def _restore(self, state: State, knowledge: EdgeKnowledge, edge_prior: EdgePrior) -> None:
        views = dict(zip(state.names("views"), state.names("likelihoods"), strict=True))
        flags = state.names("flags")
        self._describe(
            genes=state.names("genes"),
            covariates=state.names("covariates"),
            contexts=state.names("contexts"),
            views=views,
            knowledge=knowledge,
            # factor models are stored with a prior on loadings
            loading_prior=cast(LoadingPrior, edge_prior).bind(knowledge, view=self.view_of_gene, num_views=len(views)),
            factor_effects="factor_effects" in flags,
            integrated="integrated" in flags,
            cell_names=stored_cell_names(state),
            depth=stored_depth(state),
        )
        self.cells = None

    # -- axes ----
    @property
    def coords(self) -> dict[str, list[str]]:
        coords = {
            "factor": list(self.factors),
            "gene": list(self.genes),
            "covariate": list(self.covariates),
            "view": list(self.views),
            "context": list(self.contexts),
            "source": list(self.knowledge.sources),
        }
        if not self.integrated:
            coords["cell"] = list(self.cell_names)
        return coords

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        own: dict[str, tuple[str, ...]] = {}
        if self.covariates:
            own["beta"] = ("covariate", "gene")
        if self.factor_effects:
            own["gamma"] = ("covariate", "factor")
        if self.has_noise:
            own["noise_variance"] = () if self.isotropic else ("gene",)
        if self.has_dispersion:
            own["dispersion"] = ("gene",)
        if not self.integrated:
            own |= {"mu": ("context", "gene"), "x": ("cell", "factor")}
        return {**self.loading_prior.dims, **own}

    @property
    def max_plate_nesting(self) -> int:
        return 2

    def plate_of(self, site: str) -> dict[str, int]:
        """Where the dimensions of a site sit among the plates; those not named are event dimensions."""
        if site in ("x", "gamma"):
            return {"cell": -2, "covariate": -2}
        return {"context": -2, "factor": -2, "covariate": -2, "gene": -1, "view": -1}

    # -- the generative story ----
    def forward(self, batch: ExpressionData | None = None) -> None:
        factor = pyro.plate("factor", len(self.factors), dim=-2)
        gene = pyro.plate("gene", len(self.genes), dim=-1)
        W = self.loading_prior(factor, gene)  # (factor, gene)
        one = self.constant.new_ones(())
        beta = gamma = None
        if self.covariates:
            covariate = pyro.plate("covariate", len(self.covariates), dim=-2)
            with covariate, gene:
                beta = pyro.sample("beta", dist.Normal(0 * one, BETA_SCALE * one))  # (covariate, gene)
            if self.factor_effects:
                with covariate:
                    effects = dist.Normal(one.new_zeros(len(self.factors)), GAMMA_SCALE * one).to_event(1)
                    gamma = pyro.sample("gamma", effects).squeeze(-2)  # (covariate, factor)
        noise = one
        if self.has_noise:
            prior = InverseGamma(self.noise_prior[0], self.noise_prior[1])
            if self.isotropic:
                noise = pyro.sample("noise_variance", prior)
            else:
                with gene:
                    noise = pyro.sample("noise_variance", prior)  # (gene,)
        dispersion = None
        if self.has_dispersion:
            with gene:
                log_normal = dist.LogNormal(DISPERSION_MEAN * one, DISPERSION_SD * one)
                dispersion = pyro.sample("dispersion", log_normal)
        if self.integrated and batch is None:
            X = self.observed()
            pyro.sample("X", self.cells_given(W, beta, gamma, noise).at(X), obs=X)
        else:
            self._observe_cells(W, beta, gamma, noise, dispersion, batch if batch is not None else self.cells, gene)

    def cells_given(self, W: Tensor, beta: Tensor | None, gamma: Tensor | None, noise: Tensor) -> GramFactors:
        """The distribution of the whole data, factors and flat intercepts integrated out.

        ``W`` (*batch, factor, gene), ``beta`` (*batch, covariate, gene), ``gamma`` (*batch, covariate, factor),
        ``noise`` (*batch, 1, gene), (gene,) or a scalar.
        """
        effect = None if beta is None else beta if gamma is None else beta + gamma @ W  # (covariate, gene)
        size = len(self.genes)
        return GramFactors(
            W,
            noise,
            dof=self.dof,
            log_count=self.count.clamp_min(1).log().sum(),
            effect=effect,
            covariates=None if effect is None else self.observed()[size:, size:],
            validate_args=False,
        )

    def observed(self) -> Tensor:
        """``(gene + covariate, gene + covariate)`` value of the site ``X`` of the whole data: the centred Gram
        matrix."""
        return joined(self, "X", (self.gram,), lambda gram: gram[0] if len(gram) == 1 else gram.sum(0))

    def marginal_log_likelihood(self, W: Tensor, beta: Tensor | None, gamma: Tensor | None, noise: Tensor) -> Tensor:
        """``(*batch, 1, 1)`` log p(Y | W, β, Γ, Ψ), given as `cells_given`."""
        found = self.cells_given(W, beta, gamma, noise).log_prob(self.observed().to(W))
        return found if found.dim() else found[None, None]

    def _observe_cells(
        self,
        W: Tensor,
        beta: Tensor | None,
        gamma: Tensor | None,
        noise: Tensor,
        dispersion: Tensor | None,
        data: ExpressionData | None,
        gene: Any,
    ) -> None:
        if data is None:
            raise ValueError("this model was loaded without its cells: pass them as `data`")
        Y, Z, context, offset = self.prepare(data)
        one = self.constant.new_ones(())
        share = 1.0 if data.population is None else data.population / len(Y)
        with pyro.plate("group", len(self.contexts), dim=-2), gene:
            mu = pyro.sample("mu", dist.Normal(0 * one, INTERCEPT_SCALE * one))  # (context, gene)
        with poutine.scale(scale=share), pyro.plate("cell", len(Y), dim=-2):
            centre = Y.new_zeros(len(Y), len(self.factors))
            if gamma is not None:
                centre = Z @ gamma  # (*batch, cell, factor)
            x = pyro.sample("x", dist.Normal(centre.unsqueeze(-2), one).to_event(1)).squeeze(-2)  # (cell, factor)
            mean = mu[..., context, :] + x @ W
            if beta is not None:
                mean = mean + Z @ beta
            kinds = self.gene_likelihood()
            seen = ~Y.isnan()
            filled = torch.where(seen, Y, 0.0)
            cells = MixedViews(
                mean,
                kinds,
                present=tuple(self.views.values()),
                noise=noise if self.has_noise else None,
                dispersion=dispersion,
                offset=offset,
                validate_args=False,
            )
            with gene:
                pyro.sample("X", cells.at(filled).mask(seen), obs=filled)

    def prepare(self, data: ExpressionData) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Values ``(cell, gene)`` in units of the model (NaN where missing), covariates ``(cell, covariate)`` centred
        as in the fit, group codes ``(cell,)`` and log depth of counts, ``(cell, 1)`` or ``(cell, gene)``."""
        Y = data.X.to(self.scale)
        size = len(self.genes)
        codes = torch.zeros(len(Y), dtype=torch.long) if data.context is None else data.context
        codes = codes.to(Y.device)
        gaussian = self.gene_likelihood() == LIKELIHOODS.index(GAUSSIAN)
        Y = torch.where(gaussian, (Y - self.mean[codes, :size]) / self.scale, Y)
        Z = Y.new_zeros(len(Y), len(self.covariates))
        if data.covariates is not None and self.covariates:
            Z = data.covariates.to(Y) - self.mean[codes, size:]
        return Y, Z, codes, self._log_depth(Y, data)

    def _log_depth(self, Y: Tensor, data: ExpressionData) -> Tensor:
        if data.size_factor is not None:
            return data.size_factor.to(Y).log()[:, None]
        if self.depth != TOTALS or not self.has_dispersion:
            return Y.new_zeros(len(Y), 1)
        counts = self.gene_likelihood() == LIKELIHOODS.index(NEGATIVE_BINOMIAL)

        def measured(matrix: Tensor, count: Tensor, mean: Tensor, view: Tensor) -> Tensor:
            return log_size_factors(Y, self.typical_counts.to(Y), view.to(Y.device), counts.to(Y.device))

        return kept(self, "depth", (data.X, self.count, self.mean, self.view_of_gene), measured)

    @property
    def typical_counts(self) -> Tensor:
        """``(gene,)`` mean over all cells of the fit, in units of the data."""
        size = len(self.genes)
        return (self.count[:, None] * self.mean[:, :size]).sum(0) / self.count.sum()


def _sources(
    data: ExpressionData | FactorStatistics, *, gaussian: bool, integrate: bool
) -> tuple[ExpressionData | None, FactorStatistics | None]:
    """The cells, where they are used one by one, and the statistics, where these say all that Gaussian cells do.

    Raises
    ------
    ValueError
        Statistics where cells are needed, cells without a group.
    """
    if isinstance(data, FactorStatistics):
        if not gaussian or not integrate:
            raise ValueError("statistics hold no cells: pass the expression data for this likelihood")
        return None, data
    if data.context is None and data.num_contexts > 1:
        raise ValueError("several groups are named and cells have no group: give each cell one")
    complete = gaussian and not data.missing
    return None if complete and integrate else data, FactorStatistics.from_data(data) if complete else None
