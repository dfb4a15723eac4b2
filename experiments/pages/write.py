"""Fill the templates, and say which pages differ from what they would be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .commands import command_page
from .figure import Figure
from .grid import grid
from .guides import guide_table
from .rows import Rows

HERE = Path(__file__).resolve().parents[2]
OPEN, CLOSE = "<!-- results -->\n", "<!-- /results -->"
README = "README.md"


@dataclass(frozen=True)
class Checkout:
    """Where templates, csv files and pages are."""

    root: Path = HERE

    @property
    def templates(self) -> Path:
        return self.root / "docs" / "results" / "templates"

    def page_of(self, template: str) -> Path:
        """The page that a template fills; of ``README.md`` it is the part of the README between the two marks."""
        return self.root / README if template == README else self.root / "docs" / "results" / template

    def pages(self) -> dict[Path, str]:
        """What each page should read, by its path."""
        environment = self.environment()
        wanted = {}
        for file in sorted(self.templates.glob("*.md")):
            text, page = environment.get_template(file.name).render(), self.page_of(file.name)
            wanted[page] = between_marks(page.read_text(), text) if file.name == README else text
        if not wanted:
            raise ValueError(f"no templates in {self.templates}: pages are written in a checkout of the project")
        engines = self.root / "docs" / "engines.md"
        if engines.exists():
            wanted[engines] = between_marks(engines.read_text(), "\n" + guide_table() + "\n", engines.name)
        reference = self.root / "docs" / "reference"
        if reference.is_dir():
            wanted[reference / "commands.md"] = command_page()
        return wanted

    def environment(self) -> Environment:
        """Jinja with the few words that templates use."""
        environment = Environment(
            loader=FileSystemLoader(self.templates),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # Markdown, not HTML
        )
        results = self.root / "experiments" / "results"
        read = cache(lambda name: Rows.read(results / f"{name}.csv"))
        environment.globals |= {
            "rows": lambda name, **settled: read(name).where(**settled),
            "grid": grid,
            "published": str,  # a figure of a paper, by hand
            "setting": str,  # what a benchmark was given, by hand
        }
        environment.filters["as"] = lambda figure, how=".3f": format(Figure(*figure), how)
        return environment


def between_marks(page: str, text: str, name: str = README) -> str:
    """A page with the text between its two marks."""
    before, _, rest = page.partition(OPEN)
    _, mark, after = rest.partition(CLOSE)
    if not mark:
        raise ValueError(f"{name} lacks the marks {OPEN.strip()} and {CLOSE}")
    return before + OPEN + text + CLOSE + after


def stale(checkout: Checkout | None = None) -> list[Path]:
    """Pages that do not read as their template and csv files say."""
    return list(differing(checkout or Checkout()))


def write(checkout: Checkout | None = None) -> list[Path]:
    """Write the pages that are stale."""
    pages = differing(checkout or Checkout())
    for page, text in pages.items():
        page.write_text(text)
    return list(pages)


def differing(checkout: Checkout) -> dict[Path, str]:
    """What the pages that are stale should read."""
    return {page: text for page, text in checkout.pages().items() if not page.exists() or page.read_text() != text}
