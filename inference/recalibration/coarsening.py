r"""A likelihood that counts for fewer cells than there are.

.. math:: p(X \mid W, \sigma^2)^k, \qquad k = m / n

Cells are not independent, and a linear network is wrong a little everywhere: neither gets better with n, and with
enough cells every deviation from the model becomes an edge. With the power k the posterior is that of m cells, however
many there are (Miller & Dunson 2019, JASA 114:1113). Of a Gaussian likelihood with intercepts integrated out it is
exact: all sums over cells, and the degrees of freedom, are multiplied by k.
"""

import copy

from ...models import RegressionNetwork

SUMS = ("gram", "own_gram", "residual", "sse", "dof", "log_count")
"""Buffers in which the log-likelihood is linear."""
ROOTS = ("left_out",)
"""Those whose squares are such sums."""


def effective(model: RegressionNetwork) -> float:
    """The number of cells that the likelihood counts for."""
    return float(model.dof.max()) + 1


def coarsened(model: RegressionNetwork, cells: float | None) -> RegressionNetwork:
    """The network with a likelihood that counts for ``cells`` cells, sharing all else with it; itself where these are
    None or no fewer than it has.

    Parameters
    ----------
    model
        A linear network of one context.
    cells
        Effective number of cells, at least 2.

    Raises
    ------
    ValueError
        Fewer than two cells; a model of another kind.
    """
    if cells is None:
        return model
    if not cells >= 2:
        raise ValueError(f"{cells} effective cells: expected at least 2")
    if not model.plain_regression or model.has_contexts:
        raise ValueError("a likelihood that counts for fewer cells is for linear networks of one context")
    share = cells / effective(model)
    if share >= 1:
        return model
    found = copy.copy(model)
    scaled = {name: getattr(model, name) * share for name in SUMS if getattr(model, name) is not None}
    scaled |= {name: model._buffers[name] * share**0.5 for name in ROOTS if model._buffers.get(name) is not None}
    found._buffers = {**model._buffers, **scaled}
    found.counted = (model.gram, share)  # the same eigenvectors
    return found
