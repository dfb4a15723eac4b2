"""What a fitted linear network says of single cells: the basis of posterior predictive checks and of LOO."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..models import (
    PMFGRN,
    CellBox,
    ExpressionData,
    FactorBox,
    FactorModel,
    LinearNetwork,
    Model,
    NetREXCF,
    Phoenix,
    Symphony,
    TrajectoryNetwork,
)
from .activities import predict_values as predict_values_of_activities
from .courses import predict_values, squared_errors
from .draws.fitted import PosteriorLike
from .draws.intervals import thin_of
from .moments import aligned
from .predictive_activity import of_activities
from .predictive_states import of_cellbox, of_panel, panel_residuals
from .programs import matched

_PROGRAM_SITES = ("W", "beta", "gamma", "noise_variance")
BLOCK = 20_000_000  # weights gathered at once: 160 MB


@dataclass(frozen=True, eq=False)
class CellPredictions:
    """Normal predictive distributions of (cell, target) pairs given each draw, in the units of the data.

    ``observed`` ``(observation,)``; ``mean``, ``sd`` ``(chain, draw, observation)``; ``labels`` "cell:target".
    """

    observed: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
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
    posterior: PosteriorLike[Model], data: ExpressionData, *, num_observations: int = 1000, seed: int = 0
) -> CellPredictions:
    r"""Predictions of random (cell, target) pairs from the regulators of the same cell.

    The intercept, which the sufficient-statistics likelihood integrates out, is drawn from its conditional posterior,

    .. math:: \mu_{kg} \mid W, \sigma^2, X \sim N(\bar y_{kg} - \sum_t W_{ktg}\bar x_{kt},\ \sigma_{kg}^2/n_{kg}),

    once for each posterior draw, so the draws of (W, σ², μ) are joint and cells are independent given them, as
    leave-one-out cross-validation assumes. Pairs in which an intervention clamps the target are left out: the network
    does not explain them.

    Parameters
    ----------
    posterior
        Of a `LinearNetwork`; of a steady-state model or time course (`predictive_states`: in units of the fit); or of a
        factor model on complete Gaussian data, whose factors and intercepts are integrated out: then the pairs are of
        different cells, which are independent given the draw.
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
    if isinstance(posterior.model, FactorModel):
        return _of_programs(posterior, posterior.model, data, num_observations, np.random.default_rng([seed, 1]))
    rng = np.random.default_rng([seed, 1])
    if isinstance(posterior.model, FactorBox | TrajectoryNetwork):
        return CellPredictions(*of_panel(posterior, posterior.model, data, num_observations, rng))
    if isinstance(posterior.model, Phoenix):
        return CellPredictions(*predict_values(posterior, posterior.model, data, num_observations, rng))
    if isinstance(posterior.model, CellBox):
        return CellPredictions(*of_cellbox(posterior, posterior.model, data, num_observations, rng))
    if isinstance(posterior.model, PMFGRN):
        return CellPredictions(*predict_values_of_activities(posterior, data, num_observations, rng))
    if isinstance(posterior.model, NetREXCF):
        return CellPredictions(*of_activities(posterior, posterior.model, data, num_observations, rng))
    model, columns, codes = _matched(posterior.model, data)
    cell, target = choose_pairs(model, data, num_observations, rng)
    rows, row_of = np.unique(cell, return_inverse=True)
    block = data.rows(rows).double().cpu().numpy()
    tf, gene = model.tf_index.cpu().numpy(), model.target_index.cpu().numpy()
    scale, k = _numbers(model, "scale"), codes[cell]
    # centred on the cells that explain this target in this context, and in standard deviations, as W is
    x = block[:, columns[tf]][row_of] / scale[tf] - _numbers(model, "tf_mean")[k, :, target]  # (observation, tf)
    y_mean = _numbers(model, "target_mean")[k, target] * scale[gene[target]]
    count = _numbers(model, "dof")[k, target] + 1
    W, noise = _network(posterior)
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
    labels = [f"{c}:{model.targets[t]}" for c, t in zip(cell.tolist(), target.tolist(), strict=True)]
    return CellPredictions(block[row_of, columns[gene[target]]], mean, sd, labels)


def _of_programs(
    posterior: PosteriorLike[Model], model: FactorModel, data: ExpressionData, number: int, rng: np.random.Generator
) -> CellPredictions:
    """One gene of each of many cells: N(ȳ + z(β + ΓW), (1 + 1/n)(W'W + Ψ)) for each draw."""
    if not model.integrated or data.missing:
        raise ValueError(
            "predictions of single values are for complete Gaussian data: there are missing values or counts"
        )
    data = matched(model, data)
    cell = np.sort(rng.choice(data.num_cells, min(number, data.num_cells), replace=False))
    gene = rng.integers(len(model.genes), size=len(cell))
    Y, Z, codes, _ = (value.cpu().double().numpy() for value in model.prepare(data.subset(cell)))
    draws = {
        n: v.astype(np.float64) for n, v in aligned(posterior.draws, thin_of(posterior)).items() if n in _PROGRAM_SITES
    }
    W = draws["W"]
    noise = draws["noise_variance"]
    noise = np.broadcast_to(noise[..., None], (*W.shape[:2], len(model.genes))) if noise.ndim == 2 else noise
    wider = 1 + 1 / model.count.cpu().double().numpy()[codes.astype(int)]
    mean = np.zeros((*W.shape[:2], len(cell)))
    if model.covariates:
        effect = draws["beta"] + (draws["gamma"] @ W if model.factor_effects else 0.0)
        mean = np.einsum("cdvo,ov->cdo", effect[..., gene], Z)
    sd = np.sqrt(((W[..., gene] ** 2).sum(2) + noise[..., gene]) * wider)
    scale = model.scale.cpu().double().numpy()[gene]
    level = model.mean.cpu().double().numpy()[codes.astype(int), gene]
    observed = level + scale * Y[np.arange(len(cell)), gene]
    labels = [f"{c}:{model.genes[g]}" for c, g in zip(cell.tolist(), gene.tolist(), strict=True)]
    return CellPredictions(observed, level + scale * mean, scale * sd, labels)


def squared_residuals(
    posterior: PosteriorLike[Model], data: ExpressionData, *, num_cells: int = 1000, num_draws: int = 8, seed: int = 0
) -> np.ndarray:
    r"""``(cell, target)`` squared residuals in units of the fitted variance, averaged over draws; NaN where clamped.

    .. math:: \frac{E_s[(y_{cg} - \hat y_{cg}(W_s))^2]}{E_s[\sigma^2_{g,s}]}

    Its mean over the cells of the fit is one if the noise model is right: in each draw σ² follows that W's residuals.

    Parameters
    ----------
    posterior, data
        As `predict_cells`.
    num_cells, num_draws, seed
        Random cells, and draws of the network, to use.
    """
    rng = np.random.default_rng([seed, 3])
    if isinstance(posterior.model, FactorBox | TrajectoryNetwork):
        return panel_residuals(posterior, posterior.model, data, num_draws, rng)
    if isinstance(posterior.model, Phoenix):
        return squared_errors(posterior, posterior.model, data, num_draws, seed)
    model, columns, codes = _matched(posterior.model, data)
    cells = np.sort(rng.choice(data.num_cells, min(num_cells, data.num_cells), replace=False))
    batch = data.subset(cells)
    tf, gene = model.tf_index.cpu().numpy(), model.target_index.cpu().numpy()
    X = batch.X.double().cpu().numpy()[:, columns] / _numbers(model, "scale")  # (cell, gene of the model)
    W, noise = (value.reshape(-1, *value.shape[2:]) for value in _network(posterior))
    chosen = rng.choice(len(W), min(num_draws, len(W)), replace=False)
    result = np.empty((len(cells), len(gene)))
    for k in np.unique(codes[cells]):
        rows = codes[cells] == k
        x, y = X[np.ix_(rows, tf)], X[np.ix_(rows, gene)] - _numbers(model, "target_mean")[k]
        total = np.zeros_like(y)
        for draw in chosen:
            weight = W[draw, k].astype(np.float64)
            total += (y - x @ weight + (_numbers(model, "tf_mean")[k] * weight).sum(0)) ** 2
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


def _matched(model: Model, data: ExpressionData) -> tuple[LinearNetwork | Symphony, np.ndarray, np.ndarray]:
    """The model; the data's column of each of its genes ``(gene,)``; the model's context of each cell ``(cell,)``."""
    if not isinstance(model, LinearNetwork | Symphony):
        raise ValueError(f"{type(model).__name__} has no predictions of single cells: they are for LinearNetwork")
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
    return model, np.array([place[gene] for gene in model.genes]), codes


def _context_codes(contexts: Sequence[str], data: ExpressionData) -> np.ndarray:
    unknown = [name for name in data.context_names if name not in contexts]
    if unknown:
        raise ValueError(f"contexts {unknown} of `data` are not among those of the fit: {list(contexts)}")
    number = np.array([contexts.index(name) for name in data.context_names])
    if data.context is None:  # all cells are of the one context named
        return np.full(data.num_cells, number[0])
    return number[data.context.cpu().numpy()]


def _network(posterior: PosteriorLike[Model]) -> tuple[np.ndarray, np.ndarray]:
    """Joint draws of W ``(chain, draw, context, tf, target)`` and its σ² ``(chain, draw, context, target)``."""
    draws = aligned(posterior.draws, thin_of(posterior))
    if "W_context" in draws:
        return draws["W_context"], draws["noise_variance"]
    return draws["W"][:, :, None], draws["noise_variance"][:, :, None]


def _numbers(model: LinearNetwork | Symphony, buffer: str) -> np.ndarray:
    return getattr(model, buffer).double().cpu().numpy()
