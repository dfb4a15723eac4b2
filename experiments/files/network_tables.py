"""The tables of edges of a fitted network, as files."""

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
        contexts = self.posterior.coords["context"]
        if len(contexts) > 1:
            for name, file in file_names(contexts).items():
                edges = self.posterior.edges(level=self.level, context=name, top=top)
                write_csv(edges, folder / f"edges_{file}.csv")
            pairs = pairs_of(contexts)
            names = file_names(BETWEEN.join(pair) for pair in pairs)
            for pair in pairs:
                differences = self.posterior.context_differences(*pair, level=self.level, top=top)
                write_csv(differences, folder / f"differences_{names[BETWEEN.join(pair)]}.csv")
