"""How a target answers to one regulator: in proportion, up to a limit, or all at once."""

from collections.abc import Callable

import numpy as np

STEEPNESS = 3.0  # of the saturating response, per standard deviation of the regulator: flat beyond one on either side
MIDDLE = (0.25, 0.75)  # quantiles of the regulator between which a response has its middle


def _linear(x: np.ndarray, middle: float) -> np.ndarray:
    return x


def _saturating(x: np.ndarray, middle: float) -> np.ndarray:
    return 1 / (1 + np.exp(-STEEPNESS * (x - middle)))


def _step(x: np.ndarray, middle: float) -> np.ndarray:
    above = x > middle
    return (above if above.any() else x >= middle).astype(
        np.float64
    )  # a middle at the maximum, as of many equal values


RESPONSES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "linear": _linear,
    "saturating": _saturating,
    "step": _step,
}
"""By name: regulator in standard deviations, and the middle of the response, to the response."""


def response(x: np.ndarray, kind: str, generator: np.random.Generator) -> np.ndarray:
    """The response to a regulator (cell,) that varies, with mean 0 and variance 1; its middle lies at a quantile drawn
    from the middle half of the cells. All three rise."""
    values = RESPONSES[kind](x, float(np.quantile(x, generator.uniform(*MIDDLE))))
    values = values - values.mean()
    return values / np.sqrt(np.square(values).mean())
