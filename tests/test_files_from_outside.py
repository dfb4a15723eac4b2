"""Files as they come: comments, times with units, .raw, decimal commas, empty gene sets, contexts too small."""

import gzip
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn import PriorNetwork, read_gmt
from pyrogrn.experiments.commands.infer_kinds import InferNetwork
from pyrogrn.experiments.commands.options import read_gene_sets
from pyrogrn.experiments.files.readers import read_expression, read_kinds, read_names
from pyrogrn.experiments.files.stored import about
from pyrogrn.models import ExpressionData, LinearNetwork, MuVI
from pyrogrn.models.data import some
from pyrogrn.models.data.time_labels import read_times
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors.evidence import read_scores

GENES = ["SPI1", "GATA1", "CSF1R", "KLF1"]


@pytest.fixture
def frame():
    """Cells × genes."""
    values = np.random.default_rng(0).normal(size=(9, 4)).round(3)
    return pd.DataFrame(values, index=[f"cell{i}" for i in range(9)], columns=GENES)


def write(path, text):
    """A text file."""
    path.write_text(text)
    return path


# -- times ----


@pytest.mark.parametrize(
    ("labels", "values", "note"),
    [
        ([0, 1.5, 24], [0, 1.5, 24], None),
        (["0", " 24 ", "1e1"], [0, 24, 10], None),
        (["0h", "24h", "72 hr"], [0, 24, 72], "times are read in hours, '0h' as 0"),
        (["day 3", "Day 10", "day -1"], [3, 10, -1], "times are read in days, 'day 3' as 3"),
        (["D0", "d7", "day_14"], [0, 7, 14], "times are read in days, 'D0' as 0"),
        (["E8.5", "E7.25"], [8.5, 7.25], "times are read in embryonic days, 'E8.5' as 8.5"),
        (["P7", "P56"], [7, 56], "times are read in postnatal days, 'P7' as 7"),
        (["0", "30 min", "2h"], [0, 30, 120], "times are read in minutes, '30 min' as 30"),
        (["passage 4", "passage 5"], [4, 5], "times are read in passage, 'passage 4' as 4"),
        (["24h", "nan", ""], [24, np.nan, np.nan], "times are read in hours, '24h' as 24"),
    ],
)
def test_times_with_units(labels, values, note):
    times = read_times(labels)
    np.testing.assert_allclose(times.values, values)
    assert times.notes == (() if note is None else (note,))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["0", "early"], "'early' is no time: expected numbers, or numbers with one unit such as 24h"),
        (["E8.5", "P7"], "times are of two kinds, 'E8.5' and 'P7'"),
        (["3", "24h"], "times are of two kinds, '3' without a unit and '24h'"),
        (["0", "inf"], "1 cells have the time 'inf'"),
        (["1", "2021-03-01"], "'2021-03-01' is no time"),
    ],
)
def test_other_times_are_refused_by_value(labels, words):
    with pytest.raises(ValueError, match=words):
        read_times(labels)


def test_times_of_files_and_of_anndata(frame, tmp_path):
    table = frame.assign(when=["0h", "6h", "12h"] * 3, who=["a"] * 3 + ["b"] * 3 + ["c"] * 3)
    table.to_csv(tmp_path / "t.csv")
    data = read_expression(tmp_path / "t.csv", tfs=None, time_key="when", trajectory_key="who")
    assert data.time.tolist() == [0, 6, 12] * 3
    assert "times are read in hours, '0h' as 0" in data.notes
    adata = anndata.AnnData(frame, obs=table[["when", "who"]])
    data = ExpressionData.from_anndata(adata, time_key="when", trajectory_key="who")
    assert data.time.tolist() == [0, 6, 12] * 3
    assert "times are read in hours, '0h' as 0" in data.notes


# -- comments ----


def test_comments_are_skipped_wherever_a_text_is_read(frame, tmp_path, caplog):
    lines = frame.to_csv(sep="\t").splitlines()
    text = "\n".join(["# by a program", lines[0], lines[1], "# a remark", *lines[2:]]) + "\n"
    data = read_expression(write(tmp_path / "t.tsv", text), tfs=["SPI1"])
    np.testing.assert_allclose(data.X, frame.to_numpy(), rtol=1e-6)
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(text.encode()))
    assert read_expression(tmp_path / "t.tsv.gz", tfs=None).genes == tuple(GENES)
    assert read_names(write(tmp_path / "n.txt", "# TFs\nSPI1\n# of the atlas\nGATA1\n")) == ["SPI1", "GATA1"]
    network = PriorNetwork.read(write(tmp_path / "n.csv", "# one\nsource,target\nA,X\n# two\nB,X\n"))
    assert list(network.source) == ["A", "B"]
    assert read_gmt(write(tmp_path / "s.gmt", "# sets\nS\t\tA\n#T\t\tB\n")) == {"S": ("A",)}
    assert read_kinds(write(tmp_path / "k.csv", "# kinds\nnode,kind\nA,protein\n")) == {"A": "protein"}
    assert read_scores(write(tmp_path / "e.csv", "# scores\n,X,Y\nA,1,2\n")).shape == (1, 2)
    assert caplog.records == []


def test_feature_counts(tmp_path):
    text = (
        "# Program:featureCounts v2.0.1; Command:...\n"
        "Geneid\tChr\tStart\tEnd\tStrand\tLength\ts1.bam\ts2.bam\ts3.bam\n"
        "SPI1\tchr1\t1\t100\t+\t99\t0\t2\t0\nGATA1\tchr1;chr1\t1;5\t3;100\t+;+\t99\t1\t3\t2\n"
    )
    for tfs in (["SPI1"], None):
        data = read_expression(write(tmp_path / "counts.txt", text), tfs=tfs)
        assert data.genes == ("SPI1", "GATA1")
        assert data.X.tolist() == [[0, 1], [2, 3], [0, 2]]
        assert "columns of featureCounts not used: Chr, Start, End, Strand, Length" in data.notes


# -- .raw ----


@pytest.mark.parametrize("backed", [None, True])
def test_raw_is_read_and_mentioned(frame, tmp_path, backed):
    full = anndata.AnnData(frame.assign(HBB=1.0) + 10)
    adata = full[:, GENES].copy()
    adata.X = frame.to_numpy()
    adata.raw = full
    adata.layers["spliced"] = adata.X
    adata.write_h5ad(tmp_path / "a.h5ad")
    data = read_expression(tmp_path / "a.h5ad", tfs=["SPI1"])
    assert "it also has layers ['spliced'], read by --layer NAME" in data.notes
    assert any("also has a .raw, read by --layer raw" in note for note in data.notes)
    raw = read_expression(tmp_path / "a.h5ad", tfs=["SPI1"], layer="raw", backed=backed)
    assert raw.genes == (*GENES, "HBB")
    np.testing.assert_allclose(raw.X[:, :4], frame.to_numpy() + 10, rtol=1e-6)
    with pytest.raises(ValueError, match=r"no layer 'counts': the file has \['spliced', 'raw \(its .raw\)'\]"):
        read_expression(tmp_path / "a.h5ad", tfs=None, layer="counts")
    same = ExpressionData.from_anndata(anndata.read_h5ad(tmp_path / "a.h5ad"), layer="raw")
    torch.testing.assert_close(same.X, raw.X)


def test_raw_without_a_table_of_genes(frame, tmp_path):
    adata = anndata.AnnData(frame)
    adata.raw = adata.copy()
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        file["raw/var"].attrs["encoding-type"] = "dict"
        file["raw/var"].attrs["encoding-version"] = "0.1.0"
    with pytest.raises(ValueError, match="raw/var is not a table"):
        read_expression(tmp_path / "a.h5ad", tfs=["SPI1"], layer="raw")


# -- decimal commas ----


@pytest.mark.parametrize("sep", [";", "\t", " "])
def test_decimal_commas_are_named(frame, tmp_path, sep):
    frame.to_csv(tmp_path / "t.txt", sep=sep, decimal=",")
    with pytest.raises(ValueError, match=r"its numbers have decimal commas \('0,126' in 'SPI1', row 1\)"):
        read_expression(tmp_path / "t.txt", tfs=None)


def test_decimal_commas_between_commas_are_suspected(tmp_path):
    path = write(tmp_path / "t.csv", "cell,A,B\nc1,0,5,1,25\n")
    with pytest.raises(ValueError, match=r"5 cells under a header of 3 \(decimal commas"):
        read_expression(path, tfs=None)


# -- gene sets ----


def test_an_empty_gene_set_is_left_out_and_said(tmp_path, caplog):
    path = write(tmp_path / "s.gmt", "A\tna\tG1\tG2\nB\tna\nC\tna\t\t\n")
    assert read_gene_sets([f"s={path}"]) == {"s": {"A": ("G1", "G2")}}
    assert "2 gene sets without genes were left out: ['B', 'C']" in caplog.text
    with pytest.raises(ValueError, match="line 1 is not"):
        read_gmt(write(tmp_path / "s.gmt", "A\tna\nB\tna\n"))


def test_an_error_names_the_file_that_it_is_in():
    with pytest.raises(ValueError, match=r"^i\.csv: no numbers$"), about(Path("x.csv")), about(Path("i.csv")):
        raise ValueError("no numbers")


# -- contexts ----


def test_all_tables_of_contexts_are_said_to_be_written():
    data = simulate_linear(num_genes=6, num_tfs=2, num_cells=40, num_contexts=2, seed=0).data
    written = InferNetwork().writes(LinearNetwork.from_data(data), 10)
    assert "edges_CONTEXT.csv of 2 contexts, differences.csv, differences_A_B.csv" in written


def test_a_context_that_is_too_small_is_named_and_left_out(frame, tmp_path):
    table = frame.assign(kind=["HSC"] * 7 + ["rare"] * 2)
    path = tmp_path / "t.csv"
    table.to_csv(path)
    data = read_expression(path, tfs=None, context_key="kind")
    with pytest.raises(ValueError, match=r"fewer than 3 cells left in context 'rare' for .* or drop the context$"):
        LinearNetwork.from_data(data)
    left = read_expression(path, tfs=None, context_key="kind", min_cells=3)
    assert left.context_names == ("HSC",)
    assert left.num_cells == 7
    np.testing.assert_allclose(left.X, frame.to_numpy()[:7], rtol=1e-6)
    assert left.notes[-1] == "contexts with fewer than 3 cells were left out: ['rare (2 cells)']"
    assert read_expression(path, tfs=None, context_key="kind", min_cells=2).num_contexts == 2
    for number, words in ((0, "expected at least 1"), (8, "the largest context has 7 cells")):
        with pytest.raises(ValueError, match=words):
            read_expression(path, tfs=None, context_key="kind", min_cells=number)
    with pytest.raises(ValueError, match="there are none: name a --context-key"):
        read_expression(path, tfs=None, min_cells=3, covariates=["kind"])


def test_the_command_line_says_how_to_leave_it_out(frame, tmp_path):
    frame.assign(kind=["HSC"] * 7 + ["rare"] * 2).to_csv(tmp_path / "t.csv")
    run = ("infer", tmp_path / "t.csv", "--context-key", "kind", "--out", tmp_path / "o")
    code, _, err = call(*run)
    assert code == 2
    assert "context 'rare'" in err
    assert "leave it out (--min-cells 3)" in err


# -- names ----


def test_long_names_are_cut(frame, tmp_path):
    long = "G" * 3000
    assert some([long]) == f"['{'G' * 46}...{'G' * 11}']"
    frame.rename(columns={"SPI1": long}).to_csv(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="none of the 1 TFs") as caught:
        read_expression(tmp_path / "t.csv", tfs=["T" * 2000])
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(("listed", "measured"), [("ENSG0000006633{}.12", "ENSG0000006633{}"), ("715{}.0", "715{}")])
def test_every_list_is_hinted_at_versions_and_floats(listed, measured):
    names, genes = ([pattern.format(i) for i in range(5)] for pattern in (listed, measured))
    data = ExpressionData.from_frame(pd.DataFrame(np.random.default_rng(0).normal(size=(9, 5)), columns=genes))
    with pytest.raises(ValueError, match=f"They match after .*'{names[0]}', '{genes[0]}'"):
        data.match_tfs(names)
    with pytest.raises(ValueError, match=f"They match after .*'{names[0]}', '{genes[0]}'"):
        MuVI(data, gene_sets={"s": {"S": names}})
    with pytest.raises(ValueError, match=r"match only after (removing|reading)"):
        PriorNetwork.from_edges(pd.DataFrame({"source": names[:1], "target": names[1:2]}), name="p").align(genes, genes)


@pytest.mark.parametrize(
    ("cells", "thousands"), [(("1,234", "2,001"), True), (("1,234,567", "3"), True), (("0,5", "1,234"), False)]
)
def test_separators_of_thousands_are_not_called_decimal_commas(tmp_path, cells, thousands):
    path = tmp_path / "x.csv"
    path.write_text(f'cell,A,B\nc1,"{cells[0]}","{cells[1]}"\n')
    with pytest.raises(ValueError, match="thousands" if thousands else "have decimal commas"):
        read_expression(path, tfs=["A"])


def test_a_unit_that_may_be_two_is_said():
    times = read_times(["3m", "12m"])
    assert times.values.tolist() == [3.0, 12.0]
    assert "minutes or months" in times.notes[0]
