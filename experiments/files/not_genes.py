"""Rows and columns of expression files that are no genes: sums of a counter, annotations of cells in numbers."""

import re
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from ...models.data.checks import some
from .column_words import is_annotation
from .stored import Stored

# what counters write below the genes: htseq, STAR, featureCounts
COUNTERS = re.compile(
    r"__\w+|N_(?:unmapped|multimapping|noFeature|ambiguous)|Unassigned_\w+|no_feature|too_low_aQual|not_aligned|"
    r"alignment_not_unique"
)


def without_annotations(cells: Stored, named: Collection[str]) -> tuple[Stored, list[str]]:
    """Cells × genes without columns that are no genes, and what is said of them.

    Parameters
    ----------
    cells
        Genes in columns.
    named
        Names that something else says are genes: regulators, a prior, the truth. These stay.
    """
    table = cells.kind.startswith(("table", "parquet"))
    odd = [
        name
        for name in cells.columns
        if name not in named and (COUNTERS.fullmatch(name) or (table and is_annotation(name)))
    ]
    if not odd or len(odd) == len(cells.columns):
        return cells, []
    number, verb = (f"{len(odd)} columns", "are") if len(odd) > 1 else ("1 column", "is")
    if cells.is_on_disk:
        return cells, [f"{number} of its genes look like none: {some(odd)}; write the file without them"]
    keep = np.flatnonzero(~np.isin(np.array(cells.columns, dtype=object), odd))
    kind = cells.kind.split(": its first column")[0] if cells.columns[0] in odd else cells.kind
    out = {name: np.asarray(cells.matrix[:, cells.columns.index(name)]) for name in odd}
    left = replace(
        cells,
        kind=kind,
        matrix=cells.matrix[:, keep],
        columns=tuple(cells.columns[i] for i in keep),
        column_table=cells.column_table.iloc[keep],
        row_table=cells.row_table.assign(**out),
    )
    return left, [
        f"{number} {verb} no gene{'s' * (len(odd) > 1)} by name and left out: {some(odd)}; a gene of that name stays "
        "where --tfs, a prior or the truth names it"
    ]
