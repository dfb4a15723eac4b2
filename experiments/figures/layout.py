"""Where to put the nodes of a small network so that every label can be read."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, shortest_path

EDGE_LENGTH, LENGTH_PER_NEIGHBOUR = 26.0, 2.2  # points of an edge that can be seen; hubs need room around them
STRETCH = 1.25  # labels are wide and low, so a ring of them is best a little flat
WIDTH, LEAST_SHRINK = 640.0, 0.6  # points: where a part is wider its edges become shorter, down to this share
GAP = 9.0  # points between two labels
SWEEPS = 300
STILL = 1e-3  # points that no node moves any more: nobody sees them


def layout(sizes: np.ndarray, source: np.ndarray, target: np.ndarray, *, aspect: float = 1.5) -> np.ndarray:
    r"""Place labelled boxes: each connected part by its graph distances, then apart, then all parts side by side.

    Within a part the stress :math:`\sum_{i<j} d_{ij}^{-2} (\|p_i - p_j\| - d_{ij})^2` is minimised by majorisation from
    the classical scaling of the distances d (Gansner, Koren & North 2004). No randomness.

    Parameters
    ----------
    sizes
        (node, 2) width and height of the boxes in points.
    source, target
        (edge,) positions of the ends.
    aspect
        Width over height aimed at.

    Returns
    -------
    array
        (node, 2) centres in points; no two boxes overlap.
    """
    count = len(sizes)
    links = coo_matrix((np.ones(len(source)), (source, target)), shape=(count, count))
    _, part_of = connected_components(links, directed=False)
    degree = np.bincount(np.concatenate([source, target]), minlength=count)
    length = EDGE_LENGTH + LENGTH_PER_NEIGHBOUR * np.maximum(degree[source], degree[target])
    length = length + (sizes[source, 0] + sizes[target, 0]) / 2
    distance = shortest_path(coo_matrix((length, (source, target)), shape=(count, count)).tocsr(), directed=False)
    parts = []
    for part in range(part_of.max() + 1):
        nodes = np.flatnonzero(part_of == part)
        place = _lay_flat(_stress(distance[np.ix_(nodes, nodes)]))
        shrink = np.clip(WIDTH / max(np.ptp(place[:, 0]) * STRETCH, 1.0), LEAST_SHRINK, 1.0)
        parts.append((nodes, _apart(place * [shrink * STRETCH, shrink], sizes[nodes] + GAP)))
    return _side_by_side(parts, sizes, aspect)


def _stress(distance: np.ndarray) -> np.ndarray:
    """(node, 2) positions whose distances are near ``distance`` (node, node)."""
    count = len(distance)
    if count == 1:
        return np.zeros((1, 2))
    centred = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(-0.5 * centred @ distance**2 @ centred)
    place = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 1e-3))
    place += 0.5 * np.stack([np.cos(np.arange(count) * 2.4), np.sin(np.arange(count) * 2.4)], axis=1)  # no two alike
    weight = np.divide(1, distance**2, out=np.zeros_like(distance), where=distance > 0)
    laplacian = np.diag(weight.sum(1)) - weight
    inverse = np.linalg.pinv(laplacian)
    for _ in range(SWEEPS):
        gap = np.linalg.norm(place[:, None] - place[None], axis=2)
        pull = -weight * np.divide(distance, gap, out=np.zeros_like(gap), where=gap > 1e-9)
        pull[np.diag_indices(count)] = -pull.sum(1)
        before, place = place, inverse @ (pull @ place)
        if np.abs(place - before).max() < STILL:
            break
    return place


def _lay_flat(place: np.ndarray) -> np.ndarray:
    """Turn the longest direction to the horizontal: labels are wide, and so is a page."""
    place = place - place.mean(0)
    _, _, axes = np.linalg.svd(place, full_matrices=False)
    turned = place @ axes.T
    return np.column_stack([turned, np.zeros(len(turned))])[:, :2]


def _apart(place: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Push overlapping boxes apart along the direction in which they overlap least, until none does."""
    half = (sizes[:, None] + sizes[None]) / 2  # (node, node, 2)
    others = ~np.eye(len(place), dtype=bool)
    order = np.sign(np.arange(len(place))[:, None] - np.arange(len(place))[None])
    for sweep in range(20 * SWEEPS):
        offset = place[:, None] - place[None]
        overlap = half - np.abs(offset)
        clash = (overlap > 1e-6).all(2) & others
        if not clash.any():
            break
        sideways = overlap[..., 0] < overlap[..., 1]
        direction = np.where(offset == 0, order[..., None], np.sign(offset))
        along = np.stack([sideways, ~sideways], axis=2)
        step = 0.5 + 0.5 * (sweep > SWEEPS)  # further, should gentle steps go in a circle
        place = place + step * (np.where(along, direction * overlap, 0) * clash[..., None]).sum(1) / 1.5
    return place


def _side_by_side(parts: list[tuple[np.ndarray, np.ndarray]], sizes: np.ndarray, aspect: float) -> np.ndarray:
    """Parts in rows, the largest first, in a page of about the given aspect."""
    boxes = []
    for nodes, place in parts:
        low, high = (place - sizes[nodes] / 2).min(0), (place + sizes[nodes] / 2).max(0)
        boxes.append((nodes, place - low, high - low + 3 * GAP))
    boxes.sort(key=lambda box: -box[2][1])
    area = sum(float(extent.prod()) for _, _, extent in boxes)
    width = max(np.sqrt(area * aspect) * 1.05, max(extent[0] for _, _, extent in boxes))
    result = np.zeros((len(sizes), 2))
    x = y = row = 0.0
    for nodes, place, extent in boxes:
        if x > 0 and x + extent[0] > width:
            x, y, row = 0.0, y - row, 0.0
        result[nodes] = place + [x, y - extent[1]]
        x, row = x + extent[0], max(row, extent[1])
    return result
