r"""Regulators as other genes know them.

What is measured of a regulator is its level with noise, and what its targets saw is the level: a gene that follows the
same cause can then be a better guess at it than its own measurement, and is listed in its place. Other genes are
witnesses. What they say of a regulator in cells that were not fitted, :math:`\hat z_{ct}`, is averaged with the
measurement,

.. math:: \tilde z_{ct} = \tfrac12 (z_{ct} + \hat z_{ct}),

which is regression calibration, the usual correction of errors in variables (Carroll, Ruppert, Stefanski & Crainiceanu
2006, Measurement Error in Nonlinear Models, chapter 4), with equal weights. Where the witnesses know nothing,
:math:`\hat z = 0` and all is as measured.

A gene must not be a witness of what explains itself: the genes that are no regulators are divided into two halves, and
each half is explained by what the other says. Made targets answer to what all of them say, have the noise of genes of
the first half, and are explained by what the second says.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...models import ExpressionData
from ...models.data.out_of_fold import contexts_of, within_contexts
from ...models.simulators import seen_through

AT_ONCE = 256  # regulators of which there are copies in float64 at once
FEWEST = 10  # genes that are no regulators, below which there are no witnesses
MANY_ZEROS = 0.3  # of the regulators' values, above which much of what they say is noise of measurement


def measured_well(data: ExpressionData) -> bool:
    """Whether few enough of the regulators' values are zero, or the least of their regulator, which zeros are of counts
    on whatever scale."""
    levels = data.select_genes(data.tfs).X
    share = lambda value: float((levels == value).double().mean())
    return max(share(0.0), share(levels.min(0).values)) <= MANY_ZEROS


@dataclass(frozen=True, eq=False)
class Witnesses:
    """``half`` 0 or 1 by gene that is no regulator; ``levels`` of the regulators ``tfs`` by half, ``(cell, tf)`` each,
    as its genes tell them, in standard deviations of what was measured; ``well`` whether the regulators were measured
    well enough for what only their own measurement says to be more than noise."""

    tfs: tuple[str, ...]
    half: dict[str, int]
    levels: tuple[np.ndarray, np.ndarray]
    well: bool = True

    def asked(self, genes: Sequence[str]) -> np.ndarray:
        """``(gene,)`` the half, 0 or 1, that each gene is explained by: the one that it is not in; −1 for genes in
        none."""
        return np.array([1 - self.half[name] if name in self.half else -1 for name in genes], dtype=int)

    def fits(self, data: ExpressionData) -> bool:
        """Whether they can be of these cells."""
        return self.tfs == data.tfs and len(self.levels[0]) == data.num_cells

    def averaged(self, data: ExpressionData, half: int) -> ExpressionData:
        """The cells, each regulator averaged with what the genes of this half say of it; as measured in cells where it
        is clamped."""
        # of a selection of genes, values are put together anew: they are not there twice
        chosen = data.column is not None and isinstance(data.matrix, torch.Tensor)
        X = data.rows(slice(0, data.num_cells)) if chosen else data.X.clone()
        place = data.tf_index.numpy(force=True)
        kept, context = np.array([self.tfs.index(name) for name in data.tfs]), contexts_of(data)
        for start in range(0, len(place), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            measured = X[:, place[part]].numpy(force=True)
            _, mean, sd = within_contexts(measured, context)
            told = mean[context] + sd * self.levels[half][:, kept[part]]
            clamped = data.clamped[:, place[part]].numpy(force=True)
            X[:, place[part]] = torch.as_tensor(np.where(clamped, measured, (measured + told) / 2), dtype=X.dtype)
        return replace(data, matrix=X, transform=None, column=None)


def witnesses_of(data: ExpressionData, *, seed: int = 0, threads: int = 1) -> Witnesses | None:
    """The two halves, drawn at random, and what they say, by a thread each if there are ``threads``; None with fewer
    than ten genes that are no regulators."""
    tfs = set(data.tfs)
    plain = [name for name in data.genes if name not in tfs]
    if len(plain) < FEWEST:
        return None
    order = np.random.default_rng([seed, 10]).permutation(len(plain)) % 2
    half = dict(zip(plain, order.tolist(), strict=True))

    def told(k: int) -> np.ndarray:
        return seen_through(data, witnesses=[name for name in plain if half[name] == k], seed=seed)

    with ThreadPoolExecutor(threads) as pool:
        first, second = pool.map(told, (0, 1))
    return Witnesses(data.tfs, half, (first, second), measured_well(data))
