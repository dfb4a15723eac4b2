"""The continuous sites of a model as one unconstrained vector."""

import math
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor
from torch.distributions import ExpTransform, biject_to, constraints

from ...models import ExpressionData, Model


@dataclass(frozen=True)
class Site:
    """A continuous latent site: its shape padded to (*plates, *event), support transform, and place in the flat
    vector; the ``plates`` that the model samples it in, its shape there (not padded), and the ``weight`` of its log
    density (of cells of a minibatch: how many each stands for)."""

    name: str
    shape: tuple[int, ...]
    event_dim: int
    positive: bool
    transform: torch.distributions.Transform
    start: int
    stop: int
    plates: tuple[CondIndepStackFrame, ...] = ()
    own_shape: tuple[int, ...] = ()
    weight: float | Tensor = 1.0


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
        frames = tuple(frame for frame in node["cond_indep_stack"] if frame.vectorized)
        place = (start, start + size, frames, tuple(node["value"].shape), node["scale"])
        sites.append(Site(name, shape, event_dim, positive, _transform_to(support), *place))
        start += size
    return tuple(sites)


def _transform_to(support: Any) -> torch.distributions.Transform:
    """The bijection of torch; onto numbers above zero the exponential alone, which torch follows by "times 1, plus 0"
    and takes again for the Jacobian: the same numbers by a quarter of the steps."""
    above = isinstance(support, constraints.greater_than | constraints.greater_than_eq)
    if above and isinstance(support.lower_bound, int | float) and support.lower_bound == 0:
        return ExpTransform()
    return biject_to(support)


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


def step_units(model: Model, sites: tuple[Site, ...]) -> Tensor | None:
    """``(dimension,)`` of the unconstrained vector, after `Model.step_units`; ``None`` where all are one."""
    known = {name: size for name, size in model.step_units.items() if any(s.name == name for s in sites)}
    if not known:
        return None
    units = torch.ones(max(s.stop for s in sites), dtype=model.constant.dtype, device=model.constant.device)
    for site in sites:
        if site.name in known:
            units[site.start : site.stop] = known[site.name].to(units).expand(site.shape).flatten()
    return units
