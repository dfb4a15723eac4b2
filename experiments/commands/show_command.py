"""``pyrogrn show``: what a run says of one gene."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal import LEVEL, result


def show_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A folder made by `infer`")],
    gene: Annotated[str, typer.Argument(metavar="GENE", help="A gene of the run")],
    top: Annotated[int, typer.Option(help="Rows of each table")] = 10,
    context: Annotated[str | None, typer.Option(help="One context's network")] = None,
    level: Annotated[float, typer.Option(help="Probability of the intervals")] = LEVEL,
    draws: Annotated[int, typer.Option(help="Posterior draws to use for the knock-out")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout")] = False,
) -> None:
    """What a run says of one gene: its regulators, its targets, with intervals and prior evidence, and what knocking it
    out does; of gene programs, those that it is in.

    \b
    Examples:
      pyrogrn show run SPI1
      pyrogrn show run SPI1 --top 30 --json
    """
    import json

    from ...inference import Posterior
    from ..gene_page import gene_page

    if top < 1 or draws < 1:
        raise ValueError(f"--top {top}, --draws {draws}: expected at least 1 each")
    posterior = Posterior.load(folder / "model" if (folder / "model").is_dir() else folder)
    page = gene_page(posterior, gene, top=top, context=context, level=level, num_draws=draws)
    if as_json:
        result(json.dumps(page.to_records()))
        return
    for line in page.lines():
        result(line)
