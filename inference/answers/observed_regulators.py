"""What the statistics of a linear network say of its regulators: without intervention, and with each one clamped."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...models import LinearNetwork, Symphony
from ..draws.networks import context_index

FEWEST_CLAMPED = 5  # cells with a regulator clamped, from which its effect is measured and not predicted


@dataclass(frozen=True, eq=False)
class Cells:
    """``count`` of cells, ``mean`` (tf,) of the regulators in them and centred sums of squares ``scatter`` (tf, tf)."""

    count: float
    mean: Tensor
    scatter: Tensor

    @property
    def error(self) -> Tensor:
        """``(tf, tf)`` covariance of the mean's error."""
        return self.scatter / (max(self.count - 1, 1.0) * self.count)

    def without(self, other: "Cells") -> "Cells":
        """These cells less some of them."""
        count = self.count - other.count
        mean = (self.count * self.mean - other.count * other.mean) / count
        gap = other.mean - mean
        scatter = self.scatter - other.scatter - count * other.count / self.count * torch.outer(gap, gap)
        return Cells(count, mean, scatter)

    def plus(self, other: "Cells") -> "Cells":
        """Cells of two contexts: scatter within each."""
        count = self.count + other.count
        mean = (self.count * self.mean + other.count * other.mean) / count
        return Cells(count, mean, self.scatter + other.scatter)


@dataclass(frozen=True, eq=False)
class ObservedRegulators:
    """Regulators in units of the fit: in cells without an intervention on any of them, ``free``, and in those with each
    that was ``clamped``, by its position."""

    free: Cells
    clamped: dict[int, Cells]

    @classmethod
    def of(cls, model: LinearNetwork | Symphony, context: str | None) -> "ObservedRegulators | None":
        """In one context, or all together; ``None`` where the statistics do not tell: interventions on several
        regulators in the same cells, or on every gene that is explained."""
        names = list(model.contexts)
        chosen = range(len(names)) if context is None or len(names) == 1 else [context_index(names, context)]
        found: ObservedRegulators | None = None
        for k in chosen:
            part = cls._in_context(model, k)
            if part is None:
                return None
            found = part if found is None else found._joined(part)
        return found

    @classmethod
    def _in_context(cls, model: LinearNetwork | Symphony, k: int) -> "ObservedRegulators | None":
        count = model.dof[k].cpu().double() + 1  # (target,) cells in which it is free
        scale = model.scale.cpu().double()[model.tf_index.cpu()]
        total = float(count.max())
        mean = model.context_mean[k].cpu().double()[model.tf_index.cpu()] / scale
        every = Cells(total, mean, model.gram[k].cpu().double())
        special = model.perturbed.tolist()
        if len(special) == len(model.targets):
            return None
        clamped, free = {}, every
        for target in special:
            gene, without = model.targets[target], float(count[target])
            if gene not in model.tfs or without == total:
                continue
            rest = Cells(without, model.tf_mean[k, :, target].cpu().double(), model.gram_of(k, target).cpu().double())
            held = every.without(rest)
            if free.count - held.count < 2:
                return None
            clamped[model.tfs.index(gene)] = held
            free = free.without(held)
        spread = free.scatter.diagonal()
        if not bool((spread > 1e-6 * every.scatter.diagonal()).all()):
            return None  # taken out more than once: cells with several interventions
        return cls(free, clamped)

    def _joined(self, other: "ObservedRegulators") -> "ObservedRegulators":
        clamped = dict(self.clamped)
        for place, cells in other.clamped.items():
            # of contexts, the change against the free cells of the same one
            moved = Cells(cells.count, cells.mean - other.free.mean + self.free.mean, cells.scatter)
            clamped[place] = clamped[place].plus(moved) if place in clamped else moved
        free = self.free.plus(other.free)
        shift = free.mean - self.free.mean
        return ObservedRegulators(
            free, {place: Cells(cells.count, cells.mean + shift, cells.scatter) for place, cells in clamped.items()}
        )

    def measured(self, place: int) -> Cells | None:
        """The cells in which a regulator was clamped, where there are enough and it moved."""
        cells = self.clamped.get(place)
        if cells is None or cells.count < FEWEST_CLAMPED:
            return None
        moved = float((cells.mean - self.free.mean)[place].abs())
        sd = float((self.free.scatter[place, place] / max(self.free.count - 1, 1.0)).sqrt())
        return cells if moved > 0.5 * sd else None
