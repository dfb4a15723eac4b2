"""Inference: what we believe after the data, and whether we can trust it."""

from .alternating.penalties import Penalties
from .alternating.refine import refine
from .alternating.solution import AlternatingSolution, alternate
from .amortised import Amortised, train
from .answers.flux import flux_table
from .draws.edge_table import EDGE_COLUMNS
from .draws.moments import EdgeMoments
from .engines.alternate import Alternate
from .engines.bagging import Bagging
from .engines.block_descent import BlockDescent
from .engines.closed_form import ClosedForm
from .engines.gibbs import Gibbs
from .engines.nuts import NUTS
from .engines.pyro_guide import PyroGuide
from .engines.sparse_gibbs import SparseGibbs
from .fit import default_guide, fit
from .from_guide import posterior_from
from .gibbs.kernel import GibbsKernel
from .many import fit_many
from .neural_ode.pruned import Pruned
from .num_factors import number_of_factors
from .plan import plan
from .posterior import Posterior
from .runs.callbacks import Checkpoint, Progress, load_checkpoint
from .runs.history import History
from .variational.guides import GUIDES, Blocked, LowRank, MapEstimate, MeanField
from .variational.pyro_sites import restarted
from .variational.stopping import NeverStop, RelativeImprovement
from .variational.svi import Adam

SAMPLERS = (Gibbs, SparseGibbs, NUTS, BlockDescent, Bagging, ClosedForm, Alternate)

__all__ = [
    "EDGE_COLUMNS",
    "GUIDES",
    "NUTS",
    "SAMPLERS",
    "Adam",
    "Alternate",
    "AlternatingSolution",
    "Amortised",
    "Bagging",
    "BlockDescent",
    "Blocked",
    "Checkpoint",
    "ClosedForm",
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
    "PyroGuide",
    "RelativeImprovement",
    "SparseGibbs",
    "alternate",
    "default_guide",
    "fit",
    "fit_many",
    "flux_table",
    "load_checkpoint",
    "number_of_factors",
    "plan",
    "posterior_from",
    "refine",
    "restarted",
    "train",
]
