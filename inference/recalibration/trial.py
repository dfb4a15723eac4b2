"""Made targets on the user's regulators: what a fit says of their edges, and what is true."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch

from ...models import ExpressionData, Model, RegressionNetwork
from ...models.data.out_of_fold import OutOfFold, contexts_of, within_contexts
from ...models.simulators import World, WorldKind, matched_world, prior_like, seen_through
from ...models.simulators.semi_synthetic import FEWEST_TFS, MOST_ACTING, WEIGHT, with_targets
from ...priors import PriorNetwork
from ..engines.base import Engine
from ..engines.sparse_gibbs import SparseGibbs, refusal
from ..runs.threads import one_thread_each
from .coarsening import coarsened
from .evidence import evidence_of
from .witnesses import Witnesses, measured_well

if TYPE_CHECKING:
    from distributed import Client

    from ..sparse.kernel import SparseKernel

MakeModel = Callable[[ExpressionData, Mapping[str, PriorNetwork], Sequence[str]], RegressionNetwork]
"""Cells, prior networks and targets to the network that is fitted."""
MOVED = 0.5  # of the edges of made prior networks, at random places: no source is right

UNSEEN = 0.5  # of genes of which regulators explain nothing, the share that has some, measured too badly to be seen
NOTHING = 1e-2  # variance of a weight over that of its estimate: of a score of four sd, a tenth of a unit of log-odds
# Of numbers of regulators, where cells cannot tell: in yeast they fall with exp(−0.45 k) (Guelzim, Bottani, Bourgine &
# Képès 2002, Nat Genet 31:60).
FALLING = 0.45
FEWEST_CELLS = 20
KINDS = 3  # of worlds; see `benches_like`
HIDDEN = 2  # the kind with hidden causes
FEWEST_MOST = (1, MOST_ACTING)  # regulators of a target, unless fits of the real genes state more
MANY_WEIGHT = (0.0, 2.0)  # sizes of weights, then: of many regulators some do next to nothing


def no_trial(model: Model, engine: Engine, num_cells: int) -> str | None:
    """Why what a fit of this model by this engine says cannot be tried on made targets, in words; None where it can."""
    reason = refusal(model)
    if reason is not None:
        return reason.partition(":")[0]
    if not engine.draws_chains or engine.learns_on_simulations:
        return f"the trial is by the exact sampler, and this fit by {engine.name}"
    number = len(model.coords["tf"])
    if number < FEWEST_TFS:
        return f"it needs {FEWEST_TFS} candidate regulators, there are {number}"
    if num_cells < FEWEST_CELLS:
        return f"it needs {FEWEST_CELLS} cells, there are {num_cells}"
    return None


@dataclass(frozen=True)
class TrialOptions:
    """How long the trial is.

    Parameters
    ----------
    targets
        Made targets of each world.
    worlds
        Worlds of each of the three kinds, at least two.
    warmup, samples, sweeps
        Blocks of sweeps of one chain of `SparseGibbs`, before and after adaptation stops, and their size.
    hidden
        Share of the regulators that act and are not offered, in a third of the worlds.
    heard
        Effective number of cells of the posterior on regulators averaged with what other genes say of them
        (`witnesses`), or as measured, where nearly all genes are regulators. None: there is no such posterior.
    cells
        Effective numbers of cells of the other posteriors that the map is learned from, besides that of all cells. At
        a hundred what is certain of hundreds of regulators is not yet certain of what is not there: without 400 a list
        of 400 regulators was empty, on data from the model too.
    raised
        Times as many edges as of made targets that every posterior must state of real genes, for made targets to have
        more than one to four regulators (`causes.causes_like`); infinity for one to four whatever is stated.
    """

    targets: int = 60
    worlds: int = 3
    warmup: int = 20
    samples: int = 25
    sweeps: int = 3
    hidden: float = 0.5
    heard: float | None = 100.0
    cells: tuple[float, ...] = (400.0,)
    raised: float = 1.25

    def __post_init__(self) -> None:
        if min(self.targets, self.samples, self.sweeps) < 1 or self.worlds < 2 or self.warmup < 0:
            raise ValueError(
                f"{self}: expected at least one target, two worlds of a kind (one to learn on, one to score), one "
                "sample, one sweep and no negative warm-up"
            )
        heard = () if self.heard is None else (self.heard,)
        if any(not number >= 2 for number in (*heard, *self.cells)):
            raise ValueError(f"effective numbers of cells {(*heard, *self.cells)}: expected at least 2")
        if not 0 <= self.hidden < 1:
            raise ValueError(f"`hidden` is {self.hidden}, expected a share of at least 0 and below 1")
        if not self.raised >= 1:
            raise ValueError(f"`raised` is {self.raised}, expected at least 1")


@dataclass(frozen=True, eq=False)
class Bench:
    """Worlds of one kind that offer the same regulators: they are fitted together, as the genes of a data set are.

    ``cells`` the real ones, ``tfs`` the regulators offered, ``made`` (cell, target) values of the targets of all
    worlds; ``networks`` the prior networks around their truth; ``targets`` (target,) names, ``world`` (target,) the
    number of the world that each is of, ``present`` (tf, target) its truth.
    """

    cells: ExpressionData
    tfs: tuple[str, ...]
    made: torch.Tensor
    networks: dict[str, PriorNetwork]
    targets: tuple[str, ...]
    world: np.ndarray
    present: np.ndarray

    def data(self) -> ExpressionData:
        """The regulators and the targets, put together anew: they are not held for all benches at once."""
        return with_targets(self.cells, self.tfs, self.targets, self.made)


class Made(NamedTuple):
    """What is kept of a `World`: its ``number``, the regulators offered, names and values (cell, target) of its
    targets, the truth (tf, target), and prior networks around that."""

    number: int
    tfs: tuple[str, ...]
    targets: tuple[str, ...]
    values: torch.Tensor
    present: np.ndarray
    networks: dict[str, PriorNetwork]


def benches_like(
    data: ExpressionData,
    donors: OutOfFold,
    networks: Mapping[str, PriorNetwork],
    options: TrialOptions,
    *,
    seed: int,
    causes: Mapping[int, tuple[int, int]] | None = None,
    further: bool = False,
    threads: int = 1,
) -> list[Bench]:
    """Worlds of three kinds, `TrialOptions.worlds` of each: targets that answer to the regulators as measured; to what
    other genes say that they are (`seen_through`); and that with some of the regulators hidden.

    Noise is the residuals of real genes, and the regulators offered explain as much of each target as they do of the
    gene that it stands for (`matched_world`). World number w is of kind w % 3 and of round w // 3. Where more than 0.3
    of the regulators' values are zero, much of what was measured of them is dropout and low depth, which targets never
    saw: there are no worlds of the first kind, and as such cells hardly tell how many regulators a gene has, more of
    them are rarer (`FALLING`). ``donors`` are of `donors_of` the same ``data``, some of them explained.
    Of targets that stand for genes of which nothing is explained, some have regulators that nothing shows of
    (`with_unseen`). ``causes`` by kind, from 0, the fewest and the most regulators of a target (`causes.causes_like`),
    which then have weights of more unequal sizes: worlds of these kinds alone are made. Default all, one to four.
    ``further``: instead of all of these, one fewer of the third kind, of later rounds, in which targets answer to
    regulators halfway between what was measured and what other genes say. ``threads`` worlds are made at once.
    """
    through = seen_through(data, seed=seed)
    hidden = min(options.hidden, 1 - 2 / len(data.tfs))  # two regulators are left
    well = measured_well(data)
    falling = 0.0 if well else FALLING
    turns, told = range(options.worlds), through
    if further:
        turns, told = range(options.worlds, 2 * options.worlds - 1), halfway(data, through) if well else through
    kinds: tuple[tuple[float, np.ndarray | None], ...] = ((0.0, None), (0.0, through), (hidden, told))
    made: list[tuple[int, int, float, np.ndarray | None]] = [
        (turn, place, share, levels)
        for turn in turns
        for place, (share, levels) in enumerate(kinds)
        if (levels is not None or well) and (causes is None or place in causes) and (place == HIDDEN or not further)
    ]

    def of(which: tuple[int, int, float, np.ndarray | None]) -> Made:
        turn, place, share, levels = which
        number, own = len(kinds) * turn + place, seed + 1000 * turn + 7
        fewest, most = FEWEST_MOST if causes is None else causes[place]
        weight = WEIGHT if causes is None else MANY_WEIGHT
        kind = WorldKind(share, "residual", fewest_acting=fewest, most_acting=most, falling=falling, weight=weight)
        seeds = {"seed": own, "division": seed + 7}
        world = matched_world(data, donors, kind, num_targets=options.targets, levels=levels, **seeds)
        world = renamed(with_unseen(world, num_tfs=len(data.tfs), seed=own + 1), f"w{number}")
        sources = {
            name: prior_like(network, data, world, moved=MOVED, seed=own + 101 * i)
            for i, (name, network) in enumerate(networks.items())
        }
        values = world.data.X[:, len(world.data.tfs) :].clone()  # the regulators are those of all
        return Made(number, world.data.tfs, world.targets, values, world.present, sources)

    groups: dict[tuple[int, tuple[str, ...]], list[Made]] = {}
    with ThreadPoolExecutor(threads) as pool:
        for (_, place, _, _), found in zip(made, pool.map(of, made), strict=True):
            groups.setdefault((place, found.tfs), []).append(found)
    return [joined(data, worlds) for worlds in groups.values()]


def halfway(data: ExpressionData, levels: np.ndarray) -> np.ndarray:
    """``(cell, tf)`` means of what was measured of the regulators and of ``levels``, in standard deviations."""
    measured, _, _ = within_contexts(data.select_genes(data.tfs).X.numpy(force=True), contexts_of(data))
    return (measured + levels) / 2


def with_unseen(world: World, *, num_tfs: int, seed: int) -> World:
    """The world in which half of the targets that answer to nothing have regulators all the same (`UNSEEN`): one to
    four at random of ``num_tfs``, of which those that are offered count."""
    rng = np.random.default_rng([seed, 12])
    offered, most = len(world.data.tfs), min(MOST_ACTING, max(1, num_tfs // 2))
    sign = world.sign.copy()
    for g in np.flatnonzero(world.r2 == 0):
        if rng.random() < UNSEEN:
            acting = rng.choice(num_tfs, size=rng.integers(1, most + 1), replace=False)
            sign[acting[acting < offered], g] = 1
    return replace(world, sign=sign)


def renamed(world: World, start: str) -> World:
    """The world with names of targets that no other world has."""
    names = tuple(f"{start}_{name}" for name in world.targets)
    return replace(world, targets=names, data=replace(world.data, genes=(*world.data.tfs, *names)))


def joined(data: ExpressionData, worlds: Sequence[Made]) -> Bench:
    """Worlds on these cells that offer the same regulators."""
    networks = {
        name: PriorNetwork.from_edges(pd.concat([world.networks[name].to_frame() for world in worlds]), name=name)
        for name in worlds[0].networks
    }
    return Bench(
        data,
        worlds[0].tfs,
        torch.cat([world.values for world in worlds], dim=1),
        networks,
        tuple(name for world in worlds for name in world.targets),
        np.concatenate([np.full(len(world.targets), world.number) for world in worlds]),
        np.concatenate([world.present for world in worlds], axis=1),
    )


@dataclass(frozen=True, eq=False)
class Stated:
    """Of the pairs of worlds: ``probability`` (posterior, pair) that was stated, ``evidence`` (number, pair) beside it,
    whether the edge is ``true`` (pair,), and its ``world`` (pair,)."""

    probability: np.ndarray
    evidence: np.ndarray
    true: np.ndarray
    world: np.ndarray

    def of(self, kept: np.ndarray) -> "Stated":
        """Some of the pairs, by a mask (pair,)."""
        return Stated(self.probability[:, kept], self.evidence[:, kept], self.true[kept], self.world[kept])

    @classmethod
    def together(cls, parts: "Sequence[Stated]") -> "Stated":
        """The pairs of all parts."""
        join = lambda name, axis: np.concatenate([getattr(part, name) for part in parts], axis=axis)
        return cls(join("probability", 1), join("evidence", 1), join("true", 0), join("world", 0))


def short_fit(
    model: RegressionNetwork,
    cells: float | None,
    options: TrialOptions,
    *,
    seed: int,
    client: "Client | None" = None,
    threads: int | None = None,
) -> np.ndarray:
    """``(tf, target)`` inclusion of a short fit whose likelihood counts for ``cells`` cells; with ``client`` by its
    workers, else by ``threads``, default as many as torch may use. Where its background has taken up all that there is
    to explain (`says_nothing`) it is the same for all edges, that of the prior."""
    from ..sparse.moments import SparseCollector  # here: numba takes half a second

    coarse = coarsened(model, cells)
    with one_thread_each() as number:
        engine = SparseGibbs(num_chains=1, sweeps=options.sweeps)
        kernel = engine.kernel(coarse, seed=seed, client=client, threads=threads or number)
        collector = SparseCollector(kernel.model, 1, options.samples, moments=client is not None)
        kernel.start(options.warmup)
        for block in range(options.warmup + options.samples):
            kernel.step(collector.streams if block >= options.warmup else None)
            if block >= options.warmup // 2 and says_nothing(coarse, kernel):
                allowed = model.edge_prior.allowed.cpu().numpy()
                return allowed / (1 + np.exp(-kernel.prior.edge_logit.first))
        kernel.hand_over(collector.streams)
    return collector.table[0].T / np.float32(options.samples)


def says_nothing(model: RegressionNetwork, kernel: "SparseKernel") -> bool:
    """Whether the slab is so narrow that no score there could be moves the odds of an edge: of few effective cells and
    many regulators the background explains everything, and which edges exist, and how many, is a draw from the prior.
    """
    width = kernel.state["slab_scale"] ** 2 - kernel.background
    return bool((width * float(model.gram.diagonal(dim1=-2, dim2=-1).max()) < NOTHING).all())


def stated(
    benches: Sequence[Bench],
    make: MakeModel,
    cells: Sequence[float | None],
    options: TrialOptions,
    *,
    witnesses: Witnesses | None = None,
    seed: int,
    threads: int = 1,
) -> Stated:
    """What fits of all worlds say of the edges that may exist: with a likelihood of each number of ``cells``, after the
    first of which comes, if there are ``witnesses``, that on regulators as the second half of them says; and what the
    cells say beside them (`evidence_of`). ``threads`` benches are fitted at once, by a thread each."""

    def of(i: int, bench: Bench) -> Stated:
        data = bench.data()
        model = make(data, bench.networks, bench.targets)
        tf, target = np.nonzero(model.edge_prior.allowed.cpu().numpy())
        fitted = lambda network, number: short_fit(network, number, options, seed=seed + i, threads=1)[
            tf, target
        ].astype(float)
        found = [fitted(model, number) for number in cells]
        if witnesses is not None:
            heard = make(witnesses.averaged(data, 1), bench.networks, bench.targets)
            found.insert(1, fitted(heard, options.heard))
        asked = witnesses if witnesses is not None and witnesses.well else None
        second = np.ones(len(bench.targets), dtype=int)
        evidence = evidence_of(model, data, asked, second)[:, tf, target]
        return Stated(np.stack(found), evidence, bench.present[tf, target], bench.world[target])

    with ThreadPoolExecutor(threads) as pool:
        return Stated.together(list(pool.map(of, range(len(benches)), benches)))


def heard_fit(
    model: RegressionNetwork,
    data: ExpressionData,
    networks: Mapping[str, PriorNetwork],
    make: MakeModel,
    witnesses: Witnesses,
    options: TrialOptions,
    *,
    seed: int,
    client: "Client | None" = None,
    threads: int | None = None,
) -> np.ndarray:
    """``(tf, target)`` inclusion of the edges of a network of these cells on regulators averaged with what other genes
    say of them: each target by what the half of the genes says that it is not in. Of edges into regulators as measured,
    with as many effective cells: what the same witnesses say of two regulators is alike."""
    halves = witnesses.asked(model.targets)
    found = np.zeros((len(model.tfs), len(model.targets)), np.float32)  # of millions of edges
    for half in np.unique(halves).tolist():
        own = np.flatnonzero(halves == half)
        names = [model.targets[i] for i in own]
        cells = data if half < 0 else witnesses.averaged(data.select_genes((*data.tfs, *names)), half)
        part = make(cells, overlapping(networks, data.tfs, names), names)
        found[:, own] = short_fit(part, options.heard, options, seed=seed, client=client, threads=threads)
    return found


def overlapping(
    networks: Mapping[str, PriorNetwork], tfs: Sequence[str], targets: Sequence[str]
) -> dict[str, PriorNetwork]:
    """Prior networks that say something of edges into these targets, a part of those that they are known for."""
    found = {}
    for name, network in networks.items():
        with suppress(ValueError):  # of no overlap
            network.align(tfs, targets)
            found[name] = network
    return found
