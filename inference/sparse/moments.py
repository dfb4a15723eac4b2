"""Draws and streamed moments of the sparse sampler."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...models import RegressionNetwork
from ...priors.own_edges import ContextEdge
from ..draws.moments import Collector, EdgeMoments
from .tables import Sums


class SparseCollector(Collector):
    """A `Collector` whose moments are summed up by the compiled sampler, every recorded sweep with the draw of the
    edge itself averaged out; large sites are asked for only where they are kept.

    ``sums`` by chain; all but ``inclusion`` are shared.
    """

    def __init__(self, model: RegressionNetwork, num_chains: int, num_draws: int) -> None:
        super().__init__(model, num_chains, num_draws, has_inclusion=True)
        self.allowed = model.edge_prior.allowed.T.cpu().numpy()  # (target, tf)
        shape = self.allowed.shape
        shared = [np.zeros(shape, kind) for kind in (np.float64, np.float64, np.float32, np.float32)]
        self.table = np.zeros((num_chains, *shape), np.float32)
        self.streams = [Sums(part, *shared) for part in self.table]

    @property
    def wants_network(self) -> bool:
        """Whether the next draw keeps sites of the size of the network."""
        return self.count % self.thin == 0

    def add(self, sites: dict[str, Tensor], inclusion: Tensor | None = None, edge: ContextEdge | None = None) -> None:
        """One draw, ``(chain, *dims)``, whose moments are in ``streams`` already."""
        self.keep(sites)
        self.count += 1

    def moments(self) -> dict[str, EdgeMoments]:
        _, first, second, positive, negative = self.streams[0]
        n = self.count * self.num_chains
        gate = np.where(self.allowed, self.table.sum(0, dtype=np.float64) / n, 0.0).astype(np.float32)
        mean = np.where(self.allowed, first / n, 0.0)
        sd = np.sqrt(np.where(self.allowed, second / n - mean**2, 0.0).clip(0))
        signed = positive + negative
        share = np.divide(positive, signed, out=np.full_like(signed, 0.5), where=signed > 0)
        tables = (mean, sd, gate, gate * share, gate * (1 - share))
        return {"W": EdgeMoments(*(np.ascontiguousarray(t.T, dtype=np.float32) for t in tables))}

    def extras(self) -> dict[str, Any]:
        inclusion = np.ascontiguousarray(self.table.transpose(0, 2, 1) / np.float32(max(self.count, 1)))
        return {**super().extras(), "chain_inclusion": inclusion}

    # -- checkpoints ----
    def snapshot(self) -> dict:
        shared = [torch.from_numpy(value.copy()) for value in self.streams[0][1:]]
        return {**super().snapshot(), "streams": shared, "table": torch.from_numpy(self.table.copy())}

    def restore(self, state: dict, device: torch.device) -> None:
        super().restore(state, device)
        self.table[:] = state["table"].numpy()
        for own, value in zip(self.streams[0][1:], state["streams"], strict=True):
            own[:] = value.numpy()
