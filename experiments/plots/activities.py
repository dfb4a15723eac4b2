"""The picture of activities of regulators."""

import pandas as pd
from matplotlib.axes import Axes

from ..figures.activities import activity_heat_map, draw_activities
from ..regulons import Activities
from .drawing import drawn


def activities(found: Activities | pd.DataFrame, *, count: int = 30, ax: Axes | None = None) -> Axes:
    """Mean activities by group of cells, of the regulators that differ most.

    Parameters
    ----------
    found
        `regulons.activities` with groups, or its table ``group, regulator, mean``.
    count
        Regulators to draw. Default 30.
    ax
        Axes to draw into. Default a figure of its own.

    Raises
    ------
    ValueError
        Activities without groups.
    """
    table = found if isinstance(found, pd.DataFrame) else found.by_group
    if table is None:
        raise ValueError("activities without groups: pass groups= to pyrogrn.activities")
    return drawn(ax, lambda: activity_heat_map(table, count=count), lambda a: draw_activities(a, table, count=count))
