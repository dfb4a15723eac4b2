"""Generative models: how the data came about."""

from .base import GaussianBlock, Model
from .data import NORMALIZATIONS, ExpressionData
from .factor import FactorModel
from .factor_statistics import FactorStatistics
from .gram import GramStatistics, RegressionStatistics
from .likelihoods import LIKELIHOODS
from .linear import LinearNetwork
from .muvi import MuVI
from .ppca import PPCA

MODELS = (LinearNetwork, PPCA, MuVI)

__all__ = [
    "LIKELIHOODS",
    "MODELS",
    "NORMALIZATIONS",
    "PPCA",
    "ExpressionData",
    "FactorModel",
    "FactorStatistics",
    "GaussianBlock",
    "GramStatistics",
    "LinearNetwork",
    "Model",
    "MuVI",
    "RegressionStatistics",
]
