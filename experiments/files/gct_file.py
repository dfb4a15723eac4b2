"""gct files, of versions 1.2 and 1.3 (Broad Institute, L1000)."""

from pathlib import Path

import numpy as np
import pandas as pd

from ...priors.formats.files import read_text
from .stored import Stored
from .stored_names import unique_names

SYMBOLS = ("pr_gene_symbol", "gene_symbol", "symbol")


def read_gct(path: Path) -> Stored:
    """A gct of version 1.2 or 1.3: genes × samples, with annotations of genes and, in 1.3, of samples."""
    rows = [line.split("\t") for line in read_text(path).splitlines() if line.strip()]
    try:
        sizes = [int(cell) for cell in rows[0] if cell.strip()]
        num_genes, num_samples, num_about, num_lines = sizes if len(sizes) == 4 else (*sizes, 1, 0)
        header, first = [cell.strip() for cell in rows[1]], 1 + num_about
        about = pd.DataFrame(
            {row[0].strip(): [cell.strip() for cell in row[first:]] for row in rows[2 : 2 + num_lines]},
            index=range(num_samples),
        )
        body = rows[2 + num_lines :]
        if len(body) != num_genes or len(header) != first + num_samples or any(len(r) != len(header) for r in body):
            raise ValueError(f"{len(body)} rows and {len(header)} columns")
        matrix = np.array([row[first:] for row in body], dtype=np.float32)
    except (ValueError, IndexError, TypeError) as error:
        raise ValueError(
            f"is no gct of version 1.2 or 1.3 ({error}): expected its sizes in line 2, names in line 3, numbers below"
        ) from None
    genes = pd.DataFrame({n: [row[i].strip() for row in body] for i, n in enumerate(header[:first])})
    symbol = next((c for c in genes if str(c).lower() in SYMBOLS and genes[c].is_unique), header[0])
    names, notes = unique_names(genes[symbol].tolist())
    told = (f"names of genes are those of column {symbol!r}", *notes)
    return Stored(matrix, tuple(names), tuple(header[first:]), genes, about, "gct", "rows", "its format, gct", told)
