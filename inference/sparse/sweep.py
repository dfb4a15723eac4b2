"""The compiled Gibbs sweep over the edges and the noise of targets, hyperparameters given.

Every edge is looked at in every sweep: to look at those that are absent is a fifth of its time (0.3 of 1.6 µs a target
at 100 regulators, 0.4 of 2.1 at 400, 1.1 of 5.1 at 1,500, with 10 to 15 edges each), and nothing else would be saved by
passing them over in most sweeps.
"""

import math

import numpy as np

from .compiled import compiled, pasted
from .edges import draw_both, draw_weight, gram_of, move, prepare, twin_odds
from .random_numbers import gamma, normal, seeded, uniform
from .tables import Edges, Gram, Partners, Targets, Terms

CHUNK = 32  # regulators looked at together: where none of them is, or is likely to be, present, that is all it takes
BITS = np.uint32(1) << np.arange(CHUNK, dtype=np.uint32)
PLACES = np.zeros(37, np.int64)  # of a number with one bit, modulo 37: which bit it is
PLACES[(np.uint64(1) << np.arange(CHUNK, dtype=np.uint64)) % np.uint64(37)] = np.arange(CHUNK)
RARE = (
    1.0 / 64.0
)  # at most this probable: proposed at this rate, kept in proportion, so that most cost no random number
LOGIT_RARE = np.float32(math.log(RARE / (1.0 - RARE)))
LOG_NOT_RARE = math.log1p(-RARE)
EXCHANGE_EVERY = 3  # sweeps: it takes as long as one
TWINS_AT_ONCE = 64  # pairs drawn in a sweep; where there are more, as many at random


@compiled
def sweep_targets(
    targets: np.ndarray,
    effort: np.ndarray,
    sweeps: int,
    first: int,
    chain: int,
    seed: int,
    gram: Gram,
    terms: Terms,
    partners: Partners,
    state: Targets,
    noise_shape: float,
    noise_rate: float,
) -> None:
    """``sweeps`` sweeps, numbered from ``first``, of each of ``targets`` (index,), or as many times more as ``effort``
    (target,) says; in place."""
    num_tfs = gram.matrix.shape[0]
    scratch = np.empty((5, num_tfs), np.float32)
    active = np.empty(num_tfs, np.int64)
    stream = np.empty(1, np.uint64)
    for target in targets:
        edges = prepare(target, gram, terms, state, scratch)
        for sweep in range(first, first + sweeps * effort[target]):
            seeded(stream, seed, chain, state.number[target], sweep)
            sd = math.sqrt(state.noise[target])
            if len(partners.twins):
                draw_twins(edges, partners.twins, sd, stream)
            count = draw_each(edges, sd, active, stream)
            if (sweep - first) % EXCHANGE_EVERY == 0:
                exchange(edges, partners, active, count, sd, stream)
            shape = noise_shape + 0.5 * (state.dof[target] + count)
            state.noise[target] = draw_noise(edges, active, count, shape, noise_rate, sd, stream)
            state.edges[target] = count


@pasted
def until_candidate(stream: np.ndarray) -> int:
    """Regulators passed over before the next one that is proposed at the rate `RARE`."""
    return int(math.log(uniform(stream)) / LOG_NOT_RARE)


@pasted
def worth_drawing(edges: Edges, inverse: np.float32, start: int, stop: int) -> np.uint64:
    """Which of a chunk are present, or more likely than `RARE`: one bit each, the first the lowest."""
    found, lag = np.uint32(0), np.uint64(start)
    for j in range(np.uint64(start), np.uint64(stop)):  # unsigned: no place is counted from the end
        z = edges.residual[j] * inverse + edges.pull[j]
        likely = edges.watch[j] + edges.half[j] * z * z > LOGIT_RARE
        found += BITS[j - lag] if likely else np.uint32(0)
    return np.uint64(found)


@pasted
def draw_each(edges: Edges, sd: float, active: np.ndarray, stream: np.ndarray) -> int:
    """Every edge in turn, from a place at random on; those present are listed in ``active``, and counted."""
    num_tfs, inverse = len(edges.weight), np.float32(1.0 / sd)
    num_chunks = (num_tfs + CHUNK - 1) // CHUNK
    begin = int(uniform(stream) * num_chunks)
    candidate, count, one = until_candidate(stream), 0, np.uint64(1)  # candidate counts from the chunk's first
    for turn in range(num_chunks):
        start = (begin + turn) % num_chunks * CHUNK
        stop = min(start + CHUNK, num_tfs)
        likely = worth_drawing(edges, inverse, start, stop)
        passed = np.uint64(0)
        while True:
            left = likely & ~((one << passed) - one)
            lowest = left & (~left + one)
            place = PLACES[lowest % np.uint64(37)] if left else CHUNK
            place = min(place, candidate)
            if place >= stop - start:
                break
            j = start + place
            rate = 1.0 if (likely >> np.uint64(place)) & one else RARE
            if place == candidate:
                candidate += 1 + until_candidate(stream)
            old = edges.weight[j]
            score = float(edges.residual[j]) + float(edges.diagonal[j]) * float(old)
            z = score * inverse + float(edges.pull[j])
            odds = float(edges.odds[j]) + float(edges.half[j]) * z * z
            present = uniform(stream) * rate * (1.0 + math.exp(-odds)) < 1.0
            if present:
                move(edges, j, draw_weight(edges, j, z, sd, stream))
                active[count] = j
                count += 1
            elif old != np.float32(0):
                move(edges, j, 0.0)
            passed = np.uint64(place + 1)
            if present or old != np.float32(0):
                likely = worth_drawing(edges, inverse, start, stop)
        candidate -= stop - start
    return count


@pasted
def exchange(edges: Edges, partners: Partners, active: np.ndarray, count: int, sd: float, stream: np.ndarray) -> None:
    """As many times as there are edges: take one of them and a partner; an absent partner may take its place, with the
    weight integrated out (a Metropolis step, as of Brown, Vannucci & Fearn 1998), one that is present is drawn anew
    together with it. The number of edges stays."""
    for _ in range(count):
        place = int(uniform(stream) * count)
        i = active[place]
        choices = partners.start[i + 1] - partners.start[i]
        if choices == 0:
            continue
        j = partners.other[partners.start[i] + int(uniform(stream) * choices)]
        if edges.weight[j] != np.float32(0):
            draw_both(edges, i, j, sd, stream)
            continue
        old = float(edges.weight[i])
        zi = (float(edges.residual[i]) + float(edges.diagonal[i]) * old) / sd + float(edges.pull[i])
        zj = (float(edges.residual[j]) + gram_of(edges, i, j) * old) / sd + float(edges.pull[j])
        here = float(edges.odds[i]) + float(edges.half[i]) * zi * zi
        there = float(edges.odds[j]) + float(edges.half[j]) * zj * zj
        back = partners.start[j + 1] - partners.start[j]
        if uniform(stream) * back < math.exp(min(there - here, 50.0)) * choices:
            move(edges, i, 0.0)
            move(edges, j, draw_weight(edges, j, zj, sd, stream))
            active[place] = j


@pasted
def draw_twins(edges: Edges, twins: np.ndarray, sd: float, stream: np.ndarray) -> None:
    """Regulators that can hardly be told apart: which of the two, both or none, with both weights integrated out, then
    the weights."""
    for turn in range(min(len(twins), TWINS_AT_ONCE)):
        pair = turn if len(twins) <= TWINS_AT_ONCE else int(uniform(stream) * len(twins))
        i, j = twins[pair, 0], twins[pair, 1]
        if i == edges.own or j == edges.own:
            continue
        zi, zj, a, given, both, rest, one, other, all_two = twin_odds(edges, i, j, sd)
        top = max(max(one, other), max(all_two, 0.0))
        none, first = math.exp(-top), math.exp(one - top)
        second, pair_of_them = math.exp(other - top), math.exp(all_two - top)
        u = uniform(stream) * (none + first + second + pair_of_them)
        if u < pair_of_them:
            new_j = rest / given + normal(stream) / math.sqrt(given)
            new_i = (zi - both * new_j) / a + normal(stream) / math.sqrt(a)
            move(edges, i, sd * new_i)
            move(edges, j, sd * new_j)
        elif u < pair_of_them + first:
            move(edges, j, 0.0)
            move(edges, i, draw_weight(edges, i, zi, sd, stream))
        elif u < pair_of_them + first + second:
            move(edges, i, 0.0)
            move(edges, j, draw_weight(edges, j, zj, sd, stream))
        else:
            move(edges, i, 0.0)
            move(edges, j, 0.0)


@pasted
def draw_noise(
    edges: Edges, active: np.ndarray, count: int, shape: float, prior_rate: float, sd: float, stream: np.ndarray
) -> float:
    """σ² given the weights, whose prior is in units of it: inverse gamma, or a proposal of that where slabs have means
    (then the density has a factor exp(B/σ))."""
    square, pulled = 0.0, 0.0
    for place in range(count):
        j = active[place]
        weight = float(edges.weight[j])
        square += weight * weight
        pulled += weight * float(edges.pull[j])
    rate = prior_rate + 0.5 * (max(edges.sse[0], 0.0) + square / edges.width)
    new = rate / gamma(stream, shape)
    if pulled != 0.0:
        change = pulled * (1.0 / math.sqrt(new) - 1.0 / sd)
        if not math.log(uniform(stream)) < change:
            return sd * sd
    return new
