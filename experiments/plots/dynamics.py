"""Pictures of what changes: courses in time, interventions, what drives variation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ...inference import Posterior, flux_table
from ...inference.answers.results import Course
from ...inference.draws.intervals import LEVEL
from ..figures.courses import draw_course, trajectories
from ..figures.knockouts import draw_knockout, knockout_forest, most_changed
from ..figures.panels import draw_flux, plot_flux
from .drawing import drawn

NUM_GENES = 12


def course(course: Course, genes: Sequence[str] | None = None, *, level: float = LEVEL, ax: Axes | None = None) -> Axes:
    """Predicted courses of genes with bands, a panel each.

    Parameters
    ----------
    course
        `Posterior.course`, of PHOENIX.
    genes
        Genes to draw. Default the twelve that move most, by the noise of a measurement.
    level
        Probability of the bands. Default 0.89.
    ax
        Axes to draw one gene into, the first.

    Raises
    ------
    ValueError
        A gene that is not in the course.
    """
    place = {gene: i for i, gene in enumerate(course.genes)}
    if genes is None:
        moved = np.ptp(course.levels.mean(0), axis=0) / course.noise
        genes = [course.genes[i] for i in np.argsort(-moved, kind="stable")[:NUM_GENES]]
    unknown = [gene for gene in genes if gene not in place]
    if unknown or not len(genes):
        raise ValueError(f"no course of {unknown or 'any gene'}: the genes are {', '.join(course.genes[:5])}, ...")
    columns = [place[gene] for gene in genes]
    levels = course.levels[:, :, columns]
    return drawn(
        ax,
        lambda: trajectories(course.times, levels, list(genes), level=level),
        lambda a: draw_course(a, course.times, levels[:, :, 0], genes[0], level=level),
    )


def flux(
    posterior: Posterior,
    *,
    context: str | None = None,
    top: int = 25,
    level: float = LEVEL,
    num_draws: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """Which genes drive the variation of the others, of FactorBox and CellBox.

    Parameters
    ----------
    posterior
        A fit of FactorBox or CellBox.
    context, level, num_draws
        As of `flux_table`.
    top
        Genes to draw. Default 25.
    ax
        Axes to draw into. Default a figure of its own, with the flows among the genes beside.
    """
    table, shares = flux_table(posterior, context=context, level=level, num_draws=num_draws)
    genes = posterior.model.genes
    return drawn(ax, lambda: plot_flux(table, shares, genes, top=top), lambda a: draw_flux(a, table.head(top)))


def knockout(
    posterior: Posterior | pd.DataFrame,
    gene: str | Sequence[str] | None = None,
    *,
    count: int = 25,
    level: float = LEVEL,
    ax: Axes | None = None,
) -> Axes:
    """What a knock-out does to the genes that it moves most, with intervals.

    Parameters
    ----------
    posterior
        A fit of a network, or a table of `Posterior.predict`.
    gene
        Knocked out: one, or several together; of a table, what it is called.
    count
        Genes to draw. Default 25.
    level
        Probability of the intervals. Default 0.89.
    ax
        Axes to draw into. Default a figure of its own.

    Raises
    ------
    ValueError
        No gene for a posterior, and as `Posterior.predict`.
    """
    names = [gene] if isinstance(gene, str) else list(gene or ())
    if isinstance(posterior, pd.DataFrame):
        table = posterior
    elif names:
        table = posterior.predict(knockout=names, level=level)
    else:
        raise ValueError("name the gene to knock out: pl.knockout(posterior, 'SPI1')")
    what = f"knock-out of {', '.join(names)}" if names else "the intervention"
    shown = most_changed(table, count, names)
    return drawn(
        ax,
        lambda: knockout_forest(table, what=what, clamped=names, level=level, count=count),
        lambda a: draw_knockout(a, shown, what=what, level=level),
    )
