"""Laying factors on one another: rotations, permutations and signs are found, and nothing else changes."""

import numpy as np
import pytest
import torch
from pyrogrn.inference.factors.alignment import Aligner, matching, procrustes, rotates_freely, standard
from pyrogrn.inference.factors.start import varimax
from pyrogrn.models import PPCA, ExpressionData, MuVI
from pyrogrn.priors import HorseshoeLoading, NormalLoading, SpikeSlabLoading

pytestmark = pytest.mark.usefixtures("seeded")

GENES = tuple("ABCDEFGH")
SETS = {"library": {"one": ["A", "B", "C"], "two": ["D", "E"]}}


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def rotation(m, *, number=()):
    return torch.linalg.qr(normal(*number, m, m))[0]


@pytest.fixture
def data():
    return ExpressionData(torch.randn(20, 8), GENES, covariates=torch.randn(20, 2), covariate_names=("a", "b"))


def test_procrustes_recovers_a_rotation():
    W, turn = normal(3, 8), rotation(3, number=(5,))
    found = procrustes(turn @ W, W)
    torch.testing.assert_close(found, turn.mT, atol=1e-12, rtol=0)
    torch.testing.assert_close(found @ (turn @ W), W.expand(5, 3, 8), atol=1e-12, rtol=0)
    noisy = procrustes(turn @ W + 0.1 * normal(5, 3, 8), W)
    torch.testing.assert_close(noisy @ noisy.mT, torch.eye(3).double().expand(5, 3, 3), atol=1e-12, rtol=0)


def test_procrustes_is_the_closest_rotation():
    W, other = normal(2, 8), normal(2, 8)
    best = (procrustes(W, other) @ W - other).norm()
    angle = torch.linspace(0, 2 * np.pi, 2000, dtype=torch.float64)
    c, s = angle.cos(), angle.sin()
    turns = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    turns = torch.cat([turns, turns * torch.tensor([[1.0], [-1.0]]).double()])  # and reflections
    every = (turns @ W - other).flatten(1).norm(dim=1)
    assert float(best) <= float(every.min()) + 1e-12
    assert float(best) == pytest.approx(float(every.min()), rel=1e-4)


def test_matching_recovers_places_and_signs():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(5, 40))
    order, sign = np.array([3, 0, 4, 1, 2]), np.array([1.0, -1.0, -1.0, 1.0, -1.0])
    W = np.empty_like(reference)
    W[order] = reference * sign[:, None] * rng.uniform(0.2, 5, size=(5, 1))  # sizes do not matter
    found, signs = matching(W + 0.05 * rng.normal(size=W.shape), reference)
    assert found.tolist() == order.tolist()
    assert signs.tolist() == sign.tolist()


def test_matching_leaves_factors_that_are_not_free():
    rng = np.random.default_rng(1)
    reference = rng.normal(size=(4, 40))
    W = -reference[[1, 0, 3, 2]]
    order, _ = matching(W, reference, np.array([False, False, True, True]))
    assert order.tolist() == [0, 1, 3, 2]
    order, _ = matching(W, reference, np.array([False, False, False, True]))
    assert order.tolist() == [0, 1, 2, 3]
    order, sign = matching(np.zeros((2, 3)), np.zeros((2, 3)))  # nothing to go by
    assert sorted(order.tolist()) == [0, 1]
    assert sign.tolist() == [1, 1]


def sites(model, chains=6, m=4):
    """Values of all sites that know of factors, and one that does not."""
    G, v = 8, 2
    found = {"W": normal(chains, m, G), "gamma": normal(chains, v, m), "beta": normal(chains, v, G)}
    for name, dims in model.dims.items():
        if name not in found and "factor" in dims and name != "x":
            shape = [len(model.coords[d]) for d in dims]
            found[name] = normal(chains, *shape).exp()
    return found


@pytest.mark.parametrize("prior", [NormalLoading, HorseshoeLoading, SpikeSlabLoading])
@pytest.mark.parametrize("labelled", [False, True])
def test_alignment_leaves_the_likelihood_as_it_is(prior, labelled, data):
    options = {"gene_sets": SETS, "min_overlap": 2, "num_factors": 2} if labelled else {"num_factors": 4}
    model = MuVI(data, loading_prior=prior(), **options)
    before = sites(model)
    after = Aligner(model, normal(4, 8))(before)
    assert set(after) == set(before)
    torch.testing.assert_close(after["W"].mT @ after["W"], before["W"].mT @ before["W"])
    torch.testing.assert_close(after["gamma"] @ after["W"], before["gamma"] @ before["W"])
    torch.testing.assert_close(after["beta"], before["beta"])
    if labelled:
        assert not rotates_freely(model)
        torch.testing.assert_close(after["W"][:, :2].abs(), before["W"][:, :2].abs())
        for name in after:
            if name not in ("W", "gamma", "beta"):
                axis = 1 + model.dims[name].index("factor")
                torch.testing.assert_close(after[name].narrow(axis, 0, 2), before[name].narrow(axis, 0, 2))
    elif prior is NormalLoading:
        assert rotates_freely(model)


@pytest.mark.parametrize("prior", [HorseshoeLoading, SpikeSlabLoading])
def test_scales_move_with_their_factor(prior, data):
    """Scales are written into the loadings' first genes; after alignment they are still beside them."""
    model = MuVI(data, loading_prior=prior(), num_factors=4)
    reference = normal(4, 8)
    before = sites(model)
    W = before["W"] = 0.01 * before["W"] + torch.stack([reference[torch.randperm(4)] for _ in range(6)])
    size = W.square().sum(2)
    before["delta"] = size[..., None]
    if "local_scale" in before:
        before["local_scale"] = W.abs()
    after = Aligner(model, reference)(before)
    torch.testing.assert_close(after["delta"][..., 0], after["W"].square().sum(2))
    if "local_scale" in before:
        torch.testing.assert_close(after["local_scale"], after["W"].abs())
    spread = after["W"].std(0).max()
    assert spread < 0.1, "all chains lie on one another"


def test_draws_that_are_turned_lie_on_one_another(data):
    model = PPCA(data, num_factors=3)
    W, gamma, turn = normal(3, 8), normal(2, 3), rotation(3, number=(7,))
    drawn = {"W": turn @ W, "gamma": gamma @ turn.mT, "beta": normal(7, 2, 8)}
    after = Aligner(model, W)(drawn)
    assert after["W"].std(0).max() < 1e-12
    assert after["gamma"].std(0).max() < 1e-12
    torch.testing.assert_close(after["W"][0], standard(model, W))


def test_learned_scales_forbid_rotation(data):
    assert rotates_freely(MuVI(data, loading_prior=NormalLoading(scale=0.5), num_factors=3))
    assert not rotates_freely(MuVI(data, loading_prior=NormalLoading(scale=None), num_factors=3))
    assert not rotates_freely(MuVI(data, num_factors=3))


def test_the_standard_order_is_by_size_and_up(data):
    model = MuVI(data, num_factors=2, gene_sets=SETS, min_overlap=2)
    W = torch.zeros(4, 8).double()
    W[0, :3] = -1.0  # its set's genes are down: turned
    W[0, 5] = 5.0
    W[1, 3:5] = 0.1
    W[2, 0], W[3, 1] = 1.0, -3.0
    found = standard(model, W)
    assert found[0, :3].tolist() == [1.0, 1.0, 1.0]
    assert found[1].tolist() == W[1].tolist()
    assert found[2, 1] == 3.0, "the larger free factor first, its largest loading positive"
    assert found[3, 0] == 1.0


def test_varimax_is_a_rotation_and_raises_its_criterion():
    sparse = normal(40, 4) * (torch.arange(40)[:, None] // 10 == torch.arange(4))
    criterion = lambda L: float((L**2).var(0, correction=0).sum())
    for mixed in (sparse @ rotation(4), normal(40, 4)):
        turn = varimax(mixed)
        torch.testing.assert_close(turn @ turn.T, torch.eye(4).double(), atol=1e-12, rtol=0)
        assert criterion(mixed @ turn) >= criterion(mixed)
    mixed = sparse @ rotation(4)
    found = mixed @ varimax(mixed, iterations=500)
    cosine = (found / found.norm(dim=0)).T @ (sparse / sparse.norm(dim=0))
    assert cosine.abs().amax(0).min() > 0.99, "simple structure is found again"
