"""Shapes that broadcast against each other."""

from collections.abc import Sequence

import numpy as np
import torch


def broadcast_shapes(*shapes: Sequence[int]) -> torch.Size:
    """As `torch.broadcast_shapes`, which imports sympy for it, a third of a second; it is asked where sizes are traced.

    Raises
    ------
    RuntimeError
        They do not broadcast.
    """
    if torch.jit.is_tracing():
        return torch.broadcast_shapes(*shapes)
    try:
        return torch.Size(np.broadcast_shapes(*(tuple(shape) for shape in shapes)))
    except ValueError as error:
        raise RuntimeError(f"shapes do not broadcast: {', '.join(str(tuple(s)) for s in shapes)}") from error
