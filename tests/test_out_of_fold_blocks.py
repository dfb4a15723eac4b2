"""Moments of genes taken some at a time: the numbers are those of all at once, to the last digit."""

import numpy as np
import pytest
from pyrogrn.models.data.out_of_fold import moments_within, values_within, within_contexts


def at_once(X, context):
    X = X.astype(np.float64)
    mean = np.stack([X[context == k].mean(0) for k in range(context.max() + 1)])
    Z = X - mean[context]
    sd = np.sqrt(np.square(Z).mean(0))
    sd = np.where(sd <= 1e-7 * np.abs(mean).max(0), 0.0, sd)
    return np.divide(Z, sd, out=np.zeros_like(Z), where=sd > 0), mean, sd


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("genes", "contexts"), [(1, 1), (2, 1), (64, 2), (65, 1), (129, 3), (200, 1)])
def test_in_blocks_as_at_once(genes, contexts, dtype):
    rng = np.random.default_rng(genes)
    X = (rng.normal(size=(400, genes)) * rng.gamma(1, 1, genes) + rng.normal(size=genes)).astype(dtype)
    X[:, genes // 2] = 3.3  # one that varies nowhere
    context = np.arange(400) % contexts
    wanted = at_once(X, context)
    for found, same in zip(within_contexts(X, context), wanted, strict=True):
        np.testing.assert_array_equal(found, same)
    mean, sd = moments_within(X, context)
    np.testing.assert_array_equal(mean, wanted[1])
    np.testing.assert_array_equal(sd, wanted[2])
    for t in np.flatnonzero(sd > 0)[:3]:
        np.testing.assert_array_equal(values_within(X[:, t], context, mean[:, t], sd[t]), wanted[0][:, t])
