"""The first edges of a table drawn as a network."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import ArrowStyle, FancyArrowPatch, FancyBboxPatch
from matplotlib.textpath import text_to_path

from .layout import layout
from .style import (
    ACTIVATION,
    GREY,
    INK,
    REPRESSION,
    new_figure,
    nothing_to_draw,
    shortened,
    styled,
)

MARGIN, HEAD, FOOT = 14, 34, 30  # points around the network, for the title and for the legend


@styled
def network_picture(edges: pd.DataFrame, *, tfs: Mapping[str, object] | set[str], count: int = 60) -> Figure:
    """The first edges of a table as a network: arrows activate, bars repress, thicker is stronger, paler less certain.

    Parameters
    ----------
    edges
        ``source, target, weight, inclusion``, best first.
    tfs
        Names of the regulators, which are drawn as dark boxes.
    count
        Edges to draw; 60 can still be read.
    """
    edges = edges.head(count)
    if edges.empty:
        figure = new_figure(figsize=(6, 1.2))
        nothing_to_draw(figure.add_subplot(), "no edge to draw")
        return figure
    plan = _Plan.of(edges)
    extent = np.maximum(plan.extent, [420, 60])
    figure = new_figure(figsize=((extent[0] + 2 * MARGIN) / 72, (extent[1] + HEAD + FOOT + MARGIN) / 72))
    ax = figure.add_axes((0, 0, 1, 1))
    middle = (plan.low[0] + plan.high[0]) / 2
    ax.set_xlim(middle - extent[0] / 2 - MARGIN, middle + extent[0] / 2 + MARGIN)
    ax.set_ylim(plan.low[1] - FOOT, plan.low[1] + extent[1] + HEAD + MARGIN)
    ax.axis("off")
    _draw(ax, edges, plan, tfs, 1.0)
    width, height = figure.get_size_inches()
    figure.text(MARGIN / 72 / width, 1 - 20 / 72 / height, _title(edges), weight="bold", size=10)
    figure.legend(handles=_handles(plan, tfs), loc="lower left", ncols=4, borderaxespad=0.4)
    return figure


def draw_network(ax: Axes, edges: pd.DataFrame, *, tfs: Mapping[str, object] | set[str]) -> None:
    """All edges of a table as a network in given axes; names are smaller where the axes are."""
    ax.set_title(_title(edges))
    if edges.empty:
        nothing_to_draw(ax, "no edge to draw")
        return
    plan = _Plan.of(edges)
    corners = ax.get_window_extent()
    points = np.array([corners.width, corners.height]) * 72 / ax.figure.dpi
    unit = (plan.extent + 2 * MARGIN) / points  # of the plan's points, by points of the axes
    scale = 1 / max(float(unit.max()), 1.0)
    middle, half = (plan.low + plan.high) / 2, points / scale / 2
    ax.set(xlim=(middle[0] - half[0], middle[0] + half[0]), ylim=(middle[1] - half[1], middle[1] + half[1]))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    _draw(ax, edges, plan, tfs, scale)
    below = (0.0, -0.02)
    handles = _handles(plan, tfs)
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=below, ncols=2, frameon=False, borderaxespad=0)


class _Plan(NamedTuple):
    """Names in their order, their labels, the positions of sources and targets among them, and of each its place and
    size in points."""

    names: list[str]
    labels: list[str]
    source: np.ndarray
    target: np.ndarray
    place: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, edges: pd.DataFrame) -> "_Plan":
        names = list(dict.fromkeys([*edges["source"], *edges["target"]]))
        position = {name: i for i, name in enumerate(names)}
        labels = [shortened(name, 14) for name in names]
        bold = FontProperties(weight="bold", size=8.5)
        widths = [text_to_path.get_text_width_height_descent(label, bold, ismath=False)[0] for label in labels]
        sizes = np.column_stack([np.array(widths) + 11, np.full(len(names), 16.0)])
        source = edges["source"].map(position).to_numpy()
        target = edges["target"].map(position).to_numpy()
        place = layout(sizes, source, target)
        return cls(names, labels, source, target, place, sizes)

    @property
    def low(self) -> np.ndarray:
        return (self.place - self.sizes / 2).min(0)

    @property
    def high(self) -> np.ndarray:
        return (self.place + self.sizes / 2).max(0)

    @property
    def extent(self) -> np.ndarray:
        return self.high - self.low


def _draw(ax: Axes, edges: pd.DataFrame, plan: _Plan, tfs: Mapping[str, object] | set[str], scale: float) -> None:
    """Boxes and arrows; a point of the plan is ``scale`` points of the picture. Their ids are ``edge`` and the row of
    the table, ``box`` and ``name`` and the place of the gene."""
    source, target, place = plan.source, plan.target, plan.place
    boxes = []
    for i, (name, label) in enumerate(zip(plan.names, plan.labels, strict=True)):
        centre, size = place[i], plan.sizes[i]
        is_tf = name in tfs
        box = FancyBboxPatch(
            centre - size / 2 + 3,
            size[0] - 6,
            size[1] - 6,
            boxstyle="round,pad=3,rounding_size=5",
            fc=INK if is_tf else "white",
            ec=INK if is_tf else GREY,
            lw=0.9 * scale,
            zorder=3,
            gid=f"box{i}",
        )
        boxes.append(ax.add_artist(box))  # not `add_patch`, which measures what the limits, set above, do not ask for
        weight = "bold" if is_tf else "normal"
        colour = "white" if is_tf else INK
        ax.text(
            float(centre[0]),
            float(centre[1]),
            label,
            ha="center",
            va="center_baseline",
            size=8.5 * scale,
            color=colour,
            weight=weight,
            zorder=4,
            gid=f"name{i}",
        )
    strongest = max(edges["weight"].abs().max(), 1e-12)
    pairs = set(zip(source, target, strict=True))
    for i, (w, p) in enumerate(zip(edges["weight"], edges["inclusion"], strict=True)):
        s, t = source[i], target[i]
        style = (
            ArrowStyle("-|>", head_length=0.55, head_width=0.28) if w >= 0 else ArrowStyle("-[", widthB=0.42, lengthB=0)
        )
        ax.add_artist(
            FancyArrowPatch(
                place[s],
                place[t],
                patchA=boxes[s],
                patchB=boxes[t],
                shrinkA=0,
                shrinkB=(1.5 if w >= 0 else 2.5) * scale,
                arrowstyle=style,
                connectionstyle=f"arc3,rad={0.18 if (t, s) in pairs else 0.06}",
                mutation_scale=10 * scale,
                color=ACTIVATION if w >= 0 else REPRESSION,
                lw=(0.8 + 1.8 * abs(w) / strongest) * scale,
                alpha=1.0 if np.isnan(p) else 0.25 + 0.75 * float(np.clip(p, 0, 1)),
                zorder=2,
                gid=f"edge{i}",
            )
        )


def _title(edges: pd.DataFrame) -> str:
    kind = "largest" if edges["inclusion"].isna().all() else "most probable"  # of a point estimate
    genes = {*edges["source"], *edges["target"]}
    return f"The {len(edges)} {kind} edges: {edges['source'].nunique()} regulators, {len(genes)} genes"


def _handles(plan: _Plan, tfs: Mapping[str, object] | set[str]) -> list[Line2D]:
    """Of what is drawn."""
    other = Line2D([], [], marker="s", ls="", markersize=7, label="other gene")
    other.set(markerfacecolor="white", markeredgecolor=GREY)
    handles = [
        Line2D([], [], color=ACTIVATION, lw=2, marker=">", markersize=5, label="activates"),
        Line2D([], [], color=REPRESSION, lw=2, marker="|", markersize=8, markeredgewidth=2, label="represses"),
        Line2D([], [], color=INK, marker="s", ls="", markersize=7, label="regulator"),
    ]
    return handles if all(name in tfs for name in plan.names) else [*handles, other]
