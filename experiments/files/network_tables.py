"""The tables of edges of a fitted network, as files."""

from dataclasses import dataclass
from pathlib import Path

from ...inference import Posterior
from .file_names import file_names


@dataclass(frozen=True)
class NetworkTables:
    """Edges of a ``posterior``, with intervals of probability ``level``."""

    posterior: Posterior
    level: float

    def write(self, folder: Path, *, top: int | None = None) -> None:
        """edges.csv (``top``: the most probable), and with several contexts edges_CONTEXT.csv of each."""
        edges = self.posterior.edges(level=self.level, top=top)
        edges.to_csv(folder / "edges.csv", index=False, float_format="%.6g")
        contexts = self.posterior.coords["context"]
        if len(contexts) > 1:
            for name, file in file_names(contexts).items():
                self.posterior.edges(level=self.level, context=name, top=top).to_csv(
                    folder / f"edges_{file}.csv", index=False, float_format="%.6g"
                )
