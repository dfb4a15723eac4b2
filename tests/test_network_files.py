"""Network files as databases and programs hand them out, and what the command line says of them."""

import ast
import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import call
from pyrogrn import PriorNetwork
from pyrogrn.experiments.commands.options import read_priors
from pyrogrn.experiments.files.network_files import NetworkFile, read_edges
from pyrogrn.experiments.wording import LONGEST_MESSAGE, for_command_line
from pyrogrn.priors.alignment import rename_hint
from pyrogrn.priors.formats.names import regulon, whole_number
from pyrogrn.priors.formats.sign_words import sign_of_word
from pyrogrn.priors.formats.signs import is_signed


def written(tmp_path, text, name="net.tsv"):
    """A file with that text."""
    path = tmp_path / name
    path.write_text(text)
    return path


def edges(network):
    """(source, target) -> sign."""
    return dict(zip(zip(network.source, network.target, strict=True), network.sign.tolist(), strict=True))


# -- signs ----


@pytest.mark.parametrize(
    ("words", "sign"),
    [
        ("+ 1 +1 activation Activator activates stimulation stimulator induces up-regulates positive increases -->", 1),
        ("- -1 \u2212 repression repressor inhibitor inhibits inhibition suppresses down-regulates negative --|", -1),
        ("inactivates down_regulation deactivation silencing", -1),
        ("0 ? dual +- -+ +/- unknown both ambiguous NA Unknown activation/repression", 0),
        ("binding phosphorylation B 2 high", None),
    ],
)
def test_words_of_signs(words, sign):
    assert [sign_of_word(word) for word in words.split()] == [sign] * len(words.split())
    assert sign_of_word("up-regulates quantity by expression") == 1
    assert sign_of_word("down-regulates activity") == -1


@pytest.mark.parametrize(
    ("words", "sign"),
    [
        ("no activation;not activated;loss of activation;no repression;non-repressing;does not inhibit;unactivated", 0),
        ("doesn't activate;without activation;activator (dual);no effect;lack of repression;not direct activation", 0),
        ("de-repression;dis-inhibition;anti-repressor;inhibition of repressor;downregulation of inhibitor", 1),
        (
            "pos;p;stim;+ve;\u2192;(+);coactivator;co-activator;results in activation;indirect, activation",
            1,
        ),
        ("neg;n;inh;-ve;\u22a3;(-);Dn;reduces;corepressor;autorepression;\u22121;\u20131;negative repression", -1),
        ("down-regulates quantity by repression;positive regulation of inhibitor;repressor of activation", -1),
        ("1);(1;activity;antisense;non-coding;promoter;binding;GO:0001", None),
    ],
)
def test_words_that_deny_turn_or_shorten_a_sign(words, sign):
    assert {word: sign_of_word(word) for word in words.split(";")} == dict.fromkeys(words.split(";"), sign)


def test_letters_are_signs_only_as_a_pair():
    assert is_signed(["p", "n", ""])
    assert not is_signed(["p", "p"])
    assert not is_signed(["n", "+"])


@pytest.mark.parametrize(
    ("columns", "rows", "signs"),
    [
        ("is_activation,is_repression", ["True,False", "False,True", "True,True"], [1, -1, 0]),
        ("stimulation,inhibition", ["1,0", "0,1", "0,0"], [1, -1, 0]),
        ("isActivation,isInhibition", ["yes,no", "no,yes", "no,no"], [1, -1, 0]),
        ("activating", ["True", "False", "True"], [1, 0, 1]),
        ("n_pubs,activation,repression", ["3,1,0", "4,0,0", "5,1,0"], [1, 0, 1]),
    ],
)
def test_signs_in_columns_of_yes_and_no(tmp_path, columns, rows, signs):
    lines = [f"{tf},{target},{row}" for (tf, target), row in zip(("AX", "AY", "BX"), rows, strict=True)]
    network = PriorNetwork.read(written(tmp_path, "\n".join([f"tf,target,{columns}", *lines]), "n.csv"))
    assert list(edges(network).values()) == signs
    assert any("signs are read from column" in note for note in network.notes)


@pytest.mark.parametrize("column", ["positive", "label", "activation_score"])
def test_columns_of_ones_and_zeros_that_are_no_signs(tmp_path, column):
    values = ["0.5", "0.1"] if column == "activation_score" else ["1", "0"]
    path = written(tmp_path, f"tf,target,{column}\nA,X,{values[0]}\nA,Y,{values[1]}\n", "n.csv")
    assert set(edges(PriorNetwork.read(path)).values()) == {0}


@pytest.mark.parametrize(
    ("header", "rows", "signs", "said"),
    [
        (
            "TF target importance regulation rho",
            ["A X 5 1 0.4", "A Y 3 -1 -0.3", "B X 1 0 0.01"],
            [1, -1, 0],
            "'regulation'",
        ),
        (
            "TF target importance rho",
            ["A X 5 0.4", "A Y 3 -0.3", "B X 1 0.01"],
            [1, -1, 0],
            "correlations in column 'rho'",
        ),
        ("Gene1 Gene2 EdgeWeight Type", ["A X 5 +", "A Y 3 -", "B X 1 ?"], [1, -1, 0], "'Type'"),
    ],
)
def test_rankings_keep_their_signs(tmp_path, header, rows, signs, said):
    text = "\n".join([header, *rows]).replace(" ", "\t")
    network = PriorNetwork.read(written(tmp_path, text))
    assert list(edges(network).values()) == signs
    assert any(said in note for note in network.notes)


def test_numbers_are_signs_where_one_is_negative():
    assert is_signed(["1", "-1"])
    assert not is_signed(["1", "0"])
    assert is_signed(["+", "unknown"])
    assert not is_signed(["unknown", ""])


@pytest.mark.parametrize("column", ["mode", "Mode", "regulation", "Effect", "Type", "interaction_type", "function"])
def test_signs_under_other_names(tmp_path, column):
    path = written(tmp_path, f"TF\tTarget\t{column}\tPMID\nA\tX\tActivation\t1\nA\tY\tinhibitor\t2\nB\tX\tdual\t3\n")
    network = PriorNetwork.read(path)
    assert edges(network) == {("A", "X"): 1, ("A", "Y"): -1, ("B", "X"): 0}
    assert network.notes == (f"signs are read from column {column!r}", "columns not used: ['PMID']")


def test_a_column_without_signs_is_said_not_to_be_used(tmp_path):
    path = written(tmp_path, "tf\ttarget\ttype\nA\tX\tpromoter\nB\tX\tenhancer of it\n")
    network = PriorNetwork.read(path)
    assert set(edges(network).values()) == {0}
    assert network.notes == ("columns not used: ['type']",)
    path.write_text("tf\ttarget\tmode\nA\tX\tActivation\nB\tX\tRepression\nC\tX\tbinding\n")
    network = PriorNetwork.read(path)
    assert list(edges(network).values()) == [1, -1, 0]
    assert "'binding' in 33% of the rows are no sign" in network.notes[0]


def test_omnipath_takes_symbols_and_flags(tmp_path):
    path = written(
        tmp_path,
        "source\ttarget\tsource_genesymbol\ttarget_genesymbol\tis_stimulation\tis_inhibition\n"
        "P17947\tP07333\tSPI1\tCSF1R\tTrue\tFalse\nP15976\tP17947\tGATA1\tSPI1\tFalse\tTrue\n"
        "P15976\tP07333\tGATA1\tCSF1R\t1\t1\n",
    )
    network = PriorNetwork.read(path)
    assert edges(network) == {("SPI1", "CSF1R"): 1, ("GATA1", "SPI1"): -1, ("GATA1", "CSF1R"): 0}
    assert "columns not used: ['source', 'target']" in network.notes
    table, notes = read_edges(path)
    assert table["source"].tolist() == list(network.source)
    assert notes == list(network.notes)


def test_symbols_come_before_other_identifiers(tmp_path):
    path = written(tmp_path, "regulator_symbol\tregulator_id\ttarget_symbol\ttarget_id\nSPI1\t6688\tCSF1R\t1436\n")
    assert edges(PriorNetwork.read(path)) == {("SPI1", "CSF1R"): 0}


# -- no header, odd names ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A\tX\tActivation\t1\nA\tY\tRepression\t2;3\nB\tX\tUnknown\t4\n", {"AX": 1, "AY": -1, "BX": 0}),
        ("B\tX\tUnknown\t4\nA\tX\tActivation\t1\n", {"BX": 0, "AX": 1}),
        ("A X +\nA Y -\n", {"AX": 1, "AY": -1}),
        ("A\tX\t1\tPMID:1\nA\tY\t-1\tPMID:2\n", {"AX": 1, "AY": -1}),
        ("A\t7157\t1\nA\tX\t1\n", {"A7157": 0, "AX": 0}),
        ("7157\tX\t1\nA\tY\t1\nA\tZ\t1\n", {"7157X": 0, "AY": 0, "AZ": 0}),
        ("A\t7157\t1\nA\t1026\t1\n", {"A7157": 0, "A1026": 0}),
    ],
)
def test_rows_without_a_header(tmp_path, text, expected):
    network = PriorNetwork.read(written(tmp_path, text, "list_motif.txt"))
    assert {"".join(pair): sign for pair, sign in edges(network).items()} == expected


def test_numbers_alone_are_genes_where_they_are_no_places(tmp_path):
    path = written(tmp_path, "7157\t1026\t1\n7157\t4609\t1\n6688\t1436\t1\n", "motif.txt")
    assert set(PriorNetwork.read(path).sources) == {"7157", "6688"}
    path.write_text("1\t2\t1\n2\t3\t-1\n")
    with pytest.raises(ValueError, match="has no gene names"):
        PriorNetwork.read(path)


def test_headers_stay_headers(tmp_path):
    matrix = written(tmp_path, "gene\t7157\t1026\nX\t1\t0\nY\t0\t1\nZ\t1\t1\n")
    assert set(PriorNetwork.read(matrix).sources) == {"7157", "1026"}
    with pytest.raises(ValueError, match="format not recognised"):
        PriorNetwork.read(written(tmp_path, '{"a": "up", "b": "up", "c": "up"}'))
    assert edges(PriorNetwork.read(written(tmp_path, "a\tb\nc\td\n"), format="headerless")) == {
        ("a", "b"): 0,
        ("c", "d"): 0,
    }


def test_regulons_and_entrez_ids_have_plain_names(tmp_path):
    assert regulon("SPI1(+)") == ("SPI1", 1)
    assert regulon("NKX2-1_(-)") == ("NKX2-1", -1)
    assert regulon("SPI1_extended (45g)") == ("SPI1", 0)
    assert regulon("HLA-A") == ("HLA-A", 0)
    assert [whole_number(n) for n in ("7157.0", "7157", "AC0123.1", "1.5")] == ["7157", "7157", "AC0123.1", "1.5"]
    gmt = written(tmp_path, "SPI1(+)\tmotif\tCSF1R\tMPO\nGATA1(-)\tm\tSPI1\n", "regulons.gmt")
    network = PriorNetwork.read(gmt)
    assert edges(network) == {("SPI1", "CSF1R"): 1, ("SPI1", "MPO"): 1, ("GATA1", "SPI1"): -1}
    assert "regulons such as 'SPI1(+)' are read as regulator 'SPI1' with the sign of its name" in network.notes
    floats = PriorNetwork.read(written(tmp_path, "source,target\n7157.0,1026.0\n"))
    assert edges(floats) == {("7157", "1026"): 0}
    aligned, _ = floats.align(["7157"], ["1026", "7157"])
    assert len(aligned) == 1


def test_versions_of_ensembl_are_hinted_at():
    frame = pd.DataFrame({"source": ["ENSG00000066336.12"], "target": ["ENSG00000182578.4"]})
    network = PriorNetwork.from_edges(frame, name="n")
    with pytest.raises(ValueError, match="removing Ensembl version suffixes"):
        network.align(["ENSG00000066336"], ["ENSG00000182578"])


# -- rows that repeat ----


def test_identical_rows_are_merged_and_said(tmp_path):
    network = PriorNetwork.read(written(tmp_path, "A\tX\t1\nA\tX\t1\nB\tY\t1\n", "motif.txt"))
    assert edges(network) == {("A", "X"): 0, ("B", "Y"): 0}
    assert network.notes == ("1 row repeats an edge and was merged into it",)


def test_conflicting_rows_keep_no_sign_unless_they_are_refused(tmp_path):
    path = written(tmp_path, "TF\tTarget\tMode\tPMID\nA\tX\tActivation\t1\nA\tX\tRepression\t2\nA\tY\tActivation\t3\n")
    network = PriorNetwork.read(path)
    assert edges(network) == {("A", "X"): 0, ("A", "Y"): 1}
    assert any("1 edge has rows of either sign and keeps none, e.g. A -> X" in note for note in network.notes)
    for choice in ("conflict", "error"):
        with pytest.raises(ValueError, match=r"listed more than once, e\.g\. A -> X"):
            NetworkFile.parse(f"{path}?duplicates={choice}").read()
    path.write_text("TF\tTarget\tMode\tPMID\nA\tX\tActivation\t1\nA\tX\tActivation\t2\n")
    assert len(NetworkFile.parse(f"{path}?duplicates=conflict").read()) == 1
    with pytest.raises(ValueError, match="duplicates=first: expected one of error, mean"):
        NetworkFile.parse(f"{path}?duplicates=first")


def test_several_networks_in_one_file_are_not_merged(tmp_path):
    path = written(tmp_path, "source,target,cell\nA,X,B\nA,X,T\nA,Y,B\nA,Y,B\nC,Y,B\nC,Y,T\n", "n.csv")
    with pytest.raises(ValueError, match="'cell'"):
        PriorNetwork.read(path)
    assert len(NetworkFile.parse(f"{path}?cell=T").read()) == 2
    assert len(NetworkFile.parse(f"{path}?duplicates=mean").read()) == 3


def test_rows_of_weight_zero_are_said(tmp_path):
    network = PriorNetwork.read(written(tmp_path, "source,target,weight\nA,X,1\nA,Y,0\n", "n.csv"))
    assert network.notes == ("1 row of weight 0 is no edge",)


# -- formats of databases ----


@pytest.mark.parametrize("between", ["\t", " "])
def test_sif_rows_are_edges_with_signs(tmp_path, between):
    rows = ["A activates B", "A inhibits C", "B unknown C", "B activates C"]
    path = written(tmp_path, "\n".join(rows).replace(" ", between) + "\n", "n.sif")
    network = PriorNetwork.read(path)
    assert edges(network) == {("A", "B"): 1, ("A", "C"): -1, ("B", "C"): 1}
    assert not any("not used" in note for note in network.notes)


def test_signor_names_its_ends_and_effects(tmp_path):
    path = written(
        tmp_path,
        "ENTITYA\tTYPEA\tIDA\tENTITYB\tTYPEB\tIDB\tEFFECT\tMECHANISM\n"
        "SPI1\tprotein\tP1\tCSF1R\tprotein\tP2\tup-regulates quantity by expression\tx\n"
        "GATA1\tprotein\tP3\tSPI1\tprotein\tP1\tdown-regulates quantity by repression\tx\n"
        "GATA1\tprotein\tP3\tCSF1R\tprotein\tP2\tunknown\tx\n",
    )
    assert edges(PriorNetwork.read(path)) == {("SPI1", "CSF1R"): 1, ("GATA1", "SPI1"): -1, ("GATA1", "CSF1R"): 0}


@pytest.mark.parametrize("ends", ["protein1 protein2", "node1\tnode2", "#node1\tnode2"])
@pytest.mark.parametrize("unit", [1, 1000])
def test_scores_of_string_are_probabilities(tmp_path, ends, unit):
    tab = "\t" if "\t" in ends else " "
    rows = [f"{ends}{tab}combined_score"] + [
        f"{pair.replace(' ', tab)}{tab}{s * unit:g}" for pair, s in (("A B", 0.4), ("B C", 0.95))
    ]
    network = PriorNetwork.read(written(tmp_path, "\n".join(rows) + "\n"))
    found = dict(zip(zip(network.source, network.target, strict=True), network.probability, strict=True))
    assert found == pytest.approx({("A", "B"): 0.4, ("B", "A"): 0.4, ("B", "C"): 0.95, ("C", "B"): 0.95})
    assert any("divided by 1000" in note for note in network.notes) == (unit == 1000)


# -- FILE?KEY=VALUE ----


def test_queries_of_every_kind(tmp_path):
    square = written(tmp_path, "\tA\tB\nA\t0\t1\nB\t0\t0\n")
    with pytest.raises(ValueError, match="could be"):
        PriorNetwork.read(square)
    assert edges(NetworkFile.parse(f"{square}?format=phoenix").read()) == {("A", "B"): 0}
    table, _ = read_edges(f"{square}?format=inferelator-prior")
    assert table[["source", "target"]].to_numpy().tolist() == [["B", "A"]]
    dense = written(tmp_path, "0,1\n0,0\n", "dense.csv")
    names = written(tmp_path, "A\nB\n", "genes.txt")
    assert edges(NetworkFile.parse(f"{dense}?genes={names}").read()) == {("A", "B"): 0}
    odd = written(tmp_path, "source,target\nA,B\n", "what?.csv")
    assert len(NetworkFile.parse(odd).read()) == 1
    for entry, words in ((f"{dense}?format", "is no KEY=VALUE"), (f"{dense}?signed=maybe", "expected true or false")):
        with pytest.raises(ValueError, match=words):
            NetworkFile.parse(entry)
    assert read_priors([f"m={square}?format=phoenix"])["m"].name == "m"


def test_plain_truths_stay_as_they_are(tmp_path):
    path = written(tmp_path, "source,target,sign,k\nA,X,1,2.5\nA,X,1,2.5\nB,X,-1,3\n", "truth.csv")
    table, notes = read_edges(path)
    pd.testing.assert_frame_equal(table, pd.read_csv(path))
    assert notes == []
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"source,target,Mode\nA,X,Repression\n"))
    table, notes = read_edges(tmp_path / "t.csv.gz")
    assert table["sign"].tolist() == [-1]
    assert notes == ["signs are read from column 'Mode'"]
    table, _ = read_edges(written(tmp_path, "# made by hand\nsource;target;sign\nA;X;activator\nA;Y;dual\n", "t.csv"))
    assert table["sign"].tolist() == [1, 0]


def test_score_and_convert_take_a_format(tmp_path):
    square = written(tmp_path, "\tG1\tG2\tG3\nG1\t0\t1\t0\nG2\t0\t0\t1\nG3\t0\t0\t0\n")
    table = written(tmp_path, "source,target,weight\nG1,G2,2\nG1,G3,1\nG2,G3,1\n", "edges.csv")
    code, _, err = call("score", table, square)
    assert code == 2
    assert "say which with FILE?format=NAME" in err
    code, out, err = call("score", table, f"{square}?format=phoenix")
    assert code == 0, err
    assert "auprc" in out.lower()
    code, _, err = call("convert", f"{square}?format=phoenix", tmp_path / "out.csv")
    assert code == 0, err
    assert pd.read_csv(tmp_path / "out.csv")["source"].tolist() == ["G1", "G2"]
    trrust = written(tmp_path, "A\tX\tActivation\t1\nA\tY\tRepression\t2\nA\tY\tActivation\t3\n", "trrust.tsv")
    code, _, err = call("convert", trrust, tmp_path / "out.csv")
    assert code == 0, err
    assert pd.read_csv(tmp_path / "out.csv")["sign"].tolist() == [1, 0]
    assert "keeps none, e.g. A -> Y" in err
    assert "columns not used: ['column 4']" in err


def test_names_of_a_truth_are_plain_or_hinted_at(tmp_path):
    truth = written(tmp_path, "source,target\n7157.0,1026.0\n", "truth.csv")
    table, notes = read_edges(truth)
    assert table.iloc[0].tolist() == ["7157", "1026"]
    assert "numbers such as '7157.0' in column 'source' are read as '7157'" in notes
    scored = written(tmp_path, "source,target,weight\nENSG00000141510,ENSG00000124762,1\n", "e.csv")
    truth.write_text("source,target\nENSG00000141510.18,ENSG00000124762.13\n")
    code, _, err = call("score", scored, truth)
    assert code == 2
    assert "They match after removing Ensembl version suffixes" in err


@pytest.mark.parametrize("command", ["infer", "score", "convert", "ablate"])
def test_help_names_the_query(command):
    _, out, _ = call(command, "--help")
    assert "FILE?" in re.sub(r"\s+", " ", out) or "FILE[?" in out


# -- messages ----


def test_messages_name_what_can_be_typed(tmp_path):
    path = written(tmp_path, "source,target,noise\nA,X,0\nA,X,1\n", "n.csv")
    _, _, err = call("convert", path, tmp_path / "o.csv")
    assert "choose one with FILE?COLUMN=VALUE" in err
    assert "where=" not in err
    _, _, err = call("convert", f"{path}?duplicates=error", tmp_path / "o.csv")
    assert "where=" not in err
    assert "duplicates='" not in err
    _, _, err = call("convert", written(tmp_path, "a,b\nc,d\n"), tmp_path / "o.csv")
    assert "or force one with FILE?format=NAME: gmt" in err


def test_no_remedy_of_python_is_left_in_messages_of_readers():
    """Every ``name=`` in a message of the readers is one that the command line translates."""
    root = Path(__file__).resolve().parents[1]
    files = [path for folder in ("priors", "experiments") for path in (root / folder).rglob("*.py")]
    files = [path for path in files if path.name != "network_files.py"]  # its messages are about FILE?KEY=VALUE
    pattern = re.compile(r"(?<![?&\w.])(duplicates|where|format|genes|backed|signed|check_orientation)=(?!\()")
    left = {
        f"{file.name}: {text}" for file in files for text in messages(file) if pattern.search(for_command_line(text))
    }
    assert not left


def messages(file):
    """The texts of errors and warnings in a source file."""
    for node in ast.walk(ast.parse(file.read_text())):
        called = node.func if isinstance(node, ast.Call) else None
        name = getattr(called, "attr", getattr(called, "id", ""))
        if isinstance(node, ast.Raise) or name in ("warning", "fail", "ValueError"):
            parts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            yield "".join(parts)


def test_a_hint_does_not_name_one_spelling_twice():
    assert rename_hint(["KLF1"], ["KLF1", "SPI1"]) is None
    assert "('Klf1', 'KLF1')" in rename_hint(["Klf1"], ["KLF1"])


def test_numbers_of_a_simulation_are_options(tmp_path):
    code, _, err = call("simulate", "linear", "--genes", 5, "--tfs", 9, "--out", tmp_path / "x")
    assert code == 2
    assert "num_" not in err
    assert "expected 1 <= --tfs <= --genes" in err


def test_long_names_are_cut_in_messages(tmp_path):
    name = "x" * 5000
    path = written(tmp_path, f"source,target,sign\nA,X,{name}\n", "n.csv")
    code, _, err = call("convert", path, tmp_path / "o.csv")
    assert code == 2
    assert len(err) < 700
    assert "..." in err
    assert len(for_command_line("word " * 5000)) <= LONGEST_MESSAGE
    assert np.isfinite(len(err))
