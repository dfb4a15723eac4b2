"""`pyrogrn.tl`, and AnnData wherever data are taken: the same as by way of files, and what is written can be stored."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyrogrn
import pytest
import scipy.sparse as sp
import torch
from command_line import call
from pyrogrn.experiments.files.fitted_cells import cells_of_fit
from pyrogrn.experiments.files.readers import read_expression
from pyrogrn.models import MODELS, ExpressionData, LinearNetwork
from pyrogrn.models.simulators import simulate_courses, simulate_linear, simulate_panel

SHORT = {"steps": 12, "restarts": 2, "guide": "gibbs"}
QUICK = {**SHORT, "calibrate": False}  # of networks


@pytest.fixture(scope="module")
def simulation():
    return simulate_linear(num_genes=9, num_tfs=3, num_cells=60, num_contexts=2, seed=0)


def as_anndata(data: ExpressionData) -> anndata.AnnData:
    names = [f"c{i}" for i in range(data.num_cells)]
    obs = pd.DataFrame({"type": [data.context_names[k] for k in data.context.tolist()]}, index=names)
    var = pd.DataFrame({"is_tf": [gene in data.tfs for gene in data.genes]}, index=list(data.genes))
    return anndata.AnnData(data.X.numpy().copy(), obs=obs, var=var)


@pytest.fixture
def adata(simulation):
    """Cells with a layer of counts and a raw of more genes."""
    found = as_anndata(simulation.data)
    found.raw = found.copy()
    found = found[:, :8].copy()
    found.layers["counts"] = sp.csr_matrix(np.random.default_rng(0).poisson(3, found.shape).astype(np.float32))
    return found


def stored(adata: anndata.AnnData, folder: Path) -> anndata.AnnData:
    adata.write_h5ad(folder / "cells.h5ad")
    return anndata.read_h5ad(folder / "cells.h5ad")


# -- cells ----
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layer": "counts", "normalize": "log1p-cpm"},
        {"layer": "raw"},
        {"context_key": "type", "min_cells": 3},
        {"backed": True},
    ],
    ids=str,
)
def test_an_anndata_is_read_as_its_file_is(adata, tmp_path, simulation, options):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    tfs = list(simulation.data.tfs)
    expected = read_expression(tmp_path / "cells.h5ad", tfs=tfs, **options)
    backed = options.pop("backed", False)
    found = read_expression(
        anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r") if backed else adata, tfs=tfs, **options
    )
    assert (found.genes, found.tfs, found.context_names) == (expected.genes, expected.tfs, expected.context_names)
    assert torch.equal(found.X, expected.X)
    assert found.labels.names.tolist() == expected.labels.names.tolist()
    assert [n.split("(")[0] for n in found.notes[:1]] == [n.split("(")[0] for n in expected.notes[:1]]
    assert ("streamed" in found.notes[0]) is backed


def test_views_csc_and_raw_are_read(adata, simulation):
    view = adata[5:25, 2:]
    assert read_expression(view, tfs=None).num_cells == 20
    csc = adata.copy()
    csc.X = sp.csc_matrix(adata.X)
    assert torch.equal(read_expression(csc, tfs=None).X, read_expression(adata, tfs=None).X)
    assert read_expression(adata, tfs=None, use_raw=True).genes == simulation.data.genes


def test_genes_in_rows_are_recognised_by_the_regulators(adata, simulation):
    turned = read_expression(adata.T.copy(), tfs=list(simulation.data.tfs))
    assert turned.num_cells == adata.n_obs
    assert any("transposed" in note for note in turned.notes)


def test_what_cannot_be_read_is_one_line(adata):
    for mistake, words in (
        (lambda: read_expression(adata, tfs=None, layer="log"), "no layer 'log'"),
        (lambda: read_expression(adata, tfs=None, layer="counts", use_raw=True), "choose one"),
        (lambda: read_expression([adata, adata], tfs=None), "anndata.concat"),
        (lambda: read_expression(adata, tfs=None, modality="rna"), "is of a MuData"),
        (lambda: read_expression(adata, tfs=None, context_key="no"), "no annotation 'no'"),
        (lambda: LinearNetwork.from_data(adata, modality="rna"), "is of a MuData"),
        (lambda: LinearNetwork.from_data(adata, layer="log"), "no layer 'log'"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            mistake()
        assert "\n" not in str(error.value)


def test_a_modality_of_a_mudata(adata, simulation):
    pytest.importorskip("mudata", reason="the extra `multi` is not installed")
    from pyrogrn.experiments.files.stored import using_mudata

    protein = adata[:40, :3].copy()
    protein.var_names = ["P1", "P2", "P3"]
    with using_mudata() as mudata:
        mdata = mudata.MuData({"rna": adata, "protein": protein})
    mdata.obs["donor"] = ["a", "b"] * 30
    read = read_expression(mdata, tfs=list(simulation.data.tfs), modality="rna", context_key="donor")
    assert (read.num_genes, read.context_names) == (8, ("a", "b"))
    assert read_expression(mdata, tfs=None, missing=True).view_names == ("rna", "protein")
    pyrogrn.tl.network(mdata, tfs="is_tf", modality="rna", **QUICK)
    assert "pyrogrn_weight" in mdata["rna"].varp


# -- models and posteriors ----
def test_every_model_says_that_it_takes_an_anndata():
    import inspect

    for model in MODELS:
        taken = inspect.signature(model.from_data).parameters
        assert {"layer", "use_raw", "tfs", "context_key", "perturbation_key", "time_key"} <= set(taken), model


def test_a_model_and_its_posterior_take_an_anndata(adata, simulation):
    tfs = list(simulation.data.tfs)
    data = ExpressionData.from_anndata(adata, tfs=tfs, context_key="type")
    options = {"tfs": tfs, "context_key": "type"}
    model = LinearNetwork.from_data(adata, **options)
    assert torch.equal(model.gram, LinearNetwork.from_data(data).gram)
    assert LinearNetwork.from_data(data=adata, **options).coords == model.coords
    posterior = pyrogrn.fit(model, guide=pyrogrn.Gibbs(num_chains=2, num_warmup=5, num_samples=8))
    by_anndata, by_data = (posterior.diagnose(d, **o) for d, o in ((adata, options), (data, {})))
    pd.testing.assert_frame_equal(by_anndata, by_data)
    with pytest.raises(TypeError):
        LinearNetwork.from_data(data, layer="counts")


# -- tl ----
def test_a_network_is_written_and_read_again(adata, simulation, tmp_path):
    posterior = pyrogrn.tl.network(
        adata,
        tfs="is_tf",
        priors={"motif": pd.DataFrame({"source": ["G0000"], "target": ["G0005"]})},
        context_key="type",
        guide=pyrogrn.Gibbs(num_chains=2, num_warmup=5, num_samples=12),
        calibrate=False,
    )
    again = stored(adata, tmp_path)
    found = again.uns["pyrogrn"]
    edges = posterior.edges()
    pd.testing.assert_frame_equal(found["edges"].reset_index(drop=True), edges, check_dtype=False)
    assert set(found["edges_by_context"]["context"]) == set(simulation.data.context_names)
    assert found["diagnostics"]["passed"].isin(["yes", "no", "not checked"]).all()
    assert found["settings"]["reading"]["context_key"] == "type"
    assert "checks" in found["verdict"]
    first = edges.iloc[0]
    i, j = again.var_names.get_loc(first.source), again.var_names.get_loc(first.target)
    assert again.varp["pyrogrn_weight"][i, j] == pytest.approx(first.weight, abs=1e-6)
    assert again.varp["pyrogrn_inclusion"][i, j] == pytest.approx(first.inclusion, abs=1e-6)
    assert sp.issparse(again.varp["pyrogrn_weight"])
    assert torch.equal(cells_of_fit(again).X, read_expression(adata, tfs=list(simulation.data.tfs)).X)
    pyrogrn.report(posterior, tmp_path / "report.html", again)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_a_fit_of_raw_is_put_on_the_genes_that_are_left(adata):
    pyrogrn.tl.network(adata, tfs=["G0000", "G0001"], use_raw=True, key="raw", **QUICK)
    assert adata.varp["raw_weight"].shape == (8, 8)
    assert "G0008" in set(adata.uns["raw"]["edges"]["target"])


def test_counts_are_normalised_and_said(adata, caplog):
    posterior = pyrogrn.tl.network(adata, tfs="is_tf", layer="counts", **QUICK)
    assert any("log1p-cpm (chosen for raw counts" in note for note in posterior.notes)
    assert cells_of_fit(adata).X.max() > 5  # logarithms of counts per million
    assert "raw counts" in adata.uns["pyrogrn"]["preflight"][0]
    posterior = pyrogrn.tl.network(adata, tfs="is_tf", layer="counts", normalize="none", **QUICK)
    assert any("normalize='log1p-cpm'" in note for note in posterior.notes)
    assert "normalize='log1p-cpm'" in caplog.text


def test_a_fit_reads_its_own_cells_again_as_it_did(adata, tmp_path):
    posterior = pyrogrn.tl.network(adata, tfs="is_tf", layer="counts", **QUICK)
    plain = read_expression(adata, tfs=None, layer="counts", normalize="log1p-cpm")
    edges = posterior.edges(top=10)
    found = pyrogrn.activities(posterior, adata, edges, min_targets=1)
    pd.testing.assert_frame_equal(found.mean, pyrogrn.activities(posterior, plain, edges, min_targets=1).mean)
    assert posterior.diagnose(adata)["value"].tolist() == posterior.diagnose(plain)["value"].tolist()
    posterior.save(tmp_path / "model")
    again = pyrogrn.Posterior.load(tmp_path / "model")
    pd.testing.assert_frame_equal(pyrogrn.activities(again, adata, edges, min_targets=1).mean, found.mean)
    with pytest.raises(ValueError, match="standard deviations from those of the fit"):
        pyrogrn.activities(posterior, adata, edges, min_targets=1, layer="counts", normalize="none")


def test_cells_of_a_fit_with_contexts_say_theirs(adata):
    posterior = pyrogrn.tl.network(adata, tfs="is_tf", context_key="type", **QUICK)
    edges = posterior.edges(top=10)
    assert len(pyrogrn.activities(posterior, adata, edges, min_targets=1).mean) == adata.n_obs
    with pytest.raises(ValueError, match="pass `context_key=`"):
        pyrogrn.activities(posterior, read_expression(adata, tfs=None), edges, min_targets=1)


def test_probabilities_are_tried_as_on_the_command_line(tmp_path):
    data = simulate_linear(num_genes=30, num_tfs=4, num_cells=120, seed=5).data
    adata = anndata.AnnData(data.X.numpy(), var=pd.DataFrame(index=list(data.genes)))
    posterior = pyrogrn.tl.network(adata, tfs=list(data.tfs), seed=0)
    assert "on made targets" in adata.uns["pyrogrn"]["preflight"][-1]
    assert "inclusion_model" in adata.uns["pyrogrn"]["edges"]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "tfs.csv").write_text("\n".join(data.tfs))
    code, _, err = call("infer", tmp_path / "cells.h5ad", "--tfs", tmp_path / "tfs.csv", "--out", tmp_path / "run")
    assert code == 0, err
    written = pd.read_csv(tmp_path / "run" / "edges.csv").set_index(["source", "target"])["inclusion"]
    ours = posterior.edges().set_index(["source", "target"])["inclusion"]
    np.testing.assert_allclose(ours, written.loc[ours.index], atol=1e-5)


def test_silent_genes_are_left_out_and_said(adata):
    adata.X[:, 4] = 0
    posterior = pyrogrn.tl.network(adata, tfs="is_tf", top_genes=4, **QUICK)
    assert any("1 constant gene dropped (1 of them zero in every cell): ['G0004']" in n for n in posterior.notes)
    assert len(posterior.model.targets) < 8
    assert set(posterior.coords["tf"]) == {"G0000", "G0001", "G0002"}
    assert cells_of_fit(adata).genes == posterior.model.genes


def test_programs_are_written_and_read_again(adata, tmp_path):
    posterior = pyrogrn.tl.programs(adata, method="ppca", num_factors=2, steps=20, restarts=1, model_options={})
    again = stored(adata, tmp_path)
    assert again.obsm["X_ppca"].shape == (adata.n_obs, 2)
    assert again.varm["ppca_loadings"].shape == (adata.n_vars, 2)
    assert len(again.uns["pyrogrn"]["programs"]) == 2 * adata.n_vars
    assert set(again.uns["pyrogrn"]) >= {"factors", "settings", "diagnostics", "verdict", "notes"}
    assert posterior.model.name == "ppca"
    sets = {"one": ["G0000", "G0001", "G0002"], "two": ["G0003", "G0004", "G0005"]}
    options = {"steps": 10, "restarts": 1, "model_options": {"min_overlap": 2}}
    pyrogrn.tl.programs(adata, gene_sets=sets, num_factors=1, key="sets", **options)
    assert set(adata.uns["sets"]["programs"]["program"]) >= {"one", "two"}
    assert len(adata.uns["sets"]["gene_sets"])


def test_a_panel_and_inputs(tmp_path):
    simulation = simulate_panel(num_genes=8, seed=0)
    data = simulation.data
    labels = ["control"] * data.num_cells
    for cell, gene in data.perturbed.tolist():
        labels[cell] = data.genes[gene]
    obs = pd.DataFrame({"knocked": labels}, index=[f"c{i}" for i in range(data.num_cells)])
    adata = anndata.AnnData(data.X.numpy(), obs=obs, var=pd.DataFrame(index=list(data.genes)))
    posterior = pyrogrn.tl.panel(adata, perturbation_key="knocked", **SHORT)
    assert posterior.model.name == "factorbox"
    assert len(stored(adata, tmp_path).uns["pyrogrn"]["edges"])

    rng = np.random.default_rng(0)
    names, nodes = [f"c{i}" for i in range(12)], ["aMEK", "P1", "growth"]
    doses = pd.DataFrame(0.0, names, nodes).assign(aMEK=-rng.integers(0, 2, 12))
    drugs = anndata.AnnData(rng.normal(size=(12, 3)), pd.DataFrame(index=names), pd.DataFrame(index=nodes))
    drugs.obsm["doses"] = doses
    posterior = pyrogrn.tl.panel(drugs, inputs="doses", steps=5, restarts=1)
    assert posterior.model.name == "cellbox"
    assert len(stored(drugs, tmp_path).uns["pyrogrn"]["edges"])
    with pytest.raises(ValueError, match="inputs of CellBox are not kept"):
        cells_of_fit(drugs)


def test_a_panel_is_normalised_and_its_genes_are_chosen():
    rng = np.random.default_rng(0)
    names, nodes = [f"c{i}" for i in range(12)], ["aMEK", "P1", "P2", "growth"]
    spread = np.array([0.01, 0.1, 2.0, 1.0])
    drugs = anndata.AnnData(rng.normal(size=(12, 4)) * spread, pd.DataFrame(index=names), pd.DataFrame(index=nodes))
    drugs.obsm["doses"] = pd.DataFrame(0.0, names, nodes).assign(aMEK=-rng.integers(0, 2, 12))
    short = {"inputs": "doses", "steps": 5, "restarts": 1}
    posterior = pyrogrn.tl.panel(drugs, top_genes=2, **short)
    assert list(posterior.model.genes) == ["aMEK", "P2", "growth"]  # the node of the drug stays
    assert any("the most variable, and 1 nodes with inputs" in note for note in posterior.notes)
    pyrogrn.tl.panel(drugs, normalize="zscore", **short)
    assert drugs.uns["pyrogrn"]["settings"]["reading"]["normalize"] == "zscore"


def test_courses(tmp_path):
    data = simulate_courses(num_genes=6, num_trajectories=8, seed=0).data
    obs = pd.DataFrame(
        {"hours": data.time.numpy(), "course": [data.trajectory_names[k] for k in data.trajectory.tolist()]}
    )
    obs.index = obs.index.astype(str)
    adata = anndata.AnnData(data.X.numpy(), obs=obs, var=pd.DataFrame(index=list(data.genes)))
    posterior = pyrogrn.tl.courses(adata, time_key="hours", trajectory_key="course", **SHORT)
    assert posterior.model.name == "trajectory"
    assert cells_of_fit(stored(adata, tmp_path)).time is not None


def test_mistakes_are_one_line(adata):
    for mistake, words in (
        (lambda: pyrogrn.tl.network(np.eye(3)), "expected an AnnData"),
        (lambda: pyrogrn.tl.network(adata, method="trajectory"), "tl.network takes linear"),
        (lambda: pyrogrn.tl.network(adata, tfs="tfs.txt"), "neither a column of .var"),
        (lambda: pyrogrn.tl.network(adata, modality="rna"), "is of a MuData"),
        (lambda: pyrogrn.tl.network(adata, method="symphony"), "evidence"),
        (lambda: pyrogrn.tl.programs(adata, method="ppca", gene_sets={"a": ["G0001"]}), "neither gene sets"),
        (lambda: pyrogrn.tl.programs(adata, gene_sets={"a": "G0001"}), "expected lists of genes"),
        (lambda: pyrogrn.tl.panel(adata), "perturbation_key="),
        (lambda: pyrogrn.tl.courses(adata, time_key="no"), "no annotation 'no'"),
        (lambda: cells_of_fit(adata), "no fit in"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            mistake()
        assert "\n" not in str(error.value)
    adata.var["number"] = 1.5
    with pytest.raises(ValueError, match="expected True for regulators"):
        pyrogrn.tl.network(adata, tfs="number")
