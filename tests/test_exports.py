"""Lists of a fit in the formats of other programs and back, regulons and activities, and what a run says of a gene."""

import json

import networkx
import numpy as np
import pandas as pd
import pyrogrn
import pytest
from command_line import call
from pyrogrn.experiments.decoupler_scores import long_table, mean_by_group
from pyrogrn.experiments.exports import EXPORTS, edge_list, export, formats_told, source_of, to_networkx
from pyrogrn.experiments.gene_page import gene_page
from pyrogrn.experiments.regulons import activities, regulons
from pyrogrn.inference.draws.networks import joint_networks
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import PriorNetwork
from pyrogrn.priors.formats import FORMATS
from pyrogrn.priors.formats.gmt import parse_gmt
from written_tables import unlisted


@pytest.fixture(scope="module")
def truth():
    return simulate_linear(num_genes=20, num_tfs=4, num_cells=300, edge_probability=0.3, num_contexts=2, seed=2)


@pytest.fixture(scope="module")
def posterior(truth):
    model = pyrogrn.LinearNetwork.from_data(truth.data)
    return pyrogrn.fit(model, guide=pyrogrn.Gibbs(num_chains=2, num_warmup=60, num_samples=60))


@pytest.fixture(scope="module")
def run(posterior, truth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    posterior.save(folder / "model")
    posterior.edges().to_csv(folder / "edges.csv", index=False)
    import anndata

    names = [truth.data.context_names[k] for k in truth.data.context.tolist()]
    obs = pd.DataFrame({"type": names}, index=[f"c{i}" for i in range(truth.data.num_cells)])
    cells = anndata.AnnData(truth.data.X.numpy(), obs, pd.DataFrame(index=list(truth.data.genes)))
    cells.write_h5ad(folder / "cells.h5ad")
    return folder


SUFFIX = {"graphml": "graphml", "gexf": "gexf", "cytoscape": "cyjs", "sif": "sif", "genernib": "h5ad"}


# -- exports ----
@pytest.mark.parametrize("name", [entry.name for entry in EXPORTS if entry.name != "cytoscape"])
def test_every_list_is_read_back(posterior, tmp_path, name):
    path = tmp_path / f"net.{SUFFIX.get(name, 'tsv' if name in ('arboreto', 'inferelator-network') else 'csv')}"
    written = export(posterior, path, name, top=15)
    back = PriorNetwork.read(path)
    assert set(zip(back.source, back.target, strict=True)) == set(zip(written.source, written.target, strict=True))
    loses = next(entry.loses for entry in EXPORTS if entry.name == name)
    table = back.to_frame().merge(written, on=["source", "target"])
    if "sign" not in loses:
        assert (table["sign"] == np.sign(table["weight"])).all()
    if loses == "nothing":
        assert np.allclose(table["probability"], table["inclusion"], atol=1e-5)


@pytest.mark.parametrize("name", [f.name for f in FORMATS if f.write and f.name not in {e.name for e in EXPORTS}])
def test_formats_of_networks_take_a_list_too(posterior, tmp_path, name):
    written = export(posterior, tmp_path / "net.gmt" if name == "gmt" else tmp_path / "net.tsv", name, top=10)
    assert len(written) == 10


def test_graphs_hold_all_columns(posterior, tmp_path):
    export(posterior, tmp_path / "n.graphml", "graphml", top=12)
    export(posterior, tmp_path / "n.gexf", "gexf", top=12)
    export(posterior, tmp_path / "n.cyjs", "cytoscape", top=12)
    first = posterior.edges(top=12)
    graphs = [
        networkx.read_graphml(tmp_path / "n.graphml"),
        networkx.read_gexf(tmp_path / "n.gexf"),
        to_networkx(posterior, top=12),
    ]
    for graph in graphs:
        assert graph.is_directed()
        assert graph.number_of_edges() == 12
        told = graph.edges[first.source[0], first.target[0]]
        for column in ("weight", "lower", "inclusion", "lfsr"):
            assert told[column] == pytest.approx(first[column][0])
    elements = json.loads((tmp_path / "n.cyjs").read_text())["elements"]  # the schema of Cytoscape
    assert {edge["data"]["source"] for edge in elements["edges"]} <= {node["data"]["id"] for node in elements["nodes"]}
    assert len(elements["edges"]) == 12


def test_lists_at_a_rate_are_those_of_the_posterior(posterior, run, tmp_path):
    expected = posterior.edges(fdr=0.2)
    for given in (run, run / "edges.csv"):
        pd.testing.assert_frame_equal(edge_list(source_of(given), fdr=0.2), expected)
    assert len(edge_list(posterior, fdr=0.2, top=2)) == 2
    expected.to_csv(tmp_path / "alone.csv", index=False)
    alone = source_of(tmp_path / "alone.csv")
    assert len(edge_list(alone, top=2)) == 2
    with pytest.raises(ValueError, match="a list at a rate asks a fit"):
        edge_list(alone, fdr=0.2)


def test_a_network_is_exported_with_signs_and_in_order(tmp_path):
    frame = pd.DataFrame(
        {"source": list("AAB"), "target": list("XYX"), "probability": [0.5, 0.9, 0.7], "sign": [1, -1, 0]}
    )
    network = PriorNetwork.from_edges(frame, name="toy")
    export(network, tmp_path / "n.sif", "sif")
    assert (tmp_path / "n.sif").read_text().splitlines() == ["A\tactivates\tX", "A\trepresses\tY", "B\tunknown\tX"]
    assert export(network, tmp_path / "n.tsv", "arboreto", top=1)["target"].tolist() == ["Y"]


def test_formats_are_listed_with_what_they_lose():
    told = formats_told()
    assert len(told) == len({line.split()[0] for line in told})
    assert {line.split()[0] for line in told} == {e.name for e in EXPORTS} | {f.name for f in FORMATS if f.write}
    assert all("loses" in line for line in told)
    code, out, _ = call("convert", "--formats")
    assert (code, out.splitlines()) == (0, told)
    code, out, _ = call("convert", "--help")
    assert code == 0
    assert all(entry.name in out for entry in EXPORTS)


def test_graphs_that_are_damaged_or_dangerous_are_one_line(tmp_path):
    for text, words in (
        ("<?xml version='1.0'?><graphml><graph edgedefault='directed'><node", "not a readable graph"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><graphml></graphml>", "declares a document type"),
        (
            "<graphml xmlns='http://graphml.graphdrawing.org/xmlns'><graph edgedefault='directed'/></graphml>",
            "no edges",
        ),
    ):
        (tmp_path / "bad.graphml").write_text(text)
        with pytest.raises(ValueError, match=words) as error:
            PriorNetwork.read(tmp_path / "bad.graphml")
        assert "\n" not in str(error.value)
    odd = PriorNetwork.from_edges(pd.DataFrame({"source": ["A\x01"], "target": ["B"]}), name="odd")
    with pytest.raises(ValueError, match="XML cannot hold"):
        odd.write(tmp_path / "odd.graphml", format="graphml")


def test_convert_takes_runs_tables_and_networks(run, tmp_path):
    for source, options, number in (
        (run, ("--to", "graphml", "--top", 5), "5 edges"),
        (run / "edges.csv", ("--to", "decoupler", "--fdr", 0.3), "edges"),
        (run, ("--to", "sif", "--top", 5, "--context", "context1"), "5 edges"),
    ):
        code, _, err = call("convert", source, tmp_path / "out.txt", *options)
        assert code == 0, err
        assert number in err
    for options, words in (
        (("--to", "word"), "unknown format"),
        (("--top", 0), "--top 0"),
        (("--fdr", 2), "expected a rate"),
        (("--context", "no"), "no"),
    ):
        code, _, err = call("convert", run, tmp_path / "other.txt", *options)
        assert code == 2
        assert words in err.splitlines()[-1]
        assert not (tmp_path / "other.txt").exists()
    assert call("convert")[0] == 2


# -- regulons ----
def test_activities_are_those_of_dense_algebra(posterior, truth):
    edges = posterior.edges()
    found = activities(posterior, truth.data, edges, min_targets=1, num_draws=7, seed=3)
    W, noise = (v.reshape(-1, *v.shape[2:]).astype(float) for v in joint_networks(posterior))
    chosen = np.random.default_rng(3).choice(len(W), 7, replace=False)
    model, k = posterior.model, truth.data.context.numpy()
    Y = (truth.data.X.double().numpy() - model.context_mean.double().numpy()[k]) / model.scale.double().numpy()
    Y = Y[:, model.target_index.numpy()]
    cell, means, variances = 5, [], []
    for d in chosen:
        w, s = W[d, k[cell]], noise[d, k[cell]]
        covariance = np.linalg.inv((w / s) @ w.T + np.eye(len(w)))
        means.append(covariance @ (w / s) @ Y[cell])
        variances.append(np.diag(covariance))
    np.testing.assert_allclose(found.mean.iloc[cell], np.mean(means, 0), rtol=1e-6)
    np.testing.assert_allclose(found.sd.iloc[cell], np.sqrt(np.mean(variances, 0) + np.var(means, 0)), rtol=1e-6)


def test_activities_follow_the_regulators_that_the_model_has(posterior, truth):
    edges = posterior.edges(fdr=0.2)
    groups = [truth.data.context_names[i] for i in truth.data.context.tolist()]
    found = activities(posterior, truth.data, edges, groups=groups, min_targets=3)
    column = found.mean.columns[0]
    level = truth.data.X[:, truth.data.genes.index(column)].numpy()
    assert abs(np.corrcoef(found.mean[column], level)[0, 1]) > 0.5
    assert (found.sd < 1.05).all().all()  # never less sure than before the data
    assert set(found.by_group["group"]) == set(truth.data.context_names)
    assert found.by_group["cells"].sum() == truth.data.num_cells * found.mean.shape[1]
    by_hand = found.mean[column][np.array(groups) == groups[0]].mean()
    row = found.by_group.query("group == @groups[0] and regulator == @column").iloc[0]
    assert row["mean"] == pytest.approx(by_hand, abs=1e-9)
    from pyrogrn import pl

    assert pl.activities(found).get_title(loc="left") == "Activity of regulators"


def test_regulons_and_activities_are_written(run, tmp_path):
    out = tmp_path / "regulons"
    options = ("--fdr", 0.3, "--expression", run / "cells.h5ad", "--context-key", "type", "--by", "type")
    code, _, err = call("regulons", run, *options, "--draws", 10, "--out", out)
    assert code == 0, err
    assert "regulons with at least 3 targets" in err
    sets = parse_gmt((out / "regulons.gmt").read_text(), out)
    listed = pd.read_csv(out / "regulons.csv")
    assert regulons(listed) == sets
    assert pd.read_csv(out / "net.csv").columns.tolist()[:3] == ["source", "target", "weight"]
    assert pd.read_csv(out / "adjacencies.tsv", sep="\t").columns.tolist() == ["TF", "target", "importance"]
    table = pd.read_csv(out / "activities.csv.gz")
    assert table.columns.tolist() == ["cell", "regulator", "mean", "sd"]
    assert table["cell"].iloc[0] == "c0"
    assert (out / "activities.png").stat().st_size > 1000
    assert not unlisted(out)
    for options, words in (
        (("--fdr", 0.1, "--top", 3), "choose one list"),
        (("--by", "type"), "without --expression"),
        (("--decoupler", "ulm"), "without --expression"),
        (("--fdr", 0.3, "--expression", run / "cells.h5ad", "--context-key", "type", "--decoupler", "x"), "choose one"),
        (("--expression", run / "cells.h5ad", "--by", "no"), "no such annotation"),
        (("--top", 1), "no regulon has 3 targets"),
    ):
        code, _, err = call("regulons", run, *options, "--out", tmp_path / "none")
        assert code == 2
        assert words in err.splitlines()[-1]
        assert not (tmp_path / "none").exists()


def test_scores_of_decoupler(run, tmp_path):
    pytest.importorskip("decoupler")
    out = tmp_path / "scored"
    options = ("--fdr", 0.3, "--expression", run / "cells.h5ad", "--context-key", "type", "--by", "type")
    code, _, err = call("regulons", run, *options, "--draws", 5, "--decoupler", "ulm", "--out", out)
    assert code == 0, err
    table, means = pd.read_csv(out / "decoupler.csv.gz"), pd.read_csv(out / "decoupler_by_group.csv")
    assert table.columns.tolist() == ["cell", "regulator", "score", "padj"]
    own = pd.read_csv(out / "activities.csv.gz")
    both = table.merge(own, on=["cell", "regulator"])
    assert len(both) == len(table)
    assert both["score"].corr(both["mean"]) > 0.5
    assert means["cells"].sum() == len(table)
    assert (out / "decoupler.png").stat().st_size > 1000
    assert not unlisted(out)


def test_scores_of_decoupler_as_tables():
    score = pd.DataFrame([[1.0, 2.0], [3.0, 5.0]], ["c1", "c2"], ["A", "B"])
    table = long_table(score, None)
    assert table["padj"].isna().all()
    assert table.query("cell == 'c2' and regulator == 'B'")["score"].item() == 5
    means = mean_by_group(table, ["T", "T"])
    assert means["mean"].tolist() == [2.0, 3.5]
    assert means["cells"].tolist() == [2, 2]


# -- one gene ----
def test_the_page_of_a_gene(posterior, run):
    edges = posterior.edges()
    regulator = edges["source"].iloc[0]
    page = gene_page(posterior, regulator, top=4)
    assert (page.targets["source"] == regulator).all()
    assert len(page.targets) <= 4
    assert regulator not in set(page.knockout["gene"])
    assert (page.targets["inclusion"] >= 0.05).all()
    target = next(gene for gene in posterior.coords["target"] if gene not in posterior.coords["tf"])
    leaf = gene_page(posterior, target)
    assert leaf.knockout is None
    assert "no candidate regulator" in leaf.notes[0]
    code, out, _ = call("show", run, regulator, "--top", 4)
    assert code == 0
    assert page.targets["target"].iloc[0] in out
    code, out, _ = call("show", run, regulator, "--json")
    assert json.loads(out)["gene"] == regulator
    code, _, err = call("show", run, "nothing")
    assert code == 2
    assert "nothing" in err.splitlines()[-1]
