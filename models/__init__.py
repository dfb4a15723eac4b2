"""Generative models: how the data came about."""

from .base import GaussianBlock, Model
from .cellbox import CellBox
from .data import NORMALIZATIONS, ExpressionData
from .dynamics import Dynamics
from .factor import FactorModel
from .factor_statistics import FactorStatistics
from .factorbox import FactorBox
from .gram import GramStatistics, RegressionStatistics
from .likelihoods import LIKELIHOODS
from .linear import LinearNetwork
from .muvi import MuVI
from .ppca import PPCA
from .regression import RegressionNetwork
from .trajectory import TrajectoryNetwork

MODELS = (LinearNetwork, TrajectoryNetwork, FactorBox, CellBox, PPCA, MuVI)

__all__ = [
    "LIKELIHOODS",
    "MODELS",
    "NORMALIZATIONS",
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
    "RegressionNetwork",
    "RegressionStatistics",
    "TrajectoryNetwork",
]
