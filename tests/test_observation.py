"""Distributions of sufficient statistics: their densities are those of the cells, their draws those of simulated cells.

Each statistical test fails by chance once in ten thousand seeds at most; seeds are fixed (`seeded`).
"""

from itertools import combinations

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyrogrn.models import FactorBox
from pyrogrn.models.likelihoods import LIKELIHOODS
from pyrogrn.models.observation import (
    CutDesign,
    GramFactors,
    GramNormal,
    LogPoisson,
    MixedViews,
    ObservedEdges,
    PanelNormal,
    ResponseNormal,
    SharedDesign,
)
from pyrogrn.models.observation.designs import OwnLevelDesign
from pyrogrn.models.observation.wishart import wishart
from pyrogrn.models.simulators.panel import simulate_panel
from pyrogrn.priors import Normal
from scipy import integrate, stats
from torch.autograd import gradcheck

pytestmark = pytest.mark.usefixtures("seeded")

RARE = 1e-4  # p-value, of each test, below which two sets of draws are said to differ
NO_PAIR = torch.zeros(0, dtype=torch.long)


def centred(rows, tfs):
    """Regressors off their mean."""
    X = torch.randn(rows, tfs).double() @ (torch.eye(tfs).double() + 0.5)
    return X - X.mean(0)


def off(X, *columns):
    """``X`` with the ones, and some columns, projected out; and the projection."""
    basis = torch.linalg.qr(torch.stack([torch.ones(len(X)).double(), *columns], 1))[0]
    P = torch.eye(len(X)).double() - basis @ basis.T
    return P @ X, P


class Regressions:
    """A design with the cells behind it: for each (context, target), regressors ``X`` and the projection ``P`` of the
    noise."""

    def __init__(self, design, cells, contexts=1):
        self.design, self.cells, self.contexts = design, cells, contexts

    def simulate(self, weight, noise, draws):
        """``(draw, [context,] 1, target, tf + 1)`` statistics of simulated cells."""
        anchor = self.design.anchor.reshape(self.contexts, *self.design.anchor.shape[-2:])
        weight, noise = weight.reshape(anchor.shape), noise.reshape(self.contexts, -1)
        out = torch.zeros(draws, self.contexts, 1, anchor.shape[-1], anchor.shape[-2] + 1).double()
        for (k, i), (X, P) in self.cells.items():
            epsilon = torch.randn(draws, len(P)).double() * noise[k, i].sqrt()
            left = X @ (weight[k, :, i] - anchor[k, :, i]) + epsilon @ P
            out[:, k, 0, i, :-1], out[:, k, 0, i, -1] = left @ X, left.square().sum(1)
        return out if self.design.gram.dim() == 3 else out[:, 0]


def plain(rows=25, tfs=3, targets=3, contexts=1, own=()):
    """Targets that share the cells of their context, but for ``own``, of which some cells are clamped."""
    cells, grams, own_grams, dof = {}, [], [], []
    for k in range(contexts):
        raw = torch.randn(rows + 3 * k, tfs).double()
        X, P = off(raw)
        grams.append(X.T @ X)
        mine = []
        for i in range(targets):
            cells[k, i] = off(raw[6:]) if i in own else (X, P)
            if i in own:
                mine.append(cells[k, i][0].T @ cells[k, i][0])
        own_grams.append(torch.stack(mine) if mine else X.new_zeros(0, tfs, tfs))
        dof.append([float(len(cells[k, i][1]) - 1) for i in range(targets)])
    wide = contexts > 1
    pick = lambda v: v if wide else v[0]
    nu = torch.tensor(dof).double()
    count = (nu + 1).log()
    by = lambda v: v[:, None] if wide else v
    anchor = 0.3 * torch.randn(contexts, tfs, targets).double()
    design = SharedDesign(
        tfs, targets, pick(torch.stack(grams)), pick(anchor), by(nu), by(count), torch.tensor(own, dtype=torch.long),
        pick(torch.stack(own_grams)),
    )  # fmt: skip
    return Regressions(design, cells, contexts)


def cut(contexts=1, every=False):
    """Targets that lose rows, or their own level, by rank-one cuts."""
    rows, tfs, targets = 14, 4, 3
    cells, grams, vectors, where, which, dof = {}, [], [], [], [], []
    for k in range(contexts):
        X, P = off(torch.randn(rows, tfs).double())
        grams.append(X.T @ X)
        nu = []
        for i in range(targets):
            number = 1 if every else i  # pairs of the target
            gone = P @ torch.randn(rows, number).double()
            basis = torch.linalg.qr(gone)[0]
            Q = P - basis @ basis.T
            cells[k, i] = Q @ X, Q
            vectors += list(basis.T @ X)
            where, which = where + [k] * number, which + [i] * number
            nu.append(float(rows - 1 - number))
        dof.append(nu)
    wide = contexts > 1
    pick = lambda v: v if wide else v[0]
    nu = torch.tensor(dof).double()
    anchor = 0.3 * torch.randn(contexts, tfs, targets).double()
    kind = OwnLevelDesign if every else CutDesign
    design = kind(
        tfs, targets, pick(torch.stack(grams)), pick(anchor), nu[:, None] if wide else nu, None,
        torch.stack(vectors), torch.tensor(where), torch.tensor(which),
    )  # fmt: skip
    return Regressions(design, cells, contexts)


DESIGNS = {
    "shared": plain,
    "clamped cells": lambda: plain(own=(1,)),
    "contexts": lambda: plain(contexts=2, own=(0, 2)),
    "fewer cells than regulators": lambda: plain(rows=5, tfs=6),
    "cuts": cut,
    "cuts in contexts": lambda: cut(contexts=2),
    "own levels": lambda: cut(every=True),
}
every_design = pytest.mark.parametrize("make", DESIGNS.values(), ids=DESIGNS)


def parameters(regressions):
    anchor = regressions.design.anchor
    weight = anchor + 0.4 * torch.randn_like(anchor)
    shape = (2, 1, anchor.shape[-1]) if anchor.dim() == 3 else (anchor.shape[-1],)
    return weight, 0.3 + torch.rand(shape).double()


def same(one, other):
    """Whether two sets of draws of a number may be of one distribution."""
    return stats.ks_2samp(np.asarray(one), np.asarray(other)).pvalue > RARE


# ---------------------------------------------------------------- regressions


@every_design
def test_density_is_that_of_the_cells(make):
    regressions = make()
    weight, noise = parameters(regressions)
    design = regressions.design
    fn = GramNormal(weight, noise, design)
    value = regressions.simulate(weight, noise, 2)
    found = fn.log_prob(value)
    assert found.shape == (2, *fn.batch_shape)
    # the same cells again, with their residuals by hand
    contexts = regressions.contexts
    wide = lambda v: v.reshape(contexts, *v.shape[v.dim() - 2 :])
    W, A, s2 = wide(weight), wide(design.anchor), noise.reshape(contexts, -1)
    for (k, i), (X, P) in regressions.cells.items():
        y = X @ W[k, :, i] + P @ torch.randn(len(P)).double()
        step = y - X @ A[k, :, i]
        one = value[0].clone()
        place = (k, 0, i) if design.gram.dim() == 3 else (0, i)
        one[place] = torch.cat([X.T @ step, step.square().sum()[None]])
        nu = round(float(torch.linalg.matrix_rank(P)))
        expected = -0.5 * nu * torch.log(2 * torch.pi * s2[k, i]) - 0.5 * (y - X @ W[k, :, i]).square().sum() / s2[k, i]
        if design.log_count is not None:
            expected = expected - 0.5 * np.log(nu + 1)
        torch.testing.assert_close(fn.log_prob(one)[place], expected, rtol=1e-9, atol=1e-8)


@every_design
def test_draws_are_those_of_simulated_cells(make):
    regressions = make()
    weight, noise = parameters(regressions)
    fn = GramNormal(weight, noise, regressions.design)
    drawn, cells = fn.sample((2000,)), regressions.simulate(weight, noise, 2000)
    assert drawn.shape == cells.shape == (2000, *fn.batch_shape, *fn.event_shape)
    assert fn.support.check(drawn).all()
    a, b = drawn.flatten(1, -2), cells.flatten(1, -2)  # (draw, regression, statistic)
    one, other = (fn.log_prob(v).flatten(1) for v in (drawn, cells))
    for place in range(a.shape[1]):
        direction = torch.randn(a.shape[-1]).double()
        assert same(one[:, place], other[:, place]), f"densities of {place}"
        assert same(a[:, place, -1], b[:, place, -1]), f"sums of squares of {place}"
        assert same(a[:, place] @ direction, b[:, place] @ direction), f"a combination of all of {place}"
    # against exact moments: E r = G d, Cov r = σ² G, E s = d'Gd + σ² ν
    contexts, design = regressions.contexts, regressions.design
    wide = lambda v: v.reshape(contexts, *v.shape[v.dim() - 2 :])
    gap, s2 = wide(weight - design.anchor), noise.reshape(contexts, -1)
    for place, ((k, i), (X, P)) in enumerate(sorted(regressions.cells.items())):
        G, d = X.T @ X, gap[k, :, i]
        r, s = a[:, place, :-1], a[:, place, -1]
        error = (s2[k, i] * G.diagonal() / len(r)).sqrt()
        assert ((r.mean(0) - G @ d).abs() < 5 * error).all()
        expected = d @ G @ d + s2[k, i] * torch.linalg.matrix_rank(P)
        assert abs(s.mean() - expected) < 5 * s.std() / len(s) ** 0.5
        for u, v in combinations(range(len(d)), 2):
            wanted = s2[k, i] * G[u, v]
            spread = s2[k, i] * ((G[u, u] * G[v, v] + G[u, v] ** 2) / len(r)).sqrt()
            assert abs((r - r.mean(0))[:, u] @ (r - r.mean(0))[:, v] / len(r) - wanted) < 5 * spread


def test_draws_of_wrong_noise_are_found_out():
    """The comparison above can fail."""
    regressions = plain()
    weight, noise = parameters(regressions)
    drawn = GramNormal(weight, 1.3 * noise, regressions.design).sample((2000,))
    cells = regressions.simulate(weight, noise, 2000)
    assert not same(drawn[:, 0, 0, -1], cells[:, 0, 0, -1])


def test_moments_are_what_two_data_sets_are_compared_by():
    regressions = plain(own=(1,))
    weight, noise = parameters(regressions)
    design, fn = regressions.design, GramNormal(weight, noise, regressions.design)
    value = fn.sample()
    moments = fn.moments(value)
    for (_, i), (X, P) in regressions.cells.items():
        y = X @ torch.randn(3).double() + P @ torch.randn(len(P)).double()
        step = y - X @ design.anchor[:, i]
        value[0, i] = torch.cat([X.T @ step, step.square().sum()[None]])
        moments = fn.moments(value)
        torch.testing.assert_close(moments.cross[:, i], X.T @ y)
        torch.testing.assert_close(moments.square[i], y @ y)
    assert moments.cross.shape == (3, 3)


def test_shapes_constraints_and_gradients_of_regressions():
    regressions = plain(contexts=2, own=(0,))
    weight, noise = parameters(regressions)
    fn = GramNormal(weight, noise, regressions.design)
    assert (fn.batch_shape, fn.event_shape, fn.event_dim) == ((2, 1, 3), (4,), 1)
    value = fn.sample()
    wide = fn.expand((5, 2, 1, 3))
    assert type(wide) is GramNormal
    assert wide.sample().shape == (5, 2, 1, 3, 4)
    torch.testing.assert_close(wide.log_prob(value), fn.log_prob(value).expand(5, 2, 1, 3))
    assert fn.expand((2, 1, 3)) is fn
    across = fn.expand((2, 4, 3))  # a plate at the dimension of the cells
    assert across.sample().shape == (2, 4, 3, 4)
    torch.testing.assert_close(across.log_prob(value.expand(2, 4, 3, 4)), fn.log_prob(value).expand(2, 4, 3))
    assert fn.to_event(1).event_dim == 2
    bad = value.clone()
    bad[..., -1] = -1
    assert not fn.support.check(bad).any()
    with pytest.raises(ValueError, match="noise"):
        GramNormal(weight, -noise, regressions.design, validate_args=True)
    with pytest.raises(ValueError, match="for each target 3 products with the regressors and a sum of squares"):
        fn.log_prob(value[..., 1:])
    leaves = weight.clone().requires_grad_(), noise.clone().requires_grad_()
    assert gradcheck(lambda w, s: GramNormal(w, s, regressions.design).log_prob(value), leaves)
    GramNormal(*leaves, regressions.design).rsample((2,)).sum().backward()
    assert all(bool((leaf.grad != 0).all()) for leaf in leaves)


def test_a_density_that_is_known_is_used_once():
    regressions = plain()
    weight, noise = parameters(regressions)
    value = regressions.simulate(weight, noise, 1)[0]
    weight.requires_grad_()
    fn = GramNormal(weight, noise, regressions.design).at(value)
    for _ in range(2):  # each with its own graph
        fn.log_prob(value).sum().backward()
    torch.testing.assert_close(
        fn.at(value).log_prob(2 * value), GramNormal(weight, noise, fn.design).log_prob(2 * value)
    )
    with torch.no_grad():
        fn = fn.at(value)
    assert fn.log_prob(value).requires_grad, "not the value that was worked out without gradients"


# ---------------------------------------------------------------- panels


@pytest.fixture(scope="module")
def panel():
    return simulate_panel(num_genes=5, seed=2).data


def test_levels_of_conditions_have_the_density_of_their_statistics(panel):
    """The intercept of each target integrated out by quadrature, of length one over all conditions."""
    model = FactorBox.from_data(panel, edge_prior=Normal(scale=0.5)).double()
    data = panel.to(dtype=torch.float64)
    values = {
        "W": 0.3 * torch.randn(5, 5).double() * model.edge_prior.allowed,
        "noise_variance": 0.3 + torch.rand(5).double(),
    }
    whole = poutine.trace(poutine.condition(model, values)).get_trace()
    whole.compute_log_prob()
    grid = torch.linspace(-3, 3, 401).double()
    offsets = {"intercept": grid[:, None, None].expand(-1, 1, 5)}  # one draw each
    cells = poutine.trace(poutine.condition(model, values | offsets)).get_trace(data)
    cells.compute_log_prob()
    table = cells.nodes["X"]["log_prob"].sum(-2).numpy()
    free = (~panel.clamped).sum(0).numpy()
    for i in range(5):
        peak = table[:, i].max()
        area = integrate.simpson(np.exp(table[:, i] - peak), x=grid.numpy())
        found = peak + np.log(area) + 0.5 * np.log(free[i])
        np.testing.assert_allclose(float(whole.nodes["X"]["log_prob"][0, i]), found, rtol=1e-5)


def test_draws_of_a_panel_are_drives(panel):
    model = FactorBox.from_data(panel, gain="sampled").double()
    trace = poutine.trace(poutine.uncondition(model)).get_trace()
    fn, value = trace.nodes["X"]["fn"], trace.nodes["X"]["value"]
    assert isinstance(fn, PanelNormal)
    assert value.shape == model.observed().shape
    assert fn.support.check(value).all()
    plain_value = value[..., : fn.num_tfs + 1]
    torch.testing.assert_close(fn.log_prob(value), GramNormal(fn.weight, fn.noise, fn.design).log_prob(plain_value))
    wide = fn.expand((3, *fn.batch_shape))
    torch.testing.assert_close(wide.log_prob(model.observed())[1], fn.log_prob(model.observed()))


# ---------------------------------------------------------------- factor models


@pytest.mark.parametrize("dof", [3, 9])
def test_wishart_matrices(dof):
    lower = torch.linalg.cholesky(torch.tensor([[2.0, 0.3, 0], [0.3, 1, -0.4], [0, -0.4, 0.5]]).double())
    lower = torch.block_diag(lower, torch.eye(2).double())  # five genes: singular with three degrees of freedom
    drawn = wishart(lower.expand(2000, 5, 5), dof)
    rows = torch.randn(2000, dof, 5).double() @ lower.T
    brute = rows.mT @ rows
    direction = torch.randn(5).double()
    for of in (lambda S: S[:, 0, 1], lambda S: S[:, 4, 4], lambda S: (S @ direction) @ direction, lambda S: S[:, 0, 0]):
        assert same(of(drawn), of(brute))
    assert same(torch.linalg.eigvalsh(drawn)[:, -1], torch.linalg.eigvalsh(brute)[:, -1])


def factors(num_cells, covariates=0, genes=6):
    """A factor model of one group, its covariates, and cells simulated from it."""
    W = torch.randn(2, genes).double()
    noise = 0.3 + torch.rand(1, genes).double()
    Z = centred(num_cells, covariates) if covariates else None
    effect = torch.randn(covariates, genes).double() if covariates else None
    fn = GramFactors(
        W, noise, dof=num_cells - 1, log_count=torch.tensor(float(num_cells)).log().double(), effect=effect,
        covariates=None if Z is None else Z.T @ Z,
    )  # fmt: skip

    def simulate(draws):
        Y = torch.randn(draws, num_cells, 2).double() @ W
        Y = Y + noise.sqrt() * torch.randn(draws, num_cells, genes).double()
        if Z is not None:
            Y = Y + Z @ effect
        Y = Y - Y.mean(1, keepdim=True)
        D = Y if Z is None else torch.cat([Y, Z.expand(draws, *Z.shape)], -1)
        return Y, D.mT @ D

    return fn, simulate, Z


@pytest.mark.parametrize(("num_cells", "covariates"), [(30, 0), (30, 2), (5, 0), (6, 2)])
def test_factor_models_by_their_gram_matrix(num_cells, covariates):
    fn, simulate, Z = factors(num_cells, covariates)
    Y, cells = simulate(2000)
    # log p of the cells, rows correlated by nothing but the mean that was taken out
    covariance = fn.weight.T @ fn.weight + torch.diag(fn.noise[0])
    mean = 0 if Z is None else Z @ fn.effect
    rows = dist.MultivariateNormal(torch.zeros(6).double(), covariance).log_prob(Y[0] - mean).sum()
    constant = 0.5 * (6 * np.log(2 * np.pi) + torch.logdet(covariance)) - 0.5 * 6 * np.log(num_cells)
    torch.testing.assert_close(fn.log_prob(cells[0]), rows + constant, rtol=1e-9, atol=1e-7)
    drawn = fn.sample((2000,))
    assert drawn.shape == cells.shape
    assert fn.support.check(drawn).all()
    assert same(fn.log_prob(drawn), fn.log_prob(cells))
    direction = torch.randn(drawn.shape[-1]).double()
    for of in (lambda D: (D @ direction) @ direction, lambda D: D[:, 0, 1], lambda D: D[:, 0, -1]):
        assert same(of(drawn), of(cells))
    if covariates:
        assert torch.equal(drawn[0, 6:, 6:], (Z.T @ Z))
        estimate = fn.moments(drawn).effect
        assert ((estimate.mean(0) - fn.effect).abs() < 5 * estimate.std(0) / 2000**0.5).all()
    expected = dist.Wishart(torch.tensor(7.0).double(), covariance).mean / 7
    if not covariates:
        found = fn.moments(drawn).covariance
        assert ((found.mean(0) - expected).abs() < 5 * found.std(0) / 2000**0.5).all()


def test_shapes_and_gradients_of_factor_models():
    fn, simulate, _ = factors(20)
    value = simulate(1)[1][0]
    assert (fn.batch_shape, fn.event_shape, fn.event_dim) == ((), (6, 6), 2)
    draws = GramFactors(fn.weight.expand(3, 2, 6), fn.noise, dof=19, log_count=fn.log_count)
    assert draws.batch_shape == (3, 1, 1)
    torch.testing.assert_close(draws.log_prob(value)[:, 0, 0], fn.log_prob(value).expand(3))
    assert draws.sample((2,)).shape == (2, 3, 1, 1, 6, 6)
    torch.testing.assert_close(draws.log_prob(value.expand(3, 1, 1, 6, 6)), draws.log_prob(value))
    assert draws.expand((4, 3, 1, 1)).log_prob(value).shape == (4, 3, 1, 1)
    assert fn.expand((5,)).sample().shape == (5, 6, 6)
    assert not fn.support.check(-value)
    with pytest.raises(ValueError, match="Gram matrix of genes and covariates"):
        fn.log_prob(value[:5, :5])
    leaves = fn.weight.clone().requires_grad_(), fn.noise.clone().requires_grad_()
    make = lambda w, s: GramFactors(w, s, dof=19, log_count=fn.log_count)
    assert gradcheck(lambda w, s: make(w, s).log_prob(value), leaves)
    make(*leaves).rsample().sum().backward()
    assert all(bool((leaf.grad != 0).any()) for leaf in leaves)


# ---------------------------------------------------------------- cells, edges, knock-downs


def test_cells_of_several_views():
    kinds = torch.tensor([0, 1, 2, 0])
    eta, variance, dispersion = torch.randn(3, 4), torch.rand(4) + 0.5, torch.rand(4) + 2
    depth = torch.tensor([[0.1], [0.0], [-0.3]])
    fn = MixedViews(eta, kinds, present=LIKELIHOODS, noise=variance, dispersion=dispersion, offset=depth)
    assert (fn.batch_shape, fn.event_dim) == ((3, 4), 0)
    drawn = fn.sample((4000,))
    assert fn.support.check(drawn).all()
    assert not fn.support.check(drawn + 0.5)[..., 1:3].any()
    mean = (eta + depth).exp()
    expected = torch.stack([eta[:, 0], eta[:, 1].sigmoid(), mean[:, 2], eta[:, 3]], 1)
    assert ((drawn.mean(0) - expected).abs() < 5 * drawn.std(0) / 4000**0.5).all()
    y = drawn[0].numpy()
    parts = [
        stats.norm.logpdf(y[:, 0], eta[:, 0], variance[0].sqrt()),
        stats.bernoulli.logpmf(y[:, 1], eta[:, 1].sigmoid()),
        stats.nbinom.logpmf(y[:, 2], dispersion[2], dispersion[2] / (dispersion[2] + mean[:, 2])),
        stats.norm.logpdf(y[:, 3], eta[:, 3], variance[3].sqrt()),
    ]
    np.testing.assert_allclose(fn.log_prob(drawn[0]), np.stack(parts, 1), rtol=1e-4, atol=1e-5)
    assert fn.expand((2, 3, 4)).sample().shape == (2, 3, 4)
    masked = fn.mask(torch.zeros(3, 4, dtype=torch.bool))
    assert (masked.log_prob(torch.full((3, 4), torch.nan).nan_to_num()) == 0).all()


def test_counts_by_log_rate():
    log_rate = torch.tensor([-3.0, 0.5, 2.0])
    fn = LogPoisson(log_rate)
    drawn = fn.sample((4000,))
    assert ((drawn.mean(0) - log_rate.exp()).abs() < 5 * drawn.std(0) / 4000**0.5).all()
    np.testing.assert_allclose(fn.log_prob(drawn[:50]), stats.poisson.logpmf(drawn[:50], log_rate.exp()), rtol=1e-4)
    assert LogPoisson(torch.tensor(-200.0)).log_prob(torch.tensor(1.0)) == -200
    assert fn.expand((2, 3)).sample().shape == (2, 3)


def test_evidence_is_drawn_as_its_density_says():
    existence = torch.tensor([[0.0, 1.0]])
    seen = torch.tensor([[[True, True]], [[True, True]]])
    covered, allowed = torch.tensor([[[True, True]]]), torch.tensor([[True, True]])
    given = {
        "absent_score": torch.tensor([0.2, -0.1]), "score_shift": torch.tensor([1.0, 2.0]),
        "score_sd": torch.tensor([0.5, 1.5]), "score_correlation": torch.tensor(0.4),
        "list_logit": torch.tensor([-1.0]), "list_shift": torch.tensor([2.0]),
    }  # fmt: skip
    fn = ObservedEdges(existence, seen, covered, allowed, given)
    assert (fn.batch_shape, fn.event_shape) == ((1, 2), (3,))
    drawn = fn.sample((4000,))
    assert fn.support.check(drawn).all()
    for g, e in enumerate((0.0, 1.0)):
        scores, lists = drawn[:, 0, g, :2], drawn[:, 0, g, 2]
        sd, mean = given["score_sd"], given["absent_score"] + given["score_shift"] * e
        covariance = torch.diag(sd) @ torch.tensor([[1, 0.4], [0.4, 1]]) @ torch.diag(sd)
        brute = dist.MultivariateNormal(mean, covariance)
        other = brute.sample((4000,))
        for of in (lambda s: s[:, 0], lambda s: s[:, 1], lambda s: s.sum(1), lambda s: s[:, 0] - s[:, 1]):
            assert same(of(scores), of(other))
        odds = torch.tensor(2 * e - 1.0)
        assert abs(lists.mean() - odds.sigmoid()) < 5 * lists.std() / 4000**0.5
        expected = brute.log_prob(scores) + dist.Bernoulli(logits=odds).log_prob(lists)
        torch.testing.assert_close(fn.log_prob(drawn)[:, 0, g], expected, rtol=1e-4, atol=1e-4)
    none = ObservedEdges(existence, ~seen, covered, torch.tensor([[False, True]]), given)
    assert (none.sample((9,))[..., :2] == 0).all()
    assert (none.log_prob(none.sample())[0, 0] == 0).all()
    draws = ObservedEdges(existence.expand(2, 1, 2), seen, covered, allowed, given)
    assert draws.log_prob(drawn[0]).shape == fn.expand((2, 1, 2)).log_prob(drawn[0]).shape == (2, 1, 2)


def test_responses_to_knockdowns_by_outer_products():
    copied = torch.randn(4, 7).double()
    factor = torch.linalg.cholesky(torch.eye(4).double() + 0.5)
    carry = torch.tensor(0.6).double()
    fn = ResponseNormal(factor, carry, copied)
    y = carry * copied + factor @ torch.randn(4, 7).double()
    rows = dist.MultivariateNormal(torch.zeros(4).double(), scale_tril=factor)
    torch.testing.assert_close(fn.log_prob(fn.value_of(y, copied)), rows.log_prob((y - carry * copied).T).sum())
    drawn = fn.sample((2000,))
    assert drawn.shape == (2000, 3, 4, 4)
    brute = fn.value_of(carry * copied + factor @ torch.randn(2000, 4, 7).double(), copied)
    assert same(fn.log_prob(drawn), fn.log_prob(brute))
    assert same(drawn[:, 1, 0, 1], brute[:, 1, 0, 1])
