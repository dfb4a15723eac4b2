"""The commands ``pyrogrn course`` and ``pyrogrn influence``, of networks fitted to time courses by PHOENIX."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import LARGEST_SEED, LEVEL

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


def influence_command(
    folder: Annotated[Path, typer.Argument(help="A folder made by `infer --method phoenix`")],
    out: Annotated[Path, typer.Option(help="Folder to write tables and figures to")],
    gene_sets: Annotated[
        list[str] | None, typer.Option(help="LIBRARY=FILE.gmt: score pathways as well; repeatable")
    ] = None,
    starts: Annotated[int, typer.Option(help="Random starts of the dynamics, for each draw")] = 50,
    draws: Annotated[int, typer.Option(help="Posterior draws to use")] = 8,
    level: Annotated[float, typer.Option(help="Probability of the intervals")] = LEVEL,
    seed: Annotated[int, typer.Option(help="Of starts and permutations", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Which genes drive the dynamics, and which pathways: OUT/influence.csv, degrees.csv, pathways.csv and figures.

    The influence of a gene is how far the others move, over a course from random levels, when its own is drawn anew
    (Hossain et al. 2024, B.8), all in units of the fit, in which genes range from 0 to 1; the score of a pathway is
    that of its genes against random sets of as many, with Bonferroni and Benjamini-Hochberg corrections.
    """
    import numpy as np
    import torch

    from ...inference import Posterior
    from ...inference.neural_ode.degrees import degree_table
    from ...inference.neural_ode.influence import Forward, gene_influence, influence_table
    from ...inference.neural_ode.pathways import pathway_influence
    from ...inference.neural_ode.surviving import weight_draws
    from ...models.dynamics.phoenix_layers import BlowUp
    from ...models.dynamics.phoenix_network import effect_matrix
    from ..figures.courses import influence_bars, pathway_scores
    from ..figures.effect_maps import coregulation_heat_maps, effect_heat_maps
    from ..files.whole import check_place, whole_folder
    from .options import read_gene_sets
    from .terminal import say, write_figure, write_table

    if min(starts, draws) < 1 or not 0 < level < 1:
        raise ValueError(f"--starts {starts}, --draws {draws}, --level {level}: expected at least 1, 1, and 0 to 1")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: choose another folder with --out")
    check_place(out)
    libraries = read_gene_sets(gene_sets or [])
    posterior = Posterior.load(folder / "model" if (folder / "model").is_dir() else folder)
    model: Any = posterior.model
    if not model.neural_ode:
        raise ValueError(f"{folder} is a fit of {model.name}: influence is for --method phoenix")
    weights, _ = weight_draws(posterior, draws, seed=seed)
    times = torch.linspace(0, float(model.durations().max()), 6)
    step = float(model.longest_step)
    solver = model.solver if math.isnan(step) else Forward(step)
    try:
        found = gene_influence(weights, times, starts=starts, seed=seed, solver=solver)
    except BlowUp as error:
        raise ValueError(
            f"{error}: the network is unstable far from the data; fit it with smaller steps (--set model.step=0.5)"
        ) from error
    table = influence_table(found, model.genes, level=level)
    effects = effect_matrix(weights).cpu().numpy()
    degrees = degree_table(effects, model.genes, threshold=posterior.threshold or 0.0, level=level)
    tables = {"influence": table, "degrees": degrees}
    mean = {"PHOENIX": np.asarray(effects).mean(0)}
    pictures = {
        "influence": influence_bars(table, degrees=degrees),
        "effects": effect_heat_maps(mean, genes=model.genes),
        "coregulation": coregulation_heat_maps(mean, genes=model.genes),
    }
    if libraries:
        scores = table.set_index("gene")["influence"]
        tables["pathways"] = pathway_influence(scores, libraries, seed=seed)
        pictures["pathways"] = pathway_scores({"PHOENIX": tables["pathways"]})
    with whole_folder(out) as place:
        for name, found_table in tables.items():
            write_table(found_table, place / f"{name}.csv")
        for name, figure in pictures.items():
            write_figure(figure, place / f"{name}.png")
    say(f"{out}: {', '.join(f'{name}.csv' for name in tables)}, figures")
