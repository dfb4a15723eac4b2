"""Which edges are asked for, and in which order, without sorting those that are not."""

import numpy as np

from ...models import Model
from ..calibration import LEAST, MARGIN, expected_list
from ..draws.fitted import PosteriorLike
from ..draws.networks import in_context
from ..points import is_point
from .promise import directed_edges

ENOUGH = 0.055  # an inclusion that two decimals round to more than those a hundredth below it


def chosen_edges(
    posterior: PosteriorLike[Model],
    *,
    fdr: float | None = None,
    context: str | None = None,
    top: int | None = None,
    least: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions ``(edge,)`` on the model's axes of the edges that `Posterior.edges` gives for the same arguments, in
    its order: by inclusion to two decimals, then by |weight|, of a point estimate by |weight| alone."""
    point = is_point(posterior)
    moments, _ = in_context(posterior, context)
    allowed = posterior.model.edge_prior.allowed.cpu().numpy()
    if least is not None and not point:
        allowed = allowed & (moments.inclusion >= least)
    if fdr is not None:
        allowed = allowed & directed_edges(posterior)
    if not point:
        allowed = _narrowed(allowed, moments.inclusion, fdr, top)
    source, target = np.nonzero(allowed)
    inclusion, size = moments.inclusion[source, target].astype(np.float64), np.abs(moments.mean[source, target])
    if fdr is not None:
        best = expected_list(inclusion, fdr)
        source, target, inclusion, size = source[best], target[best], inclusion[best], size[best]
    # to two decimals, what a thousand draws resolve: below that, noise would order the edges that are all but certain
    first = 0 * size if point else inclusion.round(2)
    order = best_first(first, size, len(size) if top is None else top)
    return source[order], target[order]


def _narrowed(allowed: np.ndarray, inclusion: np.ndarray, fdr: float | None, top: int | None) -> np.ndarray:
    """``allowed`` (tf, target) without edges too improbable to be asked for, of which most networks are made, where
    this is certain: the rate is passed before them, or enough others round to more."""
    if fdr is not None:
        some = allowed & (inclusion >= LEAST)
        probability = inclusion[some].astype(np.float64)
        return some if len(probability) and (1 - probability).mean() > fdr + MARGIN else allowed
    if top is not None:
        some = allowed & (inclusion >= ENOUGH - 0.01)
        return some if (inclusion[some] >= ENOUGH).sum() >= top else allowed
    return allowed


def best_first(first: np.ndarray, second: np.ndarray, number: int) -> np.ndarray:
    """Places of the ``number`` largest by ``first`` ``(edge,)``, where that is equal by ``second``, then in the order
    they come in; only those that may be among them are sorted."""
    if not 0 < number < len(first) or np.isnan(first).any() or np.isnan(second).any():
        return np.lexsort((-second, -first))[:number]
    some = np.flatnonzero(first >= np.partition(first, len(first) - number)[len(first) - number])
    tied = first[some] == first[some].min(initial=np.inf)
    spare = len(some) - number  # of those that tie for the last places
    if spare > 0:
        among = second[some[tied]]
        tied[tied] = among < np.partition(among, spare)[spare]
        some = some[~tied]
    return some[np.lexsort((-second[some], -first[some]))][:number]
