"""Data frames in parquet, read with pandas and pyarrow."""

import importlib.util
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from ...models.data.checks import some
from .stored import Stored, guarded
from .table_header import Header, genes_by_header


def read_parquet(path: Path, text: Collection[str]) -> Stored:
    """A data frame with names in its index, or in its first column where the index only counts."""
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError("parquet needs the package pyarrow: pip install 'pyrogrn[parquet]'")
    frame = guarded("a parquet table", lambda: pd.read_parquet(path))
    return stored_frame(frame, text, "parquet")


def stored_frame(frame: pd.DataFrame, text: Collection[str], kind: str) -> Stored:
    """A data frame as `Stored`; ``text`` are the columns that are annotations."""
    if frame.empty:
        raise ValueError("is empty: expected a table with names of cells and genes")
    frame = frame.rename(columns=str)
    about = frame[[c for c in frame if c in text]].reset_index(drop=True)
    frame = frame.drop(columns=list(about))
    if isinstance(frame.index, pd.RangeIndex) and frame.shape[1] and frame.iloc[:, 0].dtype.kind not in "fiub":
        frame = frame.set_index(frame.columns[0])
    words = [str(c) for c, kinds in frame.dtypes.items() if kinds.kind not in "fiub"]
    if words or not frame.shape[1]:
        raise ValueError(
            f"columns that are not numbers: {some(words)}. Expected one column a gene: drop annotations, or name them "
            "as context or perturbation key, or as covariates"
        )
    labels, columns = tuple(map(str, frame.index)), tuple(frame.columns)
    corner = "" if frame.index.name is None else str(frame.index.name)
    header = Header([corner, *columns], True, (), iter(()))
    counted = isinstance(frame.index, pd.RangeIndex) or not about.empty
    axis, why = ("columns", "") if counted else genes_by_header(header, labels, columns)
    table = pd.DataFrame(index=range(len(columns)))
    return Stored(frame.to_numpy(dtype=np.float32), labels, columns, about, table, kind, axis, why)
