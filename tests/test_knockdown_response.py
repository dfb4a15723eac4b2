"""Learned responses to knock-downs: against regression on the features, on simulated panels, and what is averaged."""

import numpy as np
import pytest
import torch
from pyrogrn.models import ExpressionData
from pyrogrn.models.knockdown_response import KnockdownResponse, Responses, predict_knockdowns
from scipy.optimize import minimize
from scipy.stats import t

SCALES = torch.tensor([0.7, 0.2, 0.4, 0.3], dtype=torch.float64)  # copied, transposed of two contexts, noise


def shared_inputs(seed, contexts=3, genes=40, noise=0.3, factors=3):
    """Knock-downs that move a few hidden inputs, the same in every context; their effects are each context's own."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((genes, factors))
    logs = 5 + rng.standard_normal((contexts, 1, genes))
    logs = logs + z @ rng.standard_normal((contexts, factors, genes)) * 0.5
    logs = torch.as_tensor(logs + noise * rng.standard_normal(logs.shape))
    return Responses(logs, torch.ones(contexts, genes, dtype=torch.bool))


def hidden(responses, genes, contexts):
    """The same without knock-downs of ``genes`` in ``contexts``."""
    logs, seen = responses.logs.clone(), responses.seen.clone()
    for k in contexts:
        logs[k, genes], seen[k, genes] = 0.0, False
    return Responses(logs, seen)


# -- against dense algebra ----


def features(responses, contexts, sources):
    """``(gene knocked down, feature)`` by source, of mean square one in total over the genes it knows."""
    found = []
    for k in contexts:
        rows = responses.seen[k].numpy()
        logs = responses.logs[k].double().numpy()
        table = np.where(rows[:, None], logs - logs[rows].mean(0), 0.0)
        for part in ([table] if k in sources else []) + [table.T]:
            square = (part**2).sum(1)
            found.append(part / np.sqrt(square[square > 0].mean()))
    return found


def test_prediction_is_ridge_regression_on_the_features(monkeypatch):
    """With given scales: weights in feature space, N(0, scale τ²), integrated out by the normal equations."""
    monkeypatch.setattr(KnockdownResponse, "_fit", lambda self: (SCALES, torch.tensor(0.3, dtype=torch.float64)))
    responses = hidden(shared_inputs(0, contexts=2, genes=14), [3, 11], [0])
    query = torch.tensor([11, 3, 0])
    response = KnockdownResponse(responses, 0, [1])
    parts = features(responses, [0, 1], {1})  # transposed of 0; copied and transposed of 1
    order = SCALES[[0, 1, 2]].sqrt().numpy()
    F = np.hstack([s * part for s, part in zip(order, parts, strict=True)])
    known = responses.seen[0].numpy()
    Y = responses.logs[0].numpy()[known]
    copied = 0.3 * responses.logs[1].numpy()
    copied = copied - copied[known].mean(0)
    level = Y.mean(0)
    mean = level + copied[known]  # of the regression on the features
    noise = float(SCALES[-1])
    precision = F[known].T @ F[known] / noise + np.eye(F.shape[1])
    weights = np.linalg.solve(precision, F[known].T @ (Y - mean) / noise)
    # τ² at its mode: Yᵀ (FFᵀ + noise)⁻¹ Y over the number of knock-downs
    covariance = F[known] @ F[known].T + noise * np.eye(known.sum())
    tau2 = ((Y - mean) * np.linalg.solve(covariance, Y - mean)).mean(0)
    spread = noise + np.einsum("qf,fq->q", F[query], np.linalg.solve(precision, F[query].T))
    found = response.predict(query)
    np.testing.assert_allclose(found.mean.numpy(), level + copied[query] + F[query] @ weights, rtol=1e-8)
    np.testing.assert_allclose(found.sd.numpy(), np.sqrt(spread[:, None] * tau2), rtol=1e-8)


def test_scales_are_at_their_posterior_mode():
    responses = hidden(shared_inputs(1, contexts=2, genes=25), [0, 1, 2], [0])
    response = KnockdownResponse(responses, 0, [1])
    K = response.kernels[:, response.known[:, None], response.known].numpy()
    outer, n = response.outer.numpy(), len(response.known)
    a = float(response.carry)
    outer = outer[0] + a * outer[1] + a**2 * outer[2]

    def cost(scales):  # negative log posterior in the scales themselves, LogNormal(-3, 3)
        A = np.einsum("k,kij->ij", scales[:-1], K) + scales[-1] * np.eye(n)
        fit = np.trace(np.linalg.solve(A, outer))
        log = np.log(scales)
        return 0.5 * response.size * (np.linalg.slogdet(A)[1] + fit) + (log + 0.5 * ((log + 3) / 3) ** 2).sum()

    found = response.scales.numpy()
    best = minimize(
        lambda log: cost(np.exp(log)),
        np.log(found),
        method="L-BFGS-B",
        options={"maxiter": 40},
        bounds=[(-30, 5)] * len(found),
    )
    start = cost(np.full(len(found), 0.1))
    assert cost(found) - best.fun < 0.02 * (start - best.fun)


# -- is it any good? ----


def correlation(a, b):
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return float(((a * b).sum(1) / ((a * a).sum(1) * (b * b).sum(1)).sqrt()).mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_better_than_the_mean_where_contexts_share_inputs(seed):
    truth, genes = shared_inputs(seed), torch.arange(6)
    responses = hidden(truth, genes, [0])
    mean = truth.logs[0, 6:].mean(0)
    found = predict_knockdowns(responses, 0, genes)
    residual = truth.logs[0, genes] - mean
    error = (found.mean - truth.logs[0, genes]).square().mean()
    assert error < 0.4 * residual.square().mean()
    assert correlation(found.mean - mean, residual) > 0.7
    assert error > 0.3**2  # the noise cannot be known


def test_coverage_on_data_from_the_model():
    """Rows of one context drawn from the regression on the other: 90% intervals hold 90%, less what the mean, τ and
    scales at their mode leave out: 1.645 / sqrt(1 + 1/n) standard deviations of a t with n degrees."""
    inside, genes, query = [], 90, torch.arange(10)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        source = torch.as_tensor(rng.standard_normal((genes, genes)) @ rng.standard_normal((genes, genes)) / 8)
        K = source - source.mean(0)
        A, B = (torch.as_tensor(rng.standard_normal((genes, genes))) for _ in range(2))
        tau = torch.as_tensor(np.exp(0.5 * rng.standard_normal(genes)))
        Y = (0.08 * K @ A + 0.04 * K.T @ B + 0.4 * torch.as_tensor(rng.standard_normal((genes, genes)))) * tau
        truth = Responses(torch.stack([Y + 3.0, source]), torch.ones(2, genes, dtype=torch.bool))
        found = predict_knockdowns(hidden(truth, query, [0]), 0, query)
        inside.append(float(((found.mean - truth.logs[0, query]).abs() <= 1.645 * found.sd).double().mean()))
    error = np.std(inside, ddof=1) / len(inside) ** 0.5
    n = genes - len(query)
    expected = 1 - 2 * t.sf(1.645 / (1 + 1 / n) ** 0.5, n)
    assert abs(np.mean(inside) - expected) < 3 * error
    assert error < 0.02


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_a_knockdown_does_of_its_own_is_copied(seed):
    """Effects of full rank, which no low-rank carrying can learn from forty knock-downs: a is the share in common."""
    rng, genes, query = np.random.default_rng(seed), 50, torch.arange(8)
    own = [torch.as_tensor(rng.standard_normal((genes, genes))) for _ in range(3)]
    logs = torch.stack([0.6 * own[2] + 0.8 * own[0], own[2] + 0.1 * own[1]])
    truth = Responses(logs, torch.ones(2, genes, dtype=torch.bool))
    part = hidden(truth, query, [0])
    assert float(KnockdownResponse(part, 0, [1]).carry) == pytest.approx(0.6, abs=0.08)
    found = predict_knockdowns(part, 0, query)
    away = 1 - torch.eye(genes)[query]  # a gene's own level is not predicted
    error = ((found.mean - logs[0, query]) * away).square().sum() / away.sum()
    assert error == pytest.approx(0.8**2 + 0.06**2, rel=0.2)


# -- which contexts, which conditions ----


def test_each_gene_is_carried_from_the_contexts_that_saw_it():
    responses = shared_inputs(4, genes=16)
    responses = hidden(hidden(hidden(responses, [0, 1], [0]), [1, 2], [1]), [5], [0, 1, 2])
    query = torch.tensor([5, 1, 0, 2])
    found = predict_knockdowns(responses, 0, query)
    for i, sources in enumerate([[], [2], [1, 2], [2]]):
        alone = KnockdownResponse(responses, 0, sources).predict(query[i : i + 1])
        torch.testing.assert_close(found.mean[i], alone.mean[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found.sd[i], alone.sd[0], rtol=1e-6, atol=1e-6)


def test_too_few_knockdowns_are_refused():
    responses = hidden(shared_inputs(0, contexts=2, genes=14), [0, 1, 2], [0])
    assert len(KnockdownResponse(responses, 0, [1]).known) == 11
    few = hidden(responses, [3, 4], [1])
    with pytest.raises(ValueError, match="9 single knock-downs to learn from: expected at least 10"):
        KnockdownResponse(few, 0, [1])


def test_a_context_with_few_knockdowns_is_no_source():
    """Here one of four, too few to learn how to carry one; and one whose only knock-down says nothing at all."""
    responses = shared_inputs(3, contexts=4, genes=20)
    poor = hidden(responses, list(range(12)), [2])  # 8 shared with context 0
    poor = hidden(poor, list(range(19)), [3])  # one
    query = torch.tensor([15, 19])
    found = predict_knockdowns(poor, 0, query)
    alone = KnockdownResponse(poor, 0, [1]).predict(query)
    assert torch.isfinite(found.mean).all()
    assert bool((found.sd > 0).all())
    torch.testing.assert_close(found.mean, alone.mean, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="8 single knock-downs"):
        predict_knockdowns(poor, 2, query)


def test_responses_average_replicates_and_leave_combinations_out():
    genes = tuple("ABCD")
    X = torch.exp(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)))
    X[1, 0] = 0.0  # knocked out
    perturbed = torch.tensor([[1, 0], [2, 0], [3, 1], [4, 1], [4, 2], [5, 2], [7, 0], [8, 3]])  # 0, 6: controls
    context = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1])
    data = ExpressionData(X, genes, perturbed=perturbed, context=context, context_names=("one", "two"))
    found = Responses.from_data(data)
    assert found.seen.tolist() == [[True, True, True, False], [True, False, False, True]]
    Y = X.log()
    assert torch.isfinite(found.logs).all()
    torch.testing.assert_close(found.logs[0, 0, 1:], (Y[1] + Y[2])[1:] / 2)
    torch.testing.assert_close(found.logs[0, 1, [0, 2, 3]], Y[3, [0, 2, 3]])  # not averaged with the combination
    torch.testing.assert_close(found.logs[0, 2, [0, 1, 3]], Y[5, [0, 1, 3]])
    torch.testing.assert_close(found.logs[0, 0, 0], (Y[3, 0] + Y[5, 0]) / 2)  # own level: the mean of the others
    torch.testing.assert_close(found.logs[0, 1, 1], ((Y[1, 1] + Y[2, 1]) / 2 + Y[5, 1]) / 2)
    torch.testing.assert_close(found.logs[1, 0, 1:], Y[7, 1:])
    torch.testing.assert_close(found.logs[1, 3, 3], Y[7, 3])
    assert (found.logs[~found.seen] == 0).all()


def test_no_knockdowns_are_no_responses():
    data = ExpressionData(torch.ones(3, 2), ("A", "B"))
    assert not Responses.from_data(data).seen.any()
