"""Where a picture goes: axes that were given, or a figure of its own."""

import sys
import textwrap
from collections.abc import Callable, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from ..figures.style import MAKER, STYLE, styled

UNDER_LABEL, LINE = 0.42, 0.15  # inches under axes: below the numbers and the words; of one more line of them
TWO_COLUMNS = 3.0  # inches that a legend of two columns needs
SHORTEST_LINE = 16  # letters, of a title
SIZES = {"paper": (3.5, 2.8), "wide": (7.2, 3.6), "slide": (6.4, 3.6)}
"""Width and height in inches: one column of a paper, both of its columns, half the size of a slide of 12.8 inches."""


def canvas(size: str | tuple[float, float] = "paper") -> Axes:
    """Empty axes of a size to draw a picture into: ``pl.edges(posterior, ax=pl.canvas("slide"))``.

    Parameters
    ----------
    size
        A name of `SIZES`, or width and height in inches. Letters are as large as in a paper whatever the size; what is
        meant for a slide is shown there at twice the size: save it with ``dpi=300``.

    Raises
    ------
    ValueError
        Another name.

    Examples
    --------
    >>> canvas("slide").figure.get_size_inches().tolist()
    [6.4, 3.6]
    """
    if isinstance(size, str):
        if size not in SIZES:
            raise ValueError(f"size {size!r}: choose {', '.join(SIZES)}, or give width and height in inches")
        size = SIZES[size]
    pyplot = sys.modules.get("matplotlib.pyplot")
    figure = (Figure if pyplot is None else pyplot.figure)(figsize=size, layout="constrained")
    axes: Axes = figure.subplots()
    return axes


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
        _wrapped(ax)
        return ax
    pyplot = sys.modules.get("matplotlib.pyplot")
    token = MAKER.set(Figure if pyplot is None else pyplot.figure)
    try:
        return figure().axes[0]
    finally:
        MAKER.reset(token)


def legend_below(ax: Axes, handles: Sequence[Artist]) -> None:
    """A legend under the words below the axes, where it hides nothing."""
    _wrapped(ax)
    depth = UNDER_LABEL + LINE * ax.get_xlabel().count("\n")
    below = ax.transAxes + ScaledTranslation(0, -depth, ax.figure.dpi_scale_trans)
    columns = 2 if ax.get_window_extent().width > TWO_COLUMNS * ax.figure.dpi else 1
    place = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": below}
    ax.legend(handles=handles, ncols=columns, frameon=False, **place)


def _wrapped(ax: Axes) -> None:
    """Break a title and the words below that are wider than the axes."""
    width = ax.get_window_extent().width
    for text in (ax._left_title, ax.xaxis.label):  # type: ignore[attr-defined]
        words, wide = text.get_text(), text.get_window_extent().width
        if wide > width and "$" not in words:
            text.set_text(textwrap.fill(words, max(SHORTEST_LINE, int(len(words) * width / wide))))


def _plain(ax: Axes) -> None:
    """What axes have from the caller's settings, as the report has it."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[:].set_color(STYLE["axes.edgecolor"])
    ax.tick_params(labelsize=STYLE["xtick.labelsize"])
    ax.set_facecolor("white")
