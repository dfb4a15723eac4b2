"""Figures of the fit of a panel: its course by iteration, and how its cost grows with genes; its contexts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from .effect_maps import SIGNED
from .style import ACTIVATION, CHAINS, GREY, INK, PALE, edge_label, new_figure, nothing_to_draw, styled, told_apart

FEW = 30  # iterations, of which each is a dot


@styled
def fit_and_scaling(
    record: np.ndarray, steps: np.ndarray, *, watched: str, timings: pd.DataFrame, genes: int
) -> Figure:
    """What the fit watched by iteration, and seconds of an iteration of alternating least squares against genes.

    Parameters
    ----------
    record, steps
        ``(restart, record)`` and ``(record,)``.
    watched
        What is recorded.
    timings
        ``genes, iteration, start``, seconds.
    genes
        Of the fit, which is marked.
    """
    figure = new_figure(figsize=(8.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if record.size == 0:
        nothing_to_draw(left, "the engine keeps no record of its course")
    else:
        for i, one in enumerate(record):
            marker = "o" if len(steps) <= FEW else None
            left.plot(steps, one, color=CHAINS[i % len(CHAINS)], lw=1.2, marker=marker, ms=4, label=f"chain {i + 1}")
        left.set(xlabel="iteration", ylabel=watched)
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        left.ticklabel_format(axis="y", useOffset=False)
        if record.min() >= 0:  # a cost: what hardly changes is to look so
            left.set_ylim(0, 1.1 * float(record.max()) or 1.0)
        if 1 < len(record) <= len(CHAINS):
            left.legend()
    left.set_title("The fit")
    for name, colour, label in (
        ("iteration", ACTIVATION, "an iteration"),
        ("start", GREY, "until the first has ended"),
    ):
        right.plot(timings["genes"], timings[name], color=colour, marker="o", ms=4, lw=1.2, label=label)
    right.axvline(genes, color=INK, lw=0.8, ls="--", label=f"this panel ({genes:,})")
    right.set(xscale="log", yscale="log", xlabel="genes, each knocked down once", ylabel="seconds")
    right.set_xticks(timings["genes"], [f"{g:,}" for g in timings["genes"]])
    right.xaxis.set_minor_locator(NullLocator())
    right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # powers of ten are mathematics, slow to set
    right.yaxis.set_minor_locator(NullLocator())
    right.grid(color=PALE, lw=0.6)
    right.set_axisbelow(True)
    right.legend()
    right.set_title("Scaling of the alternation")
    return figure


@styled
def context_weights(edges: pd.DataFrame, contexts: Sequence[str], weights: np.ndarray, agreement: np.ndarray) -> Figure:
    """Weights of the surest edges by context, and how far contexts agree: in their networks, and in what was measured.

    Parameters
    ----------
    edges
        ``source, target, weight``, best first, of the network that contexts share.
    contexts
        Their names.
    weights
        ``(edge, context)`` posterior means.
    agreement
        ``(context, context)``: above the diagonal correlations of weights, below it of measured responses; NaN where
        there is none, and on the diagonal.
    """
    labels = told_apart(list(contexts), 14)
    side = 0.9 + 0.42 * len(contexts)
    figure = new_figure(figsize=(3.4 + 2 * side + 1.2, max(1.4 + 0.2 * len(edges), side + 1.6)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    places = np.arange(len(contexts))
    for ax in (left, right):
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set_xticks(places, labels, rotation=90 if max(map(len, labels)) > 6 or len(labels) > 4 else 0)
    if len(edges):
        limit = float(np.abs(weights).max()) or 1.0
        image = left.imshow(weights, cmap=SIGNED, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        names = [edge_label(s, t, w) for s, t, w in zip(edges["source"], edges["target"], edges["weight"], strict=True)]
        left.set_yticks(np.arange(len(names)), names, size=7.5)
        figure.colorbar(image, ax=left, shrink=0.6, pad=0.03, label="weight")
    else:
        nothing_to_draw(left, "no edge to draw")
    left.set_title("Surest edges by context")
    shown = right.imshow(agreement, cmap=SIGNED.with_extremes(bad="white"), vmin=-1, vmax=1, interpolation="nearest")
    for row, column in np.argwhere(np.isfinite(agreement)):
        value = agreement[row, column]
        colour = "white" if abs(value) > 0.6 else INK
        right.text(column, row, f"{value:.2f}", ha="center", va="center", size=8, color=colour)
    right.set_yticks(places, labels)
    right.set_title("Agreement of contexts")
    right.set_xlabel("above: weights of all edges\nbelow: measured responses")
    figure.colorbar(shown, ax=right, shrink=0.6, pad=0.03, label="correlation")
    return figure
