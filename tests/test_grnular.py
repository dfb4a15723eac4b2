"""GRNULar: its losses and its Adam against references, what it finds, its gradients, symmetries and hard inputs."""

import numpy as np
import pytest
import torch
from pyrogrn.inference.amortised.grnular import GRNULar, _adam, dependency, not_self
from pyrogrn.inference.amortised.losses import balanced_loss, f_beta_loss, log_loss
from scipy.stats import spearmanr
from sklearn.metrics import fbeta_score, roc_auc_score
from torch import nn


def make(seed=0, **options):
    """A float64 network with reproducible numbers of its own."""
    sizes = {"num_iterations": 2, "num_inner": 2, "init_epochs": 20} | options
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GRNULar(**sizes).double()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(genes=12, tfs=3, cells=200, seed=0):
    """Cells, positions of regulators and true edges: every other gene follows one or two of the regulators."""
    generator = torch.Generator().manual_seed(seed)
    X = noise(cells, genes, seed=seed)
    edges = torch.zeros(tfs, genes, dtype=torch.float64)
    for gene in range(tfs, genes):
        edges[torch.randperm(tfs, generator=generator)[: 1 + gene % 2], gene] = 1.0
    sign = torch.where(torch.rand(tfs, genes, generator=generator) < 0.5, -1.0, 1.0)
    X[:, tfs:] = X[:, :tfs] @ (edges * sign)[:, tfs:] + 0.3 * X[:, tfs:]
    return X, torch.arange(tfs), edges


def loss_of(model, X, tf_index, weights):
    """J with Z = 0 and λ of goodINIT."""
    x, y = model._inputs(X, tf_index)
    zero, one = x.new_zeros(()), x.new_full(x.shape[:-2], model.init_penalty)
    return float(model._loss(weights, x, y, zero, one, 0.0))


# -- losses ----


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 5.0])
def test_f_beta_of_binary_matrices_is_the_count_formula(beta):
    guess, truth = (noise(6, 9, seed=s) > 0.3 for s in (1, 2))
    mask = not_self(torch.arange(6), 9).double()
    kept = mask.bool()
    tp = int((guess & truth & kept).sum())
    fp, fn = int((guess & ~truth & kept).sum()), int((~guess & truth & kept).sum())
    counted = 1 - (1 + beta**2) * tp / ((1 + beta**2) * tp + beta**2 * fn + fp)
    # tanh(30) is 1 to the last digit; the sign of Θ does not count
    found = f_beta_loss(-30.0 * guess.double(), truth.double(), mask, beta=beta)
    assert float(found) == pytest.approx(counted, rel=1e-12)
    assert float(found) == pytest.approx(1 - fbeta_score(truth[kept], guess[kept], beta=beta), rel=1e-12)


def test_f_beta_is_0_when_right_1_when_wrong_and_a_mean_over_graphs():
    truth = (noise(2, 4, 5) > 0).double()
    mask = torch.ones_like(truth)
    assert float(f_beta_loss(30 * truth, truth, mask)) == pytest.approx(0.0, abs=1e-12)
    assert float(f_beta_loss(30 * (1 - truth), truth, mask)) == 1.0
    assert float(f_beta_loss(torch.zeros_like(truth), torch.zeros_like(truth), mask)) == 1.0  # no edges at all: finite
    score = noise(2, 4, 5, seed=1)
    each = [float(f_beta_loss(s, t, m)) for s, t, m in zip(score, truth, mask, strict=True)]
    assert float(f_beta_loss(score, truth, mask)) == pytest.approx(np.mean(each), rel=1e-12)


def test_the_ratio_of_the_balanced_loss_carries_no_gradient():
    truth, mask = (noise(4, 7, seed=3) > 0).double(), not_self(torch.arange(4), 7).double()
    score = noise(4, 7, seed=4).requires_grad_()
    squared = lambda s: ((s.abs() - truth).square() * mask).sum()
    f = f_beta_loss(score, truth, mask)
    of_f, of_squared = (torch.autograd.grad(part, score)[0] for part in (f, squared(score)))
    ratio = float(f.detach() / squared(score).detach())  # any units of the squares cancel
    balanced = balanced_loss(score, truth, mask)
    (gradient,) = torch.autograd.grad(balanced, score)
    torch.testing.assert_close(gradient, of_f + ratio * of_squared)
    torch.testing.assert_close(balanced, 2 * f)  # both parts weigh the same


def test_log_loss_is_the_mean_binary_cross_entropy_of_unmasked_pairs():
    logit, truth = noise(3, 4, 6), (noise(3, 4, 6, seed=1) > 0).double()
    mask = not_self(torch.arange(4), 6)
    kept = mask.bool().expand_as(truth)
    expected = nn.functional.binary_cross_entropy(torch.sigmoid(logit[kept]), truth[kept])
    torch.testing.assert_close(log_loss(logit, truth, mask), expected)
    torch.testing.assert_close(log_loss(logit, truth, mask.expand_as(truth)), expected)
    far = log_loss(torch.tensor([[800.0, -800.0]]), torch.tensor([[1.0, 1.0]]), torch.ones(1, 2))
    assert float(far) == pytest.approx(400.0)


# -- parts ----


def test_adam_equals_that_of_torch():
    target = noise(5, 3, seed=1)
    start = [noise(5, 3, seed=2), noise(1, 3, seed=3)]
    loss = lambda w: ((w[0] - target).square() * (1 + w[1].square())).sum()
    reference = [nn.Parameter(w.clone()) for w in start]
    optimizer = torch.optim.Adam(reference, lr=0.01)
    weights = [w.clone().requires_grad_() for w in start]
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
    for step in range(1, 21):
        optimizer.zero_grad()
        loss(reference).backward()
        optimizer.step()
        weights = _adam(weights, torch.autograd.grad(loss(weights), weights), moments, step)
        weights = [w.detach().requires_grad_() for w in weights]
        for w, r in zip(weights, reference, strict=True):
            torch.testing.assert_close(w.detach(), r.detach(), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(start[0], weights[0].detach(), atol=0.1)


def test_adam_is_differentiable_where_a_weight_never_had_a_gradient():
    weights, moments = [torch.ones(2, requires_grad=True)], [(torch.zeros(2), torch.zeros(2))]
    scale = torch.tensor(1.0, requires_grad=True)
    (new,) = _adam(weights, [torch.tensor([0.0, 1.0]) * scale], moments, 1)
    assert float(new[0].detach()) == 1.0
    assert all(g.isfinite().all() for g in torch.autograd.grad(new.sum(), (scale, weights[0])))


def test_product_of_absolute_weights_by_hand():
    a, b = torch.tensor([[1.0, -2.0], [0.0, 3.0]]), torch.tensor([[1.0, 0.0, -1.0], [2.0, -0.5, 0.0]])
    c, bias = torch.tensor([[1.0], [-1.0], [2.0]]), torch.full((1, 1), 100.0)  # biases do not enter
    two = torch.tensor([[5.0, 1.0, 1.0], [6.0, 1.5, 0.0]])
    torch.testing.assert_close(dependency([a, bias, b, bias]), two)
    torch.testing.assert_close(dependency([a, bias, b, bias, c, bias]), torch.tensor([[8.0], [7.5]]))


@pytest.mark.parametrize("layers", [2, 3])
def test_objective_against_a_network_of_torch(layers, seeded):
    X, tf_index, _ = linear(cells=30)
    model = make(num_layers=layers, init_epochs=3)
    weights = model.initialise(X, tf_index)
    modules = []
    for i in range(layers):
        modules += [nn.Linear(*weights[2 * i].shape).double(), nn.ReLU()]
        modules[-2].weight.data, modules[-2].bias.data = weights[2 * i].mT, weights[2 * i + 1][0]
    y = ((X - X.mean(0)) / X.std(0, correction=0)).detach()
    z, penalty = noise(3, 12, seed=5), torch.tensor(0.3, dtype=torch.float64)
    residual = nn.Sequential(*modules[:-1])(y[:, tf_index]) - y
    expected = residual.square().sum(1).mean() + 0.15 * (dependency(weights) - z).square().sum()
    found = model._loss(weights, *model._inputs(X, tf_index), z, penalty, 0.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0.0)  # 1e-6 in the standard deviation


# -- what it finds ----


@pytest.mark.parametrize("layers", [2, 3])
def test_goodinit_lowers_the_objective_and_finds_planted_edges(layers):
    X, tf_index, edges = linear(seed=1)
    losses = [
        loss_of(model, X, tf_index, model.initialise(X, tf_index))
        for model in (make(num_layers=layers, init_epochs=e) for e in (1, 50, 200))
    ]
    assert losses[0] > losses[1] > losses[2]
    theta = dependency(make(num_layers=layers, init_epochs=200).initialise(X, tf_index))
    assert roc_auc_score(edges[:, 3:].flatten(), theta[:, 3:].flatten()) > 0.9


def test_the_unrolled_answer_finds_planted_edges():
    X, tf_index, edges = linear(seed=2)
    with torch.no_grad():
        theta, z, penalty = make(num_iterations=5, num_inner=5, init_epochs=200)(X, tf_index)
    assert theta.shape == z.shape == (3, 12)
    assert penalty.shape == ()
    assert roc_auc_score(edges[:, 3:].flatten(), z[:, 3:].flatten()) > 0.9
    assert (theta[range(3), range(3)] == 0).all()
    assert (z[range(3), range(3)] == 0).all()
    assert ((theta >= 0) & (z >= 0) & (z <= theta)).all()


def test_base_and_fast_rank_alike():
    X, tf_index, edges = linear(seed=3)
    fast = make(num_iterations=3, num_inner=5, init_epochs=200)
    base = make(num_iterations=3, init_epochs=200, base=True)
    base.load_state_dict(fast.state_dict())
    with torch.no_grad():
        states = [model(X, tf_index) for model in (fast, base)]
    # of edges and non-edges alike, not only that edges come first
    kept = not_self(tf_index, 12).bool()
    assert spearmanr(*(s.theta[kept].numpy() for s in states)).statistic > 0.8
    for state in states:
        assert roc_auc_score(edges[:, 3:].flatten(), state.theta[:, 3:].flatten()) > 0.9


def test_base_learns_thresholds_only():
    X, tf_index, _ = linear(cells=40)
    model = make(base=True)
    model(X, tf_index).z.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.threshold.parameters())
    assert all(p.grad is None for p in model.penalty.parameters())  # λ and Z are constants of fitDNN


# -- gradients ----


@pytest.mark.parametrize("layers", [2, 3])
def test_gradients_of_all_numbers_match_finite_differences(layers):
    X, tf_index, _ = linear(genes=6, tfs=2, cells=12, seed=4)
    model = make(num_layers=layers, num_iterations=2, num_inner=2, init_epochs=30)
    weights, probe = model.initialise(X, tf_index), noise(2, 6, seed=5)
    value = lambda: (probe * sum(model.unroll(X, tf_index, weights)[:2])).sum().detach()
    theta, z, _ = model.unroll(X, tf_index, weights)
    (probe * (theta + z)).sum().backward()
    for name, parameter in model.named_parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(min(4, len(flat))):
            kept = flat[i].clone()
            flat[i] = kept + 1e-5
            high = value()
            flat[i] = kept - 1e-5
            low = value()
            flat[i] = kept
            torch.testing.assert_close(gradient[i], (high - low) / 2e-5, rtol=1e-4, atol=1e-7, msg=f"{name}[{i}]")
    assert max(float(p.grad.abs().max()) for p in model.penalty.parameters()) > 0  # through the steps of Adam
    assert all(w.grad is None for w in weights)


@pytest.mark.parametrize("base", [False, True])
def test_learning_and_answering_give_the_same_numbers(base):
    """Z and λ are constants of J (Eq. 12) whether or not gradients flow through them to ρ_nn and Λ_nn."""
    X, tf_index, _ = linear(cells=40, seed=5)
    model = make(num_iterations=3, base=base)
    weights = model.initialise(X, tf_index)
    learning = model.unroll(X, tf_index, weights)
    with torch.no_grad():
        answering = model.unroll(X, tf_index, weights)
    frozen = model.requires_grad_(False).unroll(X, tf_index, weights)
    for a, b, c in zip(learning, answering, frozen, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=0.0, atol=0.0)
        torch.testing.assert_close(c, b, rtol=0.0, atol=0.0)
        assert not c.requires_grad


def test_unrolling_is_adam_on_the_objective_with_z_and_penalty_held():
    X, tf_index, _ = linear(cells=40, seed=6)
    model = make(num_iterations=2, num_inner=3)
    weights, mask = model.initialise(X, tf_index), not_self(tf_index, 12).double()
    x, y = model._inputs(X, tf_index)
    covariance = x.mT @ y / len(x)
    parameters = [nn.Parameter(w.clone()) for w in weights]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    theta = dependency(weights) * mask
    z, penalty = torch.zeros_like(theta), torch.tensor(1.0, dtype=torch.float64)
    for _ in range(2):
        with torch.no_grad():
            penalty = model.penalty((z - theta).square().mean(), penalty)
        for _ in range(3):
            optimizer.zero_grad()
            model._loss(parameters, x, y, z, penalty, 0.0).backward()
            optimizer.step()
        with torch.no_grad():
            theta = dependency(parameters) * mask
            rho = model.threshold(theta, covariance, z)
            z = (theta - rho).clamp_min(0) * mask
    found = model.unroll(X, tf_index, weights)
    torch.testing.assert_close(found.theta.detach(), theta, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.z.detach(), z, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.penalty.detach(), penalty, rtol=1e-6, atol=1e-7)


# -- symmetries ----


def test_cells_that_pull_to_zero_keep_what_goodinit_has():
    X, tf_index, edges = linear(genes=30, tfs=6, cells=12)
    true = edges[not_self(tf_index, 30).bool()] > 0
    rank = lambda theta: roc_auc_score(true, theta[not_self(tf_index, 30).bool()])
    sizes = {"num_iterations": 10, "num_inner": 20, "init_epochs": 100}
    start = make(**sizes).initialise(X, tf_index)
    first = rank(dependency(start))
    with torch.no_grad():
        plain, pulled = (make(decay=d, **sizes).unroll(X, tf_index, start).theta for d in (0.0, 1.0))
    assert pulled.square().sum() < 0.5 * plain.square().sum()
    assert rank(pulled) > first - 0.005 > rank(plain)


def test_permuted_genes_give_the_permuted_answer():
    X, tf_index, _ = linear(cells=50, seed=7)
    model = make(num_extra=1)
    weights, extra = model.initialise(X, tf_index), noise(3, 12, 1, seed=8)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    place = order.argsort()
    permuted = [*weights[:-2], weights[-2][:, order], weights[-1][:, order]]
    expected = model.unroll(X, tf_index, weights, extra=extra)
    found = model.unroll(X[:, order], place[tf_index], permuted, extra=extra[:, order])
    torch.testing.assert_close(found.theta, expected.theta[:, order])
    torch.testing.assert_close(found.z, expected.z[:, order])


def test_permuted_regulators_give_the_permuted_answer():
    X, tf_index, _ = linear(cells=50, seed=7)
    model, order = make(), torch.tensor([2, 0, 1])
    weights = model.initialise(X, tf_index)
    expected = model.unroll(X, tf_index, weights)
    found = model.unroll(X, tf_index[order], [weights[0][order], *weights[1:]])
    torch.testing.assert_close(found.theta, expected.theta[order])
    torch.testing.assert_close(found.z, expected.z[order])


@pytest.mark.parametrize("options", [{}, {"base": True}, {"num_layers": 3}])
def test_a_batch_equals_one_by_one(options):
    X = torch.stack([linear(cells=40, seed=s)[0] for s in range(3)])
    tf_index, extra = torch.tensor([[0, 1, 2], [0, 2, 1], [3, 0, 7]]), noise(3, 3, 12, 2)
    model = make(num_extra=2, **options)
    batch = model(X, tf_index, extra=extra)
    assert batch.theta.shape == (3, 3, 12)
    assert batch.penalty.shape == (3,)
    for i in range(3):
        alone = model(X[i], tf_index[i], extra=extra[i])
        for a, b in zip(batch, alone, strict=True):
            torch.testing.assert_close(a[i], b, rtol=1e-6, atol=1e-8)


def test_units_of_genes_do_not_matter():
    X, tf_index, _ = linear(cells=40)
    model = make()
    scale = torch.linspace(1, 50, 12, dtype=torch.float64)
    expected, found = model(X, tf_index), model(X * scale + 7, tf_index)
    torch.testing.assert_close(found.theta, expected.theta, rtol=1e-3, atol=1e-4)


# -- hard inputs ----


@pytest.mark.parametrize("layers", [2, 3])
def test_constant_genes_and_few_cells_stay_finite(layers):
    X, tf_index, _ = linear(cells=3)
    X[:, 0], X[:, 5] = 0.0, 4.0  # a regulator and a gene
    model = make(num_layers=layers)
    state = model(X, tf_index)
    state.z.sum().backward()
    assert all(part.isfinite().all() for part in state)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_many_cells_are_thinned_evenly():
    X, tf_index, _ = linear(cells=90)
    x, y = make(max_cells=10)._inputs(X, tf_index)
    assert x.shape == (10, 3)
    assert y.shape == (10, 12)
    few = X[torch.linspace(0, 89, 10).long()]
    torch.testing.assert_close(y, (few - few.mean(0)) / (few.std(0, correction=0) + 1e-6))
    torch.testing.assert_close(x, y[:, tf_index])


def test_hidden_units_follow_the_number_of_regulators():
    X, tf_index, _ = linear(cells=10)
    size = lambda **o: make(init_epochs=1, **o).initialise(X, tf_index)[0].shape[-1]
    assert size() == 40
    assert size(hidden_per_tf=20) == 60
    assert size(max_hidden=30) == 30
    assert size(max_hidden=1) == 3  # never fewer than regulators (the paper: #TF <= H1)


def test_a_seed_decides_everything_and_global_generators_rest():
    X, tf_index, _ = linear(cells=20)
    model, before = make(), torch.get_rng_state()
    a, b, c = model(X, tf_index, seed=1), model(X, tf_index, seed=1), model(X, tf_index, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(a.theta, b.theta)
    assert not torch.equal(a.theta, c.theta)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 1}, "num_layers is 1, expected 2 or 3"),
        ({"num_layers": 4}, "num_layers is 4, expected 2 or 3"),
        ({"num_iterations": 0}, "expected at least 1"),
        ({"num_inner": 0}, "expected at least 1"),
        ({"init_epochs": 0}, "expected at least 1"),
        ({"max_cells": 0}, "expected at least 1"),
        ({"hidden_per_tf": 0}, "expected at least 1"),
        ({"decay": -1.0}, "decay is -1.0, expected a number of at least 0"),
    ],
)
def test_bad_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GRNULar(**options)
