"""Many fits at once: each equals the same fit alone."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.inference import Gibbs, fit, fit_many
from pyrogrn.inference import many as many_module
from pyrogrn.inference.gibbs.streams import Streams, normal, standard_gamma, uniform
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, Normal, PriorNetwork, SpikeSlab

GUIDE = Gibbs(num_chains=2, num_warmup=4, num_samples=6)


def network(seed, genes, tfs, num_edges, signed=False):
    """A random prior network."""
    generator = np.random.default_rng(seed)
    pairs = [(t, g) for t in tfs for g in genes if t != g]
    chosen = generator.choice(len(pairs), size=num_edges, replace=False)
    edges = [pairs[i] for i in chosen]
    probability = generator.choice([0.6, 0.9], size=num_edges)
    frame = pd.DataFrame(edges, columns=["source", "target"]).assign(probability=probability)
    if signed:
        frame["sign"] = generator.choice([-1, 1], size=num_edges)
    return PriorNetwork.from_edges(frame, name=f"prior {seed}")


def simulate(seed):
    return simulate_linear(num_genes=7, num_tfs=3, num_cells=60, edge_probability=0.4, seed=seed).data


def assert_same(found, alone, tolerance):
    assert (found.seed, found.guide, found.calibrated) == (alone.seed, alone.guide, alone.calibrated)
    assert set(found.draws) == set(alone.draws)
    for site, value in alone.draws.items():
        np.testing.assert_allclose(found.draws[site], value, rtol=tolerance, atol=tolerance, err_msg=site)
    for site, moments in alone.moments.items():
        for name in ("mean", "sd", "inclusion", "positive", "negative"):
            a, b = getattr(found.moments[site], name), getattr(moments, name)
            np.testing.assert_allclose(a, b, atol=10 * tolerance, err_msg=name)
    np.testing.assert_allclose(found.history.elbo, alone.history.elbo, rtol=tolerance)
    chains = "chain_inclusion"
    np.testing.assert_allclose(found.attributes[chains], alone.attributes[chains], atol=10 * tolerance)
    assert found.coords == alone.coords


def cases():
    """Models of equal shape by name: everything a fit can have for itself."""
    data = [simulate(seed) for seed in range(3)]
    genes, tfs = data[0].genes, data[0].tfs
    counts = (2, 5, 9)
    plain = [{"p": network(i, genes, tfs, n)} for i, n in enumerate(counts)]
    signed = [{"p": network(i, genes, tfs, n, True), "q": network(9 - i, genes, tfs, 4)} for i, n in enumerate(counts)]
    make = LinearNetwork.from_data
    contexts = [d.annotated(context=["a"] * 25 + ["b"] * 35) for d in data]
    return {
        "data": [make(d) for d in data],
        "networks": [make(data[0], networks=n, edge_prior=SpikeSlab(hub_scale=0.5)) for n in plain],
        "scale": [make(data[0], networks=n, edge_prior=SpikeSlab(strategy="scale")) for n in signed],
        "signs": [make(d, networks=n) for d, n in zip(data, signed, strict=True)],
        "mask": [make(d, networks=n, edge_prior=HardMask(SpikeSlab())) for d, n in zip(data, plain, strict=True)],
        "contexts": [make(d, networks=n) for d, n in zip(contexts, plain, strict=True)],
    }


@pytest.mark.parametrize("case", ["data", "networks", "scale", "signs", "mask", "contexts"])
def test_equal_to_fits_alone(case):
    models = [model.double() for model in cases()[case]]
    for model, seed, found in zip(models, (4, 5, 6), fit_many(models, guide=GUIDE, seeds=(4, 5, 6)), strict=True):
        assert_same(found, fit(model, guide=GUIDE, seed=seed), 1e-6)  # draws are kept in float32


def test_equal_in_float32():
    models = cases()["signs"]
    for model, seed, found in zip(models, range(3), fit_many(models, guide=GUIDE, seeds=range(3)), strict=True):
        assert_same(found, fit(model, guide=GUIDE, seed=seed), 1e-3)


def test_does_not_depend_on_the_company(monkeypatch):
    models = [model.double() for model in cases()["networks"]]
    together = fit_many(models, guide=GUIDE, seeds=(1, 2, 3))
    monkeypatch.setattr(many_module, "WEIGHTS_AT_ONCE", 1)
    for a, b in zip(together, fit_many(models, guide=GUIDE, seeds=(1, 2, 3)), strict=True):
        assert_same(a, b, 1e-6)
    edges = [posterior.edges() for posterior in together]
    assert all(not a.equals(b) for a, b in pairwise(edges))
    assert fit_many([], guide=GUIDE) == []


def test_thinned_draws_are_a_subset(monkeypatch):
    models = [model.double() for model in cases()["data"]]
    full = fit_many(models, guide=GUIDE)
    monkeypatch.setattr("pyrogrn.inference.draws.moments.DRAW_BUDGET", 3 * 2 * 6 * (2 * 3 * 7 * 4) / 2.5)
    for a, b in zip(full, fit_many(models, guide=GUIDE), strict=True):
        assert 1 < b.attributes["thin"] < 6
        np.testing.assert_array_equal(a.draws["W"][:, :: b.attributes["thin"]], b.draws["W"])
        np.testing.assert_array_equal(a.moments["W"].mean, b.moments["W"].mean)


def test_streams_draw_what_their_generators_would():
    streams = Streams.from_seeds((1, 2), torch.device("cpu"))
    alone = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    like = torch.zeros((), dtype=torch.float64)
    for function in (uniform, normal):
        for axis in (0, 1):
            shape, part = ((4, 3), (2, 3)) if axis == 0 else ((3, 4), (3, 2))
            found = function(shape, streams, like, axis=axis)
            assert torch.equal(found, torch.cat([function(part, g, like) for g in alone], axis))
    shape = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)) + 0.5
    found = standard_gamma(shape, streams, axis=1)
    assert torch.equal(found, torch.cat([standard_gamma(shape[:, 2 * i : 2 * i + 2], alone[i]) for i in (0, 1)], 1))


def test_models_that_cannot_go_together():
    data = simulate(0)
    first, other = LinearNetwork.from_data(data), LinearNetwork.from_data(data, targets=data.genes[:5])
    with pytest.raises(ValueError, match="model 1 has targets 5, the first has 7"):
        fit_many([first, other])
    with pytest.raises(ValueError, match="model 0 has the prior Normal"):
        fit_many([LinearNetwork.from_data(data, edge_prior=Normal())])
    with pytest.raises(ValueError, match="model 1 has edge prior"):
        fit_many([first, LinearNetwork.from_data(data, edge_prior=SpikeSlab(edge_probability=0.3))])
    with pytest.raises(ValueError, match="2 seeds for 1 models"):
        fit_many([first], seeds=(1, 2))
    with pytest.raises(ValueError, match=r"fit_many samples by Gibbs\(\), not by int"):
        fit_many([first], guide=3)
    knocked = data.annotated(perturbed=[data.genes[4]] * 5 + ["control"] * (data.num_cells - 5))
    assert isinstance(knocked, ExpressionData)
    with pytest.raises(ValueError, match="model 0 has perturbed targets"):
        fit_many([LinearNetwork.from_data(knocked)])
