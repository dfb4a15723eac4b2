"""What perturbed cells say of a network, without a known one: the scores of geneRNIB that need no other service."""

from .perturbed_cells import PerturbedCells
from .score import Score
from .table import NEEDS, SCORES, ResponseScores, response_scores

__all__ = ["NEEDS", "SCORES", "PerturbedCells", "ResponseScores", "Score", "response_scores"]
