"""``pyrogrn convert``: networks, and lists of a fit, in the formats of other programs."""

from pathlib import Path
from typing import Annotated

import typer

from ..files.whole import whole_file
from .terminal import result, say


def convert_command(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="IN", help="A network in any known format, FILE?KEY=VALUE, or a folder made by `infer`"),
    ] = None,
    target: Annotated[Path | None, typer.Argument(metavar="OUT", help="File to write")] = None,
    read_as: Annotated[
        str | None, typer.Option("--from", help="Format of IN, see --formats [default: recognised]")
    ] = None,
    write_as: Annotated[str, typer.Option("--to", help="Format of OUT; --formats lists them")] = "edges",
    fdr: Annotated[
        float | None, typer.Option(help="Of a fit: the largest list with this expected share of wrong edges")
    ] = None,
    top: Annotated[int | None, typer.Option(help="The most probable edges, this many")] = None,
    context: Annotated[str | None, typer.Option(help="Of a run with several contexts: one of them")] = None,
    formats: Annotated[
        bool, typer.Option("--formats", help="All formats: what each loses, which are only read")
    ] = False,
) -> None:
    """Convert a network, or the list of a fit, between the formats of the field.

    \b
    Lists of a fit go to (--formats says what each loses, and those of networks):
      edges, graphml, gexf, cytoscape, sif      tables and graphs
      celloracle-links, arboreto, decoupler, inferelator-network, genernib, gretapy

    \b
    Examples:
      pyrogrn convert run network.graphml --to graphml --fdr 0.1
      pyrogrn convert run/edges.csv net.csv --to decoupler --top 500
      pyrogrn convert collectri.csv motif.txt --to panda-motif
    """
    from ...priors import PriorNetwork
    from ..exports import export, formats_told, source_of

    if formats:
        for line in formats_told():
            result(line)
        return
    if source is None or target is None:
        raise ValueError("convert needs IN and OUT: the network, and the file to write (--formats lists the formats)")
    if top is not None and top < 1:
        raise ValueError(f"--top {top}: expected at least 1")
    found = source_of(source, read_as)
    with whole_file(target) as place:
        rows = export(found, place, write_as, fdr=fdr, top=top, context=context)
    for note in found.notes if isinstance(found, PriorNetwork) else ():
        say(note)
    say(f"{len(rows)} edges: {target}")
