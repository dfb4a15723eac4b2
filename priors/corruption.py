"""Controlled damage to an edge list, on integer codes: pure functions behind the methods of `PriorNetwork`.

An edge is a cell of the matrix source x target, numbered ``source * num_targets + target``. Every function draws from
the ``numpy.random.Generator`` it is given and leaves its arguments unchanged.
"""

import numpy as np

NUM_SWAP_ROUNDS = 150


def check_fraction(fraction: float, what: str) -> float:
    """``fraction`` as a float in [0, 1], else ``ValueError``."""
    value = float(fraction)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"`{what}` is {fraction!r}; expected a share between 0 and 1")
    return value


def choose_share(num: int, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """Indices of round(fraction * num) of num things, uniformly and without repeats, shape (chosen,)."""
    return generator.choice(num, size=int(np.floor(fraction * num + 0.5)), replace=False)


def draw_free_cells(occupied: np.ndarray, num_cells: int, num: int, generator: np.random.Generator) -> np.ndarray:
    """Draw ``num`` different cells outside ``occupied``, uniformly.

    A free cell is drawn by its rank among the free ones. With :math:`o_i` the sorted occupied cells, :math:`o_i - i`
    free cells lie before :math:`o_i`, so rank :math:`r` is cell :math:`r + |\\{i : o_i - i \\le r\\}|`: no rejection,
    and memory for the occupied cells only, not for the matrix.

    Parameters
    ----------
    occupied
        Sorted cells without repeats, shape (occupied,).
    num_cells
        Number of cells altogether.
    num
        How many to draw, at most ``num_cells - len(occupied)``.
    generator
        Source of randomness.
    """
    rank = generator.choice(num_cells - occupied.size, size=num, replace=False)
    return rank + np.searchsorted(occupied - np.arange(occupied.size), rank, side="right")


def relocate(
    cell: np.ndarray, self_cells: np.ndarray, num_cells: int, moved: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """New cells for the edges ``moved``, shape (moved,).

    Parameters
    ----------
    cell
        Cells of all edges, shape (edge,); -1 for an edge outside the matrix.
    self_cells
        Cells where source and target are the same gene; never a destination.
    num_cells
        Size of the matrix.
    moved
        Indices of the edges to move.
    generator
        Source of randomness.

    Notes
    -----
    Destinations held no edge before, so a moved edge is certainly in a new place. Only where a dense network leaves
    fewer such cells than edges to move, the rest goes to cells that the moved edges have left.

    Raises
    ------
    ValueError
        If even the cells left by the moved edges do not suffice.
    """
    inside = cell[cell >= 0]
    occupied = np.union1d(inside, self_cells)
    num_free = num_cells - occupied.size
    destination = draw_free_cells(occupied, num_cells, min(num_free, moved.size), generator)
    lacking = moved.size - destination.size
    if lacking > 0:
        vacated = np.setdiff1d(cell[moved], self_cells)
        vacated = vacated[vacated >= 0]
        if vacated.size < lacking:
            raise ValueError(
                f"{moved.size} edges are to move but the {num_cells} source-target pairs leave room for "
                f"{num_free + vacated.size}; pass more names in `sources` or `targets`, or a smaller `fraction`"
            )
        destination = generator.permutation(
            np.concatenate([destination, generator.choice(vacated, lacking, replace=False)])
        )
    return destination


def swap_targets(
    source: np.ndarray, target: np.ndarray, own_target: np.ndarray, num_targets: int, generator: np.random.Generator
) -> np.ndarray:
    """Degree-preserving randomisation: new target codes, shape (edge,).

    Each of `NUM_SWAP_ROUNDS` rounds pairs about half of the edges at random and exchanges the targets of a pair,
    (a, b), (c, d) to (a, d), (c, b), for all pairs at once, where the four cells of the pair are four, belong to no
    other pair or unpaired edge, and are no self-edges. Whether a pair is exchanged then depends on its four cells only,
    which the exchange itself leaves as they are, so a round is as likely as its reverse and the chain is uniform over
    the networks with these in- and out-degrees that it can reach. (Testing only for edges that exist already would be
    biased when done for many pairs at once; pairing all edges would make some single exchanges impossible.)

    Parameters
    ----------
    source, target
        Codes of the edges, shape (edge,), no edge twice.
    own_target
        For each source code the target code of the same gene or -1, shape (source,).
    num_targets
        Number of target codes.
    generator
        Source of randomness.

    Notes
    -----
    The share of edges common with the original levels off after 20 rounds for CollecTRI, and after about 150 for a base
    GRN of which 38 % of all pairs are edges, where most exchanges are refused.
    """
    target = target.copy()
    own = own_target[source]
    for _ in range(NUM_SWAP_ROUNDS):
        num_pairs = generator.binomial(source.size // 2, 0.5)
        order = generator.permutation(source.size)
        first, second, rest = order[:num_pairs], order[num_pairs : 2 * num_pairs], order[2 * num_pairs :]
        b, d = target[first], target[second]
        offset_a, offset_c = source[first] * num_targets, source[second] * num_targets
        cells = np.concatenate(
            [offset_a + b, offset_c + d, offset_a + d, offset_c + b, source[rest] * num_targets + target[rest]]
        )
        single = _appears_once(cells)[: 4 * num_pairs].reshape(4, num_pairs).all(axis=0)
        is_self = (own[first] == b) | (own[first] == d) | (own[second] == d) | (own[second] == b)
        swap = single & ~is_self
        target[first[swap]], target[second[swap]] = d[swap], b[swap]
    return target


def _appears_once(values: np.ndarray) -> np.ndarray:
    """Whether each value is the only one of its kind, shape of ``values``."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    same_as_next = ordered[1:] == ordered[:-1]
    once = np.ones(values.size, dtype=bool)
    once[1:] &= ~same_as_next
    once[:-1] &= ~same_as_next
    result = np.empty(values.size, dtype=bool)
    result[order] = once
    return result
