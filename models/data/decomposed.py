"""Eigendecompositions of Gram matrices, the last few kept: plans, trials and fits are of the same regulators."""

import hashlib
import threading

import numpy as np

KEPT = 6  # of folds, of regulators as measured and as other genes know them: 26 MB each at 1,800 regulators
FEW = 512  # regulators, up to which the whole decomposition takes no time
LOW = 4  # regulators for each dimension that they have at least, of a matrix that is decomposed by its columns
LEFT = 1e-6  # share of each diagonal element that they may leave: what float32 leaves of one that is zero
_last: dict[bytes, "_Entry"] = {}
_lock = threading.Lock()


class _Entry:
    """One matrix; whoever comes second waits for the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: tuple[np.ndarray, np.ndarray] | None = None


def decomposed(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, none below 0, and eigenvectors of a symmetric matrix without negative ones, float64, not
    to be changed. What is kept is what would be computed, to the last digit."""
    wide = np.ascontiguousarray(matrix, dtype=np.float64)
    key = hashlib.blake2b(wide.tobytes(), digest_size=16).digest()
    with _lock:
        entry = _last.pop(key, None) or _Entry()
        _last[key] = entry
        while len(_last) > KEPT:
            del _last[next(iter(_last))]
    with entry.lock:
        if entry.found is None:
            entry.found = _of_few_cells(wide)
        if entry.found is None:
            values, vectors = np.linalg.eigh(wide)
            entry.found = values.clip(0, None), vectors
        return entry.found


def _of_few_cells(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Of regulators that are several times as many as cells: the same from a few columns (Cholesky with pivots), in
    the square of their number times that of the cells and not in its cube; None where the rank is not that low.
    Eigenvalues that are zero are so exactly."""
    number = len(matrix)
    if number <= FEW:
        return None
    whole = matrix.diagonal().copy()
    left, rows = whole.copy(), np.zeros((number // LOW, number))
    rank = 0
    while left.max() > 0:
        share = np.divide(left, whole, out=np.zeros(number), where=whole > 0)
        pivot = int(share.argmax())
        if share[pivot] <= LEFT:
            break
        if rank == len(rows):
            return None
        row = matrix[pivot] - rows[:rank, pivot] @ rows[:rank]
        rows[rank] = row / np.sqrt(left[pivot])
        left -= rows[rank] ** 2
        rank += 1
    basis, corner = np.linalg.qr(rows[:rank].T, mode="complete")
    values, turn = np.linalg.eigh(corner[:rank] @ corner[:rank].T)
    vectors = np.concatenate([basis[:, rank:], basis[:, :rank] @ turn], axis=1)
    return np.concatenate([np.zeros(number - rank), values.clip(0, None)]), vectors
