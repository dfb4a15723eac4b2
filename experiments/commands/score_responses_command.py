"""``pyrogrn score-responses``: networks by perturbed cells, without a known network."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal import read_edges, result, say, write_table

ANNOTATED = (".h5ad", ".zarr")  # formats with several columns of annotations; the others have the one column named


def score_responses_command(
    expression: Annotated[Path, typer.Argument(help="Perturbed cells, in any format of `infer`; not those of the fit")],
    edges: Annotated[
        list[Path], typer.Argument(help="Edge tables to compare, in any format, FILE?format=NAME or folders of `infer`")
    ],
    perturbation_key: Annotated[str, typer.Option(help="Column with the perturbed gene of each cell")],
    control: Annotated[
        list[str] | None,
        typer.Option(help="Label of control cells, beside the usual ones (non-targeting, NTC, ctrl, ...); repeatable"),
    ] = None,
    replicate_key: Annotated[str | None, typer.Option(help="Column with the replicate of each cell")] = None,
    tfs: Annotated[Path | None, typer.Option(help="Regulators whose edges count [default: all]")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to read instead of X")] = None,
    normalize: Annotated[str, typer.Option(help="none, log1p-cpm, zscore, or auto: what the numbers ask for")] = "auto",
    top: Annotated[int, typer.Option(help="Best edges of each network to take: equally many are fair")] = 50_000,
    out: Annotated[Path | None, typer.Option(help="csv to write, with intervals and differences")] = None,
    seed: Annotated[int, typer.Option(help="Of folds, random networks and the bootstrap")] = 0,
) -> None:
    """Which network describes perturbed cells best: scores of geneRNIB and GRETA, without a known network.

    Larger is better. With several networks the differences from the first are shown where their interval excludes zero;
    networks are comparable within one call only.

    \b
    Examples:
      pyrogrn score-responses held_out.h5ad run/edges.csv ridge.csv --perturbation-key perturbation --top 1000
      pyrogrn score-responses held_out.h5ad run --perturbation-key guide --control unperturbed
    """
    import pandas as pd

    from ...priors.perturbation_words import CONTROLS
    from ..files.perturbation_column import check_controls
    from ..files.readers import read_expression, read_names
    from ..response_scores import NEEDS, SCORES, PerturbedCells, response_scores

    if replicate_key is not None and expression.suffix not in ANNOTATED:
        raise ValueError("--replicate-key is a column of .obs of an h5ad or zarr: convert the file, or leave it out")
    annotated = expression.suffix in ANNOTATED
    data = read_expression(
        expression, tfs=None, layer=layer, normalize=normalize, context_key=None if annotated else perturbation_key
    )
    for note in data.notes:
        say(f"{expression}: {note}")
    if annotated:
        columns = {} if data.labels is None else {str(c): data.labels.table[c].tolist() for c in data.labels.table}
        lost = [key for key in (perturbation_key, replicate_key) if key is not None and key not in columns]
        if lost:
            raise ValueError(f"{expression}: has no column {lost[0]!r} in .obs; found {', '.join(columns) or 'none'}")
        labels, groups = columns[perturbation_key], None if replicate_key is None else columns[replicate_key]
    else:
        assert data.context is not None, "a context key was given"
        labels, groups = [data.context_names[code] for code in data.context.tolist()], None
    networks: dict[str, pd.DataFrame] = {}
    for path in edges:
        place = path / "edges.csv" if path.is_dir() else path
        networks[_name(path, networks)] = read_edges(place)
    check_controls(control or (), [pd.Series(labels, dtype=object)])
    cells = PerturbedCells.of(data, labels, groups=groups, controls=(*CONTROLS, *(control or ())))
    measured = int((cells.own >= 0).sum())
    say(
        f"{len(cells.levels)} cells, {len(cells.conditions)} perturbed genes ({measured} measured), "
        f"{int((cells.condition < 0).sum())} controls"
        + (f"; {cells.left_out} cells left out: several genes perturbed, or not known which" if cells.left_out else "")
    )
    names = None if tfs is None else read_names(tfs, set(cells.genes))
    found = response_scores(networks, cells, tfs=names, top=top, seed=seed)
    table = found.table()
    for score in SCORES:
        if score not in set(table["score"]):
            say(f"no score {score!r}: {NEEDS[score]}")
    numbers = dict(zip(table["network"], table["num_edges"], strict=True))
    if len(set(numbers.values())) > 1:
        told = ", ".join(f"{name} {number:,}" for name, number in numbers.items())
        equal = f"equally many: --top {min(numbers.values())}"
        say(f"edges that were used differ in number, which some scores reward: {told}; {equal}")
    first = next(iter(networks))
    against = found.differences(first).rename(columns={"lower": "difference_lower", "upper": "difference_upper"})
    table = table.merge(against, how="left", on=["network", "score"])
    if out is not None:
        write_table(table, out)
    for name, rows in table.groupby("score", sort=False):
        result(f"{name}: {SCORES[str(name)]}")
        for row in rows.to_dict("records"):
            same = not row["difference_lower"] > 0 and not row["difference_upper"] < 0  # the first has no difference
            differs = "" if same else f", differs from {first}"
            result(f"  {row['network']:<24} {row['value']:8.4f}  [{row['lower']:.4f}, {row['upper']:.4f}]{differs}")


def _name(path: Path, taken: dict) -> str:
    """Of a network: the folder of a run, else the file's stem; with its folder where that is taken."""
    run = path if path.is_dir() else path.parent
    name = run.name if path.is_dir() or path.name == "edges.csv" else path.name.split(".")[0]
    name = name or run.resolve().name
    return name if name not in taken else str(path)
