"""Kernel ridge regression on the splits of `knockdowns`: the plain rival of what `predict --knockdown` answers.

Scores are those of `knockdowns_unseen`: correlations of centroid-referenced changes, levels less the mean of all
training knock-downs of the line (the reference of Systema, Viñas Torné et al. 2025, Nat Biotechnol), which a
prediction that is the same for every knock-down cannot raise."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from .knockdowns import LINES, SEEDS, Lines, Scores, Split, add_bootstrap, held_out
from .results import Results

PENALTIES = 10.0 ** np.arange(-3, 2.5, 0.5)  # of the kernel's mean diagonal, chosen by generalised cross-validation
METHOD = "kernel ridge"


def run(folder: Path, results: Results) -> None:
    """Five lines on the genes that all have."""
    lines = Lines.read(folder, LINES)
    number = lines.data.num_genes
    results.resume_parts()
    for context in range(len(LINES)):
        task = f"{lines.data.context_names[context]} of {len(LINES)} lines, {number} genes"
        results.part(task, partial(run_line, results, lines, context, task))


def run_line(results: Results, lines: Lines, context: int, task: str) -> None:
    """Both cases of one line, all splits."""
    splits = [held_out(lines.data.num_genes, seed) for seed in SEEDS]
    add_bootstrap(results, f"{task}, seen elsewhere", [elsewhere(lines, context, genes) for genes in splits])
    add_bootstrap(results, f"{task}, seen nowhere", [nowhere(lines, context, genes) for genes in splits])


def kernel_ridge(kernel: np.ndarray, train: np.ndarray, Y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Predictions ``(query, output)`` from ``Y`` (train, output) with a kernel (all, all)."""
    K = kernel[np.ix_(train, train)]
    values, vectors = np.linalg.eigh(K / K.diagonal().mean())
    turned = vectors.T @ Y

    def criterion(penalty: float) -> float:
        left = penalty / (values.clip(0) + penalty)
        return float(((left[:, None] * turned) ** 2).sum() / left.sum() ** 2)

    best = min(PENALTIES, key=criterion)
    weights = vectors @ (turned / (values.clip(0) + best)[:, None])
    return np.asarray(kernel[np.ix_(query, train)] / K.diagonal().mean() @ weights)


def elsewhere(lines: Lines, context: int, genes: np.ndarray) -> Scores:
    """Knock-downs are alike that did alike in the other lines."""
    train = np.setdiff1d(np.arange(lines.logs.shape[1]), genes)
    others = [k for k in range(len(lines.logs)) if k != context]
    features = lines.logs[others] - lines.logs[others][:, train].mean(1)[:, None]
    features = features / features[:, train].std((1, 2), keepdims=True)
    flat = np.concatenate(list(features), axis=1)
    return _scored(lines, context, genes, kernel_ridge(flat @ flat.T, train, _changes(lines, context, train), genes))


def nowhere(lines: Lines, context: int, genes: np.ndarray) -> Scores:
    """Knock-downs are alike of genes that respond alike, in all lines."""
    train = np.setdiff1d(np.arange(lines.logs.shape[1]), genes)
    seen = lines.logs[:, train] - lines.logs[:, train].mean(1)[:, None]
    flat = np.concatenate(list(seen / seen.std((1, 2), keepdims=True)))  # (line and knock-down, gene)
    return _scored(lines, context, genes, kernel_ridge(flat.T @ flat, train, _changes(lines, context, train), genes))


def _changes(lines: Lines, context: int, train: Sequence[int] | np.ndarray) -> np.ndarray:
    levels = lines.logs[context, train]
    return np.asarray(levels - levels.mean(0))


def _scored(lines: Lines, context: int, genes: np.ndarray, prediction: np.ndarray) -> Scores:
    split = Split.of(lines, context, genes)
    found: Scores = {(METHOD, key): value for key, value in split.residual_scores(prediction).items()}
    found[METHOD, "log-ratio"] = split.log_ratio(prediction)
    return found
