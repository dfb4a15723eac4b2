"""Inference: what we believe after the data, and whether we can trust it."""

from .alternating import AlternatingSolution, Penalties, alternate
from .alternating_refine import refine
from .amortised import Amortised, train
from .callbacks import Checkpoint, Progress, load_checkpoint
from .fit import default_guide, fit
from .flux import flux_table
from .gibbs import GibbsKernel
from .guides import GUIDES, Blocked, LowRank, MapEstimate, MeanField
from .moments import EdgeMoments
from .num_factors import number_of_factors
from .posterior import EDGE_COLUMNS, Posterior
from .samplers import NUTS, Gibbs
from .stopping import NeverStop, RelativeImprovement
from .svi import Adam, History

SAMPLERS = (Gibbs, NUTS)

__all__ = [
    "EDGE_COLUMNS",
    "GUIDES",
    "NUTS",
    "SAMPLERS",
    "Adam",
    "AlternatingSolution",
    "Amortised",
    "Blocked",
    "Checkpoint",
    "EdgeMoments",
    "Gibbs",
    "GibbsKernel",
    "History",
    "LowRank",
    "MapEstimate",
    "MeanField",
    "NeverStop",
    "Penalties",
    "Posterior",
    "Progress",
    "RelativeImprovement",
    "alternate",
    "default_guide",
    "fit",
    "flux_table",
    "load_checkpoint",
    "number_of_factors",
    "refine",
    "train",
]
