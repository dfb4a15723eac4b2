r"""Probabilistic PCA: the simplest Bayesian factor model."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..priors import EdgeKnowledge, LoadingPrior, NormalLoading
from .data.accepts import takes_anndata
from .data.expression import ExpressionData
from .data.factor_statistics import FactorStatistics
from .factor import FactorModel

PPCA_NOISE = (1.0, 1.0)  # σ² ~ InvGamma(1, 1), as the poster


class PPCASolution(NamedTuple):
    """Closed form: ``W`` (factor, gene), ``noise_variance``, ``log_likelihood``, ``eigenvalues`` (gene,) falling, and
    after a regression ``beta`` (covariate, gene) with its classical standard errors ``beta_se``."""

    W: Tensor
    noise_variance: float
    log_likelihood: float
    eigenvalues: Tensor
    beta: Tensor | None = None
    beta_se: Tensor | None = None


class PPCA(FactorModel):
    r"""Probabilistic principal component analysis (Tipping & Bishop 1999).

    .. math:: y \mid x, W, \sigma^2 \sim N(W^\top x + \mu, \sigma^2 I), \quad x \sim N(0, I_m), \quad W_{kg} \sim N(0,
              1),
              \quad \sigma^2 \sim \mathrm{InvGamma}(1, 1)

    Three solutions stand side by side: `maximum_likelihood` in closed form, `MapEstimate`, and variational or exact
    posteriors. W is determined up to a rotation; draws are aligned to one another by Procrustes.

    Parameters
    ----------
    data
        Cells, or their `FactorStatistics`.
    num_factors
        m. Default 10.
    loading_prior
        Default `NormalLoading` (1), the poster's.
    standardize
        Divide each gene by its sd first. Default False: σ² is one number for all genes, in the units of the data.
    factor_effects
        Whether covariates act on the factors too (Γ). Default True; without covariates it does not matter.
    integrate
        Integrate the factors out. Default True. False samples them, as the poster's mean-field guide and MAP do.

    Examples
    --------
    >>> from pyrogrn.models.simulators import simulate_ppca
    >>> model = PPCA(simulate_ppca(num_genes=8, num_cells=40, num_factors=2, seed=0).data, num_factors=2)
    >>> model.maximum_likelihood().W.shape
    torch.Size([2, 8])
    """

    name = "ppca"
    reference = "Tipping & Bishop 1999, J R Stat Soc B 61:611"
    isotropic = True

    def __init__(
        self,
        data: ExpressionData | FactorStatistics,
        *,
        num_factors: int = 10,
        loading_prior: LoadingPrior | None = None,
        standardize: bool = False,
        factor_effects: bool = True,
        integrate: bool = True,
        noise_prior: tuple[float, float] = PPCA_NOISE,
    ) -> None:
        if num_factors < 1:
            raise ValueError(f"num_factors is {num_factors}: expected at least 1")
        names = [f"factor_{k + 1}" for k in range(num_factors)]
        super().__init__(
            data,
            knowledge=EdgeKnowledge.unlabelled(names, data.genes),
            loading_prior=loading_prior or NormalLoading(),
            standardize=standardize,
            factor_effects=factor_effects,
            integrate=integrate,
            noise_prior=noise_prior,
        )

    @classmethod
    @takes_anndata
    def from_data(cls, data: ExpressionData, **options: Any) -> "PPCA":
        """As the constructor, on the data's device."""
        return cls(data, **options).to(data.device)

    def maximum_likelihood(self, *, regress: bool = False) -> PPCASolution:
        r"""The closed-form solution (Tipping & Bishop 1999, eq. 7–8).

        :math:`\hat W = (\Lambda_m - \hat\sigma^2 I)^{1/2} U_m^\top` with the m largest eigenvalues of the covariance
        within groups, :math:`\hat\sigma^2` the mean of the others.

        Parameters
        ----------
        regress
            Take the covariates out first by least squares, :math:`\hat\beta = (Z^\top Z)^{-1} Z^\top Y`, and decompose
            what is left: the two steps that the poster compares MuVI with. Default False: covariates are not used.

        Raises
        ------
        ValueError
            The model was made without sufficient statistics (missing values).
        """
        G, m = len(self.genes), len(self.factors)
        if not self.gram.shape[1]:
            raise ValueError("the closed form needs complete data: missing values leave no covariance matrix")
        count = float(self.count.sum())
        gram, beta, beta_se = self.gram.double().sum(0), None, None
        covariance = gram[:G, :G] / count
        if regress and self.covariates:
            inverse = torch.linalg.inv(gram[G:, G:])  # (covariate, covariate)
            beta = inverse @ gram[G:, :G]  # (covariate, gene)
            covariance = covariance - gram[:G, G:] @ beta / count
            variance = covariance.diagonal() * count / max(self.dof - len(self.covariates), 1.0)
            beta_se = (inverse.diagonal()[:, None] * variance).sqrt()
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        noise = float(values[m:].mean())
        W = (values[:m] - noise).clamp_min(0).sqrt()[:, None] * vectors[:, :m].T
        log_det = float(values[:m].log().sum()) + (G - m) * math.log(noise)
        log_likelihood = -0.5 * count * (G * math.log(2 * math.pi) + log_det + G)
        return PPCASolution(W, noise, log_likelihood, values, beta, beta_se)
