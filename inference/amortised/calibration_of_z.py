r"""From an unrolled solution alone to the probability of every edge: two numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .head import CLAMP, log_size, units_of_sizes


class SizeCalibration(nn.Module):
    r"""q(γ = 1) of every pair from its entry of Z and nothing else.

    .. math:: \operatorname{logit} q(\gamma_{tg} = 1) = a + \mathrm{softplus}(b) \log(|Z_{tg}| + \epsilon)

    The order of the pairs is that of the unrolled algorithm; a and b, the same for every data set, make it the
    probability that minimises the log loss over the simulations (Platt's scaling). Logarithms are standardised over the
    first simulations of the training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("z_location", torch.zeros(()))
        self.register_buffer("z_spread", torch.ones(()))
        self.line = nn.Parameter(torch.tensor([-2.0, 1.0]))  # a few edges in a hundred pairs, and |Z| says which

    z_location: Tensor
    z_spread: Tensor

    def standardise(self, evidence: Sequence[Tensor], z: Sequence[Tensor]) -> None:
        """Set the units of log |Z| from example data sets; ``evidence`` is not read."""
        location, spread = units_of_sizes(z)
        self.z_location.copy_(location)
        self.z_spread.copy_(spread)

    def forward(self, evidence: Tensor, z: Tensor, knowledge: Tensor) -> Tensor:
        """Log-odds ``(*graph, tf, gene)`` from Z of that shape; evidence and knowledge are not read (the unrolled
        algorithm has seen the knowledge)."""
        size = ((log_size(z) - self.z_location) / self.z_spread).clamp(-CLAMP, CLAMP)
        return self.line[0] + nn.functional.softplus(self.line[1]) * size
