"""Eigendecompositions of Gram matrices, the last few kept: plans, fits and short fits are of the same regulators."""

import hashlib
import threading

import numpy as np

KEPT = 3  # matrices: the regulators as measured, as other genes know them, and those of the made world at hand
_last: dict[tuple[tuple[int, ...], bytes], tuple[np.ndarray, np.ndarray]] = {}
_lock = threading.Lock()


def decomposed(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (tf,) float64, none below 0, and eigenvectors (tf, tf) float32 of a symmetric matrix, not to be
    changed. What is kept is what would be computed, to the last digit."""
    wide = np.ascontiguousarray(gram, dtype=np.float64)
    key = wide.shape, hashlib.blake2b(wide.tobytes(), digest_size=16).digest()
    with _lock:
        found = _last.pop(key, None)
    if found is None:
        values, vectors = np.linalg.eigh(wide)
        found = values.clip(0, None), np.ascontiguousarray(vectors.astype(np.float32))
    with _lock:
        _last[key] = found
        while len(_last) > KEPT:
            del _last[next(iter(_last))]
    return found
