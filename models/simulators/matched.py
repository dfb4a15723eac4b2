r"""Worlds whose targets look like the real genes: the regulators offered explain as much of them.

A semi-synthetic target has the R² of a real gene if all that acts on it is offered and measured well. Where half of the
regulators are hidden, or where targets answer to what a regulator was and not to what was measured of it, less of a
target is explained than of the gene that it stands for; such targets are unlike the data, and a fit has it too easy
with them. Here each target is made at several true R², and the one kept is explained by the regulators offered as the
real gene is by the real regulators, both in cells that were not fitted.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..data.expression import ExpressionData
from ..data.out_of_fold import OutOfFold, contexts_of, out_of_fold, within_contexts
from .semi_synthetic import LEAST_R2, MOST_R2, World, WorldKind, new_names, signals_of, true_r2, with_targets

STEPS = 5  # true R² at which each target is made, from that of the real gene up to nearly all
TOLERANCE = 0.1  # of R²: a target that cannot be made more like its gene than that is left out
MOST_CELLS = 2000  # in which it is compared
FOLDS = 2  # of the comparison: R² is wanted to a few hundredths
AT_ONCE = 256  # regulators whose levels are there twice
MOST_WITNESSES = 300  # plain genes that tell a regulator's level


def seen_through(data: ExpressionData, *, witnesses: Sequence[str] | None = None, seed: int = 0) -> np.ndarray:
    """(cell, tf) what other genes say of each regulator, in standard deviations of what was measured.

    A regression of the regulator on at most 300 genes that are no regulators (of ``witnesses``, if they are given), in
    cells that it has not seen. Measured
    well, a regulator is what its targets say it is; measured badly, most of what was measured is noise, which its
    targets never saw, and this is the better guess at its level.

    Raises
    ------
    ValueError
        Fewer than six cells; no gene that is no regulator.
    """
    tfs = set(data.tfs)
    plain = [name for name in (data.genes if witnesses is None else witnesses) if name not in tfs]
    if not plain:
        raise ValueError("every gene is a candidate regulator: list fewer, `tfs=`")
    chosen = np.random.default_rng([seed, 8]).permutation(len(plain))[:MOST_WITNESSES]
    witnesses = tuple(plain[i] for i in sorted(chosen.tolist()))
    cells = data.select_genes((*witnesses, *data.tfs)).annotated(tfs=list(witnesses))
    found = out_of_fold(cells, tuple(data.tfs), seed=seed).residual
    del cells
    measured, context = data.select_genes(data.tfs).X.numpy(force=True), contexts_of(data)
    for start in range(0, len(data.tfs), AT_ONCE):  # in place: of all regulators there are gigabytes
        part = slice(start, start + AT_ONCE)
        np.subtract(within_contexts(measured[:, part], context)[0], found[:, part], out=found[:, part])
    return found


def matched_world(
    data: ExpressionData,
    donors: OutOfFold,
    kind: WorldKind,
    *,
    num_targets: int,
    seed: int,
    levels: np.ndarray | None = None,
    division: int | None = None,
) -> World:
    """As `semi_synthetic`, each target with the R² that makes the regulators offered explain as much of it as the real
    regulators do of the real gene; ``r2`` of the world is the true one.

    Targets of which even the largest R² leaves less explained than of the gene, by more than 0.1, are left out (all but
    the closest, if there are no others): where the regulators explain nearly all of the genes, the cells themselves say
    that not much is hidden. ``division`` is the seed of the cells in which it is compared and of their folds, default
    ``seed``: worlds of the same share a decomposition of their regulators.
    """
    division = seed if division is None else division
    steps = np.linspace(0, 1, STEPS)
    explained = donors.r2 >= LEAST_R2
    # from the R² of the gene to the most, even steps of the square root: signals grow in proportion
    low, high = np.sqrt(donors.r2.clip(0, MOST_R2)), np.sqrt(MOST_R2)
    raised = [np.where(explained, (low + share * (high - low)) ** 2, donors.r2) for share in steps]
    signals = signals_of(data, donors, kind, num_targets=num_targets, seed=seed, levels=levels)
    r2 = np.stack([true_r2(replace(donors, r2=step))[signals.donor] for step in raised])  # (step, target)
    made = np.stack([signals.values(data, step) for step in r2])  # (step, cell, target)
    number = data.num_cells
    cells = np.arange(number)
    if number > MOST_CELLS:  # R² is known well enough from these
        cells = np.sort(np.random.default_rng([division, 9]).permutation(number)[:MOST_CELLS])
    some = data.subset(cells)
    tfs, targets = tuple(data.tfs[i] for i in signals.offered), new_names(num_targets, data.genes)
    names = tuple(f"{name}@{step}" for step in range(STEPS) for name in targets)
    every = with_targets(some, tfs, names, np.concatenate(list(made[:, cells]), axis=1))
    found = out_of_fold(every, names, folds=FOLDS, seed=division).r2.reshape(STEPS, num_targets)
    wanted = donors.r2[signals.donor]
    gap = np.abs(found - wanted)
    best, least = gap.argmin(0), gap.min(0)
    kept = np.flatnonzero(least <= max(TOLERANCE, least.min()))
    at = np.arange(num_targets)
    return signals.world(data, made[best, :, at].T, r2[best, at], kept)
