"""LASSO of every gene on all TFs, the penalty by BIC."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LassoLarsIC

from ...models import ExpressionData
from ._common import edge_table, regress_each_target


@dataclass(frozen=True)
class Lasso:
    r"""LASSO (Tibshirani 1996) of each standardised gene on all other standardised TFs; signed weights.

    .. math:: W_{\cdot g} = \arg\min_w \tfrac{1}{2n} \|z_g - Z w\|^2 + \lambda_g \|w\|_1

    The whole path by least angle regression (Efron et al. 2004); :math:`\lambda_g` has the smallest BIC, the degrees of
    freedom being the number of weights that are not zero (Zou, Hastie & Tibshirani 2007).

    Parameters
    ----------
    num_jobs
        Processes over genes; results do not depend on it.
    name
        How the method is called in tables.
    """

    num_jobs: int = 1
    name: str = "lasso"

    def __call__(self, data: ExpressionData, *, seed: int = 0) -> pd.DataFrame:
        """Return ``source, target, weight`` for all TF-gene pairs; `seed` has no effect.

        Raises
        ------
        ValueError
            Fewer than 3 cells.
        """
        return edge_table(regress_each_target(self.weights, data, num_jobs=self.num_jobs, seed=seed), data)

    def weights(self, inputs: np.ndarray, target: np.ndarray, seed: int) -> np.ndarray:
        """``(tf,)`` of one gene."""
        sd = inputs.std(0)
        z = (inputs - inputs.mean(0)) / np.where(sd > 0, sd, 1.0)
        # with as many TFs as cells the variance is not known from the full fit: that of the target, which is 1
        variance = None if z.shape[0] > z.shape[1] + 1 else 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the path ends early among TFs that are alike
            return LassoLarsIC(criterion="bic", noise_variance=variance).fit(z.astype(np.float64), target).coef_
