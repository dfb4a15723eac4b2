"""The same values from every kind of file: loom, 10x HDF5, Matrix Market, gct, parquet, tables separated by spaces."""

import gzip
import importlib.util

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp
from pyrogrn.experiments.files import parquet_file
from pyrogrn.experiments.files.parquet_file import stored_frame
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.experiments.files.stored_names import unique_names

TFS = ["SPI1", "GATA1"]
GENES = [*TFS, "CSF1R", "KLF1", "HBB"]


@pytest.fixture
def frame():
    """Counts, cells × genes."""
    values = np.random.default_rng(0).poisson(1.0, size=(7, 5)).astype(float)
    barcodes = [f"AAACCTGAGCATCA{b}-1" for b in ("AA", "AC", "AG", "AT", "CA", "CC", "CG")]
    return pd.DataFrame(values, index=barcodes, columns=GENES)


def loom(frame, path, genes="Gene", cells="CellID"):
    """As loompy writes it."""
    with h5py.File(path, "w") as store:
        store["matrix"] = frame.to_numpy().T
        store["layers/spliced"] = frame.to_numpy().T + 1
        store[f"row_attrs/{genes}"] = [g.encode() for g in frame.columns]
        store[f"col_attrs/{cells}"] = [c.encode() for c in frame.index]
        store["col_attrs/kind"] = [b"a", b"b", b"a", b"b", b"a", b"b", b"a"]
        store["col_attrs/age"] = np.arange(7.0)
        store["col_attrs/pca"] = np.zeros((7, 2))
    return path


def tenx(frame, path, version=3, names=None, kinds=None):
    """As Cell Ranger writes it."""
    counts = sp.csc_matrix(frame.to_numpy().T.astype(np.int32))
    names = list(frame.columns) if names is None else names
    with h5py.File(path, "w") as store:
        group = store.create_group("matrix" if version == 3 else "GRCh38")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(counts, name)
        group["shape"] = np.array(counts.shape, dtype=np.int32)
        group["barcodes"] = [c.encode() for c in frame.index]
        ids = [f"ENSG{i:011d}".encode() for i in range(len(names))]
        if version == 3:
            group["features/id"], group["features/name"] = ids, [n.encode() for n in names]
            group["features/feature_type"] = [k.encode() for k in kinds or ["Gene Expression"] * len(names)]
        else:
            group["genes"], group["gene_names"] = ids, [n.encode() for n in names]
    return path


def mtx(frame, folder, style="v3"):
    """As Cell Ranger 3 or 2, GEO or kallisto writes it."""
    folder.mkdir()
    start = "GSM1_" if style == "geo" else ""
    lines = [f"ENSG{i:011d}\t{g}\tGene Expression" for i, g in enumerate(frame.columns)]
    names = {"v2": "genes.tsv", "kallisto": "cells_x_genes.genes.txt"}.get(style, "features.tsv")
    if style == "v2":
        lines = [line.rsplit("\t", 1)[0] for line in lines]
    if style == "kallisto":
        lines = list(frame.columns)
        matrix, barcodes = "cells_x_genes.mtx", "cells_x_genes.barcodes.txt"
        scipy.io.mmwrite(folder / matrix, sp.coo_matrix(frame.to_numpy()))
    else:
        matrix, barcodes = f"{start}matrix.mtx", f"{start}barcodes.tsv"
        scipy.io.mmwrite(folder / matrix, sp.coo_matrix(frame.to_numpy().T.astype(int)))
    (folder / (start + names)).write_text("\n".join(lines) + "\n")
    (folder / barcodes).write_text("\n".join(frame.index) + "\n")
    if style in ("v3", "geo"):
        for file in list(folder.iterdir()):
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
    return folder


def gct(frame, path, version="1.3"):
    """As cmapPy writes it, with a symbol and a perturbation; 1.2 has neither."""
    rows, columns = frame.columns, frame.index
    if version == "1.2":
        lines = ["#1.2", f"{len(rows)}\t{len(columns)}", "\t".join(["Name", "Description", *columns])]
        body = [[g, "na", *map(str, frame[g])] for g in rows]
    else:
        lines = ["#1.3", f"{len(rows)}\t{len(columns)}\t1\t1", "\t".join(["id", "pr_gene_symbol", *columns])]
        lines.append("\t".join(["pert", "na", *["SPI1", "ctl", "ctl", "ctl", "ctl", "GATA1", "ctl"]]))
        body = [[f"{i}_at", g, *map(str, frame[g])] for i, g in enumerate(rows)]
    path.write_text("\n".join([*lines, *("\t".join(row) for row in body)]) + "\n")
    return path


WRITERS = {
    "loom": lambda f, d: loom(f, d / "a.loom"),
    "loom of scanpy": lambda f, d: loom(f, d / "a.loom", "var_names", "obs_names"),
    "10x v3": lambda f, d: tenx(f, d / "a.h5"),
    "10x v2": lambda f, d: tenx(f, d / "a.h5", version=2),
    "mtx v3": lambda f, d: mtx(f, d / "filtered"),
    "mtx v2": lambda f, d: mtx(f, d / "filtered", "v2"),
    "mtx of GEO": lambda f, d: mtx(f, d / "filtered", "geo"),
    "mtx of GEO by name": lambda f, d: mtx(f, d / "filtered", "geo") / "GSM1_matrix.mtx.gz",
    "mtx of kallisto": lambda f, d: mtx(f, d / "filtered", "kallisto"),
    "gct 1.3": lambda f, d: gct(f, d / "a.gct"),
    "gct 1.2": lambda f, d: gct(f, d / "a.gct", "1.2"),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("tfs", [TFS, None])
def test_the_same_values_from_every_kind_of_file(frame, tmp_path, kind, tfs):
    path = WRITERS[kind](frame, tmp_path)
    with pytest.raises(ValueError, match="cannot be streamed"):
        read_expression(path, tfs=tfs, backed=True)
    data = read_expression(path, tfs=tfs)
    assert data.genes == tuple(GENES)
    assert data.tfs == tuple(tfs or GENES)
    np.testing.assert_array_equal(data.X, frame.to_numpy())
    assert not any("nothing says" in note for note in data.notes)


@pytest.mark.parametrize("space", [" ", "   "])
def test_tables_separated_by_spaces(frame, tmp_path, space):
    text = frame.to_csv(sep=" ").replace(" ", space)
    (tmp_path / "t.txt").write_text(text)
    np.testing.assert_array_equal(read_expression(tmp_path / "t.txt", tfs=TFS).X, frame.to_numpy())
    corner, rest = text.split("\n", 1)
    (tmp_path / "t.txt").write_text(corner.lstrip() + "\n" + rest)  # R's write.table
    np.testing.assert_array_equal(read_expression(tmp_path / "t.txt", tfs=TFS).X, frame.to_numpy())


def test_annotations_layers_and_names_of_a_loom(frame, tmp_path):
    path = loom(frame, tmp_path / "a.loom")
    data = read_expression(path, tfs=TFS, context_key="kind", layer="spliced", covariates=["age"])
    np.testing.assert_array_equal(data.X, frame.to_numpy() + 1)
    assert data.context_names == ("a", "b")
    assert data.covariate_names == ("age",)
    with pytest.raises(ValueError, match=r"no layer 'counts': the file has \['spliced'\]"):
        read_expression(path, tfs=TFS, layer="counts")
    with pytest.raises(ValueError, match="names no genes: row_attrs has"):
        read_expression(loom(frame, path, genes="odd"), tfs=TFS)
    with h5py.File(path, "w") as store:
        store["x"] = np.ones(3)
    with pytest.raises(ValueError, match="is no loom: it has no matrix"):
        read_expression(path, tfs=TFS)


def test_names_that_repeat_and_features_that_are_no_genes(frame, tmp_path):
    names = ["SPI1", "GATA1", "GATA1", "CD3", "HBB"]
    kinds = ["Gene Expression"] * 3 + ["Antibody Capture", "Gene Expression"]
    data = read_expression(tenx(frame, tmp_path / "a.h5", names=names, kinds=kinds), tfs=TFS)
    assert data.genes == ("SPI1", "GATA1", "GATA1-1", "HBB")
    assert "features that are not genes were left out: ['Antibody Capture (1)']" in data.notes
    assert any("1 names of genes repeat (['GATA1'])" in note for note in data.notes)
    assert unique_names(["A", "A-1", "A", "A"])[0] == ["A", "A-1", "A-2", "A-3"]
    with pytest.raises(ValueError, match=r"They are in .var\['gene_ids'\]"):
        read_expression(tmp_path / "a.h5", tfs=["ENSG00000000000"])


def test_perturbations_of_a_gct(frame, tmp_path):
    data = read_expression(gct(frame, tmp_path / "a.gct"), tfs=None, perturbation_key="pert")
    assert data.perturbed.tolist() == [[0, 0], [5, 1]]
    assert "names of genes are those of column 'pr_gene_symbol'" in data.notes


BAD = {
    "a.loom": (b"text", "is not a loom: it does not begin as an HDF5 file"),
    "a.h5": (b"\x89HDF\r\n\x1a\n" + b"0" * 99, "damaged, truncated or not an HDF5 of 10x"),
    "a.gct": (b"#1.2\n3\t1\nName\tDescription\ts\nA\tna\t1\n", "is no gct of version 1.2 or 1.3"),
    "b.gct": (b"#1.2\nx\n", "is no gct"),
    "a.mtx": (b"%%MatrixMarket\n", "needs its names beside it: expected features.tsv"),
    "a.feather": (b"", "unknown kind of file '.feather': expected .h5ad, .zarr, .csv"),
    "a.loom.gz": (b"", "is a compressed .loom file: unpack it first"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_expression(tmp_path / name, tfs=None)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_bad_folders(frame, tmp_path):
    folder = mtx(frame, tmp_path / "f", "v2")
    with (folder / "barcodes.tsv").open("a") as handle:
        handle.write("more\n")
    with pytest.raises(ValueError, match=r"matrix\.mtx is 5 x 7, but genes.tsv names 5 genes and barc.* 8 cells"):
        read_expression(folder, tfs=None)
    (folder / "x_matrix.mtx").write_text("")
    with pytest.raises(ValueError, match="several matrices"):
        read_expression(folder, tfs=None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is a folder and no zarr store"):
        read_expression(tmp_path / "empty", tfs=None)


def test_parquet_names_the_extra_where_it_is_missing(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(parquet_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package pyarrow: pip install 'pyrogrn\[parquet\]'"):
        read_expression(tmp_path / "a.parquet", tfs=None)


def test_data_frames_with_names_in_the_index_or_the_first_column(frame):
    for table in (frame, frame.reset_index(names="cell"), frame.assign(kind="a")):
        stored = stored_frame(table, {"kind"}, "parquet")
        assert stored.columns == tuple(GENES)
        assert stored.rows == tuple(frame.index)
        assert stored.genes_in == "columns"
        assert ("kind" in stored.row_table) == ("kind" in table)
    assert stored_frame(frame.T.rename_axis("gene"), (), "parquet").genes_in == "rows"
    with pytest.raises(ValueError, match="columns that are not numbers"):
        stored_frame(frame.assign(kind="a"), (), "parquet")


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="the extra `parquet` is not installed")
def test_parquet(frame, tmp_path):
    frame.to_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(read_expression(tmp_path / "a.parquet", tfs=TFS).X, frame.to_numpy())
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:50])
    with pytest.raises(ValueError, match="damaged, truncated or not a parquet table"):
        read_expression(tmp_path / "b.parquet", tfs=TFS)


def test_pointers_of_10x_that_do_not_fit_are_refused(frame, tmp_path):
    path = tenx(frame, tmp_path / "a.h5")
    with h5py.File(path, "r+") as store:
        pointers = store["matrix/indptr"][()]
        del store["matrix/indptr"]
        pointers[-1] = -5
        store["matrix/indptr"] = pointers
    with pytest.raises(ValueError, match="column pointers do not fit"):
        read_expression(path, tfs=TFS)
