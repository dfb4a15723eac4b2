"""Which edges of a regression have a direction that the model or the data know."""

import numpy as np

from ..models import RegressionNetwork


def cut_directions(model: RegressionNetwork) -> np.ndarray:
    """``(tf, target)`` bool: edges that may exist, into targets that are no regulators, or whose ends were both
    perturbed in some cells, which cuts what comes in there."""
    allowed: np.ndarray = model.edge_prior.allowed.cpu().numpy()
    tfs, targets = (np.asarray(model.coords[axis], dtype=object) for axis in ("tf", "target"))
    inward = np.isin(targets, tfs)  # targets that are regulators
    own = getattr(model, "own", None)
    cut = set() if own is None else {targets[int(i)] for i in own.tolist()}
    told = np.outer(np.isin(tfs, list(cut)), np.isin(targets, list(cut)))
    return allowed & (~inward[None] | told)
