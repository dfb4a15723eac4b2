"""Contexts that share an edge or have one of their own: the density, the sampler, and what tables say of contexts."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyrogrn import Gibbs, LinearNetwork, MeanField, Posterior, SpikeSlab, fit, fit_many
from pyrogrn.inference.draws.contexts import differing
from pyrogrn.inference.gibbs import own_sweep
from pyrogrn.models import ExpressionData
from pyrogrn.priors import Normal
from pyrogrn.priors.own_edges import EdgeComponents, OwnOrShared
from scipy import stats

TFS, GENES = [f"T{i}" for i in range(5)], [f"G{i}" for i in range(12)]
EDGES = {("T0", "G0"): (0.6, 0.0), ("T1", "G1"): (-0.6, 0.6), ("T2", "G2"): (0.0, 0.7)}
"""Of the issue: gone in the second context, of opposite sign there, absent in the first."""


def two_contexts(cells, seed=0):
    rng = np.random.default_rng(seed)
    first = np.where(rng.random((5, 12)) < 0.2, rng.normal(0, 0.5, (5, 12)), 0.0)
    second = first.copy()
    for (tf, gene), (one, other) in EDGES.items():
        place = TFS.index(tf), GENES.index(gene)
        first[place], second[place] = one, other
    blocks = []
    for number, W in zip(cells, (first, second), strict=True):
        x = rng.normal(size=(number, 5)) + 0.5 * rng.normal(size=(number, 1))
        blocks.append(np.hstack([x, x @ W + 0.7 * rng.normal(size=(number, 12))]))
    data = ExpressionData(torch.tensor(np.vstack(blocks)).float(), (*TFS, *GENES), tuple(TFS))
    return data.annotated(context=["large"] * cells[0] + ["small"] * cells[1]), first, second


@pytest.mark.parametrize("cells", [(1500, 80), (1000, 1000)])
def test_an_edge_that_is_gone_flipped_or_new(cells):
    """Today's examples: the small context had the network of the large one, and a flipped edge the inclusion .016."""
    data, first, second = two_contexts(cells)
    posterior = fit(LinearNetwork.from_data(data, targets=GENES), guide=Gibbs(num_warmup=100, num_samples=150))
    table = {name: posterior.edges(context=name).set_index(["source", "target"]) for name in ("large", "small")}
    for edge, (one, other) in EDGES.items():
        for name, true in (("large", one), ("small", other)):
            row = table[name].loc[edge]
            if true:
                assert row["inclusion"] > 0.9
                assert row["lfsr"] < 0.1
                assert np.sign(row["weight"]) == np.sign(true)
            else:
                assert row["inclusion"] < 0.2
                assert row["lfsr"] > 0.8
                assert abs(row["weight"]) < 0.1
    differences = posterior.context_differences("large", "small").set_index(["source", "target"])
    assert (differences.loc[list(EDGES), "differs"] > 0.9).all()
    assert set(posterior.context_differences(fdr=0.1).set_index(["source", "target"]).index) == set(EDGES)
    shared = (first == second) & (first != 0)
    rest = [(TFS[t], GENES[g]) for t, g in np.argwhere(shared)]
    assert differences.loc[rest, "differs"].mean() < 0.1
    # where the small context has the edge of the large one, it borrows its cells
    assert table["small"].loc[rest, "sd"].median() < 0.03


def test_the_density_is_that_of_what_is_drawn():
    edge = EdgeComponents(*(torch.tensor(v) for v in (-0.5, 0.4, 0.8, 0.02)))
    family = OwnOrShared(torch.tensor(1.5), torch.tensor(0.05), torch.tensor(0.3), edge)
    grid = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    density = family.log_prob(grid).exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = family.expand(torch.Size([20_000])).sample()
    cdf = np.cumsum(density.numpy()) * float(grid[1] - grid[0])
    assert stats.kstest(draws.numpy(), lambda x: np.interp(x, grid.numpy(), cdf)).pvalue > 1e-4
    parts = family.which(torch.tensor([1.5, 0.0, 0.6]))
    assert torch.allclose(sum(parts), torch.ones(3))
    assert [max(p, key=p.get) for p in ({n: float(v[i]) for n, v in parts._asdict().items()} for i in range(3))] == [
        "shared",
        "absent",
        "present",
    ]


def test_edges_differ_unless_they_are_the_same_or_none(seeded):
    """Against counting the draws of three contexts."""
    generator = torch.Generator().manual_seed(0)
    p = torch.distributions.Dirichlet(torch.ones(3, 1, 1, 1, 3)).sample()  # (context, chain, tf, target, kind)
    shared, absent, present = p.unbind(-1)
    inclusion = torch.tensor([[[0.4]]])
    found = differing(shared.movedim(0, 1), absent.movedim(0, 1), inclusion)[:, 0, 0]
    kind = torch.stack([torch.multinomial(row, 40_000, True, generator=generator) for row in p.reshape(3, 3)])
    gate = torch.rand(40_000, generator=generator) < 0.4
    exists = torch.where(kind == 0, gate, kind == 2)
    for place, (a, b) in zip(found.tolist(), ((0, 1), (0, 2), (1, 2)), strict=True):
        differs = ((kind[a] > 0) | (kind[b] > 0)) & (exists[a] | exists[b])
        assert place == pytest.approx(float(differs.float().mean()), abs=0.015)
    assert bool((present >= 0).all())


@pytest.mark.parametrize("number", [2, 3])
def test_which_contexts_have_their_own_equals_enumeration(number):
    """P(z) of every pattern against the product of the evidences, each by numerical integration over the centre."""
    generator = torch.Generator().manual_seed(1)
    q = 3 + 5 * torch.rand(number, 1, 1, generator=generator, dtype=torch.float64)
    m = 4 * torch.randn(number, 1, 1, generator=generator, dtype=torch.float64)
    one = lambda v: torch.full((1, 1), v, dtype=torch.float64)
    prior = own_sweep.Slot(one(-0.7), one(0.5), one(0.01), one(0.3 / 0.5), one(0.5 * 0.3 * 0.3 / 0.5))
    grid = np.linspace(-6, 6, 40_001)
    pi = 1 / (1 + np.exp(0.7))
    density = pi * stats.norm.pdf(grid, 0.3, 0.5**0.5) + (1 - pi) * stats.norm.pdf(grid, 0, 0.1)

    def evidence(members):
        if not members:
            return 1.0
        total_q, total_m = (float(v[members].sum()) for v in (q, m))
        return np.trapezoid(density * np.exp(total_m * grid - 0.5 * total_q * grid**2), grid)

    rate, share = 0.3, {}
    for pattern in np.ndindex(*(2,) * number):
        weight = rate ** sum(pattern) * (1 - rate) ** (number - sum(pattern))
        for k in range(number):
            weight *= evidence([k]) if pattern[k] else 1.0
        share[pattern] = weight * evidence([k for k in range(number) if not pattern[k]])
    draws = 30_000
    wide = lambda v: v.expand(*v.shape[:-1], draws)
    alone = own_sweep.Worth.of(wide(q), wide(m), prior)
    own = torch.zeros(number, 1, draws, dtype=torch.bool)
    for _ in range(1 if number == 2 else 30):
        u = torch.rand(own.shape, generator=generator, dtype=torch.float64)
        own = own_sweep.draw_own(wide(q), wide(m), alone, prior, own, one(rate), u)
    total = sum(share.values())
    for pattern, weight in share.items():
        found = (own[:, 0] == torch.tensor(pattern)[:, None]).all(0).double().mean()
        assert float(found) == pytest.approx(weight / total, abs=0.015), pattern


def test_a_wrong_rate_would_be_seen(monkeypatch, seeded):
    """The check of the sampler by simulations fails where own edges are drawn at twice their rate."""
    from test_gibbs import LIMIT, after_one_move

    right = own_sweep.draw_own
    wrong = lambda q, m, alone, prior, own, rate, u: right(q, m, alone, prior, own, (2 * rate).clamp(max=0.99), u)
    monkeypatch.setattr(own_sweep, "draw_own", wrong)
    pvalues = after_one_move("edges", SpikeSlab(), None, 2, False, num_chains=2000, repeats=3)
    assert min(pvalues.values()) < LIMIT


def test_a_posterior_is_kept_whole(tmp_path):
    data, *_ = two_contexts((120, 60))
    posterior = fit(LinearNetwork.from_data(data), guide=Gibbs(num_chains=2, num_warmup=10, num_samples=10))
    posterior.save(tmp_path / "kept")
    again = Posterior.load(tmp_path / "kept")
    assert again.model.has_own_edges
    assert again.model.dims == posterior.model.dims
    for context in ("large", "small"):
        assert again.edges(context=context).equals(posterior.edges(context=context))
    assert again.context_differences().equals(posterior.context_differences())


def test_variational_guides_know_contexts_too():
    data, *_ = two_contexts((600, 300))
    posterior = fit(LinearNetwork.from_data(data, targets=GENES), guide=MeanField(), num_steps=400, restarts=1)
    assert posterior.attributes["differs"].shape == (1, 5, 12)
    table = posterior.context_differences("large", "small").set_index(["source", "target"])
    assert (table.loc[list(EDGES), "differs"] > 0.8).all()
    assert table["differs"].median() < 0.2
    # without an inclusion variable a context has the edges whose own weights are large
    model = LinearNetwork.from_data(data, targets=GENES, edge_prior=Normal())
    assert not model.has_own_edges
    plain = fit(model, guide=MeanField(), num_steps=200, restarts=1)
    own = plain.moments["W_context"].inclusion
    np.testing.assert_allclose(own, (np.abs(plain.draws["W_context"]) > 0.1).mean((0, 1)), atol=1e-5)


def test_fits_side_by_side_are_those_alone():
    data, *_ = two_contexts((60, 40))
    models = [LinearNetwork.from_data(data, targets=GENES[:3]) for _ in range(2)]
    guide = Gibbs(num_chains=2, num_warmup=5, num_samples=5)
    together = fit_many(models, guide=guide, seeds=[1, 2])
    alone = fit(models[1], guide=guide, seed=2)
    np.testing.assert_array_equal(together[1].draws["W_context"], alone.draws["W_context"])


def test_how_contexts_differ_can_be_asked_for():
    data, *_ = two_contexts((60, 40))
    assert LinearNetwork.from_data(data).differences == "sparse"
    assert "difference_rate" not in LinearNetwork.from_data(data, differences="normal").dims
    with pytest.raises(ValueError, match="expected one of sparse, normal"):
        LinearNetwork.from_data(data, differences="none")
    with pytest.raises(ValueError, match="independent inclusion variables"):
        LinearNetwork.from_data(data, edge_prior=Normal(), differences="sparse")
    assert dist.Beta is LinearNetwork.from_data(data).difference_rate.family
