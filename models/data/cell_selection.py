"""Some of the cells of a data set, without reading or making dense what is on disk or sparse."""

from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .annotations import within
from .checks import some
from .matrix import read_rows

BY_CELL = ("context", "size_factor", "covariates", "inputs", "time", "trajectory", "labels")  # one row a cell each


class Selectable(Protocol):
    """Fields of `ExpressionData` that tell its cells, beside those of `BY_CELL`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def matrix(self) -> Any:
        """(cell, column), read by rows."""

    @property
    def perturbed(self) -> Tensor | None:
        """``(intervention, 2)`` pairs (cell, gene)."""

    @property
    def context_names(self) -> tuple[str, ...]:
        """Names of the contexts."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or changed."""

    @property
    def device(self) -> torch.device:
        """Of what has one row a cell."""


D = TypeVar("D", bound=Selectable)


class SelectedRows:
    """Chosen rows of a matrix that is read by rows.

    Parameters
    ----------
    matrix
        As of `ExpressionData`.
    rows
        ``(row,)`` positions, increasing.
    """

    def __init__(self, matrix: Any, rows: np.ndarray) -> None:
        self.matrix = matrix
        self.rows = rows
        self.shape = (len(rows), int(matrix.shape[1]))

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return read_rows(self.matrix, self.rows[rows], torch.float32).numpy()


def selected_cells(data: D, keep: np.ndarray, *, told: bool = False) -> D:
    """The cells of a ``(cell,)`` mask that is True somewhere; the same object where these are all.

    Contexts of which no cell is left go; ``notes`` name them, unless the caller says it (``told``).
    """
    if keep.all():
        return data
    rows = np.flatnonzero(keep)
    matrix = data.matrix
    if isinstance(matrix, Tensor):
        matrix = matrix[torch.as_tensor(rows, device=matrix.device)]
    else:
        matrix = matrix[rows] if sp.issparse(matrix) else SelectedRows(matrix, rows)
    pick = torch.as_tensor(rows, device=data.device)
    each = {name: value[pick] for name in BY_CELL if (value := getattr(data, name)) is not None}
    left, notes = data.context_names, data.notes
    if "context" in each:
        codes, each["context"] = torch.unique(each["context"], return_inverse=True)
        left = tuple(data.context_names[code] for code in codes.tolist())
        lost = [name for name in data.context_names if name not in set(left)]
        if lost and not told:
            notes = (*notes, f"no cell is left of {len(lost)} context{'s' * (len(lost) > 1)}: {some(lost, 3)}")
    perturbed = within(data.perturbed, 0, len(keep), rows)
    return replace(data, matrix=matrix, perturbed=perturbed, context_names=left, notes=notes, **each)
