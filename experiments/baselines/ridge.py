"""Ridge regression of every gene on all TFs from one eigendecomposition."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...models import ExpressionData
from ._common import correlations, edge_table, expression, tf_columns

PENALTIES = tuple(float(p) for p in np.logspace(-4, 2, 25))  # four a decade, from almost none to almost all shrunk away


@dataclass(frozen=True)
class Ridge:
    r"""Ridge regression of each standardised gene on all other standardised TFs; signed weights.

    .. math:: W_{\cdot g} = \arg\min_w \tfrac1n \|z_g - Z w\|^2 + \lambda_g \|w\|^2,\quad w_g = 0

    The weight is the change of the target, in its standard deviations, per standard deviation of the regulator. Each
    gene has its own :math:`\lambda_g`, the minimiser of generalised cross-validation (Golub, Heath & Wahba 1979),
    :math:`\mathrm{RSS}_\lambda / n / (1 - (1 + \mathrm{df}_\lambda)/n)^2`, the 1 counting the mean; unlike
    leave-one-out it needs moments only, so the cost after one pass over the data does not depend on the number of
    cells.

    With :math:`R = V \Lambda V^\top` the TFs' correlation matrix, every :math:`\lambda` and every gene share
    :math:`V`. For a gene that is itself TF j, its own row and column are taken out of :math:`A = (R + \lambda I)^{-1}`
    exactly: :math:`w = -A_{\cdot j} / A_{jj}`, penalised objective :math:`1/A_{jj} - \lambda`.

    Parameters
    ----------
    penalties
        Candidate :math:`\lambda`, positive; the scale is that of a correlation matrix. Default 25 from 1e-4 to 100.
    name
        How the method is called in tables.
    """

    penalties: tuple[float, ...] = PENALTIES
    name: str = "ridge"

    def __post_init__(self) -> None:
        if not self.penalties or min(self.penalties) <= 0:
            raise ValueError(f"penalties are {self.penalties}; expected one or more positive numbers.")

    def __call__(self, data: ExpressionData, *, seed: int = 0) -> pd.DataFrame:
        """Return ``source, target, weight`` for all TF-gene pairs; `seed` has no effect.

        Raises
        ------
        ValueError
            Fewer than 3 cells.
        """
        tf = tf_columns(data)
        R = correlations(expression(data), tf)  # (tf, gene)
        eigenvalues, V = np.linalg.eigh(R[:, tf])
        eigenvalues = eigenvalues.clip(min=0.0)
        plain = np.setdiff1d(np.arange(R.shape[1]), tf)
        projected = V.T @ R[:, plain]  # (eigen, plain gene)
        W = np.zeros_like(R)
        best = np.full(R.shape[1], np.inf)
        for penalty in self.penalties:
            shrunk = 1 / (eigenvalues + penalty)
            for genes, fitted in (
                (plain, _on_all_tfs(projected, eigenvalues, shrunk, V)),
                (tf, _on_other_tfs((V * shrunk) @ V.T, penalty)),
            ):
                weight, residual, freedom = fitted
                criterion = residual / (1 - (1 + freedom) / data.num_cells) ** 2
                better = criterion < best[genes]
                best[genes[better]] = criterion[better]
                W[:, genes[better]] = weight[:, better]
        return edge_table(W, data)


def _on_all_tfs(
    projected: np.ndarray, eigenvalues: np.ndarray, shrunk: np.ndarray, V: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights (tf, gene), residual variance (gene,) and degrees of freedom for genes that are no TFs."""
    b = projected * shrunk[:, None]  # (eigen, gene)
    residual = 1 - 2 * (b * projected).sum(0) + (eigenvalues[:, None] * b**2).sum(0)
    return V @ b, residual, float((eigenvalues * shrunk).sum())


def _on_other_tfs(A: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (tf, tf), residual variance (tf,) and degrees of freedom (tf,) of each TF on the others."""
    d = np.diag(A)
    weight = -A / d
    np.fill_diagonal(weight, 0.0)
    residual = 1 / d - penalty - penalty * (weight**2).sum(0)
    freedom = len(A) - 1 - penalty * (np.trace(A) - (A**2).sum(0) / d)
    return weight, residual, freedom
