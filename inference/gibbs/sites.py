"""The state of a kernel as the sites of its model."""

from torch import Tensor

from ...models import RegressionNetwork
from .hyper import State


def sites_of(model: RegressionNetwork, state: State) -> dict[str, Tensor]:
    """The kernel's state as the model's sites, ``(chain, *dims)``."""
    sites = {}
    for name in model.dims:
        value = state[name]
        if name in ("noise_variance", "headroom"):
            value = value.movedim(0, 1) if model.has_contexts else value[0]
        elif name == "W_context":
            value = value.movedim(0, 1)
        sites[name] = value
    return sites
