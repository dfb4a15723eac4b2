r"""The loadings and effects of each gene, given everything else: regressions that share one Gram matrix.

With U the Gram matrix of factors and covariates and :math:`d_j` the prior precisions of gene j,

.. math:: \theta_j = (w_j, \beta_j) \sim N(S_j c_j \tau_j, S_j), \qquad
          S_j = (\tau_j U + \operatorname{diag}(d_j))^{-1}.

There are as many matrices :math:`S_j` as genes and chains, 65 MB of them for 2,000 genes, 32 coefficients and four
chains: they are made in blocks that stay in the cache, summed, and forgotten.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

VALUES = 100_000  # entries of the matrices of a block (0.8 MB): four of them at a time stay in the cache of a core

Renew = Callable[[slice, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Regressions:
    """``gram`` U (chain, p, p); ``cross`` (chain, gene, p) products of the genes with factors and covariates;
    ``precision`` τ (chain, gene); ``own`` d (chain, gene, p). Of a checkpoint of an earlier version, which has the
    matrices themselves, ``gram`` is (chain, gene, p, p)."""

    gram: Tensor
    cross: Tensor
    precision: Tensor
    own: Tensor

    def blocks(self) -> Iterator[slice]:
        """Genes that are done together."""
        chains, number, p = self.own.shape
        size = max(1, VALUES // (chains * p * p))
        for first in range(0, number, size):
            yield slice(first, min(number, first + size))

    def factor(self, genes: slice) -> Tensor:
        """``(chain, gene, p, p)`` Cholesky factors of the precisions of some genes."""
        gram = self.gram[:, None] if self.gram.dim() == 3 else self.gram[:, genes]
        matrix = self.precision[:, genes, None, None] * gram
        torch.diagonal(matrix, dim1=2, dim2=3).add_(self.own[:, genes])
        return torch.linalg.cholesky(matrix)

    def eta(self, genes: slice) -> Tensor:
        """``(chain, gene, p, 1)`` τ c."""
        return (self.precision[:, genes, None] * self.cross[:, genes])[..., None]

    def draw(self) -> Tensor:
        """``(chain, gene, p)`` a draw of all θ."""
        noise = torch.randn(*self.cross.shape, 1, dtype=self.cross.dtype, device=self.cross.device)
        theta = torch.empty_like(self.cross)
        for genes in self.blocks():
            lower = self.factor(genes)
            half = torch.linalg.solve_triangular(lower, self.eta(genes), upper=False) + noise[:, genes]
            theta[:, genes] = torch.linalg.solve_triangular(lower.mT, half, upper=True)[..., 0]
        return theta

    def around(self, mean: Tensor, copies: int) -> Tensor:
        """``(chain · copies, gene, p)`` draws of N(mean, S)."""
        chains, number, p = mean.shape
        theta = torch.randn(chains, copies, number, p, dtype=mean.dtype, device=mean.device)
        for genes in self.blocks():
            noise = theta[:, :, genes].permute(0, 2, 3, 1)  # (chain, gene, p, copy): one factor serves all copies
            away = torch.linalg.solve_triangular(self.factor(genes).mT, noise, upper=True)
            theta[:, :, genes] = mean[:, None, genes] + away.permute(0, 3, 1, 2)
        return theta.flatten(0, 1)


@dataclass(frozen=True, eq=False)
class Spread:
    """What coordinate ascent needs of the covariances S_j: ``variance`` (chain, gene, p) their diagonals, ``weighted``
    (chain, p, p) their sum in units of each gene's noise, Σ S_j / σ_j², ``total`` their sum, and the ``regressions``
    they come from, of which draws are made."""

    variance: Tensor
    weighted: Tensor
    total: Tensor
    regressions: Regressions | None

    @classmethod
    def of(cls, covariance: Tensor, precision: Tensor) -> Self:
        """From all S_j, ``(chain, gene, p, p)``, and 1/σ² ``(chain, gene)``."""
        zeros = torch.zeros_like(torch.diagonal(covariance, dim1=2, dim2=3))
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
        return cls(
            torch.diagonal(covariance, dim1=2, dim2=3).clone(),
            torch.einsum("cg,cgpq->cpq", precision, covariance),
            covariance.sum(1),
            Regressions(inverse, zeros, torch.ones_like(precision), zeros),
        )

    def turned(self, turn: Tensor, variance: Tensor) -> "Spread":
        """Of T θ, ``turn`` T (chain, p, p), whose diagonals are ``variance``."""
        around = lambda sums: turn @ sums @ turn.mT
        return Spread(variance, around(self.weighted), around(self.total), None)

    def scaled(self, by: Tensor) -> "Spread":
        """Of each coefficient multiplied by ``by`` (chain, p)."""
        return self.turned(torch.diag_embed(by), self.variance * by[:, None, : self.variance.shape[2]] ** 2)

    def with_noise(self, precision: Tensor) -> "Spread":
        """Where all genes have the noise 1/σ² ``precision`` (chain, 1)."""
        return replace(self, weighted=precision[..., None] * self.total)

    # -- checkpoints ----
    def pack(self) -> dict[str, Tensor]:
        """As plain tensors."""
        assert self.regressions is not None, "at the end of a round"
        return {**vars(self.regressions), "variance": self.variance, "weighted": self.weighted, "total": self.total}

    @classmethod
    def unpack(cls, parts: dict[str, Tensor]) -> Self:
        """Back from `pack`."""
        sums = {name: parts[name] for name in ("variance", "weighted", "total")}
        made = {name: parts[name] for name in ("gram", "cross", "precision", "own")}
        return cls(**sums, regressions=Regressions(**made))

    def chains(self, rows: Tensor) -> "Spread":
        """Some chains."""
        return Spread.unpack({name: value[rows] for name, value in self.pack().items()})


class Optimum(NamedTuple):
    """The factors q(θ_j) of all genes: their means ``loadings`` (chain, gene, p), ``log_det`` (chain, gene) of S_j,
    ``spread``, the expected squared residuals ``rss`` (chain, gene) and ``precision`` 1/σ² (chain, gene)."""

    loadings: Tensor
    log_det: Tensor
    spread: Spread
    rss: Tensor
    precision: Tensor


def optimum(found: Regressions, square: Tensor, renew: Renew | None) -> Optimum:
    """Every q(θ_j) in closed form, and what the rest of a round needs of them.

    Parameters
    ----------
    found
        The regressions.
    square
        ``(chain, gene)`` squares of the genes.
    renew
        Of some genes and their ``rss``, 1/σ² afterwards, with which ``spread.weighted`` is made; ``None``: as it was.
    """
    cross = found.cross
    chains, _, p = cross.shape
    theta, variance = torch.empty_like(cross), torch.empty_like(cross)
    log_det, rss, precision = (torch.empty_like(found.precision) for _ in range(3))
    total, weighted = (cross.new_zeros(chains, p, p) for _ in range(2))
    for genes in found.blocks():
        lower = found.factor(genes)
        S = torch.cholesky_inverse(lower)
        mean = (S @ found.eta(genes))[..., 0]
        theta[:, genes], variance[:, genes] = mean, torch.diagonal(S, dim1=2, dim2=3)
        log_det[:, genes] = -2 * torch.diagonal(lower, dim1=2, dim2=3).log().sum(2)
        # τ tr(U S) = p − Σ d S: of (τ U + diag(d)) S = I
        free = (p - (found.own[:, genes] * variance[:, genes]).sum(2)) / found.precision[:, genes]
        left = square[:, genes] + ((mean @ found.gram - 2 * cross[:, genes]) * mean).sum(2) + free
        rss[:, genes] = left.clamp_min(1e-12)
        new = found.precision[:, genes] if renew is None else renew(genes, rss[:, genes])
        precision[:, genes] = new
        total += S.sum(1)
        weighted += (new[:, None] @ S.flatten(2)).view(chains, p, p)
    return Optimum(theta, log_det, Spread(variance, weighted, total, found), rss, precision)
