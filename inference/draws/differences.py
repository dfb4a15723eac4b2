r"""How the networks of contexts differ, from joint draws of them.

.. math:: d_{tg} = W^{(a)}_{tg} - W^{(b)}_{tg}, \qquad P(\text{differs}) = P(|d_{tg}| > \delta \mid X)

Both weights come from one draw, so that what they share (the network that contexts are drawn around, the noise of
everything else) does not count as a difference; means and sds of each context cannot give that. The contexts of a model
are normal around a shared network with one scale ω for all edges, itself ~ HalfNormal(0.1): differences are shrunk
towards zero, a few large ones among many small ones most of all. A probability is what that prior and the data give.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...models import Model
from .contexts import OTHERS, pairs_of
from .fitted import PosteriorLike
from .intervals import LEVEL, check_level, interval
from .networks import context_index

COLUMNS = (
    *("source", "target", "context", "other", "difference", "sd", "lower", "upper"),
    *("differs", "threshold", "sign_probability"),
)


def default_threshold(posterior: PosteriorLike[Model]) -> float:
    """δ: that of the fit, or of its model where the prior has an inclusion variable."""
    return float(posterior.model.threshold if posterior.threshold is None else posterior.threshold)


def context_differences(
    posterior: PosteriorLike[Model],
    context: str,
    other: str,
    *,
    threshold: float | None = None,
    level: float = LEVEL,
    top: int | None = None,
) -> pd.DataFrame:
    """Weights in ``context`` minus those in ``other``, one row an edge that may exist; the surest differences first.

    Parameters
    ----------
    posterior
        With several contexts.
    context, other
        Two of them; ``other`` may be `OTHERS`, the mean of all but ``context``.
    threshold
        δ, in standard deviations of the target per standard deviation of the regulator. Default that of the fit, 0.1.
    level
        Probability of the interval.
    top
        Keep this many rows.

    Returns
    -------
    DataFrame
        ``source, target, context, other``; ``difference`` posterior mean and ``sd``; ``lower, upper`` the equal-tailed
        interval; ``differs`` P(|difference| > ``threshold``); ``sign_probability`` of the more probable sign of the
        difference. Sorted by ``differs`` (two decimals), then by |difference|.

    Raises
    ------
    ValueError
        A fit of one context, unknown contexts or twice the same, a threshold below zero, a level outside (0, 1).
    """
    check_level(level)
    names = list(posterior.coords["context"])
    if "W_context" not in posterior.draws or len(names) < 2:
        raise ValueError("the fit has one network and no contexts to compare: name a column with `context_key=`")
    delta = default_threshold(posterior) if threshold is None else float(threshold)
    if not (delta >= 0 and np.isfinite(delta)):
        raise ValueError(f"`threshold` is {threshold}, expected a number of at least 0")
    if context == other:
        raise ValueError(f"{context!r} is compared with itself: name two contexts of {names}")
    a = context_index(names, context)
    rest = [i for i in range(len(names)) if i != a] if other == OTHERS and OTHERS not in names else None
    b = [context_index(names, other)] if rest is None else rest
    W = posterior.draws["W_context"]
    gap = W[:, :, a] - (W[:, :, b[0]] if len(b) == 1 else W[:, :, b].mean(2))  # (chain, draw, tf, target)
    source, target = np.nonzero(posterior.model.edge_prior.allowed.cpu().numpy())
    pick = lambda values: values[source, target].astype(np.float64)
    mean, sd = pick(gap.mean((0, 1), dtype=np.float64)), pick(gap.std((0, 1), dtype=np.float64))
    differs = pick((np.abs(gap) > delta).mean((0, 1)))
    order = np.lexsort((-np.abs(mean), -differs.round(2)))[:top]
    source, target = source[order], target[order]
    lower, upper = interval(gap, source, target, level)
    positive, negative = (pick((sign * gap > 0).mean((0, 1))) for sign in (1, -1))
    some = positive + negative
    coords = posterior.coords
    table = {
        "source": np.asarray(coords["tf"], dtype=object)[source],
        "target": np.asarray(coords["target"], dtype=object)[target],
        "context": context,
        "other": other,
        "difference": mean[order],
        "sd": sd[order],
        "lower": lower,
        "upper": upper,
        "differs": differs[order],
        "threshold": delta,
        "sign_probability": np.divide(
            np.maximum(positive, negative), some, out=np.full_like(some, 0.5), where=some > 0
        ),
    }
    return pd.DataFrame(table)[list(COLUMNS)]


def all_differences(
    posterior: PosteriorLike[Model], *, threshold: float | None = None, level: float = LEVEL, top: int | None = None
) -> pd.DataFrame:
    """The tables of all `pairs_of` the contexts, one below the other; ``top`` rows of each."""
    names = list(posterior.coords["context"])
    parts = [
        context_differences(posterior, one, other, threshold=threshold, level=level, top=top)
        for one, other in pairs_of(names) or [(names[0], OTHERS)]
    ]
    return pd.concat(parts, ignore_index=True)
