"""What Python has to know of a buffer, read once and not in every step: on a GPU a read waits for all that is
queued."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Value = TypeVar("Value")


def kept(owner: nn.Module, name: str, parts: Sequence[Tensor], work: Callable[..., Value]) -> Value:
    """``work(*parts)``, kept on ``owner`` under ``name`` until one of the parts is another tensor or has been written
    to (``module.to(...)`` makes new ones). What is kept is no buffer: it is not saved, and follows its parts."""
    store = owner.__dict__.setdefault("_host_values", {})
    state = [(part, part._version) for part in parts]
    found = store.get(name)
    same = lambda old, new: old[0] is new[0] and old[1] == new[1]
    if found is not None and len(found[0]) == len(state) and all(map(same, found[0], state)):
        return found[1]
    with torch.no_grad():
        value = work(*parts)
    if not torch.jit.is_tracing():  # a tensor made inside a trace belongs to it
        store[name] = state, value
    return value
