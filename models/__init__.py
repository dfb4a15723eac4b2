"""Generative models: how the data came about."""

from .base import GaussianBlock, Model
from .data import NORMALIZATIONS, ExpressionData
from .gram import GramStatistics, RegressionStatistics
from .linear import LinearNetwork

MODELS = (LinearNetwork,)

__all__ = [
    "MODELS",
    "NORMALIZATIONS",
    "ExpressionData",
    "GaussianBlock",
    "GramStatistics",
    "LinearNetwork",
    "Model",
    "RegressionStatistics",
]
