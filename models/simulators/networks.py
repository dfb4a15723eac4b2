"""Random gene regulatory networks."""

import torch
from torch import Tensor


def random_network(
    num_tfs: int, num_genes: int, *, edge_probability: float, scale: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    r"""A random signed network without self-edges: genes 0 … ``num_tfs`` − 1 are the regulators.

    .. math:: \gamma_{tg} \sim \mathrm{Bernoulli}(p), \qquad W_{tg} = \gamma_{tg}\, z_{tg}, \quad z_{tg} \sim N(0, s^2)

    Parameters
    ----------
    edge_probability, scale
        p and s.

    Returns
    -------
    W, present
        ``(tf, gene)`` weights and bool inclusion.
    """
    present = torch.rand(num_tfs, num_genes, generator=generator, dtype=torch.float64) < edge_probability
    present[torch.arange(num_tfs), torch.arange(num_tfs)] = False
    W = scale * torch.randn(num_tfs, num_genes, generator=generator, dtype=torch.float64) * present
    return W, present
