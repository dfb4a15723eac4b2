"""Where a picture goes: axes that were given, or a figure of its own."""

import sys
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..figures.style import MAKER, STYLE, styled


def drawn(ax: Axes | None, figure: Callable[[], Figure], into: Callable[[Axes], object]) -> Axes:
    """Draw a whole figure, or its main part into axes.

    Parameters
    ----------
    ax
        Axes to draw into; None: a new figure, made by pyplot where that is in use, so that it is shown.
    figure
        Makes the figure; its first axes have the main part.
    into
        Draws the main part into axes.

    Returns
    -------
    Axes
        Those drawn into.
    """
    if ax is not None:
        _plain(ax)
        styled(into)(ax)
        return ax
    pyplot = sys.modules.get("matplotlib.pyplot")
    token = MAKER.set(Figure if pyplot is None else pyplot.figure)
    try:
        return figure().axes[0]
    finally:
        MAKER.reset(token)


def _plain(ax: Axes) -> None:
    """What axes have from the caller's settings, as the report has it."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[:].set_color(STYLE["axes.edgecolor"])
    ax.tick_params(labelsize=STYLE["xtick.labelsize"])
    ax.set_facecolor("white")
