r"""Compiled sums over the edges: moments of the weights with each edge's own draw averaged out, and what the
hyperparameters need.

Of the background, :math:`u\mid w, y \sim N\big(h\,r,\ \sigma^2 h (1 - h \tilde G)\big)`: its mean is the residual that
the sweep keeps anyway. With p the probability of the edge given the others, c its score and N(μ, V) the slab's draw,

.. math:: E[w_j + u_j] = h c + (1 - h \tilde G_{jj})\, p\,\mu .
"""

import math

import numpy as np

from .compiled import compiled, inlined
from .edges import prepare, twin_odds
from .tables import Edges, Gram, Sums, Targets, Terms

LOG2E = np.float32(1.4426950408889634)


@compiled
def record_targets(
    targets: np.ndarray, gram: Gram, terms: Terms, twins: np.ndarray, state: Targets, sums: Sums
) -> None:
    """Add the state of ``targets`` (index,) to ``sums``, of which all but the inclusion may have no rows, and is then
    left out; ``twins`` (pair, 2) as in `Partners`."""
    with_moments = len(sums.first) > 0
    num_tfs, h = gram.matrix.shape[0], gram.background
    pairs = np.zeros(num_tfs, np.int64)  # in which a regulator is
    for pair in range(len(twins)):
        pairs[twins[pair, 0]] += 1
        pairs[twins[pair, 1]] += 1
    scratch = np.empty((5, num_tfs), np.float32)
    score, probability = np.empty(num_tfs, np.float32), np.empty(num_tfs, np.float32)
    bits = np.empty(num_tfs, np.int32)
    for target in targets:
        edges = prepare(target, gram, terms, state, scratch)
        noise = state.noise[target]
        sd = math.sqrt(noise)
        inverse = np.float32(1.0 / sd)
        # few arrays in each loop: of many the compiler does not find out that they are apart, and takes one number at a
        # time
        scores_of(edges.residual, edges.diagonal, edges.weight, score)
        odds_of(score, edges.pull, edges.odds, edges.half, inverse, probability)
        logistic(probability, bits)
        total = sums.inclusion[target]
        for j in range(num_tfs):
            total[j] += probability[j]
        if with_moments:
            add_moments(edges, score, probability, h, noise, sums.first[target], sums.second[target])
        # of a pair that the data can hardly tell apart, which of the two it was is averaged out as well
        for pair in range(len(twins)):
            i, j = twins[pair, 0], twins[pair, 1]
            if i != edges.own and j != edges.own:
                first_of, second_of = twin_probabilities(edges, i, j, sd)
                total[i] += (np.float32(first_of) - probability[i]) / np.float32(pairs[i])
                total[j] += (np.float32(second_of) - probability[j]) / np.float32(pairs[j])
        for j in range(num_tfs):
            if with_moments and edges.weight[j] != np.float32(0):
                d, k = float(edges.diagonal[j]), 2.0 * float(edges.half[j])
                c = float(edges.residual[j]) + d * float(edges.weight[j])
                left = 1.0 - h * d
                mean = h * c + left * sd * k * (c / sd + float(edges.pull[j]))
                variance = left * left * noise * k + noise * h * left
                share = 0.5 * math.erfc(-mean / math.sqrt(2.0 * variance))
                sums.positive[target, j] += share
                sums.negative[target, j] += 1.0 - share


@inlined
def add_moments(
    edges: Edges, score: np.ndarray, probability: np.ndarray, h: float, noise: float, first: np.ndarray,
    second: np.ndarray,
) -> None:  # fmt: skip
    """``first`` and ``second`` (tf,) float64 grow by the moments of each weight, its own draw averaged out."""
    sd = math.sqrt(noise)
    for j in range(len(first)):
        d, k = float(edges.diagonal[j]), 2.0 * float(edges.half[j])
        c = float(score[j])
        mean = sd * k * (c / sd + float(edges.pull[j]))
        left, spread = 1.0 - h * d, noise * k
        floor, p = h * c, float(probability[j])
        first[j] += floor + left * p * mean
        second[j] += floor * floor + left * (2.0 * floor * p * mean + left * p * (mean * mean + spread) + noise * h)


@inlined
def scores_of(residual: np.ndarray, diagonal: np.ndarray, weight: np.ndarray, score: np.ndarray) -> None:
    """``score`` (tf,) of each regulator without its own edge."""
    for j in range(len(score)):
        score[j] = residual[j] + diagonal[j] * weight[j]


@inlined
def odds_of(
    score: np.ndarray, pull: np.ndarray, odds: np.ndarray, half: np.ndarray, inverse: np.float32, out: np.ndarray
) -> None:
    """``out`` (tf,) log-odds of each edge, in units of log 2, with their sign turned."""
    for j in range(len(out)):
        z = score[j] * inverse + pull[j]
        out[j] = -(odds[j] + half[j] * z * z) * LOG2E


@inlined
def logistic(value: np.ndarray, bits: np.ndarray) -> None:
    """``value`` (tf,) y becomes 1 / (1 + 2^y), as arithmetic on floats, which compiles to vector instructions: 2^y =
    2^⌊y⌋ 2^(y−⌊y⌋); ``bits`` (tf,) is scratch."""
    for j in range(len(value)):
        y = min(max(value[j], np.float32(-120)), np.float32(120))
        whole = np.int32(y + np.float32(128)) - np.int32(128)  # towards zero from above: the floor
        part = np.float32(y - np.float32(whole))
        bits[j] = (whole + np.int32(127)) << np.int32(23)
        value[j] = np.float32(1) + part * (
            np.float32(0.6931471806)
            + part
            * (
                np.float32(0.2402264791)
                + part
                * (
                    np.float32(0.0555033088)
                    + part
                    * (np.float32(0.0096181292) + part * (np.float32(0.0013333558) + part * np.float32(0.0001550170)))
                )
            )
        )
    power = bits.view(np.float32)
    for j in range(len(value)):
        value[j] = np.float32(1) / (np.float32(1) + power[j] * value[j])


@inlined
def twin_probabilities(edges: Edges, i: int, j: int, sd: float) -> tuple[float, float]:
    """That each of two edges exists, given all others."""
    _, _, _, _, _, _, one, other, both = twin_odds(edges, i, j, sd)
    top = max(max(one, other), max(both, 0.0))
    none, first, second, two = math.exp(-top), math.exp(one - top), math.exp(other - top), math.exp(both - top)
    total = none + first + second + two
    return (first + two) / total, (second + two) / total


@compiled
def class_sums(
    targets: np.ndarray, weight: np.ndarray, noise: np.ndarray, member: np.ndarray, count: np.ndarray,
    linear: np.ndarray, square: np.ndarray,
) -> None:  # fmt: skip
    """Of ``targets`` (index,), number, sum and sum of squares of the present weights ``weight`` (target, tf) in units
    of the noise sd, added to the three ``(class,)`` arrays; ``member`` as in `Terms`."""
    by_class = member.size > 1
    for target in targets:
        inverse = 1.0 / math.sqrt(noise[target])
        for j in range(weight.shape[1]):
            if weight[target, j] != np.float32(0):
                place = member[target, j] if by_class else j
                value = float(weight[target, j]) * inverse
                count[place] += 1.0
                linear[place] += value
                square[place] += value * value


@compiled
def edge_moments(target: np.ndarray, tf: np.ndarray, gram: Gram, state: Targets) -> tuple[np.ndarray, np.ndarray]:
    """``(edge,)`` float64 mean and sd of W = w + u given the weights, of edges from ``tf`` to ``target`` (edge,)."""
    h = gram.background
    mean, sd = np.empty(len(target)), np.empty(len(target))
    for edge in range(len(target)):
        g, t = target[edge], tf[edge]
        own, diagonal = state.own[g], np.float64(gram.matrix[t, t])
        if own >= 0:
            diagonal += np.float64(gram.correction[own]) * np.float64(gram.matrix[own, t]) ** 2
        mean[edge] = np.float64(state.weight[g, t]) + h * np.float64(state.residual[g, t])
        sd[edge] = math.sqrt(max(state.noise[g] * h * (1.0 - h * diagonal), 0.0))
    return mean, sd


@compiled
def add_present(weight: np.ndarray, count: np.ndarray) -> None:
    """``count`` (target, tf) uint16 grows by one where ``weight`` (target, tf) is not zero."""
    for target in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            count[target, j] += np.uint16(weight[target, j] != np.float32(0))
