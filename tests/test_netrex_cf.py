"""NetREX-CF: components of the cells, the engine, what the filter adds, saving, refusals."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.inference import BlockDescent, MapEstimate, MeanField, fit
from pyrogrn.inference.answers.netrex_cf import of_activities
from pyrogrn.inference.variational.densities import log_joint_of
from pyrogrn.models import ExpressionData, NetREXCF
from pyrogrn.models.netrex_cf import Components
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import ElasticNet, HardMask, Laplace, Normal, PriorNetwork
from sklearn.metrics import average_precision_score

pytestmark = pytest.mark.usefixtures("seeded")


def incomplete(simulation, rng, *, kept=0.6, wrong=0.5):
    """A prior network: ``kept`` of the true edges, and ``wrong`` as many false ones."""
    W, data = simulation.W[0].numpy(), simulation.data
    true = [(data.tfs[i], data.genes[j]) for i, j in np.argwhere(W)]
    false = [(s, t) for s in data.tfs for t in data.genes if s != t and (s, t) not in set(true)]
    listed = [edge for edge in true if rng.random() < kept]
    chosen = rng.choice(len(false), int(wrong * len(listed)), replace=False)
    frame = pd.DataFrame(listed + [false[i] for i in chosen], columns=["source", "target"]).assign(probability=0.9)
    return PriorNetwork.from_edges(frame, name="motif")


@pytest.mark.parametrize("num_cells", [6, 30])
@pytest.mark.parametrize("num_contexts", [1, 2])
def test_components_keep_every_product_of_genes(num_cells, num_contexts):
    """XXᵀ are the products of standardised genes over cells; through cells where they are fewer, else through genes."""
    X = 3 + torch.randn(num_cells, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    context = torch.arange(num_cells) % num_contexts
    data = ExpressionData(
        X,
        tuple("ABCDEFGH"),
        dtype=torch.float64,
        context=context if num_contexts > 1 else None,
        context_names=("a", "b")[:num_contexts] if num_contexts > 1 else ("all",),
    )
    found = Components.from_data(data)
    centred = torch.stack([row - X[context == context[i]].mean(0) for i, row in enumerate(X)])
    scale = (centred.square().sum(0) / (num_cells - num_contexts)).sqrt()
    Z = centred / scale
    torch.testing.assert_close(found.scale, scale)
    torch.testing.assert_close(found.X @ found.X.T, Z.T @ Z / num_cells, atol=1e-9, rtol=0)
    assert found.X.shape[1] <= min(num_cells - num_contexts, 8)


def test_a_prior_that_is_incomplete_and_wrong_is_completed_by_expression():
    """Average precision over two simulations: above the prior's own, and above the same fit without the filter's
    gate."""
    own, found, blind = [], [], []
    for seed in (0, 1):
        simulation = simulate_linear(num_genes=100, num_tfs=15, num_cells=300, edge_probability=0.15, seed=seed)
        network = incomplete(simulation, np.random.default_rng(seed))
        models = [
            NetREXCF.from_data(simulation.data, networks={"motif": network}, presence=presence)
            for presence in ("indicator", "absolute")
        ]
        allowed = models[0].edge_prior.allowed.numpy()
        truth = (simulation.W[0].numpy() != 0)[allowed]
        weights = [np.abs(fit(m, guide=BlockDescent(restarts=1, max_iterations=60)).moments["W"].mean) for m in models]
        own.append(average_precision_score(truth, models[0].listed.numpy()[allowed]))
        found.append(average_precision_score(truth, weights[0][allowed]))
        blind.append(average_precision_score(truth, weights[1][allowed]))
    assert np.mean(found) > np.mean(own) + 0.1
    assert np.mean(found) > np.mean(blind) + 0.1


@pytest.fixture(scope="module")
def small():
    simulation = simulate_linear(num_genes=12, num_tfs=4, num_cells=50, edge_probability=0.4, seed=1)
    return simulation, {"motif": incomplete(simulation, np.random.default_rng(0))}


def test_the_best_restart_is_kept_and_the_same_seed_gives_it_again(small):
    simulation, networks = small
    model = NetREXCF.from_data(simulation.data, networks=networks, rank=2)
    one, again = (fit(model, guide=BlockDescent(restarts=3), seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.draws["W"], again.draws["W"])
    assert one.draws["W"].shape == (1, 1, 4, 12)
    reached = one.attributes["restart_objective"]
    assert reached.shape == (3,)
    np.testing.assert_allclose(-one.history.elbo[:, -1], reached)
    assert not one.calibrated
    assert len(one.edges()) == 4 * 11


def test_activities_have_the_sign_of_the_regulator(small):
    simulation, networks = small
    model = NetREXCF.from_data(simulation.data, networks=networks, rank=2)
    posterior = fit(model, guide=BlockDescent())
    A = posterior.draws["A"][0, 0]
    assert ((A * model.start.numpy()).sum(1) >= 0).all()
    # activities of the cells of the fit are the components turned back
    W = torch.as_tensor(posterior.draws["W"][0, 0])
    X = model.standardize(simulation.data) * float(model.expression_weight / simulation.data.num_cells) ** 0.5
    cells = model.activities(W, X)
    np.testing.assert_allclose(cells.T @ cells, A @ A.T, atol=2e-2 * np.abs(A @ A.T).max())


def test_a_value_is_predicted_from_the_other_genes_of_its_cell(small):
    """The closed form against activities solved anew without the gene, for every pair."""
    simulation, networks = small
    model = NetREXCF.from_data(simulation.data, networks=networks, rank=2)
    posterior = fit(model, guide=BlockDescent(restarts=1))
    cells = of_activities(posterior, simulation.data, 10_000, np.random.default_rng(0))
    observed, mean, sd, labels = cells.observed, cells.mean, cells.sd, cells.labels
    X = simulation.data.X.double().numpy()
    scale = model.scale.double().numpy()
    Z, W = (X - X.mean(0)) / scale, posterior.draws["W"][0, 0].astype(float)
    expected = np.empty_like(Z)
    for g in range(12):
        others = np.arange(12) != g
        system = W[:, others] @ W[:, others].T + float(model.activity_penalty) * np.eye(4)
        expected[:, g] = Z[:, others] @ W[:, others].T @ np.linalg.solve(system, W[:, g])
    assert labels[13] == f"1:{model.targets[1]}"
    np.testing.assert_allclose(observed.reshape(50, 12), X, atol=1e-5)
    np.testing.assert_allclose(mean[0, 0].reshape(50, 12), X.mean(0) + scale * expected, atol=1e-4)
    np.testing.assert_allclose(sd[0, 0].reshape(50, 12)[0], scale * np.sqrt(((Z - expected) ** 2).mean(0)), atol=1e-4)


@pytest.mark.parametrize("prior", [ElasticNet(ridge=0.1, lasso=0.1), HardMask(ElasticNet(ridge=0.1, lasso=0.1))])
def test_a_hard_mask_leaves_only_listed_edges(small, prior):
    simulation, networks = small
    model = NetREXCF.from_data(simulation.data, networks=networks, edge_prior=prior, rank=2)
    W = fit(model, guide=BlockDescent(restarts=1)).moments["W"].mean
    assert (np.abs(W[~model.edge_prior.allowed.numpy()]).max()) == 0
    masked = isinstance(prior, HardMask)
    assert (len(model.edge_prior.sources) == 0) is not masked or masked
    assert model.edge_prior.allowed.sum() == (model.listed.sum() if masked else 44)


@pytest.mark.parametrize("prior", [Normal(scale=0.3), Laplace(scale=0.1)])
@pytest.mark.parametrize("guide", [MapEstimate(), MeanField()])
def test_other_priors_take_gradient_guides(small, prior, guide):
    simulation, networks = small
    model = NetREXCF.from_data(simulation.data, networks=networks, edge_prior=prior, rank=2)
    assert model.presence == "absolute"
    posterior = fit(model, guide=guide, num_steps=20, num_draws=5, restarts=2)
    for name, dims in model.dims.items():
        assert posterior.draws[name].shape == (2, 5, *(len(model.coords[d]) for d in dims))
        assert np.isfinite(posterior.draws[name]).all()


def test_the_engine_and_gradients_agree_on_the_absolute_reading(small):
    """Adam from the same start ends no lower than the exact blocks."""
    simulation, networks = small
    model = NetREXCF.from_data(simulation.data, networks=networks, presence="absolute", rank=2)
    exact = fit(model, guide=BlockDescent(restarts=8, tol=1e-9, max_iterations=2000))
    slow = fit(model, guide=MapEstimate(), num_steps=600, num_draws=1, restarts=2)
    best = log_joint_of(model, exact.draws).max()
    assert best > log_joint_of(model, slow.draws).max() - 0.05 * abs(best)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"presence": "maybe"}, "`presence` is 'maybe', expected indicator or absolute"),
        ({"activity_penalty": 0.0}, "`activity_penalty` is 0.0, expected a number above 0"),
        ({"listed_cost": -1.0}, "`listed_cost` is -1.0, expected a number of 0 or more"),
        ({"rank": 0}, "`rank` is 0"),
        ({"targets": ["G0001", "QQ"]}, "'QQ'"),
    ],
)
def test_bad_options_are_refused_by_name(small, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        NetREXCF.from_data(small[0].data, **options)
    assert "\n" not in str(caught.value)


def test_what_does_not_go_together_is_refused(small, tiny_data):
    simulation, networks = small
    model = NetREXCF.from_data(simulation.data, networks=networks, edge_prior=Normal())
    with pytest.raises(ValueError, match="BlockDescent is for ElasticNet"):
        fit(model, guide=BlockDescent())
    with pytest.raises(ValueError, match="at least one restart"):
        BlockDescent(restarts=0)
    X = tiny_data.X.clone()
    X[:, 5] = 1.0
    for rows in (slice(None), slice(0, 6)):
        with pytest.raises(ValueError, match=r"1 constant gene: \['G0005'\]"):
            NetREXCF.from_data(ExpressionData(X[rows], tiny_data.genes, tiny_data.tfs))
