"""Matrices as files hold them, before it is decided what their rows and columns are: h5ad, zarr, csv and tsv.

Whatever is wrong with a file ends in one ``ValueError`` or ``FileNotFoundError`` of one line that begins with its path.
"""

import csv
import gzip
import itertools
import math
import random
import re
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

import h5py
import numpy as np
import pandas as pd

from ...models.data.checks import some
from ...models.data.memory import available
from ...models.data.orientation import Axis
from ...priors.formats.files import MAGIC_GZIP, MAGIC_HDF5, is_number, reason
from ...priors.formats.text_heaps import check_text
from ...priors.shortened import shortened
from .column_words import PERTURBATION, is_annotation, says
from .csc_rows import CscRows
from .sound import check_claim, check_indices, check_pointers, element_at
from .table_header import INDEX_HEADERS, genes_by_header, read_header

SHARE_OF_MEMORY = 0.5  # of what is free, beyond which a matrix is not held
BACKED_SIZE = 2**30  # bytes on disk from which h5ad and zarr are streamed; compressed, that is several times as much
TABLES, STORES = (".csv", ".tsv", ".txt"), (".h5ad", ".zarr")
SEPARATORS = ("\t", ",", ";")
THOUSANDS = re.compile(r"^[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?$")
DECIMAL_COMMA = re.compile(r"^[-+]?\d+,\d+([eE][-+]?\d+)?$")
MISSING = frozenset(["", "na", "n/a", "null", "none", "-"])

T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """A matrix with names and annotations of its rows and columns.

    Attributes
    ----------
    matrix
        (row, column): float32 array, CSR or CSC matrix of float32, or `RowsOnDisk`.
    rows, columns
        Names along the axes.
    row_table, column_table
        Annotations, one row for each name.
    kind
        How it was stored, in words.
    genes_in, why
        The axis that holds the genes as far as the file itself tells, and by what; None where it does not. Default:
        columns, as in every AnnData.
    notes
        What was left out or changed on the way here.
    """

    matrix: Any
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_table: pd.DataFrame
    column_table: pd.DataFrame
    kind: str
    genes_in: Axis | None = "columns"
    why: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_on_disk(self) -> bool:
        """Whether the matrix is streamed."""
        return isinstance(self.matrix, RowsOnDisk)

    def transposed(self) -> "Stored":
        """Rows and columns exchanged, in memory."""
        matrix, kind = self.matrix, self.kind
        if isinstance(matrix, RowsOnDisk):
            matrix = guarded("a readable matrix", lambda: self.matrix[slice(None)].astype(np.float32))
            kind = kind.removesuffix(STREAMED)
        axis: Axis | None = None if self.genes_in is None else "rows" if self.genes_in == "columns" else "columns"
        turned = (matrix.T, self.columns, self.rows, self.column_table, self.row_table)
        return Stored(*turned, kind, axis, self.why, self.notes)


STREAMED = ", streamed from disk"


class RowsOnDisk:
    """A dense or sparse matrix in an open file, read by rows and never whole; a damaged block is a ``ValueError``."""

    def __init__(self, path: Path, stored: Any) -> None:
        self.path, self.stored = path, stored
        self.shape = tuple(int(n) for n in stored.shape)

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        import zarr

        source = self.stored.oindex if isinstance(self.stored, zarr.Array) else self.stored
        with about(self.path):
            block = guarded("a readable matrix", lambda: source[rows])
            if not isinstance(block, np.ndarray):
                check_indices(block, "the matrix")
            return block


class InFile(ValueError):
    """An error whose message begins with the file that it is in."""


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Put the file's path before the message of an error, once: of a file that is read while another is, its own."""
    try:
        yield
    except (FileNotFoundError, InFile):
        raise
    except ValueError as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise InFile(f"{path}: {error}") from error


@contextmanager
def using_mudata() -> Iterator[Any]:
    """The package mudata, which is an extra.

    Python's global generator, from which it takes names, is put back, and its warnings of names that repeat are
    silenced: `views.join_modalities` handles those.

    Raises
    ------
    ValueError
        It is not installed.
    """
    try:
        import mudata
    except ImportError:
        raise ValueError("h5mu needs the package mudata: pip install 'pyrogrn[multi]'") from None
    state = random.getstate()
    try:
        options = getattr(mudata, "set_options", None)  # mudata 0.4 pulls nothing by itself
        with options(pull_on_update=False) if options else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield mudata
    finally:
        random.setstate(state)


def guarded(what: str, read: Callable[[], T]) -> T:
    """Run a third-party reader on a file that may be damaged: whatever it raises becomes one line."""
    try:
        return read()
    except MemoryError as error:
        raise ValueError("does not fit in memory: stream it (backed=True) from a dense or CSR h5ad or zarr") from error
    except Exception as error:
        raise ValueError(damaged(what, error)) from error


def damaged(what: str, error: Exception) -> str:
    """What to say of a file that another package cannot read."""
    return f"damaged, truncated or not {what} ({reason(error)}): fetch or write it again"


def read_stored(
    path: Path, *, layer: str | None, text: Collection[str], backed: bool | None, missing: bool = False
) -> Stored:
    """Read a file by its suffix.

    Parameters
    ----------
    path
        ``.h5ad``, ``.zarr``, or a table ``.csv``, ``.tsv``, ``.txt``, plain or ``.gz``.
    layer
        Layer of h5ad and zarr to read instead of X.
    text
        Columns of a table that hold text; they become the annotations of its rows.
    backed
        See `read_expression`.
    missing
        Whether empty cells of a table, NA and the like, are NaN (default: they are refused).
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    suffixes = [s.lower() for s in path.suffixes] or [""]
    compressed = len(suffixes) > 1 and suffixes[-1] == ".gz"
    kind = suffixes[-2] if compressed else suffixes[-1]
    if path.is_dir():
        if not any((path / name).exists() for name in ("zarr.json", ".zgroup")):
            raise ValueError("is a folder and no zarr store: expected an expression file")
        import zarr

        return _read_anndata(path, guarded("a zarr store", lambda: zarr.open_group(str(path), mode="r")), layer, backed)
    if compressed and kind in STORES:
        raise ValueError(f"is a compressed {kind} file: unpack it first (gunzip)")
    if kind == ".h5ad":
        with path.open("rb") as handle:
            if handle.read(len(MAGIC_HDF5)) != MAGIC_HDF5:
                raise ValueError("is not an h5ad: it does not begin as an HDF5 file")
        with ExitStack() as stack:
            store = stack.enter_context(guarded("an h5ad", lambda: h5py.File(path, "r")))
            stored = _read_anndata(path, store, layer, backed)
            if stored.is_on_disk:
                stack.pop_all()  # stays open as long as the matrix is in use
        return stored
    if kind not in TABLES:
        known = ", ".join((*STORES, *TABLES))
        raise ValueError(f"unknown kind of file {kind or path.name!r}: expected {known} (tables also with .gz)")
    if layer is not None:
        raise ValueError(f"a table has no layer {layer!r}: layers are in h5ad and zarr")
    if backed:
        raise ValueError("a table cannot be streamed: write it as .h5ad, or leave out backed=True")
    return _read_table(path, text, missing)


# -- AnnData ----


def _read_anndata(path: Path, store: Any, layer: str | None, backed: bool | None) -> Stored:
    """Names, annotations and one matrix of an AnnData on disk; nothing else of the file is read, however large."""
    from anndata.io import read_elem, sparse_dataset  # here: half a second that tables need not wait for

    kind, what = ("zarr", "a zarr store") if path.is_dir() else ("h5ad", "an h5ad")
    if not path.is_dir():
        check_text(path, what)
    found = guarded(what, lambda: sorted(store))
    missing = [name for name in ("obs", "var") if name not in found]
    if missing:
        raise ValueError(f"is no AnnData: it has no {' and no '.join(missing)} (found {found or 'nothing'})")
    obs = guarded(what, lambda: read_elem(store["obs"]))
    var = guarded(what, lambda: read_elem(store["var"]))
    if not (isinstance(obs, pd.DataFrame) and isinstance(var, pd.DataFrame)):
        raise ValueError("was written by anndata before 0.7: read it and write it again with a current anndata")
    layers = guarded(what, lambda: sorted(store["layers"])) if "layers" in found else []
    has_raw = "raw" in found and guarded(what, lambda: _has_raw(store))
    from_raw = layer == "raw" and has_raw and layer not in layers
    known = [*layers, *(["raw (its .raw)"] if has_raw else [])]
    if layer is not None and layer not in layers and not from_raw:
        raise ValueError(f"no layer {layer!r}: the file has {known or 'no layers'}")
    name = "X" if layer is None else "raw/X" if from_raw else f"layers/{layer}"
    if from_raw:
        var = guarded(what, lambda: read_elem(store["raw/var"]))
        if not isinstance(var, pd.DataFrame):
            raise ValueError("raw/var is not a table: the file was changed or is damaged, write it again")
    element = guarded(what, lambda: element_at(store, name))
    encoding = "null" if element is None else guarded(what, lambda: str(element.attrs.get("encoding-type", "array")))
    if encoding == "null":
        raise ValueError(f"has no X: choose one of its layers, {known}" if known else "has neither X nor layers")
    sparse = encoding in ("csr_matrix", "csc_matrix")
    dense = encoding == "array" and _is_array(element)
    if not sparse and not (dense and element.dtype.kind in "fiub" and len(element.shape) == 2):
        raise ValueError(f"{name} is not a matrix of numbers (it is stored as {encoding!r})")
    check_claim(element, name, sparse=sparse)
    if sparse:
        guarded(what, lambda: check_pointers(element, name, encoding))
    matrix: Any
    streamed, why = (backed, "") if backed is not None else _to_stream(path, element, encoding)
    if streamed and encoding == "csc_matrix":
        shape = guarded(what, lambda: sparse_dataset(element).shape)
        matrix = RowsOnDisk(path, CscRows(path, element, (int(shape[0]), int(shape[1]))))
    elif streamed:
        matrix = RowsOnDisk(path, guarded(what, lambda: sparse_dataset(element)) if sparse else element)
    else:
        matrix = guarded(what, lambda: read_elem(element))
        if sparse:
            check_indices(matrix, name)
        matrix = matrix.astype(np.float32, copy=False) if sparse else np.asarray(matrix, dtype=np.float32)
    label = f"{kind}, {encoding[:3].upper() if sparse else 'dense'}" + (f", layer {layer}" if layer else "")
    rows, columns = (tuple(str(n) for n in table.index) for table in (obs, var))
    others = also_has(layers, has_raw, layers_by="--layer NAME", raw_by="--layer raw") if layer is None else ()
    notes = (*others, *([why] if why else []))
    return Stored(matrix, rows, columns, obs, var, label + STREAMED * isinstance(matrix, RowsOnDisk), notes=notes)


def also_has(layers: Sequence[str], has_raw: bool, *, layers_by: str, raw_by: str) -> tuple[str, ...]:
    """What else an AnnData holds than X: one who reads z-scores may want the counts beside them."""
    return (
        *((f"it also has layers {some(sorted(layers), 3)}, read by {layers_by}",) if layers else ()),
        *((f"it also has a .raw, read by {raw_by}",) if has_raw else ()),
    )


def _to_stream(path: Path, element: Any, encoding: str) -> tuple[bool, str]:
    """Whether a matrix is streamed unless it is said, and why, where that is the memory there is."""
    size = sum(p.stat().st_size for p in (path.rglob("*") if path.is_dir() else (path,)))
    if encoding == "array":
        copies = 1.0 if element.dtype == np.float32 else 1.0 + element.dtype.itemsize / 4
        held = 4.0 * math.prod(element.shape) * copies
    else:
        copies = 2.0 if encoding == "csc_matrix" else 1.0  # it is turned
        held = copies * element["data"].shape[0] * (4.0 + element["indices"].dtype.itemsize)
    free = available()
    if held <= SHARE_OF_MEMORY * free:
        return size > BACKED_SIZE, ""
    return True, f"streamed: in memory the matrix would take {held / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"


def _has_raw(store: Any) -> bool:
    """Whether an AnnData on disk has a matrix and names in ``.raw``."""
    raw = store["raw"]
    return not _is_array(raw) and {"X", "var"} <= set(raw)


def _is_array(element: Any) -> bool:
    """Whether what is stored in HDF5 or zarr is an array, and no group of others."""
    import zarr  # anndata, which has read the names by now, imports it too

    return isinstance(element, h5py.Dataset | zarr.Array)


# -- text ----


@contextmanager
def _opened(path: Path, what: str) -> Iterator[TextIO]:
    """Plain or gzip text; everything that can go wrong while it is read becomes one line."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise ValueError(f"is a folder, expected {what}")
    try:
        with path.open("rb") as handle:
            opener = gzip.open if handle.read(len(MAGIC_GZIP)) == MAGIC_GZIP else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as handle:
            yield handle
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start}), expected {what}") from error
    except (EOFError, OSError, zlib.error, csv.Error) as error:
        raise ValueError(f"damaged or truncated ({reason(error)}), expected {what}: fetch it again") from error


def text_rows(path: Path, what: str, *, by_space: bool = True) -> Iterator[list[str]]:
    """Cells of the lines that are neither blank nor comments (``#``); separated by the first of tab, comma, semicolon
    in the first of them, where there is none by spaces (unless ``by_space`` is False)."""
    with _opened(path, what) as handle:
        told = (line for line in handle if line.strip() and not line.startswith(("#", '"#')))
        first = next(told, "")
        separator = next((s for s in SEPARATORS if s in first), " " if by_space and " " in first.strip() else ",")
        if separator == " ":
            told, first = (line.strip() for line in told), first.strip()
        rows = csv.reader(itertools.chain([first], told), delimiter=separator, skipinitialspace=separator == " ")
        yield from (row for row in rows if any(row))


def _read_table(path: Path, text: Collection[str], missing: bool) -> Stored:
    """A table of numbers with names along both axes, line by line into float32."""
    head = read_header(text_rows(path, "a table of expression"))
    header, rows = head.names, head.rows
    text = {*text, *head.annotations}
    labels: list[str] = []
    values: list[np.ndarray] = []
    annotations: dict[str, list[str]] = {}
    for number, row in enumerate(rows, start=1):
        if number == 1:
            if len(row) == len(header) + 1:  # R's write.table gives the column of row names no header
                header = ["", *header]
            if len(row) < 2:
                raise ValueError("has a single column: expected cells separated by comma, tab or semicolon")
            annotations = {name: [] for name in header if name in text}
        if len(row) != len(header):
            doubled = " (decimal commas? write 0.5, not 0,5)" if len(row) == 2 * len(header) - 1 else ""
            name = shortened(repr(row[0]))
            raise ValueError(f"row {number} ({name}) has {len(row)} cells under a header of {len(header)}{doubled}")
        cells = row[1:]
        if annotations:
            for name, cell in zip(header, row, strict=True):
                if name in annotations:
                    annotations[name].append(cell)
            cells = [cell for name, cell in zip(header[1:], cells, strict=True) if name not in annotations]
        try:
            if missing:
                cells = ["nan" if cell.strip().lower() in MISSING else cell for cell in cells]
            values.append(np.fromiter(map(float, cells), np.float32, len(cells)))
        except ValueError:
            raise _not_numbers(number, row[0], [n for n in header[1:] if n not in annotations], cells) from None
        labels.append(row[0].strip())
    if not values:
        raise ValueError("has a header but no rows: expected one row a cell, or a gene")
    columns = [name for name in header[1:] if name not in annotations]
    matrix, kind = np.stack(values), "table"
    is_index = header[0] in annotations or header[0].lower() in INDEX_HEADERS
    if not is_index and all(map(is_number, labels)):
        matrix = np.column_stack([np.array(labels, dtype=np.float32), matrix])
        columns = [header[0], *columns]
        kind = f"table without a column of names: its first column, {header[0]!r}, is taken as a gene"
        labels = [str(i) for i in range(len(labels))]
    elif (
        not is_index and len(set(labels)) < len(labels) and (is_annotation(header[0]) or says(header[0], PERTURBATION))
    ):
        annotations[header[0]], labels = labels, [str(i) for i in range(len(labels))]
    elif not is_index and len(set(labels)) < len(labels):
        example = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(
            f"its first column, {header[0]!r}, repeats {example!r} and so names neither cells nor genes: drop it, or "
            "name it as context or perturbation key"
        )
    if says(header[0], PERTURBATION):  # names of the rows that say what they are
        annotations.setdefault(header[0], labels)
    row_table = pd.DataFrame(annotations, index=range(len(labels)))
    of_cells = len(columns) > len(header) - 1 or bool(set(annotations).difference(head.annotations))
    axis, why = ("columns", "") if of_cells else genes_by_header(head, labels, columns)
    notes = [f"columns of featureCounts not used: {', '.join(head.annotations)}"] if head.annotations else []
    if header[0] in annotations and header[0] not in text:
        notes.append(f"its first column, {header[0]!r}, is an annotation of cells")
    if not head.given:
        notes.append(f"has no header: its first row, {labels[0]!r}, is data and the columns are numbered")
    column_table = pd.DataFrame(index=range(len(columns)))
    return Stored(matrix, tuple(labels), tuple(columns), row_table, column_table, kind, axis, why, tuple(notes))


def _not_numbers(number: int, label: str, columns: Sequence[str], cells: Sequence[str]) -> ValueError:
    """Why a row of cells cannot be read: missing values, or columns of text."""
    wrong = {column: cell.strip() for column, cell in zip(columns, cells, strict=True) if not _reads_as_float(cell)}
    words = {column: cell for column, cell in wrong.items() if cell.lower() not in MISSING}
    if not words:
        names = some(list(wrong), 3)
        return ValueError(f"row {number} ({label!r}) lacks a value in columns {names}: remove or impute missing values")
    column, cell = next(iter(words.items()))
    commas = [text for text in words.values() if "," in text]
    if commas and all(map(THOUSANDS.match, commas)):
        return ValueError(
            f"its numbers have commas before three digits ({cell!r} in {column!r}, row {number}): if they separate "
            "thousands, write the numbers without them (thousands=',' in pandas.read_csv); if they are decimal commas, "
            "write decimal points"
        )
    if DECIMAL_COMMA.match(cell):
        return ValueError(
            f"its numbers have decimal commas ({cell!r} in {column!r}, row {number}): write decimal points (read.csv2 "
            "and write.csv in R, decimal=',' in pandas.read_csv)"
        )
    return ValueError(
        f"columns that are not numbers: {some(list(words))} (row {number} has {cell!r} in {column!r}). Expected one "
        "column a gene after the names: drop annotations, or name them as context or perturbation key, or as covariates"
    )


def _reads_as_float(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
