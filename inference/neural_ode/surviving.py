r"""The guide of PHOENIX's weights that survive pruning, and joint draws of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ...models.data.transitions import Transitions
from ...models.dynamics.phoenix_layers import PhoenixParameters
from ...models.phoenix import Phoenix
from ..draws.fitted import PosteriorLike
from ..draws.intervals import thin_of
from ..variational.pyro_sites import register

POSITIVE = ("trust", "weight_scale", "noise")
FIRST_SPREAD = 0.1  # sd of logarithms and rates, and of a weight relative to the size of its layer, at the start


class SurvivingWeights(nn.Module):
    r"""Independent normals for υ, biases and every weight that is not pruned, log-normals for scales, noise and trust.

    .. math:: q(w) = N(m_w, v_w) \text{ where the mask is } 1, \qquad q(w) = p(w) \text{ elsewhere}

    A pruned weight does not act, so that its prior and its q cancel; both are masked.

    Parameters
    ----------
    model
        With masks and reference (`Phoenix.with_reference`).
    start
        The trained weights, biases and υ by name.
    error
        Their mean squared error: where σ starts.
    """

    def __init__(self, model: Phoenix, start: Mapping[str, Tensor], error: float) -> None:
        super().__init__()
        self.weights = model.depth.names
        values = {name: start[name].detach().clone() for name in (*model.weight_shapes, "upsilon")}
        masks = {name: model.get_buffer(f"{name}_mask") for name in self.weights}
        sizes = []
        for name in self.weights:
            kept = values[name][masks[name] > 0]
            sizes.append(kept.square().mean().sqrt() if len(kept) else model.zero + FIRST_SPREAD)
        values["weight_scale"] = torch.stack(sizes).clamp_min(1e-3).log()
        values["noise"] = model.zero + 0.5 * float(np.log(max(error, 1e-8)))
        if sources := len(model.knowledge.sources):
            values["trust"] = model.zero.new_zeros(sources)  # b_k starts at 1
        spread = {name: torch.full_like(value, FIRST_SPREAD).log() for name, value in values.items()}
        for place, name in enumerate(self.weights):
            spread[name] = spread[name] + values["weight_scale"][place]
        self.center = nn.ParameterDict({name: nn.Parameter(value) for name, value in values.items()})
        self.log_spread = nn.ParameterDict({name: nn.Parameter(value) for name, value in spread.items()})
        for name, mask in masks.items():
            self.register_buffer(f"mask_{name}", mask, persistent=False)

    def draw(self, generator: torch.Generator | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """One reparameterised draw by site ``(1, *plates of size one, *dims)``, and its log density ``(1,)``."""
        values, log_q = {}, self.center["noise"].new_zeros(())
        for name, center in self.center.items():
            spread = self.log_spread[name].exp()
            # a stored stream is the CPU's, so that draws are the same anywhere; in training none leaves the device
            place = center.device if generator is None else generator.device
            noise = torch.randn(center.shape, generator=generator, dtype=center.dtype, device=place).to(center.device)
            z = center + spread * noise
            density = dist.Normal(center, spread).log_prob(z)
            if name in self.weights:
                mask = self.get_buffer(f"mask_{name}")
                z, density = z * mask, density * mask
            elif name in POSITIVE:
                density, z = density - z, z.exp()
            log_q = log_q + density.sum()
            values[name] = z.reshape(1, 1, 1, *z.shape)
        return values, log_q.reshape(1)

    def forward(self, batch: Transitions | None = None) -> dict[str, Tensor]:
        """The same as a Pyro guide, its parameters in Pyro's store; ``batch`` as the model takes it."""
        register("surviving-weights", self)
        values = {}
        for name, center in self.center.items():
            spread = self.log_spread[name].exp()
            family = (dist.LogNormal if name in POSITIVE else dist.Normal)(center, spread)
            if name in self.weights:
                family = family.mask(self.get_buffer(f"mask_{name}") > 0)
            values[name] = pyro.sample(name, family.to_event(center.dim()))
        return values


def seeded(seed: int, chain: int, draw: int) -> torch.Generator:
    """The stream of one draw, so that the weights of a stored draw can be had again."""
    state = np.random.SeedSequence([seed, chain, draw]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def rebuilt(
    shared: Phoenix, guide: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> tuple[Phoenix, SurvivingWeights]:
    """The model and the guide of one chain from what was kept of it; ``masks`` holds confidences too."""
    guide = {name: value.to(shared.zero) for name, value in guide.items()}
    center = {name.removeprefix("center."): value for name, value in guide.items() if name.startswith("center.")}
    model = shared.copied()
    for key, value in masks.items():
        kind, name = key.split(".")
        model.get_buffer(f"{name}_{kind}").copy_(value)
    family = SurvivingWeights(model, center, 1.0)
    family.load_state_dict(guide)
    return model, family.to(shared.zero)


def parameters_of(model: Phoenix, values: Mapping[str, Tensor]) -> PhoenixParameters:
    """The weights of one draw of the guide, without leading axes."""
    shapes = {**model.weight_shapes, "upsilon": (len(model.genes),)}
    return model.depth.compose({name: values[name].reshape(shape) for name, shape in shapes.items()})


def weight_draws(
    posterior: PosteriorLike[Any], number: int | None = None, *, seed: int = 0
) -> tuple[PhoenixParameters, Tensor]:
    """Weights ``(draw, ...)`` and noise ``(draw,)`` of the kept draws of a posterior, chain by chain.

    Parameters
    ----------
    posterior
        Of a `Phoenix`.
    number
        Draws, chosen at random without replacement; default all kept ones in their order.
    seed
        Of that choice.
    """
    model: Phoenix = posterior.model
    stored = {
        name.removeprefix("phoenix."): torch.as_tensor(value)
        for name, value in posterior.attributes.items()
        if name.startswith("phoenix.")
    }
    chains, kept = posterior.draws["W"].shape[:2]
    thin = thin_of(posterior)
    pairs = [(chain, draw * thin) for chain in range(chains) for draw in range(kept)]
    if number is not None and number < len(pairs):
        chosen = np.random.default_rng(seed).choice(len(pairs), number, replace=False)
        pairs = [pairs[i] for i in chosen]
    guides = []
    for chain in range(chains):
        own = {name: value[chain].to(model.zero) for name, value in stored.items()}
        guide = {name: value for name, value in own.items() if name.startswith(("center.", "log_spread."))}
        guides.append(rebuilt(model, guide, {n: v for n, v in own.items() if n not in guide})[1])
    parts, noises = [], []
    with torch.no_grad():
        for chain, draw in pairs:
            values, _ = guides[chain].draw(seeded(posterior.seed, chain, draw))
            parts.append(parameters_of(model, values))
            noises.append(values["noise"].reshape(()))
    return PhoenixParameters(*(torch.stack(value) for value in zip(*parts, strict=True))), torch.stack(noises)
