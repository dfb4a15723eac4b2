"""Tables that commands write, against the list of them in docs/guide/files.md."""

import fnmatch
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

PAGE = Path(__file__).resolve().parents[1] / "docs" / "guide" / "files.md"
OWN_FORMATS = ("sergio_regulators.csv", "sergio_targets.csv", "pyscenic.csv")  # of other programs, no plain header
OPEN = ("expression.csv.gz", "scores.csv")  # a column a gene or program, by its name


@dataclass(frozen=True)
class Listed:
    """A table of the page: what it is called, columns that it always has, and those (or patterns) that it may have."""

    title: str
    always: frozenset[str]
    sometimes: frozenset[str]

    def is_of(self, columns: set[str]) -> bool:
        """Whether a table with these columns is one of these."""
        rest = columns - self.always
        return self.always <= columns and all(any(fnmatch.fnmatch(c, s) for s in self.sometimes) for c in rest)


def listed_tables() -> list[Listed]:
    """What the page lists."""
    text = PAGE.read_text().partition("\n## Tables\n")[2]
    tables = []
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        rows = re.findall(r"^\| (`.*?) \| (.*) \|$", body, re.MULTILINE)
        names = {
            kind: frozenset(
                n for cell, said in rows if said.startswith("where ") is kind for n in re.findall(r"`([^`]+)`", cell)
            )
            for kind in (True, False)
        }
        tables.append(Listed(title, names[False], names[True]))
    return tables


def tables_in(folder: Path) -> list[Path]:
    """Tables below a folder, without those of a stored model."""
    return sorted(p for p in folder.rglob("*") if p.name.endswith((".csv", ".csv.gz")) and "model" not in p.parts)


def unlisted(folder: Path, *, given: Collection[Path] = ()) -> list[str]:
    """Tables below a folder of which the page has none of that name, or of any name, with just their columns; ``given``
    were there before."""
    tables, wrong = listed_tables(), []
    for file in tables_in(folder):
        if file.name in OWN_FORMATS or file in given:
            continue
        columns = set(pd.read_csv(file, nrows=1).columns.astype(str))
        if file.name in OPEN and "cell" in columns:
            continue
        named = [table for table in tables if table.title.startswith(f"`{file.name}`")] or tables
        if not any(table.is_of(columns) for table in named):
            wrong.append(f"{file.relative_to(folder)}: {sorted(columns)}")
    return wrong
