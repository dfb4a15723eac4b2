"""`Sampler`: an engine that draws from the posterior."""

from abc import ABC
from dataclasses import dataclass

from ..engines.base import Engine


@dataclass(frozen=True)
class Sampler(Engine, ABC):
    """Draws from the posterior of a model; asymptotically exact, so it carries the calibration badge."""

    calibrated = True
    draws_chains = True
    length_options = ("num_chains", "num_samples")
    minibatches = False
