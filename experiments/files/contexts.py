"""Contexts that are too small to be fitted."""

import numpy as np
import torch

from ...models import ExpressionData
from ...models.data.cell_selection import selected_cells
from ...models.data.checks import some


def without_small_contexts(data: ExpressionData, fewest: int) -> ExpressionData:
    """Leave out the cells of contexts with fewer than ``fewest`` cells; ``notes`` name the contexts.

    Raises
    ------
    ValueError
        ``fewest`` below 1, data without contexts, or no context left.
    """
    if fewest < 1:
        raise ValueError(f"--min-cells {fewest}: expected at least 1")
    if data.context is None:
        raise ValueError(f"--min-cells {fewest} leaves out small contexts, and there are none: name a --context-key")
    counts = torch.bincount(data.context, minlength=data.num_contexts).tolist()
    small = [k for k, count in enumerate(counts) if count < fewest]
    if not small:
        return data
    if len(small) == len(counts):
        raise ValueError(f"--min-cells {fewest}: the largest context has {max(counts)} cells; expected one to be left")
    left = selected_cells(data, ~np.isin(data.context.cpu().numpy(), small), told=True)
    gone = some([f"{data.context_names[k]} ({counts[k]} cells)" for k in small])
    return left.with_missing(left.missing, f"contexts with fewer than {fewest} cells were left out: {gone}")
