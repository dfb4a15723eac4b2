"""SERGIO: moments of the Langevin equation, technical noise, random networks, its files and the command."""

import re
from dataclasses import replace

import anndata
import command_line
import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyrogrn.experiments.files.readers import read_expression, read_names
from pyrogrn.experiments.files.simulation import write_sergio_simulation
from pyrogrn.models.simulators import (
    ChemicalLangevin,
    Kinetics,
    RandomGRN,
    Sergio,
    TechnicalNoise,
    read_sergio,
    simulate_sergio,
    write_sergio,
)
from scipy import stats

DT = 0.01
SURE = stats.norm.isf(1e-6)  # of each comparison: about 300 of them, so a failure by chance in 2,000 seeds


def kinetics_of(edges, production, *, num_genes, regulators, decay=1.0, noise=0.0, dtype=torch.float64):
    """One network from ``(source, target, K, n)`` and ``{gene: rates by type}``."""
    strength = torch.zeros(1, len(regulators), num_genes, dtype=dtype)
    hill = torch.full_like(strength, 2.0)
    for source, target, k, n in edges:
        strength[0, regulators.index(source), target] = k
        hill[0, regulators.index(source), target] = n
    rates = torch.zeros(1, num_genes, len(next(iter(production.values()))), dtype=dtype)
    for gene, values in production.items():
        rates[0, gene] = torch.tensor(values, dtype=dtype)
    each = lambda value: (torch.as_tensor(value, dtype=dtype) + torch.zeros(num_genes, dtype=dtype))[None]
    return Kinetics(torch.tensor([regulators]), strength, hill, rates, each(decay), each(noise))


def repeated(kinetics, times):
    return Kinetics(**{name: value.repeat(times, *[1] * (value.ndim - 1)) for name, value in vars(kinetics).items()})


def stacked(*networks):
    return Kinetics(**{name: torch.cat([getattr(k, name) for k in networks]) for name in vars(networks[0])})


# Two master regulators, a regulator below them and two targets; three Hill coefficients, two repressors
FIVE = {
    "edges": [(0, 2, 3.0, 2.0), (1, 2, -2.0, 3.0), (2, 3, 4.0, 1.5), (0, 3, 1.0, 2.0), (2, 4, -3.0, 3.0)],
    "production": {0: [0.4, 0.9], 1: [1.0, 0.3]},
    "num_genes": 5,
    "regulators": [0, 1, 2],
}
DECAY = [0.8, 1.0, 0.9, 0.8, 1.2]


def response(x, half, n):
    return x**n / (half**n + x**n)


def without_noise(five=FIVE, decay=DECAY):
    """Steady state of `FIVE` ``(type, gene)`` when nothing is random, by hand."""
    b = np.zeros((2, five["num_genes"]))
    for gene, rates in five["production"].items():
        b[:, gene] = rates
    x = np.zeros_like(b)
    for gene in range(five["num_genes"]):  # their order is that of the layers
        made = b[:, gene].copy()
        for source, target, k, n in five["edges"]:
            if target == gene:
                h = response(x[:, source], x[:, source].mean(), n)
                made += k * h if k > 0 else -k * (1 - h)
        x[:, gene] = made / decay[gene]
    return x


# -- the Langevin equation ----


@pytest.mark.parametrize(("noise_type", "production", "decay"), [("dpd", 1, 1), ("sp", 1, 0), ("sd", 0, 1)])
def test_master_regulators_have_the_moments_of_the_linear_equation(noise_type, production, decay):
    # Far from 0 the step x' = a x + b dt + q sqrt(dt (b + λx)) e, a = 1 − λ dt, has mean b/λ, and from there after t
    # steps variance q² dt b (production + decay) (1 − a^2t) / (1 − a²), which goes to q² b (…)/(2λ) for small dt.
    # Each type gives one cell, at a random step: independent trajectories.
    trajectories, steps, q = 12_000, 250, 0.05
    b, rate = np.array([1.0, 2.0, 1.0]), np.array([1.0, 0.8, 2.0])
    kinetics = kinetics_of(
        [],
        {g: [value] * trajectories for g, value in enumerate(b)},
        num_genes=3,
        regulators=[0, 1, 2],
        decay=rate,
        noise=q,
    )
    clean = simulate_sergio(kinetics, num_cells=1, spacing=steps, noise_type=noise_type, dt=DT, seed=1).clean
    x = clean[0, :, 0].numpy()  # (trajectory, gene)
    a = 1 - rate * DT
    settled = q**2 * DT * b * (production + decay) / (1 - a**2)
    assert settled == pytest.approx(q**2 * b * (production + decay) / (2 * rate), rel=0.02)
    variance = settled * (1 - a ** (2 * np.arange(1, steps + 1)[:, None])).mean(0)
    assert (np.abs(x.mean(0) - b / rate) / np.sqrt(variance / trajectories)).max() < SURE
    fourth = ((x - x.mean(0)) ** 4).mean(0)
    error = np.sqrt((fourth - variance**2) / trajectories)
    z = (x.var(0) - variance) / error
    assert np.abs(z).max() < SURE
    assert abs(z.sum()) < SURE * np.sqrt(len(z))  # genes are independent: together they tell 4 % of variance


def slow(kinetics, replicates, num_cells, spacing, noise_type, rng):
    """Cells ``(replicate, type, cell, gene)`` by the equations, gene by gene and step by step."""
    strength, hill = kinetics.strength[0].numpy(), kinetics.hill[0].numpy()
    b, decay, q = kinetics.production[0].numpy(), kinetics.decay[0].numpy(), kinetics.noise[0].numpy()
    regulators = kinetics.regulators[0].tolist()
    genes, types = b.shape
    steps = spacing * num_cells
    x = np.zeros((genes, steps, replicates, types))
    half, mean = np.zeros((genes, replicates, 1)), np.zeros((genes, replicates, types))
    for g in range(genes):

        def production(state, g=g):
            made = np.zeros((replicates, types)) + b[g]
            for t, source in enumerate(regulators):
                k = strength[t, g]
                if k != 0:
                    h = response(state(source), half[source], hill[t, g])
                    made = made + (k * h if k > 0 else abs(k) * (1 - h))
            return made

        now = production(lambda source: mean[source]) / decay[g]
        for step in range(steps):
            made, lost = production(lambda source, step=step: x[source, step]), decay[g] * now
            noise = np.zeros_like(now)
            if noise_type in ("dpd", "sp"):
                noise = noise + q[g] * np.sqrt(made) * rng.normal(size=now.shape)
            if noise_type in ("dpd", "sd"):
                noise = noise + q[g] * np.sqrt(lost) * rng.normal(size=now.shape)
            now = np.maximum(now + (made - lost) * DT + noise * np.sqrt(DT), 0)
            x[g, step] = now
        mean[g] = x[g].mean(0)
        half[g] = mean[g].mean(-1, keepdims=True)
    when = rng.integers(steps, size=(replicates, types, num_cells))
    r, c = np.indices((replicates, types))
    return np.moveaxis(x[:, when, r[..., None], c[..., None]], 0, -1)


@pytest.mark.parametrize("noise_type", ["dpd", "sp", "sd"])
def test_a_slow_loop_over_the_equations_agrees(noise_type):
    replicates, num_cells, spacing = 1500, 12, 15
    kinetics = kinetics_of(**FIVE, decay=DECAY, noise=[1.0, 0.5, 0.7, 1.0, 0.4])  # large: the boundary at 0 is met
    many = repeated(kinetics, replicates)
    ours = simulate_sergio(many, num_cells=num_cells, spacing=spacing, noise_type=noise_type, dt=DT, seed=2).clean
    theirs = slow(kinetics, replicates, num_cells, spacing, noise_type, np.random.default_rng(2))
    assert (ours.numpy() >= 0).all()
    statistics = {
        "mean": lambda x: x.mean(2),
        "sd": lambda x: x.std(2),
        "zero": lambda x: (x == 0).mean(2),
        "with a regulator": lambda x: ((x - x.mean(2, keepdims=True)) * x[..., [2]]).mean(2),
    }
    for name, statistic in statistics.items():
        mine, other = statistic(ours.numpy()), statistic(theirs)  # (replicate, type, gene): replicates independent
        error = np.sqrt((mine.var(0) + other.var(0)) / replicates)
        z = np.abs(mine.mean(0) - other.mean(0)) / np.maximum(error, 1e-12)
        assert z.max() < SURE, name


def test_half_responses_are_the_means_of_regulators_over_types():
    kinetics = kinetics_of(**FIVE, decay=DECAY)  # q = 0: every cell is at the steady state
    simulation = simulate_sergio(kinetics, num_cells=4, seed=0)
    expected = without_noise()
    assert expected[:, 3].std() > 0.1
    assert simulation.clean.numpy() == pytest.approx(np.broadcast_to(expected[None, :, None], (1, 2, 4, 5)), rel=1e-12)
    x = expected[:, 2]  # the target's mean tells the half-response of its regulator
    made = DECAY[3] * expected[:, 3] - response(expected[:, 0], expected[:, 0].mean(), 2)
    half = x * (4 / made - 1) ** (1 / 1.5)
    assert half == pytest.approx([x.mean()] * 2, rel=1e-12)


def test_networks_of_different_depth_in_one_batch():
    rates = {0: [0.4, 0.9]}
    shape = {"production": rates, "num_genes": 6, "decay": 0.8}
    chain = kinetics_of(
        [(0, 1, 2.0, 2.0), (1, 2, 3.0, 2.0), (2, 3, -2.0, 1.0), (3, 4, 2.0, 2.0), (3, 5, 1, 2)],
        regulators=[0, 1, 2, 3],
        **shape,
    )
    flat = kinetics_of([(0, g, float(g), 2.0) for g in (1, 2, 3, 4, 5)], regulators=[0, 5, 4, 3], **shape)
    both = stacked(chain, flat)
    assert both.levels().tolist() == [[0, 1, 2, 3], [0, 1, 1, 1]]
    together = simulate_sergio(both, num_cells=3).clean
    for i, alone in enumerate((chain, flat)):
        assert torch.allclose(together[i], simulate_sergio(alone, num_cells=3).clean[0], rtol=1e-12)
    assert together.std((1, 2)).min() > 0


def test_a_network_of_regulators_only():
    five = FIVE | {"regulators": [4, 3, 2, 1, 0]}
    clean = simulate_sergio(kinetics_of(**five, decay=DECAY), num_cells=2).clean
    assert clean[0, :, 0].numpy() == pytest.approx(without_noise(), rel=1e-12)


def test_circles_and_self_edges_are_refused():
    circle = kinetics_of(
        [(0, 1, 1.0, 2.0), (1, 2, 1.0, 2.0), (2, 1, 1.0, 2.0)], {0: [1.0]}, num_genes=4, regulators=[0, 1, 2]
    )
    with pytest.raises(ValueError, match="has a cycle among its regulators"):
        simulate_sergio(circle, num_cells=2)
    with pytest.raises(ValueError, match=r"1 gene\(s\) regulate themselves"):
        kinetics_of([(1, 1, 1.0, 2.0)], {0: [1.0]}, num_genes=3, regulators=[0, 1])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("decay", lambda v: v * 0, "a decay rate is 0"),
        ("noise", lambda v: v - 1, "noise has entries that are not finite or negative"),
        ("strength", lambda v: v * torch.nan, "strength has entries that are not finite"),
        ("hill", lambda v: v[..., :2], r"hill has shape \(1, 3, 2\), expected \(1, 3, 5\)"),
        ("regulators", lambda v: v * 0, "regulators are not distinct positions among 5 genes"),
        ("regulators", lambda v: v + 3, "regulators are not distinct positions among 5 genes"),
    ],
)
def test_wrong_kinetics_are_refused(name, change, message):
    kinetics = kinetics_of(**FIVE)
    with pytest.raises(ValueError, match=message):
        replace(kinetics, **{name: change(getattr(kinetics, name))})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_cells": 0}, "num_cells=0"),
        ({"spacing": 0}, "spacing=0"),
        ({"noise_type": "white"}, "noise_type is 'white'"),
        ({"dt": 1.5}, "expected 0 < dt x decay < 1"),
        ({"num_networks": 3}, "the kinetics given are of 1 networks"),
        ({"genes": ("A", "B")}, "2 gene names for 5 genes"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        simulate_sergio(kinetics_of(**FIVE), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sizes_types_and_seeds(dtype):
    kinetics = repeated(kinetics_of(**FIVE, decay=DECAY, noise=1.0, dtype=dtype), 3)
    noise = TechnicalNoise(dropout_percentile=50.0, library_mean=4.0, outlier_probability=0.3)
    first = simulate_sergio(kinetics, num_cells=7, noise=noise, seed=5)
    before = torch.get_rng_state()
    again = simulate_sergio(kinetics, num_cells=7, noise=noise, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    assert first.clean.shape == first.X.shape == (3, 2, 7, 5)
    assert first.clean.dtype == first.X.dtype == dtype
    assert torch.equal(first.clean, again.clean)
    assert torch.equal(first.X, again.X)
    assert not torch.equal(first.clean, simulate_sergio(kinetics, num_cells=7, noise=noise, seed=6).clean)
    data = first.data(1, "clean")
    assert torch.equal(data.X, first.clean[1].reshape(14, 5).float())
    assert data.tfs == ("G0000", "G0001", "G0002")
    assert first.cell_types == ["type0"] * 7 + ["type1"] * 7
    with pytest.raises(ValueError, match="layer is 'raw'"):
        first.data(0, "raw")
    network = first.network(2)
    assert {(r.source, r.target, r.sign) for r in network.itertuples()} == {
        (f"G000{s}", f"G000{t}", 1 if k > 0 else -1) for s, t, k, _ in FIVE["edges"]
    }


# -- technical noise ----


def test_dropout_keeps_with_the_stated_probability(seeded):
    levels = torch.tensor([0.5, 2.0, 6.0, 20.0], dtype=torch.float64)
    clean = levels.repeat(20_000, 1)[None, None]  # (1, 1, cell, gene)
    middle = np.log1p(6.0)  # the 55th percentile of four equally frequent values
    X = TechnicalNoise(dropout_percentile=55.0, dropout_shape=2.0, umi=False)(clean)
    kept = (X[0, 0] > 0).double().mean(0).numpy()
    probability = 1 / (1 + np.exp(-2.0 * (np.log1p(levels.numpy()) - middle)))
    assert (np.abs(kept - probability) / np.sqrt(probability * (1 - probability) / 20_000)).max() < SURE
    assert set(X[X > 0].tolist()) == set(levels.tolist())


def test_totals_are_log_normal(seeded):
    clean = torch.rand(1, 4, 5_000, 3, dtype=torch.float64)
    clean[0, 0, 0] = 0  # a cell without a molecule stays so
    X = TechnicalNoise(library_mean=4.6, library_scale=0.4, umi=False)(clean)
    assert (X[0, 0, 0] == 0).all()
    total = X.sum(-1).flatten()[1:]
    assert stats.kstest(total.log().numpy(), stats.norm(4.6, 0.4).cdf).pvalue > 1e-6
    share = clean / clean.sum(-1, keepdim=True)
    assert torch.allclose(X[0, 1] / X[0, 1].sum(-1, keepdim=True), share[0, 1])


def test_outlier_genes_have_one_log_normal_factor(seeded):
    clean = torch.rand(2, 2, 3, 10_000, dtype=torch.float64) + 0.1
    X = TechnicalNoise(outlier_probability=0.2, outlier_mean=0.8, outlier_scale=0.5, umi=False)(clean)
    factor = (X / clean).flatten(1, 2)  # (network, cell, gene)
    assert torch.allclose(factor, factor[:, :1])
    factor = factor[:, 0].flatten()
    changed = (factor - 1).abs() > 1e-9
    assert abs(float(changed.double().mean()) - 0.2) < SURE * np.sqrt(0.2 * 0.8 / 20_000)
    assert stats.kstest(factor[changed].log().numpy(), stats.norm(0.8, 0.5).cdf).pvalue > 1e-6


def test_counts_are_poisson(seeded):
    clean = torch.tensor([0.0, 0.3, 4.0], dtype=torch.float64).repeat(1, 1, 50_000, 1)
    X = TechnicalNoise()(clean)[0, 0].numpy()
    mean = clean[0, 0, 0].numpy()
    assert (X.round() == X).all()
    assert (np.abs(X.mean(0) - mean) <= SURE * np.sqrt(mean / 50_000)).all()
    assert (np.abs(X.var(0) - mean) <= SURE * np.sqrt((mean + 2 * mean**2) / 50_000)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outlier_probability": 1.5}, "outlier_probability is 1.5"),
        ({"dropout_percentile": 101.0}, "dropout_percentile is 101"),
        ({"dropout_shape": 0.0}, "dropout_shape is 0"),
        ({"library_scale": float("nan")}, "library_scale is nan"),
    ],
)
def test_wrong_technical_noise_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TechnicalNoise(**options)


# -- a Pyro program ----


def test_sites_of_the_program_and_conditioning(seeded):
    program = Sergio(num_cells=6, noise=TechnicalNoise(dropout_percentile=40.0))
    family = RandomGRN(num_genes=8, num_tfs=3, num_types=2)
    story = lambda: program(family(2))
    sites = pyro.poutine.trace(story).get_trace().nodes
    order = [name for name in sites if name in ("present", "clean", "kept", "X")]
    assert order == ["present", "clean", "kept", "X"]
    assert isinstance(sites["clean"]["fn"], ChemicalLangevin)
    assert sites["X"]["value"].shape == (2, 2, 6, 8)
    clean = torch.rand(2, 2, 6, 8) * 5
    given = pyro.poutine.trace(pyro.poutine.condition(story, {"clean": clean})).get_trace()
    assert given.nodes["clean"]["is_observed"]
    assert torch.equal(given.nodes["clean"]["value"], clean)
    kept, X = given.nodes["kept"]["value"], given.nodes["X"]
    assert torch.equal(X["fn"].base_dist.rate, clean * kept)
    assert torch.isfinite(X["fn"].log_prob(X["value"]))
    with pytest.raises(NotImplementedError, match="no closed form"):
        given.nodes["clean"]["fn"].log_prob(clean)
    assert ChemicalLangevin(family(1), num_cells=3).sample(torch.Size([2])).shape == (2, 1, 2, 3, 8)


# -- random networks ----


def within_binomial_error(count, number, probability):
    assert abs(count - number * probability) < SURE * np.sqrt(number * probability * (1 - probability))


def test_random_networks_are_connected_acyclic_and_of_the_stated_density(seeded):
    n, tfs, genes = 200, 10, 60
    k = RandomGRN(num_genes=genes, num_tfs=tfs, num_types=3, sparsity=(0.2, 0.2), repressive=(0.3, 0.3))(n)
    present = k.strength != 0
    assert present[..., tfs:].any(1).all()
    k.levels()  # no circle
    empty = 0.8**tfs  # such a gene gets one regulator
    number = n * (genes - tfs) * tfs
    shared = 0.2 + empty / tfs
    assert shared - 0.2 == pytest.approx(0.0107, abs=1e-4)
    # edges of a gene are not quite independent: their number has the binomial variance less what the rule takes away
    within_binomial_error(int(present[..., tfs:].sum()), number, shared)
    within_binomial_error(int((k.strength < 0).sum()), int(present.sum()), 0.3)
    within_binomial_error(int(present[..., :tfs].sum()), n * tfs * (tfs - 1) // 2, 2 / 45)
    strength = k.strength[present].abs()
    assert (strength >= 1).all()
    assert (strength <= 5).all()
    assert stats.kstest(strength.numpy(), stats.uniform(1, 4).cdf).pvalue > 1e-6
    master = ~present[..., :tfs].any(1)
    rate = k.production[:, :tfs][master]
    assert (k.production[:, tfs:] == 0).all()
    assert (k.production[:, :tfs][~master] == 0).all()
    assert (((rate >= 0.2) & (rate <= 0.5)) | ((rate >= 0.7) & (rate <= 1.0))).all()
    within_binomial_error(int((rate > 0.6).sum()), rate.numel(), 0.5)


def test_copying_and_hubs_do_what_they_say():
    def drawn(**options):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            return RandomGRN(num_genes=80, num_tfs=20, **options)(30).strength != 0

    def shared(present):
        """Share of pairs of genes with the same regulators."""
        own = present[..., 20:].transpose(1, 2)
        same = (own[:, :, None] == own[:, None]).all(-1)
        return float((same.sum((1, 2)) - 60).sum() / (len(own) * 60 * 59))

    plain, copied = drawn(), drawn(copying=(0.5, 0.5))
    assert shared(copied) > shared(plain) + 0.01
    assert shared(drawn(copying=(1.0, 1.0))) == 1
    spread = lambda present, axis: float(present[..., 20:].sum(axis).float().var(-1).mean())
    assert spread(drawn(hubs=(1.0, 1.0)), 2) > 3 * spread(plain, 2)
    assert spread(drawn(popularity=(1.0, 1.0)), 1) > 1.5 * spread(plain, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tfs": 0}, "num_tfs=0"),
        ({"num_tfs": 101}, "expected 1 <= num_tfs <= num_genes"),
        ({"num_types": 0}, "num_types is 0"),
        ({"sparsity": (0.1, 1.2)}, "expected shares in"),
        ({"strength": (5.0, 1.0)}, "expected \\(low, high\\)"),
        ({"hill": 0.0}, "hill is 0.0"),
    ],
)
def test_wrong_families_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RandomGRN(**options)


def test_a_batch_has_at_least_one_network():
    with pytest.raises(ValueError, match="num_networks is 0"):
        simulate_sergio(num_networks=0)


# -- SERGIO's files ----


def test_what_is_written_is_read_back(tmp_path, seeded):
    for dtype in (torch.float32, torch.float64):
        network = kinetics_of(**FIVE, dtype=dtype)
        write_sergio(network, tmp_path)
        read = read_sergio(tmp_path / "sergio_targets.csv", tmp_path / "sergio_regulators.csv", decay=1.0, noise=0.0)
        assert read.genes == ("G0000", "G0001", "G0002", "G0003", "G0004")
        for name, value in vars(network).items():
            assert torch.equal(getattr(read.kinetics, name), value.to(getattr(read.kinetics, name).dtype)), name
    drawn = RandomGRN(num_genes=30, num_tfs=6, num_types=4, hubs=(1.0, 1.0))(1)
    write_sergio(drawn, tmp_path / "new")
    files = tmp_path / "new" / "sergio_targets.csv", tmp_path / "new" / "sergio_regulators.csv"
    again = read_sergio(*files).kinetics
    rows = lambda k: {r: k.strength[0, t] for t, r in enumerate(k.regulators[0].tolist())}
    ours, theirs = rows(drawn), rows(again)
    for r in ours.keys() | theirs.keys():
        nothing = torch.zeros(30)  # a regulator without targets that is itself regulated is a gene like others
        assert torch.equal(ours.get(r, nothing), theirs.get(r, nothing))
    assert torch.equal(drawn.production, again.production)
    assert (again.decay == 0.8).all()
    assert (again.noise == 1.0).all()


def files(folder, targets, regulators):
    paths = folder / "targets.txt", folder / "regulators.txt"
    for path, text in zip(paths, (targets, regulators), strict=True):
        if text is not None:
            path.write_text(text)
    return paths


def test_floats_empty_lines_and_shared_coefficients(tmp_path):
    paths = files(
        tmp_path, "2.0,2.0,0.0,1.0,2.5,-1.5,2,3.5\n\n3,1,2, 4 ,1\n", "0.0,0.5,1.0\r\n1.0,0.2,0.3\r\n4,0.1,0.1\r\n"
    )
    read = read_sergio(*paths, decay=0.5, noise=0.3).kinetics
    assert read.regulators.tolist() == [[0, 1, 2, 4]]
    assert read.strength[0, :, 2].tolist() == [2.5, -1.5, 0, 0]
    assert read.strength[0, :, 3].tolist() == [0, 0, 4, 0]
    assert read.hill[0, 1, 2] == 3.5
    assert torch.equal(read.production[0, 0], torch.tensor([0.5, 1.0]))
    assert (read.decay == 0.5).all()
    assert torch.equal(read.noise, torch.full((1, 5), 0.3))
    assert (read_sergio(*paths, hill=3.0).kinetics.hill == 3.0).all()
    paths = files(tmp_path, "2,2,0,1,2.5,-1.5\n3,1,2,4\n", "0,0.5\n1,0.2\n")
    assert (read_sergio(*paths, hill=1.0).kinetics.hill == 1.0).all()


GOOD_TARGETS, GOOD_RATES = "1,1,0,2.5,2\n2,2,0,1,1,-3,2,2\n", "0,0.5,1.0\n"
BAD_FILES = {
    "no targets": (None, GOOD_RATES, r"targets\.txt: no such file"),
    "no regulators": (GOOD_TARGETS, None, r"regulators\.txt: no such file"),
    "empty": ("\n", GOOD_RATES, r"targets\.txt: the file is empty"),
    "few fields": ("1,1,0,2.5\n", GOOD_RATES, r"targets\.txt, line 1: 4 fields .* no Hill coefficients"),
    "many fields": (GOOD_TARGETS + "3,1,0,1,2,5\n", GOOD_RATES, "line 3: 6 fields, expected 5 for 1 regulators"),
    "one field": ("1\n", GOOD_RATES, "line 1: 1 field"),
    "one rate": (GOOD_TARGETS, "0\n", r"regulators\.txt, line 1: 1 field"),
    "count": ("1,0\n", GOOD_RATES, "line 1: gene 1 has no regulators"),
    "word": ("1,1,0,strong,2\n", GOOD_RATES, "line 1: 'strong' is not a number"),
    "nan": (GOOD_TARGETS, "0,0.5,nan\n", r"regulators\.txt, line 1: 'nan' is not a number"),
    "half id": ("1,1,0.5,2.5,2\n", GOOD_RATES, "line 1: gene id 0.5, expected a whole number"),
    "unknown": (GOOD_TARGETS + "3,1,7,1,2\n", GOOD_RATES, r"gene 7, a regulator of gene 3, has no row"),
    "both": (GOOD_TARGETS, "0,0.5,1.0\n2,0.5,1.0\n", r"gene 2 is a target here and a master regulator in"),
    "twice": (GOOD_TARGETS + "1,1,0,2.5,2\n", GOOD_RATES, "line 3: gene 1 has two rows"),
    "master twice": (GOOD_TARGETS, "0,0.5\n0,0.5\n", "line 2: gene 0 has two rows"),
    "ragged": (GOOD_TARGETS, "0,0.5,1.0\n3,0.5\n", "line 2: rates in 1 cell types, expected 2"),
    "negative": (GOOD_TARGETS, "0,0.5,-1\n", "line 1: rate -1, expected rates of 0 or more"),
    "listed twice": ("1,2,0,0,1,1,2,2\n", GOOD_RATES, "line 1: a regulator of gene 1 is listed twice"),
    "itself": ("1,1,1,1,2\n", GOOD_RATES, "line 1: gene 1 regulates itself"),
    "Hill": ("1,1,0,1,0\n", GOOD_RATES, "line 1: Hill coefficient 0, expected a positive number"),
    "circle": ("1,2,0,2,1,1,2,2\n2,1,1,1,2\n", GOOD_RATES, r"targets\.txt: the network has a cycle"),
    "ids": (GOOD_TARGETS + "9,1,0,1,2\n", GOOD_RATES, "gene 3 has none while gene 9 has: number the genes 0 to 3"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_in_one_line(name, tmp_path):
    targets, rates, message = BAD_FILES[name]
    with pytest.raises(ValueError, match=message) as caught:
        read_sergio(*files(tmp_path, targets, rates))
    assert "\n" not in str(caught.value)


def test_other_refusals_of_the_files(tmp_path):
    paths = files(tmp_path, GOOD_TARGETS, GOOD_RATES)
    with pytest.raises(ValueError, match="hill is -1"):
        read_sergio(*paths, hill=-1.0)
    with pytest.raises(ValueError, match="a decay rate is 0"):
        read_sergio(*paths, decay=0.0)
    with pytest.raises(ValueError, match=r"expected 5 \(or 4, without Hill coefficients\) for 1 regulators"):
        read_sergio(*files(tmp_path, "1,1,0\n", GOOD_RATES), hill=2.0)
    paths[0].write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="not a text file"):
        read_sergio(*paths)
    with pytest.raises(ValueError, match="cannot be read"):
        read_sergio(tmp_path, paths[1])
    network = kinetics_of(**FIVE)
    with pytest.raises(ValueError, match="2 networks, expected 1"):
        write_sergio(repeated(network, 2), tmp_path)
    with pytest.raises(ValueError, match="gene 2 has both regulators and basal production"):
        write_sergio(kinetics_of(**FIVE | {"production": {0: [0.1], 1: [0.1], 2: [0.1]}}), tmp_path)
    with pytest.raises(ValueError, match="no gene has a regulator"):
        write_sergio(replace(network, strength=network.strength * 0), tmp_path)
    with pytest.raises(ValueError, match="cannot write to"):
        write_sergio(network, paths[1])


# -- files and the command ----


def call(*arguments) -> tuple[int, str]:
    """Exit code and stderr of ``pyrogrn simulate sergio``."""
    code, _, err = command_line.call("simulate", "sergio", *arguments)
    return code, err


SMALL = ("--genes", 12, "--tfs", 3, "--types", 2, "--cells", 10)


def test_the_command_writes_what_the_readers_read(tmp_path):
    code, err = call(*SMALL, "--dropout", 50, "--library", 5, "--outliers", 0.1, "--seed", 3, "--out", tmp_path / "one")
    assert code == 0, err
    assert err.startswith("20 cells x 12 genes of 2 types, ")
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        "expression.h5ad",
        "network.csv",
        "sergio_regulators.csv",
        "sergio_targets.csv",
        "tfs.csv",
    ]
    noise = TechnicalNoise(dropout_percentile=50.0, library_mean=5.0, outlier_probability=0.1)
    family = RandomGRN(num_genes=12, num_tfs=3, num_types=2)
    simulation = simulate_sergio(family, num_cells=10, noise=noise, seed=3)
    file = tmp_path / "one" / "expression.h5ad"
    tfs = read_names(tmp_path / "one" / "tfs.csv")
    data = read_expression(file, tfs=tfs, context_key="cell_type", drop_constant=False)
    assert torch.equal(data.X, simulation.data().X)
    assert data.tfs == simulation.data().tfs == ("G0000", "G0001", "G0002")
    assert data.context_names == ("type0", "type1")
    assert data.context.tolist() == [0] * 10 + [1] * 10
    assert torch.equal(read_expression(file, tfs=tfs, layer="clean").X, simulation.data(layer="clean").X)
    network = pd.read_csv(tmp_path / "one" / "network.csv")
    assert network[["source", "target", "sign"]].equals(simulation.network()[["source", "target", "sign"]])
    assert network["k"].to_numpy() == pytest.approx(simulation.network()["k"].to_numpy(), rel=1e-5)

    # the files of the network it wrote, through SERGIO's format
    code, err = call(
        *("--targets", tmp_path / "one" / "sergio_targets.csv"),
        *("--regulators", tmp_path / "one" / "sergio_regulators.csv"),
        *("--cells", 5, "--gene-noise", 0.5, "--hill", 1, "--out", tmp_path / "again"),
    )
    assert code == 0, err
    again = pd.read_csv(tmp_path / "again" / "network.csv")
    pd.testing.assert_frame_equal(again, network)
    adata = anndata.read_h5ad(tmp_path / "again" / "expression.h5ad")
    assert adata.shape == (10, 12)
    assert np.array_equal(adata.X, adata.layers["clean"])  # no technical noise asked for
    assert (tmp_path / "again" / "sergio_targets.csv").read_text().splitlines()[0].endswith(",1.0")


def test_several_networks_and_all_options(tmp_path):
    code, err = call(
        *SMALL,
        *("--networks", 2, "--sparsity", 0.3, "--hubs", 1, "--copying", 0.2, "--repressive", 0, "--decay", 0.9),
        *("--noise-type", "sp", "--dropout", 60, "--dropout-shape", 20, "--out", tmp_path),
    )
    assert code == 0, err
    assert "40 cells" in err
    assert "in 2 networks" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["network_000", "network_001"]
    tables = [pd.read_csv(tmp_path / name / "network.csv") for name in ("network_000", "network_001")]
    assert all((table["sign"] == 1).all() for table in tables)
    assert not tables[0].equals(tables[1])
    assert anndata.read_h5ad(tmp_path / "network_001" / "expression.h5ad").obs["cell_type"].nunique() == 2


WRONG = {
    "genes": (["--genes", 2], "--tfs 10, --genes 2: expected 1 <= --tfs <= --genes"),
    "cells": (["--cells", 0], "--cells 0: expected at least 1"),
    "networks": (["--networks", 0], "--networks 0: expected at least 1"),
    "noise": (["--noise-type", "loud"], "noise_type is 'loud'"),
    "share": (["--repressive", 1.5], "repressive is (1.5, 1.5), expected shares"),
    "percentile": (["--dropout", 120], "dropout_percentile is 120"),
    "shape": (["--dropout-shape", 6], "--dropout-shape without --dropout"),
    "decay": (["--decay", 0], "a decay rate is 0"),
    "alone": (["--targets", "t.csv"], "--targets alone: pass both"),
    "other alone": (["--regulators", "t.csv"], "--regulators alone: pass both"),
    "mixed": (["--targets", "t.csv", "--regulators", "r.csv", "--hubs", 0], "--hubs does not go with --targets"),
    "absent": (["--targets", "t.csv", "--regulators", "r.csv"], "r.csv: no such file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_end_in_one_line_and_code_2(name, tmp_path):
    arguments, message = WRONG[name]
    code, err = call(*arguments, "--out", tmp_path / "out")
    assert code == 2
    assert message in err
    assert re.fullmatch(r"pyrogrn: error: [^\n]+\n", err)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write to"):
        write_sergio_simulation(simulate_sergio(num_cells=1), tmp_path / "file")
