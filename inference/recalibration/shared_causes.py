r"""Causes that genes share and that are not among the regulators: whether there are any, and which genes have them.

A regulator that was not measured moves its targets together, and part of that is its own noise, which no measured
regulator follows. So what is left of genes when they are explained by the regulators as measured and as other genes say
that they are (`witnesses`), in cells that were not fitted, is looked at: of the cross-correlations of the residuals of
one half of the genes with those of the other,

.. math:: C = E_0^T E_1 / n = U S V^T, \qquad
          \lambda_k = \frac{s_k^2 - \nu}
          {\big(\sum_{j \ge k} s_j^2 + (k - 1) \nu - \gamma\big)_+ + \tfrac14 \gamma}

with :math:`\nu` the largest square and :math:`\gamma` the sum of squares that remain of genes whose own residuals are
permuted over the cells: of chance, and of what regressions on few cells leave of the regulators. Residuals of genes
whose regulators were all measured have something in common too (what a regulator was a moment ago; responses that are
bent), of each regulator with its targets: many small factors alike, or a large one where a regulator has most of the
genes. A cause that is not there is one that stands out, and more than the largest of the regulators themselves does:
with the weights :math:`W_0, W_1` of regressions of the genes, in standard deviations of their residuals, all that is
left of each regulator alike would have cross-correlations in proportion to :math:`W_0^T W_1`, of whose squared singular
values the largest is a share :math:`\rho`.
How much of a gene's residual follows such factors, as the *other* half of the genes tells them, says whether the gene
has the cause.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammainccinv

from ...models import ExpressionData
from ...models.data.out_of_fold import CrossFit, contexts_of, within_contexts
from ..misfit_checks import STANDS_OUT
from .witnesses import Witnesses

# Both chosen on networks of five kinds of `benchmarks trial_networks` with seeds 2000 to 2009: λ of complete ones was
# at most .17 (with a hub .33), of SERGIO without a third of the regulators at least .24.
LIMIT = STANDS_OUT  # λ of a factor that stands out
# of ρ, λ of the first: chosen on 30 networks of ten kinds with seeds 2000 to 2029, with hubs of two strengths and
# without, complete and not. Of complete ones with hubs, λ > LIMIT alone took 17 and 27% for incomplete, this 3 and 17%;
# of those without 30% of their regulators it misses none more, of the strongest hubs one in thirty.
OF_REGULATORS = 0.4
# share of a gene's residual variance, beyond chance, that such factors have, and more where cells are few
TOUCHED = 0.01
CHANCE = 0.01  # of a gene that has nothing to do with them
MOST = 10  # factors
MOST_CELLS, MOST_GENES = 2000, 300  # that are looked at; genes of each half that tell the factors
FEWEST_CELLS, FEWEST_GENES = 60, 10  # genes of each half
PENALTY = 1e-2  # of the ridge regressions whose weights are looked at, in variances of a regulator
AT_ONCE = 1024  # genes


@dataclass(frozen=True, eq=False)
class SharedCauses:
    """``shares`` λ of the factors, of which the last does not stand out; ``touched`` by gene that is no regulator the
    share of its residual variance that those which do have, beyond chance; ``least`` of such a share that counts;
    ``limit`` above which the first factor stands out."""

    shares: tuple[float, ...]
    touched: dict[str, float]
    least: float = TOUCHED
    limit: float = LIMIT

    @property
    def number(self) -> int:
        """Factors that stand out."""
        return standing_out(self.shares, self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: λ, above what the first stands out, how many factors do, of how many genes how many
        have them."""
        shares, limit = [round(share, 3) for share in self.shares], round(self.limit, 3)
        touched = int(self.genes(tuple(self.touched)).sum())
        return {
            "shares": shares,
            "limit": limit,
            "factors": self.number,
            "genes": touched,
            "of": len(self.touched),
        }

    def genes(self, names: Sequence[str]) -> np.ndarray:
        """``(gene,)`` whether each of these has such a cause; what is a regulator itself is not asked."""
        return np.array([self.touched.get(name, 0.0) > self.least for name in names], dtype=bool)


def shared_causes(data: ExpressionData, witnesses: Witnesses, *, seed: int) -> SharedCauses | None:
    """Of these cells; None with too few cells or genes to tell."""
    rng = np.random.default_rng([seed, 15])
    cells = np.arange(data.num_cells)
    if data.num_cells > MOST_CELLS:
        cells = np.sort(rng.permutation(data.num_cells)[:MOST_CELLS])
    halves = [[name for name, own in witnesses.half.items() if own == half] for half in (0, 1)]
    if len(cells) < FEWEST_CELLS or min(map(len, halves)) < FEWEST_GENES:
        return None
    some = data.subset(cells)
    context = np.unique(contexts_of(data)[cells], return_inverse=True)[1]
    at = [witnesses.tfs.index(name) for name in data.tfs]
    measured = some.select_genes(data.tfs).X.double().numpy(force=True)
    folds = rng.permutation(len(cells)) % 2
    # genes of a half are explained by what the other says of the regulators
    explain = [
        CrossFit.of(within_contexts(np.concatenate([measured, levels[cells][:, at]], axis=1), context)[0], folds)
        for levels in witnesses.levels[::-1]
    ]

    def values(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        own = some.select_genes((*data.tfs, *names))
        place = {name: i for i, name in enumerate(own.genes)}
        levels, clamped = (
            table[:, [place[name] for name in names]].numpy(force=True) for table in (own.X, own.clamped)
        )
        return within_contexts(levels, context)[0], clamped

    regulators = within_contexts(measured, context)[0]

    def left(names: list[str], half: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals, in standard deviations; the same with the residuals of each gene permuted beforehand; and weights
        ``(tf, gene)`` of the regulators, in the same units."""
        Y, clamped = values(names)
        found = np.where(clamped, 0.0, explain[half].residuals(Y))
        alone = explain[half].residuals(Y - found + rng.permuted(found, axis=0))
        return _standard(found), _standard(alone), weights(regulators, np.where(clamped, 0.0, Y), found)

    tell = [sorted(rng.permutation(names)[:MOST_GENES].tolist()) for names in halves]
    told = [left(names, half) for half, names in enumerate(tell)]
    limit = max(LIMIT, OF_REGULATORS * largest_share(told[0][2], told[1][2]))
    shares, factors = factors_of(told[0][0], told[1][0], told[0][1].T @ told[1][1] / len(cells), limit)
    touched = dict.fromkeys(witnesses.half, 0.0)
    number = factors[0].shape[1]
    for half, names in enumerate(halves if number else []):
        for start in range(0, len(names), AT_ONCE):
            part = names[start : start + AT_ONCE]
            Y, clamped = values(part)
            residual = _standard(np.where(clamped, 0.0, explain[half].residuals(Y)))
            square = np.square(factors[1 - half].T @ residual / len(cells)).sum(0) - number / len(cells)
            touched |= dict(zip(part, square.clip(0).tolist(), strict=True))
    least = TOUCHED
    if number:  # a squared correlation with n cells is χ²/n by chance
        least = max(least, (2 * float(gammainccinv(number / 2, CHANCE)) - number) / len(cells))
    return SharedCauses(shares, touched, least, limit)


def standing_out(shares: Sequence[float], limit: float) -> int:
    """How many factors with these λ stand out: the first above ``limit``, then others above `LIMIT`."""
    return sum(share > LIMIT for share in shares) if shares[0] > limit else 0


def weights(X: np.ndarray, Y: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """``(tf, gene)`` of ridge regressions of Y (cell, gene) on X (cell, tf), in sd of the ``residual`` (cell, gene)."""
    number = len(X)
    found = np.linalg.solve(X.T @ X / number + PENALTY * np.eye(X.shape[1]), X.T @ Y / number)
    spread = residual.std(0)
    return np.divide(found, spread, out=np.zeros_like(found), where=spread > 0)


def largest_share(first: np.ndarray, second: np.ndarray) -> float:
    """ρ: of the squared singular values of W₀ᵀW₁, weights (tf, gene) of two halves of the genes, the largest."""
    square = np.square(np.linalg.svd(first.T @ second, compute_uv=False))
    total = float(square.sum())
    return float(square[0]) / total if total > 0 else 0.0


def factors_of(
    first: np.ndarray, second: np.ndarray, alone: np.ndarray, limit: float = LIMIT
) -> tuple[tuple[float, ...], tuple[np.ndarray, np.ndarray]]:
    """λ of factors until one does not stand out, and of those that do the scores ``(cell, factor)`` as the ``first``
    residuals ``(cell, gene)`` tell them, and as the ``second`` do, orthonormal but for a factor √n; ``alone`` are the
    cross-correlations of residuals that have nothing in common. The first stands out above ``limit``."""
    left, size, right = np.linalg.svd(first.T @ second / len(first), full_matrices=False)
    largest, chance = float(np.linalg.norm(alone, 2) ** 2), float(np.square(alone).sum())
    rest, shares = float(np.square(size).sum()) - chance, []
    for square in np.square(size[:MOST]):
        shares.append(float((square - largest) / (max(rest, 0.0) + chance / 4)))
        if shares[-1] <= (LIMIT if len(shares) > 1 else limit):
            break
        rest -= float(square - largest)
    kept = standing_out(shares, limit)
    scores = [_orthonormal(table @ side[:, :kept]) for table, side in ((first, left), (second, right.T))]
    return tuple(shares), (scores[0], scores[1])


def _orthonormal(scores: np.ndarray) -> np.ndarray:
    if not scores.shape[1]:
        return scores
    base, _ = np.linalg.qr(scores - scores.mean(0))
    scaled: np.ndarray = base * np.sqrt(len(scores))
    return scaled


def _standard(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(0)
    spread = np.sqrt(np.square(values).mean(0))
    return np.divide(values, spread, out=np.zeros_like(values), where=spread > 0)
