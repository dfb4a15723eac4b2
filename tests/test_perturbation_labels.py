"""Labels of perturbations as laboratories and pipelines write them."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from command_line import call
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.models import ExpressionData
from pyrogrn.priors.perturbation_labels import UnmatchedLabels, read_labels
from pyrogrn.priors.screens import screen_effects

GENES = ["AHR", "KLF1", "STAT2", "HLA-A", "NKX2-5", "Cebpb", "SPI1"]


def genes_of(label):
    """Perturbed genes of a label; ``None`` where the cell is dropped."""
    read = read_labels([label], GENES, unmeasured=True)
    return read.genes[0] if read.known[0] else None


@pytest.mark.parametrize(
    "label",
    [
        "SPI1",
        "SPI1_g2",
        "SPI1-1",
        "sgSPI1_2",
        "SPI1.sg1",
        "SPI1g3",
        "SPI1_2",
        "SPI1_sgRNA_1",
        "sg-SPI1-1",
        "SPI1_guide2",
    ]
    + ["spi1", "Spi1_g2", "SPI1_+_12345.23-P1P2", "SPI1_P1", "SPI1_ACGTACGTACGTACGTACGT", "SPI1 KO", " SPI1 ", "SPI1#2"]
    + ["SPI1+ctrl", "ctrl+SPI1", "SPI1_NegCtrl0", "SPI1_NT_2", "SPI1_SPI1", "NegCtrl0_SPI1__NegCtrl0_SPI1"],
)
def test_a_gene_is_found_under_the_spellings_of_its_guides(label):
    assert genes_of(label) == ("SPI1",)


@pytest.mark.parametrize("between", ["+", "_", ",", "|", ";", "-", ":", "/", " ", " + ", "__", "&", " | "])
@pytest.mark.parametrize(
    ("one", "other"), [("AHR", "KLF1"), ("AHR_g1", "KLF1_g2"), ("ahr", "klf1"), ("HLA-A", "NKX2-5")]
)
def test_doubles_are_both_genes(between, one, other):
    assert set(genes_of(f"{one}{between}{other}")) == {
        gene for gene in GENES if gene.lower() in (one.lower().split("_g")[0], other.lower().split("_g")[0])
    }


@pytest.mark.parametrize(
    "label",
    [
        "control",
        "Control",
        "ctrl",
        "CTRL",
        "non-targeting",
        "non_targeting",
        "Non-Targeting",
        "nontargeting",
        "NTC",
        "NT",
    ]
    + [
        "safe-targeting",
        "safe_targeting_12",
        "INTERGENIC",
        "INTERGENIC1216445",
        "unperturbed",
        "NTC_1",
        "NTg7",
        "sgNTC-2",
    ]
    + [
        "NegCtrl0__NegCtrl0",
        "ctrl+ctrl",
        "neg_ctrl_non-targeting_00123",
        "CTRL_00234",
        "scramble",
        "WT",
        "None",
        "AAVS1",
    ],
)
def test_controls_are_recognised(label):
    assert genes_of(label) == ()


@pytest.mark.parametrize("label", [None, np.nan, "nan", "", "  ", "NA", "<NA>", "unassigned", "Unassigned", "no guide"])
def test_what_is_not_known_is_no_control(label):
    assert genes_of(label) is None


@pytest.mark.parametrize(
    "label",
    ["Non-Targeting Human", "non-targeting control guide (human)", "hs_non-targeting", "Unperturbed cells", "DMSO_24h"],
)
def test_words_beside_a_control_say_nothing(label):
    assert genes_of(label) == ()


@pytest.mark.parametrize(
    "label",
    ["unassigned|unassigned", "nan|nan", "NA,NA", "NTC|unassigned", "NTC+unknown", "KLF1|unassigned", "doublet|KLF1"]
    + ["no_guide+KLF1", "KLF1_unassigned", "NTC_unassigned", "control|nan", "AHR_KLF1|unknown", "KLF1 and nan"]
    + ["#N/A", "ND", "n.d.", "undetected", "undefined", "low_quality", "multi", "Multiple guides", "doublet_2", "[]"]
    + ["no sgRNA detected", "other", "mixed", "failed", "unassigned cells", "KLF1__unassigned", "('KLF1', nan)"],
)
def test_what_is_unknown_in_part_is_unknown(label):
    read = read_labels([label, "AHR"], GENES)
    assert read.known.tolist() == [False, True]
    assert f"1 of 2 cells does not say what was perturbed and is left out: {label} (1)" in read.notes


@pytest.mark.parametrize(
    "label",
    ["KO_KLF1", "OE_KLF1", "CRISPRi_KLF1", "CRISPRa-KLF1", "dKLF1", "KLF1KO", "KLF1_KO1", "KLF1i", "KLF1+", "KLF1p1p2"]
    + ["KLF1_pos_1", "KLF1+/-", "KLF1-/-", "KLF1 (sg2)", "KLF1 (2 guides)", "KLF1,", '"KLF1"', "['KLF1']", "shKLF1"]
    + ["KLF1 KO clone 3", "KLF1 knockdown 24h", "klf1_ko", "KLF1_KLF1__KLF1_KLF1", "KLF1_R175H", "KLF1_", "(KLF1)"],
)
def test_a_gene_is_found_whatever_was_done_to_it(label):
    assert genes_of(label) == ("KLF1",)


@pytest.mark.parametrize("between", ["~", " and ", " x ", "\u00d7", "*", "\t", ", ", "'; '"])
@pytest.mark.parametrize("around", ["", "[]", "()", "''"])
def test_doubles_in_lists_and_with_odd_separators(between, around):
    assert genes_of(f"{around[:1]}AHR{between}KLF1{around[1:]}") == ("AHR", "KLF1")


@pytest.mark.parametrize(
    "label",
    ["NT1", "NC1", "NO_SITE", "ONE_NON-GENE_SITE_1", "one_non_gene_site", "negative_ctrl_1", "PBS", "BFP", "mCherry"]
    + ["vector", "pLKO", "pLKO.1", "blank", "baseline", "reference", "unstimulated", "no_perturb", "sgROSA"]
    + ["non-essential", "['control']", "control and NTC", "NT1|NT2"],
)
def test_controls_of_more_laboratories(label):
    assert genes_of(label) == ()


@pytest.mark.parametrize(
    "label", ["KLF1_weird_thing", "anti-KLF1", "KLF1+/+", "KLF1 rescued by X", "KLF1_ZNF9", "KLF1+7"]
)
def test_a_label_that_holds_a_gene_and_is_not_read_is_named_and_its_cells_dropped(label):
    read = read_labels([label, label, "AHR", "SPI1", "control"], GENES)
    assert read.known.tolist() == [False, False, True, True, True]
    (note,) = read.notes
    assert note.startswith(
        f"2 of 5 cells have labels that hold a gene of the data and cannot be read and are left out: {label} (2)"
    )
    with pytest.raises(UnmatchedLabels, match=r"only 1 of the 4 labels of perturbations .* is a gene"):
        read_labels(["KLF1_odd_one", "KLF1 odd", "AHR_odd_too", "AHR"], GENES)


@pytest.mark.parametrize("label", ["NT5C", "KLF1-AS1", "KLF1-DT", "WT1", "EV1", "XKLF1", "1234"])
def test_names_like_others_are_genes_that_are_not_measured(label):
    assert genes_of(label) == (label,)


@pytest.mark.parametrize(
    ("genes", "labels", "expected"),
    [
        (["KLF1", "1", "2", "A"], ["KLF1-1", "KLF1_2"], [("KLF1",), ("KLF1",)]),
        (["KLF1", "SI"], ["KLF1_si", "KLF1_SI"], [("KLF1",), ("KLF1",)]),
        (["KLF1", "SI"], ["KLF1_SI", "SI"], [("KLF1", "SI"), ("SI",)]),
        (["KLF1", "G1"], ["KLF1_g1"], [("KLF1",)]),
        (["Klf1", "T", "G"], ["Klf1_T", "Klf1_A"], [("Klf1",), ("Klf1",)]),
        (["Klf1", "T", "G"], ["Klf1_T", "T"], [("Klf1", "T"), ("T",)]),
        (["7157", "1026"], ["7157_1026"], [("7157", "1026")]),
    ],
)
def test_a_number_or_letter_of_a_guide_is_no_second_gene(genes, labels, expected):
    read = read_labels(labels, genes)
    assert list(read.genes) == expected
    assert not any("may be" in note for note in read.notes)


def test_a_letter_that_may_be_of_a_guide_is_said():
    read = read_labels(["Klf1_T", "G"], ["Klf1", "T", "G"])
    assert read.genes[0] == ("Klf1", "T")
    assert any("1 label may be a guide" in note and "Klf1_T as Klf1+T" in note for note in read.notes)


def test_each_label_is_said_once_and_whole():
    notes = read_labels(["AHR_KLF1__AHR_KLF1", "sgKLF1_1_sgSPI1_2", "SPI1_NegCtrl0", "AHR_g1"], GENES).notes
    assert notes == (
        "1 label is a guide and stands for its gene: AHR_g1 as AHR",
        "2 labels are several genes: AHR_KLF1__AHR_KLF1 as AHR+KLF1, sgKLF1_1_sgSPI1_2 as KLF1+SPI1",
        "1 label is a gene beside a control: SPI1_NegCtrl0 as SPI1",
    )


def test_versions_and_floats_of_identifiers_are_seen_through():
    assert read_labels(["ENSG00000123.4"], ["ENSG00000123"]).genes == (("ENSG00000123",),)
    assert read_labels(["ENSG00000123"], ["ENSG00000123.4"]).genes == (("ENSG00000123.4",),)
    assert read_labels([7157.0, "1026"], ["7157", "1026"]).genes == (("7157",), ("1026",))


def test_long_labels_do_not_take_long():
    labels = [f"a label with{i} " + "_".join("abcdefghijklmnopqrstuvwxyz") for i in range(2000)]
    assert len(read_labels(labels, GENES, unmeasured=True).genes) == 2000
    assert genes_of("_".join(["SPI1"] * 20)) is not None


@pytest.mark.parametrize("label", ["WT1", "NT5E", "NTF3", "STAT3", "NKX2-6", "HLA-B", "GSCR"])
def test_genes_that_are_not_measured_are_neither_controls_nor_other_genes(label):
    assert genes_of(label) == (label,)


def test_a_gene_of_the_data_goes_before_a_word_for_controls():
    assert read_labels(["EV", "control"], ["EV", "A"]).genes == (("EV",), ())


def test_what_is_mapped_and_dropped_is_said():
    read = read_labels(["SPI1_g1", "SPI1_g2", "AHR_KLF1", "klf1", "control", np.nan, "unassigned", "X"], GENES)
    assert read.genes[:5] == (("SPI1",), ("SPI1",), ("AHR", "KLF1"), ("KLF1",), ())
    assert read.known.tolist() == [True] * 5 + [False, False, True]
    notes = " ".join(read.notes)
    for words in (
        *("2 of 8 cells do not say", "no label (1), unassigned (1)", "2 labels are guides", "SPI1_g1 as SPI1"),
        *("AHR_KLF1 as AHR+KLF1", "klf1 as KLF1", "1 perturbed gene is not measured, nothing to cut: ['X']"),
    ):
        assert words in notes


def test_doubles_of_a_gene_that_is_not_measured_and_a_label_by_itself():
    read = read_labels(["AHR_ZNF9", "ZNF9", "AHR", "KLF1"], GENES)
    assert read.genes[0] == ("AHR", "ZNF9")


def test_guides_of_a_gene_that_is_not_measured_stand_for_one_gene():
    read = read_labels(["AHR_g1", "AHR_g2", "KLF1_g1", "ZNF9_g1", "ZNF9_g2"], GENES)
    assert read.genes[3:] == (("ZNF9",), ("ZNF9",))


def test_labels_that_are_no_genes_are_refused():
    with pytest.raises(UnmatchedLabels, match=r"none of the 2 labels of perturbations \('x1', 'x2'\) is a gene"):
        read_labels(["x1", "x2", "control"], GENES)
    with pytest.raises(UnmatchedLabels, match="only 1 of the 3 labels"):
        read_labels(["x1", "x2", "AHR_g1", "AHR_g2", "AHR_g3"], GENES)
    assert read_labels(["x1", "AHR"], GENES).genes == (("x1",), ("AHR",))
    assert read_labels(["control", None], GENES).genes == ((), ())


def test_a_word_of_the_callers_own_is_a_control():
    assert read_labels(["AHR", "blank"], GENES, controls=("control", "blank")).genes[1] == ()
    assert read_labels(["unassigned", "AHR"], GENES, controls=("unassigned",)).known.all()


def cells(labels, genes=GENES, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(len(labels), len(genes))).astype(np.float32)
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(len(labels))])
    return anndata.AnnData(X, obs, pd.DataFrame(index=list(genes)))


def test_cells_without_a_label_are_dropped_with_all_that_is_known_of_them():
    adata = cells(["AHR", None, "control", "unassigned", "KLF1"])
    adata.obs["batch"] = ["a", "b", "a", "a", "a"]
    adata.obs["age"] = [1.0, 9.0, 2.0, 9.0, 4.0]
    data = ExpressionData.from_anndata(
        adata, context_key="batch", perturbation_key="perturbation", covariate_keys=["age"]
    )
    assert data.num_cells == 3
    assert data.context_names == ("a",)
    assert data.perturbed.tolist() == [[0, 0], [2, 1]]
    np.testing.assert_array_equal(data.X.numpy(), adata.X[[0, 2, 4]])
    assert data.covariates[:, 0].argsort().tolist() == [0, 1, 2]
    assert any("2 of 5 cells do not say" in note for note in data.notes)
    with pytest.raises(ValueError, match="no cell says what was perturbed"):
        ExpressionData.from_anndata(cells([None, "unassigned"]), perturbation_key="perturbation")


@pytest.mark.parametrize("kind", ["dense", "sparse", "backed", "backed sparse"])
def test_files_lose_the_same_cells_however_they_are_held(tmp_path, kind):
    adata = cells(["AHR_g1", None, "control", "unassigned", "KLF1_g1", "spi1"])
    if "sparse" in kind:
        adata.X = sp.csr_matrix(adata.X)
    adata.write_h5ad(tmp_path / "x.h5ad")
    data = read_expression(
        tmp_path / "x.h5ad", tfs=None, perturbation_key="perturbation", backed="backed" in kind, normalize="zscore"
    )
    expected = cells(["", "", "", "", "", ""]).X[[0, 2, 4, 5]]
    expected = (expected - expected.mean(0)) / expected.std(0)
    np.testing.assert_allclose(data.X.numpy(), expected, atol=1e-5)
    assert data.perturbed.tolist() == [[0, 0], [2, 1], [3, 6]]
    assert torch.equal(data.rows(np.array([2, 0])), data.X[[2, 0]])


def test_screens_test_a_gene_under_all_its_guides_and_not_against_itself():
    labels = ["control"] * 20 + ["AHR_g1"] * 10 + ["AHR_g2"] * 10 + [None] * 5 + ["AHR_KLF1"] * 5 + ["NTC_4"] * 5
    data = ExpressionData.from_frame(cells(labels).to_df())
    effects = screen_effects(data, labels=labels)
    assert effects.perturbations == ("AHR",)
    assert effects.cells.tolist() == [20]
    assert effects.controls == 25
    assert np.isnan(effects.effect[0, 0])
    assert np.isfinite(effects.effect[0, 1:]).all()


def write(path, labels):
    adata = cells(labels)
    adata.X[np.array(labels) == "AHR_g1", 1] += 5
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def guides(tmp_path_factory):
    """What `screen` and `infer` say of guides, a double, controls of another name and cells without a label."""
    folder = tmp_path_factory.mktemp("guides")
    labels = ["blank"] * 20 + ["AHR_g1"] * 10 + ["AHR_KLF1"] * 5 + ["unassigned"] * 5
    path = write(folder / "x.h5ad", labels)
    options = ("--perturbation-key", "perturbation", "--control", "blank", "--out")
    quick = ("--steps", 20, "--restarts", 2, "--set", "guide.num_warmup=20")
    screen = call("screen", path, *options, folder / "s.csv")
    return screen, call("infer", path, *options, folder / "run", *quick), pd.read_csv(folder / "s.csv")


@pytest.mark.parametrize("command", [0, 1])
def test_the_command_says_what_it_made_of_labels(guides, command):
    code, out, err = guides[command]
    assert code == 0, err
    for words in ("5 of 40 cells do not say", "AHR_g1 as AHR", "AHR_KLF1 as AHR+KLF1"):
        assert words in out + err
    assert set(guides[2]["source"]) == {"AHR"}


def test_the_command_names_what_to_type(tmp_path):
    path = write(tmp_path / "x.h5ad", ["control"] * 20 + ["clone1"] * 10 + ["clone2"] * 10)
    options = ("--perturbation-key", "perturbation", "--out", tmp_path / "out.csv")
    network = tmp_path / "n.csv"
    network.write_text("source,target\nAHR,KLF1\n")
    for command in (("infer", path), ("screen", path), ("ablate", path, "--prior", f"n={network}")):
        code, _, err = call(*command, *options)
        assert code == 2
        for words in ("'clone1', 'clone2'", "--perturbation-key", "--control LABEL", "--unmeasured"):
            assert words in err
    code, _, err = call("infer", path, *options, "--control", "absent", "--unmeasured")
    assert code == 2
    assert "--control absent: no cell has that label" in err
    code, _, err = call("screen", path, *options, "--unmeasured", "--min-probability", 0)
    assert code == 0, err


def test_a_screen_may_have_its_genes_in_rows(tmp_path):
    labels = ["control"] * 20 + ["AHR_g1"] * 20
    tables = {}
    for name, path in (("up", write(tmp_path / "up.h5ad", labels)), ("side", tmp_path / "side.h5ad")):
        if name == "side":
            anndata.read_h5ad(tmp_path / "up.h5ad").T.copy().write_h5ad(path)
        out, axis = tmp_path / name / "s.csv", "rows" if name == "side" else "columns"
        code, _, err = call("screen", path, "--perturbation-key", "perturbation", "--genes-in", axis, "--out", out)
        assert code == 0, err
        tables[name] = pd.read_csv(out)
    pd.testing.assert_frame_equal(tables["up"], tables["side"])
