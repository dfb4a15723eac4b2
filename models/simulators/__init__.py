"""Generative models used to make data with known truth."""

from .linear import LinearSimulation, simulate_linear
from .networks import random_network

__all__ = ["LinearSimulation", "random_network", "simulate_linear"]
