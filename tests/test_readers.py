"""Readers: the same values through every format, streaming without holding the matrix, one line for bad input."""

import gzip
import tracemalloc
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import zarr
from pyrogrn.experiments.files import stored as stored_module
from pyrogrn.experiments.files.readers import StackedRows, read_expression, read_names
from pyrogrn.experiments.files.stored import RowsOnDisk

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TFS = ["SOX2", "GATA1"]


def counts(num_cells=40, num_genes=8, seed=0):
    """Counts with some zeros, as a frame of cells × genes whose first genes are the TFs."""
    values = np.random.default_rng(seed).poisson(1.5, size=(num_cells, num_genes)).astype(np.float64)
    genes = [*TFS, *(f"G{i}" for i in range(num_genes - len(TFS)))]
    return pd.DataFrame(values, index=[f"cell{i}" for i in range(num_cells)], columns=genes)


def adata(frame, convert=lambda x: x, layer=None):
    """AnnData with annotations of cells and genes."""
    obs = pd.DataFrame({"type": ["a", "b"] * (len(frame) // 2), "ko": ["control", "GATA1"] * (len(frame) // 2)})
    obs.index = frame.index
    var = pd.DataFrame({"symbol_id": [f"ID{i}" for i in range(frame.shape[1])]}, index=frame.columns)
    result = anndata.AnnData(convert(frame.to_numpy()), obs=obs, var=var)
    if layer is not None:
        result.layers[layer] = convert(frame.to_numpy() + 1)
    return result


def write(kind, frame, path):
    """Write ``frame`` in a format; the path is returned."""
    path = path / f"cells.{kind.split('_')[0]}"
    if kind.startswith(("h5ad", "zarr")):
        convert = {"dense": np.asarray, "csr": sp.csr_matrix, "csc": sp.csc_matrix}[kind.split("_")[1]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # anndata announces that the zarr format it writes will change
            getattr(adata(frame, convert), "write_h5ad" if kind.startswith("h5ad") else "write_zarr")(path)
    else:
        frame = frame.T if kind.endswith("_genes") else frame
        frame.to_csv(path, sep="\t" if path.suffix == ".tsv" or ".tsv" in path.name else ",")
    return path


FORMATS = [
    *("h5ad_dense", "h5ad_csr", "h5ad_csc", "zarr_dense", "zarr_csr", "zarr_csc"),
    *("csv", "csv.gz", "tsv", "tsv.gz", "csv_genes", "tsv.gz_genes", "txt"),
]


@pytest.fixture
def frame():
    return counts()


# -- every format ----


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_values(kind, frame, tmp_path):
    data = read_expression([write(kind, frame, tmp_path)], tfs=TFS)
    assert data.genes == tuple(frame.columns)
    assert data.tfs == tuple(TFS)
    assert data.dtype == torch.float32
    np.testing.assert_array_equal(data.X.numpy(), frame.to_numpy())
    assert any("transposed" in note for note in data.notes) == kind.endswith("_genes")
    assert data.notes[-1] == "normalisation: none"


@pytest.mark.parametrize("kind", ["h5ad_dense", "h5ad_csr", "zarr_dense", "zarr_csr"])
def test_streamed_matrices_give_the_same_blocks_and_statistics(kind, frame, tmp_path):
    path = write(kind, frame, tmp_path)
    memory = read_expression(path, tfs=TFS, normalize="log1p-cpm", perturbation_key="ko", context_key="type")
    disk = read_expression(path, tfs=TFS, normalize="log1p-cpm", perturbation_key="ko", context_key="type", backed=True)
    assert isinstance(disk.matrix, RowsOnDisk)
    assert not isinstance(memory.matrix, RowsOnDisk)
    assert "streamed" in disk.notes[0]
    np.testing.assert_array_equal(disk.X, memory.X)
    order = np.array([30, 2, 17])
    np.testing.assert_array_equal(disk.rows(order), memory.X[torch.as_tensor(order)])
    np.testing.assert_array_equal(disk.subset(order).X, memory.subset(order).X)
    a, b = disk.statistics(chunk_size=7), memory.statistics(chunk_size=100)
    for name in ("count", "mean", "cross", "square", "minimum"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(a.clamped.gram, b.clamped.gram)


@pytest.mark.parametrize("kind", ["h5ad_dense", "h5ad_csr", "zarr_dense"])
def test_streaming_does_not_hold_the_matrix(kind, tmp_path):
    frame = counts(20000, 100)
    path = write(kind, frame, tmp_path)
    whole = frame.to_numpy().nbytes
    read_expression(path, tfs=TFS, backed=True).statistics(
        chunk_size=200
    )  # what libraries keep for ever is not counted
    tracemalloc.start()
    data = read_expression(path, tfs=TFS, backed=True)
    data.statistics(chunk_size=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    names = 20000 * 200  # of cells: index and tuple
    assert peak < 0.3 * whole + names, f"{peak / 1e6:.1f} MB while the matrix has {whole / 1e6:.1f} MB"


def test_large_files_are_streamed_by_default(frame, tmp_path, monkeypatch):
    monkeypatch.setattr(stored_module, "BACKED_SIZE", 1000)
    for kind, streamed in (("h5ad_dense", True), ("h5ad_csr", True), ("h5ad_csc", True), ("zarr_dense", True)):
        path = write(kind, frame, tmp_path)
        assert isinstance(read_expression(path, tfs=TFS).matrix, RowsOnDisk) == streamed
        assert not isinstance(read_expression(path, tfs=TFS, backed=False).matrix, RowsOnDisk)


def test_sparse_stays_sparse(frame, tmp_path):
    for kind in ("h5ad_csr", "h5ad_csc", "zarr_csc"):
        data = read_expression(write(kind, frame, tmp_path), tfs=TFS)
        assert isinstance(data.matrix, sp.csr_matrix)
        assert data.matrix.dtype == np.float32


def test_table_is_read_without_a_float64_copy(tmp_path):
    frame = counts(300, 2000)
    path = write("csv", frame, tmp_path)
    tracemalloc.start()
    data = read_expression(path, tfs=TFS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.matrix.dtype == torch.float32
    assert peak < 2.6 * 4 * frame.size  # rows, then the matrix stacked from them


def test_layers_and_normalisation(frame, tmp_path):
    path = tmp_path / "a.h5ad"
    adata(frame, layer="raw").write_h5ad(path)
    np.testing.assert_array_equal(read_expression(path, tfs=TFS, layer="raw").X, frame.to_numpy() + 1)
    np.testing.assert_array_equal(read_expression(path, tfs=TFS, layer="raw", backed=True).X, frame.to_numpy() + 1)
    expected = np.log1p(1e6 * frame.to_numpy() / frame.to_numpy().sum(1, keepdims=True))
    np.testing.assert_allclose(read_expression(path, tfs=TFS, normalize="log1p-cpm").X, expected, rtol=1e-5)
    z = read_expression(path, tfs=TFS, normalize="zscore").X.double()
    torch.testing.assert_close(z.mean(0), torch.zeros(8).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(8).double(), atol=1e-5, rtol=0)


def test_a_matrix_without_x_is_read_from_its_layer(frame, tmp_path):
    path = tmp_path / "a.h5ad"
    annotated = adata(frame, layer="raw")
    annotated.X = None
    annotated.write_h5ad(path)
    assert read_expression(path, tfs=TFS, layer="raw").num_cells == 40
    with pytest.raises(ValueError, match=r"a\.h5ad: has no X: choose one of its layers, \['raw'\]"):
        read_expression(path, tfs=TFS)


def test_contexts_and_interventions_from_annotations(frame, tmp_path):
    path = write("h5ad_dense", frame, tmp_path)
    data = read_expression(path, tfs=TFS, context_key="type", perturbation_key="ko")
    assert data.context_names == ("a", "b")
    assert data.context.tolist() == [0, 1] * 20
    assert data.perturbed.tolist() == [[i, 1] for i in range(1, 40, 2)]


def test_contexts_and_interventions_from_columns_of_a_table(frame, tmp_path):
    table = frame.copy()
    table.insert(0, "condition", ["x", "y"] * 20)
    table.insert(3, "ko", ["control", "SOX2"] * 20)
    path = write("csv", table, tmp_path)
    data = read_expression(path, tfs=TFS, context_key="condition", perturbation_key="ko")
    np.testing.assert_array_equal(data.X, frame.to_numpy())
    assert data.context_names == ("x", "y")
    assert data.perturbed.tolist() == [[i, 0] for i in range(1, 40, 2)]


def test_anndata_of_genes_by_cells_is_recognised(frame, tmp_path):
    for name, convert in (("dense", np.asarray), ("sparse", sp.csr_matrix)):
        swapped = anndata.AnnData(convert(frame.to_numpy().T), obs=pd.DataFrame(index=frame.columns))
        swapped.var = pd.DataFrame({"type": ["a", "b"] * 20}, index=frame.index)
        path = tmp_path / f"{name}.h5ad"
        swapped.write_h5ad(path)
        data = read_expression(path, tfs=TFS, context_key="type")
        np.testing.assert_array_equal(data.X, frame.to_numpy())
        assert data.notes[1] == "genes x cells recognised from the TF names and transposed: 40 cells x 8 genes"
        assert data.context_names == ("a", "b")
        with pytest.raises(ValueError, match="genes x cells, which cannot be streamed by cells"):
            read_expression(path, tfs=TFS, backed=True)


def test_large_anndata_of_genes_by_cells_is_read(frame, tmp_path, monkeypatch):
    monkeypatch.setattr(stored_module, "BACKED_SIZE", 1000)
    for kind in ("h5ad_dense", "h5ad_csr", "zarr_dense"):
        path = write(kind, frame, tmp_path)
        cells = [f"cell{i}" for i in range(3)]
        data = read_expression(path, tfs=cells)  # pretend that three of the rows are TFs
        np.testing.assert_array_equal(data.X, frame.to_numpy().T)
        assert "streamed" not in data.notes[0]


@pytest.mark.parametrize(
    ("text", "genes", "values"),
    [
        ("A,B\n1,2\n3,4\n", ["A", "B"], [[1, 2], [3, 4]]),  # no names of cells: the first column is a gene
        ("cell,A,B\n0,1,2\n1,3,4\n", ["A", "B"], [[1, 2], [3, 4]]),  # cells named by numbers
        (",A,B\n0,1,2\n1,3,4\n", ["A", "B"], [[1, 2], [3, 4]]),
        ("A,B\nc0,1,2\nc1,3,4\n", ["A", "B"], [[1, 2], [3, 4]]),  # as R's write.table: no header for the names
        ("cell;A;B\nc0;1;2\nc1;3;4\n", ["A", "B"], [[1, 2], [3, 4]]),
        ('\ufeffcell,"A","B"\r\n"c,0",1,2\r\n"c1",3,4e0\r\n\r\n', ["A", "B"], [[1, 2], [3, 4]]),
        ("cell,A,nan\nc0,1,2\nnan,3,4\n", ["A", "nan"], [[1, 2], [3, 4]]),  # a gene of the fruit fly
        ("id\tA\tB\nc0\t1\t2\nc1\t3\t4", ["A", "B"], [[1, 2], [3, 4]]),
    ],
)
def test_tables_as_people_write_them(text, genes, values, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    data = read_expression(path, tfs=genes[:1])
    assert data.genes == tuple(genes)
    assert data.X.tolist() == values
    assert ("taken as a gene" in data.notes[0]) == text.startswith("A,B\n1")


def test_constant_genes_are_named_or_dropped(frame, tmp_path):
    frame["G2"] = 3.3
    path = write("csv", frame, tmp_path)
    with pytest.raises(ValueError, match=r"1 constant gene: \['G2'\]. Drop them with `data.without_constant_genes"):
        read_expression(path, tfs=TFS).statistics().require_variance()
    for how in ("none", "zscore"):
        data = read_expression(path, tfs=TFS, drop_constant=True, normalize=how)
        assert data.genes == tuple(g for g in frame.columns if g != "G2")
        assert data.notes[-1] == "1 constant gene dropped: ['G2']"
        assert bool((data.X.var(0) > 0).all())
    with pytest.raises(ValueError, match=r"cells\.csv: 1 constant gene cannot be z-scored: \['G2'\]"):
        read_expression(path, tfs=TFS, normalize="zscore")


def test_depth_is_taken_over_all_genes_of_the_file(frame, tmp_path):
    frame["G2"] = 100.0
    path = write("h5ad_csr", frame, tmp_path)
    data = read_expression(path, tfs=TFS, normalize="log1p-cpm", drop_constant=True)
    expected = np.log1p(1e6 * frame.to_numpy() / frame.to_numpy().sum(1, keepdims=True))
    np.testing.assert_allclose(data.X[:, 0], expected[:, 0], rtol=1e-5)


# -- several files ----


@pytest.mark.parametrize("kinds", [("h5ad_dense", "csv"), ("h5ad_csr", "zarr_dense"), ("tsv_genes", "h5ad_csc")])
@pytest.mark.parametrize("how", ["none", "log1p-cpm", "zscore"])
def test_several_files_are_several_contexts(kinds, how, tmp_path):
    first, second = counts(30, 8, seed=1), counts(20, 9, seed=2)
    second = second[second.columns[::-1]].drop(columns="G0")
    paths = []
    for name, kind, frame in zip(("one", "two"), kinds, (first, second), strict=True):
        (tmp_path / name).mkdir()
        path = write(kind, frame, tmp_path / name)
        paths.append(path.rename(path.with_name(path.name.replace("cells", name))))
    data = read_expression(paths, tfs=[*TFS, "NANOG"], normalize=how, backed=True if kinds[1] == "zarr_dense" else None)
    shared = [g for g in first.columns if g != "G0"]
    assert data.context_names == ("one", "two")
    assert data.context.tolist() == [0] * 30 + [1] * 20
    assert list(data.genes) == shared
    assert data.tfs == tuple(TFS)
    assert any("7 genes are in all 2 files and were kept (one has 8, two has 8)" in note for note in data.notes)
    assert any("2 of 3 listed TFs are measured" in note for note in data.notes)
    blocks = []
    for frame in (first, second):
        x = frame.to_numpy()
        if how == "log1p-cpm":
            x = np.log1p(1e6 * x / x.sum(1, keepdims=True))
        if how == "zscore":
            x = (x - x.mean(0)) / x.std(0)
        blocks.append(pd.DataFrame(x, columns=frame.columns)[shared].to_numpy())
    expected = np.concatenate(blocks)
    np.testing.assert_allclose(data.X, expected, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(data.rows(np.array([45, 3, 29, 30])), expected[[45, 3, 29, 30]], rtol=2e-5, atol=1e-5)
    assert isinstance(data.matrix, StackedRows) == any("csr" in k or "csc" in k for k in kinds)
    by_block = torch.cat([block for _, block in data.chunks(7)])
    torch.testing.assert_close(by_block, data.X)


def test_interventions_of_several_files_keep_their_cells(tmp_path):
    paths = []
    for name, size in (("one", 10), ("two", 6)):
        (tmp_path / name).mkdir()
        paths.append(write("h5ad_dense", counts(size), tmp_path / name))
    data = read_expression(paths, tfs=TFS, perturbation_key="ko")
    assert data.context_names == ("one/cells", "two/cells")  # stems repeat
    assert data.perturbed.tolist() == [[i, 1] for i in range(1, 16, 2)]


def test_a_gene_constant_in_one_of_several_files_is_kept(tmp_path):
    one, two = counts(10, seed=1), counts(10, seed=2)
    one["G1"], one["G2"], two["G2"] = 5.0, 2.0, 2.0
    paths = [tmp_path / "one.csv", tmp_path / "two.csv"]
    one.to_csv(paths[0])
    two.to_csv(paths[1])
    data = read_expression(paths, tfs=TFS, normalize="zscore", drop_constant=True)
    assert data.genes == tuple(g for g in one.columns if g != "G2")


def test_files_without_common_genes_or_named_alike(frame, tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    frame.to_csv(one)
    frame.rename(columns=lambda g: f"{g}x").to_csv(two)
    with pytest.raises(ValueError, match="the files have no gene in common"):
        read_expression([one, two], tfs=None)
    with pytest.raises(ValueError, match="contexts are named by file"):
        read_expression([one, one], tfs=None)
    with pytest.raises(ValueError, match="several files are several contexts"):
        read_expression([one, two], tfs=None, context_key="type")
    with pytest.raises(ValueError, match="no expression file"):
        read_expression([], tfs=None)


# -- bad input ----


def refused(match, path, error=ValueError, **options):
    """Reading ends in one line that begins with the path."""
    with pytest.raises(error, match=match) as caught:
        read_expression([path], **({"tfs": TFS} | options))
    assert type(caught.value) is error or type(caught.value).__bases__ == (error,)  # `InFile` has named its file
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    for name in ("a.h5ad", "a.csv", "a.zarr"):
        refused("no such file", tmp_path / name, FileNotFoundError)
    for name in ("b.csv", "b.h5ad", "b.zarr"):
        (tmp_path / name).mkdir()
        refused("is a folder and no zarr store", tmp_path / name)


def test_not_an_h5ad(tmp_path):
    path = tmp_path / "a.h5ad"
    path.write_bytes(b"not HDF5 at all" * 100)
    refused("is not an h5ad", path)
    path.write_bytes(b"")
    refused("is not an h5ad", path)
    with h5py.File(path, "w") as handle:
        handle["something"] = np.ones(3)
    refused(r"is no AnnData: it has no obs and no var \(found \['something'\]\)", path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"junk" * 100)
    refused("damaged, truncated or not an h5ad", path)


def test_h5ad_without_a_matrix(frame, tmp_path):
    path = tmp_path / "a.h5ad"
    anndata.AnnData(obs=pd.DataFrame(index=frame.index), var=pd.DataFrame(index=frame.columns)).write_h5ad(path)
    refused("has neither X nor layers", path)
    adata(frame).write_h5ad(path)
    with h5py.File(path, "a") as handle:
        del handle["X"]
        handle.create_group("X")
    refused("X is not a matrix of numbers", path)


@pytest.mark.parametrize("kind", ["h5ad_dense", "h5ad_csr"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_truncated_h5ad(kind, keep, frame, tmp_path):
    path = write(kind, frame, tmp_path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    refused("damaged, truncated or not an h5ad", path)


def test_damaged_blocks_of_a_streamed_file(tmp_path):
    frame = counts(2000, 50)
    path = tmp_path / "a.h5ad"
    adata(frame).write_h5ad(path, compression="gzip")
    with h5py.File(path, "r") as handle:
        chunk = handle["X"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\x00" * chunk.size
    path.write_bytes(bytes(content))
    refused("damaged, truncated or not an h5ad", path, backed=False)
    data = read_expression(path, tfs=TFS, backed=True)
    with pytest.raises(ValueError, match=r"a\.h5ad: damaged, truncated or not a readable matrix"):
        data.statistics()


def test_damaged_zarr(frame, tmp_path):
    path = write("zarr_dense", frame, tmp_path)
    for part in path.rglob("*"):
        if part.is_file() and "X" in part.parts and not part.name.startswith((".", "zarr.json")):
            part.write_bytes(b"junk")
    refused("damaged, truncated or not a zarr store", path)
    (path / ".zgroup").write_text("{")
    (path / ".zmetadata").unlink(missing_ok=True)
    refused("damaged, truncated or not a zarr store", path)
    other = tmp_path / "array.zarr"
    zarr.save_array(str(other), np.ones((3, 3)))
    refused("not a zarr store|no zarr store|is no AnnData", other)


def test_damaged_text(frame, tmp_path):
    path = write("csv.gz", frame, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused("damaged or truncated", path)
    path.write_bytes(content[:40] + b"\x00" * 60 + content[100:])
    refused("damaged or truncated", path)
    path.write_bytes(content[:-6] + b"abcdef")
    refused("damaged or truncated", path)
    path = tmp_path / "b.csv"
    path.write_bytes(b"\xff\xfe\x00\x01" * 50)
    refused("is not UTF-8 text", path)
    path.write_text("a" * 200000 + ",b\n1,2\n")
    refused("damaged or truncated", path)  # a field without end


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("cell,SOX2,GATA1\n", "has a header but no rows"),
        ("cell,SOX2,GATA1\nc1,1,2\nc2,1\n", r"row 2 \('c2'\) has 2 cells under a header of 3"),
        ("cell,SOX2,GATA1\nc1,1,2\nc2,1,2,3\n", r"row 2 \('c2'\) has 4 cells under a header of 3"),
        ("cell,SOX2,GATA1\nc1,1,2,3,4\n", r"row 1 \('c1'\) has 5 cells under a header of 3"),
        ("cell,SOX2,GATA1\nc1,1,\nc2,1,2\n", r"row 1 \('c1'\) lacks a value in columns \['GATA1'\]"),
        ("cell,SOX2,GATA1\nc1,1,NA\nc2,1,2\n", r"lacks a value in columns \['GATA1'\]"),
        ("cell,SOX2,GATA1\nc1,1,nan\nc2,1,2\n", r"1 NaN values in the expression matrix in genes \['GATA1'\]"),
        ("cell,SOX2,GATA1\nc1,1,inf\nc2,1,2\n", r"1 infinite values in the expression matrix in genes \['GATA1'\]"),
        ("cell,SOX2,SOX2\nc1,1,2\nc2,1,2\n", r"duplicate gene names: \['SOX2'\]"),
        (
            "time\tcondition\tSOX2\tG\n0\theat\t1\t2\n",
            r"columns that are not numbers: \['condition'\] \(row 1 has 'heat'",
        ),
        ("cell,time,dose,SOX2\nc1,late,high,1\n", r"columns that are not numbers: \['time', 'dose'\]"),
        ("treated,SOX2,G\nheat,1,2\nheat,3,4\n", "its first column, 'treated', repeats 'heat'"),
        ("SOX2\n1\n2\n", "has a single column"),
        ("cell,Sox2,G\nc1,1,2\n", r"They match when case is ignored \('SOX2', 'Sox2'\)"),
        ("cell,A,B\nc1,1,2\n", r"none of the 2 TFs \(.*\) is among its 2 columns \(.*\) or 1 rows"),
        ("gene,c1,c2\nsox2,1,2\ng,3,4\n", r"They match when case is ignored \('SOX2', 'sox2'\)"),
    ],
)
def test_bad_tables(text, match, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text)
    refused(match, path)
    with gzip.open(tmp_path / "t.csv.gz", "wt") as handle:
        handle.write(text)
    refused(match, tmp_path / "t.csv.gz")


@pytest.mark.parametrize("kind", ["h5ad_dense", "h5ad_csr", "zarr_dense"])
def test_bad_values_in_stores(kind, frame, tmp_path):
    for value, word in ((np.nan, "NaN"), (np.inf, "infinite")):
        bad = frame.copy()
        bad.iloc[3, 2] = value
        (tmp_path / word).mkdir()
        path = write(kind, bad, tmp_path / word)
        refused(f"1 {word} values in the expression matrix", path)
        data = read_expression(path, tfs=TFS, backed=True)
        with pytest.raises(ValueError, match=rf"1 {word} values in the expression matrix in genes \['G0'\]"):
            data.statistics()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata warns of names that are not unique
        path = write(kind, frame.rename(columns={"G1": "G0"}), tmp_path)
    refused(r"duplicate gene names: \['G0'\]", path)
    refused("expected \\(cells, genes\\) with at least one of each", write(kind, frame.iloc[:0], tmp_path))
    refused("log1p-cpm needs counts", write(kind, -frame, tmp_path), normalize="log1p-cpm", drop_constant=True)


def test_unknown_keys_layers_and_suffixes(frame, tmp_path):
    path = write("h5ad_dense", frame, tmp_path)
    refused("no layer 'counts': the file has no layers", path, layer="counts")
    refused(r"cells have no annotation 'batch': there are \['type', 'ko'\]", path, context_key="batch")
    refused("cells have no annotation 'gene'", path, perturbation_key="gene")
    table = write("csv", frame, tmp_path)
    refused("a table has no layer 'counts'", table, layer="counts")
    refused("cells have no annotation 'batch': there are none", table, context_key="batch")
    refused("a table cannot be streamed", table, backed=True)
    other = tmp_path / "cells.xlsx"
    other.write_bytes(b"PK")
    refused(r"unknown kind of file '.xlsx': expected .h5ad, .zarr, .csv, .tsv, .txt, .loom", other)
    packed = tmp_path / "cells.h5ad.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    refused("is a compressed .h5ad file: unpack it first", packed)
    with pytest.raises(ValueError, match="unknown normalisation 'cpm'"):
        read_expression([path], tfs=TFS, normalize="cpm")


def test_cells_without_a_context_are_refused(frame, tmp_path):
    annotated = adata(frame)
    annotated.obs["type"] = annotated.obs["type"].where(annotated.obs["type"] == "a")
    path = tmp_path / "a.h5ad"
    annotated.write_h5ad(path)
    refused("20 cells have no value of 'type'", path, context_key="type")


def test_names_in_an_annotation_are_pointed_out(frame, tmp_path):
    refused(r"They are in .var\['symbol_id'\]", write("h5ad_dense", frame, tmp_path), tfs=["ID1", "XXX"])


def test_log1p_cpm_of_a_streamed_file_refuses_negative_values(frame, tmp_path):
    data = read_expression(write("h5ad_csr", -frame, tmp_path), tfs=TFS, normalize="log1p-cpm", backed=True)
    with pytest.raises(ValueError, match="log1p-cpm needs counts, found a negative value"):
        data.statistics()


# -- covariates and missing values ----


def with_covariates(frame, path, seed=0):
    """An h5ad with a number, a category, and one of two genes' values gone."""
    rng = np.random.default_rng(seed)
    annotated = adata(frame)
    annotated.obs["age"] = rng.normal(50, 9, len(frame))
    annotated.obs["donor"] = rng.permutation(["d1", "d2"] * (len(frame) // 2))
    annotated.write_h5ad(path)
    return annotated.obs


def test_covariates_are_columns_of_obs(frame, tmp_path):
    obs = with_covariates(frame, tmp_path / "a.h5ad")
    data = read_expression(tmp_path / "a.h5ad", tfs=TFS, covariates=["donor", "age"], context_key="type")
    assert data.covariate_names == ("donor[d2]", "age")
    np.testing.assert_array_equal(data.covariates[:, 0], obs["donor"] == "d2")
    np.testing.assert_allclose(
        data.covariates[:, 1], (obs["age"] - obs["age"].mean()) / obs["age"].std(ddof=0), atol=1e-6
    )
    assert data.notes[-1].startswith("covariate age: mean ")
    streamed = read_expression(tmp_path / "a.h5ad", tfs=TFS, covariates=["donor", "age"], backed=True)
    torch.testing.assert_close(streamed.covariates, data.covariates)


def test_covariates_of_several_files_are_coded_together(tmp_path):
    paths, tables = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"], []
    for seed, path in enumerate(paths):
        tables.append(with_covariates(counts(20, seed=seed), path, seed))
    data = read_expression(paths, tfs=TFS, covariates=["age", "donor"])
    age = pd.concat(tables)["age"].to_numpy()
    np.testing.assert_allclose(data.covariates[:, 0], (age - age.mean()) / age.std(), atol=1e-6)
    assert data.context_names == ("one", "two")
    for path, levels in zip(paths, ("12", "23"), strict=True):  # labels that read as numbers stay labels
        changed = anndata.read_h5ad(path)
        changed.obs["donor"] = changed.obs["donor"].cat.rename_categories(list(levels))
        changed.write_h5ad(path)
    assert read_expression(paths, tfs=TFS, covariates=["donor"]).covariate_names == ("donor[2]", "donor[3]")
    for path, level in zip(paths, ("d1", "d3"), strict=True):  # tells the files apart and nothing else
        changed = anndata.read_h5ad(path)
        changed.obs["donor"] = level
        changed.write_h5ad(path)
    with pytest.raises(ValueError, match=r"covariates \['donor\[d3\]'\] are constant within every group"):
        read_expression(paths, tfs=TFS, covariates=["donor"])


def test_covariates_of_a_table_are_numbers_where_they_read_as_such(frame, tmp_path):
    table = frame.copy()
    table.insert(0, "dose", np.arange(40) / 8)
    table.insert(1, "drug", ["x", "y"] * 20)
    data = read_expression(write("csv", table, tmp_path), tfs=TFS, covariates=["dose", "drug"])
    assert data.covariate_names == ("dose", "drug[y]")
    assert data.genes == tuple(frame.columns)
    table["dose"] = table["dose"].astype(str).where(table["dose"] != 1.0, "NA")
    refused(
        "covariate 'dose' has no value in 1 of 40 cells", write("csv", table, tmp_path), covariates=["dose", "drug"]
    )


def test_bad_covariates(frame, tmp_path):
    path = tmp_path / "a.h5ad"
    with_covariates(frame, path)
    refused(r"cells have no annotation 'sex': there are \['type', 'ko', 'age', 'donor'\]", path, covariates=["sex"])
    refused(r"covariates \['age'\] are given twice", path, covariates=["age", "age"])
    refused(r"'ko\[control\]' is a combination of \['type\[b\]'\]", path, covariates=["type", "ko"])
    refused("are constant within every group", path, covariates=["type"], context_key="type")
    with pytest.raises(ValueError, match=r"`covariates` is the text 'age': pass a list of columns, \['age'\]"):
        read_expression(path, tfs=TFS, covariates="age")


@pytest.mark.parametrize("kind", ["h5ad_dense", "h5ad_csr", "zarr_dense", "csv", "tsv.gz"])
def test_missing_values_where_they_are_allowed(kind, frame, tmp_path):
    gaps = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.1)
    path = write(kind, gaps, tmp_path)
    refused("NaN values|lacks a value", path, backed=False)
    data = read_expression(path, tfs=TFS, missing=True)
    np.testing.assert_array_equal(data.X, gaps.to_numpy())
    assert data.missing
    assert f"{int(gaps.isna().sum().sum())} of 320 values are missing" in data.notes[-1]
    with pytest.raises(ValueError, match="NaN values in the expression matrix"):
        data.statistics()
    whole = read_expression(write(kind, frame, tmp_path), tfs=TFS, missing=True)
    assert not whole.missing
    assert whole.statistics().count.tolist() == [40.0]


def test_genes_that_are_all_missing(frame, tmp_path):
    frame["G1"] = np.nan
    path = write("h5ad_dense", frame, tmp_path)
    refused(r"1 genes have no value in any cell: \['G1'\]", path, missing=True)
    data = read_expression(path, tfs=TFS, missing=True, drop_constant=True)
    assert "G1" not in data.genes
    refused(
        "views .'expression'. have no value in any of 40 cells",
        write("h5ad_dense", frame * np.nan, tmp_path),
        missing=True,
    )


def test_h5mu(frame, tmp_path):
    pytest.importorskip("mudata", reason="the extra `multi` is not installed")
    from pyrogrn.experiments.files.stored import using_mudata

    path = tmp_path / "cells.h5mu"
    with using_mudata() as mudata:
        rna, protein = adata(frame, layer="raw"), adata(frame.iloc[10:, 1:3], sp.csr_matrix, layer="raw")
        mudata.MuData({"rna": rna, "protein": protein}).write_h5mu(path)
    data = read_expression(path, tfs=["SOX2"], covariates=["ko"])
    assert data.view_names == ("rna", "protein")
    assert data.genes[:3] == ("SOX2", "rna:GATA1", "rna:G0")
    assert data.genes[-2:] == ("protein:GATA1", "protein:G0")
    assert data.covariate_names == ("ko[control]",)
    np.testing.assert_array_equal(data.X[:, :8], frame.to_numpy())
    np.testing.assert_array_equal(data.X[10:, 8:], frame.iloc[10:, 1:3].to_numpy())
    assert bool(data.X[:10, 8:].isnan().all())
    assert "10 of 40 cells have no value of view 'protein' at all" in data.notes
    raw = read_expression(path, tfs=None, layer="raw", normalize="zscore")
    np.testing.assert_allclose(raw.X.nanmean(0), np.zeros(10), atol=1e-6)
    refused("an h5mu cannot be streamed", path, tfs=None, backed=True)
    refused("log1p-cpm is for one view", path, tfs=None, normalize="log1p-cpm")
    refused("cells have no annotation 'sex'", path, tfs=None, covariates=["sex"])
    refused("no layer 'counts'", path, tfs=None, layer="counts")
    refused("no such file", tmp_path / "none.h5mu", FileNotFoundError)
    path.write_bytes(path.read_bytes()[:5000])
    refused("damaged, truncated or not an h5mu", path, tfs=None)


# -- lists of names ----


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("t.csv", "tf\nSOX2\nGATA1\n", ["SOX2", "GATA1"]),
        ("t.txt", "SOX2\r\nGATA1\r\nSOX2\r\n\r\n", ["SOX2", "GATA1"]),
        ("t.tsv", "Species\tSymbol\tEnsembl\nHomo\tSOX2\tENSG1\nHomo\tGATA1\tENSG2\n", ["SOX2", "GATA1"]),
        ("t.csv", ",TF\n0,SOX2\n1,GATA1\n", ["SOX2", "GATA1"]),
        ("t.csv", "# from a database\ngene,score\nSOX2,1\nGATA1,2\n", ["SOX2", "GATA1"]),
        ("t.txt", " SOX2 \n GATA1", ["SOX2", "GATA1"]),
    ],
)
def test_lists_of_names(name, text, expected, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    assert read_names(path) == expected
    with gzip.open(tmp_path / f"{name}.gz", "wt") as handle:
        handle.write(text)
    assert read_names(tmp_path / f"{name}.gz") == expected


def test_bad_lists_of_names(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(FileNotFoundError, match=r"t\.csv: no such file"):
        read_names(path)
    for text in ("", "\n\n", "tf\n", "# nothing\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"t\.csv: holds no names"):
            read_names(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n\xff\x00")
    with pytest.raises(ValueError, match=r"t\.csv: is not UTF-8 text .*expected a list of names"):
        read_names(path)
    with pytest.raises(ValueError, match="is a folder, expected a list of names"):
        read_names(tmp_path)
    path.write_bytes(gzip.compress(b"SOX2\n" * 1000)[:30])
    with pytest.raises(ValueError, match=r"t\.csv: damaged or truncated"):
        read_names(path)


# -- real files ----


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data sets are not on this machine")
def test_real_files():
    tfs = read_names(SHARED / "beeline_mdc" / "tfs_string.csv")
    data = read_expression(SHARED / "beeline_mdc" / "expression.h5ad", tfs=tfs, context_key="group")
    assert (data.num_cells, data.num_genes, len(data.tfs)) == (383, 821, 321)
    gsd = SHARED / "beeline_gsd" / "expression.csv.gz"
    assert read_expression(gsd, tfs=None).X.shape == (2000, 19)
    sergio = read_expression(SHARED / "sergio_ds1" / "expression.h5ad", tfs=None, layer="clean", backed=True)
    assert sergio.X.shape == (2700, 100)
    names = read_names(SHARED / "bsubtilis" / "tfs.csv")
    data = read_expression(SHARED / "bsubtilis" / "expression.csv.gz", tfs=names)
    assert (data.num_cells, data.num_genes, len(data.tfs)) == (266, 4218, 239)
