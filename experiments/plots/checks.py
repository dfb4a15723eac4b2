"""Pictures of what a fit is worth: against a known network, and of its sources."""

import pandas as pd
from matplotlib.axes import Axes

from ...inference import Posterior
from ...inference.draws.intervals import LEVEL
from ..figures import reliability_diagram, trust_in_sources
from ..figures.checks import draw_reliability, draw_trust
from ..matching import align
from ..report.knowledge import trust_band
from ..report.networks import Results
from .drawing import drawn


def reliability(posterior: Posterior | pd.DataFrame, truth: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Stated probabilities of edges against the share of them that is true.

    Parameters
    ----------
    posterior
        A fit of a network, or its whole edge table ``source, target, inclusion``.
    truth
        The known network, ``source, target``; regulators without any known edge are left out.
    ax
        Axes to draw into. Default a figure of its own, with the number of pairs below.

    Raises
    ------
    ValueError
        The truth and the table have no pair in common, or nothing of it has a probability.
    """
    table = posterior if isinstance(posterior, pd.DataFrame) else Results(posterior).table()
    pairs = align(table, truth, restrict_to_truth_regulators=True)
    if pairs.inclusion is None:
        raise ValueError("a point estimate has no probabilities to compare with a truth")
    probability, true = pairs.inclusion, pairs.true

    def into(axes: Axes) -> None:
        draw_reliability(axes, probability, true)
        axes.set(xlabel="P(edge exists), as stated", xlim=(-0.02, 1.02))
        axes.legend(loc="lower right")

    return drawn(ax, lambda: reliability_diagram(probability, true), into)


def trust(posterior: Posterior, *, level: float = LEVEL, ax: Axes | None = None) -> Axes:
    """How far the data trust each source of prior knowledge, before (grey) and after the data.

    Parameters
    ----------
    posterior
        A fit with prior networks or gene sets.
    level
        Probability of the intervals. Default 0.89.
    ax
        Axes to draw into. Default a figure of its own.
    """
    table = posterior.trust(level=level)
    prior, odds = trust_band(posterior, level)

    def into(axes: Axes) -> None:
        draw_trust(axes, table, prior=prior, odds=odds, level=level)
        if len(table):
            axes.legend(loc="best")

    return drawn(ax, lambda: trust_in_sources(table, prior=prior, odds=odds, level=level), into)
