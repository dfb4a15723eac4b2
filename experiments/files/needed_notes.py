"""What is worth saying of data that a model cannot do without: times, knock-downs."""

from collections.abc import Callable
from typing import Any

from ...models import ExpressionData, Model
from ...models.data.panel import panel_notes
from ...models.dynamics.relaxation import time_notes

NOTES: dict[str, Callable[[ExpressionData], Any]] = {"time": time_notes, "perturbed": panel_notes}
"""By the field of `ExpressionData` that holds them."""


def needed_notes(model: Model | type[Model], data: ExpressionData) -> list[str]:
    """What there is to say of what ``model.needs``, with remedies the Python way."""
    return [note for need in model.needs if need in NOTES for note in NOTES[need](data)]
