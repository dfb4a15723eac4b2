"""``pyrogrn course``: a course of a network that PHOENIX fitted to time courses."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal import LEVEL

COURSE_GENES = 12  # in the figure, where none are named


def course_command(
    folder: Annotated[Path, typer.Argument(help="A folder made by `infer --method phoenix`")],
    times: Annotated[str, typer.Option(help="TIME,TIME,... increasing, the first is that of the start")],
    out: Annotated[Path, typer.Option(help="csv to write; the figure goes beside it, .png")],
    start: Annotated[
        str | None,
        typer.Option(help="A trajectory of the fit, or a csv gene,level [default: mean of the first measurements]"),
    ] = None,
    knockout: Annotated[str | None, typer.Option(help="GENE[,GENE...] held at zero")] = None,
    overexpress: Annotated[list[str] | None, typer.Option(help="GENE=LEVEL held there; repeatable")] = None,
    genes: Annotated[
        str | None, typer.Option(help="GENE,GENE,... in the figure [default: the twelve that change most]")
    ] = None,
    level: Annotated[float, typer.Option(help="Probability of the bands")] = LEVEL,
    draws: Annotated[int, typer.Option(help="Posterior draws to use")] = 100,
) -> None:
    """A trajectory from any start, with genes held where you like: level with its band, noise of a measurement, and
    velocity (the derivative, comparable to RNA velocity), for every gene and time."""
    import numpy as np

    from ...inference import Posterior
    from ...inference.answers.named_genes import check_measured
    from ..figures.courses import trajectories
    from .gene_names import listed_genes
    from .options import parse_levels
    from .terminal import say, write_table_and_figure

    if not 0 < level < 1:
        raise ValueError(f"--level {level}: expected a probability strictly between 0 and 1")
    try:
        when = [float(part) for part in times.split(",")]
    except ValueError:
        raise ValueError(f"--times {times}: expected numbers, for example 0,10,20") from None
    posterior = Posterior.load(folder / "model" if (folder / "model").is_dir() else folder)
    first: dict[str, float] | str | None = start
    if start is not None and Path(start).is_file():
        first = start_levels(Path(start))
    course = posterior.course(
        when,
        start=first,
        knockout=listed_genes("--knockout", knockout, posterior.model.genes),
        overexpress=parse_levels("--overexpress", overexpress),
        num_draws=draws,
    )
    place = {gene: i for i, gene in enumerate(course.genes)}
    if genes is None:
        moved = np.ptp(course.levels.mean(0), axis=0) / course.noise
        shown = [course.genes[i] for i in np.argsort(-moved, kind="stable")[:COURSE_GENES]]
    else:
        shown = list(listed_genes("--genes", genes, course.genes))
        check_measured(shown, course.genes, what="--genes")
    columns = [place[gene] for gene in shown]
    figure = trajectories(course.times, course.levels[:, :, columns], shown, level=level)
    picture = write_table_and_figure(course.table(level), figure, out)
    if course.lost:
        say(f"in {course.lost:.0%} of the draws the solution blows up; they are left out")
    if course.beyond:
        say(
            f"{course.beyond} of {len(course.times)} times lie further from the start than any two measurements of the "
            f"fit from each other ({course.longest:g}): the network was held to changes over such intervals, beyond "
            "them its errors add up and levels can run away"
        )
    say(f"{out}, {picture}")


def start_levels(path: Path) -> dict[str, float]:
    """Levels by gene from a csv ``gene,level``.

    Raises
    ------
    ValueError
        Other columns, a gene listed twice or without a name, a level that is no number.
    """
    import pandas as pd

    from ...priors.formats.files import read_text
    from ...priors.formats.spreadsheet import read_named, restore_names

    table = read_named(read_text(path), ",", ("gene",))
    if not {"gene", "level"} <= set(table.columns):
        raise ValueError(f"--start {path}: has columns {list(table.columns)}, expected gene,level")
    table = restore_names(table, ("gene",))
    if bool(table["gene"].isna().any()):
        raise ValueError(f"--start {path}: row {int(table['gene'].isna().argmax()) + 1} names no gene")
    if bool(table["gene"].duplicated().any()):
        raise ValueError(f"--start {path}: lists {table['gene'][table['gene'].duplicated()].iloc[0]!r} twice")
    levels = pd.to_numeric(table["level"], errors="coerce")
    if bool(levels.isna().any()):
        row = int(levels.isna().argmax())
        raise ValueError(f"--start {path}: the level of {table['gene'].iloc[row]!r} is no number")
    return dict(zip(table["gene"], levels.astype(float), strict=True))
