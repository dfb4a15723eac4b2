"""Amortised guides: posteriors over graphs learned on simulations."""

from .families import FAMILIES, Family
from .guide import Amortised
from .network import KINDS, READS, AmortisedNetwork
from .pyro_guide import AmortisedGuide
from .training import Schedule, train
from .weighing import Weighed, weigh
from .weights import load_weights, save_weights, shipped

__all__ = [
    "FAMILIES",
    "KINDS",
    "READS",
    "Amortised",
    "AmortisedGuide",
    "AmortisedNetwork",
    "Family",
    "Schedule",
    "Weighed",
    "load_weights",
    "save_weights",
    "shipped",
    "train",
    "weigh",
]
