"""Probabilities that hold on cells like these: a short trial on made targets, and what it changes."""

from .coarsening import coarsened
from .trial import TrialOptions
from .tune import tune
from .tuning import Tuning

__all__ = ["TrialOptions", "Tuning", "coarsened", "tune"]
