"""Guides as Pyro has them: ours under `pyro.infer.SVI`, and any guide of Pyro in `fit`."""

import math
import re
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoGaussian,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
)
from pyro.nn import PyroModule, PyroParam
from pyrogrn import report, score_edges
from pyrogrn.experiments.commands.options import make_guide
from pyrogrn.experiments.methods import priors_of, trusted
from pyrogrn.inference import (
    Adam,
    Blocked,
    Checkpoint,
    LowRank,
    MapEstimate,
    MeanField,
    NeverStop,
    Posterior,
    fit,
    load_checkpoint,
    posterior_from,
    restarted,
)
from pyrogrn.inference.choice import DENSITY, applies, check_pair, engine_for, row_of
from pyrogrn.inference.neural_ode.surviving import SurvivingWeights
from pyrogrn.inference.variational.elbo import elbo
from pyrogrn.inference.variational.pyro_sites import ColumnNormal
from pyrogrn.models import MODELS, LinearNetwork, MuVI, Phoenix
from pyrogrn.models.dynamics.phoenix_network import PhoenixNetwork
from pyrogrn.models.simulators import simulate_courses, simulate_linear, simulate_muvi
from pyrogrn.priors import Horseshoe, Normal, SpikeSlab
from test_conformance import CASES, HOW
from test_elbo_guides import model_of, regression

pytestmark = pytest.mark.usefixtures("seeded")

FAMILIES = (MeanField(), LowRank(rank=2), Blocked(), MapEstimate())
of_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)


@pytest.fixture(autouse=True)
def own_store(seeded):
    """A parameter store of its own, and validation as a user has it who looks for mistakes."""
    with pyro.get_param_store().scope(), pyro.validation_enabled(True):
        yield


def objective(model, nesting=None):
    """The one that sums discrete sites out, where there are any."""
    nodes = poutine.trace(getattr(model, "model", model)).get_trace().nodes.values()
    latent = [s["fn"] for s in nodes if s["type"] == "sample" and not s["is_observed"]]
    discrete = any(fn.has_enumerate_support for fn in latent if type(fn).__name__ != "_Subsample")
    return TraceEnum_ELBO(max_plate_nesting=model.max_plate_nesting) if discrete else Trace_ELBO()


def steps(model, guide, count, *args, loss=None, lr=0.02):
    """ELBO by step, by Pyro alone."""
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": lr}), loss if loss is not None else objective(model))
    return -np.array([svi.step(*args) for _ in range(count)])


def small():
    network = {"num_genes": 7, "num_tfs": 3, "edge_probability": 0.4, "tf_correlation": 0.5}
    program = {"num_genes": 10, "num_cells": 40, "num_sets": 2, "set_size": 4, "num_covariates": 2, "num_groups": 2}
    return {
        "tiny": simulate_linear(**network, num_cells=60, seed=3),
        "rich": simulate_linear(
            **network, num_cells=80, num_contexts=2, num_perturbed=2, cells_per_perturbation=7, seed=4
        ),
        "programs": simulate_muvi(**program, correlation=0.4, seed=5),
    }


# -- ours under SVI ----


def once_a_model(cases):
    """The first prior of each model in `make test`, the others with the slow tests."""
    seen = set()
    for case in cases:
        first = case.values[0] not in seen
        seen.add(case.values[0])
        yield case if first else pytest.param(*case.values, id=case.id, marks=pytest.mark.slow)


@pytest.mark.parametrize(("model_class", "prior"), list(once_a_model(CASES)))
def test_every_guide_of_every_model_is_a_pyro_guide(model_class, prior):
    """Sites with the model's shapes, parameters in the store that move, a finite bound: of one restart and of two."""
    for place, model in enumerate(HOW[model_class].shapes(model_class, prior, small())):
        for family in FAMILIES if place < 2 else FAMILIES[:1]:
            number = 1 + place % 2
            try:
                guide = family(model, num_restarts=number)
            except ValueError:
                if family.name != "blocked":  # which says what else to take (test_elbo_guides.py)
                    raise
                continue
            with pyro.get_param_store().scope():
                before = [p.detach().clone() for p in guide.parameters()]
                bound = steps(restarted(model, number), guide, 2)
                assert np.isfinite(bound).all()
                stored = list(pyro.get_param_store().named_parameters())
                assert {name for name, _ in stored} == {f"{family.name}$$${n}" for n, _ in guide.named_parameters()}
                after = list(guide.parameters())
                assert all(any(p is own for own in after) for _, p in stored), "the store trains the guide itself"
                assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
                nodes, own = poutine.trace(guide).get_trace().nodes, poutine.trace(model).get_trace().nodes
                for site in guide.sites:
                    shape = tuple(own[site.name]["value"].shape)
                    assert tuple(nodes[site.name]["value"].shape)[-len(shape) or None :] == shape or number > 1
                    assert nodes[site.name]["value"].numel() == number * math.prod(shape)
                    frames = {f.name for f in nodes[site.name]["cond_indep_stack"]} - {"restart"}
                    assert frames == {f.name for f in own[site.name]["cond_indep_stack"]}


@of_family
@pytest.mark.parametrize(
    "prior",
    [Normal(), pytest.param(Horseshoe(), marks=pytest.mark.slow), SpikeSlab()],
    ids=lambda p: type(p).__name__,
)
def test_the_elbo_rises(family, prior, tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=prior)
    if family.name == "blocked" and not prior.conditionally_gaussian:
        with pytest.raises(ValueError, match="use MeanField or LowRank"):
            family(model)
        return
    bound = steps(model, family(model), 30, lr=0.04)
    assert bound[-5:].mean() > bound[:5].mean() + 5


@of_family
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("prior", [Normal(), SpikeSlab()], ids=lambda p: type(p).__name__)
def test_the_density_of_a_trace_is_that_of_a_draw(family, number, prior, tiny_data):
    """For the same values (low-rank, whose noise is one vector in both: for the same seed)."""
    model = LinearNetwork.from_data(tiny_data, edge_prior=prior).double()
    if family.name == "blocked" and not prior.conditionally_gaussian:
        return
    guide = family(model, num_restarts=number)
    torch.manual_seed(1)
    values, log_q = guide.draw()
    if family.name == "low-rank":
        torch.manual_seed(1)
        trace = poutine.trace(guide).get_trace()
    else:
        own = {
            s.name: values[s.name].reshape(s.own_shape if number == 1 else values[s.name].shape) for s in guide.sites
        }
        trace = poutine.trace(poutine.condition(guide, own)).get_trace()
    for site in guide.sites:
        torch.testing.assert_close(trace.nodes[site.name]["value"].reshape(values[site.name].shape), values[site.name])
    torch.testing.assert_close(trace.log_prob_sum(), log_q.sum(), rtol=1e-10, atol=1e-9)


@of_family
def test_pyros_elbo_is_ours(family, tiny_data):
    """Both are one-sample estimates: equal in the mean of many, with standard errors."""
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    guide = family(model)
    steps(model, guide, 30)
    with torch.no_grad():
        ours = np.array([float(elbo(model, guide, None, 1)) for _ in range(60)])
        theirs = -np.array([Trace_ELBO().loss(model, guide) for _ in range(60)])
    error = math.hypot(ours.std(), theirs.std()) / math.sqrt(60)
    assert abs(ours.mean() - theirs.mean()) < 4.5 * error + 1e-3  # a point estimate has no noise


@of_family
@pytest.mark.filterwarnings("ignore:TraceEnum_ELBO found no sample sites")
@pytest.mark.parametrize("loss", [Trace_ELBO, TraceGraph_ELBO, TraceEnum_ELBO])
def test_objectives_of_pyro(family, loss, tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Horseshoe())
    options = {"max_plate_nesting": 2} if loss is TraceEnum_ELBO else {}
    assert np.isfinite(steps(model, family(model), 3, loss=loss(**options))).all()
    particles = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=2)
    with pyro.get_param_store().scope():
        assert np.isfinite(steps(model, family(model), 3, loss=particles)).all()


def test_minibatches(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    batches = list(tiny_data.minibatches(20, torch.Generator().manual_seed(0)))
    guide = MeanField()(model, batches[0])
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.04}), Trace_ELBO())
    bound = -np.array([svi.step(batches[i % 3]) for i in range(45)])
    assert bound[-10:].mean() > bound[:10].mean() + 5
    assert "intercept" in {site.name for site in guide.sites}


def test_blocked_by_hand_has_the_exact_means(exact):
    """The weights are exact given the noise, whose own density stays approximate: 2% of an sd are left for it."""
    data, X = regression(0.9)
    model = model_of(data, Normal(scale=0.3))
    guide = Blocked()(model)
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.985}), Trace_ELBO())
    losses = [svi.step() for _ in range(200)]
    posterior = posterior_from(model, guide, num_draws=1000, losses=losses)
    assert isinstance(posterior, Posterior)
    assert posterior.guide == "blocked"
    assert not posterior.calibrated
    assert posterior.history.elbo.shape == (1, 200)
    for g in range(2):
        _, average, covariance = exact(X[:, :2], X[:, 2 + g], np.zeros(2), np.full(2, 0.09))
        true = np.sqrt(np.diag(covariance))
        gap = np.abs(posterior.moments["W"].mean[:, g] - average)
        assert (gap < true * (0.02 + 4.5 / math.sqrt(1000))).all()


def test_columns_have_the_density_of_a_multivariate_normal():
    factor = torch.linalg.cholesky(torch.eye(3, dtype=torch.float64) + torch.ones(2, 3, 3, dtype=torch.float64))
    mean = torch.randn(4, 2, 3, dtype=torch.float64)
    columns = ColumnNormal(mean, factor)
    assert columns.batch_shape == (4, 3, 2)
    value = columns.rsample()
    whole = torch.distributions.MultivariateNormal(mean, precision_matrix=factor @ factor.mT)
    torch.testing.assert_close(columns.log_prob(value).sum(-2), whole.log_prob(value.mT))
    torch.testing.assert_close(columns.variance.mT, whole.variance)
    wide = columns.expand((5, 4, 3, 2))
    torch.testing.assert_close(wide.log_prob(value), columns.log_prob(value).expand(5, 4, 3, 2))
    draws = columns.rsample((4000,))
    away = (draws.mean(0) - columns.mean) / columns.variance.sqrt() * math.sqrt(4000)
    assert float(away.abs().max()) < 4.5  # 24 means


def test_two_guides_in_one_store_are_not_mixed_up(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal())
    steps(model, MeanField()(model), 2)
    second = MeanField()(model)
    with pytest.raises(ValueError, match=r"another guide.*scope\(\)"):
        steps(model, second, 2)
    pyro.module("mean-field", second, update_module_params=True)  # what the message says
    steps(model, second, 2)


def test_predictive(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal())
    guide = MeanField()(model)
    steps(model, guide, 5)
    for parallel in (False, True):
        drawn = Predictive(guide, num_samples=6, parallel=parallel)()
        assert drawn["W"].reshape(6, 3, 7).shape == (6, 3, 7)
        assert drawn["noise_variance"].numel() == 6 * 7


def test_restarts_of_draws_are_chains(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal())
    guide = MeanField()(model, num_restarts=3)
    steps(restarted(model, 3), guide, 20)
    posterior = posterior_from(model, guide, num_draws=30)
    assert posterior.draws["W"].shape == (3, 30, 3, 7)
    assert posterior.edges()["inclusion"].between(0, 1).all()
    with pytest.raises(ValueError, match="at least 1"):
        restarted(model, 0)
    with pytest.raises(ValueError, match="made for the model and trained"):
        posterior_from(model, MeanField)


# -- guides of Pyro in fit ----

QUICK = {"num_steps": 12, "num_draws": 10, "restarts": 2}


@pytest.mark.parametrize("prior", [Normal(), SpikeSlab()], ids=lambda p: type(p).__name__)
def test_fit_takes_automatic_guides(prior, tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=prior)
    hidden = poutine.block(model, hide=["inclusion"])
    parts = AutoGuideList(hidden)
    parts.append(AutoMultivariateNormal(poutine.block(model, expose=["W"])))
    parts.append(AutoNormal(poutine.block(model, hide=["W", "inclusion"])))
    guides = (AutoNormal, partial(AutoLowRankMultivariateNormal, rank=2), AutoNormal(hidden), parts, MeanField()(model))
    for guide in guides:
        posterior = fit(model, guide=guide, **QUICK | {"num_draws": 30})
        assert posterior.draws["W"].shape == (2, 30, 3, 7)
        assert posterior.history.elbo.shape == (2, 12)
        assert np.isfinite(posterior.history.elbo).all()
        assert posterior.guide == "pyro"
        assert not posterior.calibrated
        assert posterior.attributes["lq"].shape == (2, 30)
        assert not np.array_equal(posterior.draws["W"][0], posterior.draws["W"][1]), "restarts have seeds of their own"
        assert posterior.edges()["inclusion"].between(0, 1).all()
    table = posterior.diagnose().set_index("check")
    assert math.isfinite(table.loc["importance weights (k-hat)", "value"])
    assert list(pyro.get_param_store().keys()) == []
    again = fit(model, guide=AutoNormal, **QUICK)
    np.testing.assert_array_equal(again.draws["W"], fit(model, guide=AutoNormal(hidden), **QUICK).draws["W"])


@pytest.mark.parametrize("guide", [AutoGaussian, AutoNormalMessenger], ids=lambda g: g.__name__)
def test_automatic_guides_that_read_plates_or_handle_effects(guide, tiny_data):
    """Of a class and of an instance, with restarts of their own; the bound rises."""
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal())
    for source in (guide, guide(model)):
        posterior = fit(model, guide=source, **QUICK | {"num_steps": 30})
        bound = posterior.history.elbo
        assert (bound[:, -5:].mean(1) > bound[:, :5].mean(1) + 5).all()
        assert not np.array_equal(posterior.draws["W"][0], posterior.draws["W"][1])
    spiked = LinearNetwork.from_data(tiny_data)
    if guide is AutoGaussian:
        assert np.isfinite(fit(spiked, guide=guide, **QUICK).history.elbo).all()
    else:
        with pytest.raises(ValueError, match="an effect handler, under which Pyro sums out no discrete site"):
            fit(spiked, guide=guide, **QUICK)
        with pytest.raises(ValueError, match="made for another LinearNetwork"):
            fit(model, guide=guide(spiked), **QUICK)


OPTIMIZERS = {
    "clipped": lambda: pyro.optim.ClippedAdam({"lr": 0.03, "lrd": 0.9}),
    "falling": lambda: pyro.optim.ExponentialLR(
        {"optimizer": torch.optim.SGD, "optim_args": {"lr": 1e-4}, "gamma": 0.9}
    ),
    "plateau": lambda: pyro.optim.ReduceLROnPlateau(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.03}, "patience": 2}
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fit_takes_an_optimiser_of_pyro(name, tiny_data, tmp_path):
    """Each restart has one of its own, what it learned goes into a checkpoint, and one that was used starts anew."""
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    optimizer = OPTIMIZERS[name]()
    whole = fit(model, guide=AutoNormal, optimizer=optimizer, **QUICK)
    assert not optimizer.optim_objs
    assert whole.history.elbo[:, -1].mean() > whole.history.elbo[:, 0].mean()
    if name == "falling":
        np.testing.assert_allclose(whole.history.rate, 1e-4 * 0.9 ** np.arange(12))

    class Stop:
        def __call__(self, state):
            if state.step == 7:
                raise KeyboardInterrupt

        def close(self):
            pass

    path = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(model, guide=AutoNormal, optimizer=optimizer, callbacks=[Checkpoint(path), Stop()], **QUICK)
    again = fit(model, guide=AutoNormal, optimizer=OPTIMIZERS[name](), resume=load_checkpoint(path), **QUICK)
    np.testing.assert_array_equal(again.history.elbo, whole.history.elbo)
    np.testing.assert_array_equal(again.history.rate, whole.history.rate)
    with pytest.raises(ValueError, match="belongs to another fit"):
        fit(model, guide=AutoNormal, resume=load_checkpoint(path), **QUICK)


def test_optimisers_that_do_not_fit_are_refused(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    with pytest.raises(ValueError, match="goes with guides that Pyro's SVI fits, MeanField has a loop of its own"):
        fit(model, guide=MeanField(), optimizer=pyro.optim.Adam({"lr": 0.01}), **QUICK)
    with pytest.raises(ValueError, match="expected Adam"):
        fit(model, guide=AutoNormal, optimizer="adam", **QUICK)
    own = fit(model, guide=MeanField()(model), optimizer=pyro.optim.Adam({"lr": 0.03}), **QUICK)  # what it says
    assert own.history.elbo.shape == (2, 12)


def course_model():
    data = simulate_courses(num_genes=4, num_trajectories=5, noise=0.02, seed=3).data
    return Phoenix.from_data(data, edge_prior=Normal(), hidden=2)


def surviving(model):
    return SurvivingWeights(model, PhoenixNetwork(model.genes, hidden=2, seed=0).masked(), 0.01)


@pytest.mark.parametrize(
    "make",
    [lambda m: AutoNormal(m, init_scale=0.01), MeanField(), LowRank(rank=2), MapEstimate(), surviving],
    ids=["AutoNormal", "mean-field", "low-rank", "map", "surviving"],
)
def test_phoenix_by_svi_by_hand(make):
    """The bound rises, every parameter moves, and the effects are drawn by Predictive, as the docstring says."""
    model = course_model()
    guide = make(model)
    first = steps(model, guide, 1)
    before = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    bound = np.append(first, steps(model, guide, 40))
    assert before
    assert all(not torch.equal(value, pyro.param(name)) for name, value in before.items())
    assert bound[-10:].mean() > bound[:10].mean() + 1
    W = Predictive(model, guide=guide, num_samples=4, return_sites=["W"])()["W"]
    assert W.shape[-2:] == (4, 4)
    assert torch.isfinite(W).all()
    with pytest.raises(ValueError, match="W of Phoenix follows from sites that a posterior does not keep"):
        posterior_from(model, guide)


@pytest.mark.parametrize(
    ("guide", "num_steps", "spread"),
    [
        # the numbers of a Cholesky factor settle later than a scale each
        pytest.param(AutoMultivariateNormal, 800, False, marks=pytest.mark.slow),
        pytest.param(AutoNormal, 400, False, marks=pytest.mark.slow),
        (AutoLaplaceApproximation, 250, True),
    ],
)
def test_automatic_guides_have_the_exact_means(guide, num_steps, spread, exact):
    """Means of regulators correlated 0.5 within a quarter of an sd, as `MeanField` has them at 0.9 after many more
    steps; the curvature at the mode has their spread too."""
    data, X = regression(0.5, num_cells=200)
    model = model_of(data, Normal(scale=1.0))
    options = {
        "num_steps": num_steps,
        "num_draws": 500,
        "restarts": 1,
        "stop": NeverStop(),
        "optimizer": Adam(lr=0.05, final=1e-3),
    }
    posterior = fit(model, guide=guide, **options)
    for g in range(2):
        _, average, covariance = exact(X[:, :2], X[:, 2 + g], np.zeros(2), np.ones(2))
        true = np.sqrt(np.diag(covariance))
        assert np.abs(posterior.moments["W"].mean[:, g] - average).max() < 0.25 * true.min()
        if spread:
            np.testing.assert_allclose(posterior.moments["W"].sd[:, g], true, rtol=0.15)


def guide_of(model, scale=True):
    """Independent normals and log-normals, as a user writes them."""
    num_tfs, num_targets = len(model.coords["tf"]), len(model.coords["target"])

    def guide(batch=None):
        with pyro.plate("target", num_targets, dim=-1):
            level = pyro.param("level", torch.zeros(num_targets))
            pyro.sample("noise_variance", dist.LogNormal(level, 0.2))
            with pyro.plate("tf", num_tfs, dim=-2):
                place = pyro.param("place", torch.zeros(num_tfs, num_targets))
                width = pyro.param("width", 0.1 * torch.ones(num_tfs, num_targets), dist.constraints.positive)
                pyro.sample("W", dist.Normal(place, width))

    return guide


def test_fit_takes_a_function_and_a_module(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    reference = fit(model, guide=MeanField(), num_steps=400, num_draws=200, restarts=1)

    class Module(PyroModule):
        def __init__(self):
            super().__init__()
            self.place = PyroParam(torch.zeros(3, 7))
            self.level = PyroParam(torch.zeros(7))

        def forward(self, batch=None):
            with pyro.plate("target", 7, dim=-1):
                pyro.sample("noise_variance", dist.LogNormal(self.level, 0.2))
                with pyro.plate("tf", 3, dim=-2):
                    pyro.sample("W", dist.Normal(self.place, 0.1))

    for guide in (guide_of(model), Module()):
        posterior = fit(model, guide=guide, num_steps=120, num_draws=100, restarts=1, stop=NeverStop())
        gap = np.abs(posterior.moments["W"].mean - reference.moments["W"].mean)
        assert gap[model.edge_prior.allowed.numpy()].max() < 0.1  # posterior sds are near 0.12
    assert "lq" in posterior.attributes


def test_discrete_sites_of_a_guide(tiny_data):
    """A guide that draws the graph too has the model's own inclusion, and the gradient of a discrete draw."""
    model = LinearNetwork.from_data(
        tiny_data, edge_prior=SpikeSlab(edge_probability=0.3, slab_scale=0.5, spike_ratio=0.2)
    )
    continuous = guide_of(model)

    def guide(batch=None):
        continuous(batch)
        with pyro.plate("also_target", 7, dim=-1), pyro.plate("also_tf", 3, dim=-2):
            logit = pyro.param("logit", torch.zeros(3, 7))
            pyro.sample("inclusion", dist.Bernoulli(logits=logit))

    posterior = fit(model, guide=guide, **QUICK)
    assert set(np.unique(posterior.draws["inclusion"])) <= {False, True}
    assert posterior.attributes["lq"].shape == (2, 10)


def test_guides_that_do_not_fit_are_refused_in_one_line(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    other = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    whole = guide_of(model)

    def lacks(batch=None):
        pyro.sample("noise_variance", dist.LogNormal(pyro.param("level", torch.zeros(7)), 0.2).to_event(1))

    def has_more(batch=None):
        whole(batch)
        pyro.sample("z", dist.Normal(0.0, 1.0))

    def learns_nothing(batch=None):
        with pyro.plate("target", 7, dim=-1):
            pyro.sample("noise_variance", dist.LogNormal(0.0, 0.2))
            with pyro.plate("tf", 3, dim=-2):
                pyro.sample("W", dist.Normal(0.0, 1.0))

    network = torch.nn.Linear(1, 28)

    def shares(batch=None):
        pyro.module("network", network)
        out = network(torch.ones(1))
        with pyro.plate("target", 7, dim=-1):
            pyro.sample("noise_variance", dist.LogNormal(out[:7], 0.2))
            with pyro.plate("tf", 3, dim=-2):
                pyro.sample("W", dist.Normal(out[7:].reshape(3, 7), 0.1))

    cases = {
        "does not sample W": lacks,
        "samples z, which LinearNetwork does not have": has_more,
        "nothing would be learned": learns_nothing,
        "made for another LinearNetwork": AutoNormal(other),
        "restarts of its own": MeanField()(model, num_restarts=2),
        "expected one of PyroGRN's guides": "mean-field",
        "holds its parameters itself": shares,
    }
    for words, guide in cases.items():
        with pytest.raises(ValueError, match=words) as refusal:
            fit(model, guide=guide, **QUICK)
        assert "\n" not in str(refusal.value)
    assert fit(model, guide=shares, **QUICK | {"restarts": 1}).guide == "pyro"  # what the last message says
    with pytest.raises(ValueError, match="takes no batch"):
        fit(model, tiny_data, guide=lambda: None, batch_size=20, **QUICK)
    spiked = LinearNetwork.from_data(tiny_data)
    with pytest.raises(ValueError, match="cannot sum out inclusion"):
        fit(spiked, guide=AutoLaplaceApproximation, **QUICK)
    with pytest.raises(ValueError, match="do not go together"):
        check_pair(Phoenix.__new__(Phoenix), engine_for(AutoNormal))


def test_a_fit_of_a_pyro_guide_goes_on_where_it_stopped(tiny_data, tmp_path):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    for guide in (AutoNormal, guide_of(model)):
        whole = fit(model, guide=guide, **QUICK)

        class Stop:
            def __call__(self, state):
                if state.step == 7:
                    raise KeyboardInterrupt

            def close(self):
                pass

        path = tmp_path / "state.pt"
        with pytest.raises(KeyboardInterrupt):
            fit(model, guide=guide, callbacks=[Checkpoint(path), Stop()], **QUICK)
        resumed = fit(model, guide=guide, resume=load_checkpoint(path), **QUICK)
        np.testing.assert_array_equal(resumed.history.elbo, whole.history.elbo)
        np.testing.assert_array_equal(resumed.draws["W"], whole.draws["W"])


def test_batches_stopping_and_divergence(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    posterior = fit(model, tiny_data, guide=AutoNormal, batch_size=20, **QUICK)
    assert "lq" not in posterior.attributes, "q covers the intercepts, which the likelihood of all cells integrates out"
    stopped = fit(model, guide=AutoDelta, num_steps=60, num_draws=1, restarts=1, stop=lambda elbo: True)
    assert stopped.history.reason == "converged"
    assert len(stopped.history.steps) == 30  # not before the rate has come down
    lost = fit(model, guide=AutoNormal, optimizer=Adam(lr=1e4), **QUICK)
    assert lost.history.reason.startswith("diverged at step")


# -- point estimates ----


@pytest.mark.parametrize("guide", [MapEstimate(), AutoDelta], ids=["map", "AutoDelta"])
def test_a_point_estimate_never_prints_certainty(guide, tiny_data, tmp_path):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Normal(scale=0.3))
    posterior = fit(model, guide=guide, num_steps=100, num_draws=3, restarts=2)
    posterior.save(tmp_path / "model")
    for one in (posterior, Posterior.load(tmp_path / "model")):
        edges = one.edges()
        assert edges[["sd", "lower", "upper", "inclusion", "sign_probability", "lfsr"]].isna().all(axis=None)
        assert (np.diff(edges["weight"].abs()) <= 0).all()
        with pytest.raises(ValueError, match="point estimate has no probabilities"):
            one.edges(fdr=0.1)
        assert one.predict(knockout=["G0001"])[["sd", "lower", "upper"]].isna().all(axis=None)
        assert one.knockouts()[["sd", "lower", "upper"]].isna().all(axis=None)
        assert one.edges(top=3)["weight"].notna().all()


def test_programs_of_a_point_estimate(tmp_path):
    data = simulate_muvi(num_genes=10, num_cells=40, num_sets=2, set_size=4, num_covariates=1, seed=5)
    model = MuVI(data.data, gene_sets={"sets": data.gene_sets}, min_overlap=2, num_factors=1)
    posterior = fit(model, guide=MapEstimate(), num_steps=30, num_draws=2, restarts=2)
    uncertain = ["sd", "lower", "upper", "sign_probability", "lfsr"]
    assert posterior.programs()[uncertain].isna().all(axis=None)
    assert posterior.covariate_effects()[uncertain].isna().all(axis=None)
    assert posterior.factors()[["lower", "upper"]].isna().all(axis=None)
    assert posterior.refined_sets()["probability"].isna().all()
    assert posterior.scores(data.data)[1].isna().all(axis=None)
    tree = posterior.to_datatree()
    assert np.isnan(tree["loadings/inclusion"]).all()
    assert np.isfinite(tree["loadings/mean"]).all()
    report(posterior, tmp_path / "report.html", data.data)
    text = (tmp_path / "report.html").read_text()
    assert "A point estimate: " in text
    assert not re.search(r"[>+×(]nan", text)


def test_a_point_estimate_is_ranked_by_its_weights(tiny):
    model = LinearNetwork.from_data(tiny.data, edge_prior=Normal(scale=0.3))
    edges = fit(model, guide=MapEstimate(), num_steps=200, num_draws=1, restarts=1).edges()
    scores = score_edges(edges, tiny.network)
    by_weight = score_edges(edges[["source", "target", "weight"]], tiny.network)
    assert scores["average_precision"] == by_weight["average_precision"] > scores["base_rate"]
    assert "brier" not in scores.values


def test_engines_by_name():
    made = {name: make_guide(name, {}, MeanField(), restarts=3, steps=None) for name in ("svi", "map", "low-rank")}
    assert made == {"svi": MeanField(), "map": MapEstimate(), "low-rank": LowRank()}
    with pytest.raises(ValueError, match="choose one of svi, map"):
        make_guide("vi", {}, MeanField(), restarts=None, steps=None)
    for model in MODELS:
        if DENSITY[0] not in row_of(model).engines:
            assert model is Phoenix, "only where dynamics are a neural network with an engine of its own"
            continue
        for prior in priors_of(model):
            for engine in (MeanField, LowRank):
                assert applies(engine, prior, model)
                assert trusted(engine(), prior, model)[1].startswith("NOT calibrated")


def test_a_guide_made_without_cells_refuses_a_batch_and_the_other_way_round():
    data = simulate_linear(num_genes=6, num_tfs=2, num_cells=40, seed=1).data
    model, batch = LinearNetwork.from_data(data, edge_prior=Normal()), next(data.minibatches(10, torch.Generator()))
    for made, called in ((None, batch), (batch, None)):
        guide = MeanField()(model, made)
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
        with pyro.get_param_store().scope(), pytest.raises(ValueError, match="differ in intercept"):
            svi.step(called)
        with pyro.get_param_store().scope():
            assert math.isfinite(svi.step(made))
