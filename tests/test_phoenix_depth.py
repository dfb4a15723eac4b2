"""PHOENIX of one layer and of more than two: the equations, pruning, a fit that is kept, the command line."""

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn.inference import Posterior, Pruned, fit
from pyrogrn.inference.neural_ode import train
from pyrogrn.inference.neural_ode.stacked import Job, train_many
from pyrogrn.inference.neural_ode.surviving import weight_draws
from pyrogrn.inference.pruning import DASH, PathReg
from pyrogrn.inference.pruning.schedule import Schedule
from pyrogrn.models import Phoenix
from pyrogrn.models.dynamics.phoenix_depth import Depth
from pyrogrn.models.dynamics.phoenix_layers import activations
from pyrogrn.models.dynamics.phoenix_network import PhoenixNetwork
from pyrogrn.models.dynamics.prior_loss import prior_matrix
from pyrogrn.models.simulators import simulate_courses
from pyrogrn.priors import PriorNetwork

GENES = tuple("ABCDE")


@pytest.fixture(scope="module")
def courses():
    return simulate_courses(num_genes=6, num_trajectories=8, noise=0.02, seed=3)


@pytest.fixture(scope="module")
def network(courses):
    return {"motif": PriorNetwork.from_edges(courses.network[["source", "target"]], name="motif")}


def made(layers, seed=1):
    hidden = None if layers == 1 else 3
    return PhoenixNetwork(GENES, hidden=hidden, layers=layers, seed=seed)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_derivative_is_that_of_the_page(layers):
    net = made(layers)
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name))))
    g = torch.rand(4, 5, generator=torch.Generator().manual_seed(7))
    sigma, pi = activations(g)
    p = dict(net.named_parameters())
    c = {"sigma": sigma @ p["W_sigma"].T + p["b_sigma"], "pi": (pi @ p["W_pi"].T + p["b_pi"]).exp()}
    total = -g
    for kind, value in c.items():
        for depth in range(2, layers):
            value = value @ p[f"V{depth}_{kind}"].T
        total = total + (value if layers == 1 else value @ p[f"U_{kind}"].T)
    torch.testing.assert_close(net.derivative(g), p["upsilon"].relu() * total)
    assert [len(path.layers) for path in net.paths] == [layers, layers]


def test_one_layer_starts_where_products_add_nothing():
    net = made(1)
    fresh = net.derivative(torch.full((1, 5), 0.5)).abs().max()
    assert float(fresh.detach()) < 1.5, "near -g: at a half the activations are 0"
    assert net.weights()["W_sigma"].shape == (5, 5)
    assert Depth(5, None, 1).hidden is None


@pytest.mark.parametrize("layers", [1, 3])
def test_no_effect_where_masks_leave_no_path(layers):
    net = made(layers)
    with torch.no_grad():
        for kind in ("sigma", "pi"):
            getattr(net, f"W_{kind}_mask")[:, 2] = 0
    effects = net.edges()
    assert bool((effects[2] == 0).all())
    assert bool((effects[[0, 1, 3, 4]] != 0).any(1).all())


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("by_gates", [False, True])
def test_any_depth_is_trained_and_pruned(layers, by_gates, courses, network):
    pairs = Phoenix.from_data(courses.data).transitions
    prior = prior_matrix(network["motif"], pairs.genes)
    sparsifier = PathReg() if by_gates else DASH(prior, schedule=Schedule(1, 0.5, last_epoch=1))
    net = PhoenixNetwork(pairs.genes, hidden=None if layers == 1 else 4, layers=layers, seed=0)
    before = float(net.loss(pairs).detach())
    fitted = train(net, pairs, validation=pairs, sparsifier=sparsifier, num_epochs=8, batch_size=4, seed=0)
    assert fitted.validation < before
    if not by_gates:
        masks = fitted.network.masks()
        assert {float(mask.mean()) for mask in masks.values()} == {0.5}
        assert set(masks) == set(Depth(6, None if layers == 1 else 4, layers).names)


def test_one_layer_is_supported_where_the_prior_is(courses, network):
    model = Phoenix.from_data(courses.data, networks=network, layers=1)
    net = PhoenixNetwork(model.genes, layers=1)
    model.with_reference(net.masked(), net.masks())
    P = model.square_knowledge()[0].T
    for kind in ("sigma", "pi"):
        torch.testing.assert_close(model.get_buffer(f"W_{kind}_confidence")[0], P / P.max())


def test_of_layers_between_the_support_is_what_makes_the_product_the_prior(courses, network):
    """With one neuron a layer every weight is a number times a vector, and so is its pseudo-inverse."""
    model = Phoenix.from_data(courses.data, networks=network, hidden=1, layers=3)
    net = PhoenixNetwork(model.genes, hidden=1, layers=3)
    sizes = {name: value.detach().abs() for name, value in net.masked().items()}
    model.with_reference(net.masked(), net.masks())
    P = model.square_knowledge()[0].T
    wanted = P @ sizes["W_sigma"].T  # times |V| and over norms, which the largest divides out
    torch.testing.assert_close(model.U_sigma_confidence[0], wanted / wanted.max(), rtol=1e-4, atol=1e-6)
    wanted = sizes["U_sigma"].T @ P
    torch.testing.assert_close(model.W_sigma_confidence[0], wanted / wanted.max(), rtol=1e-4, atol=1e-6)
    assert model.V2_sigma_confidence.flatten().tolist() == [1.0]


@pytest.mark.parametrize("layers", [1, 3])
def test_a_fit_is_kept_with_its_depth(layers, courses, network, tmp_path):
    guide = Pruned(epochs=4, num_chains=2, num_samples=6, svi_steps=10, batch_size=4, prior_loss=0.01)
    model = Phoenix.from_data(courses.data, networks=network, hidden=None if layers == 1 else 3, layers=layers)
    posterior = fit(model, guide=guide, seed=2)
    assert posterior.draws["weight_scale"].shape == (2, 6, 2 * layers)
    posterior.save(tmp_path / "fit")
    again = Posterior.load(tmp_path / "fit")
    assert again.model.depth == model.depth
    pd.testing.assert_frame_equal(posterior.edges(), again.edges())
    weights, _ = weight_draws(again)
    np.testing.assert_allclose(again.model.edges(weights).reshape(2, 6, 6, 6), posterior.draws["W"], atol=1e-6)
    table = again.course([0.0, 1.0], knockout=["G0003"]).table(level=0.9)
    assert table.loc[table["gene"] == "G0003", "mean"].abs().max() < 1e-6


def test_files_of_before_have_two_layers(courses):
    model = Phoenix.from_data(courses.data, hidden=3)
    state = {name: value for name, value in model.to_state().items() if name != "layers"}
    buffers = dict(model.named_buffers(recurse=False))
    again = Phoenix.from_state(state, knowledge=model.knowledge, edge_prior=model.edge_prior, buffers=buffers)
    assert again.depth == Depth(6, 3, 2)


def test_what_does_not_go_with_a_depth_is_refused(courses, network):
    for options, words in (
        ({"layers": 0}, "layers is 0"),
        ({"layers": 1, "hidden": 4}, "a neuron for each gene"),
        ({"layers": 3, "coregulation": "motif"}, "with two layers only"),
        ({"solver": "dopri5", "step": 0.5}, "without a step"),
        ({"solver": "euler"}, "expected 'dopri5'"),
    ):
        with pytest.raises(ValueError, match=words):
            Phoenix.from_data(courses.data, networks=network, **options)
    pairs = Phoenix.from_data(courses.data).transitions
    with pytest.raises(ValueError, match="a stack has two layers"):
        train_many([Job(PhoenixNetwork(pairs.genes, hidden=3, layers=3), pairs, pairs)])


def test_from_the_command_line(tmp_path):
    code, _, err = call("simulate", "ode", "--genes", 6, "--trajectories", 8, "--seed", 1, "--out", tmp_path / "sim")
    assert code == 0, err
    common = ["--method", "phoenix", "--time-key", "time", "--trajectory-key", "trajectory", "--restarts", 1]
    settings = ["model.layers=3", "model.hidden=3", "model.solver=dopri5", "guide.sparsifier=post-hoc"]
    settings += ["guide.epochs=2", "guide.svi_steps=5", "guide.batch_size=4", "guide.prior_loss=0.01"]
    words = [word for setting in settings for word in ("--set", setting)]
    prior = f"motif={tmp_path / 'sim' / 'prior.csv'}"
    data, out = tmp_path / "sim" / "expression.h5ad", tmp_path / "run"
    code, _, err = call("infer", data, *common, *words, "--steps", 6, "--prior", prior, "--out", out)
    assert code == 0, err
    assert len(pd.read_csv(out / "edges.csv")) == 30
    code, _, err = call("influence", out, "--starts", 2, "--draws", 2, "--out", tmp_path / "who")
    assert code == 0, err
    code, _, err = call(
        "infer", data, *common, "--set", "model.layers=1", "--set", "model.hidden=3", "--out", tmp_path / "no"
    )
    assert code == 2
    assert "leave it out" in err.splitlines()[-1]
