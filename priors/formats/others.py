"""SERGIO's targets file and geneRNIB's AnnData: networks that are neither a table nor a matrix."""

from pathlib import Path

import numpy as np
import pandas as pd

from .edges import signed_probability
from .files import RawFile, is_number, reason, replacing, shorten, show
from .text_heaps import check_text


def is_sergio(raw: RawFile) -> bool:
    """Rows of numbers: gene, number n of regulators, then n regulators, n strengths, n cooperativities."""
    rows = [[cell for cell in row if cell] for row in raw.rows if any(row)]
    if not rows or not all(is_number(cell) for row in rows for cell in row) or any(len(row) < 5 for row in rows):
        return False
    return all(len(row) == 2 + 3 * float(row[1]) for row in rows)


def read_sergio(raw: RawFile) -> pd.DataFrame:
    """Targets file of the SERGIO simulator: a truth, so the strengths K give signs and not probabilities."""
    edges: list[tuple[str, str, float]] = []
    cut = None if raw.separator == r"\s+" else raw.separator
    for number, line in enumerate(raw.text.splitlines(), start=1):
        cells = [c for c in line.split(cut) if c.strip()]
        if not cells:
            continue
        if not all(map(is_number, cells)) or len(cells) < 5 or len(cells) != 2 + 3 * float(cells[1]):
            raise raw.fail(f"line {number} is not 'gene, n, n regulators, n strengths, n cooperativities'")
        n = int(float(cells[1]))
        target = _sergio_name(raw, cells[0])
        pairs = zip(cells[2 : 2 + n], cells[2 + n : 2 + 2 * n], strict=True)
        edges.extend((_sergio_name(raw, regulator), target, float(k)) for regulator, k in pairs)
    table = pd.DataFrame(edges, columns=["source", "target", "k"])
    return table.assign(sign=np.sign(table["k"]).astype(np.int8))


def _sergio_name(raw: RawFile, cell: str) -> str:
    number = float(cell)
    if number != int(number) or number < 0:
        raise raw.fail(f"gene number {cell!r} is not a whole number from 0")
    if raw.genes is None:
        return str(int(number))
    if number >= len(raw.genes):
        raise raw.fail(f"gene number {int(number)} is beyond the {len(raw.genes)} gene names given")
    return raw.genes[int(number)]


def is_genernib(raw: RawFile) -> bool:
    """Any hdf5 file is taken for an AnnData one."""
    return raw.kind == "hdf5"


def read_genernib(raw: RawFile) -> pd.DataFrame:
    """``uns['prediction']``: source, target, weight (text), and possibly cell_type."""
    import h5py  # anndata and h5py take a second to import: only where an .h5ad is at hand
    from anndata.io import read_elem

    try:
        check_text(raw.path, "an .h5ad")
        with h5py.File(raw.path) as file:
            table = read_elem(file["uns/prediction"]) if "uns/prediction" in file else None
    except Exception as error:  # a damaged hdf5 file fails in many ways
        raise raw.fail(f"not a readable .h5ad ({reason(error)})") from None
    if not isinstance(table, pd.DataFrame) or not {"source", "target", "weight"} <= set(table):
        found = (
            "no uns['prediction']"
            if table is None
            else shorten(list(table) if isinstance(table, pd.DataFrame) else [type(table).__name__])
        )
        raise raw.fail(f"expected a table uns['prediction'] with source, target, weight (geneRNIB); found {found}")
    weight = pd.to_numeric(table["weight"], errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(weight).all():
        row = int(np.flatnonzero(~np.isfinite(weight))[0])
        raise raw.fail(
            f"uns['prediction'] row {row + 1}: weight {show(table['weight'].iloc[row])} is not a finite number"
        )
    table = table.drop(columns="weight").assign(score=weight)
    return table.astype({"source": object, "target": object}).reset_index(drop=True)


def write_genernib(frame: pd.DataFrame, path: Path) -> None:
    """AnnData without X; the weight is text because geneRNIB stores it so."""
    import anndata

    table = (
        frame[["source", "target"]].assign(weight=[repr(float(w)) for w in signed_probability(frame)]).astype(object)
    )
    table.index = table.index.astype(str)
    uns = {"dataset_id": "unknown", "method_id": "pyrogrn", "prediction": table}
    with replacing(path) as part:
        anndata.AnnData(uns=uns).write_h5ad(part)
