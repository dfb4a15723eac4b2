"""Ablations of gene programs, of CellBox, CellOracle and PHOENIX, and options of methods by ``--set``."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from pyrogrn.experiments import ablation
from pyrogrn.experiments.ablation import AblationResult, Change, Effort, ablate, method_names, standard_changes
from pyrogrn.experiments.ablation.engines import strategies_of
from pyrogrn.experiments.ablation.figures import bits
from pyrogrn.experiments.ablation.inputs import read_inputs, write_inputs
from pyrogrn.experiments.ablation.program_case import follows
from pyrogrn.experiments.ablation.program_models import program_model
from pyrogrn.experiments.ablation.program_sources import apply_to_sets, measured_sets, members, set_names
from pyrogrn.experiments.ablation.words import in_words_of
from pyrogrn.experiments.commands.ablate_command import ablate_command
from pyrogrn.experiments.methods import methods
from pyrogrn.models import ExpressionData
from pyrogrn.models.simulators import simulate_courses, simulate_linear, simulate_muvi
from pyrogrn.priors import PriorNetwork, write_gmt

FAST = Effort(num_chains=2, num_warmup=5, num_samples=10, num_steps=60)
QUIET = {"backend": "serial", "progress": False}


def call(*arguments):
    """The command on its own; user errors are raised, as the entry point gets them."""
    app = typer.Typer()
    app.command()(ablate_command)
    return app([str(a) for a in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def toy():
    return simulate_muvi(num_genes=30, num_cells=60, num_sets=3, set_size=7, seed=5)


@pytest.fixture(scope="module")
def libraries(toy):
    names = list(toy.gene_sets)
    return {"a": {n: toy.gene_sets[n] for n in names[:2]}, "b": {names[2]: toy.gene_sets[names[2]]}}


@pytest.fixture(scope="module")
def truth(toy):
    pairs = [(name, gene) for name, genes in toy.gene_sets.items() for gene in genes]
    return pd.DataFrame(pairs, columns=["source", "target"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy, libraries):
    path = tmp_path_factory.mktemp("programs")
    cells = [f"c{i}" for i in range(toy.data.num_cells)]
    pd.DataFrame(toy.data.X.numpy(), index=cells, columns=toy.data.genes).to_csv(path / "x.csv", index_label="cell")
    for name, sets in libraries.items():
        write_gmt(sets, path / f"{name}.gmt")
    write_gmt(toy.gene_sets, path / "truth.gmt")
    return path


# -- which methods ----
def test_every_method_can_be_ablated():
    assert set(methods()["method"]) <= set(method_names())
    assert strategies_of("muvi") == ("horseshoe", "normal", "spike-slab")
    assert strategies_of("ppca") == strategies_of("celloracle") == ("own",)


# -- gene sets as sources ----
def test_sets_are_chosen_before_they_are_damaged(toy, libraries):
    used = measured_sets(libraries, toy.data.genes)
    names, genes = set_names(used), toy.data.genes
    whole = members(used, names, genes)
    assert [{g for g, m in zip(genes, row, strict=True) if m} for row in whole] == [
        set(toy.gene_sets[name]) for name in names
    ]
    with pytest.raises(ValueError, match=r"gene sets 'a': none of 2 sets has 8 of the 30 measured genes"):
        measured_sets(libraries, genes, min_overlap=8)
    with pytest.raises(ValueError, match=r"is in 'a' and in 'c'"):
        measured_sets(libraries | {"c": libraries["a"]}, genes)

    every = tuple(libraries)
    shuffled, _ = apply_to_sets(Change("s", every, "shuffled", 1.0), used, genes, 0)
    table = members(shuffled, names, genes)
    assert (table.sum(1) == whole.sum(1)).all(), "sets keep their sizes"
    assert (table != whole).any()
    moved, _ = apply_to_sets(Change("m", every, "moved", 1.0), used, genes, 0)
    assert members(moved, names, genes).sum() == whole.sum()
    assert not (members(moved, names, genes) & whole).any(), "every gene is somewhere else"
    left, held = apply_to_sets(Change("h", every, "held-out", 0.5), used, genes, 0)
    assert held
    assert not members(left, names, genes)[:, [genes.index(g) for g in held]].any()


def test_a_source_left_out_takes_no_capacity(toy, libraries):
    used = measured_sets(libraries, toy.data.genes)
    some = {"a": used["a"]}
    for inside, labelled in (({}, 0), (some, 2), (used, 3)):
        model = program_model("muvi", "normal", toy.data, inside, 3)
        assert len(model.factors) == 5
        assert int(sum(model.labelled)) == labelled


def test_following_a_set_is_arithmetic():
    member = np.array([[True, True, False, False]])
    assert follows(np.array([[3.0, 1.0, 0.0, 0.0]]), member) == {"set_average_precision": 1.0, "set_share": 1.0}
    found = follows(np.array([[1.0, 0.0, 2.0, 0.0]]), member)
    assert found["set_share"] == pytest.approx(0.2)
    assert found["set_average_precision"] < 1
    assert np.isnan(follows(np.ones((1, 4)), np.ones((1, 4), bool))["set_share"])


@pytest.fixture(scope="module")
def programs(toy, libraries, truth):
    changes = standard_changes(list(libraries), corrupt=[1.0])[-2:]
    return ablate(
        toy.data, libraries, truth=truth, methods=["muvi", "ppca"], changes=changes, seeds=(0,), effort=FAST, **QUIET
    )


def test_right_sets_help_muvi_and_wrong_ones_do_not(programs):
    rows = programs.rows.set_index(["method", "change"])
    right, wrong = rows.loc[("muvi", "all sources")], rows.loc[("muvi", "all sources, 100% moved")]
    none = rows.loc[("muvi", "no source")]
    assert right["average_precision"] > none["average_precision"] > wrong["average_precision"]
    assert right["set_average_precision"] > wrong["set_average_precision"]
    assert right["delta_log_score_bits"] > 0 > wrong["delta_log_score_bits"]
    assert wrong["delta_elpd"] < right["delta_elpd"]
    assert wrong["moved_bits"] > right["moved_bits"] > 0
    assert 0 < right["set_share"] <= 1
    assert programs.settings["gene_sets"] == 3
    assert set(programs.trust["source"]) == {"a", "b"}


def test_ppca_is_the_same_fit_whichever_sets_name_it(programs):
    rows = programs.rows.set_index(["method", "change"]).loc["ppca"]
    assert (rows["delta_elpd"] == 0).all()
    assert rows.loc["all sources", "moved_bits"] == 0
    assert rows.loc["all sources, 100% moved", "moved_bits"] > 0
    assert any(note.startswith("method ppca: its prior takes no gene sets") for note in programs.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["muvi", "linear"]}, "ablate them in two runs"),
        ({"changes": [Change("f", ("a",), "flipped", 0.5)]}, "gene sets have no signs to flip"),
        ({"truth": pd.DataFrame({"source": ["x"], "target": ["y"]})}, "none of the 1 true memberships"),
        ({"strategies": ["inclusion"]}, "takes none of the strategies"),
        ({"trust": [2.0]}, "has no trust to hold"),
        ({"settings": {"modle": {}}}, "settings of 'modle'"),
    ],
)
def test_what_programs_cannot_do_is_refused(toy, libraries, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ablate(toy.data, libraries, **{"methods": ["muvi"], "effort": FAST, **QUIET} | options)


def test_views_and_missing_values_reach_the_workers(toy, tmp_path):
    X = toy.data.X.clone()
    X[0, 0] = np.nan
    view = (np.arange(30) % 2).astype(np.int64)
    names = ("one", "two")
    data = ExpressionData(X, toy.data.genes, missing=True, view_names=names, view=torch.tensor(view))
    again = read_inputs(str(write_inputs(tmp_path, data, {}))).data
    assert again.missing
    assert again.view_names == ("one", "two")
    assert again.view.tolist() == view.tolist()
    plain = write_inputs(tmp_path, toy.data, {})
    with np.load(plain) as stored:
        assert not {"view", "view_names", "missing"} & set(stored.files), "stored runs keep their names"


def test_words_of_programs_leave_pictures_alone():
    html = '<p>edges of regulators</p><img src="data:edge edges"><p>an edge</p>'
    assert in_words_of({}, html) == html
    found = in_words_of({"gene_sets": 3}, html)
    assert found == '<p>memberships of programs</p><img src="data:edge edges"><p>a membership</p>'


# -- the command ----
def quick(folder, *more, out):
    sets = ("--gene-sets", f"a={folder}/a.gmt", "--gene-sets", f"b={folder}/b.gmt")
    rest = ("--seeds", "0", "--chains", 2, "--steps", 6, "--backend", "serial", "--out", folder / out)
    return (folder / "x.csv", *sets, *rest, *more)


def test_the_command_writes_and_resumes(folder):
    more = ("--method", "muvi", "--truth", folder / "truth.gmt", "--set", "prior.scale=0.5", "--strategy", "normal")
    call(*quick(folder, *more, out="muvi"))
    done = folder / "muvi"
    result = AblationResult.read(done)
    assert list(result.rows["change"]) == ["no source", "a alone", "b alone", "all sources"]
    assert result.settings["settings"] == {"prior": {"scale": 0.5}}
    assert result.rows["set_share"].notna().all()
    page = (done / "report.html").read_text()
    assert "What each library contributed" in page or "What each source contributed" in page
    assert "gene sets" in page
    before = {p: p.stat().st_mtime_ns for p in (done / "runs").iterdir()}
    call(*quick(folder, *more, "--resume", out="muvi"))
    assert {p: p.stat().st_mtime_ns for p in (done / "runs").iterdir()} == before
    stored = [json.loads(p.read_text()) for p in (done / "runs").glob("*.json")]
    assert stored


BAD = {
    "prior": (["--prior", "x=x.csv"], "infers gene programs: its sources are libraries of gene sets"),
    "overlap": (["--min-overlap", "0"], "--min-overlap 0: expected at least 1"),
    "factors": (["--factors", "-1"], "--factors -1: expected at least 0"),
    "inputs": (["--inputs", "x.csv"], "--inputs is for --method cellbox"),
    "group": (["--set", "magic.x=1"], "--set magic.x=1: expected model.NAME=VALUE"),
    "fit": (["--set", "fit.x=1"], "--set fit.x: unknown, choose from num_draws, threshold"),
    "model": (["--set", "model.rank=1"], "--set model.rank: --method muvi takes depth"),
    "prior-name": (["--set", "prior.magic=1"], "--set prior.magic: HorseshoeLoading takes"),
    "prior-value": (["--set", "prior.outside=much"], "expected a number"),
    "guide": (["--set", "guide.magic=1"], "--set guide.magic: Blocked takes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_named(folder, name):
    options, message = BAD[name]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call(*quick(folder, "--method", "muvi", *options, out=f"bad-{name}"))
    assert "\n" not in str(caught.value)
    assert not (folder / f"bad-{name}").exists()


def test_networks_and_programs_need_their_own_sources(folder):
    base = (folder / "x.csv", "--out", folder / "none")
    with pytest.raises(ValueError, match="ablate needs --prior NAME=FILE"):
        call(*base)
    with pytest.raises(ValueError, match="--method muvi needs --gene-sets"):
        call(*base, "--method", "muvi")
    with pytest.raises(ValueError, match="--gene-sets does not go with networks"):
        call(*base, "--prior", "x=x.csv", "--gene-sets", f"a={folder}/a.gmt")
    with pytest.raises(ValueError, match="--method cellbox needs --inputs"):
        call(*base, "--prior", "x=x.csv", "--method", "cellbox")


# -- networks that could not be ablated ----
@pytest.fixture(scope="module")
def network():
    return simulate_linear(num_genes=8, num_tfs=3, num_cells=60, edge_probability=0.4, tf_correlation=0.5, seed=3)


def of(simulation, data, method, **options):
    known = PriorNetwork.from_edges(simulation.network[["source", "target"]], name="known")
    both = {"truth": simulation.network, "methods": [method], "seeds": (0,), "effort": FAST, **QUIET}
    return ablate(data, {"known": known}, **both | options)


@pytest.mark.parametrize("estimator", ["bagging", "lasso"])
def test_celloracle(network, estimator):
    settings = {"model": {"estimator": estimator, "num_bags": 8}}
    found = of(network, network.data, "celloracle", settings=settings, changes=standard_changes(["known"], corrupt=[1]))
    rows = found.rows.set_index("change")
    assert rows.loc["known", "average_precision"] == 1, "no edge outside the base GRN"
    assert rows.loc["known, 100% moved", "average_precision"] < rows.loc["no source", "average_precision"]
    assert rows["elpd"].notna().all()
    assert "method celloracle: without a source its base GRN is all pairs" in found.notes


def test_celloracle_takes_one_cell_type(network):
    context = (np.arange(60) % 2).astype(np.int64)
    two = replace(network.data, context=torch.tensor(context), context_names=("x", "y"))
    with pytest.raises(ValueError, match="fits each of the 2 cell types by itself"):
        of(network, two, "celloracle")


def test_cellbox_reads_inputs(network, tmp_path, monkeypatch):
    few = network.data.subset(np.arange(24))
    doses = pd.DataFrame(np.random.default_rng(0).normal(size=(24, 3)), columns=list(network.data.tfs))
    few = replace(few, matrix=0.3 * (few.X - few.X.mean(0)), tfs=few.genes).with_inputs(doses)
    # edges are narrow at the start, and of few steps
    settings = {"model": {"kinds": {few.genes[-1]: "phenotype"}}, "fit": {"threshold": 0.01}}
    found = of(network, few, "cellbox", settings=settings)
    assert found.rows["elpd"].notna().all(), "conditions that were held out are predicted"
    assert found.rows["moved_bits"].iloc[1] > 0
    with pytest.raises(ValueError, match="method cellbox needs inputs: pass data with inputs"):
        of(network, network.data, "cellbox")
    # the command, whose fits may take thousands of steps
    monkeypatch.setattr(ablation, "Effort", lambda *sizes: Effort(*sizes, num_steps=20))
    names = [f"c{i}" for i in range(24)]
    pd.DataFrame(few.X.numpy(), index=names, columns=few.genes).to_csv(tmp_path / "x.csv", index_label="condition")
    doses.set_axis(names, axis=0).to_csv(tmp_path / "u.csv", index_label="condition")
    network.network[["source", "target"]].to_csv(tmp_path / "p.csv", index=False)
    prior = ("--prior", f"known={tmp_path}/p.csv", "--inputs", tmp_path / "u.csv", "--method", "cellbox")
    rest = ("--seeds", "0", "--chains", 1, "--steps", 4, "--backend", "serial", "--set", "fit.num_draws=3")
    call(tmp_path / "x.csv", *prior, *rest, "--out", tmp_path / "out")
    assert AblationResult.read(tmp_path / "out").rows["elpd"].notna().all()


def test_phoenix_is_as_short_as_it_is_set():
    courses = simulate_courses(num_genes=5, num_trajectories=5, noise=0.02, seed=3)
    guide = {"epochs": 2, "svi_steps": 5, "num_samples": 4, "batch_size": 4, "num_chains": 1}
    found = of(courses, courses.data, "phoenix", settings={"guide": guide, "model": {"hidden": 2}})
    assert found.rows["elpd"].notna().all()
    assert found.settings["settings"]["guide"]["epochs"] == 2


def test_settings_change_the_run_and_leave_others_their_keys(network, tmp_path):
    plain = of(network, network.data, "linear", out=tmp_path, hold_out_cells=0)
    before = {p.name for p in (tmp_path / "runs").iterdir()}
    again = of(network, network.data, "linear", out=tmp_path, hold_out_cells=0, settings={"prior": {}})
    assert {p.name for p in (tmp_path / "runs").iterdir()} == before
    assert "settings" not in again.settings
    fixed = {"prior": {"edge_probability": 0.02}}
    other = of(network, network.data, "linear", out=tmp_path, hold_out_cells=0, settings=fixed)
    assert other.rows["expected_edges"].iloc[0] < plain.rows["expected_edges"].iloc[0]
    assert before < {p.name for p in (tmp_path / "runs").iterdir()}


def test_a_picture_of_bits_that_nobody_knows_says_so():
    row = {"method": "muvi", "strategy": "horseshoe", "trust": "sampled", "change": "sets"}
    known = {f"moved_bits{end}": [1.0] for end in ("", "_se", "_floor")}
    unknown = {f"gain_bits{end}": [np.nan] for end in ("", "_se", "_floor")}
    left, right = bits(pd.DataFrame({name: [value] for name, value in row.items()} | known | unknown)).axes
    assert [t.get_text().partition(":")[0] for t in left.texts] == ["not known"]
    assert not right.texts
