"""What a worker does with its share of the targets: pure functions of a state, so that what is lost is made again."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..runs.threads import one_torch_thread
from .background import Background, Spectrum
from .cuts import Cuts
from .start import Ridge
from .swept import EdgePriors, SweptTargets, TargetStatistics
from .tables import Partners, Sums
from .window import Window


class Shared(NamedTuple):
    """What all shares have in common; one a worker."""

    spectrum: Spectrum
    partners: Partners


class ShareData(NamedTuple):
    """What the data say of the targets of one share, in pieces: by group ``own``, ``score``, ``square`` and ``cuts`` as
    in `Background`, and its ``spectrum``, None where it is that of all; the rest as in `TargetStatistics`."""

    own_of: list[np.ndarray]
    score: list[np.ndarray]
    square: list[np.ndarray]
    cuts: list[Cuts | None]
    spectrum: list[Spectrum | None]
    part: list[int]
    member: np.ndarray
    num_classes: int
    own: np.ndarray
    dof: np.ndarray
    number: np.ndarray


class Chains(NamedTuple):
    """As of `SparseKernel`."""

    num_chains: int
    seed: int
    sweeps: int


class Start(NamedTuple):
    """Where chains begin: of `SweptTargets.begin`, ``ridge`` of these groups, ``h`` (chain,)."""

    ridge: Ridge
    apart: list[float]
    h: torch.Tensor


class Restored(NamedTuple):
    """Arrays of `SweptTargets` as a checkpoint had them, and what had been recorded, by chain."""

    weight: np.ndarray
    residual: np.ndarray
    sse: np.ndarray
    noise: np.ndarray
    h: torch.Tensor
    window: Window | None
    streams: list[Sums] | None


class Block(NamedTuple):
    """A block of sweeps: ``priors`` by chain, the number of its ``first`` sweep, ``effort`` of all targets of the
    network, whether its last sweep is recorded."""

    priors: list[EdgePriors]
    first: int
    effort: np.ndarray
    record: bool


class Share(NamedTuple):
    """The state of a share, never changed once it is made."""

    swept: SweptTargets
    streams: list[Sums] | None


class Found(NamedTuple):
    """What is told of a share after a block: ``noise`` and ``sse`` (chain, target), ``edges`` (chain, target) how many
    are present; by group ``classes``, of those with present edges their place and (3, …) sums, by chain; and
    ``squares``, by chain and group Σ z²/σ² (tf,) and z of the targets that are heard one by one."""

    noise: np.ndarray
    sse: np.ndarray
    edges: np.ndarray
    classes: list[list[tuple[np.ndarray, np.ndarray]]]
    squares: list[list[tuple[np.ndarray, np.ndarray]]]


def shared_of(spectrum: Spectrum, partners: Partners) -> Shared:
    """What all shares read, as a task of its own."""
    return Shared(spectrum, partners)


def given(value: Block) -> Block:
    """A message that many tasks read is a task too: sent once, and made again where it is lost."""
    return value


def begun(shared: Shared, data: ShareData, chains: Chains, start: "Start | Restored") -> Share:
    """The first state of a share."""
    with one_torch_thread():
        swept = SweptTargets(_statistics(shared, data), **chains._asdict(), threads=1)
        if isinstance(start, Start):
            swept.begin(*start)
            return Share(swept, None)
        for name in ("weight", "residual", "sse", "noise"):
            getattr(swept, name)[:] = getattr(start, name)
        swept.count_edges()
        swept.background = start.h
        swept.set_window(start.window)
        swept.set_grams()
        return Share(swept, start.streams)


def _statistics(shared: Shared, data: ShareData) -> TargetStatistics:
    groups, first = [], 0
    pieces = zip(data.own_of, data.score, data.square, data.cuts, data.spectrum, strict=True)
    for own, score, square, cuts, spectrum in pieces:
        targets = np.arange(first, first + len(own))
        groups.append(Background(targets, own, spectrum or shared.spectrum, score, square, cuts))
        first += len(own)
    rest = (data.part, shared.partners, data.member, data.num_classes, data.own, data.dof, data.number)
    return TargetStatistics(groups, *rest)


def after_block(share: Share, block: Block) -> Share:
    """The share after a block of sweeps."""
    with one_torch_thread():
        swept, streams = _copied(share)
        swept.effort = block.effort[swept.number]
        if block.record and streams is None:
            streams = empty_streams(swept.weight.shape)
        swept.sweep(block.priors, block.first, streams if block.record else None)
        return Share(swept, streams)


def at_background(share: Share, h: torch.Tensor, window: Window | None) -> Share:
    """The share with the background at other h."""
    with one_torch_thread():
        swept, streams = _copied(share)
        swept.refresh(h, window)
        return Share(swept, streams)


def found_of(share: Share) -> Found:
    """What is told of a share."""
    with one_torch_thread():
        swept = share.swept
        classes = []
        for group in range(len(swept.groups)):
            tables = swept.class_tables(group)
            places = [np.flatnonzero(part) for part in tables[0]]
            classes.append([(place, tables[:, chain, place]) for chain, place in enumerate(places)])
        told = [[(one.total, one.heard) for one in parts] for parts in swept.likelihoods()]
        return Found(swept.noise, swept.sse, swept.num_edges, classes, told)


def levels_of(share: Share) -> tuple[np.ndarray, np.ndarray]:
    """``noise`` and ``sse`` alone."""
    return share.swept.noise, share.swept.sse


def weights_of(share: Share) -> tuple[np.ndarray, np.ndarray]:
    """Places and values of the weights that are not zero."""
    flat = share.swept.weight.ravel()
    place = np.flatnonzero(flat)
    return place, flat[place]


def residuals_of(share: Share) -> np.ndarray:
    """`SweptTargets.residual` of a share."""
    return share.swept.residual


def streams_of(share: Share) -> list[Sums] | None:
    """What was summed up of a share's draws, by chain; None before any was recorded."""
    return share.streams


def spreads_of(share: Share, draws: int) -> list[np.ndarray]:
    """`SweptTargets.spreads` of a share of which something was recorded."""
    return share.swept.spreads(share.streams or [], draws)


def whole_of(share: Share, count: int) -> np.ndarray:
    """`SweptTargets.whole` of a share."""
    with one_torch_thread():
        return share.swept.whole(count)


def weights_at(share: Share, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`SweptTargets.weights_at` of a share."""
    return share.swept.weights_at(place)


def empty_streams(shape: Sequence[int]) -> list[Sums]:
    """Sums of nothing, ``shape`` (chain, target, tf)."""
    shared = [np.zeros(shape[1:], kind) for kind in (np.float64, np.float64, np.float32, np.float32)]
    return [Sums(np.zeros(shape[1:], np.float32), *shared) for _ in range(shape[0])]


def _copied(share: Share) -> Share:
    """A share that may be changed: of the same data, with arrays of its own."""
    swept = copy.copy(share.swept)
    for name in ("weight", "residual", "sse", "noise", "edges"):
        setattr(swept, name, getattr(swept, name).copy())
    if share.streams is None:
        return Share(swept, None)
    moments = [part.copy() for part in share.streams[0][1:]]
    return Share(swept, [Sums(part.inclusion.copy(), *moments) for part in share.streams])
