"""Inference: what we believe after the data, and whether we can trust it."""

from .alternating import AlternatingSolution, Penalties, alternate
from .alternating_refine import refine
from .amortised import Amortised, train
from .answers.flux import flux_table
from .bagging import Bagging
from .block_descent import BlockDescent
from .callbacks import Checkpoint, Progress, load_checkpoint
from .fit import default_guide, fit
from .gibbs import GibbsKernel
from .guides import GUIDES, Blocked, LowRank, MapEstimate, MeanField
from .many import fit_many
from .moments import EdgeMoments
from .num_factors import number_of_factors
from .posterior import EDGE_COLUMNS, Posterior
from .pruned import Pruned
from .samplers import NUTS, Gibbs
from .stopping import NeverStop, RelativeImprovement
from .svi import Adam, History

SAMPLERS = (Gibbs, NUTS, BlockDescent, Bagging)

__all__ = [
    "EDGE_COLUMNS",
    "GUIDES",
    "NUTS",
    "SAMPLERS",
    "Adam",
    "AlternatingSolution",
    "Amortised",
    "Bagging",
    "BlockDescent",
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
    "Pruned",
    "RelativeImprovement",
    "alternate",
    "default_guide",
    "fit",
    "fit_many",
    "flux_table",
    "load_checkpoint",
    "number_of_factors",
    "refine",
    "train",
]
