"""What data say of themselves at a glance."""

from collections.abc import Sequence
from typing import Any

import scipy.sparse as sp
from torch import Tensor

from .checks import counted, some


def facts_of_cells(data: Any) -> dict[str, str]:
    """Numbers of cells, genes, regulators, contexts, of what was done to the cells, and where the matrix is."""
    facts = {"cells": f"{data.num_cells:,}", "genes": f"{data.num_genes:,}", "regulators": f"{len(data.tfs):,}"}
    if data.num_contexts > 1:
        facts["contexts"] = f"{data.num_contexts} ({some(data.context_names, 3)})"
    if data.perturbed is not None and len(data.perturbed):
        cells, genes = (len(data.perturbed[:, i].unique()) for i in (0, 1))
        facts["interventions"] = f"{genes:,} genes in {cells:,} cells"
    if data.time is not None:
        facts["times"] = f"{len(data.time.unique()):,} in {len(data.trajectory_names):,} trajectories"
    if data.covariate_names:
        facts["covariates"] = some(data.covariate_names)
    if len(data.view_names) > 1:
        facts["views"] = ", ".join(data.view_names)
    if data.inputs is not None:
        facts["inputs"] = f"on {int((data.inputs != 0).any(0).sum()):,} genes"
    if data.missing:
        facts["missing values"] = "yes"
    kind = "dense" if isinstance(data.matrix, Tensor) else "sparse" if sp.issparse(data.matrix) else "read in blocks"
    return facts | {"matrix": f"{kind}, {str(data.dtype).removeprefix('torch.')} on {data.device}"}


def dropped_constant(genes: Sequence[str], silent: int = 0, regulators: Sequence[str] = ()) -> str:
    """The note of genes without variance that were left out; ``silent`` of them are zero in every cell, and
    ``regulators`` were candidates.

    Examples
    --------
    >>> dropped_constant(["A", "B"], silent=1, regulators=["B"])
    "2 constant genes dropped (1 of them zero in every cell; candidate regulators among them: ['B']): ['A', 'B']"
    """
    more = [f"{silent} of them zero in every cell"] * (silent > 0)
    more += [f"candidate regulators among them: {some(regulators, 3)}"] * (len(regulators) > 0)
    told = f" ({'; '.join(more)})" if more else ""
    return f"{counted(genes, 'constant gene')} dropped{told}: {some(genes)}"


def facts_of_statistics(statistics: Any) -> dict[str, str]:
    """Numbers of cells, genes, regulators and contexts of `GramStatistics`."""
    facts = {
        "cells": f"{int(statistics.count.sum()):,}",
        "genes": f"{len(statistics.genes):,}",
        "regulators": f"{len(statistics.tfs):,}",
        "contexts": f"{len(statistics.context_names):,}",
    }
    if statistics.clamped is not None:
        facts["corrections for interventions"] = f"{len(statistics.clamped.count):,}"
    return facts
