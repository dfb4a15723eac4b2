"""TIGRESS: stability selection with least angle regression."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lars_path_gram

from ...models import ExpressionData
from ._common import edge_table, expression, tf_columns


@dataclass(frozen=True)
class TIGRESS:
    r"""Stability selection with LARS, area score (Haury et al. 2012); weights in [0, 1], unsigned.

    In each split the standardised TFs are multiplied by weights drawn from U(alpha, 1) and the cells halved at random;
    in either half LARS takes TFs one by one. With :math:`F_{tg}(l)` the share of halves in which t is among the first
    l,

    .. math:: W_{tg} = \frac1L \sum_{l=1}^{L} F_{tg}(l)

    All genes share the splits, so that one Gram matrix per half serves them all. A TF that a half makes collinear with
    those already taken is passed over there.

    Parameters
    ----------
    num_steps
        LARS steps L. Default 5, as are 0.2 and 100 below, from the authors' R package.
    alpha
        Lower end of the random weights, in (0, 1].
    num_splits
        Splits in halves; there are twice as many regressions per gene.
    num_jobs
        Processes over splits; results do not depend on it.
    name
        How the method is called in tables.
    """

    num_steps: int = 5
    alpha: float = 0.2
    num_splits: int = 100
    num_jobs: int = 1
    name: str = "tigress"

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.num_splits < 1 or not 0 < self.alpha <= 1:
            raise ValueError(
                f"num_steps {self.num_steps}, num_splits {self.num_splits}, alpha {self.alpha}; "
                "expected at least 1, at least 1, and in (0, 1]."
            )

    def __call__(self, data: ExpressionData, *, seed: int = 0) -> pd.DataFrame:
        """Return ``source, target, weight`` for all TF-gene pairs.

        Raises
        ------
        ValueError
            Fewer than 3 cells.
        """
        X, tf = expression(data), tf_columns(data)
        seeds = np.random.SeedSequence(seed).spawn(self.num_splits)
        areas = Parallel(n_jobs=self.num_jobs, return_as="generator")(delayed(self._split)(X, tf, s) for s in seeds)
        W = np.zeros((len(tf), X.shape[1]))
        for area in areas:
            W += area
        return edge_table(W / (2 * self.num_splits * self.num_steps), data)

    def _split(self, X: np.ndarray, tf: np.ndarray, seed: np.random.SeedSequence) -> np.ndarray:
        """Sum over the two halves of the steps, out of L, at which each TF had been taken, (tf, gene)."""
        generator = np.random.default_rng(seed)
        weight = generator.uniform(self.alpha, 1.0, len(tf))
        cells = generator.permutation(len(X))
        half = len(X) // 2
        area = np.zeros((len(tf), X.shape[1]))
        for part in (cells[:half], cells[half : 2 * half]):
            Z = X[part].astype(np.float64)
            varies = np.ptp(Z, axis=0) > 0  # exact, where a standard deviation may be left with rounding
            Z -= Z.mean(0)
            Z[:, varies] /= Z[:, varies].std(0)
            Z[:, ~varies] = 0.0
            weighted = Z[:, tf] * weight
            gram, moment = weighted.T @ weighted, weighted.T @ Z
            for gene in np.flatnonzero(varies):
                use = np.flatnonzero((tf != gene) & varies[tf])
                for step, taken in enumerate(self._lars(gram[np.ix_(use, use)], moment[use, gene], len(part))):
                    area[use[taken], gene] += self.num_steps - step
        return area

    def _lars(self, gram: np.ndarray, moment: np.ndarray, num_cells: int) -> list[int]:
        """Return the TFs in the order they are taken, at most L."""
        if not len(moment):
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # "nearly degenerate, dropping": see the class
            _, active, _ = lars_path_gram(
                moment, gram, n_samples=num_cells, max_iter=min(self.num_steps, len(moment)), method="lar"
            )
        return active
