"""What ``pyrogrn regulons`` writes."""

from pathlib import Path

import pandas as pd

from ...inference import Posterior
from ...models import ExpressionData
from ...priors.formats.gmt import write_gmt_text
from ..decoupler_scores import decoupler_scores, mean_by_group
from ..exports import edge_list, export
from ..figures.activities import activity_heat_map
from ..files.readers import read_expression
from ..files.result_tables import write_csv
from ..files.whole import whole_folder
from ..regulons import activities, regulons
from ..report.program_tables import long_scores


def write_regulons(
    posterior: Posterior,
    out: Path,
    *,
    fdr: float | None,
    top: int | None,
    context: str | None,
    min_targets: int,
    expression: Path | None,
    layer: str | None,
    normalize: str,
    context_key: str | None,
    by: str | None,
    draws: int,
    decoupler: str | None = None,
) -> list[str]:
    """All files or none; arguments as the options of the command. Returns lines for the person at the terminal.

    Raises
    ------
    ValueError
        ``out`` is there, no edge is left, no regulator has enough targets, decoupler is not installed; as
        `read_expression`.
    """
    if out.exists():
        raise ValueError(f"--out {out}: is there already, choose another folder")
    edges = edge_list(posterior, fdr=fdr, top=top, context=context)
    sets = regulons(edges, min_targets=min_targets)
    if not sets:
        raise ValueError(f"no regulon has {min_targets} targets in a list of {len(edges)} edges: take a longer list")
    cells = None if expression is None else _cells(posterior, expression, layer, normalize, context_key)
    lines = [f"{len(edges)} edges, {len(sets)} regulons with at least {min_targets} targets"]
    with whole_folder(out) as place:
        write_csv(edges, place / "regulons.csv")
        sizes = {name: f"{len(genes)} targets" for name, genes in sets.items()}
        write_gmt_text(sets, place / "regulons.gmt", sizes)
        export(edges, place / "net.csv", "decoupler")
        export(edges, place / "adjacencies.tsv", "arboreto")
        export(edges, place / "pyscenic.csv", "pyscenic")
        if cells is not None:
            groups = None if by is None else _groups(cells, by)
            found = activities(posterior, cells, edges, groups=groups, min_targets=min_targets, num_draws=draws)
            table = long_scores(found.mean, found.sd).rename(columns={"program": "regulator"})
            write_csv(table, place / "activities.csv.gz", float_format="%.5g")
            lines.append(f"activities of {found.mean.shape[1]} regulators in {len(found.mean)} cells")
            if found.by_group is not None:
                write_csv(found.by_group, place / "activities_by_group.csv")
                activity_heat_map(found.by_group).savefig(place / "activities.png", dpi=150, bbox_inches="tight")
            if decoupler is not None:
                lines.append(_decoupler(place, cells, edges, decoupler, min_targets, groups))
    return [*lines, str(out)]


def _decoupler(
    place: Path, cells: ExpressionData, edges: pd.DataFrame, method: str, min_targets: int, groups: list[str] | None
) -> str:
    scores = decoupler_scores(cells, edges, method=method, min_targets=min_targets)
    write_csv(scores, place / "decoupler.csv.gz", float_format="%.5g")
    if groups is not None:
        means = mean_by_group(scores, groups)
        write_csv(means, place / "decoupler_by_group.csv")
        picture = activity_heat_map(means, unit=f"mean score ({method})")
        picture.savefig(place / "decoupler.png", dpi=150, bbox_inches="tight")
    return f"scores of {scores['regulator'].nunique()} regulators by {method} of decoupler"


def _cells(
    posterior: Posterior, expression: Path, layer: str | None, normalize: str, context_key: str | None
) -> ExpressionData:
    tfs = list(posterior.coords["tf"])
    return read_expression(expression, tfs=tfs, layer=layer, normalize=normalize, context_key=context_key)


def _groups(cells: ExpressionData, by: str) -> list[str]:
    table = pd.DataFrame() if cells.labels is None else cells.labels.table
    if by not in table:
        raise ValueError(
            f"--by {by}: cells have no such annotation, there are {list(map(str, table.columns)) or 'none'}"
        )
    return table[by].astype(str).tolist()
