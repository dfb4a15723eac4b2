r"""How the networks of contexts differ, from joint draws of them.

.. math:: d_{tg} = W^{(a)}_{tg} - W^{(b)}_{tg}

Both weights come from one draw, so that what they share (the network that contexts are drawn around, the noise of
everything else) does not count as a difference; means and sds of each context cannot give that.

Whether two edges differ is a variable of the model where a context has the shared edge or one of its own
(``differences="sparse"``, the default of `LinearNetwork`): P(differs) is the probability that they are not the same
edge, and that one of them exists at least. Where all contexts are normal around the shared network with one scale
:math:`\omega \sim \mathrm{HalfNormal}(0.1)` there is no such variable, and :math:`P(|d_{tg}| > \delta)` stands for it:
differences are then shrunk towards zero, a few large ones among many small ones most of all.
"""

import numpy as np
import pandas as pd

from ...models import Model
from ..calibration import expected_list
from .contexts import OTHERS, pairs_of
from .fitted import PosteriorLike
from .intervals import LEVEL, check_level, interval
from .networks import context_index

COLUMNS = (
    *("source", "target", "context", "other", "difference", "sd", "lower", "upper"),
    *("differs", "threshold", "sign_probability"),
    *("weight", "weight_other", "inclusion", "inclusion_other"),
)
LIST_RATE = 0.1  # expected share of wrong rows in the list of differences that is written


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
    fdr: float | None = None,
) -> pd.DataFrame:
    """Weights in ``context`` minus those in ``other``, one row an edge that may exist; the surest differences first.

    Parameters
    ----------
    posterior
        With several contexts.
    context, other
        Two of them; ``other`` may be `OTHERS`, the mean of all but ``context``.
    threshold
        δ, in standard deviations of the target per standard deviation of the regulator: ``differs`` is then
        P(|difference| > δ). Default the model's own probability that the edges differ; where it has none, or the pair
        is one of more than six contexts, δ of the fit, 0.1.
    level
        Probability of the interval.
    top
        Keep this many rows.
    fdr
        Keep the largest set of which this share is expected to be no differences (mean of 1 − ``differs``), without
        edges into regulators, whose direction a regression does not know. Default all rows.

    Returns
    -------
    DataFrame
        ``source, target, context, other``; ``difference`` posterior mean and ``sd``; ``lower, upper`` the equal-tailed
        interval; ``differs`` the probability of a difference, and its ``threshold`` (empty where the model has a
        variable for it); ``sign_probability`` of the more probable sign of the difference; ``weight``, ``inclusion`` in
        ``context`` and ``weight_other``, ``inclusion_other`` in ``other`` (of `OTHERS`: their mean weight, and the
        shared edge's inclusion). Sorted by ``differs`` (two decimals), then by |difference|.

    Raises
    ------
    ValueError
        A fit of one context, unknown contexts or twice the same, a threshold below zero, a level or rate outside
        (0, 1).
    """
    check_level(level)
    check_rate(fdr)
    names = list(posterior.coords["context"])
    if "W_context" not in posterior.draws or len(names) < 2:
        raise ValueError("the fit has one network and no contexts to compare: name a column with `context_key=`")
    known = own_probability(posterior, context, other) if threshold is None else None
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
    differs = pick((np.abs(gap) > delta).mean((0, 1)) if known is None else known)
    order = np.lexsort((-np.abs(mean), -differs.round(2)))
    if fdr is not None:
        order = order[listed(posterior, target[order], differs[order], fdr)]
    order = order[:top]
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
        "threshold": delta if known is None else np.nan,
        "sign_probability": np.divide(
            np.maximum(positive, negative), some, out=np.full_like(some, 0.5), where=some > 0
        ),
    }
    moments = posterior.moments["W_context"]
    shared = posterior.moments["W"].inclusion
    own = {"weight": moments.mean[a], "inclusion": moments.inclusion[a]}
    own |= {
        "weight_other": moments.mean[b].mean(0),
        "inclusion_other": moments.inclusion[b[0]] if rest is None else shared,
    }
    table |= {name: pick(value) for name, value in own.items()}
    return pd.DataFrame(table)[list(COLUMNS)]


def own_probability(posterior: PosteriorLike[Model], context: str, other: str) -> np.ndarray | None:
    """``(tf, target)`` P(differs) of the model, where it has a variable for it and the pair is one of `pairs_of`."""
    found = posterior.attributes.get("differs")
    pairs = pairs_of(posterior.coords["context"])
    for pair in ((context, other), (other, context)):
        if found is not None and pair in pairs:
            return np.asarray(found)[pairs.index(pair)]
    return None


def listed(posterior: PosteriorLike[Model], target: np.ndarray, differs: np.ndarray, rate: float) -> np.ndarray:
    """Positions of the list at a rate, of rows with ``target`` indices and probabilities."""
    coords = posterior.coords
    regulator = np.isin(coords["target"], coords["tf"])[target]
    plain = np.flatnonzero(~regulator)
    return plain[expected_list(differs[plain], rate)]


def check_rate(rate: float | None) -> None:
    """A share of wrong rows.

    Raises
    ------
    ValueError
        Not strictly between 0 and 1.
    """
    if rate is not None and not 0 < rate < 1:
        raise ValueError(f"`fdr` is {rate}, expected a rate strictly between 0 and 1")


def all_differences(
    posterior: PosteriorLike[Model],
    *,
    threshold: float | None = None,
    level: float = LEVEL,
    top: int | None = None,
    fdr: float | None = None,
) -> pd.DataFrame:
    """The tables of all `pairs_of` the contexts, one below the other; ``top`` rows of each. With ``fdr``, the list at
    that rate of all of them together, the surest first."""
    check_rate(fdr)
    names = list(posterior.coords["context"])
    parts = [
        context_differences(posterior, one, other, threshold=threshold, level=level, top=None if fdr else top)
        for one, other in pairs_of(names) or [(names[0], OTHERS)]
    ]
    table = pd.concat(parts, ignore_index=True)
    if fdr is None:
        return table
    place = {name: i for i, name in enumerate(posterior.coords["target"])}
    chosen = listed(posterior, table["target"].map(place).to_numpy(), table["differs"].to_numpy(), fdr)
    table = table.iloc[chosen]
    order = np.lexsort((-table["difference"].abs(), -table["differs"].round(2)))
    return table.iloc[order[:top]].reset_index(drop=True)
