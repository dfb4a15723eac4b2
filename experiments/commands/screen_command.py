"""The command ``pyrogrn screen``: a perturbation screen becomes a prior network."""

import os
from pathlib import Path
from typing import Annotated

import typer

LARGEST_LEVEL = 50  # of whole numbers that may be levels on a log scale; counts go beyond in some gene
NUM_CELLS = 5000  # looked at


def screen_command(
    expression: Annotated[Path, typer.Argument(help="A screen: .h5ad, zarr, csv or tsv, one row a cell or condition")],
    perturbation_key: Annotated[str, typer.Option(help="Column with the perturbed gene, or control, of each row")],
    out: Annotated[Path, typer.Option(help="Prior network to write, csv: use it with --prior NAME=OUT")],
    layer: Annotated[str | None, typer.Option(help="Layer instead of X")] = None,
    genes_in: Annotated[
        str | None, typer.Option(help="rows or columns of the expression file [default: where names of genes are]")
    ] = None,
    normalize: Annotated[str, typer.Option(help="none, log1p-cpm (of counts) or zscore")] = "none",
    context_key: Annotated[str | None, typer.Option(help="Column of batches within which cells are compared")] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(help="Label of control cells, beside the usual ones (non-targeting, NTC, ctrl, ...); repeatable"),
    ] = None,
    unmeasured: Annotated[
        bool, typer.Option("--unmeasured", help="Most perturbed genes are not measured: do not refuse their labels")
    ] = False,
    direction: Annotated[str, typer.Option(help="down: knock-outs and knock-downs; up: over-expression")] = "down",
    sources: Annotated[
        Path | None, typer.Option(help="Perturbed genes to keep, one a line (the TFs) [default: all]")
    ] = None,
    hidden: Annotated[
        int,
        typer.Option(help="Components that all perturbations share, to take out first (panels of many knock-downs)"),
    ] = 0,
    min_probability: Annotated[float, typer.Option(help="Leave out edges below")] = 0.05,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file --out")] = False,
) -> None:
    """Effects of perturbations as prior knowledge: an edge from each perturbed gene to each gene that responds, with
    the probability that the response is real, and its sign.

    A response is a total effect: targets of targets respond too. What a screen is worth as a prior, `pyrogrn ablate`
    tells.
    """
    from ...models.data.scale import COUNTS, scale_of
    from ...priors.screens import screen_to_network
    from ..files.file_formats import read_file
    from ..files.orientation import as_cells, check_axis
    from ..files.perturbation_column import read_column
    from ..files.readers import read_expression, read_names
    from ..files.scale_notes import scale_notes
    from ..files.stored import about
    from .terminal import say

    if direction not in ("down", "up"):
        raise ValueError(f"--direction {direction}: choose down or up")
    if hidden < 0 or not 0 <= min_probability < 1:
        raise ValueError(f"--hidden {hidden}, --min-probability {min_probability}: expected 0 or more, and 0 to 1")
    if not out.name.removesuffix(".gz").endswith(".csv"):
        raise ValueError(f"--out {out}: expected a name that ends in .csv or .csv.gz")
    check_file(out, overwrite=overwrite)
    kept = read_names(sources) if sources is not None else None
    known = {"--sources": kept} if kept else {}
    data = read_expression(
        expression,
        tfs=None,
        layer=layer,
        normalize=normalize,
        context_key=context_key,
        perturbation_key=perturbation_key,
        control=control or (),
        unmeasured=unmeasured,
        drop_constant=True,
        genes_in=genes_in,
        known=known,
    )
    for note in data.notes:
        say(note.replace(", nothing to cut", ""))
    seen = scale_of(data.rows(slice(0, min(data.num_cells, NUM_CELLS))).numpy())
    if normalize == "none" and seen.kind == COUNTS and seen.high > LARGEST_LEVEL:
        raise ValueError(
            f"{expression}: whole numbers beyond {LARGEST_LEVEL} look like raw counts, and effects are compared on a "
            "log scale: pass --normalize log1p-cpm, or a --layer that is on one"
        )
    for note in scale_notes(data, "log", method="screen", normalize=normalize):
        say(f"note: {note}")
    with about(expression):
        text = {key for key in (perturbation_key, context_key) if key is not None}
        stored = read_file(expression, layer=layer, text=text, backed=None)
        cells, _ = as_cells(stored, None, known=known, genes_in=check_axis(genes_in), backed=None)
        read = read_column(
            cells.row_table[perturbation_key], cells.columns, control=control or (), unmeasured=unmeasured
        )
        labels = ["+".join(genes) or "control" for genes, said in zip(read.genes, read.known, strict=True) if said]
    network = screen_to_network(
        data,
        name=out.name.removesuffix(".gz").removesuffix(".csv"),
        labels=labels,
        direction="down" if direction == "down" else "up",
        sources=read_names(sources, data.genes) if sources is not None else None,
        hidden=hidden,
        min_probability=min_probability,
    )
    table = network.to_frame()
    if table.empty:
        raise ValueError(
            f"no gene responds with a probability of {min_probability:g} or more: there is no network to write"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    network.write(out)
    say(f"{out}: {len(table)} edges from {table['source'].nunique()} perturbed genes")


def check_file(out: Path, *, overwrite: bool) -> None:
    """Refuse a file that exists, unless it may be replaced, and a place where none can be made; before any work."""
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder: choose the name of a file")
    if out.exists() and not overwrite:
        raise ValueError(f"--out {out} exists: pass --overwrite to replace it, or choose another file")
    parent = out.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"cannot write to {out}: {parent} is a file. Choose another place with --out")
    if not os.access(parent, os.W_OK):
        raise ValueError(f"cannot write to {out}: no permission in {parent}. Choose another place with --out")
