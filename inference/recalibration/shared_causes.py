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
bent), of each regulator with its targets: many small factors alike. A cause that is not there is one that stands out.
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
# share of a gene's residual variance, beyond chance, that such factors have, and more where cells are few
TOUCHED = 0.01
CHANCE = 0.01  # of a gene that has nothing to do with them
MOST = 10  # factors
MOST_CELLS, MOST_GENES = 2000, 300  # that are looked at; genes of each half that tell the factors
FEWEST_CELLS, FEWEST_GENES = 60, 10  # genes of each half
AT_ONCE = 1024  # genes


@dataclass(frozen=True, eq=False)
class SharedCauses:
    """``shares`` λ of the factors, of which the last does not stand out; ``touched`` by gene that is no regulator the
    share of its residual variance that those which do have, beyond chance; ``least`` of such a share that counts."""

    shares: tuple[float, ...]
    touched: dict[str, float]
    least: float = TOUCHED

    @property
    def number(self) -> int:
        """Factors that stand out."""
        return sum(share > LIMIT for share in self.shares)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: λ, how many factors stand out, of how many genes how many have them."""
        shares = [round(share, 3) for share in self.shares]
        touched = int(self.genes(tuple(self.touched)).sum())
        return {"shares": shares, "factors": self.number, "genes": touched, "of": len(self.touched)}

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

    def left(names: list[str], half: int) -> tuple[np.ndarray, np.ndarray]:
        """Residuals, in standard deviations, and the same with the residuals of each gene permuted beforehand."""
        Y, clamped = values(names)
        found = np.where(clamped, 0.0, explain[half].residuals(Y))
        alone = explain[half].residuals(Y - found + rng.permuted(found, axis=0))
        return _standard(found), _standard(alone)

    tell = [sorted(rng.permutation(names)[:MOST_GENES].tolist()) for names in halves]
    told = [left(names, half) for half, names in enumerate(tell)]
    shares, factors = factors_of(told[0][0], told[1][0], told[0][1].T @ told[1][1] / len(cells))
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
    return SharedCauses(shares, touched, least)


def factors_of(
    first: np.ndarray, second: np.ndarray, alone: np.ndarray
) -> tuple[tuple[float, ...], tuple[np.ndarray, np.ndarray]]:
    """λ of factors until one does not stand out, and of those that do the scores ``(cell, factor)`` as the ``first``
    residuals ``(cell, gene)`` tell them, and as the ``second`` do, orthonormal but for a factor √n; ``alone`` are the
    cross-correlations of residuals that have nothing in common."""
    left, size, right = np.linalg.svd(first.T @ second / len(first), full_matrices=False)
    largest, chance = float(np.linalg.norm(alone, 2) ** 2), float(np.square(alone).sum())
    rest, shares = float(np.square(size).sum()) - chance, []
    for square in np.square(size[:MOST]):
        shares.append(float((square - largest) / (max(rest, 0.0) + chance / 4)))
        if shares[-1] <= LIMIT:
            break
        rest -= float(square - largest)
    kept = sum(share > LIMIT for share in shares)
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
