"""Gene programs from the command line: what it writes, and every bad input in one line with exit code 2."""

import gzip
import json

import anndata
import numpy as np
import pandas as pd
import pytest
from command_line import call
from pyrogrn.experiments.commands.options import make_loading_prior, parse_likelihoods, read_gene_sets
from pyrogrn.experiments.methods import methods
from pyrogrn.priors import EDGE_PRIORS, LOADING_PRIORS, SpikeSlabLoading, write_gmt


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small simulation, and gene sets of other names."""
    path = tmp_path_factory.mktemp("programs")
    command = ("simulate", "muvi", "--genes", 40, "--cells", 80, "--sets", 2, "--set-size", 10, "--covariates", 1)
    code, _, err = call(*command, "--out", path / "sim")
    assert code == 0, err
    write_gmt({"OTHER": ["x", "y", "z", "u", "v", "w"]}, path / "other.gmt")
    adata = anndata.read_h5ad(path / "sim" / "expression.h5ad")
    adata.obs["same"] = 1.0
    adata.write_h5ad(path / "cells.h5ad")
    return path


BAD = {
    "unknown-loading-prior": (["--loading-prior", "cauchy"], "unknown loading prior 'cauchy'"),
    "network-option": (["--edge-prior", "normal"], "--edge-prior does not go with --method muvi"),
    "regulators": (["--tfs", "x.txt"], "--tfs does not go with --method muvi"),
    "no-factors": (["--factors", "0"], "--factors 0"),
    "many-factors": (["--factors", "100"], "100 factors for 80 cells"),
    "no-overlap": (["--gene-sets", "{}/other.gmt"], "none of 1 sets has 5 of the 40 measured genes"),
    "no-file": (["--gene-sets", "lib={}/absent.gmt"], "no such file"),
    "library-twice": (["--gene-sets", "a={}/other.gmt", "--gene-sets", "a={}/other.gmt"], "given twice"),
    "set-twice": (
        ["--gene-sets", "a={}/other.gmt", "--gene-sets", "b={}/other.gmt"],
        "set 'OTHER' is in 'a' and in 'b'",
    ),
    "unknown-covariate": (["--covariates", "absent"], "absent"),
    "constant-covariate": (["--covariates", "same"], "same"),
    "covariate-twice": (["--covariates", "same,same"], "each column once"),
    "likelihood": (["--likelihood", "poisson"], "--likelihood poisson"),
    "likelihood-of-no-view": (["--likelihood", "atac=bernoulli"], "atac"),
    "setting": (["--set", "prior.nonsense=1"], "HorseshoeLoading takes"),
    "annotate": (["--annotate", "{}/a.csv"], "ends in .h5ad"),
    "annotate-input": (["--annotate", "{}/cells.h5ad", "--overwrite"], "never the input"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, folder):
    options, message = BAD[name]
    options = [option.replace("{}", str(folder)) for option in options]
    out = folder / "run"
    code, _, err = call("infer", folder / "cells.h5ad", "--method", "muvi", "--out", out, *options)
    assert code == 2, err
    last = err.strip().splitlines()[-1]
    assert last.startswith("pyrogrn: error: ")
    assert message in last
    assert not out.exists()
    assert not out.with_name("run.partial").exists()


@pytest.mark.parametrize(
    "option", [("--factors", "3"), ("--gene-sets", "x.gmt"), ("--covariates", "age"), ("--missing",)]
)
def test_networks_refuse_options_of_programs(option, folder):
    code, _, err = call("infer", folder / "cells.h5ad", "--out", folder / "run", *option)
    assert code == 2
    assert f"{option[0]} does not go with --method linear, which infers a network" in err


def test_ppca_refuses_gene_sets(folder):
    code, _, err = call(
        "infer", folder / "cells.h5ad", "--method", "ppca", "--out", folder / "r", "--gene-sets", "x.gmt"
    )
    assert code == 2
    assert "--gene-sets is for --method muvi" in err


def test_gene_sets_are_named_by_library_or_by_stem(tmp_path):
    (tmp_path / "h.v7.gmt").write_text("A\t\tg1\tg2\n")
    (tmp_path / "k.gmt.gz").write_bytes(gzip.compress(b"B\tlink\tg3\n"))
    found = read_gene_sets([str(tmp_path / "h.v7.gmt"), f"kegg={tmp_path / 'k.gmt.gz'}"])
    assert found == {"h.v7": {"A": ("g1", "g2")}, "kegg": {"B": ("g3",)}}


def test_likelihoods_by_view():
    assert parse_likelihoods(["bernoulli"]) == "bernoulli"
    assert parse_likelihoods(["rna=gaussian", "atac=bernoulli"]) == {"rna": "gaussian", "atac": "bernoulli"}
    with pytest.raises(ValueError, match="once for each view"):
        parse_likelihoods(["gaussian", "atac=bernoulli"])


def test_loading_priors_take_their_options():
    prior = make_loading_prior("spike-slab", {"spike_ratio": 0.1})
    assert isinstance(prior, SpikeSlabLoading)
    assert float(prior.spike_ratio) == pytest.approx(0.1)


def test_methods_list_loading_priors_of_programs_and_edge_priors_of_networks():
    table = methods()
    networks = table["infers"] == "network"
    named = {name.partition("(")[0] for name in table.loc[networks, "edge_prior"]}  # HardMask(Normal) of celloracle
    assert named == {p.__name__ for p in EDGE_PRIORS}
    assert set(table.loc[~networks, "loading_prior"]) == {p.__name__ for p in LOADING_PRIORS}
    assert set(table.loc[~networks, "edge_prior"]) == {""}
    assert {"ppca", "muvi"} == set(table.loc[~networks, "method"])
    code, out, _ = call("methods", "muvi")
    assert code == 0
    assert "HorseshoeLoading" in out
    code, out, _ = call("methods", "--json")
    assert len(json.loads(out)) == len(table)


def test_a_run_writes_its_files(folder, tmp_path):
    out = tmp_path / "run"
    code, _, err = call(
        *("infer", folder / "cells.h5ad", "--method", "muvi", "--out", out, "--factors", 1, "--restarts", 2),
        *("--gene-sets", f"sets={folder / 'sim' / 'gene_sets.gmt'}", "--covariates", "covariate_1", "--steps", 200),
        *("--annotate", tmp_path / "scored.h5ad"),
    )
    assert code == 0, err
    names = {p.name for p in out.iterdir()}
    files = "programs factors gene_sets covariate_effects enrichment".split()  # noqa: SIM905
    assert {f"{name}.csv" for name in files} < names
    assert {"scores.csv.gz", "posterior.nc", "diagnostics.json", "report.html", "config.json", "model"} < names
    (said,) = [line for line in err.splitlines() if line.startswith(f"writes {out}: ")]  # before the fit: all of them
    listed = said.removeprefix(f"writes {out}: ").split(", ")
    assert {name.partition(" (")[0].rstrip("/") for name in listed} == names
    programs = pd.read_csv(out / "programs.csv")
    expected = ["program", "gene", "loading", "sd", "lower", "upper", "sign_probability", "lfsr", "prior"]
    assert list(programs.columns) == expected
    assert np.isfinite(programs.drop(columns=["program", "gene"]).to_numpy()).all()
    scored = anndata.read_h5ad(tmp_path / "scored.h5ad")
    assert scored.obsm["X_muvi"].shape == (80, 3)
    assert len(scored.varm["muvi_loadings"]) == 40
