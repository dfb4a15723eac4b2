"""`CellLabels`: the names of cells, and what their file says of each that no model reads but a check may."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor


@dataclass(frozen=True, eq=False)
class CellLabels:
    """One row a cell; taken along wherever cells are chosen.

    Parameters
    ----------
    names
        ``(cell,)`` names, as text.
    table
        Annotations of the file, one row a cell in the same order: totals, shares, batches, whatever it has.
    """

    names: np.ndarray
    table: pd.DataFrame

    @classmethod
    def of(cls, names: Sequence[object], table: pd.DataFrame | None = None) -> "CellLabels":
        """From names of any type and annotations (default none)."""
        text = np.array([str(name) for name in names], dtype=object)
        table = pd.DataFrame(index=range(len(text))) if table is None else table.reset_index(drop=True)
        return cls(text, table)

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> "CellLabels | None":
        """The index of a table of cells; None where it only counts them."""
        counted = isinstance(frame.index, pd.RangeIndex) and frame.index.start == 0 and frame.index.step == 1
        return None if counted else cls.of(frame.index.tolist())

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: Tensor | np.ndarray) -> "CellLabels":
        place = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        return CellLabels(self.names[place], self.table.iloc[place].reset_index(drop=True))


def joined_labels(parts: Sequence["CellLabels | None"], contexts: Sequence[str]) -> CellLabels | None:
    """Those of several files one below the other: names that repeat get their context before them (``context:name``),
    and annotations that not all files have are left out. None where a file has no names."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    names = np.concatenate([part.names for part in known])
    if len(set(names.tolist())) < len(names):
        names = np.array(
            [f"{c}:{n}" for c, part in zip(contexts, known, strict=True) for n in part.names], dtype=object
        )
    shared = [column for column in known[0].table if all(column in part.table for part in known)]
    tables = [part.table[shared].astype(object) for part in known]
    return CellLabels(names, pd.concat(tables, ignore_index=True).infer_objects())


def name_of(labels: CellLabels | None, cell: int) -> str:
    """How a cell is called: its name, or its number where it has none."""
    return str(cell) if labels is None else str(labels.names[cell])
