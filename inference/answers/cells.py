"""Single values of cells, predicted: the basis of posterior predictive checks and of LOO."""

from typing import NamedTuple

import numpy as np

from ...models import ExpressionData, Model
from ..draws.fitted import PosteriorLike
from .last_asked import LastAsked
from .left_out import left_out
from .registry import answers_of
from .results import CellPredictions

MIN_KEPT = 0.75  # of the values; with fewer, which are kept is chance (h = 0.95, 50 draws: 47%, of which 99% covered)
PREDICTED: LastAsked[CellPredictions] = LastAsked()


def predict_cells(
    posterior: PosteriorLike[Model], data: ExpressionData, *, num_observations: int = 1000, seed: int = 0
) -> CellPredictions:
    """Predictions of random (cell, target) pairs, given each posterior draw.

    Of linear networks from the regulators of the same cell (`linear_cells`); of steady-state models and time courses in
    units of the fit (`panel_cells`); of gene programs on complete Gaussian data, with factors and intercepts integrated
    out, of different cells, which are independent given the draw (`program_cells`). Pairs in which an intervention
    clamps the target are left out.

    Parameters
    ----------
    posterior
        Of a model that predicts single values.
    data
        Cells of the fit, or new ones: same normalisation, genes (in any order) and contexts.
    num_observations
        Pairs, drawn without replacement; all of them when there are fewer.
    seed
        Of the pairs and the intercepts.

    Raises
    ------
    ValueError
        Another model, genes or contexts that the fit does not know, or no pair that is not clamped.
    """
    made = PREDICTED.known(posterior, data, num_observations, seed)
    if made is not None:
        return made
    rng = np.random.default_rng([seed, 1])
    made = answers_of(posterior.model).cells(posterior, data, num_observations, rng)
    return PREDICTED.keep(posterior, data, num_observations, seed, answer=made)


class CheckedCells(NamedTuple):
    """``cells`` to compare with what was measured, and how many of ``total`` values they were chosen from: the fit
    follows the others."""

    cells: CellPredictions
    total: int

    @property
    def followed(self) -> int:
        return self.total - len(self.cells.observed)

    @property
    def enough(self) -> bool:
        """Whether at least 0.75 (``MIN_KEPT``) of the values are kept, and so tell of the noise."""
        return len(self.cells.observed) >= max(1, MIN_KEPT * self.total)


def checked_cells(posterior: PosteriorLike[Model], data: ExpressionData, *, seed: int = 0) -> CheckedCells:
    """Predictions of 1,000 values of ``data``, those of the fit, to compare with what was measured: each by the others
    alone (`left_out`), but of models of which that cannot be said (`Answers.leaves_values_out`)."""
    cells = predict_cells(posterior, data, seed=seed)
    kept = left_out(cells) if answers_of(posterior.model).leaves_values_out else cells
    return CheckedCells(kept, len(cells.observed))


def squared_residuals(
    posterior: PosteriorLike[Model], data: ExpressionData, *, num_cells: int = 1000, num_draws: int = 8, seed: int = 0
) -> np.ndarray:
    r"""``(cell, target)`` squared residuals in units of the fitted variance, averaged over draws; NaN where clamped.

    .. math:: \frac{E_s[(y_{cg} - \hat y_{cg}(W_s))^2]}{E_s[\sigma^2_{g,s}]}

    Its mean over the cells of the fit is one if the noise model is right: in each draw σ² follows that W's residuals.

    Parameters
    ----------
    posterior, data
        As `predict_cells`.
    num_cells, num_draws, seed
        Random cells, and draws of the network, to use. Panels and time courses use all their conditions.
    """
    answers = answers_of(posterior.model)
    return answers.residuals(posterior, data, num_cells=num_cells, num_draws=num_draws, seed=seed)


def log_density(posterior: PosteriorLike[Model], data: ExpressionData, *, num_draws: int = 100) -> np.ndarray:
    """``(cell,)`` log predictive density of new cells, in units of the data: the yardstick of held-out comparisons; of
    gene programs (`program_cells.log_density`).

    Raises
    ------
    ValueError
        Another model; data that are not Gaussian and complete, or other genes, groups or covariates.
    """
    return answers_of(posterior.model).log_density(posterior, data, num_draws=num_draws)
