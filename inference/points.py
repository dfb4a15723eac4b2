"""Point estimates: what they have to say, and what is left empty because they cannot know it."""

import numpy as np
import pandas as pd

from ..models import Model
from .choice import engine_of
from .draws.fitted import PosteriorLike

UNKNOWN = ("sd", "lower", "upper", "inclusion", "sign_probability", "lfsr", "probability", "top_probability")
"""Columns that need a spread of draws, alone or at the end of a name (``exported_sd``)."""
NO_RATE = (
    "a point estimate has no probabilities, so no list at a false discovery rate: take the largest weights (`top=`), "
    "or an engine with a posterior, as `MeanField()`, `Gibbs()`"
)

NO_PROBABILITY = "A point estimate has no probabilities."
UNDIRECTED = "Edges that end at a regulator have no direction that these data know: read them as links."


def is_point(posterior: PosteriorLike[Model]) -> bool:
    """Whether each restart is a single point: of the engine, or of a guide of one's own that has no spread."""
    return engine_of(posterior.guide).point or bool(posterior.attributes.get("point", False))


def without_certainty(posterior: PosteriorLike[Model], table: pd.DataFrame) -> pd.DataFrame:
    """``table``; of a point estimate, with the columns empty that would say how sure it is (`UNKNOWN`)."""
    if not is_point(posterior):
        return table
    ends = tuple("_" + name for name in UNKNOWN)
    names = [name for name in table.columns if name in UNKNOWN or str(name).endswith(ends)]
    empty = table.assign(**dict.fromkeys(names, np.nan))
    empty.attrs = table.attrs
    return empty
