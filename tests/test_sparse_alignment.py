"""Numbers do not depend on where in memory arrays lie: a run that is resumed goes on to the last digit."""

from dataclasses import replace

import numpy as np
import pytest
from pyrogrn.inference.sparse.background import DENSE, Background, Spectrum, product


def moved(array, shift):
    """A copy that begins ``shift`` bytes after a cache line."""
    room = np.empty(array.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + shift
    found = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[:] = array
    return found


def bytes_of(group, shift):
    """Statistics without weights of a group whose arrays lie elsewhere, as where they came in a message."""
    spectrum = Spectrum(group.spectrum.values, moved(group.spectrum.vectors, shift))
    group = replace(group, spectrum=spectrum, score=moved(group.score, shift))
    return b"".join(part.tobytes() for part in (*group.base(0.3), spectrum.shrunk(0.3)))


@pytest.mark.parametrize(("targets", "tfs"), [(1, 400), (24, 6)])
def test_statistics_do_not_depend_on_where_arrays_lie(targets, tfs):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(2 * tfs, n)) for n in (tfs, targets))
    anchor = np.zeros((tfs, targets), np.float32)
    own = np.full(targets, -1)
    group = Background.of(x.T @ x, anchor, x.T @ y, (y**2).sum(0), np.arange(targets), own)
    assert len({bytes_of(group, shift) for shift in range(0, 64, 4)}) == 1


@pytest.mark.parametrize(("targets", "tfs"), [(1, 400), (2, 33)])
def test_products_with_weights_do_not_either(targets, tfs):
    rng = np.random.default_rng(0)
    weight, matrix = (rng.normal(size=(n, tfs)).astype(np.float32) for n in (targets, tfs))
    assert np.count_nonzero(weight) > DENSE * weight.size  # by a product of matrices
    found = {product(moved(weight, i), moved(matrix, j)).tobytes() for i in range(0, 64, 4) for j in (0, 4, 16, 32)}
    assert len(found) == 1
