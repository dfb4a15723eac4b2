r"""Families of simulated data sets that amortised guides are trained on: their prior over worlds."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...models.simulators.grn import RandomGRN
from ...models.simulators.sergio import SergioSimulation, TechnicalNoise, simulate_sergio


@dataclass(frozen=True)
class Family:
    """A distribution over simulator settings; one draw serves a batch of networks of equal size.

    Attributes
    ----------
    genes, tf_share
        Ranges of the number of genes and of the share that are regulators.
    types, cells
        Ranges of the number of cell types and of cells in all (log-uniform).
    in_degree
        Regulators of a gene, on average (sets RandomGRN's sparsity).
    noisy
        Share of data sets with dropout (and Poisson counts), half of them of SERGIO's shape 6.5, else between 5 and 20.
    libraries
        Share of the noisy ones that have outlier genes and library sizes as well.
    dropout
        Range of the dropout percentile.
    normalised
        Share of data sets given as log counts per ten thousand instead of as they are.
    hubs, popularity, copying, cascade, tf_edges, repressive, rate, noise, decay
        Ranges of RandomGRN; ``tf_edges`` for each regulator, ``rate`` the widest of master regulators' rates.
    """

    genes: tuple[int, int] = (100, 100)
    tf_share: tuple[float, float] = (0.1, 0.1)
    types: tuple[int, int] = (2, 10)
    cells: tuple[int, int] = (1000, 1000)
    in_degree: tuple[float, float] = (1.0, 1.0)
    noisy: float = 0.0
    libraries: float = 0.0
    dropout: tuple[float, float] = (5.0, 92.0)
    normalised: float = 0.0
    hubs: tuple[float, float] = (0.0, 0.0)
    popularity: tuple[float, float] = (0.0, 0.0)
    copying: tuple[float, float] = (0.0, 0.0)
    cascade: tuple[float, float] = (0.0, 0.0)
    tf_edges: tuple[float, float] = (0.2, 0.2)
    repressive: tuple[float, float] = (0.5, 0.5)
    rate: tuple[float, float] = (0.2, 1.0)
    noise: tuple[float, float] = (0.1, 0.1)
    decay: tuple[float, float] = (1.0, 1.0)

    def simulate(self, num_networks: int, seed: int) -> SergioSimulation:
        """``num_networks`` networks of one setting; the same seed gives the same cells."""
        generator = torch.Generator().manual_seed(stream(seed, "settings"))
        uniform = lambda low, high: low + (high - low) * float(torch.rand((), generator=generator))
        log_uniform = lambda low, high: round(float(torch.tensor(uniform(_log(low), _log(high))).exp()))
        genes = log_uniform(*self.genes)
        tfs = max(2, round(uniform(*self.tf_share) * genes))
        types = round(uniform(self.types[0] - 0.5, self.types[1] + 0.5))
        cells = max(10, log_uniform(*self.cells) // types)
        wide = uniform(0, 1)  # between the protocol's rates and the widest
        low, high = self.rate
        noise = None
        if uniform(0, 1) < self.noisy:
            counts = uniform(0, 1) < self.libraries
            noise = TechnicalNoise(
                outlier_probability=0.01 if counts else 0.0,
                library_mean=uniform(4, 8) if counts else None,
                dropout_percentile=uniform(*self.dropout),
                dropout_shape=6.5 if uniform(0, 1) < 0.5 else uniform(5, 20),
            )
        grn = RandomGRN(
            num_genes=genes,
            num_tfs=tfs,
            num_types=types,
            sparsity=tuple(min(1.0, d / tfs) for d in self.in_degree),
            tf_edges=tuple(e * tfs for e in self.tf_edges),
            hubs=self.hubs,
            popularity=self.popularity,
            copying=self.copying,
            cascade=self.cascade,
            repressive=self.repressive,
            low_rate=(low, 0.5 + wide * 0.5),
            high_rate=(0.7, 1.0 + wide * (high - 1.0)),
            high_share=(0.3, 0.7),
            decay=self.decay,
            noise=self.noise,
        )
        simulation = simulate_sergio(
            grn, num_networks=num_networks, num_cells=cells, noise=noise, seed=stream(seed, "cells")
        )
        if uniform(0, 1) < self.normalised:
            X = simulation.X
            logged = (1e4 * X / X.sum(-1, keepdim=True).clamp_min(1e-9)).log1p()
            simulation = SergioSimulation(simulation.kinetics, simulation.genes, simulation.clean, logged)
        return simulation


def stream(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose: generators that start alike would tie what they decide, and a guide would
    learn that tie (that a prior network is given where edges are few, say)."""
    return int(np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _log(value: float) -> float:
    return float(torch.tensor(float(value)).log())


CLEAN = Family(types=(2, 10), cells=(500, 2700), in_degree=(1.0, 3.0), noise=(0.1, 1.0), decay=(0.8, 1.0))
"""Clean cells of 100 genes, 10 of them regulators, as the paper trains on (sections 3.2, 3.3), but over ranges where it
has single values: cells, in-degree, noise and decay."""
BROAD = Family(
    genes=(60, 350),
    tf_share=(0.05, 0.3),
    types=(2, 12),
    cells=(200, 3000),
    in_degree=(1.0, 3.5),
    noisy=0.65,
    libraries=0.5,
    normalised=0.2,
    hubs=(0.0, 2.0),
    popularity=(0.0, 1.0),
    copying=(0.0, 0.9),
    cascade=(0.0, 1.5),
    tf_edges=(0.1, 1.5),
    repressive=(0.0, 0.5),
    rate=(0.1, 4.0),
    noise=(0.1, 1.2),
    decay=(0.5, 1.2),
)
"""Clean and noisy cells, sizes, densities and hubs of many kinds: what the shipped guides are trained on."""
PROTOCOL = Family(
    types=(5, 5), cells=(1000, 1000), noisy=0.75, repressive=(0.2, 0.5), noise=(0.1, 0.1), dropout=(20.0, 85.0)
)
"""Around the paper's synthetic protocol (section 3.2): its 100 genes, 5 types and 1,000 cells, with or without dropout,
but of the rates, signs and dropout a range that holds the paper's values, so that `random_grns` is in it too."""
COMPACT = replace(BROAD, genes=(50, 120))
"""BROAD with fewer genes, for `glad`, whose pairs are all pairs of genes."""
FAMILIES = {"clean": CLEAN, "protocol": PROTOCOL, "broad": BROAD, "compact": COMPACT}


def truth(simulation: SergioSimulation) -> Tensor:
    """``(network, tf, gene)`` 0/1."""
    return (simulation.kinetics.strength != 0).float()
