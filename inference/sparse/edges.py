r"""Compiled steps on the edges of one target, with its other weights and its noise given.

Given the other edges, and the background integrated out, the score of regulator j is :math:`c = r_j + \tilde G_{jj}
w_j`, and with :math:`K = 1/(\tilde G_{jj} + \tau^{-2})`

.. math:: \operatorname{logit} P(\gamma_j = 1\mid\cdot) = \operatorname{logit}\pi_j - \tfrac12\frac{(sm)^2}{\tau^2}
          + \tfrac12\log\frac{K}{\tau^2} + \tfrac12 K\Big(\frac{c}{\sigma} + \frac{sm}{\tau^2}\Big)^2, \qquad
          w_j\mid\gamma_j = 1 \sim N\Big(\sigma K\big(\tfrac{c}{\sigma} + \tfrac{sm}{\tau^2}\big),\ \sigma^2 K\Big).
"""

import math

import numpy as np

from .compiled import pasted
from .random_numbers import normal
from .tables import Edges, Gram, Targets, Terms

NEVER, ALWAYS = np.float32(-1e30), np.float32(1e30)  # log-odds of what may not exist, and of what is to be looked at


@pasted
def prepare(target: int, gram: Gram, terms: Terms, state: Targets, scratch: np.ndarray) -> Edges:
    """The constants of a target at the current hyperparameters, in ``scratch`` (5, tf) float32."""
    own, matrix, num_tfs = state.own[target], gram.matrix, gram.matrix.shape[0]
    correction = 0.0
    diagonal, half, odds, pull, watch = terms.diagonal, terms.half, terms.odds, terms.pull, scratch[0]
    by_class = terms.member.size > 1
    if by_class:
        odds, pull, member = scratch[1], scratch[2], terms.member[target]
        for j in range(num_tfs):
            odds[j] = terms.logit[member[j]] + terms.bend[j]
            pull[j] = terms.pull[member[j]]
    if own >= 0:
        correction, mine = float(gram.correction[own]), matrix[own]
        given, shared = odds, diagonal
        odds, diagonal, half = scratch[1], scratch[3], scratch[4]
        for j in range(num_tfs):
            d = float(shared[j]) + correction * float(mine[j]) ** 2
            k = 1.0 / (d + 1.0 / terms.width)
            diagonal[j] = d
            half[j] = 0.5 * k
            odds[j] = given[j] - terms.bend[j] + 0.5 * math.log(k / terms.width)
        odds[own] = NEVER
    weight = state.weight[target]
    for j in range(num_tfs):
        watch[j] = odds[j] if weight[j] == np.float32(0) else ALWAYS
    return Edges(
        matrix,
        weight,
        state.residual[target],
        diagonal,
        odds,
        half,
        pull,
        watch,
        state.sse[target : target + 1],
        own,
        correction,
        terms.width,
    )


@pasted
def gram_of(edges: Edges, i: int, j: int) -> float:
    """G̃_ij of this target."""
    value = float(edges.gram[i, j])
    if edges.own >= 0:
        value += edges.correction * float(edges.gram[edges.own, i]) * float(edges.gram[edges.own, j])
    return value


@pasted
def move(edges: Edges, j: int, value: float) -> None:
    """Set the weight of regulator j; the residual and its sum of squares follow."""
    new = np.float32(value)
    step = new - edges.weight[j]
    if step == np.float32(0):
        return
    edges.sse[0] += float(step) * (float(edges.diagonal[j]) * float(step) - 2.0 * float(edges.residual[j]))
    edges.weight[j] = new
    edges.watch[j] = edges.odds[j] if new == np.float32(0) else ALWAYS
    # unsigned: no place is counted from the end; and no view of a row, whose making takes longer than the loop
    row = np.uint64(j)
    for k in range(np.uint64(len(edges.residual))):
        edges.residual[k] -= step * edges.gram[row, k]
    if edges.own >= 0:
        mine = np.uint64(edges.own)
        more = np.float32(float(step) * edges.correction * float(edges.gram[mine, row]))
        for k in range(np.uint64(len(edges.residual))):
            edges.residual[k] -= more * edges.gram[mine, k]


@pasted
def draw_weight(edges: Edges, j: int, z: float, sd: float, stream: np.ndarray) -> float:
    """The weight of an edge that exists: z is c/σ + pull."""
    k = 2.0 * float(edges.half[j])
    return sd * (k * z + math.sqrt(k) * normal(stream))


@pasted
def draw_both(edges: Edges, i: int, j: int, sd: float, stream: np.ndarray) -> None:
    """The weights of two edges that both exist, jointly."""
    both = gram_of(edges, i, j)
    a = float(edges.diagonal[i]) + 1.0 / edges.width
    b = float(edges.diagonal[j]) + 1.0 / edges.width
    wi, wj = float(edges.weight[i]), float(edges.weight[j])
    ci = (float(edges.residual[i]) + float(edges.diagonal[i]) * wi + both * wj) / sd + float(edges.pull[i])
    cj = (float(edges.residual[j]) + float(edges.diagonal[j]) * wj + both * wi) / sd + float(edges.pull[j])
    given = b - both * both / a  # precision of j with i integrated out
    if not given > 0.0:
        return
    new_j = (cj - both * ci / a) / given + normal(stream) / math.sqrt(given)
    new_i = (ci - both * new_j) / a + normal(stream) / math.sqrt(a)
    move(edges, i, sd * new_i)
    move(edges, j, sd * new_j)


@pasted
def twin_odds(
    edges: Edges, i: int, j: int, sd: float
) -> tuple[float, float, float, float, float, float, float, float, float]:
    """Of two regulators together, their weights integrated out: z of each without both, the precision of the first, of
    the second given it, their product, what the first leaves of the second; and the log-odds, against neither, of the
    first alone, the second alone, and both."""
    both = gram_of(edges, i, j)
    wi, wj = float(edges.weight[i]), float(edges.weight[j])
    zi = (float(edges.residual[i]) + float(edges.diagonal[i]) * wi + both * wj) / sd + float(edges.pull[i])
    zj = (float(edges.residual[j]) + float(edges.diagonal[j]) * wj + both * wi) / sd + float(edges.pull[j])
    one = float(edges.odds[i]) + float(edges.half[i]) * zi * zi
    other = float(edges.odds[j]) + float(edges.half[j]) * zj * zj
    a, b = float(edges.diagonal[i]) + 1.0 / edges.width, float(edges.diagonal[j]) + 1.0 / edges.width
    given = max(b - both * both / a, 1.0 / edges.width)  # rounding can make twins correlate above one
    rest = zj - both * zi / a
    alone = float(edges.half[j]) * 2.0
    all_two = one + float(edges.odds[j]) + 0.5 * (rest * rest / given - math.log(given * alone))
    return zi, zj, a, given, both, rest, one, other, all_two
