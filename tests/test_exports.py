"""Lists of a fit in the formats of other programs and back, regulons and activities, and what a run says of a gene."""

import json
import re

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
from pyrogrn.experiments.report.next_steps import next_steps
from pyrogrn.inference.draws.networks import joint_networks
from pyrogrn.models.simulators import simulate_linear, simulate_muvi
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
@pytest.mark.parametrize("name", [entry.name for entry in EXPORTS])
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
    assert networkx.cytoscape_graph(json.loads((tmp_path / "n.cyjs").read_text())).number_of_edges() == 12


def test_the_json_of_cytoscape_keeps_to_its_schema(posterior, tmp_path):
    # https://js.cytoscape.org/#notation/elements-json: elements.nodes and .edges, each with data; ids are texts
    table = export(posterior, tmp_path / "n.cyjs", "cytoscape", top=12)
    given = json.loads((tmp_path / "n.cyjs").read_text())
    assert set(given) == {"data", "directed", "multigraph", "elements"}
    assert given["directed"] is True
    assert set(given["elements"]) == {"nodes", "edges"}
    nodes = [node["data"] for node in given["elements"]["nodes"]]
    assert all(isinstance(node["id"], str) and node["name"] == node["id"] for node in nodes)
    assert len({node["id"] for node in nodes}) == len(nodes)
    for edge, row in zip(given["elements"]["edges"], table.to_dict("records"), strict=False):
        assert {edge["data"]["source"], edge["data"]["target"]} <= {node["id"] for node in nodes}
        assert all(isinstance(edge["data"][name], float) for name in ("weight", "inclusion", "lfsr"))
        assert set(edge["data"]) == set(row)


def test_json_of_cytoscape_itself_is_read(tmp_path):
    """As the program exports it: numbers as ids, names apart, columns of its own."""
    nodes = [
        {"data": {"id": str(i), "shared_name": n, "name": n, "SUID": i, "selected": False}}
        for i, n in ((62, "A"), (63, "B"))
    ]
    data = {
        "id": "70",
        "source": "62",
        "target": "63",
        "shared_interaction": "activates",
        "SUID": 70,
        "probability": 0.8,
    }
    told = {"format_version": "1.0", "data": {"name": "net"}, "elements": {"nodes": nodes, "edges": [{"data": data}]}}
    (tmp_path / "net.cyjs").write_text(json.dumps(told | {"directed": True}))
    back = PriorNetwork.read(tmp_path / "net.cyjs")
    edge = back.to_frame().iloc[0]
    assert (edge["source"], edge["target"], edge["probability"]) == ("A", "B", pytest.approx(0.8))
    (tmp_path / "bad.cyjs").write_text(
        json.dumps({"elements": {"nodes": nodes, "edges": [{"data": {"source": "62"}}]}})
    )
    with pytest.raises(ValueError, match="not a readable graph") as error:
        PriorNetwork.read(tmp_path / "bad.cyjs")
    assert "\n" not in str(error.value)


def _by_tab(path, **options):
    return pd.read_csv(path, sep="\t", **options)


def _genernib(path):
    import anndata

    return anndata.read_h5ad(path).uns["prediction"]


READ = {  # as the program reads it: names of its columns, and what they hold of the list
    "edges": (pd.read_csv, "source", "target", {"weight": "weight", "inclusion": "inclusion", "lower": "lower"}),
    "celloracle-links": (
        lambda path: pd.read_csv(path, index_col=0),
        "source",
        "target",
        {"coef_mean": "weight", "coef_abs": "size"},
    ),
    "arboreto": (_by_tab, "TF", "target", {"importance": "inclusion"}),
    "decoupler": (pd.read_csv, "source", "target", {"weight": "weight"}),
    "inferelator-network": (
        _by_tab,
        "regulator",
        "target",
        {"combined_confidences": "inclusion", "beta.sign.sum": "sign"},
    ),
    "genernib": (_genernib, "source", "target", {"weight": "signed"}),
    "gretapy": (pd.read_csv, "source", "target", {"score": "signed"}),
    "sif": (
        lambda path: _by_tab(path, header=None, names=["source", "word", "target"]),
        "source",
        "target",
        {"word": "word"},
    ),
    "graphml": (
        lambda path: networkx.to_pandas_edgelist(networkx.read_graphml(path)),
        "source",
        "target",
        {"weight": "weight", "inclusion": "inclusion", "lfsr": "lfsr"},
    ),
    "gexf": (
        lambda path: networkx.to_pandas_edgelist(networkx.read_gexf(path)),
        "source",
        "target",
        {"weight": "weight", "inclusion": "inclusion", "lfsr": "lfsr"},
    ),
    "cytoscape": (
        lambda path: pd.DataFrame([edge["data"] for edge in json.loads(path.read_text())["elements"]["edges"]]),
        "source",
        "target",
        {"weight": "weight", "inclusion": "inclusion", "upper": "upper"},
    ),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("options", [{"top": 15}, {"fdr": 0.2}], ids=["top", "fdr"])
def test_the_other_program_finds_the_list(posterior, tmp_path, name, options):
    path = tmp_path / f"net.{SUFFIX.get(name, 'tsv' if name in ('arboreto', 'inferelator-network') else 'csv')}"
    written = export(posterior, path, name, **options)
    sign = np.sign(written["weight"])
    written = written.assign(sign=sign, size=written["weight"].abs(), signed=sign * written["inclusion"])
    written["word"] = np.where(sign > 0, "activates", "represses")
    read, source, target, columns = READ[name]
    found = read(path).set_index([source, target])
    expected = written.set_index(["source", "target"])
    assert set(found.index) == set(expected.index)
    for column, meant in columns.items():
        given = expected.loc[found.index, meant]
        if meant == "word":
            assert found[column].tolist() == given.tolist()
        else:
            tolerance = 2e-6 if name in ("arboreto", "genernib") else 1e-6
            np.testing.assert_allclose(found[column].astype(float), given, atol=tolerance)


def test_every_export_is_read_as_its_program_reads_it():
    assert set(READ) == {entry.name for entry in EXPORTS}


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
    assert {line.split()[0] for line in told} == {e.name for e in EXPORTS} | {f.name for f in FORMATS}
    only_read = {f.name for f in FORMATS if not f.write} - {e.name for e in EXPORTS}
    assert all(("only read" if line.split()[0] in only_read else "loses") in line for line in told)
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


def test_cells_of_activities_are_read_as_the_run_did(tmp_path):
    rng = np.random.default_rng(0)
    logs, effects = rng.normal(3, 0.5, (80, 2)), rng.choice([-0.8, 0.8], (2, 10))
    counts = rng.poisson(np.exp(np.hstack([logs, 3 + (logs - 3) @ effects])))
    names = [f"G{i}" for i in range(12)]
    pd.DataFrame(counts, [f"c{i}" for i in range(80)], names).to_csv(tmp_path / "counts.csv")
    (tmp_path / "tfs.csv").write_text("G0\nG1\n")
    options = ("--normalize", "auto", "--no-calibrate", "--steps", 30, "--restarts", 2, "--set", "guide.num_warmup=10")
    code, _, err = call(
        "infer", tmp_path / "counts.csv", "--tfs", tmp_path / "tfs.csv", *options, "--out", tmp_path / "run"
    )
    assert code == 0, err
    again = ("regulons", tmp_path / "run", "--top", 20, "--draws", 5, "--expression", tmp_path / "counts.csv")
    code, _, err = call(*again, "--out", tmp_path / "regulons")
    assert code == 0, err
    assert abs(pd.read_csv(tmp_path / "regulons" / "activities.csv.gz")["mean"].mean()) < 0.2
    code, _, err = call(*again, "--normalize", "none", "--out", tmp_path / "other")
    assert code == 2
    assert "read them as the fit did" in err.splitlines()[-1]
    assert not (tmp_path / "other").exists()


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
    back = PriorNetwork.read(out / "pyscenic.csv").to_frame()
    signs = {(s, t): np.sign(w) for s, t, w in listed[["source", "target", "weight"]].itertuples(index=False)}
    assert {(s, t): sign for s, t, sign in back[["source", "target", "sign"]].itertuples(index=False)} == signs
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
    for note in gene_page(posterior, regulator).notes:  # A and B is B and A
        pairs = [frozenset(pair.split(" and ")) for pair in re.findall(r"'(\w+ and \w+)'", note)]
        assert len(pairs) == len(set(pairs))
    code, out, _ = call("show", run, regulator, "--json")
    assert json.loads(out)["gene"] == regulator
    code, _, err = call("show", run, "nothing")
    assert code == 2
    assert "nothing" in err.splitlines()[-1]


def test_the_page_of_a_gene_of_programs(tmp_path):
    simulated = simulate_muvi(num_genes=20, num_sets=2, set_size=6, num_cells=60, num_covariates=1, seed=0)
    fitted = pyrogrn.fit(pyrogrn.PPCA(simulated.data, num_factors=2), num_steps=20, restarts=1, num_draws=30)
    table = fitted.programs()
    page = gene_page(fitted, "G0003", top=1)
    largest = table[table["gene"] == "G0003"].sort_values("loading", key=abs, ascending=False).iloc[0]
    assert page.programs["program"].tolist() == [largest["program"]]
    assert page.effects["covariate"].tolist() == list(fitted.coords["covariate"])
    assert any(str(largest["program"]) in line for line in page.lines())
    with pytest.raises(ValueError, match="same genes in all groups"):
        gene_page(fitted, "G0003", context="a")
    fitted.save(tmp_path / "model")
    code, out, _ = call("show", tmp_path, "G0003", "--json")
    assert code == 0
    assert len(json.loads(out)["programs"]) == 2


def test_the_page_of_a_gene_of_activities(posterior, truth):
    sources = {"motif": PriorNetwork.from_edges(posterior.edges(top=20)[["source", "target"]], name="motif")}
    fitted = pyrogrn.fit(pyrogrn.PMFGRN.from_data(truth.data, networks=sources), num_steps=5, restarts=1, num_draws=20)
    page = gene_page(fitted, truth.data.tfs[0])
    assert page.knockout is None
    assert "sd of activity" in "".join(page.lines())
    assert "does not predict interventions" in page.notes[-1]
    commands = re.sub(r"</?span>", "", "".join(next_steps(fitted, "G0000", listed=False)))
    assert "--top 100" in commands
    assert "--fdr" not in commands
    assert "pyrogrn show RUN G0000" in commands
    assert "predict" not in commands
