"""Activities of regulators by group of cells, as a heat map."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .embedding import DIVERGING
from .style import new_figure, nothing_to_draw, shortened, styled

UNIT = "mean (sd of the regulator)"


@styled
def activity_heat_map(table: pd.DataFrame, *, count: int = 30, unit: str = UNIT) -> Figure:
    """Mean activity of the regulators that differ most between groups.

    Parameters
    ----------
    table
        `Activities.by_group`: ``group, regulator, mean``.
    count
        Regulators to draw.
    unit
        Of the means, for the scale.
    """
    groups, names = table["group"].nunique(), min(count, table["regulator"].nunique())
    size = (2.6 + 0.42 * max(groups, 2), 1.6 + 0.22 * max(names, 3))
    figure = new_figure(figsize=size, layout="constrained")
    draw_activities(figure.subplots(), table, count=count, unit=unit)
    return figure


def draw_activities(ax: Axes, table: pd.DataFrame, *, count: int = 30, unit: str = UNIT) -> None:
    """`activity_heat_map` in given axes."""
    ax.set_title("Activity of regulators")
    if table.empty:
        nothing_to_draw(ax, "no activities")
        return
    wide = table.pivot_table(index="regulator", columns="group", values="mean", sort=False)
    spread = (wide.max(axis=1) - wide.min(axis=1)) if wide.shape[1] > 1 else wide.abs().max(axis=1)
    wide = wide.loc[spread.sort_values(ascending=False, kind="stable").index[:count]]
    limit = float(np.nanmax(np.abs(wide.to_numpy()))) or 1.0
    image = ax.imshow(wide.to_numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    ax.set_yticks(np.arange(len(wide)), [shortened(str(name)) for name in wide.index])
    ax.set_xticks(np.arange(wide.shape[1]), [shortened(str(name)) for name in wide.columns], rotation=45, ha="right")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.figure.colorbar(image, ax=ax, label=unit, shrink=0.7)
