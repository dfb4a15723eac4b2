"""The site of the documentation: what it is made from needs no extra; the strict build is skipped without it."""

import json
import re
from pathlib import Path

import pyrogrn
import pytest
from pyrogrn.experiments.site import sources
from pyrogrn.experiments.site.gallery import BEFORE, PICTURES, gallery_page
from pyrogrn.experiments.site.links import site_page, with_site_links
from pyrogrn.experiments.site.mathml import BARS, as_meant, mathml
from pyrogrn.experiments.site.reference import public_names, reference_pages
from pyrogrn.experiments.site.shown import file_page, notebook_page
from pyrogrn.experiments.site.sources import CONTENTS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def pages():
    return sources()


def test_every_page_is_on_the_site_and_in_its_contents(pages):
    docs = [
        p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md") if "templates" not in p.parts
    ]
    assert not set(docs) - set(pages)
    made = {"gallery", "reference/index"}  # by Sphinx and `gallery`
    listed = {name for names in CONTENTS.values() for name in names}
    assert not {f"{name}.md" for name in listed - made} - set(pages)
    below = ("results/", "notebooks/", "source/", "index")  # each has an index of its own
    assert not {name.removesuffix(".md") for name in pages if not name.startswith(below)} - listed


def test_links_lead_to_pages_of_the_site(pages):
    known = set(pages) | {"gallery.md"}
    for name, text in pages.items():
        if name.startswith("source/"):
            continue
        outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"(?<!!)\]\(([^)\s#]+)[^)]*\)", outside):
            if not link.startswith(("http", "data:image")):
                parts = [*name.split("/")[:-1], *link.split("/")]
                while ".." in parts:
                    at = parts.index("..")
                    del parts[at - 1 : at + 1]
                assert "/".join(parts) in known, f"{name}: {link}"


def test_a_link_that_leads_nowhere_is_an_error():
    shown: list[str] = []
    text = "[a](../priors/normal.py) and [b](guide/files.md#scale)\n```\n[c](nowhere.md)\n```\n"
    turned = with_site_links(text, "docs/engines.md", ROOT, shown.append)
    assert "(source/priors/normal.py.md)" in turned
    assert "(guide/files.md#scale)" in turned
    assert shown == ["priors/normal.py"]
    assert site_page("README.md") == "index.md"
    with pytest.raises(ValueError, match="leads nowhere"):
        with_site_links("[c](nowhere.md)", "docs/engines.md", ROOT, shown.append)
    with pytest.raises(ValueError, match="made in a checkout"):
        sources(ROOT / "tests")


def test_files_folders_and_notebooks_are_shown():
    assert "class Normal" in file_page(ROOT, "priors/normal.py")
    assert "- `linear_network.py`" in file_page(ROOT, "models/simulators") or "`grn.py`" in file_page(
        ROOT, "models/simulators"
    )


def test_notebooks_are_shown_with_their_outputs(tmp_path):
    source = tmp_path / "one.py"
    source.write_text("# ---\n# x\n# ---\n# %% [markdown]\n# # Title\n# words\n\n# %%\nx = 1\nx\n")
    plain = "# Title\nwords\n\n```python\nx = 1\nx\n```"
    assert notebook_page(source) == f"{plain}\n"
    outputs = [
        {"data": {"text/plain": ["1"]}},
        {"name": "stdout", "text": "said\n"},
        {"data": {"image/png": "AAAA\n", "text/plain": "<Figure>"}},
        {"data": {"text/html": '<style scoped>\n x\n</style>\n\n<table border="1" class="dataframe">\n</table>'}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {"cell_type": "code", "source": "x = 1\nx", "outputs": outputs},
    ]
    (tmp_path / "one.ipynb").write_text(json.dumps({"cells": cells}))
    shown = (
        "````text\n1\n````",
        "````text\nsaid\n````",
        "![what this code draws](data:image/png;base64,AAAA)",
        '<div class="table-wrapper">\n<table class="docutils">\n</table>\n</div>',
    )
    assert notebook_page(source) == "\n\n".join((plain, *shown)) + "\n"
    source.write_text(source.read_text().replace("x = 1", "x = 2"))  # outputs of other code are not shown
    assert "````" not in notebook_page(source)


def test_every_public_name_is_in_the_reference():
    listed = public_names()
    names = {name for things in listed.values() for name in things}
    wanted = {f"pyrogrn.{name}" for name in pyrogrn.__all__ if name not in ("__version__", "tl", "pl")}
    wanted |= {f"pyrogrn.{short}.{name}" for short in ("tl", "pl") for name in getattr(pyrogrn, short).__all__}
    assert not wanted - names
    pages = reference_pages()
    assert len(pages) == len(names) + 1
    for things in listed.values():
        for name, thing in things.items():
            assert (thing.__doc__ or "").strip(), name


def test_every_picture_is_in_the_gallery():
    assert set(PICTURES) == set(pyrogrn.pl.__all__) - {"canvas"}  # which makes empty figures by size
    assert set(BEFORE) <= set(PICTURES)
    page = gallery_page()
    for name, (_, line) in PICTURES.items():
        assert f"pl.{name}(" in line
        assert f"pictures/{name}.svg" in page


def test_absolute_values_are_no_substitutions():
    assert BARS.sub(r"<\1>", "by |weight|, |W| > 1") == "by <weight>, <W> > 1"
    assert BARS.sub(r"<\1>", r"by \|weight\| or a | b") == r"by \|weight\| or a | b"
    lines = ["scale", "    s. Default |W|, not ``|x|``"]
    as_meant(lines)
    assert lines == ["scale", r"    s\. Default \|W\|, not ``|x|``"]


# -- with the extra `docs` ----
def test_equations_of_docstrings_become_mathml():
    pytest.importorskip("docutils")
    found = mathml(r"y \mid a \sim N\Big(\textstyle\sum_r a_r,\ \tfrac12\Big)", block=True)
    assert found.startswith("<math")
    with pytest.raises(ValueError, match="nosuch"):
        mathml(r"\nosuch{x}", block=False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")  # of Sphinx's own parts
def test_the_strict_build(tmp_path):
    pytest.importorskip("sphinx", reason="needs the extra docs")
    pytest.importorskip("myst_parser", reason="needs the extra docs")
    pytest.importorskip("furo", reason="needs the extra docs")
    from pyrogrn.experiments.site.build import build

    assert build(tmp_path / "site", pictures=False) == 0
    page = (tmp_path / "site" / "reference" / "pyrogrn.LinearNetwork.html").read_text()
    assert "<math" in page
    assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="https?:', page)
