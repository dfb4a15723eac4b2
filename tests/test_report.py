"""The report and its figures: complete, escaped, self-contained; and drawn without complaint in degenerate cases."""

import importlib.metadata
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from pyrogrn.experiments import figures
from pyrogrn.experiments.figures.layout import layout
from pyrogrn.experiments.report import out_degrees, write_report
from pyrogrn.experiments.report.page import Cell, table
from pyrogrn.experiments.report.pictures import picture
from pyrogrn.experiments.report.script import HASH, SCRIPT
from pyrogrn.inference import Gibbs, History, MapEstimate, MeanField, fit
from pyrogrn.models import ExpressionData, LinearNetwork
from pyrogrn.models.simulators import simulate_linear
from pyrogrn.priors import HardMask, Normal, PriorNetwork, SpikeSlab

SHORT = Gibbs(num_chains=2, num_warmup=10, num_samples=15)
DIAGNOSTICS = pd.DataFrame(
    [
        ["draws are finite", 0.0, 0.0, True, "All edge weights are numbers."],
        ["R-hat of the edges", 1.31, 1.05, False, "The chains disagree: run longer & see."],
        ["importance weights", np.nan, "0.7", None, "Informs only."],
    ],
    columns=["check", "value", "threshold", "passed", "meaning"],
    dtype=object,
)


class Page(HTMLParser):
    """Reads a page: fails on tags that do not match, keeps headings, attributes and text."""

    VOID = frozenset(["meta", "img", "br"])

    def __init__(self, text):
        super().__init__()
        self.open, self.headings, self.attributes, self.words, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def simulation(**options):
    return simulate_linear(**({"num_genes": 12, "num_tfs": 4, "num_cells": 150, "edge_probability": 0.3} | options))


def networks(sim):
    return {"motif": PriorNetwork.from_edges(sim.network[["source", "target", "sign"]], name="motif")}


def report(posterior, path, **options):
    """Write a report and read it."""
    arguments = {
        "data": None,
        "diagnostics": None,
        "alignment": posterior.model.knowledge.reports,
        "command": "pyrogrn infer",
    }
    write_report(posterior, path, **(arguments | options))
    text = path.read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text
    assert "Content-Security-Policy" in text
    assert len(text) < 3e6
    page = Page(text)
    assert page.tags.count("script") == 1
    assert f"<script>{SCRIPT}</script>" in text  # and the policy lets no other run
    assert f"script-src '{HASH}'" in text
    assert "link" not in page.tags
    for tag, name, value in page.attributes:
        if name == "src":
            assert value.startswith("data:image/svg+xml;base64,")
        if name == "href":
            assert tag == "a"
            assert value.startswith("#")
            assert ("section", "id", value[1:]) in page.attributes
    assert list(path.parent.iterdir()) == [path]
    return page


@pytest.fixture(scope="module")
def sim():
    return simulation(seed=1)


@pytest.fixture(scope="module")
def posterior(sim):
    model = LinearNetwork.from_data(sim.data, networks=networks(sim))
    return fit(model, guide=SHORT).with_notes(["2 constant genes dropped: ['A', 'B']", "normalisation: log1p-cpm"])


# -- the report ----


def test_report_has_everything(sim, posterior, tmp_path):
    rng = np.random.default_rng(0)
    page = report(
        posterior,
        tmp_path / "report.html",
        data=sim.data,
        diagnostics=DIAGNOSTICS,
        truth=sim.network,
        predictive=(rng.normal(size=50), rng.normal(size=(30, 50))),
        command="pyrogrn infer cells.h5ad --out run",
    )
    assert page.headings == [
        "Gene regulatory network: 4 regulators, 12 genes",
        "Result",
        "Most probable edges",
        "Network",
        "How sure",
        "Can the fit be trusted?",
        "Does the model describe the data?",
        "Against the known network",
        "What next",
        "What went in",
        "Prior knowledge",
        "How to read the columns",
        "How to cite",
        "How this was made",
    ]
    assert (page.tags.count("img"), page.tags.count("svg")) == (11, 1)
    edges = posterior.edges()
    strict, loose = (len(posterior.edges(fdr=rate)) for rate in (0.05, 0.1))
    assert f"{strict} regulatory edges can be named with 5% of them expected to be wrong" in page.text
    assert f"{loose} with 10%" in page.text
    assert "but 1 check failed (R-hat of the edges): read them before relying on it" in page.text
    assert "engine gibbs: calibrated" in page.text
    assert "2 constant genes dropped: ['A', 'B'] normalisation: log1p-cpm" in page.text
    assert "150 cells" in page.text
    assert f"{edges['source'][0]} activates {edges['target'][0]}" in page.text.replace("represses", "activates")
    assert "pass All edge weights" in page.text
    assert "1.31 1.05 fail" in page.text
    called = posterior.edges(fdr=0.05).merge(sim.network[["source", "target"]], indicator=True, how="left")
    assert f"{(called['_merge'] == 'both').mean():.3f} known among the edges at 5% expected FDR" in page.text
    assert "– 0.7 – Informs only." in page.text
    assert "pyrogrn infer cells.h5ad --out run" in page.text
    assert f"torch {importlib.metadata.version('torch')}" in page.text
    assert all(column in page.text for column in edges.columns)


def test_report_without_options_says_what_is_missing(posterior, tmp_path):
    page = report(posterior, tmp_path / "report.html")
    assert "the fit was not checked, so this is preliminary" in page.text
    assert "Diagnostics were not run" in page.text
    assert "Against the known network" not in page.headings
    assert "Does the model describe the data?" not in page.headings


def test_checks_that_pass(posterior, tmp_path):
    passing = DIAGNOSTICS[DIAGNOSTICS["passed"].map(lambda p: p is not False)]
    page = report(posterior, tmp_path / "report.html", diagnostics=passing)
    assert "all checks of the fit passed, and the probabilities mean what they say" in page.text


def test_same_fit_gives_the_same_file(posterior, tmp_path):
    paths = [tmp_path / "a" / "report.html", tmp_path / "b" / "report.html"]
    for path in paths:
        path.parent.mkdir()
        report(posterior, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_user_text_is_escaped(tmp_path):
    rng = np.random.default_rng(0)
    names = ['<script>alert("1")</script>', "a&b", "$x^2$", "C", "</td>"]
    X = torch.as_tensor(rng.normal(size=(80, 5)), dtype=torch.float32)
    X[:, 3] += 2 * X[:, 0]
    X[:, 1] += 2 * X[:, 2]
    data = ExpressionData(X, tuple(names), tuple(names[:3]), notes=("<b>note</b>",))
    frame = pd.DataFrame({"source": [names[0], "gone<i>"], "target": ["C", "C"]})
    model = LinearNetwork.from_data(data, networks={"<u>src</u>": PriorNetwork.from_edges(frame, name="p")})
    posterior = fit(model, guide=SHORT)
    checks = DIAGNOSTICS.assign(meaning="<em>x</em>", check="<h2>y</h2>")
    page = report(posterior, tmp_path / "r.html", data=data, diagnostics=checks, command="infer <x> && rm 'y'")
    assert not {"b", "u", "i", "em"} & set(page.tags)
    for word in (names[0], "a&b", "$x^2$", "<b>note</b>", "<u>src</u>", "gone<i>", "<em>x</em>", "infer <x> && rm 'y'"):
        assert word in page.text


def test_report_is_written_whole_or_not_at_all(posterior, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("the old one")
    monkeypatch.setattr("pyrogrn.experiments.report.networks.page", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_report(posterior, path, diagnostics=None, alignment={}, command="x")
    assert path.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"cannot be written"):
        write_report(posterior, tmp_path / "nowhere" / "r.html", diagnostics=None, alignment={}, command="x")


def test_truth_that_cannot_be_compared_is_said(posterior, tmp_path):
    truth = pd.DataFrame({"source": ["X"], "target": ["Y"]})
    page = report(posterior, tmp_path / "r.html", truth=truth)
    assert "The known network could not be compared: None of the 1 true edges lies among" in page.text


def test_two_contexts_and_interventions(tmp_path):
    sim = simulation(num_contexts=2, num_perturbed=2, cells_per_perturbation=10, seed=3)
    posterior = fit(LinearNetwork.from_data(sim.data), guide=SHORT)
    page = report(posterior, tmp_path / "r.html", data=sim.data)
    assert "Contexts" in page.headings
    assert "context0 95 context1 75" in page.text
    assert "20 perturbed cells 2 perturbed genes" in page.text
    assert "differs: probability that" in page.text
    assert "No prior knowledge was given" in page.text


def test_one_regulator(tmp_path):
    sim = simulation(num_genes=5, num_tfs=1, edge_probability=0.9, seed=2)
    posterior = fit(LinearNetwork.from_data(sim.data), guide=MeanField(), num_steps=30, num_draws=10, jit=False)
    page = report(posterior, tmp_path / "r.html", data=sim.data, truth=sim.network)
    assert "1 candidate regulators" in page.text


def test_no_edge_found(tmp_path):
    X = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    data = ExpressionData(X, tuple("ABCDEF"), ("A", "B"))
    model = LinearNetwork.from_data(data, edge_prior=SpikeSlab(edge_probability=0.01, spike_ratio=0.05, hub_scale=0.0))
    posterior = fit(model, guide=SHORT)
    page = report(posterior, tmp_path / "r.html", data=data)
    assert "No regulatory edge can be named with at most 10% expected errors" in page.text
    assert "No edge is more probable than not, so there is no network to draw." in page.text
    assert "Nothing in this model takes up what a linear network gets wrong" in page.text
    assert "the most probable one whose direction is known has a probability of" in page.text  # not A → B, which is one


def test_no_edge_has_a_direction(tmp_path):
    X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    X[:, 1] += 3 * X[:, 0]
    data = ExpressionData(X, tuple("ABCD"))
    page = report(fit(LinearNetwork.from_data(data), guide=SHORT), tmp_path / "r.html", data=data)
    assert "No regulatory edge can be named: every gene is a candidate regulator" in page.text
    assert "a probability of 0%" not in page.text


def test_a_point_estimate_has_no_probabilities(sim, tmp_path):
    model = LinearNetwork.from_data(sim.data, edge_prior=Normal(), networks=networks(sim))
    posterior = fit(model, guide=MapEstimate(), num_steps=30, num_draws=2, restarts=2, jit=False)
    page = report(posterior, tmp_path / "r.html", data=sim.data, truth=sim.network)
    assert "A point estimate: " in page.text
    assert "engine map: a point estimate, not calibrated" in page.text
    assert "average precision" in page.text
    for words in ("expected to be wrong", "more probable than not", "expected FDR", "calibration error", " nan "):
        assert words not in page.text


@pytest.mark.parametrize("guide", [MeanField()])
def test_priors_without_inclusion(guide, sim, tmp_path):
    model = LinearNetwork.from_data(sim.data, edge_prior=Normal(), networks=networks(sim))
    posterior = fit(model, guide=guide, num_steps=30, num_draws=10, restarts=2, jit=False, threshold=0.15)
    page = report(posterior, tmp_path / "r.html", data=sim.data)
    assert "stronger than 0.15 in size" in page.text
    assert f"engine {posterior.guide}: not calibrated" in page.text
    assert "typical strength of an edge it lists" in page.text
    assert "take the probabilities as a ranking" in page.text
    degrees = out_degrees(posterior)
    strong = np.abs(posterior.draws["W"]) > 0.15
    np.testing.assert_allclose(degrees["mean"], strong.sum(-1).mean((0, 1)), atol=1e-5)


def test_hard_mask(sim, tmp_path):
    model = LinearNetwork.from_data(sim.data, edge_prior=HardMask(SpikeSlab()), networks=networks(sim))
    posterior = fit(model, guide=SHORT)
    page = report(posterior, tmp_path / "r.html", data=sim.data, truth=sim.network)
    assert "Prior knowledge was used as a mask" in page.text
    assert "HardMask(SpikeSlab), prior knowledge by mask" in page.text


@pytest.mark.parametrize("draws", ["none", "not finite"])
def test_a_fit_that_diverged(draws, posterior, tmp_path):
    history = History("diverged at step 7: ELBO is nan", np.full((2, 6), -5.0), np.arange(1, 7), np.zeros(6), 0.1)
    moments = {"W": replace(posterior.moments["W"], mean=posterior.moments["W"].mean * np.nan)}
    broken = replace(posterior, history=history, moments=moments if draws == "not finite" else {})
    broken = broken if draws == "not finite" else replace(broken, draws={})
    page = report(broken, tmp_path / "r.html", diagnostics=DIAGNOSTICS, truth=pd.DataFrame({"source": []}))
    assert "No result: the fit diverged at step 7: ELBO is nan" in page.text
    assert "Most probable edges" not in page.headings


def test_nuts_keeps_no_trace(posterior, tmp_path):
    history = History("budget", np.zeros((2, 0)), np.zeros(0, dtype=int), np.zeros(0), 1.0)
    page = report(replace(posterior, history=history, guide="nuts"), tmp_path / "r.html")
    assert "This engine keeps no record of its course." in page.text


def test_out_degrees_are_sums_of_inclusion(posterior):
    degrees = out_degrees(posterior)
    edges = posterior.edges()
    expected = edges.groupby("source")["inclusion"].sum()
    np.testing.assert_allclose(degrees.set_index("source")["mean"], expected[degrees["source"]], rtol=1e-5)
    assert (degrees["lower"] <= degrees["mean"] + 1).all()
    assert (degrees["upper"] >= degrees["mean"] - 1).all()
    summed = replace(posterior, draws={k: v for k, v in posterior.draws.items() if k != "inclusion"})
    number = out_degrees(summed)  # inclusion drawn anew given the other sites, as for guides that sum it out
    np.testing.assert_array_equal(number["mean"], degrees["mean"])
    assert (np.abs(number["lower"] - degrees["lower"]) <= 2).all()
    assert (np.abs(number["upper"] - degrees["upper"]) <= 2).all()


def test_out_degrees_of_a_recalibrated_posterior_are_about_its_own_probabilities(posterior):
    raw = posterior.moments["W"].inclusion
    halved = replace(posterior.moments["W"], inclusion=0.5 * raw)
    fewer = replace(
        posterior,
        moments={**posterior.moments, "W": halved},
        attributes={**posterior.attributes, "inclusion_model": raw},
    )
    degrees, before = out_degrees(fewer), out_degrees(posterior)
    np.testing.assert_allclose(degrees["mean"], 0.5 * before["mean"], rtol=1e-5)
    assert (degrees["lower"] <= degrees["mean"] + 1).all()
    assert (degrees["upper"] >= degrees["mean"] - 1).all()
    assert degrees["upper"].sum() < before["upper"].sum()


def test_tables_escape_texts_but_not_cells():
    html = table(("a<", "n"), [["<x>", "1"], [Cell("<b>y</b>", "gene"), "2"]], numeric=("n",))
    assert "<th>a&lt;</th>" in html
    assert "<td>&lt;x&gt;</td>" in html
    assert '<td class="gene"><b>y</b></td><td class="number">2</td>' in html


# -- figures ----


def edge_table(count, seed=0, num_tfs=6, weight=None):
    rng = np.random.default_rng(seed)
    pairs = [(f"T{s}", f"G{t}") for s in range(num_tfs) for t in range(30)]
    chosen = [pairs[i] for i in rng.choice(len(pairs), count, replace=False)]
    edges = pd.DataFrame(chosen, columns=["source", "target"])
    edges["weight"] = rng.normal(size=count) if weight is None else weight
    edges["lower"], edges["upper"] = edges["weight"] - 0.2, edges["weight"] + 0.3
    edges["inclusion"] = np.sort(rng.random(count))[::-1]
    edges["prior"] = rng.integers(0, 2, count) * 0.9
    return edges


def drawn(figure):
    """Draws without a warning (an error here), and leaves the settings of matplotlib alone."""
    assert isinstance(figure, Figure)
    picture(figure, "caption")
    return figure


@pytest.mark.parametrize("count", [0, 1, 3, 60, 100])
def test_edges_of_any_number_can_be_drawn(count):
    edges = edge_table(count)
    drawn(figures.edge_forest(edges))
    drawn(figures.network_picture(edges, tfs={"T0", "T1"}))


def test_unusual_edges_can_be_drawn():
    edges = edge_table(4, weight=0.0)
    edges.loc[0, ["source", "target"]] = ["a $very^ long_name of a gene", "b\\frac{"]
    edges.loc[1, ["source", "target"]] = ["X", "Y"]
    edges.loc[2, ["source", "target"]] = ["Y", "X"]
    drawn(figures.edge_forest(edges))
    drawn(figures.network_picture(edges, tfs={"X", "Y"}))


@pytest.mark.parametrize(
    "inclusion", [np.zeros(10), np.ones(10), np.full(5, 0.3), np.random.default_rng(0).random(60_000), np.array([0.7])]
)
def test_any_distribution_of_inclusion_can_be_drawn(inclusion):
    weight = np.linspace(-1, 1, len(inclusion))
    drawn(figures.inclusion_overview(inclusion, weight))
    drawn(figures.inclusion_overview(inclusion, weight, threshold=0.1))


def test_traces_can_be_drawn():
    rng = np.random.default_rng(0)
    steps = np.arange(1, 101)
    course = -1e4 * np.exp(-steps / 5)[None] + rng.normal(size=(3, 100)) - 500
    for value in (course, course[:1], course[:, :1], course[:, :0], np.full((2, 100), np.nan), np.full((2, 100), -3.0)):
        drawn(figures.fit_trace(value, steps[: value.shape[1]], kind="ELBO", runs="restart"))
    course[0, 50] = np.nan
    drawn(figures.fit_trace(course, steps, kind="log-likelihood", runs="chain"))


def test_degrees_and_trust_can_be_drawn():
    degrees = pd.DataFrame({"source": [f"T{i}" for i in range(40)], "mean": range(40), "lower": 0, "upper": 50})
    for table_of in (degrees, degrees.head(1), degrees.head(0), degrees.assign(mean=0, upper=0)):
        drawn(figures.out_degrees(table_of))
    trust = pd.DataFrame({"source": ["a", "b" * 60], "mean": [0.1, 4.0], "lower": [0, 2.0], "upper": [0.5, 9.0]})
    for rows in (trust, trust.head(1), trust.head(0)):
        for odds in (True, False):
            drawn(figures.trust_in_sources(rows, prior=(0.2, 4.8), odds=odds))


def test_calibration_can_be_drawn():
    rng = np.random.default_rng(0)
    for probability in (rng.random(500), np.zeros(5), np.ones(3), np.array([0.4])):
        drawn(figures.reliability_diagram(probability, rng.random(len(probability)) < probability))
    for size in (1, 7, 2000):
        drawn(figures.predictive_check(rng.normal(size=size), rng.normal(size=(20, size))))
    drawn(figures.predictive_check(np.zeros(50), np.zeros((10, 50))))


def test_figures_leave_settings_alone():
    mpl.rcParams["font.size"] = 23.0
    try:
        before = dict(mpl.rcParams)
        first = figures.edge_forest(edge_table(5))
        picture(first, "x")
        assert dict(mpl.rcParams) == before
        assert first.axes[0].xaxis.label.get_fontsize() < 23
    finally:
        mpl.rcdefaults()


def test_discoveries_are_those_of_the_edge_table(posterior):
    table = posterior.edges()
    inclusion = table.loc[~table["target"].isin(posterior.coords["tf"]), "inclusion"].to_numpy()
    for rate in (0.01, 0.05, 0.1, 0.3, 0.9):
        assert figures.discoveries(inclusion, rate) == len(posterior.edges(fdr=rate))


def test_pit_is_uniform_where_predictions_are_right():
    rng = np.random.default_rng(0)
    for draw in (rng.normal, lambda size: rng.poisson(0.7, size=size).astype(float)):  # continuous, and with many ties
        place = figures.pit(draw(size=5000), draw(size=(199, 5000)))
        assert place.min() > 0
        assert place.max() < 1
        counts = np.histogram(place, bins=np.linspace(0, 1, 11))[0]
        chi_square = ((counts - 500) ** 2 / 500).sum()
        assert chi_square < 33.7  # 9 degrees of freedom, exceeded once in 10,000
    assert figures.pit(np.array([10.0, -10.0]), rng.normal(size=(99, 2))).round(2).tolist() in (
        [1.0, 0.0],
        [0.99, 0.01],
    )


@pytest.mark.parametrize("seed", range(6))
def test_layout_separates_all_boxes(seed):
    rng = np.random.default_rng(seed)
    count, num_edges = (70, 60) if seed < 4 else (30, 80)
    source, target = rng.integers(0, 6, num_edges), rng.integers(0, count, num_edges)
    source, target = np.append(source[source != target], np.arange(count - 1)), target[source != target]
    target = np.append(target, np.minimum(np.arange(count - 1) + 1, count - 1))
    source, target = (source[: len(source) - 20], target[: len(target) - 20]) if seed % 2 else (source, target)
    sizes = np.column_stack([rng.uniform(20, 110, count), np.full(count, 16.0)])
    place = layout(sizes, source, target)
    assert np.isfinite(place).all()
    half = (sizes[:, None] + sizes[None]) / 2
    overlap = (np.abs(place[:, None] - place[None]) < half - 1e-3).all(2) & ~np.eye(count, dtype=bool)
    assert not overlap.any()
    np.testing.assert_array_equal(place, layout(sizes, source, target))


def test_layout_of_stars_pairs_and_single_nodes():
    sizes = np.full((26, 2), [40.0, 16.0])
    star = layout(sizes, np.zeros(25, dtype=int), np.arange(1, 26))
    distance = np.linalg.norm(star[1:] - star[0], axis=1)
    assert distance.max() < 3 * distance.min()
    pair = layout(sizes[:2], np.array([0]), np.array([1]))
    assert abs(pair[0, 1] - pair[1, 1]) < 1  # side by side
    assert abs(pair[0, 0] - pair[1, 0]) > 50
    lone = layout(sizes[:3], np.array([], dtype=int), np.array([], dtype=int))
    assert all(np.abs(a - b).max() > 16 for a, b in pairwise(lone))
