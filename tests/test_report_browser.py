"""The script of a report in headless Chromium, where there is one: sorting, searching, the slider; nothing injected."""

import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser

import pandas as pd
import pytest
from pyrogrn.experiments.report.page import POLICY, Cell, bar, page, section
from pyrogrn.experiments.report.page import table as listing
from pyrogrn.experiments.report.pictures import network
from pyrogrn.experiments.report.script import FEWEST, SCRIPT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=2000")
OPTIONS += ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
ROWS = [(f"G{i:02d}", 0.05 * i, f"{0.1 * (-1) ** i * i:+.3f}") for i in range(20)]


def report(names=("A",)) -> str:
    rows = [
        [Cell(name, "gene"), bar(share, f"{share:.3f}" if share else "<0.001"), weight] for name, share, weight in ROWS
    ]
    rows[3][2] = "–"
    odd = [[name, "1"] for name in names]
    body = section("edges", "Edges", listing(("source", "inclusion", "weight"), rows, numeric=("inclusion", "weight")))
    return page("Report", body + section("odd", "Odd", listing(("name", "number"), odd)))


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


def rendered(text: str, folder, *, act: str = "", blocked: bool = False) -> str:
    """The page after its script, and after ``act``, for which the policy is taken away; the console is to stay empty,
    unless something is to be ``blocked``."""
    if act:
        text = text.replace(f' content="{POLICY}"', " content=\"default-src * 'unsafe-inline'\"")
        text = text.replace("</body>", f"<script>{act}</script></body>")
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [CHROMIUM, *OPTIONS, profile, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert blocked or not complaints, complaints
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
    assert found.told.startswith("20 of 20 edges with at least 0.00: 10.5 expected to be wrong (52%)")
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
    assert re.search(r"2 of 20 edges with at least 0.90: 0.[12] expected to be wrong \([78]%\)", found.told)


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
    assert "<title>Report</title>" in rendered(
        unescaped, tmp_path, blocked=True
    )  # the policy alone keeps them from running


# -- the network ----
LIKELY = [0.99, 0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.2]


def edges(bad: str = "T0") -> pd.DataFrame:
    """One regulator with a target each: A0 → T0, A1 → T1, ...; one of the targets has another name."""
    names = [bad, *(f"T{i}" for i in range(1, len(LIKELY)))]
    table = pd.DataFrame({"source": [f"A{i}" for i in range(len(LIKELY))], "target": names, "inclusion": LIKELY})
    return table.assign(weight=[0.5 * (-1) ** i for i in range(len(LIKELY))], lower=-1.0, upper=1.0)


def with_network(table: pd.DataFrame, **options: bool) -> str:
    rows = [
        [Cell(escape(row.source), "gene"), Cell(escape(row.target), "gene"), f"{row.inclusion:.3f}"]
        for row in table.itertuples()
    ]
    listed = section(
        "edges", "Edges", listing(("source", "target", "inclusion"), rows, numeric=("inclusion",), **options)
    )
    drawn = network(table.head(6), "Arrows", tfs=set(table["source"]))
    return page("Report", listed + section("network", "Network", drawn))


class Drawn(HTMLParser):
    """Classes of edges and genes of the network by name, and texts by their class."""

    def __init__(self, text):
        super().__init__()
        self.edges, self.genes, self.texts, self.kind, self.tags = {}, {}, [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.kind = given.get("class") or ""
        if "data-target" in given:
            self.edges[given["data-source"], given["data-target"]] = self.kind.split()
        if "data-gene" in given:
            self.genes.setdefault(given["data-gene"], []).append(self.kind.split())

    def handle_data(self, data):
        if "soft" in self.kind and data.strip():
            self.texts.append(data.strip())


def test_a_network_tells_without_a_script():
    text = with_network(edges())
    assert "<title>A0 activates T0: effect +0.50 (-1.00 to +1.00), probability 0.99</title>" in text
    assert "<title>A1, regulator: drawn are 1 target and no regulators\nA1 ⊣ T1 -0.50, probability 0.90</title>" in text
    assert "http:" not in text
    found = Drawn(text)
    assert len(found.edges) == 6
    assert len(found.genes) == 12
    assert found.genes["T3"] == [["gene"], ["gene"]]  # its box and its name
    assert with_network(edges()) == text


def test_names_in_a_network_stay_text():
    for name in ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a&b", "]]>", "--><b>", "it's"):
        found = Drawn(with_network(edges(name)))
        assert ("A0", name) in found.edges, name
        assert found.tags.count("script") == 1
        assert "b" not in found.tags
        assert "img" not in found.tags


@needs_browser
@pytest.mark.slow
def test_the_network_follows_list_and_slider(tmp_path):
    text = with_network(edges())
    whole = Drawn(rendered(text, tmp_path))
    assert "6 of 6 edges drawn with at least 0.00: 1.5 expected to be wrong (24%)" in whole.texts
    slide = "var r = document.querySelectorAll('input[type=range]')[{}]; r.value = 0.75; "
    slide += "r.dispatchEvent(new Event('input'));"
    for which in (0, 1):  # the one above the list, the one above the picture
        found = Drawn(rendered(text, tmp_path, act=slide.format(which)))
        assert "3 of 9 edges with at least 0.75: 0.3 expected to be wrong (10%)" in found.texts
        assert "3 of 6 edges drawn with at least 0.75: 0.3 expected to be wrong (10%)" in found.texts
        assert [target for (_, target), kind in found.edges.items() if "off" not in kind] == ["T0", "T1", "T2"]
        assert all("off" in kind for kind in found.genes["T3"])
    ranked = Drawn(rendered(with_network(edges(), ranks=True), tmp_path))
    assert "6 of 6 edges drawn with at least 0.00" in ranked.texts  # and no share of errors
    assert not any("wrong" in told for told in ranked.texts)
    point = "document.querySelector('[data-gene=A1]').dispatchEvent(new Event('pointerenter'));"
    found = Drawn(rendered(text, tmp_path, act=point))
    assert any(told.startswith("A1, regulator: drawn are 1 target") for told in found.texts)
    assert found.edges["A1", "T1"] == ["edge", "on"]
    assert found.edges["A0", "T0"] == ["edge"]


@needs_browser
@pytest.mark.slow
def test_names_in_a_network_run_nothing_in_the_browser(tmp_path):
    name = "</title><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">&amp;"
    act = "document.querySelector('.edge').dispatchEvent(new Event('pointerenter'));"
    dom = rendered(with_network(edges(name)), tmp_path, act=act)
    assert "<title>Report</title>" in dom
    found = Drawn(dom)
    assert ("A0", name) in found.edges
    assert any(name in told for told in found.texts)
