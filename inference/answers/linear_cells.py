"""What a fitted linear network says of single cells."""

from collections.abc import Sequence

import numpy as np

from ...models import ExpressionData, LinearNetwork, Symphony
from ...models.data.cell_labels import name_of
from ..draws.fitted import PosteriorLike
from ..draws.networks import joint_networks
from .results import CellPredictions

BLOCK = 4_000_000  # weights gathered at once: 32 MB, and as much twice more


def predict_cells(
    posterior: PosteriorLike[LinearNetwork | Symphony], data: ExpressionData, number: int, rng: np.random.Generator
) -> CellPredictions:
    r"""Predictions of random (cell, target) pairs from the regulators of the same cell.

    The intercept, which the sufficient-statistics likelihood integrates out, is drawn from its conditional posterior,

    .. math:: \mu_{kg} \mid W, \sigma^2, X \sim N(\bar y_{kg} - \sum_t W_{ktg}\bar x_{kt},\ \sigma_{kg}^2/n_{kg}),

    once for each posterior draw, so the draws of (W, σ², μ) are joint and cells are independent given them, as
    leave-one-out cross-validation assumes. Pairs in which an intervention clamps the target are left out: the network
    does not explain them.
    """
    model = posterior.model
    columns, codes = _matched(model, data)
    cell, target = choose_pairs(model, data, number, rng)
    rows, row_of = np.unique(cell, return_inverse=True)
    block = data.rows(rows).double().cpu().numpy()
    tf, gene = model.tf_index.cpu().numpy(), model.target_index.cpu().numpy()
    scale, k = _numbers(model, "scale"), codes[cell]
    # centred on the cells that explain this target in this context, and in standard deviations, as W is
    x = block[:, columns[tf]][row_of] / scale[tf] - _numbers(model, "tf_mean")[k, :, target]  # (observation, tf)
    y_mean = _numbers(model, "target_mean")[k, target] * scale[gene[target]]
    count = _numbers(model, "dof")[k, target] + 1
    W, noise = joint_networks(posterior)
    mean, sd = np.empty((*W.shape[:2], len(cell))), np.empty((*W.shape[:2], len(cell)))
    pairs, intercept_of = np.unique(k * len(gene) + target, return_inverse=True)
    shared = rng.standard_normal((*W.shape[:2], len(pairs)))  # one intercept for all cells of a target and context
    step = max(1, BLOCK // (W.shape[0] * W.shape[1] * W.shape[3]))
    for start in range(0, len(cell), step):
        part = slice(start, start + step)
        weight = W[:, :, k[part], :, target[part]].astype(np.float64)  # (observation, chain, draw, tf)
        unit = scale[gene[target[part]]]
        sigma = np.sqrt(noise[:, :, k[part], target[part]].astype(np.float64))
        error = sigma / np.sqrt(count[part]) * shared[..., intercept_of[part]]
        mean[..., part] = y_mean[part] + unit * (np.einsum("ocdt,ot->cdo", weight, x[part]) + error)
        sd[..., part] = unit * sigma
    labels = [
        f"{name_of(data.labels, c)}:{model.targets[t]}" for c, t in zip(cell.tolist(), target.tolist(), strict=True)
    ]
    return CellPredictions(block[row_of, columns[gene[target]]], mean, sd, labels, cell)


def squared_residuals(
    posterior: PosteriorLike[LinearNetwork | Symphony],
    data: ExpressionData,
    num_cells: int,
    num_draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """``(cell, target)`` squared residuals of at most ``num_cells`` random cells over the fitted variance, averaged
    over draws; NaN where clamped."""
    model = posterior.model
    columns, codes = _matched(model, data)
    cells = np.sort(rng.choice(data.num_cells, min(num_cells, data.num_cells), replace=False))
    batch = data.subset(cells)
    tf, gene = model.tf_index.cpu().numpy(), model.target_index.cpu().numpy()
    X = batch.X.double().cpu().numpy()[:, columns] / _numbers(model, "scale")  # (cell, gene of the model)
    W, noise = (value.reshape(-1, *value.shape[2:]) for value in joint_networks(posterior))
    chosen = rng.choice(len(W), min(num_draws, len(W)), replace=False)
    result = np.empty((len(cells), len(gene)))
    for k in np.unique(codes[cells]):
        rows = codes[cells] == k
        # the products in 32 bits, as draws are kept: squares of residuals are known to a few percent at best
        x, y = X[np.ix_(rows, tf)].astype(np.float32), X[np.ix_(rows, gene)] - _numbers(model, "target_mean")[k]
        centre, total = _numbers(model, "tf_mean")[k], np.zeros_like(y)
        for draw in chosen:
            total += (y - x @ W[draw, k] + (centre * W[draw, k]).sum(0)) ** 2
        result[rows] = total / len(chosen) / noise[chosen, k].mean(0, dtype=np.float64)
    if batch.perturbed is not None:
        place = {column: j for j, column in enumerate(columns[gene].tolist())}
        for row, column in batch.perturbed.tolist():
            if column in place:
                result[row, place[column]] = np.nan
    return result


def choose_pairs(
    model: LinearNetwork | Symphony, data: ExpressionData, number: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random distinct (cell, target) pairs that no intervention clamps, sorted by cell."""
    width = len(model.targets)
    place = {gene: i for i, gene in enumerate(model.targets)}
    clamped = np.zeros(0, dtype=np.int64)
    if data.perturbed is not None:
        pairs = [(c, place[data.genes[g]]) for c, g in data.perturbed.tolist() if data.genes[g] in place]
        clamped = np.unique(np.array([c * width + t for c, t in pairs], dtype=np.int64))
    total = data.num_cells * width
    candidates = rng.choice(total, min(total, number + len(clamped)), replace=False)
    chosen = np.sort(candidates[~np.isin(candidates, clamped)][:number])
    if not len(chosen):
        raise ValueError("every (cell, target) pair of `data` is clamped by an intervention: there is nothing to check")
    return np.divmod(chosen, width)


def _matched(model: LinearNetwork | Symphony, data: ExpressionData) -> tuple[np.ndarray, np.ndarray]:
    """The data's column of each gene of the model ``(gene,)``; the model's context of each cell ``(cell,)``."""
    place = {gene: i for i, gene in enumerate(data.genes)}
    missing = [gene for gene in model.genes if gene not in place]
    if missing:
        raise ValueError(
            f"`data` lack {len(missing)} of the {len(model.genes)} genes of the fit, e.g. {missing[:3]}: "
            "pass the expression data that were fitted, or new cells with the same genes"
        )
    codes = np.zeros(data.num_cells, dtype=np.int64)
    if model.has_contexts:
        codes = _context_codes(model.contexts, data)
    return np.array([place[gene] for gene in model.genes]), codes


def _context_codes(contexts: Sequence[str], data: ExpressionData) -> np.ndarray:
    unknown = [name for name in data.context_names if name not in contexts]
    if unknown:
        raise ValueError(f"contexts {unknown} of `data` are not among those of the fit: {list(contexts)}")
    number = np.array([contexts.index(name) for name in data.context_names])
    if data.context is None:  # all cells are of the one context named
        return np.full(data.num_cells, number[0])
    return number[data.context.cpu().numpy()]


def _numbers(model: LinearNetwork | Symphony, buffer: str) -> np.ndarray:
    return getattr(model, buffer).double().cpu().numpy()
