"""Simulated panels: what they claim of steady states, knock-downs, contexts, hidden inputs and noise."""

import numpy as np
import pytest
import torch
from pyrogrn.models.simulators.panel import simulate_panel
from scipy import stats


def drive_left(simulation):
    """Free (condition, gene) mask, and the drive beside what network, bias and hidden inputs explain."""
    data, W = simulation.data, simulation.W
    codes = torch.zeros(data.num_cells, dtype=torch.long) if data.context is None else data.context
    X = data.X.double()
    free = torch.ones_like(X, dtype=torch.bool)
    if data.perturbed is not None:
        free[data.perturbed[:, 0], data.perturbed[:, 1]] = False
    explained = torch.einsum("cj,cji->ci", X, W[codes]) + simulation.bias[codes] + simulation.z @ simulation.beta
    share = (X / simulation.gain).clamp(max=1 - 1e-6)
    return free, torch.logit(share) - explained


@pytest.mark.parametrize(
    "options",
    [{}, {"num_contexts": 3, "num_hidden": 2, "replicates": 2}, {"knocked_down": 0.0}, {"num_regulators": 8}],
    ids=["plain", "contexts-hidden", "no-knock-downs", "regulators"],
)
def test_levels_are_steady_states_with_normal_noise_in_the_drive(options):
    simulation = simulate_panel(num_genes=30, in_degree=2, drive_noise=0.2, num_controls=20, seed=1, **options)
    free, left = drive_left(simulation)
    noise = (left[free] / 0.2).numpy()
    assert stats.kstest(noise, "norm").pvalue > 1e-3
    assert abs(noise.std() - 1) < 5 / np.sqrt(2 * len(noise))


def test_without_noise_controls_are_the_control_state_and_knockdowns_are_clamped():
    simulation = simulate_panel(
        num_genes=12, num_contexts=2, drive_noise=0.0, num_controls=1, remaining=(0.3, 0.7), replicates=2, seed=3
    )
    data = simulation.data
    assert data.context_names == ("context0", "context1")
    assert data.num_cells == 2 * (1 + 2 * 12)
    for k in range(2):
        first = data.X[data.context == k][0].double()
        torch.testing.assert_close(first, simulation.control, rtol=1e-5, atol=0)
        rate = simulation.dynamics(k).rate(simulation.control[None])
        torch.testing.assert_close(rate, torch.zeros_like(rate), atol=1e-10, rtol=0)
    cell, gene = data.perturbed.T
    share = data.X[cell, gene].double() / simulation.control[gene]
    assert ((share > 0.2999) & (share < 0.7001)).all()
    assert len(torch.unique(data.perturbed, dim=0)) == 48
    by_gene = {}
    for c, g, s in zip(data.context[cell].tolist(), gene.tolist(), share.tolist(), strict=True):
        by_gene.setdefault((c, g), set()).add(round(s, 5))
    assert len(by_gene) == 24
    assert all(len(v) == 1 for v in by_gene.values())  # replicates share a level


def test_measured_noise_is_lognormal_on_every_level():
    options = {"num_genes": 40, "drive_noise": 0.0, "num_controls": 30, "seed": 2}
    clean, noisy = simulate_panel(**options), simulate_panel(measurement_noise=0.3, **options)
    ratio = (noisy.data.X / clean.data.X).log().flatten().double().numpy() / 0.3
    assert stats.kstest(ratio, "norm").pvalue > 1e-3
    torch.testing.assert_close(noisy.W, clean.W)


def test_network_table_and_weights_agree():
    simulation = simulate_panel(num_genes=80, num_regulators=20, in_degree=4, repression=0.3, scale=0.4, seed=5)
    names = simulation.data.genes
    assert simulation.data.tfs == names[:20]
    table = simulation.network
    source, target = (table[c].map(names.index).to_numpy() for c in ("source", "target"))
    assert not (source == target).any()
    assert simulation.present.sum() == len(table) == (simulation.W[0] != 0).sum()
    weight = (simulation.W[0] * simulation.control[:, None])[source, target].numpy()
    np.testing.assert_allclose(table["weight"], weight)
    assert (table["sign"] == np.sign(table["weight"])).all()
    assert not simulation.present[20:].any()
    expected, spread = 4 * 80 * 19 / 19, np.sqrt(4 * 80)  # self-pairs are among the 20 of a regulator
    assert abs(len(table) - expected) < 4 * spread
    assert abs((table["sign"] < 0).mean() - 0.3) < 4 * np.sqrt(0.21 / len(table))
    size = np.log(np.abs(table["weight"]) / 0.4)
    assert stats.kstest(size / 0.3, "norm").pvalue > 1e-3


def test_contexts_differ_on_existing_edges_by_their_scale():
    simulation = simulate_panel(num_genes=60, num_contexts=4, context_scale=0.5, scale=0.4, seed=6)
    relative = simulation.W * simulation.control[:, None]
    source, target = torch.nonzero(simulation.present, as_tuple=True)
    shared = torch.as_tensor(simulation.network["weight"].to_numpy())
    change = (relative[:, source, target] - shared).flatten().numpy() / 0.2
    assert stats.kstest(change, "norm").pvalue > 1e-3
    assert (relative[:, ~simulation.present] == 0).all()


def test_share_of_genes_knocked_down_and_seeds():
    options = {"num_genes": 20, "knocked_down": 0.25, "num_contexts": 2, "num_controls": 3}
    a, b, c = (simulate_panel(seed=seed, **options) for seed in (1, 1, 2))
    torch.testing.assert_close(a.data.X, b.data.X, rtol=0, atol=0)
    assert not torch.equal(a.W, c.W)
    assert a.data.num_cells == 2 * (3 + 5)
    sets = [set(a.data.perturbed[a.data.context[a.data.perturbed[:, 0]] == k, 1].tolist()) for k in range(2)]
    assert [len(s) for s in sets] == [5, 5]
    assert sets[0] != sets[1]


@pytest.mark.parametrize(
    ("match", "options"),
    [
        ("in_degree is 0", {"in_degree": 0}),
        ("in_degree is 3", {"num_genes": 3}),
        ("regulators", {"num_regulators": 1}),
        ("knocked_down=1.5", {"knocked_down": 1.5}),
        ("remaining", {"remaining": (0.0, 0.5)}),
        ("replicates=0", {"replicates": 0}),
        ("scale must be positive", {"scale": 0.0}),
        ("no stable panel", {"num_genes": 20, "scale": 30.0}),
    ],
)
def test_options_out_of_range_are_refused(match, options):
    with pytest.raises(ValueError, match=match) as caught:
        simulate_panel(**options)
    assert "\n" not in str(caught.value)
