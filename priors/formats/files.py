"""Opening files of unknown kind safely, and writing files whole or not at all.

Everything a user's file can do wrong (missing, a folder, a truncated archive, binary junk, ragged rows, words where
numbers belong) ends in one ``FileNotFoundError`` or ``ValueError`` of one line that begins with the file's name.
"""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..shortened import shortened
from .headerless import is_edge_row

MISSING = ["", "NA", "NaN", "nan", "N/A", "NULL", "null", "None"]
MAGIC_GZIP, MAGIC_HDF5, MAGIC_PARQUET = b"\x1f\x8b", b"\x89HDF\r\n\x1a\n", b"PAR1"
NUM_PEEKED, PEEKED_SIZE = 50, 1 << 20


@dataclass(frozen=True)
class RawFile:
    """A file opened as far as needed to tell what it is.

    Attributes
    ----------
    path
        Where it came from; every error message starts with it.
    kind
        ``"text"``, ``"hdf5"`` or ``"parquet"``.
    text
        The decoded content (text files only), without lines that begin with ``#``.
    separator
        ``"\\t"``, ``","``, ``";"`` or ``r"\\s+"``, the first of them found in the first line.
    rows
        The first rows, split into cells.
    genes
        Gene names that came with the call, for matrices that do not carry them.
    """

    path: Path
    kind: str
    text: str = ""
    separator: str = ","
    rows: tuple[tuple[str, ...], ...] = ()
    genes: tuple[str, ...] | None = None

    @property
    def first(self) -> tuple[str, ...]:
        """First row, the header where there is one."""
        return self.rows[0] if self.rows else ()

    @property
    def has_header(self) -> bool:
        """Every first row is a header, except numbers only, and what `headerless.is_edge_row` says is an
        edge (``TF gene 1``)."""
        return not all(map(is_number, self.first)) and not is_edge_row(self.rows)

    @property
    def header(self) -> tuple[str, ...]:
        """Column names, empty for a table without them."""
        return self.first if self.has_header else ()

    def fail(self, problem: str) -> ValueError:
        """One-line error about this file."""
        return ValueError(f"{self.path}: {problem}")


def is_number(cell: str) -> bool:
    """Whether a cell reads as a finite number."""
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def show(cell: object) -> str:
    """Text in quotes, numbers plainly."""
    return repr(shortened(cell)) if isinstance(cell, str) else str(cell)


def shorten(names: Sequence[object], limit: int = 5) -> str:
    """``['A', 'B', ...]`` with at most ``limit`` items, for messages."""
    listed = [show(n) for n in names[:limit]]
    return f"[{', '.join(listed)}{', ...' if len(names) > limit else ''}]"


def reason(error: BaseException) -> str:
    """First line of an exception's message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def open_raw(path: str | os.PathLike, genes: Sequence[str] | str | os.PathLike | None = None) -> RawFile:
    """Read a file and find out its kind, separator and first rows.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is a folder, cannot be read, is empty, is a damaged gzip file, or is neither text nor hdf5 nor parquet.
    """
    path = Path(path)
    data = _bytes(path)
    names = None if genes is None else read_gene_names(genes)
    if data.startswith(MAGIC_HDF5):
        return RawFile(path, "hdf5", genes=names)
    if data.startswith(MAGIC_PARQUET):
        return RawFile(path, "parquet", genes=names)
    text = _decode(path, data)
    first_line = text.split("\n", 1)[0]
    separator = next((s for s in ("\t", ",", ";") if s in first_line), r"\s+")
    try:
        return RawFile(path, "text", text, separator, _peek(text, separator), names)
    except csv.Error as error:
        raise ValueError(f"{path}: not a regular table ({reason(error)})") from None


def read_text(path: str | os.PathLike) -> str:
    """Text of a plain or gzip-compressed UTF-8 file; errors as in `open_raw`."""
    return _decode(Path(path), _bytes(Path(path)))


def read_gene_names(genes: Sequence[str] | str | os.PathLike) -> tuple[str, ...]:
    """Gene names from a sequence, or a file with one name per line (a first line ``x`` or ``gene`` is a header)."""
    if not isinstance(genes, str | os.PathLike):
        return tuple(str(g) for g in genes)
    names = [line.split(",")[-1].strip().strip('"') for line in read_text(genes).splitlines() if line.strip()]
    return tuple(
        names[1:] if names[0].lower() in {"x", "gene", "genes", "gene_name", "gene_names", "symbol"} else names
    )


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(MAGIC_GZIP) else data
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: is a folder, expected a network file") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: truncated or damaged gzip file ({reason(error)}); fetch or write it again") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({reason(error)})") from None


def _decode(path: Path, data: bytes) -> str:
    if b"\x00" in data[:4096]:
        raise ValueError(
            f"{path}: binary content that is neither gzip, hdf5 (.h5ad) nor parquet; expected a text table"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}); save the table as UTF-8 csv or tsv") from None
    text = text.replace("\r\n", "\n").lstrip("\n")
    if text.startswith("#node1\t"):  # the header of STRING's exports
        text = text[1:]
    if text.startswith("#") or "\n#" in text:
        text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#")).lstrip("\n")
    if not text.strip():
        raise ValueError(f"{path}: is empty, expected a table of edges")
    return text


def _peek(text: str, separator: str) -> tuple[tuple[str, ...], ...]:
    head = text[:PEEKED_SIZE].split("\n", NUM_PEEKED)[:NUM_PEEKED]
    if len(text) > PEEKED_SIZE and len(head) > 1:
        head = head[:-1]  # may be cut
    lines = [line for line in head if line.strip()]
    by_space = separator == r"\s+"
    cells = [line.split() for line in lines] if by_space else list(csv.reader(lines, delimiter=separator))
    return tuple(tuple(cell.strip().strip('"') for cell in row) for row in cells)


def parse_table(
    raw: RawFile, *, text_columns: Sequence[str | int] = (), columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Parse a text table.

    Parameters
    ----------
    raw
        File from `open_raw`.
    text_columns
        Columns kept as text: gene names such as ``NA`` or ``1`` are names, not missing values or numbers.
    columns
        Names for a table without a header; the default takes the header from the file.

    Raises
    ------
    ValueError
        For ragged rows, repeated column names or a table without rows.
    """
    names = [name or f"unnamed_{i}" for i, name in enumerate(raw.header if columns is None else columns)]
    repeated = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise raw.fail(f"column names are repeated: {shorten(repeated)}; every column needs a name of its own")
    if columns is not None and len(raw.first) != len(columns):
        raise raw.fail(f"has {len(raw.first)} columns where {len(columns)} were expected ({', '.join(columns)})")
    text = set(text_columns)
    try:
        table = pd.read_csv(
            io.StringIO(raw.text),
            sep=raw.separator,
            header=None if columns is not None else 0,
            names=names,
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,
            na_values={n: MISSING for n in names if n not in text},
            skipinitialspace=True,
            low_memory=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise raw.fail(f"not a regular table ({reason(error)})") from None
    if not isinstance(table.index, pd.RangeIndex):
        # R's write.table leaves out the header of its row names, which pandas then takes for the index
        if len(raw.rows) > 1 and len(raw.rows[1]) != len(names) + 1:
            raise raw.fail(f"rows have {len(raw.rows[1])} cells under a header of {len(names)}")
        table = table.reset_index(drop=True)
    if table.empty:
        raise raw.fail("has a header but no rows; expected at least one edge")
    return table


def numbers(raw: RawFile, table: pd.DataFrame, column: str) -> np.ndarray:
    """A column as float64, shape (row,); a missing or non-numeric cell is a ``ValueError`` naming its row."""
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        cell = table[column].iloc[wrong[0]]
        raise raw.fail(f"column '{column}', row {wrong[0] + 1} holds {show(cell)} where a finite number was expected")
    return values


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary neighbour of ``path`` that takes its place only when the block ends without an error."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({reason(error)})") from None
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, gzip-compressed if the name ends in ``.gz`` (no time stamp: same content, same bytes)."""
    data = text.encode()
    with replacing(path) as part:
        part.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def write_table(
    path: Path, table: pd.DataFrame, *, separator: str = ",", header: bool = True, index: bool = False
) -> None:
    """Write a data frame as text; the separator belongs to the format, not to the file's suffix."""
    write_text(path, table.to_csv(sep=separator, header=header, index=index, lineterminator="\n"))
