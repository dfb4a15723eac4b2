"""`GramFactors`: a factor model with factors and intercepts integrated out, observed through its Gram matrix."""

import math
from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ...priors.shapes import broadcast_shapes
from .observable import Observable
from .wishart import wishart


class FactorMoments(NamedTuple):
    """Of a value of `GramFactors`: ``covariance`` (*batch, gene, gene) within groups, and least-squares ``effect``
    (*batch, covariate, gene) of the covariates, or ``None``; float64."""

    covariance: Tensor
    effect: Tensor | None


class _Gram(constraints.Constraint):
    """Symmetric matrices without negative eigenvalues, up to rounding (with fewer cells than genes some are zero)."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        size = value.abs().amax((-2, -1))
        slack = 10 * torch.finfo(value.dtype).eps * value.shape[-1] * size
        same = (value - value.mT).abs().amax((-2, -1)) <= slack
        return same & (torch.linalg.eigvalsh(0.5 * (value + value.mT)).amin(-1) >= -slack)


class GramFactors(Observable):
    r"""Cells of a linear-Gaussian factor model, as a distribution of their centred Gram matrix.

    .. math:: Y \sim N\big(Z B,\ I_\nu \otimes (W^\top W + \Psi)\big), \qquad
              D = \begin{pmatrix} Y^\top Y & Y^\top Z\\ Z^\top Y & Z^\top Z\end{pmatrix}

    for ν degrees of freedom (cells, less one a group for its flat intercept), W of the factors, Ψ diagonal, and effects
    B = β + ΓW of given covariates Z. A value is D: event shape ``(gene + covariate, gene + covariate)``, batch shape
    ``()``, or ``(*draw, 1, 1)`` where the parameters have draws to the left of two plates.

    `log_prob` is the density *of the cells* given the covariates, which depends on the cells through D alone, by
    Woodbury's identity in O(factors × gene²). `sample` draws D exactly, in float64: the components of Y along Z as
    Gaussian rows, the rest as a Wishart matrix of the degrees of freedom left.

    Parameters
    ----------
    weight
        ``(*draw, factor, gene)`` W.
    noise
        Diagonal of Ψ: ``(*draw, 1, gene)``, ``(gene,)`` or one number.
    dof
        ν.
    log_count
        Sum over the groups of the logarithm of their cells, from the intercepts.
    effect
        ``(*draw, covariate, gene)`` B, or ``None``.
    covariates
        ``(covariate, covariate)`` :math:`Z^\top Z`, given; used by `sample` alone.
    """

    has_rsample = True
    arg_constraints = {  # noqa: RUF012 as every distribution of torch
        "weight": constraints.independent(constraints.real, 2),
        "noise": constraints.positive,
    }
    support = _Gram()

    def __init__(
        self,
        weight: Tensor,
        noise: Tensor,
        *,
        dof: float,
        log_count: Tensor,
        effect: Tensor | None = None,
        covariates: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        genes = weight.shape[-1]
        noise = torch.broadcast_to(noise, (*noise.shape[:-1], genes) if noise.dim() else (1, genes))
        noise = noise if noise.dim() > 1 else noise[None]
        self.weight, self.noise, self.effect = weight, noise, effect
        self.dof, self.log_count, self.covariates = dof, log_count, covariates
        leads = [part.shape[:-2] for part in (weight, noise, effect) if part is not None]
        lead = broadcast_shapes(*leads)
        size = genes + (0 if effect is None else effect.shape[-2])
        batch = lead + (1, 1) if len(lead) else lead
        super().__init__(torch.Size(batch), torch.Size([size, size]), validate_args=validate_args)

    def expanded(self, batch_shape: torch.Size) -> TorchDistribution | None:
        """Draws to the left of two plates of size one."""
        if len(batch_shape) < 3 or batch_shape[-2:] != (1, 1):
            return None

        def wide(part: Tensor) -> Tensor:
            return part.expand(*batch_shape[:-2], *part.shape[-2:])

        return GramFactors(
            wide(self.weight),
            wide(self.noise),
            dof=self.dof,
            log_count=self.log_count,
            effect=None if self.effect is None else wide(self.effect),
            covariates=self.covariates,
            validate_args=False,
        )

    # -- density ----
    def density(self, value: Tensor) -> Tensor:
        """``(*draw, 1, 1)``, or one number without draws."""
        if value.shape[-2:] != self.event_shape:
            raise ValueError(
                f"a value of shape {tuple(value.shape)}: expected the Gram matrix of genes and covariates, "
                f"(…, {self.event_shape[0]}, {self.event_shape[1]})"
            )
        if not self.batch_shape:
            return self._log_density(value)
        return self._log_density(value.flatten(-4, -3).squeeze(-3) if value.dim() > 3 else value)[..., None, None]

    def _log_density(self, gram: Tensor) -> Tensor:
        W, noise, effect, G, dof = self.weight, self.noise, self.effect, self.weight.shape[-1], self.dof
        scaled = W / noise  # (factor, gene)
        inner = scaled @ W.mT + torch.eye(W.shape[-2], dtype=W.dtype, device=W.device)
        factor = torch.linalg.cholesky(inner)
        square = torch.diagonal(gram, dim1=-2, dim2=-1)[..., :G]
        project = scaled
        if effect is not None:
            cross, own = gram[..., G:, :G], gram[..., G:, G:]
            square = square - 2 * (effect * cross).sum(-2) + (effect * (own @ effect)).sum(-2)
            project = torch.cat([scaled, -scaled @ effect.mT], dim=-1)
        white = torch.linalg.solve_triangular(factor, project, upper=False)
        explained = ((white @ gram) * white).sum((-2, -1))
        log_det = noise.log().sum(-1).squeeze(-1) + 2 * torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)
        quadratic = (square[..., None, :] / noise).sum((-2, -1)) - explained
        constant = dof * G * math.log(2 * math.pi) + G * self.log_count
        return -0.5 * (constant + dof * log_det + quadratic)

    # -- draws ----
    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        padded = bool(self.batch_shape)
        lead = torch.Size(sample_shape) + (self.batch_shape[:-2] if padded else torch.Size())
        W, noise = self.weight.double(), self.noise.double()
        covariance = (W.mT @ W + torch.diag_embed(noise.squeeze(-2))).expand(*lead, W.shape[-1], W.shape[-1])
        lower = torch.linalg.cholesky(covariance)
        left = round(self.dof)
        if self.effect is None:
            found = wishart(lower, left)
        else:
            if self.covariates is None:
                raise ValueError("draws need the Gram matrix of the covariates: pass `covariates=`")
            own = self.covariates.double()
            values, vectors = torch.linalg.eigh(own)
            kept = values > 1e-7 * values.amax()
            root = (vectors[:, kept] * values[kept].sqrt()).T  # (direction, covariate): Z = Q root
            along = root @ self.effect.double()  # (*draw, direction, gene): the mean of QᵀY
            noise_along = lower @ torch.randn(*lower.shape[:-1], len(root), dtype=lower.dtype, device=lower.device)
            along = along + noise_along.mT
            genes = along.mT @ along + wishart(lower, max(0, left - len(root)))
            cross = along.mT @ root  # YᵀZ
            bottom = torch.cat([cross.mT, own.expand(*lead, *own.shape)], dim=-1)
            found = torch.cat([torch.cat([genes, cross], dim=-1), bottom], dim=-2)
        found = found.to(self.weight.dtype)
        return found[..., None, None, :, :] if padded else found

    # -- what a value says ----
    def moments(self, value: Tensor) -> FactorMoments:
        """What two data sets, observed or drawn, can be compared by: covariance of the genes within groups, and the
        effects of the covariates on them."""
        G, gram = self.weight.shape[-1], value.double()
        covariance = gram[..., :G, :G] / self.dof
        if self.effect is None:
            return FactorMoments(covariance, None)
        return FactorMoments(covariance, torch.linalg.lstsq(gram[..., G:, G:], gram[..., G:, :G]).solution)
