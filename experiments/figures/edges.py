"""Figures of edges and of the regulators they leave from."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from ...inference.draws.intervals import LEVEL
from .style import (
    ACTIVATION,
    GREY,
    INK,
    KNOWN,
    MAX_POINTS,
    PALE,
    REPRESSION,
    WEIGHT_LABEL,
    edge_label,
    nothing_to_draw,
    shortened,
    sign_colours,
    styled,
)


def _sign_handles() -> list[Line2D]:
    return [
        Line2D([], [], color=ACTIVATION, marker="o", markersize=4, lw=1.8, label="activates"),
        Line2D([], [], color=REPRESSION, marker="o", markersize=4, lw=1.8, label="represses"),
    ]


@styled
def edge_forest(edges: pd.DataFrame, *, level: float = LEVEL, count: int = 30) -> Figure:
    """Posterior mean and interval of the first edges of a table, with the probability that each exists beside.

    Parameters
    ----------
    edges
        `Posterior.edges`: ``source, target, weight, lower, upper, inclusion, prior``, best first.
    level
        Of the intervals, for the title.
    count
        Edges to draw.
    """
    edges = edges.head(count)
    figure = Figure(figsize=(8.2, 1.5 + 0.215 * max(len(edges), 3)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3.2, 1], sharey=True)
    known = bool(edges["inclusion"].notna().any())  # not of a point estimate
    title = f"The {len(edges)} most probable edges: posterior mean and {level:.0%} interval"
    left.set_title(title if known or edges.empty else f"The {len(edges)} largest effects: a point estimate")
    if edges.empty:
        nothing_to_draw(left, "the table holds no edge")
        nothing_to_draw(right, "")
        return figure
    y = np.arange(len(edges))[::-1]
    colours = sign_colours(edges["weight"].to_numpy())
    left.hlines(y, edges["lower"], edges["upper"], colors=colours, lw=2.2, alpha=0.55)
    left.scatter(edges["weight"], y, c=colours, s=24, zorder=3)
    left.axvline(0, color=GREY, lw=0.8, zorder=0)
    rows = edges[["source", "target", "weight"]].itertuples(index=False)
    left.set_yticks(y, [edge_label(*row) for row in rows])
    left.set_ylim(-0.8, len(edges) - 0.2)
    left.set_xlabel(WEIGHT_LABEL)
    left.tick_params(axis="y", length=0)
    left.grid(axis="x", color=PALE, lw=0.6)
    left.set_axisbelow(True)
    listed = edges["prior"].to_numpy() > 0
    handles = _sign_handles()
    if listed.any():
        edge = left.get_yaxis_transform()
        left.scatter(np.full(listed.sum(), 1.01), y[listed], marker="D", s=14, c=KNOWN, transform=edge, clip_on=False)
        handles.append(Line2D([], [], color=KNOWN, marker="D", markersize=4, ls="", label="listed by a prior source"))
    if not known:
        nothing_to_draw(right, "no probabilities")
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        return figure
    right.barh(y, edges["inclusion"], color=PALE, height=0.72)
    right.scatter(edges["inclusion"], y, c=colours, s=12)
    right.set_xlim(0, 1.04)
    right.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.set_xlabel("P(edge exists)")
    right.tick_params(axis="y", length=0, labelleft=False)
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


@styled
def inclusion_overview(inclusion: np.ndarray, weight: np.ndarray, *, threshold: float | None = None) -> Figure:
    """How sure the posterior is of all edges: distribution of their probability, and probability against strength.

    Parameters
    ----------
    inclusion, weight
        (edge,) of all edges that may exist.
    threshold
        δ where inclusion means P(|weight| > δ).
    """
    figure = Figure(figsize=(8.8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    what = "P(edge exists)" if threshold is None else f"P(|weight| > {threshold:g})"
    count, bins = np.histogram(inclusion, bins=np.linspace(0, 1, 26))
    left.bar(bins[:-1], count, width=np.diff(bins) * 0.92, align="edge", color="#9aa5b1")
    left.set_yscale("log")
    left.set_ylim(0.7, max(count.max() * 6, 10))
    left.set(xlabel=what, ylabel="edges (log scale)")
    left.set_title(f"{inclusion.sum():,.0f} of {len(inclusion):,} edges expected to exist")
    for rate, style in ((0.05, "-"), (0.10, (0, (4, 2)))):
        found = discoveries(inclusion, rate)
        if found:
            cut = np.sort(inclusion)[-found]
            left.axvline(cut, color=INK, lw=1.1, ls=style, label=f"{found:,} edges at {rate:.0%} expected FDR")
    if left.get_legend_handles_labels()[0]:
        left.legend(loc="upper center")
    if len(weight) > MAX_POINTS:
        best = np.argpartition(inclusion, -MAX_POINTS)[-MAX_POINTS:]
        inclusion, weight = inclusion[best], weight[best]
    colours = np.where(weight >= 0, ACTIVATION, REPRESSION)
    few = len(weight) < 2000
    right.scatter(np.abs(weight), inclusion, c=colours, s=14 if few else 4, alpha=0.6, linewidths=0, rasterized=not few)
    right.set(xlabel="|weight| (sd of target per sd of regulator)", ylabel=what, ylim=(-0.03, 1.05), xlim=(0, None))
    right.set_title(
        f"The {len(weight):,} most probable edges" if len(weight) == MAX_POINTS else "All edges by strength"
    )
    right.legend(handles=_sign_handles(), loc="lower right")
    return figure


def discoveries(inclusion: np.ndarray, rate: float) -> int:
    """Size of the largest set of most probable edges whose expected false discovery rate is at most ``rate``."""
    ordered = np.sort(inclusion.astype(np.float64))[::-1]
    expected = np.cumsum(1 - ordered) / np.arange(1, len(ordered) + 1)
    return int(np.searchsorted(expected, rate, side="right"))


@styled
def out_degrees(degrees: pd.DataFrame, *, level: float = LEVEL, count: int = 25) -> Figure:
    """Expected number of targets of the busiest regulators, with its posterior interval.

    Parameters
    ----------
    degrees
        ``source, mean, lower, upper``: mean is the sum of the inclusion probabilities of a regulator's edges.
    level
        Of the intervals, for the title.
    count
        Regulators to draw.
    """
    shown = degrees.sort_values("mean", ascending=False).head(count)
    figure = Figure(figsize=(8.2, 1.2 + 0.2 * max(len(shown), 3)), layout="constrained")
    ax = figure.subplots()
    ax.set_title(f"Expected number of targets, {level:.0%} interval: {len(shown)} of {len(degrees)} regulators")
    if shown.empty:
        nothing_to_draw(ax, "no regulators")
        return figure
    y = np.arange(len(shown))[::-1]
    ax.hlines(y, shown["lower"], shown["upper"], color=INK, lw=2.2, alpha=0.4)
    ax.scatter(shown["mean"], y, c=INK, s=22, zorder=3)
    ax.set_yticks(y, [shortened(name) for name in shown["source"]])
    ax.set_ylim(-0.8, len(shown) - 0.2)
    ax.set_xlim(left=0)
    ax.set_xlabel("targets (genes regulated)")
    ax.grid(axis="x", color=PALE, lw=0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_axisbelow(True)
    return figure
