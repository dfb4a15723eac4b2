r"""One round through the full conditionals of a Gaussian factor model, on sufficient statistics.

The same round is a Gibbs sweep or a step of variational coordinate ascent (`Take`). Cells appear only in
:math:`R = D^\top D`, with :math:`D = [Y\ Z]`: given the loadings, the factors of all cells are

.. math:: X = D T^\top + E, \qquad T = \Sigma_x [\,W\Psi^{-1},\ \Gamma^\top - W\Psi^{-1}\beta^\top], \qquad
          E_c \sim N(0, \Sigma_x), \quad \Sigma_x = (I + W \Psi^{-1} W^\top)^{-1},

and what the loadings need of them is :math:`X^\top D = T R + E^\top D` and
:math:`X^\top X = T R T^\top + T D^\top E + E^\top D T^\top + E^\top E`. With R = C Cᵀ of rank r,
:math:`E^\top D = \Sigma_x^{1/2} N C^\top` and :math:`E^\top E = \Sigma_x^{1/2}(N N^\top + \Omega)\Sigma_x^{1/2\top}`, N
standard normal (factor, r) and Ω Wishart with the remaining degrees of freedom: an exact draw of the factors' moments
that costs the same for a thousand and a million cells.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from ...models.factor import BETA_SCALE, GAMMA_SCALE, FactorModel
from ...priors import LoadingPrior, Take
from ...priors.loadings.prior import State
from .loadings import Optimum, Regressions, Spread, optimum

MANY = 30_000  # loadings from which a round takes a hundredth of a second and more
# rounds before the first draw: after 200 programs of pure noise are all but gone (30 genes, 300 cells: after 10 their
# loadings are still sure, after 50 half so) and ranks nearly as uniform as the sampler's (docs/results/programs.md)
REFRESH, REFRESH_MANY = 200, 50


@dataclass(frozen=True, eq=False)
class FactorState:
    """Where a round stands; every tensor leads with ``chain``.

    ``loadings`` (gene, factor + covariate) of W and β and, in coordinate ascent, the ``spread`` of their q and the
    ``log_det`` (gene,) of its covariances; ``precision`` (gene,) 1/σ²; ``gamma`` (covariate, factor); ``prior`` the
    loading prior's state; ``bound`` (chain,) the evidence lower bound after the round. Cell by cell the ``covariance``
    (gene, p, p) itself stands for the spread, and there are: ``dispersion`` (gene,) r of the counts; ``size`` (gene,)
    observed values; ``scales_bound`` (chain,) what the scales of the prior, as last updated, add to the bound.
    """

    loadings: Tensor
    covariance: Tensor | None
    log_det: Tensor | None
    precision: Tensor
    gamma: Tensor
    prior: State
    bound: Tensor | None = None
    dispersion: Tensor | None = None
    size: Tensor | None = None
    scales_bound: Tensor | float = 0.0
    spread: Spread | None = None

    @property
    def variance(self) -> Tensor | None:
        """``(chain, gene, p)`` of the loadings under q; ``None`` of a draw."""
        if self.spread is not None:
            return self.spread.variance
        return None if self.covariance is None else torch.diagonal(self.covariance, dim1=2, dim2=3)

    def square(self, number: int) -> Tensor:
        """``(chain, factor, gene)`` (expected) squares of the loadings of the first ``number`` coefficients."""
        found, variance = self.loadings[..., :number].mT ** 2, self.variance
        return found if variance is None else found + variance[..., :number].mT


class Round(Protocol):
    """Rounds through one model's conditionals: a Gibbs sweep or a step of coordinate ascent, as `Take` says."""

    model: FactorModel
    refreshes: bool
    """Whether a round of draws leaves the posterior as it is: Gaussian views."""
    work: int
    """Numbers that a round of one chain goes through."""
    refresh: int
    """By default, rounds from a draw of q to the first that is kept."""

    @property
    def gram_round(self) -> "GramRound":
        """The rounds on sufficient statistics, exact or a stand-in from which to start."""

    @property
    def zz(self) -> Tensor:
        """``(covariate, covariate)`` sums of products of the covariates."""

    def start(self, state: FactorState) -> FactorState:
        """The first state, from what `start.start` makes of `gram_round`."""

    def under(self, prior: LoadingPrior) -> Self:
        """The same rounds with another prior of the loadings."""

    def __call__(self, state: FactorState, take: Take) -> FactorState:
        """One round; ``bound`` of what it returns is that of coordinate ascent."""

    def log_likelihood(self, state: FactorState) -> Tensor:
        """``(chain,)`` log-likelihood of a drawn state."""


class Moments(NamedTuple):
    """Of the factors: ``xx`` (chain, factor, factor), ``xd`` (chain, factor, column) with the data, ``log_det`` of
    Σ_x."""

    xx: Tensor
    xd: Tensor
    log_det: Tensor


class GramRound:
    """Rounds through one model's conditionals; float64, on the model's device."""

    refreshes = True

    def __init__(self, model: FactorModel, gram: Tensor | None = None, dof: float | None = None) -> None:
        self.model = model
        self.prior: LoadingPrior = copy.deepcopy(model.loading_prior).double()
        self.num_factors, self.num_genes = len(model.factors), len(model.genes)
        self.num_covariates = len(model.covariates)
        self.work = self.num_genes * (self.num_factors + self.num_covariates)
        self.refresh = REFRESH if self.work <= MANY else REFRESH_MANY
        # (column, column); of data that are used cell by cell, a stand-in from which to start
        self.gram = model.gram.double().sum(0) if gram is None else gram
        self.dof = model.dof if dof is None else dof
        self.square = torch.diagonal(self.gram)[: self.num_genes]
        self._root: Tensor | None = None
        a, b = (float(v) for v in model.noise_prior)
        self.noise_shape, self.noise_rate = a, b
        cross = self.gram[self.num_genes :]
        self.zd, self.zz = cross, cross[:, self.num_genes :]

    @property
    def gram_round(self) -> "GramRound":
        return self

    def start(self, state: FactorState) -> FactorState:
        """As it is."""
        return state

    def under(self, prior: LoadingPrior) -> "GramRound":
        """The same rounds with another prior of the loadings, on the model's device."""
        other = copy.copy(self)
        other.prior = prior.double().to(self.gram.device)
        return other

    @property
    def root(self) -> Tensor:
        """``(column, rank)`` C with C Cᵀ = R."""
        if self._root is None:
            if self.dof > len(self.gram):
                jitter = 1e-9 * torch.diagonal(self.gram).mean()
                factor, failed = torch.linalg.cholesky_ex(self.gram + jitter * torch.eye(len(self.gram)).to(self.gram))
                if not int(failed):
                    self._root = factor
            if self._root is None:  # fewer cells than columns, or columns that depend on each other
                values, vectors = torch.linalg.eigh(self.gram)
                rank = int(min(self.dof, int((values > 1e-9 * values[-1]).sum())))
                self._root = vectors[:, -rank:] * values[-rank:].sqrt()
        return self._root

    # -- blocks ----
    def factors(self, state: FactorState, take: Take) -> Moments:
        """Moments of the factors given everything else."""
        m = self.num_factors
        second = self._second(state)  # (chain, p, p) Σ_j E[θ_j θ_jᵀ] / σ_j²
        eye = torch.eye(m, dtype=second.dtype, device=second.device)
        lower = torch.linalg.cholesky(eye + second[:, :m, :m])
        sigma = torch.cholesky_inverse(lower)
        W = state.loadings[..., :m].mT * state.precision[:, None]  # (chain, factor, gene)
        last = state.gamma.mT - second[:, :m, m:]
        T = sigma @ torch.cat([W, last], dim=2)  # (chain, factor, column)
        log_det = -2 * torch.diagonal(lower, dim1=1, dim2=2).log().sum(1)
        if not take.draws:
            xd = T @ self.gram
            return Moments(xd @ T.mT + self.dof * sigma, xd, log_det)
        half = torch.linalg.solve_triangular(lower.mT, eye.expand_as(lower), upper=True)  # half halfᵀ = Σ_x
        root = self.root
        normal = torch.randn(len(T), m, root.shape[1], dtype=T.dtype, device=T.device)
        drawn = times_root(T, root) + half @ normal  # (chain, factor, rank): X = (D T + E) of the rows that R has
        rest = half @ wishart(self.dof - root.shape[1], m, len(T), T)
        return Moments(drawn @ drawn.mT + rest @ rest.mT, times_root_transposed(drawn, root), log_det)

    def _second(self, state: FactorState) -> Tensor:
        theta = state.loadings
        second = (theta * state.precision[..., None]).mT @ theta
        return second if state.spread is None else second + state.spread.weighted

    def weights(self, state: FactorState, moments: Moments, take: Take) -> FactorState:
        """(w_j, β_j) jointly, gene by gene: the exact Gaussian given the factors' moments, scales and noise."""
        found = self.regressions(state, moments)
        if take.draws:
            return replace(state, loadings=found.draw(), spread=None, log_det=None)
        best = optimum(found, self._squares(state), None)
        return replace(state, loadings=best.loadings, spread=best.spread, log_det=best.log_det)

    def regressions(self, state: FactorState, moments: Moments) -> Regressions:
        """What the loadings and effects of each gene are drawn from, or their q made of."""
        m, G, v = self.num_factors, self.num_genes, self.num_covariates
        U, cross = self.regression(moments)
        own = self.prior.precision(state.prior).expand(len(U), m, G).mT  # (chain, gene, factor)
        if v:
            own = torch.cat([own, own.new_full((len(U), G, v), BETA_SCALE**-2)], dim=2)
        return Regressions(U, cross.mT.contiguous(), state.precision, own.contiguous())

    def _squares(self, state: FactorState) -> Tensor:
        """``(chain, gene)`` sums of squares of the genes."""
        return self.square.expand_as(state.precision)

    def _optimum(self, state: FactorState, moments: Moments, take: Take) -> Optimum:
        """q of the loadings, and then of the noise."""
        found, square = self.regressions(state, moments), self._squares(state)
        if not self.model.isotropic:
            return optimum(found, square, lambda genes, rss: self.noise(state, rss, take))
        best = optimum(found, square, None)
        precision = self.noise(state, best.rss, take)
        return best._replace(precision=precision, spread=best.spread.with_noise(precision[:, :1]))

    def regression(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """Gram ``(chain, p, p)`` of factors and covariates, and their products with the genes ``(chain, p, gene)``."""
        G = self.num_genes
        xz = moments.xd[..., G:]
        chains = len(xz)
        top = torch.cat([moments.xx, xz], dim=2)
        bottom = torch.cat([xz.mT, self.zz.expand(chains, -1, -1)], dim=2)
        cross = torch.cat([moments.xd[..., :G], self.zd[:, :G].expand(chains, -1, -1)], dim=1)
        return torch.cat([top, bottom], dim=1), cross

    def residual(self, state: FactorState, moments: Moments) -> Tensor:
        """``(chain, gene)`` sum of squared residuals of drawn loadings."""
        U, cross = self.regression(moments)
        theta = state.loadings
        found = self.square - 2 * (theta * cross.mT).sum(2) + ((theta @ U) * theta).sum(2)
        return found.clamp_min(1e-12)

    def noise(self, state: FactorState, rss: Tensor, take: Take) -> Tensor:
        """``(chain, gene)`` 1/σ²."""
        if self.model.isotropic:
            total = rss.sum(1, keepdim=True)
            new = take.gamma(self.noise_shape + 0.5 * self.dof * self.num_genes, self.noise_rate + 0.5 * total)
            return new.expand(-1, self.num_genes)
        return take.gamma(self.noise_shape + 0.5 * self.dof, self.noise_rate + 0.5 * rss)

    def effects(self, moments: Moments, take: Take) -> Tensor:
        """Γ given the factors, ``(chain, covariate, factor)``."""
        lower = self._gamma_factor()
        mean = torch.cholesky_solve(moments.xd[..., self.num_genes :].mT, lower)
        if not take.draws:
            return mean
        return mean + torch.linalg.solve_triangular(lower.mT, torch.randn_like(mean), upper=True)

    def _gamma_factor(self) -> Tensor:
        return effects_factor(self.zz)

    # -- covariates, with the factors integrated out ----
    def covariate_effects(self, W: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
        r"""An exact draw of (β, Γ) given (W, Ψ), factors integrated out.

        In the axes in which ZᵀZ = diag(d), the least-squares coefficient of rotated covariate r is :math:`\hat b =
        \beta + W^\top (\Gamma + \bar x) + e`, :math:`\bar x \sim N(0, I/d)`, :math:`e \sim N(0, \Psi/d)`: first
        :math:`g = \Gamma + \bar x` with β integrated out, then β and Γ given g. This is what no product of q(β) and
        q(factors) has: the dependence of β on where the factors stand.

        Returns ``(chain, covariate, gene)`` and ``(chain, covariate, factor)``.
        """
        m, G = self.num_factors, self.num_genes
        d, axes = torch.linalg.eigh(self.zz)
        rotated = axes.T @ self.zd[:, :G] / d[:, None]  # (covariate, gene) least-squares coefficients
        noise = 1 / (precision[:, None] * d[:, None])  # (chain, covariate, gene)
        spread = 1 / (BETA_SCALE**2 + noise)
        own = (GAMMA_SCALE**2 if self.model.factor_effects else 0.0) + 1 / d  # (covariate,) variance of g
        inner = torch.einsum("ckg,cvg,clg->cvkl", W, spread, W) + torch.diag_embed((1 / own)[:, None].expand(-1, m))
        lower = torch.linalg.cholesky(inner)
        eta = torch.einsum("ckg,cvg,vg->cvk", W, spread, rotated)
        g = torch.cholesky_solve(eta[..., None], lower)
        g = g + torch.linalg.solve_triangular(lower.mT, torch.randn_like(g), upper=True)
        g = g[..., 0]  # (chain, covariate, factor)
        weight = 1 / (BETA_SCALE**-2 + 1 / noise)
        beta = weight * (rotated - g @ W) / noise
        beta = beta + weight.sqrt() * torch.randn_like(beta)
        gamma = torch.zeros_like(g)
        if self.model.factor_effects:
            share = (GAMMA_SCALE**2 / own)[:, None]
            gamma = share * g + (share / d[:, None]).sqrt() * torch.randn_like(g)
        return axes @ beta, axes @ gamma

    # -- moves along the orbit of the likelihood ----
    def rescale(self, state: FactorState, moments: Moments, take: Take) -> tuple[FactorState, Moments]:
        r"""x_k → a x_k, Γ_k → a Γ_k, w_k → w_k / a, for each factor; the likelihood does not change.

        u = a² is generalised inverse Gaussian, :math:`p(u) \propto u^{(n + v - G)/2 - 1} e^{-(Au + B/u)/2}` with A the
        squares of x − Γᵀz and Γ and B those of w in units of its scale (a group move after Liu & Wu 1999); in
        coordinate
        ascent the maximiser of the bound (parameter expansion). Scales of factors and loadings, which a plain round
        changes by steps of 1/√n, move at once.
        """
        m, G = self.num_factors, self.num_genes
        own = self.prior.precision(state.prior).expand(len(moments.xx), m, G)
        B = (state.square(m) * own).sum(2)
        A = torch.diagonal(moments.xx, dim1=1, dim2=2)
        count = self.dof - G
        if self.model.factor_effects:
            zx = moments.xd[..., G:]  # (chain, factor, covariate)
            gamma = state.gamma.mT
            A = A - 2 * (gamma * zx).sum(2) + ((gamma @ self.zz) * gamma).sum(2) + (gamma**2).sum(2) / GAMMA_SCALE**2
            count = count + self.num_covariates
            if not take.draws:
                A = A + self._gamma_spread()
        u = move_scale(0.5 * count, A, B) if take.draws else (count + (count**2 + 4 * A * B).sqrt()) / (2 * A)
        a = u.sqrt()
        p = state.loadings.shape[2] - m
        divide = torch.cat([1 / a, a.new_ones(len(a), p)], dim=1)
        spread = None if state.spread is None else state.spread.scaled(divide)
        state = replace(state, loadings=state.loadings * divide[:, None], spread=spread, gamma=state.gamma * a[:, None])
        log_det = moments.log_det + 2 * a.log().sum(1)
        return state, Moments(moments.xx * a[:, :, None] * a[:, None], moments.xd * a[..., None], log_det)

    def _gamma_spread(self) -> Tensor:
        """Expected squares that the spread of q(Γ) adds: tr(V (ZᵀZ + I/s²)) = v, the same for every factor."""
        return self.zz.new_tensor(float(self.num_covariates))

    def shift(self, state: FactorState) -> FactorState:
        """x → x + Δᵀz, Γ → Γ + Δ, β → β − Δ W with the Δ that maximises the bound (parameter expansion)."""
        if not self.model.factor_effects or state.spread is None:
            return state
        m = self.num_factors
        theta = state.loadings
        second = theta.mT @ theta + state.spread.total  # (chain, p, p)
        inner = second[:, :m, :m] / BETA_SCALE**2
        inner = inner + torch.eye(m, dtype=theta.dtype, device=theta.device) / GAMMA_SCALE**2
        target = second[:, m:, :m] / BETA_SCALE**2 - state.gamma / GAMMA_SCALE**2
        delta = torch.linalg.solve(inner, target.mT).mT  # (chain, covariate, factor)
        eye = torch.eye(theta.shape[2], dtype=theta.dtype, device=theta.device).repeat(len(theta), 1, 1)
        eye[:, m:, :m] = -delta
        # the factors' own variances stay; nothing asks for those of β before the next round has made them anew
        spread = state.spread.turned(eye, state.spread.variance[..., :m])
        return replace(state, loadings=theta @ eye.mT, spread=spread, gamma=state.gamma + delta)

    # -- a round ----
    def __call__(self, state: FactorState, take: Take) -> FactorState:
        """One round; in coordinate ascent ``bound`` is the evidence lower bound at its end, which never falls."""
        m = self.num_factors
        if take.draws:
            if self.num_covariates:
                W = state.loadings[..., :m].mT
                beta, gamma = self.covariate_effects(W, state.precision)
                state = replace(state, loadings=torch.cat([W, beta], dim=1).mT, gamma=gamma)
            moments = self.factors(state, take)
            state, moments = self.rescale(state, moments, take)
            state = self.weights(state, moments, take)
            state = replace(state, precision=self.noise(state, self.residual(state, moments), take))
            return replace(state, prior=self.prior.update(state.prior, state.square(m), take))
        state = self.shift(state)
        state, moments = self.rescale(state, self.factors(state, take), take)
        if self.model.factor_effects:
            state = replace(state, gamma=self.effects(moments, take))
        best = self._optimum(state, moments, take)
        state = replace(
            state, loadings=best.loadings, spread=best.spread, log_det=best.log_det, precision=best.precision
        )
        square = state.square(m)
        take.bound = 0.0
        state = replace(state, prior=self.prior.update(state.prior, square, take))
        return replace(state, bound=self.evidence(state, moments, best.rss, square, take))

    def log_likelihood(self, state: FactorState) -> Tensor:
        """``(chain,)`` log p(Y | W, β, Γ, Ψ)."""
        m = self.num_factors
        theta = state.loadings
        beta = theta[..., m:].mT if self.num_covariates else None
        gamma: Tensor | None = state.gamma if self.model.factor_effects else None
        with torch.no_grad():
            found = self.model.marginal_log_likelihood(theta[..., :m].mT, beta, gamma, (1 / state.precision)[:, None])
        return found[:, 0, 0]

    def evidence(self, state: FactorState, moments: Moments, rss: Tensor, square: Tensor, take: Take) -> Tensor:
        """``(chain,)`` the evidence lower bound E_q[log p − log q]."""
        m, G, n = self.num_factors, self.num_genes, self.dof
        pi = math.log(2 * math.pi)
        genes = 1 if self.model.isotropic else G
        each = G // genes
        log_t, noise = self.noise_bound(state.precision[:, :genes], n * each)
        bound = log_t.new_full((), -0.5 * n * G * pi) - 0.5 * G * float(self.model.count.clamp_min(1).log().sum())
        bound = bound + 0.5 * n * each * log_t.sum(1) - 0.5 * (state.precision * rss).sum(1) + noise.sum(1)
        away = torch.diagonal(moments.xx, dim1=1, dim2=2).sum(1)
        if self.model.factor_effects:
            gamma = state.gamma.mT
            away = away - 2 * (gamma * moments.xd[..., G:]).sum((1, 2)) + ((gamma @ self.zz) * gamma).sum((1, 2))
            away = away + (gamma**2).sum((1, 2)) / GAMMA_SCALE**2 + m * self._gamma_spread()
            log_det = -2 * torch.diagonal(self._gamma_factor()).log().sum()
            bound = bound + 0.5 * m * log_det + 0.5 * m * self.num_covariates * (1 - 2 * math.log(GAMMA_SCALE))
        bound = bound - 0.5 * away + 0.5 * n * (moments.log_det + m)
        return bound + self.weights_bound(state, square, take) + take.bound

    def noise_bound(self, t: Tensor, size: float | Tensor) -> tuple[Tensor, Tensor]:
        """E[log 1/σ²], and E[log p − log q] of 1/σ² with mean ``t`` given ``size`` values; each like ``t``."""
        a, b = self.noise_shape, self.noise_rate
        shape = torch.as_tensor(a + 0.5 * size, dtype=t.dtype, device=t.device)
        rate = shape / t
        log_t = torch.digamma(shape) - rate.log()
        entropy = shape - rate.log() + torch.lgamma(shape) + (1 - shape) * torch.digamma(shape)
        return log_t, (a - 1) * log_t - b * t + a * math.log(b) - math.lgamma(a) + entropy

    def weights_bound(self, state: FactorState, square: Tensor, take: Take) -> Tensor:
        """``(chain,)`` E[log p − log q] of W and β; constants of further coefficients are left out."""
        m, G = self.num_factors, self.num_genes
        assert state.log_det is not None, "of coordinate ascent"
        log_precision = self.prior.log_precision(state.prior, take).expand(len(square), m, G)
        own = self.prior.precision(state.prior).expand(len(square), m, G)
        bound = 0.5 * log_precision.sum((1, 2)) - 0.5 * (own * square).sum((1, 2))
        if self.num_covariates:
            last = slice(m, m + self.num_covariates)
            assert state.variance is not None, "of coordinate ascent"
            beta = (state.loadings[..., last] ** 2 + state.variance[..., last]).sum((1, 2))
            bound = bound - 0.5 * beta / BETA_SCALE**2 - G * self.num_covariates * math.log(BETA_SCALE)
        return bound + 0.5 * state.log_det.sum(1) + 0.5 * (m + self.num_covariates) * G


def effects_factor(zz: Tensor) -> Tensor:
    """Cholesky factor of the precision of Γ given the factors, ZᵀZ + I/s², of every factor alike."""
    return torch.linalg.cholesky(zz + torch.eye(len(zz), dtype=zz.dtype, device=zz.device) / GAMMA_SCALE**2)


def wishart(dof: float, size: int, chains: int, like: Tensor) -> Tensor:
    """``(chain, size, size)`` B with B Bᵀ ~ Wishart(dof, I), by Bartlett; zero for no degrees of freedom."""
    factor = like.new_zeros(chains, size, size)
    if dof <= 0:
        return factor
    if dof < size:
        return torch.randn(chains, size, round(dof), dtype=like.dtype, device=like.device)
    degrees = dof - torch.arange(size, dtype=like.dtype, device=like.device)
    chi = (2 * torch._standard_gamma((0.5 * degrees).expand(chains, size))).sqrt()
    lower = torch.tril(torch.randn(chains, size, size, dtype=like.dtype, device=like.device), -1)
    return lower + torch.diag_embed(chi)


def panels(root: Tensor) -> list[slice]:
    """Columns of a root in eight parts where it is a triangle, whose zeros then need not be multiplied; else all."""
    size = len(root)
    if root.shape[1] != size or size < 256:
        return [slice(0, root.shape[1])]
    return [slice(size * i // 8, size * (i + 1) // 8) for i in range(8)]


def times_root(left: Tensor, root: Tensor) -> Tensor:
    """``left`` (chain, factor, column) C."""
    parts = panels(root)
    first = [part.start if len(parts) > 1 else 0 for part in parts]
    flat = left.flatten(0, 1)
    found = [flat[:, row:] @ root[row:, part] for row, part in zip(first, parts, strict=True)]
    return torch.cat(found, dim=1).view(*left.shape[:2], -1)


def times_root_transposed(left: Tensor, root: Tensor) -> Tensor:
    """``left`` (chain, factor, rank) Cᵀ."""
    parts, flat = panels(root), left.flatten(0, 1)
    if len(parts) == 1:
        return left @ root.T
    found = [flat[:, : part.stop] @ root[part, : part.stop].T for part in parts]
    return torch.cat(found, dim=1).view(*left.shape[:2], -1)


def move_scale(order: float, A: Tensor, B: Tensor, *, moves: int = 3) -> Tensor:
    """Metropolis moves of u > 0, from u = 1, with density ∝ u^(order − 1) exp(−(A u + B / u) / 2), elementwise.

    Proposals are independent, normal in log u around the mode: the density is log-concave there and concentrated, so
    nearly all are accepted.
    """
    log_density = lambda s: order * s - 0.5 * (A * s.exp() + B * (-s).exp())
    root = (order**2 + A * B).sqrt()
    # without cancellation whichever the sign of the order
    mode = torch.where(torch.as_tensor(order > 0), (order + root) / A, B / (root - order).clamp_min(1e-300)).log()
    width = 1.1 * (0.5 * (A * mode.exp() + B * (-mode).exp())).rsqrt()
    log_proposal = lambda s: -0.5 * ((s - mode) / width) ** 2
    current = torch.zeros_like(A)
    for _ in range(moves):
        proposed = mode + width * torch.randn_like(A)
        gain = log_density(proposed) - log_density(current) + log_proposal(current) - log_proposal(proposed)
        current = torch.where(torch.rand_like(A).log() < gain, proposed, current)
    return current.exp()
