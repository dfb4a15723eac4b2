"""`pyrogrn.pl`: every picture into given axes and alone, the same as in the report; what objects say of themselves."""

import sys

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyrogrn
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pyrogrn import pl
from pyrogrn.experiments import figures
from pyrogrn.experiments.figures import programs as program_figures
from pyrogrn.experiments.figures.edges import CERTAIN
from pyrogrn.experiments.figures.knockouts import knockout_forest, most_changed
from pyrogrn.experiments.report.networks import Results, out_degrees
from pyrogrn.inference.answers.results import Course
from pyrogrn.models.simulators import simulate_linear, simulate_ppca

GIBBS = pyrogrn.Gibbs(num_chains=2, num_warmup=20, num_samples=30)


@pytest.fixture(autouse=True)
def closed():
    """pyplot keeps every figure until it is told."""
    yield
    plt.close("all")


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=float)


def rms(one: Figure, other: Figure) -> float:
    first, second = pixels(one), pixels(other)
    assert first.shape == second.shape
    return float(np.sqrt(((first - second) ** 2).mean()))


def ink(figure: Figure) -> float:
    """Share of pixels that are not white."""
    return float((pixels(figure)[..., :3] < 250).any(-1).mean())


@pytest.fixture(scope="module")
def truth():
    return simulate_linear(num_genes=20, num_tfs=5, num_cells=150, seed=1)


@pytest.fixture(scope="module")
def posterior(truth):
    motif = pd.DataFrame({"source": ["G0000", "G0001"], "target": ["G0010", "G0011"]})
    networks = {"motif": pyrogrn.PriorNetwork.from_edges(motif, name="motif")}
    return pyrogrn.fit(pyrogrn.LinearNetwork.from_data(truth.data, networks=networks), guide=GIBBS)


@pytest.fixture(scope="module")
def programs():
    data = simulate_ppca(num_genes=15, num_factors=2, num_cells=80, seed=0).data
    return data, pyrogrn.fit(pyrogrn.PPCA(data, num_factors=2), num_steps=30, restarts=1, num_draws=40)


@pytest.fixture(scope="module")
def known(truth):
    return truth.network[["source", "target"]]


@pytest.fixture(scope="module")
def course():
    rng = np.random.default_rng(0)
    levels = rng.normal(size=(20, 5, 4)).cumsum(1)
    return Course(tuple("ABCD"), np.arange(5.0), levels, levels, np.ones(4), 0.0, np.arange(20), 2.0)


NETWORK = {
    "edges": lambda p, k, ax: pl.edges(p, ax=ax),
    "network": lambda p, k, ax: pl.network(p, least=0.0, count=15, ax=ax),
    "probabilities": lambda p, k, ax: pl.probabilities(p, ax=ax),
    "regulators": lambda p, k, ax: pl.regulators(p, ax=ax),
    "reliability": lambda p, k, ax: pl.reliability(p, k, ax=ax),
    "trust": lambda p, k, ax: pl.trust(p, ax=ax),
    "knockout": lambda p, k, ax: pl.knockout(p, "G0000", ax=ax),
}


@pytest.mark.parametrize("name", NETWORK)
def test_pictures_of_networks_are_drawn_alone_and_into_axes(posterior, known, name):
    alone = NETWORK[name](posterior, known, None)
    assert ink(alone.figure) > 0.005
    figure = Figure(figsize=(6, 5))
    ax = figure.subplots()
    empty = ink(figure)
    assert NETWORK[name](posterior, known, ax) is ax
    assert abs(ink(figure) - empty) > 0.005
    assert ax.get_title(loc="left")


def test_pictures_are_those_of_the_report(posterior, known, programs):
    results = Results(posterior)
    moments, factors, loadings = results.table(), programs[1].factors(), programs[1].programs()
    names = list(factors.sort_values("variance_explained", ascending=False)["program"])
    after = posterior.predict(knockout=["G0000"])
    pairs = [
        (pl.edges(posterior), figures.edge_forest(posterior.edges(top=30))),
        (pl.edges(posterior.edges()), figures.edge_forest(posterior.edges())),
        (pl.probabilities(posterior), figures.inclusion_overview(results.inclusion, results.weight)),
        (pl.regulators(posterior), figures.out_degrees(out_degrees(posterior))),
        (pl.variance(programs[1]), program_figures.variance_explained(factors)),
        (pl.programs(programs[1]), program_figures.loading_forest(loadings, names)),
        (pl.knockout(after, "G0000"), knockout_forest(after, what="knock-out of G0000", clamped=["G0000"])),
    ]
    for notebook, report in pairs:
        assert rms(notebook.figure, report) == 0
    assert len(moments)
    assert rms(pl.edges(posterior, count=5).figure, pl.edges(posterior, count=5).figure) == 0
    assert rms(pl.regulators(posterior).figure, figures.out_degrees(out_degrees(posterior).assign(mean=1.0))) > 1


def test_pictures_of_programs_and_courses(programs, course):
    data, fitted = programs
    adata = anndata.AnnData(data.X.numpy(), var=pd.DataFrame(index=list(data.genes)))
    fitted.annotate(adata, data)
    adata.obsm["X_umap"] = np.random.default_rng(0).normal(size=(data.num_cells, 2))
    first = str(fitted.coords["factor"][0])
    for draw in (
        lambda ax: pl.variance(fitted, ax=ax),
        lambda ax: pl.programs(fitted, first, ax=ax),
        lambda ax: pl.umap_program(adata, first, method="ppca", ax=ax),
        lambda ax: pl.course(course, ["B"], ax=ax),
    ):
        assert ink(draw(None).figure) > 0.005
        figure = Figure(figsize=(5, 4))
        ax = figure.subplots()
        empty = ink(figure)
        assert draw(ax) is ax
        assert abs(ink(figure) - empty) > 0.003
    assert len(pl.course(course).figure.axes) == 4
    several = pd.concat([fitted.factors().assign(group=g) for g in ("a", "b")])
    assert pl.variance(several, ax=Figure().subplots()).images  # a heat map


def test_edges_that_are_all_certain_have_no_bars_of_certainty():
    table = pd.DataFrame({"source": list("ABC"), "target": list("XYZ"), "weight": [1.0, -0.5, 0.2], "prior": 0.0})
    table = table.assign(lower=table["weight"] - 0.1, upper=table["weight"] + 0.1)
    certain = pl.edges(table.assign(inclusion=CERTAIN))
    assert len(certain.figure.axes) == 1
    assert "3 edges above 99%" in certain.get_title(loc="left")
    assert len(pl.edges(table.assign(inclusion=[1.0, 1.0, 0.9])).figure.axes) == 2


def test_a_clamped_gene_is_not_among_those_that_moved(posterior):
    table = posterior.predict(knockout=["G0000"])
    assert "G0000" not in set(most_changed(table, 50, ["G0000"])["gene"])


def test_changes_whose_sign_is_open_are_not_among_the_surest():
    columns = {"gene": ["A", "B", "C"], "mean": [1.0003, 1.4, 0.0], "sd": [1e-4, 0.5, 0.2], "control": 1.0}
    assert list(most_changed(pd.DataFrame(columns), 10)["gene"]) == ["C", "A"]  # B falls with a probability of 0.21


def test_pictures_are_shown_where_pyplot_is_in_use(posterior, monkeypatch):
    made = []

    class Pyplot:
        @staticmethod
        def figure(**options):
            made.append(Figure(**options))
            return made[-1]

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", Pyplot)
    ax = pl.edges(posterior)
    assert made == [ax.figure]
    figures.edge_forest(posterior.edges(top=3))
    assert len(made) == 1  # the report's own never are


def test_mistakes_are_one_line(posterior, programs, course):
    for call, words in (
        (lambda: pl.edges(posterior.edges(), fdr=0.1), "ask a posterior"),
        (lambda: pl.knockout(posterior), "name the gene"),
        (lambda: pl.programs(programs[1], "none"), "no program 'none'"),
        (lambda: pl.course(course, ["Z"]), "no course of"),
        (lambda: pl.umap_program(anndata.AnnData(np.eye(3, dtype="float32")), "one"), "no scores"),
        (lambda: pl.ablation(pd.DataFrame({"damage": [""], "sources": ["a"]}), "delta_elpd"), "was not measured"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            call()
        assert "\n" not in str(error.value)


# -- in a console ----
def test_objects_say_what_they_are_in_one_line(posterior, truth, programs):
    motif = pyrogrn.PriorNetwork.from_edges(pd.DataFrame({"source": ["<b>"], "target": ["B"]}), name="<i>")
    told = {
        posterior: ("LinearNetwork", "2 x 30 draws", "regulators: 5", "targets: 20", "motif"),
        programs[1]: ("PPCA", "programs: 2", "blocked"),
        truth.data: ("cells: 150", "genes: 20", "regulators: 5", "dense"),
        truth.data.statistics(): ("cells: 150", "contexts: 1"),
        motif: ("1 edges",),
    }
    for thing, words in told.items():
        assert len(repr(thing)) < 400
        assert "\n" not in repr(thing)
        assert all(word in repr(thing) for word in words), repr(thing)
        table = thing._repr_html_()
        assert table.startswith("<table>")
        assert len(table) < 3000
    assert "<i>" not in motif._repr_html_()
