"""Edges of equal knowledge, and the moves of the hyperparameters from sums over such classes.

There are some hundred steps of a few chains' numbers to a block, of which each costs torch microseconds: they are of
numpy, or compiled.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...priors import SpikeSlab
from ..gibbs.hyper import EdgeClasses, HyperUpdates, State, truncated_normal
from ..gibbs.streams import normal, uniform
from .compiled import compiled, inlined
from .hyperpriors import Density, density_of_logarithm

WALKS, WALKS_ALONE = 8, 16  # random-walk steps of the intercept to a block; where nothing else moves it
WIDEST, NARROWEST = 1.0, 1e-3  # their widths: log-uniform between the first and that part of it
SLAB_STEPS = 4  # random-walk steps of s to a block
ACCEPTED, FIRST_STEP, ADAPTATION = 0.44, 0.2, 0.1  # share that should be, their width at first, and how fast it adapts
UNNAMED = np.zeros((1, 1), dtype=np.int32)


class SparseClasses(NamedTuple):
    """``member`` (target, tf) int32 the class of each edge, of shape (1, 1) where it is the regulator; by class its
    regulator ``tf`` (class,), confidences ``feature`` (class, source), signs ``sign`` (class, signed source) and number
    of edges that may exist ``size`` (class,)."""

    member: np.ndarray
    tf: Tensor
    feature: Tensor
    sign: Tensor
    size: Tensor

    @classmethod
    def of(cls, prior: SpikeSlab, allowed: Tensor) -> "SparseClasses":
        """Edges that no source lists are in the class of their regulator: no table of all edges is sorted."""
        num_tfs = len(allowed)
        tf, count = torch.arange(num_tfs), allowed.sum(1).to(prior.probability)
        known = torch.cat([prior.probability, prior.sign])  # (source + signed source, tf, target)
        listed = (known != 0).any(0) & allowed
        if not bool(listed.any()):
            wide = lambda table: table.new_zeros(num_tfs, len(table))
            return cls(UNNAMED, tf, wide(prior.probability), wide(prior.sign), count)
        row, column = torch.nonzero(listed, as_tuple=True)
        table = torch.cat([row[None].to(known), known[:, row, column]]).T
        found, place = torch.unique(table, dim=0, return_inverse=True)
        member = np.repeat(np.arange(num_tfs, dtype=np.int32)[None], allowed.shape[1], axis=0)
        member[column.numpy(), row.numpy()] = num_tfs + place.numpy()
        count -= torch.bincount(row, minlength=num_tfs).to(count)
        more = torch.bincount(place, minlength=len(found)).to(count)
        features = torch.cat([known.new_zeros(num_tfs, len(known)), found[:, 1:]])
        num_sources = len(prior.probability)
        return cls(
            member,
            torch.cat([tf, found[:, 0].long()]),
            features[:, :num_sources],
            features[:, num_sources:],
            torch.cat([count, more]),
        )


class ClassSums(NamedTuple):
    """Of the present edges of each class, ``(chain, class)`` float64: their number, and of their weights in units of
    the noise sd the sum and the sum of squares."""

    number: Tensor
    linear: Tensor
    square: Tensor


class SlabSums(NamedTuple):
    """What the slab's scale is known by, ``(chain,)`` float64: of the present edges the ``number``, the sum of
    ``square`` of their weights, and with l the slab's mean in units of s Σ w l ``linear`` and Σ l² ``shift``."""

    number: np.ndarray
    square: np.ndarray
    linear: np.ndarray
    shift: np.ndarray


@inlined
def log_density_of_number(
    value: float, number: np.ndarray, count: np.ndarray, rest: np.ndarray, loc: float, sd: float
) -> float:
    """Of the intercept ``value``, ``number`` (class,) of ``count`` edges present, with ``rest`` (class,) beside it in
    their log-odds."""
    found = -0.5 * ((value - loc) / sd) ** 2
    for k in range(len(number)):
        linear = rest[k] + value
        found += number[k] * linear - count[k] * (max(linear, 0.0) + math.log1p(math.exp(-abs(linear))))
    return found


@compiled
def walk(
    value: np.ndarray, step: np.ndarray, refusal: np.ndarray, number: np.ndarray, count: np.ndarray, rest: np.ndarray,
    loc: float, sd: float,
) -> None:  # fmt: skip
    """Metropolis steps ``step`` (turn, chain) of ``value`` (chain,), in place, refused where the log density grows by
    no more than ``refusal`` (turn, chain); ``number`` and ``rest`` (chain, class), ``count`` (class,)."""
    for chain in range(len(value)):
        current = log_density_of_number(value[chain], number[chain], count, rest[chain], loc, sd)
        for turn in range(len(step)):
            new = value[chain] + step[turn, chain]
            found = log_density_of_number(new, number[chain], count, rest[chain], loc, sd)
            if refusal[turn, chain] < found - current:
                value[chain], current = new, found


@dataclass(eq=False)
class SparseUpdates(HyperUpdates):
    """`HyperUpdates` of point masses: everything it needs of the edges comes as `ClassSums`."""

    def _set_edges(self) -> None:
        self.sparse = SparseClasses.of(self.prior, self.allowed)
        self.classes = EdgeClasses(
            torch.zeros(0, dtype=torch.long), self.sparse.tf, self.sparse.feature, self.sparse.size
        )
        self.num_edges = float(self.allowed.sum())
        self.num_tfs = self.allowed.shape[0]

    def location(self, state: State) -> Tensor:
        """``(chain, class)`` float64: the slab's mean in units of s."""
        if "sign_trust" not in state:
            return torch.zeros(len(state["edge_logit"]), len(self.sparse.tf), dtype=torch.float64)
        return state["sign_trust"].double() @ self.sparse.sign.double().T

    def log_odds(self, state: State) -> Tensor:
        """``(chain, class)`` float64: of inclusion before the data."""
        return (self._class_offset(state) + self._hub_of_class(state)).double().expand(-1, len(self.sparse.tf))

    def update_given(self, state: State, present: Tensor) -> None:
        """As of `HyperUpdates`, and `_walk_intercept`; in place."""
        alone = "trust" not in state and not self.prior.has_hubs  # the intercept is all there is
        if not alone:
            super().update_given(state, present)
        if not self.prior.edge_logit.is_fixed:
            self._walk_intercept(state, present, WALKS_ALONE if alone else WALKS)

    def _walk_intercept(self, state: State, present: Tensor, walks: int) -> None:
        """Random-walk steps of the intercept, of widths that do not depend on where it is. Of a million edges it is
        known to a hundredth: a chain that is further away never has its Fisher-scoring proposal accepted, because the
        way back is never proposed, and would stay."""
        at = state["edge_logit"]
        rest = self._class_offset({**state, "edge_logit": torch.zeros_like(at)}) + self._hub_of_class(state)
        number, count, rest = present.double(), self.classes.count.double(), rest.double()
        if rest.shape[1] == 1 or bool((rest == rest[:, :1]).all()):  # edges of equal odds are one class
            number, count, rest = number.sum(1, keepdim=True), count.sum()[None], rest[:, :1]
        loc, sd = (float(value) for value in self.prior.edge_logit.constants)
        shape = (walks, len(at))
        width = WIDEST * NARROWEST ** uniform(shape, self.generator, at).double().numpy()
        step = width * normal(shape, self.generator, at).double().numpy()
        refusal = uniform(shape, self.generator, at).double().log().numpy()
        value = at.double().numpy().copy()
        walk(value, step, refusal, number.numpy(), count.numpy(), rest.contiguous().numpy(), loc, sd)
        state["edge_logit"] = torch.from_numpy(value).to(at)

    @cached_property
    def log_prior(self) -> dict[str, Density]:
        """By hyperparameter, the log density in its logarithm, of numpy arrays."""
        hypers = {"slab_scale": self.prior.slab_scale, "spike_ratio": self.prior.spike_ratio}
        return {name: density_of_logarithm(hyper) for name, hyper in hypers.items()}

    def slab_sums(self, state: State, sums: ClassSums) -> SlabSums:
        """Of all classes together."""
        of = lambda value: value.sum(1).numpy()
        number, square = of(sums.number), of(sums.square)
        if "sign_trust" not in state:
            return SlabSums(number, square, np.zeros_like(number), np.zeros_like(number))
        loc = self.location(state)
        return SlabSums(number, square, of(sums.linear * loc), of(sums.number * loc**2))

    def slab_density(self, sums: SlabSums, slab: np.ndarray, background: np.ndarray) -> np.ndarray:
        """``(chain, *point)`` log density of the present weights at slab scale s and background h ``(chain, *point)``,
        τ² = s² − h."""
        number, square, linear, shift = (v.reshape(-1, *[1] * (background.ndim - 1)) for v in sums)
        width = slab**2 - background
        return -0.5 * (number * np.log(width) + (square - 2 * slab * linear + slab**2 * shift) / width)

    def update_slab(self, state: State, sums: ClassSums, background: Tensor) -> None:
        """s with the background h as it is, so that ρ = √h/s goes against it; in place."""
        if self.prior.slab_scale.is_fixed or self.prior.spike_ratio.is_fixed:
            return
        slab, ratio, h = state["slab_scale"].numpy(), state["spike_ratio"].numpy(), background.numpy()
        of_slab, of_ratio, known = (
            self.log_prior["slab_scale"],
            self.log_prior["spike_ratio"],
            self.slab_sums(state, sums),
        )
        density = lambda s, r: self.slab_density(known, s, h) + of_slab(s) + of_ratio(r)
        shape, root = (SLAB_STEPS, len(slab)), np.sqrt(h)
        noise = normal(shape, self.generator, background).numpy()
        refusal = uniform(shape, self.generator, background).log().numpy()
        before = self.log_step.get("slab_scale")
        log_step = np.full(len(slab), math.log(FIRST_STEP)) if before is None else before.double().numpy()
        current = density(slab, ratio)
        for turn in range(SLAB_STEPS):
            new = slab * np.exp(np.exp(log_step) * noise[turn])
            inside = root < new
            new = np.where(inside, new, slab)
            other = np.where(inside, root / new, ratio)
            found = density(new, other)
            accepted = inside & (refusal[turn] < found - current)
            if self.adapting:
                log_step = log_step + ADAPTATION * (accepted - ACCEPTED)
            slab, ratio = np.where(accepted, new, slab), np.where(accepted, other, ratio)
            current = np.where(accepted, found, current)
        self.log_step["slab_scale"] = torch.from_numpy(log_step)
        state["slab_scale"], state["spike_ratio"] = torch.from_numpy(slab), torch.from_numpy(ratio)

    def update_sign_trust(self, state: State, sums: ClassSums, background: Tensor) -> None:
        """ψ_k given the rest: a normal truncated at zero; in place."""
        if "sign_trust" not in state:
            return
        slab = state["slab_scale"][:, None]
        weight = (slab**2 / (slab**2 - background[:, None])).squeeze(1)  # of one edge: its sd is τ/s in units of s
        psi, sign = state["sign_trust"].double(), self.sparse.sign.double()
        for k in range(psi.shape[1]):
            others = psi @ sign.T - psi[:, k : k + 1] * sign[:, k]
            precision = (
                weight * (sums.number @ sign[:, k] ** 2) + self.prior.sign_trust_prior.constants[0].double() ** -2
            )
            mean = weight * ((sums.linear / slab - sums.number * others) @ sign[:, k]) / precision
            psi = psi.clone()
            psi[:, k] = truncated_normal(mean, precision.rsqrt(), self.generator)
        state["sign_trust"] = psi.to(state["sign_trust"])
