"""How much of each gene the candidate regulators explain in cells that were not fitted, and what they leave over."""

from dataclasses import dataclass

import numpy as np

from .checks import some
from .expression import ExpressionData
from .ridge import Sums, ridge_weights

FOLDS = 5
AT_ONCE = 64  # genes
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # of `CrossFit`, in variances of a predictor


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions of cells by regressions that have not seen them.

    Attributes
    ----------
    genes
        The genes that were predicted.
    r2
        (gene,) :math:`R^2 = 1 - \\overline{e^2} / \\mathrm{var}`, cross-validated: below 0 where the regulators explain
        nothing and are trusted nevertheless.
    residual
        (cell, gene) what is left over, in standard deviations of the gene within contexts, in the order of the cells.
    mean
        (context, gene) means of the genes.
    sd
        (gene,) their standard deviations within contexts.
    """

    genes: tuple[str, ...]
    r2: np.ndarray
    residual: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def contexts_of(data: ExpressionData) -> np.ndarray:
    """(cell,) codes of the contexts, 0 for one."""
    return np.zeros(data.num_cells, dtype=int) if data.context is None else data.context.numpy(force=True).astype(int)


def within_contexts(X: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(cell, gene)`` values as deviations from the mean of their context in pooled standard deviations, the means
    ``(context, gene)`` and these ``(gene,)``; a gene that varies nowhere has sd 0 and stays 0."""
    Z = np.empty(X.shape)
    mean, sd = _moments(X, context, Z)
    return Z, mean, sd


def moments_within(X: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of `within_contexts`, whose values (`values_within`) are not kept."""
    return _moments(X, context, None)


def values_within(x: np.ndarray, context: np.ndarray, mean: np.ndarray, sd: float) -> np.ndarray:
    """``(cell,)`` one column of `within_contexts`, of ``x`` (cell,), its ``mean`` (context,) and ``sd``, above 0."""
    found: np.ndarray = (x.astype(np.float64) - mean[context]) / sd
    return found


def _moments(X: np.ndarray, context: np.ndarray, out: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Some genes at a time: of all there would be several copies in float64."""
    contexts = context.max() + 1
    mean, sd = np.empty((contexts, X.shape[1])), np.empty(X.shape[1])
    for columns in _blocks(X.shape[1]):
        some_of = np.array(X[:, columns], dtype=np.float64, order="C")
        means = np.stack([some_of[context == k].mean(0) for k in range(contexts)])
        some_of -= means[0] if contexts == 1 else means[context]
        spread = np.sqrt(np.square(some_of).mean(0))
        flat = spread <= 1e-7 * np.abs(means).max(0)  # rounding of the mean
        mean[:, columns], sd[columns] = means, np.where(flat, 0.0, spread)
        if out is not None:
            out[:, columns] = 0.0
            np.divide(some_of, sd[columns], out=out[:, columns], where=sd[columns] > 0)
    return mean, sd


def _mean_squares(table: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
    """``(index,)`` of ``columns`` of (cell, gene), default all."""
    found = np.empty(table.shape[1] if columns is None else len(columns))
    for part in _blocks(len(found)):
        found[part] = np.square(table[:, part if columns is None else columns[part]]).mean(0)
    return found


def _blocks(number: int) -> list[slice]:
    """`AT_ONCE` columns or up to twice as many; never one alone, of which numpy adds up in another order."""
    edges = np.linspace(0, number, max(1, number // AT_ONCE) + 1).astype(int)
    return [slice(*pair) for pair in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]


def out_of_fold(data: ExpressionData, genes: tuple[str, ...], *, folds: int = FOLDS, seed: int = 0) -> OutOfFold:
    """Ridge regression (`ridge_weights`) of each gene on the candidate regulators, itself left out, by cross-validation
    over cells.

    Parameters
    ----------
    data
        The cells; candidate regulators are ``data.tfs``.
    genes
        Names of the genes to predict, at least one.
    folds
        Parts of the cells, each predicted from the others. Default 5; fewer cells are fewer parts.
    seed
        Of the division of the cells.

    Raises
    ------
    ValueError
        Fewer than 6 cells, or constant genes (by name).
    """
    if data.num_cells < 2 * 3:
        raise ValueError(f"{data.num_cells} cells are too few to predict some of them from the others: pass at least 6")
    names = tuple(dict.fromkeys((*data.tfs, *genes)))
    context = contexts_of(data)
    Z, mean, sd = within_contexts(data.select_genes(names).X.numpy(force=True), context)
    if constant := [name for name, flat in zip(names, sd == 0, strict=True) if flat]:
        raise ValueError(f"constant genes: {some(constant)}. Drop them: `data.without_constant_genes()`")
    tf = np.arange(len(data.tfs))
    place = {name: i for i, name in enumerate(names)}
    wanted = np.array([place[name] for name in genes])
    fold = np.random.default_rng([seed, 1]).permutation(data.num_cells) % min(folds, data.num_cells // 3)
    residual = np.empty((data.num_cells, len(genes)))
    parts = [Sums.of(Z[fold == part], tf) for part in range(fold.max() + 1)]
    whole = Sums.joined(parts)
    for part, own in enumerate(parts):
        out, rest = fold == part, whole.without(own)
        R, centre, spread = rest.correlations(tf, whole)
        weight = ridge_weights(R, tf, rest.number, wanted=wanted)
        fitted = ((Z[out][:, tf] - centre[tf]) / spread[tf]) @ weight[:, wanted] * spread[wanted]
        residual[out] = Z[out][:, wanted] - centre[wanted] - fitted
    r2 = 1 - _mean_squares(residual) / _mean_squares(Z, wanted)
    return OutOfFold(tuple(genes), r2, residual, mean[:, wanted], sd[wanted])


@dataclass(frozen=True, eq=False)
class CrossFit:
    r"""Ridge regressions of any number of tables on one set of predictors, each fold of the cells from the others.

    .. math:: e_f = y_f - \bar y_{-f} - (X_f - \bar X_{-f}) V \frac{s}{s^2 + \lambda} U^T
              \frac{y_{-f} - \bar y_{-f}}{\sqrt{n_{-f}}},
              \quad U s V^T = (X_{-f} - \bar X_{-f}) / \sqrt{n_{-f}}

    `out_of_fold` divides moments, chooses :math:`\lambda` by what is fitted and leaves each regulator out of its own
    regression: one pass over the genes of a file, more cells than regulators. Here predictors may outnumber cells, no
    gene is among them, one decomposition serves every table, and :math:`\lambda` is chosen by the cells left out, of
    few values: what is left over is compared with what permuted residuals leave, which the choice then favours alike.

    Attributes
    ----------
    parts
        By fold: (cell,) which cells are left out, their predictors in units of the right singular vectors (cell,
        value), and U (cell, value) and s (value,) of the others.
    """

    parts: tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], ...]

    @classmethod
    def of(cls, X: np.ndarray, folds: np.ndarray) -> "CrossFit":
        """On predictors X (cell, predictor), standardised, with the fold of each cell (cell,)."""
        parts = []
        for fold in np.unique(folds):
            out = folds == fold
            mean = X[~out].mean(0)
            left, size, right = np.linalg.svd((X[~out] - mean) / np.sqrt((~out).sum()), full_matrices=False)
            parts.append((out, (X[out] - mean) @ right.T, left, size))
        return cls(tuple(parts))

    def residuals(self, Y: np.ndarray) -> np.ndarray:
        """``(cell, gene)`` what is left of Y (cell, gene) in cells that were not fitted, each gene by the penalty that
        leaves least."""
        found = np.empty((len(PENALTIES), *Y.shape))
        for out, outer, left, size in self.parts:
            centre = Y[~out].mean(0)
            inner = left.T @ (Y[~out] - centre) / np.sqrt((~out).sum())
            for i, penalty in enumerate(PENALTIES):
                weight = size / (np.square(size) + penalty)
                found[i, out] = Y[out] - centre - outer @ (weight[:, None] * inner)
        best = np.square(found).mean(1).argmin(0)
        return np.take_along_axis(found, best[None, None, :], axis=0)[0]
