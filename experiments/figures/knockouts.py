"""What an intervention does to the genes that it moves most."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtri

from ...inference.draws.intervals import LEVEL
from .style import GREY, PALE, new_figure, nothing_to_draw, shortened, sign_colours, styled

LEAST_CHANGE = float(ndtri(0.8))
"""Change by its sd from which its sign is said to be known, 0.84: of a normal one the other sign has then a probability
below 0.2."""


@styled
def knockout_forest(
    table: pd.DataFrame, *, what: str, clamped: Collection[str] = (), level: float = LEVEL, count: int = 25
) -> Figure:
    """Changes of the genes that an intervention moves most, with intervals.

    Parameters
    ----------
    table
        `Posterior.predict`: ``gene, mean, sd, lower, upper, control``.
    what
        The intervention, for the title: ``knock-out of SPI1``.
    clamped
        Genes that are held, which are not drawn: they move for certain. Default none.
    level
        Of the intervals, for the title.
    count
        Genes to draw.
    """
    shown = most_changed(table, count, clamped)
    figure = new_figure(figsize=(6.4, 1.3 + 0.215 * max(len(shown), 3)), layout="constrained")
    draw_knockout(figure.subplots(), shown, what=what, level=level)
    return figure


def most_changed(table: pd.DataFrame, count: int, clamped: Collection[str] = ()) -> pd.DataFrame:
    """The genes with the largest change by its sd, those that are ``clamped`` left out, and those whose change is less
    than `LEAST_CHANGE` of its sd: of these the sign is not known."""
    change = (table["mean"] - table["control"]).abs()
    moved = table[
        (change > LEAST_CHANGE * table["sd"])
        & (table["sd"] > 0)
        & np.isfinite(table["mean"])
        & ~table["gene"].isin(list(clamped))
    ]
    certainty = (moved["mean"] - moved["control"]).abs() / moved["sd"]
    return moved.loc[certainty.sort_values(ascending=False, kind="stable").index].head(count)


def draw_knockout(ax: Axes, shown: pd.DataFrame, *, what: str, level: float = LEVEL) -> None:
    """Changes of all genes of a table in given axes."""
    ax.set_title(f"After {what}: the {len(shown)} surest changes, {level:.0%} interval")
    if shown.empty:
        nothing_to_draw(ax, "no gene moves in a direction that is known")
        return
    y = np.arange(len(shown))[::-1]
    mean, lower, upper = (shown[name] - shown["control"] for name in ("mean", "lower", "upper"))
    colours = sign_colours(mean.to_numpy())
    ax.axvline(0, color=GREY, lw=0.8, zorder=0)
    ax.hlines(y, lower, upper, colors=colours, lw=2.2, alpha=0.55)
    ax.scatter(mean, y, c=colours, s=24, zorder=3)
    ax.set_yticks(y, [shortened(str(name)) for name in shown["gene"]])
    ax.set_ylim(-0.8, len(shown) - 0.2)
    ax.set_xlabel("change against the undisturbed level, in units of the data")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=PALE, lw=0.6)
    ax.set_axisbelow(True)
