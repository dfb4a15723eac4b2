"""Ridge regression on inputs, and one answer of it and the network."""

import numpy as np
import pandas as pd
import pytest
from pyrogrn.inference import MeanField, fit
from pyrogrn.inference.answers.cellbox_ridge import PENALTIES, Prediction, blend, ridge
from pyrogrn.models import CellBox, ExpressionData


def made(seed=0, conditions=40, nodes=6, drugs=4, noise=0.3):
    """Responses in proportion to doses, and doses of twelve more conditions."""
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(nodes, nodes)) * (np.arange(nodes) < drugs)[:, None]
    U = np.where(np.arange(nodes) < drugs, rng.random((conditions + 12, nodes)) < 0.4, 0) * rng.random(
        (conditions + 12, 1)
    )
    X = U @ B + noise * rng.normal(size=(conditions + 12, nodes))
    return X[:conditions], U[:conditions], X[conditions:], U[conditions:]


def test_ridge_is_the_posterior_of_its_penalty():
    X, U, _, new = made()
    found = ridge(X, U, new)
    acts = U.any(0)
    errors = {}
    for penalty in PENALTIES:
        for i in range(len(X)):
            rest = np.arange(len(X)) != i
            A = U[rest][:, acts].T @ U[rest][:, acts] + penalty * np.eye(acts.sum())
            B = np.linalg.solve(A, U[rest][:, acts].T @ X[rest])
            errors[penalty] = errors.get(penalty, 0) + ((X[i] - U[i, acts] @ B) ** 2).sum()
    best = min(errors, key=errors.get)
    gram = np.eye(len(X)) + U[:, acts] @ U[:, acts].T / best  # covariance of a node beside its noise
    cross = new[:, acts] @ U[:, acts].T / best
    np.testing.assert_allclose(found.mean, cross @ np.linalg.solve(gram, X), atol=1e-8)
    noise = np.einsum("ci,cd,di->i", X, np.linalg.inv(gram), X) / len(X)
    left = 1 + (new[:, acts] ** 2).sum(1) / best - np.einsum("nc,cd,nd->n", cross, np.linalg.inv(gram), cross)
    np.testing.assert_allclose(found.variance, noise * left[:, None], rtol=1e-8)


def test_intervals_of_ridge_hold():
    inside = []
    for seed in range(10):
        X, U, truth, new = made(seed)
        found = ridge(X, U, new)
        inside.append((np.abs(found.mean - truth) <= 1.645 * np.sqrt(found.variance)).mean())
    assert 0.83 < np.mean(inside) < 0.96


def test_the_surer_one_counts_more():
    sure, vague = (Prediction(np.full((1, 3), m), np.full((1, 3), v)) for m, v in ((1.0, 0.01), (5.0, 100.0)))
    for one, other, share in ((sure, vague, 1.0), (vague, sure, 0.0)):
        found = blend(one, other)
        assert found.share[0] == pytest.approx(share, abs=1e-3)
        np.testing.assert_allclose(found.mean, 1.0, atol=0.01)
    same = blend(sure, sure)
    np.testing.assert_allclose(same.sd, 0.1)
    assert np.isnan(blend(Prediction(np.full((1, 3), np.nan), np.ones((1, 3))), sure).mean).all()


def test_predictions_have_both_and_what_they_are_made_of():
    X, U, _, new = made(conditions=20)
    names = [f"n{i}" for i in range(6)]
    frame = lambda values: pd.DataFrame(values, columns=names)
    data = ExpressionData.from_frame(frame(X)).with_inputs(frame(U))
    model = CellBox.from_data(data, kinds=dict.fromkeys(names[:4], "drug_activity"))
    guide = MeanField(spread=0.001, init_scale=0.003)
    posterior = fit(model, guide=guide, num_steps=20, num_draws=40, restarts=1, seed=0)
    doses = {name: float(dose) for name, dose in zip(names, new[0], strict=True) if dose}
    table = posterior.predict(inputs=doses, num_draws=40)
    assert list(table.columns)[-3:] == ["network", "ridge", "network_share"]
    share = table["network_share"].iloc[0]
    assert 0 < share < 1
    mixed = share * table["network"] + (1 - share) * table["ridge"]
    assert np.abs(mixed - table["mean"]).max() < 0.6 * table["sd"].max(), "draws have the noise of a measurement"
    alone = ridge(X, U, frame(new)[:1].to_numpy())
    np.testing.assert_allclose(table["ridge"], alone.mean[0], atol=1e-5)
