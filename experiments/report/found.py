"""What a report of a network says of it, worked out once."""

import numpy as np
import pandas as pd

from ...inference import Posterior
from ...inference.answers.chosen import chosen_edges
from ...inference.answers.promise import directed_edges, why_no_list
from ...inference.draws.intervals import LEVEL
from ...inference.points import is_point

NUM_EDGES, NUM_FOREST, NUM_DRAWN, NUM_LINKS = 50, 30, 60, 20
RATES = (0.05, 0.10)  # of lists
MOST_ROWS = 1000  # of a table in a page: more are for edges.csv


class Results:
    """Summaries of all edges that may exist, taken once."""

    def __init__(self, posterior: Posterior) -> None:
        moments = posterior.moments["W"]
        allowed = posterior.model.edge_prior.allowed.cpu().numpy()
        self.source, self.target = np.nonzero(allowed)
        self.tfs, self.genes = posterior.coords["tf"], posterior.coords["target"]
        self.inclusion = moments.inclusion[allowed].astype(np.float64).clip(0, 1)
        self.weight = moments.mean[allowed].astype(np.float64)
        self.right = np.maximum(moments.positive, moments.negative)[allowed]
        self.point = is_point(posterior)
        self.why_none = why_no_list(posterior)
        rates = RATES if self.why_none is None else ()
        self.listed = {rate: chosen_edges(posterior, fdr=rate) for rate in rates}  # positions: rows take intervals
        self.found = {rate: len(source) for rate, (source, _) in self.listed.items()}
        self.promised = directed_edges(posterior)[allowed]
        self.links = posterior.links(fdr=RATES[-1]) if self.why_none is None else posterior.links(top=0)
        first = self.listed.get(RATES[0])
        self.wrong = 0.0 if first is None else float((1 - moments.inclusion[first].astype(np.float64).clip(0, 1)).sum())
        shown = max(NUM_EDGES, NUM_DRAWN, *self.found.values())
        self.top = posterior.edges(level=LEVEL, top=min(shown, MOST_ROWS))

    def table(self) -> pd.DataFrame:
        """All edges: ``source, target, weight``, and ``inclusion`` where there are probabilities."""
        names = {"source": np.asarray(self.tfs)[self.source], "target": np.asarray(self.genes)[self.target]}
        probabilities = {} if self.point else {"inclusion": self.inclusion}
        return pd.DataFrame(names | {"weight": self.weight} | probabilities)
