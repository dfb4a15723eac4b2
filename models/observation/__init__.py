"""Distributions of observed data by their sufficient statistics: what the site ``X`` of a model is."""

from .cells import LogPoisson, MixedViews
from .designs import ClampedDesign, CutDesign, Design, SharedDesign
from .edge_evidence import ObservedEdges
from .gram_factors import FactorMoments, GramFactors
from .gram_normal import GramNormal, RegressionMoments
from .panel_normal import PanelNormal
from .responses import ResponseNormal

__all__ = [
    "ClampedDesign",
    "CutDesign",
    "Design",
    "FactorMoments",
    "GramFactors",
    "GramNormal",
    "LogPoisson",
    "MixedViews",
    "ObservedEdges",
    "PanelNormal",
    "RegressionMoments",
    "ResponseNormal",
    "SharedDesign",
]
