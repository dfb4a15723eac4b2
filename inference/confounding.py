r"""Programs that follow the depth of cells, their mitochondrial share, or the batch: technique, not biology.

A program that stands for depth moves with the counts of *any* genes, a true one with those of its own. So the scores of
each program are compared with the total over the half of the genes that load least on it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..models import ExpressionData, Model
from ..models.data.raw_counts import counts_behind
from .answers.program_cells import scores
from .answers.programs import factors
from .checks import Check
from .draws.fitted import PosteriorLike

COLUMNS = ("measure", "column", "program", "r", "share", "same_sign")
MOST_CELLS = 5000  # that are looked at: r is then known to 0.014
FEWEST_CELLS = 20
FEWEST_GENES = 8  # of a view, from which half of them tell its depth
CLOSE = 0.5  # of r (of batches, the root of the share): a quarter of a program's variance
SAME_SIGN = 0.7  # of the genes that move with a depth program in its direction; half of them by chance
WEAK = 0.001  # share of the variance below which a program is not looked at; of counts shares are small
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
BATCH_NAMES = ("batch", "batch_id", "library", "library_id", "run", "lane", "plate", "chip", "replicate", "bio_rep")
BATCH_NAMES += ("sample", "sample_id", "donor", "donor_id", "patient", "orig.ident", "channel", "sequencing_run")


class Measure(NamedTuple):
    """What is known of each cell: ``values`` ``(cell,)``, or ``(cell, program)`` where each program has its own."""

    kind: str
    column: str
    values: np.ndarray
    same_sign: np.ndarray | None = None
    """``(program,)`` of totals over genes: share of these that move with the program as the total does."""


def confounding(posterior: PosteriorLike[Any], data: ExpressionData) -> pd.DataFrame:
    """How closely each program follows what is known of the cells: ``measure, column, program, r, share, same_sign``.

    ``r``: correlation of the scores with the measure within groups of cells; of batches, the root of the share. Totals
    and their columns in logarithms. ``share``: r², the share of the scores' variance. ``same_sign``: of totals over
    genes, the share of these that move in the total's direction; a program that stands for depth moves most of them so.

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
    cells = data.subset(rows)
    score = scores(posterior, cells)[0].to_numpy()
    if cells.covariates is not None:  # what they explain is accounted for
        Z = np.column_stack([np.ones(len(rows)), cells.covariates.double().cpu().numpy()])
        score = score - Z @ np.linalg.lstsq(Z, score, rcond=None)[0]
    codes = np.zeros(len(rows), dtype=int) if cells.context is None else cells.context.cpu().numpy()
    found = []
    for measure in _measures(posterior, cells, values, counted, _centred(score, codes)):
        if measure.kind == BATCH:
            share = _between(score, measure.values, codes)
            r = np.sqrt(share)
        else:
            r = _correlation(_centred(score, codes), _centred(measure.values, codes))
            share = r**2
        same = np.full(len(r), np.nan) if measure.same_sign is None else measure.same_sign
        found += [
            (measure.kind, measure.column, name, *numbers)
            for name, *numbers in zip(model.factors, r, share, same, strict=True)
        ]
    return pd.DataFrame(found, columns=list(COLUMNS))


def confounding_checks(posterior: PosteriorLike[Model], data: ExpressionData) -> Iterator[Check]:
    """One row for depth, and for mitochondrial share and batch where they are known: the program that follows it most.

    Programs that explain less than 0.1% of the variance (``WEAK``) are not looked at. Fails from a correlation of 0.5
    (``CLOSE``) on, of totals where 70% of the genes (``SAME_SIGN``) move alike.
    """
    table = confounding(posterior, data)
    strong = factors(posterior).groupby("program", sort=False)["variance_explained"].max() >= WEAK
    table = table[table["program"].map(strong).astype(bool)]
    for kind in (DEPTH, MITOCHONDRIAL, BATCH):
        part = table[table["measure"] == kind].dropna(subset=["r"])
        if part.empty:
            continue
        part = part.assign(size=part["r"].abs()).sort_values("size", ascending=False, kind="stable")
        close = part[(part["size"] >= CLOSE) & ~(part["same_sign"] < SAME_SIGN)]
        shown = part if close.empty else close
        yield Check(f"programs and {kind}", float(shown["size"].iloc[0]), CLOSE, close.empty, _meaning(kind, close))


def confounded(table: pd.DataFrame) -> list[str]:
    """What the failed rows of depth, mitochondrial share and batch say, of a table of `diagnose`."""
    names = [f"programs and {kind}" for kind in (DEPTH, MITOCHONDRIAL, BATCH)]
    failed = table[table["check"].isin(names) & (table["passed"] == False)]  # noqa: E712 None is neither
    return [str(meaning) for meaning in failed["meaning"]]


def _meaning(kind: str, close: pd.DataFrame) -> str:
    if close.empty:
        return f"No program that matters follows the {kind} of the cells."
    worst = close.drop_duplicates("program")
    named = "; ".join(
        f"{row.program!r} (r {row.r:.2f} with {row.column}, {row.share:.0%} of its variance)"
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
    filled = np.where(np.isfinite(values), values, np.nanmean(values, axis=0))
    total = filled @ least.T.astype(float)  # (cell, program)
    total = np.log(total.clip(0) + 0.5) if label.startswith("log") else total
    by_gene = _centred(filled, codes).T @ score  # (gene, program)
    direction = np.sign((_centred(total, codes) * score).sum(0))
    same = ((np.sign(by_gene) == direction) & least.T).sum(0) / least.sum(1)
    return Measure(DEPTH, label, total, same)


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


# -- within groups ----------------------------------------
def _centred(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    out = values.copy()
    for code in np.unique(codes):
        out[codes == code] -= values[codes == code].mean(0)
    return out


def _correlation(score: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``(program,)``; 0 where one of both does not vary."""
    values = values if values.ndim == 2 else values[:, None]
    size = np.sqrt((score**2).sum(0) * (values**2).sum(0))
    return np.divide((score * values).sum(0), size, out=np.zeros(score.shape[1]), where=size > 1e-12)


def _between(score: np.ndarray, batch: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """``(program,)`` share of the scores' variance within groups that is between batches, less what chance gives."""
    within = _centred(score, codes)
    total = (within**2).sum(0)
    rest = _centred(within, np.unique(np.stack([codes, batch]), axis=1, return_inverse=True)[1].reshape(-1))
    groups = len({*zip(codes.tolist(), batch.tolist(), strict=True)}) - len(set(codes.tolist()))
    left = len(score) - groups - len(set(codes.tolist()))
    if groups < 1 or left < 1:
        return np.zeros(score.shape[1])
    share = 1 - (rest**2).sum(0) / left / (total / (left + groups)).clip(1e-12)
    return share.clip(0, 1)
