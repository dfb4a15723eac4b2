"""``pyrogrn score-cells``: gene programs of a fit in cells of another file."""

from pathlib import Path
from typing import Annotated

import typer

WIDE = 0.9  # mean sd of a program's scores from which the genes that are there tell next to nothing; the prior's is 1


def score_cells_command(
    folder: Annotated[Path, typer.Argument(help="A folder made by `infer --method muvi` or `ppca`")],
    expression: Annotated[Path, typer.Argument(help="Cells to score, in any format of `infer` and in the same units")],
    out: Annotated[Path, typer.Option(help="csv[.gz] to write: cell, program, mean, sd")],
    group: Annotated[
        str | None, typer.Option(help="Group of the fit that all cells belong to, where it has several")
    ] = None,
    context_key: Annotated[
        str | None, typer.Option(help="Column of .obs with the group of each cell, instead of --group")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to read [default: as in the fit]")] = None,
    normalize: Annotated[str | None, typer.Option(help="none or log1p-cpm [default: as in the fit]")] = None,
    genes_in: Annotated[str | None, typer.Option(help="rows or columns of the file [default: by their names]")] = None,
    least_genes: Annotated[
        float, typer.Option(help="Fewest genes of the fit that the file must have, as a share of them")
    ] = 0.5,
) -> None:
    """Scores of new cells: how active each program of a fit is in them, with sd. Genes of the fit that the file lacks
    are missing values, which makes the sd larger."""
    from ...inference import Posterior
    from ..files.readers import read_expression
    from ..files.result_tables import write_csv
    from ..files.stored_config import read_config
    from ..files.whole import whole_file
    from ..report.program_tables import long_scores
    from .terminal import say

    if group is not None and context_key is not None:
        raise ValueError("--group says the group of all cells and --context-key that of each: give one of them")
    if not 0 < least_genes <= 1:
        raise ValueError(f"--least-genes {least_genes}: expected a share above 0 and at most 1")
    place = folder / "config.json"
    config = read_config(folder) if place.is_file() else {}
    posterior = Posterior.load(folder / "model" if (folder / "model").is_dir() else folder)
    model = posterior.model
    if model.infers != "programs":
        raise ValueError(f"{folder} is a fit of {model.name}: scores are of gene programs (--method muvi or ppca)")
    coords = posterior.coords
    if coords["covariate"]:
        raise ValueError(
            f"{folder} was fitted with covariates ({', '.join(coords['covariate'][:3])}), in units that were those of "
            "its cells: fit it without --covariates to score new cells, or fit both files together"
        )
    normalize = normalize or str(config.get("normalize", "none"))
    if normalize == "zscore":
        raise ValueError(
            "z-scores of new cells are not in the units of the fit, whose means and sds they would need: fit with "
            "--normalize none (muvi standardises genes itself)"
        )
    data = read_expression(
        [expression],
        tfs=None,
        layer=layer if layer is not None else config.get("layer"),
        normalize=normalize,
        context_key=context_key,
        genes_in=genes_in,
        known={"the fit": coords["gene"]},
        missing=True,
    )
    for note in data.notes:
        say(note)
    there = set(data.genes)
    absent = [gene for gene in coords["gene"] if gene not in there]
    mean, sd = posterior.scores(data, group=group, least_genes=least_genes)
    if absent:
        named = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        say(f"{len(absent)} of the {len(coords['gene'])} genes of the fit are missing ({named}): sds are larger")
    wide = [str(name) for name, size in sd.mean().items() if size > WIDE]
    if wide:
        named = ", ".join(wide[:3]) + (", ..." if len(wide) > 3 else "")
        say(f"note: next to nothing is known of {len(wide)} programs in these cells ({named}): their sd is over {WIDE}")
    with whole_file(out) as scratch:
        write_csv(long_scores(mean, sd), scratch, float_format="%.5g")
    say(f"{data.num_cells} cells, {len(coords['factor'])} programs: {out}")
