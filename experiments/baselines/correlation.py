"""Correlation of regulator and target."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ...models import ExpressionData
from ...models.data.ridge import correlations
from ._common import edge_table, expression, tf_columns


@dataclass(frozen=True)
class Correlation:
    r"""Pearson or Spearman correlation, :math:`W_{tg} = \mathrm{corr}(x_t, x_g)`; signed and undirected.

    The floor any method should clear. Constant genes have weight 0.

    Parameters
    ----------
    spearman
        Correlate ranks (ties averaged) instead of values. Default False, as in most benchmarks.
    name
        How the method is called in tables.
    """

    spearman: bool = False
    name: str = "correlation"

    def __call__(self, data: ExpressionData, *, seed: int = 0) -> pd.DataFrame:
        """Return ``source, target, weight`` for all TF-gene pairs; `seed` has no effect.

        Raises
        ------
        ValueError
            Fewer than 3 cells.
        """
        X = expression(data)
        if self.spearman:
            X = np.stack([rankdata(x) for x in X.T], axis=1)
        return edge_table(correlations(X, tf_columns(data)), data)
