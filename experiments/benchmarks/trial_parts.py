"""What else the trial could hear, each tried beside what it does: on the data sets that choices were made on, and on no
others.

Beside the default (all cells; regulators averaged with what other genes say of them, a hundred effective cells; four
hundred effective cells) the map is learned from one more posterior, or from regulators as measured. Of regressions that
state no probability, what their ranking is worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from scipy.stats import rankdata

from ...inference.recalibration.edge_map import EdgeMap
from ...inference.recalibration.trial import UNSEEN, TrialOptions, benches_like, heard_fit, short_fit
from ...inference.recalibration.tuning import linear_network
from ...inference.recalibration.witnesses import Witnesses, witnesses_of
from ...models import ExpressionData
from ...models.data.out_of_fold import out_of_fold, within_contexts
from ...models.data.ridge import correlations, ridge_weights
from ...models.simulators import donors_of
from ...models.simulators.semi_synthetic import LEAST_R2, MOST_ACTING
from ..ladder.scoring import Pairs, score
from ..tasks import truth_matrix
from . import ladder
from .results import Results

CHOSEN_ON: dict[str, Callable[[Path], ladder.Subject]] = {
    "sergio_ds1:clean": ladder.SUBJECTS["sergio_ds1:clean"],
    "sergio_ds1:X": ladder.SUBJECTS["sergio_ds1:X"],
    **{f"random_grns train {i}:X": ladder._random("train", i, "X") for i in range(3)},
    **{f"random_grns train {i}:counts_dropout": ladder._random("train", i, "counts_dropout") for i in range(3)},
}
FEW, SOME = 100.0, 400.0
FACTORS = 10  # hidden ones at the most
ABOVE = 1.02  # of the largest singular value of permuted residuals, from which a factor counts
LEAST = 0.05  # eigenvalue of the regulators' correlations with noise taken off
VARIANTS = {
    "regulators as measured": ("all", "few", "some"),
    "default": ("all", "heard", "some"),
    "default and as measured": ("all", "heard", "few", "some"),
    "default and ranks": ("all", "heard", "some", "ranks"),
    "default and one regulator at a time": ("all", "heard", "some", "alone"),
    "default and hidden factors": ("all", "heard", "some", "freed"),
}
SCORES = ("bits", "ece", "auprc", "listed_0.1", "wrong_0.1", "power_0.1")


@dataclass(frozen=True, eq=False)
class Stated:
    """By name ``(tf, target)`` inclusion that each posterior states, and ``factors``, how many were hidden."""

    inclusion: Mapping[str, np.ndarray]
    factors: int


def run(folder: Path, results: Results) -> None:
    """All rows; finished data sets are kept."""
    results.resume()
    for name, make in CHOSEN_ON.items():
        place = name.partition(":")[0] if name.startswith("sergio") else "random_grns"
        if not (folder / place).is_dir():
            print(f"{name}: no {folder / place}, left out")
            continue
        if results.value(name, "ridge", 0, "auprc") is None:
            add_rows(results, make(folder))


def plain_pairs(subject: ladder.Subject) -> tuple[tuple[str, ...], np.ndarray]:
    """The genes that are no regulators, and ``(tf · gene,)`` whether each edge into them exists."""
    data, tfs = subject.logged, set(subject.logged.tfs)
    targets = tuple(name for name in data.genes if name not in tfs)
    return targets, truth_matrix(data, subject.truth)[:, [data.genes.index(name) for name in targets]].ravel()


def add_rows(results: Results, subject: ladder.Subject, options: TrialOptions | None = None, seed: int = 0) -> None:
    """Of one data set: every variant, and rankings."""
    options = options or TrialOptions()
    data = subject.logged
    targets, true = plain_pairs(subject)
    witnesses = witnesses_of(data, seed=seed)
    if witnesses is None:
        raise ValueError(f"{subject.name}: hardly any gene is no regulator")
    model = linear_network(data, {}, targets)
    heard = heard_fit(model, data, {}, linear_network, witnesses, options, seed=seed)
    real = stated(data, targets, heard, options, seed=seed)
    results.add(subject.name, "real genes", seed, "hidden factors", real.factors)
    made, there = made_pairs(data, witnesses, options, seed=seed)
    for variant, names in VARIANTS.items():
        pick = lambda table, names=names: [table[name] for name in names]
        stretched = [real.inclusion[name].ravel() for name in names]
        # where nothing is explained there is no trial, and every edge has what it had before the data, as in `tune`
        found = EdgeMap.fit(pick(made), there)(stretched) if len(there) else np.full(true.shape, before(data))
        values = score(Pairs.stated(found, true, np.full(true.shape, "", dtype=object)))
        values |= ladder.could_be_listed(found, true)
        for name in (*SCORES, "longest_0.1"):
            results.add(subject.name, variant, seed, name, values[name])
    for method, ranking in rankings(data, targets, witnesses).items():
        values = {"auprc": ladder.average_precision(ranking, true), **ladder.could_be_listed(ranking, true)}
        for name in ("longest_0.1", "auprc"):
            results.add(subject.name, method, seed, name, values[name])


def made_pairs(
    data: ExpressionData, witnesses: Witnesses, options: TrialOptions, *, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Of the made targets of the trial: what each posterior states of their pairs, and which are edges."""
    donors = donors_of(data, 2 * options.targets, seed=seed)
    names = {name for variant in VARIANTS.values() for name in variant}
    if not (donors.r2 >= LEAST_R2).any():
        return {name: np.empty(0) for name in names}, np.empty(0, dtype=bool)
    parts, there = [], []
    for i, bench in enumerate(benches_like(data, donors, {}, options, seed=seed)):
        cells = witnesses.averaged(bench.data(), 1)
        heard = short_fit(linear_network(cells, {}, bench.targets), options.heard, options, seed=seed + i)
        parts.append(stated(bench.data(), bench.targets, heard, options, seed=seed + i).inclusion)
        there.append(bench.present.ravel())
    return {name: np.concatenate([part[name].ravel() for part in parts]) for name in names}, np.concatenate(there)


def before(data: ExpressionData) -> float:
    """Probability of an edge before the data: half of the genes have one to four regulators."""
    return UNSEEN * (1 + MOST_ACTING) / 2 / len(data.tfs)


def stated(
    data: ExpressionData, targets: Sequence[str], heard: np.ndarray, options: TrialOptions, *, seed: int
) -> Stated:
    """What every posterior says of the edges into ``targets``."""
    X, Y = values_of(data, data.tfs), values_of(data, targets)
    fitted = lambda x, y, cells: short_fit(network(data, x, y, targets), cells, options, seed=seed)
    ranked = lambda values: np.apply_along_axis(rankdata, 0, values)
    shared = hidden_factors(data, targets, seed=seed)
    free = lambda values: values - shared @ (shared.T @ values)
    r2 = np.square(standard(X).T @ standard(Y) / len(X)).clip(max=1 - 1e-6)
    found = {
        "all": fitted(X, Y, None),
        "few": fitted(X, Y, FEW),
        "some": fitted(X, Y, SOME),
        "heard": heard,
        "ranks": fitted(ranked(X), ranked(Y), FEW),
        # the Bayes factor of one regulator in a hundred cells, after Schwarz, at even odds
        "alone": expit(-0.5 * (FEW * np.log1p(-r2) + np.log(FEW))),
        "freed": fitted(free(X), free(Y), FEW),
    }
    return Stated(found, shared.shape[1])


def hidden_factors(data: ExpressionData, targets: Sequence[str], *, seed: int) -> np.ndarray:
    """``(cell, factor)`` orthonormal scores of what targets share beyond the regulators, in residuals out of fold: as
    many as are above those of residuals whose cells are permuted in each gene (parallel analysis, Horn 1965)."""
    residual = standard(out_of_fold(data, tuple(targets), seed=seed).residual)
    rng = np.random.default_rng([seed, 13])
    permuted = np.stack([rng.permutation(column) for column in residual.T], axis=1)
    scores, size, _ = np.linalg.svd(residual, full_matrices=False)
    number = int((size > ABOVE * np.linalg.svd(permuted, compute_uv=False)[0]).sum())
    return scores[:, : min(number, FACTORS)]


def rankings(data: ExpressionData, targets: Sequence[str], witnesses: Witnesses) -> dict[str, np.ndarray]:
    """Of ridge regression as measured; with the variance of what other genes do not know taken off the regulators' own,
    as far as what is left stays positive definite; on averaged regulators; and of correlations."""
    X, Y = standard(values_of(data, data.tfs)), standard(values_of(data, targets))
    R, cross = X.T @ X / len(X), X.T @ Y / len(X)
    noise = np.mean([np.square(X - level).mean(0) for level in witnesses.levels], axis=0).clip(0, 1)
    for share in np.linspace(1, 0, 21):
        less = R - share * np.diag(noise)
        if np.linalg.eigvalsh(less)[0] > LEAST:
            break
    half = np.array([witnesses.half[name] for name in targets])
    averaged = np.empty_like(cross)
    for k in (0, 1):
        told = values_of(witnesses.averaged(data, 1 - k), data.tfs)
        averaged[:, half == k] = ridge_of(told, Y[:, half == k])
    found = {
        "correlation": cross,
        "ridge, noise of measurement taken off": np.linalg.solve(less, cross),
        "ridge, averaged regulators": averaged,
        "ridge": ridge_of(X, Y),
    }
    return {name: np.abs(value).ravel() for name, value in found.items()}


def ridge_of(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """``(tf, target)``"""
    joint, tf = np.concatenate([X, Y], axis=1), np.arange(X.shape[1])
    weight: np.ndarray = ridge_weights(correlations(joint, tf), tf, len(X))[:, X.shape[1] :]
    return weight


def network(data: ExpressionData, X: np.ndarray, Y: np.ndarray, targets: Sequence[str]) -> Any:
    """The default network of these values of the regulators and of the targets."""
    matrix = torch.as_tensor(np.concatenate([X, Y], axis=1), dtype=torch.float32)
    cells = replace(data, matrix=matrix, genes=(*data.tfs, *targets), transform=None, column=None, view=None)
    return linear_network(cells, {}, tuple(targets))


def values_of(data: ExpressionData, names: Sequence[str]) -> np.ndarray:
    """``(cell, gene)``"""
    place = {name: i for i, name in enumerate(data.genes)}
    values: np.ndarray = data.X.numpy(force=True)[:, [place[name] for name in names]].astype(float)
    return values


def standard(values: np.ndarray) -> np.ndarray:
    """Mean 0 and sd 1 over cells."""
    return within_contexts(values, np.zeros(len(values), dtype=int))[0]
