"""Figures of perturbation panels: the genes that drive variation, and how knock-downs are predicted."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtri

from .style import GREY, INK, MAX_POINTS, new_figure, nothing_to_draw, shortened, styled

EXPORT, IMPORT = "#0072B2", "#D55E00"


@styled
def plot_flux(table: pd.DataFrame, shares: np.ndarray, genes: Sequence[str], *, top: int = 25) -> Figure:
    """Genes that export most variance, with intervals, and where it goes: the flows among them.

    Parameters
    ----------
    table, shares
        From `flux_table`.
    genes
        Names along both axes of ``shares``.
    top
        Genes to show.
    """
    shown = table.head(top)
    names = [shortened(name, 12) for name in shown["gene"]]
    place = {gene: i for i, gene in enumerate(genes)}
    chosen = [place[g] for g in shown["gene"]]
    flows = shares[np.ix_(chosen, chosen)].copy()
    np.fill_diagonal(flows, np.nan)
    side = 1.1 + 0.21 * len(names)
    figure = new_figure(figsize=(5.6 + side, max(side + 0.4, 2.6)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(4.2, side))
    draw_flux(left, shown)
    _draw_flows(right, flows, names, names)
    right.set_title("Flows among them")
    return figure


@styled
def plot_outcomes(
    table: pd.DataFrame, shares: np.ndarray, genes: Sequence[str], *, perturbed: Sequence[str], top: int = 25
) -> Figure:
    """Genes that were perturbed and export most variance, with intervals, and the genes to which it flows.

    Parameters
    ----------
    table, shares
        From `flux_table`.
    genes
        Names along both axes of ``shares``.
    perturbed
        Those that may be drawn as sources.
    top
        Sources, and outcomes, to show: of all genes those that receive most from these sources.
    """
    shown = table[table["gene"].isin(list(perturbed))].head(top)
    if shown.empty:
        figure = new_figure(figsize=(6, 1.2))
        nothing_to_draw(figure.add_subplot(), "no gene was perturbed")
        return figure
    place = {gene: i for i, gene in enumerate(genes)}
    rows = np.array([place[gene] for gene in shown["gene"]])
    flows = shares[rows].copy()
    flows[np.arange(len(rows)), rows] = np.nan  # what a gene keeps
    received = np.nansum(flows, axis=0)
    outcomes = np.argsort(-received, kind="stable")[:top]
    outcomes = outcomes[received[outcomes] > 0]
    sources = [shortened(name, 12) for name in shown["gene"]]
    affected = [shortened(genes[i], 12) for i in outcomes]
    height, width = 1.5 + 0.21 * len(sources), 1.5 + 0.21 * max(len(affected), 6)
    figure = new_figure(figsize=(5.6 + width, max(height, 2.8)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(4.2, width))
    draw_flux(left, shown)
    left.legend(loc="lower right")  # where least is exported
    if len(outcomes):
        _draw_flows(right, flows[:, outcomes], affected, sources)
    else:
        nothing_to_draw(right, "none of them drives another gene")
    right.set_title("From perturbed genes to outcomes")
    return figure


def _draw_flows(ax: Axes, flows: np.ndarray, affected: Sequence[str], sources: Sequence[str]) -> None:
    """Shares of the variance of genes, ``(source, affected)`` and NaN where none is drawn, in given axes."""
    finite = flows[np.isfinite(flows)]
    limit = float(finite.max()) if len(finite) and finite.max() > 0 else 1.0
    image = ax.imshow(flows, cmap="Blues", vmin=0, vmax=limit, aspect="equal")
    ax.set_xticks(np.arange(len(affected)), affected, rotation=90)
    ax.set_yticks(np.arange(len(sources)), sources)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("affected gene")
    ax.set_ylabel("source")
    ax.figure.colorbar(image, ax=ax, shrink=0.7, label="share of the affected gene's variance")


def draw_flux(ax: Axes, shown: pd.DataFrame) -> None:
    """Variance that each gene of a table exports and imports, with intervals, in given axes."""
    names = [shortened(name, 12) for name in shown["gene"]]
    y = np.arange(len(names))
    for name, colour, shift in (("exported", EXPORT, -0.16), ("imported", IMPORT, 0.16)):
        mean = shown[name].to_numpy()
        error = np.stack([mean - shown[f"{name}_lower"], shown[f"{name}_upper"] - mean]).clip(0)
        ax.errorbar(mean, y + shift, xerr=error, fmt="o", ms=3.5, color=colour, lw=1.2, label=name)
    ax.axvline(0, color=GREY, lw=0.6)
    ax.set_yticks(y, names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel("variance (1: all of one gene's)")
    ax.set_title("Drivers of variation")
    ax.legend(loc="best")


@styled
def plot_unseen(measured: np.ndarray, predicted: np.ndarray, sd: np.ndarray) -> Figure:
    """Changes after unseen knock-downs, predicted and measured, and how many of them intervals hold.

    Parameters
    ----------
    measured, predicted
        Log levels minus the mean profile of the training conditions, any shape; NaN is left out.
    sd
        Predicted standard deviation of the measurement, same shape.
    """
    figure = new_figure(figsize=(8.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    known = np.isfinite(measured) & np.isfinite(predicted)
    measured, predicted, sd = (np.asarray(v, dtype=float)[known] for v in (measured, predicted, sd))
    if len(measured) == 0:
        nothing_to_draw(left, "nothing to compare")
        nothing_to_draw(right, "nothing to compare")
        return figure
    _scatter(left, measured, predicted)
    levels = np.linspace(0.02, 0.98, 49)
    held = [(np.abs(measured - predicted) <= ndtri(0.5 + level / 2) * sd).mean() for level in levels]
    right.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
    right.plot(levels, held, color=EXPORT, lw=1.6)
    right.set(xlim=(0, 1), ylim=(0, 1), xlabel="stated level of the interval", ylabel="share of measurements inside")
    right.set_aspect("equal")
    right.set_title(f"90% intervals hold {np.interp(0.9, levels, held):.0%}")
    return figure


def _scatter(ax: Axes, measured: np.ndarray, predicted: np.ndarray) -> None:
    step = -(-len(measured) // MAX_POINTS)
    limit = 1.05 * float(np.quantile(np.abs(np.concatenate([measured, predicted])), 0.9995))
    limit = limit or 1.0
    ax.axline((0, 0), slope=1, color=GREY, lw=0.8, ls="--")
    alpha = float(np.clip(30 / len(measured[::step]) ** 0.5, 0.08, 0.8))
    ax.scatter(predicted[::step], measured[::step], s=5, color=INK, alpha=alpha, linewidths=0, rasterized=True)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="predicted change of log level")
    ax.set_ylabel("measured")
    ax.set_aspect("equal")
    varies = measured.std() > 0 and predicted.std() > 0
    r = np.corrcoef(measured, predicted)[0, 1] if varies else 0.0
    ax.set_title(f"Unseen knock-downs: correlation {r:.2f}")
