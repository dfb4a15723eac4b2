"""Running posterior moments of every edge, and as many draws as memory allows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import Model
from ...priors.own_edges import ContextEdge
from .contexts import differing

DRAW_BUDGET = 5e8  # bytes of draws of edge weights kept; beyond it draws are thinned evenly, moments use all


@dataclass(frozen=True, eq=False)
class EdgeMoments:
    """Posterior summaries of edges that are kept at any size, each ``(tf, target)``, or ``(context, tf, target)``.

    ``mean``, ``sd`` of the weight; ``inclusion`` the probability that the edge exists; ``positive`` and ``negative``
    the probabilities that it exists and has that sign (families without an inclusion variable: that the weight has that
    sign).
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
    without
        Sites that will not come.
    """

    def __init__(
        self, model: Model, num_chains: int, num_draws: int, *, has_inclusion: bool, without: Sequence[str] = ()
    ) -> None:
        coords = model.coords
        self.dims = {name: dims for name, dims in model.dims.items() if name not in without}
        self.shape = {name: tuple(len(coords[d]) for d in dims) for name, dims in self.dims.items()}
        self.num_chains, self.num_draws, self.has_inclusion = num_chains, num_draws, has_inclusion
        self.large = sum(4 * math.prod(self.shape[n]) for n in self.shape if len(self.shape[n]) > 1)  # bytes of a draw
        thin = max(1, math.ceil(num_chains * num_draws * self.large / DRAW_BUDGET))
        # the number kept, ceil(draws / thin), gives the stride back: joint draws of large and small sites stay aligned
        self.thin = math.ceil(num_draws / math.ceil(num_draws / thin))
        self.count = 0
        self.draws: dict[str, list[Tensor]] = {}
        self.sums: dict[str, list[Tensor]] = {}
        self.chain_inclusion: Tensor | None = None  # (chain, tf, target) sum over draws
        self.differs: Tensor | None = None  # (pair of contexts, tf, target) sum over draws and chains
        self.notes: dict[str, np.ndarray] = {}  # what an engine wants diagnostics to know
        self.densities: dict[str, list[Tensor]] = {}  # of guides: lp and lq at the kept draws, each (chain, draw)

    @property
    def kept(self) -> int:
        """Draws of large sites, by chain, that will have been kept at the end."""
        return math.ceil(self.num_draws / self.thin)

    def within_budget(self, num_draws: int) -> bool:
        """Whether so many draws of large sites, by chain, may be kept."""
        return self.num_chains * num_draws * self.large <= DRAW_BUDGET

    @property
    def num_values(self) -> int:
        """Unknowns of one draw."""
        return sum(math.prod(shape) for shape in self.shape.values())

    @property
    def num_bytes(self) -> float:
        """Memory at the end: the draws kept, of which the largest site is there twice while it is put together, the
        sums over all draws in float64, and a probability of each edge by chain."""
        sites = [
            (1 if name == "inclusion" else 4) * math.prod(s) * (self.kept if len(s) > 1 else self.num_draws)
            for name, s in self.shape.items()
        ]
        edges = [math.prod(self.shape[name]) for name in ("W", "W_context") if name in self.shape]
        return self.num_chains * (sum(sites) + max(sites) + 4 * edges[0]) + 5 * 8 * sum(edges)

    def add(self, sites: dict[str, Tensor], inclusion: Tensor, edge: ContextEdge | None = None) -> None:
        """One draw: ``sites`` ``(chain, *dims)``, ``inclusion`` ``(chain, tf, target)`` the probability of each edge
        given it, and what the ``edge`` of each context is, where it is not the shared one in all."""
        self.keep(sites)
        present = sites.get("inclusion", inclusion)
        for name in ("W", "W_context"):
            if name in sites:
                W = sites[name].reshape(self.num_chains, *self.shape[name])
                own = edge is not None and name == "W_context"
                gates = (edge.probability, edge.present) if edge is not None and own else (inclusion, present)
                self._accumulate(name, W, *gates)
        if edge is not None and edge.shared is not None and edge.absent is not None:
            found = differing(edge.shared, edge.absent, present.to(edge.shared))
            self.differs = found if self.differs is None else self.differs + found
        if self.chain_inclusion is None:
            self.chain_inclusion = torch.zeros_like(inclusion, dtype=torch.float32)
        self.chain_inclusion += inclusion
        self.count += 1

    def keep(self, sites: dict[str, Tensor]) -> None:
        """The values of one draw, as far as they are kept."""
        for name, value in sites.items():
            if name not in self.shape or (len(self.shape[name]) > 1 and self.count % self.thin):
                continue  # nuisance sites of the per-cell likelihood (intercepts), or a large site between kept draws
            kind = torch.bool if name == "inclusion" else torch.float32
            self.draws.setdefault(name, []).append(
                value.reshape(self.num_chains, *self.shape[name]).to(device="cpu", dtype=kind, copy=True)
            )

    def by_walker(self, walkers: int) -> None:
        """Lay draws that have come from so many walkers in turn walker after walker, as autocorrelations, halves of
        chains and effective sizes of them ask for. Where draws are thinned, they stay as they came."""
        if walkers == 1 or self.thin > 1:
            return
        order = sorted(range(self.num_draws), key=lambda draw: (draw % walkers, draw))
        self.draws = {name: [values[draw] for draw in order] for name, values in self.draws.items()}

    def _accumulate(self, name: str, W: Tensor, inclusion: Tensor, present: Tensor) -> None:
        # a probability that has W integrated out (a Gibbs sweep's) says nothing of the sign of the W drawn with it:
        # signs go with
        # the inclusion variable drawn before W, where there is one
        gate, present = ((v if v.dim() == W.dim() else v[:, None]).expand_as(W) for v in (inclusion, present))
        weight = present if self.has_inclusion else torch.ones_like(gate)
        exact = torch.float32 if W.device.type == "mps" else torch.float64  # Metal has no more
        if name not in self.sums:
            self.sums[name] = [torch.zeros(W.shape[1:], dtype=exact, device=W.device) for _ in range(5)]
        first, second, *others = self.sums[name]
        for draw in W:
            # float64 before it is squared: rounding of W² is 1e-7 of mean², an sd of 3e-4 of a weight that never moves
            value = draw.to(exact)
            first += value
            second.addcmul_(value, value)
        for total, term in zip(others, (gate, weight * (W > 0), weight * (W < 0)), strict=True):
            total += term.sum(0)

    def moments(self) -> dict[str, EdgeMoments]:
        """Moments of W, and of W_context where there are contexts."""
        result = {}
        for name, (first, second, gate, positive, negative) in self.sums.items():
            n = self.count * self.num_chains
            mean = first / n
            sd = (second / n - mean**2).clamp_min(0).sqrt()
            # the mean probability has less Monte-Carlo noise than the count of drawn inclusion variables
            if self.has_inclusion:
                signed = positive + negative
                share = torch.where(signed > 0, positive / signed.clamp_min(1e-30), 0.5)
                positive, negative = gate * share, gate * (1 - share)
            result[name] = EdgeMoments(
                *(t.float().cpu().numpy() for t in (mean, sd, gate / n, positive / n, negative / n))
            )
        return result

    def stacked(self) -> dict[str, np.ndarray]:
        """Kept draws by site, ``(chain, draw, *dims)``."""
        return {name: torch.stack(values, dim=1).numpy() for name, values in self.draws.items()}

    def extras(self) -> dict[str, Any]:
        """What diagnostics need besides: ``thin`` (see `aligned`), ``chain_inclusion`` (chain, tf, target) the
        inclusion probabilities of each chain alone, ``differs`` (pair, tf, target) the probability that the edges of
        two contexts differ (`contexts.pairs_of`), and of variational guides ``lp`` and ``lq`` (chain, kept draw).
        """
        extras: dict[str, Any] = {"thin": self.thin, **self.notes}
        if self.chain_inclusion is not None:
            extras["chain_inclusion"] = (self.chain_inclusion / self.count).cpu().numpy()
        if self.differs is not None:
            extras["differs"] = (self.differs / (self.count * self.num_chains)).float().cpu().numpy()
        return extras | {name: torch.cat(values, dim=1).cpu().numpy() for name, values in self.densities.items()}

    # -- checkpoints ----
    def snapshot(self) -> dict:
        """State for a checkpoint."""
        return {
            "count": self.count,
            "draws": {n: list(v) for n, v in self.draws.items()},
            "sums": {n: list(v) for n, v in self.sums.items()},
            "chain_inclusion": self.chain_inclusion,
            "differs": self.differs,
        }

    def restore(self, state: dict, device: torch.device) -> None:
        """Continue from `snapshot`."""
        self.count = state["count"]
        self.draws = {name: list(values) for name, values in state["draws"].items()}
        self.sums = {name: [v.to(device) for v in values] for name, values in state["sums"].items()}
        chain_inclusion = state["chain_inclusion"]
        self.chain_inclusion = None if chain_inclusion is None else chain_inclusion.to(device)
        differs = state.get("differs")  # earlier versions had none
        self.differs = None if differs is None else differs.to(device)


def add_draw(
    model: Model, collector: Collector, values: dict[str, Tensor], threshold: float, graph: Tensor | None = None
) -> None:
    """Put one draw of padded sites ``(chain, *plates, *event)`` into the collector, with the inclusion probability that
    goes with it: that of the model given the weights, or the ``graph`` that a guide drew, whose own probability is not
    that of the model."""
    prior = model.edge_prior
    inclusion = model.inclusion(values, threshold=threshold) if graph is None else graph * prior.allowed
    count = len(values["W"])
    shape = (count, *(len(model.coords[axis]) for axis in model.axes))
    inclusion = inclusion.expand(count, *inclusion.shape[1:]).reshape(shape)
    masked = {name: v * prior.allowed if name in ("W", "W_context") else v for name, v in values.items()}
    edge = model.context_edge(values, inclusion[:, None])
    if edge is None and "W_context" in values and not collector.has_inclusion:
        present = (masked["W_context"].abs() > threshold).to(inclusion)
        edge = ContextEdge(present, present)
    collector.add(masked, inclusion, edge)


def aligned(draws: Mapping[str, np.ndarray], thin: int) -> dict[str, np.ndarray]:
    """Joint draws: small sites keep every draw and large ones each ``thin``-th, so the small ones are thinned alike.

    Parameters
    ----------
    draws
        By site, ``(chain, draw, *dims)``.
    thin
        ``Collector.thin`` of the collector they come from.
    """
    if not draws:
        return {}
    kept = min(value.shape[1] for value in draws.values())
    return {name: value if value.shape[1] == kept else value[:, ::thin] for name, value in draws.items()}
