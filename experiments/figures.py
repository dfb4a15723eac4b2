"""Figures of a posterior: each function draws plain tables and arrays and returns a ``matplotlib.figure.Figure``.

No pyplot and no global state: a figure that is not kept is gone. Backgrounds are white, so that figures can be read on
a dark page and printed. Colours are those of Okabe & Ito, distinguishable with any colour vision.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import ArrowStyle, FancyArrowPatch, FancyBboxPatch
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..inference.draws.intervals import LEVEL
from .network_layout import layout
from .scores import expected_calibration_error, reliability_table

ACTIVATION, REPRESSION = "#0072B2", "#D55E00"
INK, GREY, PALE = "#1f2933", "#7b8794", "#e4e7eb"
KNOWN = "#009E73"  # prior knowledge, and the truth
CHAINS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#000000")
MAX_POINTS = 50_000  # of a scatter plot: more cannot be seen, and take long
WEIGHT_LABEL = "weight (sd of target per sd of regulator)"
STYLE = {
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 8.0,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "none",
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under `STYLE`, whatever the settings of the caller, which stay as they were."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            return draw(*args, **kwargs)

    return wrapper


def sign_colours(weight: np.ndarray) -> list[str]:
    """Blue for activation, vermilion for repression."""
    return [ACTIVATION if w >= 0 else REPRESSION for w in weight]


def edge_label(source: str, target: str, weight: float) -> str:
    """``A → B`` for activation, ``A ⊣ B`` for repression."""
    return f"{shortened(source)} {'→' if weight >= 0 else '⊣'} {shortened(target)}"


def shortened(name: str, limit: int = 18) -> str:
    """A name that fits a label; ``$`` would start mathematics."""
    name = name if len(name) <= limit else name[: limit - 1] + "…"
    return name.replace("$", r"\$")


def nothing_to_draw(ax: Axes, text: str) -> None:
    """Say in the axes why there is nothing to draw."""
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color=GREY)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _sign_handles() -> list[Line2D]:
    return [
        Line2D([], [], color=ACTIVATION, marker="o", markersize=4, lw=1.8, label="activates"),
        Line2D([], [], color=REPRESSION, marker="o", markersize=4, lw=1.8, label="represses"),
    ]


# -- edges -------------------------------------------------------------------------------------------------------------


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
    left.set_title(f"The {len(edges)} most probable edges: posterior mean and {level:.0%} interval")
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
    widths = [
        TextPath((0, 0), label, size=8.5, prop=FontProperties(weight="bold")).get_extents().width for label in labels
    ]
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
        boxes.append(ax.add_patch(box))
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
        ax.add_patch(
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
                alpha=0.25 + 0.75 * float(np.clip(p, 0, 1)),
                zorder=2,
            )
        )
    figure.text(
        margin / 72 / figure.get_figwidth(),
        1 - 20 / 72 / figure.get_figheight(),
        f"The {len(edges)} most probable edges: {len(set(source))} regulators, {len(names)} genes",
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


# -- prior knowledge ---------------------------------------------------------------------------------------------------


def _log_odds(coefficient: Any) -> Any:
    """What a source with that trust adds to the log-odds of an edge that it lists with confidence 0.9."""
    return 0.9 * coefficient


def _coefficient(log_odds: Any) -> Any:
    return log_odds / 0.9


@styled
def trust_in_sources(trust: pd.DataFrame, *, prior: tuple[float, float], odds: bool, level: float = LEVEL) -> Figure:
    """How far the data trust each source of prior knowledge, before (grey band) and after the data.

    Parameters
    ----------
    trust
        `Posterior.trust`: ``source, mean, lower, upper``.
    prior
        Interval of the coefficient before the data.
    odds
        Add an axis with the factor on the odds of an edge that a source lists with confidence 0.9.
    level
        Of all intervals.
    """
    figure = Figure(figsize=(8.2, 1.75 + 0.36 * max(len(trust), 1)), layout="constrained")
    ax = figure.subplots()
    ax.set_title(f"Trust in each source of prior knowledge: mean and {level:.0%} interval")
    if trust.empty:
        nothing_to_draw(ax, "no source of prior knowledge has a trust coefficient in this fit")
        return figure
    y = np.arange(len(trust))[::-1]
    ax.axvspan(*prior, color=PALE, zorder=0, label="before the data")
    ax.hlines(y, trust["lower"], trust["upper"], color=KNOWN, lw=3, alpha=0.6)
    ax.scatter(trust["mean"], y, c=KNOWN, s=34, zorder=3, label="after the data")
    ax.set_yticks(y, [shortened(name, 28) for name in trust["source"]])
    ax.set_ylim(-0.7, len(trust) - 0.3)
    ax.set_xlim(0, 1.06 * max(prior[1], trust["upper"].max()))
    ax.set_xlabel("trust coefficient b  (0: the data ignore this source)")
    ax.tick_params(axis="y", length=0)
    if odds:
        top = ax.secondary_xaxis("top", functions=(_log_odds, _coefficient))
        largest = 0.9 * ax.get_xlim()[1] / np.log(10)
        powers = np.log([1, 2, 5] if largest < 1.5 else [1, 3, 10, 30, 100, 300, 1000, 3000, 10000])
        top.set_xticks(powers, [f"×{np.exp(v):.0f}" for v in powers])
        top.set_xlabel("odds of an edge the source lists (confidence 0.9)", fontsize=8.5)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


# -- how the fit went --------------------------------------------------------------------------------------------------


@styled
def fit_trace(value: np.ndarray, steps: np.ndarray, *, kind: str, runs: str) -> Figure:
    """The course of a fit: all of it, and its second half enlarged.

    Parameters
    ----------
    value
        (run, record): the ELBO of each restart, or the log-likelihood of each chain.
    steps
        (record,) step or sweep of each record.
    kind, runs
        What the value and the runs are called.
    """
    figure = Figure(figsize=(8.8, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    usable = value.size > 0 and bool(np.isfinite(value).any())
    for ax, part, title in ((left, slice(None), "Whole run"), (right, slice(len(steps) // 2, None), "Second half")):
        if not usable:
            nothing_to_draw(ax, f"no {kind} was recorded" if ax is left else "")
            continue
        for run, course in enumerate(value):
            colour = CHAINS[run % len(CHAINS)]
            ax.plot(steps[part], course[part], color=colour, lw=0.9, alpha=0.85, label=f"{runs} {run + 1}")
        ax.set_title(f"{title}: {kind} by {runs}")
        ax.set_xlabel("sweep" if runs == "chain" else "step")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.ticklabel_format(axis="y", style="plain", useOffset=False)
        ax.yaxis.set_major_formatter(lambda v, _: f"{v:,.0f}" if abs(v) >= 100 else f"{v:g}")
    if usable:
        left.set_ylabel(kind)
        early = value[:, : max(1, value.shape[1] // 20)]
        finite = value[np.isfinite(value)]
        low, high = np.quantile(finite, 0.01), finite.max()
        if early.size and np.nanmin(early) < low - 3 * (high - low):  # the first steps would flatten everything else
            left.set_ylim(low - 0.6 * (high - low), high + 0.15 * (high - low))
        if len(value) > 1:
            figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=8)
    return figure


# -- calibration -------------------------------------------------------------------------------------------------------


def pit(observed: np.ndarray, predictive: np.ndarray) -> np.ndarray:
    """(n,) place of each observation among its (draws, n) predictive draws: uniform in (0, 1) where the model is right.

    Ties, as zeros of counts have, are broken at random with a fixed seed.
    """
    below, equal = np.zeros(len(observed)), np.zeros(len(observed))
    for draw in predictive:
        below += draw < observed
        equal += draw == observed
    uniform = np.random.default_rng(0).random(len(observed))
    return (below + uniform * (equal + 1)) / (len(predictive) + 1)


@styled
def predictive_check(observed: np.ndarray, predictive: np.ndarray) -> Figure:
    """Posterior predictive check: how often intervals hold the observations, and where the observations lie in them.

    Parameters
    ----------
    observed
        (n,) values.
    predictive
        (draws, n) posterior predictive draws of the same.
    """
    observed = np.asarray(observed, dtype=np.float64).ravel()
    predictive = np.asarray(predictive, dtype=np.float64).reshape(-1, observed.size)
    place = pit(observed, predictive)
    levels = np.arange(1, 10) / 10
    inside = np.array([np.mean(np.abs(place - 0.5) <= level / 2) for level in levels])
    figure = Figure(figsize=(8.8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.35])
    left.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (4, 2)), label="perfect")
    left.plot(levels, inside, color=ACTIVATION, marker="o", markersize=5, lw=1.4, label="this fit")
    left.set(
        xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="probability of the interval", ylabel="observations inside"
    )
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    left.legend(loc="upper left")
    left.set_title(f"90% intervals hold {inside[-1]:.1%}")
    bins = 20
    count, edge = np.histogram(place, bins=np.linspace(0, 1, bins + 1))
    right.bar(edge[:-1], count / len(place) * bins, width=0.92 / bins, align="edge", color="#9aa5b1")
    error = 1.96 * np.sqrt((bins - 1) / len(place))
    right.axhspan(1 - error, 1 + error, color=ACTIVATION, alpha=0.2, lw=0, label="95% band where the model is right")
    right.axhline(1, color=ACTIVATION, lw=1)
    right.set(xlim=(0, 1), xlabel="place of the observation in its predictive distribution", ylabel="density")
    right.set_ylim(0, max(2.0, 1.25 * count.max() / len(place) * bins))
    right.legend(loc="upper right")
    right.set_title(f"Where {len(place):,} observations lie")
    return figure


@styled
def reliability_diagram(probability: np.ndarray, true: np.ndarray) -> Figure:
    """Stated probability of an edge against the share of true edges among those so rated.

    Parameters
    ----------
    probability, true
        (pair,) stated probability in [0, 1], and whether the edge exists.
    """
    table = reliability_table(probability, true, num_bins=10)
    figure = Figure(figsize=(5.6, 5.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=[3.2, 1], sharex=True)
    top.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (4, 2)), label="perfect")
    x, error = table["probability"], 2 * table["standard_error"]
    low, high = (x - error).clip(lower=0), (x + error).clip(upper=1)
    top.vlines(x, low, high, color="#c5ced6", lw=7, label="95% of calibrated fits")
    size = 18 + 22 * np.log10(table["count"])
    top.scatter(x, table["observed"], s=size, c=KNOWN, zorder=3, label="this fit (larger: more pairs)")
    top.set(ylim=(-0.04, 1.04), ylabel="share of true edges")
    figure.legend(loc="outside lower center", ncols=3)
    top.set_title(
        f"Reliability against the known network: calibration error {expected_calibration_error(probability, true):.3f}"
    )
    bottom.bar(table["lower"] + 0.05, table["count"], width=0.092, color="#9aa5b1")
    bottom.set_yscale("log")
    bottom.set(xlim=(-0.02, 1.02), xlabel="P(edge exists), as stated", ylabel="pairs (log)")
    return figure
