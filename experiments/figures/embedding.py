"""Scores of a program over the cells of an embedding."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure

from .style import ACTIVATION, MAX_POINTS, REPRESSION, new_figure, shortened, styled

DIVERGING = LinearSegmentedColormap.from_list("score", [REPRESSION, "#eceff1", ACTIVATION])


@styled
def embedded_scores(place: np.ndarray, score: np.ndarray, *, name: str, axes: str = "UMAP") -> Figure:
    """Cells in two dimensions, coloured by their score.

    Parameters
    ----------
    place
        ``(cell, 2)``.
    score
        ``(cell,)``; NaN are not drawn.
    name, axes
        Of the program and of the embedding.
    """
    figure = new_figure(figsize=(5.6, 4.6), layout="constrained")
    draw_embedded(figure.subplots(), place, score, name=name, axes=axes)
    return figure


def draw_embedded(ax: Axes, place: np.ndarray, score: np.ndarray, *, name: str, axes: str = "UMAP") -> None:
    """`embedded_scores` in given axes, with a bar of the colours beside them."""
    order = np.random.default_rng(0).permutation(len(score))[:MAX_POINTS]  # no group lies on top of the others
    order = order[np.isfinite(score[order])]
    x, y, value = place[order, 0], place[order, 1], score[order]
    limit = float(np.quantile(np.abs(value), 0.99)) if len(value) else 1.0
    few = len(value) < 2000
    points = ax.scatter(
        x,
        y,
        c=value,
        s=14 if few else 4,
        cmap=DIVERGING,
        norm=TwoSlopeNorm(0, -(limit or 1.0), limit or 1.0),
        linewidths=0,
        rasterized=not few,
    )
    ax.set(xlabel=f"{axes} 1", ylabel=f"{axes} 2", xticks=[], yticks=[])
    ax.set_title(shortened(name, 40))
    ax.figure.colorbar(points, ax=ax, label="score (posterior mean)", shrink=0.7)
