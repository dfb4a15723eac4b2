"""What the fit of a model can be asked: one file for each family of models.

A model from outside the package brings its own answers with one call::

    from pyrogrn.inference.answers import Answers, register_answers

    class PulseAnswers(Answers[Pulse]):
        def predict(self, posterior, intervention, request): ...

    register_answers(Pulse, PulseAnswers())

Without it the fit has edges, intervals, diagnostics and a report, and refuses the rest by name.
"""

from .base import Answers, Intervention, Request
from .registry import ANSWERS, answers_of, register_answers
from .results import CellPredictions, Course, Fluctuations

__all__ = [
    "ANSWERS",
    "Answers",
    "CellPredictions",
    "Course",
    "Fluctuations",
    "Intervention",
    "Request",
    "answers_of",
    "register_answers",
]
