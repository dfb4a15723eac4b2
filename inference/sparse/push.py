r"""Hyperparameters that are pushed on while chains are warmed up.

How many edges there are, how wide they are and how much is background is told by edges of which each is hardly known:
given the edges, hyperparameters are known to a hundredth, so that chains drift towards where they belong by that much a
block. In the first part of the warm-up each is moved on in the direction in which it has moved,

.. math:: \theta_{n+1} = T(\theta_n) + \beta\,(\theta_n - \theta_{n-1}),

T a block of the sampler (the heavy ball of Polyak 1964, USSR Comput Math 4:1), which goes a slow way in the square root
of its time, and does nothing on the whole where T goes to and fro. Draws are of the sampler alone.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

MOMENTUM = 0.8  # β: at 0.9 chains shoot past by as much as they had to go
FARTHEST = 0.5  # that one may be moved on, on the logit or the log scale


@dataclass(eq=False)
class Push:
    """``blocks`` first ones in which there is any; ``path`` of each parameter where it was one block before, and where
    it is."""

    blocks: int
    path: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __call__(self, name: str, value: Tensor) -> Tensor:
        """``(chain,)`` where the block has moved it, moved on."""
        before, now = self.path.get(name, (value, value))
        new = value + (MOMENTUM * (now - before)).clamp(-FARTHEST, FARTHEST)
        self.path[name] = now, new
        return new

    def placed(self, name: str, value: Tensor) -> None:
        """Where it came to lie, if it was pushed: not everywhere that it is pushed to is allowed."""
        if name in self.path:
            self.path[name] = self.path[name][0], value

    # -- checkpoints ----
    def snapshot(self) -> dict:
        """State for a checkpoint."""
        path = {name: torch.stack(pair) for name, pair in self.path.items()}
        return {"blocks": self.blocks, "path": path}

    @classmethod
    def restored(cls, state: dict) -> "Push":
        """From `snapshot`."""
        return cls(state["blocks"], {name: (pair[0], pair[1]) for name, pair in state["path"].items()})
