"""Levels whose drive is normal."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions.transforms import AffineTransform, SigmoidTransform


def logit_normal(drive: Tensor, sd: Tensor, *, unit: Tensor, top: Tensor) -> TorchDistribution:
    r"""Levels x between 0 and ``top`` ε with :math:`\operatorname{logit}(x/\varepsilon) / \text{unit}
    \sim N(\text{drive}, \text{sd}^2)`; all broadcastable to ``(*draw, condition, target)``."""
    normal = dist.Normal(drive, sd, validate_args=False)
    steps = [AffineTransform(0.0, unit), SigmoidTransform(), AffineTransform(0.0, top)]
    return dist.TransformedDistribution(normal, steps, validate_args=False)
