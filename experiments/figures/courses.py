"""Figures of networks and dynamics fitted by PHOENIX: effects, coregulation, sparsity, pathways, influence, courses."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, FuncNorm, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from ...inference.draws.intervals import LEVEL
from ...inference.neural_ode.degrees import coregulation
from ..scores import balanced_accuracy
from .style import (
    ACTIVATION,
    CHAINS,
    GREY,
    INK,
    KNOWN,
    PALE,
    REPRESSION,
    new_figure,
    nothing_to_draw,
    shortened,
    styled,
)

SIGNED = LinearSegmentedColormap.from_list("effects", [REPRESSION, "white", ACTIVATION])
STRENGTH = LinearSegmentedColormap.from_list("strength", ["white", "#56B4E9", "#0072B2", "#04243d"])
CELLS = 200  # a side of a heat map: a cell is then larger than a pixel
MAX_CLUSTERED = 2500  # genes ordered by clustering, whose memory is quadratic
COLUMNS = 3  # heat maps or courses side by side
NAME = 44  # letters of a pathway's name


# -- matrices ----


def pooled(matrix: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """A matrix of at most ``cells`` by ``cells``: each block shows its entry of largest size, so that single entries of
    a sparse matrix do not fade as they would in a mean."""
    block = [-(-n // cells) for n in matrix.shape]
    padded = np.zeros([-(-n // b) * b for n, b in zip(matrix.shape, block, strict=True)])
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    parts = padded.reshape(padded.shape[0] // block[0], block[0], padded.shape[1] // block[1], block[1])
    high, low = parts.max((1, 3)), parts.min((1, 3))
    return np.where(high >= -low, high, low)


def effect_order(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orders of sources and targets in which a network looks like a staircase: sources by their number of targets, each
    followed by the targets it acts on most."""
    size = np.abs(effects).astype(np.float64)
    np.fill_diagonal(size, 0)
    degree, strength = (size > 0).sum(1), size.sum(1)
    sources = np.lexsort((-strength, -degree))
    place = np.empty(len(sources), dtype=int)
    place[sources] = np.arange(len(sources))
    best = size.max(0)
    first = size >= 0.999 * best  # of several that are equal, as in a true network, the one with most targets
    leader = np.where(best > 0, np.where(first, place[:, None], len(place)).min(0), len(place))
    return sources, np.lexsort((-best, leader))


def similar_order(similarity: np.ndarray) -> np.ndarray:
    """Genes so that similar ones stand together (average linkage of cosines); those similar to none at the end."""
    own = np.sqrt(np.diag(similarity))
    ranked = np.argsort(-own, kind="stable")
    chosen = np.sort(ranked[: min(MAX_CLUSTERED, int((own > 0).sum()))])
    rest = ranked[~np.isin(ranked, chosen)]
    if len(chosen) < 3:
        return np.concatenate([chosen, rest])
    distance = 1 - similarity[np.ix_(chosen, chosen)] / np.outer(own[chosen], own[chosen])
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance.clip(0), checks=False), method="average")
    return np.concatenate([chosen[leaves_list(tree)], rest])


@styled
def effect_heat_maps(effects: Mapping[str, np.ndarray], *, truth: np.ndarray | None = None) -> Figure:
    r"""Estimated effects of every gene on every other beside the truth (figures 4 and 5 of the DASH paper).

    All panels have the same order of genes (that of the truth, else of the mean size of the estimates) and the same
    colours, whose scale is a square root so that weak effects show; a line ends the sources of the truth. The truth is
    scaled as :math:`\tilde D` is: sizes of the effects on a target add up to 1.

    Parameters
    ----------
    effects
        By method, ``(source, target)``; the diagonal is not drawn.
    truth
        ``(source, target)`` signs or weights, 0 where there is no edge.

    Raises
    ------
    ValueError
        No matrix; shapes that differ.
    """
    panels = _panels(effects, truth)
    if truth is not None:
        total = np.abs(panels["truth"]).sum(0)
        panels["truth"] = np.divide(panels["truth"], total, out=panels["truth"], where=total > 0)
    leading = panels["truth"] if truth is not None else _mean_size(panels)
    rows, columns = effect_order(leading)
    drawn = {name: pooled(matrix[np.ix_(rows, columns)]) for name, matrix in panels.items()}
    limit = max(_limit(drawn[name]) for name in effects) or 1.0
    norm = FuncNorm((lambda v: np.sign(v) * np.sqrt(np.abs(v)), lambda v: np.sign(v) * v**2), vmin=-limit, vmax=limit)
    titles = {name: _title(name, matrix, panels.get("truth")) for name, matrix in panels.items()}
    figure = _heat_maps(drawn, titles, SIGNED, norm, ("target gene", "source gene"), "effect on the target's rate")
    if truth is not None:
        _mark(figure, len(drawn), (leading != 0).any(1).mean(), None)
    return figure


@styled
def coregulation_heat_maps(effects: Mapping[str, np.ndarray], *, truth: np.ndarray | None = None) -> Figure:
    """Which genes act on the same targets, beside the truth (figures 2 and 6 of the DASH paper).

    `coregulation` as a cosine, of effects without their diagonal; genes that are similar in the truth (else in the
    mean of the estimates) stand together, in the same order everywhere; lines end the regulators of the truth. Genes
    that regulate nothing in any panel are left out.

    Parameters
    ----------
    effects, truth
        As of `effect_heat_maps`.

    Raises
    ------
    ValueError
        No matrix; shapes that differ.
    """
    panels = _panels(effects, truth)
    shared = {name: coregulation(matrix, cosine=True) for name, matrix in panels.items()}
    order = similar_order(shared["truth"] if truth is not None else _mean_size(shared))
    regulates = np.any([np.diag(matrix) > 0 for matrix in shared.values()], axis=0)
    order = order[regulates[order]]
    if not len(order):
        figure = new_figure(figsize=(6, 1.2))
        nothing_to_draw(figure.add_subplot(), "no gene regulates another")
        return figure
    drawn = {}
    for name, matrix in shared.items():
        np.fill_diagonal(matrix, 0)  # a gene with itself is 1 whatever was found, and would hide its neighbours
        drawn[name] = pooled(matrix[np.ix_(order, order)])
    titles = {name: _title(name, matrix, panels.get("truth")) for name, matrix in panels.items()}
    axes = (f"gene ({len(order):,} that regulate)", "gene")
    figure = _heat_maps(drawn, titles, STRENGTH, Normalize(0, 1), axes, "coregulation (cosine)")
    if truth is not None:
        share = (panels["truth"][order] != 0).any(1).mean()
        _mark(figure, len(drawn), share, share)
    return figure


def _panels(effects: Mapping[str, np.ndarray], truth: np.ndarray | None) -> dict[str, np.ndarray]:
    """The truth first, then the estimates, as new float64 matrices without self-edges."""
    if not effects or "truth" in effects:
        raise ValueError(f"effects of {list(effects)}: expected at least one method, and none called 'truth'")
    given = {**({} if truth is None else {"truth": truth}), **effects}
    panels = {name: np.array(matrix, dtype=np.float64) for name, matrix in given.items()}
    shapes = {name: matrix.shape for name, matrix in panels.items()}
    n = next(iter(shapes.values()))[0]
    if any(shape != (n, n) for shape in shapes.values()):
        raise ValueError(f"shapes {shapes}: expected the same (gene, gene) of all, source by target")
    for matrix in panels.values():
        np.fill_diagonal(matrix, 0)
    return panels


def _mean_size(panels: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.mean([np.abs(matrix) for matrix in panels.values()], axis=0)


def _limit(values: np.ndarray) -> float:
    """Where colours end: all but the largest twentieth of what is drawn and not zero."""
    size = np.abs(values[values != 0])
    return float(np.quantile(size, 0.95)) if len(size) else 0.0


def _mark(figure: Figure, panels: int, row: float, column: float | None) -> None:
    """Lines behind those shares of the rows and columns of the first panels, where they do not end."""
    for ax in figure.axes[:panels]:
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        if row < 1:
            ax.axhline(top + row * (bottom - top), color=GREY, lw=0.7)
        if column is not None and column < 1:
            ax.axvline(left + column * (right - left), color=GREY, lw=0.7)


def _title(name: str, matrix: np.ndarray, truth: np.ndarray | None) -> str:
    off = ~np.eye(len(matrix), dtype=bool)
    share = (matrix[off] != 0).mean()
    text = f"{'Truth' if name == 'truth' else shortened(name, 28)}\n{share:.1%} of pairs"
    if truth is not None and name != "truth":
        text += f", balanced accuracy {balanced_accuracy(matrix[off] != 0, truth[off] != 0):.1%}"
    return text


def _heat_maps(
    drawn: Mapping[str, np.ndarray],
    titles: Mapping[str, str],
    colours: Colormap,
    norm: Normalize,
    labels: tuple[str, str],
    meaning: str,
) -> Figure:
    columns = min(COLUMNS, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    figure = new_figure(figsize=(1.2 + 3.1 * columns, 0.5 + 3.5 * rows), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, matrix) in zip(axes, drawn.items(), strict=False):
        ax.imshow(matrix, cmap=colours, norm=norm, interpolation="nearest", aspect="equal")
        ax.set_title(titles[name], fontsize=9)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color=PALE)
    for ax in axes[len(drawn) :]:
        ax.axis("off")
    figure.supxlabel(labels[0], fontsize=9)
    figure.supylabel(labels[1], fontsize=9)
    bar = figure.colorbar(axes[0].images[0], ax=list(axes), shrink=0.75 if rows == 1 else 0.5, pad=0.01, label=meaning)
    if norm.vmin is not None and norm.vmin < 0 and norm.vmax is not None:
        ticks = [norm.vmax * part for part in (-1, -0.25, 0, 0.25, 1)]
        bar.set_ticks(ticks, labels=[f"{t:+.2g}" if t else "0" for t in ticks])
    bar.outline.set_visible(False)  # type: ignore[operator]  # the stubs take the outline for a method
    return figure


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
    methods = [f"{shortened(name, 16)} ({count})" for name, count in zip(tables, counts, strict=True)]
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
    drawn = bool(shown["sd"].notna().all())
    mean, spread = shown["influence"], 2 * shown["error"]
    low, high = (shown["lower"], shown["upper"]) if drawn else ((mean - spread).clip(lower=0), mean + spread)
    axes[0].barh(y, mean, color=ACTIVATION, alpha=0.45, height=0.7)
    axes[0].hlines(y, low, high, color=INK, lw=1.2)
    axes[0].set_title("Influence, interval over draws" if drawn else "Influence ± 2 errors of random starts")
    axes[0].set_xlabel("mean change of other genes' expression")
    axes[0].set_yticks(y, [shortened(str(gene)) for gene in shown["gene"]])
    axes[0].set_ylim(-0.8, len(shown) - 0.2)
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
