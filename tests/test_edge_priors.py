"""Edge priors: what they claim against what they draw, MAP against closed forms, conditionals against dense algebra."""

import math

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyrogrn.inference import MapEstimate, NeverStop, fit
from pyrogrn.inference.variational.svi import Adam
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import (
    EdgeKnowledge,
    HardMask,
    Horseshoe,
    Hyper,
    Laplace,
    Normal,
    PriorNetwork,
    SpikeSlab,
)
from sklearn.linear_model import Lasso

pytestmark = pytest.mark.usefixtures("seeded")

TFS, TARGETS = ("T0", "T1"), ("T0", "G0", "G1")
LEARNED = Hyper(dist.HalfNormal, 1.0)  # hubs, which are off by default
DRAWS = 10_000


def network(rows, name):
    return PriorNetwork.from_edges(pd.DataFrame(rows, columns=["source", "target", "probability", "sign"]), name=name)


def knowledge():
    motif = network([("T0", "G0", 0.9, 1), ("T1", "G0", 0.8, -1), ("T1", "T0", 0.5, 0)], "motif")
    chip = network([("T0", "G0", 0.6, 0), ("T0", "G1", 0.7, 0)], "chip")
    return EdgeKnowledge.from_networks({"motif": motif, "chip": chip}, TFS, TARGETS)


def nothing():
    return EdgeKnowledge.from_networks(None, TFS, TARGETS)


def draw(prior, num_draws=1, **fixed):
    """Sites of ``num_draws`` prior draws ``(draw, *plates, *event)``, and the W that the model would use."""

    def model():
        tf, target = pyro.plate("tf", len(TFS), dim=-2), pyro.plate("target", len(TARGETS), dim=-1)
        with pyro.plate("draws", num_draws, dim=-3):
            return prior(tf, target)

    data = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in fixed.items()}
    trace = poutine.trace(poutine.condition(model, data)).get_trace()
    sites = {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and type(s["fn"]).__name__ != "_Subsample"}
    return sites, trace.nodes["_RETURN"]["value"]


def close(estimate, truth, error, sigmas=5):
    """Within five standard errors: one comparison fails by luck once in two million seeds."""
    assert abs(float(estimate) - truth) < sigmas * float(error), f"{float(estimate)} is not {truth} ± {float(error)}"


FAMILIES = [
    pytest.param(lambda: Normal(), id="normal"),
    pytest.param(lambda: Normal(scale=0.2), id="normal-fixed"),
    pytest.param(lambda: Laplace(), id="laplace"),
    pytest.param(lambda: Horseshoe(), id="horseshoe"),
    pytest.param(lambda: Horseshoe(tau=0.1, slab=1.0), id="horseshoe-fixed"),
    pytest.param(lambda: SpikeSlab(hub_scale=LEARNED), id="spike-slab"),
    pytest.param(lambda: SpikeSlab(strategy="scale"), id="spike-slab-scale"),
    pytest.param(lambda: SpikeSlab(hub_scale=Hyper(dist.HalfNormal, 1.0)), id="spike-slab-hubs"),
    pytest.param(
        lambda: SpikeSlab(edge_probability=0.1, hub_scale=0.0, slab_scale=0.3, spike_ratio=0.1),
        id="spike-slab-fixed",
    ),
    pytest.param(lambda: HardMask(), id="hard-mask"),
    pytest.param(lambda: HardMask(SpikeSlab()), id="hard-mask-spike-slab"),
]


# -- sites, shapes, binding ----


# HardMask is refused without prior networks: tested below
INFORMED = [(family, True) for family in FAMILIES] + [
    (family, False) for family in FAMILIES if not family.id.startswith("hard-mask")
]


@pytest.mark.parametrize(
    ("make", "informed"),
    [pytest.param(*f.values, with_sources, id=f"{f.id}-{with_sources}") for f, with_sources in INFORMED],
)
def test_sites_and_shapes_are_those_declared(make, informed):
    prior = make().bind(knowledge() if informed else nothing())
    sites, W = draw(prior, 7)
    assert set(sites) == set(prior.dims)
    sizes = {"tf": 2, "target": 3, "source": 2, "signed_source": 1}
    for name, dims in prior.dims.items():
        plates = tuple(sizes[d] if d in dims else 1 for d in ("tf", "target"))
        event = tuple(sizes[d] for d in dims if d.endswith("source"))
        expected = (7, *plates, *event)
        value = sites[name]["value"]
        assert value.expand(expected).shape == expected
        assert math.prod(value.shape) == math.prod(expected), f"{name} {tuple(value.shape)} is not {dims}"
    assert W.shape == (7, 2, 3)
    assert float(W[:, 0, 0].abs().max()) == 0, "self-edges do not exist"


def test_binding_leaves_the_description_as_it_was():
    prior = SpikeSlab(hub_scale=LEARNED)
    bound = prior.bind(knowledge())
    assert prior.sources == ()
    assert bound.sources == ("motif", "chip")
    assert bound.signed_sources == ("motif",)
    assert "trust" not in prior.dims
    assert set(bound.dims) - set(prior.dims) == {"trust", "sign_trust"}
    bound.double()
    assert prior.edge_logit.constants.dtype == torch.float32


def test_knowledge_is_laid_on_the_axes():
    found = knowledge()
    assert found.probability[:, 0, 1].tolist() == pytest.approx([0.9, 0.6])
    assert found.sign[0].tolist() == [[0, 1, 0], [0, -1, 0]]
    assert found.allowed.tolist() == [[False, True, True], [True, True, True]]
    assert found.listed.tolist() == [[False, True, True], [True, True, False]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpikeSlab(edge_probability=1.5), "strictly between 0 and 1"),
        (lambda: SpikeSlab(edge_probability=1), "strictly between 0 and 1"),
        (lambda: SpikeSlab(spike_ratio=1), "strictly between 0 and 1"),
        (lambda: SpikeSlab(strategy="mask"), "inclusion or scale, not by 'mask'"),
        (lambda: HardMask(HardMask()), "HardMask inside HardMask"),
        (lambda: HardMask().bind(nothing()), "at least one prior network"),
        (lambda: Normal(scale=math.nan), "finite"),
    ],
)
def test_bad_descriptions_are_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_hyperparameter_is_fixed_or_sampled():
    fixed, free = Hyper(0.3), Hyper(dist.LogNormal, -1.0, 0.5)
    assert fixed.is_fixed
    assert not free.is_fixed
    assert float(fixed("x")) == pytest.approx(0.3)
    value = torch.tensor([0.2, 1.0])
    assert torch.equal(fixed.log_prob(value), torch.zeros(2))
    torch.testing.assert_close(free.log_prob(value), dist.LogNormal(-1.0, 0.5).log_prob(value))


# -- claims against draws ----


def test_the_claimed_inclusion_is_that_of_the_draws():
    prior = SpikeSlab(edge_probability=0.1, hub_scale=0.0).bind(nothing())
    sites, _ = draw(prior, DRAWS)
    rate = sites["inclusion"]["value"].mean((1, 2))
    close(rate.mean(), 0.1, math.sqrt(0.09 / rate.numel() / 6))


def test_the_default_inclusion_is_as_documented():
    sites, _ = draw(SpikeSlab(hub_scale=0.0).bind(nothing()), DRAWS)
    rate = torch.sigmoid(sites["edge_logit"]["value"]).flatten()
    for level, value in ((0.025, 0.007), (0.5, 0.12), (0.975, 0.72)):
        share = (rate < value).double().mean()
        close(share, level, math.sqrt(level * (1 - level) / DRAWS), sigmas=7)  # the documented figures are rounded


@pytest.mark.parametrize("trust", [0.0, 1.5])
def test_trust_raises_the_inclusion_log_odds(trust):
    prior = SpikeSlab(edge_probability=0.2, hub_scale=0.0).bind(knowledge())
    sites, _ = draw(prior, DRAWS, trust=[trust, 2.0])
    rate = sites["inclusion"]["value"].mean(0)
    expected = torch.sigmoid(math.log(0.25) + trust * prior.probability[0] + 2.0 * prior.probability[1])
    for found, p in zip(rate.flatten().tolist(), expected.flatten().tolist(), strict=True):
        close(found, p, math.sqrt(p * (1 - p) / DRAWS))


@pytest.mark.parametrize("family", ["normal", "laplace", "horseshoe", "spike-slab"])
def test_trust_widens_the_scale_and_signs_shift_the_mean(family):
    prior = {
        "normal": Normal(scale=0.2),
        "laplace": Laplace(scale=0.2),
        "horseshoe": Horseshoe(tau=1.0, slab=0.2),
        "spike-slab": SpikeSlab(edge_probability=1 - 1e-7, hub_scale=0.0, slab_scale=0.2, strategy="scale"),
    }[family].bind(knowledge())
    fixed = {"local_scale": torch.full((2, 3), 1e9)} if family == "horseshoe" else {}  # λ → ∞: the slab's scale
    sites, _ = draw(prior, DRAWS, trust=[1.0, 2.0], sign_trust=[0.7], **fixed)
    scale = 0.2 * (0.5 * (1.0 * prior.probability[0] + 2.0 * prior.probability[1])).exp()
    W = sites["W"]["value"]
    spread = (math.sqrt(2) if family == "laplace" else 1.0) * scale
    kurtosis = 6.0 if family == "laplace" else 3.0
    for t, g in np.ndindex(2, 3):
        s = float(spread[t, g])
        close(W[:, t, g].mean(), 0.7 * float(prior.sign[0, t, g] * scale[t, g]), s / math.sqrt(DRAWS))
        close(W[:, t, g].var(), s**2, s**2 * math.sqrt((kurtosis - 1) / DRAWS))


def test_spike_and_slab_have_their_widths():
    prior = SpikeSlab(edge_probability=0.4, hub_scale=0.0, slab_scale=0.5, spike_ratio=0.1).bind(nothing())
    sites, _ = draw(prior, DRAWS)
    W, present = sites["W"]["value"], sites["inclusion"]["value"].bool()
    for width, values in ((0.5, W[present]), (0.05, W[~present])):
        close(values.var(), width**2, width**2 * math.sqrt(2 / len(values)))
    share = prior.inclusion({"W": W})[:, prior.allowed].mean()
    close(share, 0.4, math.sqrt(0.24 / DRAWS / 5))  # averaging P(γ | W) over W gives the prior back


def test_inclusion_given_a_weight_is_bayes_rule():
    prior = SpikeSlab(spike_ratio=0.1, hub_scale=LEARNED).bind(knowledge())
    sites, _ = draw(prior, 5)
    values = {name: site["value"] for name, site in sites.items()}
    found = prior.inclusion(values)
    slab, logit = values["slab_scale"], values["edge_logit"] + values["hub"]
    evidence = (values["trust"][:, 0, 0, :, None, None] * prior.probability).sum(1)
    m = values["sign_trust"][..., 0] * prior.sign[0]
    odds = torch.logit(torch.sigmoid(logit + evidence)).exp()
    one, zero = (
        dist.Normal(slab * m, slab).log_prob(values["W"]).exp(),
        dist.Normal(0.0, 0.1 * slab).log_prob(values["W"]).exp(),
    )
    expected = odds * one / (odds * one + zero) * prior.allowed
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=1e-6)


def test_horseshoe_scale_has_its_two_limits():
    prior = Horseshoe(tau=0.05, slab=0.7).bind(nothing())
    local = torch.tensor([[1e-4, 1e-2, 1.0], [1e6, 1e12, 1e30]])
    _, scale = prior.gaussian({"local_scale": local})
    torch.testing.assert_close(scale[0], 0.05 * local[0], rtol=3e-3, atol=0)
    torch.testing.assert_close(scale[1], torch.full((3,), 0.7))
    lam = torch.tensor([3.0])
    expected = 0.05 * math.sqrt(0.7**2 * 9 / (0.7**2 + 0.05**2 * 9))  # Piironen & Vehtari, eq. 2.8
    assert float(prior.gaussian({"local_scale": lam})[1]) == pytest.approx(expected)


@pytest.mark.parametrize("make", FAMILIES)
def test_gaussian_families_tell_the_density_they_sample_from(make):
    prior = make().bind(knowledge())
    sites, _ = draw(prior, 4)
    values = {name: site["value"] for name, site in sites.items()}
    if not prior.conditionally_gaussian:  # without the graph; given it, a spike and a slab are Gaussian too
        graph = values.pop("inclusion", None)
        with pytest.raises(ValueError, match="not Gaussian"):
            prior.gaussian(values)
        if graph is None:
            return
        values["inclusion"] = graph
    loc, scale = prior.gaussian(values)
    density = sites["W"]["fn"]
    torch.testing.assert_close(loc.expand(4, 2, 3), density.mean.expand(4, 2, 3))
    torch.testing.assert_close(scale.expand(4, 2, 3), density.stddev.expand(4, 2, 3))


def test_a_hard_mask_keeps_the_listed_edges_only():
    prior = HardMask(Laplace(scale=0.2)).bind(knowledge())
    _, W = draw(prior, 50)
    assert torch.equal((W != 0).any(0), knowledge().listed)
    assert "trust" not in prior.dims
    assert float(prior.inclusion({"W": torch.ones(2, 3)}, threshold=0.1).sum()) == int(knowledge().listed.sum())


# -- MAP against closed forms ----


@pytest.fixture(scope="module")
def regression():
    return simulate_linear(num_genes=6, num_tfs=4, num_cells=50, edge_probability=0.5, tf_correlation=0.6, seed=2).data


def sums(data):
    """Gram matrix and cross-products of standardised cells."""
    X = data.X.double().numpy()
    X = (X - X.mean(0)) / X.std(0, ddof=1)
    return X, X[:, :4].T @ X[:, :4], X[:, :4].T @ X


def test_the_map_of_normal_edges_is_ridge_regression(regression):
    model = LinearNetwork.from_data(regression, edge_prior=Normal(scale=0.3)).double()
    posterior = fit(model, guide=MapEstimate(), optimizer=Adam(lr=0.05, final=1e-3), stop=NeverStop(), restarts=2)
    X, gram, cross = sums(regression)
    for g in range(6):
        keep = [t for t in range(4) if t != g]
        noise = 0.5
        for _ in range(200):  # mode in σ² of InvGamma(2, ½) × likelihood, and in W given σ²
            w = np.linalg.solve(gram[np.ix_(keep, keep)] + noise / 0.09 * np.eye(len(keep)), cross[keep, g])
            noise = (0.5 + 0.5 * ((X[:, g] - X[:, keep] @ w) ** 2).sum()) / (0.5 * 49 + 3)
        np.testing.assert_allclose(posterior.draws["W"][0, 0, keep, g], w, atol=1e-4)
        np.testing.assert_allclose(posterior.draws["noise_variance"][0, 0, g], noise, rtol=1e-4)


def test_the_map_of_laplace_edges_is_the_lasso(regression):
    model = LinearNetwork.from_data(regression, edge_prior=Laplace(scale=0.02)).double()
    posterior = fit(model, guide=MapEstimate(), optimizer=Adam(lr=0.03, final=1e-3), stop=NeverStop(), restarts=1)
    X, _, _ = sums(regression)
    dropped = 0
    for g in range(6):
        keep = [t for t in range(4) if t != g]
        noise = float(posterior.draws["noise_variance"][0, 0, g])
        alpha = noise / (0.02 * 50)  # SSE / 2σ² + |w| / s, in Lasso's units
        lasso = Lasso(alpha=alpha, fit_intercept=False, tol=1e-10, max_iter=100_000, random_state=0).fit(
            X[:, keep], X[:, g]
        )
        w = posterior.draws["W"][0, 0, keep, g].astype(float)
        np.testing.assert_allclose(w, lasso.coef_, atol=2e-3)
        dropped += int((lasso.coef_ == 0).sum())
    assert dropped >= 3, "the penalty must bite for this to be a test of the LASSO"


# -- the Gaussian conditional ----


@pytest.mark.parametrize(
    ("family", "informed"),
    [("normal", False), ("horseshoe", False), ("normal", True), ("horseshoe", True), ("hard-mask", True)],
)
@pytest.mark.parametrize("clamped", [False, True])
def test_the_conditional_of_W_is_the_dense_gaussian(family, clamped, informed, regression):
    labels = ["control"] * 50
    if clamped:
        labels[:6] = ["G0005", "G0005", "G0002", "G0005", "G0002", "G0002+G0005"]
    data = regression.with_interventions(labels)
    rows = [
        ("G0000", "G0004", 0.9, 1),
        ("G0001", "G0005", 0.7, -1),
        ("G0003", "G0005", 0.7, 1),
        ("G0003", "G0002", 0.5, 0),
    ]
    networks = {"motif": network(rows, "motif")} if informed else None
    prior = {"normal": Normal(), "horseshoe": Horseshoe(), "hard-mask": HardMask(Normal())}[family]
    model = LinearNetwork(data.statistics(), edge_prior=prior, networks=networks).double()
    with pyro.plate("restart", 2, dim=-3):
        trace = poutine.trace(model).get_trace()
    values = {n: trace.nodes[n]["value"] for n in model.dims}
    block = model.conditional("W", values)
    loc, scale = (v.expand(2, 4, 6).numpy() for v in model.edge_prior.gaussian(values))
    X = data.X.double().numpy() / data.statistics().scale.numpy()
    free = np.ones((50, 6), dtype=bool)
    if clamped:
        free[tuple(data.perturbed.numpy().T)] = False
    allowed = model.edge_prior.allowed.numpy()
    for r in range(2):
        for g in range(6):
            rows = X[free[:, g]]
            rows = (rows - rows.mean(0)) * np.concatenate([allowed[:, g], [True, True]])  # edges that may not exist
            noise = float(values["noise_variance"][r, 0, g])
            y = X[free[:, g], g] - X[free[:, g], g].mean()
            precision = rows[:, :4].T @ rows[:, :4] / noise + np.diag(scale[r, :, g] ** -2.0)
            mean = np.linalg.solve(precision, rows[:, :4].T @ y / noise + loc[r, :, g] / scale[r, :, g] ** 2)
            factor = block.factor[r, g].numpy()
            np.testing.assert_allclose(factor @ factor.T, precision, rtol=1e-5, atol=1e-6 * np.abs(precision).max())
            np.testing.assert_allclose(block.mean[r, g], mean, rtol=1e-4, atol=1e-5)
