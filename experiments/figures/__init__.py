"""Figures: each function draws plain tables and arrays and returns a ``matplotlib.figure.Figure``.

Edges and networks, and how a fit went, are handed on here; programs, panels and courses have files of their own.
"""

from .checks import fit_trace, pit, predictive_check, reliability_diagram, trust_in_sources
from .edges import discoveries, edge_forest, inclusion_overview, out_degrees
from .network import network_picture

__all__ = [
    "discoveries",
    "edge_forest",
    "fit_trace",
    "inclusion_overview",
    "network_picture",
    "out_degrees",
    "pit",
    "predictive_check",
    "reliability_diagram",
    "trust_in_sources",
]
