r"""The compiled sweep over targets that leave cells out, whose Gram matrix is :math:`\tilde G - B^\top B` (`cuts`): the
steps of `edges`, `sweep` and `record`, with this in place of what they read of a Gram matrix.

What reads the matrix is written a second time, and all else compiled a second time: with rows to leave out in one
kernel for all, the sweeps of targets that have none were half as slow again."""

import math

import numpy as np

from . import edges as plain
from . import record, sweep
from .compiled import calling, compiled, inlined, pasted
from .cuts import own_correction
from .edges import ALWAYS, NEVER
from .tables import Cut, CutEdges, Targets, Terms


@pasted
def prepare_cut(target: int, gram: Cut, terms: Terms, state: Targets, scratch: np.ndarray) -> CutEdges:
    """The constants of a target at the current hyperparameters, in ``scratch`` (5, tf) float32, and one row more."""
    own, matrix, num_tfs = state.own[target], gram.matrix, gram.matrix.shape[0]
    correction = 0.0
    diagonal, half, odds, pull, watch = terms.diagonal, terms.half, terms.odds, terms.pull, scratch[0]
    by_class = terms.member.size > 1
    if by_class:
        odds, pull, member = scratch[1], scratch[2], terms.member[target]
        for j in range(num_tfs):
            odds[j] = terms.logit[member[j]] + terms.bend[j]
            pull[j] = terms.pull[member[j]]
    begin, end, rows, level = gram.begin[target], gram.end[target], gram.rows, matrix[0]
    if own >= 0:
        correction, level = own_correction(gram.correction[own], rows, begin, end, own), matrix[own]
    if own >= 0 and end > begin:
        shared, level = level, np.empty_like(scratch[0])
        for j in range(num_tfs):
            level[j] = shared[j]
        for r in range(begin, end):
            share = rows[r, own]
            for j in range(num_tfs):
                level[j] -= share * rows[r, j]
    if own >= 0 or end > begin:
        given, shared = odds, diagonal
        odds, diagonal, half = scratch[1], scratch[3], scratch[4]
        for j in range(num_tfs):
            d = float(shared[j]) + correction * float(level[j]) ** 2
            for r in range(begin, end):
                d -= float(rows[r, j]) ** 2
            d = max(d, 0.0)
            k = 1.0 / (d + 1.0 / terms.width)
            diagonal[j] = d
            half[j] = 0.5 * k
            odds[j] = given[j] - terms.bend[j] + 0.5 * math.log(k / terms.width)
    if own >= 0:
        odds[own] = NEVER
    weight = state.weight[target]
    for j in range(num_tfs):
        watch[j] = odds[j] if weight[j] == np.float32(0) else ALWAYS
    return CutEdges(
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
        level,
        rows,
        begin,
        end,
    )


@pasted
def gram_of_cut(edges: CutEdges, i: int, j: int) -> float:
    """G̃_ij of this target."""
    value = float(edges.gram[i, j])
    for r in range(edges.begin, edges.end):
        value -= float(edges.cut[r, i]) * float(edges.cut[r, j])
    if edges.own >= 0:
        value += edges.correction * float(edges.level[i]) * float(edges.level[j])
    return value


@pasted
def move_cut(edges: CutEdges, j: int, value: float) -> None:
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
    for place in range(edges.begin, edges.end):
        r = np.uint64(place)
        back = step * edges.cut[r, row]
        for k in range(np.uint64(len(edges.residual))):
            edges.residual[k] += back * edges.cut[r, k]
    if edges.own >= 0:
        more = np.float32(float(step) * edges.correction * float(edges.level[row]))
        for k in range(np.uint64(len(edges.residual))):
            edges.residual[k] -= more * edges.level[k]


draw_both = pasted(calling(plain.draw_both, "draw_both_cut", gram_of=gram_of_cut, move=move_cut))
twin_odds = pasted(calling(plain.twin_odds, "twin_odds_cut", gram_of=gram_of_cut))
draw_each = pasted(calling(sweep.draw_each, "draw_each_cut", move=move_cut))
exchange = pasted(calling(sweep.exchange, "exchange_cut", draw_both=draw_both, gram_of=gram_of_cut, move=move_cut))
draw_twins = pasted(calling(sweep.draw_twins, "draw_twins_cut", twin_odds=twin_odds, move=move_cut))
twin_probabilities = inlined(calling(record.twin_probabilities, "twin_probabilities_cut", twin_odds=twin_odds))

sweep_cut_targets = compiled(
    calling(
        sweep.sweep_targets, "sweep_cut_targets",
        prepare=prepare_cut, draw_twins=draw_twins, draw_each=draw_each, exchange=exchange,
    )
)  # fmt: skip
"""`sweep.sweep_targets` of a `Cut`."""

record_cut_targets = compiled(
    calling(record.record_targets, "record_cut_targets", prepare=prepare_cut, twin_probabilities=twin_probabilities)
)
"""`record.record_targets` of a `Cut`."""


@compiled
def cut_edge_moments(target: np.ndarray, tf: np.ndarray, gram: Cut, state: Targets) -> tuple[np.ndarray, np.ndarray]:
    """`record.edge_moments` of a `Cut`."""
    h = gram.background
    mean, sd = np.empty(len(target)), np.empty(len(target))
    for edge in range(len(target)):
        g, t = target[edge], tf[edge]
        own, diagonal = state.own[g], np.float64(gram.matrix[t, t])
        begin, end, level = gram.begin[g], gram.end[g], np.float64(gram.matrix[max(own, 0), t])
        for r in range(begin, end):
            diagonal -= np.float64(gram.rows[r, t]) ** 2
        if own >= 0:
            for r in range(begin, end):
                level -= np.float64(gram.rows[r, own]) * np.float64(gram.rows[r, t])
            diagonal += own_correction(gram.correction[own], gram.rows, begin, end, own) * level**2
        mean[edge] = np.float64(state.weight[g, t]) + h * np.float64(state.residual[g, t])
        sd[edge] = math.sqrt(max(state.noise[g] * h * (1.0 - h * diagonal), 0.0))
    return mean, sd
