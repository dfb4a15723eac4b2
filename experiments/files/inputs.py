"""What acts on genes from outside, matched to the cells by their names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ...models import ExpressionData
from ...models.data.checks import some
from .file_formats import read_file
from .stored import about


def with_inputs_of(data: ExpressionData, cells: list[str], given: Path | str | pd.DataFrame) -> ExpressionData:
    """The data with inputs from a table of conditions × genes, or its file.

    Raises
    ------
    ValueError
        A cell without a row, rows of the same name, genes that are not measured.
    """
    if isinstance(given, pd.DataFrame):
        return _matched_inputs(data, cells, list(given.index), list(given.columns), given.to_numpy(dtype=np.float64))
    path = Path(given)
    with about(path):
        stored = read_file(path, layer=None, text=set(), backed=False, missing=False)
        matrix = stored.matrix.toarray() if sp.issparse(stored.matrix) else np.asarray(stored.matrix)
        return _matched_inputs(data, cells, stored.rows, stored.columns, matrix)


def _matched_inputs(
    data: ExpressionData, cells: list[str], rows: Sequence[object], columns: Sequence[object], matrix: np.ndarray
) -> ExpressionData:
    place = {str(name): i for i, name in enumerate(rows)}
    unknown = [name for name in cells if str(name) not in place]
    if unknown or len(place) < len(rows):
        found = f"no row for {some(unknown, 3)}" if unknown else "rows with the same name"
        raise ValueError(f"{found}: expected one row of inputs for each condition of the expression file")
    frame = pd.DataFrame(matrix[[place[str(name)] for name in cells]], columns=[str(c) for c in columns])
    # a column that nothing acts on may name something that is not measured
    frame = frame.loc[:, (frame != 0).any() | frame.columns.isin(data.genes)]
    return data.with_inputs(frame)
