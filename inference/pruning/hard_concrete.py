r"""L0 regularisation by stochastic gates."""

import math
from typing import Any

import torch
from torch import Tensor

from ...models.dynamics.phoenix_layers import LayeredNetwork
from .base import Sparsifier

LOW, HIGH = -0.1, 1.1  # the interval the concrete distribution is stretched to, so that 0 and 1 have mass
EDGE = 1e-6  # uniform draws stay this far from 0 and 1, where the logarithm ends
GROUPS = ("input", "weight")


class HardConcrete(Sparsifier):
    r"""Each weight, or each input of each layer, has a gate z whose probability of being open is learned and penalised
    (Louizos et al. 2018).

    .. math:: s = \sigma\big((\log u - \log(1-u) + \log\alpha)/\beta\big), \quad
              z = \min(1, \max(0, 1.2\,s - 0.1)), \quad
              P(z \neq 0) = \sigma\big(\log\alpha - \beta\log(0.1/1.1)\big)

    with u uniform in training, and :math:`s = \sigma(\log\alpha)` otherwise. The penalty is ``strength`` times the
    expected share of weights whose gate is open.

    Parameters
    ----------
    strength
        λ₀, in units of the training error. Default 1e-3, about a third of a good error here.
    group
        ``"input"`` (default, as in the code of PathReg that the DASH paper adapted): a gate shuts all weights of one
        input of a layer. ``"weight"``: one for each weight, as in the paper of Louizos et al.
    temperature
        β; 2/3 is theirs.
    keep
        Probability at which gates start, by :math:`\sigma(\log\alpha)`. Default 0.8.

    Raises
    ------
    ValueError
        Numbers out of range, an unknown group.
    """

    name = "l0"

    def __init__(
        self, *, strength: float = 1e-3, group: str = "input", temperature: float = 2 / 3, keep: float = 0.8
    ) -> None:
        if group not in GROUPS:
            raise ValueError(f"group is {group!r}: expected one of {GROUPS}")
        if strength < 0 or temperature <= 0 or not 0 < keep < 1:
            raise ValueError(
                f"strength={strength}, temperature={temperature}, keep={keep}: expected strength >= 0, temperature > 0 "
                "and keep between 0 and 1"
            )
        self.strength, self.group, self.temperature, self.keep = strength, group, temperature, keep
        self.log_alpha: dict[str, Tensor] = {}
        self.shape: dict[str, torch.Size] = {}
        self.generator = torch.Generator()

    def start(self, network: LayeredNetwork, *, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        center, device = math.log(self.keep / (1 - self.keep)), None
        for name, weight in network.weights().items():
            self.shape[name] = weight.shape
            shape = weight.shape if self.group == "weight" else (1, weight.shape[1])
            spread = 0.01 * torch.randn(shape, generator=self.generator)  # apart, so that equal inputs can part
            self.log_alpha[name] = (center + spread).to(weight.detach()).requires_grad_()
            if weight.device.type == "cuda":  # gates are drawn in every step: where they are used
                device = weight.device
        if device is not None:
            self.generator = torch.Generator(device).manual_seed(seed)

    def parameters(self) -> list[Tensor]:
        return list(self.log_alpha.values())

    def gates(self, *, training: bool) -> dict[str, Tensor]:
        return {name: self._gate(logit, training).expand(self.shape[name]) for name, logit in self.log_alpha.items()}

    def _gate(self, logit: Tensor, training: bool) -> Tensor:
        if training:
            place = self.generator.device
            u = torch.rand(logit.shape, generator=self.generator, device=place).clamp(EDGE, 1 - EDGE).to(logit)
            s = torch.sigmoid((u.log() - (-u).log1p() + logit) / self.temperature)
        else:
            s = torch.sigmoid(logit.detach())
        return (s * (HIGH - LOW) + LOW).clamp(0.0, 1.0)

    def open_probability(self) -> dict[str, Tensor]:
        """``(out, in)`` by weight: P(z ≠ 0)."""
        shift = self.temperature * math.log(-LOW / HIGH)
        return {n: torch.sigmoid(logit - shift).expand(self.shape[n]) for n, logit in self.log_alpha.items()}

    def penalty(self, network: LayeredNetwork) -> Tensor | None:
        share = self.open_probability().values()
        return self.strength * torch.stack([p.sum() for p in share]).sum() / sum(p.numel() for p in share)

    @torch.no_grad()
    def finish(self, network: LayeredNetwork) -> None:
        masks = network.masks()
        for name, gate in self.gates(training=False).items():
            network.weights()[name].mul_(gate)
            masks[name].mul_(gate > 0)

    def state(self) -> dict[str, Any]:
        return {**{n: v.detach().clone() for n, v in self.log_alpha.items()}, "generator": self.generator.get_state()}

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        generator = state["generator"].cpu()
        if generator.shape != self.generator.get_state().shape:
            raise ValueError("this run was begun on another kind of device: resume it there, or start it anew here")
        self.generator.set_state(generator)
        for name, value in self.log_alpha.items():
            value.copy_(state[name])
