"""The script of a report in headless Chromium, where there is one: sorting, searching, the slider; nothing injected."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from pyrogrn.experiments.report.page import POLICY, Cell, bar, page, section, table
from pyrogrn.experiments.report.script import FEWEST, SCRIPT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
ROWS = [(f"G{i:02d}", 0.05 * i, f"{0.1 * (-1) ** i * i:+.3f}") for i in range(20)]


def report(names=("A",)) -> str:
    rows = [
        [Cell(name, "gene"), bar(share, f"{share:.3f}" if share else "<0.001"), weight] for name, share, weight in ROWS
    ]
    rows[3][2] = "–"
    odd = [[name, "1"] for name in names]
    body = section("edges", "Edges", table(("source", "inclusion", "weight"), rows, numeric=("inclusion", "weight")))
    return page("Report", body + section("odd", "Odd", table(("name", "number"), odd)))


class Rows(HTMLParser):
    """First cells of the rows of the first table that are not hidden, and what the tools say."""

    def __init__(self, text):
        super().__init__()
        self.names, self.told, self.row, self.hidden, self.soft = [], "", -1, False, False
        self.feed(text.partition("</table>")[0])

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "tr":
            self.hidden, self.row = "hidden" in given, 0
        if tag == "td":
            self.row += 1
        self.soft = tag == "span" and given.get("class") == "soft"

    def handle_data(self, data):
        if self.row == 1 and not self.hidden and data.startswith("G"):
            self.names.append(data)
        if self.soft:
            self.told += data


def rendered(text: str, folder, *, act: str = "") -> str:
    """The page after its script, and after ``act``, for which the policy is taken away."""
    if act:
        text = text.replace(f' content="{POLICY}"', " content=\"default-src * 'unsafe-inline'\"")
        text = text.replace("</body>", f"<script>{act}</script></body>")
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([CHROMIUM, *OPTIONS, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr or "Refused" not in done.stderr, done.stderr
    return done.stdout


def test_without_scripts_every_row_is_there():
    text = report()
    assert text.count("<tr>") == 2 + len(ROWS) + 1
    assert "hidden" not in text.replace(SCRIPT, "")
    assert 'type="search"' not in text


def test_the_script_writes_no_html_and_fetches_nothing():
    assert not re.search(
        r"innerHTML|outerHTML|document\.write|insertAdjacentHTML|eval|fetch|XMLHttp|src=|import", SCRIPT
    )


@needs_browser
@pytest.mark.slow
def test_tables_sort_search_and_filter(tmp_path):
    found = Rows(rendered(report(), tmp_path))
    assert found.names == [name for name, *_ in ROWS]
    assert found.told.startswith("20 of 20 rows, probability at least 0.00: 10.5 expected to be wrong (52%)")
    click = "var heads = document.querySelectorAll('th'); heads[{}].click();"
    assert Rows(rendered(report(), tmp_path, act=click.format(1))).names[:2] == ["G19", "G18"]
    assert Rows(rendered(report(), tmp_path, act=click.format(1) * 2)).names[:2] == ["G00", "G01"]
    assert Rows(rendered(report(), tmp_path, act=click.format(1) * 3)).names == [name for name, *_ in ROWS]
    weights = Rows(rendered(report(), tmp_path, act=click.format(2))).names
    assert (weights[0], weights[-1]) == ("G18", "G03")  # what is not known comes last
    search = (
        "var s = document.querySelector('input[type=search]'); s.value = 'g1'; s.dispatchEvent(new Event('input'));"
    )
    assert Rows(rendered(report(), tmp_path, act=search)).names == [f"G{i}" for i in range(10, 20)]
    slide = "var r = document.querySelector('input[type=range]'); r.value = 0.9; r.dispatchEvent(new Event('input'));"
    found = Rows(rendered(report(), tmp_path, act=slide))
    assert found.names == ["G18", "G19"]
    assert re.search(r"2 of 20 rows, probability at least 0.90: 0.[12] expected to be wrong \([78]%\)", found.told)


@needs_browser
@pytest.mark.slow
def test_names_run_nothing_in_the_browser(tmp_path):
    names = [f"<img src=x onerror=\"document.title='run{i}'\">" for i in range(FEWEST + 1)]
    names += ["<script>document.title='run'</script>", "javascript:alert(1)"]
    text = report(names)
    assert "<title>Report</title>" in rendered(text, tmp_path)
    unescaped = text.replace(
        "</main>", "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script></main>"
    )
    assert "<title>Report</title>" in rendered(unescaped, tmp_path)  # the policy alone keeps them from running
