"""Many genes that are perturbed in a few cells each: rows that are left out equal a Gram matrix of each gene's own."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pyrogrn.inference import Gibbs, SparseGibbs, fit
from pyrogrn.inference.recalibration.coarsening import coarsened
from pyrogrn.inference.recalibration.evidence import left_out
from pyrogrn.inference.sparse.background import Background, BackgroundLikelihood, Spectrum
from pyrogrn.inference.sparse.cuts import Cuts
from pyrogrn.inference.sparse.kernel import SparseKernel
from pyrogrn.inference.sparse.tables import factor_bytes, factors_kept
from pyrogrn.models import ExpressionData, LinearNetwork, linear
from pyrogrn.models.data.clamped import contrasts
from pyrogrn.models.data.gram import GramStatistics, RegressionStatistics
from pyrogrn.priors import SpikeSlab

pytestmark = pytest.mark.usefixtures("seeded")

TFS, GENES, CELLS = 16, 24, 90
CLAMPED = {0: range(4), 1: range(2, 5), 5: [40], 18: range(10, 14), 19: range(13, 15), 20: range(20, 60), 21: range(84)}
"""Cells by gene: overlapping ones, one alone, so many that the matrix is the gene's own (20), all but six (21)."""


def screen(clamped=CLAMPED):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(CELLS, GENES))
    X[:, 16:] += X[:, :8] * 0.8 - 0.5 * X[:, 3:4]
    pairs = []
    for gene, cells in clamped.items():
        X[list(cells), gene] = -4 + 0.1 * rng.normal(size=len(cells))
        pairs += [(cell, gene) for cell in cells]
    names = tuple(f"g{i}" for i in range(GENES))
    data = ExpressionData(torch.as_tensor(X), names, names[:TFS], dtype=torch.float64)
    return replace(data, perturbed=torch.tensor(sorted(pairs)) if pairs else None)


def network(data, *, rows=True, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "FEW_ROWS", 0.25 if rows else 0.0)  # of 16 regulators, four cells
        return LinearNetwork.from_data(data, edge_prior=SpikeSlab(unit="noise"), **options)


def network_of(data, share):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "FEW_ROWS", share)
        return LinearNetwork.from_data(data)


def few_cells():
    """Thirty cells and forty regulators; genes perturbed in two cells each."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(30, 50))
    X[:, 40:] += X[:, :10]
    names = tuple(f"g{i}" for i in range(50))
    data = ExpressionData(torch.as_tensor(X), names, names[:40], dtype=torch.float64)
    pairs = [(2 * i + j, g) for i, g in enumerate([*range(3), *range(40, 50)]) for j in range(2)]
    return replace(data, perturbed=torch.tensor(sorted(pairs)))


# -- statistics ----


@pytest.mark.parametrize("cells", [1, 2, 7, 40])
def test_contrasts_have_the_gram_matrix_of_the_cells(cells):
    x = torch.randn(cells, 5).double()
    x = x - x.mean(0)
    assert len(contrasts(x)) == cells - 1
    torch.testing.assert_close(contrasts(x).T @ contrasts(x), x.T @ x)


def test_a_target_has_rows_or_a_matrix_by_how_many_cells_it_is_clamped_in():
    model = network(screen())
    assert model.own.tolist() == [20, 21]
    target, number = model.clamped_rows.target.unique(return_counts=True)
    assert dict(zip(target.tolist(), number.tolist(), strict=True)) == {0: 4, 1: 3, 5: 1, 18: 4, 19: 2}
    assert model.perturbed.tolist() == sorted(CLAMPED)
    assert not len(network(screen({})).perturbed)


def test_rows_take_the_place_of_matrices_that_there_is_no_memory_for(monkeypatch):
    data = screen({**CLAMPED, 22: range(70, 76)})
    rows = lambda share: sorted(set(network_of(data, share).clamped_rows.target.tolist()))
    assert rows(0.2) == [1, 5, 19]
    monkeypatch.setattr("pyrogrn.models.data.gram.MATRIX_BYTES", 5 * 8 * TFS**2 - 1)
    assert rows(0.2) == [0, 1, 5, 18, 19, 22]
    assert rows(0.0) == []
    monkeypatch.setattr("pyrogrn.models.data.gram.MATRIX_BYTES", 5 * 8 * TFS**2)
    assert rows(0.2) == [1, 5, 19]


def test_cells_of_which_the_others_leave_nothing_are_taken_out_of_matrices():
    """Fewer of them than regulators; or one like no other, which float32 has no digits of what is left of."""
    few = few_cells()
    assert not len(network(few).clamped_rows.target)
    data = screen({18: [10], 19: [11]})
    X = data.X.clone()
    X[10, 3] = 1e4
    outlying = ExpressionData(X, data.genes, data.tfs, dtype=torch.float64)
    model = network(replace(outlying, perturbed=data.perturbed))
    assert (model.own.tolist(), model.clamped_rows.target.tolist()) == ([18], [19])


def test_rows_give_the_statistics_of_matrices_to_rounding():
    data = screen()
    few = RegressionStatistics.from_statistics(data.statistics(), share=0.25)
    whole = RegressionStatistics.from_statistics(data.statistics())
    assert whole.own.tolist() == sorted(CLAMPED)
    assert not len(whole.left_out)
    for name in ("residual", "sse"):  # at their anchors
        assert torch.isfinite(getattr(few, name)).all()
    for j, gram in zip(whole.own.tolist(), whole.own_gram[0], strict=True):
        rows = few.left_out[few.left_out_target == j]
        mine = few.own_gram[0, few.own.tolist().index(j)] if j in few.own else few.gram[0] - rows.T @ rows
        torch.testing.assert_close(mine, gram, rtol=1e-10, atol=1e-9)
        b, a = (s.residual[0, :, j] + gram @ s.anchor[0, :, j] for s in (few, whole))
        torch.testing.assert_close(b, a, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(few.anchor[0, :, j], whole.anchor[0, :, j], rtol=1e-5, atol=1e-6)
    for name in ("dof", "tf_mean", "target_mean", "log_count"):
        torch.testing.assert_close(getattr(few, name), getattr(whole, name))


def test_all_that_reads_a_network_sees_the_same():
    data = screen()
    few, whole = network(data), network(data, rows=False)
    assert len(few.clamped_rows.target)
    assert not len(whole.clamped_rows.target)
    W = 0.3 * torch.randn(TFS, GENES)
    torch.testing.assert_close(few.squared_error(W), whole.squared_error(W), rtol=2e-4, atol=1e-3)
    torch.testing.assert_close(few.gram_of(0, 18), whole.gram_of(0, 18), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(few.gram_of(0, 22), few.gram[0])
    one, other = few.design(), whole.design()
    step = torch.randn(2, TFS, GENES)
    torch.testing.assert_close(one.product(step), other.product(step), rtol=1e-3, atol=1e-3)
    found, expected = ({int(c): b.gram for b in d.blocks() for c in b.column} for d in (one, other))
    assert sorted(found) == list(range(GENES))
    for target, gram in expected.items():
        torch.testing.assert_close(found[target].float(), gram, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(left_out(few), left_out(whole), rtol=1e-3, atol=1e-5)
    small, large = coarsened(few, 30), coarsened(whole, 30)
    torch.testing.assert_close(small.perturbed_gram(), large.perturbed_gram(), rtol=1e-4, atol=1e-4)


def test_statistics_of_parts_of_the_cells_add_up():
    data = screen()
    part = lambda *cells: GramStatistics.from_data(data, cells=range(*cells))
    whole, both = data.statistics(), part(0, 12) + part(12, CELLS)
    for name in ("target", "count", "mean", "gram", "cross", "square"):
        torch.testing.assert_close(getattr(both.clamped, name), getattr(whole.clamped, name))


# -- the background ----


@pytest.mark.parametrize("own", [-1, 2])
@pytest.mark.parametrize("lost", [0, 1, 6])
def test_the_background_of_the_cells_that_are_left_equals_whole_covariances(own, lost):
    rng = np.random.default_rng(0)
    n, h, noise = 30, 0.3, 0.7
    x = rng.normal(size=(n, 4))
    x[:, 3] += 0.9 * x[:, 1]
    kept = x[lost:]
    y = kept[:, own] if own >= 0 else rng.normal(size=n - lost)
    w = np.array([0.5, 0.0, 0.0, -0.3])
    keep = [j for j in range(4) if j != own]
    anchor = rng.normal(size=(4, 1))
    residual = kept.T @ (y[:, None] - kept @ anchor)
    sse = np.square(y[:, None] - kept @ anchor).sum(0)
    cuts = Cuts(np.array([0, lost]), x[:lost].astype(np.float32))
    gram = x.T @ x
    given = (gram, anchor, residual, sse, np.array([0]), np.array([own]))
    group = Background.of(*given, Spectrum.of(gram), cuts)
    weight, r = w[None].astype(np.float32), np.empty((1, 4), np.float32)
    likelihood = group.likelihood(weight, np.array([noise]))

    def exact(h):
        M = np.eye(n - lost) + h * kept[:, keep] @ kept[:, keep].T
        e = y - kept @ w
        return M, e, -0.5 * np.linalg.slogdet(M)[1] - 0.5 * e @ np.linalg.solve(M, e) / noise

    M, e, log = exact(h)
    at = lambda value: likelihood(np.array([value]))[0]
    np.testing.assert_allclose(at(h) - at(0.01), log - exact(0.01)[2], rtol=1e-4)
    np.testing.assert_allclose(likelihood.around(0.2)(np.array([h])), at(h), rtol=1e-6)
    np.testing.assert_allclose(likelihood.around(0.02)(np.array([h])), at(h), rtol=1e-12)  # far: not interpolated
    np.testing.assert_allclose(group.log_determinant(h), -0.5 * np.linalg.slogdet(M)[1], rtol=1e-4, atol=1e-5)
    made = group.spectrum.gram(h)
    np.testing.assert_allclose(group.residual(weight, made, r)[0], e @ np.linalg.solve(M, e), rtol=1e-4)
    np.testing.assert_allclose(r[0, keep], (kept.T @ np.linalg.solve(M, e))[keep], rtol=1e-3, atol=1e-4)
    B = group.cut_rows(h).astype(float)
    matrix = made.matrix.astype(float) - B.T @ B
    if own >= 0:
        matrix += h / (1 - h * matrix[own, own]) * np.outer(matrix[own], matrix[own])
    expected = kept.T @ np.linalg.solve(M, kept)
    np.testing.assert_allclose(matrix[np.ix_(keep, keep)], expected[np.ix_(keep, keep)], rtol=1e-3)
    precision = kept[:, keep].T @ kept[:, keep] + np.eye(len(keep)) / h
    many = np.repeat(r, 40_000, axis=0)
    wide = replace(
        group, targets=np.arange(40_000), own=np.full(40_000, own),
        cuts=Cuts(np.arange(40_001) * lost, np.tile(group.cuts.rows, (40_000, 1))),
    )  # fmt: skip
    drawn = wide.draw(many, np.full(40_000, noise), h, torch.Generator().manual_seed(0))[:, keep]
    covariance = noise * np.linalg.inv(precision)
    mean = np.linalg.solve(precision, kept[:, keep].T @ e)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * math.sqrt(covariance.diagonal().max() / 40_000))
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.05 * covariance.max())


# -- chains ----


def states(model, *, threads=1, blocks=6, seed=2):
    kernel = SparseKernel(model, num_chains=2, seed=seed, sweeps=3, threads=threads)
    kernel.start(blocks)
    for _ in range(blocks):
        kernel.step()
    return kernel


@pytest.mark.parametrize("few", [True, False])
def test_residuals_of_chains_are_those_of_their_weights(few, monkeypatch):
    """What sweeps have made of residuals move by move, against the statistics written out; interpolated ones too."""
    if not few:
        monkeypatch.setattr("pyrogrn.inference.sparse.kernel.FEW_TFS", 4)
    data = screen()
    kernel = states(network(data))
    kernel.sweep(kernel._priors(), 1000)
    X = (data.X / data.statistics().scale).numpy()
    for chain, h in enumerate(kernel.background.tolist()):
        for gene in (0, 1, 5, 18, 19, 20, 21, 22):
            free = ~np.isin(np.arange(CELLS), list(CLAMPED.get(gene, ())))
            x, y = X[free, :TFS] - X[free, :TFS].mean(0), X[free, gene] - X[free, gene].mean()
            keep = np.arange(TFS) != gene
            M = np.eye(len(x)) + h * x[:, keep] @ x[:, keep].T
            e = y - x @ kernel.weight[chain, gene]
            solved = np.linalg.solve(M, e)
            np.testing.assert_allclose(kernel.residual[chain, gene, keep], (x.T @ solved)[keep], rtol=1e-3, atol=2e-3)
            np.testing.assert_allclose(kernel.sse[chain, gene], e @ solved, rtol=1e-3)


def test_draws_do_not_depend_on_threads():
    model = network(screen())
    one, two = states(model), states(model, threads=2)
    np.testing.assert_array_equal(one.weight, two.weight)
    np.testing.assert_array_equal(one.whole(3), two.whole(3))
    assert torch.equal(one.background, two.background)


def test_rows_and_matrices_have_one_posterior():
    data = screen()
    engine = SparseGibbs(num_chains=4, num_warmup=40, num_samples=400)
    few, whole = (fit(network(data, rows=rows), guide=engine, seed=0).moments["W"] for rows in (True, False))
    at = sorted(CLAMPED)
    np.testing.assert_allclose(few.inclusion[:, at], whole.inclusion[:, at], atol=0.05)
    np.testing.assert_allclose(few.mean[:, at], whole.mean[:, at], atol=0.03)


def test_the_dense_sampler_draws_the_same_of_rows_and_matrices():
    data = screen()
    engine = Gibbs(num_chains=2, num_warmup=20, num_samples=20)
    few, whole = (fit(network(data, rows=rows), guide=engine, seed=0).moments["W"] for rows in (True, False))
    np.testing.assert_allclose(few.inclusion, whole.inclusion, atol=0.02)


@pytest.mark.filterwarnings("error")
def test_fewer_cells_than_regulators(monkeypatch):
    """As matrices where there is no memory for them, as far as float32 has digits; no warning, and never +inf."""
    monkeypatch.setattr("pyrogrn.models.data.gram.MATRIX_BYTES", 0.0)
    few, whole = network(few_cells()), network(few_cells(), rows=False)
    assert len(few.clamped_rows.target) == 26
    assert not len(whole.clamped_rows.target)
    kernels = [states(model, blocks=2) for model in (few, whole)]
    weight = np.zeros_like(kernels[0].weight)
    weight[:, 5, 7] = 0.4
    h = 10.0 ** np.arange(-4, 9)
    found = []
    for kernel in kernels:
        kernel.weight[:], kernel.noise[:] = weight, 0.5
        kernel.refresh(torch.tensor([0.1, 10.0]))
        parts = BackgroundLikelihood.joined(kernel.likelihoods()[0])
        found.append(np.sum([one(h) for one in parts], axis=0))
    rows, matrices = found
    assert (rows < math.inf).all()
    assert not np.isfinite(rows[-1])
    near = h <= 1e3
    np.testing.assert_allclose((rows - rows[0])[near], (matrices - matrices[0])[near], rtol=1e-3, atol=0.1)
    np.testing.assert_allclose(kernels[0].residual, kernels[1].residual, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(kernels[0].sse, kernels[1].sse, rtol=1e-3)
    kernel = states(few, blocks=12)
    assert np.isfinite(kernel.weight).all()
    assert np.isfinite(kernel.log_likelihood()).all()
    middle = BackgroundLikelihood.joined(kernel.likelihoods()[0])[0].around(1e8)(np.array([1e8, 1.0]))
    assert middle[0] == -math.inf
    assert np.isfinite(middle[1])


def test_factors_are_kept_within_what_the_plan_counts(monkeypatch):
    monkeypatch.setattr("pyrogrn.inference.sparse.kernel.PART", 2)
    model = network(screen())
    for limit in (0.0, 3000.0, 1e9):
        monkeypatch.setattr("pyrogrn.inference.sparse.tables.FACTOR_BYTES", limit)
        kernel = states(model, blocks=4)
        kept = [group.cuts.kept for group in kernel.groups if group.cuts is not None]
        assert len(kept) == 3
        number = np.array([4, 3, 1, 4, 2])
        held = sum(a.nbytes for one in kept for made in one.values() for a in made[1:])
        assert 0 < held <= factors_kept(number, 2) * factor_bytes(number)
        assert factors_kept(number, 2) * factor_bytes(number) <= max(limit, 2 * factor_bytes(number))
    assert all(len(one) > 2 for one in kept)
