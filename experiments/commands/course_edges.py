"""Edges of a time course beside the dynamics of PHOENIX: by the method for edges, on the same measurements."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ...inference import Gibbs, Posterior, fit
from ...models import ExpressionData, TrajectoryNetwork
from ..files.whole import refused

FILE = "trajectory_edges.csv"
SAID = (
    f"{FILE}: edges by --method trajectory on the same courses, for use as a network; edges.csv is what the trained "
    "dynamics are made of"
)


def edges_beside(
    posterior: Posterior, data: ExpressionData, chosen: Mapping[str, Any], *, seed: int, level: float
) -> pd.DataFrame | None:
    """The edge table of a `TrajectoryNetwork` with the same prior networks; ``None`` of a fit that is no neural
    differential equation.

    PHOENIX's own account of which gene drives which is no posterior over graphs: trainings disagree on it, and of the
    edges it is sure of two thirds are wrong where simulations tell (docs/results/phoenix_posterior.md), because many
    weights make the same dynamics. The additive equation has one set of weights for one set of dynamics, and its
    exact sampler takes seconds to minutes.
    """
    if not posterior.model.neural_ode:
        return None
    networks = {n: network for n, network in chosen.get("networks", {}).items() if n != chosen.get("coregulation")}
    model = TrajectoryNetwork.from_data(data, networks=networks or None)
    return fit(model, guide=Gibbs(), seed=seed).edges(level=level)


def write_edges_beside(table: pd.DataFrame | None, folder: Path) -> str | None:
    """Write `FILE`; what there is to say of it."""
    if table is None:
        return None
    with refused(folder):
        table.to_csv(folder / FILE, index=False, float_format="%.6g")
    return SAID
