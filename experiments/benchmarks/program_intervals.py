"""Which engine of `muvi` has the right intervals at small sizes, on genes divided by their sd as users' are: and
what the exact one costs; what it says of cells without a program. Ranks of truths drawn from its prior, in its own
units and on genes divided by their sd. Intervals of `ppca`, whose prior is in units of the data, on data in other
units."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...inference import Blocked, Gibbs, fit
from ...inference.factors.alignment import matching
from ...inference.sbc import pit_of, verdict_of
from ...models import PPCA, ExpressionData, MuVI
from ...models.regression import NOISE_RATE, NOISE_SHAPE
from ...priors import HorseshoeLoading, NormalLoading
from .results import Results, mean_se

SIZES = {(24, 120, 2): 12, (50, 200, 3): 8, (100, 500, 5): 4}  # genes, cells, programs: data sets
SBC_SIZE, SIMULATIONS, RANKS = (24, 120, 2), 60, 63
ENGINES: dict[str, Any] = {"product form": Blocked(refresh=0), "blocked": Blocked(), "gibbs": Gibbs()}
RANKED = ("blocked", "gibbs")
NOISE, OF_NOISE, SURE = (30, 300, 3), 8, 0.95  # genes, cells, programs asked for; data sets; probability of a sign
STATES, LOCAL = 20_000, 2000  # drawn of what all genes share, of which one is taken; and local scales of its weight
WAYS = {"drawn from the prior, its own units": False, "drawn from the prior, standardised": True}
UNITS, OF_PPCA = (0.1, 1.0, 10.0), 12  # sd of loadings and of noise; data sets of each
PPCA_WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "standardised": {"standardize": True},
    "standardised, scale learned": {"standardize": True, "loading_prior": NormalLoading(scale=None)},
}
SHARE, LARGE, LEVEL = 0.4, 0.3, 0.9  # of genes in a program; sd of a gene from which a loading is large
Truth = tuple[ExpressionData, np.ndarray, np.ndarray]  # cells, W (factor, gene), noise (gene,), in units of the data


def run(folder: Path, results: Results) -> None:
    """Coverage by size and engine, then ranks of truths drawn from the prior; ``folder`` is not read."""
    results.resume()
    for size, number in SIZES.items():
        for name, engine in ENGINES.items():
            task, span = "{} genes x {} cells, {} programs".format(*size), f"0-{number - 1}"
            if results.value(task, name, span, "seconds") is None:
                found = [scores(sparse(*size, seed), engine, seed) for seed in range(number)]
                for score in found[0]:
                    results.add(task, name, span, score, *mean_se([one[score] for one in found]))
    for name, engine in ENGINES.items():
        task, span = "noise of {} genes x {} cells, {} programs asked for".format(*NOISE), f"0-{OF_NOISE - 1}"
        if results.value(task, name, span, "seconds") is None:
            found = [noise_scores(engine, seed) for seed in range(OF_NOISE)]
            for score in found[0]:
                results.add(task, name, span, score, *mean_se([one[score] for one in found]))
    for task, standardize in WAYS.items():
        for name in RANKED:
            engine = ENGINES[name]
            if results.value(task, name, f"0-{SIMULATIONS - 1}", "least p") is None:
                ranks(results, task, name, engine, standardize)
    for unit in UNITS:
        for way, options in PPCA_WAYS.items():
            task, span = f"ppca, genes in units of {unit:g}", f"0-{OF_PPCA - 1}"
            if results.value(task, way, span, "noise") is None:
                of_all = [ppca_scores(unit, options, seed) for seed in range(OF_PPCA)]
                for score in of_all[0]:
                    results.add(task, way, span, score, *mean_se([one[score] for one in of_all]))


def cells(W: torch.Tensor, noise: torch.Tensor, number: int, generator: torch.Generator) -> Truth:
    """Cells of these programs."""
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    Y = normal(number, len(W)) @ W + noise.sqrt() * normal(number, W.shape[1]) + 3.0
    return ExpressionData(Y, tuple(f"g{i}" for i in range(W.shape[1]))), W.numpy(), noise.numpy()


def sparse(genes: int, number: int, programs: int, seed: int) -> Truth:
    """Two fifths of the genes in each program, noise between a tenth and twice a loading's variance."""
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(programs, genes, generator=generator, dtype=torch.float64)
    W = W * (torch.rand(programs, genes, generator=generator) < SHARE)
    noise = torch.as_tensor(np.clip(0.5 / np.random.default_rng(seed).gamma(2.0, size=genes), 0.1, 2.0))
    return cells(W, noise, number, generator)


def from_prior(genes: int, number: int, programs: int, seed: int) -> Truth:
    """Loadings and noise from the default prior of `MuVI`.

    Its slab is a factor exp(-W² / 2c²) beside the horseshoe, so that a scale s has the weight (1 + s²/c²)^-½ too: of
    many states of what all genes share one is taken in proportion to its weight, local scales are drawn again until
    they are accepted with theirs.
    """
    rng = np.random.default_rng([seed, 5])
    cauchy = lambda *shape: np.abs(rng.standard_cauchy(shape))
    slab = float(HorseshoeLoading().slab)
    weight = lambda scale: 1 / np.sqrt(1 + (scale / slab) ** 2)
    shared = cauchy(STATES, 1) * cauchy(STATES, programs)  # τ δ
    local = np.tan(np.pi / 2 * (np.arange(LOCAL) + 0.5) / LOCAL)  # quantiles
    grid = np.geomspace(1e-6, 1e9, 400)
    mean = np.log([weight(one * local).mean() for one in grid])
    log_weight = genes * np.interp(np.log(shared), np.log(grid), mean).sum(1)
    chosen = shared[rng.choice(STATES, p=np.exp(log_weight - np.logaddexp.reduce(log_weight)))]
    scale = np.full((programs, genes), np.nan)
    while (left := np.isnan(scale)).any():
        tried = chosen[:, None] * cauchy(programs, genes)
        scale = np.where(left & (rng.random(tried.shape) < weight(tried)), tried, scale)
    W = rng.normal(size=scale.shape) / np.sqrt(scale**-2 + slab**-2)
    noise = 1 / rng.gamma(NOISE_SHAPE, 1 / NOISE_RATE, size=genes)
    return cells(torch.as_tensor(W), torch.as_tensor(noise), number, torch.Generator().manual_seed(seed))


def fitted(
    truth: Truth, engine: Any, seed: int, make: Any = MuVI, **options: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws of loadings (draw, factor, gene) and noise (draw, gene), and their true values, in units of the fit."""
    data, W, noise = truth
    posterior = fit(make.from_data(data, num_factors=len(W), **options), guide=engine, seed=seed)
    model: Any = posterior.model
    scale = model.scale.double().numpy()
    flat = lambda site: posterior.draws[site].reshape(-1, *posterior.draws[site].shape[2:]).astype(np.float64)
    drawn = flat("noise_variance")
    return flat("W"), drawn.reshape(len(drawn), -1), W / scale, noise / scale**2


def ppca_scores(unit: float, options: dict[str, Any], seed: int) -> dict[str, float]:
    """Shares inside their interval of what no turn of the factors changes: the share of each gene's variance that
    factors explain, and the noise."""
    genes, number, programs = SBC_SIZE
    generator = torch.Generator().manual_seed(seed)
    W = unit * torch.randn(programs, genes, generator=generator, dtype=torch.float64)
    truth = cells(W, torch.full((genes,), unit**2, dtype=torch.float64), number, generator)
    W_drawn, noise, true_W, true_noise = fitted(truth, None, seed, PPCA, **options)
    explained = (W_drawn**2).sum(1)
    true_explained = (true_W**2).sum(0)
    share = true_explained / (true_explained + true_noise)
    return {"explained": inside(explained / (explained + noise), share), "noise": inside(noise, true_noise)}


def inside(drawn: np.ndarray, true: np.ndarray) -> float:
    """Share of true values in their intervals."""
    low, high = np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    return float(((low <= true) & (true <= high)).mean())


def scores(truth: Truth, engine: Any, seed: int) -> dict[str, float]:
    """Shares of true values inside their intervals, programs laid on the true ones."""
    started = time.process_time()
    W, noise, true_W, true_noise = fitted(truth, engine, seed)
    seconds = time.process_time() - started
    order, sign = matching(W.mean(0), true_W)
    W, large = W[:, order] * sign[None, :, None], np.abs(true_W) > LARGE
    return {
        "loadings": inside(W, true_W),
        "large loadings": inside(W[:, large], true_W[large]),
        "noise": inside(noise, true_noise),
        "correlation": float(np.corrcoef(W.mean(0).ravel(), true_W.ravel())[0, 1]),
        "seconds": seconds,
    }


def noise_scores(engine: Any, seed: int) -> dict[str, float]:
    """Of cells without a program: the share of loadings whose sign is said to be sure, and the largest share of a
    gene's variance that programs are said to explain, by their mean."""
    genes, number, programs = NOISE
    generator = torch.Generator().manual_seed(seed)
    nothing = torch.zeros(programs, genes, dtype=torch.float64)
    started = time.process_time()
    W, noise, _, _ = fitted(cells(nothing, torch.ones(genes, dtype=torch.float64), number, generator), engine, seed)
    seconds = time.process_time() - started
    explained = (W**2).sum(1)
    return {
        "sure": float((np.maximum((W > 0).mean(0), (W < 0).mean(0)) > SURE).mean()),
        "explained": float((explained / (explained + noise)).mean(0).max()),
        "seconds": seconds,
    }


def ranks(results: Results, task: str, name: str, engine: Any, standardize: bool) -> None:
    """Simulation-based calibration of what no turn of the programs changes: variance that programs explain of a gene,
    noise of a gene, covariance of two genes, size of all loadings."""
    generator, found, span = np.random.default_rng(1), [], f"0-{SIMULATIONS - 1}"
    for seed in range(SIMULATIONS):
        W, noise, true_W, true_noise = fitted(from_prior(*SBC_SIZE, seed), engine, seed, standardize=standardize)
        drawn, true = quantities(W, noise), quantities(true_W[None], true_noise[None])
        kept = np.linspace(0, len(W) - 1, RANKS).astype(int)
        found.append([pit_of(drawn[q][kept], float(true[q][0]), generator) for q in true])
    verdicts = {q: verdict_of(column) for q, column in zip(true, np.array(found).T, strict=True)}
    for quantity, verdict in verdicts.items():
        results.add(task, name, span, f"{quantity}: coverage", verdict["coverage"], verdict["standard_error"])
        results.add(task, name, span, f"{quantity}: dispersion", verdict["dispersion"])
    results.add(task, name, span, "least p", min(1.0, len(verdicts) * min(v["pvalue"] for v in verdicts.values())))


def quantities(W: np.ndarray, noise: np.ndarray) -> dict[str, np.ndarray]:
    """``(draw,)`` each."""
    return {
        "explained": (W[:, :, 0] ** 2).sum(1),
        "noise": noise[:, 0],
        "covariance": (W[:, :, 0] * W[:, :, 1]).sum(1),
        "size": (W**2).sum((1, 2)),
    }
