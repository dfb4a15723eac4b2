"""Generative models used to make data with known truth."""

from .factors import FactorSimulation, simulate_muvi, simulate_ppca
from .linear import LinearSimulation, simulate_linear
from .networks import random_network

__all__ = [
    "FactorSimulation",
    "LinearSimulation",
    "random_network",
    "simulate_linear",
    "simulate_muvi",
    "simulate_ppca",
]
