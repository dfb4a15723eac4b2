"""Programs that keep the name of a gene set of which they hold little."""

import pandas as pd
import pytest
import torch
from pyrogrn.experiments.report import report
from pyrogrn.experiments.report.program_tables import ProgramTables
from pyrogrn.inference import Blocked, fit
from pyrogrn.inference.answers.set_standing import Standing, of_library, standing_checks, standings
from pyrogrn.models import ExpressionData, MuVI
from pyrogrn.models.simulators import simulate_muvi

HOLDS, NOT = "mixed", "HYPOXIA"


@pytest.fixture(scope="module")
def fitted():
    """Two programs of 15 genes: a set of one, and a set of five genes of the other."""
    W = torch.zeros(2, 40, dtype=torch.float64)
    W[0, :15] = W[1, 15:30] = 1.0
    W[1, 15:18] = 0.3
    data = simulate_muvi(num_cells=150, W=W, noise_variance=0.3, seed=0).data
    genes = list(data.genes)
    sets = {"lib": {HOLDS: genes[:15], NOT: [*genes[15:18], *genes[35:37]]}}
    posterior = fit(MuVI(data, gene_sets=sets, num_factors=0), guide=Blocked(), seed=0, num_draws=60)
    return posterior, data


def test_standing_counts_genes_and_the_largest(fitted):
    posterior, _ = fitted
    found = standings(posterior.refined_sets(), posterior.programs())
    assert not found[HOLDS].minority
    assert found[HOLDS].kept == 15
    assert found[NOT].minority
    assert found[NOT].added >= 10
    assert found[NOT].largest <= 5
    assert found[HOLDS].label(HOLDS) == HOLDS


def test_tables_report_and_checks_say_it(fitted, tmp_path):
    posterior, data = fitted
    label = standings(posterior.refined_sets(), posterior.programs())[NOT].label(NOT)
    factors = posterior.factors().set_index("program")
    assert factors.loc[NOT, "label"] == label
    assert factors.loc[HOLDS, "label"] == HOLDS
    checks = posterior.diagnose().set_index("check")
    assert checks.loc["gene sets hold: lib", "value"] == 0.5
    report(posterior, tmp_path / "report.html", data)
    page = (tmp_path / "report.html").read_text()
    assert label in page
    assert "of 2 programs named after a gene set, 1 holds mostly other genes" in page


def test_names_of_all_tables_change_together(fitted):
    posterior, data = fitted
    tables = ProgramTables.collect(posterior, data)
    shown = tables.labelled()
    label = tables.standings[NOT].label(NOT)
    for table in (shown.programs, shown.factors, shown.gene_sets):
        assert set(table["program"]) == {HOLDS, label}
    assert list(shown.scores.columns) == [HOLDS, label]
    assert set(tables.programs["program"]) == {HOLDS, NOT}, "files keep the names of the model"


def test_a_library_of_other_programs_is_not_borne_out():
    found = {"a": Standing(5, 142, 0), "b": Standing(3, 40, 1), "c": Standing(20, 4, 18)}
    libraries = {"a": "x", "b": "x+y", "c": "y", "free": ""}
    assert of_library("x", libraries, found) == (2, 2)
    (one, other) = standing_checks(libraries, found)
    assert (one.check, one.passed) == ("gene sets hold: x", False)
    assert (other.check, other.value, other.passed) == ("gene sets hold: y", 0.5, True)
    assert standings(None, pd.DataFrame()) == {}


def test_a_program_without_genes_is_no_other_program():
    """Not one gene of the set and none from outside it: neither the set nor another program."""
    empty = Standing(0, 0, 3)
    assert empty.empty
    assert not empty.minority
    assert empty.label("HYPOXIA") == "HYPOXIA (no gene)"
    found = {"a": empty, "b": empty, "c": Standing(20, 4, 18)}
    libraries = {"a": "x", "b": "x+y", "c": "y"}
    assert of_library("x", libraries, found) == (0, 0)
    nothing, some = standing_checks(libraries, found)
    assert nothing.passed is None
    assert (
        nothing.meaning == "No program named after a set of 'x' has several genes: these cells do not show these sets."
    )
    assert (some.value, some.passed) == (0.0, True)
    assert some.meaning.endswith("1 more have no gene: these cells do not show their sets.")


def test_a_program_of_one_gene_is_none():
    """What one gene does by itself is its noise as well as a program."""
    single = Standing(1, 0, 3)
    assert single.label("HYPOXIA") == "HYPOXIA (one gene)"
    assert not single.minority
    found = {"a": single, "b": Standing(0, 1, 0), "c": Standing(0, 0, 0), "d": Standing(20, 4, 18)}
    assert of_library("x", dict.fromkeys(found, "x"), found) == (0, 1)
    (one,) = standing_checks(dict.fromkeys(found, "x"), found)
    assert one.value == 0
    assert "2 more have one gene, which may as well be its noise. 1 more have no gene" in one.meaning


def test_cells_that_do_not_show_a_set_are_said_not_to(tmp_path):
    noise = torch.randn(300, 30, generator=torch.Generator().manual_seed(0))
    data = ExpressionData(noise, tuple(f"G{i}" for i in range(30)))
    sets = {"lib": {NOT: list(data.genes)[:10]}}
    model = MuVI(data, gene_sets=sets, num_factors=0)
    posterior = fit(model, guide=Blocked(), seed=0, num_draws=40)
    assert posterior.factors()["label"].tolist() == [f"{NOT} (no gene)"]
    checks = posterior.diagnose().set_index("check")
    assert checks.loc["gene sets hold: lib", "passed"] is None
    report(posterior, tmp_path / "report.html", data)
    page = (tmp_path / "report.html").read_text()
    assert "of 1 program named after a gene set, 1 holds no gene: these cells do not show them" in page
    assert "none of its programs has several genes" in page
    assert "mostly not HYPOXIA" not in page
