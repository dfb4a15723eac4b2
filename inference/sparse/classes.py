"""Edges of equal knowledge, and the moves of the hyperparameters from sums over such classes."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...priors import SpikeSlab
from ..gibbs.hyper import EdgeClasses, HyperUpdates, State, truncated_normal
from ..gibbs.streams import normal, uniform

WALKS, WALKS_ALONE = 8, 16  # random-walk steps of the intercept to a block; where nothing else moves it
WIDEST, NARROWEST = 1.0, 1e-3  # their widths: log-uniform between the first and that part of it
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
        parts = number.numpy(), count.numpy(), rest.numpy()
        loc, sd = (float(value) for value in self.prior.edge_logit.constants)
        shape = (walks, len(at))
        width = WIDEST * NARROWEST ** uniform(shape, self.generator, at).double().numpy()
        step = width * normal(shape, self.generator, at).double().numpy()
        refusal = uniform(shape, self.generator, at).double().log().numpy()

        def density(value: np.ndarray) -> np.ndarray:
            number, count, rest = parts
            linear = rest + value[:, None]
            fit = (number * linear - count * np.logaddexp(0.0, linear)).sum(1)
            return fit - 0.5 * ((value - loc) / sd) ** 2

        value = at.double().numpy()
        current = density(value)
        for i in range(walks):
            new = value + step[i]
            found = density(new)
            accepted = refusal[i] < found - current
            value, current = np.where(accepted, new, value), np.where(accepted, found, current)
        state["edge_logit"] = torch.from_numpy(value).to(at)

    def slab_density(self, state: State, sums: ClassSums, slab: Tensor, background: Tensor) -> Tensor:
        """``(chain, *point)`` log density of the present weights at slab scale s and background h ``(chain, *point)``,
        τ² = s² − h."""
        of = lambda value: value.sum(1).reshape(-1, *[1] * (background.dim() - 1))
        width, square = slab**2 - background, of(sums.square)
        if "sign_trust" in state:
            loc = self.location(state)
            square = square - 2 * slab * of(sums.linear * loc) + slab**2 * of(sums.number * loc**2)
        return -0.5 * (of(sums.number) * width.log() + square / width)

    def update_slab(self, state: State, sums: ClassSums, background: Tensor) -> None:
        """s with the background h as it is, so that ρ = √h/s goes against it; in place."""
        if self.prior.slab_scale.is_fixed or self.prior.spike_ratio.is_fixed:
            return
        for _ in range(4):
            slab = state["slab_scale"]
            new = slab * (self.step("slab_scale", slab) * self.normal(slab)).exp()
            ratio, old = background.sqrt() / new, state["spike_ratio"]
            inside = ratio < 1
            new, ratio = torch.where(inside, new, slab), torch.where(inside, ratio, old)
            change = self.slab_density(state, sums, new, background) - self.slab_density(state, sums, slab, background)
            change = change + self.log_hyperprior("slab_scale", new) - self.log_hyperprior("slab_scale", slab)
            change = change + self.log_hyperprior("spike_ratio", ratio) - self.log_hyperprior("spike_ratio", old)
            accepted = self.accept("slab_scale", torch.where(inside, change, -torch.inf), 0.44)
            state["slab_scale"] = torch.where(accepted, new, slab)
            state["spike_ratio"] = torch.where(accepted, ratio, old)

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
