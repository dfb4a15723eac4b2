"""The most variable genes, and data of these and the regulators alone."""

import numpy as np
import torch

from ...models import ExpressionData
from ...models.data.matrix import rows_at_once
from ...models.data.passes import told


def most_variable(data: ExpressionData) -> list[str]:
    """All genes, the most variable first: by variance, of counts by variance over mean, which is 1 of Poisson noise."""
    total, square = torch.zeros(data.num_genes, dtype=torch.float64), torch.zeros(data.num_genes, dtype=torch.float64)
    counts = True
    step = rows_at_once(data.num_columns)
    for start in range(0, data.num_cells, step):
        block = data.rows(slice(start, min(start + step, data.num_cells))).cpu().to(torch.float64)
        counts = counts and bool((block >= 0).all()) and bool((block == block.round()).all())
        total += block.nansum(0)
        told("variances of genes", min(start + step, data.num_cells), data.num_cells)
        square += block.square().nansum(0)
    mean = total / data.num_cells
    variance = (square / data.num_cells - mean.square()).clamp_min(0)
    spread = variance / mean.clamp_min(1e-12) if counts else variance
    order = np.argsort(-spread.numpy(), kind="stable")
    return [data.genes[i] for i in order]


def with_top_genes(data: ExpressionData, number: int) -> ExpressionData:
    """The ``number`` most variable genes, the candidate regulators where they were named, perturbed genes, and nodes on
    which inputs act; a note says how many were left out.

    Raises
    ------
    ValueError
        ``number`` is below 1.
    """
    if number < 1:
        raise ValueError(f"top genes {number}: expected at least 1")
    if number >= data.num_genes:
        return data
    kept = set(most_variable(data)[:number])
    beside = {"regulators": set(data.tfs) if len(data.tfs) < data.num_genes else set()}
    if data.perturbed is not None:
        beside["perturbed genes"] = {data.genes[g] for g in data.perturbed[:, 1].unique().tolist()}
    if data.inputs is not None:
        beside["nodes with inputs"] = {data.genes[g] for g in data.inputs.ne(0).any(0).nonzero().flatten().tolist()}
    named = set().union(*beside.values())
    extra = len(named - kept)
    chosen = data.select_genes([gene for gene in data.genes if gene in kept or gene in named])
    kinds = " and ".join(kind for kind, genes in beside.items() if genes - kept)
    besides = f", and {extra} {kinds} beside them" if extra else ""
    note = f"{number} of {data.num_genes} genes were kept, the most variable{besides}"
    return chosen.with_missing(chosen.missing, note)
