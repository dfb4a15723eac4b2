"""Pictures of gene programs: the variance that they explain, and their genes."""

import pandas as pd
from matplotlib.axes import Axes

from ...inference import Posterior
from ...inference.draws.intervals import LEVEL
from ..figures.programs import draw_loadings, draw_variance, loading_forest, loading_handles, variance_explained
from .drawing import drawn, legend_below

NUM_PANELS = 9


def variance(
    posterior: Posterior | pd.DataFrame, *, count: int = 30, level: float = LEVEL, ax: Axes | None = None
) -> Axes:
    """Variance that each program explains, with intervals; of several views or groups side by side.

    Parameters
    ----------
    posterior
        A fit of programs, or its table `Posterior.factors`.
    count
        Programs to draw, the most important first. Default 30.
    level
        Probability of the intervals. Default 0.89.
    ax
        Axes to draw into (then several views or groups are a heat map). Default a figure of its own.
    """
    factors = posterior if isinstance(posterior, pd.DataFrame) else posterior.factors(level=level)
    return drawn(
        ax,
        lambda: variance_explained(factors, level=level, count=count),
        lambda a: draw_variance(a, factors, level=level, count=count),
    )


def programs(
    posterior: Posterior | pd.DataFrame,
    program: str | None = None,
    *,
    count: int = 12,
    level: float = LEVEL,
    ax: Axes | None = None,
) -> Axes:
    """Largest loadings of programs, with intervals.

    Parameters
    ----------
    posterior
        A fit of programs, or its table `Posterior.programs`.
    program
        The one to draw. Default the nine that explain most (of a table: the first nine), a panel each.
    count
        Genes of each. Default 12.
    level
        Probability of the intervals. Default 0.89.
    ax
        Axes to draw one program into: ``program``, or the first.

    Raises
    ------
    ValueError
        No such program.
    """
    table = posterior if isinstance(posterior, pd.DataFrame) else posterior.programs(level=level)
    names = list(dict.fromkeys(table["program"]))
    if not isinstance(posterior, pd.DataFrame):
        share = posterior.factors(level=level).groupby("program", sort=False)["variance_explained"].max()
        names = list(share.sort_values(ascending=False, kind="stable").index)
    if program is not None:
        if program not in names:
            raise ValueError(f"no program {program!r}: there are {', '.join(map(str, names[:5]))}, ...")
        names = [program]

    def into(axes: Axes) -> None:
        listed = draw_loadings(axes, table, str(names[0]), count=count)
        legend_below(axes, loading_handles(listed))

    return drawn(ax, lambda: loading_forest(table, names[:NUM_PANELS], level=level, count=count), into)
