"""Factor models against dense algebra, scikit-learn and their own symmetries; bad input in one line."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyrogrn.inference.variational.elbo import log_joint
from pyrogrn.models import PPCA, ExpressionData, FactorStatistics, MuVI
from pyrogrn.models.factor import INTERCEPT_SCALE
from pyrogrn.models.simulators import simulate_muvi, simulate_ppca
from pyrogrn.priors import HorseshoeLoading, NormalLoading, SpikeSlabLoading
from scipy import stats
from sklearn.decomposition import PCA

pytestmark = pytest.mark.usefixtures("seeded")

GENES = ("A", "B", "C")


def cells(num_cells=7, num_covariates=2, num_contexts=2, seed=0, genes=GENES, **options):
    """A few cells in which nothing is centred."""
    rng = np.random.default_rng(seed)
    Z = torch.tensor(rng.normal(0.7, 1.0, (num_cells, num_covariates)), dtype=torch.float32)
    codes = torch.arange(num_cells) % num_contexts
    X = torch.tensor(rng.normal(2.0, 1.5, (num_cells, len(genes))), dtype=torch.float64)
    if num_covariates:
        options |= {"covariates": Z, "covariate_names": tuple(f"z{i}" for i in range(num_covariates))}
    if num_contexts > 1:
        options |= {"context": codes, "context_names": tuple(f"k{i}" for i in range(num_contexts))}
    return ExpressionData(X, genes, dtype=torch.float64, **options)


def draw(seed, m=2, v=2, genes=3):
    """W, β, γ, noise."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    beta, gamma = (normal(v, genes), normal(v, m)) if v else (None, None)
    return normal(m, genes), beta, gamma, 0.3 + torch.rand(genes, generator=generator, dtype=torch.float64)


def dense(data, W, beta, gamma, noise, intercept_scale):
    """log p(Y) as one multivariate normal over all cells × genes, intercepts integrated out."""
    n, G = data.num_cells, data.num_genes
    mean = np.zeros((n, G))
    if beta is not None:
        effect = beta if gamma is None else beta + gamma @ W
        mean = mean + data.covariates.double().numpy() @ effect.numpy()
    codes = np.zeros(n, dtype=int) if data.context is None else data.context.numpy()
    same = (codes[:, None] == codes).astype(float)
    within = (W.T @ W + torch.diag(noise)).numpy()
    covariance = np.kron(np.eye(n), within) + intercept_scale**2 * np.kron(same, np.eye(G))
    away = (data.X.double().numpy() - mean).ravel()
    sign, log_det = np.linalg.slogdet(covariance)
    assert sign > 0
    return -0.5 * (len(away) * math.log(2 * math.pi) + log_det + away @ np.linalg.solve(covariance, away))


def flat(data, *parameters):
    """The same with flat intercepts: sd s → ∞, and the prior's 1/(s √2π) taken out."""
    s = 2e3
    return dense(data, *parameters, s) + data.num_contexts * data.num_genes * math.log(s * math.sqrt(2 * math.pi))


# -- likelihood ----


@pytest.mark.parametrize("num_contexts", [1, 2])
@pytest.mark.parametrize("num_covariates", [0, 2])
@pytest.mark.parametrize("factor_effects", [True, False])
def test_the_marginal_likelihood_equals_a_dense_normal(num_contexts, num_covariates, factor_effects):
    data = cells(8, num_covariates, num_contexts)
    options = {"num_factors": 2, "standardize": False, "factor_effects": factor_effects}
    model = MuVI(data, **options).double()
    drawn = [draw(seed, v=num_covariates) for seed in range(3)]
    drawn = [(W, b, g if factor_effects else None, s) for W, b, g, s in drawn]
    expected = [flat(data, *one) for one in drawn]
    stacked = [None if part[0] is None else torch.stack(part) for part in zip(*drawn, strict=True)]
    W, beta, gamma, noise = stacked
    found = model.marginal_log_likelihood(W, beta, gamma, noise[:, None])
    assert found.shape == (3, 1, 1)
    np.testing.assert_allclose(found[:, 0, 0], expected, rtol=2e-6)
    deeper = model.marginal_log_likelihood(
        W[None].repeat(2, 1, 1, 1),
        None if beta is None else beta[None].repeat(2, 1, 1, 1),
        None if gamma is None else gamma[None].repeat(2, 1, 1, 1),
        noise[None, :, None].repeat(2, 1, 1, 1),
    )
    assert deeper.shape == (2, 3, 1, 1)
    np.testing.assert_allclose(deeper[1, :, 0, 0], expected, rtol=2e-6)
    one = model.marginal_log_likelihood(W[1], *(None if p is None else p[1] for p in (beta, gamma)), noise[1])
    assert float(one) == pytest.approx(expected[1], rel=2e-6)


def test_noise_of_one_variance_equals_a_dense_normal():
    data = cells(8, 1, 2)
    model = PPCA(data, num_factors=2).double()
    W, beta, gamma, _ = draw(0, v=1)
    expected = flat(data, W, beta, gamma, torch.full((3,), 0.6).double())
    found = model.marginal_log_likelihood(W, beta, gamma, torch.tensor(0.6).double())
    assert float(found) == pytest.approx(expected, rel=2e-6)
    particles = torch.tensor([0.6, 1.5]).double()[:, None, None]
    many = model.marginal_log_likelihood(*(p.expand(2, *p.shape) for p in (W, beta, gamma)), particles)
    assert many[:, 0, 0].tolist() == pytest.approx(
        [flat(data, W, beta, gamma, torch.full((3,), s).double()) for s in (0.6, 1.5)], rel=2e-6
    )


def test_one_context_has_one_degree_of_freedom_less():
    """(n − 1) cells without intercept, after a rotation: −½((n−1)(G log 2π + log|S|) + G log n + tr S⁻¹R)."""
    data = cells(9, 0, 1)
    W, _, _, noise = draw(1)
    S = (W.T @ W + torch.diag(noise)).numpy()
    Y = data.X.numpy() - data.X.numpy().mean(0)
    expected = -0.5 * (8 * (3 * math.log(2 * math.pi) + np.linalg.slogdet(S)[1]) + 3 * math.log(9))
    expected -= 0.5 * np.trace(np.linalg.solve(S, Y.T @ Y))
    model = MuVI(data, num_factors=2, standardize=False).double()
    assert float(model.marginal_log_likelihood(W, None, None, noise)) == pytest.approx(expected, rel=1e-6)


def test_statistics_do_as_well_as_cells():
    data = cells(8, 2, 2)
    W, beta, gamma, noise = draw(2)
    models = [MuVI(source, num_factors=2).double() for source in (data, FactorStatistics.from_data(data, chunk_size=3))]
    found = [float(model.marginal_log_likelihood(W, beta, gamma, noise)) for model in models]
    assert found[0] == pytest.approx(found[1], rel=1e-7)


@pytest.mark.parametrize(("kind", "num_contexts", "num_covariates"), [(MuVI, 2, 1), (MuVI, 1, 0), (PPCA, 1, 1)])
@pytest.mark.parametrize("missing", [False, True])
def test_factors_that_are_sampled_have_the_same_marginal(kind, num_contexts, num_covariates, missing):
    """p(Y, x, μ | θ) is Gaussian in (x, μ), so Laplace's integral over them is exact; against the dense normal."""
    data = cells(5, num_covariates, num_contexts)
    W, beta, gamma, noise = draw(3, m=1, v=num_covariates)
    if kind is PPCA:
        noise = noise[:1].expand(3)
    model = kind(data, num_factors=1, standardize=False, integrate=False, loading_prior=NormalLoading()).double()
    n, K = data.num_cells, data.num_contexts
    centre = model.mean.double()
    if missing and kind is MuVI:
        X = data.X.clone()
        X[1, 0] = X[3, 2] = math.nan
        gaps = cells(5, num_covariates, num_contexts, missing=True)
        gaps = ExpressionData(
            X, GENES, dtype=torch.float64, missing=True, context=gaps.context, context_names=gaps.context_names,
            covariates=gaps.covariates, covariate_names=gaps.covariate_names,
        )  # fmt: skip
        model = kind(gaps, num_factors=1, standardize=False, loading_prior=NormalLoading()).double()
        assert not model.integrated
        centre, data = model.mean.double(), gaps
    values = {"W": W[None], "noise_variance": noise[0].reshape(1, 1, 1) if kind is PPCA else noise[None, None]}
    if num_covariates:
        values |= {"beta": beta[None], "gamma": gamma[None, :, None]}

    def joint(u):
        x, mu = u[:n].reshape(1, n, 1, 1), u[n:].reshape(1, K, 3)
        return log_joint(model, values | {"x": x, "mu": mu}, None, 1)[0][0]

    zero = torch.zeros(n + K * 3, dtype=torch.float64)
    gradient = torch.autograd.functional.jacobian(joint, zero)
    hessian = -torch.autograd.functional.hessian(joint, zero)
    found = joint(zero) + 0.5 * gradient @ torch.linalg.solve(hessian, gradient)
    found = found + 0.5 * len(zero) * math.log(2 * math.pi) - 0.5 * torch.logdet(hessian)
    parameters = {n: v for n, v in values.items() if n not in ("x", "mu")}
    fixed = model.mean.new_zeros(())
    for name, value in parameters.items():  # their own densities
        site = poutine.trace(poutine.condition(model, data=parameters)).get_trace().nodes[name]
        fixed = fixed + site["fn"].log_prob(value.reshape(site["value"].shape)).sum()
    codes = torch.zeros(n, dtype=torch.long) if data.context is None else data.context
    Y = (data.X.double() - centre[codes, :3]).numpy()  # the model's own units: centred within groups
    Z = (data.covariates.double() - centre[codes, 3:]).numpy() if num_covariates else None
    mean = np.zeros((n, 3)) if Z is None else Z @ (beta + gamma @ W).numpy()
    same = (codes[:, None] == codes).double().numpy()
    covariance = np.kron(np.eye(n), (W.T @ W + torch.diag(noise)).numpy())
    covariance += INTERCEPT_SCALE**2 * np.kron(same, np.eye(3))
    away = (Y - mean).ravel()
    seen = ~np.isnan(away)
    expected = stats.multivariate_normal(cov=covariance[np.ix_(seen, seen)]).logpdf(away[seen])
    assert float(found - fixed) == pytest.approx(expected, rel=1e-6)


# -- closed form ----


def test_maximum_likelihood_equals_scikit_learn():
    simulation = simulate_ppca(num_genes=9, num_cells=60, num_factors=3, seed=1)
    X, n = simulation.data.X.double().numpy(), 60
    found = PPCA(simulation.data, num_factors=3).double().maximum_likelihood()
    other = PCA(3).fit(X)
    np.testing.assert_allclose(found.eigenvalues[:3] * n / (n - 1), other.explained_variance_, rtol=1e-5)
    assert found.noise_variance * n / (n - 1) == pytest.approx(other.noise_variance_, rel=1e-5)
    W = found.W.numpy()
    S = W.T @ W + found.noise_variance * np.eye(9)
    np.testing.assert_allclose(S * n / (n - 1), other.get_covariance(), atol=1e-4)
    score = stats.multivariate_normal(X.mean(0), S).logpdf(X).sum()
    assert found.log_likelihood == pytest.approx(score, rel=1e-6)
    assert found.log_likelihood > other.score_samples(X).sum()  # by n − 1 it is not quite the maximum
    cosine = np.abs((W / np.linalg.norm(W, axis=1, keepdims=True) * other.components_).sum(1))
    np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_maximum_likelihood_needs_complete_data():
    X = simulate_ppca(num_genes=5, num_cells=20, num_factors=1, seed=0).data.X.clone()
    X[0, 0] = math.nan
    model = PPCA(ExpressionData(X, tuple("ABCDE"), missing=True), num_factors=1)
    refused("needs complete data", model.maximum_likelihood)


# -- symmetries ----

PRIORS = [NormalLoading, HorseshoeLoading, SpikeSlabLoading]
SETS = {"library": {"one": ["A", "B", "C"], "two": ["D", "E"]}}


def values_of(model):
    """Continuous sites at a draw from the prior, with one draw left of all plates."""
    with pyro.plate("draws", 1, dim=-(model.max_plate_nesting + 1)):
        nodes = poutine.trace(model).get_trace().nodes
    return {n: nodes[n]["value"] for n in model.dims if n != "inclusion"}


@pytest.mark.parametrize("prior", PRIORS)
def test_units_of_genes_do_not_matter_to_muvi(prior):
    data = cells(20, 1, 2, genes=tuple("ABCDEF"))
    unit = torch.tensor([10.0, 1.0, 0.1, 3.0, 1.0, 100.0], dtype=torch.float64)
    other = cells(20, 1, 2, genes=tuple("ABCDEF"))
    other = ExpressionData(
        other.X * unit - 50, other.genes, dtype=torch.float64, context=other.context,
        context_names=other.context_names, covariates=other.covariates, covariate_names=other.covariate_names,
    )  # fmt: skip
    options = {"gene_sets": SETS, "min_overlap": 2, "num_factors": 1}
    one, two = (MuVI(d, loading_prior=prior(), **options).double() for d in (data, other))
    values = values_of(one)
    a, b = (float(log_joint(model, values, None, 1)[0]) for model in (one, two))
    assert a == pytest.approx(b, rel=1e-5)
    raw = MuVI(other, loading_prior=prior(), standardize=False, **options).double()
    assert float(log_joint(raw, values, None, 1)[0]) != pytest.approx(a, rel=1e-2)


@pytest.mark.parametrize("prior", PRIORS)
def test_permuting_genes_permutes(prior):
    data = cells(20, 1, 2, genes=tuple("ABCDEF"))
    order = [4, 2, 0, 5, 1, 3]
    turned = data.select_genes([data.genes[i] for i in order])
    options = {"gene_sets": SETS, "min_overlap": 2, "num_factors": 1}
    one, two = (MuVI(d, loading_prior=prior(), **options).double() for d in (data, turned))
    assert one.factors == two.factors == ("one", "two", "factor_1")
    values = values_of(one)
    moved = {n: v[..., order] if one.dims[n][-1:] == ("gene",) else v for n, v in values.items()}
    a, b = float(log_joint(one, values, None, 1)[0]), float(log_joint(two, moved, None, 1)[0])
    assert a == pytest.approx(b, rel=1e-6)


def test_permuting_cells_changes_nothing():
    data = cells(12, 1, 2)
    turned = data.subset(np.random.default_rng(0).permutation(12))
    one, two = (MuVI(d, num_factors=1).double() for d in (data, turned))
    torch.testing.assert_close(one.gram, two.gram, rtol=1e-6, atol=1e-6)


def test_labelled_factors_come_first_and_small_sets_are_left_out():
    data = cells(20, genes=tuple("ABCDEF"))
    model = MuVI(data, gene_sets=SETS, min_overlap=3, num_factors=2)
    assert model.factors == ("one", "factor_1", "factor_2")
    assert model.labelled == (True, False, False)
    confidence = model.knowledge.probability[0]
    assert (confidence[0] > 0).tolist() == [True, True, True, False, False, False]
    assert not bool((confidence[1:] > 0).any())


# -- refusals ----


def refused(match, function, *arguments, **options):
    with pytest.raises(ValueError, match=match) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_bad_options_are_refused():
    data = cells(20, genes=tuple("ABCDEF"))
    elsewhere = {"hallmark": {"MYC": ["SOX2", "NANOG", "KLF4"]}}
    refused("gene sets 'hallmark': none of 1 sets has 5 of the 6 measured genes", MuVI, data, gene_sets=elsewhere)
    refused("7 factors for 20 cells x 6 genes: expected fewer than 6", MuVI, data, num_factors=7)
    refused("expected fewer than 2", MuVI, cells(4, 0, 2, genes=tuple("ABCDEF")), num_factors=2)
    refused("num_factors is 0", PPCA, data, num_factors=0)
    refused("num_factors is 0 beside 0 gene sets", MuVI, data, num_factors=0)
    refused(r"\['poisson'\] is neither", MuVI, data, likelihood="poisson", num_factors=1)
    refused("nor one of the views", MuVI, data, likelihood={"proteins": "gaussian"}, num_factors=1)
    twice = {"a": {"S": list("ABC")}, "b": {"factor_1": list("ABC")}}
    refused("occur twice", MuVI, data, gene_sets=twice, num_factors=1, min_overlap=2)


def test_bad_values_are_refused():
    data = cells(20, genes=tuple("ABCDEF"))
    refused(
        "the negative-binomial likelihood expects counts, and .*'A'", MuVI, data,
        likelihood="negative-binomial", num_factors=1,
    )  # fmt: skip
    refused("the bernoulli likelihood expects 0 or 1", MuVI, data, likelihood="bernoulli", num_factors=1)
    X = data.X.clone()
    X[:, 2] = 3.0
    refused(r"1 genes do not vary within any group: \['C'\]", MuVI, ExpressionData(X, data.genes), num_factors=1)
    X[:, 2] = math.nan
    refused(r"\['C'\]", MuVI, ExpressionData(X, data.genes, missing=True), num_factors=1)
    Z = torch.ones(20, 1)
    constant = ExpressionData(data.X, data.genes, covariates=Z, covariate_names=("dose",))
    refused(r"covariates \['dose'\] are constant within every group", MuVI, constant, num_factors=1)
    groups = torch.arange(20) % 2
    aliased = ExpressionData(
        data.X, data.genes, covariates=groups[:, None].float(), covariate_names=("batch",), context=groups,
        context_names=("k0", "k1"),
    )  # fmt: skip
    refused(r"covariates \['batch'\] are constant within every group", PPCA, aliased, num_factors=1)


def test_constant_covariates_are_refused_with_missing_values():
    data = cells(20, genes=tuple("ABCDEF"))
    X = data.X.clone()
    X[0, 0] = math.nan
    gaps = ExpressionData(X, data.genes, covariates=torch.ones(20, 1), covariate_names=("dose",), missing=True)
    refused("'dose'", MuVI, gaps, num_factors=1)


def test_options_of_priors_are_refused():
    refused("`scale` is -1", NormalLoading, scale=-1)
    refused("`slab` is 0", HorseshoeLoading, slab=0)
    refused("the slab strategy needs a slab", HorseshoeLoading, slab=None, strategy="slab")
    refused("`spike_ratio` is 1", SpikeSlabLoading, spike_ratio=1)


def test_statistics_are_of_complete_gaussian_data():
    simulation = simulate_muvi(num_genes=20, num_cells=30, num_sets=2, set_size=5, missing=0.1)
    refused("need complete data", FactorStatistics.from_data, simulation.data)
    whole = FactorStatistics.from_data(cells(10))
    refused("statistics hold no cells", MuVI, whole, num_factors=1, integrate=False)
