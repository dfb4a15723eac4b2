"""Priors: what we know, and what we expect, before the data."""

from .edge_prior import EdgePrior
from .formats import FORMATS, Format
from .gene_sets import gene_sets_to_network, read_gmt, write_gmt
from .hard_mask import HardMask
from .horseshoe import Horseshoe
from .hyper import Hyper
from .knowledge import EdgeKnowledge
from .laplace import Laplace
from .network import AlignmentReport, PriorNetwork
from .normal import Normal
from .spike_slab import SpikeSlab

EDGE_PRIORS = (Normal, Laplace, Horseshoe, SpikeSlab, HardMask)

__all__ = [
    "EDGE_PRIORS",
    "FORMATS",
    "AlignmentReport",
    "EdgeKnowledge",
    "EdgePrior",
    "Format",
    "HardMask",
    "Horseshoe",
    "Hyper",
    "Laplace",
    "Normal",
    "PriorNetwork",
    "SpikeSlab",
    "gene_sets_to_network",
    "read_gmt",
    "write_gmt",
]
