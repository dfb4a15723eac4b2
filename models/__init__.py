"""Generative models: how the data came about."""

from .base import Model
from .cellbox import CellBox
from .data.expression import ExpressionData
from .data.factor_statistics import FactorStatistics
from .data.gram import GramStatistics, RegressionStatistics
from .data.normalization import NORMALIZATIONS
from .dynamics.dynamics import Dynamics
from .factor import FactorModel
from .factorbox import FactorBox
from .gaussian_block import GaussianBlock
from .likelihoods import LIKELIHOODS
from .linear import LinearNetwork
from .muvi import MuVI
from .netrex_cf import NetREXCF
from .phoenix import Phoenix
from .pmf_grn import PMFGRN
from .ppca import PPCA
from .regression import RegressionNetwork
from .symphony import Symphony
from .trajectory import TrajectoryNetwork

MODELS = (LinearNetwork, TrajectoryNetwork, Phoenix, FactorBox, CellBox, PPCA, MuVI, PMFGRN, Symphony, NetREXCF)

__all__ = [
    "LIKELIHOODS",
    "MODELS",
    "NORMALIZATIONS",
    "PMFGRN",
    "PPCA",
    "CellBox",
    "Dynamics",
    "ExpressionData",
    "FactorBox",
    "FactorModel",
    "FactorStatistics",
    "GaussianBlock",
    "GramStatistics",
    "LinearNetwork",
    "Model",
    "MuVI",
    "NetREXCF",
    "Phoenix",
    "RegressionNetwork",
    "RegressionStatistics",
    "Symphony",
    "TrajectoryNetwork",
]
