"""Draws of a fitted guide, with the densities that importance weights need."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pyro
import torch
from torch import Tensor

from ...models import FactorModel, Model
from ..draws.layout import laid_out
from ..draws.moments import Collector, add_draw
from ..factors.alignment import Aligner
from ..lookup import along_bases
from .elbo import log_joint

DENSITY_BLOCK = 100_000  # edge weights whose densities are evaluated at once: temporaries stay in the cache


class Draws(Protocol):
    """What draws, all restarts at once: `Guide`, or guides of Pyro (`foreign.Fitted`)."""

    @property
    def num_restarts(self) -> int: ...
    def draw(self) -> tuple[dict[str, Tensor], Tensor]: ...


Align = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
ALIGNERS: dict[type, Callable[[Any, Tensor], Align]] = {FactorModel: Aligner}
"""What lays draws on a first one before they are averaged, by class of model: where signs, places and rotations of the
rows of W are arbitrary."""


def draw_guide(model: Model, guide: Draws, num_draws: int, threshold: float) -> Collector:
    """Draws from a fitted guide; a diverged guide gives draws that are not finite, and the history says so."""
    collector = Collector(model, guide.num_restarts, num_draws, has_inclusion="inclusion" in model.dims)
    size = guide.num_restarts * max(math.prod(shape) for shape in collector.shape.values())
    block = max(1, DENSITY_BLOCK // size)
    # sums over a million cells have fewer digits in float32 than importance weights need
    reference = copy.deepcopy(model).double()
    waiting: list[tuple[dict[str, Tensor], Tensor]] = []
    aligner, align = along_bases(ALIGNERS, type(model)), None
    with torch.no_grad():
        for i in range(num_draws):
            values, log_q = guide.draw()
            if aligner is not None:
                sites = {n: v.reshape(len(v), *collector.shape[n]) for n, v in values.items() if n in collector.shape}
                align = align if align is not None else aligner(model, sites["W"][0])
                values = {**values, **laid_out(model, align(sites))}
            add_draw(model, collector, values, threshold, values.get("inclusion"))  # summed out by guides of ours
            if i % collector.thin == 0:
                waiting.append((values, log_q))
            if waiting and (len(waiting) == block or i == num_draws - 1):
                for name, value in densities(reference, waiting).items():
                    collector.densities.setdefault(name, []).append(value)
                waiting = []
    return collector


def densities(model: Model, drawn: Sequence[tuple[dict[str, Tensor], Tensor]]) -> dict[str, Tensor]:
    """``lp`` = log p(X, z) and ``lq`` = log q(z) of draws of a guide, each ``(restart, draw)``; NaN where a draw is not
    finite.

    No ``lq`` for a point estimate, whose q has no density, nor when q covers sites of minibatches (intercepts), which
    the likelihood of all cells integrates out.
    """
    num_draws, num_restarts = len(drawn), len(drawn[0][1])
    values = {name: torch.cat([v[name] for v, _ in drawn]).double() for name in drawn[0][0]}
    with pyro.validation_enabled(False):  # a diverged guide gets NaN here, not an error
        lp = log_joint(model, values, None, num_draws * num_restarts)[0]
    result = {"lp": lp.reshape(num_draws, num_restarts).T}
    lq = torch.stack([log_q for _, log_q in drawn], dim=1)
    if set(values) <= set(model.dims) and bool((lq != 0).any()):
        result["lq"] = lq.double()
    return result
