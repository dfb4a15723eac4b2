"""``--targets``: which genes are explained, by name or the most variable."""

import inspect
from pathlib import Path
from typing import Any

from ...inference.amortised import KINDS
from ...models import ExpressionData
from ...models.data.checks import some
from ..files.name_lists import read_names
from ..files.variable_genes import most_variable


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
