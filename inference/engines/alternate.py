r"""FactorBox as its draft fits it: gains and network in turn, by least squares."""

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...models import ExpressionData, Model
from ...models.data.panel import Panel, panels_of
from ...models.factorbox import FactorBox
from ..alternating.penalties import Penalties
from ..alternating.refine import refine
from ..alternating.solution import AlternatingSolution, alternate
from ..draws.moments import Collector, add_draw
from ..lookup import along_bases
from ..runs.history import History
from ..runs.run import Run
from .base import Engine


@dataclass(frozen=True)
class Alternate(Engine):
    r"""The alternating solution of a `FactorBox` (`alternate`): a point, without uncertainty.

    ε ← least squares given W, and W ← least squares given ε, in turn, on one factorisation of the panel; penalties
    stand for the prior, which must be `Normal`. Its gains are its own: make the model with ``gain="sampled"``, whose
    site ``headroom`` holds them.

    Parameters
    ----------
    ridge, sparsity, orthogonality
        As `Penalties`. Defaults: a ridge by leave-one-condition-out, nothing else.
    max_iterations, tol
        As `alternate`. Defaults 100 and 1e-4.
    refinements
        Iterations of L-BFGS on the errors of the levels afterwards (`refine`). Default 0: the draft's fit.
    """

    ridge: float | None = None
    sparsity: float = 0.0
    orthogonality: float = 0.0
    max_iterations: int = 100
    tol: float = 1e-4
    refinements: int = 0
    name = "alternate"
    calibrated = False
    point: ClassVar[bool] = True
    reads_cells: ClassVar[bool] = True
    quick_start: ClassVar[bool] = True
    minibatches: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.penalties()
        if self.max_iterations < 1 or not self.tol >= 0 or self.refinements < 0:
            raise ValueError(f"{self}: expected at least one iteration, tol >= 0 and no negative refinements")

    def penalties(self) -> Penalties:
        """What a network costs."""
        return Penalties(ridge=self.ridge, sparsity=self.sparsity, orthogonality=self.orthogonality)

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        started = time.monotonic()
        box = alternates(model, data)
        assert data is not None, "checked with the model"
        panels = panels_of(
            data, levels=box.levels, knockdown=box.knockdown, hidden=box.hidden, measurement=box.measurement
        )
        found = alternate(panels, self.penalties(), max_iterations=self.max_iterations, tol=self.tol)
        if self.refinements:
            found = refine(panels, found, max_iterations=self.refinements).solution
        collector = Collector(model, 1, 1, has_inclusion=False)
        sites = {name: value.to(model.constant)[None] for name, value in sites_of(box, panels, found).items()}
        add_draw(model, collector, sites, run.threshold)
        record = -np.array(found.objective or found.cost)[None]
        collector.notes["restart_objective"] = -record[:, -1]
        reason = "budget" if found.reason == "budget" else "converged"
        return collector, History.every_step(reason, record, time.monotonic() - started)


def alternates(model: Model, data: ExpressionData | None) -> FactorBox:
    """``model``, if `Alternate` can fit it.

    Raises
    ------
    ValueError
        It is no FactorBox, has hidden inputs, prior networks, regulators or targets that are not all genes, or gains
        that are held; no data, or other genes.
    """
    if along_bases({FactorBox: True}, type(model)) is None:
        raise ValueError(f"Alternate is for FactorBox, not for {type(model).__name__}: leave out the guide")
    box: Any = model
    if not box.samples_gain:
        raise ValueError("the alternating fit has gains of its own: make the model with gain='sampled'")
    if box.hidden:
        raise ValueError("the alternating fit takes no hidden inputs: leave them out, or use Gibbs")
    if set(box.tfs) != set(box.genes) or set(box.targets) != set(box.genes):
        raise ValueError("the alternating fit takes every gene as regulator and as target: leave out `tfs=`")
    if box.knowledge.sources:
        raise ValueError("the alternating fit learns no trust in prior networks: leave out `networks=`")
    prior = box.edge_prior
    if prior.masks or not (prior.family.one_scale and prior.family.conditionally_gaussian):
        kind = type(prior).__name__
        raise ValueError(f"the alternating fit stands for the prior Normal, this model has {kind}: use Normal()")
    if data is None:
        raise ValueError("the alternating fit needs the panel: pass the data as well, fit(model, data, guide=...)")
    if data.genes != box.genes or data.context_names != box.contexts:
        raise ValueError("`data` have other genes or contexts than the model: pass the panel that it was made from")
    return box


def sites_of(model: FactorBox, panels: list[Panel], found: AlternatingSolution) -> dict[str, Tensor]:
    """The solution as sites of the model, ``(*dims)``, in its standardised units."""
    tf, target = model.tf_index.cpu(), model.target_index.cpu()
    unit = model.unit.double().cpu()
    W = (found.W[tf][:, target] * model.scale.double().cpu()[tf][:, None]).cpu() / unit
    noise = []
    for k, panel in enumerate(panels):
        free = ~panel.clamped
        share = torch.where(free, panel.X / found.gain[k], 0.5)
        error = torch.where(free, torch.logit(share) - panel.level @ found.W - found.bias[k], 0.0)
        noise.append((error.square().sum(0) / (free.sum(0) - 1)).cpu()[target] / unit.square())
    variance = torch.stack(noise)
    headroom = (found.gain.cpu()[:, target] / model.top.double().cpu() - 1).clamp_min(1e-6)
    wide = model.has_contexts
    sites = {
        "W": W,
        "noise_variance": variance if wide else variance[0],
        "headroom": headroom if wide else headroom[0],
    }
    if wide:  # one network, of all
        sites |= {"W_context": W.expand(len(panels), *W.shape), "context_scale": W.new_zeros(())}
    if "edge_scale" in model.dims:
        sites["edge_scale"] = W.square().mean().sqrt()
    return sites
