"""Which contexts are compared, and in which edges one draw of their networks differs."""

from collections.abc import Sequence

import torch
from torch import Tensor

OTHERS = "the others"
"""What a context is compared with where it is not another one: the mean of the weights of all others."""
MOST_PAIRWISE = 6  # contexts of which every pair has a table; of more, each is compared with the mean of the others


def pairs_of(contexts: Sequence[str]) -> list[tuple[str, str]]:
    """What is compared with what: every pair of up to `MOST_PAIRWISE` contexts, else each with `OTHERS`."""
    if len(contexts) > MOST_PAIRWISE:
        return [(name, OTHERS) for name in contexts]
    return [(one, other) for i, one in enumerate(contexts) for other in contexts[i + 1 :]]


def differing(shared: Tensor, absent: Tensor, inclusion: Tensor) -> Tensor:
    r"""``(pair, tf, target)``: sum over chains of the probability that the edges of two contexts differ.

    They differ unless both are the shared edge, or neither exists. A context differs from the others where its edge is
    its own, unless neither that nor the shared one exists.

    Parameters
    ----------
    shared, absent
        Of one draw, as in `ContextEdge`.
    inclusion
        ``(chain, tf, target)`` of the shared edge.
    """
    shared, absent = shared.movedim(1, 0), absent.movedim(1, 0)
    gone = 1 - inclusion
    number = len(shared)
    if number > MOST_PAIRWISE:
        return (1 - shared - absent * gone).sum(1)
    found = []
    for a in range(number):
        for b in range(a + 1, number):
            neither = shared[a] * gone * absent[b] + absent[a] * (shared[b] * gone + absent[b])
            found.append((1 - shared[a] * shared[b] - neither).sum(0))
    return torch.stack(found)
