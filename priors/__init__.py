"""Priors: what we know, and what we expect, before the data."""

from .collaborative import Collaborative
from .conjugate import Take
from .edge_prior import EdgePrior
from .elastic_net import ElasticNet
from .evidence import EdgeEvidence, read_scores
from .formats.registry import FORMATS, Format
from .gene_sets import gene_sets_to_network, read_gmt, write_gmt
from .hard_mask import HardMask
from .horseshoe import Horseshoe
from .hyper import Hyper
from .knowledge import EdgeKnowledge
from .laplace import Laplace
from .loadings.horseshoe import HorseshoeLoading
from .loadings.normal import NormalLoading
from .loadings.prior import LoadingPrior
from .loadings.spike_slab import SpikeSlabLoading
from .logit_normal import LogitNormal
from .network import AlignmentReport, PriorNetwork
from .normal import Normal
from .screens import ScreenEffects, screen_effects, screen_to_network
from .spike_slab import SpikeSlab

EDGE_PRIORS = (Normal, Laplace, Horseshoe, SpikeSlab, HardMask, LogitNormal, ElasticNet, Collaborative)
LOADING_PRIORS = (NormalLoading, HorseshoeLoading, SpikeSlabLoading)

__all__ = [
    "EDGE_PRIORS",
    "FORMATS",
    "LOADING_PRIORS",
    "AlignmentReport",
    "Collaborative",
    "EdgeEvidence",
    "EdgeKnowledge",
    "EdgePrior",
    "ElasticNet",
    "Format",
    "HardMask",
    "Horseshoe",
    "HorseshoeLoading",
    "Hyper",
    "Laplace",
    "LoadingPrior",
    "LogitNormal",
    "Normal",
    "NormalLoading",
    "PriorNetwork",
    "ScreenEffects",
    "SpikeSlab",
    "SpikeSlabLoading",
    "Take",
    "gene_sets_to_network",
    "read_gmt",
    "read_scores",
    "screen_effects",
    "screen_to_network",
    "write_gmt",
]
