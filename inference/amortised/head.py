r"""From evidence and an unrolled solution to the probability of every edge."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .evidence import CHANNELS
from .knowledge import PRIOR_CHANNELS

CLAMP = 8.0  # standard deviations beyond which a channel says no more


class Exchangeable(nn.Module):
    r"""A linear map of a (tf, gene) array that does not depend on the order of either axis (Hartford et al. 2018).

    .. math:: h'_{tg} = A h_{tg} + B\, \bar h_{t\cdot} + C\, \bar h_{\cdot g} + D\, \bar h_{\cdot\cdot} + b

    A pair is thus judged beside the other targets of its regulator (is it a hub?), the other regulators of its gene (is
    it explained already?), and the whole data set; the same weights serve any number of genes.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pair = nn.Linear(inputs, outputs)
        self.row, self.column, self.whole = (nn.Linear(inputs, outputs, bias=False) for _ in range(3))

    def forward(self, h: Tensor) -> Tensor:
        """``(*graph, tf, gene, inputs)`` → ``(*graph, tf, gene, outputs)``."""
        row, column = h.mean(-2, keepdim=True), h.mean(-3, keepdim=True)
        return self.pair(h) + self.row(row) + self.column(column) + self.whole(row.mean(-3, keepdim=True))


class InclusionHead(nn.Module):
    r"""q(γ = 1) of every pair, monotone in its unrolled solution.

    .. math:: \operatorname{logit} q(\gamma_{tg} = 1) = a_{tg} + b_{tg} \log(|Z_{tg}| + \epsilon), \qquad b_{tg} \ge 0

    Offset a and slope b are read off the evidence (`pair_evidence`) and the prior knowledge by a few exchangeable
    layers: Z orders the pairs as the unrolled algorithm does, the evidence says how far to trust it here.

    Parameters
    ----------
    width, depth
        Of the layers: 48 and 3, some 30,000 numbers.
    sees_z
        False: the offset a alone, from evidence and knowledge; Z is not read.
    """

    def __init__(self, *, width: int = 48, depth: int = 3, sees_z: bool = True) -> None:
        super().__init__()
        self.sees_z = sees_z
        self.register_buffer("location", torch.zeros(len(CHANNELS)))
        self.register_buffer("spread", torch.ones(len(CHANNELS)))
        self.register_buffer("z_location", torch.zeros(()))
        self.register_buffer("z_spread", torch.ones(()))
        self.first = Exchangeable(len(CHANNELS) + len(PRIOR_CHANNELS), width)
        self.layers = nn.ModuleList(Exchangeable(width, width) for _ in range(depth - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth - 1))
        self.last = nn.Linear(width, 2 if sees_z else 1)

    location: Tensor
    spread: Tensor
    z_location: Tensor
    z_spread: Tensor

    def standardise(self, evidence: Sequence[Tensor], z: Sequence[Tensor]) -> None:
        """Set the units of all inputs from example data sets."""
        rows = torch.cat([e.flatten(0, -2).double() for e in evidence])
        self.location.copy_(rows.mean(0))
        spread = rows.std(0)
        # a channel that hardly varies (one number of regulators) is no evidence: its rounding must not be blown up
        self.spread.copy_(torch.where(spread > 3e-3 * rows.mean(0).abs().clamp_min(1.0), spread, 1.0))
        if self.sees_z:
            location, spread_of_z = units_of_sizes(z)
            self.z_location.copy_(location)
            self.z_spread.copy_(spread_of_z)

    def forward(self, evidence: Tensor, z: Tensor, knowledge: Tensor) -> Tensor:
        """Log-odds ``(*graph, tf, gene)`` from ``(*graph, tf, gene, channel)``, ``(*graph, tf, gene)`` and ``(*graph,
        tf, gene, 3)``."""
        scaled = ((evidence - self.location) / self.spread).clamp(-CLAMP, CLAMP)
        h = self.first(torch.cat([scaled, knowledge], dim=-1))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = h + layer(nn.functional.silu(norm(h)))
        last = self.last(nn.functional.silu(h))
        if not self.sees_z:
            offset_alone: Tensor = last[..., 0]
            return offset_alone
        offset, slope = last.unbind(-1)
        size = ((log_size(z) - self.z_location) / self.z_spread).clamp(-CLAMP, CLAMP)
        return offset + nn.functional.softplus(slope) * size


def log_size(z: Tensor) -> Tensor:
    """log(|Z| + 10⁻³)."""
    return (z.abs() + 1e-3).log()


def units_of_sizes(z: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and sd of `log_size` over example data sets."""
    sizes = torch.cat([log_size(v).double().flatten() for v in z])
    return sizes.mean(), sizes.std().clamp_min(1e-6)
