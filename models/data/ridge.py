"""Ridge regression of every gene on its candidate regulators from moments alone, one eigendecomposition for all."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .decomposed import decomposed

CHUNK = 8192  # cells converted to float64 at a time
CONSTANT = 1e-9  # share of a column's squares, below which what a part of the cells has is rounding
PENALTIES = tuple(float(p) for p in np.logspace(-4, 2, 25))  # four a decade, from almost none to almost all shrunk away


def correlations(X: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return Pearson correlations of the columns `rows` with all columns of X, (row, gene), accumulated in float64.

    A constant column has correlation 0 with everything, itself included.
    """
    mean = X.mean(0, dtype=np.float64)
    moment = np.zeros((len(rows), X.shape[1]))
    square = np.zeros(X.shape[1])
    for start in range(0, len(X), CHUNK):
        centred = X[start : start + CHUNK] - mean  # float64, since the mean is
        moment += centred[:, rows].T @ centred
        square += np.square(centred).sum(0)
    # a constant column is left with rounding of its mean only, far below what float32 can hold
    varies = square > len(X) * (1e-7 * np.abs(mean)) ** 2
    inverse = np.zeros_like(square)
    inverse[varies] = 1 / np.sqrt(square[varies])
    return moment * inverse[rows, None] * inverse


class Sums(NamedTuple):
    """Of ``number`` cells: of the columns of X the sums ``total`` (gene,), the sums of squares ``square`` (gene,), and
    the products with some rows of them ``product`` (row, gene)."""

    number: int
    total: np.ndarray
    square: np.ndarray
    product: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray, rows: np.ndarray) -> "Sums":
        """Of X (cell, gene), columns of mean zero or near it: nothing is subtracted."""
        return cls(len(X), X.sum(0), np.square(X).sum(0), X[:, rows].T @ X)

    @classmethod
    def joined(cls, parts: "Sequence[Sums]") -> "Sums":
        """Of the cells of all parts."""
        found = parts[0]
        for part in parts[1:]:
            tables = found.total + part.total, found.square + part.square, found.product + part.product
            found = cls(found.number + part.number, *tables)
        return found

    def without(self, part: "Sums") -> "Sums":
        """Of the cells that are not in ``part``."""
        total, square, product = self.total - part.total, self.square - part.square, self.product - part.product
        return Sums(self.number - part.number, total, square, product)

    def correlations(self, rows: np.ndarray, whole: "Sums") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As of the function; with the means and the standard deviations (gene,), 1 of a column that is constant here:
        one whose squares are rounding beside those of the ``whole`` cells."""
        mean = self.total / self.number
        square = self.square - self.number * mean**2
        varies = square > CONSTANT * whole.square
        inverse = np.divide(1.0, np.sqrt(square.clip(0)), out=np.zeros_like(square), where=varies)
        moment = self.product - self.number * mean[rows, None] * mean
        spread = np.sqrt(np.where(varies, square, self.number) / self.number)
        return moment * inverse[rows, None] * inverse, mean, spread


def ridge_weights(
    R: np.ndarray,
    tf: np.ndarray,
    num_cells: int,
    penalties: tuple[float, ...] = PENALTIES,
    wanted: np.ndarray | None = None,
) -> np.ndarray:
    r"""Return W (tf, gene) of the ridge regressions of all standardised genes on the standardised regulators.

    .. math:: W_{\cdot g} = \arg\min_w \tfrac1n \|z_g - Z w\|^2 + \lambda_g \|w\|^2,\quad w_g = 0

    Each gene has its own :math:`\lambda_g`, the minimiser of generalised cross-validation (Golub, Heath & Wahba 1979),
    :math:`\mathrm{RSS}_\lambda / n / (1 - (1 + \mathrm{df}_\lambda)/n)^2`, the 1 counting the mean. With
    :math:`R = V \Lambda V^\top` the regulators' correlation matrix, every :math:`\lambda` and every gene share
    :math:`V`. For a gene that is itself regulator j, its own row and column are taken out of
    :math:`A = (R + \lambda I)^{-1}` exactly: :math:`w = -A_{\cdot j} / A_{jj}`, penalised objective
    :math:`1/A_{jj} - \lambda`.

    Parameters
    ----------
    R
        (tf, gene) correlations, as `correlations` has them.
    tf
        (tf,) column of each regulator among the genes.
    num_cells
        n.
    penalties
        Candidate :math:`\lambda`, positive; the scale is that of a correlation matrix.
    wanted
        Columns of the genes whose weights are asked for; those of others stay 0. Default all. Where no regulator is
        among them, the (tf, tf) inverses for every penalty are not made.
    """
    eigenvalues, V = decomposed(R[:, tf])
    plain = np.setdiff1d(np.arange(R.shape[1]) if wanted is None else wanted, tf)
    projected = V.T @ R[:, plain]  # (eigen, plain gene)
    W = np.zeros_like(R)
    best, chosen = np.full(len(plain), np.inf), np.zeros(len(plain), dtype=int)
    for place, penalty in enumerate(penalties):
        residual, freedom = _on_all_tfs(projected, eigenvalues, 1 / (eigenvalues + penalty))
        criterion = residual / (1 - (1 + freedom) / num_cells) ** 2
        better = criterion < best
        best[better], chosen[better] = criterion[better], place
    W[:, plain] = V @ (projected / (eigenvalues[:, None] + np.asarray(penalties)[chosen]))
    if wanted is None or np.isin(tf, wanted).any():
        best = np.full(len(tf), np.inf)
        for penalty in penalties:
            weight, residual, freedoms = _on_other_tfs((V / (eigenvalues + penalty)) @ V.T, penalty)
            criterion = residual / (1 - (1 + freedoms) / num_cells) ** 2
            better = criterion < best
            best[better] = criterion[better]
            W[:, tf[better]] = weight[:, better]
    return W


def _on_all_tfs(projected: np.ndarray, eigenvalues: np.ndarray, shrunk: np.ndarray) -> tuple[np.ndarray, float]:
    """Residual variance (gene,) and degrees of freedom for genes that are no TFs."""
    explained = (shrunk * (2 - eigenvalues * shrunk)) @ projected**2
    return 1 - explained, float((eigenvalues * shrunk).sum())


def _on_other_tfs(A: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (tf, tf), residual variance (tf,) and degrees of freedom (tf,) of each TF on the others."""
    d = np.diag(A)
    weight = -A / d
    np.fill_diagonal(weight, 0.0)
    residual = 1 / d - penalty - penalty * (weight**2).sum(0)
    freedom = len(A) - 1 - penalty * (np.trace(A) - (A**2).sum(0) / d)
    return weight, residual, freedom
