"""Gene programs: the two findings of the poster over many data sets, the closed form, gene-set repair."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score

from ...inference import Blocked, Gibbs, MapEstimate, MeanField, Posterior, fit
from ...inference.answers.cells import log_density
from ...models import PPCA, ExpressionData, FactorModel, MuVI
from ...models.simulators import FactorSimulation, simulate_muvi, simulate_ppca
from ...priors import HorseshoeLoading, LoadingPrior, NormalLoading, SpikeSlabLoading
from .results import Results, mean_se

SEEDS = 50
CORRELATIONS = (0.0, 0.3, 0.6, 0.9)
EXACT, SLOW = 100, 50  # data sets at each correlation: of blocked and exact engines, and of others
LEVEL = 0.9
SHIFTS = (1.0, 2.0, 4.0)  # between the clusters of the toy, in units of the loadings' sd
MASK_NOISE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
SHORT_GIBBS = Gibbs(num_chains=2, num_warmup=100, num_samples=250)

Estimate = tuple[np.ndarray, np.ndarray]  # x (cell, factor) and W (factor, gene), in units of the data


class Table:
    """Scores of many data sets, written as means with standard errors."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str, str], list[float]] = {}

    def add(self, task: str, method: str, scores: Mapping[str, float]) -> None:
        for score, value in scores.items():
            self.values.setdefault((task, method, score), []).append(float(value))

    def write(self, results: Results) -> None:
        for (task, method, score), values in self.values.items():
            results.add(task, method, f"0-{len(values) - 1}", score, *mean_se(values))


# -- finding 1 ----
def estimate(posterior: Posterior, data: ExpressionData) -> Estimate:
    """Posterior means of the factors of all cells and of the loadings."""
    model: Any = posterior.model
    x = posterior.draws["x"].mean((0, 1)) if "x" in posterior.draws else posterior.scores(data)[0].to_numpy()
    return x, posterior.moments["W"].mean * model.scale.numpy()


def blocked(model: FactorModel, *, refresh: int | None = None, num_draws: int = 100) -> Posterior:
    """One run of coordinate ascent: more end at the same place here."""
    return fit(model, guide=Blocked(refresh=refresh), restarts=1, num_draws=num_draws)


def one_by_one(model: FactorModel, guide: MapEstimate | MeanField) -> Posterior:
    """A stochastic-gradient fit with the factors among its variables."""
    return fit(model, guide=guide, restarts=1, num_draws=1 if guide.point else 200, num_steps=1500)


def pca(data: ExpressionData, num_factors: int) -> Estimate:
    """Scores and unit-length components."""
    found = PCA(num_factors).fit(data.X.numpy())
    return found.transform(data.X.numpy()), found.components_


def closed_form(data: ExpressionData, num_factors: int) -> Estimate:
    """Maximum likelihood, and the posterior mean of the factors."""
    solution = PPCA(data, num_factors=num_factors).maximum_likelihood()
    W = solution.W.numpy()
    Y = data.X.double().numpy()
    inner = W @ W.T + solution.noise_variance * np.eye(num_factors)
    return (Y - Y.mean(0)) @ W.T @ np.linalg.inv(inner), W


def first_methods(data: ExpressionData) -> dict[str, Callable[[], Estimate]]:
    """The estimators of the poster's first finding."""
    bare = HorseshoeLoading(slab=None)  # the poster's
    return {
        "PCA": lambda: pca(data, 2),
        "PPCA, closed form": lambda: closed_form(data, 2),
        "PPCA, MAP": lambda: estimate(one_by_one(PPCA(data, num_factors=2, integrate=False), MapEstimate()), data),
        "PPCA, mean-field": lambda: estimate(one_by_one(PPCA(data, num_factors=2, integrate=False), MeanField()), data),
        "PPCA, blocked": lambda: estimate(blocked(PPCA(data, num_factors=2)), data),
        "MuVI, blocked": lambda: estimate(blocked(MuVI(data, num_factors=2)), data),
        "MuVI without slab, blocked": lambda: estimate(blocked(MuVI(data, num_factors=2, loading_prior=bare)), data),
    }


def recovery(found: Estimate, truth: FactorSimulation) -> dict[str, float]:
    """Errors of an estimate. Factors are turned onto the true ones (Procrustes) before they are compared."""
    x, W = found
    true_x, true_W = truth.x.numpy(), truth.W.numpy()
    x, true_x = x - x.mean(0), true_x - true_x.mean(0)
    left, _, right = np.linalg.svd(x.T @ true_x)
    return {
        "factor variance / truth": x.var(0).sum() / true_x.var(0).sum(),
        "loading size / truth": np.linalg.norm(W) / np.linalg.norm(true_W),
        "factor error, RMSE": float(np.sqrt(np.mean((x @ left @ right - true_x) ** 2))),
        "reconstruction error, RMSE": float(np.sqrt(np.mean((x @ W - true_x @ true_W) ** 2))),
        "subspace angle, degrees": float(np.degrees(subspace_angles(W.T, true_W.T).max())),
    }


def run_finding1(folder: Path, results: Results) -> None:
    """Reconstruction and factors of one cluster; ``folder`` is not read."""
    table = Table()
    for seed in range(SEEDS):
        simulation = simulate_ppca(seed=seed)
        for name, method in first_methods(simulation.data).items():
            table.add("one cluster, 200 genes", name, recovery(method(), simulation))
    table.write(results)


def run_toy(folder: Path, results: Results) -> None:
    """Two clusters of two genes, with and without their labels; ``folder`` is not read."""
    table = Table()
    for shift in SHIFTS:
        for seed in range(SEEDS):
            toy = simulate_ppca(num_genes=2, num_factors=1, shift=shift, seed=seed)
            for name, scores in separation(toy).items():
                table.add(f"two clusters, shift {shift:g}", name, scores)
    table.write(results)


def toy_methods(toy: FactorSimulation) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Factor of each cell, and reconstruction (cell, gene), with and without the labels."""
    data = toy.data
    bare = ExpressionData(data.X, data.genes)
    found = {}
    for name, (x, W) in {"PCA": pca(bare, 1), "PPCA, closed form": closed_form(bare, 1)}.items():
        found[name] = (x[:, 0], x @ W)
    model = MuVI(data, num_factors=1, standardize=False, factor_effects=False)
    posterior = blocked(model)
    x, W = estimate(posterior, data)
    assert data.covariates is not None, "the toy tells the label"
    found["MuVI with labels"] = (x[:, 0], x @ W + data.covariates.numpy() @ posterior.draws["beta"].mean((0, 1)))
    return found


def separation(toy: FactorSimulation) -> dict[str, dict[str, float]]:
    """Whether clusters come apart in the reconstruction, and whether the factor is the true one and free of them."""
    label = toy.z.numpy()[:, 0] > 0
    true = toy.x.numpy()[:, 0]
    within = true - np.where(label, true[label].mean(), true[~label].mean())
    scores = {}
    for name, (x, fitted) in toy_methods(toy).items():
        gap = fitted[label].mean(0) - fitted[~label].mean(0)
        spread = np.cov(
            np.concatenate([fitted[label] - fitted[label].mean(0), fitted[~label] - fitted[~label].mean(0)]).T
        )
        along = fitted @ np.linalg.solve(spread + 1e-6 * np.eye(2), gap)  # Fisher's direction
        by_factor = roc_auc_score(label, x)
        scores[name] = {
            "AUC of labels by reconstruction": float(roc_auc_score(label, along)),
            "AUC of labels by factor": float(max(by_factor, 1 - by_factor)),
            "|correlation| of factor with truth": float(abs(np.corrcoef(x, within)[0, 1])),
            "error of the cluster difference, RMSE": float(np.sqrt(np.mean((gap - toy.beta.numpy()[0]) ** 2))),
        }
    return scores


# -- finding 2 ----
def confounded(correlation: float, seed: int, *, num_cells: int = 200, num_genes: int = 50) -> FactorSimulation:
    """Two factors, the first of them correlated with the one covariate, such that W and β are N(0, 1) in the model's
    own units (x given z has variance 1)."""
    W = torch.randn(2, num_genes, generator=torch.Generator().manual_seed(1000 + seed), dtype=torch.float64)
    W[0] /= (1 - correlation**2) ** 0.5
    return simulate_muvi(num_cells=num_cells, W=W, num_covariates=1, correlation=correlation, seed=seed)


def second_model(simulation: FactorSimulation, *, factor_effects: bool = True, integrate: bool = True) -> MuVI:
    """The model that the data of `confounded` come from."""
    return MuVI(
        simulation.data,
        num_factors=2,
        loading_prior=NormalLoading(),
        standardize=False,
        factor_effects=factor_effects,
        integrate=integrate,
    )


def effect_scores(posterior: Posterior, target: np.ndarray, w: np.ndarray) -> dict[str, float]:
    """β against ``target`` (gene,), and the error along the loadings ``w`` (gene,) of the correlated factor."""
    draws = posterior.draws["beta"][:, :, 0].reshape(-1, len(target))
    error = draws.mean(0) - target
    lower, upper = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    return {
        "bias": error.mean(),
        "bias along the loading": float(w @ error / (w @ w)),
        "RMSE": float(np.sqrt(np.mean(error**2))),
        f"coverage of {LEVEL:.0%}": float(((lower <= target) & (target <= upper)).mean()),
        "sd": float(draws.std(0).mean()),
    }


def second_methods(simulation: FactorSimulation) -> dict[str, Callable[[], Posterior]]:
    """Engines of the second finding, on the same model."""
    return {
        "product form": lambda: blocked(second_model(simulation), refresh=0, num_draws=200),
        "blocked": lambda: blocked(second_model(simulation), num_draws=200),
        "gibbs (exact)": lambda: fit(second_model(simulation), guide=SHORT_GIBBS),
        "mean-field": lambda: one_by_one(second_model(simulation, integrate=False), MeanField()),
    }


def run_finding2(folder: Path, results: Results) -> None:
    """β beside a correlated factor; ``folder`` is not read."""
    results.resume_parts()
    for correlation in CORRELATIONS:
        results.part(f"correlation {correlation:g}", partial(run_correlation, results, correlation))


def run_correlation(results: Results, correlation: float) -> None:
    """Rows of one correlation of covariate and factor."""
    table, task = Table(), f"correlation {correlation:g}"
    for seed in range(EXACT):
        simulation = confounded(correlation, seed)
        w = (simulation.W * simulation.x_scale[:, None])[0].numpy()
        for name, method in second_methods(simulation).items():
            if name != "mean-field" or seed < SLOW:
                table.add(task, name, effect_scores(method(), simulation.beta[0].numpy(), w))
        if seed >= SLOW:
            continue
        poster = second_model(simulation, factor_effects=False)  # here β means all that the covariate does
        total = (simulation.beta + simulation.gamma @ simulation.W)[0].numpy()
        posterior = blocked(poster, num_draws=200)
        table.add(task, "blocked, no factor effects", effect_scores(posterior, total, w))
    table.write(results)


# -- closed form ----
def run_closed(folder: Path, results: Results) -> None:
    """PPCA against its closed form on 500 cells, and both on 500 others; ``folder`` is not read."""
    table = Table()
    for seed in range(20):
        cells = simulate_ppca(num_genes=50, num_cells=1000, num_factors=3, seed=seed).data
        train, test = cells.subset(np.arange(500)), cells.subset(np.arange(500, 1000))
        model = PPCA(train, num_factors=3)
        exact = model.maximum_likelihood()
        covariance = (exact.W.T @ exact.W).numpy() + exact.noise_variance * np.eye(50)
        normal = torch.distributions.MultivariateNormal(train.X.double().mean(0), torch.as_tensor(covariance))
        fits = {"PPCA, blocked": blocked(model, num_draws=400), "PPCA, gibbs": fit(model, guide=SHORT_GIBBS)}
        for name, posterior in fits.items():
            W, noise = posterior.moments["W"].mean, posterior.draws["noise_variance"].mean()
            angle = float(np.degrees(subspace_angles(W.T.astype(np.float64), exact.W.T.numpy()).max()))
            scores = {"subspace angle, degrees": angle, "sigma2 / closed form": noise / exact.noise_variance}
            for part, data in {"fitted": train, "new": test}.items():
                gain = log_density(posterior, data, num_draws=400) - normal.log_prob(data.X.double()).numpy()
                scores[f"log density per {part} cell - closed form"] = gain.mean()
            table.add("closed form, 500 cells x 50 genes", name, scores)
    table.write(results)


# -- gene-set repair ----
def run_repair(folder: Path, results: Results) -> None:
    """Gene sets with genes hidden and false ones put in: are they found? ``folder`` is not read."""
    results.resume_parts()
    for noise in MASK_NOISE:
        results.part(f"mask noise {noise:.0%}", partial(run_noise, results, noise))


def run_noise(results: Results, noise: float) -> None:
    """Rows of one share of genes hidden, and as many false."""
    table = Table()
    for prior in (SpikeSlabLoading(), HorseshoeLoading()):
        for seed in range(3):
            simulation = simulate_muvi(hidden=noise, false=noise, seed=seed)
            table.add(f"mask noise {noise:.0%}", f"MuVI, {type(prior).__name__}", repair_scores(simulation, prior))
    table.write(results)


def repair_scores(simulation: FactorSimulation, prior: LoadingPrior) -> dict[str, float]:
    """Average precision of hidden genes among those outside the given sets, and of false ones among those inside."""
    model = MuVI(simulation.data, gene_sets={"sets": simulation.gene_sets}, num_factors=0, loading_prior=prior)
    moments = blocked(model).moments["W"]
    rank = moments.inclusion if "inclusion" in model.dims else np.abs(moments.mean)
    given = (model.knowledge.probability.amax(0) > 0).numpy()
    member = simulation.memberships.numpy()
    scores = {"AUROC of membership": float(roc_auc_score(member.ravel(), rank.ravel()))}
    if (member & ~given).any():
        scores["AUPRC of hidden genes"] = float(average_precision_score(member[~given], rank[~given]))
        scores["base rate of hidden genes"] = float(member[~given].mean())
        scores["AUPRC of false genes"] = float(average_precision_score(~member[given], -rank[given]))
        scores["base rate of false genes"] = float((~member[given]).mean())
    return scores
