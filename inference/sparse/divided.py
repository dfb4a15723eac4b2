"""`DividedKernel`: the sparse sampler with its targets on the workers of a Dask cluster."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...models import RegressionNetwork
from . import shares
from .background import BackgroundLikelihood
from .kernel import SparseKernel
from .start import Ridge
from .swept import EdgePriors
from .tables import Sums
from .window import Window

if TYPE_CHECKING:
    from ..runs.cluster import Cluster

OWN_AT_ONCE = 16  # targets with Gram matrices of their own in one share


class DividedKernel(SparseKernel):
    """`SparseKernel` whose targets are swept by workers; equal to it to the last digit on machines of one kind.

    A share is a part of the targets (`kernel.PART`, and a few of those that were perturbed): a chain of pure functions
    of its statistics, the seed and the hyperparameters (`shares`), so that Dask makes again, elsewhere, what a worker
    that dies had. Hyperparameters are drawn here. After each block a share sends the noise and residual sum of squares
    of its targets, how many edges each has, sums over the present edges of each regulator, Σ z²/σ² (tf,) and z of the
    targets that are regulators, and gets h. Weights come only for draws that
    are kept and for checkpoints, which fetch the residuals and what was recorded too.

    Parameters
    ----------
    cluster
        Workers with one thread each.
    model, num_chains, seed, sweeps
        As of `SparseKernel`.
    """

    def __init__(
        self, model: RegressionNetwork, *, cluster: "Cluster", num_chains: int, seed: int, sweeps: int
    ) -> None:
        self._stale = False
        self._num_edges: np.ndarray = np.zeros((0, 0), np.int64)
        super().__init__(model, num_chains=num_chains, seed=seed, sweeps=sweeps, threads=1)
        self.cluster = cluster
        self.states: list[Any] = []  # of each share, futures
        self.shares = self._divided()
        self.found: list[shares.Found] = []

    # -- what is not here unless it is asked for ----
    @property
    def weight(self) -> np.ndarray:
        """Fetched where it is behind."""
        if self._stale:
            self._stale = False
            self._weight[:] = 0
            for groups, (place, value) in zip(self.shares, self._ask(shares.weights_of), strict=True):
                part = np.zeros((self.num_chains, len(self._targets_of(groups)), self._weight.shape[2]), np.float32)
                part.ravel()[place] = value
                self._weight[:, self._targets_of(groups)] = part
        return self._weight

    @weight.setter
    def weight(self, value: np.ndarray) -> None:
        self._weight = value

    @property
    def num_edges(self) -> np.ndarray:
        return self._num_edges

    def _targets_of(self, groups: Sequence[int]) -> np.ndarray:
        return np.concatenate([self.groups[i].targets for i in groups])

    # -- the division ----
    def _divided(self) -> list[list[int]]:
        """Groups of each share."""
        first = self.groups[0].spectrum
        own = [i for i, group in enumerate(self.groups) if group.spectrum is not first]
        found = [[i] for i, group in enumerate(self.groups) if group.spectrum is first]
        return found + [own[start : start + OWN_AT_ONCE] for start in range(0, len(own), OWN_AT_ONCE)]

    def _begin_shares(self, start_of: Callable[[list[int]], Any]) -> None:
        submit = self.cluster.submit
        shared = submit(shares.shared_of, self.groups[0].spectrum, self.partners)
        chains = shares.Chains(self.num_chains, self.seed, self.sweeps)
        self.states = [submit(shares.begun, shared, self._data_of(g), chains, start_of(g)) for g in self.shares]

    def _data_of(self, groups: list[int]) -> shares.ShareData:
        parts, at = [self.groups[i] for i in groups], self._targets_of(groups)
        first = self.groups[0].spectrum
        return shares.ShareData(
            [part.own for part in parts],
            [part.score for part in parts],
            [part.square for part in parts],
            [part.cuts for part in parts],
            [None if part.spectrum is first else part.spectrum for part in parts],
            [self.part[i] for i in groups],
            self.member[at] if self.member.size > 1 else self.member,
            self.num_classes,
            self.own[at],
            self.dof[at],
            self.number[at],
        )

    def _ask(self, function: Callable[..., Any], *more: Any) -> list[Any]:
        """What each share says."""
        return self.cluster.gather([self.cluster.submit(function, state, *more) for state in self.states])

    def _take(self, levels: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        for groups, (noise, sse) in zip(self.shares, levels, strict=True):
            at = self._targets_of(groups)
            self.noise[:, at], self.sse[:, at] = noise, sse
        self._stale = True

    # -- what is done there ----
    def begin(self, ridge: Ridge, apart: Sequence[float], background: torch.Tensor) -> None:
        self.background = background
        of = lambda groups: Ridge(ridge.h, [ridge.noise[i] for i in groups])
        self._begin_shares(lambda groups: shares.Start(of(groups), list(apart), background))
        self._take(self._ask(shares.levels_of))

    def set_grams(self) -> None:
        """They are where the targets are."""

    def set_window(self, window: Window | None) -> None:
        self.window = window

    def sweep(self, priors: Sequence[EdgePriors], first: int, streams: Sequence[Sums] | None = None) -> None:
        told = shares.Block(list(priors), first, self.effort.copy(), streams is not None)
        block = self.cluster.submit(shares.given, told)
        self.states = [self.cluster.submit(shares.after_block, state, block) for state in self.states]
        self.found = self._ask(shares.found_of)
        self._take([(one.noise, one.sse) for one in self.found])
        self._num_edges = np.empty(self.noise.shape, np.int64)
        for groups, one in zip(self.shares, self.found, strict=True):
            self._num_edges[:, self._targets_of(groups)] = one.edges

    def class_tables(self, group: int) -> np.ndarray:
        tables = np.zeros((3, self.num_chains, self.num_classes))
        share, place = self._share_of(group)
        for chain, (at, values) in enumerate(self.found[share].classes[place]):
            tables[:, chain, at] = values
        return tables

    def _share_of(self, group: int) -> tuple[int, int]:
        return next((i, groups.index(group)) for i, groups in enumerate(self.shares) if group in groups)

    def likelihoods(self) -> list[list[BackgroundLikelihood]]:
        where = [self._share_of(i) for i in range(len(self.groups))]
        return [
            [self._likelihood(group, chain, *where[i]) for i, group in enumerate(self.groups)]
            for chain in range(self.num_chains)
        ]

    def _likelihood(self, group: Any, chain: int, share: int, place: int) -> BackgroundLikelihood:
        total, z = self.found[share].squares[chain][place]
        found: BackgroundLikelihood = group.likelihood_of(total, z, self.noise[chain, group.targets])
        return found

    def refresh(self, background: torch.Tensor, window: Window | None = None) -> None:
        self.background, self.window = background, window
        self.states = [self.cluster.submit(shares.at_background, state, background, window) for state in self.states]
        self._take(self._ask(shares.levels_of))

    def spreads(self, streams: Sequence[Sums], draws: int) -> list[np.ndarray]:
        found: dict[int, np.ndarray] = {}
        for groups, parts in zip(self.shares, self._ask(shares.spreads_of, draws), strict=True):
            found |= dict(zip(groups, parts, strict=True))
        return [found[i] for i in range(len(self.groups))]

    def whole(self, count: int) -> np.ndarray:
        found = np.empty(self._weight.shape, np.float32)
        for groups, part in zip(self.shares, self._ask(shares.whole_of, count), strict=True):
            found[:, self._targets_of(groups)] = part
        return found

    def weights_at(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        num_tfs = self._weight.shape[2]
        target, tf = np.divmod(place, num_tfs)
        mean, sd = np.empty((2, self.num_chains, len(place)))
        asked, wanted = [], []
        for state, groups in zip(self.states, self.shares, strict=True):
            at = self._targets_of(groups)
            own = np.full(len(self.own), -1)
            own[at] = np.arange(len(at))
            mine = np.flatnonzero(own[target] >= 0)
            wanted.append(mine)
            asked.append(self.cluster.submit(shares.weights_at, state, own[target[mine]] * num_tfs + tf[mine]))
        for mine, (some_mean, some_sd) in zip(wanted, self.cluster.gather(asked), strict=True):
            mean[:, mine], sd[:, mine] = some_mean, some_sd
        return mean, sd

    # -- checkpoints ----
    def hand_over(self, streams: Sequence[Sums]) -> None:
        for groups, parts in zip(self.shares, self._ask(shares.streams_of), strict=True):
            if parts is None:  # nothing is recorded in the warm-up
                continue
            at = self._targets_of(groups)
            for chain, part in enumerate(parts):
                streams[chain].inclusion[at] = part.inclusion
            for own, sums in zip(streams[0][1:], parts[0][1:], strict=True):
                own[at] = sums

    def snapshot(self) -> dict[str, Any]:
        for groups, part in zip(self.shares, self._ask(shares.residuals_of), strict=True):
            self.residual[:, self._targets_of(groups)] = part
        return super().snapshot()

    def restore(self, snapshot: dict[str, Any]) -> None:
        self._stale = False
        super().restore(snapshot)
        self._num_edges = self.edges

    def take_over(self, streams: Sequence[Sums]) -> None:
        recorded = self.count > self.num_warmup

        def start_of(groups: list[int]) -> shares.Restored:
            at = self._targets_of(groups)
            shared = [part[at] for part in streams[0][1:]]
            sums = [Sums(part.inclusion[at], *shared) for part in streams] if recorded else None
            arrays = (self._weight[:, at], self.residual[:, at], self.sse[:, at], self.noise[:, at])
            return shares.Restored(*arrays, self.background, self.window, sums)

        self._begin_shares(start_of)
