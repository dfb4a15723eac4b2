r"""Guides: the families q(z) that variational inference searches, all restarts at once."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ...models import ExpressionData, FactorModel, Model
from ..draws.moments import Collector
from ..engines.base import Engine
from ..factors.blocked import ascend, seconds_of_draws
from ..lookup import along_bases
from ..runs.history import History
from ..runs.run import Run
from .base import Guide
from .draws import draw_guide
from .pyro_sites import ColumnNormal, Plates, columns, laid, padded_values, placed, sample_normal, sample_point
from .sites import Site, constrain, latent_sites, random_starts, step_units
from .svi import run_svi


class _MapGuide(Guide):
    family = "map"

    def __init__(self, model: Model, sites: tuple[Site, ...], num_restarts: int, start: Tensor) -> None:
        super().__init__(model, sites, num_restarts)
        self.location = nn.Parameter(start)

    def draw(self) -> tuple[dict[str, Tensor], Tensor]:
        values, _ = constrain(self.location, self.sites)
        return values, self.location.new_zeros(self.num_restarts)

    def sample(self, plates: Plates) -> dict[str, Tensor]:
        return {s.name: sample_point(s, laid(self.location, s), plates, jacobian=False) for s in self.sites}


class _NormalGuide(Guide):
    family = "mean-field"

    def __init__(
        self, model: Model, sites: tuple[Site, ...], num_restarts: int, start: Tensor, init_scale: float
    ) -> None:
        super().__init__(model, sites, num_restarts)
        self.location = nn.Parameter(start)
        self.log_scale = nn.Parameter(torch.full_like(start, math.log(init_scale)))

    def draw(self) -> tuple[dict[str, Tensor], Tensor]:
        noise = torch.randn_like(self.location)
        values, jacobian = constrain(torch.addcmul(self.location, self.log_scale.exp(), noise), self.sites)
        log_q = -0.5 * noise.square().sum(1) - self.log_scale.sum(1) - 0.5 * math.log(2 * math.pi) * noise.shape[1]
        return values, log_q - jacobian

    def sample(self, plates: Plates) -> dict[str, Tensor]:
        scale = self.log_scale.exp()
        return {s.name: sample_normal(s, self.location, scale, plates) for s in self.sites}


class _LowRankGuide(Guide):
    family = "low-rank"

    def __init__(
        self, model: Model, sites: tuple[Site, ...], num_restarts: int, start: Tensor, init_scale: float, rank: int
    ) -> None:
        super().__init__(model, sites, num_restarts)
        self.location = nn.Parameter(start)
        self.log_scale = nn.Parameter(torch.full_like(start, math.log(init_scale)))
        self.factor = nn.Parameter(
            torch.randn(*start.shape, rank, dtype=start.dtype, device=start.device) * init_scale / rank
        )

    def draw(self) -> tuple[dict[str, Tensor], Tensor]:
        normal = dist.LowRankMultivariateNormal(
            self.location, self.factor, (2 * self.log_scale).exp(), validate_args=False
        )
        z = normal.rsample()
        values, jacobian = constrain(z, self.sites)
        return values, normal.log_prob(z) - jacobian

    def sample(self, plates: Plates) -> dict[str, Tensor]:
        # all sites are one vector, which the model does not have; each is then a function of it
        place = (self.num_restarts, *(1,) * self.model_dims) if self.num_restarts > 1 else ()
        location, factor, variance = (
            v.reshape(*place, *v.shape[1:]) for v in (self.location, self.factor, (2 * self.log_scale).exp())
        )
        normal = dist.LowRankMultivariateNormal(location, factor, variance)
        z = pyro.sample("low_rank_latent", normal, infer={"is_auxiliary": True})
        return {s.name: sample_point(s, columns(z, s), plates, jacobian=True) for s in self.sites}


class _BlockedGuide(Guide):
    """Mean-field over every other site, then the exact conditional of one site given them."""

    family = "blocked"
    calibrated = True

    def __init__(
        self, model: Model, sites: tuple[Site, ...], num_restarts: int, start: Tensor, init_scale: float, block: str
    ) -> None:
        super().__init__(model, sites, num_restarts)
        self.block = block
        self.others = _repacked(tuple(s for s in sites if s.name != block))
        self.units = step_units(model, self.others)
        start = torch.cat([start[:, s.start : s.stop] for s in sites if s.name != block], dim=1)
        self.location = nn.Parameter(start)
        self.log_scale = nn.Parameter(torch.full_like(start, math.log(init_scale)))
        self._conditional = (
            model.conditional
        )  # the method, not the module: the model's buffers are not this guide's parameters

    def draw(self) -> tuple[dict[str, Tensor], Tensor]:
        noise = torch.randn_like(self.location)
        values, jacobian = constrain(torch.addcmul(self.location, self.log_scale.exp(), noise), self.others)
        log_q = (
            -0.5 * noise.square().sum(1)
            - self.log_scale.sum(1)
            - 0.5 * math.log(2 * math.pi) * noise.shape[1]
            - jacobian
        )
        values[self.block], log_block = self._conditional(self.block, values).draw()
        return values, log_q + log_block.flatten(1).sum(1)

    def sample(self, plates: Plates) -> dict[str, Tensor]:
        scale = self.log_scale.exp()
        values = {s.name: sample_normal(s, self.location, scale, plates) for s in self.others}
        given = padded_values(values, self.others, self.model_dims)
        block = self._conditional(self.block, given)
        site = next(s for s in self.sites if s.name == self.block)
        with placed(site, plates):
            values[self.block] = pyro.sample(self.block, ColumnNormal(*block.moments))
        return values


def _repacked(sites: tuple[Site, ...]) -> tuple[Site, ...]:
    packed, start = [], 0
    for s in sites:
        size = s.stop - s.start
        packed.append(replace(s, start=start, stop=start + size))
        start += size
    return tuple(packed)


@dataclass(frozen=True)
class GuideFactory(Engine, ABC):
    """A variational family: called with a model (and a first minibatch, and a number of restarts) it makes a guide,
    which is a Pyro guide; `run` fits that and draws from it.

    Examples
    --------
    ::

        guide = MeanField()(model)
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), TraceEnum_ELBO(max_plate_nesting=2))
    """

    @abstractmethod
    def __call__(self, model: Model, batch: ExpressionData | None = None, num_restarts: int = 1) -> Guide:
        """q(z) at its start, for ``num_restarts`` fits at once."""

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        """Maximise the evidence lower bound by stochastic gradients, then draw."""
        first = None
        if data is not None and run.batch_size is not None:
            first = next(data.minibatches(run.batch_size, torch.Generator().manual_seed(0)))
        guide = self(model, first, run.restarts)
        history = run_svi(model, data, guide, run)
        return draw_guide(model, guide, run.num_draws, run.threshold), history


@dataclass(frozen=True)
class MapEstimate(GuideFactory):
    """The maximum a posteriori point (no uncertainty): a Delta at every site. Not calibrated, by construction.

    With scales that are learned too the mode can be degenerate, a scale of zero with all its weights (for `SpikeSlab`
    it is): fix them, or take another guide.

    Parameters
    ----------
    spread
        Sd of the random starts in unconstrained space.
    """

    spread: float = 0.05
    name = "map"
    calibrated = False
    point = True

    def __call__(self, model: Model, batch: ExpressionData | None = None, num_restarts: int = 1) -> Guide:
        sites = latent_sites(model, batch)
        return _MapGuide(model, sites, num_restarts, random_starts(model, sites, num_restarts, self.spread))


@dataclass(frozen=True)
class MeanField(GuideFactory):
    """Independent normals for every scalar in unconstrained space.

    Not calibrated for edges when regulators are correlated: it cannot say "one of these two", and understates both.
    A fit that was interrupted and resumed equals an uninterrupted one up to the rounding of its compiled objective
    (1e-5 of a value; bit for bit with ``jit=False``), which is compiled again from the step where it resumes.

    Parameters
    ----------
    init_scale
        Starting sd: small, so that the first steps see a sharp likelihood and not noise.
    spread
        Sd of the random starts in unconstrained space.
    """

    init_scale: float = 0.02
    spread: float = 0.05
    name = "mean-field"
    calibrated = False

    def __call__(self, model: Model, batch: ExpressionData | None = None, num_restarts: int = 1) -> Guide:
        sites = latent_sites(model, batch)
        return _NormalGuide(
            model, sites, num_restarts, random_starts(model, sites, num_restarts, self.spread), self.init_scale
        )


@dataclass(frozen=True)
class LowRank(GuideFactory):
    """One multivariate normal with covariance D + F Fᵀ over all scalars; captures the ``rank`` strongest correlations.

    Parameters
    ----------
    rank
        Columns of F. Default 8; it costs rank × dimension.
    init_scale, spread
        As for `MeanField`.
    """

    rank: int = 8
    init_scale: float = 0.02
    spread: float = 0.05
    name = "low-rank"
    calibrated = False

    def __call__(self, model: Model, batch: ExpressionData | None = None, num_restarts: int = 1) -> Guide:
        sites = latent_sites(model, batch)
        start = random_starts(model, sites, num_restarts, self.spread)
        return _LowRankGuide(model, sites, num_restarts, start, self.init_scale, self.rank)


@dataclass(frozen=True)
class Blocked(GuideFactory):
    """Mean-field for scales and noise, and for each target the exact joint Gaussian of its weights given them.

    The correlations between regulators, which mean-field loses, are in closed form; what stays approximate is the
    posterior of the scales. Needs a conditionally Gaussian prior (Normal, Horseshoe, HardMask of these) and one
    context.

    Parameters
    ----------
    block
        The site in closed form.
    init_scale, spread
        As for `MeanField`.
    refresh
        Of factor models, which this guide fits by coordinate ascent (`factors.blocked.ascend`): rounds of the exact
        conditionals from a draw of the fit to the first that is kept; one more leads to each that follows, so that
        draws are no longer independent. Default 200, after which a program that is in the noise alone has lost most
        of its sure loadings; of more than 30,000 loadings and effects 50, after which it has not; with missing values
        200 up to 200,000 cells × loadings, else none. 0 gives independent draws of the product form, whose intervals
        are too narrow and which is sure of such programs; so do minibatches and views of counts, where another number
        is an error.
    """

    block: str = "W"
    init_scale: float = 0.1
    spread: float = 0.05
    refresh: int | None = None
    name = "blocked"
    calibrated = True

    def __post_init__(self) -> None:
        if self.refresh is not None and (not isinstance(self.refresh, int) or self.refresh < 0):
            raise ValueError(f"refresh={self.refresh!r}: expected a number of rounds, 0 or more")

    def __call__(self, model: Model, batch: ExpressionData | None = None, num_restarts: int = 1) -> Guide:
        sites = latent_sites(model, batch)
        guide = _BlockedGuide(
            model,
            sites,
            num_restarts,
            random_starts(model, sites, num_restarts, self.spread),
            self.init_scale,
            self.block,
        )
        with torch.no_grad(), torch.random.fork_rng():
            guide.draw()  # refuses here, before any step, when the model is not conjugate
        return guide

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        """Coordinate ascent where the model has one (`ASCENTS`), else stochastic gradients; then draw."""
        ascent = along_bases(ASCENTS, type(model))
        return super().run(model, data, run) if ascent is None else ascent.run(model, data, run, self.refresh)

    def seconds_of_draws(self, model: Model, data: ExpressionData | None, run: Run) -> float:
        """Of those that walk on from coordinate ascent."""
        ascent = along_bases(ASCENTS, type(model))
        return 0.0 if ascent is None else ascent.seconds_of_draws(model, data, run, self.refresh)

    def num_bytes(self, model: Model, run: Run) -> float:
        """Of programs also the Gram matrix in float64 and its root, and the model in float64 when densities of the
        draws are asked for."""
        grams = 0 if along_bases(ASCENTS, type(model)) is None else model.get_buffer("gram").numel()
        return super().num_bytes(model, run) + GRAMS * 8 * grams


GRAMS = 3


class Ascent(NamedTuple):
    """A fit by coordinate ascent, and the seconds that its draws will take; the arguments of both are the model, cells,
    the run, and `Blocked.refresh`."""

    run: Callable[[Any, ExpressionData | None, Run, int | None], tuple[Collector, History]]
    seconds_of_draws: Callable[[Any, ExpressionData | None, Run, int | None], float]


ASCENTS: dict[type, Ascent] = {FactorModel: Ascent(ascend, seconds_of_draws)}
"""Coordinate ascent in closed form, by class of model: what `Blocked` is there, in place of stochastic gradients."""

GUIDES = (MapEstimate, MeanField, LowRank, Blocked)
