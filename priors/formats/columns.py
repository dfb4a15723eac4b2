"""Which column of a network table is which: names in use for source and target, and what of a table was not used."""

import re
from collections.abc import Collection, Sequence

import pandas as pd

from .files import shorten

# Letters and digits only; looked at where none of the plain names is there. Symbols come before other identifiers.
SOURCE_NAMES = (
    *("sourcegenesymbol", "tfgenesymbol", "regulatorgenesymbol", "sourcesymbol", "tfsymbol", "regulatorsymbol"),
    *("genesymboltf", "tfname", "regulatorname", "sourcename", "sourcegene", "tfgene", "tfs", "regulators", "entitya"),
)
TARGET_NAMES = (
    *("targetgenesymbol", "genesymboltarget", "targetsymbol", "genesymbol", "targetname", "targetgenename", "genename"),
    *("regulatedgene", "regulatedname", "regulatedsymbol", "regulated", "targetgenes", "targets", "entityb"),
)
SYMBOLS = re.compile(r"^(?P<end>.+?)[ _.]?gene[ _.]?symbol$", re.IGNORECASE)


def bare(name: str) -> str:
    """Lower case, letters and digits only."""
    return re.sub("[^a-z0-9]", "", name.lower())


def symbol_columns(header: Sequence[str], sources: Collection[str], targets: Collection[str]) -> dict[str, str]:
    """Columns ``source_genesymbol`` and ``target_genesymbol`` (OmniPath) as source and target; empty without both."""
    found: dict[str, str] = {}
    for column in header:
        match = SYMBOLS.match(column)
        end = match.group("end").lower() if match else ""
        role = "source" if end in sources else "target" if end in targets else None
        if role is not None and role not in found.values():
            found[column] = role
    return found if len(found) == 2 else {}


def other_column(header: Sequence[str], names: Sequence[str], taken: Collection[str]) -> str | None:
    """The column of which the bare name is the first of ``names`` that occurs."""
    known = {bare(column): column for column in reversed(header) if column not in taken}
    return next((known[name] for name in names if name in known), None)


def unused_note(header: Sequence[str], used: Collection[str]) -> list[str]:
    """What is said of columns that were not used."""
    columns = [c for c in header if c and c not in used and not c.lower().startswith("unnamed")]
    return [f"columns not used: {shorten(columns, 8)}"] if columns else []


def mark_used(table: pd.DataFrame, columns: Collection[str], *notes: str) -> pd.DataFrame:
    """Keep with a table which columns of its file were used, and what there is to say."""
    table.attrs["used"] = sorted({*table.attrs.get("used", ()), *map(str, columns)})
    table.attrs["notes"] = [*table.attrs.get("notes", ()), *notes]
    return table
