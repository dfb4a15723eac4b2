"""What the first lines of a table say: whether there is a header, and which axis holds the genes."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...models.data.orientation import Axis, is_bare_integer, is_counting
from ...priors.formats.files import is_number

# headers of a column of names: numbers under them are names too, under any other header they are data
INDEX_HEADERS = frozenset(
    {"", "unnamed: 0", "index", "name", "names", "id", "symbol", "entrez", "entrez_id", "obs_names", "var_names"}
    | {f"{kind}{end}" for kind in ("cell", "barcode", "sample", "gene") for end in ("", "s", "id", "_id", "_name")}
)
GENE_HEADER = re.compile(
    r"^(genes?([ _.]?(ids?|names?|symbols?))?|symbols?|hgnc[ _.]symbol|ensembl([ _.]ids?)?|var_names)$"
)
CELL_HEADER = re.compile(r"^((cell|barcode|sample|condition)s?([ _.]?(ids?|names?))?|obs_names)$")
CELL_NAME = re.compile(
    r"^((cell|sample|barcode|patient|donor|well)[-_. ]?\d+.*|(GSM|SRR|ERR|SRX)\d+.*|(.*[_:])?[ACGT]{8,}([-_.]\w+)*)$",
    re.IGNORECASE,
)
SHORT_CELL_NAME = re.compile(r"^[cs][-_]?\d+$")
# featureCounts writes these between the gene's name and the counts
FEATURE_COUNTS = ("chr", "start", "end", "strand", "length")


class Header(NamedTuple):
    """Names of all columns, whether the file itself has them, columns that describe genes, and the rows below."""

    names: list[str]
    given: bool
    annotations: tuple[str, ...]
    rows: Iterator[list[str]]


def read_header(rows: Iterator[list[str]]) -> Header:
    """Take the header off the rows of a table; one that has none is given the numbers of its columns.

    Raises
    ------
    ValueError
        No row, or neither a header nor a column of names.
    """
    first = [cell.strip() for cell in next(rows, [])]
    if not first:
        raise ValueError("is empty: expected a table with names in its first row and first column")
    second = next(rows, None)
    below = rows if second is None else itertools.chain([second], rows)
    if is_headerless(first, second):
        if is_number(first[0]):
            raise ValueError(
                f"names neither cells nor genes: its first row is {', '.join(first[:3])}, ...; expected names of genes "
                "in its first row or first column"
            )
        numbered = ["", *(str(i) for i in range(1, len(first)))]
        return Header(numbered, False, (), itertools.chain([first], below))
    lower = [name.lower() for name in first]
    counts = lower[0] == "geneid" and tuple(lower[1:6]) == FEATURE_COUNTS
    return Header(first, True, tuple(first[1:6]) if counts else (), below)


def is_headerless(first: Sequence[str], second: Sequence[str] | None) -> bool:
    """Whether the first row holds numbers and not names: some are no whole numbers or occur twice, or they are neither
    in order nor larger than the values below.

    Different whole numbers in order (genes of a simulator, times) or large ones (Entrez ids), and whatever follows a
    name such as ``gene`` or an empty cell, are a header.
    """
    cells = [cell for cell in first[1:] if cell.lower() not in ("", "na", "nan", "null")]
    if not cells or not all(map(is_number, cells)) or (second is not None and len(second) != len(first)):
        return False
    if not is_number(first[0]) and first[0].lower() in INDEX_HEADERS:
        return False
    if not all(map(is_bare_integer, cells)) or len(set(cells)) < len(cells):
        return True
    numbers = [int(cell) for cell in cells]
    if second is None or is_number(first[0]) or numbers == sorted(numbers):
        return False
    below = [float(cell) for cell in second[1:] if is_number(cell)]
    return bool(below) and max(numbers) <= 20 * max(1.0, *below)  # values as large as those below them


def genes_by_header(header: Header, labels: Sequence[str], columns: Sequence[str]) -> tuple[Axis | None, str]:
    """Where the table itself says that the genes are, and by what; None where it does not."""
    if not header.given:
        return "rows", "the names of its rows (it has no header)"
    if header.annotations:
        return "rows", "the columns of featureCounts"
    corner = header.names[0].strip().lower()
    if GENE_HEADER.match(corner):
        return "rows", f"the header {header.names[0]!r} of its first column"
    if CELL_HEADER.match(corner):
        return "columns", f"the header {header.names[0]!r} of its first column"
    if _mostly_cells(labels, SHORT_CELL_NAME) or (is_counting(labels) and not is_counting(columns)):
        return "columns", "the names of its rows"
    if _mostly_cells(columns) and not all(map(is_bare_integer, labels)):
        return "rows", "the names of its columns, which are those of cells"
    return None, ""


def _mostly_cells(names: Sequence[str], *patterns: re.Pattern[str]) -> bool:
    sample = names[:: max(1, len(names) // 200)]
    alike = sum(any(pattern.match(name) for pattern in (CELL_NAME, *patterns)) for name in sample)
    return alike > 0.8 * len(sample)
