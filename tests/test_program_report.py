"""The report of gene programs: complete, escaped, self-contained; and drawn without complaint in degenerate cases."""

from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from pyrogrn.experiments.figures import programs as program_figures
from pyrogrn.experiments.report.program_overview import name_cell
from pyrogrn.experiments.report.program_tables import ProgramTables
from pyrogrn.experiments.report.programs import write_program_report
from pyrogrn.inference import History
from pyrogrn.models import MuVI
from pyrogrn.models.simulators import simulate_muvi

DIAGNOSTICS = pd.DataFrame(
    [
        ["draws are finite", 0.0, 0.0, True, "All loadings are numbers."],
        ["R-hat", 1.3, 1.05, False, "Run longer & see."],
    ],
    columns=["check", "value", "threshold", "passed", "meaning"],
    dtype=object,
)
VIEWS, GROUPS = ("rna", "atac"), ("early", "late <b>")


class StandIn:
    """What the report asks of a posterior, with made-up numbers."""

    guide, calibrated, seed, notes = "blocked", True, 7, ("3 genes dropped & gone",)

    def __init__(self, *, covariates=("age",), labelled=True, cases=1, seed=0):
        rng = np.random.default_rng(seed)
        simulation = simulate_muvi(num_genes=40, num_cells=60, num_sets=2, set_size=10, num_unlabelled=1, seed=0)
        sets = {"sets & co": simulation.gene_sets} if labelled else None
        self.model = MuVI(simulation.data, gene_sets=sets, num_factors=2)
        self.data = simulation.data
        self.attributes = {}
        self.history = History(
            elbo=np.cumsum(rng.random((2, 30)), 1),
            steps=np.arange(30),
            rate=np.ones(30),
            reason="converged",
            seconds=1.5,
        )
        self.draws = {}
        self.views, self.groups = (VIEWS, GROUPS) if cases > 1 else (VIEWS[:1], ("all",))
        self.coords = {**self.model.coords, "covariate": list(covariates)}
        self.coords |= {"view": list(self.views), "context": list(self.groups)}
        self.rng = rng
        self.factor_names = self.coords["factor"]

    def programs(self, level=0.89, program=None, top=None):
        parts = []
        for name in self.factor_names:
            mean = np.sort(np.abs(self.rng.normal(size=40)))[::-1] * self.rng.choice([-1, 1], 40)
            parts.append(
                pd.DataFrame(
                    {
                        "program": name,
                        "gene": self.coords["gene"],
                        "loading": mean,
                        "sd": 0.1,
                        "lower": mean - 0.16,
                        "upper": mean + 0.16,
                        "sign_probability": 0.9,
                        "lfsr": np.exp(-8 * np.abs(mean)),
                        "prior": (np.arange(40) % 3 == 0) * 0.9,
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)

    def factors(self, level=0.89):
        rows = [
            (name, "sets & co" if known else "", view, group, 0.3 / (k + 1), 0.25 / (k + 1), 0.35 / (k + 1), 9.4)
            for k, (name, known) in enumerate(zip(self.factor_names, self.model.labelled, strict=True))
            for view in self.views
            for group in self.groups
        ]
        columns = ["program", "library", "view", "group", "variance_explained", "lower", "upper", "genes"]
        return pd.DataFrame(rows, columns=columns)

    def refined_sets(self):
        genes, status = self.coords["gene"], ["kept", "removed", "added"]
        rows = [(self.factor_names[0], genes[i], status[i % 3], 0.5, 0.2, 0.9) for i in range(9)]
        return pd.DataFrame(rows, columns=["program", "gene", "status", "probability", "loading", "prior"])

    def covariate_effects(self, level=0.89):
        names = [("gene", g) for g in self.coords["gene"]] + [("program", p) for p in self.factor_names]
        rows = [(c, *pair, 0.5, 0.1, 0.3, 0.7, 0.99, 0.01) for c in self.coords["covariate"] for pair in names]
        columns = "covariate kind name effect sd lower upper sign_probability lfsr".split()  # noqa: SIM905
        return pd.DataFrame(rows, columns=columns)

    def scores(self, data):
        cells = [f"c{i}" for i in range(60)]
        mean = pd.DataFrame(self.rng.normal(size=(60, len(self.factor_names))), index=cells, columns=self.factor_names)
        return mean, mean * 0 + 0.2

    def trust(self, *, level=0.89):
        rows = [(name, 1.2, 0.3, 0.8, 1.7) for name in self.coords["source"]]
        return pd.DataFrame(rows, columns=["source", "mean", "sd", "lower", "upper"])


class Page(HTMLParser):
    """Reads a page: fails on tags that do not match; keeps headings, words and attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.headings, self.words, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if not {"style", "script"} & set(self.open):
            self.words.append(data)


def written(posterior, folder, **changes):
    sets = {"lib": {"first <set>": posterior.coords["gene"][:10]}}
    arguments = {
        "data": posterior.data,
        "diagnostics": DIAGNOSTICS,
        "alignment": posterior.model.knowledge.reports,
        "command": "pyrogrn infer x.h5ad",
        "tables": ProgramTables.collect(posterior, posterior.data, gene_sets=sets),
    }
    path = folder / "report.html"
    write_program_report(posterior, path, **arguments | changes)
    return Page(path.read_text())


def test_every_section_is_there(tmp_path):
    seen = written(StandIn(), tmp_path, predictive=(np.zeros(20), np.random.default_rng(0).normal(size=(50, 20))))
    expected = (
        "Result|Programs at a glance|Top genes of each program|Gene sets, repaired|Trust in each library|"
        "Covariates|What the programs without a gene set resemble|Programs in the cells|Can the fit be trusted?|"
        "Does the model describe the data?|What next|What went in|How to read the columns|How to cite|How this was made"
    )
    assert seen.headings == expected.split("|")
    assert "4 programs of 4 explain more than 1% of the variance; together they name" in seen.text
    assert "1 diagnostic failed" in seen.text
    assert "first <set>" in seen.text  # escaped in the page, whole for the reader
    assert "3 genes dropped & gone" in seen.text


def test_a_set_that_a_program_without_a_name_has_is_not_called_removed(tmp_path):
    posterior = StandIn()
    tables = ProgramTables.collect(posterior, posterior.data)
    name, free = posterior.factor_names[0], posterior.factor_names[-1]
    library = dict(zip(tables.factors["program"], tables.factors["library"], strict=True))[name]
    row = {"program": free, "set": name, "library": library, "genes": 10, "pvalue": 1e-9, "fdr": 1e-8}
    assert tables.gene_sets is not None
    own = tables.gene_sets.head(1).assign(program=name)
    status = lambda **numbers: pd.concat([own.assign(status=s) for s, n in numbers.items() for _ in range(n)])
    lost, other = status(kept=1, removed=8), status(kept=1, removed=8, added=3)  # of which the second is renamed
    assert replace(tables, gene_sets=other).standings[name].minority
    for sets, auc, of, said in (
        (lost, 0.97, library, True),
        (other, 0.97, library, True),
        (lost, 0.7, library, False),
        (lost, 0.97, "another list", False),
        (status(kept=9), 0.97, library, False),
    ):
        enrichment = pd.DataFrame([{**row, "library": of, "auc": auc, "direction": "positive"}])
        seen = written(posterior, tmp_path, tables=replace(tables, gene_sets=sets, enrichment=enrichment))
        assert (f"{name}: these cells have this set, as {free}, a program that was found without" in seen.text) == said
        assert (f"The program called mostly not {name} (1 of 4 genes) has hardly any" in seen.text) == (sets is other)


def test_long_names_of_programs_are_broken_over_lines(tmp_path):
    assert name_cell("HALLMARK_EPITHELIAL_MESENCHYMAL_TRANSITION", again=True).kind == "gene again long"
    assert name_cell("set_1").kind == "gene"


def test_it_is_one_file_without_links_to_the_outside(tmp_path):
    seen = written(StandIn(cases=2), tmp_path)
    links = [value for _, name, value in seen.attributes if name in ("href", "src")]
    assert links
    assert all(value.startswith(("#", "data:image/svg+xml;base64,")) for value in links)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_sections_that_do_not_apply_are_left_out(tmp_path):
    posterior = StandIn(covariates=(), labelled=False)
    tables = ProgramTables.collect(posterior, None)
    seen = written(posterior, tmp_path, data=None, tables=tables, diagnostics=None)
    for heading in ("Gene sets, repaired", "Covariates", "Trust in each library", "Programs in the cells"):
        assert heading not in seen.headings
    assert "diagnostics not run" in seen.text


def test_a_fit_that_diverged_says_so(tmp_path):
    posterior = StandIn()
    posterior.history = SimpleNamespace(reason="diverged at step 3", seconds=0.1, elbo=np.zeros((0, 0)), steps=[])
    seen = written(posterior, tmp_path, tables=None)
    assert "No result: the fit diverged at step 3" in seen.text


def test_groups_are_drawn_and_named(tmp_path):
    posterior = StandIn(cases=2)
    codes = torch.arange(60) % 2
    data = replace(posterior.data, context=codes, context_names=GROUPS)
    seen = written(posterior, tmp_path, data=data)
    assert "late <b>" in seen.text
    assert "in a view or group" in seen.text


def test_tables_are_written(tmp_path):
    posterior = StandIn()
    sets = {"lib": {"first": posterior.coords["gene"][:10]}}
    ProgramTables.collect(posterior, posterior.data, gene_sets=sets).write(tmp_path, top=3)
    programs = pd.read_csv(tmp_path / "programs.csv")
    expected = ["program", "gene", "loading", "sd", "lower", "upper", "sign_probability", "lfsr", "prior"]
    assert list(programs.columns) == expected
    assert (programs["program"].value_counts() == 3).all()
    scores = pd.read_csv(tmp_path / "scores.csv.gz")
    assert list(scores.columns) == ["cell", "program", "mean", "sd"]
    assert len(scores) == 60 * 4
    assert list(scores["cell"][:4]) == ["c0"] * 4
    names = {p.name for p in tmp_path.iterdir()}
    assert {"factors.csv", "gene_sets.csv", "covariate_effects.csv", "enrichment.csv"} < names


def empty(columns):
    return pd.DataFrame(columns=columns.split())


@pytest.mark.parametrize(
    "draw",
    [
        lambda p: program_figures.variance_explained(p.factors()),
        lambda p: program_figures.variance_explained(StandIn(cases=2).factors()),
        lambda p: program_figures.variance_explained(many_cases(p.factors())),
        lambda p: program_figures.variance_explained(p.factors().head(0)),
        lambda p: program_figures.loading_forest(p.programs(), p.factor_names),
        lambda p: program_figures.loading_forest(p.programs(), []),
        lambda p: program_figures.covariate_forest(p.covariate_effects()),
        lambda p: program_figures.covariate_forest(p.covariate_effects().head(0)),
        lambda p: program_figures.scores_by_group(p.scores(None)[0], p.factor_names),
        lambda p: program_figures.scores_by_group(p.scores(None)[0], []),
        lambda p: program_figures.scores_scatter(p.scores(None)[0], tuple(p.factor_names[:2])),
    ],
)
def test_figures_are_drawn(draw, tmp_path):
    figure = draw(StandIn())
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "f.svg")


def many_cases(factors):
    return pd.concat([factors.assign(group=f"group {i}") for i in range(6)], ignore_index=True)


def test_many_groups_are_drawn():
    scores = StandIn().scores(None)[0]
    groups = pd.Series([f"$group{i % 15}" for i in range(60)], index=scores.index)
    names = tuple(scores.columns[:2])
    assert isinstance(program_figures.scores_scatter(scores, names, groups), Figure)
    assert isinstance(program_figures.scores_by_group(scores, names, groups), Figure)


def test_units_of_scores_that_are_far_from_the_cells_are_said(tmp_path):
    posterior = StandIn()
    tables = ProgramTables.collect(posterior, posterior.data)
    assert tables.scores is not None
    unit = tables.scores / tables.scores.std()
    assert (
        "standard deviation of scores is not 1"
        not in written(posterior, tmp_path, tables=replace(tables, scores=unit)).text
    )
    name = tables.importance().index[0]
    seen = written(posterior, tmp_path, tables=replace(tables, scores=unit.assign(**{name: 0.3 * unit[name]})))
    label = tables.labelled().importance().index[0]
    assert f"standard deviation of scores is not 1 but: {label} 0.30. Loadings" in seen.text
