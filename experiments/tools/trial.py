"""The trial on made targets, as ``pyrogrn infer`` makes it, for the functions of `tl`."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...inference.engines.base import Engine
from ...inference.recalibration import Tuning, tune
from ...inference.recalibration.trial import MakeModel, no_trial
from ...models import ExpressionData
from ...priors import PriorNetwork
from ..commands.infer_tuning import in_words


def tried(
    data: ExpressionData, model: Any, engine: Engine, chosen: Mapping[str, Any], *, seed: int
) -> tuple[Tuning | None, str]:
    """What the trial has found, or None where there is none, and what there is to say of it.

    Parameters
    ----------
    data
        The cells of the fit.
    model, engine
        Of the fit.
    chosen
        Arguments of the model's ``from_data``, beside the data.
    seed
        Of the made targets.
    """
    because = no_trial(model, engine, data.num_cells)
    if because is not None:
        return None, f"probabilities are those of the model, not tried on made targets: {because}"

    try:
        found = tune(data.to("cpu"), chosen["networks"], make=maker(model, chosen), seed=seed)
    except ValueError as error:  # the cells are fit for a network and not for a trial
        return None, f"probabilities are those of the model, no trial was possible: {error}"
    return found, in_words(found)


def maker(model: Any, chosen: Mapping[str, Any]) -> MakeModel:
    """Other cells and targets to a network as this one."""

    def make(cells: ExpressionData, networks: Mapping[str, PriorNetwork], targets: Sequence[str]) -> Any:
        return type(model).from_data(cells, **{**chosen, "networks": networks, "targets": targets})

    return make
