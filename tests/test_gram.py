"""Sufficient statistics against the cells they stand for: exact references in float64."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from pyro import poutine
from pyrogrn.models import ExpressionData, GramStatistics, LinearNetwork, RegressionStatistics
from pyrogrn.models.data.gram import _ridge
from pyrogrn.priors import HardMask, Normal, PriorNetwork
from scipy import integrate, stats

GENES = ("T0", "T1", "T2", "G0", "G1")
TFS = GENES[:3]


def cells(num_cells=57, num_contexts=1, clamped=False, seed=0, offset=0.0):
    """Cells in float64, with contexts and interventions (a regulator, a target, and both at once)."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(num_cells, 5)) @ (np.eye(5) + 0.4 * rng.normal(size=(5, 5))) + offset
    labels = ["control"] * num_cells
    if clamped:
        for cell, label in ((0, "T1"), (3, "G1"), (4, "G1"), (9, "T1+G1"), (10, "G1"), (11, "T1"), (14, "T1")):
            labels[cell] = label
            for gene in label.split("+"):
                X[cell, GENES.index(gene)] = offset - 2
    data = ExpressionData(torch.as_tensor(X), GENES, TFS, dtype=torch.float64)
    context = [f"k{i % num_contexts}" for i in range(num_cells)] if num_contexts > 1 else None
    return data.annotated(context=context, perturbed=labels)


def masks(data):
    """(context,) lists of (cell, target) bool: the cells of that context in which the target is not clamped."""
    X = data.X.numpy()
    free = np.ones(X.shape, dtype=bool)
    if data.perturbed is not None:
        free[tuple(data.perturbed.numpy().T)] = False
    context = np.zeros(len(X), dtype=int) if data.context is None else data.context.numpy()
    return [free & (context == k)[:, None] for k in range(data.num_contexts)]


def residual_sum_of_squares(data, W, scale):
    """(context, target) centred residuals of every target by plain least-squares arithmetic, clamped cells left out."""
    X = data.X.numpy() / scale
    found = np.empty((data.num_contexts, len(GENES)))
    for k, mask in enumerate(masks(data)):
        for g in range(len(GENES)):
            rows = mask[:, g]
            e = X[rows, g] - X[rows][:, :3] @ W[k, :, g]
            found[k, g] = ((e - e.mean()) ** 2).sum()
    return found


def equal(a: GramStatistics, b: GramStatistics, rtol=1e-10):
    scale = float(a.square.max())
    for name in ("count", "mean", "cross", "square", "minimum"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=rtol, atol=rtol * scale)
    assert (a.clamped is None) == (b.clamped is None)
    if a.clamped is not None:
        order_a = np.lexsort((a.clamped.target, a.clamped.context))
        order_b = np.lexsort((b.clamped.target, b.clamped.context))
        for name in ("context", "target", "count", "mean", "own", "gram", "cross", "square"):
            one, other = getattr(a.clamped, name)[order_a], getattr(b.clamped, name)[order_b]
            torch.testing.assert_close(one, other, rtol=rtol, atol=rtol * scale)


# -- statistics ----


@pytest.mark.parametrize("num_contexts", [1, 2])
def test_statistics_equal_numpy(num_contexts):
    data = cells(num_contexts=num_contexts)
    found = data.statistics()
    X = data.X.numpy()
    for k in range(num_contexts):
        rows = X[k::num_contexts]
        centred = rows - rows.mean(0)
        assert found.count[k] == len(rows)
        np.testing.assert_allclose(found.mean[k], rows.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.cross[k], centred[:, :3].T @ centred, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(found.square[k], (centred**2).sum(0), rtol=1e-12)
    np.testing.assert_allclose(found.minimum, X.min(0))
    pooled = sum(((X[k::num_contexts] - X[k::num_contexts].mean(0)) ** 2).sum(0) for k in range(num_contexts))
    np.testing.assert_allclose(found.scale, np.sqrt(pooled / (len(X) - num_contexts)), rtol=1e-12)


@pytest.mark.parametrize("clamped", [False, True])
@pytest.mark.parametrize("num_contexts", [1, 2])
@pytest.mark.parametrize("chunk_size", [1, 5, 16, 1000])
def test_chunks_give_what_one_block_gives(num_contexts, clamped, chunk_size):
    data = cells(num_contexts=num_contexts, clamped=clamped)
    equal(data.statistics(chunk_size=chunk_size), data.statistics())


@pytest.mark.parametrize("clamped", [False, True])
@pytest.mark.parametrize("num_contexts", [1, 2])
def test_statistics_of_parts_add_up(num_contexts, clamped):
    data = cells(num_contexts=num_contexts, clamped=clamped)
    cut = [np.arange(0, 12), np.arange(12, 13), np.arange(13, 57)]
    parts = [data.subset(rows).statistics() for rows in cut]
    equal(parts[0] + parts[1] + parts[2], data.statistics())
    equal(parts[2] + (parts[1] + parts[0]), data.statistics())


def test_a_context_without_cells_in_one_part_adds_up():
    data = cells(num_contexts=2)
    even, odd = data.subset(np.arange(0, 57, 2)), data.subset(np.arange(1, 57, 2))
    equal(even.statistics() + odd.statistics(), data.statistics())


def test_statistics_of_other_genes_are_not_added():
    data = cells()
    with pytest.raises(ValueError, match="cannot be added"):
        data.statistics() + data.select_genes(GENES[:4]).statistics()


@pytest.mark.parametrize("kind", ["csr", "csc", "backed-dense", "backed-csr"])
def test_sparse_and_backed_cells_give_the_same_statistics(kind, tmp_path):
    counts = np.random.default_rng(0).poisson(1.0, size=(40, 5)).astype(np.float32)
    matrix = {"csr": sp.csr_matrix, "csc": sp.csc_matrix}.get(kind.removeprefix("backed-"), np.asarray)(counts)
    adata = ad.AnnData(matrix)
    adata.var_names = list(GENES)
    if kind.startswith("backed"):
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    found = ExpressionData.from_anndata(adata, tfs=TFS).statistics(chunk_size=7)
    equal(found, ExpressionData(torch.as_tensor(counts), GENES, TFS).statistics())
    if kind.startswith("backed"):
        adata.file.close()


def test_a_large_mean_costs_no_digits():
    near, far = cells(clamped=True), cells(clamped=True, offset=1e6)
    a, b = near.statistics(chunk_size=9), far.statistics(chunk_size=9)
    # the cells themselves are rounded to 1e-10 of 1: statistics may lose no more
    torch.testing.assert_close(b.cross, a.cross, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(b.square, a.square, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(b.clamped.gram, a.clamped.gram, rtol=1e-8, atol=1e-8)
    one, other = RegressionStatistics.from_statistics(a), RegressionStatistics.from_statistics(b)
    torch.testing.assert_close(one.anchor, other.anchor, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(one.sse, other.sse, rtol=1e-7, atol=0)


def test_constant_genes_are_refused_by_name():
    X = cells().X.clone()
    X[:, 4] = 7.0
    with pytest.raises(ValueError, match=r"1 constant gene: \['G1'\]"):
        LinearNetwork.from_data(ExpressionData(X, GENES, TFS))


def test_too_few_free_cells_are_refused_by_name():
    data = cells(6).with_interventions(["G1"] * 4 + ["control"] * 2)
    with pytest.raises(ValueError, match=r"fewer than 3 cells left for targets \['G1'\]: add control cells$"):
        LinearNetwork.from_data(data)


# -- regressions on statistics ----


def test_interventions_cut_exactly_the_clamped_cells_of_that_target():
    data = cells(num_contexts=2, clamped=True)
    scale = data.statistics().scale
    found = RegressionStatistics.from_statistics(data.statistics())
    clamped = sorted({int(g) for _, g in data.perturbed.tolist()})
    assert found.own.tolist() == clamped
    X = data.X.numpy() / scale.numpy()
    for k, mask in enumerate(masks(data)):
        for g in range(5):
            rows = X[mask[:, g]]
            centred = rows - rows.mean(0)
            x, y = centred[:, :3], centred[:, g]
            gram = found.own_gram[k, clamped.index(g)] if g in clamped else found.gram[k]
            np.testing.assert_allclose(gram, x.T @ x, rtol=1e-9, atol=1e-9)
            assert found.dof[k, g] == len(rows) - 1
            np.testing.assert_allclose(found.log_count[k, g], np.log(len(rows)))
            np.testing.assert_allclose(found.tf_mean[k, :, g], rows[:, :3].mean(0), rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(found.target_mean[k, g], rows[:, g].mean(), rtol=1e-9, atol=1e-12)
            b = found.residual[k, :, g] + gram @ found.anchor[k, :, g]
            np.testing.assert_allclose(b, x.T @ y, rtol=1e-9, atol=1e-9)


def test_the_anchor_is_least_squares_without_the_self_edge():
    data = cells(clamped=True)
    found = RegressionStatistics.from_statistics(data.statistics())
    X = data.X.numpy() / data.statistics().scale.numpy()
    for g in range(5):
        rows = X[masks(data)[0][:, g]]
        rows = rows - rows.mean(0)
        others = [t for t in range(3) if t != g]
        best = np.linalg.lstsq(rows[:, others], rows[:, g], rcond=None)[0]
        np.testing.assert_allclose(found.anchor[0, others, g], best, atol=1e-5)  # the ridge is 1e-6 of the diagonal
        if g < 3:
            assert found.anchor[0, g, g] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_contexts", [1, 2])
@pytest.mark.parametrize("clamped", [False, True])
def test_squared_error_is_the_residual_sum_of_squares(clamped, num_contexts, masked, dtype):
    data = cells(num_contexts=num_contexts, clamped=clamped)
    networks, prior = None, Normal()
    if masked:
        listed = [("T0", "T1"), ("T0", "G0"), ("T1", "T0"), ("T1", "G0"), ("T1", "G1"), ("T2", "T1"), ("T2", "G1")]
        edges = pd.DataFrame(listed, columns=["source", "target"])
        networks, prior = {"motif": PriorNetwork.from_edges(edges, name="motif")}, HardMask()
    model = LinearNetwork(data.statistics(), edge_prior=prior, networks=networks).to(dtype)
    rng = np.random.default_rng(1)
    W = rng.normal(size=(num_contexts, 3, 5)) * model.edge_prior.allowed.numpy()
    given = torch.as_tensor(W if num_contexts > 1 else W[0], dtype=dtype)
    found = model.squared_error(given)
    expected = residual_sum_of_squares(data, W, data.statistics().scale.numpy())
    shape = (num_contexts, 1, 5) if num_contexts > 1 else (1, 5)
    assert found.shape == shape
    np.testing.assert_allclose(found.reshape(num_contexts, 5), expected, rtol=1e-4 if dtype == torch.float32 else 2e-6)
    batch = model.squared_error(given.expand(4, *given.shape))
    torch.testing.assert_close(batch, found.expand(4, *shape))


def test_a_million_cells_keep_their_digits_in_float32():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(2000, 5))
    X[:, 3] = X[:, :3] @ [0.5, -0.3, 0.2] + 0.01 * X[:, 3]  # nearly all variance explained: yᵀy − … would cancel
    part = ExpressionData(torch.as_tensor(X), GENES, TFS, dtype=torch.float64).statistics()
    total = part
    for _ in range(9):
        total = total + total
    model = LinearNetwork(total)
    W = torch.as_tensor(np.linalg.lstsq(X[:, :3] - X[:, :3].mean(0), X[:, 3:] - X[:, 3:].mean(0), rcond=None)[0])
    scale = total.scale
    W = (W * scale[:3, None] / scale[3:]).float()
    full = torch.zeros(3, 5)
    full[:, 3:] = W + 1e-3
    e = (X[:, 3:] - X[:, 3:].mean(0)) / scale[3:].numpy() - (X[:, :3] - X[:, :3].mean(0)) / scale[:3].numpy() @ full[
        :, 3:
    ].double().numpy()
    expected = 512 * (e**2).sum(0)
    np.testing.assert_allclose(model.squared_error(full)[0, 3:], expected, rtol=1e-4)


# -- the likelihood ----


@pytest.mark.usefixtures("seeded")
def test_gram_likelihood_is_the_cell_likelihood_with_flat_intercepts_integrated_out():
    data = cells(num_contexts=2, clamped=True)
    model = LinearNetwork(data.statistics()).double()
    rng = np.random.default_rng(3)
    W = rng.normal(size=(2, 3, 5)) * model.edge_prior.allowed.numpy()
    noise = rng.uniform(0.3, 2.0, size=(2, 5))
    values = {"W_context": torch.as_tensor(W), "noise_variance": torch.as_tensor(noise)[:, None]}
    trace = poutine.trace(poutine.condition(model, values)).get_trace()
    trace.compute_log_prob()
    found = trace.nodes["X"]["log_prob"].squeeze(-2)
    X = data.X.numpy() / data.statistics().scale.numpy()
    for k, mask in enumerate(masks(data)):
        for g in range(5):
            rows = X[mask[:, g]]
            e = rows[:, g] - rows[:, :3] @ W[k, :, g]
            sd = np.sqrt(noise[k, g])
            peak = stats.norm.logpdf(e, e.mean(), sd).sum()
            area, _ = integrate.quad(
                lambda mu, e=e, sd=sd, peak=peak: np.exp(stats.norm.logpdf(e, mu, sd).sum() - peak),
                e.mean() - 2, e.mean() + 2, epsabs=1e-12,
            )  # fmt: skip
            np.testing.assert_allclose(found[k, g], peak + np.log(area), rtol=3e-7)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("num_contexts", [1, 2])
def test_the_plain_likelihood_of_the_model_is_the_normal_density_of_every_free_cell(num_contexts):
    data = cells(num_contexts=num_contexts, clamped=True)
    model = LinearNetwork(data.statistics()).double()
    rng = np.random.default_rng(3)
    shape = (num_contexts,) if num_contexts > 1 else ()
    W = rng.normal(size=(num_contexts, 3, 5)) * model.edge_prior.allowed.numpy()
    noise, offset = rng.uniform(0.3, 2.0, size=(num_contexts, 5)), rng.normal(size=(num_contexts, 5))
    name = "W_context" if num_contexts > 1 else "W"
    values = {
        name: torch.as_tensor(W).reshape(*shape, 3, 5),
        "noise_variance": torch.as_tensor(noise).reshape(*shape, 1, 5),
        "intercept": torch.as_tensor(offset).reshape(*shape, 1, 5),
    }
    X, context = data.X.numpy(), np.arange(57) % num_contexts
    z = (X - model.context_mean.numpy()[context]) / model.scale.numpy()
    mean = offset[context] + np.einsum("ct,ctg->cg", z[:, :3], W[context])
    free = sum(masks(data)).astype(bool)
    expected = stats.norm.logpdf(z, mean, np.sqrt(noise[context]))[free].sum()
    trace = poutine.trace(poutine.condition(model, values)).get_trace(data)
    trace.compute_log_prob()
    np.testing.assert_allclose(trace.nodes["X"]["log_prob"].sum(), expected, rtol=1e-9)
    # restarts stay to the left of every plate, whatever the number of contexts
    stacked = {
        n: torch.stack([v, 2 * v]).reshape(2, *(1,) * (model.max_plate_nesting - v.dim()), *v.shape)
        for n, v in values.items()
    }
    trace = poutine.trace(poutine.condition(model, stacked)).get_trace(data)
    trace.compute_log_prob()
    found = trace.nodes["X"]["log_prob"]
    assert found.dim() == model.max_plate_nesting + 1
    np.testing.assert_allclose(found.flatten(1).sum(1)[0], expected, rtol=1e-9)


@pytest.mark.usefixtures("seeded")
def test_minibatches_are_an_unbiased_estimate_of_the_cell_likelihood():
    data = cells(60, num_contexts=2, clamped=True)
    model = LinearNetwork(data.statistics()).double()
    generator = torch.Generator().manual_seed(0)
    values = {
        "W_context": torch.randn(2, 3, 5, generator=generator, dtype=torch.float64),
        "noise_variance": torch.full((2, 1, 5), 0.7, dtype=torch.float64),
        "intercept": torch.zeros(2, 1, 5, dtype=torch.float64),
    }

    def log_likelihood(batch):
        trace = poutine.trace(poutine.condition(model, values)).get_trace(batch)
        return trace.nodes["X"]["fn"].log_prob(trace.nodes["X"]["value"]).sum() * trace.nodes["X"]["scale"]

    batches = [log_likelihood(b) for b in data.minibatches(15, generator)]
    torch.testing.assert_close(torch.stack(batches).mean(), torch.as_tensor(log_likelihood(data)), rtol=1e-10, atol=0)


def test_anchors_of_many_perturbed_genes_by_two_threads():
    rows = torch.randn(9, 600, 299, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gram, threads = rows.mT @ rows, torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = _ridge(gram) @ gram
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(found, torch.eye(299, dtype=gram.dtype).expand(9, -1, -1), atol=1e-4, rtol=0)
