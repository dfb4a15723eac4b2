"""What is missing of the cells: counted, noted, and refused where nothing is left."""

import torch

from .cells import Cells
from .checks import some


def missing_notes(data: Cells, *, genes: bool = True) -> list[str]:
    """How many values are missing, and how many cells lack a view altogether; empty where none is. One pass.

    Parameters
    ----------
    data
        Cells, NaN where missing.
    genes
        Whether a gene that no cell has is refused (default), or left to be dropped as constant.

    Raises
    ------
    ValueError
        A view without any value, or a gene without any.
    """
    view = torch.zeros(data.num_genes, dtype=torch.long) if data.view is None else data.view.cpu()
    one_hot = torch.nn.functional.one_hot(view, len(data.view_names)).float()  # (gene, view)
    by_gene = torch.zeros(data.num_genes, dtype=torch.long)
    without = torch.zeros(len(data.view_names), dtype=torch.long)  # cells that have no value of a view
    for _, block in data.chunks():
        seen = ~block.isnan().cpu()
        by_gene += seen.sum(0)
        without += ((seen.float() @ one_hot) == 0).sum(0)
    empty = [name for name, cells in zip(data.view_names, without.tolist(), strict=True) if cells == data.num_cells]
    if empty:
        raise ValueError(f"views {some(empty)} have no value in any of {data.num_cells} cells: leave them out")
    never = [g for g, number in zip(data.genes, by_gene.tolist(), strict=True) if number == 0]
    if never and genes:
        raise ValueError(
            f"{len(never)} genes have no value in any cell: {some(never)}. Drop them with "
            "`data.without_constant_genes()`"
        )
    total = data.num_cells * data.num_genes
    absent = total - int(by_gene.sum())
    if absent == 0:
        return []
    notes = [f"{absent} of {total} values are missing ({absent / total:.1%})"]
    notes += [
        f"{cells} of {data.num_cells} cells have no value of view {name!r} at all"
        for name, cells in zip(data.view_names, without.tolist(), strict=True)
        if cells
    ]
    return notes
