"""Draws of single edges, where those of whole networks are too many to keep."""

from typing import Any, NamedTuple

import numpy as np

from ...models import Model
from .fitted import PosteriorLike

EDGE_BUDGET = 5e8  # bytes of these draws
EDGES, DRAWS = "kept_edges", "kept_draws"  # names of what a posterior keeps of them among its attributes


class KeptEdges(NamedTuple):
    """``place`` (edge,) sorted positions ``tf · targets + target``; ``draws`` (chain, draw, edge) of their weights:
    every draw, each edge given the sparse weights of all, its own background drawn by itself."""

    place: np.ndarray
    draws: np.ndarray

    @classmethod
    def of(cls, posterior: PosteriorLike[Model]) -> "KeptEdges | None":
        """Those of a posterior; None where it keeps the draws of all edges alike."""
        attributes = posterior.attributes
        return cls(attributes[EDGES], attributes[DRAWS]) if EDGES in attributes else None

    def extras(self) -> dict[str, Any]:
        """As attributes of a posterior."""
        return {EDGES: self.place, DRAWS: self.draws}

    def find(self, source: np.ndarray, target: np.ndarray, num_targets: int) -> tuple[np.ndarray, np.ndarray]:
        """Of edges by position: which of them are kept ``(edge,)`` bool, and the columns of those in ``draws``."""
        wanted = source.astype(np.int64) * num_targets + target
        column = np.searchsorted(self.place, wanted).clip(max=max(len(self.place) - 1, 0))
        kept = self.place[column] == wanted if len(self.place) else np.zeros(len(wanted), dtype=bool)
        return kept, column[kept]
