"""The tables of edges of a fitted network, as files."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ...inference import Posterior
from ...inference.answers.promise import why_no_list
from ...inference.draws.contexts import pairs_of
from ...inference.draws.differences import LIST_RATE
from ...inference.draws.edge_table import blocks_of_edges
from ...inference.points import is_point, without_certainty
from .file_names import file_names
from .result_tables import write_csv

DIFFERENCES = "differences.csv"
LINKS = "links.csv"
BETWEEN = "\x1f"  # of two names in one: in no name, and an underscore in a file's
BIG = 1_000_000  # edges up to which all are written as csv; a spreadsheet holds no more rows
WORTH_READING = 0.05  # probability from which an edge of a larger network is


@dataclass(frozen=True)
class NetworkTables:
    """Edges of a ``posterior``, with intervals of probability ``level``; ``all_edges``: every edge as parquet too."""

    posterior: Posterior
    level: float
    all_edges: bool = False

    def write(self, folder: Path, *, top: int | None = None) -> None:
        """edges.csv (``top``: the most probable); links.csv, pairs of regulators whose direction is not known; with
        several contexts edges_CONTEXT.csv of each, differences_CONTEXT_OTHER.csv of each pair (of more than six: of
        each against the mean of the others), and differences.csv, the list of those at a rate of 10% (`LIST_RATE`), of
        fits of which lists are made (`promise.why_no_list`).

        Of networks of more than a million edges, the csv files have those of a probability of at least 0.05, of point
        estimates and of differences the million largest. With ``all_edges``, edges.parquet (edges_CONTEXT.parquet) has
        every edge, by regulator, in 32-bit numbers.
        """
        self._edges(folder, "edges", None, top)
        if len(self.posterior.coords["context"]) > 1 and why_no_list(self.posterior) is None:
            write_csv(self.posterior.context_differences(level=self.level, fdr=LIST_RATE), folder / DIFFERENCES)
        found = self.posterior.links(top=top)
        if len(found):
            write_csv(found, folder / LINKS)
        most = BIG if top is None and is_big(self.posterior) else top
        for file, what in self.files().items():
            if "other" in what:
                pair = what["context"], what["other"]
                found = self.posterior.context_differences(*pair, level=self.level, top=most)
                write_csv(found, folder / file)
            else:
                self._edges(folder, file.removesuffix(".csv"), what["context"], top)

    def files(self) -> dict[str, dict[str, str]]:
        """`tables_of_contexts` of what is written."""
        return tables_of_contexts(self.posterior.coords["context"])

    def _edges(self, folder: Path, file: str, context: str | None, top: int | None) -> None:
        least = None
        if top is None and is_big(self.posterior):
            least, top = (None, BIG) if is_point(self.posterior) else (WORTH_READING, None)
        write_csv(self.posterior.edges(level=self.level, context=context, top=top, least=least), folder / f"{file}.csv")
        if self.all_edges:
            write_parquet(self.posterior, folder / f"{file}.parquet", level=self.level, context=context)


def is_big(posterior: Posterior) -> bool:
    """Whether the network has more edges than are written as csv."""
    return int(posterior.model.edge_prior.allowed.sum()) > BIG


def check_parquet() -> None:
    """Refuse ``--all-edges`` where nothing can write it.

    Raises
    ------
    ValueError
        pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ValueError("--all-edges writes edges.parquet, which needs pyarrow: pip install 'pyrogrn[parquet]'")


def write_parquet(posterior: Posterior, path: Path, *, level: float, context: str | None) -> None:
    """Every edge of one network, block by block: memory does not grow with their number."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    writer = None
    try:
        for block in blocks_of_edges(posterior, level=level, context=context):
            rows = without_certainty(posterior, block)
            numbers = rows.columns.drop(["source", "target"])
            table = pa.Table.from_pandas(rows.astype(dict.fromkeys(numbers, np.float32)), preserve_index=False)
            writer = writer or ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def tables_of_contexts(contexts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Which file holds which context's edges, and the differences of which two, by the names of the files.

    Empty for one context. A file's name does not tell, where names of contexts have letters that files' cannot.

    Examples
    --------
    >>> tables_of_contexts(["a/b", "a_b"])["edges_a_b-2.csv"]
    {'context': 'a_b'}
    """
    if len(contexts) < 2:
        return {}
    tables: dict[str, dict[str, str]] = {
        f"edges_{file}.csv": {"context": name} for name, file in file_names(contexts).items()
    }
    pairs = pairs_of(contexts)
    names = file_names(BETWEEN.join(pair) for pair in pairs)
    for one, other in pairs:
        tables[f"differences_{names[BETWEEN.join((one, other))]}.csv"] = {"context": one, "other": other}
    return tables
