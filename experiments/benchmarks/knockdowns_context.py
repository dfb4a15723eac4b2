"""What the five cell lines of the LINCS panel have in common; residuals and standard errors as in `knockdowns`."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...inference import Gibbs, Posterior, fit
from ...models import ExpressionData, FactorBox, LinearNetwork
from ..files.readers import read_names
from .knockdowns import HIDDEN, LINES, Lines, pearson
from .results import Results

ENGINE = Gibbs(num_chains=2, num_warmup=100, num_samples=150)  # 67 regulators: seconds


def run(folder: Path, results: Results) -> None:
    """Share of the network that the lines have in common; agreement of networks fitted one by one; a line from the
    others."""
    lines = Lines.read(folder, LINES)
    tfs = [t for t in read_names(folder / "priors" / "tfs_human.csv") if t in set(lines.data.genes)]
    data = lines.data.match_tfs(tfs)
    results.resume_parts()
    results.part("common share", lambda: common_share(results, data))
    results.part("agreement", lambda: agreement(results, lines, data))
    results.part("from others", lambda: from_others(results, lines, data))


def common_share(results: Results, data: ExpressionData) -> None:
    r"""Share :math:`\sum W^2/(\sum W^2+N\omega^2)` over N edges, ω the sd of a context's deviation: posterior mean, sd
    and 95% interval, over all edges and over those with inclusion above a half."""
    task = f"{len(data.tfs)} regulators, {data.num_genes} targets"
    for hidden in (HIDDEN, 0):
        model = FactorBox.from_data(data, hidden=hidden)
        posterior = fit(model, guide=ENGINE, seed=0)
        draws = posterior.sample(200)
        name = f"FactorBox, {hidden} hidden inputs"
        allowed = model.edge_prior.allowed.numpy()
        likely = allowed & (posterior.moments["W"].inclusion > 0.5)
        results.add(task, name, 0, "edges with inclusion > 0.5", float(likely.sum()))
        for which, edges in (("all edges", allowed), ("likely edges", likely)):
            if not edges.any():
                continue
            square = (draws["W"][:, edges] ** 2).sum(1)
            share = square / (square + edges.sum() * draws["context_scale"] ** 2)
            results.add(task, name, 0, f"common share, {which}", float(share.mean()), float(share.std()))
            for end, value in zip(("lower", "upper"), np.quantile(share, [0.025, 0.975]), strict=True):
                results.add(task, name, 0, f"common share, {which}_{end}", float(value))


def agreement(results: Results, lines: Lines, data: ExpressionData) -> None:
    """Correlations between lines, over all pairs: of networks fitted one by one, and of the data."""
    task = f"agreement of lines, {len(data.tfs)} regulators"
    number = len(LINES)
    parts = [lines.only(data, k) for k in range(number)]
    allowed = FactorBox.from_data(parts[0]).edge_prior.allowed.numpy()
    for name, make in METHODS.items():
        edges = np.stack([make(part)[allowed] for part in parts])
        add_pairs(results, task, name, "correlation of W", np.corrcoef(edges))
    position = {g: i for i, g in enumerate(data.genes)}
    tf = [position[t] for t in data.tfs]
    for removed in (0, HIDDEN):
        residual = [_without(x - x.mean(0), removed) for x in lines.logs]
        table = np.stack([np.corrcoef(r.T)[tf][allowed] for r in residual])
        name = f"raw data, {removed} components removed"
        add_pairs(results, task, name, "correlation of correlations", np.corrcoef(table))
        genes = np.arange(lines.logs.shape[1])
        same = [[pearson(a, b, genes).mean() for b in residual] for a in residual]
        add_pairs(results, task, name, "residual of the same knock-down", np.array(same))
        add_pairs(
            results,
            task,
            name,
            "the same, of regulators",
            np.array([[pearson(a[tf], b[tf], genes[tf]).mean() for b in residual] for a in residual]),
        )


def _factorbox(data: ExpressionData, hidden: int) -> np.ndarray:
    return fit(FactorBox.from_data(data, hidden=hidden), guide=ENGINE, seed=0).moments["W"].mean


METHODS = {
    f"FactorBox, {HIDDEN} hidden inputs": lambda data: _factorbox(data, HIDDEN),
    "FactorBox, 0 hidden inputs": lambda data: _factorbox(data, 0),
    "linear, log levels": lambda data: (
        fit(LinearNetwork.from_data(replace(data, matrix=data.X.log())), guide=ENGINE, seed=0).moments["W"].mean
    ),
}


def _without(residual: np.ndarray, number: int) -> np.ndarray:
    if not number:
        return residual
    components = np.linalg.svd(residual, full_matrices=False)[2][:number]
    return residual - (residual @ components.T) @ components


def add_pairs(results: Results, task: str, method: str, score: str, table: np.ndarray) -> None:
    """Mean over pairs of lines of a symmetric table, with a jackknife over lines, and its extremes."""
    n = len(table)
    mean = lambda keep: np.mean([table[a, b] for a, b in itertools.combinations(keep, 2)])
    left = np.array([mean([k for k in range(n) if k != out]) for out in range(n)])
    error = np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
    pairs = table[np.triu_indices(n, 1)]
    results.add(task, method, 0, score, float(mean(range(n))), float(error))
    results.add(task, method, 0, f"{score}, least pair", float(pairs.min()))
    results.add(task, method, 0, f"{score}, best pair", float(pairs.max()))


def from_others(results: Results, lines: Lines, data: ExpressionData) -> None:
    """Share of the variance of a line's drives, hidden inputs projected out, that a network explains: the common W of
    the other lines, and one fitted to half of the line's own conditions, both judged on the other half (both halves in
    turn). An empty network is at 0."""
    task = f"held-out line, {len(data.tfs)} regulators, {HIDDEN} hidden inputs"
    assert data.context is not None
    codes = data.context.numpy()
    by_method: dict[str, list[tuple[float, float]]] = {}
    for k, name in enumerate(LINES):
        rest = data.subset(codes != k)
        assert rest.context is not None, "several lines are contexts"
        keep = torch.unique(rest.context)
        rest = replace(
            rest,
            context=torch.searchsorted(keep, rest.context),
            context_names=tuple(n for n in LINES if n != name),
        )
        shared = FactorBox.from_data(rest, hidden=HIDDEN)
        own = lines.only(data, k)
        order = np.random.default_rng(k).permutation(own.num_cells)
        halves = [own.subset(np.sort(order[i::2])) for i in range(2)]
        models = [FactorBox.from_data(half, hidden=HIDDEN) for half in halves]
        fitted = [_raw(m, fit(m, guide=ENGINE, seed=0)) for m in models]
        common = _raw(shared, fit(shared, guide=ENGINE, seed=0))
        methods: Mapping[str, tuple[np.ndarray, np.ndarray]] = {
            "common W of the other lines": (common, common),
            "half of its own conditions": (fitted[1], fitted[0]),
        }
        for method, weights in methods.items():
            scores = np.mean([explained(m, W) for m, W in zip(models, weights, strict=True)], 0)
            by_method.setdefault(method, []).append(tuple(scores))
            results.add(f"{task}: {name}", method, 0, "variance explained", float(scores[0]))
            results.add(f"{task}: {name}", method, 0, "correlation of drives", float(scores[1]))
        allowed = models[0].edge_prior.allowed.numpy()
        halves_agree = np.corrcoef(fitted[0][allowed], fitted[1][allowed])[0, 1]
        results.add(f"{task}: {name}", "half against half", 0, "correlation of W", float(halves_agree))
    for method, scores in by_method.items():
        mean, spread = np.mean(scores, 0), np.std(scores, 0, ddof=1) / len(scores) ** 0.5
        results.add(task, method, 0, "variance explained", float(mean[0]), float(spread[0]))
        results.add(task, method, 0, "correlation of drives", float(mean[1]), float(spread[1]))


def _raw(model: FactorBox, posterior: Posterior) -> np.ndarray:
    """Posterior mean of W in drive per level."""
    scale, unit = model.scale[model.tf_index].double().numpy(), model.unit.double().numpy()
    return posterior.moments["W"].mean * unit / scale[:, None]


def explained(model: FactorBox, raw: np.ndarray) -> tuple[float, float]:
    """Share of the variance of the projected drives that the weights explain, over all targets, and the correlation
    of predicted with projected drives (the share at the best common factor, square-rooted)."""
    scale, unit = model.scale[model.tf_index].double().numpy(), model.unit.double().numpy()
    W = torch.as_tensor(raw * scale[:, None] / unit).double()
    error = lambda factor: float(model.double().squared_error(factor * W).sum())
    none, one, two = error(0.0), error(1.0), error(2.0)
    curve = (two - 2 * one + none) / 2  # error(f) = none - 2 f inner + f^2 curve
    inner = (none + curve - one) / 2
    return 1 - one / none, inner / np.sqrt(none * curve)
