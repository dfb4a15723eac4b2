"""Figures of an ablation, from its tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..figures.style import CHAINS, GREY, INK, KNOWN, PALE, new_figure, nothing_to_draw, shortened, styled
from .result import WAY

LABELS = {
    "delta_log_score_bits": "gain in log score (bits a pair)",
    "delta_average_precision": "gain in average precision",
    "delta_elpd": "gain in predicting held-out cells (nats)",
    "moved_bits": "beliefs moved by the sources (bits)",
    "gain_bits": "learned from the data (bits)",
}
MARKERS = "osD^vPX*"
TWO_SIDED = 1.6  # an 89% interval of a normal mean, in standard errors


def way_label(row: pd.Series) -> str:
    """Method, and how knowledge enters it."""
    own = "" if row["strategy"] == "own" else f", {row['strategy']}"
    return f"{row['method']}{own}" + ("" if row["trust"] == "sampled" else f", trust {row['trust']}")


def _ways(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    groups = table.groupby(WAY, sort=False)
    return {way_label(part.iloc[0]): part for _, part in groups}


@styled
def source_effects(summary: pd.DataFrame, measures: Sequence[str]) -> Figure:
    """What each choice of sources changes against none: a column a measure, a row a choice, a colour a method.

    Points are means over seeds; thick bars an 89% interval over seeds, thin ones with the uncertainty of the truth
    (targets) or of the cells added.

    Parameters
    ----------
    summary
        `AblationResult.summary`.
    measures
        Names of differences, of those in `LABELS`.
    """
    table = summary[(summary["damage"] == "") & (summary["sources"] != "")]
    shown = [m for m in measures if m in table and table[m].notna().any()]
    changes, ways = list(dict.fromkeys(table["change"])), _ways(table)
    height = 1.3 + 0.36 * max(len(changes), 2) * (0.6 + 0.4 * max(len(ways), 1)) + 0.19 * len(ways)
    figure = new_figure(figsize=(8.6, height), layout="constrained")
    if not shown:
        nothing_to_draw(figure.subplots(), "nothing was compared: neither a truth nor held-out cells")
        return figure
    axes = np.atleast_1d(figure.subplots(1, len(shown), sharey=True))
    for ax, name in zip(axes, shown, strict=True):
        _panel(ax, name, changes, ways)
    _name_rows(axes[0], changes)
    figure.suptitle("Each choice of sources against none", x=0.01, ha="left", fontweight="bold", fontsize=10)
    if len(ways) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(3, len(ways)))
    return figure


def draw_effects(ax: Axes, summary: pd.DataFrame, measure: str) -> None:
    """One measure of `source_effects` in given axes."""
    table = summary[(summary["damage"] == "") & (summary["sources"] != "")]
    ax.set_title("Each choice of sources against none")
    if measure not in table or table[measure].isna().all():
        nothing_to_draw(ax, f"{LABELS.get(measure, measure)}: not measured")
        return
    changes, ways = list(dict.fromkeys(table["change"])), _ways(table)
    _panel(ax, measure, changes, ways)
    _name_rows(ax, changes)
    if len(ways) > 1:
        ax.legend()


def _name_rows(ax: Axes, changes: Sequence[str]) -> None:
    ax.set_yticks(range(len(changes)), [shortened(c, 30) for c in changes])
    ax.set_ylim(len(changes) - 0.4, -0.6)


def _panel(ax: Axes, name: str, changes: Sequence[str], ways: Mapping[str, pd.DataFrame]) -> None:
    """One measure of every change, a colour for each way."""
    step = 0.72 / max(len(ways), 1)
    ax.axvline(0, color=GREY, lw=1, zorder=1)
    for i, (label, part) in enumerate(ways.items()):
        colour = CHAINS[i % len(CHAINS)]
        at = np.array([changes.index(c) for c in part["change"]]) + (i - (len(ways) - 1) / 2) * step
        seeds = part[f"{name}_se"].fillna(0).to_numpy()
        within = part.get(f"{name}_within", pd.Series(0.0, part.index)).fillna(0).to_numpy()
        value, whole = part[name].to_numpy(), np.hypot(seeds, within)
        ax.hlines(at, value - TWO_SIDED * whole, value + TWO_SIDED * whole, color=colour, lw=1.0)
        ax.hlines(at, value - TWO_SIDED * seeds, value + TWO_SIDED * seeds, color=colour, lw=3.0, alpha=0.55)
        ax.plot(value, at, MARKERS[i % len(MARKERS)], color=colour, ms=5, label=label)
    ax.set_xlabel(LABELS[name])
    ax.grid(axis="x", color=PALE, lw=0.6)
    ax.set_axisbelow(True)
    ax.locator_params(axis="x", nbins=4)


@styled
def damage_curves(rows: pd.DataFrame, crossings: pd.DataFrame, measure: str, damage: str) -> Figure:
    """How the gain of a source falls as it is damaged, and where it is gone; a panel a set of sources.

    Parameters
    ----------
    rows
        `AblationResult.summary`.
    crossings
        `AblationResult.break_even` of the same measure.
    measure, damage
        Of `LABELS`; ``"moved"`` or ``"flipped"``.
    """
    damaged = rows[rows["damage"] == damage]
    panels = list(dict.fromkeys(damaged["sources"]))
    if not panels or damaged[measure].isna().all():
        figure = new_figure(figsize=(8.2, 2.2), layout="constrained")
        nothing_to_draw(figure.subplots(), f"no source was {damage}")
        return figure
    figure = new_figure(figsize=(min(4.4 * len(panels) + 2.6, 10.5), 4.1), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for ax, sources in zip(axes, panels, strict=True):
        part = rows[(rows["sources"] == sources) & rows["damage"].isin(["", damage])]
        for i, (label, curve) in enumerate(_ways(part).items()):
            _curve(ax, curve.sort_values("fraction"), measure, label, i)
            same = (crossings[WAY] == curve[WAY].iloc[0]).all(axis=1)
            cross = crossings[same & (crossings["sources"] == sources) & (crossings["damage"] == damage)]
            _crossing(ax, cross, i)
        ax.axhline(0, color=GREY, lw=1, zorder=1)
        ax.set_title(shortened(sources, 40))
        ax.set_xlabel({"moved": "edges moved to random places", "flipped": "signs flipped"}[damage])
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))
        ax.grid(color=PALE, lw=0.6)
    axes[0].set_ylabel(LABELS[measure])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def _curve(ax: Axes, curve: pd.DataFrame, measure: str, label: str, i: int) -> None:
    share, mean = curve["fraction"].to_numpy(), curve[measure].to_numpy()
    error = TWO_SIDED * curve[f"{measure}_se"].fillna(0).to_numpy()
    colour = CHAINS[i % len(CHAINS)]
    ax.fill_between(share, mean - error, mean + error, color=colour, alpha=0.15, lw=0)
    ax.plot(share, mean, color=colour, marker=MARKERS[i % len(MARKERS)], ms=4, lw=1.5, label=label)


def _crossing(ax: Axes, cross: pd.DataFrame, i: int) -> None:
    """The break-even point on the zero line with its interval; an open end runs to the largest share."""
    if cross.empty:
        return
    row = cross.iloc[0]
    colour = CHAINS[i % len(CHAINS)]
    if np.isfinite(row["lower"]):
        upper = row["upper"] if np.isfinite(row["upper"]) else ax.dataLim.x1
        ax.plot([row["lower"], upper], [0, 0], color=colour, lw=4, alpha=0.45, solid_capstyle="butt", zorder=2)
    if np.isfinite(row["break_even"]):
        ax.plot(row["break_even"], 0, "|", color=colour, ms=14, mew=2, zorder=3)


@styled
def bits(summary: pd.DataFrame) -> Figure:
    """Bits by change: learned from the data, and moved by the sources; mean over seeds with an 89% interval. A line
    across each bar: what the noise of the chains alone amounts to."""
    table = summary[summary["method"] != "prior-only"]
    ways = _ways(table)
    first = next(iter(ways.values())) if ways else table
    changes = list(dict.fromkeys(first["change"]))
    figure = new_figure(figsize=(8.6, 1.4 + 0.27 * max(len(changes), 3)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    place = np.arange(len(changes))
    for ax, name, colour in ((left, "gain_bits", CHAINS[0]), (right, "moved_bits", KNOWN)):
        value, error = first[name].to_numpy(), first[f"{name}_se"].fillna(0).to_numpy()
        ax.barh(place, value, color=colour, alpha=0.75, height=0.65)
        ax.vlines(first[f"{name}_floor"].to_numpy(), place - 0.4, place + 0.4, color=GREY, lw=2)
        ax.errorbar(value, place, xerr=TWO_SIDED * error, fmt="none", ecolor=INK, capsize=2, lw=1)
        ax.set_xlabel(LABELS[name])
        ax.grid(axis="x", color=PALE, lw=0.6)
        ax.set_axisbelow(True)
        if not np.isfinite(value).any():
            told = "not known: without an inclusion variable\nthere is no probability before the data"
            ax.text(0.5, 0.5, told, ha="center", va="center", transform=ax.transAxes, color=GREY)
            ax.set_xticks([])
    left.set_yticks(place, [shortened(c, 40) for c in changes])
    left.set_ylim(len(changes) - 0.4, -0.6)
    title = next(iter(ways), "")
    figure.suptitle(f"Information: {title}", x=0.01, ha="left", fontweight="bold", fontsize=10)
    return figure


@styled
def trust_by_damage(trust: pd.DataFrame) -> Figure:
    """Learned trust in each source as it is damaged: posterior mean and 89% interval, averaged over seeds."""
    sampled = trust[(trust["trust"] == "sampled") & trust["damage"].isin(["", "moved"])] if len(trust) else trust
    figure = new_figure(figsize=(8.6, 3.6), layout="constrained")
    ax = figure.subplots()
    lines = list(sampled.groupby([*WAY, "source"], sort=False)) if len(sampled) else []
    damaged = [(key, part) for key, part in lines if (part["damage"] == "moved").any()]
    if not damaged:
        nothing_to_draw(ax, "no source with a learned trust was damaged")
        return figure
    for i, (key, part) in enumerate(damaged):
        moved = part[part["damage"] == "moved"]
        with_it = set(moved["change"].str.rpartition(", ")[0])
        curve = pd.concat([part[(part["damage"] == "") & part["change"].isin(with_it)], moved]).sort_values("fraction")
        colour = CHAINS[i % len(CHAINS)]
        share = curve["fraction"].to_numpy() + 0.004 * i  # side by side where intervals overlap
        ax.vlines(share, curve["lower"], curve["upper"], color=colour, lw=1.2, alpha=0.6)
        label = f"{key[-1]} ({way_label(part.iloc[0])})"
        ax.plot(share, curve["mean"], color=colour, marker=MARKERS[i % len(MARKERS)], ms=4, lw=1.5, label=label)
    ax.set_xlabel("edges moved to random places")
    ax.set_ylabel("trust b (log-odds at confidence 1)")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_ylim(bottom=0)
    ax.grid(color=PALE, lw=0.6)
    ax.set_title("How far the data trust a source")
    figure.legend(loc="outside right upper")
    return figure
