"""``--targets``: which genes are explained, by name or the most variable."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...inference.amortised import KINDS
from ...models import ExpressionData
from ...models.data.checks import some
from ...models.data.matrix import rows_at_once
from ..files.name_lists import read_names


def takes_targets(method: str, model: Any) -> bool:
    """Whether a method explains some of the genes and leaves the others out: networks of regressions."""
    return method not in (*KINDS, "celloracle") and "targets" in inspect.signature(model.from_data).parameters


def read_targets(text: str | None, data: ExpressionData) -> list[str] | None:
    """Names of ``--targets FILE``, or of the N most variable genes of ``--targets N``, in the order of the data.

    Raises
    ------
    ValueError
        No names, none that is measured, or a number that is not between 1 and the number of genes.
    """
    if text is None:
        return None
    if text.lstrip("+-").isdigit():
        number = int(text)
        if not 1 <= number <= data.num_genes:
            raise ValueError(f"--targets {text}: expected a file of names, or a number from 1 to {data.num_genes}")
        chosen = set(most_variable(data)[:number])
        return [gene for gene in data.genes if gene in chosen]
    names = read_names(Path(text), data.genes)
    measured = set(data.genes)
    found = set(names) & measured
    if not found:
        raise ValueError(f"--targets {text}: none of its {len(names)} names is a gene of the data ({some(names, 3)})")
    return [gene for gene in data.genes if gene in found]


def most_variable(data: ExpressionData) -> list[str]:
    """All genes, the most variable first: by variance, of counts by variance over mean, which is 1 of Poisson noise."""
    total, square = torch.zeros(data.num_genes, dtype=torch.float64), torch.zeros(data.num_genes, dtype=torch.float64)
    counts = True
    step = rows_at_once(data.num_genes)
    for start in range(0, data.num_cells, step):
        block = data.rows(slice(start, min(start + step, data.num_cells))).cpu().to(torch.float64)
        counts = counts and bool((block >= 0).all()) and bool((block == block.round()).all())
        total += block.nansum(0)
        square += block.square().nansum(0)
    mean = total / data.num_cells
    variance = (square / data.num_cells - mean.square()).clamp_min(0)
    spread = variance / mean.clamp_min(1e-12) if counts else variance
    order = np.argsort(-spread.numpy(), kind="stable")
    return [data.genes[i] for i in order]
