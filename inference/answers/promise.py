"""Whether there is a list at a rate, which edges it may hold, and the links that it leaves out."""

from typing import Any

import numpy as np
import pandas as pd

from ...models import Model
from ..choice import engine_of, row_of, why_uncalibrated
from ..cut_directions import cut_directions
from ..draws.edge_table import RECORD
from ..draws.fitted import PosteriorLike
from ..points import NO_RATE, is_point
from ..training_worlds import why_no_list as why_unlike
from .registry import answers_of

LINK_COLUMNS = ("a", "b", "probability", "weight_ab", "weight_ba", "inclusion_ab", "inclusion_ba")


def why_no_list(posterior: PosteriorLike[Model]) -> str | None:
    """Why no list at a false discovery rate is made of this fit, as a sentence; None: lists like it were tested.

    A rate is a promise about probabilities that an edge exists. It is made where a trial corrected these
    (`recalibration`), or where they are called calibrated (`choice.unearned`); the others (`trajectory`, `factorbox`,
    `pmf-grn`, `symphony`, priors without an inclusion variable, as `celloracle`'s, and variational fits whose posterior
    is a product) list far more wrong edges than they say (``docs/results/ladder_others.md``); so do guides on cells
    unlike those of their training, and where prior networks say what the cells do not (`training_worlds.why_no_list`).
    """
    if is_point(posterior):
        return NO_RATE
    if RECORD in posterior.attributes:
        return None
    engine = engine_of(posterior.guide)
    if not posterior.calibrated:
        why = f"its probabilities are no calibrated ones ({why_uncalibrated(posterior.model, engine)})"
    elif posterior.threshold is not None:
        why = (
            f"its prior has no edges that do not exist, and P(|weight| > {posterior.threshold:g}) is none that one does"
        )
    elif (unlisted := row_of(type(posterior.model)).unlisted) is not None:
        why = unlisted
    elif (unlike := why_unlike(posterior)) is not None:
        why = unlike
    else:
        return None
    return (
        f"no list at a false discovery rate is made of this fit, {posterior.model.name} by {posterior.guide}: {why}. "
        "Its probabilities rank edges: take the most probable (`top=`)"
    )


def directed_edges(posterior: PosteriorLike[Model]) -> np.ndarray:
    """``(tf, target)`` bool: edges that may exist and whose direction the model or the data know.

    A regression finds A → B and B → A alike where both are regulators and targets: such an edge is a link. Its
    direction is known if both ends were perturbed in some cells, which cuts what comes in there. Of such edges
    most in a list at a rate are wrong on data from the model itself (``docs/results/calibration.md``).
    """
    return known_directions(posterior.model)


def known_directions(model: Model) -> np.ndarray:
    """`directed_edges` of any posterior of the model."""
    if not answers_of(model).links:
        allowed: np.ndarray = model.edge_prior.allowed.cpu().numpy()
        return allowed
    regression: Any = model
    return cut_directions(regression)


def links(posterior: PosteriorLike[Model]) -> pd.DataFrame:
    """Pairs of regulators that may be linked and whose direction is not known, the most probable first.

    Columns `LINK_COLUMNS`: regulators ``a`` and ``b``, in the order of the data; ``probability`` that there is an edge
    in some direction, the larger of both inclusions: the two regressions look at one correlation, and an edge in one
    direction is found in both; and weight and inclusion of a → b and of b → a (empty where that edge may not exist).
    Empty where directions are known.
    """
    tfs, targets = _names(posterior.model)
    moments = posterior.moments["W"]
    allowed = posterior.model.edge_prior.allowed.cpu().numpy()
    loose = allowed & ~directed_edges(posterior)
    place = {name: i for i, name in enumerate(targets)}
    column = np.array([place.get(name, -1) for name in tfs])  # of each regulator among the targets
    both = np.flatnonzero(column >= 0)
    pick = lambda table: table[np.ix_(both, column[both])].astype(np.float64)  # from row to column
    may = pick(loose) > 0
    inclusion = np.where(may, pick(moments.inclusion), np.nan)
    weight = np.where(may, pick(moments.mean), np.nan)
    one, other = np.nonzero(np.triu(may | may.T, 1))
    forward, backward = inclusion[one, other], inclusion[other, one]
    table = pd.DataFrame(
        {
            "a": tfs[both[one]],
            "b": tfs[both[other]],
            "probability": np.fmax(forward, backward),
            "weight_ab": weight[one, other],
            "weight_ba": weight[other, one],
            "inclusion_ab": forward,
            "inclusion_ba": backward,
        }
    )
    size = np.fmax(table["weight_ab"].abs(), table["weight_ba"].abs())
    order = np.lexsort((-size, -table["probability"].round(2)))
    return table.iloc[order].reset_index(drop=True)


def _names(model: Model) -> tuple[np.ndarray, np.ndarray]:
    coords = model.coords
    return np.asarray(coords["tf"], dtype=object), np.asarray(coords["target"], dtype=object)
