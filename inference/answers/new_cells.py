"""New cells for a fit of gene programs: their genes, groups and covariates brought into the order of the model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from ...models import ExpressionData, FactorModel
from ...models.data.checks import some

LEAST_GENES = 0.5  # share of the genes of the fit: with fewer, scores are mostly the prior


class NewCells(NamedTuple):
    """Cells over those genes of the fit that they have, and the places of these among the genes of the fit."""

    data: ExpressionData
    place: np.ndarray

    def padded(self, model: FactorModel, cells: ExpressionData) -> ExpressionData:
        """A block of ``data`` over all genes of the fit, NaN where a gene is missing."""
        if len(self.place) == len(model.genes):
            return cells
        values = cells.X.new_full((cells.num_cells, len(model.genes)), torch.nan)
        values[:, torch.as_tensor(self.place, device=values.device)] = cells.X
        view = model.view_of_gene.to(values.device)
        parts: dict[str, Any] = {
            "genes": model.genes,
            "tfs": model.genes,
            "view": view,
            "view_names": tuple(model.views),
        }
        parts |= {"perturbed": None, "inputs": None}  # no program model reads them
        return replace(cells, matrix=values, transform=None, column=None, missing=True, **parts)


def new_cells(
    model: FactorModel, data: ExpressionData, *, group: str | None = None, least_genes: float = LEAST_GENES
) -> NewCells:
    """See `program_cells.scores`, whose parameters these are.

    Raises
    ------
    ValueError
        Too few genes of the fit, groups that the fit does not know or that are not said, other covariates.
    """
    if not 0 < least_genes <= 1:
        raise ValueError(f"`least_genes` is {least_genes}: expected a share above 0 and at most 1")
    known = set(data.genes)
    place = np.array([i for i, gene in enumerate(model.genes) if gene in known], dtype=np.int64)
    if len(place) < max(1, least_genes * len(model.genes)):
        absent = [gene for gene in model.genes if gene not in known]
        raise ValueError(
            f"`data` lack {len(absent)} of the {len(model.genes)} genes of the fit, e.g. {absent[:3]} (they name "
            f"{some(data.genes, 3)}): at least {least_genes:.0%} of them are needed. Use the same kind of gene names "
            "and all genes that were measured, or lower `least_genes=`"
        )
    data = _of_groups(model, data, group)
    if data.covariate_names != model.covariates:
        raise ValueError(
            f"`data` have groups {list(data.context_names)} and covariates {list(data.covariate_names)}, the fit "
            f"{list(model.contexts)} and {list(model.covariates)}: read and annotate all cells together, then subset"
        )
    names = [model.genes[i] for i in place.tolist()]
    return NewCells(data if data.genes == tuple(names) else data.select_genes(names), place)


def _of_groups(model: FactorModel, data: ExpressionData, group: str | None) -> ExpressionData:
    """The groups of the cells as codes of those of the fit."""
    if group is not None:
        _check_known(model, [group])
        codes = torch.full((data.num_cells,), model.contexts.index(group), dtype=torch.long, device=data.device)
        return replace(data, context=codes, context_names=model.contexts)
    if data.context_names == model.contexts:
        return data
    if data.context is None:
        if len(model.contexts) == 1:
            return replace(data, context_names=model.contexts)
        raise ValueError(
            f"the fit has {len(model.contexts)} groups, {some(model.contexts)}, and the cells have none: say with "
            "`group=` which one they belong to, or give each cell one"
        )
    _check_known(model, data.context_names)
    place = torch.tensor([model.contexts.index(name) for name in data.context_names], device=data.device)
    return replace(data, context=place[data.context], context_names=model.contexts)


def _check_known(model: FactorModel, groups: Sequence[str]) -> None:
    unknown = [name for name in groups if name not in model.contexts]
    if unknown:
        raise ValueError(f"groups {some(unknown, 3)} are not among those of the fit, {some(model.contexts)}")
