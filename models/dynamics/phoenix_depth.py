"""How many layers lie between a gene and the genes it acts on in PHOENIX: names, shapes and product of its weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .phoenix_layers import ABSOLUTE, EXPONENTIAL, Path, PhoenixParameters, initial_parameters, orthogonal

KINDS = ("sigma", "pi")
HIDDEN = 40  # neurons of a hidden layer, the paper's for 350 genes


@dataclass(frozen=True)
class Depth:
    r"""L layers on each of PHOENIX's two paths.

    .. math:: L = 1:&\quad \dot g = \mathrm{ReLU}(\upsilon)\odot[c_\Sigma + c_\Pi - g] \\
              L = 2:&\quad \dot g = \mathrm{ReLU}(\upsilon)\odot[U_\Sigma c_\Sigma + U_\Pi c_\Pi - g] \\
              L > 2:&\quad \dot g = \mathrm{ReLU}(\upsilon)\odot[U_\Sigma V^{L-1}_\Sigma\cdots V^2_\Sigma c_\Sigma
              + U_\Pi V^{L-1}_\Pi\cdots V^2_\Pi c_\Pi - g]

    :math:`c` the first layer, as `derivative` has it: with L = 1 a neuron for each gene, otherwise ``hidden``. L = 2 is
    PHOENIX. The DASH paper has the scores of other depths (3.1, 3.3, B.6) and trains none, and says of the layers
    between nothing but that they are fully connected: here they combine linearly, as PHOENIX's second layer does. They
    add no function that L = 2 lacks; what they change is what pruning can share between genes.

    Parameters
    ----------
    genes
        n, inputs and outputs.
    hidden
        m; default 40. Not with one layer.
    layers
        L. Default 2.

    Raises
    ------
    ValueError
        No gene, neuron or layer, ``hidden`` with one layer.
    """

    genes: int
    hidden: int | None = None
    layers: int = 2

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"layers is {self.layers}: expected at least 1")
        if self.layers == 1 and self.hidden is not None:
            raise ValueError(f"hidden={self.hidden} with layers=1, which has a neuron for each gene: leave it out")
        if self.genes < 1 or self.neurons < 1:
            raise ValueError(f"{self.genes} genes and hidden={self.hidden}: expected at least 1 of each")

    @property
    def neurons(self) -> int:
        """Of the first layer, and of all others but the last."""
        if self.layers == 1:
            return self.genes
        return HIDDEN if self.hidden is None else self.hidden

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the layers from first to last, without their path."""
        between = tuple(f"V{depth}" for depth in range(2, self.layers))
        return ("W", *between, "U") if self.layers > 1 else ("W",)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the weights, layer by layer."""
        return tuple(f"{stem}_{kind}" for stem in self.stems for kind in KINDS)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The additive and the multiplicative one, whose first layer works on logarithms."""
        rest = (ABSOLUTE,) * (self.layers - 1)
        return tuple(
            Path(tuple(f"{stem}_{kind}" for stem in self.stems), (first, *rest))
            for kind, first in zip(KINDS, (ABSOLUTE, EXPONENTIAL), strict=True)
        )

    def shape(self, name: str) -> tuple[int, int]:
        """``(out, in)`` of a weight."""
        return {"W": (self.neurons, self.genes), "U": (self.genes, self.neurons)}.get(
            name.partition("_")[0], (self.neurons, self.neurons)
        )

    def initial(self, seed: int) -> dict[str, Tensor]:
        """Fresh weights, biases and υ: `initial_parameters`; layers between are orthogonal. With one layer the additive
        biases start one lower, because the products start at one."""
        generator = torch.Generator().manual_seed(seed)
        values = initial_parameters(self.genes, self.neurons, generator=generator)._asdict()
        if self.layers == 1:
            del values["U_sigma"], values["U_pi"]
            values["b_sigma"] = values["b_sigma"] - 1
        for name in self.names:
            if name.startswith("V"):
                values[name] = orthogonal(self.neurons, self.neurons, generator=generator)
        return values

    def compose(self, values: Mapping[str, Tensor]) -> PhoenixParameters:
        """PHOENIX's two layers with the same derivative: all that lies behind the first multiplied, or the identity;
        ``values`` with any leading draw axes."""
        if self.layers == 2:
            return PhoenixParameters(**{name: values[name] for name in PhoenixParameters._fields})
        last = {}
        for kind in KINDS:
            W = values[f"W_{kind}"]
            product = torch.eye(self.genes, dtype=W.dtype, device=W.device).expand(*W.shape[:-2], -1, -1)
            for place, stem in enumerate(reversed(self.stems[1:])):
                product = values[f"{stem}_{kind}"] if place == 0 else product @ values[f"{stem}_{kind}"]
            last[f"U_{kind}"] = product
        return PhoenixParameters(**{name: {**values, **last}[name] for name in PhoenixParameters._fields})
