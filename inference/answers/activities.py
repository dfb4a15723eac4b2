"""Activities of regulators in cells, and what they predict of single values: of a fitted `PMFGRN`."""

import numpy as np
import pandas as pd

from ...models import PMFGRN, ExpressionData
from ...models.data.cell_labels import name_of
from ..draws.fitted import PosteriorLike
from ..draws.intervals import LEVEL, check_level, thin_of
from ..draws.moments import aligned
from .base import COVERAGE_RANGE, Answers
from .results import CellPredictions


class ActivityAnswers(Answers[PMFGRN]):
    """Activities, and the values that they have seen."""

    # about as many activities as values: the fit follows each value, and only too narrow would be wrong
    coverage_range = (COVERAGE_RANGE[0], 1.0)
    leaves_values_out = False

    def unpredictable(self, model: PMFGRN, data: ExpressionData) -> str | None:
        return None if _is_normal(model) else "Not checked: the predictions of counts are not normal."

    def has_predictions(self, model: PMFGRN) -> bool:
        return _is_normal(model)

    def checks_residuals(self, model: PMFGRN) -> bool:
        """Of counts, to say that they are not checked; of log levels, residuals are what the activities are fitted
        to."""
        return not _is_normal(model)

    def cells(
        self, posterior: PosteriorLike[PMFGRN], data: ExpressionData, number: int, rng: np.random.Generator
    ) -> CellPredictions:
        return predict_values(posterior, data, number, rng)

    def activities(self, posterior: PosteriorLike[PMFGRN], *, level: float) -> pd.DataFrame:
        return activities(posterior, level=level)


def activities(posterior: PosteriorLike[PMFGRN], *, level: float = LEVEL) -> pd.DataFrame:
    """Posterior of the activities: one row a cell and regulator.

    Parameters
    ----------
    level
        Probability of the equal-tailed interval. Default 0.89, as the edge table.

    Returns
    -------
    DataFrame
        ``cell`` (its name in the data of the fit, or its number as text), ``tf, mean, sd, lower, upper``; an activity
        of one is the typical one.

    Raises
    ------
    ValueError
        A ``level`` outside (0, 1).
    """
    model = posterior.model
    check_level(level)
    draws = posterior.draws["U"].reshape(-1, model.num_cells * len(model.tfs))
    lower, upper = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    table = {
        "cell": np.repeat(np.asarray(model.cell_names, dtype=object), len(model.tfs)),
        "tf": np.tile(np.asarray(model.tfs, dtype=object), model.num_cells),
        "mean": draws.mean(0, dtype=np.float64),
        "sd": draws.std(0, dtype=np.float64),
        "lower": lower,
        "upper": upper,
    }
    return pd.DataFrame(table)


def predict_values(
    posterior: PosteriorLike[PMFGRN], data: ExpressionData, number: int, rng: np.random.Generator
) -> CellPredictions:
    """Random seen (cell, target) pairs of the fit given each draw of network and activities, in the units of the data.

    The activities have seen the values that they predict, so the check is of the noise and not of new cells.

    Raises
    ------
    ValueError
        Counts, or other cells than those of the fit.
    """
    model = posterior.model
    if not _is_normal(model):
        raise ValueError(f"normal predictions are for log levels, and the fit is of counts ({model.likelihood})")
    if data.num_cells != model.num_cells:
        raise ValueError(f"{data.num_cells} cells, and the fit has {model.num_cells}: activities belong to its cells")
    cell, target = np.nonzero(model.seen.cpu().numpy())
    chosen = np.sort(rng.choice(len(cell), min(number, len(cell)), replace=False))
    cell, target = cell[chosen], target[chosen]
    group = model.group.cpu().numpy()[cell]
    draws = aligned({name: posterior.draws[name] for name in ("W", "U", "mu", "noise_variance")}, thin_of(posterior))
    activity = (draws["U"].astype(np.float64) - 1) / np.sqrt(np.expm1(float(model.activity_spread.constants[0]) ** 2))
    effect = np.einsum("sdot,sdto->sdo", activity[:, :, cell], draws["W"].astype(np.float64)[..., target])
    unit = model.scale.double().cpu().numpy()[target]
    level = model.mean.double().cpu().numpy()[group, target]
    mean = level + unit * (draws["mu"][:, :, group, target] + effect)
    sd = unit * np.sqrt(draws["noise_variance"].astype(np.float64)[..., target])
    observed = level + unit * model.X.double().cpu().numpy()[cell, target]
    labels = [
        f"{name_of(data.labels, c)}:{model.targets[t]}" for c, t in zip(cell.tolist(), target.tolist(), strict=True)
    ]
    return CellPredictions(observed, mean, sd, labels, cell)


def _is_normal(model: PMFGRN) -> bool:
    return model.likelihood == "gaussian"
