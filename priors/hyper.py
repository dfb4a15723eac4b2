"""Hyperparameters that are either fixed numbers or sampled from a hyperprior."""

import math
from typing import Any, SupportsFloat

import pyro
import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from .host_values import kept


class Hyper(nn.Module):
    """A scalar hyperparameter: ``Hyper(0.3)`` is fixed, ``Hyper(dist.LogNormal, -1.2, 0.7)`` is sampled.

    The constants are buffers, so they follow the module's device and dtype.

    Parameters
    ----------
    family
        The fixed value, or a Pyro distribution class.
    arguments
        Parameters of that distribution.
    """

    def __init__(self, family: float | type[Distribution], *arguments: float) -> None:
        super().__init__()
        self.family = None if isinstance(family, (int, float)) else family
        values = (float(family),) if isinstance(family, (int, float)) else arguments
        if not all(math.isfinite(v) for v in values):
            raise ValueError(f"hyperparameter {family} has arguments {values}: expected finite numbers")
        self.register_buffer("constants", torch.tensor(values, dtype=torch.float64).to(torch.get_default_dtype()))

    constants: Tensor

    @property
    def is_fixed(self) -> bool:
        return self.family is None

    @property
    def first(self) -> float:
        """The fixed value as Python's, or the first parameter of the hyperprior."""
        return kept(self, "first", (self.constants,), lambda constants: float(constants[0]))

    def distribution(self, validate_args: bool | None = None) -> Any:
        """The hyperprior; only for sampled hyperparameters. ``validate_args``: as torch; checking values takes half of
        ``log_prob``."""
        assert self.family is not None, "a fixed hyperparameter has no distribution"
        family: Any = self.family
        return family(*self.constants.unbind(), validate_args=validate_args)

    def forward(self, name: str) -> Tensor:
        """The fixed value, or a draw of the Pyro site ``name``."""
        if self.family is None:
            return self.constants[0]
        return pyro.sample(name, self.distribution())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the hyperprior at ``value``; zero for a fixed hyperparameter."""
        return torch.zeros_like(value) if self.family is None else self.distribution().log_prob(value)


def as_hyper(value: "float | Hyper") -> Hyper:
    """A number becomes a fixed hyperparameter.

    Raises
    ------
    ValueError
        Anything else, as text that only looks like a number.
    """
    if isinstance(value, Hyper):
        return value
    if isinstance(value, str) or not isinstance(value, SupportsFloat):
        raise ValueError(f"a hyperparameter is {value!r}: expected a number, as 0.1, or a Hyper")
    return Hyper(float(value))
