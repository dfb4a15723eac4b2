"""The Langevin equation over time and over networks: what the moments of single cells in test_sergio do not tell."""

import numpy as np
import pytest
import torch
from pyrogrn.models.simulators import ChemicalLangevin, Kinetics, simulate_sergio
from scipy import stats

DT = 0.01
SURE = stats.norm.isf(1e-6)  # of each comparison: about 80 of them, so a failure by chance in 6,000 seeds


def network(edges, production, num_genes, tfs, *, decay=0.8, noise=1.0):
    """One network, regulators first, from ``(source, target, K, n)`` and ``{gene: rates by type}``."""
    strength = torch.zeros(1, tfs, num_genes, dtype=torch.float64)
    hill = torch.full_like(strength, 2.0)
    for source, target, k, n in edges:
        strength[0, source, target], hill[0, source, target] = k, n
    rates = torch.zeros(1, num_genes, len(next(iter(production.values()))), dtype=torch.float64)
    for gene, values in production.items():
        rates[0, gene] = torch.tensor(values, dtype=torch.float64)
    each = torch.ones(1, num_genes, dtype=torch.float64)
    return Kinetics(torch.arange(tfs)[None], strength, hill, rates, decay * each, noise * each)


def stacked(*networks):
    return Kinetics(**{name: torch.cat([getattr(k, name) for k in networks]) for name in vars(networks[0])})


@pytest.mark.parametrize(("noise_type", "parts"), [("dpd", 2), ("sp", 1), ("sd", 1), ("dp", 1)])
def test_stationary_variance_and_autocorrelation(noise_type, parts):
    # x' = a x + b dt + q sqrt(dt) sqrt(b + λ x) e, a = 1 − λ dt: at the stationary mean b/λ the noise has variance
    # q² dt b for each of its parts, so Var x = parts q² dt b / (1 − a²) and Corr(x_s, x_t) = a^|s − t|.
    # The cells of a type are its states at num_cells uniform times of one trajectory of num_cells x spacing steps:
    # their sample variance falls short of Var x by the mean correlation of two of them.
    types, cells, spacing, q, b, decay = 4000, 10, 20, 0.05, 2.0, 2.0
    k = network([], {0: [b] * types}, 1, 1, decay=decay, noise=q)
    x = simulate_sergio(k, num_cells=cells, spacing=spacing, noise_type=noise_type, dt=DT, seed=3).clean[0, :, :, 0]
    a, steps = 1 - decay * DT, cells * spacing
    settled = parts * q**2 * DT * b / (1 - a**2)
    assert settled == pytest.approx(parts * q**2 * b / (2 * decay), rel=0.02)
    # the trajectory starts at the mean: Cov(x_s, x_t) = Var x (a^|s − t| − a^(s + t)), s and t counted from 1
    s, t = np.arange(1, steps + 1)[:, None], np.arange(1, steps + 1)[None]
    covariance = settled * (a ** np.abs(s - t) - a ** (s + t + 0.0))
    deviation = x.numpy() - b / decay
    for found, expected in (
        (deviation**2, np.diag(covariance).mean()),
        (deviation[:, :1] * deviation[:, 1:], covariance.mean()),  # two cells of a type
    ):
        each = found.mean(1)  # types are independent
        assert abs(each.mean() - expected) < SURE * each.std() / np.sqrt(types)
    assert covariance.mean() > 0.2 * np.diag(covariance).mean()  # otherwise the second comparison says little


def test_a_trajectory_without_gaps_keeps_its_correlation():
    # spacing 1: num_cells times of num_cells steps; the correlation of two cells is that of the whole trajectory
    types, cells, q, b, decay = 3000, 50, 0.05, 2.0, 2.0
    k = network([], {0: [b] * types}, 1, 1, decay=decay, noise=q)
    x = simulate_sergio(k, num_cells=cells, spacing=1, dt=DT, seed=4).clean[0, :, :, 0].numpy() - b / decay
    a, t = 1 - decay * DT, np.arange(1, cells + 1)
    covariance = 2 * q**2 * DT * b / (1 - a**2) * (a ** np.abs(t[:, None] - t) - a ** (t[:, None] + t + 0.0))
    products = (x.sum(1) ** 2 - (x**2).sum(1)) / (cells * (cells - 1))
    assert abs(products.mean() - covariance.mean()) < SURE * products.std() / np.sqrt(types)


def test_networks_in_a_batch_are_distributed_as_alone():
    # with noise that reaches the boundary at 0, networks of 1 and 3 levels; replicates are networks of the batch
    rates = {0: [0.4, 1.5]}
    chain = network([(0, 1, 3.0, 2.0), (1, 2, -2.0, 3.0), (2, 3, 4.0, 1.5)], rates, 4, 3)
    flat = network([(0, 1, 2.0, 2.0), (0, 2, -3.0, 1.0), (0, 3, 1.0, 2.0)], rates, 4, 3)
    replicates, size = 600, {"num_cells": 10, "dt": DT}
    together = simulate_sergio(stacked(*[chain, flat] * replicates), seed=5, **size).clean.numpy()
    for i, alone in enumerate((chain, flat)):
        ours = together[i::2]
        single = simulate_sergio(stacked(*[alone] * replicates), seed=6 + i, **size).clean.numpy()
        for statistic in (lambda x: x.mean(2), lambda x: x.std(2), lambda x: (x == 0).mean(2)):
            mine, other = statistic(ours), statistic(single)
            error = np.sqrt((mine.var(0) + other.var(0)) / replicates)
            assert (np.abs(mine.mean(0) - other.mean(0)) <= SURE * error).all()


def test_networks_of_a_batch_are_independent():
    replicates = 2000
    k = stacked(*[network([(0, 1, 3.0, 2.0)], {0: [1.0]}, 2, 1)] * replicates)
    x = simulate_sergio(k, num_cells=4, seed=8).clean.mean((1, 2)).numpy()  # (network, gene)
    for gene in range(2):
        assert abs(np.corrcoef(x[::2, gene], x[1::2, gene])[0, 1]) < SURE / np.sqrt(replicates / 2)


def test_a_cycle_is_refused_when_the_program_is_made():
    cycle = network([(0, 1, 1.0, 2.0), (1, 0, 1.0, 2.0)], {2: [1.0]}, 3, 3)
    with pytest.raises(ValueError, match="has a cycle among its regulators") as caught:
        ChemicalLangevin(cycle, num_cells=2)
    assert "\n" not in str(caught.value)


def test_saturated_repressors_leave_no_nan():
    # one type of nine has the regulators: there H(x) is 1 to all digits of float32, and nothing is produced
    replicates, types, tfs, genes = 40, 9, 3, 20
    generator = torch.Generator().manual_seed(1)
    strength = torch.zeros(replicates, tfs, genes)
    strength[:, :, tfs:] = -1 - 4 * torch.rand(replicates, tfs, genes - tfs, generator=generator)
    rates = torch.zeros(replicates, genes, types)
    rates[:, :tfs, 0] = 5.0
    each = torch.ones(replicates, genes)
    regulators = torch.arange(tfs).repeat(replicates, 1)
    k = Kinetics(regulators, strength, torch.full_like(strength, 10.0), rates, 0.8 * each, each)
    assert torch.isfinite(simulate_sergio(k, num_cells=20, seed=0).clean).all()
