r"""Guides: the families q(z) that variational inference searches, all restarts at once."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import biject_to, constraints

from ..models import ExpressionData, GaussianBlock, Model
from .engines.base import Engine


@dataclass(frozen=True)
class Site:
    """A continuous latent site: its shape padded to (*plates, *event), support transform, and place in the flat
    vector."""

    name: str
    shape: tuple[int, ...]
    event_dim: int
    positive: bool
    transform: torch.distributions.Transform
    start: int
    stop: int


def latent_sites(model: Model, batch: ExpressionData | None) -> tuple[Site, ...]:
    """Continuous latent sites of a model in the order in which it samples them."""
    with torch.random.fork_rng(), torch.no_grad(), pyro.get_param_store().scope():
        nodes: dict[str, Any] = dict(poutine.trace(model).get_trace(batch).nodes)
    sites, start = [], 0
    for name, node in nodes.items():
        if node["type"] != "sample" or node["is_observed"] or type(node["fn"]).__name__ == "_Subsample":
            continue
        if node["fn"].has_enumerate_support:
            continue  # discrete sites are summed out by the objective
        event_dim = node["fn"].event_dim
        plates = len(node["value"].shape) - event_dim
        shape = (1,) * (model.max_plate_nesting - plates) + tuple(node["value"].shape)
        size = math.prod(shape)
        support = node["fn"].support
        bound = getattr(support, "base_constraint", support)
        positive = isinstance(bound, (constraints.greater_than, constraints.greater_than_eq))
        sites.append(Site(name, shape, event_dim, positive, biject_to(support), start, start + size))
        start += size
    return tuple(sites)


def constrain(flat: Tensor, sites: tuple[Site, ...]) -> tuple[dict[str, Tensor], Tensor]:
    """Flat unconstrained ``(restart, dimension)`` → values by site, and Σ log |∂value/∂z| ``(restart,)``."""
    values, jacobian = {}, flat.new_zeros(len(flat))
    for site in sites:
        z = flat[:, site.start : site.stop].reshape(-1, *site.shape)
        value = site.transform(z)
        if site.transform is not biject_to(constraints.real):
            log_abs = site.transform.log_abs_det_jacobian(z, value)
            jacobian = jacobian + log_abs.flatten(1).sum(1)
        values[site.name] = value
    return values, jacobian


class Guide(nn.Module, ABC):
    """q(z) over the sites of a model; parameters have a leading ``restart`` dimension, and restarts are independent
    fits.

    ``draw`` returns one reparameterised sample and its log density; called as a Pyro guide it samples the same sites.
    """

    calibrated: bool = False

    def __init__(self, model: Model, sites: tuple[Site, ...], num_restarts: int) -> None:
        super().__init__()
        self.model_dims = model.max_plate_nesting
        self.sites, self.num_restarts = sites, num_restarts

    @abstractmethod
    def draw(self) -> tuple[dict[str, Tensor], Tensor]:
        """Values by site ``(restart, *plates, *event)``, and log q ``(restart,)``."""

    def forward(self, batch: ExpressionData | None = None) -> dict[str, Tensor]:
        """As a Pyro guide: every site a Delta at the draw, the log density on the first (sites of all restarts at
        once)."""
        values, log_q = self.draw()
        pyro.factor("guide_log_density", log_q.sum(), has_rsample=True)
        for site in self.sites:
            pyro.sample(site.name, dist.Delta(values[site.name], event_dim=site.event_dim))
        return values


class GuideFactory(Protocol):
    """Describes a family; called with a model, a first minibatch (or ``None``) and a number of restarts, it makes a
    guide."""

    @property
    def name(self) -> str: ...

    @property
    def calibrated(self) -> bool: ...

    def __call__(self, model: Model, batch: ExpressionData | None, num_restarts: int) -> Guide: ...


class _MapGuide(Guide):
    def __init__(self, model: Model, sites: tuple[Site, ...], num_restarts: int, start: Tensor) -> None:
        super().__init__(model, sites, num_restarts)
        self.location = nn.Parameter(start)

    def draw(self) -> tuple[dict[str, Tensor], Tensor]:
        values, _ = constrain(self.location, self.sites)
        return values, self.location.new_zeros(self.num_restarts)


class _NormalGuide(Guide):
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


class _LowRankGuide(Guide):
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


class _BlockedGuide(Guide):
    """Mean-field over every other site, then the exact conditional of one site given them."""

    calibrated = True

    def __init__(
        self, model: Model, sites: tuple[Site, ...], num_restarts: int, start: Tensor, init_scale: float, block: str
    ) -> None:
        super().__init__(model, sites, num_restarts)
        self.block = block
        self.others = _repacked(tuple(s for s in sites if s.name != block))
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
        block = self._conditional(self.block, values)
        value, log_block = draw_block(block)
        values[self.block] = value
        return values, log_q + log_block.flatten(1).sum(1)


def draw_block(block: GaussianBlock) -> tuple[Tensor, Tensor]:
    """A reparameterised draw ``(*batch, row, column)`` of independent Gaussian columns and its log density ``(*batch,
    column)``."""
    noise = torch.randn_like(block.mean)
    step = torch.linalg.solve_triangular(block.factor.transpose(-1, -2), noise[..., None], upper=True)[..., 0]
    log_det = block.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_density = log_det - 0.5 * noise.square().sum(-1) - 0.5 * math.log(2 * math.pi) * noise.shape[-1]
    return (block.mean + step).transpose(-1, -2), log_density


def _repacked(sites: tuple[Site, ...]) -> tuple[Site, ...]:
    packed, start = [], 0
    for s in sites:
        size = s.stop - s.start
        packed.append(replace(s, start=start, stop=start + size))
        start += size
    return tuple(packed)


def random_starts(model: Model, sites: tuple[Site, ...], num_restarts: int, spread: float) -> Tensor:
    """Restarts begin at small random places in unconstrained space around what the model knows (`Model.initial`), else
    around zero, where scales are about one tenth.

    A scale that starts at one lets every weight in and the fit then has to unlearn them.
    """
    total = max(s.stop for s in sites)
    start = spread * torch.randn(num_restarts, total, dtype=model.constant.dtype, device=model.constant.device)
    known = model.initial
    for site in sites:
        place = slice(site.start, site.stop)
        if site.name in known:
            value = known[site.name].to(start).expand(site.shape)
            start[:, place] += site.transform.inv(value).flatten()
        elif site.positive and site.name != "noise_variance":
            start[:, place] += math.log(0.1)
    return start


@dataclass(frozen=True)
class MapEstimate(Engine):
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

    def __call__(self, model: Model, batch: ExpressionData | None, num_restarts: int) -> Guide:
        sites = latent_sites(model, batch)
        return _MapGuide(model, sites, num_restarts, random_starts(model, sites, num_restarts, self.spread))


@dataclass(frozen=True)
class MeanField(Engine):
    """Independent normals for every scalar in unconstrained space.

    Not calibrated for edges when regulators are correlated: it cannot say "one of these two", and understates both.

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

    def __call__(self, model: Model, batch: ExpressionData | None, num_restarts: int) -> Guide:
        sites = latent_sites(model, batch)
        return _NormalGuide(
            model, sites, num_restarts, random_starts(model, sites, num_restarts, self.spread), self.init_scale
        )


@dataclass(frozen=True)
class LowRank(Engine):
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

    def __call__(self, model: Model, batch: ExpressionData | None, num_restarts: int) -> Guide:
        sites = latent_sites(model, batch)
        start = random_starts(model, sites, num_restarts, self.spread)
        return _LowRankGuide(model, sites, num_restarts, start, self.init_scale, self.rank)


@dataclass(frozen=True)
class Blocked(Engine):
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
        Of factor models, which this guide fits by coordinate ascent (`factor_blocked.ascend`): rounds of the exact
        conditionals that each draw goes through. Default 1; 0 gives the product form alone, whose intervals are too
        narrow where factors and covariates correlate.
    """

    block: str = "W"
    init_scale: float = 0.1
    spread: float = 0.05
    refresh: int = 1
    name = "blocked"
    calibrated = True

    def __call__(self, model: Model, batch: ExpressionData | None, num_restarts: int) -> Guide:
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


GUIDES = (MapEstimate, MeanField, LowRank, Blocked)
