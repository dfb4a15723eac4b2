"""`FactorStatistics`: one pass over the cells, after which a Gaussian factor model needs them no more."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checks import some
from .expression import ExpressionData
from .gram import GramStatistics
from .matrix import read_rows


@dataclass(frozen=True, eq=False)
class FactorStatistics:
    r"""Sufficient statistics of factor models: sums of squares and products of genes and covariates within groups.

    With the intercepts of the groups (contexts) flat, the likelihood of a Gaussian factor model whose factors are
    integrated out depends on :math:`D = [Y\ Z]`, genes and covariates centred within groups, through :math:`D^\top D`
    alone.

    Attributes
    ----------
    genes, covariates, contexts
        Names of the axes; ``gene + covariate`` is the column axis below.
    count
        ``(context,)`` cells.
    mean
        ``(context, column)``.
    gram
        ``(context, column, column)`` centred cross-products, float64.
    view, view_names
        ``(gene,)`` view of each gene, and the views' names.
    """

    genes: tuple[str, ...]
    covariates: tuple[str, ...]
    contexts: tuple[str, ...]
    count: Tensor
    mean: Tensor
    gram: Tensor
    view: Tensor
    view_names: tuple[str, ...]

    @classmethod
    def from_data(cls, data: ExpressionData, *, chunk_size: int = 4096) -> "FactorStatistics":
        """One pass in blocks of cells; the file is read once and never held.

        Raises
        ------
        ValueError
            Missing values: these statistics do not exist then.
        """
        if data.missing:
            raise ValueError(
                "the sufficient statistics need complete data: cells with missing values are used one by one"
            )
        joined = data if data.covariates is None else with_covariates(data)
        every = replace(joined, tfs=joined.genes, perturbed=None)
        found = GramStatistics.from_data(every, chunk_size=chunk_size)
        view = torch.zeros(data.num_genes, dtype=torch.long) if data.view is None else data.view.cpu()
        return cls(
            data.genes,
            data.covariate_names,
            data.context_names,
            found.count,
            found.mean,
            found.cross,
            view,
            data.view_names,
        )

    @property
    def covariate_names(self) -> tuple[str, ...]:
        """Names of the covariates, as `ExpressionData` calls them."""
        return self.covariates

    @property
    def context_names(self) -> tuple[str, ...]:
        """Names of the groups, as `ExpressionData` calls them."""
        return self.contexts

    @cached_property
    def scale(self) -> Tensor:
        """``(gene,)`` sd within groups.

        Raises
        ------
        ValueError
            Genes, or covariates, that do not vary within any group.
        """
        dof = (self.count - 1).clamp_min(0).sum().clamp_min(1)
        variance = torch.diagonal(self.gram, dim1=1, dim2=2).sum(0) / dof
        centre = (self.count[:, None] * self.mean**2).sum(0) / self.count.sum()
        constant = variance <= 1e-12 * (variance + centre)
        genes = [g for g, c in zip(self.genes, constant.tolist(), strict=False) if c]
        if genes:
            raise ValueError(
                f"{len(genes)} genes do not vary within any group: {some(genes)}. Drop them with "
                "`data.without_constant_genes()`"
            )
        flat = [z for z, c in zip(self.covariates, constant[len(self.genes) :].tolist(), strict=True) if c]
        if flat:
            raise ValueError(f"covariates {some(flat)} are constant within every group: leave them out, or the groups")
        return variance[: len(self.genes)].sqrt()


def with_covariates(data: ExpressionData) -> ExpressionData:
    """The covariates as further columns, joined block by block."""
    assert data.covariates is not None, "called with covariates only"
    names = (*data.genes, *(f"covariate: {name}" for name in data.covariate_names))
    return replace(
        data,
        matrix=_Joined(data),
        genes=names,
        tfs=names,
        transform=None,
        column=None,
        covariates=None,
        covariate_names=(),
        view=None,
        view_names=("expression",),
        perturbed=None,
    )


class _Joined:
    """Rows of genes and covariates, side by side."""

    def __init__(self, data: ExpressionData) -> None:
        self.data = data
        assert data.covariates is not None
        self.covariates = data.covariates
        self.shape = (data.num_cells, data.num_genes + self.covariates.shape[1])

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        left = self.data.rows(rows).cpu()
        return torch.cat([left, read_rows(self.covariates.cpu(), rows, left.dtype)], dim=1).numpy()
