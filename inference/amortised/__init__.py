"""Amortised guides: posteriors over graphs learned on simulations."""

from .families import FAMILIES, Family
from .guide import Amortised
from .network import KINDS, AmortisedNetwork
from .training import Schedule, train
from .weights import load_weights, save_weights, shipped

__all__ = [
    "FAMILIES",
    "KINDS",
    "Amortised",
    "AmortisedNetwork",
    "Family",
    "Schedule",
    "load_weights",
    "save_weights",
    "shipped",
    "train",
]
