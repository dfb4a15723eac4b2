"""Baselines: one contract for all of them, exact references for the linear ones, published figures on real files."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pyrogrn.experiments.baselines import (
    BASELINES,
    GENIE3,
    TIGRESS,
    Correlation,
    GraphicalLasso,
    GRNBoost2,
    PriorOnly,
    RandomControl,
    Ridge,
)
from pyrogrn.experiments.baselines.graphical_lasso import sparse_precision
from pyrogrn.experiments.scores import score_edges
from pyrogrn.models import ExpressionData
from pyrogrn.priors import PriorNetwork
from scipy.stats import spearmanr
from sklearn import covariance, linear_model
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
QUICK = {TIGRESS: {"num_splits": 10}, GENIE3: {"num_trees": 20}, GRNBoost2: {"num_trees": 100}}
CASES = [pytest.param(c(**QUICK.get(c, {})), id=c.__name__) for c in BASELINES]
LEARNERS = [case for case in CASES if not isinstance(case.values[0], RandomControl)]


def simulate(num_cells=300, num_genes=9, seed=0, **edges):
    """Data of genes g0 … with TFs g0, g3, g5 (g4 constant), where ``g0_g7=2.0`` adds 2 × g0 to g7."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(num_cells, num_genes)) * np.linspace(0.5, 3, num_genes) + 5
    for edge, strength in edges.items():
        source, target = (int(name[1:]) for name in edge.split("_"))
        X[:, target] += strength * X[:, source]
    X[:, 4] = 1.7
    frame = pd.DataFrame(X.astype(np.float32), columns=[f"g{i}" for i in range(num_genes)])
    return ExpressionData.from_frame(frame, tfs=["g0", "g3", "g5"])


@pytest.fixture(scope="module")
def data():
    """g0 activates g7 and the TF g3, g5 represses g1."""
    return simulate(g0_g7=12.0, g0_g3=1.5, g5_g1=-2.0)


def matrix(edges, data):
    """Weights (tf, gene), NaN for the self-pairs."""
    wide = edges.set_index(["source", "target"])["weight"]
    return wide.reindex(pd.MultiIndex.from_product([data.tfs, data.genes])).to_numpy().reshape(len(data.tfs), -1)


# -- the contract ----


@pytest.mark.parametrize("baseline", CASES)
def test_table_lists_every_pair_once_sorted(baseline, data):
    edges = baseline(data)
    assert list(edges.columns) == ["source", "target", "weight"]
    assert len(edges) == 3 * 9 - 3
    assert not edges.duplicated(["source", "target"]).any()
    assert (edges["source"] != edges["target"]).all()
    assert set(edges["source"]) == set(data.tfs)
    assert set(edges["target"]) == set(data.genes)
    assert np.isfinite(edges["weight"]).all()
    assert edges["weight"].abs().is_monotonic_decreasing
    assert edges.index.tolist() == list(range(len(edges)))


@pytest.mark.parametrize("baseline", CASES)
def test_same_seed_same_table_and_data_untouched(baseline, data):
    before, state = data.X.clone(), np.random.get_state()[1].copy()  # noqa: NPY002
    pd.testing.assert_frame_equal(baseline(data, seed=5), baseline(data, seed=5))
    assert bool((before == data.X).all())
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@pytest.mark.parametrize(
    "baseline", [c for c in CASES if type(c.values[0]) in (TIGRESS, GENIE3, GRNBoost2, RandomControl)]
)
def test_another_seed_another_table(baseline, data):
    assert not np.array_equal(baseline(data, seed=1)["weight"], baseline(data, seed=2)["weight"])


@pytest.mark.parametrize("baseline", LEARNERS)
def test_strong_edges_lead_and_a_constant_gene_has_none(baseline, data):
    edges = baseline(data)
    best = edges.drop_duplicates("target").set_index("target")["source"]  # the table is sorted
    assert (best["g7"], best["g3"], best["g1"]) == ("g0", "g0", "g5")
    rank = {(s, t): i for i, (s, t) in enumerate(edges[["source", "target"]].to_numpy())}
    assert max(rank["g0", "g7"], rank["g5", "g1"]) < len(edges) / 3
    assert (edges.loc[edges["target"] == "g4", "weight"] == 0).all()
    if edges["weight"].min() < 0:
        assert edges.set_index(["source", "target"])["weight"][("g5", "g1")] < 0 < edges["weight"].max()


@pytest.mark.parametrize("baseline", LEARNERS)
def test_single_tf_and_constant_tf(baseline):
    data = simulate(g0_g7=12.0)
    one = baseline(ExpressionData.from_frame(pd.DataFrame(data.X.numpy(), columns=data.genes), tfs=["g0"]))
    assert len(one) == 8
    assert one["weight"].abs()[0] == one["weight"].abs()[one["target"] == "g7"].item()  # LARS takes the only TF always
    flat = baseline(ExpressionData.from_frame(pd.DataFrame(data.X.numpy(), columns=data.genes), tfs=["g4", "g0"]))
    assert (flat.loc[flat["source"] == "g4", "weight"] == 0).all()


@pytest.mark.parametrize("baseline", CASES)
def test_double_precision_gives_the_same_table(baseline, data):
    single, double = baseline(data), baseline(data.to(dtype=torch.float64))
    np.testing.assert_allclose(matrix(double, data), matrix(single, data), atol=1e-6)


@pytest.mark.parametrize("baseline", LEARNERS)
def test_two_cells_are_refused(baseline):
    with pytest.raises(ValueError, match="Found 2 cells"):
        baseline(simulate(num_cells=2))


@pytest.mark.parametrize("baseline", CASES)
def test_names_are_distinct_and_settings_frozen(baseline):
    assert sum(c.values[0].name == baseline.name for c in CASES) == 1
    with pytest.raises(FrozenInstanceError):
        baseline.name = "other"


@pytest.mark.parametrize("kind", [TIGRESS, GENIE3, GRNBoost2])
def test_processes_do_not_change_the_result(kind, data):
    quick = {**QUICK[kind], "num_trees": 5} if kind is GENIE3 else QUICK[kind]
    pd.testing.assert_frame_equal(kind(**quick)(data), kind(**quick, num_jobs=2)(data))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Ridge, {"penalties": ()}),
        (Ridge, {"penalties": (1.0, 0.0)}),
        (GraphicalLasso, {"alpha": 0.0}),
        (TIGRESS, {"num_steps": 0}),
        (TIGRESS, {"alpha": 0.0}),
        (GENIE3, {"num_trees": 0}),
        (GRNBoost2, {"subsample": 1.0}),
    ],
)
def test_bad_settings_are_refused(kind, options):
    with pytest.raises(ValueError, match="expected"):
        kind(**options)


# -- exact references ----


def test_correlation_equals_numpy_and_scipy(data):
    X, varies = data.X.double().numpy(), [i for i in range(9) if i != 4]
    expected = np.corrcoef(X[:, varies].T)
    ranks = spearmanr(X[:, varies])[0]
    rows = [varies.index(i) for i in data.tf_index.tolist()]
    for found, reference in ((Correlation(), expected), (Correlation(spearman=True), ranks)):
        W = matrix(found(data), data)[:, varies]
        np.testing.assert_allclose(W[~np.isnan(W)], reference[rows][~np.isnan(W)], atol=1e-6)


def test_correlation_of_large_values_in_many_chunks():
    generator = np.random.default_rng(0)
    X = (1e4 + generator.normal(size=(20_000, 3))).astype(np.float32)
    data = ExpressionData.from_frame(pd.DataFrame(X, columns=["a", "b", "c"]), tfs=["a"])
    expected = np.corrcoef(X.astype(np.float64).T)[0, 1:]
    np.testing.assert_allclose(matrix(Correlation()(data), data)[0, 1:], expected, atol=1e-9)


@pytest.mark.parametrize("penalty", [1e-3, 0.3, 10.0])
def test_ridge_equals_scikit_learn(data, penalty):
    W = matrix(Ridge(penalties=(penalty,))(data), data)
    X = data.X.double().numpy()
    Z = (X - X.mean(0)) / np.where(X.std(0) > 1e-6, X.std(0), 1.0)
    for gene in (0, 1, 3, 7):  # TFs and others
        use = [i for i in data.tf_index.tolist() if i != gene]
        rows = [data.tf_index.tolist().index(i) for i in use]
        model = linear_model.Ridge(alpha=penalty * len(Z)).fit(Z[:, use], Z[:, gene])
        np.testing.assert_allclose(W[rows, gene], model.coef_, atol=1e-6)


def test_ridge_chooses_the_penalty_of_smallest_gcv():
    data = simulate(num_cells=25, g0_g7=1.0, g0_g3=0.3, seed=3)
    X = data.X.double().numpy()
    Z = (X - X.mean(0)) / np.where(X.std(0) > 1e-6, X.std(0), 1.0)
    grid = (1e-3, 0.03, 0.1, 0.5, 3.0)
    W = matrix(Ridge(penalties=grid)(data), data)
    alone = [matrix(Ridge(penalties=(p,))(data), data) for p in grid]
    chosen = set()
    for gene in (0, 1, 2, 3, 7, 8):
        use = [i for i in data.tf_index.tolist() if i != gene]
        criterion = []
        for penalty in grid:
            hat = Z[:, use] @ np.linalg.solve(Z[:, use].T @ Z[:, use] + 25 * penalty * np.eye(len(use)), Z[:, use].T)
            residual = ((Z[:, gene] - hat @ Z[:, gene]) ** 2).mean()
            criterion.append(residual / (1 - (1 + np.trace(hat)) / 25) ** 2)
        best = int(np.argmin(criterion))
        chosen.add(best)
        np.testing.assert_array_equal(W[:, gene], alone[best][:, gene])
    assert len(chosen) > 1  # the example does choose


def test_graphical_lasso_with_little_penalty_is_the_partial_correlation(data):
    W = matrix(GraphicalLasso(alpha=1e-6)(data), data)
    varies = [i for i in range(9) if i != 4]
    precision = np.linalg.inv(np.corrcoef(data.X.double().numpy()[:, varies].T))
    partial = -precision / np.sqrt(np.outer(np.diag(precision), np.diag(precision)))
    expected = partial[[varies.index(i) for i in data.tf_index.tolist()]]
    found = W[:, varies]
    np.testing.assert_allclose(found[~np.isnan(found)], expected[~np.isnan(found)], atol=1e-3)


@pytest.fixture
def numpy_restored(no_global_state_changed):
    """For scikit-learn code that draws from numpy's global generator."""
    state = np.random.get_state()  # noqa: NPY002
    yield
    np.random.set_state(state)  # noqa: NPY002


@pytest.mark.usefixtures("numpy_restored")
def test_graphical_lasso_equals_scikit_learn():
    S = np.corrcoef(np.random.default_rng(0).normal(size=(40, 12)).T)
    S[0, 1] = S[1, 0] = 0.8
    for alpha in (0.05, 0.2, 2.0):
        _, expected = covariance.graphical_lasso(S, alpha, tol=1e-8, enet_tol=1e-10, max_iter=1000)
        np.testing.assert_allclose(sparse_precision(S, alpha, tolerance=1e-8), expected, atol=1e-4)


def test_graphical_lasso_with_more_genes_than_cells_meets_its_optimality_conditions():
    S = np.corrcoef(np.random.default_rng(0).normal(size=(15, 40)).T)
    found = sparse_precision(S, 0.3, tolerance=1e-8)
    gradient = np.linalg.inv(found) - S  # = alpha * sign(found) where found is not 0, within ±alpha elsewhere
    np.fill_diagonal(off := found.copy(), 0.0)
    assert np.abs(np.diag(gradient)).max() < 1e-5
    assert np.abs(gradient[off != 0] - 0.3 * np.sign(off[off != 0])).max() < 1e-5
    assert np.abs(gradient).max() < 0.3 + 1e-5
    assert 0.05 < (off != 0).mean() < 0.95
    with pytest.warns(ConvergenceWarning, match="after 3 iterations"):
        sparse_precision(S, 0.3, max_iter=3)


def test_graphical_lasso_default_penalty_is_the_documented_rule(data):
    rule = np.sqrt(np.log(9) / 300)
    pd.testing.assert_frame_equal(GraphicalLasso()(data), GraphicalLasso(alpha=rule)(data))


# -- what the importances mean ----


def test_tigress_area_scores(data):
    W = matrix(TIGRESS(num_steps=1, num_splits=8)(data), data)
    varies = [i for i in range(9) if i != 4]
    np.testing.assert_allclose(np.nansum(W, axis=0)[varies], 1.0)  # one TF is first in every half
    two = np.nan_to_num(matrix(TIGRESS(num_steps=2, num_splits=8)(data), data))
    np.testing.assert_allclose(two.sum(0)[[1, 2, 7]], (1 + 2) / 2)  # F(1) sums to 1, F(2) to 2
    np.testing.assert_allclose(two.sum(0)[[0, 3, 5]], (1 + 2) / 2)
    assert two.max() <= 1.0
    assert two[0, 7] > 0.9  # g0 is first for g7 but for unlucky random weights


def test_genie3_importance_is_the_variance_explained(data):
    W = np.nan_to_num(matrix(GENIE3(num_trees=30)(data), data))
    explained = W.sum(0)[[0, 1, 2, 3, 5, 6, 7, 8]]
    assert (np.abs(explained - 1) < 0.1).all()  # fully grown trees explain all of their bootstrap sample, signal or not
    extra = np.nan_to_num(matrix(GENIE3(num_trees=30, extra_trees=True)(data), data))
    np.testing.assert_allclose(extra.sum(0)[[1, 2, 7]], 1.0, atol=1e-6)  # no bootstrap: exactly the variance


def test_grnboost2_stops_early_where_nothing_can_be_predicted(data):
    trees = np.nansum(matrix(GRNBoost2(num_trees=400)(data), data), axis=0)
    np.testing.assert_allclose(trees, np.round(trees), atol=1e-6)  # a gene's importances sum to its trees
    assert (trees[[1, 7]] > 200).all()
    assert (trees[[2, 6, 8]] < 100).all()
    assert trees[4] == 0


def test_grnboost2_without_stopping_agrees_with_scikit_learn(data):
    found = matrix(GRNBoost2(num_trees=150, window=151, max_features=1.0)(data), data)
    for gene, use in ((7, [0, 3, 5]), (3, [0, 5])):
        model = GradientBoostingRegressor(learning_rate=0.01, n_estimators=150, subsample=0.9, random_state=0)
        model.fit(data.X.numpy()[:, use], data.X.numpy()[:, gene])
        rows = [data.tf_index.tolist().index(i) for i in use]
        np.testing.assert_allclose(found[rows, gene] / 150, model.feature_importances_, atol=0.02)


def test_random_control_scores_the_base_rate():
    data = simulate(num_cells=5, num_genes=400)
    truth = pd.DataFrame({"source": "g0", "target": [f"g{i}" for i in range(10, 130)]})
    values = [score_edges(RandomControl()(data, seed=s), truth, tfs=["g0"]) for s in range(20)]
    ap, auroc = np.array([(v["average_precision"], v["auroc"]) for v in values]).T
    for found, expected in ((ap, values[0]["base_rate"]), (auroc, 0.5)):
        # average precision of a random order exceeds the base rate by about log(n) / n
        assert abs(found.mean() - expected) < 4 * found.std(ddof=1) / np.sqrt(20) + np.log(400) / 400


def test_prior_only_returns_signed_probabilities(data):
    listed = pd.DataFrame(
        {"source": ["g0", "g5", "g3"], "target": ["g7", "g1", "g2"], "probability": [0.9, 0.7, 0.4], "sign": [1, -1, 0]}
    )
    prior = PriorNetwork.from_edges(listed, name="motif")
    edges = PriorOnly(prior)(data)
    assert len(edges) == 24
    assert list(zip(edges["source"][:3], edges["target"][:3], strict=True)) == [
        ("g0", "g7"),
        ("g5", "g1"),
        ("g3", "g2"),
    ]
    assert edges["weight"][:3].tolist() == pytest.approx([0.9, -0.7, 0.4])
    assert (edges["weight"][3:] == 0).all()
    with pytest.raises(ValueError, match="motif"):
        PriorOnly(PriorNetwork.from_edges(listed.assign(source="x"), name="motif"))(data)


# -- figures on shared files ----


def load(dataset, layer=None, network="network.csv", transform=None):
    folder = DATA / dataset
    if not folder.exists():
        pytest.skip(f"shared data {dataset} is not beside this checkout")
    anndata = pytest.importorskip("anndata")
    adata = anndata.read_h5ad(folder / "expression.h5ad")
    truth = pd.read_csv(folder / network)
    X = adata.X if layer is None else adata.layers[layer]
    X = X if isinstance(X, np.ndarray) else X.toarray()
    frame = pd.DataFrame(X if transform is None else transform(X), columns=list(adata.var_names))
    return ExpressionData.from_frame(frame, tfs=sorted(set(truth["source"]) & set(frame.columns))), truth


@pytest.mark.parametrize(
    ("dataset", "layer", "network", "auroc", "ap", "base_rate"),
    [
        ("sergio_ds1", None, "network.csv", 0.821, 0.715, 0.2606),
        ("sergio_ds1", "counts_dropout_only", "network.csv", 0.853, 0.736, 0.2606),
        ("sergio_ds1", "clean", "network.csv", 0.865, 0.778, 0.2606),
        ("sergio_ds2", "clean", "network.csv", 0.769, 0.359, 0.0782),
        ("beeline_mdc", None, "network_chipseq.csv.gz", 0.535, 0.051, 0.0461),
        ("beeline_mdc", None, "network_string.csv.gz", 0.502, 0.023, 0.0222),
    ],
)
def test_correlation_reproduces_the_sanity_table(dataset, layer, network, auroc, ap, base_rate):
    data, truth = load(dataset, layer, network)
    found = score_edges(Correlation()(data), truth)
    assert found["auroc"] == pytest.approx(auroc, abs=6e-4)
    assert found["average_precision"] == pytest.approx(ap, abs=6e-4)
    assert found["base_rate"] == pytest.approx(base_rate, abs=6e-5)
    assert found.matching.truth_outside == 0


@pytest.mark.parametrize(("dataset", "ap"), [("sergio_ds1", 0.84), ("sergio_ds2", 0.57)])
def test_ridge_on_log_expression_reaches_its_known_precision(dataset, ap):
    data, truth = load(dataset, "clean", transform=np.log1p)
    assert score_edges(Ridge()(data), truth)["average_precision"] == pytest.approx(ap, abs=0.01)


@pytest.mark.parametrize(
    ("baseline", "layer", "ap"),
    [
        (GraphicalLasso(), "clean", 0.443),
        (GraphicalLasso(), None, 0.380),
        (TIGRESS(num_splits=10), "clean", 0.780),
        (TIGRESS(num_splits=10), None, 0.671),
        (GENIE3(num_trees=10), None, 0.656),
        (GRNBoost2(num_trees=100), None, 0.678),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_other_baselines_keep_their_precision(baseline, layer, ap):
    """Guards against a baseline made weaker by accident; figures measured when it was written."""
    data, truth = load("sergio_ds1", layer)
    assert score_edges(baseline(data), truth)["average_precision"] == pytest.approx(ap, abs=0.02)
