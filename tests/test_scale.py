"""What scale data are measured on, and what is said of it before a method is run."""

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import call
from pyrogrn.experiments.files.scale_notes import expects_of, scale_notes
from pyrogrn.inference.amortised import KINDS
from pyrogrn.models import MODELS, ExpressionData, MuVI
from pyrogrn.models.data.scale import EXPECTATIONS, finding, scale_before, scale_findings, scale_of

RNG = np.random.default_rng(0)
MEAN = RNG.gamma(1.0, 4.0, size=40)
DEPTH = RNG.lognormal(sigma=0.5, size=(200, 1))
RAW = RNG.poisson(DEPTH * MEAN).astype(float)
INTENSITY = 100 * MEAN * RNG.lognormal(sigma=0.4, size=(200, 40))
PER_CELL = RAW / RAW.sum(1, keepdims=True)
ZLOG = np.log1p(1e4 * PER_CELL)
ZLOG = (ZLOG - ZLOG.mean(0)) / ZLOG.std(0)
KINDS_OF = {
    "counts": RAW,
    "small counts": RNG.poisson(0.3, size=(200, 40)),
    "log1p of counts": np.log1p(RAW),
    "log2(1 + counts)": np.log2(1 + RAW),
    "log1p of counts per ten thousand": np.log1p(1e4 * PER_CELL),
    "some genes of these": np.log1p(1e4 * PER_CELL)[:, 5:25],
    "log1p-cpm": np.log1p(1e6 * PER_CELL),
    "log10(1 + counts per million)": np.log10(1 + 1e6 * PER_CELL),
    "intensities": INTENSITY,
    "log2 of intensities": np.log2(INTENSITY + 50),
    "small levels": INTENSITY / 1000,
    "z-scores": (INTENSITY - INTENSITY.mean(0)) / INTENSITY.std(0),
    "clipped z-scores": ((INTENSITY - INTENSITY.mean(0)) / INTENSITY.std(0)).clip(-2, 2),
    "scaled, not centred": INTENSITY / INTENSITY.std(0),
    "from 0 to 1": (INTENSITY - INTENSITY.min(0)) / np.ptp(INTENSITY, 0),
    "log ratios": np.log2(INTENSITY / MEAN / 100) + 0.3,
    "z-scores clipped at zero": ((INTENSITY - INTENSITY.mean(0)) / INTENSITY.std(0)).clip(0),
    "z-scores of logarithms clipped at zero": ZLOG.clip(0, 10),
    "z-scores of counts clipped at zero": ((RAW - RAW.mean(0)) / RAW.std(0)).clip(0),
    "arcsinh of counts": np.arcsinh(RAW / 5),
    "ranks": pd.DataFrame(INTENSITY).rank(axis=1).to_numpy(),
    "ranks with ties": pd.DataFrame(RAW).rank(axis=1).to_numpy(),
    "ranks from zero": pd.DataFrame(INTENSITY).rank(axis=1).to_numpy() - 1,
    "rounded log2 of intensities": np.log2(INTENSITY + 50).round(),
    "rounded log2 of counts": np.log2(1 + 20 * RNG.poisson(10 * MEAN, size=(200, 40))).round(),
    "counts less what cells without a gene have": RAW - np.median(RAW, 0).round(),
    "zeros and ones": RNG.integers(0, 2, size=(200, 40)),
}
EXPECTED = {
    "counts": ("counts", "small counts"),
    "log counts": tuple(name for name in KINDS_OF if name.startswith(("log1p", "log10", "some", "log2(1", "arcsinh"))),
    "levels": ("intensities", "small levels"),
    "log levels": ("log2 of intensities", "rounded log2 of intensities", "rounded log2 of counts"),
    "z-scores": ("z-scores", "clipped z-scores"),
    "scaled": ("scaled, not centred", "from 0 to 1", *(name for name in KINDS_OF if name.endswith("at zero"))),
    "ranks": ("ranks", "ranks with ties", "ranks from zero"),
    "negative": ("log ratios",),
    "counts below zero": ("counts less what cells without a gene have",),
    "unclear": ("zeros and ones",),
}


def data_of(name, **options):
    X = torch.as_tensor(np.asarray(KINDS_OF[name], dtype=np.float32))
    return ExpressionData(X, tuple(f"G{i}" for i in range(X.shape[1])), **options)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in EXPECTED.items() for name in names])
def test_the_scale_is_recognised(kind, name):
    assert scale_of(np.asarray(KINDS_OF[name], dtype=np.float32)).kind == kind


def test_missing_values_and_constant_genes_do_not_hide_the_scale():
    X = np.array(RAW)
    X[:, 3] = np.nan
    X[5, 6], X[:, 7] = np.nan, 4
    assert scale_of(X).kind == "counts"
    assert scale_of(np.full((5, 3), np.nan)).kind == "unclear"
    assert scale_of(np.ones((5, 3))).kind == "unclear"
    assert scale_of(np.array([[0.5, 2.0]])).kind == "unclear"


def test_counts_below_zero_are_said():
    data = data_of("counts less what cells without a gene have")
    (note,) = scale_notes(data, expects_of("linear"), method="linear")
    assert "whole numbers of which some are below zero" in note
    assert note.endswith("give the counts as they were measured (another --layer)")
    with pytest.raises(ValueError, match=r"some are below zero .* For --method grnular give counts"):
        scale_notes(data, expects_of("grnular"), method="grnular")


def test_every_method_says_what_it_expects():
    assert all(model.expects in EXPECTATIONS for model in MODELS)
    assert {expects_of(kind) for kind in KINDS} == {"trained on counts"}
    assert expects_of("celloracle") == "log"
    data = data_of("counts")
    assert MuVI(data, num_factors=1).expects == "log"
    assert MuVI(data, num_factors=1, likelihood="negative-binomial").expects == "any"
    with pytest.raises(ValueError, match="expects='volts': expected one of any, log"):
        finding(scale_of(RAW), "volts")


@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("name", ["z-scores", "scaled, not centred", "from 0 to 1", "log ratios"])
def test_amortised_guides_refuse_scaled_and_negative_data(method, name):
    with pytest.raises(ValueError, match=f"trained on counts .* For --method {method} give counts"):
        scale_notes(data_of(name), expects_of(method), method=method)


@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("name", ["log1p of counts", "log1p-cpm", "log2 of intensities"])
def test_amortised_guides_say_what_logarithms_cost(method, name):
    (note,) = scale_notes(data_of(name), expects_of(method), method=method)
    assert "less calibrated" in note
    assert "un-logged levels (another --layer" in note


@pytest.mark.parametrize("name", ["counts", "small counts", "intensities", "small levels"])
def test_what_amortised_guides_were_trained_on_passes_without_a_word(name):
    assert scale_notes(data_of(name), "trained on counts", method="grnular") == []


def test_a_range_of_some_cells_is_called_so():
    X = np.tile(np.arange(12.0).reshape(1, 12), (1200, 1)) + np.arange(1200)[:, None] % 3
    X[1, 0] = 52  # in a cell that is not looked at: every third is
    genes = tuple(f"G{i}" for i in range(12))
    data = ExpressionData(torch.as_tensor(X), genes)
    assert str(scale_before(data)).endswith("from 0 to 11 in the 400 cells that were looked at)")
    few = ExpressionData(torch.as_tensor(X[:400]), genes)
    assert str(scale_before(few)).endswith("from 0 to 52)")


def test_linear_networks_say_that_counts_should_be_normalised():
    (note,) = scale_notes(data_of("counts"), "log", method="linear")
    assert "raw counts (whole numbers from 0" in note
    assert "--normalize log1p-cpm" in note
    normalized = data_of("counts").normalized("log1p-cpm")
    assert scale_notes(normalized, "log", method="linear", normalize="log1p-cpm") == []
    (note,) = scale_notes(data_of("intensities"), "log", method="linear")
    assert "un-logged" in note
    for name in ("log2 of intensities", "log1p of counts", "z-scores", "log ratios", "small levels"):
        assert scale_notes(data_of(name), "log", method="linear") == []


def test_logarithms_are_not_taken_twice_without_a_word():
    data = data_of("log1p of counts").normalized("log1p-cpm")
    assert "leave it out" in scale_notes(data, "log", method="linear", normalize="log1p-cpm")[0]


@pytest.mark.parametrize(("expects", "name"), [("levels", "log2 of intensities"), ("ratios", "intensities")])
def test_panels_say_when_levels_are_logarithms_and_ratios_are_none(expects, name):
    assert len(scale_notes(data_of(name), expects, method="a")) == 1
    assert scale_notes(data_of("intensities" if expects == "levels" else "log ratios"), expects, method="a") == []


def test_the_context_of_another_scale_is_named():
    X = torch.as_tensor(np.concatenate([RAW, np.log1p(RAW)]), dtype=torch.float32)
    context = torch.arange(2).repeat_interleave(200)
    data = ExpressionData(X, tuple(f"G{i}" for i in range(40)), context=context, context_names=("a", "b"))
    ((where, found),) = scale_findings(data, "log")
    assert where == "['a']"
    assert not found.fatal
    assert scale_findings(data, "any") == []


@pytest.fixture
def counts(tmp_path):
    pd.DataFrame(RAW, [f"c{i}" for i in range(200)], [f"G{i}" for i in range(40)]).to_csv(tmp_path / "counts.csv")
    (tmp_path / "tfs.txt").write_text("G0\nG1\nG2\n")
    return tmp_path


def test_the_command_refuses_before_it_fits(counts):
    code, _, err = call(
        *("infer", counts / "counts.csv", "--tfs", counts / "tfs.txt", "--method", "grnular", "--out", counts / "run"),
        *("--normalize", "zscore"),
    )
    assert code == 2
    assert "z-scores" in err
    assert "give counts or un-logged levels" in err
    assert not (counts / "run").exists()


def test_ablations_and_screens_say_it_too(counts):
    (counts / "n.csv").write_text("source,target\nG0,G5\nG1,G6\n")
    code, _, err = call(
        *("ablate", counts / "counts.csv", "--tfs", counts / "tfs.txt", "--method", "glad", "--out", counts / "a"),
        *("--normalize", "zscore", "--hold-out-cells", 0, "--prior", f"n={counts / 'n.csv'}"),
    )
    assert code == 2
    assert "For --method glad give counts" in err
    table = pd.read_csv(counts / "counts.csv", index_col=0).clip(upper=40).assign(p=["control"] * 190 + ["G0"] * 10)
    table.to_csv(counts / "screen.csv")
    options = ("--perturbation-key", "p", "--min-probability", 0, "--out", counts / "s.csv")
    code, out, err = call("screen", counts / "screen.csv", *options)
    assert code == 0, err
    assert "raw counts" in out + err


@pytest.mark.parametrize("name", ["ranks", "z-scores clipped at zero", "z-scores of logarithms clipped at zero"])
def test_amortised_networks_refuse_what_only_looks_like_levels(name):
    with pytest.raises(ValueError, match=r"the data look like .* For --method grnular give counts or un-logged levels"):
        scale_notes(data_of(name), expects_of("grnular"), method="grnular")


@pytest.mark.parametrize("name", ["arcsinh of counts", "rounded log2 of intensities"])
def test_amortised_networks_say_that_these_are_logarithms(name):
    (note,) = scale_notes(data_of(name), expects_of("grnular"), method="grnular")
    assert "the data look like logarithms" in note
