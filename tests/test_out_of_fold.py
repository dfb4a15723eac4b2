import numpy as np
from pyrogrn.models.data.out_of_fold import PENALTIES, CrossFit


def test_cross_fit_leaves_what_ridge_leaves():
    rng = np.random.default_rng(1)
    X, Y, folds = rng.normal(size=(60, 4)), rng.normal(size=(60, 3)), np.arange(60) % 2
    Y[:, 0] += 3 * X[:, 0]
    found = CrossFit.of(X, folds).residuals(Y)
    out = folds == 0
    mean, centre, number = X[~out].mean(0), Y[~out].mean(0), (~out).sum()
    A = X[~out] - mean
    fits = []
    for penalty in PENALTIES:
        weight = np.linalg.solve(A.T @ A / number + penalty * np.eye(4), A.T @ (Y[~out] - centre) / number)
        fits.append(Y[out] - centre - (X[out] - mean) @ weight)
    for g in range(3):
        assert min(np.abs(found[out, g] - fit[:, g]).max() for fit in fits) < 1e-10
    assert found[:, 0].var() < 0.5 * Y[:, 0].var()


def test_cross_fit_with_more_predictors_than_cells():
    rng = np.random.default_rng(2)
    X, folds = rng.normal(size=(40, 90)), np.arange(40) % 2
    found = CrossFit.of(X, folds).residuals(rng.normal(size=(40, 5)))
    assert np.isfinite(found).all()
    assert np.square(found).mean() > 0.5  # noise is not explained in cells that were not fitted
