"""The linear network of a time course."""

import numpy as np

from ...models import ExpressionData, TrajectoryNetwork
from ..draws.fitted import PosteriorLike
from .base import Answers
from .panel_cells import of_panel, panel_residuals
from .results import CellPredictions


class TrajectoryAnswers(Answers[TrajectoryNetwork]):
    """Ends of intervals between measurements, from their starts."""

    leaves_values_out = False  # the sd of `of_panel` has the leverage in it
    directed = True  # by time
    predicts_held_out = True

    def unpredictable(self, model: TrajectoryNetwork, data: ExpressionData) -> str | None:
        return None

    def checks_residuals(self, model: TrajectoryNetwork) -> bool:
        return True

    def cells(
        self, posterior: PosteriorLike[TrajectoryNetwork], data: ExpressionData, number: int, rng: np.random.Generator
    ) -> CellPredictions:
        return of_panel(posterior, posterior.model, data, number, rng)

    def residuals(
        self,
        posterior: PosteriorLike[TrajectoryNetwork],
        data: ExpressionData,
        *,
        num_cells: int,
        num_draws: int,
        seed: int,
    ) -> np.ndarray:
        return panel_residuals(posterior, posterior.model, data, num_draws, np.random.default_rng([seed, 3]))
