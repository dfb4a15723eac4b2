"""Figures of a fit's worth: trust in its sources, its course, its predictions, its reliability."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ...inference.draws.intervals import LEVEL
from ..scores import expected_calibration_error, reliability_table
from .style import (
    ACTIVATION,
    CHAINS,
    GREY,
    KNOWN,
    PALE,
    counted_in_powers,
    new_figure,
    nothing_to_draw,
    shortened,
    styled,
)


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
    figure = new_figure(figsize=(5.2, 1.75 + 0.36 * max(len(trust), 1)), layout="constrained")
    draw_trust(figure.subplots(), trust, prior=prior, odds=odds, level=level)
    if len(trust):
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def draw_trust(ax: Axes, trust: pd.DataFrame, *, prior: tuple[float, float], odds: bool, level: float = LEVEL) -> None:
    """The trust in each source in given axes."""
    ax.set_title(f"Trust in each source: mean and {level:.0%} interval")
    if trust.empty:
        nothing_to_draw(ax, "no source of prior knowledge has a trust coefficient in this fit")
        return
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
        top.set_xlabel("odds of an edge that the source lists", fontsize=8.5)


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
    figure = new_figure(figsize=(8.8, 3.1), layout="constrained")
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
    figure = new_figure(figsize=(8.8, 3.5), layout="constrained")
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
    figure = new_figure(figsize=(5.6, 5.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=[3.2, 1], sharex=True)
    table = draw_reliability(top, probability, true)
    figure.legend(loc="outside lower center", ncols=3)
    bottom.bar(table["lower"] + 0.05, table["count"], width=0.092, color="#9aa5b1")
    counted_in_powers(bottom)
    bottom.set(xlim=(-0.02, 1.02), xlabel="P(edge exists), as stated", ylabel="pairs (log)")
    return figure


def draw_reliability(ax: Axes, probability: np.ndarray, true: np.ndarray) -> pd.DataFrame:
    """The reliability diagram in given axes; returns its bins, `reliability_table`."""
    table = reliability_table(probability, true, num_bins=10)
    ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (4, 2)), label="perfect")
    x, error = table["probability"], 2 * table["standard_error"]
    low, high = (x - error).clip(lower=0), (x + error).clip(upper=1)
    ax.vlines(x, low, high, color="#c5ced6", lw=7, label="95% of calibrated fits")
    size = 18 + 22 * np.log10(table["count"])
    ax.scatter(x, table["observed"], s=size, c=KNOWN, zorder=3, label="this fit (larger: more pairs)")
    ax.set(ylim=(-0.04, 1.04), ylabel="share of true edges")
    ax.set_title(f"Against the known network: calibration error {expected_calibration_error(probability, true):.3f}")
    return table
