"""The network of a time course: its regression against plain least squares, recovery, and what is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.inference import Gibbs, fit
from pyrogrn.inference.answers.panel_cells import panel_residuals
from pyrogrn.models import ExpressionData, TrajectoryNetwork
from pyrogrn.models.dynamics.relaxation import NODES, Activation, checked_transitions, kernel_weights, time_notes
from pyrogrn.models.simulators import simulate_courses
from pyrogrn.priors import PriorNetwork
from scipy.integrate import quad, simpson
from sklearn.metrics import average_precision_score

RATE = 0.7


@pytest.fixture(scope="module")
def courses():
    return simulate_courses(num_genes=6, num_trajectories=12, noise=0.05, seed=3).data


@pytest.fixture(scope="module")
def large():
    return simulate_courses(num_genes=20, num_trajectories=60, noise=0.02, seed=1)


def plain_columns(data, rate):
    """By Simpson's rule: ``F`` (pair, gene), response, intercept's column and divisor of every pair."""
    pairs = checked_transitions(data)
    phi = Activation.of(pairs)
    fine = torch.linspace(0, 1, 200 * NODES + 1, dtype=torch.float64)
    F, dt = np.empty(pairs.start.shape), pairs.dt.numpy()
    for p, gap in enumerate(dt):
        nodes = torch.linspace(0, 1, NODES + 1, dtype=torch.float64)[:, None]
        ends = phi(pairs.start[p] + (pairs.stop[p] - pairs.start[p]) * nodes).numpy()
        kernel = rate * gap * np.exp(-rate * gap * (1 - fine.numpy())) / (1 - np.exp(-rate * gap))
        for g in range(F.shape[1]):
            F[p, g] = simpson(kernel * np.interp(fine.numpy(), nodes[:, 0].numpy(), ends[:, g]), x=fine.numpy())
    d = np.exp(-rate * dt)
    return F, (pairs.stop - torch.as_tensor(d)[:, None] * pairs.start).double().numpy(), 1 - d, np.sqrt(1 + d**2)


def test_kernel_weights_integrate_straight_functions_exactly():
    dt = torch.tensor([0.01, 1.0, 30.0])
    weights = kernel_weights(RATE, dt).numpy()
    np.testing.assert_allclose(weights.sum(0), 1.0, rtol=1e-9)
    s = np.linspace(0, 1, NODES + 1)
    for gap, w in zip(dt.tolist(), weights.T, strict=True):
        a = RATE * gap
        mean = quad(lambda u, a=a: a * np.exp(-a * (1 - u)) / (1 - np.exp(-a)) * u, 0, 1, epsabs=1e-12)[0]
        assert w @ s == pytest.approx(mean, rel=1e-7)
        assert (w >= 0).all()


def test_squared_error_is_that_of_one_regression_at_a_time(courses):
    """Of every target: weighted least squares with an intercept and the gene's own level, its weights given."""
    model = TrajectoryNetwork.from_data(courses, rate=RATE).double()
    F, Y, column, width = plain_columns(courses, RATE)
    W = torch.as_tensor(np.random.default_rng(0).normal(size=(6, 6))).fill_diagonal_(0.0)
    found = model.squared_error(W)[0].numpy()
    scale, unit = model.scale.numpy(), model.unit.numpy()
    for t in range(6):
        y = (Y[:, t] / unit[t] - column * ((F / scale) @ W[:, t].numpy())) / width
        nuisance = np.column_stack([column, column * F[:, t]]) / width[:, None]
        left = y - nuisance @ np.linalg.lstsq(nuisance, y, rcond=None)[0]
        assert found[t] == pytest.approx(left @ left, rel=1e-4)
    assert model.dof.unique().tolist() == [len(Y) - 2]
    by_target = {int(i): block.gram for block in model.design().blocks() for i in block.column}
    gram = torch.stack([by_target[t] for t in range(6)]).numpy()
    X = torch.as_tensor(np.random.default_rng(1).normal(size=(3, 6, 6)))
    np.testing.assert_allclose(model.gram_product(X).numpy(), np.einsum("tsu,nut->nst", gram, X.numpy()), rtol=1e-6)


def test_residuals_are_those_of_the_regression(courses):
    model = TrajectoryNetwork.from_data(courses)
    posterior = fit(model, guide=Gibbs(num_chains=1, num_warmup=2, num_samples=1), seed=0)
    W, noise = torch.as_tensor(posterior.draws["W"][0, 0]).double(), posterior.draws["noise_variance"][0, 0]
    found = panel_residuals(posterior, model, courses, 1, np.random.default_rng(0))
    design = model.designs(courses)[0]
    weighted = found * noise * (1 - design.leverage.numpy())
    np.testing.assert_allclose(weighted.sum(0), model.double().squared_error(W)[0].numpy(), rtol=1e-3)
    row = design.regressors(4, 2) @ W[:, 2]
    assert float(row) == pytest.approx(float(design.fitted(W)[4, 2]), rel=1e-9)


def test_units_and_the_order_of_cells_do_not_matter(courses):
    factor, order = torch.tensor([10.0, 1.0, 0.1, 3.0, 7.0, 100.0]), np.random.default_rng(0).permutation(60)
    moved = replace(courses.to(dtype=torch.float64), matrix=courses.X.double() * factor - 50)
    W = torch.as_tensor(np.random.default_rng(0).normal(size=(6, 6)))
    expected = TrajectoryNetwork.from_data(courses).double().squared_error(W)
    for other in (moved, courses.subset(order)):
        torch.testing.assert_close(
            TrajectoryNetwork.from_data(other).double().squared_error(W), expected, rtol=1e-4, atol=0
        )


def precision(posterior, simulation):
    table = posterior.edges()
    true = {(e.source, e.target) for e in simulation.network.itertuples()}
    is_edge = [pair in true for pair in zip(table["source"], table["target"], strict=True)]
    right = table[is_edge].merge(simulation.network, on=["source", "target"])
    sure = right[right["inclusion"] > 0.9]
    assert (np.sign(sure["weight_x"]) == sure["sign"]).mean() > 0.95
    return average_precision_score(is_edge, table["inclusion"])


def test_the_network_is_found_and_a_good_prior_helps(large):
    engine = Gibbs(num_chains=2, num_warmup=60, num_samples=60)
    alone = precision(fit(TrajectoryNetwork.from_data(large.data), guide=engine, seed=0), large)
    assert alone > 0.8
    few = large.data.subset(np.flatnonzero(large.data.trajectory.numpy() < 12))
    truth = PriorNetwork.from_edges(large.network[["source", "target"]].assign(probability=0.9), name="truth")
    plain = precision(fit(TrajectoryNetwork.from_data(few), guide=engine, seed=0), large)
    informed = fit(TrajectoryNetwork.from_data(few, networks={"truth": truth}), guide=engine, seed=0)
    assert precision(informed, large) > plain + 0.05
    assert informed.trust()["mean"][0] > 2


def test_the_rate_need_only_be_of_the_right_order(large):
    engine = Gibbs(num_chains=2, num_warmup=60, num_samples=60)
    for rate in (0.3, 2.0):
        assert precision(fit(TrajectoryNetwork.from_data(large.data, rate=rate), guide=engine, seed=0), large) > 0.75


def test_bad_time_courses_are_refused(courses):
    def refused(data, message, **options):
        with pytest.raises(ValueError, match=message) as caught:
            TrajectoryNetwork.from_data(data, **options)
        assert "\n" not in str(caught.value)

    refused(ExpressionData(courses.X, courses.genes), "no times")
    refused(courses, "rate=0", rate=0.0)
    refused(courses, "not measured", targets=["X"])
    refused(courses.annotated(perturbed=["G0001"] + ["control"] * 59), "interventions")
    refused(courses.annotated(context=["a", "b"] * 30), "several contexts")
    refused(courses.with_times([0.0] * 60, [str(k) for k in range(60)]), "time")
    refused(courses.with_times([0.0] * 60), "time")
    refused(courses.subset(np.arange(8)), "expected at least 8")
    X = courses.X.clone()
    X[:, 2] = 1.0
    refused(replace(courses, matrix=X), "constant gene")
    X = courses.X.clone()
    X[7, 2] = torch.nan
    refused(replace(courses, matrix=X, missing=True), "missing")
    with pytest.raises(ValueError, match="12 cells have no time"):
        courses.with_times([np.nan] * 12 + [0.0] * 48)
    with pytest.raises(ValueError, match="3 times and"):
        courses.with_times([0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="not all numbers"):
        courses.with_times(["late"] * 60)
    with pytest.raises(ValueError, match="go together"):
        replace(courses, trajectory=None)


def test_notes_say_what_the_courses_are(courses):
    assert time_notes(courses) == ["48 pairs of consecutive times in 12 trajectories, 1 to 3 apart"]


def test_times_follow_cells_from_tables(courses, tmp_path):
    import anndata

    order = np.random.default_rng(0).permutation(60)
    names = np.asarray(courses.trajectory_names)[courses.trajectory.numpy()]
    obs = pd.DataFrame({"hour": courses.time.numpy(), "animal": names}, index=[f"c{i}" for i in range(60)])
    adata = anndata.AnnData(courses.X.numpy(), obs=obs, var=pd.DataFrame(index=list(courses.genes)))[order].copy()
    data = ExpressionData.from_anndata(adata, time_key="hour", trajectory_key="animal")
    assert data.trajectory_names == courses.trajectory_names
    np.testing.assert_array_equal(data.time.numpy(), courses.time.numpy()[order])
    for keys, message in (
        ({"time_key": "day"}, "no column 'day'"),
        ({"trajectory_key": "animal"}, "without time_key"),
    ):
        with pytest.raises(ValueError, match=message):
            ExpressionData.from_anndata(adata, **keys)


def test_simulated_courses_are_solutions():
    """Without noise, the change between close times is the rate."""
    found = simulate_courses(num_genes=5, num_trajectories=4, times=[0, 1e-3, 5], noise=0.0, seed=0)
    X = found.data.X.double().unflatten(0, (4, 3))
    start = X[:, 0]
    change = found.rate * (torch.sigmoid((start - 0.5) @ found.W + found.bias) - start)
    torch.testing.assert_close((X[:, 1] - start) / 1e-3, change, rtol=0, atol=0.01)
    assert not (found.W.diagonal() != 0).any()
    for options, message in (
        ({"times": [0, 0]}, "increasing"),
        ({"in_degree": 0}, "in_degree"),
        ({"strength": 0}, "strength=0"),
    ):
        with pytest.raises(ValueError, match=message):
            simulate_courses(**options)
