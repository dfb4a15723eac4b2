"""Which way round a table is, which column of a list holds the names, and a truth that does not fit the data."""

import random

import numpy as np
import pandas as pd
import pytest
from command_line import call
from pyrogrn.experiments.files.name_lists import read_name_table
from pyrogrn.experiments.files.readers import read_expression, read_names
from pyrogrn.models.data.orientation import count_votes, genes_axis, is_counting

GENES = ["SPI1", "GATA1", "CSF1R", "KLF1", "HBB"]


@pytest.fixture
def cells():
    """Cells × genes, nothing in the names of cells that tells what they are."""
    values = np.random.default_rng(0).normal(size=(12, len(GENES)))
    return pd.DataFrame(values.round(3), index=[f"E{i}_7" for i in range(12)], columns=GENES)


@pytest.fixture
def generator_kept(no_global_state_changed):
    """Reports draw from Python's generator, for the ids of their figures."""
    state = random.getstate()
    yield
    random.setstate(state)


def same(data, frame):
    """Genes and values are those of the table of cells × genes."""
    assert data.genes == tuple(frame.columns)
    np.testing.assert_allclose(data.X.numpy(), frame.to_numpy(), rtol=1e-6)


# -- votes ----


def test_bare_integers_match_no_row_numbers():
    assert count_votes(["0", "1", "2"], ["A", "B"], ["0", "1"]) == (0, 0)
    assert count_votes(["3", "1", "2"], ["A", "B"], ["A", "1", "2", "3"]) == (0, 1)
    assert genes_axis(["7157", "1026"], ["c1", "c2"], ["7157"]) == "rows"  # Entrez ids do more than count
    assert genes_axis(["7157", "1026"], ["c1", "c2"], ["SPI1"]) is None
    assert is_counting(["2", "0", "1"])
    assert not is_counting(["0", "2"])
    assert not is_counting([])


@pytest.mark.parametrize("what", ["prior 'm'", "the truth", "gene sets 'h'"])
def test_names_beside_the_tfs_vote(cells, tmp_path, what):
    path = tmp_path / "t.csv"
    cells.T.to_csv(path)
    data = read_expression(path, tfs=None, known={what: ["GATA1", "KLF1"]})
    same(data, cells)
    assert f"genes x cells recognised from the names of {what} and transposed: 12 cells x 5 genes" in data.notes
    cells.to_csv(path)
    same(read_expression(path, tfs=None, known={what: ["GATA1", "KLF1"]}), cells)


def test_a_doubtful_table_is_said_with_the_way_to_say_otherwise(cells, tmp_path):
    path = tmp_path / "t.csv"
    cells.T.to_csv(path)
    doubtful = read_expression(path, tfs=None)
    assert doubtful.genes == tuple(cells.index)
    assert "rows were taken as cells, 5 cells x 12 genes" in doubtful.notes[1]
    assert "pass --genes-in rows" in doubtful.notes[1]
    stated = read_expression(path, tfs=None, genes_in="rows")
    same(stated, cells)
    assert stated.notes[1] == "genes in rows, as asked for: 12 cells x 5 genes"
    assert read_expression(path, tfs=["E0_7"], genes_in="columns").tfs == ("E0_7",)
    with pytest.raises(ValueError, match="choose rows"):
        read_expression(path, tfs=None, genes_in="lines")


@pytest.mark.parametrize(
    ("corner", "rows", "axis"),
    [
        ("gene", None, "rows"),
        ("Gene.ID", None, "rows"),
        ("cell", None, "columns"),
        ("barcode", None, "columns"),
        ("", [f"cell{i}" for i in range(12)], "columns"),
        ("", ["AAACCTGAGCATCATC-1", "TTACCTGAGCATCATC-1"] * 6, "columns"),
        ("", [str(i) for i in range(12)], "columns"),
    ],
)
def test_what_a_table_says_of_itself_raises_no_doubt(cells, tmp_path, corner, rows, axis):
    frame = cells.copy()
    if rows is not None:
        frame.index = [f"{name}{'' if len(set(rows)) == 12 else i}" for i, name in enumerate(rows)]
    frame.index.name = corner
    path = tmp_path / "t.csv"
    turned = frame.T.rename_axis(index=corner) if axis == "rows" else frame
    turned.to_csv(path)
    data = read_expression(path, tfs=None)
    same(data, frame)
    assert not any("nothing says" in note for note in data.notes)


def test_names_on_both_axes_are_said(cells, tmp_path):
    frame = cells.iloc[:4].set_axis(["HBB", "MPO", "X1", "X2"])
    frame.to_csv(tmp_path / "t.csv")
    data = read_expression(tmp_path / "t.csv", tfs=["HBB", "GATA1"])
    assert any("names of genes are on both axes (1 in the rows, 2 in the columns)" in note for note in data.notes)


def test_genes_that_only_count_are_read_as_before(tmp_path):
    frame = pd.DataFrame(np.eye(4), index=[f"n{i}" for i in range(4)], columns=[str(i) for i in range(4)])
    frame.to_csv(tmp_path / "t.csv")
    assert read_expression(tmp_path / "t.csv", tfs=["0", "2"]).tfs == ("0", "2")
    frame.T.to_csv(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="pass --genes-in rows"):
        read_expression(tmp_path / "t.csv", tfs=["0", "2"])
    assert read_expression(tmp_path / "t.csv", tfs=["0", "2"], genes_in="rows").tfs == ("0", "2")


# -- headers ----


@pytest.mark.parametrize("sep", ["\t", ",", " "])
def test_a_matrix_without_header_keeps_its_first_gene(cells, tmp_path, sep):
    path = tmp_path / "t.txt"
    cells.T.to_csv(path, sep=sep, header=False)
    for tfs in (["GATA1"], None):
        data = read_expression(path, tfs=tfs)
        same(data, cells)
        assert any("has no header: its first row, 'SPI1', is data" in note for note in data.notes)


def test_counts_without_header_are_recognised_by_what_repeats(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("SPI1\t0\t3\t0\t7\nGATA1\t1\t0\t0\t2\n")
    assert read_expression(path, tfs=None).genes == ("SPI1", "GATA1")
    path.write_text("SPI1\t4\t3\t0\t7\nGATA1\t1\t0\t5\t2\n")
    assert read_expression(path, tfs=None).genes == ("SPI1", "GATA1")
    path.write_text("line\t7157\t1026\nc1\t4.5\t3\n")  # Entrez ids
    assert read_expression(path, tfs=None).genes == ("7157", "1026")
    path.write_text("cell\t0\t1\t2\t3\nc1\t0\t3\t0\t7\nc2\t1\t0\t0\t2\n")  # genes of a simulator
    assert read_expression(path, tfs=None).genes == ("0", "1", "2", "3")
    path.write_text("0.5\t0.1\n0.2\t0.3\n")
    with pytest.raises(ValueError, match="names neither cells nor genes"):
        read_expression(path, tfs=None)


# -- lists of names ----

LISTS = {
    "plain": "SPI1\nGATA1\n",
    "header": "tf\nSPI1\nGATA1\n",
    "index column": ",tf_id\n0,SPI1\n1,GATA1\n",
    "R's write.csv": '"","x"\n"1","SPI1"\n"2","GATA1"\n',
    "R's write.table": '"x"\n"1" "SPI1"\n"2" "GATA1"\n',
    "R's column": "x\nSPI1\nGATA1\n",
    "HGNC symbol": ",Ensembl ID,HGNC symbol,DBD\n0,ENSG00000066336,SPI1,Ets\n1,ENSG00000102145,GATA1,GATA\n",
    "no header": "1\tENSG00000066336\tSPI1\n2\tENSG00000102145\tGATA1\n",
    "odd header": "locus,Bezeichnung\nL1,SPI1\nL2,GATA1\n",
    "comments": "# from the atlas\nname\nSPI1\n# more\nGATA1\n",
    "Entrez": "entrez\tsymbol\n6688\tSPI1\n2623\tGATA1\n",
}


@pytest.mark.parametrize("case", LISTS)
@pytest.mark.parametrize("turned", [False, True])
def test_the_column_that_the_data_know_is_taken(cells, tmp_path, case, turned):
    frame = cells.set_axis(range(1, 13))  # cells named by numbers, which an index column would match
    (tmp_path / "tfs.csv").write_text(LISTS[case])
    (frame.T if turned else frame).to_csv(tmp_path / "t.csv")
    data = read_expression(tmp_path / "t.csv", tfs=tmp_path / "tfs.csv")
    same(data, frame)
    assert data.tfs == ("SPI1", "GATA1")
    if case == "HGNC symbol":
        assert any(
            "names taken from column 'HGNC symbol' (2 of 2 are in the data); not used: " in n for n in data.notes
        )
    if case == "comments":
        assert read_names(tmp_path / "tfs.csv") == ["SPI1", "GATA1"]


def test_columns_of_numbers_are_the_last_to_match(tmp_path):
    (tmp_path / "tfs.csv").write_text("n,entrez,symbol\n1,7157,TP53\n2,1026,CDKN1A\n")
    table = read_name_table(tmp_path / "tfs.csv")
    assert table.choose(["7157", "1026", "1", "2"])[0] == ["7157", "1026"]
    assert table.choose(["TP53", "1", "2"])[0] == ["TP53", "CDKN1A"]
    assert table.choose(["1", "2", "3"])[0] == table.choose([])[0] == ["TP53", "CDKN1A"]
    (tmp_path / "ids.txt").write_text("7157.0\n1026.0\n")
    assert read_names(tmp_path / "ids.txt") == ["7157", "1026"]


def test_versions_of_ensembl_are_hinted_at(tmp_path):
    (tmp_path / "t.csv").write_text("cell,ENSG00000066336,ENSG00000102145\nc1,1,2\nc2,2,1\n")
    with pytest.raises(ValueError, match="match after removing Ensembl version suffixes"):
        read_expression(tmp_path / "t.csv", tfs=["ENSG00000066336.12"])


# -- the command line ----


def test_the_truth_turns_the_table_and_must_fit(cells, tmp_path, generator_kept):
    path = tmp_path / "t.csv"
    cells.T.to_csv(path)
    truth = tmp_path / "truth.csv"
    truth.write_text("Gene1,Gene2,Type\nSPI1,CSF1R,+\nGATA1,HBB,-\n")
    run = ("infer", path, "--steps", "20", "--restarts", "1")
    code, _, err = call(*run, "--truth", truth, "--out", tmp_path / "o")
    assert code == 0, err
    assert "recognised from the names of the truth" in err
    assert {*pd.read_csv(tmp_path / "o" / "edges.csv")["source"]} == set(GENES)
    for text, words in (("Gene1,Gene2\nspi1,csf1r\n", "upper-casing the truth's"), ("Gene1,Gene2\nA,B\n", "in common")):
        truth.write_text(text)
        code, _, err = call(*run, "--truth", truth, "--genes-in", "rows", "--out", tmp_path / "p")
        assert code == 2
        assert words in err
        assert "--truth " in err
        assert not (tmp_path / "p").exists()


# -- what is no gene ----

HTSEQ = ["__no_feature", "__ambiguous", "__too_low_aQual", "__not_aligned", "__alignment_not_unique"]


@pytest.mark.parametrize(
    "odd",
    [
        ["batch", "n_counts", "percent_mito"],
        ["label"],
        ["nCount_RNA", "nFeature_RNA", "percent.mt"],
        ["seurat_clusters"],
    ]
    + [["total_counts", "n_genes_by_counts", "pct_counts_mt"], ["leiden", "S_score", "G2M_score"], ["Total"]],
)
def test_columns_of_annotations_are_named_and_left_out(cells, tmp_path, odd):
    path = tmp_path / "cells.csv"
    cells.assign(**{name: np.arange(12) for name in odd}).to_csv(path)
    data = read_expression(path, tfs=["SPI1"])
    same(data, cells)
    (note,) = [note for note in data.notes if "left out" in note]
    for name in odd:
        assert repr(name) in note


@pytest.mark.parametrize("odd", [HTSEQ, ["Total"], ["N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous"]])
def test_rows_of_counters_are_left_out_before_depth_is_taken(cells, tmp_path, odd):
    counts = (cells.abs() * 100).round()
    path = tmp_path / "counts.tsv"
    pd.concat([counts.T, pd.DataFrame(1e6, index=odd, columns=cells.index)]).to_csv(path, sep="\t", index_label="gene")
    data = read_expression(path, tfs=["SPI1"], normalize="log1p-cpm")
    share = counts.div(counts.sum(axis=1), axis=0)
    same(data, np.log1p(1e6 * share))
    assert any(f"{len(odd)} column" in note and "left out" in note for note in data.notes)


def test_a_first_column_of_times_is_no_gene(cells, tmp_path):
    path = tmp_path / "course.csv"
    cells.reset_index(drop=True).assign(time=np.arange(12.0))[["time", *GENES]].to_csv(path, index=False)
    data = read_expression(path, tfs=["SPI1"])
    same(data, cells.reset_index(drop=True))
    assert not any("taken as a gene" in note for note in data.notes)
    assert read_expression(path, tfs=["SPI1"], time_key="time").time.tolist() == list(range(12))


@pytest.mark.parametrize("how", ["tfs", "truth", "not one of them"])
def test_a_gene_that_something_names_stays(cells, tmp_path, how):
    path = tmp_path / "cells.csv"
    named = cells.rename(columns={"KLF1": "TIME", "HBB": "TIMELESS"})
    named.to_csv(path)
    tfs = ["SPI1", "TIME"] if how == "tfs" else ["SPI1"]
    data = read_expression(path, tfs=tfs, known={"the truth": ["TIME"] if how == "truth" else []})
    same(data, named.drop(columns="TIME") if how == "not one of them" else named)
