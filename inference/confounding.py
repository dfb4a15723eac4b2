r"""Programs that follow the depth of cells, their mitochondrial share, or the batch: technique, not biology.

A program that stands for depth moves with the counts of *any* genes, a true one with those of its own. So the scores of
each program are compared with the total over the half of the genes that load least on it.

What counts is the program and not its estimate. With x the program in the cells, v a function of the data such as the
total, and :math:`\hat x = E[x \mid y]` the scores,

.. math:: \operatorname{cov}(x, v) = \operatorname{cov}(\hat x, v), \qquad
          \operatorname{cor}(x, v) = \operatorname{cor}(\hat x, v) \sqrt{\rho}, \qquad
          \rho = \operatorname{var}(\hat x) / \operatorname{var}(x)

so that a program the data say nothing of (ρ near 0), whose scores are noise and may follow anything, follows nothing.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import betainc

from ..models import ExpressionData, Model
from ..models.data.raw_counts import counts_behind
from .answers.program_cells import known_scores, scores
from .checks import Check
from .draws.fitted import PosteriorLike
from .within_groups import between, centred, correlation

COLUMNS = ("measure", "column", "program", "r", "share", "known", "chance", "same_sign", "genes")
MOST_CELLS = 5000  # that are looked at: r is then known to 0.014
GENES_AT_ONCE = 1024  # 41 MB of 5,000 cells in float64
FEWEST_CELLS = 20
FEWEST_GENES = 8  # of a view, from which half of them tell its depth
CLOSE = 0.5  # of r√ρ (of batches, the root of the share): a quarter of a program's variance
SAME_SIGN = 0.7  # of the genes that move with a depth program in its direction; half of them by chance
CHANCE = 0.01  # probability that any of the programs is named where nothing follows anything
MOST_BATCHES = 50

DEPTH, MITOCHONDRIAL, BATCH = "depth", "mitochondrial share", "batch"
TOTAL_NAMES = (
    *("total_counts", "n_counts", "ncounts", "ncount_rna", "n_umi", "numi", "umi_count", "total_umis", "library_size"),
    *("libsize", "size_factor", "size_factors", "sizefactor", "depth", "log1p_total_counts", "n_genes", "ngenes"),
    *("n_genes_by_counts", "nfeature_rna", "log1p_n_genes_by_counts", "detected_genes"),
)
MITOCHONDRIAL_NAMES = (
    *("pct_counts_mt", "pct_counts_mito", "percent_mt", "percent.mt", "percent_mito", "percent.mito", "pct_mt"),
    *("mt_frac", "mito_frac", "mitochondrial_fraction", "subsets_mito_percent", "percent_mitochondrial"),
)
BATCH_NAMES = (
    *("batch", "batch_id", "library", "library_id", "run", "lane", "plate", "chip", "replicate", "bio_rep", "sample"),
    *("sample_id", "donor", "donor_id", "patient", "orig.ident", "channel", "sequencing_run"),
)


class Measure(NamedTuple):
    """What is known of each cell: ``values`` ``(cell,)``, or ``(cell, program)`` where each program has its own."""

    kind: str
    column: str
    values: np.ndarray
    genes: float = np.nan
    """Of totals over genes, their number."""
    same_sign: np.ndarray | None = None
    """``(program,)`` of totals over genes: share of these that move with the program as the total does."""


def confounding(posterior: PosteriorLike[Any], data: ExpressionData) -> pd.DataFrame:
    """How closely each program follows what is known of the cells, one row a measure and program.

    ``measure, column, program``; ``r`` correlation of the scores with the measure within groups of cells (of batches,
    the root of the share; totals and their columns in logarithms); ``share`` r², of the scores' variance; ``known`` ρ,
    the share of the program's variance that its scores have; ``chance`` the probability of so large an r where the
    measure has nothing to do with the program (t test, of batches F test); of totals over genes, ``genes`` their number
    and ``same_sign`` the share of these that move in the total's direction: a program that stands for depth moves most
    of them so.

    What covariates explain of the scores is taken out first. Depth is the total of the counts, or of the values given
    where there are no counts and they cannot be had back from their logarithms; and columns of the cells' annotations
    called as usual (``total_counts``, ``nCount_RNA``, …). Mitochondrial share is that of the genes ``MT-…`` among the
    counts, or such a column (``pct_counts_mt``, …), batch a column (``batch``, ``donor``, …) that is neither a
    covariate nor the groups. At most 5,000 cells are looked at.

    Parameters
    ----------
    posterior
        Of gene programs.
    data
        The cells of the fit, or new ones.
    """
    model = posterior.model
    rows = np.unique(np.linspace(0, data.num_cells - 1, min(data.num_cells, MOST_CELLS)).astype(int))
    if len(rows) < FEWEST_CELLS:
        return pd.DataFrame(columns=list(COLUMNS))
    values, counted = counts_behind(data, rows)
    cells = data if len(rows) == data.num_cells else data.subset(rows)
    made = known_scores(posterior, data)
    mean, sd = scores(posterior, cells) if made is None else (table.iloc[rows] for table in made)
    score, lost = mean.to_numpy(), 0
    if cells.covariates is not None:  # what they explain is accounted for
        Z = np.column_stack([np.ones(len(rows)), cells.covariates.double().cpu().numpy()])
        score = score - Z @ np.linalg.lstsq(Z, score, rcond=None)[0]
        lost = int(np.linalg.matrix_rank(Z)) - 1
    codes = np.zeros(len(rows), dtype=int) if cells.context is None else cells.context.cpu().numpy()
    inside, lost = centred(score, codes), lost + len(np.unique(codes))
    variance = (inside**2).mean(0)
    known = variance / (variance + (sd.to_numpy() ** 2).mean(0)).clip(1e-12)
    found = []
    for measure in _measures(posterior, cells, values, counted, inside):
        if measure.kind == BATCH:
            share, chance = between(score, measure.values, codes, lost)
            r = np.sqrt(share)
        else:
            r, chance = correlation(inside, centred(measure.values, codes), lost)
            share = r**2
        same = np.full(len(r), np.nan) if measure.same_sign is None else measure.same_sign
        found += [
            (measure.kind, measure.column, name, *numbers, measure.genes)
            for name, *numbers in zip(model.factors, r, share, known, chance, same, strict=True)
        ]
    return pd.DataFrame(found, columns=list(COLUMNS))


def confounding_checks(posterior: PosteriorLike[Model], data: ExpressionData) -> Iterator[Check]:
    r"""One row for depth, and for mitochondrial share and batch where they are known: the program that follows it most.

    The value is :math:`|r| \sqrt{\rho}`, the correlation of the program itself. Fails where it is at least 0.5
    (``CLOSE``), a quarter of the program's variance, and no accident: the probability that chance alone names one of
    the programs is below 1% (``CHANCE``, Bonferroni over programs and columns). Of totals over genes, besides, 70% of
    these (``SAME_SIGN``) must move alike, and more than random signs would (sign test, the same 1%): genes of a program
    of many genes that go up and down add up to something too. With so few genes that all of them could agree by chance,
    no verdict.
    """
    table = confounding(posterior, data)
    for kind in (DEPTH, MITOCHONDRIAL, BATCH):
        part = table[table["measure"] == kind].dropna(subset=["r"])
        if part.empty:
            continue
        level = CHANCE / len(part)
        genes = part["genes"].to_numpy()
        told = ~(2 * 0.5**genes >= level)  # NaN where no genes are counted
        if not told.any():
            yield Check(f"programs and {kind}", np.nan, CLOSE, None, "Too few genes to tell a program from depth.")
            continue
        part = part.assign(size=part["r"].abs() * np.sqrt(part["known"]))[told]
        part = part.sort_values("size", ascending=False, kind="stable")
        number = (part["same_sign"] * part["genes"]).round()
        alike = betainc(number.clip(lower=1e-9), part["genes"] - number + 1, 0.5)  # as many heads of a coin, or more
        random = (part["same_sign"] < SAME_SIGN) | (2 * alike >= level)
        close = part[(part["size"] >= CLOSE) & (part["chance"] < level) & ~random]
        shown = part if close.empty else close
        yield Check(f"programs and {kind}", float(shown["size"].iloc[0]), CLOSE, close.empty, _meaning(kind, close))


CONFOUNDERS = tuple(f"programs and {kind}" for kind in (DEPTH, MITOCHONDRIAL, BATCH))
"""Checks whose rows say what to do."""


def confounded(table: pd.DataFrame) -> list[str]:
    """What the failed rows of depth, mitochondrial share and batch say, of a table of `diagnose`."""
    failed = table[table["check"].isin(CONFOUNDERS) & (table["passed"] == False)]  # noqa: E712 None is neither
    return [str(meaning) for meaning in failed["meaning"]]


def _meaning(kind: str, close: pd.DataFrame) -> str:
    if close.empty:
        return f"No program follows the {kind} of the cells."
    worst = close.drop_duplicates("program")
    named = "; ".join(
        f"{row.program!r} (scores: r {row.r:.2f} with {row.column}, {row.share:.0%} of their variance)"
        for row in worst.head(3).itertuples()
    )
    more = f" and {len(worst) - 3} more" if len(worst) > 3 else ""
    return f"Programs follow the {kind} of the cells: {named}{more}. {REMEDY[kind]}"


REMEDY = {
    DEPTH: "They may be technique and no biology: use raw counts with `likelihood='negative-binomial'`, whose offset "
    "takes the depth out, or give the total as one of `covariates=`, or leave these programs out.",
    MITOCHONDRIAL: "They may be dying cells: remove cells with a high share, or give it as one of `covariates=`, or "
    "leave these programs out.",
    BATCH: "Give the batch as one of `covariates=`, or as groups of cells, or leave these programs out.",
}


# -- what is known of the cells ----------------------------------------
def _measures(
    posterior: PosteriorLike[Any], cells: ExpressionData, values: np.ndarray, counted: bool, score: np.ndarray
) -> Iterator[Measure]:
    model = posterior.model
    loading = np.abs(posterior.moments["W"].mean)  # (program, gene)
    place = {gene: i for i, gene in enumerate(model.genes)}
    at = np.array([place.get(gene, -1) for gene in cells.genes])
    view = np.zeros(len(cells.genes), dtype=int) if cells.view is None else cells.view.cpu().numpy()
    for code, name in enumerate(cells.view_names):
        own = np.flatnonzero((view == code) & (at >= 0))
        if len(own) >= FEWEST_GENES:
            label = "log total" if counted or np.nanmin(values[:, own]) >= 0 else "total"
            label = label if len(cells.view_names) == 1 else f"{label} of {name}"
            codes = np.zeros(len(values), dtype=int) if cells.context is None else cells.context.cpu().numpy()
            yield _totals(label, values[:, own], loading[:, at[own]], score, codes)
    yield from _of_table(cells)
    mt = [i for i, gene in enumerate(cells.genes) if gene.upper().startswith("MT-")]
    if mt and counted:
        total = np.nansum(values, axis=1)
        yield Measure(MITOCHONDRIAL, f"share of {len(mt)} MT- genes", np.nansum(values[:, mt], 1) / total.clip(1))


def _totals(label: str, values: np.ndarray, loading: np.ndarray, score: np.ndarray, codes: np.ndarray) -> Measure:
    """For each program, the total over the half of the genes that load least on it."""
    num_genes = values.shape[1]
    rank = np.argsort(np.argsort(loading, axis=1, kind="stable"), axis=1, kind="stable")
    least = rank < -(-num_genes // 2)  # (program, gene)
    total, by_gene = np.zeros((len(values), len(least))), np.empty((num_genes, score.shape[1]))
    for first in range(0, num_genes, GENES_AT_ONCE):
        part = slice(first, first + GENES_AT_ONCE)
        some = np.asarray(values[:, part], dtype=float)
        filled = np.where(np.isfinite(some), some, np.nanmean(some, axis=0))
        total += filled @ least.T[part].astype(float)  # (cell, program)
        by_gene[part] = centred(filled, codes).T @ score  # (gene, program)
    total = np.log(total.clip(0) + 0.5) if label.startswith("log") else total
    direction = np.sign((centred(total, codes) * score).sum(0))
    same = ((np.sign(by_gene) == direction) & least.T).sum(0) / least.sum(1)
    return Measure(DEPTH, label, total, int(least[0].sum()), same)


def _of_table(cells: ExpressionData) -> Iterator[Measure]:
    """Columns of the annotations that are called as usual."""
    if cells.labels is None:
        return
    covariates = {name.partition("[")[0] for name in cells.covariate_names}
    for column in cells.labels.table:
        name, values = str(column).strip().lower(), cells.labels.table[column]
        if name in TOTAL_NAMES or name in MITOCHONDRIAL_NAMES:
            numbers = pd.to_numeric(values.astype(object), errors="coerce").to_numpy(dtype=float)
            if np.isfinite(numbers).all() and np.ptp(numbers) > 0:
                in_logs = name in TOTAL_NAMES and not name.startswith("log") and numbers.min() > 0
                kind = DEPTH if name in TOTAL_NAMES else MITOCHONDRIAL
                yield Measure(kind, f"{'log ' if in_logs else ''}{column}", np.log(numbers) if in_logs else numbers)
        elif name in BATCH_NAMES and column not in covariates:
            levels, _ = pd.factorize(values.astype(object))
            if 2 <= len(set(levels.tolist())) <= MOST_BATCHES:
                yield Measure(BATCH, str(column), levels)
