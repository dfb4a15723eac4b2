"""``pyrogrn figures``: the four figures of a fitted perturbation panel."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def figures_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A folder made by `infer --method factorbox`")],
    out: Annotated[Path, typer.Option(help="Folder to write figures, their tables and captions.md to")],
    context: Annotated[
        str | None, typer.Option(help="Context of the flux [default: the first, where there are several]")
    ] = None,
    edges: Annotated[int, typer.Option(help="Edges in the graph, at the most")] = 60,
    top: Annotated[int, typer.Option(help="Sources and outcomes of the flux")] = 25,
    draws: Annotated[int, typer.Option(help="Posterior draws of the flux")] = 20,
    format: Annotated[Literal["png", "svg", "pdf"], typer.Option(help="Of the figures")] = "png",
) -> None:
    """The four figures of a perturbation panel, with captions.

    (1) The fit by iteration, and seconds of alternating least squares against genes, timed here; (2) weights by context
    and how far contexts agree; (3) the directed, signed graph of the surest edges; (4) the flux of variance from
    perturbed genes to outcomes. A figure that a run has nothing for is left out, and captions.md says why.

    \b
    Examples:
      pyrogrn figures factorbox --out figures
      pyrogrn figures factorbox --context A375 --format svg --out figures
    """
    from ...inference import Posterior
    from ..files.whole import check_place, whole_folder
    from ..panel_figures import panel_figures
    from .terminal import say, write_figure, write_table

    if min(edges, top) < 1 or draws < 2:
        raise ValueError(f"--edges {edges}, --top {top}, --draws {draws}: expected at least 1, 1 and 2 draws")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: choose another folder with --out")
    check_place(out)
    posterior = Posterior.load(folder / "model" if (folder / "model").is_dir() else folder)
    if posterior.model.name != "factorbox":
        raise ValueError(
            f"{folder} is a fit of {posterior.model.name}: these figures are those of --method factorbox. Its report "
            "has the pictures of other fits, `flux` draws those of cellbox, and `influence` those of phoenix"
        )
    made = panel_figures(posterior, context=context, edges=edges, top=top, draws=draws)
    with whole_folder(out) as place:
        for name, figure in made.figures.items():
            write_figure(figure, place / f"{name}.{format}")
        for name, table in made.tables.items():
            write_table(table, place / f"{name}.csv")
        (place / "captions.md").write_text(made.text, encoding="utf-8")
    for name, why in made.left_out.items():
        say(f"{name} is left out: {why}")
    say(f"{out}: {', '.join(made.figures)}, captions.md")
