"""Targets that are swept together: their statistics and the state of their chains, hyperparameters given."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from ...models.regression import FREE_RATE, FREE_SHAPE
from .background import Background, BackgroundLikelihood, Stored
from .cut_sweep import cut_edge_moments, record_cut_targets, sweep_cut_targets
from .early import spread_of
from .record import class_sums, edge_moments, record_targets
from .start import Ridge, draw_ridge
from .sweep import sweep_targets
from .tables import Cut, Gram, Partners, Sums, Targets, Terms
from .window import Window

AT_ONCE = 64  # targets of a task: small enough that threads end together, large enough that a task is not felt
OF_START, OF_DRAW = 1, 2  # what random numbers of a part are for


class EdgePriors(NamedTuple):
    """Of one chain: by class ``logit`` the log-odds less ½ (s m)²/τ², and ``pull`` s m/τ², float64; ``width`` τ²."""

    logit: np.ndarray
    pull: np.ndarray
    width: float


class TargetStatistics(NamedTuple):
    """What the data say of some targets.

    ``groups`` that share a Gram matrix; ``part`` (group,) their numbers among those of the model, to which random
    numbers of whole groups belong; ``partners`` of the regulators; ``member`` as in `Terms`; by target ``own`` the
    regulator that it is, or −1, ``dof``, and ``number`` its place in the model.
    """

    groups: list[Background]
    part: list[int]
    partners: Partners
    member: np.ndarray
    num_classes: int
    own: np.ndarray
    dof: np.ndarray
    number: np.ndarray


class SweptTargets:
    """Weights, residuals and noise of ``num_chains`` chains of some targets.

    All that is done here depends on these targets, the hyperparameters handed in and the seed, and not on which other
    targets are swept beside them: a network may be divided over machines.

    Attributes
    ----------
    weight, residual
        ``(chain, target, tf)`` float32.
    sse, noise
        ``(chain, target)`` float64.
    edges
        ``(chain, target)`` int64, how many are present.
    background
        ``(chain,)`` float64 h of the Gram matrices and residuals.
    effort
        ``(target,)`` how many times the sweeps of others each has.
    """

    def __init__(self, data: TargetStatistics, *, num_chains: int, seed: int, sweeps: int, threads: int) -> None:
        self._hold(data)
        self.num_chains, self.seed, self.sweeps, self.threads = num_chains, seed, sweeps, threads
        for group in self.groups:
            group.spectrum.most = num_chains
        number, num_tfs = len(data.own), data.groups[0].score.shape[1]
        self.weight = np.zeros((num_chains, number, num_tfs), np.float32)
        self.residual = np.zeros((num_chains, number, num_tfs), np.float32)
        self.sse, self.noise = np.zeros((num_chains, number)), np.zeros((num_chains, number))
        self.edges = np.zeros((num_chains, number), np.int64)
        self.effort = np.ones(number, np.int64)
        self.background = torch.zeros(num_chains, dtype=torch.float64)
        self.grams: list[list[Gram]] = []  # by chain, then group
        self.cuts: list[list[np.ndarray | None]] = []  # the same: B (row, tf) of `Cuts`, where targets have any
        self.window: Window | None = None  # of h in which statistics are interpolated
        self.stored: list[Stored | None] = [None] * len(self.groups)
        self._pool: ThreadPoolExecutor | None = None

    def _hold(self, data: TargetStatistics) -> None:
        self.groups, self.part, self.partners = data.groups, data.part, data.partners
        self.member, self.num_classes = data.member, data.num_classes
        self.own, self.dof, self.number = data.own, data.dof, data.number
        self.cut_begin, self.cut_end = np.zeros((2, len(data.own)), np.int64)
        for group in self.groups:
            if group.cuts is not None:
                self.cut_begin[group.targets], self.cut_end[group.targets] = group.cuts.start[:-1], group.cuts.start[1:]

    # -- the state as it is set ----
    def begin(self, ridge: Ridge, apart: Sequence[float], background: torch.Tensor) -> None:
        """Draws of the ridge solution with all edges present; noise and spread are ``apart`` (chain,) times its own."""
        h = float(ridge.h)

        def work(chain: int, i: int) -> None:
            group, noise, times = self.groups[i], ridge.noise[i], apart[chain]
            self.noise[chain, group.targets] = noise * times
            generator = self._generator(OF_START, chain, self.part[i])
            self.weight[chain, group.place] = draw_ridge(group, noise, h * times, generator, grams[chain][i])

        grams = [[group.spectrum.gram(h * times) for group in self.groups] for times in apart]
        self._share_out(work, self._chains_of_groups())
        self.refresh(background)

    def _generator(self, *numbers: int) -> torch.Generator:
        """Of a draw that belongs to a part: the same whichever process makes it, and beside the chains' own."""
        found = np.random.SeedSequence([self.seed, *numbers]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(found >> np.uint64(1)))

    def _chains_of_groups(self) -> list[tuple[int, int]]:
        return [(chain, i) for i in range(len(self.groups)) for chain in range(self.num_chains)]

    def _group_of(self, chain: int, i: int) -> Background:
        """The statistics of one chain: those of all."""
        return self.groups[i]

    def likelihoods(self) -> list[list[BackgroundLikelihood]]:
        """Of h, by chain and group."""
        found: dict[tuple[int, int], BackgroundLikelihood] = {}

        def work(chain: int, i: int) -> None:
            group = self._group_of(chain, i)
            found[chain, i] = group.likelihood(self.weight[chain, group.place], self.noise[chain, group.targets])

        self._share_out(work, self._chains_of_groups())
        return [[found[chain, i] for i in range(len(self.groups))] for chain in range(self.num_chains)]

    def refresh(self, background: torch.Tensor, window: Window | None = None) -> None:
        """Gram matrices, residuals and their sums of squares at h; interpolated in a ``window`` that holds it."""
        self.background = background
        self.set_window(window)
        self.set_grams()

        def work(chain: int, i: int) -> None:
            group = self._group_of(chain, i)
            weight, residual = self.weight[chain, group.place], self.residual[chain, group.place]
            given = (self.grams[chain][i], residual, self.stored[i], self.cuts[chain][i])
            self.sse[chain, group.targets] = group.residual(weight, *given)
            if not np.shares_memory(residual, self.residual):
                self.residual[chain, group.targets] = residual

        self._share_out(work, self._chains_of_groups())

    def set_window(self, window: Window | None) -> None:
        """Statistics at the nodes of another window, of groups of several targets."""
        if window == self.window:
            return
        self.window, self.stored = window, [None] * len(self.groups)
        if window is not None:

            def work(i: int) -> None:
                self.stored[i] = self.groups[i].stored(window)

            wanted = [i for i, group in enumerate(self.groups) if len(group.targets) > 1 or group.cuts is not None]
            self._share_out(work, [(i,) for i in wanted])

    def _window_of(self, i: int) -> Window | None:
        return None if self.stored[i] is None else self.window

    def set_grams(self) -> None:
        """At the h of each chain."""
        pairs = [(group, self._window_of(i)) for i, group in enumerate(self.groups)]
        levels = self.background.tolist()
        if self.window is not None:  # what chains have in common, before each goes its own way
            for group, window in pairs:
                group.spectrum.set_nodes(window)
        made: dict[int, list[Gram]] = {}

        def work(chain: int) -> None:
            made[chain] = [group.spectrum.gram(levels[chain], window) for group, window in pairs]

        self._share_out(work, [(chain,) for chain in range(len(levels))])
        self.grams = [made[chain] for chain in range(len(levels))]
        rows: dict[tuple[int, int], np.ndarray | None] = dict.fromkeys(self._chains_of_groups())

        def cut(chain: int, i: int) -> None:
            rows[chain, i] = self.groups[i].cut_rows(levels[chain], self.stored[i])

        self._share_out(cut, [pair for pair in rows if self.groups[pair[1]].cuts is not None])
        self.cuts = [[rows[chain, i] for i in range(len(self.groups))] for chain in range(len(levels))]

    def _gram(self, chain: int, group: int) -> Gram | Cut:
        """With what targets leave out, where they do."""
        gram, rows = self.grams[chain][group], self.cuts[chain][group]
        return gram if rows is None else Cut(*gram, self.cut_begin, self.cut_end, rows)

    # -- sweeps ----
    def sweep(self, priors: Sequence[EdgePriors], first: int, streams: Sequence[Sums] | None = None) -> None:
        """``sweeps`` sweeps, numbered from ``first``; with ``streams``, one a chain, the last is recorded."""
        terms = [self._terms(chain, prior) for chain, prior in enumerate(priors)]

        def work(group: int, targets: np.ndarray) -> None:
            for chain in range(self.num_chains):
                gram, state, prior = self._gram(chain, group), self._targets(chain), terms[chain][group]
                whole = isinstance(gram, Gram)
                (sweep_targets if whole else sweep_cut_targets)(
                    targets, self.effort, self.sweeps, first, chain, self.seed, gram, prior, self.partners, state,
                    FREE_SHAPE, FREE_RATE,
                )  # fmt: skip
                if streams is not None:
                    record = record_targets if whole else record_cut_targets
                    record(targets, gram, prior, self.partners.twins, state, streams[chain])

        self._share_out(work, self._tasks())

    def _terms(self, chain: int, prior: EdgePriors) -> list[Terms]:
        made: dict[int, Terms] = {}
        for gram in self.grams[chain]:
            if id(gram) not in made:
                made[id(gram)] = Terms.of(gram, prior.logit, prior.pull, self.member, prior.width)
        return [made[id(gram)] for gram in self.grams[chain]]

    def _tasks(self) -> list[tuple[int, np.ndarray]]:
        """Groups, and some of their targets."""
        return [
            (i, group.targets[start : start + AT_ONCE])
            for i, group in enumerate(self.groups)
            for start in range(0, len(group.targets), AT_ONCE)
        ]

    def _share_out(self, work: Callable[..., None], tasks: Sequence[tuple]) -> None:
        if self.threads == 1 or len(tasks) == 1:
            for task in tasks:
                work(*task)
            return
        if self._pool is None:  # one for all blocks: threads are not started anew for each
            self._pool = ThreadPoolExecutor(self.threads)
        for done in [self._pool.submit(work, *task) for task in tasks]:
            done.result()

    def _targets(self, chain: int) -> Targets:
        return Targets(
            self.weight[chain], self.residual[chain], self.sse[chain], self.noise[chain], self.edges[chain], self.dof,
            self.own, self.number,
        )  # fmt: skip

    # -- what is read of it ----
    def class_tables(self, group: int) -> np.ndarray:
        """``(3, chain, class)`` of the targets of one group: number, sum and sum of squares of present weights."""
        tables = np.zeros((3, self.num_chains, self.num_classes))
        targets = self.groups[group].targets
        for chain in range(self.num_chains):
            parts = tables[0, chain], tables[1, chain], tables[2, chain]
            class_sums(targets, self.weight[chain], self.noise[chain], self.member, *parts)
        return tables

    def spreads(self, streams: Sequence[Sums], draws: int) -> list[np.ndarray]:
        """`early.spread_of` the targets of each group, of what was recorded in ``streams``."""
        found: dict[int, np.ndarray] = {}

        def work(i: int) -> None:
            place = self.groups[i].place
            found[i] = spread_of([sums.inclusion[place] for sums in streams], draws)

        self._share_out(work, [(i,) for i in range(len(self.groups))])
        return [found[i] for i in range(len(self.groups))]

    @property
    def num_edges(self) -> np.ndarray:
        """``(chain, target)`` edges that are present."""
        return self.edges

    def count_edges(self) -> None:
        """`edges`, of weights that were not swept."""
        for chain, weight in enumerate(self.weight):
            self.edges[chain] = np.count_nonzero(weight, axis=1)

    def whole(self, count: int) -> np.ndarray:
        """``(chain, target, tf)`` W = w + u, the background drawn; ``count`` numbers the draw."""
        found = self.weight.copy()

        def work(chain: int, i: int) -> None:
            group, h = self.groups[i], float(self.background[chain])
            generator = self._generator(OF_DRAW, count, chain, self.part[i])
            noise = self.noise[chain, group.targets]
            found[chain, group.place] += group.draw(self.residual[chain, group.place], noise, h, generator)

        self._share_out(work, self._chains_of_groups())
        return found

    def weights_at(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(chain, edge)`` mean and sd of W = w + u given the weights, of the edges at ``place`` (edge,), target · tfs
        + tf."""
        target, tf = np.divmod(place, self.weight.shape[2])
        several = len({id(gram) for gram in self.grams[0]}) > 1 or bool(self.cut_end.any())
        whole: np.ndarray | slice = slice(None)
        parts = [(0, whole)]
        if several:
            group_of = np.empty(self.weight.shape[1], np.int64)
            for i, group in enumerate(self.groups):
                group_of[group.targets] = i
            order = np.argsort(group_of[target], kind="stable")
            bounds = np.searchsorted(group_of[target][order], np.arange(len(self.groups) + 1))
            parts = [(i, order[bounds[i] : bounds[i + 1]]) for i in range(len(self.groups))]
        mean, sd = np.empty((2, self.num_chains, len(place)))

        def work(chain: int) -> None:
            for i, mine in parts:
                gram = self._gram(chain, i)
                moments = edge_moments if isinstance(gram, Gram) else cut_edge_moments
                mean[chain, mine], sd[chain, mine] = moments(target[mine], tf[mine], gram, self._targets(chain))

        self._share_out(work, [(chain,) for chain in range(self.num_chains)])
        return mean, sd

    # -- to another process ----
    def __getstate__(self) -> dict:
        """Gram matrices, and what is stored to interpolate, are made again where they are needed."""
        made = {"grams": [], "cuts": [], "stored": [None] * len(self.groups), "window": None, "_pool": None}
        return {**self.__dict__, **made, "was": self.window}

    def __setstate__(self, state: dict) -> None:
        window = state.pop("was")
        self.__dict__.update(state)
        self.set_window(window)
        self.set_grams()
