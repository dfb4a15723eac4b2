"""Predictions of single values of dynamical models: FactorBox and time courses in units of the fit, CellBox of the
data."""

from collections.abc import Sequence

import numpy as np
import torch

from ..models import CellBox, ExpressionData, FactorBox, Model, TrajectoryNetwork
from ..models.factorbox import FittedDesign
from ..models.relaxation import TrajectoryDesign
from .draws.fitted import PosteriorLike
from .draws.intervals import thin_of
from .moments import aligned


def of_panel(
    posterior: PosteriorLike[Model],
    model: FactorBox | TrajectoryNetwork,
    data: ExpressionData,
    number: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Observed drives, mean and sd ``(chain, draw, observation)``, labels, of random free (condition, target) pairs.

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
    W, noise = _network(posterior)
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
        labels.append(f"{model.contexts[k]}:{row}:{model.targets[target]}")
    return observed, mean, sd, labels


def panel_residuals(
    posterior: PosteriorLike[Model],
    model: FactorBox | TrajectoryNetwork,
    data: ExpressionData,
    num_draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """``(condition, target)`` squared residuals over the fitted variance and the degrees of freedom that projections
    take, averaged over draws; NaN where clamped."""
    W, noise = _network(posterior)
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


def of_cellbox(
    posterior: PosteriorLike[Model], model: CellBox, data: ExpressionData, number: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """The same for random (condition, node) pairs of a CellBox; a draw without a steady state has NaN."""
    draws = aligned(posterior.draws, thin_of(posterior))
    if data.inputs is None:
        raise ValueError("the data have no inputs: give `data.with_inputs(table)`")
    data = data.select_genes(model.genes)
    cells, nodes = data.num_cells, len(model.genes)
    chosen = np.sort(rng.choice(cells * nodes, min(number, cells * nodes), replace=False))
    row, node = np.divmod(chosen, nodes)
    assert data.inputs is not None, "kept by select_genes"
    x, _ = model.predict(draws, data.inputs.double())
    shape = draws["W"].shape[:2]
    mean = x.cpu().numpy().reshape(*shape, cells, nodes)[:, :, row, node]
    sd = draws["noise"][..., node].astype(np.float64)
    labels = [f"{c}:{model.genes[g]}" for c, g in zip(row.tolist(), node.tolist(), strict=True)]
    return data.X.double().cpu().numpy()[row, node], mean, sd, labels


def _network(posterior: PosteriorLike[Model]) -> tuple[np.ndarray, np.ndarray]:
    draws = aligned(posterior.draws, thin_of(posterior))
    if "W_context" in draws:
        return draws["W_context"], draws["noise_variance"]
    return draws["W"][:, :, None], draws["noise_variance"][:, :, None]
