"""Ablations of prior knowledge: which source is worth how much, and how wrong it may be."""

from .changes import DAMAGES, Change, standard_changes
from .engines import STRATEGIES, Effort, method_names, strategies_of
from .experiment import ablate
from .information import kl_bits, log_score_bits, prior_inclusion
from .no_refit import prior_sensitivity, scale_source
from .result import AblationResult
from .sources import describe_sources

__all__ = [
    "DAMAGES",
    "STRATEGIES",
    "AblationResult",
    "Change",
    "Effort",
    "ablate",
    "describe_sources",
    "kl_bits",
    "log_score_bits",
    "method_names",
    "prior_inclusion",
    "prior_sensitivity",
    "scale_source",
    "standard_changes",
    "strategies_of",
]
