"""Figures of the ladder, from its plain tables."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..figures.style import CHAINS, GREY, new_figure, nothing_to_draw, styled
from .scoring import ALL, RATES

FEWEST_PAIRS = 10  # of a bin that is drawn: of fewer, the share says nothing


def colours(worlds: list[str]) -> dict[str, str]:
    """A colour for each world, the same in all figures."""
    return {world: CHAINS[i % len(CHAINS)] for i, world in enumerate(worlds)}


@styled
def reliability_curves(reliability: pd.DataFrame) -> Figure:
    """Stated probability against the share of true edges, a curve for each world.

    Parameters
    ----------
    reliability
        `Calibration.reliability`.
    """
    worlds = list(dict.fromkeys(reliability["world"])) if len(reliability) else []
    figure = new_figure(figsize=(6.4, 5.2 + 0.18 * len(worlds)), layout="constrained")
    ax = figure.subplots()
    ax.set_title("How often edges are true, by the probability stated")
    if not worlds:
        nothing_to_draw(ax, "no world was made")
        return figure
    ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (4, 2)), label="perfect")
    for world, colour in colours(worlds).items():
        table = reliability[(reliability["world"] == world) & (reliability["count"] >= FEWEST_PAIRS)]
        ax.errorbar(
            table["probability"], table["observed"], 2 * table["standard_error"], color=colour, lw=1.3, capsize=2
        )
        ax.scatter(table["probability"], table["observed"], s=10 + 14 * np.log10(table["count"]), color=colour)
        ax.plot([], [], color=colour, marker="o", label=world)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="P(edge exists), as stated", ylabel="share of true edges")
    figure.legend(loc="outside lower center", ncols=1)
    return figure


@styled
def false_discoveries(summary: pd.DataFrame) -> Figure:
    """What lists promise and what they hold: the share of wrong edges, and of true edges that are listed.

    Parameters
    ----------
    summary
        `Calibration.summary`.
    """
    table = summary[(summary["response"] == ALL) & (summary["rung"] != 2)]
    worlds = list(dict.fromkeys(table["world"]))
    figure = new_figure(figsize=(8.8, 4.0 + 0.18 * len(worlds)), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.set_title("Wrong edges: promised and real")
    right.set_title("True edges that are listed")
    if not worlds:
        nothing_to_draw(left, "no world was made")
        nothing_to_draw(right, "")
        return figure
    left.plot([0, max(RATES)], [0, max(RATES)], color=GREY, lw=1, ls=(0, (4, 2)), label="as promised")
    for i, (world, colour) in enumerate(colours(worlds).items()):
        own = table[table["world"] == world].set_index("score")
        for ax, name in ((left, "wrong"), (right, "power")):
            rows = own.loc[[f"{name}_{rate:g}" for rate in RATES]]
            error = 2 * rows["se"].fillna(0).to_numpy()
            place = np.asarray(RATES) + 0.0012 * (i - len(worlds) / 2)  # bars of several worlds side by side
            label = world if ax is left else None
            ax.errorbar(place, rows["value"], error, color=colour, lw=1.3, marker="o", ms=5, capsize=2, label=label)
    for ax in (left, right):
        ax.set_xticks(RATES)
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set_xlabel("expected share of wrong edges")
        ax.set_ylim(bottom=0)
    left.set_ylabel("share of wrong edges in the list")
    right.set_ylabel("share of all true edges")
    right.set_ylim(top=1.02)
    figure.legend(loc="outside lower center", ncols=1)
    return figure
