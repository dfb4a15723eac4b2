r"""No pruning: the baseline."""

from .base import Sparsifier


class NoPruning(Sparsifier):
    """Leaves the network as it is."""

    name = "none"
