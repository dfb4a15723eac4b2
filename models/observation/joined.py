"""Buffers of a module side by side as the value of an observed site, made once and not in every step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...priors.host_values import kept


def joined(owner: nn.Module, name: str, parts: Sequence[Tensor], join: Callable[..., Tensor]) -> Tensor:
    """``join(*parts)``, kept on ``owner`` under ``name`` until one of the parts is another tensor or has been written
    to (``model.to(...)`` makes new ones). The kept value is no buffer: it is not saved, and follows its parts."""
    return kept(owner, f"joined {name}", parts, join)


def by_target(*parts: Tensor) -> Tensor:
    """Parts ``(*context, row, target)`` one under the other, as ``(*context, 1, target, row)``: a view of a contiguous
    ``(*context, row, target)``, so that a density that turns it back works on whole rows."""
    return torch.cat(parts, dim=-2).mT.unsqueeze(-3)
