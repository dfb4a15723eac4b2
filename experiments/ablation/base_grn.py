"""CellOracle in an ablation: its estimators on the edges that the sources list, on all edges without a source."""

from collections.abc import Mapping
from typing import Any

from ...inference import Posterior, fit
from ...models import ExpressionData, LinearNetwork, Model
from ...priors import HardMask, PriorNetwork
from ..celloracle import LASSO_SCALE, MIN_CELLS, RIDGE, engine_for

CELLORACLE = "celloracle"
DEFAULTS: dict[str, Any] = {"estimator": "bagging", "ridge": RIDGE, "lasso_scale": LASSO_SCALE, "num_bags": 100}
NUM_STEPS = 1500  # as `celloracle`


def _engine(options: Mapping[str, Any], num_steps: int = NUM_STEPS) -> tuple[Any, Any, dict[str, Any]]:
    chosen = DEFAULTS | dict(options)
    if chosen["ridge"] <= 0 or chosen["lasso_scale"] <= 0 or chosen["num_bags"] < 1:
        raise ValueError(f"{chosen}: expected ridge and lasso_scale above 0, num_bags of at least 1")
    return engine_for(chosen["estimator"], chosen["ridge"], chosen["lasso_scale"], chosen["num_bags"], num_steps)


def celloracle_model(
    data: ExpressionData, networks: Mapping[str, PriorNetwork], options: Mapping[str, Any]
) -> LinearNetwork:
    """The network of one cell type. All genes are explained, by their mean where no regulator is listed, so that runs
    with other sources predict the same values; without sources the base GRN is all pairs.

    Raises
    ------
    ValueError
        Fewer than 20 cells, as of `celloracle`, which fits none of fewer.
    """
    if data.num_cells < MIN_CELLS:
        raise ValueError(f"method {CELLORACLE} has {data.num_cells} cells to fit, expected at least {MIN_CELLS}")
    base = _engine(options)[0]
    return LinearNetwork.from_data(data, edge_prior=HardMask(base) if networks else base, networks=networks)


def fit_celloracle(
    model: Model, data: ExpressionData, options: Mapping[str, Any], *, seed: int, num_steps: int
) -> Posterior:
    """By the engine of the estimator, in at most ``num_steps`` steps and 1,500. ``ValueError`` where it diverged."""
    _, guide, chosen = _engine(options, min(num_steps, NUM_STEPS))
    posterior = fit(model, data if guide.reads_cells else None, guide=guide, seed=seed, **chosen)
    if posterior.history.reason.startswith("diverged"):
        raise ValueError(f"the fit {posterior.history.reason}: leave this method out, or check the data")
    return posterior
