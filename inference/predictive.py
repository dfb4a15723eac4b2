"""What a fitted linear network says of single cells: the basis of posterior predictive checks and of LOO."""

import math
from dataclasses import dataclass

import numpy as np

from ..models import ExpressionData, LinearNetwork, Model
from .moments import aligned
from .posterior import Posterior

BLOCK = 20_000_000  # weights gathered at once: 160 MB


@dataclass(frozen=True, eq=False)
class CellPredictions:
    """Normal predictive distributions of (cell, target) pairs given each draw, in the units of the data.

    ``observed`` ``(observation,)``; ``mean``, ``sd`` ``(chain, draw, observation)``; ``target`` ``(observation,)`` positions among the
    targets; ``labels`` "cell:target".
    """

    observed: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    target: np.ndarray
    labels: list[str]

    def draw(self, seed: int = 0) -> np.ndarray:
        """``(chain, draw, observation)`` replicated data, one for each posterior draw."""
        noise = np.random.default_rng([seed, 2]).standard_normal(self.mean.shape)
        return (self.mean + self.sd * noise).astype(np.float32)

    def log_likelihood(self) -> np.ndarray:
        """``(chain, draw, observation)`` log density of what was observed."""
        score = (self.observed - self.mean) / self.sd
        return -0.5 * (score**2 + math.log(2 * math.pi)) - np.log(self.sd)


def predict_cells(
    posterior: Posterior, data: ExpressionData, *, num_observations: int = 1000, seed: int = 0
) -> CellPredictions:
    r"""Predictions of random (cell, target) pairs from the regulators of the same cell.

    The intercept, which the sufficient-statistics likelihood integrates out, is drawn from what it then is a posteriori,

    .. math:: \mu_{kg} \mid W, \sigma^2, X \sim N\Big(\bar y_{kg} - \sum_t W_{ktg}\bar x_{kt},\ \sigma_{kg}^2 / n_{kg}\Big),

    once for each posterior draw, so the draws of (W, σ², μ) are joint and cells are independent given them, as
    leave-one-out cross-validation assumes. Pairs in which an intervention clamps the target are not used: the network does not explain them.

    Parameters
    ----------
    posterior
        Of a `LinearNetwork`.
    data
        Cells of the fit, or new ones: same normalisation, genes (in any order) and contexts.
    num_observations
        Pairs, drawn without replacement; all of them when there are fewer.
    seed
        Of the pairs and the intercepts.

    Raises
    ------
    ValueError
        Another model, genes or contexts that the fit does not know, or no pair that is not clamped.
    """
    model = linear(posterior.model)
    missing = sorted(set(model.genes) - set(data.genes))
    if missing:
        raise ValueError(
            f"`data` lack {len(missing)} of the {len(model.genes)} genes of the fit, e.g. {missing[:3]}: pass the expression data that were fitted"
        )
    unknown = sorted(set(data.context_names) - set(model.contexts)) if model.has_contexts else []
    if unknown:
        raise ValueError(f"contexts {unknown} of `data` are not among those of the fit: {list(model.contexts)}")
    rng = np.random.default_rng([seed, 1])
    cell, target = choose_pairs(model, data, num_observations, rng)
    rows, row_of = np.unique(cell, return_inverse=True)
    column = {gene: i for i, gene in enumerate(data.genes)}
    index = lambda genes: np.array([column[g] for g in genes])  # noqa: E731
    block = data.rows(rows).double().cpu().numpy()
    numbers = lambda name: getattr(model, name).double().cpu().numpy()  # noqa: E731
    tf, gene = model.tf_index.cpu().numpy(), model.target_index.cpu().numpy()
    scale, centre = numbers("scale"), numbers("context_mean")  # (gene,), (context, gene)
    k = np.zeros(len(cell), dtype=np.int64)
    if model.has_contexts and data.context is not None:
        place = np.array([model.contexts.index(name) for name in data.context_names])
        k = place[data.context.cpu().numpy()[cell]]
    # centred on the cells that explain this target in this context, and in standard deviations, as W is
    x = block[:, index(model.tfs)][row_of] / scale[tf] - numbers("tf_mean")[k, :, target]  # (observation, tf)
    y_mean = numbers("target_mean")[k, target] * scale[gene[target]]
    draws = aligned(posterior.draws, int(posterior.attributes.get("thin", 1)))
    W = draws["W_context"] if model.has_contexts else draws["W"][:, :, None]  # (chain, draw, context, tf, target)
    noise = draws["noise_variance"] if model.has_contexts else draws["noise_variance"][:, :, None]
    mean, sd = np.empty((*W.shape[:2], len(cell))), np.empty((*W.shape[:2], len(cell)))
    pairs, intercept_of = np.unique(k * len(gene) + target, return_inverse=True)
    shared = rng.standard_normal((*W.shape[:2], len(pairs)))  # one intercept for all cells of a target and context
    step = max(1, BLOCK // (W.shape[0] * W.shape[1] * W.shape[3]))
    for start in range(0, len(cell), step):
        rows = slice(start, start + step)
        weight = W[:, :, k[rows], :, target[rows]].astype(np.float64)  # (observation, chain, draw, tf)
        unit = scale[gene[target[rows]]]
        sigma = np.sqrt(noise[:, :, k[rows], target[rows]].astype(np.float64))
        error = sigma / np.sqrt(numbers("dof")[k[rows], target[rows]] + 1) * shared[..., intercept_of[rows]]
        mean[..., rows] = y_mean[rows] + unit * (np.einsum("ocdt,ot->cdo", weight, x[rows]) + error)
        sd[..., rows] = unit * sigma
    labels = [f"{c}:{model.targets[t]}" for c, t in zip(cell.tolist(), target.tolist(), strict=True)]
    return CellPredictions(block[row_of, index(model.targets)[target]], mean, sd, target, labels)


def linear(model: Model) -> LinearNetwork:
    """The model, refused if it is of another kind."""
    if not isinstance(model, LinearNetwork):
        raise ValueError(f"{type(model).__name__} has no per-cell predictions: they are for LinearNetwork")
    return model


def choose_pairs(
    model: LinearNetwork, data: ExpressionData, number: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random distinct (cell, target) pairs that no intervention clamps, sorted by cell."""
    width = len(model.targets)
    place = {gene: i for i, gene in enumerate(model.targets)}
    clamped = np.zeros(0, dtype=np.int64)
    if data.perturbed is not None:
        pairs = [(c, place[data.genes[g]]) for c, g in data.perturbed.tolist() if data.genes[g] in place]
        clamped = np.unique([c * width + t for c, t in pairs]).astype(np.int64)
    total = data.num_cells * width
    candidates = rng.choice(total, min(total, number + len(clamped)), replace=False)
    chosen = np.sort(candidates[~np.isin(candidates, clamped)][:number])
    if not len(chosen):
        raise ValueError("every (cell, target) pair of `data` is clamped by an intervention: there is nothing to check")
    return np.divmod(chosen, width)
