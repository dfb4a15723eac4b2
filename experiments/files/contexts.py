"""Contexts that are too small to be fitted."""

from dataclasses import replace

import torch

from ...models import ExpressionData
from ...models.data.checks import some


def without_small_contexts(data: ExpressionData, fewest: int) -> ExpressionData:
    """Leave out the cells of contexts with fewer than ``fewest`` cells; ``notes`` name the contexts. Cells that are
    left are in memory then.

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
    kept = [k for k in range(len(counts)) if k not in small]
    place = torch.full((len(counts),), -1, dtype=torch.long)
    place[torch.tensor(kept)] = torch.arange(len(kept))
    left = data.subset((place[data.context.cpu()] >= 0).numpy())
    assert left.context is not None
    gone = some([f"{data.context_names[k]} ({counts[k]} cells)" for k in small])
    return replace(
        left,
        context=place.to(left.context.device)[left.context],
        context_names=tuple(data.context_names[k] for k in kept),
        notes=(*left.notes, f"contexts with fewer than {fewest} cells were left out: {gone}"),
    )
