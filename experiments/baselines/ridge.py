"""Ridge regression of every gene on all TFs from one eigendecomposition."""

from dataclasses import dataclass

import pandas as pd

from ...models import ExpressionData
from ...models.data.ridge import PENALTIES, correlations, ridge_weights
from ._common import edge_table, expression, tf_columns


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
        return edge_table(ridge_weights(R, tf, data.num_cells, self.penalties), data)
