"""Single values of panels and of time courses: drives, in units of the fit."""

from collections.abc import Sequence

import numpy as np
import torch

from ...models import ExpressionData, FactorBox, TrajectoryNetwork
from ...models.data.cell_labels import name_of
from ...models.dynamics.relaxation import TrajectoryDesign
from ...models.factorbox import FittedDesign
from ..draws.fitted import PosteriorLike
from ..draws.networks import joint_networks
from .results import CellPredictions

Panel = FactorBox | TrajectoryNetwork


def conditions(data: ExpressionData) -> list[list[str]]:
    """How the rows of each context are called, in their order; numbered within it where they have no names."""
    codes = np.zeros(data.num_cells, dtype=int) if data.context is None else data.context.cpu().numpy()
    rows = [np.flatnonzero(codes == k).tolist() for k in range(len(data.context_names))]
    return [[str(i) if data.labels is None else name_of(data.labels, c) for i, c in enumerate(part)] for part in rows]


def of_panel(
    posterior: PosteriorLike[Panel],
    model: Panel,
    data: ExpressionData,
    number: int,
    rng: np.random.Generator,
    names: Sequence[Sequence[str]] | None = None,
) -> CellPredictions:
    """Drives of random free (condition, target) pairs; labels "context:condition:target", the condition by its name in
    ``names`` of each context, or its number (of time courses, that of the interval).

    The drive logit(x/ε) of the panel that was fitted, at the anchor headroom, or the end of an interval of a time
    course less what its start has left; intercept and effects of hidden inputs are at their conditional mean given the
    draw, and their uncertainty, the leverage of the condition, is in the sd.
    """
    parts: Sequence[FittedDesign | TrajectoryDesign] = model.designs(data)
    free = [np.argwhere(part.free.cpu().numpy()) for part in parts]
    context = np.repeat(np.arange(len(parts)), [len(f) for f in free])
    pairs = np.concatenate(free)
    chosen = np.sort(rng.choice(len(pairs), min(number, len(pairs)), replace=False))
    context, pairs = context[chosen], pairs[chosen]
    W, noise = joint_networks(posterior)
    mean, sd = np.empty((*W.shape[:2], len(chosen))), np.empty((*W.shape[:2], len(chosen)))
    observed, labels = np.empty(len(chosen)), []
    for i, (k, (row, target)) in enumerate(zip(context.tolist(), pairs.tolist(), strict=True)):
        design = parts[k]
        raw, residual = (v[row, target].item() for v in (design.drive, design.projected))
        x = design.regressors(row, target).cpu().numpy()
        weight = W[:, :, k, :, target].astype(np.float64)
        observed[i] = raw
        mean[..., i] = raw - (residual - weight @ x)
        sd[..., i] = np.sqrt(noise[:, :, k, target] * (1 + design.leverage[row, target].item()))
        condition = str(row) if names is None else names[k][row]
        labels.append(f"{model.contexts[k]}:{condition}:{model.targets[target]}")
    return CellPredictions(observed, mean, sd, labels, pairs[:, 0])


def panel_residuals(
    posterior: PosteriorLike[Panel],
    model: Panel,
    data: ExpressionData,
    num_draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """``(condition, target)`` squared residuals over the fitted variance and the degrees of freedom that projections
    take, averaged over draws; NaN where clamped."""
    W, noise = joint_networks(posterior)
    W, noise = (v.reshape(-1, *v.shape[2:]) for v in (W, noise))
    chosen = rng.choice(len(W), min(num_draws, len(W)), replace=False)
    parts = []
    fitted: Sequence[FittedDesign | TrajectoryDesign] = model.designs(data)
    for k, design in enumerate(fitted):
        total = torch.zeros_like(design.projected)
        for draw in chosen:
            weight = torch.as_tensor(W[draw, k]).double().to(total.device)
            total += (design.projected - design.fitted(weight)).square()
        ratio = total / len(chosen) / torch.as_tensor(noise[chosen, k].mean(0, dtype=np.float64)).to(total)
        ratio = ratio / (1 - design.leverage)
        parts.append(torch.where(design.free, ratio, torch.nan).cpu().numpy())
    return np.concatenate(parts)
