r"""Post-hoc pruning of a trained network: a grid of sparsities, each fine-tuned, and the sparsest that is as good."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...models.data.transitions import Transitions
from ...models.dynamics.phoenix_network import PhoenixNetwork
from ...models.dynamics.prior_loss import PriorLoss
from ..pruning import Magnitude
from ..pruning.magnitude import GRID
from .stacked import Job, train_many
from .training import Diverged, LearningRate, Trained, train


@dataclass(frozen=True)
class Tuning:
    """How networks are fine-tuned: arguments of `train`."""

    num_epochs: int = 500
    batch_size: int = 1
    patience: int = 40
    learning: LearningRate | None = None
    extra_loss: PriorLoss | None = None
    extra_share: float = 0.05
    seed: int = 0


def fine_tune(
    dense: PhoenixNetwork,
    training: Transitions,
    validation: Transitions,
    how: Tuning,
    *,
    grid: Sequence[float] = GRID,
) -> tuple[float, Trained[PhoenixNetwork]]:
    """The share pruned and the network, of all shares of the grid pruned by magnitude and trained on (B.9.2): the
    sparsest whose validation error is within one standard error of the lowest.

    The nine trainings go as one stack (`train_many`), or one by one where the solver's steps adapt or there are not two
    layers. A share with which the network blows up in its first epoch of tuning is never taken.

    Parameters
    ----------
    dense
        A trained network; it stays as it is.
    grid
        Shares of each weight matrix; the paper's.

    Notes
    -----
    The standard error is that of the best network's error over held-out trajectories (pairs, if there is one
    trajectory). The paper's is over three repeats of everything; `prune_post_hoc` does that.

    Raises
    ------
    ValueError
        An empty grid, and as `train`.
    Diverged
        The network blows up with every share.
    """
    if not grid:
        raise ValueError("no share to prune: give at least one")
    if dense.depth.layers != 2 or math.isnan(getattr(dense.solver, "longest_step", math.nan)):
        fits = [_alone(dense, training, validation, how, share) for share in grid]
    else:
        jobs = [
            Job(
                dense,
                training,
                validation,
                Magnitude(p),
                extra_loss=how.extra_loss,
                extra_share=how.extra_share,
                learning=how.learning,
                seed=how.seed,
            )
            for p in grid
        ]
        fits = train_many(jobs, num_epochs=how.num_epochs, batch_size=how.batch_size, patience=how.patience)
    best = min(fits, key=lambda fitted: fitted.validation)
    if not best.history.best:
        raise Diverged(best)
    limit = best.validation + standard_error(best.network, validation)
    within = [k for k, fitted in enumerate(fits) if fitted.validation <= limit]
    chosen = max(within, key=lambda k: grid[k])
    return grid[chosen], fits[chosen]


def _alone(
    dense: PhoenixNetwork, training: Transitions, validation: Transitions, how: Tuning, share: float
) -> Trained[PhoenixNetwork]:
    options: dict[str, Any] = dict(vars(how))
    try:
        return train(dense, training, validation=validation, sparsifier=Magnitude(share), **options)
    except Diverged as error:
        return error.fitted


@torch.no_grad()
def standard_error(network: PhoenixNetwork, validation: Transitions) -> float:
    """Of the mean squared error, over trajectories, or over pairs where there is one trajectory."""
    parts = validation if len(validation.trajectory.unique()) > 1 else validation.apart()
    errors = [float(network.loss(batch)) for batch in parts.minibatches(1, torch.Generator())]
    return float(np.std(errors, ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else 0.0
