r"""PathReg: stochastic gates, with penalties on the paths they leave open."""

from torch import Tensor

from ...models.dynamics.phoenix_layers import LayeredNetwork
from .cnode import path_mean
from .hard_concrete import HardConcrete


class PathReg(HardConcrete):
    r"""Gates of `HardConcrete` and penalties on paths from inputs to outputs (Aliee et al. 2022):

    .. math:: \lambda_0 \sum_{\text{paths}} \operatorname{mean}_{ij}\big(\Pi_L \cdots \Pi_1\big)_{ij}
              + \lambda_1 \sum_{\text{paths}} \operatorname{mean}_{ij}\big(|W_L|\cdots|W_1|\big)_{ij}

    :math:`\Pi_l` the probabilities that the gates of layer l are open: the first term is the expected number of open
    paths from an input to an output.

    Parameters
    ----------
    strength
        λ₀. Default 1e-4, that of the DASH authors' program.
    weight_strength
        λ₁. Default 1e-3, likewise.
    group, temperature, keep
        As `HardConcrete`.

    Raises
    ------
    ValueError
        Numbers out of range, an unknown group.
    """

    name = "pathreg"

    def __init__(
        self,
        *,
        strength: float = 1e-4,
        weight_strength: float = 1e-3,
        group: str = "input",
        temperature: float = 2 / 3,
        keep: float = 0.8,
    ) -> None:
        super().__init__(strength=strength, group=group, temperature=temperature, keep=keep)
        if weight_strength < 0:
            raise ValueError(f"weight_strength={weight_strength}: expected at least 0")
        self.weight_strength = weight_strength

    def penalty(self, network: LayeredNetwork) -> Tensor | None:
        masks = network.masks()
        sizes = {name: weight.abs() * masks[name] for name, weight in network.weights().items()}
        open_paths = path_mean(network, self.open_probability())
        return self.strength * open_paths + self.weight_strength * path_mean(network, sizes)
