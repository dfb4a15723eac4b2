"""Pages of results say what the csv files say: each is what its template gives, and no figure is typed twice."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from jinja2 import Environment
from pyrogrn.experiments.benchmarks.__main__ import SECTIONS
from pyrogrn.experiments.pages import Checkout, Figure, Rows, grid, stale, write

CHECKOUT = Checkout()
TEMPLATES = sorted(CHECKOUT.templates.glob("*.md"))
TYPED = re.compile(r"(?<![\d/.:])\d*\.\d{2,}(?!\d*[/.])")  # 0.93 and .926, not the parts of an address
OF_ALL = ("papers", "provenance")  # pages that are not of one module
WITH = {
    "amortised_paper": "amortised",
    "factorbox_orthogonal": "factorbox_networks",
    "phoenix_table": "phoenix",
    "cellbox_length": "cellbox",
    "cellbox_ridge": "cellbox",
    "engine_calibration": "engine",
    "engine_command": "engine",
    "engine_screens": "engine",
    "links": "ladder",
    "contexts_outside": "contexts",
    "rivals": "edges",
    "trial_maps": "ladder",
    "trial_networks": "ladder",
    "trial_parts": "ladder",
    "trial_runs": "ladder",
    "factorbox_measured": "factorbox_networks",
    "factorbox_recovery": "factorbox_networks",
    "factorbox_dream4": "factorbox_networks",
    "knockdowns_ridge": "knockdowns",
    "knockdowns_context": "knockdowns",
    "programs_poster": "programs",
    "programs_size": "programs",
    "program_data": "programs",
    "program_intervals": "programs",
    "amortised_parts": "amortised",
    "amortised_protocol": "amortised",
    "amortised_damage": "amortised",
}  # a module that has its page with another


@pytest.fixture
def checkout(tmp_path):
    """A copy of what pages are made of."""
    for folder in ("docs/results", "experiments/results"):
        shutil.copytree(CHECKOUT.root / folder, tmp_path / folder)
    shutil.copy(CHECKOUT.root / "README.md", tmp_path)
    return Checkout(tmp_path)


def test_pages_are_what_templates_and_rows_give():
    assert not stale(), "run `make pages`"


def test_a_changed_row_makes_its_pages_stale_until_they_are_written(checkout):
    file = checkout.root / "experiments" / "results" / "knowledge.csv"
    table = pd.read_csv(file, dtype={"seed": str})
    table.loc[(table["method"] == "no prior") & (table["score"] == "average_precision"), "value"] = 0.123456
    table.to_csv(file, index=False)
    assert {page.name for page in stale(checkout)} == {"knowledge.md", "README.md"}
    write(checkout)
    assert "0.123" in (checkout.root / "docs" / "results" / "knowledge.md").read_text()
    assert "0.123" in (checkout.root / "README.md").read_text()
    assert not stale(checkout)


def test_a_changed_page_is_stale(checkout):
    page = checkout.root / "docs" / "results" / "speed.md"
    figure = re.search(r"\d\.\d+", page.read_text()).group()
    page.write_text(page.read_text().replace(figure, figure + "1", 1))
    assert stale(checkout) == [page]


def test_a_row_that_is_gone_is_an_error(checkout):
    file = checkout.root / "experiments" / "results" / "stability.csv"
    pd.read_csv(file).head(0).to_csv(file, index=False)
    (checkout.templates / "stability.md").write_text('{{ rows("stability")(score="jaccard_top500") | as }}')
    with pytest.raises(ValueError, match=r"stability\.csv has 0 different rows"):
        stale(checkout)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda p: p.name)
def test_no_figure_is_typed_in_a_template(template):
    tokens = Environment().lex(template.read_text())
    text = "".join(value for _, kind, value in tokens if kind == "data")
    assert not TYPED.findall(text), 'figures come from rows("..."), or are published("...") or setting("...")'


def test_no_figure_is_typed_in_the_readme():
    text = re.sub(
        r"<!-- results -->.*<!-- /results -->", "", CHECKOUT.page_of("README.md").read_text(), flags=re.DOTALL
    )
    text = re.sub(r"```.*?```|\]\([^)]*\)|`[^`]*`", "", text, flags=re.DOTALL)
    assert not TYPED.findall(text)


def test_every_section_of_the_benchmarks_has_its_page():
    modules = {run.__module__.rpartition(".")[2] for run in SECTIONS.values()}
    assert {WITH.get(module, module) for module in modules} == {t.stem for t in TEMPLATES} - {"README", *OF_ALL}


def test_every_section_is_shown_on_a_page():
    text = "".join(template.read_text() for template in TEMPLATES)
    assert not [name for name in SECTIONS if f'rows("{name}"' not in text]


def test_every_page_is_listed():
    listed = (CHECKOUT.root / "docs" / "results" / "README.md").read_text()
    assert not [t.name for t in TEMPLATES if f"({t.name})" not in listed and t.name != "README.md"]


def test_readme_has_at_most_twelve_results():
    text = CHECKOUT.page_of("README.md").read_text()
    inside = text.partition("<!-- results -->")[2].partition("<!-- /results -->")[0]
    assert len(inside.strip().splitlines()) - 2 <= 12


def test_figures_print_with_their_errors():
    assert f"{Figure(0.9398, 0.0061):.3f±}" == "0.940 ± 0.006"
    assert f"{Figure(0.1229, 0.0003):+.4f±}" == "+0.1229 ± 0.0003"
    assert f"{Figure(0.5):.2f±}" == "0.50"
    assert f"{Figure(float('nan')):.2f±}" == "–"


def test_rows_are_found_by_what_they_say():
    columns = ["task", "method", "seed", "score", "value", "se"]
    nan = float("nan")
    made = [("a", "m", "0", "s", 1.0, nan), ("a", "m", "1", "s", 3.0, nan), ("a", "m", "0-1", "s", 2.0, 1.0)]
    made += [("a", "m", "0-1", "s: sd", 1.5, nan), ("b", "m", "0-1", "s", 1.0, 0.5)]
    rows = Rows([dict(zip(columns, row, strict=True)) for row in made]).where(method="m")
    of = rows.where(score="s")
    assert of(task="a", seed="0-1") == (2.0, 1.0)
    assert rows.with_sd(task="a", score="s", seed="0-1") == (2.0, 1.5)
    assert of.most(seed="0-1") == (2.0, 1.0)
    assert of.least(seed="0-1") == (1.0, 0.5)
    assert of.where(seed="0-1").above(of.where(seed="0"), ["a", "b"]) == "1 of 1"
    with pytest.raises(ValueError, match="has 3 different rows"):
        of(task="a")
    table = grid(
        of, {"A": {"task": "a"}, "C": {"task": "c"}}, {"S": {"seed": "0-1"}, "both": {"seed": ["0", "1"]}}, how=".1f±"
    )
    assert table.splitlines()[2:] == ["| A | 2.0 ± 1.0 | 1.0 / 3.0 |", "| C | – | – / – |"]


def test_only_a_checkout_has_pages(tmp_path: Path):
    with pytest.raises(ValueError, match="pages are written in a checkout"):
        stale(Checkout(tmp_path))
