"""`Cells`: what statistics read of expression data."""

from collections.abc import Iterator
from typing import Protocol, Self

import numpy as np
from torch import Tensor


class Cells(Protocol):
    """Cells with names on their axes, handed out block by block; `ExpressionData` is one.

    What depends on cells alone takes this, so that `ExpressionData` can offer it as a method.
    """

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the genes."""

    @property
    def tfs(self) -> tuple[str, ...]:
        """Candidate regulators, a subset of ``genes``."""

    @property
    def tf_index(self) -> Tensor:
        """``(tf,)`` position of each candidate regulator among ``genes``."""

    @property
    def context(self) -> Tensor | None:
        """``(cell,)`` codes into ``context_names``."""

    @property
    def context_names(self) -> tuple[str, ...]:
        """Names of the contexts."""

    @property
    def view(self) -> Tensor | None:
        """``(gene,)`` codes into ``view_names``."""

    @property
    def view_names(self) -> tuple[str, ...]:
        """Names of the kinds of measurement."""

    @property
    def perturbed(self) -> Tensor | None:
        """``(intervention, 2)`` pairs (cell, gene)."""

    @property
    def missing(self) -> bool:
        """Whether NaN are missing values."""

    @property
    def num_cells(self) -> int: ...

    @property
    def num_genes(self) -> int: ...

    @property
    def num_columns(self) -> int:
        """Of the matrix that blocks are taken from, of which genes may be a part."""

    @property
    def num_contexts(self) -> int: ...

    def rows(self, rows: slice | np.ndarray) -> Tensor:
        """``(row, gene)`` dense block."""

    def chunks(self, size: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """``(first row, (row, gene) block)`` over all cells in order."""

    def complete(self) -> Self:
        """The same cells under the promise that no value is missing."""
