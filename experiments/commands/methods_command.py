"""``pyrogrn methods``: on one screen which method is for what, and of one method its priors and engines."""

from typing import Annotated

import typer

from .terminal import result


def methods_command(
    name: Annotated[str | None, typer.Argument(metavar="METHOD", help="The page of one method")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All methods, priors and guides, as JSON on stdout")] = False,
) -> None:
    """Methods: the data each is for, what it answers, and whether its probabilities were tested; `methods NAME` has the
    priors and guides of one.

    \b
    Examples:
      pyrogrn methods
      pyrogrn methods linear
    """
    from ..methods import methods, overview

    table = methods()
    if as_json:
        result(table.to_json(orient="records"))
        return
    if name is None:
        for line in overview(table):
            result(line)
        return
    rows = table[table["method"] == name]
    if rows.empty:
        raise ValueError(f"unknown method {name!r}: choose one of {', '.join(table['method'].unique())}")
    result(f"{name}    {rows['infers'].iloc[0]}: {rows['reference'].iloc[0]}")
    for prior, part in rows.groupby(rows["edge_prior"] + rows["loading_prior"], sort=False):
        result(f"  {prior}")
        for row in part.itertuples():
            result(f"    {row.guide:<11} {'calibrated' if row.calibrated else '-':<11} {row.note}")
    result("--guide takes these names, and svi for mean-field")
