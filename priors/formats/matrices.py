"""Formats that keep a network as a matrix or as lists per gene, and the AnnData one."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pandas as pd

from .edges import PPI_COLUMNS, has_edge_columns, signed_probability
from .files import (
    MISSING,
    RawFile,
    is_number,
    parse_table,
    reason,
    replacing,
    shorten,
    show,
    write_table,
    write_text,
)
from .headerless import are_identifiers

# -- labelled matrices ----


def is_labelled_matrix(raw: RawFile, least: int = 2) -> bool:
    """A header of names over rows of one name and at least ``least`` numbers."""
    if not raw.header or has_edge_columns(raw) or any(c <= set(raw.header) for c in PPI_COLUMNS) or len(raw.rows) < 2:
        return False
    row = raw.rows[1]
    return len(row) > least and (not is_number(row[0]) or raw.first[0] == "") and all(map(is_number, row[1:]))


def row_names(raw: RawFile) -> list[str]:
    """First cell of every row below the header."""
    cut = None if raw.separator == r"\s+" else raw.separator
    return [line.split(cut, 1)[0].strip().strip('"') for line in raw.text.splitlines()[1:] if line.strip()]


def column_names(raw: RawFile) -> list[str]:
    """Header without the corner; R's write.table leaves the corner out."""
    without_corner = len(raw.rows) > 1 and len(raw.rows[1]) == len(raw.header) + 1
    return list(raw.header if without_corner else raw.header[1:])


def has_same_names(raw: RawFile) -> bool:
    """Whether rows and columns carry the same names."""
    return set(row_names(raw)) == set(column_names(raw))


def read_labelled(raw: RawFile) -> pd.DataFrame:
    """Labelled matrix, shape (row, column); ``ValueError`` for repeated names and cells that are no finite number."""
    if not is_labelled_matrix(raw, least=1):
        raise raw.fail(f"is not a matrix with names on both axes; its first row is {shorten(raw.first)}")
    columns = column_names(raw)
    frame = _parse_numbers(raw, names=["", *columns], skip=1).set_index("")
    frame.index = frame.index.str.strip()
    for axis, names in (("row", frame.index), ("column", frame.columns)):
        if not names.is_unique:
            raise raw.fail(f"{axis} names are repeated: {shorten(names[names.duplicated()].unique().tolist())}")
    return frame


def _parse_numbers(raw: RawFile, *, names: list[str] | None, skip: int) -> pd.DataFrame:
    """Cells as float64; with ``names`` the first column is text."""
    if names is not None and len(set(names)) < len(names):
        raise raw.fail(f"column names are repeated: {shorten(sorted({n for n in names if names.count(n) > 1}))}")
    numeric = None if names is None else names[1:]
    try:
        frame = pd.read_csv(
            io.StringIO(raw.text),
            sep=raw.separator,
            header=None,
            names=names,
            index_col=False,
            skiprows=skip,
            dtype=None if names is None else {names[0]: str},
            keep_default_na=False,
            na_values=MISSING if numeric is None else {n: MISSING for n in numeric},
            low_memory=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning, ValueError) as error:
        raise raw.fail(f"not a regular table ({reason(error)})") from None
    if frame.empty:
        raise raw.fail("has a header but no rows; expected at least one edge")
    cells = frame if numeric is None else frame[numeric]
    values = cells.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.argwhere(~np.isfinite(values))
    if wrong.size:
        i, j = wrong[0]
        cell = cells.iloc[i, j]
        raise raw.fail(
            f"row {i + 1}, column {cells.columns[j]!r} holds {show(cell)} where a finite number was expected"
        )
    labels = {} if names is None else {names[0]: frame[names[0]]}
    return pd.DataFrame({**labels, **dict(zip(cells.columns, values.T, strict=True))})


def finite_matrix(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The matrix as float64, names on both axes.

    Raises
    ------
    ValueError
        Names that repeat on an axis, missing or infinite cells.
    """
    if not (frame.index.is_unique and frame.columns.is_unique):
        raise ValueError(
            f"matrix of '{name}': names are repeated on an axis; every row and column needs a name of its own"
        )
    values = frame.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.argwhere(~np.isfinite(values))
    if wrong.size:
        i, j = wrong[0]
        cell, place = frame.iloc[i, j], f"{frame.index[i]}, {frame.columns[j]}"
        raise ValueError(f"matrix of '{name}': cell ({place}) is {show(cell)}; expected a finite number")
    return pd.DataFrame(values, index=frame.index, columns=frame.columns)


def matrix_to_edges(frame: pd.DataFrame, *, rows_are_sources: bool) -> pd.DataFrame:
    """Non-zero cells as ``source, target, weight``, row by row."""
    values = frame.to_numpy(dtype=np.float64)
    row, column = np.nonzero(values)
    rows, columns = np.asarray(frame.index, dtype=object)[row], np.asarray(frame.columns, dtype=object)[column]
    source, target = (rows, columns) if rows_are_sources else (columns, rows)
    return pd.DataFrame({"source": source, "target": target, "weight": values[row, column]})


def edges_to_matrix(frame: pd.DataFrame, *, names: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Signed probabilities, shape (source, target), or (name, name) over all of ``names``; 0 where no edge."""
    rows, columns = (names, names) if names else (pd.unique(frame["source"]), pd.unique(frame["target"]))
    row, column = (
        pd.Index(rows).get_indexer(pd.Index(frame["source"])),
        pd.Index(columns).get_indexer(pd.Index(frame["target"])),
    )
    values = np.zeros((len(rows), len(columns)))
    values[row, column] = signed_probability(frame)
    return pd.DataFrame(values, index=list(rows), columns=list(columns))


def is_inferelator_prior(raw: RawFile) -> bool:
    """Labelled, and not a square csv (PHOENIX); fewer rows than columns leaves it open."""
    return is_labelled_matrix(raw) and not (raw.separator == "," and has_same_names(raw))


def read_inferelator_prior(raw: RawFile) -> pd.DataFrame:
    """Genes in rows, TFs in columns."""
    return matrix_to_edges(read_labelled(raw), rows_are_sources=False)


def write_inferelator_prior(frame: pd.DataFrame, path: Path) -> None:
    """Genes x TFs, tab separated, signed probabilities."""
    write_table(path, edges_to_matrix(frame).T.rename_axis(index=None, columns=None), separator="\t", index=True)


# -- PHOENIX ----


def is_phoenix(raw: RawFile) -> bool:
    """Numbers only (square, or triples), or a labelled matrix that is square or has fewer rows than columns."""
    if is_labelled_matrix(raw):
        return has_same_names(raw) or len(row_names(raw)) <= len(column_names(raw))
    if raw.header or not all(map(is_number, raw.first)) or len(raw.first) < 2:
        return False
    if len(raw.first) == 3 and are_identifiers(raw.rows):
        return False
    square = len(raw.first) == sum(bool(line.strip()) for line in raw.text.splitlines())
    return square or (len(raw.first) == 3 and all(float(cell) == int(float(cell)) > 0 for cell in raw.first[:2]))


def read_phoenix(raw: RawFile) -> pd.DataFrame:
    """Row = regulator, column = target; without names, as PHOENIX has it, with ``genes=`` or the companion file."""
    if raw.header:
        return matrix_to_edges(read_labelled(raw), rows_are_sources=True)
    genes = raw.genes
    if genes is None:
        companion = names_path(raw.path).name
        raise raw.fail(
            f"has no gene names; pass genes= (names, or a file with one per line) or put them in {companion}"
        )
    values = _parse_numbers(raw, names=None, skip=0).to_numpy()
    if values.shape == (len(genes), len(genes)):
        return matrix_to_edges(pd.DataFrame(values, index=list(genes), columns=list(genes)), rows_are_sources=True)
    if values.shape[1] != 3:
        raise raw.fail(
            f"has {values.shape[0]} rows and {values.shape[1]} columns, but {len(genes)} gene names were given"
        )
    index = values[:, :2].astype(np.int64) - 1  # sparse layout: from, to, value, counted from 1
    if (index != values[:, :2] - 1).any() or index.min() < 0 or index.max() >= len(genes):
        raise raw.fail(
            f"rows 'from, to, value' must count genes from 1 to {len(genes)}, the number of gene names given"
        )
    name = np.asarray(genes, dtype=object)
    return pd.DataFrame({"source": name[index[:, 0]], "target": name[index[:, 1]], "weight": values[:, 2]})


def names_path(path: Path) -> Path:
    """Companion of a matrix without names: ``prior.csv`` -> ``prior_gene_names.csv``."""
    return path.with_name(f"{path.name.split('.')[0]}_gene_names.csv")


def write_phoenix(frame: pd.DataFrame, path: Path) -> None:
    """Square matrix over all genes without names, as PHOENIX reads it, and its gene-name file beside it."""
    names = tuple(pd.unique(pd.concat([frame["source"], frame["target"]])))
    matrix = edges_to_matrix(frame, names=names)
    write_text(names_path(path), "".join(f"{line}\n" for line in ('"x"', *(f'"{n}"' for n in names))))
    write_table(path, matrix, header=False)


# -- CellOracle base GRN ----


BASE_COLUMNS = ("peak_id", "gene_short_name")


def is_celloracle_base(raw: RawFile) -> bool:
    """``peak_id, gene_short_name`` and a column per TF; parquet is read as nothing else."""
    return raw.kind == "parquet" or "gene_short_name" in raw.header


def read_celloracle_base(raw: RawFile) -> pd.DataFrame:
    """An edge for every TF with a motif in any peak of the gene."""
    is_parquet = raw.kind == "parquet"
    table = (
        _read_parquet(raw)
        if is_parquet
        else parse_table(raw, text_columns=[c for c in BASE_COLUMNS if c in raw.header])
    )
    if "gene_short_name" not in table:
        raise raw.fail(f"lacks column 'gene_short_name'; found {shorten(list(table), 12)}")
    gene = table["gene_short_name"].astype(str).str.strip()
    row_number = [c for c in table if str(c).lower().startswith("unnamed")]  # the index of a data frame written along
    motifs = table.drop(columns=[*row_number, *(c for c in BASE_COLUMNS if c in table)])
    wrong = [str(c) for c in motifs if not pd.api.types.is_numeric_dtype(motifs[c]) or motifs[c].isna().any()]
    if motifs.shape[1] == 0 or wrong:
        raise raw.fail(f"expected one 0/1 column per TF; not so: {shorten(wrong or ['no TF column'])}")
    per_gene = motifs.ne(0).groupby(gene, sort=False).any()
    return matrix_to_edges(per_gene.astype(np.float64), rows_are_sources=False)


def _read_parquet(raw: RawFile) -> pd.DataFrame:
    require_pyarrow(raw.path)
    try:
        return pd.read_parquet(raw.path)
    except Exception as error:  # pyarrow raises its own, OSError and ValueError alike
        raise raw.fail(f"not a readable parquet table ({reason(error)})") from None


def require_pyarrow(path: Path) -> None:
    """Refuse parquet where pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError(f"{path}: parquet needs pyarrow; run 'pip install pyarrow' or use the same table as csv")


def write_celloracle_base(frame: pd.DataFrame, path: Path) -> None:
    """One row per target gene, which also stands for its peak; parquet if the name says so."""
    matrix = (edges_to_matrix(frame).T != 0).astype(np.int64).rename_axis(index=None, columns=None)
    table = pd.concat(
        [pd.DataFrame({"peak_id": matrix.index, "gene_short_name": matrix.index}, index=matrix.index), matrix], axis=1
    )
    if path.suffix == ".parquet":
        require_pyarrow(path)
        with replacing(path) as part:
            table.reset_index(drop=True).to_parquet(part)
    else:
        write_table(path, table)
