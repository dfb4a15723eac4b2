"""The first edges of a table drawn as a network."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
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
    nothing_to_draw,
    shortened,
    styled,
)


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
    names = list(dict.fromkeys([*edges["source"], *edges["target"]]))
    if not names:
        figure = Figure(figsize=(6, 1.2))
        nothing_to_draw(figure.add_subplot(), "no edge to draw")
        return figure
    position = {name: i for i, name in enumerate(names)}
    labels = [shortened(name, 14) for name in names]
    bold = FontProperties(weight="bold", size=8.5)
    widths = [text_to_path.get_text_width_height_descent(label, bold, ismath=False)[0] for label in labels]
    sizes = np.column_stack([np.array(widths) + 11, np.full(len(names), 16.0)])
    source = edges["source"].map(position).to_numpy()
    target = edges["target"].map(position).to_numpy()
    place = layout(sizes, source, target)
    low, high = (place - sizes / 2).min(0), (place + sizes / 2).max(0)
    extent = np.maximum(high - low, [420, 60])
    margin, head, foot = 14, 34, 30
    figure = Figure(figsize=((extent[0] + 2 * margin) / 72, (extent[1] + head + foot + margin) / 72))
    ax = figure.add_axes((0, 0, 1, 1))
    middle = (low[0] + high[0]) / 2
    ax.set_xlim(middle - extent[0] / 2 - margin, middle + extent[0] / 2 + margin)
    ax.set_ylim(low[1] - foot, low[1] + extent[1] + head + margin)
    ax.axis("off")
    boxes = []
    for name, label, centre, size in zip(names, labels, place, sizes, strict=True):
        is_tf = name in tfs
        box = FancyBboxPatch(
            centre - size / 2 + 3,
            size[0] - 6,
            size[1] - 6,
            boxstyle="round,pad=3,rounding_size=5",
            fc=INK if is_tf else "white",
            ec=INK if is_tf else GREY,
            lw=0.9,
            zorder=3,
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
            size=8.5,
            color=colour,
            weight=weight,
            zorder=4,
        )
    strongest = max(edges["weight"].abs().max(), 1e-12)
    pairs = set(zip(source, target, strict=True))
    for s, t, w, p in zip(source, target, edges["weight"], edges["inclusion"], strict=True):
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
                shrinkB=1.5 if w >= 0 else 2.5,
                arrowstyle=style,
                connectionstyle=f"arc3,rad={0.18 if (t, s) in pairs else 0.06}",
                mutation_scale=10,
                color=ACTIVATION if w >= 0 else REPRESSION,
                lw=0.8 + 1.8 * abs(w) / strongest,
                alpha=1.0 if np.isnan(p) else 0.25 + 0.75 * float(np.clip(p, 0, 1)),
                zorder=2,
            )
        )
    kind = "largest" if edges["inclusion"].isna().all() else "most probable"  # of a point estimate
    figure.text(
        margin / 72 / figure.get_figwidth(),
        1 - 20 / 72 / figure.get_figheight(),
        f"The {len(edges)} {kind} edges: {len(set(source))} regulators, {len(names)} genes",
        weight="bold",
        size=10,
    )
    handles = [
        Line2D([], [], color=ACTIVATION, lw=2, marker=">", markersize=5, label="activates"),
        Line2D([], [], color=REPRESSION, lw=2, marker="|", markersize=8, markeredgewidth=2, label="represses"),
        Line2D([], [], color=INK, marker="s", ls="", markersize=7, label="regulator"),
        Line2D(
            [], [], markerfacecolor="white", markeredgecolor=GREY, marker="s", ls="", markersize=7, label="other gene"
        ),
    ]
    figure.legend(handles=handles, loc="lower left", ncols=4, borderaxespad=0.4)
    return figure
