"""Partial correlations of a sparse Gaussian graphical model."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from ...models import ExpressionData
from ...models.data.ridge import correlations
from ._common import edge_table, expression, tf_columns


@dataclass(frozen=True)
class GraphicalLasso:
    r"""Partial correlation from the graphical lasso (Friedman, Hastie & Tibshirani 2008); signed, undirected.

    .. math:: \hat\Theta = \arg\max_\Theta \log\det\Theta - \mathrm{tr}(R\Theta) - \alpha\|\Theta\|_{1,\mathrm{off}},
        \quad W_{tg} = -\hat\Theta_{tg} / \sqrt{\hat\Theta_{tt}\hat\Theta_{gg}}

    over the correlation matrix R of all genes. Both directions between two TFs have the same weight, and most weights
    are 0. Solved by :func:`sparse_precision`, because scikit-learn's coordinate descent stops with "Non SPD result"
    where genes outnumber cells, as they do in most single-cell benchmarks.

    Parameters
    ----------
    alpha
        Penalty. Default :math:`\sqrt{\log(\mathrm{genes}) / \mathrm{cells}}`, the rate at which the estimate is
        consistent (Ravikumar et al. 2011), with constant 1 and without cross-validation, which would fit dozens of
        times.
    name
        How the method is called in tables.
    """

    alpha: float | None = None
    name: str = "graphical_lasso"

    def __post_init__(self) -> None:
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}; expected a positive penalty, or None for the default rule.")

    def __call__(self, data: ExpressionData, *, seed: int = 0) -> pd.DataFrame:
        """Return ``source, target, weight`` for all TF-gene pairs; `seed` has no effect.

        Raises
        ------
        ValueError
            Fewer than 3 cells.
        """
        R = correlations(expression(data), np.arange(data.num_genes))
        np.fill_diagonal(R, 1.0)  # a constant gene becomes a variable independent of all others
        alpha = float(np.sqrt(np.log(data.num_genes) / data.num_cells)) if self.alpha is None else self.alpha
        precision = sparse_precision(R, alpha)
        scale = 1 / np.sqrt(np.diag(precision))
        partial = -precision * scale[:, None] * scale
        return edge_table(partial[tf_columns(data)], data)


def sparse_precision(S: np.ndarray, alpha: float, *, tolerance: float = 1e-4, max_iter: int = 1000) -> np.ndarray:
    r"""Solve the graphical lasso by the alternating direction method of multipliers (Boyd et al. 2011, section 6.5).

    With over-relaxation (1.6) and an adaptive step; one eigendecomposition per iteration, about 100 iterations. `S`
    need not be positive definite. The diagonal is not penalised.

    Parameters
    ----------
    S
        (gene, gene) Covariance or correlation matrix.
    alpha
        Penalty, positive.
    tolerance
        Of primal and dual residual, relative to the norms of the estimate and of the multiplier. Default 1e-4: partial
        correlations then agree with a tight solution to about 0.002.
    max_iter
        A ConvergenceWarning says if they do not suffice.

    Returns
    -------
    (gene, gene) array
        Symmetric, with exact zeros.
    """
    rho = 1.0
    Z = np.diag(1 / np.diag(S))
    U = np.zeros_like(S)
    for _ in range(max_iter):
        eigenvalues, Q = np.linalg.eigh(rho * (Z - U) - S)
        theta = (Q * ((eigenvalues + np.sqrt(eigenvalues**2 + 4 * rho)) / (2 * rho))) @ Q.T  # positive definite
        previous, free = Z, 1.6 * theta - 0.6 * Z + U
        Z = np.sign(free) * np.maximum(np.abs(free) - alpha / rho, 0.0)
        np.fill_diagonal(Z, np.diag(free))
        U = free - Z
        primal = np.linalg.norm(theta - Z) / max(float(np.linalg.norm(theta)), float(np.linalg.norm(Z)))
        dual = np.linalg.norm(Z - previous) / max(float(np.linalg.norm(U)), 1e-12)
        if primal < tolerance and dual < tolerance:
            return Z
        # keep the residuals of one size; the scaled multiplier U changes with rho
        change = 2.0 if primal > 3 * dual else 0.5 if dual > 3 * primal else 1.0
        rho *= change
        U /= change
    warnings.warn(
        f"graphical lasso at penalty {alpha:.3g}: residuals {primal:.1e}, {dual:.1e} after {max_iter} iterations.",
        ConvergenceWarning,
        stacklevel=2,
    )
    return Z
