"""GENIE3: importances of a forest of regression trees."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

from ...models import ExpressionData
from ._common import edge_table, regress_each_target


@dataclass(frozen=True)
class GENIE3:
    r"""Tree-based importance of each TF for each gene (Huynh-Thu et al. 2010); non-negative, unsigned.

    Each gene, scaled to unit variance so that importances compare across genes, is regressed on all other TFs by a
    forest of fully grown trees; :math:`W_{tg}` is the variance of g that splits on t remove, averaged over trees, not
    normalised.

    Parameters
    ----------
    num_trees
        Default 1000, as in the paper. The time is proportional to it; 100 lose little.
    max_features
        TFs tried at a split: ``"sqrt"`` of their number (default of the paper and its code), or as scikit-learn.
    extra_trees
        Extra-Trees (random cuts, no bootstrap) instead of a random forest. Default False.
    num_jobs
        Processes over genes; results do not depend on it.
    name
        How the method is called in tables.
    """

    num_trees: int = 1000
    max_features: str | int = "sqrt"
    extra_trees: bool = False
    num_jobs: int = 1
    name: str = "genie3"

    def __post_init__(self) -> None:
        if self.num_trees < 1:
            raise ValueError(f"num_trees is {self.num_trees}; expected at least 1.")

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
        kind = ExtraTreesRegressor if self.extra_trees else RandomForestRegressor
        forest = kind(n_estimators=self.num_trees, max_features=self.max_features, random_state=seed)
        forest.fit(inputs, target)
        # scikit-learn's feature_importances_ would rescale every gene to sum 1, however little of it is explained
        trees = [tree.tree_.compute_feature_importances(normalize=False) for tree in forest.estimators_]
        return np.mean(trees, axis=0)
