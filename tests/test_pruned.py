"""PHOENIX fitted: its guide against exact answers, chains that resume, predictions, what is refused."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import poutine
from pyrogrn.inference import Checkpoint, Posterior, Pruned, default_guide, fit, load_checkpoint
from pyrogrn.inference.answers.cells import predict_cells
from pyrogrn.inference.neural_ode import Trained, TrainingHistory, train
from pyrogrn.inference.neural_ode.pruned import _Report
from pyrogrn.inference.neural_ode.surviving import SurvivingWeights, weight_draws
from pyrogrn.inference.neural_ode.training import LearningRate
from pyrogrn.inference.runs.run import Run
from pyrogrn.inference.variational.elbo import log_joint
from pyrogrn.models import Phoenix
from pyrogrn.models.data.cell_labels import CellLabels
from pyrogrn.models.dynamics.phoenix_layers import BlowUp, PhoenixParameters
from pyrogrn.models.dynamics.phoenix_network import WEIGHTS, PhoenixNetwork
from pyrogrn.models.simulators import simulate_courses
from pyrogrn.priors import PriorNetwork

QUICK = Pruned(epochs=6, num_samples=15, svi_steps=40, batch_size=4)


@pytest.fixture(scope="module")
def courses():
    return simulate_courses(num_genes=8, num_trajectories=12, noise=0.02, seed=3)


@pytest.fixture(scope="module")
def network(courses):
    return {"motif": PriorNetwork.from_edges(courses.network[["source", "target"]], name="motif")}


@pytest.fixture(scope="module")
def posterior(courses, network):
    return fit(Phoenix.from_data(courses.data, networks=network, hidden=3), guide=QUICK, seed=4)


# -- the guide ----


def fixed(model, seed=0):
    """A guide with all weights, around a fresh network."""
    start = PhoenixNetwork(model.genes, hidden=model.hidden, seed=seed)
    model.with_reference(start.masked(), start.masks())
    return SurvivingWeights(model, start.masked(), 0.01)


def test_density_of_draws_is_that_of_the_pyro_guide(courses, network):
    model = Phoenix.from_data(courses.data, networks=network, hidden=3)
    guide = fixed(model)
    guide.mask_U_pi[:4] = 0
    values, log_q = guide.draw(torch.Generator().manual_seed(1))
    assert bool((values["U_pi"][0, 0, 0, :4] == 0).all())
    flat = {name: value.reshape(value.shape[3:]) for name, value in values.items()}
    with pyro.get_param_store().scope():
        trace = poutine.trace(poutine.condition(guide, data=flat)).get_trace()
    trace.compute_log_prob()
    assert float(trace.log_prob_sum().detach()) == pytest.approx(float(log_q.detach()), rel=1e-4)


def test_one_free_weight_has_its_exact_posterior(courses, seeded):
    """All else held, the posterior of one weight is found on a grid; its mean and sd are those of the guide."""
    model = Phoenix.from_data(courses.data, hidden=2).double()
    guide = fixed(model).double()
    with torch.no_grad():
        guide.center["U_sigma"][2, 1] = 0.0
        guide.center["noise"].fill_(math.log(0.1))
        for value in guide.log_spread.values():
            value.fill_(-16.0)
        guide.log_spread["U_sigma"][2, 1] = math.log(0.05)
    values, _ = guide.draw(torch.Generator().manual_seed(0))
    grid = torch.linspace(-1.5, 1.5, 1201, dtype=torch.float64)
    several = {name: value.expand(len(grid), *value.shape[1:]).clone() for name, value in values.items()}
    several["U_sigma"][:, 0, 0, 2, 1] = grid
    with torch.no_grad():
        log_p = log_joint(model, several, None, len(grid))[0]
    weight = torch.softmax(log_p, 0)
    mean = float((weight * grid).sum())
    sd = float((weight * (grid - mean) ** 2).sum().sqrt())
    center, spread = guide.center["U_sigma"], guide.log_spread["U_sigma"]
    optimizer = torch.optim.Adam([center, spread], lr=0.02)
    only = torch.zeros_like(center)
    only[2, 1] = 1
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 400)
        values, log_q = guide.draw()
        loss = (log_q - log_joint(model, values, None, 1)[0]).sum()
        optimizer.zero_grad()
        loss.backward()
        center.grad.mul_(only)
        spread.grad.mul_(only)
        optimizer.step()
    assert float(center[2, 1].detach()) == pytest.approx(mean, abs=0.15 * sd)
    assert float(spread[2, 1].detach().exp()) == pytest.approx(sd, rel=0.12)


# -- the fit ----


def test_a_fit_has_edges_chains_and_a_tree(courses, posterior):
    assert posterior.draws["W"].shape == (2, 15, 8, 8)
    table = posterior.edges()
    assert len(table) == 56
    assert table["inclusion"].between(0, 1).all()
    assert not posterior.calibrated
    assert posterior.threshold == 0.01
    assert np.abs(posterior.draws["W"]).sum(2).max() <= 1 + 1e-5, "effects on a target sum to at most one in size"
    assert posterior.trust()["source"].tolist() == ["motif"]
    tree = posterior.to_datatree(courses.data)
    assert tree["log_likelihood"]["X"].shape == (2, 15, tree["observed_data"].sizes["observation"])
    assert set(tree["prior"].data_vars) == {"trust", "weight_scale", "upsilon", "noise"}
    checks = posterior.diagnose(courses.data).set_index("check")
    assert "edges between regulators" not in checks.index
    assert checks.loc["importance weights (k-hat)", "passed"] is None


def test_stored_draws_and_weights_belong_together(posterior, tmp_path):
    posterior.save(tmp_path / "fit")
    again = Posterior.load(tmp_path / "fit")
    pd.testing.assert_frame_equal(posterior.edges(), again.edges())
    weights, noise = weight_draws(again)
    effects = again.model.edges(weights).reshape(2, 15, 8, 8)
    np.testing.assert_allclose(effects, posterior.draws["W"], atol=1e-6)
    np.testing.assert_allclose(noise.reshape(2, 15), posterior.draws["noise"], rtol=1e-6)


def test_same_seed_same_draws(courses, network, posterior):
    model = Phoenix.from_data(courses.data, networks=network, hidden=3)
    np.testing.assert_array_equal(fit(model, guide=QUICK, seed=4).draws["W"], posterior.draws["W"])
    assert not np.array_equal(fit(model, guide=QUICK, seed=5).draws["W"], posterior.draws["W"])


class Stop:
    """Interrupts at one of the fit's steps."""

    def __init__(self, step):
        self.step, self.count = step, 0

    def __call__(self, state):
        self.count += 1
        if self.count == self.step:
            raise KeyboardInterrupt

    def close(self):
        pass


# first training, first posterior, second training, second posterior
@pytest.mark.parametrize("step", [3, 30, 49, 80])
def test_an_interrupted_fit_resumes_to_the_same_numbers(courses, network, posterior, tmp_path, step):
    model = Phoenix.from_data(courses.data, networks=network, hidden=3)
    for stop in (step, 2):  # and once more, soon after it was taken up
        resume = load_checkpoint(tmp_path / "state.pt") if (tmp_path / "state.pt").exists() else None
        callbacks = (Checkpoint(tmp_path / "state.pt", seconds=0), Stop(stop))
        with pytest.raises(KeyboardInterrupt):
            fit(model, guide=QUICK, seed=4, callbacks=callbacks, resume=resume)
    again = fit(model, guide=QUICK, seed=4, resume=load_checkpoint(tmp_path / "state.pt"))
    np.testing.assert_array_equal(again.draws["W"], posterior.draws["W"])


def test_a_choice_of_lambda_resumes(courses, network, tmp_path):
    model = Phoenix.from_data(courses.data, networks=network, hidden=2)
    guide = Pruned(strength="auto", epochs=2, num_chains=1, num_samples=3, svi_steps=3, batch_size=6)
    whole = fit(model, guide=guide, seed=1)
    with pytest.raises(KeyboardInterrupt):
        fit(model, guide=guide, seed=1, callbacks=(Checkpoint(tmp_path / "state.pt", seconds=0), Stop(9)))
    state = load_checkpoint(tmp_path / "state.pt")
    assert 3 <= len(state["folds"]) <= 5
    np.testing.assert_array_equal(fit(model, guide=guide, seed=1, resume=state).draws["W"], whole.draws["W"])


def test_an_unstable_equation_ends_the_fit_in_order(courses, monkeypatch, tmp_path):
    model = Phoenix.from_data(courses.data, hidden=3)
    whole = PhoenixNetwork.loss
    calls = []

    def loss(self, batch, gates=None):
        calls.append(1)
        if len(calls) == 9:  # in the second epoch
            with torch.no_grad():
                self.W_pi.fill_(1e6)
        return whole(self, batch, gates)

    monkeypatch.setattr(PhoenixNetwork, "loss", loss)
    checkpoint = Checkpoint(tmp_path / "state.pt", seconds=1e9)
    posterior = fit(model, guide=QUICK, seed=0, callbacks=(checkpoint,))
    assert "diverged at epoch" in posterior.history.reason
    assert "step" in posterior.history.reason
    assert not posterior.draws
    assert load_checkpoint(tmp_path / "state.pt")["stage"]["step"] == 2, "the epochs before are kept"


def test_an_unstable_posterior_ends_the_fit_in_order(courses, monkeypatch):
    def explode(self, parameters, start, dt, free=None):
        raise BlowUp("the solution is not finite after step 2 of 3", 2)

    model = Phoenix.from_data(courses.data, hidden=3)
    engine = Pruned(epochs=2, num_chains=1, svi_steps=30, batch_size=6)
    refine = Pruned._refine

    def broken(self, *arguments):
        monkeypatch.setattr("pyrogrn.models.dynamics.ode_solvers.RungeKutta.__call__", explode)
        return refine(self, *arguments)

    monkeypatch.setattr(Pruned, "_refine", broken)
    assert fit(model, guide=engine).history.reason.startswith("diverged at step 20 of the posterior")


def test_options_of_the_paper_reach_training(courses, network, monkeypatch):
    model = Phoenix.from_data(courses.data, networks=network, hidden=3)
    seen = {}

    def told(*arguments, **options):
        seen.update(options)
        return train(*arguments, **options)

    monkeypatch.setattr("pyrogrn.inference.neural_ode.pruned.train", told)
    quick = {"epochs": 3, "num_chains": 1, "num_samples": 2, "svi_steps": 2, "batch_size": 6}
    words = {"initial_scores": "ones", "prior_scale": "given"}
    fit(model, guide=Pruned(prior_loss=0.05, learning_rate=2e-3, plateau=5, **words, **quick))
    assert seen["learning"] == LearningRate(start=2e-3, patience=5)
    assert seen["extra_share"] == 0.05
    listed = (model.knowledge.probability.amax(0) > 0).float()  # this source knows no signs
    loss = seen["extra_loss"]
    torch.testing.assert_close(loss.wanted, loss.gamma[:, model.regulators()] @ listed)
    signed = Phoenix.from_data(courses.data, networks={"grn": with_signs(courses)}, hidden=3)
    fit(signed, guide=Pruned(prior_loss=0.05, **quick))
    loss = seen["extra_loss"]
    torch.testing.assert_close(loss.wanted, loss.gamma[:, signed.regulators()] @ signed.knowledge.sign[0])
    fit(model, guide=Pruned(prior_loss=0.05, **words, **quick))
    dash = seen["sparsifier"]
    assert torch.equal(dash.P, model.square_knowledge().amax(0).T)
    dash.start(model_network(model), seed=0)
    assert all((score == 1).all() for score in dash.scores.values())
    dash.before_epoch(3, model_network(model))
    assert all(score.isfinite().all() for score in dash.scores.values())
    fit(model, guide=Pruned(**quick))
    assert seen["extra_loss"] is None
    assert seen["learning"] == LearningRate()
    plain = Phoenix.from_data(courses.data, hidden=3)
    with pytest.raises(ValueError, match="prior_loss needs prior knowledge"):
        fit(plain, guide=Pruned(prior_loss=0.1, **quick))
    for bad in ({"prior_loss": 1.0}, {"initial_scores": "twos"}, {"prior_scale": "x"}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError, match=next(iter(bad)).replace("learning_rate", "start")):
            Pruned(**bad)


def with_signs(courses):
    """A few edges, half of them repressing."""
    genes = courses.data.genes
    table = pd.DataFrame({"source": genes[:4], "target": genes[2:6], "sign": [1, -1, 1, -1]})
    return PriorNetwork.from_edges(table, name="grn")


def model_network(model):
    """Fresh weights of the model's network."""
    return PhoenixNetwork(model.genes, hidden=model.hidden, seed=0)


def test_pruning_needs_knowledge_only_where_it_says_so(courses, network):
    plain = Phoenix.from_data(courses.data, hidden=3)
    assert isinstance(default_guide(plain), Pruned)
    for name in ("imp", "none", "l0", "c-node", "pathreg", "post-hoc"):
        guide = Pruned(sparsifier=name, epochs=4, num_chains=1, num_samples=3, svi_steps=3, batch_size=6)
        assert fit(plain, guide=guide).draws["W"].shape == (1, 3, 8, 8)
    for name in ("dash", "bio"):
        with pytest.raises(ValueError, match=f"{name} needs prior knowledge"):
            fit(plain, guide=Pruned(sparsifier=name))
    genes, two = courses.data.genes, dict(network)
    two["ppi"] = PriorNetwork.from_edges(pd.DataFrame({"source": [genes[0]], "target": [genes[1]]}), name="ppi")
    model = Phoenix.from_data(courses.data, networks=two, hidden=3, coregulation="ppi")
    assert model.knowledge.sources == ("motif",)
    assert model.coregulation[0, 1] == model.coregulation[1, 0] > 0
    sparsifier = Pruned()._sparsifier(model, 0.3)
    assert torch.equal(sparsifier.C, model.coregulation / model.coregulation.sum())
    with pytest.raises(ValueError, match="coregulation is for"):
        fit(model, guide=Pruned(sparsifier="imp"))
    with pytest.raises(ValueError, match="'strings'"):
        Phoenix.from_data(courses.data, networks=two, coregulation="strings")


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"hold_out": 1.0},
        {"sparsifier": "lasso"},
        {"strength": "best"},
        {"strength": 3.0},
        {"num_chains": 0},
    ],
)
def test_options_of_the_engine_are_checked(options):
    with pytest.raises(ValueError, match=r"expected|choose"):
        Pruned(**options)


def test_a_single_course_is_learned_from_in_batches_of_pairs():
    one = simulate_courses(num_genes=5, num_trajectories=1, times=tuple(range(26)), noise=0.02, seed=2).data
    model = Phoenix.from_data(one, hidden=2)
    pairs, batch = Pruned()._pairs(model)
    assert len(pairs.names) == 25
    assert batch == 4
    training, held = Pruned()._split(model, 0)
    assert (training.num_pairs, held.num_pairs) == (23, 2)
    few = simulate_courses(num_genes=5, num_trajectories=1, times=(0, 1, 2), seed=2).data
    with pytest.raises(ValueError, match="expected at least 8"):
        Phoenix.from_data(few)


def test_trust_moves_where_the_data_move_it(courses, network):
    """The same weights, confident where they are large and where they are small: trust is higher in the first case."""
    found = []
    for large in (True, False):
        model = Phoenix.from_data(courses.data, networks=network, hidden=3)
        start = PhoenixNetwork(model.genes, hidden=3, seed=0)
        with torch.no_grad():
            start.U_sigma.mul_(
                torch.where(torch.rand(8, 3, generator=torch.Generator().manual_seed(1)) < 0.5, 3.0, 0.1)
            )
        fitted = Trained(start, 1e-3, 0.0, TrainingHistory("budget", *(np.zeros(1) for _ in range(5)), 1))
        for name in WEIGHTS:
            size = getattr(start, name).detach().abs()
            model.get_buffer(f"{name}_confidence").copy_(((size > size.median()) == large)[None])
        keep = model.copied
        model.copied = lambda keep=keep: without_reference(keep())
        state = Pruned(svi_steps=400)._refine(model, fitted, 0, _Report(Run(seed=0, threshold=0.01), Pruned()))
        found.append(float(state["guide"]["center.trust"]))
    assert found[0] > found[1] + 1.0


def without_reference(model):
    """A copy that keeps its confidences."""
    model.with_reference = lambda network, masks: None
    return model


def test_a_model_in_double_is_fitted_in_double(courses):
    model = Phoenix.from_data(courses.data.to(dtype=torch.float64), hidden=2).double()
    guide = Pruned(epochs=2, num_chains=1, num_samples=2, svi_steps=2, batch_size=6)
    posterior = fit(model, guide=guide)
    assert weight_draws(posterior)[1].dtype == torch.float64


# -- predictions ----


def test_predictions_follow_the_units_of_the_data(courses):
    """Levels a + b x at times c t: courses, held levels and velocities are those of the plain data, transformed."""
    data = courses.data
    X = (data.X - data.X.amin(0)) / (data.X.amax(0) - data.X.amin(0))
    plain = replace(data, matrix=X)
    moved = replace(data, matrix=50 + 7 * X).with_times(
        (3 * data.time).tolist(), [data.trajectory_names[c] for c in data.trajectory.tolist()]
    )
    one, other = (fit(Phoenix.from_data(d, hidden=2), guide=QUICK, seed=2) for d in (plain, moved))
    np.testing.assert_allclose(one.draws["W"], other.draws["W"], atol=2e-3)
    gene = data.genes[1]
    a = one.course([0, 1, 4], overexpress={gene: 0.9}, num_draws=8)
    b = other.course([0, 3, 12], overexpress={gene: 50 + 7 * 0.9}, num_draws=8)
    np.testing.assert_allclose(50 + 7 * a.levels, b.levels, atol=0.05)
    np.testing.assert_allclose(7 / 3 * a.velocities, b.velocities, atol=0.02)
    np.testing.assert_allclose(7 * a.noise, b.noise, rtol=1e-2)
    np.testing.assert_allclose(7 / 3 * one.velocity(plain, num_draws=8), other.velocity(moved, num_draws=8), atol=0.02)
    first, second = predict_cells(one, plain, num_observations=40), predict_cells(other, moved, num_observations=40)
    np.testing.assert_allclose(50 + 7 * first.mean, second.mean, atol=0.05)
    np.testing.assert_allclose(50 + 7 * first.observed, second.observed, atol=1e-3)
    knocked = other.course([0, 3], knockout=[gene], num_draws=3)
    np.testing.assert_allclose(knocked.levels[:, :, 1], 0.0, atol=1e-4)


def test_courses_start_where_told_and_keep_what_is_held(courses, posterior):
    data = courses.data
    gene = data.genes[2]
    name = posterior.model.names[3]
    course = posterior.course([0, 1, 3], start=name, knockout=[gene], num_draws=10)
    assert course.levels.shape == (10, 3, 8)
    first = data.X[np.array([data.trajectory_names[c] == name for c in data.trajectory.tolist()])][0].numpy()
    others = np.arange(8) != 2
    np.testing.assert_allclose(course.levels[:, 0][:, others], np.broadcast_to(first[others], (10, 7)), atol=1e-5)
    np.testing.assert_allclose(course.levels[:, :, 2], min(0.0, float(data.X[:, 2].min())), atol=1e-5)
    assert np.abs(course.velocities[:, :, 2]).max() == 0
    table = course.table(0.8)
    assert table.columns.tolist()[:6] == ["time", "gene", "mean", "sd", "lower", "upper"]
    assert len(table) == 24
    given = posterior.course([0, 1], start={gene: 0.4}, num_draws=3)
    np.testing.assert_allclose(given.levels[:, 0, 2], 0.4, atol=1e-6)
    table = posterior.predict(knockout=[gene], num_draws=10)
    assert table["gene"].tolist() == list(data.genes)
    assert table["settled"].eq(1).all()


def test_times_beyond_the_intervals_of_the_fit_are_counted(courses):
    data = courses.data.with_times(
        (3 * courses.data.time).tolist(), [f"t{c}" for c in courses.data.trajectory.tolist()]
    )
    longest = max(
        float(data.time[data.trajectory == c].diff().max()) for c in data.trajectory.unique()
    )  # the rows of a trajectory follow in time
    posterior = fit(Phoenix.from_data(data, hidden=2), guide=QUICK, seed=2)
    course = posterior.course([1, 1 + longest, 1.01 + longest, 2 + longest], num_draws=2)
    assert course.longest == pytest.approx(longest, rel=1e-5)
    assert course.beyond == 2


def test_velocity_is_the_slope_of_the_course(courses, posterior):
    weights, _ = weight_draws(posterior)
    mean = posterior.velocity(courses.data, num_draws=30).to_numpy()
    named = replace(courses.data, labels=CellLabels.of([f"cell-{i}" for i in range(courses.data.num_cells)]))
    assert list(posterior.velocity(named, num_draws=1).index) == list(named.labels.names)
    course = posterior.course([0.0, 1e-3], start=posterior.model.names[0], num_draws=30)
    slope = ((course.levels[:, 1] - course.levels[:, 0]) / 1e-3).mean(0)
    assert len(weights.upsilon) == 30
    np.testing.assert_allclose(mean[0], slope, atol=2e-3)
    np.testing.assert_allclose(course.velocities[:, 0].mean(0), mean[0], atol=1e-5)


def test_predicted_values_are_the_solves_of_the_draws(courses, posterior):
    cells = predict_cells(posterior, courses.data, num_observations=50)
    weights, noise = weight_draws(posterior)
    pairs = posterior.model.transitions
    mean = posterior.model.solve(weights, pairs.start, pairs.dt)
    _, row, gene = cells.labels[7].split(":")
    i = list(posterior.model.genes).index(gene)
    np.testing.assert_allclose(cells.mean[..., 7].ravel(), mean[:, int(row), i], atol=1e-4)
    np.testing.assert_allclose(cells.sd[..., 7].ravel(), noise * posterior.model.size[i], rtol=1e-5)


def test_what_courses_refuse(posterior):
    for options, words in (
        ({"times": [0]}, "at least two"),
        ({"times": [0, 1], "start": "nowhere"}, "no trajectory"),
        ({"times": [0, 1], "start": {"QQ": 1.0}}, "QQ"),
        ({"times": [0, 1], "start": {posterior.model.genes[0]: float("nan")}}, "not numbers"),
        ({"times": [0, 1], "knockout": ["QQ"]}, "QQ"),
        ({"times": [0, 1], "knockout": ["G0001"], "overexpress": {"G0001": 1.0}}, "clamped twice"),
    ):
        with pytest.raises(ValueError, match=words):
            posterior.course(**options)


def test_the_engine_trains_as_the_training_loop_does(courses):
    """One chain's masks are those of `train` with the same split and seed."""
    model = Phoenix.from_data(courses.data, hidden=3)
    guide = Pruned(sparsifier="imp", epochs=5, num_chains=1, num_samples=2, svi_steps=2)
    posterior = fit(model, guide=guide, seed=9)
    training, validation = guide._split(model, 9)
    network = PhoenixNetwork(model.genes, hidden=3, seed=9)
    trained = train(
        network, training, validation=validation, sparsifier=guide._sparsifier(model, 0.3), num_epochs=5, seed=9
    )
    for name in WEIGHTS:
        mask = posterior.attributes[f"phoenix.mask.{name}"][0]
        np.testing.assert_array_equal(mask, trained.network.masks()[name].numpy() > 0)
    assert posterior.attributes["sparsity"][0] == pytest.approx(trained.sparsity)
    assert isinstance(trained.network.current(), PhoenixParameters)
