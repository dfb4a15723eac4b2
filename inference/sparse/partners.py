"""Regulators that may take each other's place in a target's regression."""

import numpy as np
import torch

from ...models.data.twins import alike
from .tables import Partners

MOST = 8  # partners that a regulator names; it has those too that name it
LEAST = 0.15  # of the correlation between partners, in size: below it an exchange is a blind guess


def partners_of(gram: np.ndarray) -> Partners:
    """From the (tf, tf) Gram matrix of the regulators."""
    sd = np.sqrt(gram.diagonal().clip(0))
    unit = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 0)
    size = np.abs(gram * unit[:, None] * unit)
    np.fill_diagonal(size, 0.0)
    number = min(MOST, len(gram) - 1)
    named = np.zeros(size.shape, dtype=bool)
    if number > 0:
        nearest = np.argpartition(-size, number - 1, axis=1)[:, :number]
        np.put_along_axis(named, nearest, True, axis=1)
    named &= size > LEAST
    named |= named.T
    start = np.concatenate([[0], named.sum(1).cumsum()]).astype(np.int64)
    twins = alike(torch.from_numpy(gram))[0].numpy()
    return Partners(start, np.nonzero(named)[1].astype(np.int64), np.ascontiguousarray(twins, dtype=np.int64))
