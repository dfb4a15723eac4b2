"""What chains of an engine that learned on simulations cannot say: they share one training."""

import math
from dataclasses import replace
from typing import Any

from .choice import engine_of
from .density_check import NAME

OF_EDGES = ("R-hat of the edges", "top edges agree", "inclusion agrees", NAME)
MEANING = (
    "Chains share one training and its probabilities of edges, so that they agree says nothing: another training may "
    "differ. Compare weights trained with other seeds."
)


def without_agreement(rows: list[Any], engine: str) -> list[Any]:
    """Rows of checks, those on edges neither passed nor failed where chains are draws of one q(γ | X)."""
    if not engine_of(engine).learns_on_simulations:
        return rows
    return [replace(r, value=math.nan, passed=None, meaning=MEANING) if r.check in OF_EDGES else r for r in rows]
