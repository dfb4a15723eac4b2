"""Draws and streamed moments of the sparse sampler."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import RegressionNetwork
from ...priors.own_edges import ContextEdge
from ..draws.kept_edges import EDGE_BUDGET, KeptEdges
from ..draws.moments import Collector, EdgeMoments
from .record import add_present
from .tables import Sums

TARGETS_AT_ONCE = 256
LEAST = 0.04  # of the states of the second half of the warm-up in which an edge existed of which every draw is kept


class SparseCollector(Collector):
    """A `Collector` whose moments are summed up by the compiled sampler, every recorded sweep with the draw of the
    edge itself averaged out; large sites are asked for only where they are kept.

    ``sums`` by chain; all but ``inclusion`` are shared. Of networks of which not every draw is kept, `watch` says of
    which edges it is all the same: `kept_edges`. Without ``moments`` inclusions alone are summed up, of targets on
    one machine.
    """

    def __init__(self, model: RegressionNetwork, num_chains: int, num_draws: int, *, moments: bool = True) -> None:
        super().__init__(model, num_chains, num_draws, has_inclusion=True)
        self.allowed = model.edge_prior.allowed.T.cpu().numpy()  # (target, tf)
        shape = self.allowed.shape
        of_moments = shape if moments else (0, shape[1])
        shared = [np.zeros(of_moments, kind) for kind in (np.float64, np.float64, np.float32, np.float32)]
        self.table = np.zeros((num_chains, *shape), np.float32)
        self.streams = [Sums(part, *shared) for part in self.table]
        self.present: np.ndarray | None = np.zeros(shape, np.uint16) if self.thin > 1 else None  # while it is warmed up
        self.place = np.zeros(0, np.int64)  # target · tfs + tf of the edges of which every draw is kept
        self.edge_draws: list[np.ndarray] = []  # (chain, edge)

    @property
    def wants_network(self) -> bool:
        """Whether the next draw keeps sites of the size of the network."""
        return self.count % self.thin == 0

    def lengthen(self, num_draws: int) -> None:
        """More draws than planned are to come, ``num_draws`` in all: large sites that would go beyond the budget are
        kept half as often, those that are there as well."""
        while not self.within_budget(math.ceil(num_draws / self.thin)) and self.thin < self.num_draws:
            self.thin *= 2
            for name in ("W", "inclusion"):
                self.draws[name] = self.draws[name][::2]

    # -- edges of which every draw is kept ----
    def see(self, weight: np.ndarray) -> None:
        """A block of the warm-up: ``weight`` (chain, target, tf)."""
        if self.present is not None:
            for part in weight:
                add_present(part, self.present)

    def watch(self, blocks: int) -> None:
        """Every draw is kept of edges that existed in at least `LEAST` of the states of ``blocks`` blocks, and of the
        most frequent of them where those would take more than `EDGE_BUDGET`."""
        if self.present is None or blocks == 0:
            return
        count = self.present.ravel()
        least = max(1, math.ceil(LEAST * blocks * self.num_chains))
        most = int(EDGE_BUDGET / (4 * self.num_chains * self.num_draws))
        place = np.flatnonzero(count >= least)
        if len(place) > most:
            place = np.sort(place[np.argsort(-count[place].astype(np.int64), kind="stable")[:most]])
        self.place, self.present = place, None

    def add(
        self,
        sites: dict[str, Tensor],
        inclusion: Tensor | None = None,
        edge: ContextEdge | None = None,
        *,
        edges: np.ndarray | None = None,
    ) -> None:
        """One draw, ``(chain, *dims)``, whose moments are in ``streams`` already; ``edges`` (chain, edge) the weights
        at ``place``. What ``sites`` have of the size of the network was made for this draw, and is not copied."""
        large = {name: value for name, value in sites.items() if name in ("W", "inclusion")}
        if self.wants_network:
            for name, value in large.items():
                self.draws.setdefault(name, []).append(value)
        self.keep({name: value for name, value in sites.items() if name not in large})
        if edges is not None:
            self.edge_draws.append(edges)
        self.count += 1

    def kept_edges(self) -> KeptEdges | None:
        """By regulator, then target, as the model has them; once, at the end."""
        if not self.edge_draws:
            return None
        num_targets, num_tfs = self.allowed.shape
        target, tf = np.divmod(self.place, num_tfs)
        place = tf * num_targets + target
        order = np.argsort(place, kind="stable")
        draws = np.empty((self.num_chains, len(self.edge_draws), len(place)), np.float32)
        for i in range(draws.shape[1]):  # each is let go of: they are not there twice
            draws[:, i] = self.edge_draws.pop(0)[:, order]
        return KeptEdges(place[order], draws)

    def stacked(self) -> dict[str, np.ndarray]:
        """Kept draws by site; large ones are put together one draw after the other, and let go of."""
        found = {}
        for name in list(self.draws):
            values = self.draws.pop(name)
            whole = np.empty((self.num_chains, len(values), *self.shape[name]), values[0].numpy().dtype)
            for i in range(whole.shape[1]):
                whole[:, i] = values.pop(0).numpy()
            found[name] = whole
        return found

    def moments(self) -> dict[str, EdgeMoments]:
        _, first, second, positive, negative = self.streams[0]
        n = self.count * self.num_chains
        num_targets, num_tfs = self.allowed.shape
        found = EdgeMoments(*(np.empty((num_tfs, num_targets), np.float32) for _ in range(5)))
        for start in range(0, num_targets, TARGETS_AT_ONCE):  # in float64, some at a time
            rows = slice(start, start + TARGETS_AT_ONCE)
            allowed = self.allowed[rows]
            gate = np.where(allowed, self.table[:, rows].sum(0, dtype=np.float64) / n, 0.0).astype(np.float32)
            mean = np.where(allowed, first[rows] / n, 0.0)
            signed = positive[rows] + negative[rows]
            share = np.divide(positive[rows], signed, out=np.full_like(signed, 0.5), where=signed > 0)
            found.mean[:, rows] = mean.T
            found.sd[:, rows] = np.sqrt(np.where(allowed, second[rows] / n - mean**2, 0.0).clip(0)).T
            found.inclusion[:, rows] = gate.T
            found.positive[:, rows], found.negative[:, rows] = (gate * share).T, (gate * (1 - share)).T
        return {"W": found}

    def extras(self) -> dict[str, Any]:
        inclusion = np.empty((self.num_chains, *self.table.shape[:0:-1]), np.float32)
        for chain, part in enumerate(self.table):
            np.divide(part.T, np.float32(max(self.count, 1)), out=inclusion[chain])
        every = self.kept_edges()
        kept = {} if every is None else every.extras()
        return {**super().extras(), "chain_inclusion": inclusion, **kept}

    # -- checkpoints ----
    def snapshot(self) -> dict:
        """State for a checkpoint, to be written at once: arrays are those of this object, which go on to change."""
        shared = [torch.from_numpy(value) for value in self.streams[0][1:]]
        present = None if self.present is None else torch.from_numpy(self.present.astype(np.int32))
        edges = {"place": torch.from_numpy(self.place), "draws": [torch.from_numpy(part) for part in self.edge_draws]}
        sums = {"streams": shared, "table": torch.from_numpy(self.table)}
        return {**super().snapshot(), **sums, "present": present, "edges": edges, "thin": self.thin}

    def restore(self, state: dict, device: torch.device) -> None:
        super().restore(state, device)
        self.thin = state.get("thin", self.thin)  # earlier versions kept the plan
        self.table[:] = state["table"].numpy()
        present = state["present"]
        self.present = None if present is None else present.numpy().astype(np.uint16)
        self.place = state["edges"]["place"].numpy()
        self.edge_draws = [part.numpy() for part in state["edges"]["draws"]]
        for own, value in zip(self.streams[0][1:], state["streams"], strict=True):
            own[:] = value.numpy()
