"""Conditions of a perturbation panel in batches: levels as the fit takes them, without the rest of the panel."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .data.checks import some
from .data.expression import ExpressionData


class FittedPanel(Protocol):
    """What a batch needs of the panel that was fitted; names as in `FactorBox`."""

    genes: tuple[str, ...]
    levels: str
    hidden: int
    measurement: float | str
    knockdown: float | None
    scale: Tensor
    floor: Tensor
    held: Tensor
    top: Tensor
    target_index: Tensor


class BatchLevels(NamedTuple):
    """``X`` (condition, target) levels, ``level`` (condition, gene) what the drive is linear in, ``context``
    (condition,), ``free`` (condition, target) where a target is not clamped."""

    X: Tensor
    level: Tensor
    context: Tensor
    free: Tensor


def batch_levels(model: FittedPanel, batch: ExpressionData) -> BatchLevels:
    """A batch as `panels_of` takes the panel: a knocked-down gene acts at the level it is held at in the fit, and a
    level of zero counts as the fit's floor.

    Raises
    ------
    ValueError
        A model with hidden inputs or noise of measurement; other genes than the fit's; genes held at a level that the
        fit has not seen; levels that are not positive.
    """
    if model.hidden:
        raise ValueError("FactorBox with hidden inputs conditions on the whole panel: leave out `batch_size`")
    if model.measurement:
        raise ValueError("FactorBox with a noise of measurement conditions on the whole panel: leave out `batch_size`")
    if batch.genes != model.genes:
        raise ValueError(f"the batch has genes {some(batch.genes, 3)}: expected those of the fit, in their order")
    X, clamped = batch.complete().X.to(model.scale), batch.clamped
    if bool(((X <= 0) & ~clamped).any()):
        raise ValueError("FactorBox needs un-logged positive levels, and some of the batch are zero or negative")
    context = torch.zeros(len(X), dtype=torch.long, device=X.device) if batch.context is None else batch.context
    floor = model.floor[context]
    level = torch.where(X > 0, X, floor)
    level = level.log() if model.levels == "log" else X
    if model.knockdown is not None:
        held = model.held[context]
        unseen = (clamped & held.isnan()).any(0)
        if bool(unseen.any()):
            names = [gene for gene, new in zip(model.genes, unseen.tolist(), strict=True) if new]
            raise ValueError(f"genes {some(names, 3)} are held in this batch and in no condition of the fit")
        level = torch.where(clamped, held, level)
    free = ~clamped[:, model.target_index]
    # a clamped level has no density and may lie anywhere: put it where the others are
    seen = torch.where(free, X[:, model.target_index], model.top[context])
    return BatchLevels(seen, level, context, free)
