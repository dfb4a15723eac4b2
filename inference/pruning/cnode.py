r"""C-NODE: a penalty on the paths from inputs to outputs."""

import torch
from torch import Tensor

from ...models.dynamics.phoenix_layers import LayeredNetwork
from .base import Sparsifier


class CNODE(Sparsifier):
    r"""Penalty on the total weight of the paths from each input to each output (Aliee et al. 2021):

    .. math:: \lambda \sum_{\text{paths}} \operatorname{mean}_{ij}\big(|W_L| \cdots |W_1|\big)_{ij}

    Parameters
    ----------
    strength
        λ. Default 1e-3, that of the DASH authors' program.
    threshold
        At the end weights below it become zeros: default 1e-4, because Adam leaves weights that the penalty holds at
        zero within a fraction of its step (1e-3) around it.

    Raises
    ------
    ValueError
        Negative numbers.
    """

    name = "cnode"

    def __init__(self, *, strength: float = 1e-3, threshold: float = 1e-4) -> None:
        if strength < 0 or threshold < 0:
            raise ValueError(f"strength={strength}, threshold={threshold}: expected both >= 0")
        self.strength, self.threshold = strength, threshold

    def penalty(self, network: LayeredNetwork) -> Tensor | None:
        masks = network.masks()
        sizes = {name: weight.abs() * masks[name] for name, weight in network.weights().items()}
        return self.strength * path_mean(network, sizes)

    @torch.no_grad()
    def finish(self, network: LayeredNetwork) -> None:
        masks = network.masks()
        for name, weight in network.weights().items():
            masks[name].mul_(weight.abs() >= self.threshold)


def path_mean(network: LayeredNetwork, sizes: dict[str, Tensor]) -> Tensor:
    """Mean over inputs and outputs of the product of non-negative ``sizes`` along a path, summed over paths.

    The mean of a product of matrices is that of its row and column sums, so the product itself is never made.
    """
    total = next(iter(sizes.values())).new_zeros(())
    for path in network.paths:
        flow = sizes[path.layers[0]].sum(1)
        for name in path.layers[1:]:
            flow = sizes[name] @ flow
        total = total + flow.sum() / (sizes[path.layers[-1]].shape[0] * sizes[path.layers[0]].shape[1])
    return total
