r"""One round of a factor model cell by cell: for missing values, Bernoulli and count views, and minibatches.

Every likelihood is Gaussian given weights :math:`\omega_{cg}` and targets :math:`\kappa_{cg}`: log p(y | η) = κη −
ωη²/2 +
const, with η the linear predictor. Observed Gaussian values have ω = 1/σ², κ = y/σ². Bernoulli and negative-binomial
values have the Pólya-Gamma augmentation (Polson, Scott & Windle 2013), whose expectation is :math:`\omega =
\frac{b}{2c}\tanh(c/2)` with :math:`c^2 = E[\eta^2]`, κ = y − ½, b = 1, or κ = (y − r)/2, b = y + r. Missing values have
ω = 0. Factors and loadings are then weighted regressions on each other, and their statistics are sums over cells: a
pass
goes through the data in blocks, of which a minibatch is one.
"""

import copy
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...models import LIKELIHOODS, ExpressionData, FactorModel
from ...models.factor import BETA_SCALE, DISPERSION_MEAN, DISPERSION_SD, GAMMA_SCALE, INTERCEPT_SCALE
from ...models.likelihoods import BERNOULLI, GAUSSIAN, NEGATIVE_BINOMIAL
from ...priors import LoadingPrior, Take
from .sweep import REFRESH, FactorState, GramRound, effects_factor

QUICK = 200_000  # cells x loadings of which a round takes some 10 ms: of more, draws would cost far more than the fit
BLOCK = 2048  # cells at a time: the moments of their factors, (cell, p²), stay below 10 MB for p = 24


class CellStatistics(NamedTuple):
    """Sums over cells, ``(chain, gene, ...)``: weighted Gram of (x, z, group), its products with κ, Σ ω y² of Gaussian
    genes, and of the factors the Gram with covariates and the log determinants and squares that the bound needs."""

    gram: Tensor  # (chain, gene, p, p)
    cross: Tensor  # (chain, gene, p)
    square: Tensor  # (chain, gene)
    xz: Tensor  # (chain, factor, covariate)
    away: Tensor  # (chain, factor) Σ E(x − Γᵀz)²
    level: Tensor  # (chain, factor, context) Σ E(x − Γᵀz), by group
    size: Tensor  # (chain, gene) observed values
    local: Tensor  # (chain,) what the cells' own blocks add to the bound
    dispersion: Tensor  # (chain, 2, gene) gradient and curvature of the counts' log density in log r

    def plus(self, other: "CellStatistics", share: float = 1.0) -> "CellStatistics":
        return CellStatistics(*(a + share * b for a, b in zip(self, other, strict=True)))

    def times(self, share: float) -> "CellStatistics":
        return CellStatistics(*(share * a for a in self))


class CellRound:
    """Rounds through the conditionals, cell by cell; loadings are (w, β, μ by group), factors are never kept."""

    def __init__(self, model: FactorModel, data: ExpressionData) -> None:
        self.model, self.data = model, data
        self.gram_round = GramRound(model, *_stand_in(model, data))
        self.m, self.G, self.v = len(model.factors), len(model.genes), len(model.covariates)
        self.K = len(model.contexts)
        kinds = model.gene_likelihood()
        self.is_gaussian = kinds == LIKELIHOODS.index(GAUSSIAN)
        self.is_binary = kinds == LIKELIHOODS.index(BERNOULLI)
        self.is_count = kinds == LIKELIHOODS.index(NEGATIVE_BINOMIAL)
        self.plain = self.refreshes = bool(self.is_gaussian.all())
        self.work = data.num_cells * self.gram_round.work
        self.refresh = REFRESH if self.work <= QUICK else 0
        self.zz = self._zz()

    @property
    def prior(self) -> LoadingPrior:
        return self.gram_round.prior

    def under(self, prior: LoadingPrior) -> "CellRound":
        """The same rounds with another prior of the loadings."""
        other = copy.copy(self)
        other.gram_round = self.gram_round.under(prior)
        return other

    def _zz(self) -> Tensor:
        mean = self.model.mean[:, self.G :].double()
        total = mean.new_zeros(self.v, self.v)
        if self.model.factor_effects:
            for start in range(0, self.data.num_cells, 65536):
                part = self.data.covariates[start : start + 65536].to(mean)  # type: ignore[index]
                codes = 0 if self.data.context is None else self.data.context[start : start + 65536]
                part = part - mean[codes]
                total = total + part.T @ part
        return total

    def start(self, state: FactorState) -> FactorState:
        """A state of genes and covariates with dispersions and, appended to the loadings, the groups' intercepts at the
        observed means."""
        chains = len(state.loadings)
        level = torch.zeros(self.K, self.G, dtype=torch.float64, device=state.loadings.device)
        mean = self.model.mean[:, : self.G].double()
        level = torch.where(self.is_binary, torch.logit(mean.clamp(0.01, 0.99)), level)
        level = torch.where(self.is_count, mean.clamp_min(1e-3).log(), level)
        dispersion = torch.full((chains, self.G), 5.0, dtype=torch.float64, device=level.device)
        loadings = torch.cat([state.loadings, level.T.expand(chains, -1, -1)], dim=2)
        p = loadings.shape[2]
        tiny = torch.eye(p, dtype=loadings.dtype, device=loadings.device) * 1e-4
        covariance = tiny.expand(chains, self.G, p, p)
        return replace(
            state, loadings=loadings, covariance=covariance, spread=None, log_det=None, dispersion=dispersion
        )

    # -- cells ----
    def block(self, state: FactorState, rows: slice | Tensor, take: Take) -> CellStatistics:
        """Statistics of some cells, their factors taken given everything else."""
        cells = self.data.subset(rows.numpy() if isinstance(rows, Tensor) else _positions(rows, self.data.num_cells))
        Y, Z, codes, offset = (v.double() if v.is_floating_point() else v for v in self.model.prepare(cells))
        seen = ~Y.isnan()
        Y = torch.where(seen, Y, 0.0)
        groups = torch.nn.functional.one_hot(codes, self.K).double()
        fixed = torch.cat([Z, groups], dim=1)  # (cell, v + K)
        parts = [self._chain(state, i, Y, seen, Z, fixed, offset, take) for i in range(len(state.loadings))]
        return CellStatistics(*(torch.stack(each) for each in zip(*parts, strict=True)))

    def _chain(
        self,
        state: FactorState,
        i: int,
        Y: Tensor,
        seen: Tensor,
        Z: Tensor,
        fixed: Tensor,
        offset: Tensor,
        take: Take,
    ) -> tuple[Tensor, ...]:
        m, n = self.m, len(Y)
        theta = state.loadings[i]  # (gene, p)
        second = theta[:, :, None] * theta[:, None]
        if state.covariance is not None:
            second = second + state.covariance[i]
        prior_mean = Z @ state.gamma[i] if self.model.factor_effects else Y.new_zeros(n, m)
        weight, kappa, log_pg = self._augment(state, i, Y, seen, offset, None, None, fixed, prior_mean)
        for _ in range(1 if self.plain else 2):  # ω depends on the factors, and they on ω
            precision = (weight @ second[:, :m, :m].flatten(1)).reshape(n, m, m)
            precision = precision + torch.eye(m, dtype=Y.dtype, device=Y.device)
            eta = (kappa - weight * offset * self.is_count) @ theta[:, :m] + prior_mean
            for r in range(fixed.shape[1]):
                eta = eta - (weight * fixed[:, r : r + 1]) @ second[:, :m, m + r]
            lower = torch.linalg.cholesky(precision)
            x = torch.cholesky_solve(eta[..., None], lower)[..., 0]
            spread = torch.cholesky_inverse(lower)
            if take.draws:
                noise = torch.linalg.solve_triangular(lower.mT, torch.randn_like(x)[..., None], upper=True)
                x, spread = x + noise[..., 0], torch.zeros_like(spread)
            if not self.plain:
                weight, kappa, log_pg = self._augment(state, i, Y, seen, offset, x, spread, fixed, prior_mean)
        u = torch.cat([x, fixed], dim=1)
        pairs = u[:, :, None] * u[:, None]
        pairs[:, :m, :m] += spread
        p = u.shape[1]
        gram = (weight.T @ pairs.flatten(1)).reshape(self.G, p, p)
        target = kappa - weight * offset * self.is_count
        cross = target.T @ u
        square = torch.where(self.is_gaussian, (weight * Y**2).sum(0), 0.0)
        away = (x - prior_mean).square().sum() + torch.diagonal(spread, dim1=1, dim2=2).sum()
        log_det = -2 * torch.diagonal(lower, dim1=1, dim2=2).log().sum()
        local = 0.5 * (log_det + n * m - away) + log_pg
        slope = Y.new_zeros(2, self.G)
        if bool(self.is_count.any()):
            assert state.dispersion is not None, "set by start"
            slope = dispersion_slope(state.dispersion[i], Y, seen, u @ theta.T + offset)
        own = (x - prior_mean).square().sum(0) + torch.diagonal(spread, dim1=1, dim2=2).sum(0)
        level = (x - prior_mean).T @ fixed[:, self.v :]
        return gram, cross, square, x.T @ Z, own, level, seen.double().sum(0), local, slope

    def _augment(
        self,
        state: FactorState,
        i: int,
        Y: Tensor,
        seen: Tensor,
        offset: Tensor,
        x: Tensor | None,
        spread: Tensor | None,
        fixed: Tensor,
        prior_mean: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """ω and κ ``(cell, gene)``, and what the bound has beyond κη − ωη²/2."""
        t = state.precision[i]
        weight, kappa = seen * t, seen * t * Y
        extra = Y.new_zeros(())
        if self.plain:
            return weight, kappa, extra
        theta, m = state.loadings[i], self.m
        u = torch.cat([x if x is not None else prior_mean, fixed], dim=1)
        linear = u @ theta.T
        square = linear**2
        if state.covariance is not None:
            pairs = (u[:, :, None] * u[:, None]).flatten(1)
            square = square + pairs @ state.covariance[i].flatten(1).T
        if spread is not None:
            second = theta[:, :m, None] * theta[:, None, :m]
            if state.covariance is not None:
                second = second + state.covariance[i][:, :m, :m]
            square = square + spread.flatten(1) @ second.flatten(1).T
        r = state.dispersion[i] if state.dispersion is not None else Y.new_ones(self.G)
        shift = torch.where(self.is_count, offset - r.log(), torch.zeros_like(offset))
        c = (square + 2 * shift * linear + shift**2).clamp_min(1e-12).sqrt()
        size = torch.where(self.is_count, Y + r, torch.ones_like(Y))
        omega = size * torch.tanh(0.5 * c) / (2 * c)
        other = torch.where(self.is_count, 0.5 * (Y - r) - omega * (shift - offset), Y - 0.5)
        not_gaussian = seen & ~self.is_gaussian
        weight = torch.where(not_gaussian, omega, weight)
        kappa = torch.where(not_gaussian, other, kappa)
        log_cosh = 0.5 * c + torch.log1p((-c).exp()) - math.log(2)
        base = 0.5 * omega * c**2 - size * (log_cosh + math.log(2))
        base = base - 0.5 * omega * shift**2 + torch.where(self.is_count, 0.5 * (Y - r) * shift, 0.0)
        counts = torch.lgamma(Y + r) - torch.lgamma(r) - torch.lgamma(Y + 1)
        base = base + torch.where(self.is_count, counts, 0.0)
        return weight, kappa, torch.where(not_gaussian, base, 0.0).sum()

    def whole(self, state: FactorState, take: Take) -> CellStatistics:
        """Statistics of all cells, block by block."""
        total: CellStatistics | None = None
        for start in range(0, self.data.num_cells, BLOCK):
            part = self.block(state, slice(start, start + BLOCK), take)
            total = part if total is None else total.plus(part)
        assert total is not None, "there is at least one cell"
        return total

    # -- genes ----
    def update(self, state: FactorState, sums: CellStatistics, take: Take) -> FactorState:
        """Γ, (w, β, μ), noise, dispersion and scales given sums over cells."""
        m, v, K, G = self.m, self.v, self.K, self.G
        chains = len(state.loadings)
        if not take.draws:
            sums = self.expand(state, sums)
        gamma = state.gamma
        if self.model.factor_effects:
            lower = effects_factor(self.zz)
            gamma = torch.cholesky_solve(sums.xz.mT, lower)
            if take.draws:
                gamma = gamma + torch.linalg.solve_triangular(lower.mT, torch.randn_like(gamma), upper=True)
        own = self.prior.precision(state.prior).expand(chains, m, G).mT
        rest = own.new_full((v + K,), BETA_SCALE**-2)
        rest[v:] = INTERCEPT_SCALE**-2
        own = torch.cat([own, rest.expand(chains, G, -1)], dim=2)
        lower = torch.linalg.cholesky(sums.gram + torch.diag_embed(own))
        log_det = -2 * torch.diagonal(lower, dim1=2, dim2=3).log().sum(2)
        if take.draws:
            half = torch.linalg.solve_triangular(lower, sums.cross[..., None], upper=False)
            theta = torch.linalg.solve_triangular(lower.mT, half + torch.randn_like(half), upper=True)[..., 0]
            covariance = None
        else:
            covariance = torch.cholesky_inverse(lower)
            theta = (covariance @ sums.cross[..., None])[..., 0]
        weighted = (
            sums.square - 2 * (theta * sums.cross).sum(2) + torch.einsum("cgpq,cgp,cgq->cg", sums.gram, theta, theta)
        )
        if covariance is not None:
            weighted = weighted + (sums.gram * covariance).sum((2, 3))
        rss = (weighted / state.precision).clamp_min(1e-12)
        precision = self._noise(rss, sums.size, take)
        square = theta[..., :m].mT ** 2
        if covariance is not None:
            square = square + torch.diagonal(covariance, dim1=2, dim2=3)[..., :m].mT
        take.bound = 0.0
        prior = self.prior.update(state.prior, square, take)
        dispersion = state.dispersion
        if dispersion is not None and bool(self.is_count.any()):
            log_r = dispersion.log()
            gradient = sums.dispersion[:, 0] - (log_r - DISPERSION_MEAN) / DISPERSION_SD**2
            curvature = sums.dispersion[:, 1].clamp_min(0.0) + DISPERSION_SD**-2
            step = (gradient / curvature).clamp(-0.5, 0.5)
            dispersion = (log_r + step).clamp(-4, 8).exp()
        return FactorState(
            theta,
            covariance,
            log_det,
            precision,
            gamma,
            prior,
            dispersion=dispersion,
            size=sums.size,
            scales_bound=take.bound,
        )

    def expand(self, state: FactorState, sums: CellStatistics) -> CellStatistics:
        r"""The statistics after the best shift and scale of each factor (parameter expansion).

        The likelihood does not see them: x → a(x − m_k) for group k, μ and w following.

        Without it intercepts and scales creep to their place: each round sees the factors where the last one left them.
        """
        m, G, v = self.m, self.G, self.v
        number = self.model.count.double().clamp_min(1)  # of the model's cells, as the sums
        shift = sums.level / number
        away = sums.away - (sums.level**2 / number).sum(2)
        own = self.prior.precision(state.prior).expand(len(away), m, G)
        square = state.loadings[..., :m].mT ** 2
        if state.covariance is not None:
            square = square + torch.diagonal(state.covariance, dim1=2, dim2=3)[..., :m].mT
        B, count = (square * own).sum(2), float(number.sum()) - G
        if self.model.factor_effects:
            away, count = away + state.gamma.square().sum(1) / GAMMA_SCALE**2 + v, count + v
        a = ((count + (count**2 + 4 * away * B).sqrt()) / (2 * away)).sqrt()
        p = sums.cross.shape[2]
        turn = torch.eye(p, dtype=a.dtype, device=a.device).repeat(len(a), 1, 1)
        turn[:, :m, m + v :] = -shift
        turn[:, :m] *= a[..., None]
        return sums._replace(
            gram=turn[:, None] @ sums.gram @ turn.mT[:, None], cross=sums.cross @ turn.mT, xz=sums.xz * a[..., None]
        )

    def _noise(self, rss: Tensor, size: Tensor, take: Take) -> Tensor:
        a, b = self.gram_round.noise_shape, self.gram_round.noise_rate
        if self.model.isotropic:
            new = take.gamma(a + 0.5 * size.sum(1, keepdim=True), b + 0.5 * rss.sum(1, keepdim=True))
            return new.expand(-1, self.G)
        new = take.gamma(a + 0.5 * size, b + 0.5 * rss)
        return torch.where(self.is_gaussian, new, torch.ones_like(new))

    def __call__(self, state: FactorState, take: Take) -> FactorState:
        """One round over all cells; ``bound`` is the lower bound at the state that came in, given its best factors."""
        sums = self.whole(state, take)
        bound = None if take.draws or state.log_det is None else self.evidence(state, sums, take)
        return replace(self.update(state, sums, take), bound=bound)

    def log_likelihood(self, state: FactorState) -> Tensor:
        """``(chain,)`` the Gaussian part given the factors that were drawn: how far the residuals have come down."""
        return (0.5 * state.precision.log() * self.model.count.sum()).sum(1)

    def evidence(self, state: FactorState, sums: CellStatistics, take: Take) -> Tensor:
        """``(chain,)`` the evidence lower bound of a state and the statistics taken at it (dispersions as given)."""
        m, theta, covariance = self.m, state.loadings, state.covariance
        assert covariance is not None, "of coordinate ascent"
        fit = (theta * sums.cross).sum((1, 2)) - 0.5 * torch.einsum("cgpq,cgp,cgq->c", sums.gram, theta, theta)
        fit = fit - 0.5 * (sums.gram * covariance).sum((1, 2, 3)) - 0.5 * sums.square.sum(1) + sums.local
        size = sums.size.sum(1, keepdim=True) if self.model.isotropic else sums.size
        t = state.precision[:, : size.shape[1]]
        log_t, noise = self.gram_round.noise_bound(t, size)
        used = torch.ones_like(t, dtype=torch.bool) if self.model.isotropic else self.is_gaussian.expand_as(t)
        gaussian = 0.5 * size * (log_t - math.log(2 * math.pi)) + noise
        bound = fit + torch.where(used, gaussian, 0.0).sum(1)
        square = theta[..., :m].mT ** 2 + torch.diagonal(covariance, dim1=2, dim2=3)[..., :m].mT
        bound = bound + self.gram_round.weights_bound(state, square, take) + state.scales_bound
        level = theta[..., m + self.v :].square() + torch.diagonal(covariance, dim1=2, dim2=3)[..., m + self.v :]
        bound = bound - 0.5 * (level / INTERCEPT_SCALE**2 - 1 + 2 * math.log(INTERCEPT_SCALE)).sum((1, 2))
        if self.model.factor_effects:
            bound = bound - 0.5 * state.gamma.square().sum((1, 2)) / GAMMA_SCALE**2
            # the rest of E[log p(Γ) − log q(Γ)] and of E(x − Γᵀz)²: traces cancel but for the log determinant
            log_det = -2 * torch.diagonal(effects_factor(self.zz)).log().sum()
            bound = bound + 0.5 * self.m * (log_det - 2 * self.v * math.log(GAMMA_SCALE))
        return bound


def dispersion_slope(r: Tensor, Y: Tensor, seen: Tensor, linear: Tensor) -> Tensor:
    """Gradient and curvature in log r of the counts' log density at the mean linear predictor, ``(2, gene)``."""
    mean = linear.clamp(-20, 20).exp()
    total = r + mean
    first = torch.digamma(Y + r) - torch.digamma(r) + (r / total).log() + 1 - (Y + r) / total
    second = torch.polygamma(1, Y + r) - torch.polygamma(1, r) + 1 / r - 2 / total + (Y + r) / total**2
    gradient = r * first
    curvature = -(r * first + r**2 * second)
    return torch.stack([torch.where(seen, gradient, 0.0).sum(0), torch.where(seen, curvature, 0.0).sum(0)])


def _stand_in(model: FactorModel, data: ExpressionData, most: int = 5000) -> tuple[Tensor, float]:
    """A Gram matrix to start from: missing values at their means, counts as log(1 + y), at most ``most`` cells."""
    rows = np.unique(np.linspace(0, data.num_cells - 1, min(data.num_cells, most)).astype(int))
    Y, Z, codes, _ = model.prepare(data.subset(rows))
    Y = torch.where((model.gene_likelihood() == LIKELIHOODS.index(NEGATIVE_BINOMIAL)).to(Y.device), Y.log1p(), Y)
    D = torch.cat([Y, Z], dim=1).double()
    groups = torch.nn.functional.one_hot(codes, len(model.contexts)).double()
    seen = ~D.isnan()
    mean = groups.T @ torch.where(seen, D, 0.0) / (groups.T @ seen.double()).clamp_min(1)
    D = torch.where(seen, D - mean[codes], 0.0)
    return D.T @ D, float(max(len(rows) - len(model.contexts), 1))


def _positions(rows: slice, total: int) -> np.ndarray:
    return np.arange(rows.start, min(rows.stop, total))
