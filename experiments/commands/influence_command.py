"""``pyrogrn influence``: which genes and pathways drive the dynamics that PHOENIX has fitted, run beside run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import LARGEST_SEED, LEVEL

if TYPE_CHECKING:  # not at run time: `--help` waits for no pandas
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from ..influence_runs import RunInfluence


def influence_command(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", help="Folders made by `infer --method phoenix`; several, of the same data, side by side"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write tables and figures to")],
    gene_sets: Annotated[
        list[str] | None, typer.Option(help="LIBRARY=FILE.gmt: score pathways as well; repeatable")
    ] = None,
    starts: Annotated[int, typer.Option(help="Random starts of the dynamics, for each draw; the paper has 200")] = 50,
    draws: Annotated[int, typer.Option(help="Posterior draws to use")] = 8,
    level: Annotated[float, typer.Option(help="Probability of the intervals")] = LEVEL,
    seed: Annotated[int, typer.Option(help="Of starts and permutations", min=0, max=LARGEST_SEED)] = 0,
) -> None:
    """Which genes drive the dynamics, and which pathways: OUT/influence.csv, degrees.csv, pathways.csv and figures.

    The influence of a gene is how far the others move, over a course from random levels, when its own is drawn anew
    (Hossain et al. 2024, B.8), all in units of the fit, in which genes range from 0 to 1; the score of a pathway is
    that of its genes against random sets of as many, with Bonferroni and Benjamini-Hochberg corrections. Of several
    runs, which start from the same random levels, tables have a column `run`, the name of the folder, and figures show
    the runs side by side.

    \b
    Examples:
      pyrogrn influence dynamics --out influence
      pyrogrn influence dash imp pathreg --gene-sets hallmark=h.gmt --starts 200 --out pathways
    """
    import pandas as pd

    from ...inference.neural_ode.pathways import pathway_influence
    from ..files.whole import check_place, whole_folder
    from ..influence_runs import check_same, influence_of, labels_of, load
    from .options import read_gene_sets
    from .terminal import say, write_figure, write_table

    if min(starts, draws) < 1 or not 0 < level < 1:
        raise ValueError(f"--starts {starts}, --draws {draws}, --level {level}: expected at least 1, 1, and 0 to 1")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: choose another folder with --out")
    check_place(out)
    libraries = read_gene_sets(gene_sets or [])
    labels = labels_of(folders)
    check_same(folders, labels)
    found = {
        label: influence_of(load(folder), label=label, starts=starts, draws=draws, level=level, seed=seed)
        for label, folder in zip(labels, folders, strict=True)
    }
    scores = {label: one.table.set_index("gene")["influence"] for label, one in found.items()}
    pathways = {label: pathway_influence(s, libraries, seed=seed) for label, s in scores.items()} if libraries else {}
    tables = {
        "influence": [one.table for one in found.values()],
        "degrees": [one.degrees for one in found.values()],
        "pathways": list(pathways.values()),
    }
    pictures = _pictures(found, pathways)
    with whole_folder(out) as place:
        for name in (written := [name for name, parts in tables.items() if parts]):
            write_table(pd.concat(_with_run(tables[name], labels), ignore_index=True), place / f"{name}.csv")
        for name, figure in pictures.items():
            write_figure(figure, place / f"{name}.png")
    say(f"{out}: {', '.join(f'{name}.csv' for name in written)}, figures")


def _with_run(parts: "Sequence[pd.DataFrame]", labels: "Sequence[str]") -> "list[pd.DataFrame]":
    """The tables of several runs with their names in front; of one run as it is."""
    if len(parts) == 1:
        return list(parts)
    return [part.assign(run=label)[["run", *part.columns]] for part, label in zip(parts, labels, strict=True)]


def _pictures(found: "Mapping[str, RunInfluence]", pathways: "Mapping[str, pd.DataFrame]") -> "dict[str, Figure]":
    from ..figures.courses import influence_bars, influence_beside, pathway_scores
    from ..figures.effect_maps import coregulation_heat_maps, effect_heat_maps

    only = next(iter(found.values())) if len(found) == 1 else None
    genes = next(iter(found.values())).genes  # of all runs
    effects = {"PHOENIX" if only else label: one.effects for label, one in found.items()}
    pictures = {
        "influence": influence_bars(only.table, degrees=only.degrees)
        if only
        else influence_beside({label: one.table for label, one in found.items()}),
        "effects": effect_heat_maps(effects, genes=genes),
        "coregulation": coregulation_heat_maps(effects, genes=genes),
    }
    if pathways:
        pictures["pathways"] = pathway_scores(dict(zip(effects, pathways.values(), strict=True)))
    return pictures
