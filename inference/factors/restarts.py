"""Several starts of one factor model: which ended best, and which came to the same place."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import FactorModel
from .alignment import Aligner
from .loadings import Spread
from .sweep import FactorState

MASS = 7.0  # nats: e^-7 is a thousandth
ALIKE = 0.1  # posterior sds, root mean square over loadings: the error of a mean of a hundred draws
ALIKE_BOUND = 1.0  # nats
LOOK = 5  # rounds between looks for restarts that have become alike


def best_restarts(state: FactorState, within: float = MASS) -> tuple[int, Tensor]:
    """The restart with the highest bound, and all that come within so many nats of it (and of where they would settle).

    A restart that ended at a worse optimum has, as far as the bound tells, less than a thousandth of the posterior's
    mass:
    to average its loadings with those of the best would describe neither.
    """
    if state.bound is None or not bool(state.bound.isfinite().any()):
        return 0, torch.arange(len(state.loadings))
    bound = torch.nan_to_num(state.bound, nan=-torch.inf)
    return int(torch.argmax(bound)), torch.nonzero(bound > bound.max() - within)[:, 0]


def restart_agreement(model: FactorModel, state: FactorState, best: int) -> np.ndarray:
    """``(restart,)`` correlation of each restart's loadings, aligned, with those of the best."""
    W = state.loadings[..., : len(model.factors)].mT
    found = Aligner(model, W[best])({"W": W})["W"].flatten(1)
    return torch.corrcoef(torch.cat([found[best][None], found]))[0, 1:].cpu().numpy()


def same_place(model: FactorModel, state: FactorState) -> np.ndarray:
    """``(chain,)`` the first chain whose q is, for all that draws can tell, the q of this one.

    Their loadings, aligned, differ by less than a tenth of a posterior sd (root mean square), their bounds by less than
    a nat. Restarts under a prior that cannot tell rotations are such copies from the first rounds on, and those of
    sparse free factors too: every start is rotated to the same sparse axes.
    """
    variance, bound, chains = state.variance, state.bound, len(state.loadings)
    if variance is None or bound is None or not bool(bound.isfinite().all()):
        return np.arange(chains)
    m = len(model.factors)
    W = state.loadings[..., :m].mT
    allowed = ALIKE**2 * variance[..., :m].sum((1, 2))
    first = list(range(chains))
    for one in range(chains - 1):
        others = [i for i in range(one + 1, chains) if first[one] == one and first[i] == i]
        if not others:
            continue
        aligned = Aligner(model, W[one])({"W": W[[one, *others]]})["W"]
        away = (aligned[1:] - aligned[0]).square().sum((1, 2))
        alike = (away <= allowed[one]) & ((bound[others] - bound[one]).abs() <= ALIKE_BOUND)
        for i, same in zip(others, alike.tolist(), strict=True):
            first[i] = one if same else i
    return np.array(first)


def select(state: FactorState, chains: Tensor) -> FactorState:
    """Some chains of a state."""

    def take(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[chains]
        return value.chains(chains) if isinstance(value, Spread) else value

    prior = {name: value[chains] for name, value in state.prior.items()}
    parts: dict[str, Any] = {f.name: take(getattr(state, f.name)) for f in fields(state) if f.name != "prior"}
    return FactorState(prior=prior, **parts)


class Restarts:
    """Restarts of coordinate ascent, of which those that have come to the same place go on as one.

    ``row`` (restart,) is the chain of the state in which each restart goes on.
    """

    def __init__(self, row: np.ndarray) -> None:
        self.row = row

    def looked_at(self, model: FactorModel, state: FactorState) -> FactorState:
        """The state with one chain for every place."""
        first = same_place(model, state)
        kept = np.unique(first)
        if len(kept) == len(first):
            return state
        self.row = np.searchsorted(kept, first)[self.row]
        return select(state, torch.as_tensor(kept, device=state.loadings.device))

    def of_each(self, values: np.ndarray) -> np.ndarray:
        """``(restart, ...)`` from values by chain."""
        return values[self.row]


# -- checkpoints ----
BESIDE = ("dispersion", "size", "scales_bound")
"""Parts of a state that checkpoints of coordinate ascent have beside it, as the first ones had; Gibbs sampling needs
none of them to go on."""


def pack(state: FactorState) -> dict[str, Any]:
    """As plain tensors, for a checkpoint; without what goes beside."""
    parts = {f.name: getattr(state, f.name) for f in fields(state) if f.name not in BESIDE}
    return parts | {"spread": None if state.spread is None else state.spread.pack()}


def unpack(state: Mapping[str, Any], device: torch.device, *, by_cell: bool) -> FactorState:
    """Back from `pack`, on a device. Checkpoints of earlier versions have covariances in place of the spread."""
    parts: dict[str, Any] = {name: v.to(device) if isinstance(v, Tensor) else v for name, v in state.items()}
    for name in ("prior", "spread"):
        if parts.get(name) is not None:
            parts[name] = {key: v.to(device) for key, v in state[name].items()}
    if parts.get("spread") is not None:
        parts["spread"] = Spread.unpack(parts["spread"])
    found = FactorState(**parts)
    if by_cell or found.covariance is None:
        return found
    return replace(found, covariance=None, spread=Spread.of(found.covariance, found.precision))
