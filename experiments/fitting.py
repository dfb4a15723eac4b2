"""What a method of the command line is by its name: its model and its engine."""

from typing import Any

from ..inference import Amortised, Posterior, default_guide
from ..inference.amortised import KINDS
from ..inference.engines.base import Engine
from ..models import MODELS, LinearNetwork, Model

METHODS: dict[str, Any] = {
    **{model.name: model for model in MODELS},
    **dict.fromkeys(KINDS, LinearNetwork),
    "celloracle": LinearNetwork,
}
"""Classes of models by the name of the method."""


def default_engine(method: str, model: Model) -> Engine:
    """The engine that a method has where none is asked for: its own trained weights, or that of the model."""
    return Amortised(method) if method in KINDS else default_guide(model)


def refuse_diverged(posterior: Posterior) -> Posterior:
    """The posterior of a fit that ended.

    Raises
    ------
    ValueError
        It diverged.
    """
    if posterior.history.reason.startswith("diverged"):
        raise ValueError(
            f"the fit {posterior.history.reason}: try another --seed, a smaller step "
            "(--guide mean-field), or check the data for extreme values"
        )
    return posterior
