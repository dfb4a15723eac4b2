"""Figures of networks and dynamics fitted by PHOENIX: sparsity, pathways, influence, courses."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ...inference.draws.intervals import LEVEL
from .effect_maps import SIGNED
from .style import (
    ACTIVATION,
    CHAINS,
    GREY,
    INK,
    KNOWN,
    PALE,
    new_figure,
    nothing_to_draw,
    shortened,
    styled,
    told_apart,
)

ABREAST = 4  # panels of runs side by side
NAME = 44  # letters of a pathway's name


# -- what pruning buys ----


@styled
def sparsity_and_accuracy(runs: pd.DataFrame, *, published: pd.DataFrame | None = None) -> Figure:
    """Balanced accuracy of networks against sparsity of the model, by method (figure 1 of the DASH paper).

    Parameters
    ----------
    runs
        ``method, sparsity, balanced_accuracy`` (shares), one row for each seed: drawn as mean ± sd.
    published
        ``method, sparsity, sparsity_sd, balanced_accuracy, balanced_accuracy_sd``: drawn hollow.
    """
    figure = new_figure(figsize=(6.6, 4.6), layout="constrained")
    ax = figure.subplots()
    methods = list(dict.fromkeys([*runs["method"], *([] if published is None else published["method"])]))
    if not methods:
        nothing_to_draw(ax, "no runs")
        return figure
    markers = "oosDv^PX*<>"
    for i, method in enumerate(methods):
        colour, marker = CHAINS[i % len(CHAINS)], markers[1 + i // len(CHAINS)]
        mine = runs.loc[runs["method"] == method, ["sparsity", "balanced_accuracy"]].to_numpy(dtype=np.float64)
        if len(mine):
            mean, sd = mine.mean(0), mine.std(0, ddof=1) if len(mine) > 1 else np.zeros(2)
            ax.errorbar(mean[0], mean[1], xerr=sd[0], yerr=sd[1], fmt=marker, ms=8, color=colour, lw=1.2, zorder=4)
        theirs = None if published is None else published[published["method"] == method]
        for row in () if theirs is None else theirs.itertuples():
            ax.errorbar(
                row.sparsity,
                row.balanced_accuracy,
                xerr=row.sparsity_sd,
                yerr=row.balanced_accuracy_sd,
                fmt=marker,
                ms=8,
                mfc="white",
                color=colour,
                lw=0.9,
                alpha=0.8,
                zorder=3,
            )
        ax.plot([], [], marker=marker, ls="", ms=7, color=colour, label=shortened(method, 24))
    ax.axhline(0.5, color=GREY, lw=0.8, ls="--", zorder=0)
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(min(0.48, ax.get_ylim()[0]), 1.0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(xlabel="sparsity of the model (share of weights that are zero)", ylabel="balanced accuracy of the network")
    handles, labels = ax.get_legend_handles_labels()
    if published is not None and len(published):
        handles.append(Line2D([], [], marker="o", ls="", ms=7, mfc="white", color=GREY))
        labels.append("as published")
    figure.legend(handles, labels, loc="outside right center")
    ax.grid(color=PALE, lw=0.6)
    ax.set_axisbelow(True)
    ax.set_title("Sparsity and accuracy: mean ± sd over seeds")
    return figure


# -- pathways ----


@styled
def pathway_scores(tables: Mapping[str, pd.DataFrame], *, top: int = 20, significant: float = 0.05) -> Figure:
    """Influence of pathways by method: z-scores, a star where significant after Bonferroni (figures 3, 7-9 of the DASH
    paper).

    Parameters
    ----------
    tables
        By method, from `pathway_influence`: ``set, z, bonferroni``.
    top
        Pathways with the largest z of each method.
    significant
        Level of the adjusted p-value for a star.
    """
    tables = {name: table.drop_duplicates("set").set_index("set") for name, table in tables.items()}
    chosen: dict[str, None] = {}
    for table in tables.values():
        chosen.update(dict.fromkeys(table["z"].nlargest(top).index))
    if not chosen:
        figure = new_figure(figsize=(6, 1.2))
        nothing_to_draw(figure.add_subplot(), "no pathway was tested")
        return figure
    z = pd.DataFrame({name: table["z"].reindex(list(chosen)) for name, table in tables.items()})
    adjusted = pd.DataFrame({name: table["bonferroni"].reindex(list(chosen)) for name, table in tables.items()})
    values, stars = z.to_numpy(dtype=np.float64), adjusted.to_numpy(dtype=np.float64) < significant
    figure = new_figure(figsize=(4.9 + 0.62 * len(tables), 1.3 + 0.19 * len(z)), layout="constrained")
    ax = figure.subplots()
    limit = max(float(np.nanmax(np.abs(values))), 1e-9)
    colours = SIGNED.with_extremes(bad=PALE)
    image = ax.imshow(values, cmap=colours, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    for row, column in np.argwhere(stars):
        light = "white" if abs(values[row, column]) > 0.55 * limit else INK
        ax.text(column, row + 0.08, "*", ha="center", va="center", color=light, size=11, weight="bold")
    ax.set_yticks(np.arange(len(z)), [shortened(_readable(str(name)), NAME) for name in z.index], size=7.5)
    many = len(tables) > 2
    counts = [int((table["bonferroni"] < significant).sum()) for table in tables.values()]
    names = told_apart(list(tables), 16)
    methods = [f"{name} ({count})" for name, count in zip(names, counts, strict=True)]
    ax.set_xticks(np.arange(len(tables)), methods, rotation=35 if many else 0, ha="right" if many else "center")
    ax.set_xticks(np.arange(len(tables) - 1) + 0.5, minor=True)
    ax.grid(axis="x", which="minor", color="white", lw=2)
    ax.tick_params(length=0, which="both")
    ax.spines[:].set_visible(False)
    figure.suptitle(
        f"Influence of pathways: the top {top} of each method\n* Bonferroni p < {significant:g}; (number of such sets)",
        x=0.01,
        ha="left",
        fontsize=10,
        fontweight="bold",
    )
    bar = figure.colorbar(image, ax=ax, shrink=min(1.0, 12 / len(z)), pad=0.02, label="z-score")
    bar.outline.set_visible(False)  # type: ignore[operator]  # as above
    return figure


def _readable(name: str) -> str:
    """MSigDB's ``REACTOME_CELL_CYCLE`` without the library and in words; those with digits are names of molecules."""
    head, _, rest = name.partition("_")
    known = {"REACTOME", "HALLMARK", "KEGG", "GOBP", "GOMF", "GOCC", "BIOCARTA", "PID", "WP"}
    if not name.isupper():
        return name
    words = (rest if head in known and rest else name).split("_")
    text = " ".join(word if any(c.isdigit() for c in word) else word.lower() for word in words)
    return text[:1].upper() + text[1:]


# -- genes ----


@styled
def influence_bars(influence: pd.DataFrame, *, degrees: pd.DataFrame | None = None, count: int = 25) -> Figure:
    """The most influential genes, and how many targets each has.

    Parameters
    ----------
    influence
        From `influence_table`. Intervals are those over draws, or without draws twice the error from random starts.
    degrees
        From `degree_table`.
    count
        Genes to draw.
    """
    shown = influence.head(count)
    figure = new_figure(
        figsize=(8.2 if degrees is not None else 5.6, 1.3 + 0.2 * max(len(shown), 3)), layout="constrained"
    )
    axes = figure.subplots(1, 1 if degrees is None else 2, sharey=True, squeeze=False)[0]
    if shown.empty:
        nothing_to_draw(axes[0], "no genes")
        return figure
    y = np.arange(len(shown))[::-1]
    _bars(axes[0], shown)
    if degrees is not None:
        row = degrees.set_index("gene").reindex(shown["gene"])
        axes[1].barh(y, row["out_degree"], color=KNOWN, alpha=0.45, height=0.7)
        axes[1].hlines(y, row["out_lower"], row["out_upper"], color=INK, lw=1.2)
        axes[1].set_title(f"Targets (mean of all genes {degrees['out_degree'].mean():.1f})")
        axes[1].set_xlabel("out-degree")
        axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes:
        ax.tick_params(axis="y", length=0)
        ax.set_xlim(left=0)
        ax.grid(axis="x", color=PALE, lw=0.6)
        ax.set_axisbelow(True)
    return figure


@styled
def influence_beside(tables: Mapping[str, pd.DataFrame], *, count: int = 25) -> Figure:
    """The most influential genes of several runs, a panel each, all on one scale.

    Parameters
    ----------
    tables
        By run, from `influence_table`; intervals as in `influence_bars`.
    count
        Genes to draw of each.
    """
    most = max((len(table.head(count)) for table in tables.values()), default=0)
    columns = min(ABREAST, max(len(tables), 1))
    rows = max(1, math.ceil(len(tables) / columns))
    height = 1.0 + 0.2 * max(most, 3)
    figure = new_figure(figsize=(0.4 + 2.6 * columns, 0.3 + height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    if not most:
        nothing_to_draw(axes[0], "no genes")
        return figure
    for ax, table, name in zip(axes, tables.values(), told_apart(list(tables), 26), strict=False):
        _bars(ax, table.head(count))
        ax.set(title=name, xlabel="")
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color=PALE, lw=0.6)
        ax.set_axisbelow(True)
    axes[0].set_xlim(left=0)  # of all, once all are drawn: the scale would end with the first
    for ax in axes[len(tables) :]:
        ax.axis("off")
    drawn = all(bool(table["sd"].notna().all()) for table in tables.values())
    figure.suptitle(
        "Influence, interval over draws" if drawn else "Influence, interval over draws or ± 2 errors of random starts",
        x=0.01,
        ha="left",
        fontsize=10,
        fontweight="bold",
    )
    figure.supxlabel("mean change of other genes' expression", fontsize=9)
    return figure


def _bars(ax: Axes, shown: pd.DataFrame) -> None:
    """Influence of all genes of a table in given axes."""
    y = np.arange(len(shown))[::-1]
    drawn = bool(shown["sd"].notna().all())
    mean, spread = shown["influence"], 2 * shown["error"]
    low, high = (shown["lower"], shown["upper"]) if drawn else ((mean - spread).clip(lower=0), mean + spread)
    ax.barh(y, mean, color=ACTIVATION, alpha=0.45, height=0.7)
    ax.hlines(y, low, high, color=INK, lw=1.2)
    ax.set_title("Influence, interval over draws" if drawn else "Influence ± 2 errors of random starts")
    ax.set_xlabel("mean change of other genes' expression")
    ax.set_yticks(y, [shortened(str(gene)) for gene in shown["gene"]])
    ax.set_ylim(-0.8, len(shown) - 0.2)


@styled
def trajectories(
    times: np.ndarray,
    predicted: np.ndarray,
    genes: Sequence[str],
    *,
    observed_times: np.ndarray | None = None,
    observed: np.ndarray | None = None,
    level: float = LEVEL,
) -> Figure:
    """Courses of genes with posterior bands, against what was measured: a panel for each gene.

    Parameters
    ----------
    times
        ``(time,)`` of the prediction.
    predicted
        ``(draw, time, gene)``; bands are intervals over draws. For intervals of measurements, draws must hold noise.
    genes
        Of the last axis.
    observed_times, observed
        ``(point,)`` and ``(point, gene)``, NaN where missing.
    level
        Of the bands.

    Raises
    ------
    ValueError
        Shapes that do not fit.
    """
    predicted = np.asarray(predicted, dtype=np.float64)
    if predicted.ndim != 3 or predicted.shape[1:] != (len(times), len(genes)):
        raise ValueError(f"`predicted` has shape {predicted.shape}: expected (draw, {len(times)}, {len(genes)})")
    if (observed is None) != (observed_times is None):
        raise ValueError("pass both `observed` and `observed_times`, or neither")
    if observed is not None and observed_times is not None and observed.shape != (len(observed_times), len(genes)):
        raise ValueError(f"`observed` has shape {observed.shape}: expected ({len(observed_times)}, {len(genes)})")
    columns = min(4, max(len(genes), 1))
    rows = max(1, math.ceil(len(genes) / columns))
    figure = new_figure(figsize=(0.6 + 2.15 * columns, 0.7 + 1.75 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    if not len(genes):
        nothing_to_draw(axes[0], "no genes")
        return figure
    tail = (1 - level) / 2
    middle, (lower, upper) = predicted.mean(0), np.quantile(predicted, [tail, 1 - tail], axis=0)
    for g, (ax, gene) in enumerate(zip(axes, genes, strict=False)):
        _course(ax, times, middle[:, g], lower[:, g], upper[:, g])
        if observed is not None:
            ax.scatter(observed_times, observed[:, g], s=16, color=INK, zorder=3)
        ax.set_title(shortened(str(gene)), fontsize=9, pad=4)
    for ax in axes[len(genes) :]:
        ax.axis("off")
    handles = [
        Line2D([], [], color=ACTIVATION, lw=1.6, label="posterior mean"),
        Line2D([], [], color=ACTIVATION, lw=7, alpha=0.25, label=f"{level:.0%} interval"),
    ]
    if observed is not None:
        handles.append(Line2D([], [], color=INK, marker="o", ms=4, ls="", label="measured"))
    figure.supxlabel("time", fontsize=9)
    figure.supylabel("expression", fontsize=9)
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def draw_course(ax: Axes, times: np.ndarray, levels: np.ndarray, gene: str, *, level: float = LEVEL) -> None:
    """The course of one gene, ``levels`` (draw, time), with its band in given axes."""
    tail = (1 - level) / 2
    _course(ax, times, levels.mean(0), *np.quantile(levels, [tail, 1 - tail], axis=0))
    ax.set(xlabel="time", ylabel="expression")
    ax.set_title(f"{shortened(gene)}: mean and {level:.0%} interval")


def _course(ax: Axes, times: np.ndarray, middle: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
    ax.fill_between(times, lower, upper, color=ACTIVATION, alpha=0.25, lw=0)
    ax.plot(times, middle, color=ACTIVATION, lw=1.6)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_locator(MaxNLocator(5))
