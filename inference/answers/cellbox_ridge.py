r"""Ridge regression on the inputs beside CellBox's steady states, and one answer of both.

On drugs that were fitted, a regression of every node on the doses is as good as the network; of another it knows
nothing, where the network has classes of drugs. Both state how far they may be off, and the answer weighs them by that:

.. math:: m = s\, m_N + (1 - s)\, m_R, \qquad \mathrm{sd} = s\,\mathrm{sd}_N + (1 - s)\,\mathrm{sd}_R, \qquad
          s = \frac{\bar v_R}{\bar v_N + \bar v_R},

with :math:`\bar v` the mean predictive variance of all nodes in the condition. Both learn from the same measurements,
so their errors go together, and standard deviations add.
"""

from typing import NamedTuple

import numpy as np

PENALTIES = 10.0 ** np.arange(-2, 1.5, 0.5)  # of which leave-one-out chooses


class Prediction(NamedTuple):
    """``mean`` and ``variance`` of a new measurement, ``(condition, node)``."""

    mean: np.ndarray
    variance: np.ndarray


class Blend(NamedTuple):
    """``mean`` and ``sd`` ``(condition, node)``, and the ``share`` of the network ``(condition,)``."""

    mean: np.ndarray
    sd: np.ndarray
    share: np.ndarray


def ridge(X: np.ndarray, inputs: np.ndarray, new: np.ndarray) -> Prediction:
    r"""Bayesian ridge regression without intercept, every node alike but for its noise:
    :math:`B_{\cdot i} \sim N(0, \sigma_i^2/\lambda)`, :math:`X_{\cdot i} \sim N(UB_{\cdot i}, \sigma_i^2)`, λ by
    leave-one-out of all nodes, :math:`\sigma_i^2 = X_i^\top (I - H) X_i / n` at its mode.

    Parameters
    ----------
    X, inputs
        ``(condition, node)`` responses and doses of the fit.
    new
        ``(condition, node)`` doses to predict.
    """
    acts = (inputs != 0).any(0) | (new != 0).any(0)
    U, V = inputs[:, acts], new[:, acts]

    def inverse(penalty: float) -> np.ndarray:
        return np.linalg.inv(U.T @ U + penalty * np.eye(U.shape[1]))

    def left_out(penalty: float) -> float:
        H = U @ inverse(penalty) @ U.T
        return float((((X - H @ X) / (1 - np.diag(H))[:, None]) ** 2).sum())

    A = inverse(min(PENALTIES, key=left_out))
    B = A @ U.T @ X
    noise = (X * (X - U @ B)).mean(0)
    return Prediction(V @ B, noise * (1 + np.einsum("ci,ij,cj->c", V, A, V))[:, None])


def blend(network: Prediction, regression: Prediction) -> Blend:
    """One answer of both, as above; NaN where the network has none."""
    own, other = network.variance.mean(1), regression.variance.mean(1)
    share = other / (own + other)
    s = share[:, None]
    sd = s * np.sqrt(network.variance) + (1 - s) * np.sqrt(regression.variance)
    return Blend(s * network.mean + (1 - s) * regression.mean, sd, share)
