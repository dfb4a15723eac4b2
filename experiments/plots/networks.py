"""Pictures of a network: its edges, the graph, probabilities of all edges, regulators."""

from collections.abc import Collection

import pandas as pd
from matplotlib.axes import Axes

from ...inference import Posterior
from ...inference.answers.promise import why_no_list
from ...inference.draws.intervals import LEVEL
from ..figures import edge_forest, inclusion_overview, network_picture
from ..figures import out_degrees as degrees_figure
from ..figures.edges import RATES, draw_degrees, draw_edges, draw_probabilities
from ..figures.network import draw_network
from ..figures.style import WEIGHT_UNIT
from ..report.networks import out_degrees
from .drawing import drawn, legend_below

MOST_LIKELY = 0.5  # probability above which an edge is in the picture of the network


def edges(
    posterior: Posterior | pd.DataFrame,
    *,
    count: int = 30,
    fdr: float | None = None,
    context: str | None = None,
    level: float = LEVEL,
    ax: Axes | None = None,
) -> Axes:
    """Posterior mean and interval of the most probable edges.

    Parameters
    ----------
    posterior
        A fit, or a table with the columns of `Posterior.edges`, best first.
    count
        Edges to draw. Default 30.
    fdr, context
        As of `Posterior.edges`.
    level
        Probability of the intervals; of a table, for the title. Default 0.89.
    ax
        Axes to draw into. Default a figure of its own, with the probabilities beside.

    Returns
    -------
    Axes
        Those with the intervals.

    Examples
    --------
    >>> table = pd.DataFrame({"source": ["A"], "target": ["B"], "weight": [0.5], "lower": [0.2], "upper": [0.8]})
    >>> edges(table.assign(inclusion=0.9, prior=0.0)).get_xlabel()
    'weight (sd of target per sd of regulator)'
    """
    table = _edges(posterior, count, fdr=fdr, context=context, level=level)
    unit = WEIGHT_UNIT if isinstance(posterior, pd.DataFrame) else posterior.model.weight_unit

    def into(axes: Axes) -> None:
        handles = draw_edges(axes, table, level=level, unit=unit)
        if handles:
            legend_below(axes, handles)

    return drawn(ax, lambda: edge_forest(table, level=level, count=count, unit=unit), into)


def network(
    posterior: Posterior | pd.DataFrame,
    *,
    count: int = 60,
    fdr: float | None = None,
    least: float = MOST_LIKELY,
    context: str | None = None,
    tfs: Collection[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The most probable edges as a network: arrows activate, bars repress, thicker is stronger, paler less certain.

    Parameters
    ----------
    posterior
        A fit, or a table ``source, target, weight, inclusion``, best first.
    count
        Edges to draw. Default 60, which can still be read.
    fdr, context
        As of `Posterior.edges`.
    least
        Probability from which edges are drawn. Default ½; point estimates have none.
    tfs
        Regulators, drawn dark. Default those of the fit; of a table its sources.
    ax
        Axes to draw into. Default a figure of the size that the network needs.
    """
    table = _edges(posterior, None, fdr=fdr, context=context, level=LEVEL)
    known = table["inclusion"].notna()
    table = table[(table["inclusion"] > least) | (~known & (table["weight"] != 0))].head(count)
    if tfs is None:
        tfs = table["source"] if isinstance(posterior, pd.DataFrame) else posterior.coords["tf"]
    names = set(map(str, tfs))
    return drawn(
        ax, lambda: network_picture(table, tfs=names, count=count), lambda a: draw_network(a, table, tfs=names)
    )


def probabilities(posterior: Posterior, *, ax: Axes | None = None) -> Axes:
    """How sure the posterior is of all edges: the distribution of their probabilities, and where lists end (of fits
    that have any).

    Parameters
    ----------
    posterior
        A fit of a network.
    ax
        Axes to draw into. Default a figure of its own, with probability against strength beside.
    """
    moments = posterior.moments["W"]
    allowed = posterior.model.edge_prior.allowed.cpu().numpy()
    inclusion = moments.inclusion[allowed].astype(float).clip(0, 1)
    weight, delta = moments.mean[allowed].astype(float), posterior.threshold
    rates = RATES if why_no_list(posterior) is None else ()
    return drawn(
        ax,
        lambda: inclusion_overview(inclusion, weight, threshold=delta, rates=rates, unit=posterior.model.weight_unit),
        lambda a: draw_probabilities(a, inclusion, threshold=delta, rates=rates),
    )


def regulators(
    posterior: Posterior | pd.DataFrame, *, count: int = 25, level: float = LEVEL, ax: Axes | None = None
) -> Axes:
    """Expected number of targets of the busiest regulators, with intervals.

    Parameters
    ----------
    posterior
        A fit of a network, or a table ``source, mean, lower, upper``.
    count
        Regulators to draw. Default 25.
    level
        Probability of the intervals. Default 0.89.
    ax
        Axes to draw into. Default a figure of its own.
    """
    table = posterior if isinstance(posterior, pd.DataFrame) else out_degrees(posterior, level=level)
    shown = table.sort_values("mean", ascending=False).head(count)
    return drawn(
        ax,
        lambda: degrees_figure(table, level=level, count=count),
        lambda a: draw_degrees(a, shown, len(table), level=level),
    )


def _edges(
    posterior: Posterior | pd.DataFrame, count: int | None, *, fdr: float | None, context: str | None, level: float
) -> pd.DataFrame:
    if not isinstance(posterior, pd.DataFrame):
        return posterior.edges(level=level, fdr=fdr, context=context, top=count)
    if fdr is not None or context is not None:
        raise ValueError("`fdr` and `context` ask a posterior: choose the rows of a table yourself")
    return posterior.head(count) if count is not None else posterior
