"""Matrix Market files with names of genes and cells beside them (Cell Ranger, STARsolo, kallisto), read with scipy."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

from ...models.data.checks import some
from .stored import Stored, guarded, text_rows
from .tenx_file import of_genes

MATRIX = re.compile(r"^(?P<start>.*?)(?P<kind>matrix|cells_x_genes)\.mtx(\.gz)?$", re.IGNORECASE)


def find_mtx(path: Path) -> Path | None:
    """The Matrix Market file of a folder, or the path itself if it is one; None for anything else.

    Raises
    ------
    ValueError
        A folder with several.
    """
    if not path.is_dir():
        return path if path.name.lower().endswith((".mtx", ".mtx.gz")) else None
    found = sorted(file for file in path.iterdir() if MATRIX.match(file.name))
    if len(found) > 1:
        raise ValueError(f"is a folder with several matrices, {some([f.name for f in found])}: name one of them")
    return found[0] if found else None


def read_mtx(file: Path) -> Stored:
    """A Matrix Market file with ``features.tsv`` (or ``genes.tsv``) and ``barcodes.tsv`` beside it (Cell Ranger,
    STARsolo), or kallisto's ``cells_x_genes.mtx``."""
    match = MATRIX.match(file.name)
    start = match.group("start") if match else ""
    stem = file.name.removesuffix(".gz").removesuffix(".mtx")
    genes = _beside(file, [f"{start}features.tsv", f"{start}genes.tsv", f"{stem}.genes.names.txt", f"{stem}.genes.txt"])
    cells = _beside(file, [f"{start}barcodes.tsv", f"{stem}.barcodes.txt"])
    rows = list(text_rows(genes, "a table of genes", by_space=False))
    barcodes = [row[0].strip() for row in text_rows(cells, "a list of barcodes", by_space=False)]
    width = min(len(row) for row in rows) if rows else 0
    features = pd.DataFrame(
        {
            "gene_ids": [row[0].strip() for row in rows],
            "name": [row[min(1, width - 1)].strip() for row in rows],
            "feature_type": [row[2].strip() if width > 2 else "" for row in rows],
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the class that SciPy will give: any is taken
        counts = sp.coo_matrix(guarded("a Matrix Market file", lambda: scipy.io.mmread(file)), dtype=np.float32)
    if counts.shape == (len(features), len(barcodes)):
        counts = counts.T  # as 10x writes it; square matrices too
    elif counts.shape != (len(barcodes), len(features)):
        raise ValueError(
            f"{file.name} is {counts.shape[0]} x {counts.shape[1]}, but {genes.name} names {len(features)} genes and "
            f"{cells.name} {len(barcodes)} cells"
        )
    return of_genes(counts.tocsr(), barcodes, features, "Matrix Market")


def _beside(file: Path, names: Sequence[str]) -> Path:
    for name in names:
        for path in (file.with_name(name), file.with_name(name + ".gz")):
            if path.is_file():
                return path
    raise ValueError(f"{file.name} needs its names beside it: expected {' or '.join(names)}, plain or .gz")
