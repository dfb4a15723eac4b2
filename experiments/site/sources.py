"""What the site is made of: every page by its path, as text."""

from pathlib import Path

from .links import is_page, site_page, source_page, with_site_links
from .shown import file_page, notebook_page

HERE = Path(__file__).resolve().parents[2]
CONTENTS = {
    "Begin": ("guide/first", "guide/concepts", "guide/networks", "guide/anndata", "gallery"),
    "Guide": (
        *("guide/calibration", "guide/programs", "guide/courses", "guide/panels", "guide/amortised"),
        *("guide/knowledge", "guide/sweeps", "guide/files", "guide/pyro"),
    ),
    "Reference": ("reference/commands", "reference/index", "engines", "features", "versions"),
    "Notebooks": ("notebooks/index",),
    "Results": ("results/README",),
    "For developers": ("adding", "robustness", "CONTRIBUTING", "CHANGELOG", "source/index"),
}


def sources(root: Path = HERE) -> dict[str, str]:
    """Markdown pages by their path on the site, without the reference of Python names and the gallery.

    Raises
    ------
    ValueError
        Not a checkout of the project; a link that leads nowhere.
    """
    pages = [root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    if not all(page.exists() for page in pages) or not (root / "docs").is_dir():
        raise ValueError(f"no docs in {root}: the site is made in a checkout of the project")
    pages += [p for p in sorted((root / "docs").rglob("*.md")) if is_page(p.relative_to(root).as_posix())]
    shown: dict[str, None] = {}
    found = {}
    for page in pages:
        name = page.relative_to(root).as_posix()
        text = with_site_links(page.read_text(), name, root, lambda file: shown.setdefault(file))
        found[site_page(name)] = text
    notebooks = sorted((root / "notebooks").glob("*.py"))
    for notebook in notebooks:
        found[f"notebooks/{notebook.stem}.md"] = notebook_page(notebook)
    found["notebooks/index.md"] = "# Notebooks\n\n" + _contents([n.stem for n in notebooks], hidden=False)
    for file in shown:
        found[source_page(file)] = file_page(root, file)
    found["source/index.md"] = "# Files that pages name\n\n" + _contents(sorted(shown), hidden=False)
    results = [name.removesuffix(".md") for name in found if name.startswith("results/") and "README" not in name]
    found["results/README.md"] += "\n" + _contents([name.removeprefix("results/") for name in results])
    found["index.md"] += "\n" + "\n".join(_contents(names, caption=title) for title, names in CONTENTS.items())
    return found


def _contents(names: list[str] | tuple[str, ...], caption: str = "", hidden: bool = True) -> str:
    """A table of contents, for Sphinx."""
    options = [":hidden:"] * hidden + [f":caption: {caption}"] * bool(caption) + [":maxdepth: 1"]
    return "\n".join(["```{toctree}", *options, "", *names, "```", ""])
