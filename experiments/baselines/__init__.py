"""Published methods and controls, redone on scikit-learn: each turns data into a table ``source, target, weight``.

``BASELINES`` lists the classes that need nothing but data; :class:`PriorOnly` needs a prior network besides.
"""

from .boosting import GRNBoost2
from .controls import PriorOnly, RandomControl
from .correlation import Correlation
from .forest import GENIE3
from .graphical_lasso import GraphicalLasso
from .lasso import Lasso
from .ridge import Ridge
from .stability import TIGRESS

BASELINES = (Correlation, Ridge, Lasso, GraphicalLasso, TIGRESS, GENIE3, GRNBoost2, RandomControl)

__all__ = [
    "BASELINES",
    "GENIE3",
    "TIGRESS",
    "Correlation",
    "GRNBoost2",
    "GraphicalLasso",
    "Lasso",
    "PriorOnly",
    "RandomControl",
    "Ridge",
]
