"""Running posterior moments of every edge, and as many draws as memory allows."""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ..models import Model

DRAW_BUDGET = 5e8  # bytes of draws of edge weights kept; beyond it draws are thinned evenly, moments use all


@dataclass(frozen=True, eq=False)
class EdgeMoments:
    """Posterior summaries of edges that are kept at any size, each ``(tf, target)``, or ``(context, tf, target)``.

    ``mean``, ``sd`` of the weight; ``inclusion`` the probability that the edge exists; ``positive`` and ``negative`` the probabilities that it
    exists and has that sign (families without an inclusion variable: that the weight has that sign).
    """

    mean: np.ndarray
    sd: np.ndarray
    inclusion: np.ndarray
    positive: np.ndarray
    negative: np.ndarray

    def context(self, index: int) -> "EdgeMoments":
        """One context of moments that have a leading context dimension."""
        return EdgeMoments(*(getattr(self, f.name)[index] for f in fields(self)))


class Collector:
    """Takes draws one by one, all chains at once, and ends as draws and moments.

    Parameters
    ----------
    model
        Gives the shapes of the sites.
    num_chains, num_draws
        Draws to come, by chain.
    has_inclusion
        Whether ``positive`` and ``negative`` count existing edges only.
    """

    def __init__(self, model: Model, num_chains: int, num_draws: int, *, has_inclusion: bool) -> None:
        self.dims, coords = model.dims, model.coords
        self.shape = {name: tuple(len(coords[d]) for d in dims) for name, dims in self.dims.items()}
        self.num_chains, self.num_draws, self.has_inclusion = num_chains, num_draws, has_inclusion
        large = sum(4 * math.prod(self.shape[n]) for n in self.shape if len(self.shape[n]) > 1)
        self.thin = max(1, math.ceil(num_chains * num_draws * large / DRAW_BUDGET))
        self.count = 0
        self.draws: dict[str, list[Tensor]] = {}
        self.sums: dict[str, list[Tensor]] = {}

    def add(self, sites: dict[str, Tensor], inclusion: Tensor) -> None:
        """One draw: ``sites`` ``(chain, *dims)``, ``inclusion`` ``(chain, tf, target)`` the probability of each edge given it."""
        for name, value in sites.items():
            if name not in self.shape or (len(self.shape[name]) > 1 and self.count % self.thin):
                continue  # nuisance sites of the per-cell likelihood (intercepts), or a large site between kept draws
            kind = torch.bool if name == "inclusion" else torch.float32
            self.draws.setdefault(name, []).append(
                value.reshape(self.num_chains, *self.shape[name]).to(device="cpu", dtype=kind, copy=True)
            )
        for name in ("W", "W_context"):
            if name in sites:
                self._accumulate(name, sites[name].reshape(self.num_chains, *self.shape[name]), inclusion)
        self.count += 1

    def _accumulate(self, name: str, W: Tensor, inclusion: Tensor) -> None:
        gate = inclusion if W.dim() == inclusion.dim() else inclusion[:, None]
        gate = gate.expand_as(W)
        weight = gate if self.has_inclusion else torch.ones_like(gate)
        terms = (W, W * W, gate, weight * (W > 0), weight * (W < 0))
        if name not in self.sums:
            self.sums[name] = [
                torch.zeros(
                    t.shape[1:], dtype=torch.float64 if t.device.type == "cpu" else torch.float32, device=t.device
                )
                for t in terms
            ]
        for total, term in zip(self.sums[name], terms, strict=True):
            total += term.sum(0)

    def moments(self) -> dict[str, EdgeMoments]:
        """Moments of W, and of W_context where there are contexts."""
        result = {}
        for name, (first, second, gate, positive, negative) in self.sums.items():
            n = self.count * self.num_chains
            mean = first / n
            sd = (second / n - mean**2).clamp_min(0).sqrt()
            result[name] = EdgeMoments(
                *(t.float().cpu().numpy() for t in (mean, sd, gate / n, positive / n, negative / n))
            )
        return result

    def stacked(self) -> dict[str, np.ndarray]:
        """Kept draws by site, ``(chain, draw, *dims)``."""
        return {name: torch.stack(values, dim=1).numpy() for name, values in self.draws.items()}

    # -- checkpoints -------------------------------------------------------------------------------------------------------------
    def snapshot(self) -> dict:
        """State for a checkpoint."""
        return {
            "count": self.count,
            "draws": {n: list(v) for n, v in self.draws.items()},
            "sums": {n: list(v) for n, v in self.sums.items()},
        }

    def restore(self, state: dict, device: torch.device) -> None:
        """Continue from `snapshot`."""
        self.count = state["count"]
        self.draws = {name: list(values) for name, values in state["draws"].items()}
        self.sums = {name: [v.to(device) for v in values] for name, values in state["sums"].items()}
