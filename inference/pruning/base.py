r"""`Sparsifier`: what makes a layered network sparse while it is trained."""

from abc import ABC
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...models.dynamics.phoenix_layers import EXPONENTIAL, LayeredNetwork


class Sparsifier(ABC):
    """Called by the training loop; does nothing by default. Works on any `LayeredNetwork`.

    The loop calls `start` once, `before_epoch` at the start of each epoch, `gates` and `penalty` in every step, and
    `finish` on the model it returns. State that changes is in `state`, so that a run resumes where it was.
    """

    name: ClassVar[str]

    def start(self, network: LayeredNetwork, *, seed: int) -> None:  # noqa: B027 a default, not a forgotten method
        """Make the state for a network; ``seed`` for whatever is random."""

    def before_epoch(self, epoch: int, network: LayeredNetwork) -> bool:
        """Write masks where the schedule says so; True if weights were pruned (the learning rate starts anew then).
        Epochs count from 1."""
        return False

    def parameters(self) -> list[Tensor]:
        """What is learned beside the network's weights (stochastic gates)."""
        return []

    def gates(self, *, training: bool) -> dict[str, Tensor] | None:
        """Factors on the weights: random in training, fixed otherwise; ``None`` for none."""
        return None

    def penalty(self, network: LayeredNetwork) -> Tensor | None:
        """What is added to the loss."""
        return None

    def finish(self, network: LayeredNetwork) -> None:  # noqa: B027
        """Make zeros exact: gates and thresholds go into masks and weights."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Continue from `state`; after `start`."""


def normalised(network: LayeredNetwork) -> dict[str, Tensor]:
    r"""``(out, in)`` by weight: the comparable magnitudes :math:`|\widetilde W|` of B.2.3, each summing to one.

    Absolute values; exponentials where the layer works on logarithms; rows of a path's last layer times the output
    gain (υ). Masks are applied after the exponential, so that what is pruned counts zero.
    """
    weights, masks, gain = network.weights(), network.masks(), network.output_gain()
    result = {}
    for path in network.paths:
        for depth, (name, scale) in enumerate(zip(path.layers, path.scales, strict=True)):
            weight = weights[name].detach()
            size = weight.exp() if scale == EXPONENTIAL else weight.abs()
            if depth == len(path.layers) - 1:
                size = size * gain[:, None]
            size = size * masks[name]
            result[name] = size / size.sum().clamp_min(torch.finfo(size.dtype).tiny)
    return result


def prune_lowest(mask: Tensor, score: Tensor, fraction: float) -> None:
    """Set ``fraction`` of the entries that are left in ``mask`` to zero, those of lowest ``score``."""
    left = torch.nonzero(mask.flatten())[:, 0]
    count = round(fraction * len(left))
    if count:
        lowest = torch.topk(score.flatten()[left], count, largest=False).indices
        flat = mask.flatten()
        flat[left[lowest]] = 0.0
        mask.copy_(flat.view(mask.shape))
