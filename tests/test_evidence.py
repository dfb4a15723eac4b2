"""Evidence of pairs and the head that reads it: channels against plain numpy, groups of cells, symmetries, hard
inputs."""

import numpy as np
import pytest
import torch
from pyrogrn.inference.amortised.evidence import (
    CELLS,
    CHANNELS,
    LARGEST_GROUPS,
    RIDGE,
    find_groups,
    pair_evidence,
    relative_log,
)
from pyrogrn.inference.amortised.head import InclusionHead
from pyrogrn.inference.amortised.knowledge import PRIOR_CHANNELS
from pyrogrn.inference.amortised.network import AmortisedNetwork
from sklearn.metrics import adjusted_rand_score

TFS = torch.tensor([1, 4, 6])


def counts(cells=60, genes=9, types=3, seed=0):
    """Counts of cells of several types, with zeros; codes of types."""
    rng = np.random.default_rng(seed)
    code = rng.permutation(np.arange(cells) % types)
    rate = rng.gamma(2.0, 2.0, (types, genes))
    shared = rng.lognormal(0.0, 0.4, (cells, 1)) ** rng.normal(1.0, 0.5, genes)
    return torch.from_numpy(rng.poisson(rate[code] * shared).astype(np.float32)), torch.from_numpy(code)


def channel(evidence, name):
    return evidence[..., CHANNELS.index(name)].double().numpy()


def planted(cells=240, genes=40, types=4, seed=1):
    """Log expression of cells whose types differ clearly in ten genes each; codes of types."""
    rng = np.random.default_rng(seed)
    code = np.arange(cells) % types
    mean = np.zeros((types, genes))
    for t in range(types):
        mean[t, rng.permutation(genes)[:10]] = 2.0
    y = mean[code] + rng.normal(0.0, 0.5, (cells, genes))
    return torch.from_numpy(y.astype(np.float32)), code


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# -- channels ----


def test_every_channel_has_a_name_of_its_own():
    X, code = counts()
    assert pair_evidence(X, TFS, groups=code).shape == (3, 9, len(CHANNELS))
    assert len(set(CHANNELS)) == len(CHANNELS)


def ridge(y, ridge):
    """Correlations, and ridge weights of every gene on the regulators (but itself), by solving for each gene."""
    y = np.asarray(y, dtype=float)
    y = y / np.linalg.norm(y, axis=0).clip(1e-4)
    tf, correlation, weight = TFS.numpy(), y[:, TFS].T @ y, np.zeros((3, 9))
    for g in range(9):
        used = np.flatnonzero(tf != g)
        among = y[:, tf[used]].T @ y[:, tf[used]] + ridge * np.eye(len(used))
        weight[used, g] = np.linalg.solve(among, y[:, tf[used]].T @ y[:, g])
    return correlation, weight


def scales(X):
    X = X.double().numpy()
    total = X.sum(1, keepdims=True)
    return {
        "raw": X,
        "log": np.log1p(X),
        "relative": np.log1p(X * np.sort(total[:, 0])[(len(X) - 1) // 2] / total),
    }


@pytest.mark.parametrize("scale", ["raw", "log", "relative"])
def test_correlations_and_ridge_weights_against_numpy(scale):
    X, code = counts()
    evidence = pair_evidence(X, TFS, groups=code)
    y = scales(X)[scale]
    y = (y - y.mean(0)) / y.std(0)
    mean = np.stack([y[code == t].mean(0) for t in range(3)])
    parts = {
        "": (y, RIDGE["all"]),
        "within ": (y - mean[code], RIDGE["within"]),
        "between ": (mean * np.sqrt(np.bincount(code))[:, None], RIDGE["between"]),
    }
    for part, (values, penalty) in parts.items():
        correlation, weight = ridge(values, penalty)
        np.testing.assert_allclose(channel(evidence, f"{scale} {part}correlation"), correlation, atol=2e-5)
        np.testing.assert_allclose(channel(evidence, f"{scale} {part}weight"), weight, atol=2e-4)
    share = (np.bincount(code)[:, None] * mean**2).sum(0) / len(X)  # of the variance, which is 1
    np.testing.assert_allclose(channel(evidence, f"{scale} between share of gene"), share[None].repeat(3, 0), atol=1e-4)
    of_tf = channel(evidence, f"{scale} between share of regulator")
    np.testing.assert_allclose(of_tf, share[TFS, None].repeat(9, 1), atol=1e-4)


def test_scores_order_as_t_values_and_reverse_is_their_transpose():
    X, code = counts(cells=300)
    evidence = pair_evidence(X, TFS, groups=code)
    y = scales(X)["log"]
    y = (y - y.mean(0)) / y.std(0)
    t = np.zeros((3, 9))
    for g in set(range(9)) - set(TFS.tolist()):
        x = y[:, TFS]
        w = np.linalg.solve(x.T @ x, x.T @ y[:, g])
        variance = np.mean((y[:, g] - x @ w) ** 2)
        t[:, g] = w / np.sqrt(variance * np.diag(np.linalg.inv(x.T @ x)))
    targets = [g for g in range(9) if g not in TFS]
    # t over the root of the number of cells; the ridge moves it a little
    score = channel(evidence, "log score")[:, targets]
    np.testing.assert_allclose(score, t[:, targets] / np.sqrt(300), atol=0.03)
    forward, reverse = channel(evidence, "log within score"), channel(evidence, "log reverse score")
    np.testing.assert_array_equal(reverse[:, TFS], forward[:, TFS].T)
    assert (reverse[:, targets] == 0).all()


def test_a_regulator_has_no_weight_on_itself():
    X, code = counts()
    evidence = pair_evidence(X, TFS, groups=code)
    for name in CHANNELS:
        if name.endswith(("weight", "score")):
            assert (channel(evidence, name)[range(3), TFS] == 0).all(), name


def test_plain_channels_by_hand():
    X, code = counts()
    evidence, values = pair_evidence(X, TFS, groups=code), X.double().numpy()
    means = np.stack([values[code == t].mean(0) for t in range(3)])
    log_means = np.log(means + 0.05)
    expected = {
        "log mean": np.log(values.mean(0) + 1e-2),
        "log variance": np.log(values.var(0, ddof=1) + 1e-3),
        "share of zeros": (values == 0).mean(0),
        "log of largest mean": np.log(means.max(0) + 1e-2),
        "log of smallest mean": np.log(means.min(0) + 1e-2),
        "spread of log means": log_means.std(0),
    }
    for name, value in expected.items():
        gene, tf = channel(evidence, f"{name} of gene"), channel(evidence, f"{name} of regulator")
        np.testing.assert_allclose(gene, value[None].repeat(3, 0), rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(tf, value[TFS, None].repeat(9, 1), rtol=1e-4, atol=1e-5, err_msg=name)
    centred = log_means - log_means.mean(0)
    slope = centred[:, TFS].T @ centred / ((centred[:, TFS] ** 2).sum(0)[:, None] + 0.1)
    np.testing.assert_allclose(channel(evidence, "log mean slope"), slope, atol=1e-4)
    assert (channel(evidence, "gene is regulator") == np.isin(np.arange(9), TFS)).all()
    for name, value in {"groups": 3, "log regulators": np.log(3), "log cells": np.log(60)}.items():
        np.testing.assert_allclose(channel(evidence, name), value, rtol=1e-6)
    detected = values > 0
    varied = [g for g in range(9) if 0.05 < detected[:, g].mean() < 0.95]
    assert varied
    found = channel(evidence, "detection correlation")[:, varied]
    kept = [i for i, t in enumerate(TFS.tolist()) if t in varied]
    np.testing.assert_allclose(found[kept], np.corrcoef(detected.T)[TFS[kept]][:, varied], atol=1e-4)


# -- symmetries ----


def test_permuted_genes_and_regulators_give_permuted_channels():
    X, code = counts()
    evidence = pair_evidence(X, TFS, groups=code)
    order, tf_order = torch.randperm(9, generator=generator()), torch.tensor([2, 0, 1])
    found = pair_evidence(X[:, order], order.argsort()[TFS], groups=code)
    torch.testing.assert_close(found, evidence[:, order], rtol=1e-4, atol=1e-4)
    found = pair_evidence(X, TFS[tf_order], groups=code)
    torch.testing.assert_close(found, evidence[tf_order], rtol=1e-4, atol=1e-4)


def test_order_of_cells_and_names_of_groups_do_not_matter():
    X, code = counts()
    evidence, order = pair_evidence(X, TFS, groups=code), torch.randperm(60, generator=generator())
    found = pair_evidence(X[order], TFS, groups=torch.tensor([70, -1, 5])[code[order]])
    torch.testing.assert_close(found, evidence, rtol=1e-4, atol=1e-4)


def test_the_total_of_a_cell_does_not_change_relative_channels():
    X, code = counts(cells=61)
    X = X + 1
    total = X.sum(1)
    scaled = X * torch.where(total > total.median(), 7.0, 1.0)[:, None]  # the median cell stays what it is
    torch.testing.assert_close(relative_log(scaled), relative_log(X))
    a, b = pair_evidence(X, TFS, groups=code), pair_evidence(scaled, TFS, groups=code)
    relative = [i for i, name in enumerate(CHANNELS) if name.startswith("relative ")]
    assert len(relative) == 11
    torch.testing.assert_close(a[..., relative], b[..., relative], rtol=1e-3, atol=1e-3)
    raw = [i for i, name in enumerate(CHANNELS) if name.startswith("raw ")]
    assert (a[..., raw] - b[..., raw]).abs().max() > 0.1


def test_negative_values_shift_the_matrix_up():
    X, code = counts()
    X[0, 0] = 0.0
    torch.testing.assert_close(pair_evidence(X - 2.0, TFS, groups=code), pair_evidence(X, TFS, groups=code))


# -- hard inputs ----


def hard_inputs():
    X, _ = counts()
    constant = X.clone()
    constant[:, 1], constant[:, 2], constant[:, 5] = 0.0, 3.0, constant[:, 4]
    return {
        "constant and equal genes": constant,
        "three cells": X[:3],
        "four cells": X[:4],
        "all zeros": torch.zeros(20, 9),
        "equal cells": X[:1].expand(20, 9),
        "empty cells": X * (torch.arange(60) % 2)[:, None],
        "negative values": X.log1p() - 3.0,
        "large values": X * 1e6,
        "integers": X.long(),
        "double": X.double(),
    }


@pytest.mark.parametrize("name", list(hard_inputs()))
def test_channels_are_finite(name):
    X = hard_inputs()[name]
    for groups in (None, torch.arange(len(X)) % 2, torch.arange(len(X))):
        evidence = pair_evidence(X, TFS, groups=groups)
        assert evidence.dtype == torch.float32
        assert evidence.isfinite().all()
        assert float(evidence.abs().max()) < 1e3


def test_one_regulator_will_do():
    X, code = counts()
    evidence = pair_evidence(X, torch.tensor([2]), groups=code)
    assert evidence.shape == (1, 9, len(CHANNELS))
    assert evidence.isfinite().all()


def test_many_cells_are_thinned_evenly():
    X, code = counts(cells=CELLS + 500)
    kept = torch.linspace(0, len(X) - 1, CELLS).long()
    torch.testing.assert_close(pair_evidence(X, TFS, groups=code), pair_evidence(X[kept], TFS, groups=code[kept]))


# -- groups ----


@pytest.mark.parametrize("types", [2, 4, 7])
def test_planted_groups_are_found(types):
    y, code = planted(types=types)
    groups = find_groups(y, generator())
    assert adjusted_rand_score(code, groups) > 0.9
    assert sorted(groups.unique().tolist()) == list(range(int(groups.max()) + 1))
    assert int(groups.max()) < LARGEST_GROUPS


def test_groups_are_seeded_and_global_generators_rest():
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.normal(size=(50, 20)).astype(np.float32))  # no groups at all: chance decides
    before = torch.get_rng_state()
    a, b, c = (find_groups(y, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    X, _ = counts()
    evidence = [pair_evidence(X, TFS, seed=seed) for seed in (3, 3)]
    assert torch.equal(*evidence)
    assert torch.equal(before, torch.get_rng_state())


def test_found_groups_are_used_when_none_are_given():
    y, code = planted(genes=40)
    X = 10 * y.exp()
    found, given = pair_evidence(X, TFS), pair_evidence(X, TFS, groups=torch.from_numpy(code))
    torch.testing.assert_close(found, given, rtol=1e-4, atol=1e-4)


# -- head ----


def example(graphs=2, tfs=3, genes=9, seed=0):
    noise = lambda *shape: torch.randn(graphs, tfs, genes, *shape, generator=generator(seed))
    return noise(len(CHANNELS)), noise().abs(), noise(len(PRIOR_CHANNELS))


@pytest.fixture
def head(seeded):
    module = InclusionHead()
    evidence, z, _ = example(seed=1)
    module.standardise(list(evidence), list(z))
    return module.requires_grad_(False)


def test_the_head_is_equivariant(head):
    evidence, z, knowledge = example()
    expected = head(evidence, z, knowledge)
    assert expected.shape == (2, 3, 9)
    order, tf_order = torch.randperm(9, generator=generator()), torch.tensor([2, 0, 1])
    found = head(evidence[:, :, order], z[:, :, order], knowledge[:, :, order])
    torch.testing.assert_close(found, expected[:, :, order], rtol=1e-4, atol=1e-5)
    found = head(evidence[:, tf_order], z[:, tf_order], knowledge[:, tf_order])
    torch.testing.assert_close(found, expected[:, tf_order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head(evidence[1], z[1], knowledge[1]), expected[1], rtol=1e-4, atol=1e-5)


def test_the_head_is_monotone_in_the_size_of_z(head):
    evidence, z, knowledge = example()
    sizes = torch.linspace(0, 3, 40)
    values = torch.stack([head(evidence, z.new_full(z.shape, float(s)), knowledge) for s in sizes])
    assert (values.diff(dim=0) >= 0).all()
    assert (values[-1] > values[0]).all()
    torch.testing.assert_close(head(evidence, -z, knowledge), head(evidence, z, knowledge))  # a sign says nothing
    larger = z.clone()
    larger[0, 1, 4] += 1.0
    change = head(evidence, larger, knowledge) - head(evidence, z, knowledge)
    assert change[0, 1, 4] > 0
    assert int((change != 0).sum()) == 1, "Z of a pair moves that pair alone"


def test_no_pair_leaves_the_range_that_training_saw(head):
    evidence, z, knowledge = example()
    extreme = head(evidence.sign() * 1e6, z * 1e6, knowledge)
    torch.testing.assert_close(extreme, head(evidence.sign() * 1e9, z * 1e9, knowledge))
    assert extreme.isfinite().all()


def test_zero_knowledge_adds_nothing(head):
    evidence, z, knowledge = example()
    none = head(evidence, z, torch.zeros_like(knowledge))
    before = {name: value.clone() for name, value in head.state_dict().items()}
    for part in (head.first.pair, head.first.row, head.first.column, head.first.whole):
        part.weight[:, len(CHANNELS) :] = 0.0  # a head that cannot see knowledge
    torch.testing.assert_close(head(evidence, z, knowledge), none, rtol=1e-5, atol=1e-6)
    head.load_state_dict(before)
    assert not torch.allclose(head(evidence, z, knowledge), none)


def test_standardise_sets_the_units_of_all_inputs(head):
    evidence, z, _ = example(seed=1)
    torch.testing.assert_close(head.location, evidence.flatten(0, 2).mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.spread, evidence.flatten(0, 2).std(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.z_location, (z + 1e-3).log().mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.z_spread, (z + 1e-3).log().std(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["glad", "glad-tf", "grnular"])
def test_no_knowledge_is_zero_knowledge(kind, seeded):
    fast = {"init_epochs": 5, "num_iterations": 2} if kind == "grnular" else {"num_iterations": 2}
    network, (X, code) = AmortisedNetwork(kind, unrolled=fast).requires_grad_(False), counts()
    none = network(X, TFS, groups=code)
    zeros = network(X, TFS, torch.zeros(3, 9, len(PRIOR_CHANNELS)), groups=code)
    assert none.shape == (3, 9)
    assert torch.equal(none, zeros)


def test_a_channel_that_never_varied_in_training_is_not_blown_up(head):
    """Half precision of the stored examples must not turn the rounding of a constant into evidence."""
    examples = [torch.randn(2, 3, 5, len(CHANNELS)) for _ in range(3)]
    constant = CHANNELS.index("log regulators")
    for e in examples:
        e[..., constant] = torch.tensor(2.302585).half().float()
    head.standardise(examples, [torch.rand(2, 3, 5) for _ in range(3)])
    assert head.spread[constant] == 1.0
    one, other = examples[0], examples[0].clone()
    other[..., constant] = 2.302585
    zero = torch.zeros(2, 3, 5, len(PRIOR_CHANNELS))
    z = torch.rand(2, 3, 5)
    torch.testing.assert_close(head(one, z, zero), head(other, z, zero), rtol=0.0, atol=1e-2)
