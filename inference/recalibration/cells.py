"""The cells and genes that the trial holds in memory, of data that may be larger than that."""

import numpy as np
import scipy.sparse as sp
import torch

from ...models import ExpressionData
from ...models.simulators.matched import MOST_WITNESSES

MOST_NUMBERS = 100_000_000  # cells x regulators of which the trial has several copies in float64
TARGETS = 180  # of the worlds of a kind
MOST_PLAIN = 1000  # genes that are no regulators, of which some lend their scale and residuals and some are witnesses


def held_cells(data: ExpressionData, *, seed: int) -> ExpressionData:
    """The data, or of more than `MOST_NUMBERS` cells x regulators so many cells drawn at random; of these, and of files
    that are streamed, the values of the regulators and of at most `MOST_PLAIN` other genes, in memory.

    A trial on fewer cells than are fitted says how often statements of a fit to those are right: with more cells the
    same model is wrong more surely, so ``notes`` tell the number.
    """
    most = max(MOST_NUMBERS // max(len(data.tfs), 1), 1)
    at_hand = isinstance(data.matrix, torch.Tensor) or sp.issparse(data.matrix)
    if at_hand and data.num_cells <= most:
        return data
    rng = np.random.default_rng([seed, 11])
    tfs = set(data.tfs)
    plain = [gene for gene in data.genes if gene not in tfs]
    chosen = set(rng.permutation(len(plain))[:MOST_PLAIN].tolist())
    kept = tfs | {gene for i, gene in enumerate(plain) if i in chosen}
    data = data.select_genes([gene for gene in data.genes if gene in kept])
    cells, notes = np.arange(data.num_cells), []
    if data.num_cells > most:
        cells = np.sort(rng.permutation(data.num_cells)[:most])
        notes = [f"the trial on made targets is on {most:,} of {data.num_cells:,} cells, drawn at random"]
    return data.subset(cells).with_missing(data.missing, *notes)


def trial_bytes(data: ExpressionData, *, threads: int = 1) -> float:
    """Memory that the trial takes at its peak beside the data: the values of `held_cells`, what other genes say of the
    regulators, in float64, and the larger of what that is computed from and of the worlds that are made at once."""
    tfs = len(data.tfs)
    cells = min(data.num_cells, max(MOST_NUMBERS // max(tfs, 1), 1))
    at_hand = isinstance(data.matrix, torch.Tensor) or sp.issparse(data.matrix)
    held = 0 if at_hand and cells == data.num_cells else 4 * (tfs + min(data.num_genes - tfs, MOST_PLAIN))
    wide = held > 0 or data.num_cells * data.num_genes > MOST_NUMBERS
    levels = 8 * tfs * (1 if wide else 3)  # of all witnesses, or of both halves too
    told = (8 + 4) * (tfs + MOST_WITNESSES) + 8 * tfs
    worlds = threads * (4 * (2 * tfs + TARGETS) + 8 * 3 * TARGETS)  # of each the tables of its targets
    return float(cells * (held + levels + max(told, worlds)))
