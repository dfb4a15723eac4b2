"""Priors: what we know, and what we expect, before the data."""

from .conjugate import Take
from .edge_prior import EdgePrior
from .formats import FORMATS, Format
from .gene_sets import gene_sets_to_network, read_gmt, write_gmt
from .hard_mask import HardMask
from .horseshoe import Horseshoe
from .hyper import Hyper
from .knowledge import EdgeKnowledge
from .laplace import Laplace
from .loading_horseshoe import HorseshoeLoading
from .loading_normal import NormalLoading
from .loading_prior import LoadingPrior
from .loading_spike_slab import SpikeSlabLoading
from .network import AlignmentReport, PriorNetwork
from .normal import Normal
from .spike_slab import SpikeSlab

EDGE_PRIORS = (Normal, Laplace, Horseshoe, SpikeSlab, HardMask)
LOADING_PRIORS = (NormalLoading, HorseshoeLoading, SpikeSlabLoading)

__all__ = [
    "EDGE_PRIORS",
    "FORMATS",
    "LOADING_PRIORS",
    "AlignmentReport",
    "EdgeKnowledge",
    "EdgePrior",
    "Format",
    "HardMask",
    "Horseshoe",
    "HorseshoeLoading",
    "Hyper",
    "Laplace",
    "LoadingPrior",
    "Normal",
    "NormalLoading",
    "PriorNetwork",
    "SpikeSlab",
    "SpikeSlabLoading",
    "Take",
    "gene_sets_to_network",
    "read_gmt",
    "write_gmt",
]
