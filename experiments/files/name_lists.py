"""Lists of names from text files and tables: in a table, the column is found by what the data call their genes."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...models.data.checks import some
from ...models.data.orientation import is_bare_integer, is_counting
from ...priors.formats.names import whole_number
from ...priors.formats.spreadsheet import restored
from .stored import about, is_number, text_rows

NAME_HEADERS = frozenset(
    "tf tfs gene genes gene_name gene_names gene_symbol symbol name names regulator regulators".split()  # noqa: SIM905
)
# words that a header consists of where it is not one of the above: "HGNC symbol", "Ensembl ID"
HEADER_WORDS = frozenset(
    [
        "tf",
        "tfs",
        "gene",
        "genes",
        "symbol",
        "symbols",
        "name",
        "names",
        "regulator",
        "regulators",
        "hgnc",
        "mgi",
        "ensembl",
        "entrez",
        "uniprot",
        "ncbi",
        "id",
        "ids",
        "approved",
        "official",
        "human",
        "mouse",
        "transcription",
        "factor",
        "factors",
    ]
)


@dataclass(frozen=True)
class NameTable:
    """The columns of a list of names.

    Attributes
    ----------
    path
        Where it came from.
    header
        Names of the columns; empty where the file has none.
    columns
        Names in each column, in the order of the file and each once, without empty cells.
    """

    path: Path
    header: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]

    def default(self) -> int:
        """The column that its header calls names, else the first that does not merely count."""
        named = [i for i, cell in enumerate(self.header) if cell.lower() in NAME_HEADERS and self.columns[i]]
        if named:
            return named[0]
        filled = [i for i, names in enumerate(self.columns) if names]
        words = [i for i in filled if not is_counting(self.columns[i]) and not _is_index(self.header, i)]
        return (words or filled)[0]

    def choose(self, genes: Collection[str]) -> tuple[list[str], list[str]]:
        """The column of which most names are among ``genes``, and what there is to say about the choice.

        Columns of numbers (of rows, Entrez ids) are looked at only where no other column has one of the genes, and one
        that merely counts never beside others. Where no column has any, the default column is taken.
        """
        known = set(genes)
        best = self.default()
        hits = [len(known.intersection(names)) for names in self.columns]
        words = [0 if all(map(is_bare_integer, c)) else h for c, h in zip(self.columns, hits, strict=True)]
        if not any(words) and len(self.columns) > 1:
            words = [0 if is_counting(c) else h for c, h in zip(self.columns, hits, strict=True)]
        if max(words) > words[best]:
            best = words.index(max(words))
        return list(self.columns[best]), self._notes(best, known)

    def _notes(self, chosen: int, known: Collection[str]) -> list[str]:
        filled = [i for i, names in enumerate(self.columns) if names]
        if len(filled) < 2:
            return []
        found = len(set(known).intersection(self.columns[chosen]))
        others = [self._called(i) for i in filled if i != chosen]
        return [
            f"{self.path.name}: names taken from {self._called(chosen)} ({found} of {len(self.columns[chosen])} are in "
            f"the data); not used: {', '.join(others[:5])}" + (f" and {len(others) - 5} more" if others[5:] else "")
        ]

    def _called(self, column: int) -> str:
        name = self.header[column] if column < len(self.header) else ""
        return f"column {some([name])[2:-2]!r}" if name else f"column {column + 1}"


def _is_index(header: Sequence[str], column: int) -> bool:
    return column == 0 and len(header) > 1 and header[0].lower() in ("", "unnamed: 0", "index")


def read_name_table(path: Path | str) -> NameTable:
    """Read a list of names: one a line, or a table; plain or gzip. Lines that begin with ``#`` are skipped.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; not a text file, or no name in it.
    """
    path = Path(path)
    with about(path):
        rows = _split([[cell.strip() for cell in row] for row in text_rows(path, "a list of names", by_space=False)])
        if rows and len(rows) > 1 and len(rows[0]) + 1 == len(rows[1]):  # R's write.table: no header over row names
            rows[0] = ["", *rows[0]]
        header = rows[0] if rows and _is_header(rows) else []
        body = rows[1:] if header else rows
        width = max((len(row) for row in body), default=0)
        cells = [[row[i] for row in body if len(row) > i and row[i]] for i in range(width)]
        columns = tuple(tuple(dict.fromkeys(restored(whole_number(cell)) for cell in column)) for column in cells)
        if not any(columns):
            raise ValueError("holds no names: expected one name a line")
        return NameTable(path, tuple((header + [""] * width)[:width]) if header else (), columns)


def read_names(path: Path | str, genes: Collection[str] | None = None) -> list[str]:
    """Names of TFs or genes from a text file: one a line, or a column of a table; plain or gzip.

    Parameters
    ----------
    path
        The file. A first line with ``tf``, ``gene``, ``symbol``, ``regulator`` or the like, in any case, is a header.
        Repeated names are given once. Lines that begin with ``#`` are skipped.
    genes
        Names in the data: the column that has most of them is taken. Default: the one that its header calls names, else
        the first that does not count rows.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; not a text file, or no name in it.
    """
    table = read_name_table(path)
    return list(table.columns[table.default()]) if genes is None else table.choose(genes)[0]


def _split(rows: list[list[str]]) -> list[list[str]]:
    """Cells of lines that are separated by spaces only, where all lines have as many; else the lines as they are."""
    if len(rows) < 2 or any(len(row) != 1 for row in rows):
        return rows
    cells = [[cell.strip('"') for cell in re.findall(r'"[^"]*"|\S+', row[0])] for row in rows]
    widths = {len(row) for row in cells[1:]}
    return cells if len(widths) == 1 and widths != {1} and len(cells[0]) in (*widths, widths.pop() - 1) else rows


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line names the columns."""
    first, body = rows[0], rows[1:]
    if not body:
        return any(cell.lower() in NAME_HEADERS for cell in first)
    for i, cell in enumerate(first):
        if cell.lower() in NAME_HEADERS:
            return True
        words = [word for word in re.split(r"[\W_]+", cell.lower()) if word]
        if len(words) > 1 and HEADER_WORDS.issuperset(words):
            return True
        below = [row[i] for row in body if len(row) > i and row[i]]
        if cell and not is_number(cell) and below and all(map(is_number, below)):
            return True
    return first[0] == "" or [cell for cell in first if cell] == ["x"]
