"""Influence in runs of PHOENIX that are to stand side by side: of the same genes and measurements, named apart."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..inference import Posterior
from ..inference.neural_ode.degrees import degree_table
from ..inference.neural_ode.influence import Forward, gene_influence, influence_table
from ..inference.neural_ode.surviving import weight_draws
from ..models.dynamics.phoenix_layers import BlowUp
from ..models.dynamics.phoenix_network import effect_matrix
from .figures.effect_maps import TRUTH

MEASURED = ("data_start", "data_stop", "data_dt", "data_observed", "data_trajectory", "low", "size", "time_unit")


class RunInfluence(NamedTuple):
    """``table`` of `influence_table`, ``degrees`` of `degree_table`, and mean ``effects`` (source, target)."""

    table: pd.DataFrame
    degrees: pd.DataFrame
    effects: np.ndarray
    genes: tuple[str, ...]


class Origin(NamedTuple):
    """What a run was fitted to: its genes, and its measurements by name of the buffer."""

    genes: tuple[str, ...]
    measured: dict[str, Tensor]


def load(folder: Path) -> Posterior:
    """A fit by PHOENIX.

    Raises
    ------
    ValueError
        A fit of another model, or what `Posterior.load` refuses.
    """
    posterior = Posterior.load(folder / "model" if (folder / "model").is_dir() else folder)
    if not posterior.model.neural_ode:
        raise ValueError(f"{folder} is a fit of {posterior.model.name}: influence is for --method phoenix")
    return posterior


def labels_of(folders: Sequence[Path]) -> list[str]:
    """Names of folders, with as much of the folders above as tells them apart.

    Raises
    ------
    ValueError
        The same folder twice.

    Examples
    --------
    >>> labels_of([Path("a/dash"), Path("a/imp")]), labels_of([Path("a/run"), Path("b/run/model")])
    (['dash', 'imp'], ['a/run', 'b/run'])
    """
    places = [Path(os.path.abspath(folder)) for folder in folders]
    places = [place.parent if place.name == "model" else place for place in places]
    twice = next((folder for folder, place in zip(folders, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is given twice: name each run once")
    depth = 1
    while True:
        labels = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(labels)) == len(labels) and TRUTH not in labels:  # the name of a panel of its own
            return labels
        depth += 1


def check_same(folders: Sequence[Path], labels: Sequence[str]) -> None:
    """Refuse runs that are not of the same genes and measurements, before any of them is solved.

    Raises
    ------
    ValueError
        Genes or measurements that differ from those of the first run, and as `load`.
    """
    if len(folders) == 1:
        return
    first: Origin | None = None
    for folder, label in zip(folders, labels, strict=True):
        own = _origin(load(folder))  # one at a time: draws of many large networks need not fit into memory together
        if first is None:
            first = own
        elif set(own.genes) != set(first.genes):
            odd = sorted(set(own.genes) ^ set(first.genes))
            raise ValueError(
                f"{label} has other genes than {labels[0]} ({len(own.genes)} and {len(first.genes)}; {odd[0]!r} is in "
                "one of them alone): fit all runs to the same file, with the same genes"
            )
        elif own.genes != first.genes or not _equal(own.measured, first.measured):
            raise ValueError(
                f"{label} was fitted to other measurements than {labels[0]}: fit all runs to the same file, with the "
                "same options of reading it"
            )


def influence_of(posterior: Posterior, *, label: str, starts: int, draws: int, level: float, seed: int) -> RunInfluence:
    """Influence, degrees and mean effects of one run, over six times of its longest trajectory.

    Parameters
    ----------
    posterior
        Of PHOENIX.
    label
        Name of the run, for errors.
    starts, draws, level, seed
        As of `gene_influence`, `weight_draws` and `influence_table`.

    Raises
    ------
    ValueError
        A network that blows up from some start.
    """
    model: Any = posterior.model
    weights, _ = weight_draws(posterior, draws, seed=seed)
    times = torch.linspace(0, float(model.durations().max()), 6)
    step = float(model.longest_step)
    solver = model.solver if math.isnan(step) else Forward(step)
    try:
        found = gene_influence(weights, times, starts=starts, seed=seed, solver=solver)
    except BlowUp as error:
        raise ValueError(
            f"{label}: {error}: the network is unstable far from the data; fit it with smaller steps "
            "(--set model.step=0.5)"
        ) from error
    effects = effect_matrix(weights).cpu().numpy()
    degrees = degree_table(effects, model.genes, threshold=posterior.threshold or 0.0, level=level)
    return RunInfluence(
        influence_table(found, model.genes, level=level), degrees, np.asarray(effects).mean(0), model.genes
    )


def _origin(posterior: Posterior) -> Origin:
    model = posterior.model
    return Origin(tuple(model.genes), {name: model.get_buffer(name).cpu() for name in MEASURED})


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether all are the same; what was not measured is NaN in both, or has any value."""
    return all(torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one)
