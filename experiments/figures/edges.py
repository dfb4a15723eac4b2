"""Figures of edges and of the regulators they leave from."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from ...inference.calibration import expected_list
from ...inference.draws.intervals import LEVEL
from .style import (
    ACTIVATION,
    GREY,
    INK,
    KNOWN,
    PALE,
    REPRESSION,
    WEIGHT_UNIT,
    counted_in_powers,
    edge_label,
    new_figure,
    nothing_to_draw,
    shortened,
    sign_colours,
    styled,
)

RATES = (0.05, 0.10)  # of lists whose ends are marked
MOST_EDGES = 20_000  # of probability against strength
CERTAIN = 0.99  # of all edges drawn, above which bars of their probabilities would all look alike


def _sign_handles() -> list[Line2D]:
    return [
        Line2D([], [], color=ACTIVATION, marker="o", markersize=4, lw=1.8, label="activates"),
        Line2D([], [], color=REPRESSION, marker="o", markersize=4, lw=1.8, label="represses"),
    ]


@styled
def edge_forest(edges: pd.DataFrame, *, level: float = LEVEL, count: int = 30, unit: str = WEIGHT_UNIT) -> Figure:
    """Posterior mean and interval of the first edges of a table, with the probability that each exists beside.

    Parameters
    ----------
    edges
        `Posterior.edges`: ``source, target, weight, lower, upper, inclusion, prior``, best first.
    level
        Of the intervals, for the title.
    count
        Edges to draw.
    unit
        Of the weights, `Model.weight_unit`.
    """
    edges = edges.head(count)
    known = bool(edges["inclusion"].notna().any())  # not of a point estimate
    certain = all_certain(edges)
    height = 1.5 + 0.215 * max(len(edges), 3)
    if certain or not known or edges.empty:
        figure = new_figure(figsize=(5.2, height), layout="constrained")
        ax = figure.subplots()
        handles = draw_edges(ax, edges, level=level, unit=unit)
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=3)
        return figure
    figure = new_figure(figsize=(6.0, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2.8, 1], sharey=True)
    handles = draw_edges(left, edges, level=level, unit=unit)
    y, colours = np.arange(len(edges))[::-1], sign_colours(edges["weight"].to_numpy())
    right.barh(y, edges["inclusion"], color=PALE, height=0.72)
    right.scatter(edges["inclusion"], y, c=colours, s=12)
    right.set_xlim(0, 1.04)
    right.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.set_xlabel("P(edge exists)")
    right.tick_params(axis="y", length=0, labelleft=False)
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def all_certain(edges: pd.DataFrame) -> bool:
    """Whether every edge of a table is so probable that bars of the probabilities would say nothing."""
    return len(edges) > 0 and bool((edges["inclusion"] >= CERTAIN).all())


def draw_edges(ax: Axes, edges: pd.DataFrame, *, level: float = LEVEL, unit: str = WEIGHT_UNIT) -> list[Line2D]:
    """Posterior means and intervals of all edges of a table in given axes; returns what a legend explains.

    The title says so where every edge is all but certain (`CERTAIN`), which bars of the probabilities would not show.
    """
    known = bool(edges["inclusion"].notna().any())
    title = f"The {len(edges)} most probable edges: mean and {level:.0%} interval"
    if all_certain(edges):
        title = f"{len(edges)} edges above {CERTAIN:.0%}: mean and {level:.0%} interval"
    ax.set_title(title if known or edges.empty else f"The {len(edges)} largest effects: a point estimate")
    if edges.empty:
        nothing_to_draw(ax, "the table holds no edge")
        return []
    y = np.arange(len(edges))[::-1]
    colours = sign_colours(edges["weight"].to_numpy())
    ax.hlines(y, edges["lower"], edges["upper"], colors=colours, lw=2.2, alpha=0.55)
    ax.scatter(edges["weight"], y, c=colours, s=24, zorder=3)
    ax.axvline(0, color=GREY, lw=0.8, zorder=0)
    rows = edges[["source", "target", "weight"]].itertuples(index=False)
    ax.set_yticks(y, [edge_label(*row) for row in rows])
    ax.set_ylim(-0.8, len(edges) - 0.2)
    ax.set_xlabel(f"weight ({unit})")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=PALE, lw=0.6)
    ax.set_axisbelow(True)
    listed = edges["prior"].to_numpy() > 0
    handles = _sign_handles()
    if listed.any():
        edge = ax.get_yaxis_transform()
        ax.scatter(np.full(listed.sum(), 0.985), y[listed], marker="D", s=14, c=KNOWN, transform=edge)
        ax.margins(x=0.09)  # room for the diamonds
        handles.append(Line2D([], [], color=KNOWN, marker="D", markersize=4, ls="", label="listed by a prior source"))
    return handles


@styled
def inclusion_overview(
    inclusion: np.ndarray,
    weight: np.ndarray,
    *,
    threshold: float | None = None,
    rates: Sequence[float] = RATES,
    unit: str = WEIGHT_UNIT,
) -> Figure:
    """How sure the posterior is of all edges: distribution of their probability, and probability against strength.

    Parameters
    ----------
    inclusion, weight
        (edge,) of all edges that may exist.
    threshold
        δ where inclusion means P(|weight| > δ).
    rates
        Of the lists whose ends are marked; none where no list is made.
    unit
        Of the weights, `Model.weight_unit`.
    """
    figure = new_figure(figsize=(8.8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_probabilities(left, inclusion, threshold=threshold, rates=rates)
    _strengths(right, inclusion, weight, _probability_label(threshold), unit)
    return figure


def _probability_label(threshold: float | None) -> str:
    return "P(edge exists)" if threshold is None else f"P(|weight| > {threshold:g})"


def draw_probabilities(
    ax: Axes, inclusion: np.ndarray, *, threshold: float | None = None, rates: Sequence[float] = RATES
) -> None:
    """Distribution of the probabilities of all edges in given axes, and where lists at ``rates`` end."""
    count, bins = np.histogram(inclusion, bins=np.linspace(0, 1, 26))
    ax.bar(bins[:-1], count, width=np.diff(bins) * 0.92, align="edge", color="#9aa5b1")
    counted_in_powers(ax)
    ax.set_ylim(0.7, max(count.max() * 6, 10))
    ax.set(xlabel=_probability_label(threshold), ylabel="edges (log scale)")
    ax.set_title(f"{inclusion.sum():,.0f} of {len(inclusion):,} edges expected to exist")
    for rate, style in zip(rates, ("-", (0, (4, 2))), strict=False):
        found = expected_list(inclusion.astype(np.float64), rate)
        if len(found):
            label = f"{len(found):,} edges at {rate:.0%} expected FDR"
            ax.axvline(inclusion[found].min(), color=INK, lw=1.1, ls=style, label=label)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper center")


def _strengths(ax: Axes, inclusion: np.ndarray, weight: np.ndarray, what: str, unit: str) -> None:
    if len(weight) > MOST_EDGES:
        best = np.argpartition(inclusion, -MOST_EDGES)[-MOST_EDGES:]
        inclusion, weight = inclusion[best], weight[best]
    colours = np.array([to_rgba(REPRESSION), to_rgba(ACTIVATION)])[(weight >= 0).astype(int)]
    few = len(weight) < 2000
    ax.scatter(np.abs(weight), inclusion, c=colours, s=14 if few else 4, alpha=0.6, linewidths=0, rasterized=not few)
    ax.set(xlabel=f"|weight| ({unit})", ylabel=what, ylim=(-0.03, 1.05), xlim=(0, None))
    ax.set_title(f"The {len(weight):,} most probable edges" if len(weight) == MOST_EDGES else "All edges by strength")
    ax.legend(handles=_sign_handles(), loc="lower right")


def discoveries(inclusion: np.ndarray, rate: float) -> int:
    """Size of the largest set of most probable edges whose expected false discovery rate is at most ``rate``."""
    return len(expected_list(inclusion.astype(np.float64), rate))


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
    figure = new_figure(figsize=(5.2, 1.2 + 0.2 * max(len(shown), 3)), layout="constrained")
    draw_degrees(figure.subplots(), shown, len(degrees), level=level)
    return figure


def draw_degrees(ax: Axes, shown: pd.DataFrame, among: int, *, level: float = LEVEL) -> None:
    """Expected numbers of targets of the regulators of a table in given axes; ``among`` regulators there are."""
    which = "" if len(shown) == among else f" ({len(shown)} of {among} regulators)"
    ax.set_title(f"Expected targets, {level:.0%} interval{which}")
    if shown.empty:
        nothing_to_draw(ax, "no regulators")
        return
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
