"""GRNBoost2: importances of stochastic gradient boosting with early stopping."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeRegressor

from ...models import ExpressionData
from ._common import edge_table, regress_each_target


@dataclass(frozen=True)
class GRNBoost2:
    r"""Importance of each TF for each gene by gradient boosting (Moerman et al. 2019); non-negative, unsigned.

    Trees of depth 3 are fitted to the residuals of a random share of the cells, one after another,

    .. math:: F_m(x) = F_{m-1}(x) + \nu\, \mathrm{tree}_m(x),

    until they no longer help the cells left out. :math:`W_{tg}` is the share of the squared-error reduction that splits
    on t bring, times the number of trees, which is large for genes that can be predicted.

    The trees are scikit-learn's exact ones, as in the published implementation, and not histogram boosting, which has
    neither importances nor an out-of-bag improvement. The loop is written out because the stopping rule is the method:
    ``GradientBoostingRegressor`` since version 1.3 takes the difference of losses on two different sets of cells left
    out, whose noise ends the fit as soon as the window is full; here, as in the versions the method was published with,
    it is the change of the loss on the same cells.

    Parameters
    ----------
    learning_rate, max_features, subsample
        :math:`\nu` = 0.01; 0.1 of the TFs tried at a split; 0.9 of the cells per tree. All of the paper, as are 5000
        and 25.
    num_trees
        At most.
    window
        Stop when the out-of-bag improvement, averaged over this many trees, is negative.
    num_jobs
        Processes over genes; results do not depend on it.
    name
        How the method is called in tables.
    """

    learning_rate: float = 0.01
    max_features: float = 0.1
    subsample: float = 0.9
    num_trees: int = 5000
    window: int = 25
    num_jobs: int = 1
    name: str = "grnboost2"

    def __post_init__(self) -> None:
        if not 0 < self.subsample < 1 or self.num_trees < 1 or self.window < 1:
            raise ValueError(
                f"subsample {self.subsample}, num_trees {self.num_trees}, window {self.window}; expected in (0, 1) "
                "(early stopping reads the cells left out), at least 1, and at least 1."
            )

    def __call__(self, data: ExpressionData, *, seed: int = 0) -> pd.DataFrame:
        """Return ``source, target, weight`` for all TF-gene pairs.

        Raises
        ------
        ValueError
            Fewer than 3 cells.
        """
        return edge_table(regress_each_target(self.importance, data, num_jobs=self.num_jobs, seed=seed), data)

    def importance(self, inputs: np.ndarray, target: np.ndarray, seed: int) -> np.ndarray:
        """``(tf,)`` of one gene."""
        generator = np.random.default_rng(seed)
        num_in = max(1, int(self.subsample * len(target)))
        inputs = np.ascontiguousarray(inputs, dtype=np.float32)  # what unchecked trees expect
        residual = target.copy()  # the target has mean 0, which is F_0
        gain, improvement = np.zeros(inputs.shape[1]), []
        for _ in range(self.num_trees):
            cells = generator.permutation(len(target))
            in_bag = np.zeros(len(target))  # as weights: cells of weight 0 are left out without copying the inputs
            in_bag[cells[:num_in]] = 1.0
            out = cells[num_in:]
            tree = DecisionTreeRegressor(
                max_depth=3, max_features=self.max_features, random_state=int(generator.integers(2**31))
            )
            tree.fit(inputs, residual, sample_weight=in_bag, check_input=False)
            before = np.square(residual[out]).mean()
            residual -= self.learning_rate * tree.tree_.predict(inputs)[:, 0]
            improvement.append(before - np.square(residual[out]).mean())
            gain += tree.tree_.compute_feature_importances(normalize=False)
            if len(improvement) >= self.window and np.mean(improvement[-self.window :]) < 0:
                break
        return gain / gain.sum() * len(improvement) if gain.any() else gain
