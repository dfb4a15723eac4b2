"""What models condition on: expression data, and the statistics that stand for it."""

from .annotations import interventions_of
from .cells import Cells
from .checks import check_finite, some
from .containers import orient
from .covariates import encode_covariates
from .expression import ExpressionData
from .factor_statistics import FactorStatistics
from .gram import GramStatistics, RegressionStatistics
from .matrix import RowTransform, read_rows
from .metacells import metacells
from .moments import is_constant
from .normalization import NORMALIZATIONS, Affine, log1p_cpm
from .panel import PanelStatistics, panels_of
from .transitions import Transitions
from .views import join_modalities

__all__ = [
    "NORMALIZATIONS",
    "Affine",
    "Cells",
    "ExpressionData",
    "FactorStatistics",
    "GramStatistics",
    "PanelStatistics",
    "RegressionStatistics",
    "RowTransform",
    "Transitions",
    "check_finite",
    "encode_covariates",
    "interventions_of",
    "is_constant",
    "join_modalities",
    "log1p_cpm",
    "metacells",
    "orient",
    "panels_of",
    "read_rows",
    "some",
]
