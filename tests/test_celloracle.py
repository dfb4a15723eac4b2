"""CellOracle: bags against scikit-learn's ridge, cell types fitted apart, links, shifts of cells against loops."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.celloracle import celloracle, cells_of, links, simulate_shift
from pyrogrn.inference import fit
from pyrogrn.inference.engines.bagging import Bagging
from pyrogrn.models import LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, Horseshoe, Normal, PriorNetwork
from scipy import stats
from sklearn.linear_model import Lasso, Ridge


def grn(simulation, seed=0, share=0.4):
    """The true edges and some others."""
    W, data, rng = simulation.W[0].numpy(), simulation.data, np.random.default_rng(seed)
    pairs = [
        (s, t)
        for i, s in enumerate(data.tfs)
        for j, t in enumerate(data.genes)
        if s != t and (W[i, j] or rng.random() < share)
    ]
    frame = pd.DataFrame(pairs, columns=["source", "target"]).assign(probability=0.9)
    return PriorNetwork.from_edges(frame, name="base GRN")


@pytest.fixture(scope="module")
def knocked():
    """One cell type, two regulators knocked out."""
    return simulate_linear(
        num_genes=8, num_tfs=3, num_cells=60, edge_probability=0.5, num_perturbed=2, cells_per_perturbation=9, seed=1
    )


@pytest.fixture(scope="module")
def types():
    """Two cell types."""
    return simulate_linear(num_genes=8, num_tfs=3, num_cells=120, edge_probability=0.5, num_contexts=2, seed=3)


def test_every_bag_is_scikit_learns_ridge_on_its_bootstrap_sample(knocked):
    """Coefficients of all targets; cells in which a target is clamped have no say in its own regression."""
    data, alpha = knocked.data, 7.0
    model = LinearNetwork.from_data(
        data, edge_prior=HardMask(Normal(scale=alpha**-0.5)), networks={"base GRN": grn(knocked)}
    )
    posterior = fit(model, data, guide=Bagging(num_bags=4, chains=2), seed=5)
    X = (data.X.double() - model.context_mean[0]).numpy() / model.scale.numpy()
    clamped, allowed = data.clamped.numpy(), model.edge_prior.allowed.numpy()
    for bag in range(4):
        count = np.random.default_rng([5, bag]).multinomial(len(X), np.full(len(X), 1 / len(X)))
        W, noise = (posterior.draws[name][bag % 2, bag // 2] for name in ("W", "noise_variance"))
        for g in range(8):
            weight, chosen = count * ~clamped[:, g], allowed[:, g]
            if not chosen.any():
                assert (W[:, g] == 0).all()
                continue
            ridge = Ridge(alpha=alpha).fit(X[:, :3][:, chosen], X[:, g], sample_weight=weight)
            np.testing.assert_allclose(W[chosen, g], ridge.coef_, atol=1e-5)
            error = (weight * (X[:, g] - ridge.predict(X[:, :3][:, chosen])) ** 2).sum() / (weight.sum() - 1)
            assert noise[g] == pytest.approx(error, rel=1e-4)


def test_bags_have_the_spread_of_sampling(types):
    """Over 40 data sets from one network, bags' sd is that of the estimates, within its own error."""
    spread, estimates = [], []
    for seed in range(40):
        X = torch.randn(100, 3, generator=torch.Generator().manual_seed(seed))
        X[:, 2] += 0.8 * X[:, 0]
        data = replace(types.data, matrix=X, genes=("A", "B", "C"), tfs=("A", "B"), context=None, context_names=("a",))
        frame = pd.DataFrame({"source": ["A", "B"], "target": ["C", "C"], "probability": 0.9})
        found = celloracle(data, PriorNetwork.from_edges(frame, name="g"), num_bags=40, seed=seed)["a"].draws["W"]
        spread.append(found.reshape(-1, 2).std(0))
        estimates.append(found.mean((0, 1))[:, 0])
    ratio = np.mean(spread, axis=0) / np.std(estimates, axis=0, ddof=1)
    np.testing.assert_allclose(ratio, 1, atol=0.5)  # the sd of 40 estimates is known to 11%


@pytest.mark.parametrize("estimator", ["bagging", "bayesian", "lasso"])
def test_cell_types_are_fitted_apart(types, estimator):
    """The fit of one type does not change with the cells of the other; edges off the base GRN do not exist."""
    network, names = grn(types), types.data.context_names
    first = names[0]
    wanted = names if estimator == "bagging" else names[:1]  # the others take seconds
    found = celloracle(types.data, network, estimator=estimator, num_bags=8, num_steps=30, cell_types=wanted, seed=2)
    assert tuple(found) == wanted
    alone = celloracle(cells_of(types.data, first), network, estimator=estimator, num_bags=8, num_steps=30, seed=2)
    alone = alone[first]
    np.testing.assert_array_equal(found[first].draws["W"], alone.draws["W"])
    pairs = set(map(tuple, network.to_frame()[["source", "target"]].to_numpy()))
    for posterior in found.values():
        table = posterior.edges()
        assert set(map(tuple, table[["source", "target"]].to_numpy())) <= pairs
        assert np.isfinite(table["weight"]).all()
        assert posterior.calibrated is (estimator == "bayesian")


def test_the_lasso_sets_edges_to_nearly_zero_as_scikit_learn_does(types):
    first = types.data.context_names[0]
    posterior = celloracle(types.data, grn(types), estimator="lasso", lasso_scale=0.05, cell_types=[first])[first]
    W, noise = posterior.draws["W"][0, 0], posterior.draws["noise_variance"][0, 0]
    X = cells_of(types.data, first).X.double().numpy()
    X = (X - X.mean(0)) / X.std(0, ddof=1)
    allowed, genes = posterior.model.edge_prior.allowed.numpy(), list(types.data.genes)
    for j, target in enumerate(posterior.coords["target"]):
        alpha = 20.0 * noise[j] / len(X)
        lasso = Lasso(alpha=alpha, random_state=0).fit(X[:, :3][:, allowed[:, j]], X[:, genes.index(target)])
        np.testing.assert_allclose(W[allowed[:, j], j], lasso.coef_, atol=0.02)


def test_links_have_the_p_values_of_a_t_test(types):
    first = types.data.context_names[0]
    posterior = celloracle(types.data, grn(types), num_bags=12, cell_types=[first])[first]
    table = links(posterior)
    assert list(table.columns) == ["source", "target", "coef_mean", "coef_abs", "p", "-logp"]
    draws = posterior.draws["W"].reshape(12, *posterior.draws["W"].shape[2:])
    row = table.iloc[3]
    values = draws[:, posterior.coords["tf"].index(row["source"]), posterior.coords["target"].index(row["target"])]
    assert row["p"] == pytest.approx(stats.ttest_1samp(values.astype(float), 0).pvalue, rel=1e-4)
    assert row["coef_mean"] == pytest.approx(values.mean(), rel=1e-5)
    assert table["coef_abs"].is_monotonic_decreasing
    lasso = celloracle(types.data, grn(types), estimator="lasso", num_steps=20, cell_types=[first])[first]
    assert links(lasso)["p"].isna().all()


def loop_shift(W, X, clamped, floor, steps):
    """CellOracle's loop: propagate, hold the clamped genes, cut at the floor."""
    start = np.zeros_like(X)
    for gene, value in clamped.items():
        start[:, gene] = value - X[:, gene]
    delta = start.copy()
    for _ in range(steps):
        delta = delta @ W
        delta = np.maximum(X + delta, floor) - X
        for gene in clamped:
            delta[:, gene] = start[:, gene]
    return delta


@pytest.mark.parametrize("steps", [1, 3])
def test_shifts_of_cells_equal_the_plain_loop(types, steps):
    positive = replace(types.data, matrix=(types.data.X + 1).clamp_min(0))
    first = positive.context_names[0]
    posterior = celloracle(positive, grn(types), num_bags=8, cell_types=[first])[first]
    cells, model = cells_of(positive, first), posterior.model
    knocked, raised = model.tfs[0], model.tfs[1]
    found = simulate_shift(posterior, cells, knockout=[knocked], overexpress={raised: 4.0}, steps=steps)
    genes = list(model.genes)
    X = cells.X.double().numpy()[:, [cells.genes.index(g) for g in genes]]
    scale, each = model.scale.double().numpy(), []
    for draw in posterior.draws["W"].reshape(8, *posterior.draws["W"].shape[2:]):
        W = np.zeros((len(genes), len(genes)))
        for i, tf in enumerate(model.tfs):
            for j, target in enumerate(model.targets):
                s, t = genes.index(tf), genes.index(target)
                W[s, t] = draw[i, j] * scale[t] / scale[s]
        each.append(loop_shift(W, X, {genes.index(knocked): 0.0, genes.index(raised): 4.0}, 0.0, steps))
    np.testing.assert_allclose(found.mean, np.mean(each, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.sd, np.std(each, axis=0), atol=1e-5)
    average = np.mean(each, axis=1)
    np.testing.assert_allclose(found.table["change"], average.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.table["lower"], np.quantile(average, 0.055, axis=0), atol=1e-6)
    assert ((X + found.mean.to_numpy()) > -1e-6).all()


def test_without_a_floor_the_average_cell_moves_as_predict_says(types):
    """Posterior.predict carries the change of the average cell through the same networks."""
    first = types.data.context_names[0]
    low = replace(types.data, matrix=types.data.X)  # values are far from their floor in no direction: they are linear
    posterior = celloracle(low, grn(types), num_bags=8, cell_types=[first])[first]
    gene = posterior.model.tfs[0]
    cells = cells_of(low, first)
    level = float(cells.X[:, low.genes.index(gene)].mean()) + 0.05  # small, so that nothing meets its floor
    shift = simulate_shift(posterior, cells, overexpress={gene: level}).table.set_index("gene")["change"]
    predicted = posterior.predict(overexpress={gene: level}, steps=3).set_index("gene")
    change = predicted["mean"] - predicted["control"]
    np.testing.assert_allclose(shift[change.index], change, atol=0.02)


def test_bad_requests_are_refused_by_name(types):
    data, network = types.data, grn(types)
    with pytest.raises(ValueError, match="`estimator` is 'svm': choose one of bagging, bayesian, lasso"):
        celloracle(data, network, estimator="svm")
    with pytest.raises(ValueError, match=r"no cell types \['liver'\]"):
        celloracle(data, network, cell_types=["liver"])
    few = data.subset(np.r_[0:12, 60:90])
    with pytest.raises(ValueError, match=r"has \d+ cells, expected at least 20; name the types"):
        celloracle(few, network)
    elsewhere = PriorNetwork.from_edges(
        pd.DataFrame({"source": ["SOX2"], "target": ["NANOG"], "probability": [0.9]}), name="x"
    )
    with pytest.raises(ValueError, match="no target with a regulator among the genes"):
        celloracle(data, elsewhere)
    one = cells_of(data, data.context_names[0])
    model = LinearNetwork.from_data(one, edge_prior=Horseshoe())
    with pytest.raises(ValueError, match=r"needs Normal\(scale=...\) with a fixed scale"):
        fit(model, one, guide=Bagging())
    with pytest.raises(ValueError, match="Bagging resamples cells"):
        fit(LinearNetwork.from_data(one, edge_prior=Normal(scale=0.3)), guide=Bagging())
    with pytest.raises(ValueError, match="several contexts"):
        fit(LinearNetwork.from_data(data, edge_prior=Normal(scale=0.3)), data, guide=Bagging())
    with pytest.raises(ValueError, match="as many in each"):
        Bagging(num_bags=10, chains=4)
    posterior = celloracle(one, network, num_bags=4)[one.context_names[0]]
    with pytest.raises(ValueError, match="nothing to simulate"):
        simulate_shift(posterior, one)
    with pytest.raises(ValueError, match=r"not among the 3 regulators of this fit: \['G0007'\]"):
        simulate_shift(posterior, one, knockout=["G0007"])
    with pytest.raises(ValueError, match="clamped twice"):
        simulate_shift(posterior, one, knockout=["G0000"], overexpress={"G0000": 1.0})


def test_the_posterior_goes_the_way_of_all_others(types, tmp_path):
    """Table, interventions with intervals, DataTree, verdicts, disk."""
    first = types.data.context_names[0]
    posterior = celloracle(types.data, grn(types), num_bags=20, cell_types=[first])[first]
    cells = cells_of(types.data, first)
    table = posterior.predict(knockout=[posterior.model.tfs[0]], steps=3)
    assert (table["lower"] <= table["upper"]).all()
    solved = posterior.predict(knockout=[posterior.model.tfs[0]])
    assert solved["settled"].between(0, 1).all()
    tree = posterior.to_datatree(cells)
    assert tree["posterior"]["W"].shape[:2] == (4, 5)
    assert not posterior.diagnose(cells).empty
    posterior.save(tmp_path / "fit")
    pd.testing.assert_frame_equal(type(posterior).load(tmp_path / "fit").edges(), posterior.edges())
