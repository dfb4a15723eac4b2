"""Controls: what a score is worth without data."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...models import ExpressionData
from ...priors import PriorNetwork
from ._common import edge_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RandomControl:
    """Weights drawn from U(0, 1): the negative control, whose average precision is the base rate up to chance.

    Parameters
    ----------
    name
        How the method is called in tables.
    """

    name: str = "random"

    def __call__(self, data: ExpressionData, *, seed: int = 0) -> pd.DataFrame:
        """Return ``source, target, weight`` for all TF-gene pairs, unsigned; looks at names only."""
        return edge_table(np.random.default_rng(seed).random((len(data.tfs), data.num_genes)), data)


@dataclass(frozen=True)
class PriorOnly:
    """A prior network as the answer: what a method given this prior must beat to have learned from data.

    The weight is the edge's probability, negative where the prior says repression; pairs it does not list have weight
    0.

    Parameters
    ----------
    prior
        The prior network, alone.
    name
        How the method is called in tables.
    """

    prior: PriorNetwork
    name: str = "prior_only"

    def __call__(self, data: ExpressionData, *, seed: int = 0) -> pd.DataFrame:
        """Return ``source, target, weight`` for all TF-gene pairs; looks at names only, `seed` has no effect.

        Raises
        ------
        ValueError
            The prior has no edge between these TFs and genes, with the likely cause.
        """
        aligned, report = self.prior.align(data.tfs, data.genes)
        logger.info("%s", report)
        probability, sign = aligned.matrix(data.tfs, data.genes)
        return edge_table(np.where(sign < 0, -probability, probability).astype(np.float64), data)
