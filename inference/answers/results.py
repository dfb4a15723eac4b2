"""What answers are given in, where a table does not hold them."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...models import Dynamics


@dataclass(frozen=True, eq=False)
class CellPredictions:
    """Normal predictive distributions of (cell, target) pairs given each draw, in the units of the data.

    ``observed`` ``(observation,)``; ``mean``, ``sd`` ``(chain, draw, observation)``; ``labels`` "cell:target"; ``cell``
    ``(observation,)`` the row each is of, in the data (of a context of a panel; of time courses, pairs of
    measurements).
    """

    observed: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    labels: list[str]
    cell: np.ndarray

    def draw(self, seed: int = 0) -> np.ndarray:
        """``(chain, draw, observation)`` replicated data, one for each posterior draw."""
        noise = np.random.default_rng([seed, 2]).standard_normal(self.mean.shape)
        return (self.mean + self.sd * noise).astype(np.float32)

    @property
    def place(self) -> np.ndarray:
        """``(observation,)`` probability, over all draws, of a value below the one observed: uniform where the model is
        right."""
        scores = torch.from_numpy((self.observed - self.mean) / self.sd)
        return torch.special.ndtr(scores).mean((0, 1)).double().numpy()

    def log_likelihood(self) -> np.ndarray:
        """``(chain, draw, observation)`` log density of what was observed."""
        score = (self.observed - self.mean) / self.sd
        return -0.5 * (score**2 + math.log(2 * math.pi)) - np.log(self.sd)


@dataclass(frozen=True, eq=False)
class Course:
    """Draws of a trajectory in the units of the data: ``times`` (time,), ``levels`` and ``velocities`` (draw, time,
    gene), ``noise`` (gene,) the sd of a measurement; ``lost`` the share of draws whose solution blew up, ``kept``
    (draw,) the places of the others among those drawn; ``longest`` the longest interval between two measurements of the
    fit."""

    genes: tuple[str, ...]
    times: np.ndarray
    levels: np.ndarray
    velocities: np.ndarray
    noise: np.ndarray
    lost: float
    kept: np.ndarray
    longest: float

    @property
    def beyond(self) -> int:
        """How many of the times lie further from the start than any two measurements from each other: a fit is held
        to changes over intervals, and what lies further is those changes added up, errors too."""
        # times as written and intervals in units of the fit differ by rounding
        return int((self.times - self.times[0] > self.longest * (1 + 1e-5)).sum())

    def table(self, level: float) -> pd.DataFrame:
        """``time, gene, mean, sd, lower, upper, noise_sd, velocity, velocity_sd``."""
        tail = (1 - level) / 2
        lower, upper = np.quantile(self.levels, [tail, 1 - tail], axis=0)
        columns = {
            "mean": self.levels.mean(0),
            "sd": self.levels.std(0),
            "lower": lower,
            "upper": upper,
            "noise_sd": np.broadcast_to(self.noise, lower.shape),
            "velocity": self.velocities.mean(0),
            "velocity_sd": self.velocities.std(0),
        }
        place = {"time": np.repeat(self.times, len(self.genes)), "gene": list(self.genes) * len(self.times)}
        return pd.DataFrame(place | {name: value.ravel() for name, value in columns.items()})


class Fluctuations(NamedTuple):
    """One draw of a dynamical network with what disturbs it, for `flux.flux_table`.

    ``dynamics`` of one draw; ``start`` ``(1, 1, gene)`` where its steady state is looked for; ``free`` ``(gene,)``
    genes with an equation of their own; ``sigma`` ``(1, gene)`` what the fit leaves unexplained, ``in_drive`` of the
    drive, else of the level.
    """

    dynamics: Dynamics
    start: Tensor
    free: Tensor
    sigma: Tensor
    in_drive: bool
