"""Figures of gene programs: as `figures`, each takes plain tables and returns a ``matplotlib.figure.Figure``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ...inference.draws.intervals import LEVEL
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
    sign_colours,
    styled,
    told_apart,
)

MAX_CELLS = 20_000  # of a scatter plot: more cannot be seen
MAX_PANELS = 4  # of view x group side by side; beyond it a heat map
NAME = 30  # letters of a program's name


def _rows(ax: Axes, names: Sequence[str], limit: int = NAME) -> np.ndarray:
    """Name the rows of an axes from top to bottom, and return their heights."""
    y = np.arange(len(names))[::-1]
    ax.set_yticks(y, told_apart([str(name) for name in names], limit))
    ax.set_ylim(-0.8, len(names) - 0.2)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=PALE, lw=0.6)
    ax.set_axisbelow(True)
    return y


def _by_row(table: pd.DataFrame, names: Sequence[str], column: str) -> np.ndarray:
    return table.set_index("program")[column].reindex(list(names)).to_numpy(dtype=np.float64)


@styled
def variance_explained(factors: pd.DataFrame, *, level: float = LEVEL, count: int = 30) -> Figure:
    """Share of variance that each program explains, by view and group: bars with intervals, or a heat map of many.

    Parameters
    ----------
    factors
        `Posterior.factors`: ``program, library, view, group, variance_explained, lower, upper``.
    level
        Of the intervals, for the title.
    count
        Programs to draw, the most important first.
    """
    names, cases, labels = _cases(factors, count)
    height = 1.1 + 0.215 * max(len(names), 3)
    if not names:
        figure = new_figure(figsize=(5.4, height), layout="constrained")
        nothing_to_draw(figure.subplots(), "no program")
        return figure
    parts = [factors[(factors["view"] == view) & (factors["group"] == group)] for view, group in cases]
    if len(cases) > MAX_PANELS:
        return _heat_map(parts, names, labels)
    figure = new_figure(figsize=(5.4 if len(cases) == 1 else 8.6, height), layout="constrained")
    panels = figure.subplots(1, len(cases), sharey=True, sharex=True, squeeze=False)[0]
    libraries = factors.drop_duplicates("program").set_index("program")["library"].reindex(names)
    colours = [KNOWN if library else GREY for library in libraries]
    for ax, part, label in zip(panels, parts, labels, strict=True):
        _variance_bars(ax, part, names, colours, ticks=6 if len(cases) == 1 else 3)
        ax.set_title(label)
    panels[len(panels) // 2].set_xlabel("variance explained")
    number = factors["program"].nunique()
    which = f"{number} programs" if len(names) == number else f"{len(names)} of {number} programs"
    figure.suptitle(
        f"Variance explained by {which}{_with_interval(factors, level)}",
        x=0.01,
        ha="left",
        fontsize=10,
        fontweight="bold",
    )
    if libraries.astype(bool).any() and not libraries.astype(bool).all():
        kinds = ((KNOWN, "from a gene set"), (GREY, "found without one"))
        handles = [Line2D([], [], color=c, lw=6, alpha=0.55, label=text) for c, text in kinds]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def draw_variance(ax: Axes, factors: pd.DataFrame, *, level: float = LEVEL, count: int = 30) -> None:
    """Variance that each program explains in given axes: bars of one view and group, a heat map of several."""
    names, cases, labels = _cases(factors, count)
    ax.set_title(f"Variance explained{_with_interval(factors, level)}" if len(cases) == 1 else "Variance explained")
    if not names:
        nothing_to_draw(ax, "no program")
        return
    parts = [factors[(factors["view"] == view) & (factors["group"] == group)] for view, group in cases]
    if len(cases) > 1:
        _heat(ax, np.column_stack([_by_row(part, names, "variance_explained") for part in parts]), names, labels)
        return
    libraries = factors.drop_duplicates("program").set_index("program")["library"].reindex(names)
    _variance_bars(ax, parts[0], names, [KNOWN if library else GREY for library in libraries], ticks=6)
    ax.set_xlabel("variance explained")


def _with_interval(table: pd.DataFrame, level: float) -> str:
    """What a title adds where a table has intervals, as one of a point estimate has not."""
    return f": mean and {level:.0%} interval" if table["lower"].notna().any() else ""


def _cases(factors: pd.DataFrame, count: int) -> tuple[list[str], list[tuple[Any, Any]], list[str]]:
    """The most important programs, all pairs of view and group, and what these are called."""
    largest = factors.groupby("program", sort=False)["variance_explained"].max()
    names = list(largest.sort_values(ascending=False, kind="stable").index[:count])
    cases = list(factors[["view", "group"]].drop_duplicates().itertuples(index=False, name=None))
    several = [len({case[i] for case in cases}) > 1 for i in (0, 1)]
    labels = [" · ".join(shortened(str(case[i]), 16) for i in (0, 1) if several[i]) for case in cases]
    return names, cases, labels


def _variance_bars(ax: Axes, part: pd.DataFrame, names: Sequence[str], colours: list[str], *, ticks: int) -> None:
    y = _rows(ax, names)
    mean, lower, upper = (_by_row(part, names, c) for c in ("variance_explained", "lower", "upper"))
    ax.barh(y, mean, color=colours, height=0.66, alpha=0.55)
    ax.hlines(y, lower, upper, color=INK, lw=1.2)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if np.nanmax(np.fmax(mean, upper)) > 0.05 else 1))
    ax.xaxis.set_major_locator(MaxNLocator(ticks))


def _heat_map(parts: Sequence[pd.DataFrame], names: Sequence[str], labels: Sequence[str]) -> Figure:
    values = np.column_stack([_by_row(part, names, "variance_explained") for part in parts])
    figure = new_figure(figsize=(min(8.8, 3.4 + 0.5 * len(parts)), 1.6 + 0.215 * len(names)), layout="constrained")
    ax = figure.subplots()
    image = _heat(ax, values, names, labels)
    ax.set_title("Variance explained")
    bar = figure.colorbar(image, ax=ax, format=PercentFormatter(1, decimals=0), shrink=0.7, pad=0.02)
    bar.outline.set_visible(False)  # type: ignore[operator]  # the stubs take the outline for a method
    return figure


def _heat(ax: Axes, values: np.ndarray, names: Sequence[str], labels: Sequence[str]) -> AxesImage:
    """A heat map of (program, case), with its numbers where there is room."""
    image = ax.imshow(values, cmap="Blues", aspect="auto", vmin=0)
    ax.set_yticks(np.arange(len(names)), told_apart(names, NAME))
    ax.set_xticks(np.arange(len(labels)), labels, rotation=45, ha="right")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if len(labels) <= 14:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value > 0.6 * np.nanmax(values) else INK
            text = f"{value:.1%}" if value >= 0.0005 else ""
            ax.text(column, row, text, ha="center", va="center", size=7, color=colour)
    return image


@styled
def loading_forest(programs: pd.DataFrame, names: Sequence[str], *, level: float = LEVEL, count: int = 12) -> Figure:
    """Largest loadings of some programs, one panel each: posterior mean and interval.

    Parameters
    ----------
    programs
        `Posterior.programs`: ``program, gene, loading, lower, upper, prior``.
    names
        Programs to draw, in order.
    level
        Of the intervals, for the title.
    count
        Genes of each program.
    """
    columns = 3
    rows = max(1, -(-len(names) // columns))
    figure = new_figure(figsize=(9.0, 0.7 + rows * (0.75 + 0.185 * count)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.suptitle(
        f"Largest loadings, change of the gene per unit of the program{_with_interval(programs, level)}",
        x=0.01,
        ha="left",
        fontsize=10,
        fontweight="bold",
    )
    listed = False
    for ax, name, title in zip(panels, names, told_apart([str(name) for name in names], 24), strict=False):
        listed |= draw_loadings(ax, programs, str(name), count=count)
        ax.set_title(title, fontsize=9)
    for ax in panels[len(names) :]:
        ax.axis("off")
    if not names:
        nothing_to_draw(panels[0], "no program")
    figure.legend(handles=loading_handles(listed), loc="outside lower center", ncols=3)
    return figure


def draw_loadings(ax: Axes, programs: pd.DataFrame, name: str, *, count: int = 12) -> bool:
    """Largest loadings of one program in given axes; returns whether one of the genes is in its gene set."""
    part = programs[programs["program"] == name]
    part = part.reindex(part["loading"].abs().sort_values(ascending=False, kind="stable").index).head(count)
    y = _rows(ax, list(part["gene"]), 14)
    colours = sign_colours(part["loading"].to_numpy())
    ax.axvline(0, color=GREY, lw=0.8, zorder=0)
    ax.hlines(y, part["lower"], part["upper"], colors=colours, lw=2, alpha=0.5)
    ax.scatter(part["loading"], y, c=colours, s=18, zorder=3)
    ax.margins(x=0.12)  # room for the diamonds
    known = part["prior"].to_numpy() > 0
    if known.any():
        right = ax.get_yaxis_transform()
        ax.scatter(np.full(known.sum(), 0.97), y[known], marker="D", s=11, c=KNOWN, transform=right)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_title(shortened(name, 24), fontsize=9)
    return bool(known.any())


def loading_handles(listed: bool) -> list[Line2D]:
    """What a legend of loadings explains; ``listed``: diamonds too."""
    handles = [
        Line2D([], [], color=ACTIVATION, marker="o", markersize=4, lw=1.8, label="rises with the program"),
        Line2D([], [], color=REPRESSION, marker="o", markersize=4, lw=1.8, label="falls"),
    ]
    if listed:
        handles.append(Line2D([], [], color=KNOWN, marker="D", markersize=4, ls="", label="in the gene set"))
    return handles


@styled
def covariate_forest(effects: pd.DataFrame, *, level: float = LEVEL, count: int = 24) -> Figure:
    """Strongest effects of covariates on programs (left) and directly on genes (right).

    Parameters
    ----------
    effects
        `Posterior.covariate_effects`: ``covariate, kind, name, effect, lower, upper``.
    level
        Of the intervals, for the title.
    count
        Effects to draw in each panel.
    """
    kinds = [kind for kind in ("program", "gene") if (effects["kind"] == kind).any()]
    one = len(effects["covariate"].unique()) == 1
    shown = {}
    for kind in kinds:
        part = effects[effects["kind"] == kind]
        shown[kind] = part.reindex(part["effect"].abs().sort_values(ascending=False, kind="stable").index).head(count)
    most = max((len(part) for part in shown.values()), default=3)
    figure = new_figure(figsize=(9.0, 1.3 + 0.205 * max(most, 3)), layout="constrained")
    panels = figure.subplots(1, max(len(kinds), 1), squeeze=False)[0]
    if not kinds:
        nothing_to_draw(panels[0], "no effect to draw")
        return figure
    for ax, kind in zip(panels, kinds, strict=True):
        part = shown[kind]
        names = [
            str(row.name_) if one else f"{shortened(str(row.covariate), 14)}: {shortened(str(row.name_), 20)}"
            for row in part.rename(columns={"name": "name_"}).itertuples()
        ]
        y = _rows(ax, names, 36)
        ax.set_ylim(len(names) - max(most, 3) - 0.8, len(names) - 0.2)  # rows of both panels are equally high
        colours = sign_colours(part["effect"].to_numpy())
        ax.axvline(0, color=GREY, lw=0.8, zorder=0)
        ax.hlines(y, part["lower"], part["upper"], colors=colours, lw=2, alpha=0.5)
        ax.scatter(part["effect"], y, c=colours, s=18, zorder=3)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        title = "On programs" if kind == "program" else "Directly on genes"
        number = (effects["kind"] == kind).sum()
        ax.set_title(f"{title}: {len(part)} of {number:,}" if len(part) < number else title)
    what = f"effect of {shortened(str(effects['covariate'].iloc[0]), 20)}" if one else "effect of the covariate"
    figure.supxlabel(f"{what} per unit, mean and {level:.0%} interval", fontsize=9)
    return figure


@styled
def scores_scatter(scores: pd.DataFrame, names: tuple[str, str], groups: pd.Series | None = None) -> Figure:
    """Two programs against each other, one point a cell, coloured by group.

    Parameters
    ----------
    scores
        (cell × program) posterior means.
    names
        The programs on the axes.
    groups
        Group of each cell, in the order of ``scores``; None: one group.
    """
    figure = new_figure(figsize=(5.4, 4.2), layout="constrained")
    ax = figure.subplots()
    rng = np.random.default_rng(0)  # in random order, so that no group lies on top of the others
    order = rng.permutation(len(scores))[:MAX_CELLS]
    x, y = (scores[name].to_numpy()[order] for name in names)
    few = len(order) < 2000
    size, rasterized = (16, False) if few else (5, True)
    if groups is None:
        ax.scatter(x, y, c=ACTIVATION, s=size, alpha=0.55, linewidths=0, rasterized=rasterized)
    else:
        levels = list(dict.fromkeys(groups))
        place = {level: i for i, level in enumerate(levels)}
        codes = groups.map(place).to_numpy()[order]
        palette = np.array([CHAINS[i % len(CHAINS)] for i in range(len(levels))])
        ax.scatter(x, y, c=palette[codes], s=size, alpha=0.8, linewidths=0, rasterized=rasterized)
        handles = [
            Line2D([], [], color=palette[i], marker="o", ls="", markersize=6, label=shortened(str(level), 20))
            for i, level in enumerate(levels[:12])
        ]
        if len(levels) > 12:
            handles.append(Line2D([], [], ls="", label=f"and {len(levels) - 12} more"))
        figure.legend(handles=handles, loc="outside right upper")
    ax.axhline(0, color=PALE, lw=0.8, zorder=0)
    ax.axvline(0, color=PALE, lw=0.8, zorder=0)
    ax.set_xlabel(f"score of {shortened(names[0], 40)}")
    ax.set_ylabel(f"score of {shortened(names[1], 40)}")
    ax.set_title(f"{len(order):,} of {len(scores):,} cells" if len(order) < len(scores) else f"{len(order):,} cells")
    return figure


@styled
def scores_by_group(scores: pd.DataFrame, names: Sequence[str], groups: pd.Series | None = None) -> Figure:
    """Distribution over cells of each program's score, by group: median, the middle half, and the middle nine tenths.

    Parameters
    ----------
    scores
        (cell × program) posterior means.
    names
        Programs to draw, in order.
    groups
        Group of each cell; None: one group. The first twelve groups are drawn.
    """
    levels = [None] if groups is None else list(dict.fromkeys(groups))[:12]
    spacing = 0.8 / len(levels)
    figure = new_figure(figsize=(5.4, 1.2 + len(names) * max(0.24, 0.125 * len(levels))), layout="constrained")
    ax = figure.subplots()
    ax.set_title("Scores of the cells: median, middle 50% and middle 90%")
    if not len(names):
        nothing_to_draw(ax, "no program")
        return figure
    y = _rows(ax, names)
    for i, level in enumerate(levels):
        rows = np.ones(len(scores), dtype=bool) if groups is None else (groups == level).to_numpy()
        cuts = np.quantile(scores.loc[:, list(names)].to_numpy()[rows], [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
        colour = CHAINS[i % len(CHAINS)]
        height = y + (0.5 * (len(levels) - 1) - i) * spacing
        ax.hlines(height, cuts[0], cuts[4], color=colour, lw=0.9)
        ax.hlines(height, cuts[1], cuts[3], color=colour, lw=3.2, alpha=0.6)
        label = None if level is None else shortened(str(level), 20)
        ax.scatter(cuts[2], height, color=colour, s=13, zorder=3, label=label)
    ax.axvline(0, color=GREY, lw=0.8, zorder=0)
    for line in y[:-1] - 0.5:
        ax.axhline(line, color=PALE, lw=0.6, zorder=0)
    ax.set_xlabel("score")
    if groups is not None:
        figure.legend(loc="outside lower center", ncols=min(len(levels), 6))
    return figure
