"""The tables of edges of a fitted network, as files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...inference import Posterior
from ...inference.draws.differences import pairs_of
from .file_names import file_names
from .result_tables import write_csv

BETWEEN = "\x1f"  # of two names in one: in no name, and an underscore in a file's


@dataclass(frozen=True)
class NetworkTables:
    """Edges of a ``posterior``, with intervals of probability ``level``."""

    posterior: Posterior
    level: float

    def write(self, folder: Path, *, top: int | None = None) -> None:
        """edges.csv (``top``: the most probable), and with several contexts edges_CONTEXT.csv of each and
        differences_CONTEXT_OTHER.csv of each pair (of more than six: of each against the mean of the others)."""
        edges = self.posterior.edges(level=self.level, top=top)
        write_csv(edges, folder / "edges.csv")
        for file, what in self.files().items():
            if "other" in what:
                pair = what["context"], what["other"]
                found = self.posterior.context_differences(*pair, level=self.level, top=top)
            else:
                found = self.posterior.edges(level=self.level, context=what["context"], top=top)
            write_csv(found, folder / file)

    def files(self) -> dict[str, dict[str, str]]:
        """`tables_of_contexts` of what is written."""
        return tables_of_contexts(self.posterior.coords["context"])


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
