"""Buffers of a module side by side as the value of an observed site, made once and not in every step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def joined(owner: nn.Module, name: str, parts: Sequence[Tensor], join: Callable[..., Tensor]) -> Tensor:
    """``join(*parts)``, kept on ``owner`` under ``name`` until one of the parts is another tensor or has been written
    to (``model.to(...)`` makes new ones). The kept value is no buffer: it is not saved, and follows its parts."""
    kept = owner.__dict__.setdefault("_joined", {})
    state = [(part, part._version) for part in parts]
    found = kept.get(name)
    same = lambda old, new: old[0] is new[0] and old[1] == new[1]
    if found is not None and len(found[0]) == len(state) and all(map(same, found[0], state)):
        return found[1]
    with torch.no_grad():
        value = join(*parts)
    if not torch.jit.is_tracing():  # a value made inside a trace belongs to it
        kept[name] = state, value
    return value


def by_target(*parts: Tensor) -> Tensor:
    """Parts ``(*context, row, target)`` one under the other, as ``(*context, 1, target, row)``: a view of a contiguous
    ``(*context, row, target)``, so that a density that turns it back works on whole rows."""
    return torch.cat(parts, dim=-2).mT.unsqueeze(-3)
