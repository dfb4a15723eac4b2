"""The round of factor models: coordinate ascent that never falls, and a Gibbs round that leaves the joint distribution
as it is (Geweke 2004)."""

import math
from dataclasses import replace

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyrogrn.inference.factors import sweep as factor_sweep
from pyrogrn.inference.factors.start import start
from pyrogrn.inference.factors.sweep import FactorState, GramRound, Moments, move_scale, wishart
from pyrogrn.models import PPCA, ExpressionData, MuVI
from pyrogrn.models.simulators import simulate_muvi
from pyrogrn.priors import HorseshoeLoading, NormalLoading, SpikeSlabLoading, Take
from pyrogrn.priors.edge_prior import TRUST_SCALE
from pyrogrn.priors.loadings.spike_slab import LOGIT_MEAN, LOGIT_SD
from scipy import stats

pytestmark = pytest.mark.usefixtures("seeded")

PRIORS = {
    "normal": lambda: NormalLoading(),
    "ard": lambda: NormalLoading(scale=None),
    "horseshoe": lambda: HorseshoeLoading(),
    "slab": lambda: HorseshoeLoading(strategy="slab"),
    "spike-slab": lambda: SpikeSlabLoading(),
}
every_prior = pytest.mark.parametrize("prior", list(PRIORS))


def simulated(num_covariates, **options):
    sizes = {"num_genes": 12, "num_cells": 40, "num_sets": 2, "set_size": 5}
    correlation = 0.5 if num_covariates else 0.0
    return simulate_muvi(**sizes, num_covariates=num_covariates, correlation=correlation, seed=1, **options)


def climbed(model, num_rounds, num_chains=2):
    """``(round, chain)`` bounds, the engine and its last state."""
    rounds = GramRound(model)
    state, bounds = start(rounds, num_chains), []
    for _ in range(num_rounds):
        state = rounds(state, Take(draws=False))
        bounds.append(state.bound.numpy())
    return np.array(bounds), rounds, state


# -- coordinate ascent ----


def assert_never_falls(bounds):
    assert np.isfinite(bounds).all()
    falls = np.diff(bounds, axis=0) / np.abs(bounds[:-1])
    assert falls.min() > -1e-9, f"the bound fell by {falls.min():.2g} of its size in round {falls.argmin()}"


@every_prior
@pytest.mark.parametrize(("num_covariates", "factor_effects"), [(0, True), (2, True), (2, False)])
def test_the_bound_never_falls(prior, num_covariates, factor_effects):
    data = simulated(num_covariates, num_groups=2).data
    options = {"factor_effects": factor_effects, "loading_prior": PRIORS[prior]()}
    for model in (PPCA(data, num_factors=3, **options), MuVI(data, num_factors=3, **options)):
        bounds, _, _ = climbed(model, 40)
        assert_never_falls(bounds)
        assert bounds[-1].min() > bounds[0].min() + 1


@every_prior
def test_the_bound_never_falls_with_gene_sets(prior):
    simulation = simulated(2, hidden=0.2)
    options = {"gene_sets": {"sets": simulation.gene_sets}, "num_factors": 1, "min_overlap": 2}
    bounds, _, _ = climbed(MuVI(simulation.data, loading_prior=PRIORS[prior](), **options), 40)
    assert_never_falls(bounds)


def log_evidence(model, state, num_samples=40_000):
    """log p(Y) with its standard error, by importance sampling: Student proposals around q."""
    mean = state.loadings[0]  # (gene, 1 + covariate)
    generator = torch.Generator().manual_seed(0)
    G, v = len(model.genes), len(model.covariates)
    size = model.count.sum() - len(model.contexts)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    # everything in one vector: W, β, log σ², γ
    log_noise = -state.precision[0, : 1 if model.isotropic else G].log()
    centre = torch.cat([mean[:, 0], mean[:, 1:].T.flatten(), log_noise, state.gamma[0].flatten()])
    sd = state.variance[0].sqrt()
    noise_sd = math.sqrt(2 / float(size * (G if model.isotropic else 1)))
    wide = torch.cat([sd[:, 0], sd[:, 1:].T.flatten(), torch.full_like(log_noise, noise_sd)])
    wide = 1.7 * torch.cat([wide, torch.full((state.gamma[0].numel(),), 0.3, dtype=torch.float64)])
    # what product forms lose: effects on the factor and on genes trade places
    L = torch.diag(wide)
    for a in range(v):
        L[G + a * G : G + (a + 1) * G, -v + a] = -mean[:, 0] * wide[-v + a]
    dof, flip = 6.0, torch.ones_like(centre)
    flip[:G] = -1
    flip[len(centre) - v :] = -1
    for _ in range(5):  # proposals adapt to the moments of the posterior
        chi = torch.from_numpy(np.random.default_rng(0).chisquare(dof, num_samples))
        u = centre + (normal(num_samples, len(centre)) / (chi / dof).sqrt()[:, None]) @ L.T
        proposal = dist.MultivariateStudentT(torch.tensor(dof).double(), centre, L)
        W, rest = u[:, :G, None].mT, u[:, G:]
        beta = rest[:, : v * G].reshape(-1, v, G) if v else None
        noise = rest[:, v * G : rest.shape[1] - v].exp()
        gamma = rest[:, rest.shape[1] - v :, None] if v else None
        log_p = model.marginal_log_likelihood(W, beta, gamma, noise[:, None])[:, 0, 0]
        log_p = log_p + dist.Normal(0, 1).log_prob(W).sum((1, 2))
        a, b = model.noise_prior.double()
        log_p = log_p + (dist.InverseGamma(a, b).log_prob(noise) + noise.log()).sum(1)
        for part in (beta, gamma):
            log_p = log_p if part is None else log_p + dist.Normal(0, 1).log_prob(part).sum((1, 2))
        # the posterior has a mirror image, W → −W and γ → −γ, which the proposals leave out where it is far away: by
        # symmetry the integral is that over proposals of both signs
        both = torch.logaddexp(proposal.log_prob(u), proposal.log_prob(u * flip)) - math.log(2)
        log_w = log_p - both
        w = (log_w - log_w.max()).exp()
        average = (w @ u) / w.sum()
        away = u - average
        spread = (w[:, None] * away).T @ away / w.sum()
        evidence = float(log_w.max() + w.mean().log()), float(w.std() / w.mean()) / math.sqrt(num_samples)
        centre, L = average, torch.linalg.cholesky(1.2 * spread + 1e-6 * torch.eye(len(centre)).double())
    return evidence


@pytest.mark.parametrize(("kind", "num_covariates"), [(PPCA, 0), (MuVI, 0), (MuVI, 1)])
def test_the_bound_is_below_the_evidence(kind, num_covariates):
    G, n = 3, 40
    simulation = simulate_muvi(
        num_genes=G,
        num_cells=n,
        W=torch.tensor([[1.0, -0.8, 0.6]]),
        num_covariates=num_covariates,
        correlation=0.4 if num_covariates else 0.0,
        noise_variance=0.4,
        seed=2,
    )
    model = kind(simulation.data, num_factors=1, loading_prior=NormalLoading(), standardize=False).double()
    bounds, _, state = climbed(model, 300, num_chains=1)
    evidence, error = log_evidence(model, state)
    assert error < 0.1, "importance sampling must work"
    gap = evidence - float(bounds[-1, 0])
    assert math.log(2) - 4 * error < gap < 3.5 + 2.5 * num_covariates  # q has one sign of two


def test_the_evidence_by_importance_sampling_equals_quadrature():
    simulation = simulate_muvi(num_genes=2, num_cells=30, W=torch.tensor([[1.0, 0.7]]), noise_variance=0.4, seed=3)
    model = PPCA(simulation.data, num_factors=1).double()
    bounds, _, state = climbed(model, 300, num_chains=1)
    evidence, error = log_evidence(model, state)
    w, log_noise = torch.linspace(-3, 3, 121).double(), torch.linspace(-4, 3, 100).double()
    grid = torch.cartesian_prod(w, w, log_noise)
    W, noise = grid[:, None, :2], grid[:, 2:].exp()
    log_p = torch.cat(
        [
            model.marginal_log_likelihood(W[i : i + 100_000], None, None, noise[i : i + 100_000, None])[:, 0, 0]
            for i in range(0, len(grid), 100_000)
        ]
    )
    log_p = log_p + dist.Normal(0, 1).log_prob(W).sum((1, 2)) + dist.InverseGamma(1.0, 1.0).log_prob(noise[:, 0])
    log_p = log_p + grid[:, 2]
    exact = float(torch.logsumexp(log_p, 0)) + 2 * math.log(6 / 120) + math.log(7 / 99)
    assert evidence == pytest.approx(exact, abs=4 * error + 1e-3)
    assert 0 < exact - float(bounds[-1, 0]) < 2


# -- blocks against exact references ----


@pytest.mark.parametrize("factor_effects", [True, False])
@pytest.mark.parametrize("num_cells", [30, 5])
def test_covariate_effects_are_draws_of_the_dense_posterior(factor_effects, num_cells):
    G, v, m, draws = 4, 2, 2, 40_000
    generator = torch.Generator().manual_seed(0)
    Z = torch.randn(num_cells, v, generator=generator)
    Z[:, 1] += Z[:, 0]
    W = torch.randn(m, G, generator=generator, dtype=torch.float64)
    Y = (Z.double() @ torch.ones(v, m).double() @ W).float() + torch.randn(num_cells, G, generator=generator)
    names = ("a", "b")
    data = ExpressionData(Y, tuple("ABCD"), covariates=Z, covariate_names=names)
    model = MuVI(data, num_factors=m, loading_prior=NormalLoading(), standardize=False, factor_effects=factor_effects)
    rounds = GramRound(model)
    precision = torch.tensor([1.0, 2.0, 0.5, 4.0], dtype=torch.float64)
    beta, gamma = rounds.covariate_effects(W.expand(draws, m, G), precision.expand(draws, G))
    drawn = torch.cat([beta.flatten(1), gamma.flatten(1)], dim=1)
    # E = β + ΓW has the likelihood precision ZᵀZ ⊗ (WᵀW + Ψ)⁻¹
    inverse = torch.linalg.inv(W.T @ W + torch.diag(1 / precision)).contiguous()
    effect = torch.cat([torch.eye(v * G).double(), torch.kron(torch.eye(v).double(), W.T.contiguous())], dim=1)
    likelihood = effect.T @ torch.kron(rounds.zz.contiguous(), inverse) @ effect
    eta = effect.T @ (rounds.zd[:, :G] @ inverse).flatten()
    covariance = torch.linalg.inv(likelihood + torch.eye(v * G + v * m).double())
    mean = covariance @ eta
    if not factor_effects:
        keep = v * G
        covariance = torch.linalg.inv(likelihood[:keep, :keep] + torch.eye(keep).double())
        mean = covariance @ eta[:keep]
        assert bool((gamma == 0).all())
        drawn = drawn[:, :keep]
    sd = torch.diagonal(covariance).sqrt()
    z = (drawn.mean(0) - mean) / sd * math.sqrt(draws)
    assert z.abs().max() < 4.5
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (drawn - mean).T, upper=False)
    found = white @ white.T / draws - torch.eye(len(mean)).double()
    spread = math.sqrt(1 / draws) * (1 + torch.eye(len(mean)) * (math.sqrt(2) - 1))
    assert (found / spread).abs().max() < 4.8


@pytest.mark.parametrize(
    ("order", "A", "B"), [(5.0, 12.0, 3.0), (-6.0, 2.0, 30.0), (0.0, 4.0, 4.0), (0.5, 8.0, 0.1), (40.0, 90.0, 5.0)]
)
def test_move_scale_keeps_the_generalised_inverse_gaussian(order, A, B):
    """From an exact draw, one move ends at an exact draw; from elsewhere, many moves get there."""
    number = 20_000
    exact = stats.geninvgauss(order, math.sqrt(A * B), scale=math.sqrt(B / A))
    first = torch.from_numpy(exact.rvs(number, random_state=np.random.default_rng(0)))
    after = first * move_scale(order, A * first, B / first, moves=1)
    assert float((after == first).double().mean()) < 0.4, "moves are accepted"
    assert stats.kstest(after.numpy(), exact.cdf).pvalue > 1e-4
    far = move_scale(order, torch.full((number,), A).double(), torch.full((number,), B).double(), moves=40)
    levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    below = (far.numpy()[:, None] < exact.ppf(levels)).mean(0)
    np.testing.assert_array_less(np.abs(below - levels), 4.5 * np.sqrt(levels * (1 - levels) / number))


@pytest.mark.parametrize("dof", [0, 1, 2, 3, 4, 11])
def test_wishart_has_its_mean_and_variance(dof):
    chains, size = 20_000, 3
    B = wishart(float(dof), size, chains, torch.zeros((), dtype=torch.float64))
    S = B @ B.mT
    if dof == 0:
        assert bool((S == 0).all())
        return
    variance = dof * (1 + torch.eye(size)).double()
    z = (S.mean(0) - dof * torch.eye(size)) / (variance / chains).sqrt()
    assert z.abs().max() < 4.5
    # 4th moments: kurtosis of chi-squared with few degrees of freedom is 12 / dof
    ratio = S.var(0) / variance
    assert (ratio - 1).abs().max() < 4.5 * math.sqrt((2 + 12 / dof) / chains) * 1.3
    if dof < size:
        assert int(torch.linalg.matrix_rank(S[0])) == dof


# -- joint distribution (Geweke 2004) ----
# Chains of (parameters, Y), each begun at an exact draw from the joint distribution: a Gibbs round given Y, then Y
# anew given the parameters. If the round is right every state of every chain has the prior's distribution, and means
# over whole chains are independent: their spread is a standard error that knows of the autocorrelation.

GENES, FACTORS, CHAINS, STEPS = 4, 2, 120, 12


class ManyData(GramRound):
    """A round in which every chain has its own Y: blocks that read Y are done chain by chain, by the library."""

    def put(self, Y, Z):
        D = torch.cat([Y, Z.expand(len(Y), -1, -1)], dim=2)
        self.grams, self.roots = D.mT @ D, [None] * len(Y)
        self.square = torch.diagonal(self.grams, dim1=1, dim2=2)[:, :GENES]

    def _each(self, function):
        saved, found = self.gram, []
        for i, gram in enumerate(self.grams):
            self.gram, self.zd = gram, gram[GENES:]
            self._root = self.roots[i]
            found.append(function(i))
            self.roots[i] = self._root
        self.gram = saved
        return [torch.cat(parts) for parts in zip(*found, strict=True)]

    def factors(self, state, take):
        one = lambda i: GramRound.factors(self, of_chain(state, i), take)
        return Moments(*self._each(one))

    def covariate_effects(self, W, precision):
        one = lambda i: GramRound.covariate_effects(self, W[i : i + 1], precision[i : i + 1])
        return tuple(self._each(one))

    def regression(self, moments):
        cross, zz = self.grams[:, GENES:], self.zz.expand(len(self.grams), -1, -1)
        xz = moments.xd[..., GENES:]
        U = torch.cat([torch.cat([moments.xx, xz], dim=2), torch.cat([xz.mT, zz], dim=2)], dim=1)
        return U, torch.cat([moments.xd[..., :GENES], cross[..., :GENES]], dim=1)


def of_chain(state, i):
    prior = {name: value[i : i + 1] for name, value in state.prior.items()}
    loadings, precision, gamma = (v[i : i + 1] for v in (state.loadings, state.precision, state.gamma))
    return FactorState(loadings, None, None, precision, gamma, prior)


def half_cauchy(*shape):
    return (0.5 * math.pi * torch.rand(*shape, dtype=torch.float64)).tan() ** -2.0  # as a precision


def prior_scales(prior, number):
    """A state of the loading prior, drawn from the prior itself."""
    state = {}
    if prior.sources and getattr(prior, "has_trust", True):
        state["trust"] = TRUST_SCALE * torch.randn(number, len(prior.sources), dtype=torch.float64).abs()
    views = prior.num_views
    if isinstance(prior, HorseshoeLoading):
        state |= {
            "tau": half_cauchy(number, views),
            "delta": half_cauchy(number, FACTORS, views),
            "local_scale": half_cauchy(number, FACTORS, GENES),
        }
    elif isinstance(prior, SpikeSlabLoading):
        logit = LOGIT_MEAN + LOGIT_SD * torch.randn(number, FACTORS, dtype=torch.float64)
        boost = prior.boost(state) if state else 0.0
        present = torch.bernoulli(torch.sigmoid(logit[..., None] + boost + torch.zeros(GENES).double()))
        state |= {"delta": half_cauchy(number, FACTORS, views), "inclusion": present, "member_logit": logit}
    elif prior.learns_scale:
        state |= {"delta": half_cauchy(number, FACTORS, views)}
    return state


def from_prior(rounds, number):
    """States drawn from the prior; with a slab by rejection, as it multiplies the density of the scales by
    ∏ (1 + s²/c²)^-1/2."""
    model, prior, m = rounds.model, rounds.prior, FACTORS
    scales = prior_scales(prior, number)
    if isinstance(prior, HorseshoeLoading) and bool(prior.slab.isfinite()):
        kept = []
        while sum(len(k["tau"]) for k in kept) < number:
            some = prior_scales(prior, 400_000)
            whole, slab = prior.precision(some), prior.slab_precision()
            log_accept = 0.5 * (1 - slab / whole).clamp_min(1e-300).log().sum((1, 2))
            chosen = torch.rand(len(log_accept)).log() < log_accept
            kept.append({name: value[chosen] for name, value in some.items()})
        scales = {name: torch.cat([k[name] for k in kept])[:number] for name in kept[0]}
    normal = lambda *shape: torch.randn(number, *shape, dtype=torch.float64)
    W = normal(GENES, m) * prior.precision(scales).expand(number, m, GENES).mT.rsqrt()
    v = rounds.num_covariates
    gamma = normal(v, m) if model.factor_effects else torch.zeros(number, v, m).double()
    genes = 1 if model.isotropic else GENES
    gammas = dist.Gamma(torch.tensor(rounds.noise_shape).double(), torch.tensor(rounds.noise_rate).double())
    precision = gammas.sample((number, genes)).expand(number, GENES)
    return FactorState(torch.cat([W, normal(GENES, v)], dim=2), None, None, precision, gamma, scales)


def redraw(state, Z, dof):
    """Y given the parameters, factors integrated out."""
    m = FACTORS
    W, beta = state.loadings[..., :m].mT, state.loadings[..., m:].mT
    x = torch.randn(len(W), dof, m, dtype=torch.float64) + Z @ state.gamma
    noise = torch.randn(len(W), dof, GENES, dtype=torch.float64) * state.precision[:, None].rsqrt()
    return x @ W + Z @ beta + noise


def summaries(state, rounds):
    """``(chain, quantity)`` functions whose moments exist, heavy tails or not."""
    m = FACTORS
    W, beta = state.loadings[..., :m].mT, state.loadings[..., m:].mT
    bounded = lambda v: v / (1 + v)
    size = W.square().mean(2)
    found = {
        "W²": bounded(W.square()).mean((1, 2)),
        "W first": bounded(W[:, 0, 0].square()),
        "size": torch.arctan(size.log()).mean(1),
        "sizes": torch.tanh((size[:, 0] / size[:, 1]).log()).square(),
        "product": torch.tanh(W[:, 0] * W[:, 1]).square().mean(1),
        "noise": state.precision.log().mean(1),
        "noise²": state.precision.log().square().mean(1),
        "noise first": state.precision[:, 0].log(),
        "noise of W": torch.tanh(state.precision.log() * torch.arctan(size.log()).mean(1, keepdim=True)).mean(1),
    }
    if rounds.num_covariates:
        found["β²"] = beta.square().mean((1, 2))
        found["β of W"] = torch.tanh(beta[:, 0] * W[:, 0])[:, 0]
        found["β⁴"] = (beta**4).mean((1, 2))
    if rounds.model.factor_effects:
        found["γ²"] = state.gamma.square().mean((1, 2))
        found["γ⁴"] = (state.gamma**4).mean((1, 2))
        found["βγW"] = torch.tanh((state.gamma @ W) * beta).mean((1, 2))
    for name, value in state.prior.items():
        value = value.flatten(1)
        if name in ("tau", "delta", "local_scale"):
            found[name] = torch.arctan(value.log()).mean(1)
            found[f"{name}²"] = torch.arctan(value.log()).square().mean(1)
            if value.shape[1] > 1:
                found[f"{name} together"] = torch.arctan(value.log()).mean(1).square()
        else:
            found[name], found[f"{name}²"] = value.mean(1), value.mean(1).square()
    return found


def joint_distribution_test(prior, *, dof, num_covariates=1, factor_effects=True, kind=MuVI, sets=False, steps=STEPS):
    """z-score of each summary: chains of the round against the prior."""
    generator = torch.Generator().manual_seed(1)
    Z = torch.randn(dof, num_covariates, generator=generator, dtype=torch.float64)
    cells = torch.randn(20, GENES, generator=generator)
    names = tuple(f"z{i}" for i in range(num_covariates))
    covariates = torch.randn(20, num_covariates, generator=generator) if num_covariates else None
    data = ExpressionData(cells, tuple("ABCD"), covariates=covariates, covariate_names=names)
    options = {"num_factors": FACTORS}
    if sets:
        options |= {"num_factors": 1, "gene_sets": {"library": {"set": ["A", "B"]}}, "min_overlap": 1}
    model = kind(data, loading_prior=prior, factor_effects=factor_effects, **options)
    rounds = ManyData(model, torch.eye(GENES + num_covariates).double(), float(dof))
    rounds.zz = Z.T @ Z
    direct = summaries(from_prior(rounds, 100_000), rounds)
    state, take = from_prior(rounds, CHAINS), Take(draws=True)
    total = {name: 0.0 for name in direct}
    for _ in range(steps):
        rounds.put(redraw(state, Z, dof), Z)
        state = replace(rounds(state, take), bound=None)
        for name, value in summaries(state, rounds).items():
            total[name] = total[name] + value / steps
    z = {}
    for name, value in total.items():
        error = math.sqrt(float(value.var()) / CHAINS + float(direct[name].var()) / len(direct[name]))
        z[name] = float(value.mean() - direct[name].mean()) / error
    return z


def worst(z):
    return max(z.values(), key=abs)


LIMIT = 4.6  # 20 summaries of chains of 120 means: exceeded by chance once in 8,000 runs

JOINT = {  # prior, degrees of freedom of the data (columns: 4 genes and the covariates), covariates, Γ
    "normal, many cells": (lambda: NormalLoading(), {"dof": 9}),
    "normal, few cells": (lambda: NormalLoading(), {"dof": 3}),
    "normal, as many cells as columns": (lambda: NormalLoading(), {"dof": 5}),
    "normal, no effects on factors": (lambda: NormalLoading(), {"dof": 9, "factor_effects": False}),
    "normal, no covariates": (lambda: NormalLoading(), {"dof": 7, "num_covariates": 0}),
    "normal, two covariates, isotropic": (lambda: NormalLoading(), {"dof": 8, "num_covariates": 2, "kind": PPCA}),
    "normal, gene sets": (lambda: NormalLoading(), {"dof": 8, "sets": True}),
    "ard": (lambda: NormalLoading(scale=None), {"dof": 8}),
    "horseshoe, many cells": (lambda: HorseshoeLoading(slab=None), {"dof": 9}),
    "horseshoe, few cells": (lambda: HorseshoeLoading(slab=None), {"dof": 3, "factor_effects": False}),
    "horseshoe with slab": (lambda: HorseshoeLoading(), {"dof": 8}),
    "horseshoe, gene sets": (lambda: HorseshoeLoading(slab=None), {"dof": 8, "sets": True}),
    "spike-slab, many cells": (lambda: SpikeSlabLoading(), {"dof": 9}),
    "spike-slab, few cells": (lambda: SpikeSlabLoading(), {"dof": 3, "factor_effects": False}),
    "spike-slab, gene sets": (lambda: SpikeSlabLoading(), {"dof": 8, "sets": True}),
}


QUICK = [
    "normal, many cells",
    "normal, few cells",
    "normal, no effects on factors",
    "normal, two covariates, isotropic",
    "ard",
    "horseshoe, many cells",
    "horseshoe, gene sets",
    "spike-slab, few cells",
    "spike-slab, gene sets",
]


@pytest.mark.parametrize("case", QUICK)
def test_a_gibbs_round_keeps_the_joint_distribution(case):
    prior, options = JOINT[case]
    z = joint_distribution_test(prior(), **options, steps=8)
    assert abs(worst(z)) < LIMIT, {name: round(value, 1) for name, value in z.items()}


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in JOINT if case != "ard"])  # scales of 1e8 end in Cholesky's rounding
def test_a_gibbs_round_keeps_the_joint_distribution_over_long_chains(case):
    prior, options = JOINT[case]
    z = joint_distribution_test(prior(), **options, steps=120)
    assert abs(worst(z)) < LIMIT, {name: round(value, 1) for name, value in z.items()}


def test_the_joint_test_sees_a_wrong_order_of_the_group_move(monkeypatch):
    right = factor_sweep.move_scale
    monkeypatch.setattr(factor_sweep, "move_scale", lambda order, A, B: right(order + 1.0, A, B))
    assert abs(worst(joint_distribution_test(NormalLoading(), dof=9))) > 1.5 * LIMIT


def test_the_joint_test_sees_missing_wishart_noise(monkeypatch):
    none = lambda dof, size, chains, like: like.new_zeros(chains, size, size)
    monkeypatch.setattr(factor_sweep, "wishart", none)
    assert abs(worst(joint_distribution_test(NormalLoading(), dof=9))) > 2 * LIMIT


def test_the_joint_test_sees_a_scale_updated_with_a_wrong_count(monkeypatch):
    from pyrogrn.priors.loadings import horseshoe as loading_horseshoe

    right = loading_horseshoe.half_cauchy_update
    wrong = lambda precision, count, total, take: right(precision, count + 1.0, total, take)
    monkeypatch.setattr(loading_horseshoe, "half_cauchy_update", wrong)
    assert abs(worst(joint_distribution_test(HorseshoeLoading(slab=None), dof=9))) > 2 * LIMIT


def test_the_joint_test_sees_effects_without_their_prior(monkeypatch):
    monkeypatch.setattr(factor_sweep, "GAMMA_SCALE", 1.3)
    assert abs(worst(joint_distribution_test(NormalLoading(), dof=9))) > LIMIT
