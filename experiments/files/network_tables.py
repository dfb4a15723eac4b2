"""The tables of edges of a fitted network, as files."""

from dataclasses import dataclass
from pathlib import Path

from ...inference import Posterior


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
            for name in contexts:
                self.posterior.edges(level=self.level, context=name, top=top).to_csv(
                    folder / f"edges_{safe_name(name)}.csv", index=False, float_format="%.6g"
                )


def safe_name(name: str) -> str:
    """A context's name as a file or folder name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
