"""Which engine of `muvi` has the right intervals at small sizes, on genes divided by their sd as users' are: and
what the exact one costs."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyro import poutine

from ...inference import Blocked, Gibbs, fit
from ...inference.factors.alignment import matching
from ...inference.sbc import pit_of, verdict_of
from ...models import ExpressionData, MuVI
from .results import Results, mean_se

SIZES = {(24, 120, 2): 12, (50, 200, 3): 8, (100, 500, 5): 4}  # genes, cells, programs: data sets
SBC_SIZE, SIMULATIONS, RANKS = (24, 120, 2), 60, 63
ENGINES: dict[str, Any] = {"blocked": Blocked(), "gibbs": Gibbs()}
SHARE, LARGE, LEVEL = 0.4, 0.3, 0.9  # of genes in a program; sd of a gene from which a loading is large
Truth = tuple[ExpressionData, np.ndarray, np.ndarray]  # cells, W (factor, gene), noise (gene,), in units of the data


def run(folder: Path, results: Results) -> None:
    """Coverage by size and engine, then ranks of truths drawn from the prior; ``folder`` is not read."""
    results.resume()
    for size, number in SIZES.items():
        for name, engine in ENGINES.items():
            task, span = "{} genes x {} cells, {} programs".format(*size), f"0-{number - 1}"
            if results.value(task, name, span, "seconds") is None:
                found = [scores(sparse(*size, seed), size[2], engine, seed) for seed in range(number)]
                for score in found[0]:
                    results.add(task, name, span, score, *mean_se([one[score] for one in found]))
    for name, engine in ENGINES.items():
        task, span = "drawn from the prior, standardised", f"0-{SIMULATIONS - 1}"
        if results.value(task, name, span, "least p") is None:
            ranks(results, task, name, span, engine)


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
    """Loadings and noise from the default prior of `MuVI`."""
    blank = ExpressionData(
        torch.randn(number, genes, generator=torch.Generator().manual_seed(0)), tuple(map(str, range(genes)))
    )
    model = MuVI(blank, num_factors=programs)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        nodes: dict[str, Any] = dict(poutine.trace(model).get_trace().nodes)
    W = nodes["W"]["value"].reshape(programs, genes).double()
    noise = nodes["noise_variance"]["value"].reshape(genes).double()
    return cells(W, noise, number, torch.Generator().manual_seed(seed))


def fitted(
    truth: Truth, programs: int, engine: Any, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws of loadings (draw, factor, gene) and noise (draw, gene), and their true values, in units of the fit."""
    data, W, noise = truth
    posterior = fit(MuVI.from_data(data, num_factors=programs), guide=engine, seed=seed)
    model: Any = posterior.model
    scale = model.scale.double().numpy()
    flat = lambda site: posterior.draws[site].reshape(-1, *posterior.draws[site].shape[2:]).astype(np.float64)
    return flat("W"), flat("noise_variance"), W / scale, noise / scale**2


def scores(truth: Truth, programs: int, engine: Any, seed: int) -> dict[str, float]:
    """Shares of true values inside their intervals, programs laid on the true ones."""
    started = time.process_time()
    W, noise, true_W, true_noise = fitted(truth, programs, engine, seed)
    seconds = time.process_time() - started
    order, sign = matching(W.mean(0), true_W)
    W = W[:, order] * sign[None, :, None]
    tails = [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]
    low, high = np.quantile(W, tails, axis=0)
    inside = (low <= true_W) & (true_W <= high)
    low, high = np.quantile(noise, tails, axis=0)
    return {
        "loadings": float(inside.mean()),
        "large loadings": float(inside[np.abs(true_W) > LARGE].mean()),
        "noise": float(((low <= true_noise) & (true_noise <= high)).mean()),
        "seconds": seconds,
    }


def ranks(results: Results, task: str, name: str, span: str, engine: Any) -> None:
    """Simulation-based calibration of what no turn of the programs changes: variance that programs explain of a gene,
    noise of a gene, covariance of two genes, size of all loadings."""
    generator, found = np.random.default_rng(1), []
    for seed in range(SIMULATIONS):
        W, noise, true_W, true_noise = fitted(from_prior(*SBC_SIZE, seed), SBC_SIZE[2], engine, seed)
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
