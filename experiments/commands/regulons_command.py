"""``pyrogrn regulons``: the regulons of a run, and activities of their regulators in cells."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal import say


def regulons_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A folder made by `infer`")],
    out: Annotated[Path, typer.Option(help="Folder to make")],
    fdr: Annotated[float | None, typer.Option(help="The list: expected share of wrong edges [default: 0.1]")] = None,
    top: Annotated[int | None, typer.Option(help="Instead: this many of the most probable edges")] = None,
    context: Annotated[str | None, typer.Option(help="One context's list")] = None,
    min_targets: Annotated[int, typer.Option(help="Fewest targets of a regulon")] = 3,
    expression: Annotated[
        Path | None, typer.Option(help="Cells: adds activities of the regulators, with their sd")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer of the cells to read instead of X [default: that of the run]")
    ] = None,
    normalize: Annotated[
        str | None, typer.Option(help="none, log1p-cpm, zscore or auto [default: as in the run]")
    ] = None,
    context_key: Annotated[str | None, typer.Option(help="Column of .obs with the contexts of the run")] = None,
    by: Annotated[str | None, typer.Option(help="Column of .obs: means by group (cell types), and a picture")] = None,
    draws: Annotated[int, typer.Option(help="Posterior draws to use for activities")] = 100,
    decoupler: Annotated[
        str | None,
        typer.Option(help="Also scores by a method of decoupler (ulm, mlm, viper, aucell, ...), if installed"),
    ] = None,
) -> None:
    """Regulons of a run at a stated list, in the formats of decoupler, pySCENIC and GMT, and activities of regulators
    per cell with uncertainty.

    Writes OUT/regulons.csv (the list), regulons.gmt (SPI1(+), SPI1(-)), net.csv (decoupler), adjacencies.tsv and
    pyscenic.csv (what pySCENIC's ctx reads and writes); with --expression activities.csv.gz, with --by
    activities_by_group.csv and activities.png, with --decoupler decoupler.csv.gz, decoupler_by_group.csv and
    decoupler.png.

    \b
    Examples:
      pyrogrn regulons run --out regulons
      pyrogrn regulons run --top 500 --expression cells.h5ad --by cell_type --out regulons
      pyrogrn regulons run --expression cells.h5ad --by cell_type --decoupler ulm --out regulons
    """
    from ...inference import Posterior
    from ..files.stored_config import read_config
    from .regulons_run import write_regulons

    if fdr is not None and top is not None:
        raise ValueError("--fdr and --top: choose one list")
    if by is not None and expression is None:
        raise ValueError("--by does nothing without --expression: name the cells, or leave --by out")
    if decoupler is not None and expression is None:
        raise ValueError("--decoupler does nothing without --expression: name the cells, or leave --decoupler out")
    for name, number in (("--top", top), ("--min-targets", min_targets), ("--draws", draws)):
        if number is not None and number < 1:
            raise ValueError(f"{name} {number}: expected at least 1")
    config = read_config(folder) if (folder / "config.json").is_file() else {}
    posterior = Posterior.load(folder / "model" if (folder / "model").is_dir() else folder)
    for line in write_regulons(
        posterior,
        out,
        fdr=0.1 if fdr is None and top is None else fdr,
        top=top,
        context=context,
        min_targets=min_targets,
        expression=expression,
        layer=layer if layer is not None else config.get("layer"),
        normalize=normalize or str(config.get("normalize", "none")),
        context_key=context_key,
        by=by,
        draws=draws,
        decoupler=decoupler,
    ):
        say(line)
