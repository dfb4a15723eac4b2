r"""Post-hoc magnitude pruning with fine-tuning, its sparsity chosen by the one-standard-error rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import pandas as pd

from ...models.dynamics.phoenix_layers import LayeredNetwork
from .base import Sparsifier, normalised, prune_lowest
from .none import NoPruning

GRID = (0.50, 0.75, 0.83, 0.87, 0.90, 0.92, 0.95, 0.97, 0.99)

Network = TypeVar("Network")
Network_co = TypeVar("Network_co", covariant=True)


class Fitted(Protocol[Network_co]):
    """What a fit returns: `Trained` of the training loop."""

    @property
    def network(self) -> Network_co: ...

    @property
    def validation(self) -> float: ...

    @property
    def sparsity(self) -> float: ...


class Magnitude(Sparsifier):
    """Prunes ``fraction`` of each weight matrix once, the lowest of `normalised`, before training goes on.

    Parameters
    ----------
    fraction
        Share of the entries of each matrix.

    Raises
    ------
    ValueError
        ``fraction`` outside [0, 1).
    """

    name = "magnitude"

    def __init__(self, fraction: float) -> None:
        if not 0 <= fraction < 1:
            raise ValueError(f"Magnitude(fraction={fraction}): expected at least 0 and below 1")
        self.fraction = fraction

    def before_epoch(self, epoch: int, network: LayeredNetwork) -> bool:
        if epoch != 1:
            return False
        sizes, masks = normalised(network), network.masks()
        for name, mask in masks.items():
            prune_lowest(mask, sizes[name], self.fraction)
        return True


@dataclass(frozen=True, eq=False)
class PostHoc(Generic[Network]):
    """``fraction`` chosen, a ``fitted`` result with it for each repeat, the ``dense`` ones they came from, and the
    ``table``: fraction, repeat, validation, sparsity."""

    fraction: float
    fitted: tuple[Fitted[Network], ...]
    dense: tuple[Fitted[Network], ...]
    table: pd.DataFrame


def prune_post_hoc(
    fit: Callable[[Network, Sparsifier, int], Fitted[Network]],
    network: Callable[[int], Network],
    *,
    grid: Sequence[float] = GRID,
    repeats: int = 3,
    seed: int = 0,
) -> PostHoc[Network]:
    """Train densely, prune to each sparsity of a grid, fine-tune each, and take the sparsest within one standard error
    of the best (B.9.2).

    Parameters
    ----------
    fit
        ``(network, sparsifier, seed) -> Trained``: a call of the training loop with its data.
    network
        ``seed -> network`` with fresh weights.
    grid
        The paper's.
    repeats
        Trainings from different weights, whose spread is the standard error. Default the paper's 3.
    seed
        Of the first repeat.

    Raises
    ------
    ValueError
        Fewer than two repeats, an empty grid.
    """
    if repeats < 2 or not grid:
        raise ValueError(f"{repeats} repeats over {len(grid)} sparsities: expected at least 2 and 1")
    dense = tuple(fit(network(seed + r), NoPruning(), seed + r) for r in range(repeats))
    tuned = {p: tuple(fit(d.network, Magnitude(p), seed + r) for r, d in enumerate(dense)) for p in grid}
    rows = [
        {"fraction": p, "repeat": r, "validation": f.validation, "sparsity": f.sparsity}
        for p, fits in tuned.items()
        for r, f in enumerate(fits)
    ]
    table = pd.DataFrame(rows)
    chosen = one_standard_error(table, by="fraction", prefer="largest")
    return PostHoc(chosen, tuned[chosen], dense, table)


def one_standard_error(table: pd.DataFrame, *, by: str, prefer: str) -> float:
    """The ``"largest"`` or ``"smallest"`` value of column ``by`` whose mean validation error lies within one standard
    error of the lowest (Hastie et al. 2009).

    Raises
    ------
    ValueError
        No value whose errors are all finite: training blew up with every one.
    """
    values = np.sort(table[by].unique())
    errors = [table.loc[table[by] == value, "validation"].to_numpy() for value in values]
    mean = np.array([each.mean() for each in errors])
    if not np.isfinite(mean).any():
        raise ValueError(
            f"no {by} of {values.tolist()} has finite errors in every repeat: training blew up with each. Start from "
            "smaller weights, or take smaller steps"
        )
    best = errors[int(mean.argmin())]
    spread = best.std(ddof=1) / np.sqrt(len(best)) if len(best) > 1 else 0.0
    within = values[mean <= mean.min() + spread]
    return float(within.max() if prefer == "largest" else within.min())
