"""Figures of effects between genes as matrices: heat maps of effects and of coregulation, like beside like."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import Colormap, FuncNorm, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from ...inference.neural_ode.degrees import coregulation
from ..scores import balanced_accuracy
from .style import (
    ACTIVATION,
    GREY,
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
NAMED = 60  # genes with their names beside a heat map: of more they would not be read
COLUMNS = 3  # heat maps or courses side by side
TRUTH = "truth"  # name of the panel with the known network


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
def effect_heat_maps(
    effects: Mapping[str, np.ndarray], *, truth: np.ndarray | None = None, genes: Sequence[str] | None = None
) -> Figure:
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
    genes
        Their names, written beside the maps of at most 60 (``NAMED``).

    Raises
    ------
    ValueError
        No matrix; shapes that differ.
    """
    panels = _panels(effects, truth)
    if truth is not None:
        total = np.abs(panels[TRUTH]).sum(0)
        panels[TRUTH] = np.divide(panels[TRUTH], total, out=panels[TRUTH], where=total > 0)
    leading = panels[TRUTH] if truth is not None else _mean_size(panels)
    rows, columns = effect_order(leading)
    drawn = {name: pooled(matrix[np.ix_(rows, columns)]) for name, matrix in panels.items()}
    limit = max(_limit(drawn[name]) for name in effects) or 1.0
    norm = FuncNorm((lambda v: np.sign(v) * np.sqrt(np.abs(v)), lambda v: np.sign(v) * v**2), vmin=-limit, vmax=limit)
    titles = {name: _title(name, matrix, panels.get(TRUTH)) for name, matrix in panels.items()}
    figure = _heat_maps(drawn, titles, SIGNED, norm, ("target gene", "source gene"), "effect on the target's rate")
    _name(figure, len(drawn), genes, columns, rows)
    if truth is not None:
        _mark(figure, len(drawn), (leading != 0).any(1).mean(), None)
    return figure


@styled
def coregulation_heat_maps(
    effects: Mapping[str, np.ndarray], *, truth: np.ndarray | None = None, genes: Sequence[str] | None = None
) -> Figure:
    """Which genes act on the same targets, beside the truth (figures 2 and 6 of the DASH paper).

    `coregulation` as a cosine, of effects without their diagonal; genes that are similar in the truth (else in the
    mean of the estimates) stand together, in the same order everywhere; lines end the regulators of the truth. Genes
    that regulate nothing in any panel are left out.

    Parameters
    ----------
    effects, truth, genes
        As of `effect_heat_maps`.

    Raises
    ------
    ValueError
        No matrix; shapes that differ.
    """
    panels = _panels(effects, truth)
    shared = {name: coregulation(matrix, cosine=True) for name, matrix in panels.items()}
    order = similar_order(shared[TRUTH] if truth is not None else _mean_size(shared))
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
    titles = {name: _title(name, matrix, panels.get(TRUTH)) for name, matrix in panels.items()}
    axes = (f"gene ({len(order):,} that regulate)", "gene")
    figure = _heat_maps(drawn, titles, STRENGTH, Normalize(0, 1), axes, "coregulation (cosine)")
    _name(figure, len(drawn), genes, order, order)
    if truth is not None:
        share = (panels[TRUTH][order] != 0).any(1).mean()
        _mark(figure, len(drawn), share, share)
    return figure


def _panels(effects: Mapping[str, np.ndarray], truth: np.ndarray | None) -> dict[str, np.ndarray]:
    """The truth first, then the estimates, as new float64 matrices without self-edges."""
    if not effects or TRUTH in effects:
        raise ValueError(f"effects of {list(effects)}: expected at least one method, and none called 'truth'")
    given = {**({} if truth is None else {TRUTH: truth}), **effects}
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


def _name(figure: Figure, panels: int, genes: Sequence[str] | None, columns: np.ndarray, rows: np.ndarray) -> None:
    """The genes of columns and rows beside each panel, where they are few enough to be read; the sides grow with
    them."""
    if genes is None or max(len(columns), len(rows)) > NAMED:
        return
    width, height = figure.get_size_inches() * max(1.2, max(len(columns), len(rows)) / 18)
    figure.set_size_inches(width, height)
    for ax in figure.axes[:panels]:
        ax.set_xticks(range(len(columns)), [shortened(genes[i], 12) for i in columns], rotation=90, fontsize=7)
        ax.set_yticks(range(len(rows)), [shortened(genes[i], 12) for i in rows], fontsize=7)
        ax.tick_params(length=0)


def _title(name: str, matrix: np.ndarray, truth: np.ndarray | None) -> str:
    off = ~np.eye(len(matrix), dtype=bool)
    share = (matrix[off] != 0).mean()
    text = f"{'Truth' if name == TRUTH else shortened(name, 28)}\neffects in {share:.1%} of pairs"
    if truth is not None and name != TRUTH:
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
