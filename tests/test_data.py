"""`ExpressionData`: the same cells from every kind of file, minibatches, interventions, normalisations, refusals."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import zarr
from pyrogrn.models import ExpressionData
from pyrogrn.models.data.matrix import read_rows

GENES = ("A", "B", "C", "D", "E")


def empty_zarr(path, shape):
    """As zarr 2 and 3 both make it."""
    return zarr.open_array(str(path), mode="w", shape=shape, chunks=(4, 5), dtype="float32")


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(2.0, size=(23, 5)).astype(np.float32)


@pytest.fixture
def data(counts):
    return ExpressionData(torch.as_tensor(counts), GENES, ("B", "D"))


# -- where cells come from ----


@pytest.mark.parametrize("kind", ["dense", "csr", "csc", "layer", "backed-dense", "backed-csr", "backed-csc", "zarr"])
def test_every_container_gives_the_same_cells(counts, kind, tmp_path):
    matrix = {"csr": sp.csr_matrix, "csc": sp.csc_matrix}.get(kind.removeprefix("backed-"), np.asarray)(counts)
    adata = ad.AnnData(
        matrix, var=pd.DataFrame(index=list(GENES)), obs=pd.DataFrame(index=[f"c{i}" for i in range(23)])
    )
    layer = None
    if kind == "layer":
        adata.layers["counts"], adata.X, layer = counts, 0 * counts, "counts"
    if kind.startswith("backed"):
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    if kind == "zarr":
        array = empty_zarr(tmp_path / "cells.zarr", counts.shape)
        array[:] = counts
        data = ExpressionData(array, GENES, ("B", "D"))
    else:
        data = ExpressionData.from_anndata(adata, layer=layer, tfs=["B", "D"])
    order = np.array([7, 0, 22, 7, 3])
    np.testing.assert_array_equal(data.X.numpy(), counts)
    np.testing.assert_array_equal(torch.cat([block for _, block in data.chunks(4)]).numpy(), counts)
    np.testing.assert_array_equal(data.rows(slice(2, 9)).numpy(), counts[2:9])
    if kind not in ("zarr", "backed-dense"):  # h5py takes no repeated rows
        np.testing.assert_array_equal(data.rows(order).numpy(), counts[order])
    np.testing.assert_array_equal(data.rows(order[:3]).numpy(), counts[order[:3]])
    np.testing.assert_array_equal(data.subset(np.array([5, 1])).X.numpy(), counts[[5, 1]])
    assert data.tfs == ("B", "D")
    if kind.startswith("backed"):
        adata.file.close()


def test_a_table_of_genes_by_cells_is_recognised_from_the_tf_names(counts):
    frame = pd.DataFrame(counts, columns=GENES, index=[f"cell{i}" for i in range(23)])
    upright = ExpressionData.from_frame(frame, tfs=["B"])
    turned = ExpressionData.from_frame(frame.T, tfs=["B"])
    assert torch.equal(upright.X, turned.X)
    assert turned.genes == GENES
    assert not upright.notes
    assert "transposed" in turned.notes[0]


def test_a_table_with_text_columns_is_refused_by_name(counts):
    frame = pd.DataFrame(counts, columns=GENES).assign(cell_type="T")
    with pytest.raises(ValueError, match="cell_type"):
        ExpressionData.from_frame(frame)


def test_tfs_that_are_not_measured_are_counted_and_none_measured_is_an_error(data):
    matched = data.match_tfs(["D", "A", "Z", "D"])
    assert matched.tfs == ("D", "A")
    assert matched.tf_index.tolist() == [3, 0]
    assert "2 of 3" in matched.notes[-1]
    assert "'Z'" in matched.notes[-1]
    with pytest.raises(ValueError, match=r"none of 2 TFs.*case is ignored"):
        data.match_tfs(["a", "z"])


# -- derived data ----


def test_minibatches_pass_over_every_cell_once_and_stand_for_all(data, counts):
    context = torch.arange(23) % 3
    data = ExpressionData(data.matrix, GENES, data.tfs, context=context, context_names=("x", "y", "z"))
    batches = list(data.minibatches(10, torch.Generator().manual_seed(1)))
    assert [b.num_cells for b in batches] == [10, 10, 3]
    assert {b.population for b in batches} == {23}
    rows = torch.cat([b.X for b in batches]).numpy()
    codes = torch.cat([b.context for b in batches]).numpy()
    whole = np.column_stack([counts, context])
    np.testing.assert_array_equal(
        np.array(sorted(map(tuple, np.column_stack([rows, codes])))), np.array(sorted(map(tuple, whole)))
    )
    again = list(data.minibatches(10, torch.Generator().manual_seed(1)))
    assert all(torch.equal(a.X, b.X) for a, b in zip(batches, again, strict=True))


def test_interventions_follow_their_cells_and_genes(data):
    labels = ["control"] * 23
    labels[2], labels[5], labels[9], labels[11] = "B", "A+D", "NT", "A,Z"
    marked = data.with_interventions(labels)
    assert marked.perturbed.tolist() == [[2, 1], [5, 0], [5, 3], [11, 0]]
    assert "'Z'" in marked.notes[-1]
    part = marked.subset(np.array([11, 5, 0]))
    assert sorted(map(tuple, part.perturbed.tolist())) == [(0, 0), (1, 0), (1, 3)]
    narrow = marked.select_genes(["D", "B"])
    assert sorted(map(tuple, narrow.perturbed.tolist())) == [(2, 1), (5, 0)]
    assert data.with_interventions(["ctrl"] * 23).perturbed is None
    with pytest.raises(ValueError, match="3 perturbation labels for 23 cells"):
        data.with_interventions(["B"] * 3)


def test_selecting_genes_keeps_order_and_regulators(data, counts):
    chosen = data.select_genes(["E", "B"]).select_genes(["B"])
    np.testing.assert_array_equal(chosen.X.numpy(), counts[:, [1]])
    assert chosen.tfs == ("B",)
    with pytest.raises(ValueError, match="none of the candidate regulators"):
        data.select_genes(["A", "C"])
    with pytest.raises(ValueError, match="'Q'"):
        data.select_genes(["A", "Q"])


def test_moments_equal_numpy_over_several_blocks_and_far_from_zero():
    X = np.random.default_rng(1).normal(size=(9000, 3)) + 1e6
    mean, variance = ExpressionData(torch.as_tensor(X), ("A", "B", "C"), dtype=torch.float64).moments()
    np.testing.assert_allclose(mean, X.mean(0), rtol=1e-13)
    np.testing.assert_allclose(variance, (X - 1e6).var(0), rtol=1e-8)


@pytest.mark.parametrize("sparse", [False, True])
def test_normalisations(counts, sparse):
    matrix = sp.csr_matrix(counts) if sparse else torch.as_tensor(counts)
    data = ExpressionData(matrix, GENES)
    depth = counts.sum(1, keepdims=True)
    np.testing.assert_allclose(data.normalized("log1p-cpm").X, np.log1p(1e6 * counts / depth), rtol=1e-5)
    # depths are sums over all genes of the file, also when genes are selected afterwards
    np.testing.assert_allclose(
        data.normalized("log1p-cpm").select_genes(["C"]).X[:, 0], np.log1p(1e6 * counts / depth)[:, 2], rtol=1e-5
    )
    z = data.normalized("zscore").X.numpy()
    np.testing.assert_allclose(z, (counts - counts.mean(0)) / counts.std(0), atol=2e-6)
    assert data.normalized("none") is data
    with pytest.raises(ValueError, match="only once"):
        data.normalized("zscore").normalized("log1p-cpm")
    with pytest.raises(ValueError, match="log1p-cpm"):
        data.normalized("cpm")
    with pytest.raises(ValueError, match="negative"):
        _ = ExpressionData(torch.as_tensor(counts - 3), GENES).normalized("log1p-cpm").X


def test_cells_without_counts_stay_at_zero():
    data = ExpressionData(torch.tensor([[0.0, 0.0], [1.0, 3.0]]), ("A", "B")).normalized("log1p-cpm")
    assert torch.equal(data.X[0], torch.zeros(2))


def test_constant_genes_are_dropped_by_name(counts):
    counts = counts.copy()
    counts[:, 2] = 4
    data = ExpressionData(torch.as_tensor(counts), GENES)
    kept = data.without_constant_genes()
    assert kept.genes == ("A", "B", "D", "E")
    assert "'C'" in kept.notes[-1]
    with pytest.raises(ValueError, match="'C'"):
        data.normalized("zscore")


def test_to_moves_dtype(data):
    double = data.with_interventions(["B"] + ["control"] * 22).to(dtype=torch.float64)
    assert double.X.dtype == torch.float64
    assert double.perturbed.dtype == torch.long


# -- refusals ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genes": GENES[:4]}, "4 gene names for 5 columns"),
        ({"genes": ("A", "A", "C", "D", "E")}, r"duplicate gene names: \['A'\]"),
        ({"tfs": ("B", "Q")}, r"1 of 2 `tfs` are not in `genes`: \['Q'\]"),
        ({"tfs": ("B", "B")}, "repeated"),
        ({"context": torch.zeros(4, dtype=torch.long)}, r"`context` has shape \(4,\), expected \(23,\)"),
        ({"size_factor": torch.zeros(23)}, "not positive"),
        ({"matrix": torch.zeros(0, 5)}, "shape"),
    ],
)
def test_bad_input_is_refused_in_one_line(counts, change, message):
    arguments = {"matrix": torch.as_tensor(counts), "genes": GENES, "tfs": ("B",)} | change
    with pytest.raises(ValueError, match=message) as caught:
        ExpressionData(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite")])
@pytest.mark.parametrize("kind", ["dense", "sparse", "disk"])
def test_values_that_are_not_finite_are_refused(counts, value, word, kind, tmp_path):
    counts = counts.copy()
    counts[3, 1] = value
    if kind == "disk":
        array = empty_zarr(tmp_path / "cells.zarr", counts.shape)
        array[:] = counts
        data = ExpressionData(array, GENES)
        with pytest.raises(ValueError, match=f"1 {word} values in the expression matrix in genes \\['B'\\]"):
            data.statistics()
    else:
        matrix = torch.as_tensor(counts) if kind == "dense" else sp.csr_matrix(counts)
        with pytest.raises(ValueError, match=f"1 {word} values"):
            ExpressionData(matrix, GENES)


def test_rows_of_a_file_are_read_in_order_and_put_back():
    class Increasing:
        """Like h5py: integer rows must increase."""

        shape = (6, 2)

        def __getitem__(self, rows):
            assert np.all(np.diff(rows) > 0)
            return np.arange(12.0).reshape(6, 2)[rows]

    found = read_rows(Increasing(), np.array([4, 1, 5]), torch.float64)
    np.testing.assert_array_equal(found, [[8, 9], [2, 3], [10, 11]])
